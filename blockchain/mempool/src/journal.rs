//! The journal: what lets waiting transactions survive a restart. Encoding only; the node writes the file.
//!
//! ```text
//!  "LUCIDMPJ" | version u8 = 1 | borsh Vec<{ at_ms u64, bytes Vec<u8> }> | BLAKE3 of all before
//! ```
//! Entries are in their order of arrival. Nothing in it is trusted: the node decodes every transaction anew and hands it to
//! [`crate::Mempool::import`], which checks it as one that just came in.

use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::MAX_TRANSACTION_BYTES;

const MAGIC: &[u8; 8] = b"LUCIDMPJ";
const VERSION: u8 = 1;
const HEAD: usize = MAGIC.len() + 1;
const CHECKSUM: usize = 32;
const CONTEXT: &str = "lucid chain 2026 mempool journal v1";

/// Most bytes of a journal: a pool far larger than the default, and still nothing a node cannot hold.
pub const MAX_JOURNAL_BYTES: usize = 256 << 20;

/// A transaction in the journal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct JournalEntry {
    /// When it came, ms since the Unix epoch.
    pub at_ms: u64,
    /// EIP-2718 encoding.
    pub bytes: Vec<u8>,
}

/// Why a journal was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Larger than any we write.
    #[error("the mempool journal has {bytes} bytes, at most {MAX_JOURNAL_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a journal.
    #[error("the file is not a mempool journal")]
    NotAJournal,
    /// A newer one.
    #[error("the mempool journal has version {0}, this program reads {VERSION}")]
    Version(u8),
    /// Cut or changed.
    #[error("the mempool journal is damaged: its checksum does not match")]
    Damaged,
    /// The checksum fits and the content does not.
    #[error("the mempool journal is malformed: {0}")]
    Malformed(String),
}

/// Encodes a journal. Entries that would take it over [`MAX_JOURNAL_BYTES`] are left out, from the last.
#[must_use]
pub fn encode_journal(entries: &[JournalEntry]) -> Vec<u8> {
    let mut size = HEAD + 4 + CHECKSUM;
    let fitting = entries
        .iter()
        .take_while(|entry| {
            size += 8 + 4 + entry.bytes.len();
            size <= MAX_JOURNAL_BYTES
        })
        .count();
    let mut bytes = Vec::with_capacity(size.min(MAX_JOURNAL_BYTES));
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    let written = entries[..fitting].serialize(&mut bytes);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// Reads a journal. Entries larger than a transaction may be are left out.
pub fn decode_journal(bytes: &[u8]) -> Result<Vec<JournalEntry>, JournalError> {
    if bytes.len() > MAX_JOURNAL_BYTES {
        return Err(JournalError::TooLarge { bytes: bytes.len() });
    }
    let body = bytes.strip_prefix(MAGIC).ok_or(JournalError::NotAJournal)?;
    let (&version, body) = body.split_first().ok_or(JournalError::Damaged)?;
    if version != VERSION {
        return Err(JournalError::Version(version));
    }
    let end = body
        .len()
        .checked_sub(CHECKSUM)
        .ok_or(JournalError::Damaged)?;
    let (content, found) = body.split_at(end);
    if checksum(&bytes[..HEAD + end]) != found {
        return Err(JournalError::Damaged);
    }
    let mut entries: Vec<JournalEntry> =
        borsh::from_slice(content).map_err(|error| JournalError::Malformed(error.to_string()))?;
    entries.retain(|entry| entry.bytes.len() <= MAX_TRANSACTION_BYTES);
    Ok(entries)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    blake3::derive_key(CONTEXT, bytes)
}

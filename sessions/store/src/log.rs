//! The log of a session: which chunks it has, in order.
//!
//! ```text
//! frame = length u32 LE ‖ body
//! body  = borsh of a Signed checkpoint        a chunk that the session closed
//!       | the address of a chunk, 32 bytes    the chunk that recovery found torn; the last frame, and nobody signed it
//! ```
//!
//! A frame is durable before its chunk gets its name under `chunks/` (write-ahead): so a chunk there is always named in a
//! log, and the one chunk a log can name that is not there is the `open.chunk` beside it.

use lucid_format::{Checkpoint, Hash, Signed, SignedHead, merkle};

use crate::StoreError;

/// Most chunks of one session: what the index of a recording has room for, thirty days of silence.
pub(crate) const MAX_CHUNKS: u32 = 262_144;

/// Largest log that is read: as many chunks as a recording's index has room for.
pub(crate) const MAX_LOG_BYTES: u64 = (MAX_CHUNKS as u64 + 1) * MAX_FRAME as u64;

/// Bytes of the borsh of a signed checkpoint: body length, session, chunks, last chunk, root, two times, signature.
const CHECKPOINT_BODY: usize = 4 + (16 + 4 + 32 + 32 + 8 + 8) + 64;

/// Longest frame: what a torn write leaves is never longer.
pub(crate) const MAX_FRAME: usize = 4 + CHECKPOINT_BODY;

/// The frame of a checkpoint.
pub(crate) fn checkpoint_frame(checkpoint: &Signed) -> Result<Vec<u8>, StoreError> {
    let body = borsh::to_vec(checkpoint).map_err(|e| StoreError::Io {
        doing: "encoding a checkpoint for",
        path: "log".into(),
        why: e.to_string(),
    })?;
    Ok(frame(&body))
}

/// The frame of a chunk that recovery keeps.
pub(crate) fn recovered_frame(chunk: Hash) -> Vec<u8> {
    frame(&chunk.0)
}

fn frame(body: &[u8]) -> Vec<u8> {
    // A body is a checkpoint or an address, far below 4 GiB.
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes(), body].concat()
}

/// What one frame says.
enum Entry {
    Checkpoint(Signed),
    Recovered(Hash),
}

/// The frame at the start of `bytes` and its length; `None` when it is not whole.
fn next(bytes: &[u8]) -> Option<(Entry, usize)> {
    let len = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    let body = bytes.get(4..4usize.checked_add(len)?)?;
    let entry = match <[u8; 32]>::try_from(body) {
        Ok(hash) => Entry::Recovered(Hash(hash)),
        Err(_) if len == CHECKPOINT_BODY => Entry::Checkpoint(borsh::from_slice(body).ok()?),
        Err(_) => return None,
    };
    Some((entry, 4 + len))
}

/// The addresses in a log, as far as its frames are whole; signatures are not checked. For listings and for counting who
/// refers to a chunk, where a log that claims too much does no harm.
pub(crate) fn addresses(bytes: &[u8]) -> (Vec<Hash>, u64) {
    let (mut chunks, mut end_us, mut rest) = (Vec::new(), 0, bytes);
    while let Some((entry, len)) = next(rest) {
        match entry {
            Entry::Recovered(hash) => chunks.push(hash),
            Entry::Checkpoint(signed) => {
                if let Ok(checkpoint) = borsh::from_slice::<Checkpoint>(&signed.body) {
                    chunks.push(checkpoint.last_chunk);
                    end_us = checkpoint.end_us;
                }
            }
        }
        rest = &rest[len..];
    }
    (chunks, end_us)
}

/// A log that was checked frame by frame.
pub(crate) struct CheckedLog {
    pub(crate) chunks: Vec<Hash>,
    pub(crate) merkle: merkle::Log,
    /// Whether the last chunk is one that recovery found torn.
    pub(crate) recovered: bool,
    /// Bytes of frames that hold.
    pub(crate) valid: usize,
    /// Why the bytes after those do not hold, if there are any.
    pub(crate) broken: Option<String>,
}

/// Checks every frame: its signature, its place, and that it leads to the root it names.
pub(crate) fn check(bytes: &[u8], head: &SignedHead) -> CheckedLog {
    let mut log = CheckedLog {
        chunks: Vec::new(),
        merkle: merkle::Log::default(),
        recovered: false,
        valid: 0,
        broken: None,
    };
    while log.valid < bytes.len() {
        match log.step(&bytes[log.valid..], head) {
            Ok(len) => log.valid += len,
            Err(why) => {
                log.broken = Some(why);
                break;
            }
        }
    }
    log
}

impl CheckedLog {
    fn step(&mut self, bytes: &[u8], head: &SignedHead) -> Result<usize, String> {
        let nth = self.chunks.len();
        let (entry, len) = next(bytes).ok_or_else(|| format!("frame {nth} is not whole"))?;
        if self.recovered {
            return Err(format!("frame {nth} follows the chunk that was recovered"));
        }
        let mut merkle = self.merkle.clone();
        let (chunk, checkpoint) = match &entry {
            Entry::Recovered(hash) => (*hash, None),
            Entry::Checkpoint(signed) => {
                let opened =
                    Checkpoint::open(signed, head).map_err(|e| format!("frame {nth}: {e}"))?;
                (opened.last_chunk, Some(opened))
            }
        };
        merkle
            .push(chunk)
            .map_err(|e| format!("frame {nth}: {e}"))?;
        if checkpoint.is_some_and(|c| !leads_to(&c, &merkle, head)) {
            return Err(format!("frame {nth} does not lead to the root it names"));
        }
        self.recovered = matches!(entry, Entry::Recovered(_));
        self.chunks.push(chunk);
        self.merkle = merkle;
        Ok(len)
    }
}

/// Whether `checkpoint` is about the log `merkle`.
pub(crate) fn leads_to(checkpoint: &Checkpoint, merkle: &merkle::Log, head: &SignedHead) -> bool {
    checkpoint.chunks == merkle.size()
        && checkpoint.root == merkle::salted(&head.head.salt, merkle.size(), merkle.root())
}

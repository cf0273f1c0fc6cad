//! Every byte between nodes, and its bounds.
//!
//! ```text
//!  gossip message:  version u8 = 1 | packing u8 | borsh Vec<transaction>      packing 0: as is, 1: zstd
//!  request, answer: length u32 (little endian) | borsh
//! ```
//! A gossip message's id is the BLAKE3 hash of its bytes: the same batch through two peers is one message. It carries no
//! signature, since every transaction does.

use std::io::Read;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use libp2p::gossipsub::MessageId;
use lucid_chain_types::{Height, MAX_TRANSACTION_BYTES};

use alloy_primitives::B256;

use crate::error::WireError;
use crate::handle::Status;

const VERSION: u8 = 1;
const AS_IS: u8 = 0;
const ZSTD: u8 = 1;
/// Below this zstd gains little.
const PACKED_FROM: usize = 1 << 10;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// 2^18 bytes hold the largest batch: a frame that asks for a larger window is refused.
const ZSTD_WINDOW_LOG: u32 = 18;

/// Most bytes of the transactions in a batch, with their lengths: a full batch and the largest transaction fit.
pub const MAX_BATCH_BYTES: usize = 256 << 10;
/// Most transactions in a batch.
pub const MAX_BATCH_TRANSACTIONS: usize = 1024;
/// Most bytes of a gossip message.
pub const MAX_MESSAGE_BYTES: usize = MAX_BATCH_BYTES + 2;
/// Most bytes of a request.
pub const MAX_REQUEST_BYTES: usize = 8 << 10;
/// Most bytes of an answer: a snapshot's piece has up to a MiB, its manifest a little more than two.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Most snapshots a peer says it has.
pub(crate) const MAX_SNAPSHOTS: usize = 16;
/// Most addresses of its own a peer names.
pub(crate) const MAX_ADDRESSES: usize = 4;
/// Most other peers a peer names.
pub(crate) const MAX_EXCHANGED: usize = 16;
/// Most bytes of an address.
const MAX_ADDRESS_BYTES: usize = 192;

const BATCH: &str = "a transaction batch";

/// What nodes ask each other.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Says where one stands and asks where the other does.
    Hello(Hello),
    /// The newest snapshot's manifest.
    Manifest,
    /// A piece of a snapshot.
    Piece {
        /// Which snapshot.
        height: Height,
        /// Which piece.
        index: u32,
    },
}

/// What they answer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Response {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// A manifest or piece; none where there is none.
    Snapshot(Option<Vec<u8>>),
    /// Ask later.
    Busy,
}

/// Where a node stands and whom it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hello {
    /// Which chain.
    pub genesis_hash: B256,
    /// Its newest block.
    pub height: Height,
    /// The oldest block it still has.
    pub earliest: Height,
    /// Heights of its snapshots.
    pub snapshots: Vec<Height>,
    /// Its own addresses: multiaddresses in their binary form.
    pub addresses: Vec<Vec<u8>>,
    /// Addresses of peers, each with `/p2p/PEER-ID` at its end.
    pub peers: Vec<Vec<u8>>,
}

impl Hello {
    pub(crate) fn status(&self) -> Status {
        Status {
            height: self.height,
            earliest: self.earliest,
            snapshots: self.snapshots.clone(),
        }
    }

    fn check(&self) -> Result<(), WireError> {
        let counts = [
            (self.snapshots.len(), MAX_SNAPSHOTS),
            (self.addresses.len(), MAX_ADDRESSES),
            (self.peers.len(), MAX_EXCHANGED),
        ];
        let addresses = || self.addresses.iter().chain(&self.peers);
        if counts.iter().any(|(count, most)| count > most)
            || addresses().any(|address| address.len() > MAX_ADDRESS_BYTES)
        {
            return Err(WireError::Malformed {
                what: "a greeting",
                reason: "a list in it is too long".to_owned(),
            });
        }
        Ok(())
    }
}

impl Request {
    /// The encoding, without its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads an encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let request: Self = decode("a request", bytes, MAX_REQUEST_BYTES)?;
        if let Self::Hello(hello) = &request {
            hello.check()?;
        }
        Ok(request)
    }
}

impl Response {
    /// The encoding, without its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads an encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let response: Self = decode("an answer", bytes, MAX_ANSWER_BYTES)?;
        if let Self::Hello(hello) = &response {
            hello.check()?;
        }
        Ok(response)
    }
}

/// Encodes transactions for gossip, packed where that makes them smaller.
pub fn encode_batch(transactions: &[Bytes]) -> Result<Vec<u8>, WireError> {
    if transactions.is_empty() || transactions.len() > MAX_BATCH_TRANSACTIONS {
        return Err(malformed(format!(
            "it has {} transactions",
            transactions.len()
        )));
    }
    let lists: Vec<&[u8]> = transactions.iter().map(|one| &one[..]).collect();
    let body = encode(&lists);
    if body.len() > MAX_BATCH_BYTES {
        return Err(WireError::TooLarge {
            what: BATCH,
            limit: MAX_BATCH_BYTES,
        });
    }
    if body.len() >= PACKED_FROM {
        let packed = zstd::bulk::compress(&body, ZSTD_LEVEL)
            .map_err(|error| malformed(error.to_string()))?;
        if packed.len() < body.len() {
            return Ok([&[VERSION, ZSTD], &packed[..]].concat());
        }
    }
    Ok([&[VERSION, AS_IS], &body[..]].concat())
}

/// Reads transactions from gossip. Between 1 and [`MAX_BATCH_TRANSACTIONS`], none empty, none above its size.
pub fn decode_batch(message: &[u8]) -> Result<Vec<Bytes>, WireError> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge {
            what: BATCH,
            limit: MAX_MESSAGE_BYTES,
        });
    }
    let (head, body) = message
        .split_at_checked(2)
        .ok_or_else(|| malformed("it is cut".to_owned()))?;
    let unpacked;
    let body = match *head {
        [VERSION, AS_IS] => body,
        [VERSION, ZSTD] => {
            unpacked = unpack(body)?;
            &unpacked[..]
        }
        [VERSION, other] | [other, _] => {
            return Err(WireError::Version {
                what: BATCH,
                version: other,
            });
        }
        _ => return Err(malformed("it is cut".to_owned())),
    };
    let lists: Vec<Vec<u8>> = decode(BATCH, body, MAX_BATCH_BYTES)?;
    if lists.is_empty() || lists.len() > MAX_BATCH_TRANSACTIONS {
        return Err(malformed(format!("it has {} transactions", lists.len())));
    }
    if lists
        .iter()
        .any(|one| one.is_empty() || one.len() > MAX_TRANSACTION_BYTES)
    {
        return Err(malformed(
            "a transaction in it is empty or too large".to_owned(),
        ));
    }
    Ok(lists.into_iter().map(Bytes::from).collect())
}

/// Unpacks, and stops at the bound whatever the frame says of its size.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, WireError> {
    let broken = |error: std::io::Error| malformed(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
    let mut body = Vec::new();
    decoder
        .single_frame()
        .take(MAX_BATCH_BYTES as u64 + 1)
        .read_to_end(&mut body)
        .map_err(broken)?;
    if body.len() > MAX_BATCH_BYTES {
        return Err(WireError::TooLarge {
            what: BATCH,
            limit: MAX_BATCH_BYTES,
        });
    }
    Ok(body)
}

/// A message's id: what it says.
pub(crate) fn message_id(data: &[u8]) -> MessageId {
    MessageId::new(&blake3::hash(data).as_bytes()[..20])
}

fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut bytes);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    bytes
}

fn decode<T: BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLarge { what, limit });
    }
    borsh::from_slice(bytes).map_err(|error| WireError::Malformed {
        what,
        reason: error.to_string(),
    })
}

const fn malformed(reason: String) -> WireError {
    WireError::Malformed {
        what: BATCH,
        reason,
    }
}

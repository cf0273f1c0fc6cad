//! What LucidAnchors stores and hashes (requirement C1): where a session's words are, the steps of its log, and trees over the
//! checkpoints of many sessions.
//!
//! ```text
//!  Opened ─▶ log ─Checkpoint─▶ log ─ … ─Closed─▶ log     one word of storage a session: all that happened to it
//!                                          ▲
//!  BatchSent ─▶ BatchSent ─▶ … ────────────┘              one word a sender
//! ```
//!
//! All of it is keccak over words of 32 bytes, as the contract's `abi.encode` makes them.

use alloy_primitives::{Address, B256, U256, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::ids::Height;

/// Most neighbours on the way from a leaf of a batch to its root: a batch has fewer than 2³² leaves.
pub const MAX_BATCH_PATH: usize = 32;

/// The contract's mappings, by their place in its storage.
const SESSIONS: u64 = 0;
const BATCH_LOGS: u64 = 2;

/// The first word of each kind of step.
const OPENED: u64 = 1;
const CHECKPOINT: u64 = 2;
const CLOSED: u64 = 3;
const BATCH: u64 = 4;

/// A session's id on the chain: its 16 bytes and 16 zero bytes.
pub fn anchor_id(session: [u8; 16]) -> B256 {
    let mut id = B256::ZERO;
    id[..16].copy_from_slice(&session);
    id
}

/// Slot of a session's owner, size and status.
pub fn head_slot(id: B256) -> U256 {
    words(&[id, word(SESSIONS)]).into()
}

/// Slot of the end of a session's log.
pub fn log_slot(id: B256) -> U256 {
    head_slot(id).wrapping_add(U256::from(1))
}

/// Slot of the end of a sender's batches.
pub fn batch_log_slot(sender: Address) -> U256 {
    words(&[sender.into_word(), word(BATCH_LOGS)]).into()
}

/// When something came on the chain.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Moment {
    /// The block's.
    pub height: Height,
    /// Its time, s since the Unix epoch.
    pub time_s: u64,
}

impl Moment {
    fn words(self) -> [B256; 2] {
        [word(self.height.0), word(self.time_s)]
    }
}

/// That a session was opened; the start of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The session, as [`anchor_id`] writes it.
    pub id: B256,
    /// Whose it is.
    pub owner: Address,
    /// Who sent the transaction.
    pub opener: Address,
    /// The ticket's.
    pub session_key: B256,
    /// The ticket's; zero for a session that was registered in one transaction.
    pub policy: B256,
    /// When.
    pub at: Moment,
}

/// A checkpoint in a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointSent {
    /// How many chunks it covers.
    pub size: u64,
    /// Salted root over them.
    pub root: B256,
    /// When.
    pub at: Moment,
}

/// That a session was closed; the end of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Hash of the signed manifest.
    pub manifest: B256,
    /// Its salted root.
    pub root: B256,
    /// How many chunks the session has.
    pub chunks: u64,
    /// End of the batches that the closer had sent; zero for a session that was registered in one transaction.
    pub batches: B256,
    /// When.
    pub at: Moment,
}

/// A batch of checkpoints of many sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchSent {
    /// Root of the tree over [`checkpoint_leaf`]s.
    pub root: B256,
    /// How many leaves it has, as its sender says.
    pub count: u32,
    /// When.
    pub at: Moment,
}

impl Opened {
    /// The log after it.
    pub fn log(&self) -> B256 {
        let [number, time] = self.at.words();
        words(&[
            word(OPENED),
            self.id,
            self.owner.into_word(),
            self.opener.into_word(),
            self.session_key,
            self.policy,
            number,
            time,
        ])
    }
}

impl CheckpointSent {
    /// The session's log after it.
    pub fn after(&self, log: B256) -> B256 {
        let [number, time] = self.at.words();
        words(&[
            word(CHECKPOINT),
            log,
            word(self.size),
            self.root,
            number,
            time,
        ])
    }
}

impl Closed {
    /// The session's log after it.
    pub fn after(&self, log: B256) -> B256 {
        let [number, time] = self.at.words();
        words(&[
            word(CLOSED),
            log,
            self.manifest,
            self.root,
            word(self.chunks),
            self.batches,
            number,
            time,
        ])
    }
}

impl BatchSent {
    /// The sender's batches after it.
    pub fn after(&self, batches: B256) -> B256 {
        let [number, time] = self.at.words();
        words(&[
            word(BATCH),
            batches,
            self.root,
            word(u64::from(self.count)),
            number,
            time,
        ])
    }
}

/// Leaf of a batch: hashed twice, so that no inner node passes for one.
pub fn checkpoint_leaf(id: B256, size: u64, root: B256) -> B256 {
    keccak256(words(&[id, word(size), root]))
}

/// Root of a batch; `None` of no leaves. Neighbours are hashed in sorted order, and one without a neighbour goes up as it is.
pub fn batch_root(leaves: &[B256]) -> Option<B256> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = up(&level);
    }
    level.first().copied()
}

/// The neighbours of leaf `index` on its way to the root, lowest first; `None` if there is no such leaf.
pub fn batch_path(leaves: &[B256], index: usize) -> Option<Vec<B256>> {
    leaves.get(index)?;
    let (mut level, mut index, mut path) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        path.extend(level.get(index ^ 1));
        (level, index) = (up(&level), index / 2);
    }
    Some(path)
}

/// The root that a path leads to.
pub fn batch_root_of_path(leaf: B256, path: &[B256]) -> B256 {
    path.iter().fold(leaf, |hash, next| pair(hash, *next))
}

fn up(level: &[B256]) -> Vec<B256> {
    level
        .chunks(2)
        .map(|nodes| match *nodes {
            [left, right] => pair(left, right),
            _ => nodes[0],
        })
        .collect()
}

fn pair(one: B256, other: B256) -> B256 {
    words(&[one.min(other), one.max(other)])
}

fn word(number: u64) -> B256 {
    U256::from(number).into()
}

fn words(words: &[B256]) -> B256 {
    keccak256(words.concat())
}

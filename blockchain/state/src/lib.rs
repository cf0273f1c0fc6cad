//! The state of the chain: accounts, their storage and code, under one root.
//!
//! The root is Ethereum's: a secure Merkle-Patricia tree (keys are Keccak hashes, values RLP), so that `eth_getProof` and
//! any Ethereum proof checker work. It is kept in a handful of fjall keyspaces of the node's one database:
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `state-flat` | `keccak(address)`, or that and `keccak(slot)` | the account, or the slot's value |
//! | `state-nodes` | tree, depth and path of a branch | the branch: what hangs on it, with hashes |
//! | `state-code` | code hash | the code |
//! | `state-history` | a height | what the keys that it changed held before |
//! | `state-meta` | | height, root and the oldest height that can still be read |
//!
//! Only branches are stored as nodes. A leaf is a row of `state-flat`, and the branch above it keeps the rest of the leaf's
//! path and its hash; an extension is a run of nibbles kept by the branch above.
//!
//! A block goes [`State::prepare`] (pure: the new root) → [`State::commit`] (adds the writes to the caller's batch, so that
//! block and state are one atomic write) → the caller commits the batch → [`State::committed`]. Readers see the
//! state of the last `committed`, never half a block, because all of them read through one database snapshot.
//!
//! INVARIANT: nothing here depends on time, on hash-map order or on what happens to be cached: same changes, same root.

mod cache;
mod history;
mod keys;
mod memory;
mod record;
mod snapshot;
mod store;
mod trie;
mod view;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};

pub use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY};
pub use memory::MemoryState;
pub use snapshot::{MAX_MANIFEST_BYTES, MAX_PIECE_BYTES, MAX_PIECES, Manifest, Pieces, Restore};
pub use store::{Prepared, State, StateOptions};
pub use view::{AccountProof, Historic, StorageProof};

/// The longest code one account may have. Ethereum's limit (EIP-170) is far below; this one only bounds decoders.
pub const MAX_CODE_BYTES: usize = 256 * 1024;

/// An account as the executor sees it; the root of its storage is kept by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// In wei.
    pub balance: U256,
    /// Keccak of the code; [`KECCAK_EMPTY`] for none.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            nonce: 0,
            balance: U256::ZERO,
            code_hash: KECCAK_EMPTY,
        }
    }
}

/// What a block changes. Values are the new ones; entries that change nothing are harmless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateChanges {
    /// `None` deletes the account and its storage. Empty accounts are stored as given: EIP-161 is the executor's business.
    pub accounts: BTreeMap<Address, Option<Account>>,
    /// Zero deletes the slot. The account must exist after the block.
    pub storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    /// New code by its Keccak hash. Code is never deleted.
    pub code: BTreeMap<B256, Bytes>,
}

/// Reads a state at one moment.
pub trait StateReader {
    /// The account, if there is one.
    fn account(&self, address: Address) -> Result<Option<Account>, StateError>;
    /// The value of a slot; zero where nothing is stored.
    fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError>;
    /// Code by its hash; empty for [`KECCAK_EMPTY`].
    fn code(&self, hash: B256) -> Result<Bytes, StateError>;
}

/// What goes wrong with a state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The database failed.
    #[error("the state database failed: {0}")]
    Database(#[from] fjall::Error),
    /// A stored record does not decode or a node is missing: the disk lost something.
    #[error("the state is damaged: {0}; restore it from a snapshot")]
    Damaged(String),
    /// Storage of an account that does not exist after the block.
    #[error("storage is written for {0}, which is no account after the block")]
    StorageWithoutAccount(Address),
    /// Code that does not have the hash it is filed under.
    #[error("code of {bytes} bytes does not hash to {hash}")]
    CodeMismatch {
        /// What it is filed under.
        hash: B256,
        /// Its size.
        bytes: usize,
    },
    /// Code above [`MAX_CODE_BYTES`].
    #[error("code of {0} bytes; at most {MAX_CODE_BYTES} are allowed")]
    CodeTooLong(usize),
    /// No code has this hash.
    #[error("there is no code with hash {0}")]
    UnknownCode(B256),
    /// The changes were prepared on another state than the present one.
    #[error(
        "the changes were prepared on root {prepared_on}, but the state is at {root}; prepare them again"
    )]
    Stale {
        /// Root they were prepared on.
        prepared_on: B256,
        /// Present root.
        root: B256,
    },
    /// Heights follow each other without gaps.
    #[error("height {got} does not follow {}", .head.map_or_else(|| "an empty state".to_owned(), |h| h.to_string()))]
    HeightOutOfOrder {
        /// Where the state is.
        head: Option<u64>,
        /// What was to be committed.
        got: u64,
    },
    /// [`State::committed`] was called, but the database does not hold that block.
    #[error("height {0} is not in the database: its batch was not committed")]
    NotWritten(u64),
    /// A height that is not kept, or not reached.
    #[error("no state of height {height}: {oldest} to {head} are kept")]
    NotKept {
        /// What was asked for.
        height: u64,
        /// Oldest height kept.
        oldest: u64,
        /// Newest height.
        head: u64,
    },
    /// Nothing was ever committed here.
    #[error("the state is empty: create it from genesis or restore a snapshot")]
    Empty,
    /// A snapshot goes into an empty state only.
    #[error("the state is not empty: clear it before a snapshot is restored")]
    NotEmpty,
    /// A restore is under way.
    #[error("a snapshot is being restored")]
    Restoring,
    /// A manifest that is not one, or lies.
    #[error("the snapshot's manifest is refused: {0}")]
    ManifestRefused(&'static str),
    /// A piece that is not what the manifest says.
    #[error("piece {index} of the snapshot is refused: {reason}")]
    PieceRefused {
        /// Which.
        index: usize,
        /// Why.
        reason: &'static str,
    },
    /// Not all pieces were fed.
    #[error("{0} pieces of the snapshot are missing")]
    PiecesMissing(usize),
    /// The manifest was asked for before the last piece was taken.
    #[error("the snapshot has more pieces: take them all before the manifest")]
    PiecesLeft,
    /// More than [`MAX_PIECES`] pieces.
    #[error("the state is too large for a snapshot of {MAX_PIECES} pieces")]
    TooLargeForSnapshot,
    /// zstd or borsh failed.
    #[error("a piece of the snapshot cannot be packed: {0}")]
    Packing(String),
    /// The restored state is not the certified one.
    #[error(
        "the snapshot has root {rebuilt}, but {certified} is certified; take one from another peer"
    )]
    RootMismatch {
        /// What it should be.
        certified: B256,
        /// What it is.
        rebuilt: B256,
    },
}

/// Result with [`StateError`].
pub type Result<T, E = StateError> = std::result::Result<T, E>;

//! Transactions that wait for a block.
//!
//! Pure: no files, clocks or sockets; the time and the accounts' state are handed in. What belongs to one sender is a line
//! ordered by nonce:
//!
//! ```text
//!  account nonce ▼
//!   [ 7 ][ 8 ][ 9 ]      [ 11 ][ 12 ]
//!   └── pending ──┘  gap └─ queued ─┘
//! ```
//!
//! - **Pending** transactions follow each other from the account's nonce on, pay the base fee and fit a block. They are what
//!   [`Mempool::best`] takes, what a node gossips, and what counts as pressure when the pool is full.
//! - **Queued** ones wait behind a gap or for a lower base fee. They are free to send, so they are the first to go.
//! - The cost of all that a sender has waiting is within its balance. As only an account's own transactions lower its
//!   balance, what is pending stays payable until its sender replaces it.
//!
//! What a transaction is worth to a full pool is its **rank**: the lowest tip from its sender's first transaction up to itself,
//! since it cannot be in a block before those. A cheap transaction therefore cannot hide in front of a dear one, nor the
//! other way round. A newcomer outranks what it evicts by the same percentage as a replacement, pays more than all of
//! it together, and takes from the tail of the lowest sender, so that nobody else's transactions lose their predecessor.

mod error;
mod journal;
mod limits;
mod line;
mod pool;

pub use error::Refused;
pub use journal::{JournalEntry, JournalError, MAX_JOURNAL_BYTES, decode_journal, encode_journal};
pub use limits::Limits;
pub use pool::{
    BlockUpdate, Changes, Counts, DropReason, Dropped, Inserted, Mempool, Restored, Status, Waiting,
};

use alloy_primitives::{Address, B256, Bytes, U256};

/// A decoded transaction whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its Ethereum hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// Its place in the sender's line.
    pub nonce: u64,
    /// Most gas it may use.
    pub gas_limit: u64,
    /// Most it pays for a gas, base fee included, wei.
    pub max_fee: u128,
    /// Most of it that goes to the proposer, wei.
    pub max_priority_fee: u128,
    /// What the sender must have: value + gas limit × max fee, wei.
    pub cost: U256,
    /// EIP-2718 encoding.
    pub bytes: Bytes,
}

impl Candidate {
    /// What the proposer gets for a gas at this base fee (EIP-1559); nothing where the base fee is not paid.
    #[must_use]
    pub fn tip(&self, base_fee: u64) -> u128 {
        self.max_fee
            .saturating_sub(u128::from(base_fee))
            .min(self.max_priority_fee)
    }

    /// Gas that a transaction of this size cannot do without, counted so that sizes which cost a pool about the same weigh the
    /// same: the flat price covers the first KiB, and every byte after it the least a byte of data costs (EIP-7623).
    pub(crate) fn weight(&self) -> u128 {
        const FLAT_GAS: u128 = 21_000;
        const GAS_PER_BYTE: u128 = 10;
        const INCLUDED_BYTES: usize = 1 << 10;
        let beyond = self.bytes.len().saturating_sub(INCLUDED_BYTES);
        FLAT_GAS + GAS_PER_BYTE * beyond as u128
    }
}

/// What the pool needs to know of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The nonce its next transaction must have.
    pub nonce: u64,
    /// What it has, wei.
    pub balance: U256,
}

//! Why a transaction was refused.

use alloy_primitives::{Address, B256, U256};

/// Why a transaction was refused. The texts reach people through JSON-RPC; the first words are those that Ethereum's tools
/// look for, where there are such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is in the pool.
    #[error("already known: {0}")]
    Known(B256),
    /// More bytes than a transaction may have.
    #[error("oversized data: the transaction has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// No block has room for it.
    #[error("exceeds block gas limit: it asks for {gas} gas, a block has {limit}")]
    GasAboveBlock {
        /// What it asks for.
        gas: u64,
        /// What the next block has.
        limit: u64,
    },
    /// The tip is above the whole fee.
    #[error(
        "max priority fee per gas higher than max fee per gas: {max_priority_fee} > {max_fee} wei"
    )]
    TipAboveFee {
        /// The tip.
        max_priority_fee: u128,
        /// The fee.
        max_fee: u128,
    },
    /// It cannot be in the next block.
    #[error("max fee per gas less than block base fee: {max_fee} < {base_fee} wei")]
    BelowBaseFee {
        /// What it pays.
        max_fee: u128,
        /// What it would have to.
        base_fee: u64,
    },
    /// That nonce is used up.
    #[error("nonce too low: {nonce} is used, the next of {sender} is {next}")]
    NonceTooLow {
        /// Whose.
        sender: Address,
        /// The transaction's.
        nonce: u64,
        /// The account's.
        next: u64,
    },
    /// Too many nonces are missing before it.
    #[error("nonce too high: {nonce} is more than {gap} after {missing}, which is missing")]
    NonceGap {
        /// The transaction's.
        nonce: u64,
        /// The first that is missing.
        missing: u64,
        /// The bound.
        gap: u64,
    },
    /// No account gets this far (EIP-2681).
    #[error("nonce has max value: {0}")]
    NonceAtMaximum(u64),
    /// Another transaction has its place and pays as well.
    #[error(
        "replacement transaction underpriced: it takes a fee of {max_fee} and a tip of {max_priority_fee} wei to replace {replaces}"
    )]
    Underpriced {
        /// What holds the place.
        replaces: B256,
        /// The least fee for it.
        max_fee: u128,
        /// The least tip for it.
        max_priority_fee: u128,
    },
    /// The account has too little for all it has waiting.
    #[error(
        "insufficient funds for gas * price + value: {sender} has {balance} wei, all its waiting transactions need {needed}"
    )]
    InsufficientFunds {
        /// Whose.
        sender: Address,
        /// What it has.
        balance: U256,
        /// What it would have to.
        needed: U256,
    },
    /// The sender has as many waiting as it may.
    #[error("account limit exceeded: {sender} has {count} transactions of {bytes} bytes waiting")]
    SenderFull {
        /// Whose.
        sender: Address,
        /// How many.
        count: usize,
        /// How large.
        bytes: usize,
    },
    /// There is no room, and it pays too little to make some.
    #[error("txpool is full: a tip of more than {tip} wei a gas is needed to get in")]
    Full {
        /// What it would have to outrank.
        tip: u128,
    },
    /// There is no room for transactions that have to wait for others.
    #[error("txpool is full: no room for a transaction whose predecessor is missing")]
    QueueFull,
}

use alloy_primitives::{Address, B256, U256};
use lucid_chain_types::{CertificateError, EvidenceError, Height, NodeId, Slot};
use lucid_state::StateError;

use crate::LeftOut;

/// Why execution cannot go on: a fault of this node, never of a block.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// An embedded contract is damaged, which only a broken build can cause.
    #[error("the genesis contract {name}: {reason}")]
    Artifact {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A call of the chain's own failed: contracts and program are not of one version.
    #[error("{what} failed: {reason}")]
    System {
        /// The call.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A governed parameter that the contracts do not know, or a value out of its bounds.
    #[error("the genesis contract {name} refused its arguments: {reason}")]
    Constructor {
        /// Its name.
        name: &'static str,
        /// What it said.
        reason: String,
    },
    /// The genesis file was made for other contracts.
    #[error(
        "the genesis file names the contracts {said}, this program has {has}: use the program the chain was made with"
    )]
    OtherContracts {
        /// In the file.
        said: B256,
        /// Of this program.
        has: B256,
    },
    /// The genesis file gives coins to an account that has none of its own.
    #[error("the genesis file gives coins to {0}, which is a genesis contract or the chain itself")]
    GenesisAccount(Address),
    /// The state that was handed in is not the one after the parent.
    #[error("the state has the root {found}, the parent's is {expected}")]
    OtherState {
        /// The state's root.
        found: B256,
        /// The parent's.
        expected: B256,
    },
    /// The validator sets that were handed in are not those of the parent.
    #[error("the validators handed in are not those of block {0}")]
    OtherValidators(Height),
    /// A block that is invalid.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl ExecutionError {
    /// The block's fault, or this node's own error back.
    pub fn into_invalid(self) -> Result<BlockError, Self> {
        match self {
            Self::Block(error) => Ok(error),
            own => Err(own),
        }
    }
}

/// Why a block is invalid.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BlockError {
    #[error("its version is {0}, which is not known here")]
    Version(u8),
    #[error("its chain id is {found}, not {expected}")]
    ChainId { found: u64, expected: u64 },
    #[error("its height is {found}, {expected} comes next")]
    Height { found: Height, expected: Height },
    #[error("its parent is {found}, not {expected}")]
    Parent { found: B256, expected: B256 },
    #[error("its time {found} is not after its parent's {parent}")]
    Time { found: u64, parent: u64 },
    #[error("its slot is {found}, {expected} is open")]
    Slot { found: Slot, expected: Slot },
    #[error("it says seal = {found} at a time when that is {expected}")]
    Seal { found: bool, expected: bool },
    #[error("{found} made it, {expected} leads round {round}")]
    Proposer {
        found: NodeId,
        expected: NodeId,
        round: u32,
    },
    #[error("the leader's VRF proof does not verify")]
    Vrf,
    #[error("it has no certificate of its parent, or one where there is no parent")]
    NoLastCommit,
    #[error("its certificate of the parent: {0}")]
    LastCommit(#[from] CertificateError),
    #[error("its certificate is of another block than its parent")]
    OtherLastCommit,
    #[error("its evidence against {node}: {source}")]
    Evidence { node: NodeId, source: EvidenceError },
    #[error("its evidence against {node} is of height {height}: too old, or of the future")]
    EvidenceAge { node: NodeId, height: Height },
    #[error(
        "its evidence against {0} settles nothing: that node has none to lose, or is accused twice"
    )]
    EvidenceSettled(NodeId),
    #[error("it has too much evidence")]
    TooMuchEvidence,
    #[error("it has too many transactions, or too large ones")]
    TooLarge,
    #[error("its transaction {index}: {source}")]
    Transaction {
        index: usize,
        source: TransactionError,
    },
    #[error(
        "its transaction {index} does not fit into what the ones before it leave of gas limit {gas_limit} and size"
    )]
    NoRoom { index: usize, gas_limit: u64 },
    #[error("there is nothing in it, and it seals no slot")]
    Empty {
        /// Transactions that were to be in it; none where a block was checked.
        left_out: Vec<LeftOut>,
    },
    #[error("{what} failed in it: {reason}")]
    System { what: &'static str, reason: String },
    #[error("its {what} is {found}, execution gives {expected}")]
    Outcome {
        what: &'static str,
        found: String,
        expected: String,
    },
}

/// Why a transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TransactionError {
    #[error("it has {bytes} bytes, at most {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("it is malformed: {0}")]
    Malformed(String),
    #[error(
        "transactions of type {0} are not accepted here: use a legacy, EIP-2930 or EIP-1559 transaction"
    )]
    Type(u8),
    #[error(
        "it has no chain id, and could be replayed on another chain: sign it with one (EIP-155)"
    )]
    NoChainId,
    #[error("its chain id is {found}, this chain has {expected}")]
    ChainId { found: u64, expected: u64 },
    #[error("contract creation is disabled: only the genesis contracts run here")]
    Create,
    #[error("its signature is not valid")]
    Signature,
    #[error("intrinsic gas too low: its gas limit is {limit}, it needs {needed} before it runs")]
    IntrinsicGas { limit: u64, needed: u64 },
    #[error("exceeds block gas limit: its gas limit is {limit}, a block has {block}")]
    GasLimit { limit: u64, block: u64 },
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFee,
    #[error("max fee per gas less than block base fee: maxFeePerGas {max_fee}, baseFee {base_fee}")]
    FeeBelowBase { max_fee: u128, base_fee: u64 },
    #[error("nonce too low: next nonce {expected}, tx nonce {found}")]
    NonceTooLow { found: u64, expected: u64 },
    #[error("nonce too high: next nonce {expected}, tx nonce {found}")]
    NonceTooHigh { found: u64, expected: u64 },
    #[error("insufficient funds for gas * price + value: {sender} has {balance}, wants {cost}")]
    Funds {
        sender: Address,
        balance: U256,
        cost: U256,
    },
    #[error("the sender {0} is a contract")]
    SenderIsContract(Address),
    #[error("it cannot be executed: {0}")]
    Other(String),
}

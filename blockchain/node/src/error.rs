use std::io;
use std::path::{Path, PathBuf};

use lucid_chain_types::GenesisError;
use lucid_consensus::ConsensusError;
use lucid_custody::CustodyError;
use lucid_execution::ExecutionError;
use lucid_gossip::GossipError;
use lucid_ledger::LedgerError;
use lucid_readmodel::ModelError;
use lucid_rpc::RpcError;
use lucid_service::ServiceError;

/// Why a node does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key file.
    #[error("the key {path}: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key of an account.
    #[error(transparent)]
    Wallet(#[from] lucid_client::WalletError),
    /// The genesis file.
    #[error("{path}: {source}")]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GenesisError,
    },
    /// There is a network already.
    #[error("{0} is there already: a network is never overwritten; choose another folder")]
    NetworkExists(PathBuf),
    /// Not as many addresses as nodes.
    #[error("{nodes} nodes need as many addresses, {places} are given")]
    Places {
        /// Nodes.
        nodes: usize,
        /// Addresses.
        places: usize,
    },
    /// A configuration cannot be written.
    #[error("the configuration cannot be written: {0}")]
    Encode(String),
    /// The node is configured as a validator and is none of the genesis or current set, or its keys are others.
    #[error(
        "this node's keys are not those that the chain has for {node}: {what} differs; was the folder copied in part?"
    )]
    OtherKeys {
        /// The node.
        node: String,
        /// Which key.
        what: &'static str,
    },
    /// Little room on the disk.
    #[error("{path} has {free} bytes free, node.min_free is {least}: make room, then start again")]
    DiskFull {
        /// The data folder.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free.
        least: u64,
    },
    /// An address in use, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The engine ended.
    #[error("the consensus engine stopped; the log says why")]
    EngineStopped,
    /// A thread ended in a panic, which is a fault of this program.
    #[error("a task of this node failed: {0}")]
    Panicked(String),
    /// Snapshot sync.
    #[error("no snapshot could be used: {0}")]
    Snapshot(String),
    /// The configuration or the logs.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Blocks and state.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Execution.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The read model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// Transactions and snapshots among peers.
    #[error(transparent)]
    Gossip(#[from] GossipError),
    /// Chunks kept for others.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// JSON-RPC.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl NodeError {
    /// Whether it is the machine that has to change before the node can run: a file, the disk, an address in use.
    pub fn is_machine(&self) -> bool {
        matches!(
            self,
            Self::File { .. }
                | Self::DiskFull { .. }
                | Self::Listen { .. }
                | Self::Ledger(LedgerError::InUse { .. })
                | Self::Model(ModelError::InUse { .. } | ModelError::Mongo(_))
                | Self::Consensus(ConsensusError::Listen { .. })
                | Self::Gossip(GossipError::Listen { .. })
                | Self::Custody(CustodyError::File { .. })
                | Self::Rpc(RpcError::Listen { .. })
        ) || matches!(self, Self::Ledger(error) if error.is_disk())
    }

    /// Whether files of the node's database are damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Ledger(error) | Self::Model(ModelError::Ledger(error)) if error.is_damage())
    }

    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

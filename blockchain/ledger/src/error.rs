use std::io;
use std::path::PathBuf;

use alloy_primitives::B256;
use lucid_chain_types::{DecodeError, Height};
use lucid_state::StateError;

/// Why the ledger cannot answer or go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database failed. What was committed is safe; the node has to stop, since a failed write must not be tried again.
    #[error("the database in {path}: {fault}; {}", advice(fault))]
    Database {
        /// Its folder.
        path: PathBuf,
        /// What it said.
        fault: fjall::Error,
    },
    /// Another process has the database open.
    #[error("another node runs in {path}: stop it first, or give this one a folder of its own")]
    InUse {
        /// Its folder.
        path: PathBuf,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database is of another chain.
    #[error(
        "the database in {path} is of the chain {found}, the genesis file is of {expected}; give each chain a folder of its own"
    )]
    OtherChain {
        /// Its folder.
        path: PathBuf,
        /// The genesis hash it was made with.
        found: B256,
        /// The genesis file's.
        expected: B256,
    },
    /// The database was written by another version.
    #[error("the database in {path} has version {found}, this program reads {expected}")]
    Version {
        /// Its folder.
        path: PathBuf,
        /// Its version.
        found: u8,
        /// What is known here.
        expected: u8,
    },
    /// Something stored does not read back.
    #[error(
        "{what} in the database is damaged: {reason}; move the data folder away, then restore a backup, or start again to fetch the chain from peers"
    )]
    Damaged {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The execution of genesis, or of a read.
    #[error(transparent)]
    Execution(#[from] lucid_execution::ExecutionError),
    /// A block does not follow the head.
    #[error("block {found} does not follow the head {head}")]
    NotNext {
        /// Its height.
        found: Height,
        /// The head's.
        head: Height,
    },
    /// The genesis file names another state than its contracts make.
    #[error(
        "the genesis file says the state root {said}, its accounts and contracts make {made}; was it edited by hand?"
    )]
    GenesisRoot {
        /// In the file.
        said: B256,
        /// Computed.
        made: B256,
    },
    /// A snapshot that is not one, or not of this chain.
    #[error("the snapshot is refused: {0}")]
    Snapshot(String),
    /// A snapshot begins a chain, and does not go on with one.
    #[error(
        "there is a chain here already, at height {0}: a snapshot goes into an empty folder only"
    )]
    NotEmpty(Height),
    /// An archive that is not one, or not of this chain.
    #[error("the archive is refused: {0}")]
    Archive(String),
    /// What is written to or read from while an archive is made or restored.
    #[error("the archive: {0}")]
    ArchiveFile(#[source] io::Error),
    /// A proof cannot be made.
    #[error("no proof for height {height}: {reason}")]
    Proof {
        /// The height.
        height: Height,
        /// Why.
        reason: String,
    },
}

impl LedgerError {
    /// Whether files of the database are damaged, so that it has to be made anew from a backup or from the node's peers.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database { fault, .. } | Self::State(StateError::Database(fault)) => {
                is_damage(fault)
            }
            Self::Damaged { .. } | Self::State(StateError::Damaged(_)) => true,
            _ => false,
        }
    }

    /// Whether the disk failed or is full.
    pub fn is_disk(&self) -> bool {
        match self {
            Self::Database { fault, .. } | Self::State(StateError::Database(fault)) => {
                !is_damage(fault)
            }
            Self::File { .. } => true,
            _ => false,
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over errors they are done with"
    )]
    pub(crate) fn damaged(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn file(path: &std::path::Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn decode(what: impl Into<String>, error: &DecodeError) -> Self {
        Self::damaged(what, error)
    }
}

/// Whether the database read something it did not write, and not nothing at all.
fn is_damage(fault: &fjall::Error) -> bool {
    !matches!(
        fault,
        fjall::Error::Io(_)
            | fjall::Error::Storage(fjall::LsmError::Io(_))
            | fjall::Error::Poisoned
            | fjall::Error::Locked
    )
}

fn advice(fault: &fjall::Error) -> &'static str {
    if is_damage(fault) {
        "its files are damaged: move the folder away, then restore a backup, or start again to fetch the chain from peers"
    } else {
        "see that the disk has room and works, then start again"
    }
}

/// Why a transaction is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It can never be in a block here.
    #[error(transparent)]
    Invalid(#[from] lucid_execution::TransactionError),
    /// The mempool refuses it.
    #[error(transparent)]
    Refused(#[from] lucid_mempool::Refused),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

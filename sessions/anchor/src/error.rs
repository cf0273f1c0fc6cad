use std::io;
use std::path::{Path, PathBuf};

use lucid_client::{ClientError, WalletError};
use lucid_format::SessionId;

/// Why a job is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing says whose session it is.
    #[error("session {id} was never opened on the chain from here: open it first")]
    NotOpened {
        /// The session.
        id: SessionId,
    },
    /// The same id with other values.
    #[error("session {id} is being opened on the chain with another owner, key or policy")]
    OpenedOtherwise {
        /// The session.
        id: SessionId,
    },
    /// The same session with another end.
    #[error("session {id} is being closed on the chain with another manifest")]
    ClosedOtherwise {
        /// The session.
        id: SessionId,
    },
    /// There is no going on with it.
    #[error("session {id} could not be opened on the chain: {why}")]
    Failed {
        /// The session.
        id: SessionId,
        /// In words.
        why: String,
    },
}

/// What can go wrong with the queue.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// A file could not be read or written.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        error: io::Error,
    },
    /// Another process has the queue.
    #[error(
        "the anchor queue in {} is in use by another process: one account's transactions need one queue",
        folder.display()
    )]
    Locked {
        /// Its folder.
        folder: PathBuf,
    },
    /// A file holds something else than it should.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The queue's account is another one.
    #[error(
        "{}: it is the queue of account {found}, and the key is that of {account}: each account needs a folder of its own",
        path.display()
    )]
    OtherAccount {
        /// The journal.
        path: PathBuf,
        /// Whose it is.
        found: alloy_primitives::Address,
        /// Whose the key is.
        account: alloy_primitives::Address,
    },
    /// The queue's chain is another one.
    #[error(
        "{}: it is the queue of the chain with genesis {found}, and the genesis file is that of {genesis}: \
         each chain needs a folder of its own",
        path.display()
    )]
    OtherChain {
        /// The journal.
        path: PathBuf,
        /// The chain it is about.
        found: alloy_primitives::B256,
        /// The chain that is configured.
        genesis: alloy_primitives::B256,
    },
    /// The job.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The queue's task is gone.
    #[error("the anchor queue has stopped: {why}")]
    Stopped {
        /// Why, as far as it is known.
        why: String,
    },
    /// It took too long.
    #[error("session {id} is not open on the chain after {seconds} s; {why}")]
    Late {
        /// The session.
        id: SessionId,
        /// How long was waited.
        seconds: u64,
        /// What holds it up, as far as it is known.
        why: String,
    },
    /// The key.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// A node's address, as a rule.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl AnchorError {
    pub(crate) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            error,
        }
    }
}

//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;

/// What can go wrong with custody.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The door cannot be opened.
    #[error("chunks cannot be served at {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The chain.
    #[error(transparent)]
    Chain(#[from] lucid_client::ClientError),
    /// A door's address.
    #[error("'{0}' is not the address of a door, such as http://10.0.0.5:26658")]
    Url(String),
    /// Talking to a holder.
    #[error("{door}: {reason}")]
    Holder {
        /// Its door.
        door: String,
        /// What happened.
        reason: String,
    },
    /// A holder sent something else.
    #[error("{door} does not serve chunk {hash}: {what} is not the chunk's")]
    Lie {
        /// Its door.
        door: String,
        /// The chunk.
        hash: B256,
        /// What was wrong.
        what: String,
    },
    /// Nobody has it.
    #[error("no holder gave chunk {hash}: {reasons}")]
    Nowhere {
        /// The chunk.
        hash: B256,
        /// What each said.
        reasons: String,
    },
    /// Nobody takes it.
    #[error("no node took chunk {hash}: {reasons}")]
    Refused {
        /// The chunk.
        hash: B256,
        /// What each said.
        reasons: String,
    },
    /// Not what was committed to.
    #[error("these bytes are not chunk {hash} as it was committed to: {what} differs")]
    Mismatch {
        /// The chunk.
        hash: B256,
        /// What differs.
        what: &'static str,
    },
    /// A task ended in a panic.
    #[error("a task ended by itself: {0}")]
    Panicked(String),
}

impl CustodyError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

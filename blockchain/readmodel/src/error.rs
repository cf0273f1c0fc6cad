use std::path::PathBuf;

use alloy_primitives::B256;
use lucid_chain_types::Height;
use lucid_ledger::LedgerError;

/// What goes wrong with the read model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The embedded database.
    #[error("the read model in {path}: {fault}")]
    Database {
        /// Its folder.
        path: PathBuf,
        /// What the database said.
        fault: fjall::Error,
    },
    /// Another process has it open.
    #[error("the read model in {path} is in use by another process")]
    InUse {
        /// Its folder.
        path: PathBuf,
    },
    /// It was made from another chain.
    #[error(
        "{place} has the read model of the chain {found}, not of {expected}: name another database, or remove it"
    )]
    OtherChain {
        /// Where.
        place: String,
        /// Its chain.
        found: B256,
        /// This chain.
        expected: B256,
    },
    /// Blocks are missing between what is there and what is to be added.
    #[error("blocks up to {last} cannot be added from {first} on: the read model ends at {height}")]
    Gap {
        /// The last that is there.
        height: Height,
        /// The first to be added.
        first: Height,
        /// The last to be added.
        last: Height,
    },
    /// Something stored cannot be read.
    #[error(
        "{what} of the read model is damaged: {reason}; 'lucid chain index rebuild' makes it anew"
    )]
    Damaged {
        /// What.
        what: String,
        /// How.
        reason: String,
    },
    /// A document that is no document, which is a fault of this program.
    #[error("a document cannot be written: {0}")]
    Encode(String),
    /// What was asked for is no key.
    #[error("'{text}' is no key of {collection}: {expected}")]
    Key {
        /// What was given.
        text: String,
        /// Of which collection.
        collection: &'static str,
        /// What a key looks like.
        expected: String,
    },
    /// Another database than those that this program was built with.
    #[error("{0}")]
    Unsupported(String),
    /// The chain.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// MongoDB.
    #[error("MongoDB: {0}")]
    Mongo(String),
}

impl ModelError {
    pub(crate) fn damaged(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Damaged {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

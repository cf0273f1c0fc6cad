use std::{
    io,
    path::{Path, PathBuf},
};

use lucid_format::{FormatError, Hash, SessionId};
use rustix::io::Errno;
use thiserror::Error;

/// What can go wrong in the store.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{doing} {}: {why}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// No room: the disk, a quota of the file system, or a limit of this store. What was recorded before stays valid.
    #[error(
        "no room for the recording: {why}; make room with 'lucid prune' or on the disk. What was recorded so far stays valid"
    )]
    Full {
        /// Which bound was reached, with its value.
        why: String,
    },
    /// A session id is used once.
    #[error("session {id} is already in the store: an id is used once, mint a new session")]
    Exists {
        /// Which session.
        id: SessionId,
    },
    /// No such session.
    #[error("there is no session {id} in this store: 'lucid session list' shows those that are")]
    NoSession {
        /// Which session.
        id: SessionId,
    },
    /// A live writer, or another program, has the session.
    #[error(
        "session {id} is being recorded or worked on by another process: end it or wait before {doing}"
    )]
    Live {
        /// Which session.
        id: SessionId,
        /// What was to be done.
        doing: &'static str,
    },
    /// Another program works on the whole store.
    #[error("another 'lucid fsck' or 'lucid prune' is working on {}: wait for it", root.display())]
    Busy {
        /// The store.
        root: PathBuf,
    },
    /// Only sealed sessions can be packed.
    #[error(
        "session {id} is not sealed: end it, or run 'lucid session recover {id}' if its recorder died"
    )]
    NotSealed {
        /// Which session.
        id: SessionId,
    },
    /// Nothing to recover.
    #[error("session {id} is sealed already: there is nothing to recover")]
    Sealed {
        /// Which session.
        id: SessionId,
    },
    /// A legal hold forbids it.
    #[error(
        "session {id} is under legal hold ({hold}): release it with 'lucid session release {id}' first"
    )]
    Held {
        /// Which session.
        id: SessionId,
        /// Who put it there and why.
        hold: String,
    },
    /// A chunk is not there.
    #[error("chunk {hash} is missing from the store: restore it from a copy of the recording")]
    ChunkMissing {
        /// Its address.
        hash: Hash,
    },
    /// A chunk's bytes were changed.
    #[error("chunk {hash} is damaged ({why}): restore it from a copy of the recording")]
    ChunkDamaged {
        /// Its address.
        hash: Hash,
        /// What is wrong.
        why: String,
    },
    /// A file of the store does not hold what a crash can leave: it was changed from outside.
    #[error("{} is damaged: {why}; 'lucid fsck' tells the extent", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The folder is not a store of a version that is known here.
    #[error("{} is not a store this program can use: {why}", root.display())]
    NotAStore {
        /// The folder.
        root: PathBuf,
        /// Why not.
        why: String,
    },
    /// The caller handed over something that does not belong to the session; nothing was written.
    #[error("session {id}: refused to write {what}: {why}")]
    Mismatch {
        /// Which session.
        id: SessionId,
        /// What was handed over.
        what: &'static str,
        /// What does not fit.
        why: String,
    },
    /// Bytes of a recording that do not check.
    #[error("{what}: {source}")]
    Format {
        /// Where.
        what: String,
        /// What does not hold.
        source: FormatError,
    },
}

impl StoreError {
    /// Whether there was no room, as opposed to a fault.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    pub(crate) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        let no_room = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG]
            .iter()
            .any(|e| error.raw_os_error() == Some(e.raw_os_error()));
        if no_room {
            return Self::Full {
                why: format!("{doing} {}: {error}", path.display()),
            };
        }
        Self::Io {
            doing,
            path: path.to_path_buf(),
            why: error.to_string(),
        }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            why: why.into(),
        }
    }

    pub(crate) fn format(what: impl Into<String>) -> impl FnOnce(FormatError) -> Self {
        let what = what.into();
        move |source| Self::Format { what, source }
    }
}

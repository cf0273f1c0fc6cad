use std::{
    io,
    path::{Path, PathBuf},
};

use lucid_format::{FormatError, SessionId};
use thiserror::Error;

/// What can go wrong while sessions are minted, recorded and kept.
#[derive(Debug, Error)]
pub enum RecorderError {
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
    /// The host's key file holds something else.
    #[error("{} is not a host key (64 hex digits): restore it from a backup, or move it away to start with a new identity", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
    },
    /// A ticket that is not there.
    #[error(
        "user '{user}': no ticket for this user and one-time password; mint one with 'lucid session mint --user {user}'"
    )]
    UnknownTicket {
        /// Who came.
        user: String,
    },
    /// A ticket that was used before.
    #[error(
        "user '{user}': the one-time password was used already for session {session}; mint another"
    )]
    UsedTicket {
        /// Who came.
        user: String,
        /// The session it was used for.
        session: SessionId,
    },
    /// A ticket that is too old.
    #[error(
        "user '{user}': the ticket for session {session} expired {seconds_ago} s ago; mint another"
    )]
    ExpiredTicket {
        /// Who came.
        user: String,
        /// Its session.
        session: SessionId,
        /// How long ago.
        seconds_ago: u64,
    },
    /// A name that is in no targets file.
    #[error(
        "target '{name}' is unknown; the gateway knows: {known}. Add it to targets.toml or with --target {name}=HOST:PORT"
    )]
    UnknownTarget {
        /// The name.
        name: String,
        /// What is known.
        known: String,
    },
    /// Faults in a targets file, all of them.
    #[error("{}: {}", path.display(), faults.join("; "))]
    Targets {
        /// The file.
        path: PathBuf,
        /// Each fault with its place.
        faults: Vec<String>,
    },
    /// A line of the audit log that does not follow from the one before.
    #[error("{}, line {line}: {why}: the audit log was changed", path.display())]
    Audit {
        /// The log.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What does not hold.
        why: String,
    },
    /// The recording must not go on.
    #[error("{0}")]
    FailClosed(String),
    /// The control socket.
    #[error("{0}")]
    Control(String),
    /// The format's own faults.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The store's own faults.
    #[error(transparent)]
    Store(#[from] lucid_store::StoreError),
    /// The anchor queue's faults.
    #[error(transparent)]
    Anchor(#[from] lucid_anchor::AnchorError),
    /// The gateway's own faults.
    #[error(transparent)]
    Rdp(#[from] lucid_rdp::RdpError),
}

impl RecorderError {
    pub(crate) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            error,
        }
    }
}

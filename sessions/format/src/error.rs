use thiserror::Error;

/// What is wrong with the bytes of a recording, a key file or a disclosure.
///
/// Every variant has a [`kind`](FormatError::kind), which programs map to exit codes and user interfaces to words.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// The bytes end before the structure does.
    #[error(
        "{what} is cut short: {need} bytes needed, {have} there; fetch the file again from where it came"
    )]
    Truncated {
        /// Which structure.
        what: &'static str,
        /// Bytes the structure needs.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The file does not start like a Lucid file.
    #[error("this is not {what}: it starts with other bytes")]
    NotLucid {
        /// What was expected.
        what: &'static str,
    },
    /// A version that this program does not know.
    #[error(
        "{what} has version {found}, and this program reads version {known}: use a newer lucid"
    )]
    Version {
        /// Which structure.
        what: &'static str,
        /// Version in the bytes.
        found: u16,
        /// Version this code knows.
        known: u16,
    },
    /// A length or count above its bound.
    #[error("{what} claims {value}, and the bound is {bound}: refused unread")]
    TooLarge {
        /// Which field.
        what: &'static str,
        /// Value in the bytes.
        value: u64,
        /// Largest value that is accepted.
        bound: u64,
    },
    /// Bytes that do not decode.
    #[error("{what} does not decode: {why}")]
    Malformed {
        /// Which structure.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A hash, tag or order that does not hold: the bytes were changed.
    #[error("{what} was changed: {why}")]
    Tampered {
        /// Which structure.
        what: String,
        /// Which check failed.
        why: String,
    },
    /// A signature that does not verify.
    #[error("the signature of {what} does not verify: it was changed or signed by another key")]
    Signature {
        /// Which structure.
        what: &'static str,
    },
    /// A key that does not open what it is meant to open.
    #[error("{what}: this key does not open it")]
    WrongKey {
        /// What was to be opened.
        what: String,
    },
    /// The recording has no wrap for the key, or no wraps at all.
    #[error("{why}")]
    NoKey {
        /// Why there is no key.
        why: String,
    },
    /// A bound of the writer was reached.
    #[error("{what} would exceed its bound of {bound}")]
    WriterBound {
        /// Which quantity.
        what: &'static str,
        /// The bound.
        bound: u64,
    },
    /// Reading or writing failed underneath.
    #[error("{what}: {why}")]
    Io {
        /// What was read or written.
        what: &'static str,
        /// The operating system's words.
        why: String,
    },
}

/// The families of [`FormatError`], one an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes end too early.
    Truncated,
    /// Changed, reordered or dropped bytes, or a bad signature.
    Tampered,
    /// Not a Lucid file, or one that breaks the format's rules or bounds.
    Malformed,
    /// Written by a newer program.
    Version,
    /// No key was there.
    NoKey,
    /// A key that does not fit.
    WrongKey,
    /// The disk or network underneath.
    Io,
}

impl FormatError {
    /// The family this error belongs to.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Truncated { .. } => ErrorKind::Truncated,
            Self::NotLucid { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::WriterBound { .. } => ErrorKind::Malformed,
            Self::Version { .. } => ErrorKind::Version,
            Self::Tampered { .. } | Self::Signature { .. } => ErrorKind::Tampered,
            Self::WrongKey { .. } => ErrorKind::WrongKey,
            Self::NoKey { .. } => ErrorKind::NoKey,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    pub(crate) fn tampered(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Tampered {
            what: what.into(),
            why: why.into(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over errors and texts alike"
    )]
    pub(crate) fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed {
            what,
            why: why.to_string(),
        }
    }
}

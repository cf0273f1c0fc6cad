//! Exit codes. Scripts rely on them: a code never changes its meaning. `docs/cli.md` lists them for people.

use std::fmt;

use lucid_anchor::AnchorError;
use lucid_format::{ErrorKind, FormatError};
use lucid_recorder::RecorderError;
use lucid_store::StoreError;

/// Anything not named below.
pub const FAILURE: u8 = 1;
/// The command line or a configuration value is wrong (also what clap exits with).
pub const USAGE: u8 = 2;
/// A file or session is not there, or the disk or network failed.
pub const NOT_FOUND: u8 = 3;
/// The recording ends too early.
pub const TRUNCATED: u8 = 10;
/// Something was changed, reordered, dropped or signed by another key.
pub const TAMPERED: u8 = 11;
/// Not a recording, or one that breaks the format's rules or bounds.
pub const MALFORMED: u8 = 12;
/// Written by a newer Lucid.
pub const VERSION: u8 = 13;
/// A key is needed and none was there.
pub const NO_KEY: u8 = 14;
/// The key does not fit.
pub const WRONG_KEY: u8 = 15;
/// All that is there is sound, but the session was cut: it has no proper end.
pub const CUT: u8 = 16;
/// The store, or the database of a node, has damage.
pub const DAMAGED: u8 = 17;
/// A program that Lucid calls (ffmpeg, xrdp, …) is missing or failed.
pub const PROGRAM: u8 = 20;

/// An error with an exit code of its own.
#[derive(Debug)]
pub struct Exit {
    /// The code.
    pub code: u8,
    /// What to tell the person.
    pub message: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// An error that exits with `code`.
pub fn exit(code: u8, message: impl Into<String>) -> anyhow::Error {
    Exit {
        code,
        message: message.into(),
    }
    .into()
}

/// The code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(exit) = cause.downcast_ref::<Exit>() {
            return exit.code;
        }
        let known = cause
            .downcast_ref()
            .map(of_format)
            .or_else(|| cause.downcast_ref().and_then(of_store))
            .or_else(|| cause.downcast_ref().and_then(of_recorder))
            .or_else(|| cause.downcast_ref().and_then(of_anchor))
            .or_else(|| cause.is::<std::io::Error>().then_some(NOT_FOUND));
        if let Some(code) = known {
            return code;
        }
    }
    FAILURE
}

fn of_format(error: &FormatError) -> u8 {
    match error.kind() {
        ErrorKind::Truncated => TRUNCATED,
        ErrorKind::Tampered => TAMPERED,
        ErrorKind::Malformed => MALFORMED,
        ErrorKind::Version => VERSION,
        ErrorKind::NoKey => NO_KEY,
        ErrorKind::WrongKey => WRONG_KEY,
        ErrorKind::Io => NOT_FOUND,
    }
}

fn of_store(error: &StoreError) -> Option<u8> {
    match error {
        StoreError::Io { .. } | StoreError::Full { .. } | StoreError::NoSession { .. } => {
            Some(NOT_FOUND)
        }
        StoreError::ChunkMissing { .. }
        | StoreError::ChunkDamaged { .. }
        | StoreError::Damaged { .. } => Some(DAMAGED),
        StoreError::Format { source, .. } => Some(of_format(source)),
        _ => None,
    }
}

fn of_anchor(error: &AnchorError) -> Option<u8> {
    match error {
        AnchorError::Io { .. } | AnchorError::Locked { .. } | AnchorError::Late { .. } => {
            Some(NOT_FOUND)
        }
        AnchorError::Damaged { .. } => Some(DAMAGED),
        AnchorError::OtherAccount { .. } | AnchorError::OtherChain { .. } => Some(USAGE),
        _ => None,
    }
}

fn of_recorder(error: &RecorderError) -> Option<u8> {
    match error {
        RecorderError::Format(error) => Some(of_format(error)),
        RecorderError::Store(error) => of_store(error),
        RecorderError::Audit { .. } => Some(TAMPERED),
        RecorderError::Anchor(error) => of_anchor(error),
        RecorderError::Targets { .. } | RecorderError::UnknownTarget { .. } => Some(USAGE),
        _ => None,
    }
}

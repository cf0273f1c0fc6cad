use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a desktop or a client could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum DesktopError {
    /// The xrdp desktop needs namespaces and a login service.
    #[error(
        "an xrdp desktop can only be started by root (this is user id {uid}); run as root, or with sudo"
    )]
    NotRoot {
        /// The effective user id of this process.
        uid: u32,
    },
    /// A program from a Debian package is not there.
    #[error("{program} is not installed; run scripts/setup, or: apt-get install {package}")]
    Missing {
        /// The program looked for in PATH.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A file could not be read, written or made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that was to keep running ended.
    #[error("{program} ended ({status}): {last}; see {log}")]
    Ended {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line it wrote.
        last: String,
        /// All it wrote.
        log: PathBuf,
    },
    /// Something did not happen in time.
    #[error("no {what} after {seconds} s; see {log}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u64,
        /// Where to look.
        log: PathBuf,
    },
    /// A helper such as xdotool failed.
    #[error("{program} failed: {detail}")]
    Tool {
        /// The program.
        program: String,
        /// What it said.
        detail: String,
    },
    /// No port could be found.
    #[error("no free port between 20000 and 32000 on 127.0.0.1 after {tries} tries")]
    NoPort {
        /// How many were tried.
        tries: u32,
    },
}

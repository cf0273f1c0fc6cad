//! What every Lucid daemon has, whatever it does: its configuration, its logs, its health and metrics.
//!
//! ```text
//!  struct's defaults ◀─ lucid.toml ◀─ LUCID_SECTION_KEY ◀─ --flags        later layers win
//!                         │
//!                         ▼
//!              one typed struct, or every fault at once, each with its place
//! ```
//!
//! Start reading at [`config::load`]; a daemon calls it once, then [`logs::init`].

pub mod config;
pub mod logs;
pub mod monitor;
mod secret;

use std::io;
use std::path::PathBuf;

pub use secret::Secret;

/// Why a daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The configuration is wrong; all that is wrong with it.
    #[error("{0}")]
    Config(config::Faults),
    /// The configuration file cannot be read.
    #[error("the configuration file {path}: {source}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log filter does not parse.
    #[error(
        "log filter {filter:?} from {origin}: {reason}; write it like info, or lucid_rdp=debug,info"
    )]
    LogFilter {
        /// The filter.
        filter: String,
        /// Where it came from.
        origin: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The metrics' recorder was there already, or its buckets are none.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Logs were set up twice.
    #[error("logs are already set up in this process")]
    LogsTwice,
    /// Their filter cannot be changed any more.
    #[error("the logs of this process are gone")]
    LogsGone,
}

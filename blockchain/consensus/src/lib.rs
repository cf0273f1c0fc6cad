//! Drives the BFT engine: the one crate that names Malachite, and hides it.
//!
//! ```text
//!  node ◀──Event── start(Settings) ──▶ engine (votes, WAL, libp2p)
//!   │ Reply            │
//!   └──────────────────┘   signer ──▶ guard (file of its own: never signs twice)
//! ```

#[doc(hidden)]
pub mod codec;
#[doc(hidden)]
pub mod context;
mod engine;
mod error;
mod event;
#[doc(hidden)]
pub mod guard;
mod host;
#[doc(hidden)]
pub mod pack;
#[doc(hidden)]
pub mod parts;
mod settings;
#[doc(hidden)]
pub mod signing;

pub use engine::{Handle, NetworkState, Peer, start};
// For the simulation.
#[doc(hidden)]
pub use engine::{target_time, timeouts};
pub use error::ConsensusError;
pub use event::{DecidedBlock, Event, Reply, Start, UndecidedBlock, Verdict};
pub use guard::GuardError;
pub use settings::{ConsensusKey, Limits, Settings};

/// Directives that keep the engine's own log quiet, for filters in the syntax of `tracing_subscriber::EnvFilter`: it tells every vote
/// at level info. What matters of it arrives as [`Event`]s and in [`Handle::network`].
pub const LOG_FILTER: &str = "arc_malachitebft_app=warn,arc_malachitebft_core_consensus=warn,arc_malachitebft_core_driver=warn,\
    arc_malachitebft_core_votekeeper=warn,arc_malachitebft_discovery=error,arc_malachitebft_engine=warn,\
    arc_malachitebft_network=warn,arc_malachitebft_sync=warn,arc_malachitebft_wal=warn,libp2p=warn,libp2p_swarm=warn,\
    libp2p_gossipsub=error,ractor=warn";

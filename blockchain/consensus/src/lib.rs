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
#[doc(hidden)]
pub mod pack;
#[doc(hidden)]
pub mod parts;
mod host;
mod settings;
#[doc(hidden)]
pub mod signing;

pub use engine::{Handle, NetworkState, Peer, start};
pub use error::EngineError;
pub use event::{DecidedBlock, Event, Reply, Start, UndecidedBlock, Verdict};
pub use guard::GuardError;
pub use settings::{ConsensusKey, Limits, Settings};

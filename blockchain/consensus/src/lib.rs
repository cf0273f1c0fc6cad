//! Drives the BFT engine: the one crate that names Malachite, and hides it.
//!
//! ```text
//!  node ◀──Event── start(Settings) ──▶ engine (votes, WAL, libp2p)
//!   │ Reply            │
//!   └──────────────────┘   signer ──▶ guard (file of its own: never signs twice)
//! ```

#[doc(hidden)]
pub mod context;
mod event;
#[doc(hidden)]
pub mod guard;
mod settings;
#[doc(hidden)]
pub mod signing;

pub use event::{Event, Reply, Start, UndecidedBlock, Verdict};
pub use settings::{ConsensusKey, Limits, Settings};

//! A chain node: consensus, execution, gossip and JSON-RPC, wired together.
//!
//! ```text
//!   peers ◀─▶ lucid-consensus ──Event──▶ driver ──▶ lucid-ledger (blocks + state, one atomic write a block)
//!   peers ◀─▶ lucid-gossip ──────────▶ pool ──▶┘         │
//!                                       ▲                ▼
//!   users ──────────────────────── lucid-rpc ◀────── reads, proofs
//!                                       ▲                │
//!                                       └── lucid-readmodel ◀── follower (readmodel.rs), behind the head
//! ```
//!
//! Start reading at [`run`]; what happens to a block is in `driver.rs`. [`init`] makes a network's files, [`home`] says what
//! is where in a node's folder, [`config`] what can be configured.

mod clock;
pub mod config;
mod driver;
mod error;
pub mod home;
pub mod init;
mod metrics;
mod node;
pub mod readmodel;
mod snapshots;

pub use clock::{Clock, SystemClock};
pub use error::NodeError;
pub use lucid_consensus::LOG_FILTER;
pub use lucid_ledger::LedgerError;
pub use node::{Listening, RunOptions, SyncFrom, run};

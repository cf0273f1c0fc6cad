//! The durable queue that anchors sessions on the chain (requirements S7, S8, L8).
//!
//! ```text
//!  gateway ── Job: open, checkpoint, close ──▶ Anchors ──▶ journal
//!                                                 │ Queue: what next?
//!                                                 ▼
//!                                     sign, keep, send, ask ──▶ nodes of the chain
//! ```
//!
//! Start reading at [`Queue`] (the pure state machine: what is done when, and why nothing is done twice), then [`book`] (what it
//! remembers) and [`Anchors`] (the task that drives it with a real disk and real nodes). [`Folder`] is how other processes read it.

pub mod book;
mod chain;
mod driver;
mod error;
mod folder;
pub mod journal;
pub mod metrics;
mod queue;

pub use chain::{anchor_id, hash_leaf};
pub use driver::{Anchors, Health, Settings};
pub use error::{AnchorError, Refused};
pub use folder::{Folder, Lock};
pub use queue::{Action, Offer, Order, Queue, Receipt, Seen, Taken, Tuning, View};

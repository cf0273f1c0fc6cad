//! The chunk store: sessions and their chunks under one folder, safe against kill, power cut and full disk.
//!
//! ```text
//! version                      "lucid-store 1"
//! chunks/ab/cdef…              a chunk; its name is the BLAKE3 of its bytes (requirement S6)
//! sessions/ID/head             the signed head              ┐ durable before the first
//!            /wraps            the seed, wrapped to readers ┘ record is taken
//!            /open.chunk       the chunk being written: segments, synced every second
//!            /log              a signed checkpoint for each closed chunk, naming it
//!            /manifest         the signed manifest: the session is sealed
//!            /hold             who forbids to prune or shred it, and why
//!            /shredded         when its wraps were destroyed
//!            /lock, /reserve   held by its writer; room to seal it on a full disk
//!
//!   append ─▶ open.chunk ─▶ sync ─▶ log, sync ─▶ rename to chunks/ ─▶ … ─▶ manifest
//! ```
//!
//! Every small file is written under another name, synced, renamed, and its folder synced. Nothing but the kernel's lock
//! on `sessions/ID/lock` coordinates writers: any number of sessions are written at once, each by one process.
//!
//! Start reading at [`Store`], then `close_chunk` in [`OpenSession`] (the order that makes every cut recoverable) and
//! [`Store::recover`].

mod disk;
mod error;
mod fsck;
mod log;
mod recover;
mod retain;
mod session;
mod store;

pub use disk::{Change, Tap};
pub use error::StoreError;
pub use fsck::{Finding, FindingKind, FsckReport, Severity};
pub use recover::Recoverable;
pub use retain::{PrunePolicy, PruneReport, Pruned};
pub use session::OpenSession;
pub use store::{
    DamagedSession, Limits, Listing, Options, SessionState, SessionSummary, Store, StoredSession,
};

//! One node's blocks, state and waiting transactions, in one database.
//!
//! ```text
//!             ┌───────────── one fjall database, one atomic batch a block ─────────────┐
//!  commit ───▶│ headers · bodies · certificates · receipts · indexes · validator sets  │───▶ RPC, sync, proofs
//!             │ state (lucid-state)                                                    │
//!             │ undecided blocks: on disk before this node votes for them              │
//!             └────────────────────────────────────────────────────────────────────────┘
//!  submit ───▶ Pool: checked against the state at the head ───▶ proposals
//! ```
//!
//! What is there after a crash is a whole number of blocks: a block, its state and its certificate are written by one batch
//! that is synced before the head moves (requirement L11). Start reading at [`Ledger::commit`].
//!
//! A chain leaves and comes as a snapshot ([`Ledger::snapshot`], [`Ledger::import`]) or as an archive, a file of blocks that may begin
//! with one ([`ArchiveWriter`], [`Ledger::restore`]). Both are checked with the genesis file alone; docs/blockchain/archive.md has
//! their bytes.

mod archive;
mod error;
mod ledger;
mod pool;
mod prove;
mod snapshot;
mod snapshots;
mod store;

pub use archive::{ArchiveReader, ArchiveWriter, Item, Restored};
pub use error::{LedgerError, SubmitError};
pub use ledger::{Durability, Head, Ledger, LedgerOptions};
pub use lucid_state::StateError;
pub use pool::{Arrival, Pool, PoolStatus};
pub use snapshot::{
    MAX_SNAPSHOT_MANIFEST_BYTES, MAX_SNAPSHOT_PIECE_BYTES, Making, SnapshotManifest,
    VerifiedSnapshot,
};
pub use snapshots::{Incoming, Snapshots};
pub use store::{Place, Undecided};

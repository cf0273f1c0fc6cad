//! Custody of encrypted chunks (requirements C2, L8): nodes hold them, prove it every slot, and serve them to anybody.
//!
//! ```text
//!  owner ── commitBatch: hash, root, size, slots ──▶ LucidChunkStore ◀── setDoor, acceptCustody, prove ── nodes
//!    │                                                                                                     │
//!    └── PUT /chunks/HASH ──▶ door ──▶ files ◀── keeper: fetch, accept, prove, expire ◀───────── lucid-client
//!                              │
//!  anybody ◀── GET, verified group by group
//! ```
//!
//! Pure: [`tree`] (what the EVM opens), [`outline`] (what a fetch verifies), [`place`] (who is to hold what), [`challenge`], [`plan`].
//! At the edge: [`files`], [`door`], [`transfer`] and [`keeper`]; for owners: [`session`]. Start reading at [`plan::step`].

pub mod chain;
pub mod challenge;
pub mod contract;
pub mod door;
mod error;
pub mod files;
pub mod keeper;
pub mod outline;
pub mod place;
pub mod plan;
pub mod session;
pub mod tally;
pub mod transfer;
pub mod tree;

pub use error::CustodyError;

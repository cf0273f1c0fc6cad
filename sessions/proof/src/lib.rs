//! One file that proves, with nothing but the chain's genesis file, when a recording was anchored (requirements S9, L4).
//!
//! ```text
//!  genesis.json ─▶ finality proof ─▶ header ─▶ state proof ─▶ one word of LucidAnchors: the session's log
//!                                                                   ║ must be
//!  head, manifest ─┐                                                ║
//!  spine ──────────┴▶ roots ─▶ opened ─▶ checkpoints ─▶ batches ─▶ closed
//!                       │
//!                       └▶ a recording or a disclosure: which part was fixed by which block
//! ```
//!
//! A pure crate. Start reading at [`Proof`], then [`Proof::verify`] and [`Anchored::covers`]. `docs/sessions/proof.md` specifies the file
//! byte by byte; `tests/verifier` is a verifier written from that page alone, and both agree on `tests/vectors/proof`.

mod build;
mod cover;
mod error;
mod file;
mod transaction;
mod verify;

pub use build::{BatchLeaf, Evidence, Recorded, Story, TARGET_BYTES};
pub use cover::{Coverage, Fixed, Piece};
pub use error::ProofError;
pub use file::{
    BatchContent, BatchStep, Batches, Checkpoint, MAX_PROOF_BYTES, MAX_STEPS, Opening, Proof,
    Stretch, Transaction,
};
pub use verify::{Anchored, By, Covered};

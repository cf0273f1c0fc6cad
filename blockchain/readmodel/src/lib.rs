//! The read model (requirement C8): collections that people and UIs look things up in, kept from the chain's blocks.
//!
//! ```text
//!  final block, receipts, system record, leader record ──▶ [`project`] ──▶ [`Change`]s ──▶ [`Collections::apply`]
//!                     (pure: no clock, no files)                             │  exactly once by height
//!                                                       [`Embedded`] (fjall) ┴ `Mongo` (feature `mongodb`)
//! ```
//!
//! Nothing here is believed by anybody: it says what is in the blocks, can be thrown away, and is made again from them. What must be
//! proven is proven from the chain. docs/blockchain/read-model.md has the fields. Start reading at `project.rs`.

mod batch;
mod collections;
pub mod documents;
mod embedded;
mod error;
mod events;
mod follow;
mod key;
#[cfg(feature = "mongodb")]
mod mongo;
mod project;

pub use batch::{Batch, Change, Document, Op, fold};
pub use collections::{Applied, Collections, MAX_PAGE, Page, Position, Query};
pub use embedded::Embedded;
pub use error::ModelError;
pub use follow::{Joined, join, step};
pub use key::{Collection, Field, FieldKind, Key, Part};
#[cfg(feature = "mongodb")]
pub use mongo::Mongo;
pub use project::{BlockView, SLOTS_PER_EPOCH, needs_transactions, project};

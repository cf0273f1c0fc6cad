//! Checks what a chain says, with nothing but its genesis file (requirement L4).
//!
//! ```text
//!  genesis.json ─▶ [`TrustedGenesis`] ─▶ first validators
//!                        │   [`FinalityProof`]: each header that changes the set, certified by the set before it, and the new set
//!                        ▼
//!                  validators of the height ─▶ certificate ─▶ [`VerifiedHeader`]
//!                        │                          │                │
//!                  [`StateProof`]           [`TransactionProof`]  [`ReceiptProof`]
//!                  account and slots        that it is in the block, and where
//! ```
//!
//! Pure and without `std::fs`, sockets or clocks: it runs in a browser.
//!
//! # What is trusted
//! The genesis file, and that of each set of validators less than a third lied while it signed and that it does not sign other
//! histories after it was replaced. A set that does can make up another history from there on, as on every chain of this kind;
//! a verifier who already knows a later header notices, one who starts at genesis does not.
//!
//! Only headers that change the set are needed in between: a header names the set that signs its height and the set that signs
//! the next, and both stay the same until a header says otherwise.

mod difference;
mod error;
mod file;
mod finality;
mod inclusion;
mod state;

pub use error::LightError;
pub use finality::{
    FinalityProof, MAX_CHANGES, MAX_FINALITY_BYTES, SetChange, Trust, TrustedGenesis,
    VerifiedHeader, verify,
};
pub use inclusion::{Included, MAX_INCLUSION_BYTES, Place, ReceiptProof, TransactionProof};
pub use state::{
    Account, MAX_NODE_BYTES, MAX_NODES, MAX_SLOTS, MAX_STATE_PROOF_BYTES, ProvenAccount, SlotProof,
    StateProof,
};

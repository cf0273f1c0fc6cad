//! Runs transactions on the genesis contracts: what a block does to the state, the same on every node.
//!
//! ```text
//!  bytes ──▶ [`Transaction`] (policy, sender) ─┐
//!                                              ▼
//!  parent + [`Proposal`] ──▶ [`Chain::build`] ──▶ block ──▶ [`Chain::validate`] ──▶ [`Executed`]
//!                                   └────── one code path: `block::run` ──────┘
//!
//!  block::run: WorkCredits.onBlock ▸ evidence ▸ transactions ▸ at a seal: tally ▸ ranking ▸ WorkCredits.onSeal
//! ```
//!
//! No clock, no files, no threads of its own but rayon's for signatures: the state is handed in ([`lucid_state::StateReader`])
//! and changes come out. Nobody's code runs but that of the genesis contracts (requirement C9): transactions that create
//! contracts are refused at the door, and the opcodes that could are no instructions here.
//!
//! Start reading at `block.rs`.

mod block;
mod call;
mod contracts;
mod error;
mod evm;
mod fees;
mod genesis;
mod receipt;
mod transaction;

pub use block::{Built, Chain, Executed, LeftOut, MAX_EVIDENCE_AGE, Parent, Proposal, prev_randao};
pub use call::{Call, CallOutcome, Parameter, View};
pub use contracts::interfaces;
pub use error::{BlockError, ExecutionError, TransactionError};
pub use fees::{INITIAL_GAS_LIMIT, NextBlock, next_base_fee, next_gas_limit};
pub use genesis::{complete_genesis, contracts_hash, genesis_changes};
pub use receipt::{Log, Receipt, SystemRecord, Tallied, logs_bloom, receipts_root};
pub use transaction::{MIN_GAS, Transaction, decode_all};

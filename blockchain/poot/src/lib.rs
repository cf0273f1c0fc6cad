//! Proof of Operational Tasks: who leads which slot, by the work its node did (requirements C6, C7; SPEC-1B-v2, "Consensus").
//!
//! ```text
//!  blocks, beacons, task proofs ──▶ WorkCredits (contract: windows of seven days)
//!                                        │ tally
//!                                        ▼
//!  [`Standing`] ──[`score`]──▶ [`ranking`] ◀── randomness of the seal ([`vrf`])
//!                                 │ at the seal of slot s, for the slot after the next
//!                                 ▼
//!  order of the open slot ──[`proposer`]──▶ who proposes in a round ──[`demote`]──▶ order, those who missed last
//! ```
//!
//! Pure integer arithmetic on what is in the state: every node computes the same schedule. Numbers of the specification: slots
//! of 120 s, 5 s for a proposal, a cooldown of 16 slots, a window of seven days (in [`lucid_chain_types`]).
//!
//! # What happens at the seal of slot `s`
//! 1. `entered` := its winner and those who missed in it; all of them are in cooldown from now on.
//! 2. The order that was next becomes current for the slot that opens, with `entered` at its end: [`cool_down`].
//! 3. The order for the slot after that is [`order_after`]: in it, the one about to lead counts as having led.
//!
//! So a schedule is known one to two slots ahead, and whoever leads a slot cannot be at the head of the next.

mod order;
mod ranking;
mod record;
mod task;
pub mod vrf;
mod work;

pub use order::{cool_down, demote, missed, proposer};
pub use ranking::{RankReason, Ranked, Ranking, in_cooldown, order_after, ranking};
pub use record::{LeadReason, LeaderRecord};
pub use task::{
    EIP712_NAME, EIP712_VERSION, MAX_PROOF_CREDIT, MAX_TASK_EVIDENCE, TaskError, TaskKind,
    TaskProof, WorkVerifier, credit,
};
pub use work::{
    RELAY_WEIGHT, STORAGE_WEIGHT, Standing, TIMEOUT_PENALTY, UPTIME_WEIGHT, VALIDATION_WEIGHT,
    Work, score,
};

//! What is kept of a slot that is over (`leader_schedule` of the specification).

use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{NodeId, Slot};
use serde::{Deserialize, Serialize};

/// How the leader of a slot came to lead it. The numbers are those of WorkCredits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum LeadReason {
    /// It was first in the order and proposed in time.
    Primary = 0,
    /// Those before it in the order missed their proposals.
    Fallback = 1,
    /// The slot was sealed more than a slot after its end: the chain had stood still.
    Late = 2,
}

impl LeadReason {
    /// The reason why `winner` led `slot` where `primary` was first, and its seal was made in the time of slot `sealed_in`.
    pub fn of(primary: NodeId, winner: NodeId, slot: Slot, sealed_in: Slot) -> Self {
        if sealed_in.0 > slot.0.saturating_add(1) {
            Self::Late
        } else if winner == primary {
            Self::Primary
        } else {
            Self::Fallback
        }
    }

    /// As WorkCredits takes it.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// A slot and who led it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderRecord {
    /// The slot.
    pub slot: Slot,
    /// Who was to lead it.
    pub primary: NodeId,
    /// Who was to step in, in order.
    pub fallbacks: Vec<NodeId>,
    /// Who did lead it: the proposer of its seal.
    pub winner: NodeId,
    /// Why.
    pub reason: LeadReason,
}

impl LeaderRecord {
    /// The record of a slot that opened with `order`; `None` where that is empty.
    pub fn new(slot: Slot, order: &[NodeId], winner: NodeId, sealed_in: Slot) -> Option<Self> {
        let (&primary, fallbacks) = order.split_first()?;
        Some(Self {
            slot,
            primary,
            fallbacks: fallbacks.to_vec(),
            winner,
            reason: LeadReason::of(primary, winner, slot, sealed_in),
        })
    }
}

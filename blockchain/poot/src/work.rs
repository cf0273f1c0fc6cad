//! Work and its score.

use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{NodeId, Slot};
use serde::{Deserialize, Serialize};

/// Points of a MiB relayed.
pub const RELAY_WEIGHT: u64 = 1;
/// Points of a GiB kept for a slot, proven. A node that keeps 100 GiB gets as much for it as for being up.
pub const STORAGE_WEIGHT: u64 = 1;
/// Points of a signature in a block's certificate. At a block a second they are 120 a slot; while nothing happens, one.
pub const VALIDATION_WEIGHT: u64 = 1;
/// Points of a slot in which the node was up. More than any other work of an idle chain, so that being there decides.
pub const UPTIME_WEIGHT: u64 = 100;
/// Points that a missed proposal takes off for as long as it is in the window: an hour of uptime.
pub const TIMEOUT_PENALTY: u64 = 30 * UPTIME_WEIGHT;

/// What a node did within the window of seven days.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Work {
    /// MiB relayed.
    pub relay: u64,
    /// GiB kept, times slots.
    pub storage: u64,
    /// Signatures in certificates of blocks.
    pub validation: u64,
    /// Slots with a signature or a beacon.
    pub uptime: u64,
}

/// A validator as the ranking sees it.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The node.
    pub node: NodeId,
    /// Its work within the window.
    pub work: Work,
    /// Proposals it missed within the window.
    pub timeouts: u64,
    /// The last slot it led, or missed a proposal in; it is in cooldown after it.
    pub last_led: Option<Slot>,
    /// The slot in which it first registered.
    pub joined: Slot,
}

/// The weighted sum of the work, less the penalty for missed proposals. Stays within its bounds instead of wrapping.
pub fn score(standing: &Standing) -> u64 {
    let Work {
        relay,
        storage,
        validation,
        uptime,
    } = standing.work;
    [
        (relay, RELAY_WEIGHT),
        (storage, STORAGE_WEIGHT),
        (validation, VALIDATION_WEIGHT),
        (uptime, UPTIME_WEIGHT),
    ]
    .into_iter()
    .fold(0u64, |sum, (units, weight)| {
        sum.saturating_add(units.saturating_mul(weight))
    })
    .saturating_sub(standing.timeouts.saturating_mul(TIMEOUT_PENALTY))
}

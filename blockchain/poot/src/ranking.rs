//! Who leads a slot, and who steps in.

use std::cmp::Reverse;

use alloy_primitives::B256;
use lucid_chain_types::{COOLDOWN_SLOTS, Domain, NodeId, Slot, derive};
use serde::Serialize;

use crate::work::{Standing, score};

/// What decided a node's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RankReason {
    /// Its score.
    Credits,
    /// Randomness: another node has the same score.
    Tie,
    /// It led not long ago: those in cooldown come last, and first among them who has led the longest ago.
    Cooldown,
}

/// A node's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ranked {
    /// The node.
    pub node: NodeId,
    /// Its score.
    pub score: u64,
    /// Whether it is in cooldown.
    pub cooling: bool,
    /// Why it is where it is.
    pub reason: RankReason,
}

/// The validators, best first. The first leads, the others step in one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ranking {
    /// All of them.
    pub order: Vec<Ranked>,
}

impl Ranking {
    /// The nodes alone.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.order.iter().map(|ranked| ranked.node).collect()
    }
}

/// Whether who led `last_led` is in cooldown in `slot`: for the 16 slots after it.
pub fn in_cooldown(last_led: Option<Slot>, slot: Slot) -> bool {
    last_led.is_some_and(|last| last.0.saturating_add(COOLDOWN_SLOTS) >= slot.0)
}

/// The order for `slot`: those not in cooldown by score, then the others by how long ago they led. Equals are put in an order
/// that `randomness`, the VRF output of a seal, decides.
pub fn ranking(standings: &[Standing], slot: Slot, randomness: B256) -> Ranking {
    let mut keyed: Vec<_> = standings
        .iter()
        .map(|standing| {
            let Standing { node, last_led, .. } = *standing;
            let cooling = in_cooldown(last_led, slot);
            let score = score(standing);
            let tie = derive(
                Domain::TieBreak,
                &[randomness.as_slice(), node.0.as_slice()],
            );
            // `false` sorts before `true`, and who is not in cooldown is not asked when it led.
            let key = (
                cooling,
                last_led.filter(|_| cooling),
                Reverse(score),
                tie,
                node,
            );
            (
                key,
                Ranked {
                    node,
                    score,
                    cooling,
                    reason: RankReason::Credits,
                },
            )
        })
        .collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    let mut order: Vec<Ranked> = keyed.into_iter().map(|(_, ranked)| ranked).collect();

    let same = |a: &Ranked, b: Option<&Ranked>| b.is_some_and(|b| !b.cooling && b.score == a.score);
    for index in 0..order.len() {
        let ranked = order[index];
        let neighbours =
            [index.checked_sub(1), index.checked_add(1)].map(|n| n.and_then(|n| order.get(n)));
        order[index].reason = if ranked.cooling {
            RankReason::Cooldown
        } else if neighbours
            .into_iter()
            .any(|neighbour| same(&ranked, neighbour))
        {
            RankReason::Tie
        } else {
            RankReason::Credits
        };
    }
    Ranking { order }
}

/// The order for the slot after `next`, made at the seal before `next` opens with the order `next_order`. Its first node has not
/// led `next` yet but is about to (or will miss it, which is the same here), so it counts as in cooldown.
pub fn order_after(
    standings: &[Standing],
    next: Slot,
    next_order: &[NodeId],
    randomness: B256,
) -> Ranking {
    let mut standings = standings.to_vec();
    let leader = next_order.first();
    for standing in &mut standings {
        if Some(&standing.node) == leader {
            standing.last_led = Some(next);
        }
    }
    ranking(&standings, Slot(next.0.saturating_add(1)), randomness)
}

//! Rounds, missed proposals, cooldowns: permutations all of them.

use lucid_chain_types::NodeId;
use lucid_poot::{cool_down, demote, missed, proposer};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{node, nodes};

/// What WorkCredits does with `missed`: each is taken out once, and they are put at the end in their order.
fn contract(order: &[NodeId], missed: &[NodeId]) -> Vec<NodeId> {
    let mut kept = order.to_vec();
    let mut last = vec![];
    for node in missed {
        if let Some(place) = kept.iter().position(|kept| kept == node) {
            last.push(kept.remove(place));
        }
    }
    kept.extend(last);
    kept
}

#[test]
fn rounds_go_through_the_order_and_start_again() {
    let order = nodes(3);
    let leaders: Vec<_> = (0..7).filter_map(|round| proposer(&order, round)).collect();
    assert_eq!(leaders, [0, 1, 2, 0, 1, 2, 0].map(node));
    assert_eq!(
        proposer(&order, u32::MAX),
        Some(node(u32::MAX as usize % 3))
    );
    assert_eq!(proposer(&[], 0), None);
}

#[test]
fn those_who_miss_go_last() {
    let order = nodes(4);
    assert_eq!(missed(&order, 0), []);
    assert_eq!(missed(&order, 2), [0, 1].map(node));
    assert_eq!(demote(&order, 2), [2, 3, 0, 1].map(node));
    // Everybody missed, two of them twice; node 2 made it in round 6.
    assert_eq!(missed(&order, 6), [2, 3, 0, 1].map(node));
    assert_eq!(demote(&order, 6), [2, 3, 0, 1].map(node));
    assert_eq!((missed(&[], 9), demote(&[], 9)), (vec![], vec![]));
}

#[test]
fn those_in_cooldown_go_last_and_keep_their_order() {
    assert_eq!(
        cool_down(&nodes(5), &[node(3), node(0), node(9)]),
        [1, 2, 4, 0, 3].map(node)
    );
    assert_eq!(cool_down(&nodes(2), &[]), nodes(2));
}

proptest! {
    #[test]
    fn who_proposed_leads_on(count in 1usize..50, round in any::<u32>()) {
        let order = nodes(count);
        let after = demote(&order, round as usize);
        prop_assert_eq!(after.first().copied(), proposer(&order, round));
        prop_assert_eq!(contract(&order, &missed(&order, round)), after, "as the contract does it");
        let list = missed(&order, round);
        prop_assert_eq!(list.len(), count.min(round as usize));
    }

    #[test]
    fn orders_stay_permutations(count in 0usize..50, steps in vec((any::<u32>(), vec(0usize..60, 0..6)), 0..20)) {
        let mut order = nodes(count);
        for (round, entered) in steps {
            order = demote(&order, round as usize);
            let entered: Vec<NodeId> = entered.into_iter().map(node).collect();
            let cooled = cool_down(&order, &entered);
            let kept: Vec<_> = order.iter().filter(|n| !entered.contains(n)).collect();
            prop_assert_eq!(cooled.iter().take(kept.len()).collect::<Vec<_>>(), kept);
            order = cooled;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, nodes(count));
        }
    }
}

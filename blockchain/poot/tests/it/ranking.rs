//! The ranking and its score.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use lucid_chain_types::{COOLDOWN_SLOTS, NodeId, Slot};
use lucid_poot::{
    RankReason, Standing, TIMEOUT_PENALTY, UPTIME_WEIGHT, Work, in_cooldown, order_after, ranking,
    score,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::node;

fn standing(index: usize, uptime: u64, last_led: Option<u64>) -> Standing {
    Standing {
        node: node(index),
        work: Work {
            uptime,
            ..Work::default()
        },
        last_led: last_led.map(Slot),
        ..Standing::default()
    }
}

/// Few different values, so that ties and cooldowns are common.
fn any_standings() -> impl Strategy<Value = Vec<Standing>> {
    let one = (
        0u64..4,
        0u64..3,
        0u64..3,
        0u64..4,
        0u64..3,
        proptest::option::of(60u64..105),
    );
    vec(one, 0..50).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(
                |(index, (relay, storage, validation, uptime, timeouts, last_led))| Standing {
                    node: node(index),
                    work: Work {
                        relay,
                        storage,
                        validation,
                        uptime: uptime * 100,
                    },
                    timeouts,
                    last_led: last_led.map(Slot),
                    joined: Slot(0),
                },
            )
            .collect()
    })
}

fn any_random() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::new)
}

proptest! {
    #[test]
    fn the_same_state_has_the_same_schedule(
        standings in any_standings(), random in any_random(), shuffle in any::<u64>(),
    ) {
        let made = ranking(&standings, Slot(100), random);
        // Whatever order the state lists nodes in.
        let mut shuffled = standings;
        shuffled.sort_by_key(|s| alloy_primitives::keccak256([s.node.0.as_slice(), &shuffle.to_be_bytes()].concat()));
        prop_assert_eq!(ranking(&shuffled, Slot(100), random), made);
    }

    #[test]
    fn a_ranking_is_a_permutation(standings in any_standings(), random in any_random()) {
        let made = ranking(&standings, Slot(100), random).nodes();
        prop_assert_eq!(made.len(), standings.len());
        let set: BTreeSet<NodeId> = made.into_iter().collect();
        prop_assert_eq!(set, standings.iter().map(|s| s.node).collect::<BTreeSet<_>>());
    }

    #[test]
    fn best_first_and_those_in_cooldown_last(standings in any_standings(), random in any_random()) {
        let slot = Slot(100);
        let made = ranking(&standings, slot, random);
        let of = |node| standings.iter().find(|s| s.node == node).unwrap();
        for ranked in &made.order {
            prop_assert_eq!(ranked.score, score(of(ranked.node)));
            prop_assert_eq!(ranked.cooling, in_cooldown(of(ranked.node).last_led, slot));
        }
        for pair in made.order.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            prop_assert!(a.cooling <= b.cooling);
            if !a.cooling && !b.cooling {
                prop_assert!(a.score >= b.score);
            }
            if a.cooling && b.cooling {
                prop_assert!(of(a.node).last_led <= of(b.node).last_led, "the longest ago first");
            }
        }
        for ranked in &made.order {
            let equals = made.order.iter().filter(|r| !r.cooling && r.score == ranked.score).count();
            let reason = match (ranked.cooling, equals) {
                (true, _) => RankReason::Cooldown,
                (false, 1) => RankReason::Credits,
                (false, _) => RankReason::Tie,
            };
            prop_assert_eq!(ranked.reason, reason);
        }
    }

    #[test]
    fn scores_never_overflow(parts in any::<[u64; 5]>(), high in any::<[bool; 5]>()) {
        let [relay, storage, validation, uptime, timeouts] =
            std::array::from_fn(|i| if high[i] { u64::MAX - parts[i] % 3 } else { parts[i] });
        let standing = Standing {
            work: Work { relay, storage, validation, uptime },
            timeouts,
            ..Standing::default()
        };
        let exact = u128::from(relay) + u128::from(storage) + u128::from(validation)
            + u128::from(uptime) * u128::from(UPTIME_WEIGHT);
        let penalty = u128::from(timeouts) * u128::from(TIMEOUT_PENALTY);
        if exact <= u128::from(u64::MAX) {
            prop_assert_eq!(u128::from(score(&standing)), exact.saturating_sub(penalty));
        } else {
            prop_assert_eq!(score(&standing), u64::MAX.saturating_sub(timeouts.saturating_mul(TIMEOUT_PENALTY)));
        }
    }

    #[test]
    fn more_work_never_ranks_lower(standings in any_standings(), random in any_random(), pick in any::<usize>(), more in 1u64..9) {
        prop_assume!(!standings.is_empty());
        let pick = pick % standings.len();
        let place = |standings: &[Standing]| {
            ranking(standings, Slot(100), random).nodes().iter().position(|n| *n == standings[pick].node)
        };
        let mut better = standings.clone();
        better[pick].work.relay += more;
        prop_assert!(place(&better) <= place(&standings));
        better[pick].timeouts += 1;
        prop_assert!(place(&better) >= place(&standings), "a missed proposal costs more than nine MiB bring");
    }
}

#[test]
fn a_cooldown_is_sixteen_slots() {
    assert!(!in_cooldown(None, Slot(0)));
    for after in 0..=COOLDOWN_SLOTS {
        assert!(in_cooldown(Some(Slot(7)), Slot(7 + after)));
    }
    assert!(!in_cooldown(Some(Slot(7)), Slot(7 + 17)));
    assert!(in_cooldown(Some(Slot(u64::MAX)), Slot(u64::MAX)));
    let standings = [
        standing(0, 9, Some(83)),
        standing(1, 1, None),
        standing(2, 5, Some(84)),
    ];
    let order = |slot| ranking(&standings, Slot(slot), B256::ZERO).nodes();
    assert_eq!(order(99), [node(1), node(0), node(2)]);
    assert_eq!(order(100), [node(0), node(1), node(2)]);
    assert_eq!(order(101), [node(0), node(2), node(1)]);
}

#[test]
fn who_is_about_to_lead_is_not_first_again() {
    let standings = [
        standing(0, 9, None),
        standing(1, 5, None),
        standing(2, 1, Some(90)),
    ];
    let now = ranking(&standings, Slot(100), B256::ZERO).nodes();
    assert_eq!(now, [node(0), node(1), node(2)]);
    let next = order_after(&standings, Slot(100), &now, B256::ZERO).nodes();
    assert_eq!(next, [node(1), node(2), node(0)]);
    assert_eq!(
        order_after(&standings, Slot(100), &[], B256::ZERO).nodes(),
        now
    );
}

#[test]
fn ties_are_broken_by_randomness_and_favour_nobody() {
    const NODES: usize = 5;
    const DRAWS: usize = 5_000;
    let standings: Vec<Standing> = (0..NODES).map(|index| standing(index, 3, None)).collect();
    let mut places = [[0usize; NODES]; NODES];
    let mut orders = BTreeSet::new();
    for draw in 0..DRAWS as u64 {
        let order = ranking(
            &standings,
            Slot(1),
            B256::left_padding_from(&draw.to_be_bytes()),
        )
        .nodes();
        for (place, node) in order.iter().enumerate() {
            places[standings.iter().position(|s| s.node == *node).unwrap()][place] += 1;
        }
        orders.insert(order);
    }
    assert_eq!(orders.len(), 120, "all orders of five happen");
    // 1000 expected in each cell, with a standard deviation of 28: five of them either way.
    for cell in places.into_iter().flatten() {
        assert!((860..=1_140).contains(&cell), "{places:?}");
    }
}

#[test]
fn being_there_outweighs_an_idle_chains_signatures_and_a_miss_an_hour_of_it() {
    let mut a = standing(0, 5_040, None);
    a.work.validation = 5_040;
    assert_eq!(score(&a), 5_040 * 100 + 5_040);
    a.timeouts = 1;
    assert_eq!(score(&a), score(&standing(0, 5_040 - 30, None)) + 5_040);
    a.timeouts = u64::MAX;
    assert_eq!(score(&a), 0);
}

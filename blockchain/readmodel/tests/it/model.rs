//! Exactly once, whatever is sent how often and wherever the store is closed; and the same as made from scratch.

use lucid_chain_types::Height;
use lucid_readmodel::{Applied, Collections as _, Embedded};
use proptest::prelude::*;

use crate::support::{Chain, Event, GENESIS, contents};

fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let event = (0u8..8, 0u64..4, 0u64..5);
    prop::collection::vec(prop::collection::vec(event, 0..4), 1..24)
}

/// A delivery: how far before the next block it begins, how many blocks it has, and whether the store is opened anew after it.
fn deliveries() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    prop::collection::vec((0u64..6, 0u64..8, prop::bool::weighted(0.2)), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn deliveries_that_overlap_and_repeat_make_what_one_reading_makes(
        events in events(),
        deliveries in deliveries(),
        start in 1u64..4,
    ) {
        let chain = Chain::new(&events);
        let head = chain.head();
        let from = start.min(head);
        let folder = tempfile::tempdir().unwrap();
        let mut store = Embedded::open(folder.path(), GENESIS).unwrap();
        let mut height = from - 1;
        for (back, more, again) in deliveries {
            let first = (height + 1).saturating_sub(back).max(from);
            let last = (height + more).max(first).min(head);
            if first > last {
                continue;
            }
            let applied = store.apply(&chain.batch(first, last)).unwrap();
            let expected = if last > height { Applied::Now } else { Applied::Before };
            prop_assert_eq!(applied, expected);
            height = height.max(last);
            if again {
                drop(store);
                store = Embedded::open(folder.path(), GENESIS).unwrap();
            }
            let position = store.position().unwrap().unwrap();
            prop_assert_eq!((position.from, position.height), (Height(from), Height(height)));
        }
        if height < head {
            store.apply(&chain.batch((height + 1).max(from), head)).unwrap();
        }
        let kept = contents(&store);
        prop_assert_eq!(&kept, &chain.expected(from, head));

        store.reset().unwrap();
        prop_assert_eq!(store.position().unwrap(), None);
        for height in from..=head {
            store.apply(&chain.batch(height, height)).unwrap();
        }
        prop_assert_eq!(&contents(&store), &kept);
    }
}

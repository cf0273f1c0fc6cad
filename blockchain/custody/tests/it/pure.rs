use alloy_primitives::{Address, B256};
use lucid_chain_types::{NodeId, Slot};
use lucid_custody::challenge::{CHALLENGES, challenges, credit};
use lucid_custody::outline::{self, GROUP, Outline};
use lucid_custody::plan::{Facts, Lease, Step, keeps, step, turn};
use lucid_custody::tree::{self, LEAF, Leaves};
use lucid_custody::{contract::Commitment, place};
use proptest::prelude::*;

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn node(number: u64) -> NodeId {
    NodeId(Address::from_word(B256::from(
        content(number, 32).as_slice().try_into().unwrap_or([0; 32]),
    )))
}

proptest! {
    #[test]
    fn every_leaf_opens_and_nothing_else_does(seed: u64, len in 1usize..40_000, at: prop::sample::Index, other: prop::sample::Index, flip in 1u8..) {
        let bytes = content(seed, len);
        let root = tree::root(&bytes).unwrap();
        let size = len as u64;
        let count = tree::leaves(size);
        let index = at.index(count as usize) as u64;
        let opening = tree::open(&bytes, index).unwrap();
        prop_assert!(tree::verify(root, size, index, &opening));
        prop_assert!(tree::open(&bytes, count).is_none());
        prop_assert!(!tree::verify(root, size, count, &opening));
        let elsewhere = other.index(count as usize) as u64;
        prop_assert_eq!(tree::verify(root, size, elsewhere, &opening), elsewhere == index);
        // Any byte of it, and one path entry more or less.
        let mut wrong = opening.clone();
        let place = other.index(wrong.leaf.len());
        wrong.leaf[place] ^= flip;
        prop_assert!(!tree::verify(root, size, index, &wrong));
        let mut wrong = opening.clone();
        wrong.path.push(root);
        prop_assert!(!tree::verify(root, size, index, &wrong));
        let mut wrong = opening.clone();
        if wrong.path.pop().is_some() {
            prop_assert!(!tree::verify(root, size, index, &wrong));
        }
        for step in 0..opening.path.len() {
            let mut wrong = opening.clone();
            wrong.path[step].0[place % 32] ^= flip;
            prop_assert!(!tree::verify(root, size, index, &wrong));
        }
    }

    #[test]
    fn leaves_do_not_care_how_bytes_come(seed: u64, len in 0usize..9_000, cuts in prop::collection::vec(1usize..3_000, 0..9)) {
        let bytes = content(seed, len);
        let (mut leaves, mut maker, mut rest) = (Leaves::default(), outline::Maker::default(), &bytes[..]);
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            leaves.update(now);
            maker.update(now);
            rest = later;
        }
        leaves.update(rest);
        maker.update(rest);
        prop_assert_eq!(leaves.root(), tree::root(&bytes));
        prop_assert_eq!(maker.finish(), outline::make(&bytes));
    }

    #[test]
    fn an_outline_is_one_chunks_and_finds_every_false_group(
        seed: u64,
        len in prop_oneof![1usize..3 * GROUP, (1usize..9).prop_map(|groups| groups * GROUP), 1usize..20 * GROUP],
        at: prop::sample::Index,
        flip in 1u8..,
    ) {
        let bytes = content(seed, len);
        let hash = B256::new(blake3::hash(&bytes).into());
        let size = u32::try_from(len).unwrap();
        let made = outline::make(&bytes);
        prop_assert_eq!(made.len(), Outline::len_of(size));
        let outline = Outline::check(hash, size, &made).unwrap();
        for (index, group) in bytes.chunks(GROUP).enumerate() {
            prop_assert!(outline.is_group(index, group));
            prop_assert!(!outline.is_group(index + 1, group));
        }
        let mut wrong = bytes;
        let place = at.index(len);
        wrong[place] ^= flip;
        for (index, group) in wrong.chunks(GROUP).enumerate() {
            prop_assert_eq!(outline.is_group(index, group), index != place / GROUP);
        }
        prop_assert!(Outline::check(hash, size + GROUP as u32, &made).is_none());
        if !made.is_empty() {
            let mut wrong = made.clone();
            let place = at.index(made.len());
            wrong[place] ^= flip;
            prop_assert!(Outline::check(hash, size, &wrong).is_none());
            // One group shorter or longer is another tree.
            prop_assert!(Outline::check(hash, size, &made[32..]).is_none());
        }
    }

    #[test]
    fn arbitrary_outlines_do_no_harm(hash: [u8; 32], size: u32, bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        if let Some(outline) = Outline::check(hash.into(), size, &bytes) {
            // Only what is one group has an outline that says nothing.
            prop_assert!(size as usize <= GROUP && bytes.is_empty());
            prop_assert!(!outline.is_group(0, &bytes));
        }
    }

    #[test]
    fn a_node_that_comes_or_goes_moves_only_its_own_chunks(hash: [u8; 32], count in 1u64..12, gone: prop::sample::Index) {
        let nodes: Vec<NodeId> = (0..count).map(node).collect();
        let order = place::order(hash.into(), &nodes);
        let mut turned = nodes.clone();
        turned.reverse();
        turned.push(nodes[0]);
        prop_assert_eq!(&place::order(hash.into(), &turned), &order, "however they are listed");
        let gone = nodes[gone.index(nodes.len())];
        let left: Vec<NodeId> = nodes.iter().copied().filter(|it| *it != gone).collect();
        let expected: Vec<NodeId> = order.iter().copied().filter(|it| *it != gone).collect();
        prop_assert_eq!(place::order(hash.into(), &left), expected);
    }

    #[test]
    fn challenges_are_places_and_leaves_that_are_there(seed: [u8; 32], held in 1u64..10_000, size in 1u32..=16 << 20) {
        let asked = challenges(seed.into(), node(1), held);
        prop_assert_eq!(asked.len() as u64, CHALLENGES);
        for challenge in &asked {
            prop_assert!(challenge.place < held);
            prop_assert!(challenge.leaf(size) < size.div_ceil(LEAF as u32).into());
        }
        prop_assert_ne!(asked, challenges(seed.into(), node(2), held.max(1 << 40)));
        prop_assert!(challenges(seed.into(), node(1), 0).is_empty());
    }

    #[test]
    fn credit_is_what_is_held_give_or_take_one(seed: [u8; 32], held in 1u64..100_000, sizes in prop::array::uniform2(1u32..=16 << 20)) {
        let exact = u128::from(held) * (u128::from(sizes[0]) + u128::from(sizes[1])) / 2;
        let whole = u64::try_from(exact >> 30).unwrap();
        let got = credit(seed.into(), node(1), held, &sizes);
        prop_assert!(got == whole || got == whole + 1);
        prop_assert_eq!(credit(seed.into(), node(1), held, &[]), 0);
    }
}

#[test]
fn half_a_gib_is_a_credit_every_second_slot() {
    let sizes = [8 << 20; 2];
    let gained: u64 = (0..4_000_u64)
        .map(|slot| {
            credit(
                B256::from(alloy_primitives::U256::from(slot)),
                node(1),
                64,
                &sizes,
            )
        })
        .sum();
    // 2,000, give or take four standard deviations of a coin.
    assert!((1_870..2_130).contains(&gained), "{gained}");
}

#[test]
fn chunks_are_spread_evenly() {
    let nodes: Vec<NodeId> = (0..10).map(node).collect();
    let mut counts = vec![0; nodes.len()];
    for chunk in 0..5_000_u64 {
        for holder in place::order(B256::from_slice(&content(chunk, 32)), &nodes)
            .iter()
            .take(3)
        {
            counts[nodes.iter().position(|it| it == holder).unwrap()] += 1;
        }
    }
    assert!(
        counts.iter().all(|count| (1_300..1_700).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn what_is_no_chunk_is_not_committed_to() {
    assert!(Commitment::of(&[]).is_none());
    assert!(Commitment::of(&vec![0; (16 << 20) + 1]).is_none());
    let one = Commitment::of(b"x").unwrap();
    assert_eq!((one.size, one.hash.0), (1, *blake3::hash(b"x").as_bytes()));
}

fn lease(holders: &[NodeId], expiry: u64) -> Lease {
    Lease {
        number: 1,
        hash: B256::repeat_byte(7),
        storage_root: B256::ZERO,
        size: 10,
        expiry: Slot(expiry),
        holders: holders.to_vec(),
    }
}

#[test]
fn the_first_in_the_order_hold_a_chunk_and_others_step_in_one_after_the_other() {
    let nodes: Vec<NodeId> = (0..6).map(node).collect();
    let order = place::order(B256::repeat_byte(7), &nodes);
    let facts = |rank: usize, lacking: u64, here: bool, room: bool| Facts {
        node: order[rank],
        nodes: &nodes,
        replicas: 3,
        slot: Slot(5),
        lacking,
        here,
        room,
    };
    let none = lease(&[], 9);
    let two = lease(&order[..2], 9);
    let full = lease(&order[3..], 9);
    for rank in 0..6_usize {
        let due = rank.saturating_sub(2) as u64;
        for lacking in 0..6 {
            assert_eq!(
                turn(&none, &facts(rank, lacking, false, true)),
                lacking >= due,
                "rank {rank}, {lacking}"
            );
        }
        assert!(
            !turn(&full, &facts(rank, 99, false, true)) || rank >= 3,
            "there are enough"
        );
    }
    assert_eq!(step(&two, &facts(2, 0, false, true)), Step::Fetch);
    assert_eq!(
        step(&two, &facts(2, 0, false, false)),
        Step::Rest,
        "no room"
    );
    assert_eq!(step(&two, &facts(2, 0, true, false)), Step::Accept);
    assert_eq!(
        step(&two, &facts(3, 0, true, true)),
        Step::Rest,
        "not its turn"
    );
    assert_eq!(step(&two, &facts(3, 1, true, true)), Step::Accept);
    assert_eq!(step(&two, &facts(0, 0, true, true)), Step::Rest, "holds it");
    assert_eq!(
        step(&two, &facts(0, 0, false, true)),
        Step::Fetch,
        "lost it"
    );
    assert_eq!(step(&full, &facts(0, 9, true, true)), Step::Rest);
    assert!(!keeps(&full, &facts(0, 9, true, true)), "others hold it");
    assert!(keeps(&full, &facts(4, 0, true, true)));

    let over = lease(&order[..2], 5);
    assert_eq!(step(&over, &facts(0, 0, true, true)), Step::Expire);
    assert!(
        keeps(&over, &facts(0, 0, true, true)),
        "it may be asked for it until the chain forgets it"
    );
    assert_eq!(step(&over, &facts(2, 9, true, true)), Step::Rest);
    assert!(!keeps(&over, &facts(2, 9, true, true)));
    let without_door = Facts {
        node: node(77),
        ..facts(0, 99, true, true)
    };
    assert!(!turn(&none, &without_door));
}

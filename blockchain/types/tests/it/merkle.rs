//! The tree over transactions and receipts: its shape, and paths that prove a leaf and its place.

use alloy_primitives::B256;
use lucid_chain_types::{Domain, derive, merkle_path, merkle_root, merkle_root_of_path};
use proptest::prelude::*;

const LEAF: Domain = Domain::TransactionLeaf;

fn leaves(count: usize) -> Vec<B256> {
    (0..count as u64)
        .map(|i| B256::new(*blake3::hash(&i.to_le_bytes()).as_bytes()))
        .collect()
}

fn leaf(value: B256) -> B256 {
    derive(LEAF, &[value.as_slice()])
}

fn node(left: B256, right: B256) -> B256 {
    derive(Domain::TreeNode, &[left.as_slice(), right.as_slice()])
}

fn root(count: u64, top: B256) -> B256 {
    derive(Domain::Tree, &[&count.to_be_bytes(), top.as_slice()])
}

/// The picture in RFC 9162 section 2.1.5, by hand.
#[test]
fn the_tree_of_seven_is_that_of_the_rfc() {
    let d = leaves(7);
    let [a, b, c, d, e, f, j] = std::array::from_fn(|i| leaf(d[i]));
    let k = node(node(a, b), node(c, d));
    let l = node(node(e, f), j);
    assert_eq!(merkle_root(LEAF, &leaves(7)), root(7, node(k, l)));
    let path = |index| merkle_path(LEAF, &leaves(7), index).unwrap();
    assert_eq!(path(0), [b, node(c, d), l]);
    assert_eq!(path(3), [c, node(a, b), l]);
    assert_eq!(path(4), [f, j, k]);
    assert_eq!(path(6), [node(e, f), k]);
}

#[test]
fn small_trees_are_what_they_say() {
    assert_eq!(
        merkle_root(LEAF, &[]),
        root(0, derive(Domain::TreeEmpty, &[]))
    );
    let one = leaves(1);
    assert_eq!(merkle_root(LEAF, &one), root(1, leaf(one[0])));
    assert_eq!(merkle_path(LEAF, &one, 0), Some(vec![]));
    assert_eq!(merkle_path(LEAF, &one, 1), None);
    assert_eq!(merkle_path(LEAF, &[], 0), None);
}

#[test]
fn trees_of_other_lists_have_other_roots() {
    let mut roots = std::collections::BTreeSet::new();
    for count in 0..70 {
        assert!(roots.insert(merkle_root(LEAF, &leaves(count))));
        assert!(roots.insert(merkle_root(Domain::ReceiptLeaf, &leaves(count))) || count == 0);
    }
    let mut swapped = leaves(9);
    swapped.swap(7, 8);
    assert!(roots.insert(merkle_root(LEAF, &swapped)));
}

/// Over all trees of up to 20: the path of a leaf leads to the root as that leaf, and as no other leaf of any size.
#[test]
fn a_path_proves_one_place_in_one_tree() {
    for count in 1..=20usize {
        let list = leaves(count);
        let top = merkle_root(LEAF, &list);
        for index in 0..count {
            let path = merkle_path(LEAF, &list, index).unwrap();
            for claimed_count in 0..=34 {
                for claimed in 0..=claimed_count {
                    let led = merkle_root_of_path(LEAF, list[index], claimed, claimed_count, &path);
                    let true_claim = (claimed as usize, claimed_count as usize) == (index, count);
                    assert_eq!(led == Some(top), true_claim);
                }
            }
        }
    }
}

#[test]
fn extreme_claims_do_not_overflow() {
    for count in [0, 1, 2, 1 << 31, (1 << 31) + 1, u32::MAX] {
        for index in [0, 1, count.saturating_sub(1), count, u32::MAX] {
            for length in [0, 1, 31, 32, 33] {
                let path = vec![B256::ZERO; length];
                let _ = merkle_root_of_path(LEAF, B256::ZERO, index, count, &path);
            }
        }
    }
    assert!(merkle_root_of_path(LEAF, B256::ZERO, 0, u32::MAX, &[B256::ZERO; 32]).is_some());
}

proptest! {
    #[test]
    fn paths_are_as_long_as_the_tree_is_deep(count in 1usize..3000, pick in any::<usize>()) {
        let list = leaves(count);
        let index = pick % count;
        let path = merkle_path(LEAF, &list, index).unwrap();
        prop_assert!(path.len() <= count.next_power_of_two().ilog2() as usize);
        let led = merkle_root_of_path(LEAF, list[index], index as u32, count as u32, &path);
        prop_assert_eq!(led, Some(merkle_root(LEAF, &list)));
        let mut other = path;
        if let Some(neighbour) = other.first_mut() {
            neighbour[0] ^= 1;
            let led = merkle_root_of_path(LEAF, list[index], index as u32, count as u32, &other);
            prop_assert_ne!(led, Some(merkle_root(LEAF, &list)));
        }
    }
}

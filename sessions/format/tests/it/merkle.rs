//! The Merkle log has the shape of RFC 9162, and its proofs prove what they say and nothing else.

use lucid_format::{
    Hash,
    merkle::{
        Log, consistency_roots, leaf, prove_consistency, prove_extension, prove_range, range_root,
        root, salted,
    },
};
use proptest::prelude::*;

fn blake(context: &str, parts: &[&[u8]]) -> Hash {
    Hash(blake3::derive_key(context, &parts.concat()))
}

fn address(i: u32) -> Hash {
    Hash::of(&i.to_be_bytes())
}

fn leaves(count: u32) -> Vec<Hash> {
    (0..count)
        .map(|i| {
            blake(
                "lucid 2026-11 merkle leaf v1",
                &[&i.to_le_bytes(), &address(i).0],
            )
        })
        .collect()
}

/// RFC 9162 section 2.1.1 written again: split where the largest power of two below n is.
fn naive_root(leaves: &[Hash]) -> Hash {
    if leaves.is_empty() {
        return Hash([0; 32]);
    }
    if leaves.len() == 1 {
        return leaves[0];
    }
    let mut k = 1;
    while k * 2 < leaves.len() {
        k *= 2;
    }
    let (left, right) = (naive_root(&leaves[..k]), naive_root(&leaves[k..]));
    blake("lucid 2026-11 merkle node v1", &[&left.0, &right.0])
}

/// RFC 9162 section 2.1.3: the inclusion proof of one leaf, from the leaf up.
fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let mut k = 1;
    while k * 2 < leaves.len() {
        k *= 2;
    }
    let (mut path, sibling) = if m < k {
        (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

#[test]
fn roots_are_those_of_an_independent_implementation() {
    let mut log = Log::default();
    for count in 0..=300 {
        let leaves = leaves(count);
        assert_eq!(root(&leaves), naive_root(&leaves), "{count} leaves");
        assert_eq!((log.size(), log.root()), (count, root(&leaves)));
        assert!(
            leaves
                .last()
                .is_none_or(|l| *l == leaf(count - 1, address(count - 1)))
        );
        log.push(address(count)).unwrap();
    }
}

#[test]
fn the_salted_root_hangs_on_salt_size_and_root() {
    let expected = blake(
        "lucid 2026-11 salted merkle root v1",
        &[&[1; 32], &7u32.to_le_bytes(), &[2; 32]],
    );
    assert_eq!(salted(&[1; 32], 7, Hash([2; 32])), expected);
    for other in [
        salted(&[0; 32], 7, Hash([2; 32])),
        salted(&[1; 32], 8, Hash([2; 32])),
        salted(&[1; 32], 7, Hash([3; 32])),
    ] {
        assert_ne!(other, expected);
    }
}

#[test]
fn one_leafs_proof_holds_the_hashes_of_rfc_9162() {
    for count in 1..=40usize {
        let leaves = leaves(u32::try_from(count).unwrap());
        for m in 0..count {
            let mut ours = prove_range(&leaves, m, 1).unwrap();
            let mut theirs = naive_path(m, &leaves);
            // The same hashes: RFC 9162 lists them from the leaf up, ours go left to right.
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "leaf {m} of {count}");
        }
    }
}

#[test]
fn every_range_of_every_small_tree_is_proven_and_no_other() {
    for count in 1..=40u32 {
        let leaves = leaves(count);
        let whole = root(&leaves);
        for first in 0..count {
            for len in 1..=count - first {
                let range = &leaves[first as usize..(first + len) as usize];
                let proof = prove_range(&leaves, first as usize, len as usize).unwrap();
                assert_eq!(range_root(count, first, range, &proof), Some(whole));
                // Another size is another tree: either the proof has the wrong length or the root differs.
                for (size, at) in [(count + 1, first), (count, first + 1), (count - 1, first)] {
                    let same_tree = (size, at) == (count, first);
                    let other = range_root(size, at, range, &proof);
                    assert!(
                        same_tree
                            || other != Some(whole)
                            || shape(size, at, len) == shape(count, first, len)
                    );
                }
            }
        }
    }
}

/// Which inner nodes a range proof joins, as text: two trees with the same shape differ by nothing but `size`, which the
/// salted root holds.
fn shape(size: u32, first: u32, len: u32) -> String {
    fn walk(n: u32, first: i64, end: i64) -> String {
        if first >= i64::from(n) || end <= 0 {
            return "p".into();
        }
        if n == 1 {
            return "r".into();
        }
        let k = n.next_power_of_two() / 2;
        format!(
            "({}{})",
            walk(k, first, end.min(k.into())),
            walk(n - k, first - i64::from(k), end - i64::from(k))
        )
    }
    if size == 0 || first + len > size {
        return "none".into();
    }
    walk(size, first.into(), (first + len).into())
}

#[test]
fn every_prefix_of_every_small_tree_is_consistent_and_no_other() {
    for new in 1..=40u32 {
        let leaves = leaves(new);
        for old in 1..=new {
            let proof = prove_consistency(&leaves, old as usize).unwrap();
            let roots = (root(&leaves[..old as usize]), root(&leaves));
            assert_eq!(consistency_roots(old, new, &proof), Some(roots));
            assert!(old == 1 || consistency_roots(old - 1, new, &proof) != Some(roots));
        }
        assert!(prove_consistency(&leaves, 0).is_none());
        assert!(prove_consistency(&leaves, new as usize + 1).is_none());
    }
    assert!(consistency_roots(0, 3, &[]).is_none());
    assert!(consistency_roots(4, 3, &[Hash::default()]).is_none());
}

#[test]
fn ranges_that_are_empty_or_outside_have_no_proof() {
    let leaves = leaves(5);
    assert!(prove_range(&leaves, 0, 0).is_none());
    assert!(prove_range(&leaves, 5, 1).is_none());
    assert!(prove_range(&leaves, 3, 3).is_none());
    assert!(prove_range(&leaves, usize::MAX, 2).is_none());
    assert!(range_root(5, 0, &[], &[]).is_none());
    assert!(range_root(5, 3, &leaves[..3], &[]).is_none());
    assert!(range_root(u32::MAX, u32::MAX, &leaves[..1], &[]).is_none());
    assert!(range_root(0, 0, &leaves[..1], &[]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn larger_trees_are_proven_too(
        count in 1..3000u32, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()
    ) {
        let leaves = leaves(count);
        let (a, b) = (a.index(leaves.len()), b.index(leaves.len()));
        let (first, last) = (a.min(b), a.max(b));
        let proof = prove_range(&leaves, first, last - first + 1).unwrap();
        prop_assert!(proof.len() <= 2 * 12);
        let at = u32::try_from(first).unwrap();
        prop_assert_eq!(range_root(count, at, &leaves[first..=last], &proof), Some(naive_root(&leaves)));

        let old = last + 1;
        let proof = prove_consistency(&leaves, old).unwrap();
        let roots = (naive_root(&leaves[..old]), naive_root(&leaves));
        prop_assert_eq!(consistency_roots(u32::try_from(old).unwrap(), count, &proof), Some(roots));
    }

    #[test]
    fn a_changed_proof_does_not_lead_to_the_root(
        count in 2..200u32, first in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(), bit in 0..256usize
    ) {
        let leaves = leaves(count);
        let first = first.index(leaves.len());
        let proof = prove_range(&leaves, first, 1).unwrap();
        let at = u32::try_from(first).unwrap();
        let range = &leaves[first..=first];
        let mut bad = proof.clone();
        bad[which.index(proof.len())].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(range_root(count, at, range, &bad), Some(root(&leaves)));
        let mut leaf = range.to_vec();
        leaf[0].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(range_root(count, at, &leaf, &proof), Some(root(&leaves)));
        // Too short, too long, out of order.
        prop_assert_eq!(range_root(count, at, range, &proof[1..]), None);
        prop_assert_eq!(range_root(count, at, range, &[&proof[..], &proof[..1]].concat()), None);
        let mut turned = proof.clone();
        turned.rotate_left(1);
        prop_assert!(turned == proof || range_root(count, at, range, &turned) != Some(root(&leaves)));

        let old = first + 1;
        let size = u32::try_from(old).unwrap();
        let roots = (root(&leaves[..old]), root(&leaves));
        let proof = prove_consistency(&leaves, old).unwrap();
        let mut bad = proof.clone();
        bad[which.index(proof.len())].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(consistency_roots(size, count, &bad), Some(roots));
        prop_assert_eq!(consistency_roots(size, count, &proof[1..]), None);
        prop_assert_eq!(consistency_roots(size, count, &[&proof[..], &proof[..1]].concat()), None);
    }

    #[test]
    fn any_proof_is_folded_without_panic(
        size in any::<u32>(), first in any::<u32>(), old in any::<u32>(),
        range in prop::collection::vec(any::<[u8; 32]>(), 0..5), proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        let range: Vec<Hash> = range.into_iter().map(Hash).collect();
        let proof: Vec<Hash> = proof.into_iter().map(Hash).collect();
        let _ = range_root(size, first, &range, &proof);
        let _ = consistency_roots(old, size, &proof);
    }
}

proptest! {
    /// A log that grows by subtrees is the one that grows by leaves, and takes no other number of them.
    #[test]
    fn a_log_grows_by_subtrees_as_by_leaves(mut sizes in proptest::collection::vec(0u32..300, 1..8)) {
        sizes.sort_unstable();
        let all = leaves(300);
        let (mut log, mut by_leaves) = (Log::default(), Log::default());
        for size in sizes {
            let subtrees = prove_extension(&all[..size as usize], log.size() as usize).unwrap();
            prop_assert!(subtrees.len() <= 62);
            let before = log.clone();
            let more = [subtrees.as_slice(), &[Hash::default()]].concat();
            prop_assert_eq!(log.extend(size, &more), None);
            prop_assert_eq!(&log, &before);
            prop_assert_eq!(log.extend(size, &subtrees), Some(()));
            for i in by_leaves.size()..size {
                by_leaves.push(address(i)).unwrap();
            }
            prop_assert_eq!(&log, &by_leaves);
            prop_assert_eq!(log.root(), naive_root(&all[..size as usize]));
        }
        prop_assert_eq!(log.clone().extend(log.size().saturating_sub(1), &[]), (log.size() == 0).then_some(()));
        prop_assert_eq!(prove_extension(&all[..5], 6), None);
    }
}

//! The tree over a batch of checkpoints, as OpenZeppelin's `MerkleProof` reads it: pairs are hashed in sorted order, and a node
//! without a sibling goes up as it is.

use alloy_primitives::{B256, keccak256};
use alloy_sol_types::SolValue;

use crate::book::Leaf;
use crate::chain::anchor_id;

/// Most leaves of a batch.
pub const MAX_LEAVES: usize = 1 << 14;

/// A checkpoint's hash in the tree, `LucidAnchors.checkpointLeaf`: hashed twice, so that no inner node passes for one.
pub fn hash_leaf(leaf: &Leaf) -> B256 {
    keccak256(keccak256(
        (anchor_id(leaf.id), leaf.size, leaf.root).abi_encode(),
    ))
}

fn pair(a: B256, b: B256) -> B256 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    keccak256([low.0, high.0].concat())
}

fn up(level: &[B256]) -> Vec<B256> {
    let join = |two: &[B256]| match two {
        [a, b] => pair(*a, *b),
        one => one.first().copied().unwrap_or_default(),
    };
    level.chunks(2).map(join).collect()
}

/// Root over these leaves' hashes; zero over none.
pub fn root(hashes: &[B256]) -> B256 {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = up(&level);
    }
    level.first().copied().unwrap_or_default()
}

/// Siblings of a leaf from the bottom up, `None` if there is no such leaf.
pub fn path(hashes: &[B256], index: usize) -> Option<Vec<B256>> {
    let (mut level, mut at) = (hashes.to_vec(), index);
    let mut path = Vec::new();
    level.get(at)?;
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        level = up(&level);
        at /= 2;
    }
    Some(path)
}

/// The root that a leaf's hash and its path lead to.
pub fn climb(leaf: B256, path: &[B256]) -> B256 {
    path.iter().fold(leaf, |node, sibling| pair(node, *sibling))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucid_format::SessionId;

    fn leaves(count: u8) -> Vec<B256> {
        let leaf = |n: u8| Leaf {
            id: SessionId([n; 16]),
            size: u64::from(n) + 1,
            root: B256::repeat_byte(n),
        };
        (0..count).map(|n| hash_leaf(&leaf(n))).collect()
    }

    #[test]
    fn every_leaf_of_every_tree_climbs_to_the_root_and_to_no_other() {
        for count in 1..40 {
            let hashes = leaves(count);
            let root = root(&hashes);
            for (index, hash) in hashes.iter().enumerate() {
                let path = path(&hashes, index).unwrap();
                assert_eq!(climb(*hash, &path), root);
                assert_ne!(climb(B256::ZERO, &path), root);
            }
            assert_eq!(path(&hashes, hashes.len()), None);
        }
    }
}

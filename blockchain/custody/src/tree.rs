//! The tree that the chain opens: KECCAK over leaves of 1 KiB, because the EVM has no BLAKE3 (`LucidChunkStore.verifyLeaf`).
//!
//! A leaf is `keccak(0x00 ‖ its bytes)`, the last one of a chunk may be shorter; a pair is `keccak(0x01 ‖ left ‖ right)`, level by
//! level; who has no neighbour goes up as it is. The size is not in the root: the contract keeps both.

use alloy_primitives::{B256, Keccak256, keccak256};

/// Bytes of a leaf.
pub const LEAF: usize = 1_024;

/// How many leaves a chunk has.
pub const fn leaves(size: u64) -> u64 {
    size.div_ceil(LEAF as u64)
}

/// A leaf with what proves that it is in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Its bytes.
    pub leaf: Vec<u8>,
    /// The neighbours on its way up.
    pub path: Vec<B256>,
}

/// Hashes a chunk's leaves as its bytes come.
#[derive(Debug, Default)]
pub struct Leaves {
    hashes: Vec<B256>,
    // INVARIANT: fewer than LEAF bytes.
    begun: Vec<u8>,
}

impl Leaves {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if !self.begun.is_empty() {
            let missing = LEAF - self.begun.len();
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            self.begun.extend_from_slice(more);
            bytes = rest;
            if self.begun.len() < LEAF {
                return;
            }
            self.hashes.push(leaf_hash(&self.begun));
            self.begun.clear();
        }
        let whole = bytes.chunks_exact(LEAF);
        self.begun.extend_from_slice(whole.remainder());
        self.hashes.extend(whole.map(leaf_hash));
    }

    /// The root; of nothing there is none.
    pub fn root(mut self) -> Option<B256> {
        if !self.begun.is_empty() {
            self.hashes.push(leaf_hash(&self.begun));
        }
        let mut level = self.hashes;
        while level.len() > 1 {
            level = above(&level);
        }
        level.first().copied()
    }
}

/// Root of a chunk; of nothing there is none.
pub fn root(bytes: &[u8]) -> Option<B256> {
    let mut leaves = Leaves::default();
    leaves.update(bytes);
    leaves.root()
}

/// Opens a leaf of a chunk; behind its end there is none.
pub fn open(bytes: &[u8], index: u64) -> Option<Opening> {
    let mut at = usize::try_from(index).ok()?;
    let leaf = bytes.chunks(LEAF).nth(at)?.to_vec();
    let mut level: Vec<B256> = bytes.chunks(LEAF).map(leaf_hash).collect();
    let mut path = Vec::new();
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        level = above(&level);
        at /= 2;
    }
    Some(Opening { leaf, path })
}

/// Whether an opening is leaf `index` of the chunk with this root and size. As `verifyLeaf` decides it.
pub fn verify(root: B256, size: u64, index: u64, opening: &Opening) -> bool {
    let mut width = leaves(size);
    if index >= width {
        return false;
    }
    let expected = (size - index * LEAF as u64).min(LEAF as u64);
    if opening.leaf.len() as u64 != expected {
        return false;
    }
    let mut hash = leaf_hash(&opening.leaf);
    let mut at = index;
    let mut path = opening.path.iter();
    while width > 1 {
        if at ^ 1 < width {
            let Some(next) = path.next() else {
                return false;
            };
            hash = if at & 1 == 0 {
                pair_hash(&hash, next)
            } else {
                pair_hash(next, &hash)
            };
        }
        at /= 2;
        width = width.div_ceil(2);
    }
    path.next().is_none() && hash == root
}

fn above(level: &[B256]) -> Vec<B256> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => pair_hash(left, right),
            // Alone: goes up as it is.
            _ => pair[0],
        })
        .collect()
}

fn leaf_hash(bytes: &[u8]) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0]);
    hasher.update(bytes);
    hasher.finalize()
}

fn pair_hash(left: &B256, right: &B256) -> B256 {
    let mut pair = [0; 65];
    pair[0] = 1;
    pair[1..33].copy_from_slice(left.as_slice());
    pair[33..].copy_from_slice(right.as_slice());
    keccak256(pair)
}

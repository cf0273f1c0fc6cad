//! The Merkle log over a session's chunks (requirement S5).
//!
//! Shaped as RFC 9162 section 2.1: a tree over *n* leaves splits at the largest power of two below *n*. Hashes are BLAKE3
//! in `derive_key` mode, one context for leaves and one for nodes; a leaf also holds its index. Every prefix of the log has
//! a root, a range of leaves has one compact proof, and two roots have a consistency proof.

use crate::{FormatError, Hash, hash};

/// The leaf of chunk `index` whose address is `chunk`.
pub fn leaf(index: u32, chunk: Hash) -> Hash {
    Hash::derive(hash::MERKLE_LEAF, &[&index.to_le_bytes(), &chunk.0])
}

fn node(left: Hash, right: Hash) -> Hash {
    Hash::derive(hash::MERKLE_NODE, &[&left.0, &right.0])
}

/// What is anchored: the root of `size` leaves, salted with the head's salt.
pub fn salted(salt: &[u8; 32], size: u32, root: Hash) -> Hash {
    Hash::derive(hash::MERKLE_ROOT, &[salt, &size.to_le_bytes(), &root.0])
}

/// The append-only log: leaves go in one by one, the root of what is there comes out.
///
/// It holds one hash for each complete subtree on the right edge: at most 32.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    size: u32,
    /// Roots of complete subtrees, largest first; their sizes are the bits of `size`.
    peaks: Vec<Hash>,
}

impl Log {
    /// Appends the leaf of the next chunk.
    ///
    /// # Errors
    /// When the log holds `u32::MAX` leaves.
    pub fn push(&mut self, chunk: Hash) -> Result<(), FormatError> {
        let next = self.size.checked_add(1).ok_or(FormatError::WriterBound {
            what: "the number of chunks",
            bound: u64::from(u32::MAX),
        })?;
        let mut hash = leaf(self.size, chunk);
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(left, hash);
            }
        }
        self.peaks.push(hash);
        self.size = next;
        Ok(())
    }

    /// Appends leaves up to `size` by the roots of [`prove_extension`], without the leaves. `None`, and nothing appended, when they
    /// are not as many as there are between the two sizes.
    pub fn extend(&mut self, size: u32, subtrees: &[Hash]) -> Option<()> {
        let levels: Vec<u32> = levels(self.size, size)?.collect();
        if levels.len() != subtrees.len() {
            return None;
        }
        for (level, subtree) in levels.into_iter().zip(subtrees) {
            let mut hash = *subtree;
            for _ in 0..(self.size >> level).trailing_ones() {
                if let Some(left) = self.peaks.pop() {
                    hash = node(left, hash);
                }
            }
            self.peaks.push(hash);
            self.size += 1 << level;
        }
        Some(())
    }

    /// Leaves so far.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Root of all leaves so far. An empty log has the all-zero root.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return Hash::default();
        };
        peaks.fold(*last, |right, left| node(*left, right))
    }
}

/// Levels of the largest complete subtrees that lie between two sizes of a log, left to right; `None` when it would shrink.
fn levels(from: u32, to: u32) -> Option<impl Iterator<Item = u32>> {
    let mut at = from;
    let next = move || {
        let left = to.checked_sub(at).filter(|left| *left > 0)?;
        // A subtree of 2^n leaves begins where n bits are zero.
        let level = left.ilog2().min(at.trailing_zeros());
        at += 1 << level;
        Some(level)
    };
    (from <= to).then(|| std::iter::from_fn(next))
}

/// What a log of the first `from` of `leaves` needs to become one of all: the roots of the largest complete subtrees between, left
/// to right, for [`Log::extend`]. `None` when there are fewer leaves.
pub fn prove_extension(leaves: &[Hash], from: usize) -> Option<Vec<Hash>> {
    let (from, to) = (from.try_into().ok()?, leaves.len().try_into().ok()?);
    let mut rest = leaves.get(from as usize..)?;
    let roots = levels(from, to)?.map(|level| {
        let (subtree, after) = rest.split_at(1 << level);
        rest = after;
        root(subtree)
    });
    Some(roots.collect())
}

/// Largest power of two below `n` (`n` ≥ 2).
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// Root over `leaves`.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::default(),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// Proof that leaves `first..first + count` are in the tree over `leaves`: the roots of the largest subtrees outside the
/// range, left to right. `None` when the range is empty or not inside.
pub fn prove_range(leaves: &[Hash], first: usize, count: usize) -> Option<Vec<Hash>> {
    let end = first.checked_add(count)?;
    if count == 0 || end > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    prove(leaves, first, end, &mut proof);
    Some(proof)
}

fn prove(leaves: &[Hash], first: usize, end: usize, proof: &mut Vec<Hash>) {
    let n = leaves.len();
    if first >= n || end == 0 {
        proof.push(root(leaves));
    } else if n > 1 {
        let k = split(n);
        let (left, right) = leaves.split_at(k);
        prove(left, first, end.min(k), proof);
        prove(right, first.saturating_sub(k), end.saturating_sub(k), proof);
    }
}

/// Root of a tree of `size` leaves of which `first..` are `range`, by the proof of [`prove_range`]. `None` when the proof
/// does not have the one shape it can have.
pub fn range_root(size: u32, first: u32, range: &[Hash], proof: &[Hash]) -> Option<Hash> {
    let (size, first) = (size as usize, first as usize);
    let end = first.checked_add(range.len())?;
    if range.is_empty() || end > size {
        return None;
    }
    let mut range = range.iter();
    let mut proof = proof.iter();
    let root = fold(size, first, end, &mut range, &mut proof)?;
    (range.next().is_none() && proof.next().is_none()).then_some(root)
}

type Hashes<'a> = std::slice::Iter<'a, Hash>;

fn fold(
    n: usize,
    first: usize,
    end: usize,
    range: &mut Hashes<'_>,
    proof: &mut Hashes<'_>,
) -> Option<Hash> {
    if first >= n || end == 0 {
        return proof.next().copied();
    }
    if n == 1 {
        return range.next().copied();
    }
    let k = split(n);
    let left = fold(k, first, end.min(k), range, proof)?;
    let right = fold(
        n - k,
        first.saturating_sub(k),
        end.saturating_sub(k),
        range,
        proof,
    )?;
    Some(node(left, right))
}

/// Proof that the tree over the first `old` leaves is a prefix of the tree over `leaves` (RFC 9162 section 2.1.4): the
/// peaks of the old tree and what completes them. `None` unless `0 < old <= leaves.len()`.
pub fn prove_consistency(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    consistency(leaves, old, &mut proof);
    Some(proof)
}

fn consistency(leaves: &[Hash], old: usize, proof: &mut Vec<Hash>) {
    if old == leaves.len() || old == 0 {
        proof.push(root(leaves));
        return;
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    consistency(left, old.min(k), proof);
    consistency(right, old.saturating_sub(k), proof);
}

/// The roots of the old and the new tree that a proof of [`prove_consistency`] speaks for. `None` when the proof does not
/// have the one shape it can have.
pub fn consistency_roots(old: u32, new: u32, proof: &[Hash]) -> Option<(Hash, Hash)> {
    if old == 0 || old > new {
        return None;
    }
    let mut proof = proof.iter();
    let (old_root, new_root) = refold(new as usize, old as usize, &mut proof)?;
    proof.next().is_none().then_some((old_root?, new_root))
}

fn refold(n: usize, old: usize, proof: &mut Hashes<'_>) -> Option<(Option<Hash>, Hash)> {
    if old == n || old == 0 {
        let root = *proof.next()?;
        return Some(((old > 0).then_some(root), root));
    }
    let k = split(n);
    let (old_left, new_left) = refold(k, old.min(k), proof)?;
    let (old_right, new_right) = refold(n - k, old.saturating_sub(k), proof)?;
    let old_root = match (old_left, old_right) {
        (Some(left), Some(right)) => Some(node(left, right)),
        (one, None) | (None, one) => one,
    };
    Some((old_root, node(new_left, new_right)))
}

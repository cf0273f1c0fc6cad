//! The Merkle-Patricia tree over 32-byte keys: pure functions over a [`Source`] of what is stored.
//!
//! INVARIANT: a tree's shape follows from its contents alone, so that any order of changes gives the same root and nodes.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Header};
use alloy_trie::EMPTY_ROOT_HASH;
use alloy_trie::nodes::{ExtensionNodeRef, LeafNodeRef, RlpNode};
use alloy_trie::nybbles::Nibbles;
use fjall::Slice;

use crate::history::Previous;
use crate::{Result, StateError};

/// Nibbles in a key.
pub(crate) const KEY_NIBBLES: usize = 64;

/// From this many changes on, the sixteen parts of a tree are worked on by several threads. Below, threads cost more than
/// they save.
const PARALLEL_FROM: usize = 256;

/// Presence and kind of children, before them.
const MASKS: usize = 4;

/// What hangs at a place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// One key: the rest of its path, and the reference (hash, or the node itself if short) to the leaf.
    Leaf { suffix: Nibbles, node: RlpNode },
    /// A branch below a run of nibbles that all keys share (empty for most). `node` refers to the branch itself.
    Branch { extension: Nibbles, node: RlpNode },
}

impl Child {
    fn leaf(suffix: Nibbles, value: &[u8], scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        let node = LeafNodeRef::new(&suffix, value).rlp(scratch);
        Self::Leaf { suffix, node }
    }

    /// What the node above refers to.
    fn reference(&self) -> RlpNode {
        match self {
            Self::Leaf { node, .. } => node.clone(),
            Self::Branch { extension, node } if extension.is_empty() => node.clone(),
            Self::Branch { extension, node } => {
                ExtensionNodeRef::new(extension, node).rlp(&mut Vec::with_capacity(80))
            }
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(self, Self::Leaf { .. })
    }

    /// Appends: how many nibbles are skipped (for a branch; a leaf's follow from its depth), them, the reference.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf { suffix, node } => {
                out.extend_from_slice(&suffix.pack());
                out.extend_from_slice(node);
            }
            Self::Branch { extension, node } => {
                out.push(extension.len().to_le_bytes()[0]);
                out.extend_from_slice(&extension.pack());
                out.extend_from_slice(node);
            }
        }
    }

    /// Reads what [`Child::encode`] wrote at `depth` nibbles below the root.
    pub(crate) fn decode(bytes: &mut &[u8], leaf: bool, depth: usize) -> Option<Self> {
        let (nibbles, node) = split(bytes, leaf, depth)?;
        let node = RlpNode::from_raw(node)?;
        Some(if leaf {
            Self::Leaf {
                suffix: nibbles.unpack(),
                node,
            }
        } else {
            Self::Branch {
                extension: nibbles.unpack(),
                node,
            }
        })
    }
}

/// Packed nibbles and their number.
struct Packed<'a>(&'a [u8], usize);

impl Packed<'_> {
    fn unpack(&self) -> Nibbles {
        let mut nibbles = Nibbles::unpack(self.0);
        nibbles.truncate(self.1);
        nibbles
    }
}

/// Cuts one child off: its nibbles and its reference.
fn split<'a>(bytes: &mut &'a [u8], leaf: bool, depth: usize) -> Option<(Packed<'a>, &'a [u8])> {
    let count = if leaf {
        KEY_NIBBLES.checked_sub(depth)?
    } else {
        let len = usize::from(take(bytes, 1)?[0]);
        if depth + len >= KEY_NIBBLES {
            return None;
        }
        len
    };
    let packed = take(bytes, count.div_ceil(2))?;
    if count % 2 == 1 && packed.last()? & 0x0f != 0 {
        return None;
    }
    // A reference says its own length: a 32-byte string, or a list shorter than that.
    let len = match *bytes.first()? {
        0xa0 => 33,
        first @ 0xc0..=0xde => usize::from(first - 0xc0) + 1,
        _ => return None,
    };
    Some((Packed(packed, count), take(bytes, len)?))
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

/// The root hash of a tree.
pub(crate) fn root_hash(root: Option<&Child>) -> B256 {
    root.map_or(EMPTY_ROOT_HASH, |child| {
        let reference = child.reference();
        reference
            .as_hash()
            .unwrap_or_else(|| keccak256(&*reference))
    })
}

/// A node with two or more children (or, in the history, those that changed), as it is stored: which children are there,
/// which of them are leaves, then the children. Kept in this form, because a block changes one or two of them and the rest
/// is only copied.
#[derive(Clone)]
pub(crate) struct Branch {
    bytes: Slice,
    depth: usize,
    present: u16,
    leaves: u16,
    /// Where each child ends.
    ends: [u16; 16],
}

impl Branch {
    /// Reads a stored branch at `depth` nibbles; nothing if it is not exactly one.
    pub(crate) fn decode(bytes: Slice, depth: usize) -> Option<Self> {
        let mut rest = &*bytes;
        let present = u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let leaves = u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        if depth >= KEY_NIBBLES || leaves & !present != 0 {
            return None;
        }
        let mut ends = [0; 16];
        for (i, end) in ends.iter_mut().enumerate() {
            if present >> i & 1 == 1 {
                split(&mut rest, leaves >> i & 1 == 1, depth + 1)?;
            }
            *end = u16::try_from(bytes.len() - rest.len()).ok()?;
        }
        let whole = rest.is_empty();
        whole.then_some(Self {
            bytes,
            depth,
            present,
            leaves,
            ends,
        })
    }

    /// A child as it is stored; empty if there is none.
    fn slot(&self, i: usize) -> &[u8] {
        let start = if i == 0 {
            MASKS
        } else {
            usize::from(self.ends[i - 1])
        };
        &self.bytes[start..usize::from(self.ends[i])]
    }

    fn has(&self, i: usize) -> bool {
        self.present >> i & 1 == 1
    }

    pub(crate) fn child(&self, i: usize) -> Option<Child> {
        Child::decode(&mut self.slot(i), self.leaves >> i & 1 == 1, self.depth + 1)
    }

    /// Appends what the node's RLP says of a child.
    fn reference(&self, i: usize, out: &mut Vec<u8>) {
        match split(&mut self.slot(i), self.leaves >> i & 1 == 1, self.depth + 1) {
            None => out.push(EMPTY_STRING_CODE),
            Some((nibbles, node)) if self.leaves >> i & 1 == 1 || nibbles.1 == 0 => {
                out.extend_from_slice(node);
            }
            Some((nibbles, node)) => {
                let extension =
                    ExtensionNodeRef::new(&nibbles.unpack(), node).rlp(&mut Vec::with_capacity(80));
                out.extend_from_slice(&extension);
            }
        }
    }

    pub(crate) fn rlp(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(16 * 33 + 1);
        for i in 0..16 {
            self.reference(i, &mut payload);
        }
        payload.push(EMPTY_STRING_CODE); // no key ends inside the tree
        let mut rlp = Vec::with_capacity(payload.len() + 3);
        finish_rlp(&payload, &mut rlp);
        rlp
    }

    /// The children in `mask`, in the form of a branch.
    fn part(&self, mask: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(MASKS + 80);
        out.extend_from_slice(&(self.present & mask).to_be_bytes());
        out.extend_from_slice(&(self.leaves & mask).to_be_bytes());
        for i in (0..16).filter(|i| mask >> i & 1 == 1) {
            out.extend_from_slice(self.slot(i));
        }
        out
    }

    /// This branch, with the children in `mask` that `known` does not have yet taken from `part`.
    pub(crate) fn fill(&mut self, known: &mut u16, mask: u16, part: &Self) -> Option<()> {
        let take = mask & !*known;
        let mut bytes = Vec::with_capacity(self.bytes.len() + part.bytes.len());
        bytes.extend_from_slice(&(self.present | part.present & take).to_be_bytes());
        bytes.extend_from_slice(&(self.leaves | part.leaves & take).to_be_bytes());
        for i in 0..16 {
            bytes.extend_from_slice(if take >> i & 1 == 1 {
                part.slot(i)
            } else {
                self.slot(i)
            });
        }
        *known |= mask;
        *self = Self::decode(bytes.into(), self.depth)?;
        Some(())
    }

    /// One without children, to be filled.
    pub(crate) fn empty(depth: usize) -> Self {
        Self {
            bytes: Slice::from([0; MASKS]),
            depth,
            present: 0,
            leaves: 0,
            ends: [4; 16],
        }
    }
}

fn finish_rlp(payload: &[u8], out: &mut Vec<u8>) {
    Header {
        list: true,
        payload_length: payload.len(),
    }
    .encode(out);
    out.extend_from_slice(payload);
}

/// What is stored of one tree.
pub(crate) trait Source: Sync {
    /// The branch at `path`; an error if there is none.
    fn branch(&self, path: &Nibbles) -> Result<Branch>;
    /// The value under a key that the tree contains, as it stands in the leaf.
    fn value(&self, key: &B256) -> Result<Vec<u8>>;
}

/// A key and what it shall hold; `None` deletes.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: B256,
    pub(crate) value: Option<Vec<u8>>,
}

/// A branch that changed: what was at `path` (for the history), and what is to be.
#[derive(Clone, Debug)]
pub(crate) struct Rewritten {
    pub(crate) path: Nibbles,
    pub(crate) previous: Vec<u8>,
    pub(crate) new: Option<Slice>,
}

/// Results, and buffers that are used again and again.
#[derive(Default)]
struct Work {
    out: Vec<Rewritten>,
    payload: Vec<u8>,
    rlp: Vec<u8>,
    encoded: Vec<u8>,
}

/// Applies `changes` (sorted by key, each key once) to the tree under `root`; gives the new root and every branch that
/// changed, each path at most once.
pub(crate) fn apply<S: Source>(
    source: &S,
    root: Option<Child>,
    changes: &[Change],
) -> Result<(Option<Child>, Vec<Rewritten>)> {
    debug_assert!(changes.windows(2).all(|w| w[0].key < w[1].key));
    let paths: Vec<_> = changes
        .iter()
        .map(|c| (Nibbles::unpack_array(&c.key.0), c))
        .collect();
    let mut work = Work::default();
    let root = descend(source, Nibbles::new(), root, &paths, &mut work)?;
    Ok((root, work.out))
}

/// A change with its path unpacked: it is cut at every level.
type Pathed<'a> = (Nibbles, &'a Change);

fn descend<S: Source>(
    source: &S,
    path: Nibbles,
    at: Option<Child>,
    changes: &[Pathed<'_>],
    work: &mut Work,
) -> Result<Option<Child>> {
    if changes.is_empty() {
        return Ok(at);
    }
    match at {
        None => {
            let inserts: Vec<_> = changes
                .iter()
                .filter_map(|(p, c)| Some((*p, c.value.as_deref()?)))
                .collect();
            Ok(build(path, &inserts, work))
        }
        Some(Child::Leaf { suffix, node }) => {
            let here = path.join(&suffix);
            let mut leaves: Vec<_> = changes
                .iter()
                .filter_map(|(p, c)| Some((*p, c.value.as_deref()?)))
                .collect();
            let kept;
            if changes.binary_search_by(|(p, _)| p.cmp(&here)).is_err() {
                if leaves.is_empty() {
                    return Ok(Some(Child::Leaf { suffix, node }));
                }
                kept = source.value(&key_of(&here)?)?;
                let place = leaves.partition_point(|(p, _)| *p < here);
                leaves.insert(place, (here, &kept));
            }
            Ok(build(path, &leaves, work))
        }
        Some(Child::Branch { extension, node }) => {
            let below = path.join(&extension);
            // Sorted, so the first and the last share the least.
            let ends = changes.first().into_iter().chain(changes.last());
            let shared = ends
                .map(|(p, _)| p.common_prefix_length(&below))
                .min()
                .unwrap_or(below.len());
            if shared < below.len() {
                // Some keys leave the run: a new branch in the middle of it takes the old one as a child.
                let turn = (
                    below.get_unchecked(shared),
                    Child::Branch {
                        extension: below.slice(shared + 1..),
                        node,
                    },
                );
                rebranch(
                    source,
                    path.len(),
                    below.slice(..shared),
                    None,
                    Some(turn),
                    changes,
                    work,
                )
            } else {
                let old = source.branch(&below)?;
                rebranch(
                    source,
                    path.len(),
                    below,
                    Some(&(old, node)),
                    None,
                    changes,
                    work,
                )
            }
        }
    }
}

/// The changes below one child of a branch.
struct Group<'a, 'b> {
    nibble: u8,
    path: Nibbles,
    child: Option<Child>,
    changes: &'a [Pathed<'b>],
}

/// Applies changes below a branch at `at`, which hangs on a place `above` nibbles deep. The branch is either stored (`old`,
/// with its reference), or a new one that has only the child `turn` so far.
fn rebranch<S: Source>(
    source: &S,
    above: usize,
    at: Nibbles,
    old: Option<&(Branch, RlpNode)>,
    mut turn: Option<(u8, Child)>,
    changes: &[Pathed<'_>],
    work: &mut Work,
) -> Result<Option<Child>> {
    let depth = at.len();
    let mut groups: Vec<Group<'_, '_>> = Vec::with_capacity(changes.len().min(16));
    let mut rest = changes;
    while let Some((first, _)) = rest.first() {
        let nibble = first.get_unchecked(depth);
        let (changes, tail) =
            rest.split_at(rest.partition_point(|(p, _)| p.get_unchecked(depth) <= nibble));
        let child = match (old, &mut turn) {
            (Some((old, _)), _) => old.child(usize::from(nibble)),
            (None, Some((at, _))) if *at == nibble => turn.take().map(|(_, child)| child),
            _ => None,
        };
        groups.push(Group {
            nibble,
            path: below(at, nibble),
            child,
            changes,
        });
        rest = tail;
    }
    let mut fresh: Vec<(u8, Option<Child>)> = Vec::with_capacity(groups.len() + 1);
    if changes.len() >= PARALLEL_FROM && groups.len() > 1 {
        use rayon::prelude::*;
        let done: Vec<_> = groups
            .into_par_iter()
            .map(|group| {
                let mut work = Work::default();
                let child = descend(source, group.path, group.child, group.changes, &mut work);
                child.map(|child| (group.nibble, child, work.out))
            })
            .collect();
        for part in done {
            let (nibble, child, out) = part?;
            fresh.push((nibble, child));
            work.out.extend(out);
        }
    } else {
        for group in groups {
            fresh.push((
                group.nibble,
                descend(source, group.path, group.child, group.changes, work)?,
            ));
        }
    }
    if let Some((nibble, child)) = turn {
        let place = fresh.partition_point(|(other, _)| *other < nibble);
        fresh.insert(place, (nibble, Some(child)));
    }
    rejoin(source, above, at, old, fresh, changes, work)
}

/// Puts a branch together again from what it was and from its fresh children (sorted).
fn rejoin<S: Source>(
    source: &S,
    above: usize,
    at: Nibbles,
    old: Option<&(Branch, RlpNode)>,
    fresh: Vec<(u8, Option<Child>)>,
    changes: &[Pathed<'_>],
    work: &mut Work,
) -> Result<Option<Child>> {
    let before = old.map(|(old, _)| old);
    let replaced = fresh
        .iter()
        .fold(0u16, |mask, (nibble, _)| mask | 1 << nibble);
    let stay = before.map_or(0, |old| old.present) & !replaced;
    let left = usize::try_from(stay.count_ones()).unwrap_or_default()
        + fresh.iter().filter(|(_, child)| child.is_some()).count();
    if left >= 2 {
        let (node, mask, encoded) = assemble(before, &fresh, work);
        if let Some((_, node)) = old.filter(|_| mask == 0) {
            return Ok(Some(Child::Branch {
                extension: at.slice(above..),
                node: node.clone(),
            }));
        }
        let previous = match before {
            None => Previous::Absent.encode(),
            Some(old) => Previous::Part(mask, &old.part(mask)).encode(),
        };
        work.out.push(Rewritten {
            path: at,
            previous,
            new: Some(encoded),
        });
        return Ok(Some(Child::Branch {
            extension: at.slice(above..),
            node,
        }));
    }
    // Fewer than two are left: no branch. A single child takes the nibbles to itself.
    let only = match fresh
        .into_iter()
        .find_map(|(nibble, child)| Some((nibble, child?)))
    {
        Some(only) => Some(only),
        None => {
            let i = stay.trailing_zeros();
            before
                .filter(|_| stay != 0)
                .and_then(|old| Some((u8::try_from(i).ok()?, old.child(usize::try_from(i).ok()?)?)))
        }
    };
    if let Some(old) = before {
        work.out.push(Rewritten {
            path: at,
            previous: Previous::Whole(&old.bytes).encode(),
            new: None,
        });
    }
    let Some((nibble, child)) = only else {
        return Ok(None);
    };
    let run = below(at.slice(above..), nibble);
    Ok(Some(match child {
        Child::Branch { extension, node } => Child::Branch {
            extension: run.join(&extension),
            node,
        },
        Child::Leaf { suffix, .. } => {
            let whole = below(at, nibble).join(&suffix);
            let changed = changes.binary_search_by(|(p, _)| p.cmp(&whole)).ok();
            match changed.and_then(|i| changes[i].1.value.as_deref()) {
                Some(value) => Child::leaf(run.join(&suffix), value, &mut work.rlp),
                None => Child::leaf(
                    run.join(&suffix),
                    &source.value(&key_of(&whole)?)?,
                    &mut work.rlp,
                ),
            }
        }
    }))
}

/// Encodes a branch that is `old` but for its `fresh` children: its reference, which children differ, its bytes.
fn assemble(
    old: Option<&Branch>,
    fresh: &[(u8, Option<Child>)],
    work: &mut Work,
) -> (RlpNode, u16, Slice) {
    let Work {
        payload,
        rlp,
        encoded,
        ..
    } = work;
    payload.clear();
    encoded.clear();
    encoded.extend_from_slice(&[0; MASKS]);
    let (mut present, mut leaves, mut changed) = (0u16, 0u16, 0u16);
    let mut next = fresh.iter().peekable();
    for i in 0..16usize {
        match (next.next_if(|(nibble, _)| usize::from(*nibble) == i), old) {
            (Some((_, child)), _) => {
                let start = encoded.len();
                if let Some(child) = child {
                    child.encode(encoded);
                    present |= 1 << i;
                    leaves |= u16::from(child.is_leaf()) << i;
                    match child {
                        Child::Leaf { node, .. } => payload.extend_from_slice(node),
                        Child::Branch { .. } => payload.extend_from_slice(&child.reference()),
                    }
                } else {
                    payload.push(EMPTY_STRING_CODE);
                }
                let same = old.is_some_and(|old| {
                    let (was, is) = (old.has(i), present >> i & 1 == 1);
                    was == is
                        && (old.leaves ^ leaves) >> i & 1 == 0
                        && old.slot(i) == &encoded[start..]
                });
                changed |= u16::from(!same) << i;
            }
            (None, Some(old)) => {
                encoded.extend_from_slice(old.slot(i));
                present |= old.present & 1 << i;
                leaves |= old.leaves & 1 << i;
                old.reference(i, payload);
            }
            (None, None) => payload.push(EMPTY_STRING_CODE),
        }
    }
    payload.push(EMPTY_STRING_CODE); // no key ends inside the tree
    encoded[..2].copy_from_slice(&present.to_be_bytes());
    encoded[2..4].copy_from_slice(&leaves.to_be_bytes());
    rlp.clear();
    finish_rlp(payload, rlp);
    (
        RlpNode::from_rlp(rlp),
        changed,
        Slice::from(encoded.as_slice()),
    )
}

/// A new tree of sorted leaves below `path`.
fn build(path: Nibbles, leaves: &[(Nibbles, &[u8])], work: &mut Work) -> Option<Child> {
    let ((first, value), (last, _)) = (leaves.first()?, leaves.last()?);
    if leaves.len() == 1 {
        return Some(Child::leaf(first.slice(path.len()..), value, &mut work.rlp));
    }
    let depth = first.common_prefix_length(last);
    let at = first.slice(..depth);
    let mut fresh = Vec::with_capacity(leaves.len().min(16));
    let mut rest = leaves;
    while let Some((first, _)) = rest.first() {
        let nibble = first.get_unchecked(depth);
        let (group, tail) =
            rest.split_at(rest.partition_point(|(p, _)| p.get_unchecked(depth) <= nibble));
        fresh.push((nibble, build(below(at, nibble), group, work)));
        rest = tail;
    }
    let (node, _, encoded) = assemble(None, &fresh, work);
    work.out.push(Rewritten {
        path: at,
        previous: Previous::Absent.encode(),
        new: Some(encoded),
    });
    Some(Child::Branch {
        extension: at.slice(path.len()..),
        node,
    })
}

fn below(mut path: Nibbles, nibble: u8) -> Nibbles {
    path.push(nibble);
    path
}

fn key_of(path: &Nibbles) -> Result<B256> {
    B256::try_from(&path.pack()[..])
        .map_err(|_| StateError::Damaged(format!("a leaf ends at {path:?}, which is no whole key")))
}

/// The nodes from the root to where `key` is or would be, each once, as `eth_getProof` gives them. Nodes shorter than 32
/// bytes are inside the node above.
pub(crate) fn prove<S: Source>(source: &S, root: Option<&Child>, key: &B256) -> Result<Vec<Bytes>> {
    let key = Nibbles::unpack_array(&key.0);
    let mut proof = Vec::new();
    let mut add = |rlp: Vec<u8>| {
        if proof.is_empty() || rlp.len() >= 32 {
            proof.push(Bytes::from(rlp));
        }
    };
    let mut path = Nibbles::new();
    let mut at = root.cloned();
    loop {
        match at {
            None => break,
            Some(Child::Leaf { suffix, .. }) => {
                let value = source.value(&key_of(&path.join(&suffix))?)?;
                let mut rlp = Vec::with_capacity(160);
                LeafNodeRef::new(&suffix, &value).rlp(&mut rlp);
                add(rlp);
                break;
            }
            Some(Child::Branch { extension, node }) => {
                if !extension.is_empty() {
                    let mut rlp = Vec::with_capacity(80);
                    ExtensionNodeRef::new(&extension, &node).rlp(&mut rlp);
                    add(rlp);
                }
                path.extend(&extension);
                if !key.starts_with(&path) {
                    break;
                }
                let branch = source.branch(&path)?;
                add(branch.rlp());
                let nibble = key.get_unchecked(path.len());
                path.push(nibble);
                at = branch.child(usize::from(nibble));
            }
        }
    }
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use alloy_trie::HashBuilder;
    use alloy_trie::proof::verify_proof;
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Model {
        leaves: BTreeMap<B256, Vec<u8>>,
        branches: HashMap<Nibbles, Vec<u8>>,
        root: Option<Child>,
    }

    impl Source for Model {
        fn branch(&self, path: &Nibbles) -> Result<Branch> {
            let bytes = self
                .branches
                .get(path)
                .ok_or_else(|| StateError::Damaged(format!("{path:?}")))?;
            Ok(Branch::decode(bytes.as_slice().into(), path.len()).expect("decodes"))
        }

        fn value(&self, key: &B256) -> Result<Vec<u8>> {
            self.leaves
                .get(key)
                .cloned()
                .ok_or_else(|| StateError::Damaged(format!("{key:?}")))
        }
    }

    impl Model {
        fn apply(&mut self, changes: BTreeMap<B256, Option<Vec<u8>>>) {
            let list: Vec<_> = changes
                .iter()
                .map(|(key, value)| Change {
                    key: *key,
                    value: value.clone(),
                })
                .collect();
            let (root, out) = apply(self, self.root.clone(), &list).expect("applies");
            self.root = root;
            let paths: BTreeSet<_> = out.iter().map(|w| w.path).collect();
            assert_eq!(paths.len(), out.len(), "a path is written once");
            for Rewritten {
                path,
                previous,
                new,
            } in out
            {
                let new = new.map(|new| new.to_vec());
                assert_eq!(
                    self.branches.get(&path),
                    before(&path, &previous, new.as_ref()).as_ref()
                );
                match new {
                    Some(new) => self.branches.insert(path, new),
                    None => self.branches.remove(&path),
                };
            }
            for (key, value) in changes {
                match value {
                    Some(value) => self.leaves.insert(key, value),
                    None => self.leaves.remove(&key),
                };
            }
        }

        fn peer_root(&self) -> B256 {
            let mut builder = HashBuilder::default();
            for (key, value) in &self.leaves {
                builder.add_leaf(Nibbles::unpack_array(&key.0), value);
            }
            builder.root()
        }

        fn reachable(&self, at: Option<&Child>, path: Nibbles) -> usize {
            let Some(Child::Branch { extension, .. }) = at else {
                return 0;
            };
            let path = path.join(extension);
            let branch = self.branch(&path).expect("is there");
            let below = (0u8..16)
                .map(|i| self.reachable(branch.child(usize::from(i)).as_ref(), below(path, i)));
            1 + below.sum::<usize>()
        }
    }

    /// What the history says was there.
    fn before(path: &Nibbles, previous: &[u8], new: Option<&Vec<u8>>) -> Option<Vec<u8>> {
        match Previous::decode(previous).expect("decodes") {
            Previous::Absent => None,
            Previous::Whole(bytes) => Some(bytes.to_vec()),
            Previous::Part(mask, children) => {
                let mut known = 0;
                let mut branch = Branch::empty(path.len());
                let part = Branch::decode(children.into(), path.len()).expect("decodes");
                branch.fill(&mut known, mask, &part).expect("fills");
                let new = Branch::decode(new.expect("is there").as_slice().into(), path.len())
                    .expect("decodes");
                branch.fill(&mut known, u16::MAX, &new).expect("fills");
                Some(branch.bytes.to_vec())
            }
        }
    }

    /// Keys that part late and often, so that there are runs, deep branches and nodes short enough to lie in others.
    fn key() -> impl Strategy<Value = B256> {
        (
            prop::collection::vec(
                (
                    0usize..32,
                    prop::sample::select(vec![0u8, 1, 0x10, 0x11, 0xf0]),
                ),
                0..3,
            ),
            28usize..32,
            0u8..20,
        )
            .prop_map(|(places, late, value)| {
                let mut key = B256::ZERO;
                for (at, byte) in places {
                    key[at] = byte;
                }
                key[late] = value;
                key
            })
    }

    fn blocks() -> impl Strategy<Value = Vec<BTreeMap<B256, Option<Vec<u8>>>>> {
        let value = prop_oneof![
            2 => Just(None),
            2 => (1u8..4).prop_map(|b| Some(vec![b])),
            1 => prop::collection::vec(any::<u8>(), 1..90).prop_map(Some),
        ];
        prop::collection::vec(prop::collection::btree_map(key(), value, 0..24), 1..12)
    }

    proptest! {
        #[test]
        fn a_tree_equals_the_reference_after_every_block(blocks in blocks()) {
            let mut model = Model::default();
            for block in blocks {
                let touched: Vec<_> = block.keys().copied().collect();
                model.apply(block);
                let root = root_hash(model.root.as_ref());
                prop_assert_eq!(root, model.peer_root());
                prop_assert_eq!(model.reachable(model.root.as_ref(), Nibbles::new()), model.branches.len());
                for key in touched {
                    let proof = prove(&model, model.root.as_ref(), &key).expect("proves");
                    let value = model.leaves.get(&key).cloned();
                    verify_proof(root, Nibbles::unpack_array(&key.0), value, &proof).expect("verifies");
                }
            }
        }

        #[test]
        fn a_branch_decodes_only_as_it_was_encoded(bytes in prop::collection::vec(any::<u8>(), 0..200), depth in 0usize..70) {
            if let Some(branch) = Branch::decode(bytes.as_slice().into(), depth) {
                prop_assert_eq!(branch.part(u16::MAX), bytes);
                for i in 0..16 {
                    prop_assert_eq!(branch.child(i).is_some(), branch.has(i));
                }
            }
        }
    }

    #[test]
    fn many_changes_at_once_are_worked_on_in_parts_and_give_the_same_root() {
        let mut model = Model::default();
        for round in 0u32..3 {
            let changes = (0..3000u32)
                .map(|i| {
                    (
                        keccak256((i * (round + 1)).to_be_bytes()),
                        (i % 5 != round).then(|| round.to_be_bytes().to_vec()),
                    )
                })
                .collect();
            model.apply(changes);
            assert_eq!(root_hash(model.root.as_ref()), model.peer_root());
        }
        let all = model.leaves.keys().map(|key| (*key, None)).collect();
        model.apply(all);
        assert_eq!(root_hash(model.root.as_ref()), EMPTY_ROOT_HASH);
        assert!(model.branches.is_empty());
    }
}

//! The Merkle-Patricia tree over 32-byte keys: pure functions over a [`Source`] of what is stored.
//!
//! INVARIANT: a tree's shape follows from its contents alone, so that any order of changes gives the same root and nodes.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Header};
use alloy_trie::EMPTY_ROOT_HASH;
use alloy_trie::nodes::{ExtensionNodeRef, LeafNodeRef, RlpNode};
use alloy_trie::nybbles::Nibbles;

use crate::{Result, StateError};

/// Nibbles in a key.
pub(crate) const KEY_NIBBLES: usize = 64;

/// From this many changes on, the sixteen parts of a tree are worked on by several threads. Below, threads cost more than
/// they save.
const PARALLEL_FROM: usize = 256;

/// What hangs at a place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// One key: the rest of its path, and the reference (hash, or the node itself if short) to the leaf.
    Leaf { suffix: Nibbles, node: RlpNode },
    /// A branch below a run of nibbles that all keys share (empty for most). `node` refers to the branch itself.
    Branch { extension: Nibbles, node: RlpNode },
}

impl Child {
    fn leaf(suffix: Nibbles, value: &[u8]) -> Self {
        let node = LeafNodeRef::new(&suffix, value).rlp(&mut Vec::with_capacity(160));
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
        if leaf {
            let suffix = take_nibbles(bytes, KEY_NIBBLES.checked_sub(depth)?)?;
            Some(Self::Leaf {
                suffix,
                node: take_reference(bytes)?,
            })
        } else {
            let (&len, rest) = bytes.split_first()?;
            *bytes = rest;
            if depth + usize::from(len) >= KEY_NIBBLES {
                return None;
            }
            let extension = take_nibbles(bytes, usize::from(len))?;
            Some(Self::Branch {
                extension,
                node: take_reference(bytes)?,
            })
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

fn take_nibbles(bytes: &mut &[u8], n: usize) -> Option<Nibbles> {
    let mut nibbles = Nibbles::unpack(take(bytes, n.div_ceil(2))?);
    nibbles.truncate(n);
    Some(nibbles)
}

/// A reference says its own length: a 32-byte string, or a list shorter than that.
fn take_reference(bytes: &mut &[u8]) -> Option<RlpNode> {
    let first = *bytes.first()?;
    let len = match first {
        0xa0 => 33,
        0xc0..=0xde => usize::from(first - 0xc0) + 1,
        _ => return None,
    };
    RlpNode::from_raw(take(bytes, len)?)
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

/// A node with two or more children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) children: [Option<Child>; 16],
}

impl Branch {
    pub(crate) fn rlp(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(16 * 33 + 1);
        for child in &self.children {
            match child {
                Some(child) => payload.extend_from_slice(&child.reference()),
                None => payload.push(EMPTY_STRING_CODE),
            }
        }
        payload.push(EMPTY_STRING_CODE); // no key ends inside the tree
        let mut rlp = Vec::with_capacity(payload.len() + 3);
        Header {
            list: true,
            payload_length: payload.len(),
        }
        .encode(&mut rlp);
        rlp.extend_from_slice(&payload);
        rlp
    }

    /// Which children are there and which of them are leaves, then the children.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 16 * 48);
        self.encode_slots(u16::MAX, &mut out);
        out
    }

    /// As [`Branch::encode`], but of the children in `mask` only.
    pub(crate) fn encode_slots(&self, mask: u16, out: &mut Vec<u8>) {
        let (mut present, mut leaves) = (0u16, 0u16);
        for (i, child) in self
            .children
            .iter()
            .enumerate()
            .filter(|(i, _)| mask >> i & 1 == 1)
        {
            if let Some(child) = child {
                present |= 1 << i;
                leaves |= u16::from(matches!(child, Child::Leaf { .. })) << i;
            }
        }
        out.extend_from_slice(&present.to_be_bytes());
        out.extend_from_slice(&leaves.to_be_bytes());
        for (_, child) in self
            .children
            .iter()
            .enumerate()
            .filter(|(i, _)| mask >> i & 1 == 1)
        {
            if let Some(child) = child {
                child.encode(out);
            }
        }
    }

    /// Reads what [`Branch::encode`] wrote for a branch at `depth` nibbles.
    pub(crate) fn decode(mut bytes: &[u8], depth: usize) -> Option<Self> {
        let present = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        let leaves = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        if depth >= KEY_NIBBLES || leaves & !present != 0 {
            return None;
        }
        let mut branch = Self::default();
        for (i, slot) in branch.children.iter_mut().enumerate() {
            if present >> i & 1 == 1 {
                *slot = Some(Child::decode(&mut bytes, leaves >> i & 1 == 1, depth + 1)?);
            }
        }
        bytes.is_empty().then_some(branch)
    }
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

/// A branch that changed: what was at `path`, and what is to be.
#[derive(Clone, Debug)]
pub(crate) struct Rewritten {
    pub(crate) path: Nibbles,
    pub(crate) old: Option<Branch>,
    pub(crate) new: Option<Branch>,
}

/// Applies `changes` (sorted by key, each key once) to the tree under `root`; gives the new root and appends every branch
/// that changed to `out`, each path at most once.
pub(crate) fn apply<S: Source>(
    source: &S,
    root: Option<Child>,
    changes: &[Change],
    out: &mut Vec<Rewritten>,
) -> Result<Option<Child>> {
    debug_assert!(changes.windows(2).all(|w| w[0].key < w[1].key));
    let paths: Vec<_> = changes
        .iter()
        .map(|c| (Nibbles::unpack_array(&c.key.0), c))
        .collect();
    descend(source, Nibbles::new(), root, &paths, out)
}

/// A change with its path unpacked: it is cut at every level.
type Pathed<'a> = (Nibbles, &'a Change);

fn descend<S: Source>(
    source: &S,
    path: Nibbles,
    at: Option<Child>,
    changes: &[Pathed<'_>],
    out: &mut Vec<Rewritten>,
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
            Ok(build(path, &inserts, out))
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
            Ok(build(path, &leaves, out))
        }
        Some(Child::Branch { extension, node }) => {
            let below = path.join(&extension);
            // Sorted, so the first and the last share the least.
            let shared = changes
                .first()
                .into_iter()
                .chain(changes.last())
                .map(|(p, _)| p.common_prefix_length(&below))
                .min()
                .unwrap_or(below.len());
            let (at, old, branch) = if shared < below.len() {
                // Some keys leave the run: a new branch in the middle of it takes the old one as a child.
                let mut branch = Branch::default();
                let turn = usize::from(below.get_unchecked(shared));
                branch.children[turn] = Some(Child::Branch {
                    extension: below.slice(shared + 1..),
                    node,
                });
                (below.slice(..shared), None, branch)
            } else {
                let branch = source.branch(&below)?;
                (below, Some(branch.clone()), branch)
            };
            rebranch(source, path.len(), at, old, branch, changes, out)
        }
    }
}

/// Applies changes below a branch at `at`, which hangs on a place `above` nibbles deep.
fn rebranch<S: Source>(
    source: &S,
    above: usize,
    at: Nibbles,
    old: Option<Branch>,
    mut branch: Branch,
    changes: &[Pathed<'_>],
    out: &mut Vec<Rewritten>,
) -> Result<Option<Child>> {
    let depth = at.len();
    let mut groups: Vec<(usize, Nibbles, &[Pathed<'_>])> = Vec::with_capacity(16);
    let mut rest = changes;
    while let Some((first, _)) = rest.first() {
        let nibble = first.get_unchecked(depth);
        let (group, tail) =
            rest.split_at(rest.partition_point(|(p, _)| p.get_unchecked(depth) <= nibble));
        let mut path = at;
        path.push(nibble);
        groups.push((usize::from(nibble), path, group));
        rest = tail;
    }
    if changes.len() >= PARALLEL_FROM && groups.len() > 1 {
        use rayon::prelude::*;
        let work: Vec<_> = groups
            .into_iter()
            .map(|(i, path, group)| (i, path, group, branch.children[i].take()))
            .collect();
        let done: Vec<_> = work
            .into_par_iter()
            .map(|(i, path, group, child)| {
                let mut written = Vec::new();
                descend(source, path, child, group, &mut written).map(|child| (i, child, written))
            })
            .collect();
        for part in done {
            let (i, child, written) = part?;
            branch.children[i] = child;
            out.extend(written);
        }
    } else {
        for (i, path, group) in groups {
            let child = branch.children[i].take();
            branch.children[i] = descend(source, path, child, group, out)?;
        }
    }

    let mut left = branch
        .children
        .iter()
        .enumerate()
        .filter_map(|(i, child)| Some((i, child.as_ref()?)));
    let (only, more) = (left.next(), left.next().is_some());
    if let (Some(_), true) = (only, more) {
        let node = RlpNode::from_rlp(&branch.rlp());
        let unchanged = old.as_ref() == Some(&branch);
        if !unchanged {
            out.push(Rewritten {
                path: at,
                old,
                new: Some(branch),
            });
        }
        return Ok(Some(Child::Branch {
            extension: at.slice(above..),
            node,
        }));
    }
    // Fewer than two are left: no branch. A single child takes the nibbles to itself.
    let child = match only {
        None => None,
        Some((i, child)) => {
            let mut run = at.slice(above..);
            run.push(u8::try_from(i).unwrap_or_default());
            Some(match child {
                Child::Branch { extension, node } => Child::Branch {
                    extension: run.join(extension),
                    node: node.clone(),
                },
                Child::Leaf { suffix, .. } => {
                    let mut whole = at;
                    whole.push(u8::try_from(i).unwrap_or_default());
                    let whole = whole.join(suffix);
                    let changed = changes.binary_search_by(|(p, _)| p.cmp(&whole)).ok();
                    match changed.and_then(|i| changes[i].1.value.as_deref()) {
                        Some(value) => Child::leaf(run.join(suffix), value),
                        None => Child::leaf(run.join(suffix), &source.value(&key_of(&whole)?)?),
                    }
                }
            })
        }
    };
    if old.is_some() {
        out.push(Rewritten {
            path: at,
            old,
            new: None,
        });
    }
    Ok(child)
}

/// A new tree of sorted leaves below `path`.
fn build(path: Nibbles, leaves: &[(Nibbles, &[u8])], out: &mut Vec<Rewritten>) -> Option<Child> {
    let ((first, value), (last, _)) = (leaves.first()?, leaves.last()?);
    if leaves.len() == 1 {
        return Some(Child::leaf(first.slice(path.len()..), value));
    }
    let depth = first.common_prefix_length(last);
    let at = first.slice(..depth);
    let mut branch = Branch::default();
    let mut rest = leaves;
    while let Some((first, _)) = rest.first() {
        let nibble = first.get_unchecked(depth);
        let (group, tail) =
            rest.split_at(rest.partition_point(|(p, _)| p.get_unchecked(depth) <= nibble));
        let mut below = at;
        below.push(nibble);
        branch.children[usize::from(nibble)] = build(below, group, out);
        rest = tail;
    }
    let node = RlpNode::from_rlp(&branch.rlp());
    out.push(Rewritten {
        path: at,
        old: None,
        new: Some(branch),
    });
    Some(Child::Branch {
        extension: at.slice(path.len()..),
        node,
    })
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
                let mut branch = source.branch(&path)?;
                add(branch.rlp());
                let nibble = key.get_unchecked(path.len());
                path.push(nibble);
                at = branch.children[usize::from(nibble)].take();
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
            Ok(Branch::decode(bytes, path.len()).expect("decodes"))
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
            let mut out = Vec::new();
            self.root = apply(self, self.root.clone(), &list, &mut out).expect("applies");
            let paths: BTreeSet<_> = out.iter().map(|w| w.path).collect();
            assert_eq!(paths.len(), out.len(), "a path is written once");
            for Rewritten { path, old, new } in out {
                assert_eq!(
                    self.branches.get(&path),
                    old.as_ref().map(Branch::encode).as_ref()
                );
                match new {
                    Some(new) => self.branches.insert(path, new.encode()),
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
            let below = (0u8..).zip(&branch.children).map(|(i, child)| {
                let mut path = path;
                path.push(i);
                self.reachable(child.as_ref(), path)
            });
            1 + below.sum::<usize>()
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
            if let Some(branch) = Branch::decode(&bytes, depth) {
                prop_assert_eq!(branch.encode(), bytes);
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

//! BLAKE3 with a context for every kind of object, so that no two kinds can be taken for each other.

use alloy_primitives::B256;

/// What is hashed. Each has its own BLAKE3 key-derivation context; a new encoding gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// A genesis file's canonical encoding.
    Genesis,
    /// A header: the block's id.
    Header,
    /// A validator set.
    Validators,
    /// The certificate of the parent, inside a block.
    LastCommit,
    /// The evidence inside a block.
    Evidence,
    /// A leaf of the tree over a block's transactions.
    TransactionLeaf,
    /// A leaf of the tree over a block's receipts.
    ReceiptLeaf,
    /// An inner node of either tree.
    TreeNode,
    /// The root of either tree: the count of its leaves and its topmost node.
    Tree,
    /// The topmost node of a tree over nothing.
    TreeEmpty,
    /// The order of nodes whose scores are equal.
    TieBreak,
}

impl Domain {
    const fn context(self) -> &'static str {
        match self {
            Self::Genesis => "lucid chain 2026 genesis v1",
            Self::Header => "lucid chain 2026 header v1",
            Self::Validators => "lucid chain 2026 validators v1",
            Self::LastCommit => "lucid chain 2026 last commit v1",
            Self::Evidence => "lucid chain 2026 evidence v1",
            Self::TransactionLeaf => "lucid chain 2026 transaction leaf v1",
            Self::ReceiptLeaf => "lucid chain 2026 receipt leaf v1",
            Self::TreeNode => "lucid chain 2026 tree node v1",
            Self::Tree => "lucid chain 2026 tree v1",
            Self::TreeEmpty => "lucid chain 2026 tree empty v1",
            Self::TieBreak => "lucid chain 2026 tie break v1",
        }
    }
}

/// Hash of `parts`, one after the other, in a domain. Callers keep the parts' lengths unambiguous.
pub fn derive(domain: Domain, parts: &[&[u8]]) -> B256 {
    let mut hasher = blake3::Hasher::new_derive_key(domain.context());
    for part in parts {
        hasher.update(part);
    }
    B256::new(*hasher.finalize().as_bytes())
}

/// Root of a Merkle tree shaped as in RFC 9162 section 2.1.1: the left subtree holds the largest power of two below the count.
///
/// Unlike there, the root covers the count too: a path then proves the leaf's place, not only that it is somewhere.
pub fn merkle_root(leaf: Domain, leaves: &[B256]) -> B256 {
    rooted(leaves.len() as u64, subtree(leaf, leaves))
}

/// The neighbours of leaf `index` on its way to the root, lowest first (RFC 9162 section 2.1.3.1); `None` if there is no such leaf.
pub fn merkle_path(leaf: Domain, leaves: &[B256], index: usize) -> Option<Vec<B256>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut leaves, mut index, mut path) = (leaves, index, Vec::new());
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        let neighbour;
        (leaves, neighbour) = if index < left.len() {
            (left, right)
        } else {
            index -= left.len();
            (right, left)
        };
        path.push(subtree(leaf, neighbour));
    }
    path.reverse();
    Some(path)
}

/// The root that `path` leads to from `value` as leaf `index` of `count`; `None` if a path there has another length.
pub fn merkle_root_of_path(
    leaf: Domain,
    value: B256,
    index: u32,
    count: u32,
    path: &[B256],
) -> Option<B256> {
    if index >= count {
        return None;
    }
    // From the root down: on which side the path's nodes are, counted from the top.
    let (mut index, mut width, mut on_left) = (index, count, Vec::new());
    while width > 1 {
        let left = 1 << (width - 1).ilog2();
        on_left.push(index >= left);
        (index, width) = if index < left {
            (index, left)
        } else {
            (index - left, width - left)
        };
    }
    if on_left.len() != path.len() {
        return None;
    }
    let mut hash = derive(leaf, &[value.as_slice()]);
    for (neighbour, on_left) in path.iter().zip(on_left.into_iter().rev()) {
        hash = if on_left {
            node(*neighbour, hash)
        } else {
            node(hash, *neighbour)
        };
    }
    Some(rooted(u64::from(count), hash))
}

/// How many of `count` leaves, at least two, are on the left.
fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

fn subtree(leaf: Domain, leaves: &[B256]) -> B256 {
    match leaves {
        [] => derive(Domain::TreeEmpty, &[]),
        [only] => derive(leaf, &[only.as_slice()]),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(subtree(leaf, left), subtree(leaf, right))
        }
    }
}

fn node(left: B256, right: B256) -> B256 {
    derive(Domain::TreeNode, &[left.as_slice(), right.as_slice()])
}

fn rooted(count: u64, top: B256) -> B256 {
    derive(Domain::Tree, &[&count.to_be_bytes(), top.as_slice()])
}

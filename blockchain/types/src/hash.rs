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
    /// The tree over nothing.
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
pub fn merkle_root(leaf: Domain, leaves: &[B256]) -> B256 {
    match leaves {
        [] => derive(Domain::TreeEmpty, &[]),
        [only] => derive(leaf, &[only.as_slice()]),
        _ => {
            let left = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(left);
            derive(
                Domain::TreeNode,
                &[
                    merkle_root(leaf, left).as_slice(),
                    merkle_root(leaf, right).as_slice(),
                ],
            )
        }
    }
}

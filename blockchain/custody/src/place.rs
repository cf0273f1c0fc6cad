//! Who is to hold a chunk: rendezvous hashing. Everybody who knows the nodes finds the same order, and a node that comes or goes
//! moves only the chunks that are its own.

use alloy_primitives::B256;
use lucid_chain_types::NodeId;

const CONTEXT: &str = "lucid custody 2026 rendezvous v1";

/// The nodes in the order in which they are to hold a chunk. Each is in it once.
pub fn order(chunk_hash: B256, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut scored: Vec<([u8; 32], NodeId)> = nodes
        .iter()
        .map(|node| (score(chunk_hash, *node), *node))
        .collect();
    // Highest first.
    scored.sort_unstable_by(|a, b| b.cmp(a));
    scored.dedup();
    scored.into_iter().map(|(_, node)| node).collect()
}

fn score(chunk_hash: B256, node: NodeId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(chunk_hash.as_slice());
    hasher.update(node.0.as_slice());
    hasher.finalize().into()
}

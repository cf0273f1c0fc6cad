//! What holds for the leader schedule.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says so by panicking; clippy.toml allows it only inside #[test]"
)]

mod order;
mod ranking;
mod record;
mod simulation;
mod task;
mod vectors;
mod vrf;

use alloy_primitives::Address;
use lucid_chain_types::NodeId;

/// Node number `index`.
pub(crate) fn node(index: usize) -> NodeId {
    NodeId(Address::left_padding_from(
        &(index as u64 + 1).to_be_bytes(),
    ))
}

pub(crate) fn nodes(count: usize) -> Vec<NodeId> {
    (0..count).map(node).collect()
}

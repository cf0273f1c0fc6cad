//! What a node does about a chunk. Pure: the lease, the nodes and the slot in, one step out.

use alloy_primitives::B256;
use lucid_chain_types::{NodeId, Slot};

use crate::place;

/// A commitment as the chain has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its number: custody is of numbers.
    pub number: u64,
    /// BLAKE3 of the encrypted chunk.
    pub hash: B256,
    /// Root of its leaves, see [`crate::tree`].
    pub storage_root: B256,
    /// Bytes.
    pub size: u32,
    /// First slot that is not paid for.
    pub expiry: Slot,
    /// Who says it holds the chunk.
    pub holders: Vec<NodeId>,
}

impl Lease {
    /// Whether it is paid for in this slot.
    pub fn is_live(&self, slot: Slot) -> bool {
        self.expiry > slot
    }
}

/// What is known besides the lease.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// This node.
    pub node: NodeId,
    /// All nodes that serve chunks.
    pub nodes: &'a [NodeId],
    /// How many are to hold a chunk.
    pub replicas: usize,
    /// The open slot.
    pub slot: Slot,
    /// Grace periods for which this chunk has had too few holders, as far as this node saw.
    pub lacking: u64,
    /// Whether the chunk is on the disk here.
    pub here: bool,
    /// Whether there is room for it.
    pub room: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do.
    Rest,
    /// Fetch the chunk from another holder.
    Fetch,
    /// Say that it is here.
    Accept,
    /// Forget a lease that is over, on the chain.
    Expire,
}

/// What this node does next about a lease.
///
/// The first `replicas` nodes of the chunk's order hold it. When one of them is away, the next in the order steps in after a grace
/// period, the one behind it after two, and so on: so that a node which restarts finds its place still free, and not all rush in at once.
pub fn step(lease: &Lease, facts: &Facts<'_>) -> Step {
    let holds = lease.holders.contains(&facts.node);
    if !lease.is_live(facts.slot) {
        return if holds { Step::Expire } else { Step::Rest };
    }
    if holds {
        // What is lost is looked for again; until it is found, challenges tell.
        return if facts.here || !facts.room {
            Step::Rest
        } else {
            Step::Fetch
        };
    }
    if !turn(lease, facts) {
        return Step::Rest;
    }
    match (facts.here, facts.room) {
        (true, _) => Step::Accept,
        (false, true) => Step::Fetch,
        (false, false) => Step::Rest,
    }
}

/// Whether a node may be given a chunk now: its turn has come, or the chunk is one that it holds.
pub fn turn(lease: &Lease, facts: &Facts<'_>) -> bool {
    if lease.holders.contains(&facts.node) {
        return true;
    }
    if lease.holders.len() >= facts.replicas {
        return false;
    }
    let rank = place::order(lease.hash, facts.nodes)
        .iter()
        .position(|node| *node == facts.node);
    // Who has no door is not asked to hold anything.
    rank.is_some_and(|rank| {
        rank < facts.replicas || ((rank - facts.replicas) as u64) < facts.lacking
    })
}

/// Whether a node has to keep a chunk's bytes for this lease. What it still says it holds it may be asked for, expired or not.
pub fn keeps(lease: &Lease, facts: &Facts<'_>) -> bool {
    lease.holders.contains(&facts.node) || (lease.is_live(facts.slot) && turn(lease, facts))
}

/// Most bytes that a node keeps, and how many it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes it may keep.
    pub most: u64,
    /// Bytes it keeps.
    pub used: u64,
}

impl Quota {
    /// Whether so many bytes more fit.
    pub fn fits(&self, size: u32) -> bool {
        self.used.saturating_add(size.into()) <= self.most
    }
}

//! The order of an open slot: who proposes in which round, and what a missed proposal costs. WorkCredits keeps the order and
//! applies the same rules; the tests of `lucid-execution` compare both.

use lucid_chain_types::NodeId;

/// Who proposes in `round`; `None` only where there is nobody.
pub fn proposer(order: &[NodeId], round: u32) -> Option<NodeId> {
    place(order, round).map(|place| order[place])
}

/// Who missed their proposals when a block was first proposed in `round`, in the order of their rounds. After more rounds than
/// there are nodes: the last miss of each.
pub fn missed(order: &[NodeId], round: u32) -> Vec<NodeId> {
    match (usize::try_from(round), place(order, round)) {
        (Ok(rounds), _) if rounds < order.len() => order[..rounds].to_vec(),
        (_, Some(place)) => demote(order, place),
        (_, None) => vec![],
    }
}

/// The order after `missed` rounds passed without a proposal: those who missed are last, in the order of their rounds.
pub fn demote(order: &[NodeId], missed: usize) -> Vec<NodeId> {
    let mut order = order.to_vec();
    if let Some(by) = missed.checked_rem(order.len()) {
        order.rotate_left(by);
    }
    order
}

/// `order` with `entered`, who went into cooldown since it was made, at its end. All others keep their order, and so do they.
pub fn cool_down(order: &[NodeId], entered: &[NodeId]) -> Vec<NodeId> {
    let (last, mut order): (Vec<NodeId>, Vec<NodeId>) =
        order.iter().partition(|node| entered.contains(node));
    order.extend(last);
    order
}

fn place(order: &[NodeId], round: u32) -> Option<usize> {
    // In 64 bits: the same on every machine.
    let place = u64::from(round).checked_rem(order.len() as u64)?;
    usize::try_from(place).ok()
}

//! Blocks that were proposed and are not decided.

use lucid_chain_types::{BlockId, Height, NodeId};
use lucid_ledger::Undecided;

use crate::support::Net;

fn proposed(round: u32) -> Undecided {
    Undecided {
        block: BlockId(alloy_primitives::B256::with_last_byte(
            u8::try_from(round).unwrap(),
        )),
        round,
        valid_round: None,
        proposer: NodeId::default(),
        valid: true,
        bytes: vec![7; 100],
    }
}

/// Rounds may pass for as long as a network is not able to decide: that is no reason to stop.
#[test]
fn a_height_may_go_through_any_number_of_rounds() {
    let net = Net::new(1);
    let height = Height(1);
    for round in 0..200 {
        net.ledger.put_undecided(height, &proposed(round)).unwrap();
        let found = net.ledger.undecided(height, round).unwrap();
        assert_eq!(found, [proposed(round)]);
    }
    let block = |round| {
        let id = proposed(round).block;
        net.ledger.undecided_block(height, id).unwrap()
    };
    for round in 136..200 {
        assert_eq!(block(round), Some(proposed(round)));
    }
    assert_eq!(block(135), None, "the lowest rounds make room");

    // Proposed again, it is there for as long as its new round is.
    let again = Undecided {
        round: 200,
        valid_round: Some(136),
        ..proposed(136)
    };
    net.ledger.put_undecided(height, &again).unwrap();
    assert_eq!(block(136), Some(again));
    assert_eq!(net.ledger.undecided(Height(2), 199).unwrap(), []);
}

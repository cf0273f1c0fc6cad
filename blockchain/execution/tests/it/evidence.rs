use alloy_primitives::{Address, B256, U256};
use lucid_chain_types::contracts::WORK_CREDITS;
use lucid_chain_types::{BlockId, Evidence, Height, Vote, VoteKind};
use lucid_execution::interfaces::WorkCredits;
use lucid_execution::{BlockError, ExecutionError, MAX_EVIDENCE_AGE};

use crate::support::{Net, Node, Setup, User};

pub(crate) fn double_vote(net: &Net, node: &Node, height: Height, kind: VoteKind) -> Evidence {
    let vote = |block| {
        node.vote(
            net.chain.genesis_hash(),
            Vote {
                kind,
                height,
                round: 0,
                block: Some(BlockId(B256::repeat_byte(block))),
                voter: node.id(),
            },
        )
    };
    Evidence::votes(vote(1), vote(2))
}

fn refused(net: &Net, evidence: Vec<Evidence>) -> BlockError {
    // Not built with it: put into a block by hand, as a hostile leader would.
    let pay = User::new(0).pay(
        net.nonce(User::new(0).address),
        Address::with_last_byte(0x77),
        U256::from(1),
    );
    let mut block = net
        .build(net.proposal(net.time_ms() + 1_000, 0, vec![pay]))
        .unwrap()
        .block;
    block.body.evidence = evidence;
    match net.validate(&block) {
        Err(ExecutionError::Block(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_signs_twice_is_out_from_the_next_seal_on_and_loses_what_it_has() {
    let mut net = Setup::default().net();
    // The first block has no certificate under it, so the second seal is the first that all earn from.
    net.seal(vec![]);
    net.seal(vec![]);
    let caught = net.parent.validators.list()[1].node;
    let earned = net.ask(WORK_CREDITS, &WorkCredits::earnedCall { node: caught.0 });
    assert!(!earned.is_zero());
    let evidence = double_vote(&net, &net.nodes[&caught], net.height(), VoteKind::Precommit);
    let proposal = net.with_evidence(
        net.proposal(net.time_ms() + 1_000, 0, vec![]),
        vec![evidence],
    );
    let (block, _) = net.advance(proposal);
    assert_eq!(
        block.body.evidence.len(),
        1,
        "a block with evidence alone is not an empty one"
    );
    assert!(net.parent.validators.get(caught).is_some());
    let entity = net.ask(WORK_CREDITS, &WorkCredits::entityCall { node: caught.0 });
    assert!(entity.jailed && !entity.validator);
    // Its unpaid earnings are gone: nothing to claim.
    let claim = User::new(0).call(0, WORK_CREDITS, &WorkCredits::claimCall { node: caught.0 });
    assert!(!net.next(vec![claim]).1[0].success);

    // Once is enough.
    let again = double_vote(&net, &net.nodes[&caught], Height(1), VoteKind::Prevote);
    assert!(
        matches!(refused(&net, vec![again]), BlockError::EvidenceSettled(node) if node == caught)
    );
    let proposal = net.with_evidence(net.proposal(net.slot_end_ms() + 1, 0, vec![]), vec![again]);
    let (block, _) = net.advance(proposal);
    assert!(
        block.body.evidence.is_empty(),
        "a leader leaves out what settles nothing"
    );
    assert!(net.parent.validators.get(caught).is_none());
    assert!(!net.parent.order.contains(&caught));
    net.seal(vec![]);
}

#[test]
fn evidence_is_checked() {
    let mut net = Setup::default().net();
    net.seal(vec![]);
    let node = net.parent.validators.list()[0].node;
    let good = double_vote(&net, &net.nodes[&node], net.height(), VoteKind::Prevote);

    let future = double_vote(
        &net,
        &net.nodes[&node],
        Height(net.height().0 + 2),
        VoteKind::Prevote,
    );
    assert!(matches!(
        refused(&net, vec![future]),
        BlockError::EvidenceAge { .. }
    ));
    let stranger = double_vote(&net, &Node::new(99), net.height(), VoteKind::Prevote);
    assert!(matches!(
        refused(&net, vec![stranger]),
        BlockError::EvidenceSettled(_)
    ));
    let mut forged = good;
    if let Evidence::DoubleVote { second, .. } = &mut forged {
        second.signature.0[3] ^= 1;
    }
    assert!(matches!(
        refused(&net, vec![forged]),
        BlockError::Evidence { .. }
    ));
    let mut swapped = good;
    if let Evidence::DoubleVote { first, second } = &mut swapped {
        std::mem::swap(first, second);
    }
    assert!(matches!(
        refused(&net, vec![swapped]),
        BlockError::Evidence { .. }
    ));
    assert!(matches!(
        refused(&net, vec![good, good]),
        BlockError::EvidenceSettled(_)
    ));
    let other = double_vote(&net, &net.nodes[&node], Height(1), VoteKind::Precommit);
    assert!(matches!(
        refused(&net, vec![good, other]),
        BlockError::EvidenceSettled(_)
    ));
    assert_eq!(MAX_EVIDENCE_AGE, 86_400);
}

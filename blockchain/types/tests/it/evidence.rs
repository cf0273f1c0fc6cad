//! What evidence proves, and that nobody can be framed.

use alloy_primitives::{Address, B256};
use lucid_chain_types::{
    BlockId, Evidence, EvidenceError, Height, NodeId, Proposal, SignedVote, Vote, VoteKind,
};

use crate::support::{
    GENESIS, double_proposal, double_vote, precommit, set, sign, signed_proposal, signed_vote,
    validator,
};

fn block(byte: u8) -> BlockId {
    BlockId(B256::repeat_byte(byte))
}

fn check(evidence: &Evidence) -> Result<(), EvidenceError> {
    evidence.verify(GENESIS, &set(4))
}

#[test]
fn two_votes_or_proposals_of_one_round_are_evidence() {
    for evidence in [double_vote(2), double_proposal(2)] {
        check(&evidence).unwrap();
        assert_eq!(
            (evidence.offender(), evidence.height()),
            (validator(2).node, Height(6))
        );
    }
    assert_eq!((double_vote(2).kind(), double_proposal(2).kind()), (0, 1));

    let nil = Vote {
        block: None,
        ..precommit(1, 6, 0, block(1))
    };
    check(&Evidence::votes(
        signed_vote(1, precommit(1, 6, 0, block(1))),
        signed_vote(1, nil),
    ))
    .unwrap();
    // One block with two claims about its past.
    let proposal = |valid_round| Proposal {
        height: Height(6),
        round: 3,
        block: block(1),
        valid_round,
        proposer: validator(1).node,
    };
    check(&Evidence::proposals(
        signed_proposal(1, proposal(None)),
        signed_proposal(1, proposal(Some(2))),
    ))
    .unwrap();
}

#[test]
fn a_pair_has_one_encoding() {
    let (a, b) = (
        signed_vote(1, precommit(1, 6, 0, block(1))),
        signed_vote(1, precommit(1, 6, 0, block(2))),
    );
    assert_eq!(Evidence::votes(a, b), Evidence::votes(b, a));
    let Evidence::DoubleVote { first, second } = Evidence::votes(a, b) else {
        panic!("two votes");
    };
    let turned = Evidence::DoubleVote {
        first: second,
        second: first,
    };
    assert_eq!(check(&turned), Err(EvidenceError::NoConflict));
}

#[test]
fn messages_that_may_all_be_signed_are_no_evidence() {
    let vote = precommit(1, 6, 0, block(1));
    let other = Vote {
        block: Some(block(2)),
        ..vote
    };
    for second in [
        vote,
        Vote {
            kind: VoteKind::Prevote,
            ..other
        },
        Vote {
            height: Height(7),
            ..other
        },
        Vote { round: 1, ..other },
        Vote {
            voter: validator(2).node,
            ..other
        },
    ] {
        let evidence = Evidence::votes(signed_vote(1, vote), signed_vote(1, second));
        assert_eq!(
            check(&evidence),
            Err(EvidenceError::NoConflict),
            "{second:?}"
        );
    }
    let proposal = Proposal {
        height: Height(6),
        round: 1,
        block: block(1),
        valid_round: None,
        proposer: validator(1).node,
    };
    let other = Proposal {
        block: block(2),
        ..proposal
    };
    for second in [
        proposal,
        Proposal {
            height: Height(7),
            ..other
        },
        Proposal { round: 2, ..other },
        Proposal {
            proposer: validator(2).node,
            ..other
        },
    ] {
        let evidence =
            Evidence::proposals(signed_proposal(1, proposal), signed_proposal(1, second));
        assert_eq!(
            check(&evidence),
            Err(EvidenceError::NoConflict),
            "{second:?}"
        );
    }
}

#[test]
fn nobody_is_framed() {
    let (vote, other) = (precommit(1, 6, 0, block(1)), precommit(1, 6, 0, block(2)));
    let framed = Err(EvidenceError::Signature(validator(1).node));
    // Signed by another.
    let foreign = SignedVote {
        vote: other,
        signature: sign(2, GENESIS, &other),
    };
    assert_eq!(
        check(&Evidence::votes(signed_vote(1, vote), foreign)),
        framed
    );
    // Signed on another chain.
    let replayed = SignedVote {
        vote: other,
        signature: sign(1, B256::ZERO, &other),
    };
    assert_eq!(
        check(&Evidence::votes(signed_vote(1, vote), replayed)),
        framed
    );
    assert_eq!(double_vote(1).verify(B256::ZERO, &set(4)), framed);
    // One vote with two signatures, of which one is made up.
    let copy = SignedVote {
        vote,
        signature: sign(1, GENESIS, &other),
    };
    assert_eq!(
        check(&Evidence::votes(signed_vote(1, vote), copy)),
        Err(EvidenceError::NoConflict)
    );
}

#[test]
fn only_validators_of_the_height_are_accused() {
    let stranger = NodeId(Address::repeat_byte(7));
    let vote = |byte| Vote {
        voter: stranger,
        ..precommit(1, 6, 0, block(byte))
    };
    let evidence = Evidence::votes(signed_vote(1, vote(1)), signed_vote(1, vote(2)));
    assert_eq!(
        check(&evidence),
        Err(EvidenceError::NotAValidator(stranger))
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    for evidence in [double_vote(2), double_proposal(2)] {
        let bytes = borsh::to_vec(&evidence).unwrap();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                let passes =
                    borsh::from_slice::<Evidence>(&flipped).is_ok_and(|e| check(&e).is_ok());
                assert!(!passes, "bit {bit} of byte {place}");
            }
        }
    }
}

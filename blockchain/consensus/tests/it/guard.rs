//! The signer's record: what it allows, and that no crash makes it forget.

use std::path::Path;

use alloy_primitives::B256;
use lucid_chain_types::{BlockId, Height, Proposal, Vote, VoteKind};
use lucid_consensus::GuardError;
use lucid_consensus::guard::{Answer, Guard, History, Message, Refusal, Signed};
use lucid_consensus::signing::{ABSTAIN, GuardedSigner};
use proptest::prelude::*;

use crate::chain::{key, node};

fn vote(kind: VoteKind, height: u64, round: u32, block: Option<u8>) -> Message {
    Message::Vote(Vote {
        kind,
        height: Height(height),
        round,
        block: block.map(|byte| BlockId(B256::repeat_byte(byte))),
        voter: node(0),
    })
}

fn prevote(height: u64, round: u32, block: Option<u8>) -> Message {
    vote(VoteKind::Prevote, height, round, block)
}

fn precommit(height: u64, round: u32, block: Option<u8>) -> Message {
    vote(VoteKind::Precommit, height, round, block)
}

fn proposal(height: u64, round: u32, block: u8) -> Message {
    Message::Proposal(Proposal {
        height: Height(height),
        round,
        block: BlockId(B256::repeat_byte(block)),
        valid_round: None,
        proposer: node(0),
    })
}

fn sign(message: &Message) -> Signed {
    match message {
        Message::Vote(vote) => Signed::Vote(key(0).vote(*vote)),
        Message::Proposal(proposal) => Signed::Proposal(key(0).proposal(*proposal)),
    }
}

fn history(messages: &[Message]) -> History {
    let mut history = History::default();
    for message in messages {
        assert_eq!(history.ask(message), Answer::Sign);
        history.record(sign(message));
    }
    history
}

#[test]
fn each_place_is_signed_once_and_never_a_lower_one_anew() {
    let signed = [
        proposal(5, 0, 1),
        prevote(5, 0, Some(1)),
        precommit(5, 0, None),
        prevote(5, 2, None),
    ];
    let history = history(&signed);
    for message in &signed {
        assert_eq!(history.ask(message), Answer::Repeat(sign(message)));
    }
    let height = Height(5);
    // Another vote in the same place: the first one is sent again.
    assert_eq!(
        history.ask(&prevote(5, 0, None)),
        Answer::Repeat(sign(&signed[1]))
    );
    assert_eq!(
        history.ask(&proposal(5, 0, 2)),
        Answer::Refuse(Refusal::Conflict { height })
    );
    let later = Answer::Refuse(Refusal::Place { height, last: 2 });
    assert_eq!(history.ask(&proposal(5, 2, 1)), later);
    assert_eq!(history.ask(&precommit(5, 1, Some(1))), later);
    assert_eq!(history.ask(&precommit(5, 1, None)), Answer::Sign);
    let over = Answer::Refuse(Refusal::Height {
        height: Height(4),
        last: height,
    });
    assert_eq!(history.ask(&precommit(4, 9, None)), over);
    assert_eq!(history.ask(&precommit(5, 2, Some(3))), Answer::Sign);
    assert_eq!(history.ask(&proposal(5, 3, 1)), Answer::Sign);
    assert_eq!(history.ask(&prevote(6, 0, None)), Answer::Sign);
}

#[test]
fn a_lock_from_before_the_restart_binds_until_the_engine_shows_that_it_remembers() {
    let mut history = history(&[prevote(5, 0, Some(1)), precommit(5, 0, Some(1))]);
    assert_eq!(
        history.ask(&prevote(5, 1, Some(2))),
        Answer::Sign,
        "the engine of this run knows its lock"
    );
    history.inherit();
    let locked = Answer::Refuse(Refusal::Locked {
        height: Height(5),
        round: 0,
    });
    assert_eq!(history.ask(&prevote(5, 1, Some(2))), locked);
    assert_eq!(history.ask(&prevote(5, 1, Some(1))), Answer::Sign);
    assert_eq!(history.ask(&prevote(5, 1, None)), Answer::Sign);
    assert_eq!(history.ask(&prevote(6, 0, Some(2))), Answer::Sign);
    let Message::Vote(lock) = precommit(5, 0, Some(1)) else {
        unreachable!()
    };
    history.remembers(&Vote { round: 1, ..lock });
    assert_eq!(history.ask(&prevote(5, 1, Some(2))), locked);
    history.remembers(&lock);
    assert_eq!(history.ask(&prevote(5, 1, Some(2))), Answer::Sign);
    // A quorum that this run has seen replaces the old lock.
    history.inherit();
    history.record(sign(&precommit(5, 1, Some(2))));
    assert_eq!(history.ask(&prevote(5, 2, Some(3))), Answer::Sign);
}

#[test]
fn hundreds_of_rounds_fit_and_keep_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed");
    let mut guard = Guard::open(&path).unwrap();
    for message in [prevote(1, 0, Some(1)), precommit(1, 0, Some(1))] {
        guard.sign(&message, || sign(&message)).unwrap().unwrap();
    }
    for round in 1..300 {
        for message in [prevote(1, round, None), precommit(1, round, None)] {
            guard.sign(&message, || sign(&message)).unwrap().unwrap();
        }
    }
    guard.close();
    drop(guard);
    let guard = Guard::open(&path).unwrap();
    let locked = Answer::Refuse(Refusal::Locked {
        height: Height(1),
        round: 0,
    });
    assert_eq!(guard.history().ask(&prevote(1, 300, Some(2))), locked);
}

fn messages() -> impl Strategy<Value = Message> {
    (0..3_u8, 1..4_u64, 0..4_u32, proptest::option::of(1..3_u8)).prop_map(
        |(kind, height, round, block)| match kind {
            0 => proposal(height, round, block.unwrap_or(1)),
            1 => prevote(height, round, block),
            _ => precommit(height, round, block),
        },
    )
}

proptest! {
    /// Whatever is asked, and however often the process dies before or after its second write: what left never conflicts.
    #[test]
    fn nothing_that_leaves_conflicts(steps in proptest::collection::vec((messages(), 0..4_u8), 1..60)) {
        let mut history = History::default();
        let mut left: Vec<Signed> = Vec::new();
        for (message, fate) in steps {
            match history.ask(&message) {
                Answer::Sign => {
                    let before = history.clone();
                    history.record(sign(&message));
                    match fate {
                        // Died while the record was written: nothing left, and either record may be found.
                        0 => { history = before; history.inherit(); }
                        1 => history.inherit(),
                        _ => left.push(sign(&message)),
                    }
                }
                Answer::Repeat(signed) => left.push(signed),
                Answer::Refuse(_) => {}
            }
        }
        for a in &left {
            for b in &left {
                let (a, b) = (a.message(), b.message());
                let same_kind = match (a, b) {
                    (Message::Vote(a), Message::Vote(b)) => a.kind == b.kind,
                    (Message::Proposal(_), Message::Proposal(_)) => true,
                    _ => false,
                };
                prop_assert!(!same_kind || a.height() != b.height() || a.round() != b.round() || a == b);
            }
        }
    }
}

fn opened(path: &Path, bytes: &[u8]) -> Result<History, GuardError> {
    std::fs::write(path, bytes).unwrap();
    Guard::open(path).map(|guard| guard.history().clone())
}

fn inherited(mut history: History) -> History {
    history.inherit();
    history
}

#[test]
fn a_crash_at_any_byte_of_a_write_leaves_the_old_record_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed");
    let torn = folder.path().join("torn");
    let mut guard = Guard::open(&path).unwrap();
    for message in [
        prevote(3, 0, Some(1)),
        precommit(3, 0, Some(1)),
        prevote(4, 0, None),
    ] {
        let old = std::fs::read(&path).unwrap();
        let before = inherited(guard.history().clone());
        guard.sign(&message, || sign(&message)).unwrap().unwrap();
        let signed = std::fs::read(&path).unwrap();
        let after = inherited(guard.history().clone());
        guard.settle().unwrap();
        let settled = std::fs::read(&path).unwrap();
        for (from, to, left) in [(&old, &signed, false), (&signed, &settled, true)] {
            let changed = from
                .iter()
                .zip(to)
                .enumerate()
                .filter(|(_, (a, b))| a != b)
                .map(|(at, _)| at);
            for cut in changed.collect::<Vec<_>>() {
                // In order, and in the other order: pages may reach the disk as they please.
                for bytes in [
                    [&to[..cut], &from[cut..]].concat(),
                    [&from[..cut], &to[cut..]].concat(),
                ] {
                    let found = opened(&torn, &bytes).unwrap();
                    assert!(found == after || (!left && found == before), "cut at {cut}");
                }
            }
        }
        for at in (0..settled.len()).filter(|at| at % 7 == 0 && (settled[*at] != 0 || at % 77 == 0))
        {
            let mut bytes = settled.clone();
            bytes[at] ^= 1 << (at % 8);
            match opened(&torn, &bytes) {
                Ok(found) => assert_eq!(found, after),
                Err(error) => assert!(
                    matches!(
                        error,
                        GuardError::Damaged { .. } | GuardError::Version { .. }
                    ) && at < 16,
                    "{error}"
                ),
            }
        }
        let mut bytes = settled.clone();
        bytes[4096] ^= 1;
        bytes[4096 + (16 << 10)] ^= 1;
        let error = opened(&torn, &bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("then delete the file and start again"),
            "{error}"
        );
    }
    for size in [0, 1, 15, 16, 4096, 5000] {
        let bytes = &std::fs::read(&path).unwrap()[..size];
        match opened(&torn, bytes) {
            Err(GuardError::Damaged { .. }) => {}
            Ok(found) => assert_eq!((size, found), (5000, inherited(guard.history().clone()))),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_processes_cannot_have_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed");
    let mut guard = Guard::open(&path).unwrap();
    assert!(matches!(Guard::open(&path), Err(GuardError::Locked { .. })));
    guard.close();
    assert!(matches!(
        guard.sign(&prevote(1, 0, None), || sign(&prevote(1, 0, None))),
        Err(GuardError::Stopped)
    ));
    Guard::open(&path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_signature_verifies_under_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let guard = Guard::open(&folder.path().join("signed")).unwrap();
    let signer = GuardedSigner::new(node(0), key(0), guard);
    let Message::Vote(first) = prevote(2, 1, Some(1)) else {
        unreachable!()
    };
    let signed = signer.vote(first).await.unwrap();
    let verify = |signed: &lucid_chain_types::SignedVote| {
        let bytes = lucid_chain_types::vote_sign_bytes(crate::chain::GENESIS, &signed.vote);
        lucid_chain_types::verify(key(0).public(), &bytes, &signed.signature)
    };
    assert!(verify(&signed));
    assert_eq!(
        signer
            .vote(Vote {
                block: None,
                ..first
            })
            .await
            .unwrap(),
        signed
    );
    // In a round that was left out it may vote for nothing only, and of an earlier height for nothing at all.
    let earlier = Vote { round: 0, ..first };
    let nothing = signer.vote(earlier).await.unwrap();
    assert_eq!(
        nothing.vote,
        Vote {
            block: None,
            ..earlier
        }
    );
    assert!(verify(&nothing));
    assert_eq!(signer.vote(earlier).await.unwrap(), nothing);
    let over = Vote {
        height: Height(1),
        ..first
    };
    let refused = signer.vote(over).await.unwrap();
    assert_eq!(refused.signature, ABSTAIN);
    assert!(!verify(&refused));
}

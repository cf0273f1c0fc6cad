//! `tests/vectors/proof`: good and bad files, each with what is said of it. Both verifiers are held against them: this crate, and
//! `tests/verifier/verify.py`, which was written from the specifications alone.
//!
//! `LUCID_BLESS=1 cargo test -p lucid-proof corpus` writes them anew: only for a new version, or to add one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use alloy_primitives::{B256, U256};
use lucid_chain_types::{Certificate, Genesis, Height, SignerBitmap};
use lucid_format::{Ending, Hash, SignedManifest};
use lucid_light::{FinalityProof, StateProof};
use lucid_proof::{BatchContent, Proof};
use serde_json::{Value, json};

use crate::support::recordings::{manifest_body, scene};
use crate::support::{Anchoring, Net, Scene, Sender, check, net, root_of, state, transaction};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/proof")
}

/// A manifest over the first chunks, signed by the host: what recovery makes, and a dishonest host too.
fn cut(scene: &Scene, chunks: usize) -> Scene {
    let mut cut = scene.clone();
    cut.chunks.truncate(chunks);
    let body = manifest_body(&cut.head, &cut.chunks, Ending::Cut);
    cut.manifest = SignedManifest::sign(&body, &cut.head, &cut.host).unwrap();
    cut
}

/// The same session recorded and sealed again, with other chunks from `from` on.
fn rewritten(scene: &Scene, from: usize) -> Scene {
    let other = crate::support::recordings::scene("other", scene.chunks.len() as u32);
    let mut forged = scene.clone();
    let keys = scene.keys();
    let mut rng = crate::support::recordings::TestRng::new("forged");
    forged.chunks.truncate(from);
    for index in from..other.chunks.len() {
        use crate::support::recordings::{chunk, place, records_of};
        let prev = forged
            .chunks
            .last()
            .map_or(scene.head.hash, |c| Hash::of(c));
        let index = index as u32;
        let start = u64::from(index) * 10_000_000;
        forged.chunks.push(chunk(
            place(scene.id, index, prev, start),
            &keys.chunk_key(index).unwrap(),
            &records_of(index + 100)
                .into_iter()
                .map(|mut record| {
                    record.time_us -= 1_000_000_000;
                    record
                })
                .collect::<Vec<_>>(),
            start + 9_000_000,
            true,
            &mut rng,
        ));
    }
    let body = manifest_body(&forged.head, &forged.chunks, Ending::Closed);
    forged.manifest = SignedManifest::sign(&body, &forged.head, &forged.session_key).unwrap();
    forged
}

#[derive(Default)]
struct Corpus {
    files: BTreeMap<String, Vec<u8>>,
    /// Name, recording, proof, genesis, and of a refusal how its error begins.
    cases: Vec<(String, String, String, String, Option<&'static str>)>,
}

impl Corpus {
    fn file(&mut self, name: &str, bytes: Vec<u8>) -> String {
        let before = self.files.insert(name.to_owned(), bytes);
        assert!(before.is_none(), "two files are called {name}");
        name.to_owned()
    }

    fn case(&mut self, name: &str, recording: &str, proof: &str, refused: Option<&'static str>) {
        self.case_of(name, recording, proof, "genesis.json", refused);
    }

    fn case_of(
        &mut self,
        name: &str,
        recording: &str,
        proof: &str,
        genesis: &str,
        refused: Option<&'static str>,
    ) {
        let [recording, proof, genesis] = [recording, proof, genesis].map(str::to_owned);
        self.cases
            .push((name.to_owned(), recording, proof, genesis, refused));
    }

    /// A proof that a forger made, refused whatever recording it is shown with.
    fn bad(&mut self, name: &str, proof: &Proof, refused: &'static str) {
        self.bad_bytes(name, proof.encode(), refused);
    }

    fn bad_bytes(&mut self, name: &str, proof: Vec<u8>, refused: &'static str) {
        let file = self.file(&format!("bad-{name}.lucidproof"), proof);
        self.case(name, "closed.lucid", &file, Some(refused));
    }

    /// The proof with a change.
    fn edit(
        &mut self,
        name: &str,
        good: &Proof,
        change: impl FnOnce(&mut Proof),
        refused: &'static str,
    ) {
        let mut proof = good.clone();
        change(&mut proof);
        assert_ne!(proof, *good, "{name}");
        self.bad(name, &proof, refused);
    }

    fn edit_finality(
        &mut self,
        name: &str,
        good: &Proof,
        change: impl FnOnce(&mut FinalityProof),
        refused: &'static str,
    ) {
        let edit = |proof: &mut Proof| {
            let mut finality = FinalityProof::decode(&proof.finality).unwrap();
            change(&mut finality);
            proof.finality = finality.encode();
        };
        self.edit(name, good, edit, refused);
    }

    fn edit_state(
        &mut self,
        name: &str,
        good: &Proof,
        change: impl FnOnce(&mut StateProof),
        refused: &'static str,
    ) {
        let edit = |proof: &mut Proof| {
            let mut state = StateProof::decode(&proof.state).unwrap();
            change(&mut state);
            proof.state = state.encode();
        };
        self.edit(name, good, edit, refused);
    }
}

fn other_genesis(genesis: &Genesis) -> Vec<u8> {
    let mut other = genesis.clone();
    other.time_ms += 1;
    other.to_json().unwrap().into_bytes()
}

/// A certificate of the head by some of the validators, as if it were complete.
fn signed_by(net: &Net, signers: usize) -> Certificate {
    let height = net.ledger.head().height;
    net.certify(&net.ledger.block(height).unwrap().unwrap(), signers)
}

fn make() -> Corpus {
    let mut corpus = Corpus::default();
    let mut net = net();
    let (mut owner, mut gateway) = (Sender::new(1), Sender::new(2));
    let office = scene("office", 12);
    let other = scene("second", 3);
    let cut_short = cut(&scene("cut", 7), 5);
    let quick = scene("quick", 2);

    // A session of twelve chunks with everything: own checkpoints, batches, a change of the validators while it runs.
    let mut session = Anchoring::open(&mut net, &office, &mut gateway, owner.address());
    let mut second = Anchoring::open(&mut net, &other, &mut gateway, owner.address());
    session.checkpoint(&mut net, &mut gateway, 2);
    session.batch(&mut net, &mut gateway, Some(4));
    net.shut_out();
    session.checkpoint(&mut net, &mut owner, 5);
    let older = session.prove(&net, net.ledger.head().height, None);
    session.batch(&mut net, &mut gateway, None);
    session.batch(&mut net, &mut gateway, Some(9));
    session.checkpoint(&mut net, &mut gateway, 10);
    let open = session.prove(&net, net.ledger.head().height, None);
    session.close(&mut net, &mut gateway);
    let closing = net.ledger.head().height;
    let closed = session.prove(&net, closing, None);
    second.close(&mut net, &mut owner);
    let second_proof = second.prove(&net, net.ledger.head().height, None);
    let mut third = Anchoring::open(&mut net, &cut_short, &mut gateway, owner.address());
    third.checkpoint(&mut net, &mut gateway, 4);
    third.close(&mut net, &mut gateway);
    let cut_proof = third.prove(&net, net.ledger.head().height, None);
    let owner_address = owner.address();
    let registered = Anchoring::register(&mut net, &quick, &mut owner, owner_address);
    let registered = registered.prove(&net, net.ledger.head().height, None);
    net.pay();
    let head = net.ledger.head().height;
    let later = session.prove(&net, head, None);
    let thin = session.prove(&net, closing, Some(0));

    corpus.file("genesis.json", net.genesis.to_json().unwrap().into_bytes());
    corpus.file("other-genesis.json", other_genesis(&net.genesis));
    for (name, bytes) in [
        ("closed.lucid", office.file()),
        ("part.lucid", office.disclosure(3, 7)),
        ("second.lucid", other.file()),
        ("cut.lucid", cut_short.file()),
        ("registered.lucid", quick.file()),
        ("closed.lucidproof", closed.encode()),
        ("later.lucidproof", later.encode()),
        ("thin.lucidproof", thin.encode()),
        ("open.lucidproof", open.encode()),
        ("older.lucidproof", older.encode()),
        ("second.lucidproof", second_proof.encode()),
        ("cut.lucidproof", cut_proof.encode()),
        ("registered.lucidproof", registered.encode()),
    ] {
        corpus.file(name, bytes);
    }
    for (recording, proof) in [
        ("closed", "closed"),
        ("closed", "later"),
        ("closed", "thin"),
        ("closed", "open"),
        ("closed", "older"),
        ("part", "closed"),
        ("part", "later"),
        ("part", "thin"),
        ("second", "second"),
        ("cut", "cut"),
        ("registered", "registered"),
    ] {
        let name = format!("{recording} with {proof}");
        corpus.case(
            &name,
            &format!("{recording}.lucid"),
            &format!("{proof}.lucidproof"),
            None,
        );
    }

    // Good proofs, other recordings.
    let rewound = corpus.file("bad-rewound.lucid", cut(&office, 5).file());
    let short = corpus.file("bad-short.lucid", cut(&office, 11).file());
    let resealed = corpus.file("bad-resealed.lucid", cut(&office, 12).file());
    let changed = corpus.file("bad-rewritten.lucid", rewritten(&office, 3).file());
    let tail = corpus.file("bad-rewritten-tail.lucid", rewritten(&office, 10).file());
    let mut flipped = office.file();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let flipped = corpus.file("bad-flipped.lucid", flipped);
    let mut extended = office.clone();
    let longer = scene("office", 13);
    assert_eq!(longer.head.bytes(), office.head.bytes());
    extended.chunks = longer.chunks;
    extended.manifest = longer.manifest;
    let extended = corpus.file("bad-extended.lucid", extended.file());
    let swapped = {
        use crate::support::recordings::assemble;
        let mut sections = office.sections();
        sections.swap(4, 5);
        assemble(lucid_format::FileKind::Recording, 0, &sections, |_| {})
    };
    let swapped = corpus.file("bad-swapped.lucid", swapped);
    for (name, recording, proof, refused) in [
        (
            "recording of another session",
            "second.lucid",
            "closed",
            "OtherSession",
        ),
        (
            "recording cut back to a checkpoint",
            rewound.as_str(),
            "closed",
            "Rewound",
        ),
        (
            "recording cut back, open proof",
            &rewound,
            "open",
            "Rewound",
        ),
        (
            "recording cut after the checkpoints",
            &short,
            "closed",
            "Shorter",
        ),
        (
            "recording sealed anew as cut",
            &resealed,
            "closed",
            "OtherManifest",
        ),
        ("recording made longer", &extended, "closed", "Longer"),
        ("recording rewritten", &changed, "closed", "Changed"),
        (
            "recording rewritten, open proof",
            &changed,
            "open",
            "Changed",
        ),
        (
            "recording rewritten, thin proof",
            &changed,
            "thin",
            "Changed",
        ),
        (
            "recording rewritten after the checkpoints",
            &tail,
            "closed",
            "OtherManifest",
        ),
        (
            "recording with a bit flipped",
            &flipped,
            "closed",
            "Tampered",
        ),
        (
            "recording with chunks swapped",
            &swapped,
            "closed",
            "Tampered",
        ),
        (
            "disclosure with an open proof",
            "part.lucid",
            "open",
            "StillOpen",
        ),
    ] {
        corpus.case(
            name,
            recording,
            &format!("{proof}.lucidproof"),
            Some(refused),
        );
    }
    corpus.case_of(
        "another genesis",
        "closed.lucid",
        "closed.lucidproof",
        "other-genesis.json",
        Some("Chain(OtherGenesis"),
    );

    forge_files(&mut corpus, &closed);
    forge_chain(&mut corpus, &net, &closed, &later, head);
    forge_steps(&mut corpus, &closed, &open, &older, &second_proof);
    forge_parts(&mut corpus, &net, &office, &session, &closed);
    corpus
}

fn forge_files(corpus: &mut Corpus, closed: &Proof) {
    let good = closed.encode();
    corpus.bad_bytes("empty", Vec::new(), "NotAProof");
    let mut bytes = good.clone();
    bytes[0] ^= 1;
    corpus.bad_bytes("magic", bytes, "NotAProof");
    let mut bytes = good.clone();
    bytes[8] = 2;
    corpus.bad_bytes("version", bytes, "Version");
    corpus.bad_bytes("truncated", good[..good.len() - 1].to_vec(), "Decode");
    corpus.bad_bytes("extended", [good.as_slice(), &[0]].concat(), "Decode");
}

fn forge_chain(corpus: &mut Corpus, net: &Net, closed: &Proof, later: &Proof, head: Height) {
    corpus.edit_finality(
        "genesis-hash",
        closed,
        |finality| finality.genesis_hash = B256::repeat_byte(1),
        "Chain(OtherGenesis",
    );
    corpus.edit_finality(
        "stale-validators",
        closed,
        |finality| finality.changes.clear(),
        "Chain(OtherValidators",
    );
    corpus.edit_finality(
        "no-quorum",
        later,
        |finality| finality.certificate = signed_by(net, 2),
        "Chain(Certificate(NoQuorum",
    );
    corpus.edit_finality(
        "forged-certificate",
        later,
        |finality| {
            let signature = &mut finality.certificate.signatures[1];
            *signature = lucid_chain_types::Signature([7; 64]);
        },
        "Chain(Certificate(Signature",
    );
    corpus.edit_finality(
        "one-signature-thrice",
        later,
        |finality| {
            let first = finality.certificate.signatures[0];
            finality.certificate.signatures = vec![first; 3];
        },
        "Chain(Certificate(Signature",
    );
    corpus.edit_finality(
        "signers-of-another-set",
        later,
        |finality| finality.certificate.signers = SignerBitmap::new(12, 0..3),
        "Chain(Certificate(Bitmap",
    );
    corpus.edit_finality(
        "missing-signature",
        later,
        |finality| {
            finality.certificate.signatures.pop();
        },
        "Chain(Certificate(Count",
    );
    corpus.edit_finality(
        "header-changed",
        later,
        |finality| finality.header.state_root = B256::repeat_byte(3),
        "Chain(OtherBlock",
    );
    corpus.edit_finality(
        "certificate-of-another-block",
        later,
        |finality| {
            let before = Height(head.0 - 1);
            finality.certificate = net.ledger.certificate(before).unwrap().unwrap();
        },
        "Chain(OtherBlock",
    );
    corpus.edit_finality(
        "next-validators-changed",
        closed,
        |finality| {
            let list = finality.changes[0].next_validators.list();
            let fewer = list[1..].to_vec();
            finality.changes[0].next_validators =
                lucid_chain_types::ValidatorSet::new(fewer).unwrap();
        },
        "Chain(OtherNextValidators",
    );
    corpus.edit_finality(
        "change-twice",
        closed,
        |finality| {
            let again = finality.changes[0].clone();
            finality.changes.push(again);
        },
        "Chain(Order",
    );
    corpus.edit_state(
        "state-value",
        closed,
        |state| state.slots[0].value = U256::from(1),
        "Chain(Slot",
    );
    corpus.edit_state(
        "state-node",
        closed,
        |state| state.slots[0].nodes[0][9] ^= 1,
        "Chain(Slot",
    );
    corpus.edit_state(
        "state-balance",
        closed,
        |state| state.account.as_mut().unwrap().balance = U256::from(5),
        "Chain(Account",
    );
    corpus.edit_state(
        "state-account-node",
        closed,
        |state| {
            state.nodes.pop();
        },
        "Chain(Account",
    );
    corpus.edit_state(
        "state-of-no-account",
        closed,
        |state| state.account = None,
        "Chain(Account",
    );
    corpus.edit_state(
        "state-of-another-contract",
        closed,
        |state| state.address = lucid_chain_types::contracts::LUCID,
        "OtherAccount",
    );
    corpus.edit_state(
        "state-without-slots",
        closed,
        |state| state.slots.clear(),
        "OtherSlots",
    );
    corpus.edit(
        "state-of-another-block",
        closed,
        |proof| proof.state = later.state.clone(),
        "Chain(Account",
    );
    corpus.edit(
        "state-before-the-session",
        closed,
        |proof| {
            proof.finality = net.ledger.finality_proof(Height(1)).unwrap().encode();
            let slot = lucid_chain_types::anchors::log_slot(B256::repeat_byte(1));
            proof.state = state(net, Height(1), &[slot]).encode();
        },
        "OtherSlots",
    );
}

fn forge_steps(corpus: &mut Corpus, closed: &Proof, open: &Proof, older: &Proof, second: &Proof) {
    let log = "OtherLog";
    corpus.edit("owner", closed, |proof| proof.opened.owner[0] ^= 1, log);
    corpus.edit("opener", closed, |proof| proof.opened.opener[0] ^= 1, log);
    corpus.edit(
        "opened-height",
        closed,
        |proof| proof.opened.at.height.0 -= 1,
        log,
    );
    corpus.edit(
        "opened-time",
        closed,
        |proof| proof.opened.at.time_s -= 60,
        log,
    );
    corpus.edit(
        "registered",
        closed,
        |proof| proof.opened.registered = true,
        "Registered",
    );
    corpus.edit(
        "checkpoint-time",
        closed,
        |proof| proof.checkpoints[1].at.time_s -= 60,
        log,
    );
    corpus.edit(
        "checkpoint-height",
        closed,
        |proof| proof.checkpoints[1].at.height.0 -= 1,
        log,
    );
    corpus.edit(
        "checkpoint-size",
        closed,
        |proof| proof.checkpoints[1].size = 4,
        log,
    );
    corpus.edit(
        "checkpoint-root",
        closed,
        |proof| proof.checkpoints[1].root = Some(Hash([9; 32])),
        "Rewritten",
    );
    corpus.edit(
        "checkpoint-beyond",
        closed,
        |proof| proof.checkpoints[1].size = 13,
        "NoRoot",
    );
    corpus.edit(
        "checkpoint-beyond-with-root",
        closed,
        |proof| {
            proof.checkpoints[1].size = 13;
            proof.checkpoints[1].root = Some(Hash([9; 32]));
        },
        "CutOff",
    );
    corpus.edit(
        "checkpoint-dropped",
        closed,
        |proof| {
            proof.checkpoints.remove(1);
        },
        log,
    );
    corpus.edit(
        "checkpoints-swapped",
        closed,
        |proof| proof.checkpoints.swap(0, 1),
        log,
    );
    corpus.edit(
        "checkpoint-repeated",
        closed,
        |proof| proof.checkpoints.push(proof.checkpoints[2]),
        log,
    );
    corpus.edit(
        "batches-start",
        closed,
        |proof| proof.batches.start[0] ^= 1,
        log,
    );
    corpus.edit(
        "batch-count",
        closed,
        |proof| proof.batches.steps[0].count = 6,
        log,
    );
    corpus.edit(
        "batch-dropped",
        closed,
        |proof| {
            proof.batches.steps.remove(1);
        },
        log,
    );
    corpus.edit(
        "batches-swapped",
        closed,
        |proof| proof.batches.steps.swap(1, 2),
        log,
    );
    let path = |change: fn(&mut Vec<B256>)| {
        move |proof: &mut Proof| {
            if let BatchContent::Leaf { path, .. } = &mut proof.batches.steps[0].content {
                change(path);
            }
        }
    };
    corpus.edit("batch-path", closed, path(|path| path[0][0] ^= 1), log);
    corpus.edit(
        "batch-path-short",
        closed,
        path(|path| {
            path.pop();
        }),
        log,
    );
    corpus.edit(
        "batch-path-long",
        closed,
        path(|path| path.push(B256::ZERO)),
        log,
    );
    corpus.edit(
        "batch-leaf-size",
        closed,
        |proof| {
            if let BatchContent::Leaf { size, .. } = &mut proof.batches.steps[0].content {
                *size = 5;
            }
        },
        log,
    );
    corpus.edit(
        "batch-before-opening",
        closed,
        |proof| proof.batches.steps[0].at.height.0 = 0,
        "BatchBeforeOpening",
    );
    corpus.edit(
        "open-batch-dropped",
        open,
        |proof| {
            proof.batches.steps.remove(1);
        },
        "OtherBatches",
    );
    corpus.edit(
        "open-batch-path",
        open,
        |proof| {
            if let BatchContent::Leaf { path, .. } = &mut proof.batches.steps[0].content {
                path[0][0] ^= 1;
            }
        },
        "OtherBatches",
    );
    corpus.edit(
        "open-batches-left-out",
        open,
        |proof| proof.batches.steps.clear(),
        "OtherSlots",
    );
    corpus.edit(
        "rewound-to-a-checkpoint",
        open,
        |proof| {
            proof.checkpoints.pop();
        },
        log,
    );
    corpus.edit(
        "steps-the-state-does-not-have",
        older,
        |proof| {
            proof.checkpoints = open.checkpoints.clone();
            proof.spine = open.spine.clone();
        },
        "AheadOfState",
    );
    corpus.edit(
        "closed-time",
        closed,
        |proof| proof.closed.as_mut().unwrap().time_s -= 60,
        log,
    );
    corpus.edit(
        "manifest-left-out",
        closed,
        |proof| proof.manifest = None,
        "HalfClosed",
    );
    corpus.edit(
        "closing-left-out",
        closed,
        |proof| proof.closed = None,
        "HalfClosed",
    );
    corpus.edit(
        "spliced-state",
        closed,
        |proof| {
            proof.state = second.state.clone();
            proof.finality = second.finality.clone();
        },
        "OtherSlots",
    );
    corpus.edit(
        "spliced-head",
        closed,
        |proof| proof.head = second.head.clone(),
        "Manifest",
    );
    corpus.edit(
        "spliced-session",
        closed,
        |proof| {
            let finality = (proof.finality.clone(), proof.state.clone());
            *proof = second.clone();
            (proof.finality, proof.state) = finality;
        },
        "OtherSlots",
    );
}

fn forge_parts(
    corpus: &mut Corpus,
    net: &Net,
    office: &Scene,
    session: &Anchoring<'_>,
    closed: &Proof,
) {
    corpus.edit("head-flipped", closed, |proof| proof.head[40] ^= 1, "Head");
    corpus.edit(
        "manifest-flipped",
        closed,
        |proof| proof.manifest.as_mut().unwrap()[40] ^= 1,
        "Manifest",
    );
    corpus.edit(
        "spine-hash",
        closed,
        |proof| proof.spine[0].subtrees[0].0[0] ^= 1,
        "SpineRoot",
    );
    corpus.edit(
        "spine-short",
        closed,
        |proof| {
            proof.spine.pop();
        },
        "SpineEnd",
    );
    corpus.edit(
        "spine-hash-dropped",
        closed,
        |proof| {
            proof.spine[1].subtrees.pop();
        },
        "SpineShape",
    );
    corpus.edit(
        "spine-hash-added",
        closed,
        |proof| proof.spine[1].subtrees.push(Hash([1; 32])),
        "SpineShape",
    );
    corpus.edit(
        "spine-repeated",
        closed,
        |proof| {
            let again = proof.spine[1].clone();
            proof.spine.insert(1, again);
        },
        "SpineOrder",
    );
    corpus.edit(
        "spine-swapped",
        closed,
        |proof| proof.spine.swap(0, 1),
        "SpineOrder",
    );
    corpus.edit(
        "transaction-flipped",
        closed,
        |proof| proof.transaction.as_mut().unwrap().bytes[50] ^= 1,
        "Chain(NotIncluded",
    );
    corpus.edit(
        "transaction-place",
        closed,
        |proof| proof.transaction.as_mut().unwrap().place.count += 1,
        "Chain(NotIncluded",
    );
    // A real session whose recorder sealed another log than it had anchored: the chain itself shows it.
    let forged = rewritten(office, 3);
    let mut net2 = crate::support::net();
    let mut gateway = Sender::new(2);
    let mut lie = Anchoring::open(&mut net2, &forged, &mut gateway, Sender::new(1).address());
    lie.checkpoint_of(&mut net2, &mut gateway, 5, root_of(office, 5));
    lie.close(&mut net2, &mut gateway);
    let proof = lie.prove(&net2, net2.ledger.head().height, None);
    corpus.bad("closed-over-another-log", &proof, "Rewritten");
    let elsewhere = transaction(net, session.story.checkpoints[2].at.height, 0);
    corpus.edit(
        "transaction-of-another-block",
        closed,
        |proof| proof.transaction = Some(elsewhere),
        "Chain(NotIncluded",
    );
}

fn verdict(corpus: &Corpus, case: usize) -> Result<(), String> {
    let (_, recording, proof, genesis, _) = &corpus.cases[case];
    let file = |name: &String| corpus.files[name].as_slice();
    check(file(recording), file(proof), file(genesis))
        .map(|_| ())
        .map_err(|error| format!("{error:?}|{error}"))
}

/// Every case ends as it should, with its own sentence.
#[test]
fn each_forgery_is_refused_with_its_own_reason() {
    let corpus = make();
    let mut sentences: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (place, (name, .., refused)) in corpus.cases.iter().enumerate() {
        match (verdict(&corpus, place), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => {
                let (variant, sentence) = error.split_once('|').unwrap();
                assert!(
                    variant.starts_with(expected),
                    "{name}: {error} is not {expected}"
                );
                sentences
                    .entry(sentence.to_owned())
                    .or_default()
                    .insert(expected);
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
    for (sentence, kinds) in sentences {
        assert_eq!(kinds.len(), 1, "said of two kinds: {sentence}");
    }
}

/// The files that are stored are those that this code makes, and what is said of each is stored with them.
#[test]
fn the_stored_corpus_is_what_this_code_makes() {
    let corpus = make();
    let cases: Vec<Value> = corpus
        .cases
        .iter()
        .enumerate()
        .map(|(place, (name, recording, proof, genesis, _))| {
            let refusal = verdict(&corpus, place).err();
            let refusal = refusal.map(|error| error.split_once('|').unwrap().1.to_owned());
            json!({
                "name": name, "recording": recording, "proof": proof, "genesis": genesis, "refusal": refusal,
            })
        })
        .collect();
    let mut files = corpus.files;
    let cases = serde_json::to_string_pretty(&cases).unwrap() + "\n";
    files.insert("cases.json".to_owned(), cases.into_bytes());
    let folder = folder();
    if std::env::var_os("LUCID_BLESS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &files {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let stored: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(stored, files.keys().cloned().collect(), "files");
    for (name, bytes) in &files {
        assert!(
            fs::read(folder.join(name)).unwrap() == *bytes,
            "{name} differs"
        );
    }
}

/// The verifier in Python, written from the specifications, says yes and no to the same files.
#[test]
fn the_independent_verifier_agrees_on_the_corpus() {
    let verifier = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/verifier");
    let output = Command::new(verifier.join("check"))
        .arg(folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}\n'scripts/setup' installs what tests/verifier needs",
        String::from_utf8_lossy(&output.stderr)
    );
    let cases: Vec<Value> =
        serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    assert_eq!(said.lines().count(), cases.len(), "{said}");
}

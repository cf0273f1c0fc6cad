//! What an idle chain costs: blocks that only seal a slot, one after the other, as four validators would make them. Prints bytes on
//! the disk and time for each, and what comes of it in a year: 262,800 slots of 120 s, beside the target of issue 3.
//!
//! `cargo bench -p lucid-ledger -- 262800` makes the whole year.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use alloy_primitives::{Address, B256, U256, keccak256};
use ed25519_dalek::{Signer as _, SigningKey};
use lucid_chain_types::{
    Block, Certificate, Genesis, Height, NodeId, Pace, SLOT_MS, Signature, SignerBitmap, Validator,
    ValidatorSet, Vote, VoteKind, open_slot_after, vote_sign_bytes, vrf_input,
};
use lucid_execution::{Proposal, complete_genesis};
use lucid_ledger::{Ledger, LedgerOptions, Undecided};
use lucid_poot::proposer;
use lucid_poot::vrf::VrfSecret;

const VALIDATORS: u64 = 4;
/// Slots of 120 s in a year.
const YEAR: u64 = 365 * 24 * 3600 * 1000 / SLOT_MS;
/// Seals made where nothing else is asked for.
const SEALS: u64 = 10_000;
/// Bytes that a year of idle chain may take (issue 3).
const TARGET: f64 = (2_u64 << 30) as f64;
const GENESIS_MS: u64 = 1_700_000_000_000;

struct Node {
    consensus: SigningKey,
    vrf: VrfSecret,
}

impl Node {
    fn new(seed: u64) -> Self {
        let secret = |kind: &[u8]| keccak256([kind, &seed.to_be_bytes()].concat()).0;
        Self {
            consensus: SigningKey::from_bytes(&secret(b"consensus")),
            vrf: VrfSecret::from_seed(&secret(b"vrf")),
        }
    }
}

fn nodes() -> BTreeMap<NodeId, Node> {
    (0..VALIDATORS)
        .map(|seed| {
            let id = Address::from_word(keccak256(seed.to_be_bytes()));
            (NodeId(id), Node::new(seed))
        })
        .collect()
}

fn genesis(nodes: &BTreeMap<NodeId, Node>) -> Genesis {
    let validators = nodes.iter().map(|(id, node)| Validator {
        node: *id,
        consensus_key: B256::new(node.consensus.verifying_key().to_bytes()),
        vrf_key: node.vrf.public(),
    });
    complete_genesis(Genesis {
        version: Genesis::VERSION,
        chain_id: 20_260,
        time_ms: GENESIS_MS,
        pace: Pace::DIRECT,
        validators: validators.collect(),
        accounts: Vec::new(),
        reward_reserve: U256::from(10).pow(U256::from(25)),
        payment_signers: [1, 2, 3].map(Address::with_last_byte),
        parameters: Vec::new(),
        contracts_hash: B256::ZERO,
        state_root: B256::ZERO,
    })
    .unwrap()
}

fn certify(
    nodes: &BTreeMap<NodeId, Node>,
    set: &ValidatorSet,
    genesis: B256,
    block: &Block,
) -> Certificate {
    let signatures = set.list().iter().map(|validator| {
        let vote = Vote {
            kind: VoteKind::Precommit,
            height: block.header.height,
            round: block.header.round,
            block: Some(block.id()),
            voter: validator.node,
        };
        let key = &nodes[&validator.node].consensus;
        Signature(key.sign(&vote_sign_bytes(genesis, &vote)).to_bytes())
    });
    Certificate {
        height: block.header.height,
        round: block.header.round,
        block: block.id(),
        signatures: signatures.collect(),
        signers: SignerBitmap::new(set.len(), 0..set.len()),
    }
}

/// The next seal, through everything that a node writes for it.
fn seal(ledger: &Ledger, nodes: &BTreeMap<NodeId, Node>) {
    let head = ledger.head();
    let slot = open_slot_after(GENESIS_MS, head.header.as_ref());
    let leader = proposer(&head.order, 0).unwrap();
    let input = vrf_input(ledger.genesis_hash(), slot, head.id);
    let last_commit = match head.height {
        Height::GENESIS => None,
        height => ledger.certificate(height).unwrap(),
    };
    let built = ledger
        .build(Proposal {
            time_ms: GENESIS_MS + (slot.0 + 1) * SLOT_MS + 1,
            round: 0,
            proposer: leader,
            vrf_proof: nodes[&leader].vrf.prove(&input),
            last_commit,
            evidence: Vec::new(),
            transactions: Vec::new(),
        })
        .unwrap();
    assert!(built.block.header.seal);
    let undecided = Undecided {
        block: built.block.id(),
        round: 0,
        valid_round: None,
        proposer: leader,
        valid: true,
        bytes: built.block.encode(),
    };
    ledger
        .put_undecided(built.block.header.height, &undecided)
        .unwrap();
    let certificate = certify(nodes, &head.validators, ledger.genesis_hash(), &built.block);
    ledger
        .commit(&built.block, built.executed, &certificate)
        .unwrap();
}

/// Bytes of a folder's files: the journal, whose size is bounded, and all others.
fn size(folder: &Path) -> (u64, u64) {
    let (mut journal, mut rest) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // The database removes files while this looks at them.
            let Ok(meta) = std::fs::metadata(&path) else {
                continue;
            };
            if meta.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "jnl") {
                journal += meta.len();
            } else {
                rest += meta.len();
            }
        }
    }
    (journal, rest)
}

fn main() {
    // `cargo test --benches` runs it too; a few seals show that it works.
    let asked = std::env::args().any(|argument| argument == "--bench");
    let seals = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(if asked { SEALS } else { 3 });
    let folder = tempfile::tempdir().unwrap();
    let nodes = nodes();
    let ledger = Ledger::open(folder.path(), genesis(&nodes), LedgerOptions::default()).unwrap();
    let begin = Instant::now();
    let mut half = 0;
    for made in 0..seals {
        if made == seals / 2 {
            half = size(folder.path()).1;
        }
        seal(&ledger, &nodes);
    }
    let took = begin.elapsed();
    assert_eq!(ledger.head().height.0, seals);
    let (journal, rest) = size(folder.path());
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let later = rest.saturating_sub(half) as f64 / (seals - seals / 2) as f64;
    let year = (rest as f64 / seals as f64).max(later) * YEAR as f64 + journal as f64;
    println!("{seals} seals of {VALIDATORS} validators, nothing else in them:");
    println!(
        "  time, fsyncs included            {:9.2} ms each",
        took.as_secs_f64() * 1e3 / seals as f64
    );
    println!(
        "  on the disk but for the journal  {:9.1} MiB, {:.0} bytes a seal; the second half {later:.0}",
        mib(rest as f64),
        rest as f64 / seals as f64
    );
    println!(
        "  journal, whose size is bounded   {:9.1} MiB",
        mib(journal as f64)
    );
    println!(
        "a year of {YEAR} slots: {:.0} MiB, {:.2} of the target of {:.0} MiB",
        mib(year),
        year / TARGET,
        mib(TARGET)
    );
}

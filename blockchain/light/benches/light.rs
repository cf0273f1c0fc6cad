//! How long a certificate and a proof file take to check, beside one Ed25519 check in the same run.
//!
//! `cargo bench -p lucid-light`

#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark stops and prints"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::{Signer, SigningKey};
use lucid_chain_types::{
    BlockId, Certificate, Genesis, Header, Height, NodeId, Pace, Signature, SignerBitmap, Slot,
    Validator, ValidatorSet, Vote, VoteKind, quorum, verify, vote_sign_bytes,
};
use lucid_light::{FinalityProof, SetChange, TrustedGenesis};

fn key(index: usize) -> SigningKey {
    SigningKey::from_bytes(B256::left_padding_from(&(index as u64 + 1).to_be_bytes()).as_ref())
}

fn set(count: usize) -> ValidatorSet {
    let validators = (0..count).map(|index| Validator {
        node: NodeId(Address::left_padding_from(
            &(index as u64 + 1).to_be_bytes(),
        )),
        consensus_key: B256::new(key(index).verifying_key().to_bytes()),
        vrf_key: B256::ZERO,
    });
    ValidatorSet::new(validators.collect()).expect("a set")
}

fn certificate(genesis: B256, set: &ValidatorSet, height: Height, block: BlockId) -> Certificate {
    let signers = 0..set.quorum();
    let sign = |index: usize| {
        let vote = Vote {
            kind: VoteKind::Precommit,
            height,
            round: 0,
            block: Some(block),
            voter: set.list()[index].node,
        };
        Signature(key(index).sign(&vote_sign_bytes(genesis, &vote)).to_bytes())
    };
    Certificate {
        height,
        round: 0,
        block,
        signers: SignerBitmap::new(set.len(), signers.clone()),
        signatures: signers.map(sign).collect(),
    }
}

fn header(height: u64, validators: &ValidatorSet, next: &ValidatorSet) -> Header {
    Header {
        version: Header::VERSION,
        chain_id: 1,
        height: Height(height),
        time_ms: height,
        slot: Slot(0),
        round: 0,
        seal: false,
        proposer: validators.list()[0].node,
        parent: BlockId::default(),
        last_commit_hash: B256::ZERO,
        transactions_root: B256::ZERO,
        evidence_hash: B256::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        gas_limit: 0,
        gas_used: 0,
        base_fee: 0,
        validators_hash: validators.hash(),
        next_validators_hash: next.hash(),
        vrf_proof: [0; 80],
    }
}

fn genesis(count: usize) -> Genesis {
    Genesis {
        version: Genesis::VERSION,
        chain_id: 1,
        time_ms: 0,
        pace: Pace::DIRECT,
        validators: set(count).list().to_vec(),
        accounts: vec![],
        reward_reserve: U256::ZERO,
        payment_signers: [1, 2, 3].map(Address::with_last_byte),
        parameters: vec![],
        contracts_hash: B256::ZERO,
        state_root: B256::ZERO,
    }
}

/// A proof over `changes` changes between sets of `count` and `count + 1`.
fn proof(count: usize, changes: u64) -> (TrustedGenesis, FinalityProof) {
    let trusted = TrustedGenesis::new(&genesis(count)).expect("a genesis");
    let sets = [set(count), set(count + 1)];
    let at = |height: u64| match height.is_multiple_of(2) {
        true => (&sets[0], &sets[1]),
        false => (&sets[1], &sets[0]),
    };
    let certified =
        |header: &Header, set| certificate(trusted.hash(), set, header.height, header.id());
    let changes = (0..changes)
        .map(|index| {
            let (now, next) = at(index);
            let header = header(index + 1, now, next);
            SetChange {
                certificate: certified(&header, now),
                header,
                next_validators: next.clone(),
            }
        })
        .collect::<Vec<_>>();
    let now = at(changes.len() as u64).0;
    let header = header(1_000, now, now);
    let proof = FinalityProof {
        genesis_hash: trusted.hash(),
        changes,
        certificate: certified(&header, now),
        header,
    };
    (trusted, proof)
}

/// The quickest of some runs, so that neighbours on the machine count little.
fn quickest(mut run: impl FnMut()) -> Duration {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..300).map(|_| time(&mut run)).min().unwrap_or_default()
}

fn bench(c: &mut Criterion) {
    let signature = Signature(key(0).sign(b"message").to_bytes());
    let public = B256::new(key(0).verifying_key().to_bytes());
    let one = quickest(|| assert!(verify(black_box(public), b"message", &signature)));
    eprintln!("one Ed25519 check: {one:?}");

    let genesis_hash = B256::repeat_byte(1);
    let mut group = c.benchmark_group("certificate");
    for count in [4, 7, 13, 100] {
        let set = set(count);
        let certificate = certificate(genesis_hash, &set, Height(7), BlockId(B256::repeat_byte(2)));
        let check = || {
            certificate
                .verify(genesis_hash, black_box(&set))
                .expect("valid");
        };
        let took = quickest(check);
        eprintln!(
            "certificate by {} of {count}: {took:?}, {:.2} Ed25519 checks",
            quorum(count),
            took.as_secs_f64() / one.as_secs_f64()
        );
        group.bench_function(format!("{count} validators"), |b| b.iter(check));
    }
    group.finish();

    let mut group = c.benchmark_group("finality proof");
    for (count, changes) in [(4, 0), (4, 10), (13, 10), (32, 100)] {
        let (trusted, proof) = proof(count, changes);
        let bytes = proof.encode();
        let check = || {
            let proof = FinalityProof::decode(black_box(&bytes)).expect("a proof");
            lucid_light::verify(&trusted, &proof).expect("valid");
        };
        let name = format!("{count} validators, {changes} changes");
        eprintln!("{name}: {} bytes, {:?}", bytes.len(), quickest(check));
        group.bench_function(name, |b| b.iter(check));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = bench
}
criterion_main!(benches);

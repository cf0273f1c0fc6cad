//! Insertion and block building with 20,000 transactions, beside a `BTreeMap` by tip that does nothing else.
//!
//! `cargo bench -p lucid-mempool` prints the ratios first, then criterion's figures.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark stops and prints"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lucid_mempool::{Account, Candidate, Limits, Mempool};

const COUNT: u64 = 20_000;
const BASE_FEE: u64 = 1_000_000;
const RICH: Account = Account {
    nonce: 0,
    balance: U256::MAX,
};

/// `COUNT` transactions of `senders`, in the order of their nonces.
fn transactions(senders: u64) -> Vec<Candidate> {
    (0..COUNT)
        .map(|index| {
            let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let tip = u128::from(mixed >> 40);
            let mut hash = B256::left_padding_from(&index.to_be_bytes());
            hash.0[..8].copy_from_slice(&mixed.to_be_bytes());
            Candidate {
                hash,
                sender: Address::left_padding_from(&(index % senders).to_be_bytes()),
                nonce: index / senders,
                gas_limit: 69_000,
                max_fee: u128::from(BASE_FEE) + tip,
                max_priority_fee: tip,
                cost: U256::from(index),
                bytes: Bytes::from(vec![7; 300]),
            }
        })
        .collect()
}

fn filled(transactions: Vec<Candidate>) -> Mempool {
    let mut pool = Mempool::new(Limits::default());
    for candidate in transactions {
        pool.insert(candidate, RICH, BASE_FEE, 0)
            .expect("the pool has room");
    }
    pool
}

type Tree = BTreeMap<(u128, u64), Arc<Candidate>>;

fn tree(transactions: Vec<Candidate>) -> Tree {
    (0..)
        .zip(transactions)
        .map(|(arrival, candidate)| ((candidate.max_priority_fee, arrival), Arc::new(candidate)))
        .collect()
}

fn inserted_one_by_one(transactions: Vec<Candidate>) -> Tree {
    let mut tree = Tree::new();
    for (arrival, candidate) in (0..).zip(transactions) {
        tree.insert((candidate.max_priority_fee, arrival), Arc::new(candidate));
    }
    tree
}

/// Fastest of several runs.
fn fastest<T>(mut prepare: impl FnMut() -> T, run: impl Fn(T) -> Duration) -> Duration {
    (0..15)
        .map(|_| run(prepare()))
        .min()
        .unwrap_or(Duration::MAX)
}

fn timed<T, R>(input: T, work: impl Fn(T) -> R) -> Duration {
    let start = Instant::now();
    let result = work(input);
    let taken = start.elapsed();
    drop(black_box(result));
    taken
}

fn ratios() {
    for senders in [COUNT, 200, 50] {
        let all = transactions(senders);
        let plain = fastest(|| all.clone(), |t| timed(t, inserted_one_by_one));
        let ours = fastest(|| all.clone(), |t| timed(t, filled));
        eprintln!(
            "insert {COUNT} of {senders} senders: {ours:?}, BTreeMap {plain:?}, ratio {:.1}",
            ours.as_secs_f64() / plain.as_secs_f64()
        );
        let sorted = tree(all.clone());
        let pool = filled(all);
        let take =
            |tree: &Tree| -> Vec<Arc<Candidate>> { tree.values().rev().map(Arc::clone).collect() };
        let plain = fastest(|| &sorted, |t| timed(t, take));
        let ours = fastest(
            || &pool,
            |p| timed(p, |p| p.best(BASE_FEE, u64::MAX, usize::MAX)),
        );
        eprintln!(
            "best {COUNT} of {senders} senders: {ours:?}, BTreeMap walk {plain:?}, ratio {:.1}",
            ours.as_secs_f64() / plain.as_secs_f64()
        );
    }
    // A full pool: every insertion evicts.
    let (low, high) = (transactions(COUNT), transactions(COUNT));
    let high: Vec<Candidate> = high
        .into_iter()
        .map(|mut candidate| {
            candidate.sender.0[0] = 1;
            candidate.hash.0[31] ^= 0x80;
            candidate.hash.0[30] ^= 0x80;
            candidate.max_priority_fee += 1 << 30;
            candidate.max_fee += 1 << 30;
            candidate
        })
        .collect();
    let ours = fastest(
        || (filled(low.clone()), high.clone()),
        |(mut pool, high)| {
            let start = Instant::now();
            for candidate in high {
                pool.insert(candidate, RICH, BASE_FEE, 0)
                    .expect("it outranks what is there");
            }
            start.elapsed()
        },
    );
    eprintln!("insert {COUNT} into a full pool, each evicting one: {ours:?}");
}

fn pool(criterion: &mut Criterion) {
    ratios();
    for senders in [COUNT, 200] {
        let all = transactions(senders);
        criterion.bench_function(&format!("insert 20k, {senders} senders"), |bench| {
            bench.iter_batched(|| all.clone(), filled, BatchSize::LargeInput);
        });
        let pool = filled(all);
        criterion.bench_function(&format!("best of 20k, {senders} senders"), |bench| {
            bench.iter(|| pool.best(BASE_FEE, 120_000_000, 8 << 20));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = pool
}
criterion_main!(benches);

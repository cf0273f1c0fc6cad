//! The root and the write of a block of 1000 changed and 2000 new keys over 500,000, beside two limits measured in the same
//! run: `alloy_trie::HashBuilder` from scratch over the same leaves, and the same rows in a bare fjall batch.
//!
//! `cargo bench -p lucid-state`; `LUCID_BENCH_KEYS=50000` for a quick look.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark stops and prints"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::HashBuilder;
use alloy_trie::nybbles::Nibbles;
use criterion::{Criterion, criterion_group, criterion_main};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use lucid_state::{Account, State, StateChanges, StateOptions, StateReader};

const CHANGED: u64 = 1000;
const NEW: u64 = 2000;

fn contract() -> Address {
    Address::with_last_byte(1)
}

fn slot(i: u64) -> U256 {
    U256::from(i)
}

/// A value as a contract stores it: a hash.
fn value(i: u64, block: u64) -> U256 {
    U256::from_be_bytes(keccak256([i.to_be_bytes(), block.to_be_bytes()].concat()).0)
}

fn sender(i: u64) -> Address {
    Address::from_word(keccak256(i.to_be_bytes()))
}

/// One worker: with more, fjall's first one spins while another compacts (3.1.13), which costs a core.
fn database(path: &Path) -> Database {
    let workers = std::env::var("LUCID_BENCH_WORKERS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    Database::builder(path)
        .worker_threads(workers)
        .cache_size(64 << 20)
        .open()
        .expect("opens")
}

#[derive(Clone, Copy)]
enum Load {
    /// All keys are slots of one contract.
    Slots,
    /// The changed keys are accounts (senders), the new ones are slots: what registerSession does.
    Senders,
}

struct Chain {
    db: Database,
    state: State,
    height: u64,
    keys: u64,
    load: Load,
    roots: Vec<Duration>,
    writes: Vec<Duration>,
    /// CPU time of roots and of writes.
    cpu: (Duration, Duration),
    _dir: tempfile::TempDir,
}

impl Chain {
    fn new(keys: u64, load: Load) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let db = database(dir.path());
        let state = State::open(&db, StateOptions::default()).expect("opens");
        let mut chain = Self {
            db,
            state,
            height: 0,
            keys: 0,
            load,
            roots: Vec::new(),
            writes: Vec::new(),
            cpu: Default::default(),
            _dir: dir,
        };
        while chain.keys < keys {
            let mut changes = StateChanges::default();
            changes
                .accounts
                .insert(contract(), Some(Account::default()));
            let slots = changes.storage.entry(contract()).or_default();
            for i in chain.keys..(chain.keys + 50_000).min(keys) {
                match load {
                    Load::Senders if i % 2 == 1 => {
                        changes.accounts.insert(sender(i), Some(Account::default()));
                    }
                    _ => {
                        slots.insert(slot(i), value(i, 0));
                    }
                }
                chain.keys = i + 1;
            }
            chain.commit(&changes);
        }
        chain.roots.clear();
        chain.writes.clear();
        chain
    }

    fn next(&self, new: u64) -> StateChanges {
        let mut changes = StateChanges::default();
        let slots = changes.storage.entry(contract()).or_default();
        for i in 0..CHANGED + NEW - new {
            // Any key, by a hash of where and when.
            let at = value(i, self.height).as_limbs()[0] % self.keys;
            match self.load {
                Load::Slots => {
                    slots.insert(slot(at), value(at, self.height + 1));
                }
                Load::Senders => {
                    let account = Account {
                        nonce: self.height,
                        ..Account::default()
                    };
                    changes.accounts.insert(sender(at | 1), Some(account));
                }
            }
        }
        for i in self.keys..self.keys + new {
            slots.insert(slot(i), value(i, 0));
        }
        changes
    }

    fn commit(&mut self, changes: &StateChanges) {
        let (start, at) = (Instant::now(), cpu());
        let prepared = self.state.prepare(changes).expect("prepares");
        self.roots.push(start.elapsed());
        self.cpu.0 += cpu() - at;
        let (start, at) = (Instant::now(), cpu());
        let mut batch = self.db.batch();
        self.state
            .commit(self.height, &prepared, &mut batch)
            .expect("goes into the batch");
        batch.commit().expect("is written");
        self.db
            .persist(PersistMode::SyncData)
            .expect("is persisted");
        self.state
            .committed(self.height, &prepared)
            .expect("moves on");
        self.writes.push(start.elapsed());
        self.cpu.1 += cpu() - at;
        self.height += 1;
    }

    /// One block: its root and its write.
    fn block(&mut self, new: u64) -> (Duration, Duration) {
        let changes = self.next(new);
        self.commit(&changes);
        self.keys += new;
        (
            *self.roots.last().expect("one"),
            *self.writes.last().expect("one"),
        )
    }
}

/// What all threads of this process have run, the database's among them: on a busy machine that says more than the clock.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn report(what: &str, times: &mut [Duration], limit: Option<(&str, Duration)>) -> Duration {
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    let median = at(50);
    let ratio = limit.map_or_else(String::new, |(name, limit)| {
        format!(
            "; {:.2} x {name}",
            median.as_secs_f64() / limit.as_secs_f64()
        )
    });
    eprintln!(
        "{what}: p50 {median:.1?}, p95 {:.1?}, max {:.1?} of {}{ratio}",
        at(95),
        at(99),
        times.len()
    );
    median
}

fn state(c: &mut Criterion) {
    let keys = std::env::var("LUCID_BENCH_KEYS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(500_000);
    let mut group = c.benchmark_group(format!("{CHANGED} changed and {NEW} new keys over {keys}"));
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(6));

    // The limits first.
    let leaves: BTreeMap<B256, Vec<u8>> = (0..keys)
        .map(|i| {
            (
                keccak256(slot(i).to_be_bytes::<32>()),
                alloy_rlp::encode(value(i, 0)),
            )
        })
        .collect();
    let mut scratch = Vec::new();
    group
        .sample_size(10)
        .bench_function("limit: HashBuilder from scratch", |b| {
            b.iter(|| {
                let start = Instant::now();
                let mut builder = HashBuilder::default();
                for (key, value) in &leaves {
                    builder.add_leaf(Nibbles::unpack_array(&key.0), value);
                }
                black_box(builder.root());
                scratch.push(start.elapsed());
            });
        });
    drop(leaves);
    let dir = tempfile::tempdir().expect("a folder");
    let db = database(dir.path());
    let plain = db
        .keyspace("plain", KeyspaceCreateOptions::default)
        .expect("opens");
    let mut rows = 0u64;
    let mut bare = Vec::new();
    group
        .sample_size(20)
        .bench_function("limit: the rows alone in a fjall batch", |b| {
            b.iter(|| {
                let start = Instant::now();
                let mut batch = db.batch();
                for i in rows..rows + CHANGED + NEW {
                    let key = [keccak256(contract()), keccak256(i.to_be_bytes())].concat();
                    batch.insert(&plain, key, value(i, 0).to_be_bytes_trimmed_vec());
                }
                batch.commit().expect("is written");
                db.persist(PersistMode::SyncData).expect("is persisted");
                rows += CHANGED + NEW;
                bare.push(start.elapsed());
            });
        });
    let scratch = report("HashBuilder from scratch", &mut scratch, None);
    let bare = report("the rows alone", &mut bare, None);

    for (name, load) in [("slots", Load::Slots), ("senders and slots", Load::Senders)] {
        let chain = RefCell::new(Chain::new(keys, load));
        // Past the history's length, so that pruning is in it; without new keys, so that there are as many as it says.
        for _ in 0..300 {
            chain.borrow_mut().block(0);
        }
        chain.borrow_mut().roots.clear();
        chain.borrow_mut().writes.clear();
        chain.borrow_mut().cpu = Default::default();
        group.bench_function(format!("{name}: root"), |b| {
            b.iter_custom(|n| (0..n).map(|_| chain.borrow_mut().block(NEW).0).sum());
        });
        group.bench_function(format!("{name}: write and fsync"), |b| {
            b.iter_custom(|n| (0..n).map(|_| chain.borrow_mut().block(NEW).1).sum());
        });
        let mut chain = chain.into_inner();
        report(
            &format!("{name}: root"),
            &mut chain.roots,
            Some(("HashBuilder from scratch", scratch)),
        );
        report(
            &format!("{name}: write and fsync"),
            &mut chain.writes,
            Some(("the rows alone", bare)),
        );

        let blocks = u32::try_from(chain.roots.len()).expect("small");
        eprintln!(
            "{name}: CPU time of a root {:.1?}, of a write {:.1?}",
            chain.cpu.0 / blocks,
            chain.cpu.1 / blocks
        );

        let mut reads = Vec::new();
        for i in 0..20_000 {
            let at = value(i, 7).as_limbs()[0] % keys;
            let start = Instant::now();
            black_box(chain.state.storage(contract(), slot(at)).expect("reads"));
            reads.push(start.elapsed());
        }
        report(&format!("{name}: a slot"), &mut reads, None);
        for back in [0, 1, 200] {
            let historic = chain.state.at(chain.height - 1 - back).expect("is kept");
            let mut proofs = Vec::new();
            for i in 0..500 {
                let at = value(i, 9).as_limbs()[0] % keys;
                let start = Instant::now();
                black_box(historic.proof(contract(), &[slot(at)]).expect("proves"));
                proofs.push(start.elapsed());
            }
            report(
                &format!("{name}: a proof {back} heights back"),
                &mut proofs,
                None,
            );
        }
        eprintln!(
            "{name}: {} MB on disk at {} keys",
            chain.db.disk_space().unwrap_or_default() / 1_000_000,
            chain.keys
        );
    }
    group.finish();
}

criterion_group!(benches, state);
criterion_main!(benches);

//! Databases and random blocks for all tests.

use std::collections::BTreeMap;
use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use fjall::{Database, PersistMode};
use lucid_state::{Account, KECCAK_EMPTY, State, StateChanges, StateOptions};
use proptest::prelude::*;

pub(crate) fn database(path: &Path) -> Database {
    Database::builder(path)
        .worker_threads(1)
        .open()
        .expect("the database opens")
}

pub(crate) fn open(db: &Database, history: u64) -> State {
    State::open(
        db,
        StateOptions {
            history,
            cache_bytes: 1 << 20,
        },
    )
    .expect("the state opens")
}

/// Prepares, commits and moves on.
pub(crate) fn commit(db: &Database, state: &State, height: u64, changes: &StateChanges) -> B256 {
    let prepared = state.prepare(changes).expect("prepares");
    let mut batch = db.batch();
    state
        .commit(height, &prepared, &mut batch)
        .expect("goes into the batch");
    batch.commit().expect("is written");
    db.persist(PersistMode::Buffer).expect("is persisted");
    state.committed(height, &prepared).expect("moves on");
    prepared.root()
}

pub(crate) fn address(i: u8) -> Address {
    Address::with_last_byte(i)
}

fn account() -> impl Strategy<Value = Account> {
    (0u64..5, any::<u64>(), 0u8..3).prop_map(|(nonce, balance, code)| Account {
        nonce,
        balance: U256::from(balance) << 40,
        code_hash: if code == 0 {
            KECCAK_EMPTY
        } else {
            keccak256(code_bytes(code))
        },
    })
}

fn code_bytes(code: u8) -> Vec<u8> {
    vec![code; 100 * usize::from(code)]
}

/// Changes that fit any state: accounts whose storage is written are there after the block.
pub(crate) fn changes() -> impl Strategy<Value = StateChanges> {
    let slots = prop::collection::btree_map(
        0u64..40,
        prop_oneof![1 => Just(0u64), 2 => any::<u64>()],
        0..20,
    );
    let storage = prop::collection::btree_map(0u8..10, (account(), slots), 0..4);
    let others =
        prop::collection::btree_map(0u8..40, prop::option::weighted(0.7, account()), 0..12);
    (storage, others).prop_map(|(storage, others)| {
        let mut changes = StateChanges::default();
        for (i, account) in others {
            changes.accounts.insert(address(i), account);
        }
        for (i, (account, slots)) in storage {
            let deleted = changes.accounts.get(&address(i)) == Some(&None);
            if deleted {
                continue;
            }
            changes.accounts.insert(address(i), Some(account));
            let slots: BTreeMap<_, _> = slots
                .into_iter()
                .map(|(slot, value)| (U256::from(slot), U256::from(value)))
                .collect();
            changes.storage.insert(address(i), slots);
        }
        for code in 1u8..3 {
            let bytes = code_bytes(code);
            changes.code.insert(keccak256(&bytes), Bytes::from(bytes));
        }
        changes
    })
}

/// Small, seeded, the same everywhere (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The block that every run with this seed has at this height: new slots, changed and deleted ones, accounts that come
/// and go.
pub(crate) fn block(seed: u64, height: u64) -> StateChanges {
    let mut random = Seeded(seed ^ height.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let mut changes = StateChanges::default();
    for contract in 0u8..3 {
        let account = Account {
            nonce: height,
            ..Account::default()
        };
        changes.accounts.insert(address(contract), Some(account));
        let slots = changes.storage.entry(address(contract)).or_default();
        for _ in 0..random.below(60) {
            let value = if random.below(4) == 0 {
                0
            } else {
                random.next()
            };
            slots.insert(U256::from(random.below(500)), U256::from(value));
        }
    }
    for _ in 0..random.below(20) {
        let account = Account {
            balance: U256::from(random.next()),
            ..Account::default()
        };
        let there = random.below(3) > 0;
        changes.accounts.insert(
            address(u8::try_from(10 + random.below(200)).expect("small")),
            there.then_some(account),
        );
    }
    changes
}

/// From `LUCID_TEST_SEED`, or new; printed so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("LUCID_TEST_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("after 1970");
            u64::from(now.subsec_nanos())
        }
    };
    println!("LUCID_TEST_SEED={seed} repeats this run");
    seed
}

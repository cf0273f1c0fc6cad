//! Registrations of sessions, from bytes to a new state root, on one thread. Prints figures beside the targets of issue 3 and
//! beside the recovery of the signatures alone, which no chain with these signatures can do without. Times are the thread's time
//! on a processor, so that a busy machine does not falsify them (Linux); the commit's, which waits for the disk, is wall time.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark"
)]

use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256, keccak256};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{Block, Body};
use lucid_execution::decode_all;
use lucid_execution::interfaces::LucidAnchors;
use lucid_state::StateChanges;

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
mod support;

use support::{CHAIN_ID, Net, Setup, User, eip1559};

/// Storage slots that are there before.
const KEYS: u64 = 500_000;
const SENDERS: u64 = 1_000;
const BLOCKS: u64 = 8;
/// Registrations a second that issue 3 asks for.
const TARGET: f64 = 5_000.0;

fn register(seed: u64, owner: Address) -> LucidAnchors::registerSessionCall {
    let word = |kind: u64| keccak256([kind.to_be_bytes(), seed.to_be_bytes()].concat());
    LucidAnchors::registerSessionCall {
        id: word(10),
        owner,
        sessionKey: word(1),
        manifestHash: word(2),
        merkleRoot: word(3),
        chunkCount: 7,
    }
}

fn batch(users: &[User], nonce: u64) -> Vec<Vec<u8>> {
    use alloy_sol_types::SolCall as _;
    let seeds = nonce * SENDERS..;
    users
        .iter()
        .zip(seeds)
        .map(|(user, seed)| {
            user.sign(alloy_consensus::TxEip1559 {
                gas_limit: 110_000,
                ..eip1559(
                    nonce,
                    LUCID_ANCHORS,
                    register(seed, user.address).abi_encode(),
                )
            })
        })
        .collect()
}

/// Gives the head another gas limit, as if it had grown there: that takes blocks, and is not what is measured.
fn set_gas_limit(net: &mut Net, gas_limit: u64) {
    let Some(header) = &mut net.parent.header else {
        return;
    };
    header.gas_limit = gas_limit;
    let block = Block {
        header: header.clone(),
        body: Body::default(),
    };
    // Both are the same set here.
    net.last_commit = Some(net.certify(&block, |_| true));
}

/// Time this thread was on a processor.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn main() {
    // `cargo test --benches` runs it too; there is nothing to see then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // Everything on the pool's one thread, whose time is measured.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(measure);
}

fn measure() {
    let users: Vec<User> = (0..SENDERS).map(User::new).collect();
    let mut more = StateChanges::default();
    let slots = (0..KEYS).map(|key| {
        (
            U256::from_be_bytes(keccak256(key.to_be_bytes()).0),
            U256::from(key + 1),
        )
    });
    more.storage.insert(LUCID_ANCHORS, slots.collect());
    let setup = Setup {
        users: SENDERS,
        ..Setup::default()
    };
    let mut net = Net::with_more(setup.genesis(), more);
    net.seal(vec![]);

    let (mut whole, mut recovery, mut checked, mut committed, mut warm) = (
        Duration::ZERO,
        Duration::ZERO,
        Duration::ZERO,
        Duration::ZERO,
        Duration::ZERO,
    );
    for nonce in 0..=BLOCKS {
        set_gas_limit(&mut net, 120_000_000);
        let transactions = batch(&users, nonce);
        // The same work on other bytes: whoever decodes these twice has them from memory.
        let others: Vec<Vec<u8>> = batch(&users, nonce + 1_000_000);
        let start = on_processor();
        assert!(decode_all(&others, CHAIN_ID).iter().all(Result::is_ok));
        let recovering = on_processor() - start;

        let proposal = net.proposal(net.time_ms() + 1_000, 0, transactions);
        let start = on_processor();
        let built = net.build(proposal).unwrap();
        let building = on_processor() - start;
        assert_eq!(built.executed.receipts.len() as u64, SENDERS);
        assert!(
            built
                .executed
                .receipts
                .iter()
                .all(|receipt| receipt.success)
        );
        let start = on_processor();
        let again = decode_all(&built.block.body.transactions, CHAIN_ID);
        let remembering = on_processor() - start;
        assert!(again.iter().all(Result::is_ok));
        let start = on_processor();
        let executed = net.validate(&built.block).unwrap();
        let checking = on_processor() - start;
        let start = Instant::now();
        net.commit(&built.block, executed);
        let committing = start.elapsed();
        // The first block warms caches.
        if nonce > 0 {
            whole += building;
            recovery += recovering;
            checked += checking;
            committed += committing;
            warm += remembering;
        }
        if nonce == 1 {
            println!(
                "gas of a registration: {}",
                built.executed.receipts[0].gas_used
            );
        }
    }
    let count = (BLOCKS * SENDERS) as f64;
    let micros = |total: Duration| total.as_secs_f64() * 1e6 / count;
    let rate = count / whole.as_secs_f64();
    println!(
        "{SENDERS} registrations a block, {KEYS} storage slots before, one thread; µs of processor time a registration:"
    );
    println!(
        "  signature recovery alone                {:7.1}",
        micros(recovery)
    );
    println!(
        "  build: recovery, EVM, root              {:7.1}",
        micros(whole)
    );
    println!(
        "  check: sender known, EVM, root          {:7.1}",
        micros(checked)
    );
    println!(
        "  decoding with the sender known          {:7.1}",
        micros(warm)
    );
    println!(
        "  commit: write and fsync, wall time      {:7.1}",
        micros(committed)
    );
    println!("registrations a second, recovery and root included: {rate:.0}");
    println!("  beside the target of {TARGET:.0}: {:.2}", rate / TARGET);
    println!(
        "  beside recovery alone: {:.2} of its time",
        whole.as_secs_f64() / recovery.as_secs_f64()
    );
}

//! Restores a chain of many registrations from its archive, and prints how fast beside what cannot be done without: executing the
//! blocks (as building them took), and copying the file.
//!
//! ```text
//! cargo run --release -p lucid-ledger --example restore -- --transactions 1000000
//! ```
//! One validator in this process. The restore is a process of its own, so that nothing is in memory from building. It takes some
//! gigabytes in the folder for temporary files (`TMPDIR`) and minutes a million; without arguments, seconds.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark"
)]

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, keccak256};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_ledger::{
    ArchiveReader, ArchiveWriter, Durability, Ledger, LedgerOptions, Restored, SnapshotManifest,
    Snapshots,
};

#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
mod support;

use support::{Net, User};

/// Accounts that register, each once a block.
const USERS: u64 = 1_000;
/// Gas that a registration asks for.
const GAS: u64 = 110_000;
/// Wei a gas; the accounts offer ten times as much.
const HIGH_FEE: u64 = 100_000_000_000;
const DEFAULT: u64 = 20_000;

const OPTIONS: LedgerOptions = LedgerOptions {
    history: 256,
    cache: 128 << 20,
    durability: Durability::OnPersist,
};

fn register(seed: u64, owner: Address) -> Vec<u8> {
    let selector =
        &keccak256("registerSession(bytes32,address,bytes32,bytes32,bytes32,uint64)")[..4];
    let word = |kind: u64| keccak256([kind.to_be_bytes(), seed.to_be_bytes()].concat());
    [
        selector,
        word(10).as_slice(),
        owner.into_word().as_slice(),
        word(1).as_slice(),
        word(2).as_slice(),
        word(3).as_slice(),
        B256::with_last_byte(7).as_slice(),
    ]
    .concat()
}

/// Time that all threads of this process were on a processor, s, to a hundredth.
fn on_processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may hold anything, utime and stime are the 12th and 13th; Linux counts them in hundredths.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// Builds a chain and its archive; how long the blocks took to build, with signatures, execution and state root, by the clock and
/// on processors.
fn build(transactions: u64, path: &Path) -> (Net, u64, Duration, f64) {
    let users: Vec<User> = (0..USERS).map(User::new).collect();
    let mut net = Net::with(1, USERS, OPTIONS);
    let output = BufWriter::new(File::create(path).unwrap());
    let mut writer = ArchiveWriter::new(output, &net.trusted()).unwrap();
    let (mut sent, mut blocks, mut building, mut worked) = (0, 0, Duration::ZERO, 0.0);
    let mut nonces = vec![0; users.len()];
    while sent < transactions {
        // Above half of its gas the base fee goes up: full blocks while it is low, and half full ones until it is again.
        let next = net.ledger.head().next;
        let share = if next.base_fee < HIGH_FEE { 1 } else { 2 };
        let room = (next.gas_limit / GAS / share).min(USERS);
        let count = room.min(transactions - sent);
        let batch: Vec<Vec<u8>> = (0..count)
            .map(|at| {
                let at = usize::try_from((sent + at) % USERS).unwrap();
                let nonce = nonces[at];
                nonces[at] += 1;
                let input = register(nonce * USERS + at as u64, users[at].address);
                users[at].call(nonce, LUCID_ANCHORS, 0, input)
            })
            .collect();
        let proposal = net.proposal(net.time_ms() + 1_000, batch, Vec::new());
        let (start, before) = (Instant::now(), on_processor());
        let built = net.ledger.build(proposal).unwrap();
        building += start.elapsed();
        worked += on_processor() - before;
        assert_eq!(built.executed.receipts.len() as u64, count);
        assert!(
            built
                .executed
                .receipts
                .iter()
                .all(|receipt| receipt.success)
        );
        let height = net.take(built).header.height;
        writer
            .block(&net.ledger.certified(height).unwrap().unwrap())
            .unwrap();
        sent += count;
        blocks += 1;
    }
    writer
        .finish()
        .unwrap()
        .into_inner()
        .unwrap()
        .sync_all()
        .unwrap();
    (net, blocks, building, worked)
}

/// In a process of its own: prints seconds by the clock and on processors, transactions, root and the most memory it had, KiB.
fn restore(path: &Path) {
    let net = Net::with(1, USERS, OPTIONS);
    let folder = tempfile::tempdir().unwrap();
    let (start, before) = (Instant::now(), on_processor());
    let ledger = Ledger::open(folder.path(), net.genesis.clone(), OPTIONS).unwrap();
    let input = BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let archive = ArchiveReader::open(input, &net.trusted()).unwrap();
    let Restored { transactions, .. } = ledger.restore(archive, |_| ()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    println!(
        "{seconds} {} {transactions} {} {}",
        on_processor() - before,
        ledger.state().root(),
        peak.unwrap_or("0")
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let transactions = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => DEFAULT,
        ["--transactions", count] => count.parse().unwrap(),
        ["--restore", path] => return restore(&PathBuf::from(path)),
        _ => panic!("usage: restore [--transactions COUNT]"),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let (net, blocks, building, worked) = build(transactions, &path);
    let bytes = fs::metadata(&path).unwrap().len();

    let snapshots = Snapshots::open(folder.path().join("snapshots")).unwrap();
    let start = Instant::now();
    let height = snapshots.make(net.ledger.snapshot().unwrap()).unwrap();
    let making = start.elapsed().as_secs_f64();
    let snapshot = SnapshotManifest::decode(&snapshots.manifest(height).unwrap().unwrap())
        .and_then(|manifest| manifest.verify(&net.trusted()))
        .unwrap();
    let data = folder.path().join("data");
    let start = Instant::now();
    let ledger = Ledger::open(&data, net.genesis.clone(), OPTIONS).unwrap();
    let piece = |index| {
        Ok(snapshots
            .piece(height, u32::try_from(index).unwrap())?
            .unwrap())
    };
    ledger.import(&snapshot, piece).unwrap();
    let importing = start.elapsed().as_secs_f64();
    assert_eq!(ledger.head().id, net.ledger.head().id);
    drop(ledger);

    let start = Instant::now();
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    File::open(&copy).unwrap().sync_all().unwrap();
    let copying = start.elapsed();

    let output = Command::new(std::env::current_exe().unwrap())
        .arg("--restore")
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let [seconds, processor, restored, root, peak] =
        text.split_whitespace().collect::<Vec<_>>()[..]
    else {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
    };
    assert_eq!(root, net.ledger.state().root().to_string());
    assert_eq!(restored, transactions.to_string());
    let (seconds, processor): (f64, f64) = (seconds.parse().unwrap(), processor.parse().unwrap());
    let count = transactions as f64;
    let rate = |seconds: f64| count / seconds;
    let building = building.as_secs_f64();
    println!("{transactions} registrations in {blocks} blocks, an archive of {bytes} bytes");
    println!(
        "  restored: {seconds:9.1} s  {:9.0} transactions a second; {processor:.1} s of processor time, {} MiB of memory at most",
        rate(seconds),
        peak.parse::<u64>().unwrap() / 1_024
    );
    println!(
        "  building: {building:9.1} s  {:9.0}  signatures, execution and state root, nothing written; {worked:.1} s of processor time: \
         restoring took {:.2} of its time and {:.2} of its processor time",
        rate(building),
        seconds / building,
        processor / worked
    );
    println!(
        "  snapshot: {} bytes, made in {making:.1} s, taken in in {importing:.1} s: {:.0} transactions a second, {:.2} of the restore's time",
        snapshots.newest_bytes().unwrap(),
        rate(importing),
        importing / seconds
    );
    println!(
        "  copying:  {:9.1} s  {:9.0}  the file alone, synced: restoring took {:.0} times its time",
        copying.as_secs_f64(),
        rate(copying.as_secs_f64()),
        seconds / copying.as_secs_f64()
    );
}

//! A process that takes in a snapshot, killed at random instants.

use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lucid_chain_types::Height;
use lucid_ledger::{SnapshotManifest, Snapshots};

use crate::support::{Net, User, assert_same};

const FOLDER: &str = "LUCID_LEDGER_CRASH_FOLDER";
const ROUNDS: u32 = 8;

/// A chain with so many accounts that taking its snapshot in lasts a while.
fn chain() -> Net {
    let mut net = Net::with(1, 3_000, lucid_ledger::LedgerOptions::default());
    let bytes = User::new(1).call(0, User::new(2).address, 1, Vec::new());
    net.add(vec![bytes]);
    net
}

/// Not a test of its own: the process that is killed.
#[test]
fn importer_to_be_killed() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let net = chain();
    let snapshots = Snapshots::open(folder.join("snapshots")).unwrap();
    let manifest = snapshots.manifest(Height(1)).unwrap().unwrap();
    let snapshot = SnapshotManifest::decode(&manifest)
        .unwrap()
        .verify(&net.trusted())
        .unwrap();
    let ledger = net.open(&folder.join("data"));
    // A file, and not a line: the test has to see it before this process goes on.
    std::fs::write(folder.join("begun"), b"").unwrap();
    ledger
        .import(&snapshot, |index| {
            let index = u32::try_from(index).unwrap();
            Ok(snapshots.piece(Height(1), index)?.unwrap())
        })
        .unwrap();
}

#[test]
fn a_snapshot_is_taken_in_whole_or_not_at_all() {
    let mut net = chain();
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(folder.path().join("snapshots")).unwrap();
    snapshots.make(net.ledger.snapshot().unwrap()).unwrap();
    let genesis = net.genesis.state_root;
    let mut whole = 0;
    let mut none = 0;
    let mut spread = Duration::from_millis(50);
    for _ in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::importer_to_be_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !folder.path().join("begun").exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not begin"
            );
            thread::sleep(Duration::from_millis(1));
        }
        let random = RandomState::new().hash_one(0);
        let pause = Duration::from_micros(random % u64::try_from(spread.as_micros()).unwrap());
        thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        eprintln!("killed after {pause:?}");
        let ledger = net.open(&folder.path().join("data"));
        match ledger.head().height {
            Height::GENESIS => {
                assert_eq!(ledger.state().root(), genesis);
                assert_eq!(ledger.earliest(), Height(1));
                none += 1;
                // What takes longer here is killed later.
                spread *= 2;
            }
            height => {
                assert_eq!((height, ledger.earliest()), (Height(1), Height(1)));
                assert_eq!(ledger.state().root(), net.ledger.state().root());
                assert!(ledger.block(height).unwrap().is_some());
                whole += 1;
                drop(ledger);
                std::fs::remove_dir_all(folder.path().join("data")).unwrap();
                spread /= 2;
            }
        }
        std::fs::remove_file(folder.path().join("begun")).unwrap();
    }
    eprintln!("{none} times at genesis, {whole} times whole");
    // And in the end it goes in.
    let snapshot = SnapshotManifest::decode(&snapshots.manifest(Height(1)).unwrap().unwrap())
        .unwrap()
        .verify(&net.trusted())
        .unwrap();
    let last = tempfile::tempdir().unwrap();
    let ledger = net.open(last.path());
    ledger
        .import(&snapshot, |index| {
            let index = u32::try_from(index).unwrap();
            Ok(snapshots.piece(Height(1), index)?.unwrap())
        })
        .unwrap();
    assert_same(&mut net, &ledger, 1);
}

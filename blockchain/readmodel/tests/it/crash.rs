//! A process that keeps the collections, killed at random instants: what is there is a whole number of blocks, and goes on.

use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lucid_readmodel::{Collections as _, Embedded};

use crate::support::{Chain, GENESIS, contents};

const FOLDER: &str = "LUCID_READMODEL_CRASH_FOLDER";
const BLOCKS: u64 = 600;
const ROUNDS: u32 = 12;

/// Not a test of its own: the process that is killed.
#[test]
fn writer_to_be_killed() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let chain = Chain::fixed(BLOCKS);
    let store = Embedded::open(&folder.join("store"), GENESIS).unwrap();
    let mut next = store.position().unwrap().map_or(1, |at| at.height.0 + 1);
    // A file, and not a line: the test has to see it before this process goes on.
    std::fs::write(folder.join("begun"), b"").unwrap();
    while next <= BLOCKS {
        let last = (next + next % 3).min(BLOCKS);
        store.apply(&chain.batch(next, last)).unwrap();
        next = last + 1;
    }
}

#[test]
fn a_killed_writer_leaves_whole_blocks_and_goes_on_from_them() {
    let chain = Chain::fixed(BLOCKS);
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let mut reached = 0;
    for _ in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::writer_to_be_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let since = Instant::now();
        while !begun.exists() {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "it does not begin"
            );
            thread::sleep(Duration::from_millis(1));
        }
        let pause = Duration::from_micros(RandomState::new().hash_one(0) % 8_000);
        thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(&begun).unwrap();

        let store = Embedded::open(&folder.path().join("store"), GENESIS).unwrap();
        let height = store.position().unwrap().map_or(0, |at| at.height.0);
        eprintln!("killed after {pause:?} at block {height}");
        assert!(
            height >= reached,
            "what was there before the process began is there"
        );
        reached = height;
        if height > 0 {
            assert_eq!(contents(&store), chain.expected(1, height));
        }
    }
    let store = Embedded::open(&folder.path().join("store"), GENESIS).unwrap();
    if reached < BLOCKS {
        store.apply(&chain.batch(reached + 1, BLOCKS)).unwrap();
    }
    assert_eq!(contents(&store), chain.expected(1, BLOCKS));
}

//! No room: on a real disk that is full, by quota, and by what is to stay free.

use std::{env, fs::File, io::Write, path::Path, process::Command};

use lucid_store::{Limits, OpenSession, Options, PrunePolicy, SessionState, Store, StoreError};
use rand_core::TryRng;
use tempfile::TempDir;

use crate::support::{Minted, Recorder, Seeded, open, pack_and_verify, sealed};

const SMALL_DISK: &str = "LUCID_STORE_SMALL_DISK";

/// Bytes that do not compress, other ones each time.
struct Noise(Seeded);

impl Noise {
    fn new() -> Self {
        Self(Seeded::new(99))
    }

    fn next(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 10_000];
        let Ok(()) = self.0.try_fill_bytes(&mut bytes);
        bytes
    }
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [4096, 512, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_ends_the_session_and_what_was_recorded_stays_valid() {
    if let Some(dir) = env::var_os(SMALL_DISK) {
        return on_a_small_disk(Path::new(&dir));
    }
    let dir = TempDir::new().unwrap();
    let script = r#"mount -t tmpfs -o size=800k none "$1" || exit 77
        exec "$2" --exact "$3" --nocapture"#;
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(env::current_exe().unwrap())
        .arg("full::a_full_disk_ends_the_session_and_what_was_recorded_stays_valid")
        .env(SMALL_DISK, dir.path())
        .status();
    match status.map(|s| s.code()) {
        Ok(Some(0)) => {}
        // 1 is what unshare says when it may not; a failed test says 101.
        Ok(Some(77 | 1)) | Err(_) => eprintln!(
            "SKIPPED: a full disk needs the right to mount a small one (run the tests as root); quota and injected ENOSPC are tested all the same"
        ),
        Ok(code) => panic!("the test on the small disk ended with {code:?}"),
    }
}

fn on_a_small_disk(root: &Path) {
    let store = open(&root.join("store"));
    let before = sealed(&store, 1, 2, 50);
    let mut recorder = Recorder::start(&store, Minted::new(2)).unwrap();
    let mut noise = Noise::new();
    let error = loop {
        match recorder.record(&noise.next()) {
            Ok(()) if recorder.synced.is_multiple_of(7) => match recorder.close() {
                Ok(()) => {}
                Err(error) => break error,
            },
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains("lucid prune"), "{error}");
    let synced = recorder.synced;
    assert!(synced > 20, "{synced}");
    assert_eq!(recorder.session().append(b"x"), Err(error));
    // Others take every byte that is left.
    fill(&root.join("filler"));
    assert_eq!(
        rustix::fs::statvfs(root).map(|s| s.f_bavail).unwrap(),
        0,
        "the disk is full to the last block"
    );
    let refused = store.create_session(&Minted::new(3).head, &Minted::new(3).wraps);
    assert!(refused.err().unwrap().is_full());

    let minted = recorder.die();
    minted.seal_cut(store.recover(minted.id).unwrap()).unwrap();
    let (_, records) = pack_and_verify(&store, &minted);
    assert!(records >= synced);
    assert_eq!(pack_and_verify(&store, &before).1, 4);
    let report = store.fsck(&mut |_, _| {}).unwrap();
    assert_eq!(report.findings, []);
    // The way out that the message names.
    let policy = PrunePolicy {
        max_bytes: Some(300_000),
        ..PrunePolicy::default()
    };
    assert_eq!(store.prune(&policy, false).unwrap().removed.len(), 2);
    sealed(&store, 3, 1, 60);
    println!("{synced} records on the small disk, {records} kept");
}

/// A limit is met before the disk is: the session ends properly, with all that was taken and a last word.
fn ends_properly_at(limits: Limits, words: &str) {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    sealed(&open(&root), 1, 1, 50);
    let options = Options { limits, tap: None };
    let store = Store::open_with(&root, options).unwrap();
    let mut recorder = match Recorder::start(&store, Minted::new(2)) {
        Ok(recorder) => recorder,
        Err(error) => {
            assert!(
                error.is_full() && error.to_string().contains(words),
                "{error}"
            );
            return;
        }
    };
    let mut noise = Noise::new();
    let refused = loop {
        recorder.push(&noise.next());
        // What a limit refuses is still in hand: it is appended after all, with the last word behind it.
        let mut in_hand = Vec::new();
        let closed = recorder.close_with(|session, bytes| {
            session.append(bytes).or_else(|error| {
                in_hand = bytes.to_vec();
                session.append_past_limits(bytes)?;
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                assert!(error.to_string().contains(words), "{error}");
                Ok(())
            })
        });
        closed.unwrap();
        if !in_hand.is_empty() {
            break recorder.synced;
        }
    };
    let minted = recorder.seal(60).unwrap();
    let (proven, records) = pack_and_verify(&store, &minted);
    assert!(proven.complete);
    assert_eq!(records, refused);
    assert_eq!(
        store.session(minted.id).unwrap().summary.state,
        SessionState::Closed
    );
}

#[test]
fn a_quota_ends_the_session_properly() {
    let quota = Limits {
        max_bytes: Some(300_000),
        min_free: 0,
    };
    ends_properly_at(quota, "its quota of 300000");
}

#[test]
fn free_space_is_left_to_others() {
    let greedy = Limits {
        max_bytes: None,
        min_free: u64::MAX,
    };
    ends_properly_at(greedy, "are to stay free");
}

#[test]
fn a_quota_counts_what_other_processes_wrote() {
    let dir = TempDir::new().unwrap();
    let quota = Limits {
        max_bytes: Some(1_000),
        min_free: 0,
    };
    sealed(&open(dir.path()), 1, 3, 50);
    let options = Options {
        limits: quota,
        tap: None,
    };
    let store = Store::open_with(dir.path(), options).unwrap();
    let refused: Option<StoreError> = store
        .create_session(&Minted::new(2).head, &Minted::new(2).wraps)
        .map(|session: OpenSession| drop(session))
        .err();
    assert!(refused.is_some_and(|e| e.is_full()));
    assert_eq!(store.list().unwrap().sessions.len(), 1);
}

//! Many writers in one store.

use std::thread;

use lucid_store::StoreError;
use tempfile::TempDir;

use crate::support::{Minted, Recorder, open, pack_and_verify, sealed};

#[test]
fn sessions_are_written_side_by_side_while_others_look() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let minted: Vec<Minted> = thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|seed| {
                // Every other writer has a store of its own, as another process has.
                let store = if seed % 2 == 0 {
                    store.clone()
                } else {
                    open(dir.path())
                };
                scope.spawn(move || sealed(&store, 100 + seed, 5, 50))
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let listing = store.list().unwrap();
            assert_eq!(listing.damaged, []);
            let report = store.fsck(&mut |_, _| {}).unwrap();
            assert!(report.is_sound(), "{report:#?}");
        }
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    for minted in minted {
        assert_eq!(pack_and_verify(&store, &minted).1, 10);
    }
    assert_eq!(store.fsck(&mut |_, _| {}).unwrap().findings, []);
}

#[test]
fn an_id_is_used_once_however_many_try() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for seed in 0..10 {
        let won: usize = thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    let store = open(dir.path());
                    scope.spawn(move || match Recorder::start(&store, Minted::new(seed)) {
                        Ok(recorder) => {
                            recorder.seal(1).unwrap();
                            1
                        }
                        Err(StoreError::Exists { .. }) => 0,
                        Err(error) => panic!("{error}"),
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    assert_eq!(store.fsck(&mut |_, _| {}).unwrap().findings, []);
}

#[test]
fn a_live_session_is_neither_recovered_nor_shredded() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut recorder = Recorder::start(&store, Minted::new(1)).unwrap();
    recorder.record(b"x").unwrap();
    let id = recorder.id();
    for error in [
        store.recover(id).err().unwrap(),
        store.shred(id, 1).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Live { .. }), "{error}");
    }
    recorder.record(b"y").unwrap();
    recorder.close().unwrap();
    let minted = recorder.seal(1).unwrap();
    assert_eq!(pack_and_verify(&store, &minted).1, 2);
}

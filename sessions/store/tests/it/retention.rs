//! What stays and what goes.

use lucid_store::{PrunePolicy, StoreError};
use tempfile::TempDir;

use crate::support::{
    Minted, Recorder, auditor_opens, cut, open, pack_and_verify, picture, sealed,
};

fn older_than(max_age_us: u64) -> PrunePolicy {
    PrunePolicy {
        now_us: 1_000,
        max_age_us: Some(max_age_us),
        max_bytes: None,
    }
}

#[test]
fn old_sessions_go_whole_and_held_live_and_unsealed_ones_stay() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let old = sealed(&store, 1, 3, 100);
    let held = sealed(&store, 2, 1, 100);
    let young = sealed(&store, 3, 1, 900);
    let mut live = Recorder::start(&store, Minted::new(4)).unwrap();
    live.record(b"x").unwrap();
    let dead = Recorder::start(&store, Minted::new(5)).unwrap().die();
    store.hold(held.id, "court").unwrap();

    let before = picture(dir.path());
    let dry = store.prune(&older_than(500), true).unwrap();
    assert_eq!(picture(dir.path()), before);
    let report = store.prune(&older_than(500), false).unwrap();
    assert_eq!(dry, report);
    assert_eq!(report.removed.len(), 1);
    assert_eq!(
        (report.removed[0].id, report.removed[0].chunks),
        (old.id, 3)
    );
    assert_eq!(report.removed[0].why, "age");
    assert_eq!(report.held, 1);
    assert_eq!(report.bytes_after, store.bytes().unwrap());

    let left: Vec<_> = store
        .list()
        .unwrap()
        .sessions
        .iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(left, [held.id, young.id, live.id(), dead.id]);
    live.record(b"y").unwrap();

    store.release(held.id).unwrap();
    assert_eq!(
        store.prune(&older_than(500), false).unwrap().removed[0].id,
        held.id
    );
    assert!(store.fsck(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn the_oldest_go_until_the_store_is_small_enough() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let minted: Vec<Minted> = (1..=4).map(|n| sealed(&store, n, 2, n)).collect();
    store.hold(minted[0].id, "court").unwrap();
    let policy = PrunePolicy {
        now_us: 10,
        max_age_us: None,
        max_bytes: Some(store.bytes().unwrap() * 6 / 10),
    };
    let report = store.prune(&policy, false).unwrap();
    let removed: Vec<_> = report.removed.iter().map(|r| r.id).collect();
    assert_eq!(removed, [minted[1].id, minted[2].id]);
    assert_eq!((report.held, report.over_bytes), (1, 0));

    let nothing_allowed = PrunePolicy {
        max_bytes: Some(0),
        ..policy
    };
    let report = store.prune(&nothing_allowed, false).unwrap();
    assert_eq!(report.removed.len(), 1);
    assert_eq!(report.over_bytes, store.bytes().unwrap());
}

#[test]
fn a_chunk_that_another_session_names_stays() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let old = sealed(&store, 1, 2, 100);
    let young = sealed(&store, 2, 1, 900);
    // No recorder makes two sessions name one chunk; a copied log does.
    let logs = |m: &Minted| dir.path().join(format!("sessions/{}/log", m.id));
    let both = [
        std::fs::read(logs(&young)).unwrap(),
        std::fs::read(logs(&old)).unwrap(),
    ];
    std::fs::write(logs(&young), both.concat()).unwrap();
    std::fs::remove_file(dir.path().join(format!("sessions/{}/manifest", young.id))).unwrap();
    let report = store.prune(&older_than(500), false).unwrap();
    assert_eq!(
        (report.removed[0].id, report.removed[0].chunks),
        (old.id, 0)
    );
    assert_eq!(report.bytes_after, store.bytes().unwrap());
}

#[test]
fn a_shredded_session_verifies_and_never_opens() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for minted in [sealed(&store, 1, 2, 100), cut(&store, 2)] {
        assert!(auditor_opens(&store, &minted));
        let secret = std::fs::read(dir.path().join(format!("sessions/{}/wraps", minted.id)));
        let before = pack_and_verify(&store, &minted);
        store.shred(minted.id, 1_234).unwrap();
        store.shred(minted.id, 5_678).unwrap();
        assert!(!auditor_opens(&store, &minted));
        assert_eq!(pack_and_verify(&store, &minted), before);
        let session = store.session(minted.id).unwrap();
        assert_eq!(session.summary.shredded_us, Some(1_234));
        let needle = &secret.unwrap()[36..100];
        let whole_store = picture(dir.path());
        let found = whole_store
            .values()
            .flatten()
            .any(|file| file.windows(needle.len()).any(|window| window == needle));
        assert!(!found, "the wrap is still in the store");
    }
    assert_eq!(store.fsck(&mut |_, _| {}).unwrap().findings, []);
}

#[test]
fn a_dead_session_is_shredded_first_and_recovered_after() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut recorder = Recorder::start(&store, Minted::new(1)).unwrap();
    recorder.record(b"x").unwrap();
    let minted = recorder.die();
    store.shred(minted.id, 1).unwrap();
    minted.seal_cut(store.recover(minted.id).unwrap()).unwrap();
    assert_eq!(pack_and_verify(&store, &minted).1, 1);
}

#[test]
fn a_held_session_is_not_shredded() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let minted = sealed(&store, 1, 1, 100);
    store.hold(minted.id, "court, case 7, A. Judge").unwrap();
    let error = store.shred(minted.id, 1).unwrap_err();
    assert!(
        error.to_string().contains("court, case 7, A. Judge"),
        "{error}"
    );
    assert!(auditor_opens(&store, &minted));
    store.release(minted.id).unwrap();
    store.release(minted.id).unwrap();
    store.shred(minted.id, 1).unwrap();

    assert!(store.hold(minted.id, " ").is_err());
    let unknown = store.hold(Minted::new(9).id, "x").unwrap_err();
    assert!(matches!(unknown, StoreError::NoSession { .. }), "{unknown}");
}

//! A session from its first byte to its file.

use lucid_format::{Ending, SignedManifest};
use lucid_store::{Options, SessionState, Store, StoreError};
use tempfile::TempDir;

use crate::support::{
    Minted, Recorder, auditor_opens, cut, open, pack_and_verify, picture, sealed,
};

#[test]
fn a_recorded_session_packs_into_a_file_that_verifies_and_opens() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("a/b/store"));
    let minted = sealed(&store, 1, 3, 50);
    let (proven, records) = pack_and_verify(&store, &minted);
    assert!(proven.complete);
    assert_eq!((proven.chunks, records), (3, 6));
    assert!(auditor_opens(&store, &minted));

    let mut seen = Vec::new();
    store
        .pack(minted.id, std::io::sink(), &mut |done, of| {
            seen.push((done, of));
        })
        .unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2].0, seen[2].1);

    let report = store.fsck(&mut |_, _| {}).unwrap();
    assert_eq!((report.sessions, report.chunks), (1, 3));
    assert_eq!(report.findings, []);
}

#[test]
fn a_session_without_any_chunk_is_a_recording_too() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let closed = sealed(&store, 1, 0, 50);
    assert_eq!(pack_and_verify(&store, &closed).1, 0);
    let minted = Recorder::start(&store, Minted::new(2)).unwrap().die();
    minted.seal_cut(store.recover(minted.id).unwrap()).unwrap();
    assert!(!pack_and_verify(&store, &minted).0.complete);
}

#[test]
fn a_listing_tells_live_unsealed_closed_cut_held_and_shredded_apart() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let closed = sealed(&store, 1, 2, 50);
    let cut = cut(&store, 2);
    let mut live = Recorder::start(&store, Minted::new(3)).unwrap();
    live.record(b"x").unwrap();
    let mut dead = Recorder::start(&store, Minted::new(4)).unwrap();
    dead.record(b"x").unwrap();
    dead.close().unwrap();
    let dead = dead.die();
    store.hold(live.id(), "court, case 7").unwrap();
    store.shred(closed.id, 99).unwrap();

    let listing = store.list().unwrap();
    assert_eq!(listing.damaged, []);
    let states: Vec<_> = listing.sessions.iter().map(|s| (s.id, s.state)).collect();
    assert_eq!(
        states,
        [
            (closed.id, SessionState::Closed),
            (cut.id, SessionState::Cut),
            (live.id(), SessionState::Live),
            (dead.id, SessionState::Unsealed),
        ]
    );
    let [first, second, third, fourth] = &listing.sessions[..] else {
        panic!("four sessions");
    };
    assert_eq!((first.shredded_us, first.sealed_us), (Some(99), Some(50)));
    assert_eq!(first.reason.as_deref(), Some("logged off"));
    assert_eq!(
        (first.user.as_str(), first.target.as_str()),
        ("operator1", "desk1")
    );
    assert_eq!(second.chunks, 2);
    assert_eq!(third.hold.as_deref(), Some("court, case 7"));
    assert!(third.bytes > 0 && third.chunks == 0);
    assert_eq!((fourth.chunks, fourth.duration_us), (1, 10_000));
}

#[test]
fn a_damaged_session_does_not_hide_the_others() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let broken = sealed(&store, 1, 1, 50);
    let fine = sealed(&store, 2, 1, 50);
    let head = dir.path().join(format!("sessions/{}/head", broken.id));
    std::fs::write(head, b"nonsense").unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.sessions.len(), 1);
    assert_eq!(listing.sessions[0].id, fine.id);
    assert_eq!(listing.damaged[0].id, broken.id);
}

#[test]
fn recovery_keeps_the_torn_chunk_and_says_what_it_dropped() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut recorder = Recorder::start(&store, Minted::new(1)).unwrap();
    recorder.record(b"one").unwrap();
    recorder.close().unwrap();
    recorder.record(b"two").unwrap();
    let open_chunk = dir
        .path()
        .join(format!("sessions/{}/open.chunk", recorder.id()));
    let minted = recorder.die();
    let torn = [std::fs::read(&open_chunk).unwrap(), b"half a seg".to_vec()].concat();
    std::fs::write(&open_chunk, torn).unwrap();

    let found = store.recover(minted.id).unwrap();
    assert_eq!(
        (found.chunks.len(), found.torn, found.dropped_bytes),
        (2, true, 10)
    );
    assert!(found.last_write_us.is_some_and(|t| t >= found.end_us));
    let live = store.recover(minted.id).err().unwrap();
    assert!(matches!(live, StoreError::Live { .. }), "{live}");
    minted.seal_cut(found).unwrap();
    let again = store.recover(minted.id).err().unwrap();
    assert!(matches!(again, StoreError::Sealed { .. }), "{again}");
    assert_eq!(pack_and_verify(&store, &minted).1, 2);
    let session = store.session(minted.id).unwrap();
    assert_eq!(session.manifest.unwrap().manifest.ending, Ending::Cut);
}

#[test]
fn a_log_that_broke_after_it_was_durable_is_damage_not_a_tear() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut recorder = Recorder::start(&store, Minted::new(1)).unwrap();
    for _ in 0..2 {
        recorder.record(b"x").unwrap();
        recorder.close().unwrap();
    }
    let minted = recorder.die();
    let log = dir.path().join(format!("sessions/{}/log", minted.id));
    let whole = std::fs::read(&log).unwrap();
    for at in [5, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&log, bytes).unwrap();
        let error = store.recover(minted.id).err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(!store.fsck(&mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn the_store_refuses_what_does_not_belong_to_the_session() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let (minted, other) = (Minted::new(1), Minted::new(2));
    let wrong = store
        .create_session(&minted.head, &other.wraps)
        .err()
        .unwrap();
    assert!(matches!(wrong, StoreError::Mismatch { .. }), "{wrong}");

    let mut recorder = Recorder::start(&store, minted).unwrap();
    recorder.push(b"x");
    let stray = recorder.close_with(|session, bytes| {
        let mut changed = bytes.to_vec();
        changed[150] ^= 1;
        session.append(&changed)
    });
    let stray = stray.unwrap_err();
    assert!(
        stray.to_string().contains("refused to write a chunk"),
        "{stray}"
    );
    let manifest = recorder.session().manifest(1, 1, "x");
    let signed = SignedManifest::sign(&manifest, &recorder.minted.head, &recorder.minted.key);
    assert!(signed.is_ok());
    let early = recorder.seal(1).err().unwrap();
    assert!(early.to_string().contains("still open"), "{early}");
}

#[test]
fn an_unsealed_session_is_not_packed() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let recorder = Recorder::start(&store, Minted::new(1)).unwrap();
    let error = store
        .pack(recorder.id(), Vec::new(), &mut |_, _| {})
        .unwrap_err();
    assert!(
        error.to_string().contains("lucid session recover"),
        "{error}"
    );
}

#[test]
fn a_live_session_can_be_watched() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut recorder = Recorder::start(&store, Minted::new(1)).unwrap();
    assert_eq!(store.open_chunk(recorder.id()).unwrap(), None);
    recorder.record(b"x").unwrap();
    let watched = store.open_chunk(recorder.id()).unwrap().unwrap();
    assert_eq!(lucid_format::valid_prefix(&watched), (watched.len(), false));
}

#[test]
fn only_a_store_or_an_empty_folder_is_opened() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("photo.jpg"), b"x").unwrap();
    let before = picture(dir.path());
    let error = Store::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("photo.jpg"), "{error}");
    assert_eq!(picture(dir.path()), before);

    let newer = TempDir::new().unwrap();
    std::fs::write(newer.path().join("version"), b"lucid-store 2\n").unwrap();
    let error = Store::open_with(newer.path(), Options::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("'lucid-store 2'"), "{error}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    sealed(&open(&root), 1, 1, 50);
    let mut files = 0;
    for name in picture(dir.path()).keys() {
        let meta = dir.path().join(name).metadata().unwrap();
        let mode = meta.permissions().mode() & 0o777;
        let in_chunks = meta.is_file() && name.starts_with("store/chunks");
        let expected = match (meta.is_dir(), in_chunks) {
            (true, _) => 0o700,
            (false, true) => 0o400,
            (false, false) => 0o600,
        };
        assert_eq!(mode, expected, "{}", name.display());
        files += 1;
    }
    assert!(files > 8);
}

//! The power is cut before each single change on the disk, and at every byte of what was not durable.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use lucid_store::{Change, SessionState, Store, StoreError, Tap};
use rustix::io::Errno;

use crate::support::{
    Minted, Recorder, Tree, open, options, pack_and_verify, picture, quick_dir, restore, sealed,
};

/// The disk before one change.
struct Moment {
    tree: Tree,
    /// Bytes of each file that are durable.
    durable: HashMap<PathBuf, usize>,
    /// Records the writer was told are durable.
    acknowledged: u64,
    change: String,
}

#[derive(Default)]
struct Film {
    moments: Vec<Moment>,
    durable: HashMap<PathBuf, usize>,
    syncing: Option<PathBuf>,
}

/// Takes a picture before each change.
#[derive(Clone)]
struct Camera {
    root: PathBuf,
    film: Arc<Mutex<Film>>,
    acknowledged: Arc<AtomicU64>,
}

impl Camera {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            film: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    fn tap(&self) -> Tap {
        let camera = self.clone();
        Arc::new(move |change| {
            camera.shoot(change);
            Ok(())
        })
    }

    fn shoot(&self, change: &Change<'_>) {
        let name = |path: &Path| path.strip_prefix(&self.root).unwrap().to_path_buf();
        let tree = picture(&self.root);
        let mut film = self.film.lock().unwrap();
        // The change before this one is made by now.
        if let Some(synced) = film.syncing.take() {
            let len = tree[&synced].as_ref().unwrap().len();
            film.durable.insert(synced, len);
        }
        let durable = film.durable.clone();
        film.moments.push(Moment {
            tree,
            durable,
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            change: format!("{change:?}"),
        });
        match change {
            Change::Sync(path) => film.syncing = Some(name(path)),
            Change::Rename { from, to } if film.durable.contains_key(&name(from)) => {
                let len = film.durable.remove(&name(from)).unwrap();
                film.durable.insert(name(to), len);
            }
            Change::Rename { from, to } => {
                // A folder, with the files in it.
                let (from, to) = (name(from), name(to));
                let moved = film.durable.clone().into_iter();
                film.durable = moved
                    .map(|(path, len)| match path.strip_prefix(&from) {
                        Ok(inside) => (to.join(inside), len),
                        Err(_) => (path, len),
                    })
                    .collect();
            }
            _ => {}
        }
    }

    fn develop(self) -> Vec<Moment> {
        std::mem::take(&mut self.film.lock().unwrap().moments)
    }
}

impl Moment {
    /// What the disk may hold after a power cut at this moment: all of what was written, each prefix of what was not
    /// durable, and the same with zeros where bytes were on their way.
    fn after_power_cut(&self) -> Vec<Tree> {
        let mut trees = vec![self.tree.clone()];
        for (path, bytes) in &self.tree {
            let Some(bytes) = bytes else { continue };
            // Nobody reads the bytes of the reserve: only that they take up room counts.
            if path.ends_with("reserve") {
                continue;
            }
            let durable = self.durable.get(path).copied().unwrap_or(0);
            for len in durable..bytes.len() {
                let mut cut = self.tree.clone();
                cut.insert(path.clone(), Some(bytes[..len].to_vec()));
                trees.push(cut);
                let mut zeros = bytes.clone();
                zeros[len..].fill(0);
                let mut zeroed = self.tree.clone();
                zeroed.insert(path.clone(), Some(zeros));
                trees.push(zeroed);
            }
        }
        trees
    }
}

/// A short session with everything in it.
fn record_session(store: &Store, acknowledged: &AtomicU64, seed: u64) -> Result<(), StoreError> {
    let mut recorder = Recorder::start(store, Minted::new(seed))?;
    let said = |recorder: &Recorder| acknowledged.store(recorder.synced, Ordering::Relaxed);
    recorder.record(b"a")?;
    said(&recorder);
    recorder.push(b"b");
    recorder.append()?;
    recorder.record(b"c")?;
    said(&recorder);
    recorder.close()?;
    said(&recorder);
    recorder.record(b"d")?;
    said(&recorder);
    recorder.close()?;
    said(&recorder);
    recorder.record(b"e")?;
    said(&recorder);
    recorder.close()?;
    said(&recorder);
    recorder.seal(1).map(drop)
}

/// Recovers whatever is there; the session must verify and hold what was acknowledged. `false` when no session is there.
fn recovers(root: &Path, minted: &Minted, acknowledged: u64, at: &str) -> bool {
    let store = open(root);
    let report = store.fsck(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{at}: a crash is no damage: {report:#?}");
    match store.recover(minted.id) {
        Ok(found) => minted.seal_cut(found).unwrap(),
        Err(StoreError::Sealed { .. }) => {}
        Err(StoreError::NoSession { .. }) => {
            assert_eq!(acknowledged, 0, "{at}");
            return false;
        }
        Err(error) => panic!("{at}: {error}"),
    }
    let (proven, records) = pack_and_verify(&store, minted);
    assert!(
        records >= acknowledged,
        "{at}: {records} records are left of {acknowledged} acknowledged"
    );
    let summary = store.session(minted.id).unwrap().summary;
    assert_eq!(proven.complete, summary.state == SessionState::Closed);
    assert_eq!(proven.bytes, summary.bytes);
    let report = store.fsck(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{at}: {report:#?}");
    true
}

#[test]
fn a_power_cut_at_any_change_and_any_byte_loses_nothing_that_was_synced() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    let camera = Camera::new(&root);
    let store = Store::open_with(&root, options(Some(camera.tap()))).unwrap();
    record_session(&store, &camera.acknowledged, 3).unwrap();
    let moments = camera.develop();
    assert!(moments.len() > 60, "{} moments", moments.len());

    let minted = Minted::new(3);
    let replica = dir.path().join("replica");
    let (mut cuts, mut recovered) = (0, 0);
    for (nth, moment) in moments.iter().enumerate() {
        let mut trees = moment.after_power_cut();
        if let Some(before) = nth.checked_sub(1).map(|n| &moments[n])
            && before.change.starts_with("Rename")
        {
            // A file system without a journal may show both names.
            let mut both = before.tree.clone();
            both.extend(moment.tree.clone());
            trees.push(both);
        }
        for tree in trees {
            let at = format!("cut {cuts}, before change {nth}, {}", moment.change);
            restore(&replica, &tree);
            recovered += usize::from(recovers(&replica, &minted, moment.acknowledged, &at));
            cuts += 1;
        }
    }
    println!(
        "{cuts} cuts at {} changes, {recovered} with a session",
        moments.len()
    );
    assert!(cuts > 1000 && recovered > 1000);
}

#[test]
fn recovery_that_is_cut_itself_is_done_again() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    let camera = Camera::new(&root);
    let store = Store::open_with(&root, options(Some(camera.tap()))).unwrap();
    record_session(&store, &camera.acknowledged, 4).unwrap();

    let minted = Minted::new(4);
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let mut cuts = 0;
    for moment in camera.develop() {
        // Of each moment: all that was written, and half of what was not durable.
        let trees = moment.after_power_cut();
        for tree in [&trees[0], &trees[trees.len() / 2]] {
            restore(&first, tree);
            if open(&first).session(minted.id).is_err() {
                continue;
            }
            let again = Camera::new(&first);
            let store = Store::open_with(&first, options(Some(again.tap()))).unwrap();
            match store.recover(minted.id) {
                Ok(found) => minted.seal_cut(found).unwrap(),
                Err(error) => assert!(matches!(error, StoreError::Sealed { .. }), "{error}"),
            }
            for within in again.develop() {
                let at = format!("{}, then recovery before {}", moment.change, within.change);
                restore(&second, &within.tree);
                assert!(recovers(&second, &minted, moment.acknowledged, &at));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 500, "{cuts} cuts");
}

/// Fails the `nth` change and every one after it, as a disk that went away does; counts the changes and remembers which
/// file failed to sync.
fn failing(nth: u64, errno: Errno, root: &Path) -> (Tap, Arc<AtomicU64>, Arc<Mutex<Vec<String>>>) {
    let count = Arc::new(AtomicU64::new(0));
    let after = Arc::new(Mutex::new(Vec::new()));
    let (counter, seen, root) = (count.clone(), after.clone(), root.to_path_buf());
    let tap: Tap = Arc::new(move |change: &Change<'_>| {
        // The store itself is made while the disk is well.
        if !root.join("version").exists() {
            return Ok(());
        }
        let at = counter.fetch_add(1, Ordering::Relaxed);
        if at < nth {
            return Ok(());
        }
        if at > nth {
            seen.lock().unwrap().push(format!("{change:?}"));
        }
        Err(io::Error::from(errno))
    });
    (tap, count, after)
}

#[test]
fn a_fault_at_any_change_poisons_the_session_and_the_rest_recovers() {
    for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
        let mut kinds = BTreeMap::new();
        for nth in 0.. {
            let dir = quick_dir();
            let root = dir.path().join("store");
            drop(open(&root));
            let (tap, _, after) = failing(nth, errno, &root);
            let store = Store::open_with(&root, options(Some(tap))).unwrap();
            let acknowledged = AtomicU64::new(0);
            let Err(error) = record_session(&store, &acknowledged, 5) else {
                assert!(nth > 40, "only {nth} changes");
                break;
            };
            assert_eq!(error.is_full(), errno != Errno::IO, "{error}");
            let tried = after.lock().unwrap().clone();
            assert!(
                tried.iter().all(|change| change.starts_with("Remove")),
                "after the fault at {nth} the writer went on: {tried:?}"
            );
            *kinds
                .entry(error.to_string().split(' ').next().unwrap().to_owned())
                .or_insert(0) += 1;
            let at = format!("{errno:?} at change {nth}");
            recovers(&root, &Minted::new(5), acknowledged.into_inner(), &at);
        }
        println!("{errno:?}: {kinds:?}");
    }
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    let syncs = Arc::new(AtomicU64::new(0));
    let counter = syncs.clone();
    let tap: Tap = Arc::new(move |change: &Change<'_>| match change {
        Change::Sync(path) if path.ends_with("open.chunk") => {
            counter.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::from(Errno::IO))
        }
        _ => Ok(()),
    });
    let store = Store::open_with(&root, options(Some(tap))).unwrap();
    let mut recorder = Recorder::start(&store, Minted::new(6)).unwrap();
    recorder.push(b"x");
    recorder.append().unwrap();
    let first = recorder.sync().unwrap_err();
    assert_eq!(recorder.sync().unwrap_err(), first);
    assert_eq!(recorder.session().append(b"more").unwrap_err(), first);
    assert_eq!(recorder.close().unwrap_err(), first);
    assert_eq!(recorder.seal(1).err(), Some(first));
    assert_eq!(syncs.load(Ordering::Relaxed), 1);
}

#[test]
fn a_prune_that_is_cut_is_ended_by_the_next() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    drop(open(&root));
    let camera = Camera::new(&root);
    let store = Store::open_with(&root, options(Some(camera.tap()))).unwrap();
    let gone = sealed(&open(&root), 10, 3, 100);
    let stays = sealed(&open(&root), 11, 2, 900);
    let policy = lucid_store::PrunePolicy {
        now_us: 1_000,
        max_age_us: Some(500),
        max_bytes: None,
    };
    store.prune(&policy, false).unwrap();
    let moments = camera.develop();
    assert!(moments.len() > 10);
    let replica = dir.path().join("replica");
    for moment in moments {
        restore(&replica, &moment.tree);
        let store = open(&replica);
        let report = store.fsck(&mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "before {}: {report:#?}", moment.change);
        store.prune(&policy, false).unwrap();
        let missing = store.session(gone.id).unwrap_err();
        assert!(matches!(missing, StoreError::NoSession { .. }), "{missing}");
        assert_eq!(pack_and_verify(&store, &stays).1, 4);
        let report = store.fsck(&mut |_, _| {}).unwrap();
        assert_eq!(report.findings, [], "before {}", moment.change);
    }
}

#[test]
fn shredding_that_is_cut_is_ended_by_the_next() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    let minted = sealed(&open(&root), 12, 1, 100);
    let camera = Camera::new(&root);
    let store = Store::open_with(&root, options(Some(camera.tap()))).unwrap();
    store.shred(minted.id, 777).unwrap();
    let moments = camera.develop();
    assert!(moments.len() > 6);
    let replica = dir.path().join("replica");
    for moment in moments {
        restore(&replica, &moment.tree);
        let store = open(&replica);
        pack_and_verify(&store, &minted);
        store.shred(minted.id, 777).unwrap();
        pack_and_verify(&store, &minted);
        let session = store.session(minted.id).unwrap();
        assert_eq!(session.summary.shredded_us, Some(777));
        assert_eq!(session.wraps, None);
    }
}

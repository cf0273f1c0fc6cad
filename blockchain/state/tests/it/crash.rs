//! What is left on disk after a crash, at every kind of instant.

use std::fs;
use std::path::{Path, PathBuf};

use fjall::PersistMode;
use lucid_state::{MemoryState, StateReader};

use crate::blocks::{Seeded, address, block, commit, database, open, seed};
use crate::model::compare;

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

fn journals(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jnl"))
        .collect();
    found.sort();
    found
}

/// The journal's end, without the space that fjall reserves beyond what it has written.
fn written(journal: &Path) -> u64 {
    let bytes = fs::read(journal).expect("a journal");
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    u64::try_from(end).expect("small")
}

#[test]
fn a_journal_cut_anywhere_leaves_a_whole_block() {
    let mut random = Seeded(seed());
    let seed = random.next();
    let dir = tempfile::tempdir().expect("a folder");
    let live = dir.path().join("live");
    let db = database(&live);
    let state = open(&db, 3);
    let mut models = vec![MemoryState::default()];
    let mut ends = vec![0];
    for height in 0..8 {
        let changes = block(seed, height);
        let mut model = models.last().expect("one").clone();
        model.apply(&changes).expect("applies");
        models.push(model);
        commit(&db, &state, height, &changes);
        db.persist(PersistMode::SyncAll).expect("is persisted");
        ends.push(journals(&live).iter().map(|journal| written(journal)).sum());
    }
    let mut cuts: Vec<u64> = ends
        .iter()
        .flat_map(|end| [end.saturating_sub(1), *end, end + 1])
        .collect();
    let last = *ends.last().expect("one");
    cuts.extend((0..24).map(|_| random.below(last)));
    for (i, cut) in cuts.into_iter().enumerate() {
        let path = dir.path().join(format!("cut-{i}"));
        copy(&live, &path);
        let all = journals(&path);
        assert_eq!(all.len(), 1, "few enough blocks for one journal");
        let whole = fs::metadata(&all[0]).expect("a journal").len();
        fs::OpenOptions::new()
            .write(true)
            .open(&all[0])
            .expect("opens")
            .set_len(cut.min(whole))
            .expect("is cut");
        let db = database(&path);
        let state = open(&db, 3);
        let blocks = state.height().map_or(0, |height| height + 1);
        let full = ends.iter().filter(|end| **end <= cut).count();
        assert!(
            u64::try_from(full).expect("small") <= blocks + 1,
            "cut at {cut} of {last}: {full} ends, {blocks} blocks"
        );
        let model = &models[usize::try_from(blocks).expect("small")];
        assert_eq!(state.root(), model.root(), "cut at {cut}: {blocks} blocks");
        if blocks > 0 {
            compare(&state.latest().expect("a state"), model);
            // And it goes on from there.
            let next = block(seed, blocks);
            let mut model = model.clone();
            model.apply(&next).expect("applies");
            assert_eq!(commit(&db, &state, blocks, &next), model.root());
            compare(
                &state.at(blocks - 1).expect("is kept"),
                &models[usize::try_from(blocks).expect("small")],
            );
        }
        drop((state, db));
        fs::remove_dir_all(path).expect("is removed");
    }
}

#[test]
fn a_batch_that_is_dropped_before_commit_never_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut model = MemoryState::default();
    for height in 0..6 {
        // A new process each time.
        let db = database(dir.path());
        let state = open(&db, 3);
        assert_eq!(state.root(), model.root());
        assert_eq!(state.height(), (height > 0).then(|| height - 1));
        let lost = state.prepare(&block(99, height)).expect("prepares");
        let mut batch = db.batch();
        state
            .commit(height, &lost, &mut batch)
            .expect("goes into the batch");
        drop(batch);
        let changes = block(7, height);
        model.apply(&changes).expect("applies");
        commit(&db, &state, height, &changes);
        assert_eq!(
            state.account(address(1)).expect("reads"),
            model.account(address(1)).expect("reads")
        );
    }
}

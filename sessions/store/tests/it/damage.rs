//! fsck finds every flipped, truncated, missing and extra file, and writes nothing.

use std::{fs, path::Path};

use lucid_store::{Finding, FindingKind, Severity, Store, StoreError};
use tempfile::TempDir;

use crate::support::{Minted, Recorder, Tree, cut, open, picture, quick_dir, restore, sealed};

/// A store with every kind of file in it, at rest.
fn full_store(root: &Path) -> [Minted; 3] {
    let store = open(root);
    let plain = sealed(&store, 1, 2, 50);
    let cut = cut(&store, 2);
    let shredded = sealed(&store, 3, 1, 60);
    store.hold(plain.id, "court, case 7").unwrap();
    store.shred(shredded.id, 70).unwrap();
    assert_eq!(store.fsck(&mut |_, _| {}).unwrap().findings, []);
    [plain, cut, shredded]
}

fn fsck(root: &Path) -> Vec<Finding> {
    let before = picture(root);
    let report = open(root).fsck(&mut |_, _| {}).unwrap();
    assert_eq!(picture(root), before, "fsck writes nothing");
    report.findings
}

fn has_error_at(findings: &[Finding], path: &Path) -> bool {
    findings
        .iter()
        .any(|f| f.severity == Severity::Error && f.path == path)
}

/// Files with content that fsck answers for; a changed version file is refused when the store is opened.
fn files(tree: &Tree) -> impl Iterator<Item = (&Path, &Vec<u8>)> {
    tree.iter().filter_map(|(path, bytes)| {
        let bytes = bytes.as_ref().filter(|b| !b.is_empty())?;
        (path != Path::new("version")).then_some((path.as_path(), bytes))
    })
}

#[test]
fn every_flipped_byte_is_found_where_it_is() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    full_store(&root);
    let tree = picture(&root);
    let mut flips = 0;
    for (path, bytes) in files(&tree) {
        // Every byte of what is short, and a spread of what is long.
        let step = if bytes.len() < 400 {
            1
        } else {
            bytes.len() / 200
        };
        for at in (0..bytes.len()).step_by(step) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            rewrite(&root.join(path), &changed);
            let findings = fsck(&root);
            assert!(
                has_error_at(&findings, path),
                "byte {at} of {}: {findings:#?}",
                path.display()
            );
            flips += 1;
        }
        rewrite(&root.join(path), bytes);
    }
    assert_eq!(fsck(&root), []);
    println!("{flips} flips");
}

/// Writes a file anew, also one that nobody may write.
fn rewrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_truncated_or_extended_file_is_found_where_it_is() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    full_store(&root);
    let tree = picture(&root);
    for (path, bytes) in files(&tree) {
        let longer = [&bytes[..], b"x"].concat();
        let halves = [&bytes[..0], &bytes[..1], &bytes[..bytes.len() / 2]];
        let cuts = halves
            .into_iter()
            .chain([&bytes[..bytes.len() - 1], &longer]);
        for changed in cuts {
            rewrite(&root.join(path), changed);
            let findings = fsck(&root);
            assert!(
                has_error_at(&findings, path),
                "{} of {} bytes of {}: {findings:#?}",
                changed.len(),
                bytes.len(),
                path.display()
            );
            let is_cut_chunk = path.starts_with("chunks") && changed.len() < bytes.len();
            let kind = findings.iter().find(|f| f.path == path).map(|f| f.kind);
            assert!(
                !is_cut_chunk || kind == Some(FindingKind::Truncated),
                "{kind:?}"
            );
        }
        rewrite(&root.join(path), bytes);
    }
    assert_eq!(fsck(&root), []);
}

#[test]
fn every_missing_file_is_found() {
    let dir = quick_dir();
    let root = dir.path().join("store");
    let [plain, ..] = full_store(&root);
    let tree = picture(&root);
    for (path, bytes) in &tree {
        let Some(bytes) = bytes else { continue };
        let name = path.file_name().unwrap().to_str().unwrap();
        // The first is made anew when the store is opened; the last leaves no trace of itself.
        if ["version", "maintenance.lock", "hold"].contains(&name) {
            continue;
        }
        fs::remove_file(root.join(path)).unwrap();
        let findings = fsck(&root);
        if name == "manifest" {
            // As after a crash just before it was written, so it is no error; recovery seals the session again.
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].kind, FindingKind::Unsealed);
        } else if name == "shredded" {
            assert!(findings.iter().any(|f| f.kind == FindingKind::Missing));
        } else {
            let found = findings.iter().find(|f| f.path == *path).unwrap();
            assert_eq!(found.severity, Severity::Error);
            assert_eq!(found.kind, FindingKind::Missing, "{found:?}");
        }
        fs::write(root.join(path), bytes).unwrap();
    }
    assert_eq!(fsck(&root), []);

    fs::remove_dir_all(root.join(format!("sessions/{}", plain.id))).unwrap();
    let findings = fsck(&root);
    assert_eq!(findings.len(), 2);
    for found in findings {
        assert_eq!(
            (found.severity, found.kind),
            (Severity::Error, FindingKind::Extra)
        );
        assert!(found.why.contains(&plain.id.to_string()), "{}", found.why);
    }
}

#[test]
fn every_extra_file_is_found() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    let [plain, ..] = full_store(&root);
    let session = format!("sessions/{}", plain.id);
    let hash = lucid_format::Hash::of(b"not a chunk").to_hex();
    let orphan = format!("chunks/{}/{}", &hash[..2], &hash[2..]);
    let tree = picture(&root);
    for path in [
        "notes.txt".to_owned(),
        "sessions/notes.txt".to_owned(),
        "sessions/UPPERCASE".to_owned(),
        "chunks/zz".to_owned(),
        "chunks/ab/short".to_owned(),
        format!("{session}/core"),
        format!("{session}/reserve"),
        format!("{session}/open.chunk"),
        orphan,
    ] {
        fs::create_dir_all(root.join(&path).parent().unwrap()).unwrap();
        fs::write(root.join(&path), b"not a chunk").unwrap();
        let findings = fsck(&root);
        assert_eq!(findings.len(), 1, "{path}: {findings:#?}");
        assert_eq!(findings[0].path, Path::new(&path));
        assert_eq!(
            (findings[0].severity, findings[0].kind),
            (Severity::Error, FindingKind::Extra)
        );
        restore(&root, &tree);
    }
}

#[test]
fn what_interrupted_processes_leave_is_told_apart_from_damage() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    let [plain, ..] = full_store(&root);
    let store = open(&root);
    let mut live = Recorder::start(&store, Minted::new(9)).unwrap();
    live.record(b"x").unwrap();
    live.close().unwrap();
    live.record(b"y").unwrap();
    assert_eq!(store.fsck(&mut |_, _| {}).unwrap().findings, []);

    fs::write(
        root.join(format!("sessions/{}/.tmp-hold-1-1", plain.id)),
        b"x",
    )
    .unwrap();
    fs::write(
        root.join(format!("sessions/{}/.tmp-hold-1-1", live.id())),
        b"x",
    )
    .unwrap();
    fs::create_dir(root.join(format!("sessions/.tmp-new-{}-1-1", plain.id))).unwrap();
    let findings = fsck(&root);
    assert_eq!(findings.len(), 3, "{findings:#?}");
    for found in &findings {
        assert_eq!(found.kind, FindingKind::Unfinished);
        assert_eq!(found.severity, Severity::Harmless);
    }
    let policy = lucid_store::PrunePolicy::default();
    store.prune(&policy, false).unwrap();
    // What a live session has, and what is new, is left alone.
    assert_eq!(fsck(&root).len(), 2);
}

#[test]
fn a_chunk_of_another_session_is_found_in_a_session_it_was_spliced_into() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    let [plain, cut, _] = full_store(&root);
    let path = |m: &Minted, name: &str| root.join(format!("sessions/{}/{name}", m.id));
    fs::copy(path(&cut, "log"), path(&plain, "log")).unwrap();
    let findings = fsck(&root);
    let log = path(&plain, "log");
    assert!(has_error_at(&findings, log.strip_prefix(&root).unwrap()));
    let error = open(&root).session(plain.id).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_chunk_is_never_handed_out() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    let [plain, ..] = full_store(&root);
    let store = open(&root);
    let hash = store.session(plain.id).unwrap().chunks[1];
    let hex = hash.to_hex();
    let path = root.join("chunks").join(&hex[..2]).join(&hex[2..]);
    let mut bytes = store.chunk(hash).unwrap();
    bytes[150] ^= 1;
    rewrite(&path, &bytes);
    let pack = |store: &Store| store.pack(plain.id, Vec::new(), &mut |_, _| {});
    for error in [store.chunk(hash).unwrap_err(), pack(&store).unwrap_err()] {
        assert!(matches!(error, StoreError::ChunkDamaged { .. }), "{error}");
    }
    let huge = fs::File::create(root.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::rename(root.join("huge"), &path).unwrap();
    let error = store.chunk(hash).unwrap_err();
    assert!(matches!(error, StoreError::ChunkDamaged { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    for error in [store.chunk(hash).unwrap_err(), pack(&store).unwrap_err()] {
        assert!(matches!(error, StoreError::ChunkMissing { .. }), "{error}");
    }
}

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, SystemTime};

use alloy_primitives::{B256, hex};
use lucid_custody::CustodyError;
use lucid_custody::contract::Commitment;
use lucid_custody::files::Files;
use lucid_custody::outline::{self, GROUP};
use tempfile::TempDir;

fn put(files: &Files, bytes: &[u8]) -> B256 {
    let commitment = Commitment::of(bytes).unwrap();
    let mut incoming = files.receive(commitment).unwrap().unwrap();
    for piece in bytes.chunks(10_000) {
        incoming.write(piece).unwrap();
    }
    incoming.keep().unwrap();
    commitment.hash
}

fn open() -> (TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path(), 1 << 20).unwrap();
    (dir, files)
}

#[test]
fn a_chunk_is_kept_under_its_hash_with_its_outline_and_found_again() {
    let (dir, files) = open();
    let (large, small) = (vec![7; 3 * GROUP + 5], vec![8; GROUP]);
    let hashes = [put(&files, &large), put(&files, &small)];
    drop(files);
    let files = Files::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(files.quota().used, (large.len() + small.len()) as u64);
    for (hash, bytes) in hashes.iter().zip([&large, &small]) {
        assert_eq!(files.bytes(*hash).unwrap().as_ref(), Some(bytes));
        assert_eq!(files.outline(*hash).unwrap(), Some(outline::make(bytes)));
    }
    // The outline follows from the chunk.
    let name = hex::encode(hashes[0]);
    fs::remove_file(
        dir.path()
            .join("chunks")
            .join(&name[..2])
            .join(format!("{}.b3", &name[2..])),
    )
    .unwrap();
    assert_eq!(
        files.outline(hashes[0]).unwrap(),
        Some(outline::make(&large))
    );
    assert_eq!(files.outline(B256::ZERO).unwrap(), None);
    let list: HashSet<B256> = files.list().unwrap().into_iter().collect();
    assert_eq!(list, HashSet::from(hashes));
}

#[test]
fn other_bytes_are_refused_and_leave_nothing() {
    let (dir, files) = open();
    let bytes = vec![1; 5_000];
    let commitment = Commitment::of(&bytes).unwrap();
    let refuse = |commitment: Commitment, bytes: &[u8], what: &str| {
        let mut incoming = files.receive(commitment).unwrap().unwrap();
        let done = incoming.write(bytes).and_then(|()| incoming.keep());
        let Err(CustodyError::Mismatch { what: found, .. }) = done else {
            panic!("{what}: {done:?}");
        };
        assert_eq!(found, what);
    };
    refuse(commitment, &bytes[1..], "the size");
    refuse(commitment, &[&bytes[..], &[1]].concat(), "the size");
    refuse(commitment, &vec![2; 5_000], "the hash");
    let forged = Commitment {
        storage_root: B256::ZERO,
        ..commitment
    };
    refuse(forged, &bytes, "the storage root");
    assert_eq!(files.quota().used, 0);
    assert!(files.list().unwrap().is_empty());
    assert_eq!(
        fs::read_dir(dir.path().join("incoming")).unwrap().count(),
        0
    );
}

#[test]
fn the_quota_counts_what_is_coming_and_gives_back_what_went() {
    let (dir, files) = open();
    let large = Commitment {
        size: 1 << 20,
        ..Commitment::of(b"x").unwrap()
    };
    let coming = files.receive(large).unwrap().unwrap();
    assert!(
        files
            .receive(Commitment::of(b"y").unwrap())
            .unwrap()
            .is_none()
    );
    drop(coming);
    let hash = put(&files, &[3; 100]);
    assert_eq!(put(&files, &[3; 100]), hash, "again");
    assert_eq!(files.quota().used, 100);
    files.remove(hash).unwrap();
    files.remove(hash).unwrap();
    assert_eq!(files.quota().used, 0);
    // A crash while a chunk is being received.
    fs::write(dir.path().join("incoming/9"), b"half").unwrap();
    let files = Files::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(files.quota().used, 0);
    assert_eq!(
        fs::read_dir(dir.path().join("incoming")).unwrap().count(),
        0
    );
}

#[test]
fn damage_is_found_and_removed() {
    let (dir, files) = open();
    let (sound, damaged) = (put(&files, &[1; 2_000]), put(&files, &[2; 2_000]));
    let name = hex::encode(damaged);
    let path = dir.path().join("chunks").join(&name[..2]).join(&name[2..]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_500] ^= 1;
    fs::write(&path, bytes).unwrap();
    let findings = files.fsck().unwrap();
    assert_eq!((findings.sound, findings.damaged), (1, vec![damaged]));
    assert_eq!(files.list().unwrap(), [sound]);
}

#[test]
fn a_sweep_leaves_what_is_wanted_and_what_has_just_come() {
    let (_dir, files) = open();
    let (wanted, other) = (put(&files, &[1; 10]), put(&files, &[2; 10]));
    let keep = HashSet::from([wanted]);
    let before = SystemTime::now() - Duration::from_secs(60);
    assert_eq!(files.sweep(&keep, before).unwrap(), 0);
    assert_eq!(
        files
            .sweep(&keep, SystemTime::now() + Duration::from_secs(60))
            .unwrap(),
        1
    );
    assert_eq!(files.list().unwrap(), [wanted]);
    assert_eq!(files.len(other).unwrap(), None);
}

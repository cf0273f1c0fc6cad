//! A ledger that begins with a snapshot.

use std::fs;

use lucid_chain_types::Height;
use lucid_ledger::{LedgerError, SnapshotManifest, Snapshots, VerifiedSnapshot};
use lucid_light::TrustedGenesis;
use proptest::prelude::*;

use crate::support::{Net, assert_same};

/// Takes a snapshot of the chain: its manifest and its pieces.
pub(crate) fn take(net: &Net) -> (SnapshotManifest, Vec<Vec<u8>>) {
    let mut making = net.ledger.snapshot().unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = making.next().unwrap() {
        pieces.push(piece);
    }
    let manifest = making.finish().unwrap();
    assert_eq!(manifest.pieces(), pieces.len());
    (manifest, pieces)
}

fn refuse(manifest: &[u8], genesis: &TrustedGenesis) -> String {
    let verified: Result<VerifiedSnapshot, LedgerError> =
        SnapshotManifest::decode(manifest).and_then(|manifest| manifest.verify(genesis));
    match verified {
        Ok(_) => panic!("it is taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_ledger_that_began_with_a_snapshot_goes_on_as_the_others_and_proves_finality() {
    let mut net = Net::new(4);
    net.pay();
    net.seal();
    net.seal();
    let caught = net.shut_out();
    // Once where the snapshot's own block changes the set, once after that.
    for more in 0..2 {
        for _ in 0..more {
            net.pay();
        }
        let (manifest, pieces) = take(&net);
        let height = net.ledger.head().height;
        assert_eq!(manifest.height(), height);
        let snapshot = SnapshotManifest::decode(&manifest.encode())
            .unwrap()
            .verify(&net.trusted())
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ledger = net.open(folder.path());
        ledger
            .import(&snapshot, |index| Ok(pieces[index].clone()))
            .unwrap();
        assert_eq!(ledger.earliest(), height);
        assert_same(&mut net, &ledger, height.0);

        // What was before is not here, but for what proves the changes of the set.
        for below in (1..height.0).map(Height) {
            assert!(ledger.block(below).unwrap().is_none());
            assert!(ledger.receipts(below).unwrap().is_none());
            assert!(ledger.certified(below).unwrap().is_none());
        }
        assert_eq!(
            ledger.set_changes(ledger.head().height).unwrap(),
            net.ledger.set_changes(ledger.head().height).unwrap()
        );
        assert!(ledger.head().validators.get(caught).is_none());

        // The same after a restart, and a second snapshot finds a chain.
        let head = ledger.head().id;
        drop(ledger);
        let ledger = net.open(folder.path());
        assert_eq!((ledger.head().id, ledger.earliest()), (head, height));
        let again = ledger.import(&snapshot, |index| Ok(pieces[index].clone()));
        assert!(matches!(again, Err(LedgerError::NotEmpty(_))), "{again:?}");
        // It hands on what it has.
        assert_eq!(ledger.snapshot().unwrap().height(), ledger.head().height);
    }
}

#[test]
fn two_nodes_make_the_same_pieces_whatever_votes_they_have() {
    let mut net = Net::new(4);
    net.pay();
    let folder = tempfile::tempdir().unwrap();
    let other = net.open(folder.path());
    let block = net.ledger.block(Height(1)).unwrap().unwrap();
    let executed = other.validate(&block).unwrap();
    let mut fewer = net.ledger.certificate(Height(1)).unwrap().unwrap();
    fewer.signatures.pop();
    fewer.signers = lucid_chain_types::SignerBitmap::new(4, 0..3);
    other.commit(&block, executed, &fewer).unwrap();
    let (ours, pieces) = take(&net);
    let mut making = other.snapshot().unwrap();
    let mut theirs = Vec::new();
    while let Some(piece) = making.next().unwrap() {
        theirs.push(piece);
    }
    let manifest = making.finish().unwrap();
    assert_eq!(theirs, pieces);
    assert_eq!(manifest.contents(), ours.contents());
    assert_ne!(manifest, ours);
}

#[test]
fn a_snapshot_with_anything_changed_is_refused_and_the_ledger_stays_at_genesis() {
    let mut net = Net::new(1);
    net.pay();
    net.pay();
    let genesis = net.trusted();
    let (manifest, pieces) = take(&net);
    let bytes = manifest.encode();
    assert_eq!(SnapshotManifest::decode(&bytes).unwrap(), manifest);

    let folder = tempfile::tempdir().unwrap();
    let ledger = net.open(folder.path());
    let root = ledger.state().root();
    let at_genesis = || {
        assert_eq!(ledger.head().height, Height::GENESIS);
        assert_eq!(ledger.earliest(), Height(1));
        assert_eq!(ledger.state().root(), root);
        assert_eq!(ledger.state().height(), Some(0));
    };
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        // Hashes of pieces and the counts of the state's manifest are believed until pieces come.
        let Ok(snapshot) = SnapshotManifest::decode(&flipped).and_then(|it| it.verify(&genesis))
        else {
            continue;
        };
        let imported = ledger.import(&snapshot, |index| Ok(pieces[index].clone()));
        assert!(imported.is_err(), "byte {at}");
        at_genesis();
    }
    for cut in 0..bytes.len() {
        refuse(&bytes[..cut], &genesis);
    }
    refuse(&[&bytes[..], &[0]].concat(), &genesis);
    // Of another chain.
    let other = Net::with(1, 2, Default::default());
    assert!(refuse(&bytes, &other.trusted()).contains("genesis"));

    let snapshot = manifest.verify(&genesis).unwrap();
    for (index, piece) in pieces.iter().enumerate() {
        snapshot.check(index, piece).unwrap();
        for at in (0..piece.len()).step_by(97) {
            let mut flipped = piece.clone();
            flipped[at] ^= 0x40;
            assert!(snapshot.check(index, &flipped).is_err());
        }
        assert!(snapshot.check(index, &[]).is_err());
        assert!(snapshot.check(index + 1, piece).is_err());
    }
    assert!(snapshot.check(usize::MAX, &pieces[0]).is_err());
    // A piece that does not come, at every place.
    for missing in 0..pieces.len() {
        let outcome = ledger.import(&snapshot, |index| {
            if index == missing {
                return Err(LedgerError::Snapshot("nobody has it".into()));
            }
            Ok(pieces[index].clone())
        });
        assert!(outcome.unwrap_err().to_string().contains("nobody has it"));
        at_genesis();
    }
    // After all that it still goes in.
    ledger
        .import(&snapshot, |index| Ok(pieces[index].clone()))
        .unwrap();
    assert_same(&mut net, &ledger, 2);
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_a_manifest(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SnapshotManifest::decode(&bytes).is_err());
        let named = [&b"LUCIDSNP\x01"[..], &bytes].concat();
        prop_assert!(SnapshotManifest::decode(&named).is_err());
    }
}

#[test]
fn the_newest_two_snapshots_are_kept_and_half_a_one_goes() {
    let mut net = Net::new(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshots");
    let snapshots = Snapshots::open(&path).unwrap();
    assert!(net.ledger.snapshot().is_err());
    for height in 1..=3 {
        net.pay();
        let made = snapshots.make(net.ledger.snapshot().unwrap()).unwrap();
        assert_eq!(made, Height(height));
    }
    assert_eq!(snapshots.heights().unwrap(), [Height(3), Height(2)]);
    let bytes = snapshots.manifest(Height(3)).unwrap().unwrap();
    let manifest = SnapshotManifest::decode(&bytes).unwrap();
    assert!(snapshots.manifest(Height(1)).unwrap().is_none());
    assert!(snapshots.piece(Height(3), u32::MAX).unwrap().is_none());

    // As after a crash.
    fs::create_dir(path.join("making")).unwrap();
    fs::write(path.join("making/0"), b"half").unwrap();
    let snapshots = Snapshots::open(&path).unwrap();
    assert!(!path.join("making").exists());
    assert_eq!(snapshots.heights().unwrap(), [Height(3), Height(2)]);

    // Fetched piece by piece, with a restart and a torn piece in between.
    let elsewhere = folder.path().join("elsewhere");
    let fetching = Snapshots::open(&elsewhere).unwrap();
    let genesis = net.trusted();
    assert!(fetching.incoming(&genesis).unwrap().is_none());
    let snapshot = manifest.verify(&genesis).unwrap();
    let count = snapshot.manifest().pieces();
    let incoming = fetching.begin_incoming(snapshot).unwrap();
    assert_eq!(incoming.missing().unwrap().len(), count);
    let piece = |index: usize| {
        let index = u32::try_from(index).unwrap();
        snapshots.piece(Height(3), index).unwrap().unwrap()
    };
    assert!(incoming.put(1, &piece(0)).is_err());
    incoming.put(0, &piece(0)).unwrap();
    incoming.put(1, &piece(1)).unwrap();
    fs::write(elsewhere.join("incoming/1"), &piece(1)[..5]).unwrap();
    drop(incoming);
    let fetching = Snapshots::open(&elsewhere).unwrap();
    let incoming = fetching.incoming(&genesis).unwrap().unwrap();
    let missing = incoming.missing().unwrap();
    assert_eq!(missing, (1..count).collect::<Vec<_>>());
    for index in missing {
        incoming.put(index, &piece(index)).unwrap();
    }
    let target = tempfile::tempdir().unwrap();
    let ledger = net.open(target.path());
    ledger
        .import(incoming.snapshot(), |index| {
            Ok(incoming.piece(index)?.unwrap())
        })
        .unwrap();
    fetching.keep(&incoming).unwrap();
    assert_eq!(fetching.heights().unwrap(), [Height(3)]);
    assert_eq!(fetching.manifest(Height(3)).unwrap().unwrap(), bytes);
    assert_same(&mut net, &ledger, 3);
}

use alloy_primitives::{B256, Bytes, U256, keccak256};
use fjall::Database;
use lucid_state::{
    Account, MAX_PIECE_BYTES, Manifest, MemoryState, State, StateChanges, StateError, StateReader,
};
use proptest::prelude::*;

use crate::blocks::{address, block, changes, commit, database, open};
use crate::model::compare;

struct Taken {
    manifest: Manifest,
    pieces: Vec<Vec<u8>>,
}

fn take(state: &State) -> Taken {
    let mut snapshot = state.snapshot().expect("a snapshot");
    let mut pieces = Vec::new();
    while let Some(piece) = snapshot.next().expect("a piece") {
        assert!(piece.len() <= MAX_PIECE_BYTES);
        pieces.push(piece);
    }
    Taken {
        manifest: snapshot.finish().expect("a manifest"),
        pieces,
    }
}

fn restore(state: &State, taken: &Taken) -> Result<(), StateError> {
    let (height, root) = (taken.manifest.height, taken.manifest.root);
    let mut restore = state.restore(taken.manifest.clone(), height, root)?;
    for (index, piece) in taken.pieces.iter().enumerate().rev() {
        restore.feed(index, piece)?;
        assert_eq!(state.height(), None, "nothing is visible yet");
        assert_eq!(restore.missing().count(), index);
    }
    restore.finish()
}

fn assert_empty(db: &Database, state: &State) {
    assert_eq!(state.height(), None);
    for name in [
        "state-flat",
        "state-nodes",
        "state-code",
        "state-history",
        "state-meta",
    ] {
        let keyspace = db
            .keyspace(name, fjall::KeyspaceCreateOptions::default)
            .expect("opens");
        assert!(keyspace.is_empty().expect("reads"), "{name} is not empty");
    }
}

/// Some code, and enough slots of one contract for several pieces.
fn large() -> StateChanges {
    let mut changes = StateChanges::default();
    for i in 0..50u8 {
        let code = Bytes::from(vec![i; 1000 * usize::from(i % 7)]);
        let code_hash = keccak256(&code);
        changes.code.insert(code_hash, code);
        changes.accounts.insert(
            address(i),
            Some(Account {
                nonce: 1,
                balance: U256::from(i),
                code_hash,
            }),
        );
    }
    for i in 0..40_000u64 {
        let value = keccak256(i.to_be_bytes());
        changes
            .storage
            .entry(address(3))
            .or_default()
            .insert(U256::from(i), U256::from_be_bytes(value.0));
    }
    changes
}

#[test]
fn a_snapshot_of_several_pieces_is_taken_while_blocks_go_on_and_restored() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = database(&dir.path().join("a"));
    let state = open(&db, 4);
    commit(&db, &state, 9, &large());
    let mut snapshot = state.snapshot().expect("a snapshot");
    let mut pieces = Vec::new();
    let mut height = 9;
    while let Some(piece) = snapshot.next().expect("a piece") {
        pieces.push(piece);
        height += 1;
        commit(&db, &state, height, &block(1, height));
    }
    let taken = Taken {
        manifest: snapshot.finish().expect("a manifest"),
        pieces,
    };
    assert!(taken.pieces.len() > 3);
    assert_eq!(
        (
            taken.manifest.height,
            taken.manifest.accounts,
            taken.manifest.slots
        ),
        (9, 50, 40_000)
    );
    assert_eq!(taken.manifest.codes, 42);
    assert_eq!(
        Manifest::decode(&taken.manifest.encode()).expect("decodes"),
        taken.manifest
    );

    let other_db = database(&dir.path().join("b"));
    let other = open(&other_db, 4);
    restore(&other, &taken).expect("restores");
    assert_eq!(other.root(), taken.manifest.root);
    assert_eq!((other.height(), other.oldest()), (Some(9), Some(9)));
    let mut model = MemoryState::default();
    model.apply(&large()).expect("applies");
    compare(&other.latest().expect("a state"), &model);
    for next in 10..=height {
        commit(&other_db, &other, next, &block(1, next));
    }
    assert_eq!(other.root(), state.root());
    // What was rebuilt is what was grown: a snapshot of either is the same.
    assert_eq!(take(&other).manifest, take(&state).manifest);
    drop((other, other_db));
    let other = open(&database(&dir.path().join("b")), 4);
    assert_eq!(other.root(), state.root());
    let code = vec![5; 5000];
    assert_eq!(other.code(keccak256(&code)).expect("is there"), code);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_state_comes_back(blocks in prop::collection::vec(changes(), 1..6)) {
        let dir = tempfile::tempdir().expect("a folder");
        let db = database(&dir.path().join("a"));
        let state = open(&db, 2);
        let mut model = MemoryState::default();
        for (height, changes) in (0..).zip(&blocks) {
            commit(&db, &state, height, changes);
            model.apply(changes).expect("applies");
        }
        let taken = take(&state);
        let other_db = database(&dir.path().join("b"));
        let other = open(&other_db, 2);
        restore(&other, &taken).expect("restores");
        compare(&other.latest().expect("a state"), &model);
        prop_assert!(matches!(restore(&other, &taken), Err(StateError::NotEmpty)));
        other.clear().expect("clears");
        assert_empty(&other_db, &other);
        restore(&other, &taken).expect("restores again");
        prop_assert_eq!(other.root(), model.root());
    }

    #[test]
    fn no_bytes_make_a_decoder_fail_in_another_way(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
        }
    }
}

fn small(db: &Database) -> Taken {
    let state = open(db, 2);
    let mut changes = block(5, 0);
    let code = Bytes::from_static(b"code");
    let code_hash = keccak256(&code);
    changes.code.insert(code_hash, code);
    changes.accounts.insert(
        address(4),
        Some(Account {
            nonce: 1,
            balance: U256::MAX,
            code_hash,
        }),
    );
    commit(db, &state, 0, &changes);
    take(&state)
}

#[test]
fn every_flipped_byte_of_a_piece_or_manifest_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = small(&database(&dir.path().join("a")));
    let (height, root) = (taken.manifest.height, taken.manifest.root);
    let db = database(&dir.path().join("b"));
    let state = open(&db, 2);

    let mut restoring = state
        .restore(taken.manifest.clone(), height, root)
        .expect("begins");
    for at in 0..taken.pieces[0].len() {
        let mut piece = taken.pieces[0].clone();
        piece[at] ^= 1 << (at % 8);
        let error = restoring.feed(0, &piece).expect_err("is refused");
        assert!(
            matches!(error, StateError::PieceRefused { index: 0, .. }),
            "{error}"
        );
    }
    let error = restoring
        .feed(0, &taken.pieces[0][1..])
        .expect_err("is refused");
    assert_eq!(
        error.to_string(),
        "piece 0 of the snapshot is refused: its hash is not the manifest's"
    );
    assert!(restoring.feed(1, &taken.pieces[0]).is_err());
    assert!(restoring.feed(0, &vec![0; MAX_PIECE_BYTES + 1]).is_err());
    assert!(matches!(
        state.restore(taken.manifest.clone(), height, root),
        Err(StateError::Restoring)
    ));
    let prepared = state.prepare(&StateChanges::default()).expect("prepares");
    assert!(matches!(
        state.commit(0, &prepared, &mut db.batch()),
        Err(StateError::Restoring)
    ));
    drop(restoring);
    assert_empty(&db, &state);

    let encoded = taken.manifest.encode();
    for at in 0..encoded.len() {
        let mut bytes = encoded.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(manifest) = Manifest::decode(&bytes) else {
            continue;
        };
        let outcome = state
            .restore(manifest, height, root)
            .and_then(|mut restoring| {
                for (index, piece) in taken.pieces.iter().enumerate() {
                    restoring.feed(index, piece)?;
                }
                restoring.finish()
            });
        assert!(outcome.is_err(), "byte {at} of the manifest");
        assert_empty(&db, &state);
    }
    let mut longer = encoded.clone();
    longer.push(0);
    assert!(Manifest::decode(&longer).is_err());
    assert!(Manifest::decode(&encoded[..encoded.len() - 1]).is_err());
    restore(&state, &taken).expect("the true one restores");
}

/// A peer that forges the contents with manifest and hashes to match still meets the certified root.
#[test]
fn forged_contents_leave_no_state() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = small(&database(&dir.path().join("a")));
    let (height, root) = (taken.manifest.height, taken.manifest.root);
    let db = database(&dir.path().join("b"));
    let state = open(&db, 2);
    let content = zstd::bulk::decompress(&taken.pieces[0], MAX_PIECE_BYTES).expect("unpacks");
    let mut mismatches = 0;
    for at in 0..content.len() {
        if at % 97 != 0 && at > 50 {
            continue;
        }
        let mut forged = content.clone();
        forged[at] ^= 1 << (at % 8);
        let piece = zstd::bulk::compress(&forged, 1).expect("packs");
        let mut manifest = taken.manifest.clone();
        manifest.pieces = vec![B256::new(*blake3::hash(&piece).as_bytes())];
        let mut restoring = state.restore(manifest, height, root).expect("begins");
        let outcome = restoring.feed(0, &piece).and_then(|()| restoring.finish());
        match outcome.expect_err("is refused") {
            StateError::RootMismatch { certified, .. } => {
                assert_eq!(certified, root);
                mismatches += 1;
            }
            StateError::PieceRefused { .. }
            | StateError::UnknownCode(_)
            | StateError::Damaged(_) => {}
            other => panic!("{other}"),
        }
        assert_empty(&db, &state);
    }
    assert!(mismatches > 20, "{mismatches}");

    // A bomb: a megabyte of nothing, and then some, in a few bytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 * MAX_PIECE_BYTES], 19).expect("packs");
    let mut manifest = taken.manifest.clone();
    manifest.pieces = vec![B256::new(*blake3::hash(&bomb).as_bytes())];
    let mut restoring = state.restore(manifest, height, root).expect("begins");
    let error = restoring.feed(0, &bomb).expect_err("is refused");
    assert_eq!(
        error.to_string(),
        "piece 0 of the snapshot is refused: it does not unpack within its bounds"
    );
    assert!(matches!(
        restoring.finish(),
        Err(StateError::PiecesMissing(1))
    ));
    assert!(matches!(
        state.restore(taken.manifest, height, B256::ZERO),
        Err(StateError::ManifestRefused("it is of another block"))
    ));
    assert_empty(&db, &state);
}

#[test]
fn a_restore_cut_short_by_a_crash_leaves_no_state() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = small(&database(&dir.path().join("a")));
    let path = dir.path().join("b");
    let db = database(&path);
    let state = open(&db, 2);
    let mut restoring = state
        .restore(
            taken.manifest.clone(),
            taken.manifest.height,
            taken.manifest.root,
        )
        .expect("begins");
    restoring.feed(0, &taken.pieces[0]).expect("is taken");
    let copy = dir.path().join("c");
    crate::crash::copy(&path, &copy);
    let copied_db = database(&copy);
    assert!(
        !copied_db
            .keyspace("state-flat", fjall::KeyspaceCreateOptions::default)
            .expect("opens")
            .is_empty()
            .expect("reads")
    );
    let copied = open(&copied_db, 2);
    assert_empty(&copied_db, &copied);
    restore(&copied, &taken).expect("restores");
    assert_eq!(copied.root(), taken.manifest.root);
}

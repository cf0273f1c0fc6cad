use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::nybbles::Nibbles;
use alloy_trie::proof::verify_proof;
use lucid_state::{
    Account, AccountProof, EMPTY_ROOT_HASH, Historic, KECCAK_EMPTY, MemoryState, StateChanges,
    StateError, StateReader,
};
use proptest::prelude::*;

use crate::blocks::{address, changes, commit, database, open};

fn account_leaf(account: &Account, storage_root: B256) -> Vec<u8> {
    #[derive(alloy_rlp::RlpEncodable)]
    struct Leaf {
        nonce: u64,
        balance: U256,
        storage_root: B256,
        code_hash: B256,
    }
    alloy_rlp::encode(Leaf {
        nonce: account.nonce,
        balance: account.balance,
        storage_root,
        code_hash: account.code_hash,
    })
}

/// Checks a proof with alloy's checker, as any Ethereum client would.
fn check(root: B256, proof: &AccountProof) {
    let leaf = proof
        .account
        .as_ref()
        .map(|account| account_leaf(account, proof.storage_root));
    verify_proof(
        root,
        Nibbles::unpack(keccak256(proof.address)),
        leaf,
        &proof.account_proof,
    )
    .expect("the account's proof");
    for slot in &proof.storage {
        let value = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
        let key = Nibbles::unpack(keccak256(slot.key.to_be_bytes::<32>()));
        verify_proof(proof.storage_root, key, value, &slot.proof).expect("the slot's proof");
    }
}

pub(crate) fn compare(historic: &Historic, model: &MemoryState) {
    let root = model.root();
    assert_eq!(historic.root(), root);
    let slots: Vec<_> = (0..12).map(|slot| U256::from(slot * 4)).collect();
    for i in 0..41 {
        assert_eq!(
            historic.account(address(i)).expect("reads"),
            model.account(address(i)).expect("reads")
        );
        if i < 11 {
            for slot in 0..41 {
                let slot = U256::from(slot);
                assert_eq!(
                    historic.storage(address(i), slot).expect("reads"),
                    model.storage(address(i), slot).expect("reads"),
                    "slot {slot} of account {i} at {}",
                    historic.height()
                );
            }
        }
        let proof = historic.proof(address(i), &slots).expect("proves");
        assert_eq!(proof.storage_root, model.storage_root(address(i)));
        check(root, &proof);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_kept_height_reads_and_proves_as_the_model(blocks in prop::collection::vec(changes(), 1..14), history in 0u64..6) {
        let dir = tempfile::tempdir().expect("a folder");
        let db = database(dir.path());
        let state = open(&db, history);
        let mut model = MemoryState::default();
        let mut models = Vec::new();
        for (height, changes) in (0u64..).zip(&blocks) {
            model.apply(changes).expect("applies");
            let root = commit(&db, &state, height, changes);
            prop_assert_eq!(root, model.root(), "block {}", height);
            prop_assert_eq!(state.root(), root);
            prop_assert_eq!(state.height(), Some(height));
            models.push(model.clone());
        }
        let head = state.height().expect("a height");
        // Once with warm caches, once after a restart.
        for state in [state, open(&db, history)] {
            prop_assert_eq!(state.root(), model.root());
            prop_assert_eq!(state.oldest(), Some(head.saturating_sub(history)));
            for (height, model) in (0u64..).zip(&models) {
                match state.at(height) {
                    Ok(historic) => {
                        prop_assert!(height + history >= head);
                        compare(&historic, model);
                    }
                    Err(StateError::NotKept { .. }) => prop_assert!(height + history < head),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn what_is_prepared_or_dropped_leaves_no_trace(blocks in prop::collection::vec((changes(), changes()), 1..6)) {
        let dir = tempfile::tempdir().expect("a folder");
        let db = database(dir.path());
        let state = open(&db, 4);
        let mut model = MemoryState::default();
        for (height, (taken, left)) in (0u64..).zip(&blocks) {
            let other = state.prepare(left).expect("prepares");
            let mut batch = db.batch();
            state.commit(height, &other, &mut batch).expect("goes into the batch");
            drop(batch);
            prop_assert!(matches!(state.committed(height, &other), Err(StateError::NotWritten(h)) if h == height));
            prop_assert_eq!(state.root(), model.root());
            model.apply(taken).expect("applies");
            prop_assert_eq!(commit(&db, &state, height, taken), model.root());
            if other.prepared_on() != state.root() {
                let stale = state.commit(height + 1, &other, &mut db.batch());
                prop_assert!(matches!(stale, Err(StateError::Stale { .. })), "{:?}", stale);
            }
        }
        compare(&state.latest().expect("a state"), &model);
    }
}

#[test]
fn an_empty_state_proves_absence() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = database(dir.path());
    let state = open(&db, 4);
    assert_eq!(state.root(), EMPTY_ROOT_HASH);
    assert_eq!(state.height(), None);
    assert!(matches!(state.latest(), Err(StateError::Empty)));
    check(
        EMPTY_ROOT_HASH,
        &state.proof(address(1), &[U256::from(1)]).expect("proves"),
    );
    assert_eq!(state.account(address(1)).expect("reads"), None);
}

#[test]
fn refusals_name_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = database(dir.path());
    let state = open(&db, 4);
    let mut changes = StateChanges::default();
    changes
        .storage
        .entry(address(7))
        .or_default()
        .insert(U256::from(1), U256::from(2));
    let error = state.prepare(&changes).expect_err("no such account");
    assert_eq!(
        error.to_string(),
        "storage is written for 0x0000000000000000000000000000000000000007, which is no account after the block"
    );
    let mut changes = StateChanges::default();
    changes.code.insert(KECCAK_EMPTY, Bytes::from_static(b"no"));
    assert!(matches!(
        state.prepare(&changes),
        Err(StateError::CodeMismatch { bytes: 2, .. })
    ));
    assert!(matches!(
        state.code(B256::ZERO),
        Err(StateError::UnknownCode(_))
    ));
    assert!(state.code(KECCAK_EMPTY).expect("reads").is_empty());

    commit(&db, &state, 5, &StateChanges::default());
    let prepared = state.prepare(&StateChanges::default()).expect("prepares");
    let error = state
        .commit(7, &prepared, &mut db.batch())
        .expect_err("a gap");
    assert_eq!(error.to_string(), "height 7 does not follow 5");
    let error = state.at(9).expect_err("not reached");
    assert_eq!(error.to_string(), "no state of height 9: 5 to 5 are kept");
}

#[test]
fn a_view_stays_while_blocks_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = database(dir.path());
    let state = open(&db, 2);
    let block = |n: u64| {
        let mut changes = StateChanges::default();
        changes.accounts.insert(
            address(1),
            Some(Account {
                nonce: n,
                ..Account::default()
            }),
        );
        changes
            .storage
            .entry(address(1))
            .or_default()
            .insert(U256::from(n % 3), U256::from(n));
        changes
    };
    commit(&db, &state, 0, &block(1));
    let old = state.latest().expect("a state");
    let root = old.root();
    for n in 1..30 {
        commit(&db, &state, n, &block(n + 1));
    }
    assert_eq!(old.root(), root);
    assert_eq!(
        old.account(address(1))
            .expect("reads")
            .map(|account| account.nonce),
        Some(1)
    );
    check(
        root,
        &old.proof(address(1), &[U256::from(1), U256::from(2)])
            .expect("proves"),
    );
    assert!(matches!(
        state.at(0),
        Err(StateError::NotKept {
            oldest: 27,
            head: 29,
            ..
        })
    ));
}

//! What a block becomes, field by field.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Signature, TxKind, keccak256};
use alloy_sol_types::SolCall as _;
use lucid_chain_types::contracts::{LUCID_ANCHORS, LUCID_CHUNK_STORE, WORK_CREDITS};
use lucid_execution::Log;
use lucid_poot::TaskKind;
use lucid_readmodel::{Change, Collection, Key, ModelError, needs_transactions, project};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{
    Checkpoint, ChunkCommitted, CustodyReleased, Made, ProofAccepted, SessionClosed, SessionOpened,
    SessionRegistered, TaskProof, block, hash, log, node, receipt, signature, submitCall,
};

fn text(hash: B256) -> String {
    format!("{hash:#x}")
}

fn account(address: Address) -> String {
    format!("{address:#x}")
}

/// A block with these logs of one transaction.
fn with(height: u64, transaction: Vec<u8>, logs: Vec<Log>) -> Made {
    Made {
        transactions: vec![transaction],
        receipts: vec![receipt(logs)],
        ..block(height, &[])
    }
}

fn set(changes: &[Change], key: &Key) -> serde_json::Value {
    let fields = changes.iter().find_map(|change| match change {
        Change::Set { key: found, fields } if found == key => Some(fields.clone()),
        _ => None,
    });
    fields
        .unwrap_or_else(|| panic!("{key} is not among {changes:?}"))
        .into()
}

#[test]
fn a_session_gets_what_each_event_says_and_no_more() {
    let (id, tx) = (hash(1), keccak256(b"a transaction"));
    let opened = SessionOpened {
        id,
        owner: node(1),
        opener: node(2),
        sessionKey: hash(3),
        policyHash: hash(4),
    };
    let changes = with(
        7,
        b"a transaction".to_vec(),
        vec![log(LUCID_ANCHORS, &opened)],
    )
    .changes();
    assert_eq!(changes.len(), 2);
    assert_eq!(
        set(&changes, &Key::session(id)),
        json!({
            "_id": text(id), "status": "open", "owner": account(node(1)), "opener": account(node(2)),
            "sessionKey": text(hash(3)), "policyHash": text(hash(4)),
            "openedHeight": 7, "openedAt": 1_700_000_007_000u64, "openedTx": text(tx),
        })
    );
    let listed = Key::parse(Collection::SessionOrder, &format!("7:{}", text(id))).unwrap();
    assert_eq!(
        set(&changes, &listed),
        json!({ "_id": listed.to_string(), "height": 7, "session_id": text(id) })
    );

    let checkpoint = Checkpoint {
        id,
        size: u64::MAX,
        root: hash(5),
    };
    let changes = with(8, vec![1], vec![log(LUCID_ANCHORS, &checkpoint)]).changes();
    assert_eq!(
        set(&changes, &Key::session(id)),
        json!({
            "_id": text(id), "status": "open", "checkpointSize": u64::MAX, "checkpointRoot": text(hash(5)),
            "checkpointHeight": 8, "checkpointAt": 1_700_000_008_000u64,
        })
    );

    let closed = SessionClosed {
        id,
        owner: node(1),
        manifestHash: hash(6),
        merkleRoot: hash(7),
        chunkCount: 12,
    };
    let changes = with(
        11,
        b"a transaction".to_vec(),
        vec![log(LUCID_ANCHORS, &closed)],
    )
    .changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        set(&changes, &Key::session(id)),
        json!({
            "_id": text(id), "status": "closed", "owner": account(node(1)), "manifestHash": text(hash(6)),
            "merkleRoot": text(hash(7)), "chunkCount": 12,
            "closedHeight": 11, "closedAt": 1_700_000_011_000u64, "closedTx": text(tx),
        })
    );

    let registered = SessionRegistered {
        id,
        owner: node(1),
        sessionKey: hash(3),
        manifestHash: hash(6),
        merkleRoot: hash(7),
        chunkCount: 12,
    };
    let changes = with(11, vec![1], vec![log(LUCID_ANCHORS, &registered)]).changes();
    let session = set(&changes, &Key::session(id));
    assert_eq!(session["status"], "closed");
    assert_eq!(session["openedHeight"], session["closedHeight"]);
    assert_eq!(changes.len(), 2);
}

#[test]
fn a_chunk_and_who_gave_it_up() {
    let committed = ChunkCommitted {
        sessionId: hash(1),
        index: 3,
        chunkHash: hash(2),
        number: 77,
        size: 1_000,
        expiry: 720,
    };
    let released = CustodyReleased {
        number: 77,
        node: node(4),
    };
    let logs = vec![
        log(LUCID_CHUNK_STORE, &committed),
        log(LUCID_CHUNK_STORE, &released),
    ];
    let changes = with(2, vec![9], logs).changes();
    assert_eq!(
        set(&changes, &Key::chunk(hash(1), 3)),
        json!({
            "_id": format!("{}:3", text(hash(1))), "session_id": text(hash(1)), "idx": 3, "hash": text(hash(2)),
            "number": 77, "expiry": 720, "size": 1_000, "height": 2, "ts": 1_700_000_002_000u64, "tx": text(keccak256([9])),
        })
    );
    assert_eq!(
        changes[1],
        Change::Remove {
            key: Key::holder(77, node(4))
        }
    );
}

#[test]
fn an_accepted_claim_brings_its_signature_along() {
    let claim = |of: u64, signature| TaskProof {
        node: node(of),
        slot: 5,
        kind: 1,
        value: 100,
        evidence: vec![1, 2].into(),
        signature,
    };
    let call = submitCall {
        proofs: vec![claim(1, signature(7)), claim(2, Default::default())],
    };
    let transaction = TxEip1559 {
        chain_id: 1,
        gas_limit: 1,
        to: TxKind::Call(WORK_CREDITS),
        input: call.abi_encode().into(),
        ..TxEip1559::default()
    };
    let transaction = TxEnvelope::from(transaction.into_signed(Signature::test_signature()));
    let accepted = |of| ProofAccepted {
        node: node(of),
        kind: 1,
        slot: 5,
        value: 90,
    };
    let logs = vec![
        log(WORK_CREDITS, &accepted(1)),
        log(WORK_CREDITS, &accepted(2)),
    ];
    let bytes = transaction.encoded_2718();
    let changes = with(26, bytes.clone(), logs).changes();
    let key = Key::task_proof(5, node(1), TaskKind::Storage);
    assert_eq!(
        set(&changes, &key),
        json!({
            "_id": format!("5:{}:storage", account(node(1))), "slot": 5, "nodeId": account(node(1)), "type": "storage",
            "value": 90, "sig": signature(7), "ts": 1_700_000_026_000u64, "height": 26, "tx": text(keccak256(&bytes)),
        })
    );
    // Sent by the node itself: the transaction is signed, the claim is not.
    let own = set(&changes, &Key::task_proof(5, node(2), TaskKind::Storage));
    assert!(own.get("sig").is_none());
}

#[test]
fn a_seal_brings_tally_schedule_and_what_was_counted() {
    let made = block(4, &[]);
    let changes = made.changes();
    let leader = set(&changes, &Key::leader(0));
    assert_eq!(
        leader,
        json!({
            "_id": "0", "slot": 0, "primary": account(node(0)), "fallbacks": [account(node(1)), account(node(2))],
            "result": { "winner": account(node(0)), "reason": "primary" }, "height": 4, "ts": 1_700_000_004_000u64,
        })
    );
    // Scores 4, 4 and 8, where the second is no validator.
    let rank = |of| set(&changes, &Key::tally(0, node(of)))["rank"].clone();
    assert_eq!(
        [rank(0), rank(1), rank(2)],
        [json!(2), json!(null), json!(1)]
    );
    let tally = set(&changes, &Key::tally(0, node(2)));
    assert_eq!(
        tally["credits"],
        json!({ "relay": 0, "storage": 0, "validation": 8, "uptime": 0 })
    );
    assert_eq!(
        (&tally["liveScore"], &tally["slot"]),
        (&json!(8), &json!(0))
    );
    let proof = set(&changes, &Key::task_proof(0, node(2), TaskKind::Validation));
    assert_eq!((&proof["value"], proof.get("sig")), (&json!(12), None));
    assert_eq!(
        set(&changes, &Key::task_proof(0, node(1), TaskKind::Uptime))["value"],
        1
    );
}

#[test]
fn blocks_about_nothing_need_no_transactions_and_change_nothing() {
    let elsewhere = Log {
        address: node(9),
        topics: vec![hash(1)],
        data: Default::default(),
    };
    let made = with(1, Vec::new(), vec![elsewhere]);
    assert!(!needs_transactions(&made.receipts));
    let without = Made {
        transactions: Vec::new(),
        ..made
    };
    assert!(project(&without.view()).unwrap().is_empty());

    let known = with(
        1,
        vec![1],
        vec![log(
            LUCID_ANCHORS,
            &Checkpoint {
                id: hash(1),
                size: 1,
                root: hash(1),
            },
        )],
    );
    assert!(needs_transactions(&known.receipts));
    let without = Made {
        transactions: Vec::new(),
        ..known
    };
    assert!(matches!(
        project(&without.view()),
        Err(ModelError::Damaged { .. })
    ));
}

proptest! {
    /// A contract of another version may say anything.
    #[test]
    fn any_log_and_any_transaction_are_borne(
        contract in 0usize..3,
        topic in 0usize..6,
        topics in prop::collection::vec(any::<[u8; 32]>(), 0..4),
        data in prop::collection::vec(any::<u8>(), 0..300),
        transaction in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let first = [
            keccak256("SessionOpened(bytes32,address,address,bytes32,bytes32)"),
            keccak256("Checkpoint(bytes32,uint64,bytes32)"),
            keccak256("ChunkCommitted(bytes32,uint64,bytes32,uint64,uint32,uint64)"),
            keccak256("ProofAccepted(address,uint8,uint64,uint64)"),
            keccak256("Credited(address,uint8,uint64,uint64)"),
            B256::ZERO,
        ][topic];
        let mut all = vec![first];
        all.extend(topics.into_iter().take(3).map(B256::from));
        let bytes = Log {
            address: [LUCID_ANCHORS, LUCID_CHUNK_STORE, WORK_CREDITS][contract],
            topics: all,
            data: data.into(),
        };
        let mut made = with(3, transaction, vec![bytes.clone()]);
        made.system.logs.push(bytes);
        prop_assert!(project(&made.view()).is_ok());
    }

    #[test]
    fn a_key_is_read_back_from_its_text_and_sorts_as_its_parts_do(
        a in (any::<u64>(), any::<[u8; 20]>(), 0usize..4),
        b in (any::<u64>(), any::<[u8; 20]>(), 0usize..4),
    ) {
        // In the order of their names.
        let kinds = [TaskKind::Relay, TaskKind::Storage, TaskKind::Uptime, TaskKind::Validation];
        let key = |(slot, of, kind): (u64, [u8; 20], usize)| Key::task_proof(slot, of.into(), kinds[kind]);
        for it in [key(a), key(b)] {
            prop_assert_eq!(&Key::parse(Collection::TaskProofs, &it.to_string()).unwrap(), &it);
        }
        prop_assert_eq!(key(a).bytes().cmp(&key(b).bytes()), a.cmp(&b));
        let same_slot = key((a.0, b.1, b.2));
        prop_assert_eq!(key(a).bytes().cmp(&same_slot.bytes()), (a.1, a.2).cmp(&(b.1, b.2)));
    }

    #[test]
    fn no_text_makes_reading_a_key_fail_badly(text in ".{0,300}") {
        for collection in Collection::ALL {
            if let Ok(key) = Key::parse(collection, &text) {
                prop_assert!(key.bytes().len() <= 64);
            }
        }
    }
}

#[test]
fn a_wrong_key_is_told_what_one_looks_like() {
    let error = Key::parse(Collection::TaskProofs, "5:nobody").unwrap_err();
    assert_eq!(
        error.to_string(),
        "'5:nobody' is no key of task_proofs: expected slot:nodeId:type, or the first parts of it"
    );
    // The session's id as people have it.
    let short = Key::parse(Collection::Sessions, &"ab".repeat(16)).unwrap();
    let long = Key::parse(
        Collection::Sessions,
        &format!("0x{}{}", "ab".repeat(16), "00".repeat(16)),
    )
    .unwrap();
    assert_eq!(short, long);
}

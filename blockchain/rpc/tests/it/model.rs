//! The read model of a real chain: the genesis contracts run, slots are sealed, and what is told is what they did.

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::{SolCall, sol};
use lucid_chain_types::contracts::{LUCID_ANCHORS, LUCID_CHUNK_STORE, WORK_CREDITS};
use lucid_readmodel::{Collection, Collections, Embedded, Key, MAX_PAGE, Query, step};
use lucid_rpc::ModelState;
use serde_json::{Value, json};

use crate::support::{Solo, wallet};

sol! {
    function openSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) external;
    function checkpoint(bytes32 id, uint64 size, bytes32 root) external;
    function closeSession(bytes32 id, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external;
    function commitBatch(bytes32 sessionId, uint64 firstIndex, bytes32[] chunkHashes, bytes32[] storageRoots, uint32[] sizes, uint64 slots) external payable;
    function acceptCustody(uint64[] numbers) external;
    function releaseCustody(uint64[] numbers) external;

    struct TaskProof { address node; uint64 slot; uint8 kind; uint64 value; bytes evidence; bytes signature; }
    function submit(TaskProof[] calldata proofs) external;
    function register(bytes32 consensusKey, bytes32 vrfKey) external payable;
    function digest(TaskProof calldata proof) external view returns (bytes32);
}

fn word(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

fn text(of: impl std::fmt::LowerHex) -> String {
    format!("{of:#x}")
}

impl Solo {
    fn call(&self, to: Address, call: &impl SolCall) -> B256 {
        self.submit(to, 0, call.abi_encode().into())
    }

    async fn page(&self, method: &str, query: Value) -> (Vec<Value>, Option<String>) {
        let page = self.ask(method, json!([query])).await;
        let next = page["next"].as_str().map(str::to_owned);
        (page["items"].as_array().unwrap().clone(), next)
    }

    /// Everything in the store.
    fn kept(&self) -> Vec<Vec<Value>> {
        let store = self.model.borrow().store.clone().unwrap();
        all(&*store)
    }
}

fn all(store: &dyn Collections) -> Vec<Vec<Value>> {
    let documents = Collection::ALL.map(|collection| {
        let page = store.query(&Query::all(collection, MAX_PAGE)).unwrap();
        assert_eq!(page.next, None);
        page.items.into_iter().map(Value::Object).collect()
    });
    documents.into()
}

/// The read model made from scratch of the same chain.
fn made_anew(solo: &Solo) -> Vec<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), solo.ledger.genesis_hash()).unwrap();
    while step(&solo.ledger, &store).unwrap().is_some() {}
    all(&store)
}

#[tokio::test]
async fn a_session_is_found_from_its_opening_to_its_chunks() {
    let solo = Solo::start().await;
    let (id, owner) = (word(0xa1), solo.rich.address());
    let opened = solo.call(
        LUCID_ANCHORS,
        &openSessionCall {
            id,
            owner,
            sessionKey: word(2),
            policyHash: word(3),
        },
    );
    let first = solo.mine();
    solo.follow();
    let session = solo.ask("lucid_session", json!([id])).await;
    assert_eq!(
        session,
        json!({
            "_id": text(id), "status": "open", "owner": owner, "opener": owner, "sessionKey": word(2), "policyHash": word(3),
            "openedHeight": 1, "openedAt": first.header.time_ms, "openedTx": opened,
        })
    );
    solo.call(
        LUCID_ANCHORS,
        &checkpointCall {
            id,
            size: 2,
            root: word(4),
        },
    );
    solo.mine();
    let commit = commitBatchCall {
        sessionId: id,
        firstIndex: 0,
        chunkHashes: vec![word(5), word(6), word(7)],
        storageRoots: vec![word(9); 3],
        sizes: vec![50, 60, 70],
        slots: 720,
    };
    solo.submit(
        LUCID_CHUNK_STORE,
        10_u64.pow(16),
        commit.abi_encode().into(),
    );
    let closed = solo.call(
        LUCID_ANCHORS,
        &closeSessionCall {
            id,
            manifestHash: word(8),
            merkleRoot: word(9),
            chunkCount: 3,
        },
    );
    solo.mine();
    solo.register(0x33);
    solo.mine();
    solo.follow();
    let session = solo.ask("lucid_session", json!([id])).await;
    for (field, value) in [
        ("status", json!("closed")),
        ("policyHash", json!(word(3))),
        ("checkpointSize", json!(2)),
        ("checkpointHeight", json!(2)),
        ("manifestHash", json!(word(8))),
        ("merkleRoot", json!(word(9))),
        ("chunkCount", json!(3)),
        ("openedHeight", json!(1)),
        ("closedHeight", json!(3)),
        ("closedTx", json!(closed)),
    ] {
        assert_eq!(session[field], value, "{field}");
    }

    // Lists, newest first and page by page.
    let query = json!({ "newestFirst": true, "limit": 1 });
    let (sessions, next) = solo.page("lucid_sessions", query).await;
    assert_eq!(sessions[0]["_id"], json!(word(0x33)));
    let query = json!({ "newestFirst": true, "limit": 1, "after": next.unwrap() });
    let (sessions, next) = solo.page("lucid_sessions", query).await;
    assert_eq!(sessions, [session]);
    assert_eq!(next, None);
    let query = json!({ "key": text(id), "limit": 2 });
    let (chunks, next) = solo.page("lucid_chunks", query).await;
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[1]["hash"], json!(word(6)));
    assert_eq!(chunks[1]["size"], json!(60));
    assert_eq!(chunks[1]["holders"], json!([]));
    let query = json!({ "key": text(id), "after": next.unwrap() });
    let (chunks, next) = solo.page("lucid_chunks", query).await;
    assert_eq!((chunks.len(), next), (1, None));
    assert_eq!(chunks[0]["idx"], json!(2));
    assert!(
        solo.ask("lucid_session", json!([word(0x77)]))
            .await
            .is_null()
    );
    assert_eq!(solo.kept(), made_anew(&solo));
}

/// A transaction of the node's operator, who pays with what it got from the rich account.
fn by_operator(solo: &Solo, nonce: u64, to: Address, call: &impl SolCall) -> B256 {
    let bytes = crate::support::sign(&wallet("operator"), nonce, to, 0, call.abi_encode().into());
    solo.pool.submit(&bytes, true).unwrap()
}

#[tokio::test]
async fn custody_work_and_schedules_are_what_the_contracts_say() {
    let solo = Solo::start().await;
    let (id, node) = (word(0xa1), solo.node.0);
    solo.register(0xa1);
    solo.submit(node, 10_u64.pow(18), Bytes::new());
    let commit = commitBatchCall {
        sessionId: id,
        firstIndex: 0,
        chunkHashes: vec![word(5), word(6)],
        storageRoots: vec![word(9); 2],
        sizes: vec![50, 60],
        slots: 720,
    };
    solo.submit(
        LUCID_CHUNK_STORE,
        10_u64.pow(16),
        commit.abi_encode().into(),
    );
    solo.mine();
    by_operator(
        &solo,
        0,
        LUCID_CHUNK_STORE,
        &acceptCustodyCall {
            numbers: vec![1, 2],
        },
    );
    // Another node registers, and signs a beacon that the first one sends: who makes blocks is seen without one.
    let other = solo.rich.address();
    let register = registerCall {
        consensusKey: word(0x51),
        vrfKey: word(0x52),
    };
    solo.submit(WORK_CREDITS, 10_u64.pow(18), register.abi_encode().into());
    solo.mine();
    let claim = |signature: Bytes| TaskProof {
        node: other,
        slot: 0,
        kind: 3,
        value: 1,
        evidence: Bytes::new(),
        signature,
    };
    let asked = digestCall {
        proof: claim(Bytes::new()),
    };
    let asked = Bytes::from(asked.abi_encode());
    let asked = json!([{ "to": WORK_CREDITS, "data": asked }, "latest"]);
    let digest = solo.ask("eth_call", asked).await;
    let signature = Bytes::from(sign_digest(serde_json::from_value(digest).unwrap()));
    let submit = submitCall {
        proofs: vec![claim(signature.clone())],
    };
    let submitted = by_operator(&solo, 1, WORK_CREDITS, &submit);
    solo.mine();
    solo.follow();
    let key = json!({ "key": text(id) });
    let (chunks, _) = solo.page("lucid_chunks", key.clone()).await;
    assert_eq!(chunks[0]["holders"], json!([text(node)]));
    by_operator(
        &solo,
        2,
        LUCID_CHUNK_STORE,
        &releaseCustodyCall { numbers: vec![1] },
    );
    solo.mine();
    solo.follow();
    let (chunks, _) = solo.page("lucid_chunks", key).await;
    assert_eq!(chunks[0]["holders"], json!([]));
    assert_eq!(chunks[1]["holders"], json!([text(node)]));

    let sealed = solo.seal();
    solo.seal();
    solo.follow();
    let (slots, _) = solo.page("lucid_leaderSchedule", json!({})).await;
    assert_eq!(slots.len(), 2);
    for (slot, row) in (0..).zip(&slots) {
        let told = solo.ask("lucid_slot", json!([slot])).await["record"].clone();
        assert_eq!(row["slot"], json!(slot));
        assert_eq!(row["primary"], told["primary"]);
        assert_eq!(row["fallbacks"], told["fallbacks"]);
        assert_eq!(
            row["result"],
            json!({ "winner": told["winner"], "reason": told["reason"] })
        );
    }
    let of_slot = |of: Address| json!({ "key": format!("0:{}", text(of)) });
    let (proofs, _) = solo.page("lucid_taskProofs", of_slot(node)).await;
    let kinds: Vec<&str> = proofs
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["uptime", "validation"]);
    assert_eq!(proofs[0]["value"], json!(1));
    // Blocks 1 to 4 were signed in slot 0, each counted by the next block.
    assert_eq!(proofs[1]["value"], json!(4));
    assert!(
        proofs
            .iter()
            .all(|it| it["ts"] == json!(sealed.header.time_ms) && it.get("sig").is_none())
    );
    let (proofs, _) = solo.page("lucid_taskProofs", of_slot(other)).await;
    assert_eq!(proofs.len(), 1);
    for (field, value) in [
        ("type", json!("uptime")),
        ("value", json!(1)),
        ("sig", json!(signature)),
        ("tx", json!(submitted)),
    ] {
        assert_eq!(proofs[0][field], value, "{field}");
    }

    let (tally, _) = solo.page("lucid_workTally", json!({ "key": "0" })).await;
    assert_eq!(tally.len(), 2);
    for row in &tally {
        let work = solo.ask("lucid_work", json!([row["entityId"]])).await;
        for kind in ["relay", "storage", "validation", "uptime"] {
            assert_eq!(row["credits"][kind], work[kind], "{kind}");
        }
        assert_eq!(row["liveScore"], work["score"]);
        assert_eq!(row["validator"], work["validator"]);
        let votes = row["entityId"] == json!(text(node));
        assert_eq!(row["rank"], if votes { json!(1) } else { Value::Null });
        assert_eq!(row["slot"], json!(1));
    }

    let status = solo.ask("lucid_readModel", json!([])).await;
    let head = solo.ledger.head().height;
    assert_eq!(
        status,
        json!({ "store": "embedded", "from": 1, "height": head, "head": head, "earliest": 1, "complete": true, "trouble": null })
    );
    assert_eq!(solo.kept(), made_anew(&solo));
}

#[tokio::test]
async fn a_chain_that_began_with_a_snapshot_says_from_where_its_read_model_is() {
    let solo = Solo::start().await;
    let (id, owner) = (word(0xa1), solo.rich.address());
    let open = openSessionCall {
        id,
        owner,
        sessionKey: word(2),
        policyHash: word(3),
    };
    solo.call(LUCID_ANCHORS, &open);
    solo.mine();
    solo.mine();
    let joined = solo.join_by_snapshot().await;
    joined.follow();
    assert!(joined.ask("lucid_session", json!([id])).await.is_null());
    joined.call(
        LUCID_ANCHORS,
        &closeSessionCall {
            id,
            manifestHash: word(8),
            merkleRoot: word(9),
            chunkCount: 3,
        },
    );
    joined.mine();
    joined.follow();
    let session = joined.ask("lucid_session", json!([id])).await;
    assert_eq!(session["status"], json!("closed"));
    assert_eq!(session["owner"], json!(owner));
    assert!(
        session.get("sessionKey").is_none(),
        "nothing here says what it was"
    );
    let status = joined.ask("lucid_readModel", json!([])).await;
    assert_eq!(status["from"], json!(2));
    assert_eq!(status["earliest"], json!(2));
    assert_eq!(status["complete"], json!(false));
    assert_eq!(joined.kept(), made_anew(&joined));
}

#[tokio::test]
async fn a_read_model_of_other_blocks_or_from_before_a_gap_is_emptied() {
    use lucid_readmodel::{Joined, join};

    let solo = Solo::start().await;
    solo.register(1);
    solo.mine();
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), solo.ledger.genesis_hash()).unwrap();
    assert_eq!(join(&solo.ledger, &store).unwrap(), Joined::On);
    while step(&solo.ledger, &store).unwrap().is_some() {}
    assert_eq!(join(&solo.ledger, &store).unwrap(), Joined::On);

    // A chain of the same genesis with another first block; nodes have no such thing, but folders can be mixed up.
    let other = Solo::start().await;
    other.register(2);
    other.mine();
    let at = solo.ledger.head().height;
    assert_eq!(
        join(&other.ledger, &store).unwrap(),
        Joined::Other { height: at }
    );
    assert_eq!(store.position().unwrap(), None);
    while step(&other.ledger, &store).unwrap().is_some() {}
    assert!(store.get(&Key::session(word(2))).unwrap().is_some());
    assert!(store.get(&Key::session(word(1))).unwrap().is_none());

    // Two blocks on there is a snapshot, and a ledger that begins with it.
    other.mine();
    other.mine();
    let joined = other.join_by_snapshot().await;
    let earliest = joined.ledger.earliest();
    assert_eq!(
        join(&joined.ledger, &store).unwrap(),
        Joined::Missing {
            height: at,
            earliest
        }
    );
    // A read model that is ahead waits for the chain to come there.
    while step(&other.ledger, &store).unwrap().is_some() {}
    let behind = Solo::start().await;
    assert_eq!(join(&behind.ledger, &store).unwrap(), Joined::On);
    assert_eq!(step(&behind.ledger, &store).unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let solo = Solo::start().await;
    for (method, query, code, words) in [
        (
            "lucid_taskProofs",
            json!({ "limit": 1_001 }),
            -32_005,
            "a page has 1 to 1000 documents, not 1001",
        ),
        ("lucid_chunks", json!({ "limit": 201 }), -32_005, "1 to 200"),
        ("lucid_sessions", json!({ "limit": 0 }), -32_005, "not 0"),
        (
            "lucid_workTally",
            json!({ "key": "x" }),
            -32_602,
            "expected epoch:entityId",
        ),
        (
            "lucid_leaderSchedule",
            json!({ "key": "1:2" }),
            -32_602,
            "expected slot",
        ),
        (
            "lucid_taskProofs",
            json!({ "after": "1" }),
            -32_602,
            "whole key",
        ),
        (
            "lucid_taskProofs",
            json!({ "page": 1 }),
            -32_602,
            "unknown field",
        ),
    ] {
        let (found, message) = solo.refused(method, json!([query])).await;
        assert_eq!(found, code, "{method}: {message}");
        assert!(message.contains(words), "{method}: {message}");
    }
    let (code, message) = solo.refused("lucid_session", json!(["nobody"])).await;
    assert_eq!(
        (code, message.contains("is no key of sessions")),
        (-32_602, true),
        "{message}"
    );

    // A database that is not there takes nothing else along.
    solo.model.send_replace(ModelState {
        store: None,
        trouble: Some("MongoDB: nobody answers".to_owned()),
    });
    let (_, message) = solo.refused("lucid_sessions", json!([])).await;
    assert!(message.contains("nobody answers"), "{message}");
    let status = solo.ask("lucid_readModel", json!([])).await;
    assert_eq!(status["trouble"], json!("MongoDB: nobody answers"));
    assert_eq!(status["height"], Value::Null);
    assert_eq!(
        solo.ask("lucid_status", json!([])).await["height"],
        json!(0)
    );
}

/// The rich account's signature of a digest.
fn sign_digest(digest: B256) -> [u8; 65] {
    let key =
        secp256k1::SecretKey::from_slice(alloy_primitives::keccak256("rich").as_slice()).unwrap();
    let message = secp256k1::Message::from_digest(digest.0);
    let (id, bytes) = secp256k1::SECP256K1
        .sign_ecdsa_recoverable(&message, &key)
        .serialize_compact();
    let mut signature = [0; 65];
    signature[..64].copy_from_slice(&bytes);
    signature[64] = 27 + u8::try_from(i32::from(id)).unwrap();
    signature
}

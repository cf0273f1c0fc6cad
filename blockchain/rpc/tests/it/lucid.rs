use alloy_primitives::{Address, Bytes};
use lucid_chain_types::{BlockId, Certificate, Header, Height};
use lucid_light::{FinalityProof, TrustedGenesis};
use serde_json::json;

use crate::support::{CHAIN_ID, GENESIS_TIME, Solo};

#[tokio::test]
async fn status_tells_where_the_chain_is() {
    let solo = Solo::start().await;
    let status = solo.ask("lucid_status", json!([])).await;
    assert_eq!(status["height"], json!(0));
    assert_eq!(status["block"], json!(solo.ledger.genesis_hash()));
    solo.register(1);
    let block = solo.mine();
    solo.register(2);
    let status = solo.ask("lucid_status", json!([])).await;
    for (field, value) in [
        ("version", json!("lucid/test")),
        ("chainId", json!(CHAIN_ID)),
        ("genesisHash", json!(solo.ledger.genesis_hash())),
        ("height", json!(1)),
        ("block", json!(block.id())),
        ("blockTimeMs", json!(block.header.time_ms)),
        ("slot", json!(0)),
        ("earliest", json!(1)),
        ("validators", json!(1)),
        ("node", json!(solo.node)),
        ("peers", json!(0)),
        ("syncing", json!(false)),
    ] {
        assert_eq!(status[field], value, "{field}");
    }
    assert_eq!(status["mempool"]["pending"], json!(1));
}

#[tokio::test]
async fn blocks_are_told_whole_and_their_ids_are_their_headers_hashes() {
    let solo = Solo::start().await;
    solo.register(1);
    solo.mine();
    for name in [
        json!(1),
        json!("0x1"),
        json!("latest"),
        json!(solo.ledger.head().id),
    ] {
        let block = solo.ask("lucid_block", json!([name])).await;
        let header: Bytes = serde_json::from_value(block["header"].clone()).unwrap();
        let header = Header::decode(&header).unwrap();
        assert_eq!(json!(header.id()), block["id"], "{name}");
        assert_eq!(block["timeMs"], json!(GENESIS_TIME + 1_000));
        assert_eq!(block["transactions"].as_array().unwrap().len(), 1);
    }
    assert_eq!(
        solo.ask("lucid_block", json!([0])).await["id"],
        json!(solo.ledger.genesis_hash())
    );
    assert!(solo.ask("lucid_block", json!([99])).await.is_null());
    assert_eq!(
        solo.refused("lucid_block", json!(["newest"])).await.0,
        -32_602
    );
}

#[tokio::test]
async fn slots_have_leaders_once_they_are_sealed() {
    let solo = Solo::start().await;
    solo.mine();
    let open = solo.ask("lucid_slot", json!([])).await;
    assert_eq!(open["slot"], json!(0));
    assert_eq!(
        (&open["open"], &open["record"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(open["endMs"], json!(GENESIS_TIME + 120_000));
    solo.seal();
    let sealed = solo.ask("lucid_slot", json!([0])).await;
    assert_eq!(sealed["open"], json!(false));
    assert_eq!(sealed["record"]["winner"], json!(solo.node));
    assert_eq!(sealed["record"]["reason"], json!("primary"));
    let schedule = solo.ask("lucid_schedule", json!([])).await;
    assert_eq!(schedule["height"], json!(3));
    assert_eq!(schedule["slot"], json!(1));
    assert_eq!(schedule["order"], json!([solo.node]));
    assert_eq!(schedule["nextOrder"], json!([solo.node]));
}

#[tokio::test]
async fn validators_parameters_and_work() {
    let solo = Solo::start().await;
    solo.mine();
    solo.mine();
    let validators = solo.ask("lucid_validators", json!([])).await;
    assert_eq!(validators["height"], json!(3));
    assert_eq!(validators["quorum"], json!(1));
    assert_eq!(validators["validators"][0]["node"], json!(solo.node));
    let earlier = solo.ask("lucid_validators", json!([1])).await;
    assert_eq!(earlier["hash"], validators["hash"]);
    assert_eq!(
        solo.refused("lucid_validators", json!([9])).await.0,
        -32_000
    );

    let params = solo.ask("lucid_params", json!([])).await;
    let chunk = params
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["key"] == json!("maxChunkSize"))
        .unwrap();
    assert_eq!(chunk["value"], json!("0x800000"));
    assert_eq!(chunk["min"], json!("0x10000"));

    let work = solo.ask("lucid_work", json!([solo.node])).await;
    assert_eq!(work["validator"], json!(true));
    assert_eq!(work["jailed"], json!(false));
    assert!(
        work["validation"].as_u64().unwrap() >= 1,
        "it signed block 1: {work}"
    );
    assert!(
        solo.ask("lucid_work", json!([Address::ZERO]))
            .await
            .is_null()
    );
    assert_eq!(solo.ask("lucid_peers", json!([])).await, json!([]));
}

#[tokio::test]
async fn certificates_and_proofs_verify() {
    let solo = Solo::start().await;
    let block = solo.mine();
    let told = solo.ask("lucid_certificate", json!([1])).await;
    assert_eq!(told["signers"], json!([solo.node]));
    let bytes: Bytes = serde_json::from_value(told["certificate"].clone()).unwrap();
    let certificate = Certificate::decode(&bytes).unwrap();
    assert_eq!(certificate.block, BlockId(block.id().0));
    certificate
        .verify(
            solo.ledger.genesis_hash(),
            &solo.ledger.genesis().validator_set().unwrap(),
        )
        .unwrap();
    assert!(solo.ask("lucid_certificate", json!([2])).await.is_null());
    assert!(
        solo.ask("lucid_certificate", json!([0])).await.is_null(),
        "genesis needs none"
    );

    let proof: Bytes =
        serde_json::from_value(solo.ask("lucid_finalityProof", json!([1])).await).unwrap();
    let proof = FinalityProof::decode(&proof).unwrap();
    let genesis = TrustedGenesis::new(solo.ledger.genesis()).unwrap();
    assert_eq!(
        lucid_light::verify(&genesis, &proof).unwrap().id(),
        block.id()
    );
    assert_eq!(
        solo.refused("lucid_finalityProof", json!([2])).await.0,
        -32_000
    );
    assert_eq!(
        solo.refused("lucid_finalityProof", json!(["latest"]))
            .await
            .0,
        -32_602
    );
}

#[tokio::test]
async fn blocks_and_snapshots_are_handed_to_whoever_copies_the_chain() {
    let solo = Solo::start().await;
    let client = lucid_client::Client::new(&solo.url()).unwrap();
    assert!(client.blocks(Height(1)).await.unwrap().is_empty());
    for byte in 1..=5 {
        solo.register(byte);
        solo.mine();
    }
    let blocks = client.blocks(Height(2)).await.unwrap();
    assert_eq!(blocks.len(), 4);
    for (block, height) in blocks.iter().zip(2..) {
        let kept = solo.ledger.certified(Height(height)).unwrap().unwrap();
        assert_eq!(*block, kept);
    }
    // As many as asked for, and never more than there are.
    for (params, count) in [
        (json!([1, 2]), 2),
        (json!([5, 9]), 1),
        (json!([6]), 0),
        (json!([u64::MAX, u64::MAX]), 0),
        (json!(["0x1", 0]), 0),
    ] {
        let answer = solo.ask("lucid_blocks", params.clone()).await;
        let bytes = data_encoding::BASE64
            .decode(answer.as_str().unwrap().as_bytes())
            .unwrap();
        assert_eq!(bytes[..4], u32::to_le_bytes(count), "{params}");
    }
    let (_, text) = solo.refused("lucid_blocks", json!([0])).await;
    assert!(text.contains("not kept here"), "{text}");
    solo.refused("lucid_blocks", json!([])).await;

    // This node keeps no snapshot.
    assert!(client.snapshot().await.unwrap().is_none());
    assert!(client.snapshot_piece(Height(1), 0).await.unwrap().is_none());
    let far = json!([1, u64::MAX]);
    assert!(solo.ask("lucid_snapshotPiece", far).await.is_null());
}

#[tokio::test]
async fn a_node_that_began_with_a_snapshot_says_null_of_what_came_before() {
    let solo = Solo::start().await;
    let mut hashes = Vec::new();
    for byte in 1..=3 {
        hashes.push(solo.register(byte));
        solo.mine();
    }
    let late = solo.join_by_snapshot().await;
    let first = json!("0x1");
    for (method, params) in [
        ("eth_getBlockByNumber", json!([first, true])),
        ("eth_getBlockTransactionCountByNumber", json!([first])),
        ("eth_getBlockReceipts", json!([first])),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            json!([first, "0x0"]),
        ),
        ("eth_getTransactionByHash", json!([hashes[0]])),
        ("eth_getTransactionReceipt", json!([hashes[1]])),
        ("lucid_block", json!([1])),
        ("lucid_certificate", json!([2])),
    ] {
        let answer = late.ask(method, params.clone()).await;
        assert!(answer.is_null(), "{method} {params}: {answer}");
    }
    let status = late.ask("lucid_status", json!([])).await;
    assert_eq!(
        (&status["earliest"], &status["height"]),
        (&json!(3), &json!(3))
    );
    // The snapshot's own block is whole.
    for method in ["eth_getBlockByNumber", "lucid_block"] {
        let params = json!(["latest"]);
        assert_eq!(
            late.ask(method, params.clone()).await,
            solo.ask(method, params).await
        );
    }
    let receipt = json!([hashes[2]]);
    assert_eq!(
        late.ask("eth_getTransactionReceipt", receipt.clone()).await,
        solo.ask("eth_getTransactionReceipt", receipt).await
    );
    // Where null would say that there was nothing, it is an error.
    let all = json!([{ "fromBlock": "0x1", "toBlock": "latest" }]);
    let (_, text) = late.refused("eth_getLogs", all).await;
    assert!(text.contains("not kept here"), "{text}");
    late.refused("eth_getBalance", json!([late.rich.address(), first]))
        .await;
    // Both go on alike.
    late.register(4);
    assert_eq!(late.mine().header.height, Height(4));
}

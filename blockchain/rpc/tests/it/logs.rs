use alloy_primitives::{Address, B256, keccak256};
use lucid_chain_types::contracts::{LUCID, LUCID_ANCHORS};
use lucid_rpc::RpcLimits;
use serde_json::{Value, json};

use crate::support::Solo;

fn registered() -> B256 {
    keccak256("SessionRegistered(bytes32,address,bytes32,bytes32,bytes32,uint64)")
}

#[tokio::test]
async fn logs_are_found_by_address_topics_range_and_block() {
    let solo = Solo::start().await;
    for byte in 1..=6 {
        solo.register(byte);
        if byte % 2 == 0 {
            solo.mine();
        }
    }
    solo.mine();
    let count = async |filter: Value| {
        solo.ask("eth_getLogs", json!([filter]))
            .await
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        count(json!({ "fromBlock": "0x0", "toBlock": "latest", "address": LUCID_ANCHORS })).await,
        6
    );
    assert_eq!(
        count(json!({ "fromBlock": "earliest", "topics": [registered()] })).await,
        6
    );
    assert_eq!(
        count(json!({ "fromBlock": "0x0", "topics": [null, B256::repeat_byte(3)] })).await,
        1
    );
    let either = json!([
        registered(),
        [
            B256::repeat_byte(3),
            B256::repeat_byte(4),
            B256::repeat_byte(9)
        ]
    ]);
    assert_eq!(
        count(json!({ "fromBlock": "0x0", "topics": either })).await,
        2
    );
    assert_eq!(
        count(json!({ "fromBlock": "0x0", "address": [LUCID, Address::ZERO] })).await,
        0
    );
    assert_eq!(
        count(json!({ "fromBlock": "0x2", "toBlock": "0x2", "address": [LUCID_ANCHORS, LUCID] }))
            .await,
        2
    );
    assert_eq!(
        count(json!({ "fromBlock": "0x0", "topics": [registered(), null, null, B256::ZERO] }))
            .await,
        0
    );
    assert_eq!(
        count(json!({ "address": LUCID_ANCHORS })).await,
        0,
        "the newest block only, by default"
    );
    assert_eq!(
        count(json!({ "fromBlock": "0x64", "toBlock": "0x65" })).await,
        0,
        "blocks of the future have none"
    );

    let block = solo
        .ask("eth_getBlockByNumber", json!(["0x2", false]))
        .await;
    let by_hash = solo
        .ask(
            "eth_getLogs",
            json!([{ "blockHash": block["hash"], "address": LUCID_ANCHORS }]),
        )
        .await;
    let logs = by_hash.as_array().unwrap();
    assert_eq!(logs.len(), 2);
    for (index, log) in logs.iter().enumerate() {
        assert_eq!(log["blockHash"], block["hash"]);
        assert_eq!(log["blockNumber"], json!("0x2"));
        assert_eq!(log["transactionHash"], block["transactions"][index]);
        assert_eq!(log["transactionIndex"], json!(format!("{index:#x}")));
        assert_eq!(log["logIndex"], json!(format!("{index:#x}")));
        assert_eq!(log["removed"], json!(false));
        assert_eq!(log["topics"][0], json!(registered()));
        let receipt = solo
            .ask("eth_getTransactionReceipt", json!([log["transactionHash"]]))
            .await;
        assert_eq!(&receipt["logs"][0], log, "the receipt has the same");
    }
}

#[tokio::test]
async fn a_search_is_bounded() {
    let limits = RpcLimits {
        max_log_blocks: 3,
        max_logs: 4,
        max_filter_entries: 2,
        ..RpcLimits::default()
    };
    let solo = Solo::limited(limits).await;
    for byte in 1..=5 {
        solo.register(byte);
    }
    solo.mine();
    for _ in 0..4 {
        solo.mine();
    }
    let (code, text) = solo
        .refused(
            "eth_getLogs",
            json!([{ "fromBlock": "0x0", "toBlock": "latest" }]),
        )
        .await;
    assert!(code == -32_005 && text.contains("at most 3"), "{text}");
    let huge = json!([{ "fromBlock": "0x0", "toBlock": "0xffffffffffffffff" }]);
    assert_eq!(solo.refused("eth_getLogs", huge).await.0, -32_005);
    let (code, text) = solo
        .refused(
            "eth_getLogs",
            json!([{ "fromBlock": "0x1", "toBlock": "0x1" }]),
        )
        .await;
    assert!(
        code == -32_005 && text.contains("more than 4 logs"),
        "{text}"
    );
    let many = json!([{ "address": [Address::ZERO, LUCID_ANCHORS, LUCID] }]);
    assert_eq!(solo.refused("eth_getLogs", many).await.0, -32_005);
    let many = json!([{ "topics": [[B256::ZERO, B256::repeat_byte(1), B256::repeat_byte(2)]] }]);
    assert_eq!(solo.refused("eth_getLogs", many).await.0, -32_005);
    let (code, _) = solo
        .refused(
            "eth_getLogs",
            json!([{ "fromBlock": "0x3", "toBlock": "0x2" }]),
        )
        .await;
    assert_eq!(code, -32_602);
    let (code, text) = solo
        .refused("eth_getLogs", json!([{ "blockHash": B256::ZERO }]))
        .await;
    assert_eq!((code, text.as_str()), (-32_000, "unknown block"));
    let too_deep = json!([{ "topics": [null, null, null, null, null] }]);
    assert_eq!(solo.refused("eth_getLogs", too_deep).await.0, -32_602);

    solo.rpc.set_limits(RpcLimits {
        max_log_blocks: 100,
        max_logs: 100,
        ..solo.rpc.limits()
    });
    let all = solo
        .ask(
            "eth_getLogs",
            json!([{ "fromBlock": "0x0", "toBlock": "latest" }]),
        )
        .await;
    assert_eq!(all.as_array().unwrap().len(), 5, "new limits hold at once");
}

/// The second time blocks are passed over by their blooms.
#[tokio::test]
async fn a_log_is_found_among_many_each_time_it_is_looked_for() {
    let solo = Solo::start().await;
    for byte in 1..=40 {
        solo.register(byte);
        solo.mine();
    }
    let count = async |id: B256| {
        let filter =
            json!([{ "fromBlock": "0x0", "toBlock": "latest", "topics": [registered(), id] }]);
        let found = solo.ask("eth_getLogs", filter).await;
        found.as_array().unwrap().len()
    };
    for _ in 0..2 {
        assert_eq!(count(B256::repeat_byte(23)).await, 1);
        assert_eq!(count(B256::repeat_byte(41)).await, 0);
    }
}

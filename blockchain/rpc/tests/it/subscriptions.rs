use std::time::Duration;

use alloy_primitives::{B256, keccak256};
use lucid_chain_types::contracts::{LUCID, LUCID_ANCHORS};
use lucid_rpc::RpcLimits;
use serde_json::{Value, json};

use crate::support::Solo;
use crate::websocket::Socket;

async fn subscribe(socket: &mut Socket, params: Value) -> Value {
    socket.call(77, "eth_subscribe", params).await;
    let answer = socket.answer(77).await;
    assert!(
        answer["result"]
            .as_str()
            .is_some_and(|id| id.starts_with("0x")),
        "{answer}"
    );
    answer["result"].clone()
}

#[tokio::test]
async fn heads_logs_and_arrivals_are_told() {
    let solo = Solo::start().await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    let heads = subscribe(&mut socket, json!(["newHeads"])).await;
    let topic = keccak256("SessionRegistered(bytes32,address,bytes32,bytes32,bytes32,uint64)");
    let logs = subscribe(
        &mut socket,
        json!(["logs", { "address": LUCID_ANCHORS, "topics": [topic, B256::repeat_byte(2)] }]),
    )
    .await;
    let arrivals = subscribe(&mut socket, json!(["newPendingTransactions"])).await;

    let first = solo.register(1);
    let second = solo.register(2);
    assert_eq!(socket.told(&arrivals).await, json!(first));
    assert_eq!(socket.told(&arrivals).await, json!(second));
    let block = solo.mine();
    let head = socket.told(&heads).await;
    let shown = solo
        .ask("eth_getBlockByNumber", json!(["latest", false]))
        .await;
    for (field, value) in head.as_object().unwrap() {
        assert_eq!(value, &shown[field], "{field}");
    }
    assert_eq!(head["hash"], json!(block.id()));
    assert!(head.get("transactions").is_none());
    let log = socket.told(&logs).await;
    assert_eq!(
        log["transactionHash"],
        json!(second),
        "the other session's log is not wanted"
    );
    assert_eq!(log["logIndex"], json!("0x1"));

    socket.call(5, "eth_unsubscribe", json!([heads])).await;
    assert_eq!(socket.answer(5).await["result"], json!(true));
    socket.call(6, "eth_unsubscribe", json!([heads])).await;
    assert_eq!(socket.answer(6).await["result"], json!(false));
}

#[tokio::test]
async fn no_block_is_left_out_when_many_come_at_once() {
    let solo = Solo::start().await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    let heads = subscribe(&mut socket, json!(["newHeads"])).await;
    for _ in 0..30 {
        solo.mine();
    }
    for height in 1..=30 {
        assert_eq!(
            socket.told(&heads).await["number"],
            json!(format!("{height:#x}"))
        );
    }
}

#[tokio::test]
async fn subscriptions_that_are_not_offered_are_refused() {
    let solo = Solo::start().await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    for params in [
        json!([]),
        json!(["syncing"]),
        json!(["everything"]),
        json!(["logs", { "address": "0x1" }]),
        json!(["newPendingTransactions", true]),
        json!(["logs", { "address": vec![LUCID; 1] , "topics": [vec![B256::ZERO; 1], null, null, null, null] }]),
    ] {
        socket.call(1, "eth_subscribe", params.clone()).await;
        assert_eq!(
            socket.answer(1).await["error"]["code"],
            json!(-32_602),
            "{params}"
        );
    }
}

#[tokio::test]
async fn a_connection_has_a_bounded_number_of_subscriptions() {
    let solo = Solo::limited(RpcLimits {
        max_subscriptions: 3,
        ..RpcLimits::default()
    })
    .await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    let mut first = None;
    for _ in 0..3 {
        first = Some(subscribe(&mut socket, json!(["newHeads"])).await);
    }
    for id in 100..200 {
        socket.call(id, "eth_subscribe", json!(["newHeads"])).await;
    }
    for id in 100..200 {
        assert_eq!(socket.answer(id).await["error"]["code"], json!(-32_006));
    }
    socket.call(5, "eth_unsubscribe", json!([first])).await;
    assert_eq!(socket.answer(5).await["result"], json!(true));
    // Its place comes back when its task has ended.
    let mut id = 1_000;
    loop {
        socket.call(id, "eth_subscribe", json!(["newHeads"])).await;
        if socket.answer(id).await.get("result").is_some() {
            break;
        }
        id += 1;
        assert!(
            id < 1_100,
            "the place of an ended subscription does not come back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut other = Socket::open(solo.rpc.local_addr).await;
    subscribe(&mut other, json!(["newHeads"])).await;
}

#[tokio::test]
async fn who_does_not_read_is_dropped() {
    let limits = RpcLimits {
        idle_time: Duration::from_secs(1),
        ..RpcLimits::default()
    };
    let solo = Solo::limited(limits).await;
    let mut deaf = Socket::open(solo.rpc.local_addr).await;
    let mut flood = String::new();
    for id in 0..200 {
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "eth_getCode", "params": [LUCID_ANCHORS, "latest"] });
        flood = call.to_string();
        deaf.send(&flood).await.unwrap();
    }
    // Answers of some 5 MB that nobody reads: sending has to get stuck, and then fail.
    let stuck = async {
        loop {
            if deaf.send(&flood).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stuck)
        .await
        .expect("the connection is ended");
    let mut good = Socket::open(solo.rpc.local_addr).await;
    let heads = subscribe(&mut good, json!(["newHeads"])).await;
    solo.mine();
    assert_eq!(good.told(&heads).await["number"], json!("0x1"));
}

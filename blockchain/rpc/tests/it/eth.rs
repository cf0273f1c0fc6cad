//! Shapes and meanings of Ethereum's methods.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use lucid_chain_types::contracts::{LUCID, LUCID_ANCHORS};
use serde_json::json;

use crate::support::{CHAIN_ID, GENESIS_TIME, Solo, fortune, number, register_call, wallet};

/// Every field of a Prague header, and of a block.
const BLOCK_FIELDS: [&str; 26] = [
    "number",
    "hash",
    "parentHash",
    "nonce",
    "sha3Uncles",
    "logsBloom",
    "transactionsRoot",
    "stateRoot",
    "receiptsRoot",
    "miner",
    "difficulty",
    "extraData",
    "size",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "transactions",
    "uncles",
    "mixHash",
    "baseFeePerGas",
    "withdrawalsRoot",
    "withdrawals",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
];

#[tokio::test]
async fn a_fresh_chain_answers() {
    let solo = Solo::start().await;
    assert_eq!(number(&solo.ask("eth_chainId", json!([])).await), CHAIN_ID);
    assert_eq!(
        solo.ask("net_version", json!([])).await,
        json!(CHAIN_ID.to_string())
    );
    assert_eq!(solo.ask("net_listening", json!([])).await, json!(true));
    assert_eq!(solo.ask("net_peerCount", json!([])).await, json!("0x0"));
    assert_eq!(
        solo.ask("web3_clientVersion", json!([])).await,
        json!("lucid/test")
    );
    assert_eq!(
        solo.ask("web3_sha3", json!(["0x68656c6c6f"])).await,
        json!("0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8")
    );
    assert_eq!(solo.ask("eth_blockNumber", json!([])).await, json!("0x0"));
    assert_eq!(solo.ask("eth_syncing", json!([])).await, json!(false));
    assert_eq!(solo.ask("eth_accounts", json!([])).await, json!([]));
    let rich = solo.rich.address();
    assert_eq!(
        solo.ask("eth_getBalance", json!([rich, "latest"])).await,
        json!(fortune())
    );
    assert_eq!(
        solo.ask("eth_getTransactionCount", json!([rich, "pending"]))
            .await,
        json!("0x0")
    );
    assert!(
        solo.ask("eth_getCode", json!([LUCID_ANCHORS, "latest"]))
            .await
            .as_str()
            .unwrap()
            .len()
            > 1_000
    );
    assert_eq!(
        solo.ask("eth_getCode", json!([rich, "latest"])).await,
        json!("0x")
    );
}

#[tokio::test]
async fn genesis_is_a_block() {
    let solo = Solo::start().await;
    let genesis = solo
        .ask("eth_getBlockByNumber", json!(["earliest", true]))
        .await;
    for field in BLOCK_FIELDS {
        assert!(genesis.get(field).is_some(), "{field}: {genesis}");
    }
    assert_eq!(genesis["hash"], json!(solo.ledger.genesis_hash()));
    assert_eq!(
        genesis["stateRoot"],
        json!(solo.ledger.genesis().state_root)
    );
    assert_eq!(number(&genesis["timestamp"]), GENESIS_TIME / 1_000);
    assert_eq!(genesis["transactions"], json!([]));
    let first = solo.mine();
    assert_eq!(number(&genesis["baseFeePerGas"]), first.header.base_fee);
    assert_eq!(number(&genesis["gasLimit"]), first.header.gas_limit);
    let by_hash = solo
        .ask("eth_getBlockByHash", json!([genesis["hash"], true]))
        .await;
    assert_eq!(by_hash, genesis);
    let child = solo
        .ask("eth_getBlockByNumber", json!(["0x1", false]))
        .await;
    assert_eq!(child["parentHash"], genesis["hash"]);
    assert_eq!(
        solo.ask("eth_getBlockReceipts", json!(["earliest"])).await,
        json!([])
    );
}

#[tokio::test]
async fn a_block_has_every_field_of_ethereums() {
    let solo = Solo::start().await;
    let hash = solo.register(1);
    let block = solo.mine();
    let shown = solo
        .ask("eth_getBlockByNumber", json!(["latest", false]))
        .await;
    for field in BLOCK_FIELDS {
        assert!(shown.get(field).is_some(), "{field}: {shown}");
    }
    let header = &block.header;
    assert_eq!(shown["hash"], json!(block.id()));
    assert_eq!(shown["stateRoot"], json!(header.state_root));
    assert_eq!(
        shown["miner"].as_str().unwrap().to_lowercase(),
        format!("{:#x}", solo.node.0)
    );
    assert_eq!(number(&shown["timestamp"]), header.time_ms / 1_000);
    assert_eq!(number(&shown["gasUsed"]), header.gas_used);
    assert_eq!(number(&shown["size"]), block.encode().len() as u64);
    assert_eq!(shown["nonce"], json!("0x0000000000000000"));
    assert_eq!(shown["difficulty"], json!("0x0"));
    assert_eq!(shown["transactions"], json!([hash]));
    assert_ne!(shown["logsBloom"], json!(format!("0x{}", "00".repeat(256))));

    let whole = solo
        .ask("eth_getBlockByHash", json!([shown["hash"], true]))
        .await;
    let transaction = &whole["transactions"][0];
    assert_eq!(transaction["hash"], json!(hash));
    assert_eq!(
        transaction["from"].as_str().unwrap().to_lowercase(),
        format!("{:#x}", solo.rich.address())
    );
    assert_eq!(transaction["type"], json!("0x2"));
    assert_eq!(transaction["blockHash"], shown["hash"]);
    for tag in ["latest", "safe", "finalized", "pending", "0x1"] {
        let tagged = solo.ask("eth_getBlockByNumber", json!([tag, false])).await;
        assert_eq!(tagged["hash"], shown["hash"], "{tag}");
    }
    for (method, by) in [("Number", json!("0x1")), ("Hash", shown["hash"].clone())] {
        assert_eq!(
            solo.ask(
                &format!("eth_getBlockTransactionCountBy{method}"),
                json!([by])
            )
            .await,
            json!("0x1")
        );
        assert_eq!(
            solo.ask(&format!("eth_getUncleCountByBlock{method}"), json!([by]))
                .await,
            json!("0x0")
        );
        let by_index = solo
            .ask(
                &format!("eth_getTransactionByBlock{method}AndIndex"),
                json!([by, "0x0"]),
            )
            .await;
        assert_eq!(by_index["hash"], json!(hash));
        let none = solo
            .ask(
                &format!("eth_getTransactionByBlock{method}AndIndex"),
                json!([by, "0x1"]),
            )
            .await;
        assert!(none.is_null());
    }
}

#[tokio::test]
async fn a_transaction_from_the_pool_to_its_receipt() {
    let solo = Solo::start().await;
    let to = Address::repeat_byte(0x77);
    let bytes = solo.signed(0, to, 5, Bytes::new());
    let hash = solo
        .ask(
            "eth_sendRawTransaction",
            json!([Bytes::from(bytes.clone())]),
        )
        .await;
    let waiting = solo.ask("eth_getTransactionByHash", json!([hash])).await;
    assert!(
        waiting["blockHash"].is_null() && waiting["blockNumber"].is_null(),
        "{waiting}"
    );
    assert!(
        solo.ask("eth_getTransactionReceipt", json!([hash]))
            .await
            .is_null()
    );
    let count = |tag: &'static str| {
        let (solo, rich) = (&solo, solo.rich.address());
        async move {
            number(
                &solo
                    .ask("eth_getTransactionCount", json!([rich, tag]))
                    .await,
            )
        }
    };
    assert_eq!((count("latest").await, count("pending").await), (0, 1));

    let block = solo.mine();
    assert_eq!((count("latest").await, count("pending").await), (1, 1));
    let included = solo.ask("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(included["blockHash"], json!(block.id()));
    assert_eq!(included["transactionIndex"], json!("0x0"));
    assert_eq!(
        number(&included["gasPrice"]),
        block.header.base_fee + 1_000,
        "what it paid"
    );
    let receipt = solo.ask("eth_getTransactionReceipt", json!([hash])).await;
    for (field, value) in [
        ("status", json!("0x1")),
        ("type", json!("0x2")),
        ("gasUsed", json!("0x5208")),
        ("cumulativeGasUsed", json!("0x5208")),
        ("blockNumber", json!("0x1")),
        ("blockHash", json!(block.id())),
        ("transactionHash", hash.clone()),
        ("transactionIndex", json!("0x0")),
        ("logs", json!([])),
        ("contractAddress", json!(null)),
        ("effectiveGasPrice", included["gasPrice"].clone()),
    ] {
        assert_eq!(receipt[field], value, "{field}");
    }
    assert_eq!(
        receipt["to"].as_str().unwrap().to_lowercase(),
        format!("{to:#x}")
    );
    assert_eq!(
        solo.ask("eth_getBlockReceipts", json!(["0x1"])).await,
        json!([receipt])
    );
    assert_eq!(
        solo.ask("eth_getRawTransactionByHash", json!([hash])).await,
        json!(Bytes::from(bytes))
    );
    assert_eq!(
        solo.ask("eth_getBalance", json!([to, "0x0"])).await,
        json!("0x0")
    );
    assert_eq!(
        solo.ask("eth_getBalance", json!([to, "0x1"])).await,
        json!("0x5")
    );
    let at = json!({ "blockHash": block.id(), "requireCanonical": true });
    assert_eq!(
        solo.ask("eth_getBalance", json!([to, at])).await,
        json!("0x5")
    );
}

#[tokio::test]
async fn what_is_not_there_is_null_and_what_cannot_be_is_an_error() {
    let solo = Solo::start().await;
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["0x64", true])),
        ("eth_getBlockByHash", json!([B256::ZERO, true])),
        ("eth_getBlockReceipts", json!(["0x64"])),
        ("eth_getTransactionByHash", json!([B256::ZERO])),
        ("eth_getTransactionReceipt", json!([B256::ZERO])),
        ("eth_getBlockTransactionCountByNumber", json!(["0x64"])),
        ("eth_getUncleByBlockNumberAndIndex", json!(["0x0", "0x0"])),
    ] {
        assert!(solo.ask(method, params).await.is_null(), "{method}");
    }
    let (code, text) = solo
        .refused("eth_getBalance", json!([Address::ZERO, "0x64"]))
        .await;
    assert_eq!((code, text.as_str()), (-32_000, "header not found"));
    let (code, text) = solo.refused("eth_getBalance", json!([])).await;
    assert_eq!(
        (code, text.as_str()),
        (-32_602, "missing value for required argument 'address'")
    );
    for (method, params) in [
        ("eth_getBalance", json!(["0x12", "latest"])),
        ("eth_getBalance", json!([Address::ZERO, "newest"])),
        (
            "eth_getBalance",
            json!([Address::ZERO, { "blockHash": "0x1" }]),
        ),
        ("eth_getStorageAt", json!([Address::ZERO, "zz", "latest"])),
        ("eth_getBlockByNumber", json!([true])),
        ("eth_sendRawTransaction", json!(["hello"])),
        ("eth_call", json!(["latest"])),
        ("eth_getProof", json!([Address::ZERO, "0x0", "latest"])),
    ] {
        let (code, text) = solo.refused(method, params).await;
        assert_eq!(code, -32_602, "{method}: {text}");
        assert!(
            text.starts_with("invalid argument") || text.contains("slot"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_unknown_method_is_answered_as_geth_does() {
    let solo = Solo::start().await;
    let (code, text) = solo.refused("eth_fillTransaction", json!([{}])).await;
    assert_eq!(
        (code, text.as_str()),
        (
            -32_601,
            "the method eth_fillTransaction does not exist/is not available"
        )
    );
    for method in [
        "",
        "lucid",
        "rpc.discover",
        "eth_newFilter",
        "admin_peers",
        "debug_traceCall",
    ] {
        assert_eq!(solo.refused(method, json!([])).await.0, -32_601, "{method}");
    }
    let (code, _) = solo.refused("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(code, -32_001, "subscriptions need a WebSocket");
}

#[tokio::test]
async fn refusals_of_transactions_say_what_clients_look_for() {
    let solo = Solo::start().await;
    let to = Address::repeat_byte(1);
    let send = |bytes: Vec<u8>| json!([Bytes::from(bytes)]);
    solo.submit(to, 1, Bytes::new());
    solo.mine();
    let cases = [
        (solo.signed(0, to, 1, Bytes::new()), "nonce too low"),
        (solo.signed(1_000, to, 1, Bytes::new()), "nonce too high"),
        (
            wallet("poor")
                .sign(alloy_consensus::TxEip1559 {
                    chain_id: CHAIN_ID,
                    gas_limit: 21_000,
                    max_fee_per_gas: 10_000_000_000,
                    to: to.into(),
                    ..Default::default()
                })
                .unwrap(),
            "insufficient funds for gas * price + value",
        ),
        (
            solo.rich
                .sign(alloy_consensus::TxEip1559 {
                    chain_id: CHAIN_ID,
                    nonce: 1,
                    gas_limit: 20_000,
                    max_fee_per_gas: 10_000_000_000,
                    to: to.into(),
                    ..Default::default()
                })
                .unwrap(),
            "intrinsic gas too low",
        ),
        (
            solo.rich
                .sign(alloy_consensus::TxEip1559 {
                    chain_id: CHAIN_ID,
                    nonce: 1,
                    gas_limit: 21_000_000_000,
                    max_fee_per_gas: 1,
                    to: to.into(),
                    ..Default::default()
                })
                .unwrap(),
            "exceeds block gas limit",
        ),
        (vec![0x02, 0xc0], "malformed"),
    ];
    for (bytes, text) in cases {
        let (code, message) = solo.refused("eth_sendRawTransaction", send(bytes)).await;
        assert_eq!(code, -32_000, "{message}");
        assert!(message.contains(text), "{message} has no '{text}'");
    }
    let again = solo.signed(1, to, 1, Bytes::new());
    solo.ask("eth_sendRawTransaction", send(again.clone()))
        .await;
    assert!(
        solo.refused("eth_sendRawTransaction", send(again))
            .await
            .1
            .contains("already known")
    );
    let rival = solo.signed(1, to, 2, Bytes::new());
    let (_, text) = solo.refused("eth_sendRawTransaction", send(rival)).await;
    assert!(
        text.contains("replacement transaction underpriced"),
        "{text}"
    );
    assert_eq!(
        solo.refused("eth_sendTransaction", json!([{ "from": to }]))
            .await
            .0,
        -32_000
    );
}

#[tokio::test]
async fn calls_see_the_state_of_the_block_they_name() {
    let solo = Solo::start().await;
    solo.register(9);
    solo.mine();
    // ownerOf(bytes32)
    let owner_of = Bytes::from([&hex!("7dd56411")[..], &[9; 32]].concat());
    let call = json!({ "to": LUCID_ANCHORS, "data": owner_of });
    let rich = solo.rich.address().into_word();
    assert_eq!(
        solo.ask("eth_call", json!([call, "latest"])).await,
        json!(rich)
    );
    assert_eq!(
        solo.ask("eth_call", json!([call])).await,
        json!(rich),
        "latest is the default"
    );
    assert_eq!(
        solo.ask("eth_call", json!([call, "0x0"])).await,
        json!(B256::ZERO)
    );
    let input =
        json!({ "to": LUCID_ANCHORS, "input": owner_of, "data": owner_of, "gas": "0xffffffffff" });
    assert_eq!(
        solo.ask("eth_call", json!([input, "latest", {}])).await,
        json!(rich)
    );
    let contradiction = json!({ "to": LUCID_ANCHORS, "input": owner_of, "data": "0x" });
    assert_eq!(
        solo.refused("eth_call", json!([contradiction, "latest"]))
            .await
            .0,
        -32_602
    );
    let overrides = json!({ format!("{LUCID_ANCHORS}"): { "balance": "0x1" } });
    assert_eq!(
        solo.refused("eth_call", json!([call, "latest", overrides]))
            .await
            .0,
        -32_602
    );
    let creation = json!({ "data": "0x00" });
    let (code, text) = solo.refused("eth_call", json!([creation, "latest"])).await;
    assert!(
        code == -32_000 && text.contains("cannot be created"),
        "{text}"
    );
}

#[tokio::test]
async fn a_revert_comes_with_code_three_and_its_data() {
    let solo = Solo::start().await;
    let rich = solo.rich.address();
    let call = json!({ "from": rich, "to": LUCID_ANCHORS, "data": register_call(3, rich) });
    let gas = number(&solo.ask("eth_estimateGas", json!([call])).await);
    let hash = solo.register(3);
    solo.mine();
    let receipt = solo.ask("eth_getTransactionReceipt", json!([hash])).await;
    assert!(
        number(&receipt["gasUsed"]) <= gas && gas < 150_000,
        "estimate {gas}, used {}",
        receipt["gasUsed"]
    );
    for method in ["eth_call", "eth_estimateGas"] {
        let answer = solo.answer(method, json!([call, "latest"])).await;
        assert_eq!(answer["error"]["code"], json!(3), "{answer}");
        assert_eq!(answer["error"]["message"], json!("execution reverted"));
        // SessionExists(bytes32)
        let data = format!(
            "{}{}",
            &answer["error"]["data"].as_str().unwrap()[..10],
            "03".repeat(32)
        );
        assert_eq!(answer["error"]["data"], json!(data));
    }
    // An estimate of what the sender cannot pay.
    let poor = json!({ "from": wallet("poor").address(), "to": rich, "value": "0x1" });
    let (_, text) = solo.refused("eth_estimateGas", json!([poor])).await;
    assert!(text.contains("insufficient funds"), "{text}");
}

#[tokio::test]
async fn proofs_hold_under_the_state_root() {
    let solo = Solo::start().await;
    solo.register(5);
    let block = solo.mine();
    solo.mine();
    let shown = solo
        .ask(
            "eth_getProof",
            json!([LUCID_ANCHORS, ["0x0", B256::repeat_byte(1)], "0x1"]),
        )
        .await;
    let proof = solo.ledger.state_at(block.header.height).unwrap();
    assert_eq!(proof.root(), block.header.state_root);
    let proof = proof
        .proof(LUCID_ANCHORS, &[U256::ZERO, U256::from_be_bytes([1; 32])])
        .unwrap();
    assert_eq!(shown["accountProof"], json!(proof.account_proof));
    assert_eq!(shown["storageHash"], json!(proof.storage_root));
    assert_eq!(shown["storageProof"][0]["key"], json!("0x0"));
    assert_eq!(shown["storageProof"][1]["key"], json!(B256::repeat_byte(1)));
    let absent = solo
        .ask(
            "eth_getProof",
            json!([Address::repeat_byte(0xee), [], "latest"]),
        )
        .await;
    assert_eq!(
        (&absent["balance"], &absent["nonce"]),
        (&json!("0x0"), &json!("0x0"))
    );
    assert!(!absent["accountProof"].as_array().unwrap().is_empty());
    let storage = solo
        .ask("eth_getStorageAt", json!([LUCID, "0x2", "latest"]))
        .await;
    assert_eq!(storage, json!(B256::ZERO));
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let solo = Solo::start().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_chainId", "params": [] },
        { "jsonrpc": "2.0", "method": "eth_chainId", "params": [] },
        { "jsonrpc": "2.0", "id": 7, "method": "eth_nothing" },
        { "id": 8 },
        { "jsonrpc": "2.0", "id": 9, "method": "eth_blockNumber" },
    ]);
    let (status, body) = solo.post(batch.to_string().as_bytes()).await;
    let answers: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answers.len(), 4, "a notification has no answer: {body}");
    assert_eq!(answers[0]["id"], json!("a"));
    assert_eq!(answers[1]["error"]["code"], json!(-32_601));
    assert_eq!(answers[2]["error"]["code"], json!(-32_600));
    assert_eq!(answers[3]["result"], json!("0x0"));
}

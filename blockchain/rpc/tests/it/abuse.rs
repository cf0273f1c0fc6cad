//! Callers who mean no good: each gets an answer or is cut off, and the next caller is served.

use std::time::Duration;

use alloy_primitives::Address;
use lucid_rpc::{RpcLimits, RpcSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{GENESIS_TIME, Solo, exchange};

async fn still_serves(solo: &Solo) {
    assert_eq!(solo.ask("eth_blockNumber", json!([])).await, json!("0x0"));
}

#[tokio::test]
async fn an_oversized_body_is_refused_however_it_is_announced() {
    let solo = Solo::limited(RpcLimits {
        max_request: 10_000,
        ..RpcLimits::default()
    })
    .await;
    let body = vec![b' '; 20_000];
    let (status, answer) = solo.post(&body).await;
    assert_eq!(status, 413, "{answer}");
    // The header says more than is allowed, and nothing follows.
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    let (status, _) = exchange(
        solo.rpc.local_addr,
        &[&head[..], b"connection: close"].concat(),
    )
    .await;
    assert_eq!(status, 413);
    // Chunks without end.
    let mut chunked =
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend(b"400\r\n");
        chunked.extend([b'['; 1_024]);
        chunked.extend(b"\r\n");
    }
    let (status, _) = exchange(solo.rpc.local_addr, &chunked).await;
    assert!(status == 413 || status == 0, "{status}");
    still_serves(&solo).await;
}

#[tokio::test]
async fn a_batch_bomb_is_refused_whole() {
    let solo = Solo::limited(RpcLimits {
        max_batch: 10,
        max_response: 20_000,
        ..RpcLimits::default()
    })
    .await;
    let call = |method: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
    let (status, body) = solo
        .post(
            Value::from(vec![call("eth_chainId"); 11])
                .to_string()
                .as_bytes(),
        )
        .await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &answer["error"]["code"]),
        (200, &json!(-32_010)),
        "{body}"
    );
    // Few calls whose answers are large.
    let code = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getCode",
        "params": [lucid_chain_types::contracts::WORK_CREDITS, "latest"] });
    let (_, body) = solo
        .post(Value::from(vec![code.clone(); 10]).to_string().as_bytes())
        .await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert!(
        answer["error"]["code"] == json!(-32_011) || answer[0]["error"]["code"] == json!(-32_008),
        "{body}"
    );
    // One whose answer is.
    let (_, body) = solo.post(code.to_string().as_bytes()).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["error"]["code"], json!(-32_008), "{body}");
    // Batches in batches are no calls.
    let nested = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let (_, body) = solo.post(nested.as_bytes()).await;
    assert!(body.contains("-32600") || body.contains("-32700"), "{body}");
    still_serves(&solo).await;
}

#[tokio::test]
async fn deep_json_is_refused_without_harm() {
    let solo = Solo::start().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let bodies = [
            deep.clone(),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{deep}]}}"#),
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{{"topics":{deep}}}]}}"#
            ),
            format!(r#"{{"jsonrpc":"2.0","id":{deep},"method":"eth_chainId"}}"#),
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{{"to":"{}"}},"latest",{deep}]}}"#,
                Address::ZERO
            ),
        ];
        for body in bodies {
            let (_, answer) = solo.post(body.as_bytes()).await;
            assert!(
                answer.contains("\"error\"") || answer == "null",
                "{}",
                &answer[..answer.len().min(200)]
            );
        }
    }
    still_serves(&solo).await;
}

#[tokio::test]
async fn junk_is_answered_or_cut_off() {
    let solo = Solo::start().await;
    let address = solo.rpc.local_addr;
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"null",
        b"\"x\"",
        b"1e999",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"[1]",
        b"{\"id\":1}",
    ] {
        let (status, answer) = solo.post(body).await;
        assert!(
            status == 200 || status == 400,
            "{body:?}: {status} {answer}"
        );
        assert!(answer.contains("\"error\""), "{body:?}: {answer}");
    }
    let requests: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\nconnection: close\r\n\r\n{}",
        b"GARBAGE\r\n\r\n",
    ];
    for request in requests {
        let (status, _) = exchange(address, request).await;
        assert_ne!(status, 200, "{request:?}");
    }
    // More headers than anybody needs, and one that is larger.
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(200_000));
    for headers in [many, large] {
        let request = format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n");
        let (status, _) = exchange(address, request.as_bytes()).await;
        assert!(status == 431 || status == 0, "{status}");
    }
    still_serves(&solo).await;
}

#[tokio::test]
async fn parameters_of_the_wrong_kind_are_refused_for_every_method() {
    let solo = Solo::start().await;
    let methods = [
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getBlockReceipts",
        "eth_getTransactionCount",
        "eth_getBalance",
        "eth_getCode",
        "eth_getStorageAt",
        "eth_getProof",
        "eth_call",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_sendRawTransaction",
        "eth_getLogs",
        "web3_sha3",
        "lucid_block",
        "lucid_slot",
        "lucid_validators",
        "lucid_work",
        "lucid_certificate",
        "lucid_finalityProof",
    ];
    let junk = [
        json!([{}]),
        json!([[]]),
        json!([{ "a": [1, 2, { "b": null }] }]),
        json!(["0xzz"]),
        json!([-1]),
        json!([1.5]),
        json!(["\u{0}\u{0}"]),
        json!({ "named": 1 }),
        json!([true, true, true, true, true, true, true]),
        json!([format!("0x{}", "f".repeat(10_000))]),
    ];
    for method in methods {
        for params in &junk {
            let answer = solo.answer(method, params.clone()).await;
            if let Some(error) = answer.get("error") {
                let code = error["code"].as_i64().unwrap();
                assert!(
                    [-32_602, -32_000].contains(&code),
                    "{method} {params}: {answer}"
                );
            }
        }
    }
    still_serves(&solo).await;
}

#[tokio::test]
async fn who_sends_nothing_loses_his_connection() {
    let solo = Solo::limited(RpcLimits {
        idle_time: Duration::from_millis(400),
        ..RpcLimits::default()
    })
    .await;
    let mut silent = TcpStream::connect(solo.rpc.local_addr).await.unwrap();
    let mut slow = TcpStream::connect(solo.rpc.local_addr).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    let mut idle = TcpStream::connect(solo.rpc.local_addr).await.unwrap();
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        call.len()
    );
    idle.write_all(&[head.as_bytes(), call].concat())
        .await
        .unwrap();
    for stream in [&mut silent, &mut slow, &mut idle] {
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .expect("an end")
            .unwrap();
    }
    still_serves(&solo).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let solo = Solo::limited(RpcLimits {
        request_time: Duration::from_millis(400),
        ..RpcLimits::default()
    })
    .await;
    let mut stream = TcpStream::connect(solo.rpc.local_addr).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 1_024];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut chunk))
        .await
        .expect("an answer")
        .unwrap();
    answer.extend_from_slice(&chunk[..read]);
    assert!(
        answer.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    still_serves(&solo).await;
}

#[tokio::test]
async fn connections_are_counted_and_places_come_back() {
    let solo = Solo::limited(RpcLimits {
        max_connections: 8,
        ..RpcLimits::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(crate::websocket::Socket::open(solo.rpc.local_addr).await);
    }
    for _ in 0..50 {
        let mut stream = TcpStream::connect(solo.rpc.local_addr).await.unwrap();
        let mut nothing = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut nothing))
            .await
            .expect("an end");
        assert!(read.is_err() || nothing.is_empty());
    }
    held.clear();
    let mut tries = 0;
    while crate::websocket::Socket::from_page(solo.rpc.local_addr, None)
        .await
        .is_err()
    {
        tries += 1;
        assert!(
            tries < 100,
            "the places of closed WebSockets do not come back"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_address_that_calls_too_often_is_told_so() {
    let limits = RpcLimits {
        max_calls_per_second_per_ip: Some(5),
        ..RpcLimits::default()
    };
    let solo = Solo::limited(limits).await;
    let batch = vec![json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }); 50];
    let (_, body) = solo.post(Value::from(batch).to_string().as_bytes()).await;
    let answers: Vec<Value> = serde_json::from_str(&body).unwrap();
    let refused = answers
        .iter()
        .filter(|answer| answer["error"]["code"] == json!(-32_005))
        .count();
    assert!(
        (40..=45).contains(&refused),
        "{refused} of 50, each of a batch counts"
    );
}

#[tokio::test]
async fn a_busy_node_says_so_instead_of_piling_up_calls() {
    let patience = Duration::from_millis(50);
    let solo = Solo::limited(RpcLimits {
        max_executions: 0,
        patience,
        ..RpcLimits::default()
    })
    .await;
    let call = json!([{ "to": Address::ZERO }, "latest"]);
    let (code, text) = solo.refused("eth_call", call.clone()).await;
    assert_eq!(
        (code, text.as_str()),
        (-32_005, "the node is busy, try again")
    );
    still_serves(&solo).await;
    solo.rpc.set_limits(RpcLimits {
        max_calls: 0,
        patience,
        ..RpcLimits::default()
    });
    assert_eq!(solo.refused("eth_chainId", json!([])).await.0, -32_005);
    solo.rpc.set_limits(RpcLimits {
        max_calls_per_connection: 0,
        ..RpcLimits::default()
    });
    assert_eq!(solo.refused("eth_chainId", json!([])).await.0, -32_005);
    solo.rpc.set_limits(RpcLimits::default());
    solo.ask("eth_call", call).await;
}

#[tokio::test]
async fn a_call_that_burns_gas_ends_at_the_cap() {
    let solo = Solo::limited(RpcLimits {
        call_gas: 25_000,
        ..RpcLimits::default()
    })
    .await;
    let rich = solo.rich.address();
    let call = json!({ "from": rich, "to": lucid_chain_types::contracts::LUCID_ANCHORS, "gas": "0xffffffffffff",
        "data": crate::support::register_call(1, rich) });
    for method in ["eth_call", "eth_estimateGas"] {
        let (code, text) = solo.refused(method, json!([call, "latest"])).await;
        assert!(code == -32_000 && text.contains("gas"), "{method}: {text}");
    }
}

#[tokio::test]
async fn proofs_of_many_slots_are_refused() {
    let solo = Solo::limited(RpcLimits {
        max_proof_slots: 4,
        ..RpcLimits::default()
    })
    .await;
    let slots: Vec<String> = (0..5).map(|slot| format!("{slot:#x}")).collect();
    let (code, _) = solo
        .refused("eth_getProof", json!([Address::ZERO, slots, "latest"]))
        .await;
    assert_eq!(code, -32_005);
}

#[tokio::test]
async fn pages_may_call_only_from_listed_origins() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type\r\nconnection: close\r\n\r\n"
        )
    };
    let allowed = async |solo: &Solo, origin: &str| {
        let mut stream = TcpStream::connect(solo.rpc.local_addr).await.unwrap();
        stream
            .write_all(preflight(origin).as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().find_map(|line| {
            line.strip_prefix("access-control-allow-origin: ")
                .map(str::to_owned)
        })
    };
    let none = Solo::start().await;
    assert_eq!(allowed(&none, "https://wallet.example").await, None);
    let one = RpcSettings {
        origins: vec!["https://wallet.example".to_owned()],
        ..RpcSettings::default()
    };
    let one = Solo::with(one, GENESIS_TIME).await;
    assert_eq!(
        allowed(&one, "https://wallet.example").await.as_deref(),
        Some("https://wallet.example")
    );
    assert_eq!(allowed(&one, "https://evil.example").await, None);
    let any = RpcSettings {
        origins: vec!["*".to_owned()],
        ..RpcSettings::default()
    };
    let any = Solo::with(any, GENESIS_TIME).await;
    assert_eq!(
        allowed(&any, "https://evil.example").await.as_deref(),
        Some("*")
    );
}

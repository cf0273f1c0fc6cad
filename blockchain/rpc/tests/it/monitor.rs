use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use lucid_chain_types::Height;
use lucid_rpc::{Health, HealthFacts, STALE_AFTER, metrics, monitor_router};
use serde_json::{Value, json};

use crate::support::{Solo, exchange};

fn well() -> HealthFacts {
    HealthFacts {
        height: Height(7),
        since_last_block: Some(Duration::from_secs(3)),
        peers: 3,
        peers_needed: 2,
        syncing: false,
    }
}

#[test]
fn health_names_every_problem() {
    assert!(Health::of(&well()).is_ok());
    assert!(
        Health::of(&HealthFacts {
            since_last_block: None,
            ..well()
        })
        .is_ok(),
        "the chain has not begun"
    );
    let bad = Health::of(&HealthFacts {
        since_last_block: Some(STALE_AFTER + Duration::from_secs(1)),
        peers: 1,
        syncing: true,
        ..well()
    });
    assert_eq!(
        bad.problems,
        [
            "the node is catching up",
            "no block for 301 s, a slot's seal is due every 120 s",
            "1 peers, 2 are needed for a quorum"
        ]
    );
}

#[tokio::test]
async fn the_monitor_answers_health_and_metrics() {
    let handle = metrics::install().unwrap();
    let solo = Solo::start().await;
    solo.ask("eth_chainId", json!([])).await;
    solo.answer("eth_madeUp", json!([])).await;
    metrics::CHAIN_HEIGHT.set_count(7);

    let (facts, peers) = (
        well(),
        std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(3)),
    );
    let seen = std::sync::Arc::clone(&peers);
    let router = monitor_router(handle, move || HealthFacts {
        peers: seen.load(std::sync::atomic::Ordering::Relaxed),
        ..facts.clone()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let get = async |path: &str| {
        exchange(
            address,
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
    };

    let (status, body) = get("/health").await;
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        health,
        json!({ "status": "ok", "height": 7, "secondsSinceLastBlock": 3, "peers": 3, "syncing": false, "problems": [] })
    );
    peers.store(0, std::sync::atomic::Ordering::Relaxed);
    let (status, body) = get("/health").await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(get("/elsewhere").await.0, 404);

    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# HELP lucid_chain_height Height of the last final block.",
        "# TYPE lucid_chain_height gauge",
        "lucid_chain_height 7",
        "lucid_rpc_calls_total{method=\"eth_chainId\",outcome=\"ok\"}",
        "lucid_rpc_calls_total{method=\"unknown\",outcome=\"error\"}",
        "lucid_rpc_call_seconds_bucket{method=\"eth_chainId\",le=\"0.0005\"}",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(
        !text.contains("eth_madeUp"),
        "callers must not make up metrics"
    );
}

/// Names in a text, histograms without their suffixes.
fn names_in(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("lucid_") && word.len() > 8)
        .map(|word| {
            let stem = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix));
            stem.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn rules_and_code_name_only_metrics_of_the_table() {
    let known: HashSet<String> = metrics::ALL
        .iter()
        .map(|metric| metric.name.to_owned())
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rules = std::fs::read_to_string(root.join("ops/monitoring/lucid_rules.yml")).unwrap();
    let expressions: String = rules
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"))
        .collect();
    let unknown: Vec<_> = names_in(&expressions).difference(&known).cloned().collect();
    assert!(
        unknown.is_empty(),
        "in the rules, not in the table: {unknown:?}"
    );

    let mut strangers = Vec::new();
    for folder in ["node", "consensus", "gossip", "ledger", "mempool", "rpc"] {
        let Ok(files) = std::fs::read_dir(root.join("blockchain").join(folder).join("src")) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            for (at, _) in source.match_indices("!(\"lucid_") {
                let name = source[at + 3..].split('"').next().unwrap_or_default();
                if !known.contains(name) {
                    strangers.push(format!("{name} in {}", path.display()));
                }
            }
        }
    }
    assert!(
        strangers.is_empty(),
        "recorded, not in the table: {strangers:#?}"
    );
}

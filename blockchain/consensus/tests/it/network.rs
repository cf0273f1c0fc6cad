//! Real engines on loopback.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucid_consensus::ConsensusError;
use tokio::sync::Barrier;

use crate::chain::{Node, cluster};

fn same_blocks(nodes: &[Node]) {
    let chains: Vec<Vec<_>> = nodes
        .iter()
        .map(|node| {
            node.store
                .lock()
                .unwrap()
                .blocks
                .iter()
                .map(|(_, block)| block.id())
                .collect()
        })
        .collect();
    let shortest = chains.iter().map(Vec::len).min().unwrap();
    for chain in &chains {
        assert_eq!(chain[..shortest], chains[0][..shortest]);
    }
}

fn report(nodes: &[Node]) {
    let mut latencies: Vec<Duration> = nodes
        .iter()
        .flat_map(|node| node.store.lock().unwrap().latencies.clone())
        .collect();
    latencies.sort();
    if !latencies.is_empty() {
        println!(
            "decision latency over {} blocks: p50 {:?}, max {:?}",
            latencies.len(),
            latencies[latencies.len() / 2],
            latencies[latencies.len() - 1]
        );
    }
}

/// Four validators that run and begin no height by themselves.
async fn holding(home: &Path) -> Vec<Node> {
    let mut nodes = cluster(home, 4, 4, 200);
    for node in &mut nodes {
        node.eager.send_replace(false);
        node.start().await;
    }
    nodes
}

/// Shows the engine's log when a test is run with `LUCID_TEST_LOG=filter`.
fn log() {
    if let Ok(filter) = std::env::var("LUCID_TEST_LOG") {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_decide_while_their_leader_is_stopped_and_restarted() {
    log();
    let home = tempfile::tempdir().unwrap();
    let mut nodes = cluster(home.path(), 4, 4, 200);
    for node in &mut nodes {
        node.start().await;
    }
    for node in &nodes {
        node.reach(6).await;
    }
    nodes[0].stop().await;
    for node in &nodes[1..] {
        node.reach(12).await;
    }
    nodes[0].start().await;
    for node in &nodes {
        node.reach(20).await;
    }
    let state = nodes[1].handle().network().await.unwrap();
    assert_eq!(state.peers.len(), 3);
    assert!(
        state.peers.iter().all(|peer| peer.validator.is_some()),
        "{state:?}"
    );
    assert!(nodes[1].handle().metrics().contains("malachite"));
    for node in &mut nodes {
        node.stop().await;
    }
    same_blocks(&nodes);
    report(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_blocks_travel_in_pieces_and_a_wiped_node_and_a_follower_catch_up() {
    log();
    let home = tempfile::tempdir().unwrap();
    let mut nodes = cluster(home.path(), 4, 5, 1_000_000);
    for node in &mut nodes[..4] {
        node.start().await;
    }
    for node in &nodes[..4] {
        node.reach(4).await;
    }
    // Not its signer's record: losing that too would be losing the key's memory.
    nodes[3].stop().await;
    nodes[3].wipe_chain();
    std::fs::remove_dir_all(nodes[3].settings().home.join("wal")).unwrap();
    nodes[2].reach(8).await;
    nodes[3].height.send_replace(0);
    nodes[3].start().await;
    nodes[4].start().await;
    for node in &nodes {
        node.reach(16).await;
    }
    assert!(nodes[4].store.lock().unwrap().synced > 0);
    for node in &mut nodes {
        node.stop().await;
    }
    same_blocks(&nodes);
    report(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validators_that_hold_go_on_when_one_of_them_does() {
    log();
    let home = tempfile::tempdir().unwrap();
    let mut nodes = holding(home.path()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The leader has something to propose; the others hear of it.
    for height in 1..5 {
        // One comes back from a restart meanwhile, and holds too.
        nodes[3].stop().await;
        nodes[3].start().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes[0].go.send(()).unwrap();
        for node in &nodes {
            node.reach(height).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for node in &nodes {
        assert_eq!(*node.height.borrow(), 4, "nobody goes on by himself");
    }
    assert!(!nodes[1].store.lock().unwrap().early.is_empty());
    for node in &mut nodes {
        node.stop().await;
    }
    same_blocks(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_validator_alone_does_not_make_the_others_begin() {
    log();
    let home = tempfile::tempdir().unwrap();
    let mut nodes = holding(home.path()).await;
    // It votes for nothing when the leader's time is over, and then leads a round itself.
    nodes[1].go.send(()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    for node in &nodes {
        assert_eq!(*node.height.borrow(), 0);
    }
    for honest in [0, 2, 3] {
        assert_eq!(nodes[honest].store.lock().unwrap().early, []);
    }
    nodes[2].go.send(()).unwrap();
    for node in &nodes {
        node.reach(1).await;
    }
    for node in &mut nodes {
        node.stop().await;
    }
    same_blocks(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why() {
    let home = tempfile::tempdir().unwrap();
    let mut nodes = cluster(home.path(), 1, 2, 0);
    let mut settings = nodes[0].settings().clone();
    settings.listen = "127.0.0.1:1".into();
    let error = lucid_consensus::start(settings.clone()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "127.0.0.1:1 is not an address such as /ip4/10.0.0.2/tcp/26656"
    );

    nodes[1].start().await;
    settings.listen = nodes[1].handle().listening().to_owned();
    let error = lucid_consensus::start(settings.clone()).await.unwrap_err();
    assert!(matches!(error, ConsensusError::Listen { .. }), "{error}");
    nodes[1].stop().await;

    std::fs::create_dir_all(&nodes[0].settings().home).unwrap();
    let signed = nodes[0].settings().home.join("signed");
    std::fs::write(&signed, b"noise").unwrap();
    let error = lucid_consensus::start(nodes[0].settings().clone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_validator_is_enough_for_a_chain() {
    log();
    let home = tempfile::tempdir().unwrap();
    let mut nodes = cluster(home.path(), 1, 1, 200);
    nodes[0].start().await;
    nodes[0].reach(5).await;
    nodes[0].stop().await;
    nodes[0].start().await;
    nodes[0].reach(10).await;
    nodes[0].stop().await;
    report(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_runs_twice_is_caught() {
    log();
    let home = tempfile::tempdir().unwrap();
    let mut nodes = cluster(home.path(), 4, 5, 200);
    // The fifth has the first one's key and a memory of its own.
    let twin = nodes[0].settings().clone();
    let settings = nodes[4].settings();
    settings.node = twin.node;
    settings.consensus_key = twin.consensus_key;
    nodes[4].index = 0;
    nodes[4].filler = 300;
    // Neither proposes before the other has a proposal of its own.
    let together = Arc::new(Barrier::new(2));
    nodes[0].together = Some(Arc::clone(&together));
    nodes[4].together = Some(together);
    for node in &nodes {
        node.eager.send_replace(false);
    }
    for node in &mut nodes {
        node.start().await;
    }
    let mut caught = Vec::new();
    for height in 1..50 {
        nodes[0].go.send(()).unwrap();
        nodes[4].go.send(()).unwrap();
        for node in &nodes {
            node.reach(height).await;
        }
        let found = nodes[1..4]
            .iter()
            .flat_map(|node| node.store.lock().unwrap().evidence.clone());
        caught = found.map(|evidence| evidence.offender()).collect();
        if !caught.is_empty() {
            break;
        }
    }
    assert!(!caught.is_empty());
    assert!(caught.iter().all(|offender| *offender == twin.node));
    for node in &mut nodes {
        node.stop().await;
    }
    same_blocks(&nodes);
}

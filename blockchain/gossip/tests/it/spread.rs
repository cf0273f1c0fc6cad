//! Transactions reach everybody.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lucid_gossip::{GossipSettings, Limits};

use crate::support::{Node, linked, settings, transaction, until};

/// A line: each node knows only the one before it.
async fn line(count: u8, limits: &Limits) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=count {
        let peers: Vec<String> = nodes.last().map(Node::address).into_iter().collect();
        let node = Node::start(GossipSettings {
            limits: limits.clone(),
            ..settings(seed, &peers)
        })
        .await;
        if let Some(last) = nodes.last() {
            linked(last, &node).await;
        }
        nodes.push(node);
    }
    nodes
}

#[tokio::test]
async fn transactions_reach_all_through_others() {
    let nodes = line(4, &Limits::default()).await;
    let all: Vec<Bytes> = (0..500).map(transaction).collect();
    nodes[0]
        .handle
        .publish_transactions(all[..300].to_vec())
        .unwrap();
    nodes[3]
        .handle
        .publish_transactions(all[300..].to_vec())
        .unwrap();
    for (node, expected) in nodes.iter().zip([200, 500, 500, 300]) {
        until("everything arrived", || node.count() >= expected).await;
        let seen = node.seen.lock().unwrap();
        let distinct: HashSet<&Bytes> = seen.transactions.iter().map(|(_, one)| one).collect();
        assert_eq!(distinct.len(), expected, "each once");
        assert_eq!(seen.transactions.len(), expected, "and not twice");
    }
}

#[tokio::test]
async fn what_is_published_before_anybody_is_there_goes_out_later() {
    let first = Node::start(settings(1, &[])).await;
    first
        .handle
        .publish_transactions(vec![transaction(1)])
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = Node::start(settings(2, &[first.address()])).await;
    until("it arrived", || second.has(&transaction(1))).await;
}

#[tokio::test]
async fn the_largest_transaction_passes_and_a_larger_one_stays() {
    let nodes = line(2, &Limits::default()).await;
    let largest = Bytes::from(vec![3; 128 << 10]);
    let larger = Bytes::from(vec![3; (128 << 10) + 1]);
    nodes[0]
        .handle
        .publish_transactions(vec![larger, largest.clone(), transaction(1)])
        .unwrap();
    until("they arrived", || nodes[1].count() == 2).await;
    assert!(nodes[1].has(&largest));
}

#[tokio::test]
async fn a_peer_that_helps_has_a_better_score() {
    let nodes = line(2, &Limits::default()).await;
    nodes[0]
        .handle
        .publish_transactions(vec![transaction(1)])
        .unwrap();
    until("it arrived", || nodes[1].count() == 1).await;
    until("it counts", || nodes[1].handle.peers()[0].score > 0).await;
}

#[tokio::test]
async fn a_node_that_ends_is_missed_and_ends_at_once() {
    let nodes = line(2, &Limits::default()).await;
    nodes[0].handle.shutdown().await;
    assert!(
        nodes[0]
            .handle
            .publish_transactions(vec![transaction(1)])
            .is_err()
    );
    until("it is missed", || !nodes[1].knows(nodes[0].id())).await;
    assert_eq!(nodes[1].seen.lock().unwrap().disconnected, [nodes[0].id()]);
}

/// Prints how fast, too: `cargo test -p lucid-gossip --release none_of_many -- --nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn none_of_many_transactions_is_lost_on_a_line() {
    let limits = Limits {
        messages_per_second: 100_000,
        transactions_per_second: 1_000_000,
        bytes_per_second: 1 << 30,
        total_bytes_per_second: 1 << 30,
        connection_bytes_per_second: 1 << 30,
        ..Limits::default()
    };
    let nodes = line(4, &limits).await;
    let count = 10_000;
    let start = Instant::now();
    let all: Vec<Bytes> = (0..count).map(transaction).collect();
    for part in all.chunks(200) {
        nodes[0].handle.publish_transactions(part.to_vec()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let sent = start.elapsed();
    until("all arrived", || nodes[3].count() >= count as usize).await;
    let taken = start.elapsed();
    println!(
        "{count} transactions of 110 bytes through a line of four nodes: sent in {sent:?}, all there after {taken:?}, {:.0} a second",
        f64::from(count) / taken.as_secs_f64()
    );
    let mut delays: Vec<Duration> = Vec::new();
    for number in 0..50 {
        let one = transaction(1_000_000 + number);
        let start = Instant::now();
        nodes[0]
            .handle
            .publish_transactions(vec![one.clone()])
            .unwrap();
        while !nodes[3].has(&one) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        delays.push(start.elapsed());
    }
    delays.sort_unstable();
    println!(
        "one transaction over three hops, 20 ms of batching included: p50 {:?}, worst {:?}",
        delays[25], delays[49]
    );
}

//! Nodes that join by a snapshot.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::network::{Network, Plan};

const FOUR: [usize; 4] = [0, 1, 2, 3];

/// Snapshots of a node, the newest first.
fn snapshots(network: &Network, node: usize) -> Vec<(u64, PathBuf)> {
    let folder = network.nodes[node].home.join("snapshots");
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let height = entry.file_name().to_str().unwrap().parse().ok()?;
            Some((height, entry.path()))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

fn flip(file: &PathBuf) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_fifth_node_joins_by_snapshot_though_others_lie_and_has_what_they_have() {
    let mut network = Network::prepare(Plan {
        full: 1,
        ..Plan::FOUR
    });
    for node in &mut network.nodes {
        node.configure("snapshot_every = 5000", "snapshot_every = 3");
    }
    for node in FOUR {
        network.nodes[node].start();
    }
    network.wait_until_up(&FOUR);
    let load = network.load(0);
    network.wait_for_height(0, 8);
    let sent = load.end(&network);
    network.wait_for_receipts(&FOUR, &sent);
    network.converge(&FOUR);
    // All made the same ones; what is on the disk is whole.
    let newest = network.wait("a snapshot of one block on all nodes", |it| {
        let newest = FOUR.map(|node| snapshots(it, node).first().map(|it| it.0));
        newest[0].filter(|_| newest.iter().all(|it| *it == newest[0]))
    });
    assert_eq!(newest % 3, 0);
    for node in FOUR {
        assert!(snapshots(&network, node).len() <= 2);
    }

    // Two hand out other pieces than they should, one another proof; one is honest.
    for liar in [0, 1] {
        for entry in fs::read_dir(&snapshots(&network, liar)[0].1).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "manifest" {
                flip(&entry.path());
            }
        }
    }
    flip(&snapshots(&network, 2)[0].1.join("manifest"));
    let joiner = 4;
    network.nodes[joiner].args = vec!["--sync", "snapshot"];
    network.nodes[joiner].start();
    network.wait_until_up(&[joiner]);
    let status = network.nodes[joiner].status().unwrap();
    assert_eq!(status.earliest.0, newest);
    let told = network.nodes[joiner].told();
    assert!(told.contains("a peer's snapshot is refused"), "{told}");
    let all = [0, 1, 2, 3, joiner];
    let sent = [network.transfer(joiner), network.register(joiner)];
    let height = network.wait_for_receipts(&all, &sent);
    network.agree_from(&all, newest, height);

    // What came before is not there, and that is no error.
    let node = &network.nodes[joiner];
    assert!(node.block(newest - 1).is_none());
    let none: Value = node
        .ask("eth_getBlockByNumber", vec![json!("0x1"), json!(false)])
        .unwrap();
    assert!(none.is_null());
    let refused = node
        .ask::<Value>("lucid_blocks", vec![json!(1)])
        .unwrap_err();
    assert!(refused.contains("not kept here"), "{refused}");
    // It proves finality from genesis on.
    let (bench, text) = (&network.bench, height.to_string());
    let prove = ["chain", "prove-finality", &text, "--out", "proof", "--rpc"];
    bench.ok(&[&prove[..], &[&node.url]].concat());
    bench.ok(&[
        "chain",
        "verify-finality",
        "proof",
        "--genesis",
        "net/genesis.json",
    ]);
    // It has the snapshot it began with, for others.
    assert_eq!(snapshots(&network, joiner)[0].0, newest);

    // Once it has a chain, it goes on from that; others may ask it for what it has.
    assert!(network.nodes[joiner].stop().success());
    network.nodes[joiner].start();
    network.wait_until_up(&[joiner]);
    let told = network.nodes[joiner].told();
    assert!(told.contains("is for a node without a chain"), "{told}");
    let sent = network.transfer(joiner);
    let height = network.wait_for_receipts(&all, &[sent]);
    network.agree_from(&all, newest, height);
}

#[test]
fn where_nobody_has_a_snapshot_the_blocks_are_fetched() {
    let mut network = Network::prepare(Plan {
        validators: 1,
        full: 1,
        apart: false,
        custody: false,
    });
    network.nodes[0].start();
    network.wait_until_up(&[0]);
    let sent = network.register(0);
    network.wait_for_receipts(&[0], &[sent]);
    network.nodes[1].args = vec!["--sync", "snapshot"];
    network.nodes[1].start();
    network.wait_until_up(&[1]);
    let told = network.nodes[1].told();
    assert!(told.contains("no peer offers a snapshot"), "{told}");
    network.converge(&[0, 1]);
    assert_eq!(network.nodes[1].status().unwrap().earliest.0, 1);
}

//! Backups of a running chain, and what is made of them.

use std::fs;

use serde_json::Value;

use super::network::{Network, Plan};

const FOUR: [usize; 4] = [0, 1, 2, 3];

fn said(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_chain_is_backed_up_while_it_runs_and_a_fresh_node_goes_on_from_it() {
    let mut network = Network::prepare(Plan {
        full: 1,
        ..Plan::FOUR
    });
    for node in &mut network.nodes {
        node.configure("snapshot_every = 5000", "snapshot_every = 4");
    }
    for node in FOUR {
        network.nodes[node].start();
    }
    network.wait_until_up(&FOUR);
    let url = network.nodes[0].url.clone();
    let args = |extra: &[&'static str]| -> Vec<String> {
        let mut args = vec!["--json", "chain"];
        args.extend(extra);
        args.extend(["--genesis", "net/genesis.json", "--rpc", &url]);
        args.into_iter().map(str::to_owned).collect()
    };
    let run = |network: &Network, extra: &[&'static str]| {
        let args = args(extra);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        network.bench.run(&args)
    };
    // Nothing to begin with yet.
    let early = run(&network, &["snapshot", "--out", "early"]);
    assert_eq!(early.code, 3, "{}", early.err);
    assert!(early.err.contains("snapshot_every"), "{}", early.err);

    let load = network.load(1);
    network.wait_for_height(0, 3);
    let first = run(&network, &["backup", "--out", "backup"]);
    assert_eq!(first.code, 0, "{}", first.err);
    let first = said(&first.out);
    assert!(first["height"].as_u64().unwrap() >= 3);
    let old = fs::read(network.bench.path("backup")).unwrap();
    network.wait_for_height(0, first["height"].as_u64().unwrap() + 2);
    // The same file goes on; what an interrupted run left is gone on with as well.
    fs::write(network.bench.path("backup.part"), &old[..old.len() / 2]).unwrap();
    let second = run(&network, &["backup", "--out", "backup"]);
    assert_eq!(second.code, 0, "{}", second.err);
    let second = said(&second.out);
    let height = second["height"].as_u64().unwrap();
    assert!(height > first["height"].as_u64().unwrap());
    assert!(second["added"].as_u64().unwrap() < height);
    assert!(!network.bench.path("backup.part").exists());
    let bytes = fs::read(network.bench.path("backup")).unwrap();
    network.wait("a snapshot", |it| {
        fs::read_dir(it.nodes[0].home.join("snapshots"))
            .unwrap()
            .any(|it| it.unwrap().file_name() == "4" || height > 8)
            .then_some(())
    });
    let newest = run(&network, &["snapshot", "--out", "snapshot"]);
    assert_eq!(newest.code, 0, "{}", newest.err);
    let newest = said(&newest.out)["height"].as_u64().unwrap();
    assert_eq!(newest % 4, 0);
    let short = run(&network, &["backup", "--from-snapshot", "--out", "short"]);
    assert_eq!(short.code, 0, "{}", short.err);
    let sent = load.end(&network);
    network.wait_for_receipts(&FOUR, &sent);

    // No key is in it.
    for node in &network.nodes {
        for entry in fs::read_dir(node.home.join("keys")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let digits = text.trim();
            let key: Vec<u8> = (0..32)
                .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            for secret in [&key[..], digits.as_bytes()] {
                assert!(!bytes.windows(secret.len()).any(|it| it == secret));
            }
        }
    }

    let restore = |network: &Network, file: &str, home: &str| {
        network
            .bench
            .run(&["--json", "chain", "restore", file, "--node-home", home])
    };
    // A changed byte is found, and no chain is made of it.
    for at in [bytes.len() / 3, bytes.len() - 20] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        fs::write(network.bench.path("flipped"), &flipped).unwrap();
        let refused = restore(&network, "flipped", "net/node4");
        assert_eq!(refused.code, 11, "{}", refused.err);
        assert!(!network.nodes[4].home.join("data").exists());
    }
    let restored = restore(&network, "backup", "net/node4");
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert_eq!(said(&restored.out)["height"], height);
    let again = restore(&network, "backup", "net/node4");
    assert_eq!(again.code, 2, "{}", again.err);
    assert!(again.err.contains("has a chain already"), "{}", again.err);
    network.nodes[4].start();
    network.wait_until_up(&[4]);
    assert!(network.nodes[4].status().unwrap().height.0 >= height);
    let all = [0, 1, 2, 3, 4];
    let sent = network.transfer(4);
    network.wait_for_receipts(&all, &[sent]);
    network.converge(&all);
    let busy = restore(&network, "backup", "net/node4");
    assert_eq!(busy.code, 3, "{}", busy.err);

    // From a snapshot, with the blocks since and without, into a folder that has nothing but the genesis file; and the last
    // state of a node that was stopped.
    let stopped = network.nodes[4].stop();
    assert!(stopped.success());
    let taken = network.bench.run(&[
        "--json",
        "chain",
        "snapshot",
        "--node-home",
        "net/node4",
        "--out",
        "stopped",
    ]);
    assert_eq!(taken.code, 0, "{}", taken.err);
    for (file, least) in [("snapshot", newest), ("short", newest), ("stopped", height)] {
        let home = format!("fresh-{file}");
        let folder = network.bench.path(&home);
        fs::create_dir(&folder).unwrap();
        fs::copy(
            network.bench.path("net/genesis.json"),
            folder.join("genesis.json"),
        )
        .unwrap();
        let restored = restore(&network, file, &home);
        assert_eq!(restored.code, 0, "{file}: {}", restored.err);
        let told = said(&restored.out);
        assert!(told["height"].as_u64().unwrap() >= least, "{file}: {told}");
        assert!(told["earliest"].as_u64().unwrap() > 1, "{file}: {told}");
    }
    // The node goes on from a snapshot's file in the place of its own chain, and follows.
    let data = network.nodes[4].home.join("data");
    fs::remove_dir_all(&data).unwrap();
    fs::rename(network.bench.path("fresh-short/data"), &data).unwrap();
    network.nodes[4].start();
    network.wait_until_up(&[4]);
    let earliest = network.nodes[4].status().unwrap().earliest.0;
    assert!(earliest > 1);
    let sent = network.transfer(4);
    let height = network.wait_for_receipts(&all, &[sent]);
    network.agree_from(&all, earliest, height);
}

//! Nodes that cannot start say why, and leave everything as it was.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::network::{Network, Plan, listen_of};
use crate::support::{Ran, ran};

const ONE: Plan = Plan {
    validators: 1,
    full: 0,
    apart: false,
    custody: false,
};

/// Runs the node, which has to end by itself.
fn start(network: &Network) -> Ran {
    let output = network.nodes[0].command().output().unwrap();
    ran(&["node"], output)
}

#[test]
fn a_node_that_cannot_start_says_why_and_starts_once_that_is_mended() {
    let mut network = Network::prepare(ONE);
    let home = network.nodes[0].home.clone();
    let config = fs::read_to_string(home.join("node.toml")).unwrap();
    let genesis = home.join("genesis.json");
    let whole = fs::read(&genesis).unwrap();

    // No folder, half a file, a key that others can read.
    let bench = &network.bench;
    let refused = bench.run(&["node", "--node-home", "nowhere"]);
    assert_eq!(refused.code, 3);
    assert!(refused.err.contains("chain init"), "{}", refused.err);
    assert!(!bench.path("nowhere").exists());
    fs::write(&genesis, &whole[..whole.len() / 2]).unwrap();
    let refused = start(&network);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("genesis.json"), "{}", refused.err);
    fs::write(&genesis, &whole).unwrap();
    for key in ["operator", "consensus", "vrf", "network"] {
        let key = home.join(format!("keys/{key}.key"));
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let refused = start(&network);
        assert_eq!(refused.code, 2, "{}", refused.err);
        let mend = format!("chmod 600 {}", key.display());
        assert!(refused.err.contains(&mend), "{}", refused.err);
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    }

    // Each of its ports, taken by another.
    for section in ["p2p", "gossip", "rpc", "monitor"] {
        let listen = listen_of(&config, section);
        let port = listen.rsplit(['/', ':']).next().unwrap();
        let taken = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
        let refused = start(&network);
        assert_eq!(refused.code, 3, "{section}: {}", refused.err);
        assert!(refused.err.contains(port), "{section}: {}", refused.err);
        drop(taken);
    }

    // The account's coins did not move meanwhile: the node starts, and it is the chain that was made.
    network.nodes[0].start();
    network.wait_until_up(&[0]);
    let sent = network.transfer(0);
    network.wait_for_receipts(&[0], &[sent]);
    // One node a folder.
    let second = start(&network);
    assert_eq!(second.code, 3, "{}", second.err);
    assert!(
        second.err.contains("another node runs in"),
        "{}",
        second.err
    );
    network.check_running();
    let height = network.height(0);
    assert!(network.nodes[0].stop().success());

    // The genesis of another network over the blocks of this one.
    network.bench.init("other", ONE);
    let other = network.bench.path("other/node0");
    fs::copy(other.join("genesis.json"), &genesis).unwrap();
    let refused = start(&network);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("genesis"), "{}", refused.err);
    fs::write(&genesis, &whole).unwrap();
    // Another validator's key.
    let key = home.join("keys/consensus.key");
    let own = fs::read(&key).unwrap();
    fs::write(&key, fs::read(other.join("keys/consensus.key")).unwrap()).unwrap();
    let refused = start(&network);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("consensus.key"), "{}", refused.err);
    fs::write(&key, own).unwrap();

    network.nodes[0].start();
    network.wait_until_up(&[0]);
    assert_eq!(network.height(0), height);
    let sent = network.transfer(0);
    network.wait_for_receipts(&[0], &[sent]);

    // A network is never overwritten.
    let before = fs::read(network.bench.path("net/genesis.json")).unwrap();
    let again = network.bench.run(&["chain", "init", "--out", "net"]);
    assert_eq!(again.code, 2, "{}", again.err);
    assert!(again.err.contains("there already"), "{}", again.err);
    assert_eq!(
        fs::read(network.bench.path("net/genesis.json")).unwrap(),
        before
    );
    assert!(!network.bench.path("net/node3").exists());
}

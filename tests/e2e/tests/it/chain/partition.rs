//! Nodes in network namespaces of their own, and a cut between them.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use super::network::{Network, Plan};

/// Two switches in a namespace, and a namespace for each node, connected to the first.
///
/// ```text
///  node0 ─┐                ┌─ node2        cut: nodes 2 and 3 are plugged into the second switch, which leads nowhere
///  node1 ─┴─ left    right ┴─ node3
/// ```
/// Frames are lost without a word, as where a cable breaks.
pub(super) struct Switches {
    prefix: String,
    nodes: u16,
}

const NAME: &str = "lucid-e2e-";

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "ip {args:?}: {}; network namespaces need root",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Switches {
    pub(super) fn host(index: u16) -> String {
        format!("10.77.0.{}", index + 1)
    }

    pub(super) fn new(nodes: u16) -> Self {
        Self::remove_left_over();
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let it = Self {
            prefix: format!("{NAME}{}-{number}-", std::process::id()),
            nodes,
        };
        let hub = it.hub();
        ip(&["netns", "add", &hub]);
        for switch in ["left", "right"] {
            ip(&["-n", &hub, "link", "add", switch, "type", "bridge"]);
            ip(&["-n", &hub, "link", "set", switch, "up"]);
        }
        for index in 0..nodes {
            let namespace = it.namespace(index.into());
            let (port, address) = (format!("port{index}"), Self::host(index) + "/24");
            ip(&["netns", "add", &namespace]);
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                &namespace,
            ]);
            ip(&["-n", &hub, "link", "set", &port, "master", "left", "up"]);
            ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
            ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        }
        it
    }

    /// Namespaces of test processes that were killed.
    fn remove_left_over() {
        let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let name = line.split(' ').next().unwrap();
            let Some(process) = name.strip_prefix(NAME).and_then(|it| it.split('-').next()) else {
                continue;
            };
            if !std::path::Path::new("/proc").join(process).exists() {
                let _ = Command::new("ip").args(["netns", "del", name]).output();
            }
        }
    }

    fn hub(&self) -> String {
        format!("{}hub", self.prefix)
    }

    pub(super) fn namespace(&self, index: usize) -> String {
        format!("{}{index}", self.prefix)
    }

    fn plug(&self, nodes: &[usize], switch: &str) {
        for node in nodes {
            let port = format!("port{node}");
            ip(&["-n", &self.hub(), "link", "set", &port, "master", switch]);
        }
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        let nodes = (0..self.nodes).map(|index| self.namespace(index.into()));
        for name in nodes.chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

#[test]
fn a_network_split_in_halves_halts_and_heals() {
    let network = Network::start(Plan {
        apart: true,
        ..Plan::FOUR
    });
    let all = [0, 1, 2, 3];
    let first = network.transfer(0);
    network.wait_for_receipts(&all, &[first]);

    let switches = network.switches.as_ref().unwrap();
    switches.plug(&[2, 3], "right");
    // Each half has something to do, and neither has a quorum.
    let sent = [network.transfer(0), network.register(0)];
    network.stands_still(0, 10);
    network.stands_still(2, 1);
    assert_eq!(network.height(0), network.height(2));

    // A minute is what is promised, on a machine with nothing else to do; how long it took is printed.
    let healed = Instant::now();
    switches.plug(&[2, 3], "left");
    network.wait_for_receipts(&all, &sent);
    println!("whole again after {:?}", healed.elapsed());
    network.converge(&all);
    let sent = network.transfer(3);
    network.wait_for_receipts(&all, &[sent]);
}

#[test]
fn a_validator_that_is_cut_off_catches_up_when_it_is_back() {
    let network = Network::start(Plan {
        apart: true,
        ..Plan::FOUR
    });
    let leader = network.place_of(network.schedule(0).order[0]);
    let alone = (leader + 3) % 4;
    let rest: Vec<usize> = (0..4).filter(|&node| node != alone).collect();
    let switches = network.switches.as_ref().unwrap();
    switches.plug(&[alone], "right");
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(network.register(leader));
        network.wait_for_receipts(&rest, &sent);
    }
    assert_eq!(network.height(alone), 0);
    // Nobody hears of this one, but it is passed on again.
    sent.push(network.register(alone));
    switches.plug(&[alone], "left");
    network.wait_for_receipts(&rest, &sent);
    network.wait_for_receipts(&[alone], &sent);
    network.converge(&[0, 1, 2, 3]);
}

//! Nodes that are killed, frozen, wiped and restarted while there is work.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::Duration;

use super::network::{Network, Plan};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// Some time from `least` ms on, another in each run.
fn moment(least: u64, spread: u64) -> Duration {
    Duration::from_millis(least + RandomState::new().hash_one(0) % spread)
}

#[test]
fn a_validator_killed_again_and_again_under_load_comes_back_and_nothing_is_lost() {
    let mut network = Network::start(Plan::FOUR);
    // The leader stays: how its loss is borne is another test's matter.
    let leader = network.place_of(network.schedule(0).order[0]);
    let victim = (leader + 1) % 4;
    let load = network.load(leader);
    network.wait_for_height(leader, 2);
    network.nodes[victim].kill();
    let height = network.height(leader);
    network.wait_for_height(leader, height + 2);
    for _ in 0..4 {
        network.nodes[victim].start();
        let lives = moment(200, 3_000);
        thread::sleep(lives);
        network.check_running();
        network.nodes[victim].kill();
        eprintln!("killed after {lives:?}");
    }
    network.nodes[victim].start();
    network.wait_until_up(&[victim]);
    let height = network.height(leader);
    network.wait_for_height(victim, height + 1);
    let sent = load.end(&network);
    network.wait_for_receipts(&ALL, &sent);
    network.converge(&ALL);
}

#[test]
fn where_the_leader_of_a_slot_is_killed_the_next_in_order_leads() {
    let mut network = Network::start(Plan::FOUR);
    let first = network.transfer(0);
    network.wait_for_receipts(&ALL, &[first]);
    let order = network.schedule(0).order;
    let (leader, fallback) = (network.place_of(order[0]), network.place_of(order[1]));
    network.nodes[leader].kill();

    let rest: Vec<usize> = ALL.into_iter().filter(|&node| node != leader).collect();
    let sent = network.register(fallback);
    let height = network.wait_for_receipts(&rest, &[sent]);
    let block = network.nodes[fallback].block(height).unwrap();
    assert!(block.round >= 1, "{block:?}");
    assert_eq!(block.proposer, order[block.round as usize % 4]);
    assert_ne!(block.proposer, order[0]);
    // Who missed its turn goes to the end, so that the next block does not wait for it.
    let demoted = network.schedule(fallback).order;
    assert_eq!(demoted.last(), Some(&order[block.round as usize - 1]));
    let sent = network.register(fallback);
    let next = network.wait_for_receipts(&rest, &[sent]);
    let block = network.nodes[fallback].block(next).unwrap();
    assert_eq!((block.round, block.proposer), (0, demoted[0]));

    network.nodes[leader].start();
    network.wait_until_up(&[leader]);
    network.converge(&ALL);
    let sent = network.transfer(leader);
    network.wait_for_receipts(&ALL, &[sent]);
}

#[test]
fn a_wiped_validator_comes_back_by_block_sync() {
    let mut network = Network::start(Plan::FOUR);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let next = network.register(0);
        network.wait_for_receipts(&ALL, &[next]);
        sent.push(next);
    }
    let leader = network.place_of(network.schedule(0).order[0]);
    let victim = (leader + 2) % 4;
    network.nodes[victim].kill();
    network.nodes[victim].wipe();
    // What it has to fetch goes on growing.
    sent.push(network.register(leader));
    network.wait_for_receipts(&[leader], &sent);
    network.nodes[victim].start();
    network.wait_until_up(&[victim]);
    network.converge(&ALL);
    network.wait_for_receipts(&[victim], &sent);

    // It votes again: without it there is no quorum.
    let other = (leader + 1) % 4;
    network.nodes[other].freeze();
    let sent = network.transfer(leader);
    network.wait_for_receipts(&[leader, victim], &[sent]);
    network.nodes[other].thaw();
    network.wait_for_receipts(&ALL, &[sent]);
}

#[test]
fn with_half_of_the_validators_frozen_the_chain_halts_and_goes_on_with_them() {
    let network = Network::start(Plan::FOUR);
    let first = network.transfer(0);
    network.wait_for_receipts(&ALL, &[first]);
    network.nodes[2].freeze();
    network.nodes[3].freeze();
    let sent = [network.transfer(0), network.register(1)];
    network.stands_still(0, 4);
    assert!(
        sent.iter()
            .all(|hash| network.nodes[0].receipt(*hash).is_none())
    );
    network.nodes[2].thaw();
    network.wait_for_receipts(&[0, 1, 2], &sent);
    network.nodes[3].thaw();
    network.wait_for_receipts(&ALL, &sent);
    network.converge(&ALL);
}

#[test]
fn all_nodes_restart_at_once_and_waiting_transactions_survive() {
    let mut network = Network::start(Plan::FOUR);
    let load = network.load(1);
    network.wait_for_height(1, 3);
    let sent = load.end(&network);
    network.wait_for_receipts(&ALL, &sent);
    let height = network.converge(&ALL);
    let last = network.nodes[0].block(height).unwrap().id;

    // A gap in the nonces: the second waits for the first, which is kept back.
    let first = network.account.transfer();
    let second = network.register(0);
    network.wait("the transaction on every node", |it| {
        ALL.iter()
            .all(|&node| it.nodes[node].status().unwrap().mempool.queued == 1)
            .then_some(())
    });
    for node in ALL {
        let status = network.nodes[node].stop();
        assert!(status.success(), "node {node}: {status}");
    }
    for node in ALL {
        network.nodes[node].start();
    }
    network.wait_until_up(&ALL);
    for node in ALL {
        let status = network.nodes[node].status().unwrap();
        assert_eq!((status.height.0, status.block), (height, last));
        assert_eq!(status.mempool.queued, 1, "node {node}");
    }
    let first = network.send(3, &first);
    network.wait_for_receipts(&ALL, &[first, second]);

    // Without a warning, too. What was final stays so.
    let height = network.converge(&ALL);
    let load = network.load(2);
    network.wait_for_height(2, height + 2);
    load.end(&network);
    let height = network.height(2);
    let last = network.nodes[2].block(height).unwrap().id;
    for node in ALL {
        network.nodes[node].kill();
    }
    for node in ALL {
        network.nodes[node].start();
    }
    network.wait_until_up(&ALL);
    network.all_agree(&ALL, height);
    assert_eq!(network.nodes[0].block(height).unwrap().id, last);
    // What waited in memory is gone.
    network.recount(0);
    let sent = network.transfer(0);
    network.wait_for_receipts(&ALL, &[sent]);
    assert!(network.converge(&ALL) > height);
}

//! Blocks in good times, and none where there is nothing to put in.

use super::network::{Network, Plan};

#[test]
fn four_validators_and_a_follower_decide_transactions_and_agree() {
    let network = Network::start(Plan {
        full: 1,
        ..Plan::FOUR
    });
    let all = [0, 1, 2, 3, 4];
    let follower = 4;
    assert_eq!(network.nodes[follower].status().unwrap().node, None);

    // Through every node, the one that only follows too.
    let mut sent = Vec::new();
    for node in all {
        sent.push(network.transfer(node));
        sent.push(network.register(node));
    }
    network.wait_for_receipts(&all, &sent);
    let height = network.converge(&all);
    assert!(height >= 1);
    for height in 1..=height {
        let block = network.nodes[follower].block(height).unwrap();
        assert!(
            !block.transactions.is_empty(),
            "block {height} is empty: {block:?}"
        );
    }
    let included: usize = (1..=height)
        .map(|height| network.nodes[0].block(height).unwrap().transactions.len())
        .sum();
    assert_eq!(included, sent.len());

    // Nothing to do, no blocks.
    let still = network.stands_still(0, 4);
    assert_eq!(still, height);
    // The next transaction brings one at once; the node may have been about to make another.
    let next = network.wait_for_receipts(&all, &[network.transfer(follower)]);
    assert_eq!(next, height + 1);
    network.converge(&all);
}

#[test]
fn a_follower_that_is_late_has_what_the_others_have() {
    let mut network = Network::prepare(Plan {
        full: 1,
        ..Plan::FOUR
    });
    let validators = [0, 1, 2, 3];
    for node in validators {
        network.nodes[node].start();
    }
    network.wait_until_up(&validators);
    for _ in 0..4 {
        let sent = network.register(0);
        network.wait_for_receipts(&validators, &[sent]);
    }
    let height = network.converge(&validators);
    network.nodes[4].start();
    network.wait_until_up(&[4]);
    network.all_agree(&[0, 4], height);
    let status = network.nodes[4].status().unwrap();
    assert_eq!((status.node, status.syncing), (None, false));
    // It ends with the program that started it, in order.
    assert!(network.nodes[4].abandon().success());
    let sent = network.transfer(2);
    network.wait_for_receipts(&validators, &[sent]);
}

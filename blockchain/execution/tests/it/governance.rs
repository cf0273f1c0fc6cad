use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolValue as _;
use lucid_chain_types::NodeId;
use lucid_chain_types::contracts::{LUCID_GOVERNOR, PARAM_REGISTRY, SIGNER_REGISTRY, WORK_CREDITS};
use lucid_execution::Receipt;
use lucid_execution::interfaces::{LucidGovernor, ParamRegistry, SignerRegistry, WorkCredits};

use crate::support::{COIN, Net, Node, Setup, User, eip1559};

fn key(name: &str) -> B256 {
    let mut word = B256::ZERO;
    word[..name.len()].copy_from_slice(name.as_bytes());
    word
}

/// A chain whose nodes may vote after one slot, and where a vote takes one slot and its delay another.
fn net() -> Net {
    let mut net = Setup {
        parameters: vec![
            ("slotReward", U256::from(100 * COIN)),
            ("votingPeriod", U256::from(1)),
            ("timelockDelay", U256::from(1)),
        ],
        ..Setup::default()
    }
    .net();
    // Nobody signed under the first block: up in five of six slots is more than 80 %.
    for _ in 0..6 {
        net.seal(vec![]);
    }
    net
}

fn all_did(receipts: &[Receipt]) {
    assert!(
        receipts.iter().all(|receipt| receipt.success),
        "{receipts:?}"
    );
}

/// Takes a proposal through all its stages, on the votes of three of four.
fn pass(net: &mut Net, id: u64, action: u8, data: Vec<u8>) {
    let nodes: Vec<User> = (0..4).map(|seed| Node::new(seed).operator).collect();
    let id = U256::from(id);
    let propose = LucidGovernor::proposeCall {
        action,
        data: data.into(),
        description: "for the test".into(),
    };
    let nonce = net.nonce(nodes[0].address);
    all_did(
        &net.next(vec![nodes[0].call(nonce, LUCID_GOVERNOR, &propose)])
            .1,
    );
    let votes = nodes[..3].iter().map(|node| {
        let call = LucidGovernor::voteCall { id, support: 1 };
        node.call(net.nonce(node.address), LUCID_GOVERNOR, &call)
    });
    let votes = votes.collect();
    all_did(&net.next(votes).1);
    // Too early.
    let queue = LucidGovernor::queueCall { id };
    let early = nodes[3].call(net.nonce(nodes[3].address), LUCID_GOVERNOR, &queue);
    assert!(!net.next(vec![early]).1[0].success);
    net.seal(vec![]);
    assert_eq!(net.ask(LUCID_GOVERNOR, &LucidGovernor::stateCall { id }), 4);
    let nonce = net.nonce(nodes[3].address);
    let execute = LucidGovernor::executeCall { id };
    let queued = nodes[3].call(nonce, LUCID_GOVERNOR, &queue);
    let early = nodes[3].call(nonce + 1, LUCID_GOVERNOR, &execute);
    let (_, receipts) = net.next(vec![queued, early]);
    assert!(receipts[0].success && !receipts[1].success);
    net.seal(vec![]);
    net.seal(vec![]);
    let nonce = net.nonce(nodes[3].address);
    all_did(
        &net.next(vec![nodes[3].call(nonce, LUCID_GOVERNOR, &execute)])
            .1,
    );
    assert_eq!(net.ask(LUCID_GOVERNOR, &LucidGovernor::stateCall { id }), 7);
}

#[test]
fn nodes_vote_a_parameter_and_blocks_obey_it() {
    let mut net = net();
    let before = net.parent.header.as_ref().unwrap().base_fee;
    pass(
        &mut net,
        1,
        0,
        (key("minBaseFee"), U256::from(5_000_000)).abi_encode(),
    );
    let get = ParamRegistry::getCall {
        key: key("minBaseFee"),
    };
    assert_eq!(net.ask(PARAM_REGISTRY, &get), U256::from(5_000_000));
    let (block, _) = net.next(vec![User::new(0).pay(
        0,
        Address::with_last_byte(0x77),
        U256::from(1),
    )]);
    assert_eq!((before, block.header.base_fee), (1_000_000, 5_000_000));
}

#[test]
fn nodes_vote_the_payment_signers() {
    let mut net = net();
    let next = [7, 8, 9].map(Address::with_last_byte);
    pass(&mut net, 1, 1, next.abi_encode());
    assert_eq!(
        net.ask(SIGNER_REGISTRY, &SignerRegistry::signersCall {}),
        next
    );
}

#[test]
fn a_node_is_voted_in_signs_leads_and_is_voted_out() {
    let mut net = net();
    let newcomer = Node::new(4);
    let fund = User::new(0).pay(0, newcomer.operator.address, U256::from(20 * COIN));
    let validator = newcomer.validator();
    let register = WorkCredits::registerCall {
        consensusKey: validator.consensus_key,
        vrfKey: validator.vrf_key,
    };
    all_did(&net.next(vec![fund]).1);
    let call = {
        use alloy_sol_types::SolCall as _;
        newcomer.operator.sign(alloy_consensus::TxEip1559 {
            value: U256::from(COIN),
            ..eip1559(0, WORK_CREDITS, register.abi_encode())
        })
    };
    all_did(&net.next(vec![call]).1);
    let four = net.parent.validators.hash();
    pass(&mut net, 1, 2, (newcomer.id().0, true).abi_encode());
    assert_eq!(net.parent.validators.hash(), four, "not before a seal");
    let (seal, _) = net.seal(vec![]);
    assert_eq!(net.parent.validators.len(), 5);
    assert_eq!(seal.header.validators_hash, four);
    assert_eq!(
        seal.header.next_validators_hash,
        net.parent.validators.hash()
    );
    assert!(net.parent.order.contains(&newcomer.id()));
    // Its signatures count from the next block on, and its turn to lead comes.
    let leaders: Vec<NodeId> = (0..12)
        .map(|_| net.seal(vec![]).0.header.proposer)
        .collect();
    assert!(leaders.contains(&newcomer.id()), "{leaders:?}");
    pass(&mut net, 2, 2, (newcomer.id().0, false).abi_encode());
    net.seal(vec![]);
    assert_eq!(net.parent.validators.hash(), four);
    assert!(!net.parent.order.contains(&newcomer.id()));
    net.seal(vec![]);
}

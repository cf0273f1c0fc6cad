use std::collections::BTreeMap;

use alloy_primitives::{Address, U256, keccak256};
use lucid_chain_types::contracts::WORK_CREDITS;
use lucid_chain_types::{COOLDOWN_SLOTS, NodeId, SLOT_MS, Slot};
use lucid_execution::interfaces::WorkCredits;
use lucid_poot::{LeadReason, Standing, cool_down, demote, order_after};
use proptest::prelude::*;

use crate::support::{COIN, GENESIS_MS, Net, Setup, User, eip1559};

fn order(net: &Net, next: bool) -> Vec<NodeId> {
    let list = if next {
        net.ask(WORK_CREDITS, &WorkCredits::nextOrderCall {}).order
    } else {
        net.ask(WORK_CREDITS, &WorkCredits::currentOrderCall {})
            .order
    };
    list.into_iter().map(NodeId).collect()
}

fn standings(net: &Net) -> Vec<Standing> {
    let state = net.state.latest().unwrap();
    let tally = net.chain.view(&state).tally().unwrap();
    tally
        .into_iter()
        .filter(|it| it.validator)
        .map(|it| it.standing)
        .collect()
}

#[test]
fn an_empty_seal_closes_each_slot_and_the_announced_order_leads_the_next() {
    let mut net = Setup {
        validators: 7,
        ..Setup::default()
    }
    .net();
    for slot in 0..40 {
        assert_eq!(net.slot(), Slot(slot));
        assert_eq!(order(&net, false), net.parent.order);
        let announced = order(&net, true);
        let (block, _) = net.seal(vec![]);
        assert_eq!(
            (block.header.slot, block.header.proposer),
            (Slot(slot), block.header.proposer)
        );
        assert_eq!(
            net.parent.order,
            cool_down(&announced, &[block.header.proposer])
        );
        // What the read model gets is what the contract says once the slot is sealed.
        let state = net.state.latest().unwrap();
        assert_eq!(net.system.tally, net.chain.view(&state).tally().unwrap());
        assert_eq!(net.system.tally.len(), 7);
        let topic = keccak256("LeaderSchedule(uint64,address,uint8,address[])");
        let told = net.system.logs.iter().filter(|log| log.topics[0] == topic);
        assert_eq!(told.count(), 1);
        // The contract's order is what the ranking says of the state it stands in.
        let randomness = lucid_execution::prev_randao(&block.header);
        let after = order_after(
            &standings(&net),
            Slot(slot + 1),
            &net.parent.order,
            randomness,
        );
        assert_eq!(order(&net, true), after.nodes());
    }
}

#[test]
fn with_enough_validators_nobody_leads_within_its_cooldown() {
    let mut net = Setup {
        // In any 17 slots there are 17 leaders, and at most six nodes miss.
        validators: 24,
        ..Setup::default()
    }
    .net();
    let mut led: BTreeMap<NodeId, u64> = BTreeMap::new();
    for slot in 0..60 {
        // Some miss their proposals.
        let round = if slot % 7 == 3 { 2 } else { 0 };
        let missed: Vec<NodeId> = net.parent.order[..round].to_vec();
        let proposal = net.proposal(net.slot_end_ms() + 1, u32::try_from(round).unwrap(), vec![]);
        let (block, _) = net.advance(proposal);
        let leader = block.header.proposer;
        if let Some(last) = led.get(&leader) {
            assert!(
                slot - last > COOLDOWN_SLOTS,
                "{leader} led {last} and {slot}"
            );
        }
        led.insert(leader, slot);
        for node in missed {
            led.insert(node, slot);
        }
    }
}

#[test]
fn the_record_of_a_slot_says_who_led_it_and_why() {
    let mut net = Setup::default().net();
    let opened = net.parent.order.clone();
    let built = net
        .build(net.proposal(net.slot_end_ms(), 0, vec![]))
        .unwrap();
    let record = built.executed.leader.unwrap();
    assert_eq!(
        (record.primary, record.winner, record.reason),
        (opened[0], opened[0], LeadReason::Primary)
    );
    assert_eq!(record.fallbacks, opened[1..]);

    // The first misses in an earlier block of the slot: still the primary, though no longer the first.
    let pay = User::new(0).pay(0, Address::with_last_byte(0x77), U256::from(1));
    let proposal = net.proposal(net.time_ms() + 6_000, 1, vec![pay]);
    net.advance(proposal);
    assert_eq!(net.parent.order, demote(&opened, 1));
    let built = net
        .build(net.proposal(net.slot_end_ms(), 0, vec![]))
        .unwrap();
    let record = built.executed.leader.unwrap();
    assert_eq!(
        (record.primary, record.winner, record.reason),
        (opened[0], opened[1], LeadReason::Fallback)
    );
    assert_eq!(record.fallbacks, opened[1..]);

    let built = net
        .build(net.proposal(net.slot_end_ms() + 5 * SLOT_MS, 0, vec![]))
        .unwrap();
    assert_eq!(
        built.executed.leader.as_ref().unwrap().reason,
        LeadReason::Late
    );
    let block = built.block.clone();
    net.commit(&block, built.executed);
    assert_eq!(net.slot(), Slot(6), "slots nobody sealed have passed");
    net.seal(vec![]);
}

#[test]
fn a_missed_proposal_is_counted() {
    let mut net = Setup::default().net();
    let opened = net.parent.order.clone();
    let proposal = net.proposal(
        net.time_ms() + 20_000,
        2,
        vec![User::new(0).pay(0, Address::with_last_byte(0x77), U256::from(1))],
    );
    net.advance(proposal);
    for standing in standings(&net) {
        let missed = opened[..2].contains(&standing.node);
        assert_eq!(standing.timeouts, u64::from(missed));
        assert_eq!(
            standing.last_led,
            missed.then_some(Slot(0)),
            "and enters cooldown"
        );
    }
}

#[test]
fn a_year_after_the_last_block_the_chain_goes_on() {
    let mut net = Setup::default().net();
    net.next(vec![User::new(0).pay(
        0,
        Address::with_last_byte(0x77),
        U256::from(1),
    )]);
    let proposal = net.proposal(GENESIS_MS + 365 * 24 * 3_600_000, 1, vec![]);
    let (block, _) = net.advance(proposal);
    assert!(block.header.seal);
    net.next(vec![User::new(0).pay(
        1,
        Address::with_last_byte(0x77),
        U256::from(1),
    )]);
}

/// The most nodes that can register, after a standstill: a seal walks over them all and must not run out of gas.
#[test]
fn a_seal_over_the_most_nodes_does_not_run_out_of_gas() {
    use alloy_sol_types::SolCall as _;
    let mut net = Setup {
        users: 1_020,
        parameters: vec![
            ("validatorBond", U256::from(COIN / 10)),
            ("blockGasMin", U256::from(30_000_000)),
        ],
        ..Setup::default()
    }
    .net();
    for chunk in (0..1_020).collect::<Vec<u64>>().chunks(120) {
        let register = chunk.iter().map(|seed| {
            let call = WorkCredits::registerCall {
                consensusKey: alloy_primitives::keccak256(seed.to_le_bytes()),
                vrfKey: alloy_primitives::B256::repeat_byte(9),
            };
            User::new(*seed).sign(alloy_consensus::TxEip1559 {
                value: U256::from(COIN / 10),
                gas_limit: 250_000,
                ..eip1559(0, WORK_CREDITS, call.abi_encode())
            })
        });
        let (_, receipts) = net.next(register.collect());
        assert!(
            receipts.iter().all(|receipt| receipt.success),
            "{:?}",
            receipts[0]
        );
    }
    net.seal(vec![]);
    let state = net.state.latest().unwrap();
    assert_eq!(net.chain.view(&state).tally().unwrap().len(), 1_024);
    let proposal = net.proposal(net.slot_end_ms() + 8 * 24 * 3_600_000, 0, vec![]);
    net.advance(proposal);
    net.seal(vec![]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// WorkCredits.onBlock and lucid_poot::demote are one rule written twice.
    #[test]
    fn the_contract_demotes_as_poot_does(validators in 1..9u64, rounds in proptest::collection::vec(0..20u32, 1..5)) {
        let mut net = Setup { validators, ..Setup::default() }.net();
        for (nonce, round) in (0..).zip(rounds) {
            let before = net.parent.order.clone();
            let pay = User::new(0).pay(nonce, Address::with_last_byte(0x77), U256::from(1));
            let proposal = net.proposal(net.time_ms() + 1_000, round, vec![pay]);
            net.advance(proposal);
            prop_assert_eq!(&net.parent.order, &demote(&before, round as usize));
            prop_assert_eq!(&order(&net, false), &net.parent.order);
        }
    }
}

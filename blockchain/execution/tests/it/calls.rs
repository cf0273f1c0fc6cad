use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall as _;
use lucid_chain_types::NodeId;
use lucid_chain_types::contracts::{LUCID_ANCHORS, WORK_CREDITS};
use lucid_execution::interfaces::WorkCredits;
use lucid_execution::{Call, CallOutcome, MIN_GAS};

use crate::sessions::register;
use crate::support::{Setup, User, eip1559};

#[test]
fn an_estimate_is_enough_and_hardly_more() {
    let mut net = Setup::default().net();
    let user = User::new(0);
    let data: Bytes = register(1, user.address).abi_encode().into();
    let call = Call {
        from: user.address,
        to: LUCID_ANCHORS,
        data: data.clone(),
        gas: 30_000_000,
        ..Call::default()
    };
    let state = net.state.latest().unwrap();
    let estimate = net
        .chain
        .estimate_gas(&state, None, &call)
        .unwrap()
        .unwrap();
    let transaction = |nonce, gas_limit| {
        user.sign(alloy_consensus::TxEip1559 {
            gas_limit,
            ..eip1559(nonce, LUCID_ANCHORS, data.to_vec())
        })
    };
    let (_, receipts) = net.next(vec![transaction(0, estimate)]);
    assert!(receipts[0].success);
    assert!(
        estimate <= receipts[0].gas_used * 11 / 10,
        "{estimate} for {}",
        receipts[0].gas_used
    );

    // Registered now, so it fails, and the estimate says how.
    let state = net.state.latest().unwrap();
    let failed = net
        .chain
        .estimate_gas(&state, net.parent.header.as_ref(), &call)
        .unwrap();
    assert!(
        matches!(failed, Err(CallOutcome::Reverted { .. })),
        "{failed:?}"
    );
    assert_eq!(
        net.state.root(),
        net.parent.header.as_ref().unwrap().state_root,
        "calls change nothing"
    );
}

#[test]
fn a_payment_takes_21000_and_little_gas_is_too_little() {
    let net = Setup::default().net();
    let state = net.state.latest().unwrap();
    let mut call = Call {
        from: User::new(0).address,
        to: Address::with_last_byte(0x77),
        value: U256::from(1),
        gas: 1_000_000,
        ..Call::default()
    };
    assert_eq!(
        net.chain.estimate_gas(&state, None, &call).unwrap(),
        Ok(MIN_GAS)
    );
    call.to = LUCID_ANCHORS;
    call.data = register(1, call.from).abi_encode().into();
    call.value = U256::ZERO;
    call.gas = 22_000;
    assert!(matches!(
        net.chain.call(&state, None, &call).unwrap(),
        CallOutcome::Failed { .. }
    ));
    call.gas = 40_000;
    let out = net.chain.call(&state, None, &call).unwrap();
    assert!(
        matches!(&out, CallOutcome::Failed { reason } if reason.starts_with("OutOfGas")),
        "{out:?}"
    );
}

#[test]
fn work_can_be_read() {
    let mut net = Setup::default().net();
    net.next(vec![User::new(0).pay(
        0,
        Address::with_last_byte(0x77),
        U256::from(1),
    )]);
    net.next(vec![User::new(0).pay(
        1,
        Address::with_last_byte(0x77),
        U256::from(1),
    )]);
    net.seal(vec![]);
    let state = net.state.latest().unwrap();
    let mut view = net.chain.view(&state);
    let (slot, order) = view.current_order().unwrap();
    assert_eq!((slot, &order), (net.slot(), &net.parent.order));
    assert_eq!(view.next_order().unwrap().0.0, slot.0 + 1);
    for node in &order {
        // Three blocks, of which the first has no certificate under it.
        let credits = net.ask(WORK_CREDITS, &WorkCredits::creditsCall { node: node.0 });
        assert_eq!(credits, [0, 0, 2, 1]);
        assert_eq!(view.uptime_bps(*node).unwrap(), 10_000);
        assert_eq!(
            view.earned(*node).unwrap(),
            U256::from(100_000_000_000_000_000u64) / U256::from(4)
        );
        assert!(!view.eligible(*node).unwrap(), "less than 1 LUCID");
    }
    assert!(!view.eligible(NodeId(Address::ZERO)).unwrap());
}

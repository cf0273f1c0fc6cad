use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, U256};
use lucid_chain_types::Header;
use lucid_execution::{INITIAL_GAS_LIMIT, next_base_fee, next_gas_limit};
use proptest::prelude::*;

use crate::support::{MAX_FEE, Setup, TIP, User, eip1559, legacy};

const TO: Address = Address::with_last_byte(0x77);

fn header() -> Header {
    let mut net = Setup::default().net();
    net.next(vec![User::new(0).pay(0, TO, U256::from(1))])
        .0
        .header
}

/// EIP-1559 vectors of go-ethereum's `TestCalcBaseFee`, whose gas limit is 20,000,000.
#[test]
fn the_base_fee_moves_as_eip_1559_says() {
    for (used, expected) in [
        (10_000_000, 1_000_000_000),
        (9_000_000, 987_500_000),
        (11_000_000, 1_012_500_000),
    ] {
        let parent = Header {
            base_fee: 1_000_000_000,
            gas_limit: 20_000_000,
            gas_used: used,
            ..header()
        };
        assert_eq!(next_base_fee(Some(&parent), 1), expected);
    }
    assert_eq!(next_base_fee(None, 77), 77);
}

proptest! {
    #[test]
    fn fees_and_limits_stay_within_their_bounds(
        base_fee in any::<u64>(), gas_limit in 1_000_000..500_000_000u64, part in 0..=1_000u64, least in 1..1_000_000u64,
    ) {
        let parent = Header { base_fee, gas_limit, gas_used: gas_limit / 1_000 * part, ..blank() };
        let fee = next_base_fee(Some(&parent), least);
        prop_assert!(fee >= least);
        if base_fee > 8 && base_fee > least && base_fee < u64::MAX / 2 {
            prop_assert!(fee.abs_diff(base_fee) <= base_fee / 8 + 1 || fee == least);
        }
        let limit = next_gas_limit(Some(&parent), 5_000_000, 120_000_000);
        prop_assert!((5_000_000..=120_000_000).contains(&limit));
        let free = next_gas_limit(Some(&parent), 1, u64::MAX);
        prop_assert_eq!(free > gas_limit, parent.gas_used > gas_limit / 2);
    }
}

fn blank() -> Header {
    use std::sync::OnceLock;
    static HEADER: OnceLock<Header> = OnceLock::new();
    HEADER.get_or_init(header).clone()
}

#[test]
fn full_blocks_make_gas_dearer_and_blocks_larger_empty_ones_the_reverse() {
    let mut net = Setup::default().net();
    let (first, _) = net.next(vec![User::new(0).pay(0, TO, U256::from(1))]);
    assert_eq!(first.header.gas_limit, INITIAL_GAS_LIMIT);
    assert_eq!(first.header.base_fee, 1_000_000);
    let (second, _) = net.next(vec![User::new(0).pay(1, TO, U256::from(1))]);
    assert!(second.header.gas_limit < INITIAL_GAS_LIMIT);
    assert_eq!(second.header.base_fee, 1_000_000, "no lower than governed");
    // Data costs gas and little time: 10 a token at the least.
    let heavy = |nonce| {
        User::new(1).sign(TxEip1559 {
            gas_limit: 5_100_000,
            ..eip1559(nonce, TO, vec![1; 120_000])
        })
    };
    let (third, _) = net.next((0..4).map(heavy).collect());
    assert!(third.header.gas_used > third.header.gas_limit / 2);
    let (fourth, _) = net.next(vec![User::new(0).pay(2, TO, U256::from(1))]);
    assert!(fourth.header.gas_limit > third.header.gas_limit);
    assert!(fourth.header.base_fee > 1_000_000);
}

#[test]
fn the_base_fee_is_burnt_and_the_tip_is_the_leaders() {
    let mut net = Setup::default().net();
    let (one, two) = (User::new(0), User::new(1));
    let leader = net.parent.order[0].0;
    let before = [one.address, two.address, leader, TO].map(|account| net.balance(account));
    let (block, receipts) = net.next(vec![one.pay(0, TO, U256::from(5)), two.sign(legacy(0, TO))]);
    let after = [one.address, two.address, leader, TO].map(|account| net.balance(account));
    let base = u128::from(block.header.base_fee);
    // Who names one price pays it all.
    let prices = [base + TIP, MAX_FEE];
    let gas = U256::from(21_000);
    for (receipt, price) in receipts.iter().zip(prices) {
        assert_eq!(
            (receipt.gas_used, receipt.effective_gas_price),
            (21_000, price)
        );
    }
    assert_eq!(
        before[0] - after[0],
        gas * U256::from(prices[0]) + U256::from(5)
    );
    assert_eq!(
        before[1] - after[1],
        gas * U256::from(prices[1]) + U256::from(1)
    );
    assert_eq!(after[2] - before[2], gas * U256::from(TIP + MAX_FEE - base));
    assert_eq!(after[3], U256::from(6));
}

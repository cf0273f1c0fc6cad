//! One rule a test.

use alloy_primitives::U256;
use lucid_mempool::{Account, DropReason, Limits, Refused, Status};

use crate::support::{
    BASE_FEE, BLOCK_GAS, GAS, block, pool, priced, rich, sender, sized, small, transfer,
};

#[test]
fn a_gap_waits_and_is_promoted() {
    let mut pool = pool(Limits::default());
    let late = transfer(0, 6, 1);
    let first = transfer(0, 5, 1);
    let inserted = pool.insert(late.clone(), rich(5), BASE_FEE, 0).unwrap();
    assert_eq!(inserted.status, Status::Queued);
    assert_eq!(pool.nonce_after(sender(0)), Some(5));
    let inserted = pool.insert(first, rich(5), BASE_FEE, 0).unwrap();
    assert_eq!(inserted.status, Status::Pending);
    assert_eq!(inserted.promoted, [late.hash]);
    assert_eq!(pool.nonce_after(sender(0)), Some(7));
}

#[test]
fn a_nonce_too_far_ahead_is_refused() {
    let mut pool = pool(Limits::default());
    pool.insert(transfer(0, 16, 1), rich(0), BASE_FEE, 0)
        .unwrap();
    let refused = pool
        .insert(transfer(0, 17, 1), rich(0), BASE_FEE, 0)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "nonce too high: 17 is more than 16 after 0, which is missing"
    );
}

#[test]
fn a_used_nonce_is_refused() {
    let mut pool = pool(Limits::default());
    let refused = pool
        .insert(transfer(0, 4, 1), rich(5), BASE_FEE, 0)
        .unwrap_err();
    assert!(refused.to_string().starts_with("nonce too low: 4 is used"));
}

#[test]
fn a_replacement_pays_a_tenth_more_in_both_fees() {
    let mut pool = pool(Limits::default());
    pool.insert(priced(0, 0, 1000, 50, 110), rich(0), BASE_FEE, 0)
        .unwrap();
    for (max_fee, tip) in [(1099, 55), (1100, 54), (2000, 50), (1000, 500)] {
        let refused = pool.insert(priced(0, 0, max_fee, tip, 110), rich(0), BASE_FEE, 0);
        assert!(matches!(
            refused,
            Err(Refused::Underpriced {
                max_fee: 1100,
                max_priority_fee: 55,
                ..
            })
        ));
    }
    let inserted = pool
        .insert(priced(0, 0, 1100, 55, 110), rich(0), BASE_FEE, 0)
        .unwrap();
    assert_eq!(inserted.replaced, Some(priced(0, 0, 1000, 50, 110).hash));
    assert_eq!(pool.counts().pending, 1);
}

#[test]
fn what_the_refusal_of_a_replacement_asks_for_is_enough() {
    let mut pool = pool(Limits::default());
    pool.insert(sized(0, 0, 50, 60_000), rich(0), BASE_FEE, 0)
        .unwrap();
    let Err(Refused::Underpriced {
        max_fee,
        max_priority_fee,
        ..
    }) = pool.insert(sized(0, 0, 60, 110), rich(0), BASE_FEE, 0)
    else {
        panic!("a small one cheaply took the place of a large one");
    };
    pool.insert(
        priced(0, 0, max_fee, max_priority_fee, 110),
        rich(0),
        BASE_FEE,
        0,
    )
    .unwrap();
}

#[test]
fn all_that_waits_is_within_the_balance() {
    let mut pool = pool(Limits::default());
    let one = transfer(0, 0, 1).cost;
    let account = Account {
        nonce: 0,
        balance: one * U256::from(2) + U256::from(1),
    };
    pool.insert(transfer(0, 0, 1), account, BASE_FEE, 0)
        .unwrap();
    // A queued one counts too.
    pool.insert(transfer(0, 5, 1), account, BASE_FEE, 0)
        .unwrap();
    let refused = pool
        .insert(transfer(0, 1, 1), account, BASE_FEE, 0)
        .unwrap_err();
    assert!(matches!(refused, Refused::InsufficientFunds { .. }));
}

#[test]
fn who_cannot_pay_the_base_fee_is_refused_and_parked_when_it_rises() {
    let mut pool = pool(Limits::default());
    let poor = priced(0, 0, u128::from(BASE_FEE) - 1, 0, 110);
    assert!(matches!(
        pool.insert(poor, rich(0), BASE_FEE, 0),
        Err(Refused::BelowBaseFee { .. })
    ));
    pool.insert(priced(0, 0, 110, 5, 110), rich(0), BASE_FEE, 0)
        .unwrap();
    pool.insert(priced(0, 1, 500, 5, 110), rich(0), BASE_FEE, 0)
        .unwrap();
    block(&mut pool, &[], &[], 111, 0);
    assert_eq!((pool.counts().pending, pool.counts().queued), (0, 2));
    assert!(pool.best(111, BLOCK_GAS, 1 << 20).is_empty());
    assert_eq!(pool.nonce_after(sender(0)), Some(2));
    let changes = block(&mut pool, &[], &[], 110, 0);
    assert_eq!(changes.promoted.len(), 2);
    assert_eq!(pool.best(110, BLOCK_GAS, 1 << 20).len(), 2);
}

#[test]
fn gas_that_no_block_has_is_refused_and_parked_when_blocks_shrink() {
    let mut pool = pool(Limits::default());
    let mut large = transfer(0, 0, 1);
    large.gas_limit = BLOCK_GAS + 1;
    assert!(matches!(
        pool.insert(large.clone(), rich(0), BASE_FEE, 0),
        Err(Refused::GasAboveBlock { .. })
    ));
    large.gas_limit = BLOCK_GAS;
    pool.insert(large, rich(0), BASE_FEE, 0).unwrap();
    pool.set_next_block(BASE_FEE, BLOCK_GAS - 1);
    assert_eq!(pool.counts().queued, 1);
}

#[test]
fn a_block_takes_out_what_is_in_it_and_what_lost_its_nonce() {
    let mut pool = pool(Limits::default());
    let (mine, kept) = (transfer(0, 0, 1), transfer(1, 1, 1));
    pool.insert(mine.clone(), rich(0), BASE_FEE, 0).unwrap();
    pool.insert(transfer(1, 0, 1), rich(0), BASE_FEE, 0)
        .unwrap();
    pool.insert(kept.clone(), rich(0), BASE_FEE, 0).unwrap();
    // The second sender's first nonce went to a transaction that was never here.
    let changes = block(
        &mut pool,
        &[mine.hash],
        &[(sender(1), rich(1))],
        BASE_FEE,
        0,
    );
    assert_eq!(changes.included, 1);
    assert_eq!(changes.dropped.len(), 1);
    assert_eq!(changes.dropped[0].reason, DropReason::Superseded);
    assert_eq!(pool.content(9).len(), 1);
    assert_eq!(pool.content(9)[0].candidate.hash, kept.hash);
}

#[test]
fn a_spent_balance_takes_out_what_it_no_longer_pays() {
    let mut pool = pool(Limits::default());
    for nonce in 0..4 {
        pool.insert(transfer(0, nonce, 1), rich(0), BASE_FEE, 0)
            .unwrap();
    }
    let balance = transfer(0, 0, 1).cost * U256::from(2);
    let account = Account { nonce: 1, balance };
    let changes = block(
        &mut pool,
        &[transfer(0, 0, 1).hash],
        &[(sender(0), account)],
        BASE_FEE,
        0,
    );
    assert_eq!(changes.dropped.len(), 1);
    assert_eq!(changes.dropped[0].reason, DropReason::Unpayable);
    assert_eq!(pool.counts().pending, 2);
}

#[test]
fn old_ones_go_with_those_after_them() {
    let limits = Limits {
        ttl_ms: 1000,
        queued_ttl_ms: 100,
        ..Limits::default()
    };
    let mut pool = pool(limits);
    pool.insert(transfer(0, 0, 1), rich(0), BASE_FEE, 0)
        .unwrap();
    pool.insert(transfer(0, 1, 1), rich(0), BASE_FEE, 900)
        .unwrap();
    pool.insert(transfer(1, 1, 1), rich(0), BASE_FEE, 0)
        .unwrap();
    assert_eq!(pool.expire(99).len(), 0);
    assert_eq!(pool.expire(100).len(), 1);
    assert_eq!(pool.expire(999).len(), 0);
    assert_eq!(pool.expire(1000).len(), 2);
}

#[test]
fn a_block_is_filled_by_tip_then_arrival_within_gas_and_bytes() {
    let mut pool = pool(Limits::default());
    for (from, nonce, tip) in [(0, 0, 5), (1, 0, 9), (2, 0, 5), (1, 1, 1), (0, 1, 50)] {
        pool.insert(transfer(from, nonce, tip), rich(0), BASE_FEE, 0)
            .unwrap();
    }
    let mut big = transfer(3, 0, 100);
    big.gas_limit = 10 * GAS;
    pool.insert(big, rich(0), BASE_FEE, 0).unwrap();
    let order = |gas, bytes| -> Vec<(alloy_primitives::Address, u64)> {
        let best = pool.best(BASE_FEE, gas, bytes);
        best.iter().map(|c| (c.sender, c.nonce)).collect()
    };
    let without_big = [
        (sender(1), 0),
        (sender(0), 0),
        (sender(0), 1),
        (sender(2), 0),
        (sender(1), 1),
    ];
    assert_eq!(order(9 * GAS, 1 << 20), without_big);
    assert_eq!(order(BLOCK_GAS, 1 << 20)[0], (sender(3), 0));
    assert_eq!(order(3 * GAS, 1 << 20), without_big[..3]);
    assert_eq!(order(9 * GAS, 3 * 114), without_big[..3]);
}

#[test]
fn smaller_limits_evict_the_cheapest() {
    let mut pool = pool(Limits::default());
    for from in 0..10 {
        pool.insert(transfer(from, 0, u128::from(from)), rich(0), BASE_FEE, 0)
            .unwrap();
    }
    pool.insert(transfer(20, 3, 99), rich(0), BASE_FEE, 0)
        .unwrap();
    assert_eq!(pool.set_limits(small(4)).len(), 7);
    let mut left: Vec<u128> = pool
        .content(9)
        .iter()
        .map(|w| w.candidate.max_priority_fee)
        .collect();
    left.sort_unstable();
    assert_eq!(left, [6, 7, 8, 9]);
}

#[test]
fn an_older_state_than_the_pools_changes_nothing() {
    let mut pool = pool(Limits::default());
    pool.insert(transfer(0, 5, 1), rich(5), BASE_FEE, 0)
        .unwrap();
    block(
        &mut pool,
        &[transfer(0, 5, 1).hash],
        &[(sender(0), rich(6))],
        BASE_FEE,
        0,
    );
    pool.insert(transfer(0, 6, 1), rich(6), BASE_FEE, 0)
        .unwrap();
    let refused = pool
        .insert(transfer(0, 5, 9), rich(5), BASE_FEE, 0)
        .unwrap_err();
    assert!(matches!(refused, Refused::NonceTooLow { next: 6, .. }));
    assert_eq!(pool.counts().pending, 1);
}

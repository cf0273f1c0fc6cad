//! What an attacker can try, and what it costs.

use alloy_primitives::{B256, U256};
use lucid_mempool::{Account, Limits, Mempool, Refused, Status};

use crate::support::{
    BASE_FEE, BLOCK_GAS, block, pool, priced, rich, sender, sized, small, transfer,
};

const ATTACKER: u64 = 1_000_000;

/// `count` honest senders with one transaction each and this tip.
fn honest(pool: &mut Mempool, count: u64, tip: u128) -> Vec<B256> {
    (0..count)
        .map(|from| {
            let candidate = transfer(from, 0, tip);
            let hash = candidate.hash;
            assert!(pool.insert(candidate, rich(0), BASE_FEE, 0).is_ok());
            hash
        })
        .collect()
}

fn present(pool: &Mempool, hashes: &[B256]) -> usize {
    hashes
        .iter()
        .filter(|hash| pool.get(**hash).is_some())
        .count()
}

#[test]
fn a_flood_of_nonce_gaps_evicts_nothing_that_can_run() {
    let mut pool = pool(Limits {
        queued: 50,
        ..small(100)
    });
    let hashes = honest(&mut pool, 90, 1);
    let mut taken = 0;
    for account in 0..100 {
        for nonce in 1..=20 {
            let candidate = transfer(ATTACKER + account, nonce, 1_000_000);
            taken += usize::from(pool.insert(candidate, rich(0), BASE_FEE, 0).is_ok());
        }
    }
    assert!(taken >= 10);
    assert_eq!(present(&pool, &hashes), 90);
    // And one that can run takes the place of a queued one, at any tip.
    let cheap = pool
        .insert(transfer(500, 0, 0), rich(0), BASE_FEE, 0)
        .unwrap();
    assert_eq!(cheap.status, Status::Pending);
    assert_eq!(cheap.evicted.len(), 1);
    assert_eq!(present(&pool, &hashes), 90);
}

#[test]
fn who_floods_the_queue_makes_room_for_who_does_not() {
    let mut pool = pool(Limits {
        queued: 32,
        ..small(100)
    });
    for account in 0..2 {
        for nonce in 1..=16 {
            pool.insert(transfer(ATTACKER + account, nonce, 9), rich(0), BASE_FEE, 0)
                .unwrap();
        }
    }
    for from in 0..10 {
        let inserted = pool
            .insert(transfer(from, 1, 0), rich(0), BASE_FEE, 0)
            .unwrap();
        assert_eq!(inserted.evicted.len(), 1);
    }
    // The attacker cannot push them out again, whatever it claims to pay.
    let more = pool
        .insert(transfer(ATTACKER + 3, 2, 1 << 60), rich(0), BASE_FEE, 0)
        .unwrap();
    assert_eq!(pool.get(more.evicted[0]), None);
    for from in 0..10 {
        assert_eq!(pool.status(transfer(from, 1, 0).hash), Some(Status::Queued));
    }
}

#[test]
fn one_sender_cannot_fill_the_pool() {
    let mut pool = pool(Limits {
        per_sender: 20,
        ..small(100)
    });
    let results: Vec<_> = (0..200)
        .map(|nonce| pool.insert(transfer(ATTACKER, nonce, 1 << 40), rich(0), BASE_FEE, 0))
        .collect();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 20);
    assert!(matches!(
        results[20],
        Err(Refused::SenderFull { count: 20, .. })
    ));
    honest(&mut pool, 80, 0);

    let mut by_size = super::support::pool(Limits {
        per_sender_bytes: 100_000,
        ..Limits::default()
    });
    by_size
        .insert(sized(ATTACKER, 0, 1, 90_000), rich(0), BASE_FEE, 0)
        .unwrap();
    assert!(matches!(
        by_size.insert(sized(ATTACKER, 1, 1, 20_000), rich(0), BASE_FEE, 0),
        Err(Refused::SenderFull { .. })
    ));
}

#[test]
fn many_poor_senders_get_nothing_in() {
    let mut pool = pool(small(100));
    let hashes = honest(&mut pool, 100, 1);
    let cost = transfer(ATTACKER, 0, 1000).cost;
    let poor = Account {
        nonce: 0,
        balance: cost - U256::from(1),
    };
    for account in 0..1000 {
        let refused = pool.insert(transfer(ATTACKER + account, 0, 1000), poor, BASE_FEE, 0);
        assert!(matches!(refused, Err(Refused::InsufficientFunds { .. })));
    }
    assert_eq!(present(&pool, &hashes), 100);
}

#[test]
fn money_for_one_does_not_hold_places_for_many() {
    let mut pool = pool(small(100));
    let one = transfer(ATTACKER, 0, 1000).cost;
    let account = Account {
        nonce: 0,
        balance: one,
    };
    let kept = (0..50)
        .filter(|nonce| {
            pool.insert(transfer(ATTACKER, *nonce, 1000), account, BASE_FEE, 0)
                .is_ok()
        })
        .count();
    assert_eq!(kept, 1);
}

#[test]
fn a_transfer_of_all_it_has_does_not_free_the_rest_from_paying() {
    // Nonce 0 sends the whole balance away, the others hold places: the sum is what counts, so they do not get in.
    let mut pool = pool(small(100));
    let account = rich(0);
    let mut drain = transfer(ATTACKER, 0, 1000);
    drain.cost = account.balance;
    pool.insert(drain, account, BASE_FEE, 0).unwrap();
    assert!(
        pool.insert(transfer(ATTACKER, 1, 1000), account, BASE_FEE, 0)
            .is_err()
    );
    // The other way round it cannot replace a cheap first one by the drain.
    let mut pool = super::support::pool(small(100));
    for nonce in 0..20 {
        pool.insert(transfer(ATTACKER, nonce, 1000), account, BASE_FEE, 0)
            .unwrap();
    }
    let mut drain = transfer(ATTACKER, 0, 5000);
    drain.cost = account.balance;
    assert!(matches!(
        pool.insert(drain, account, BASE_FEE, 0),
        Err(Refused::InsufficientFunds { .. })
    ));
}

#[test]
fn bumping_one_fee_over_and_over_is_exponentially_dear() {
    let mut pool = pool(small(100));
    let (mut tip, mut accepted) = (1_000_u128, 0);
    let mut account = rich(0);
    account.balance = U256::from(10).pow(U256::from(18));
    loop {
        let candidate = priced(ATTACKER, 0, u128::from(BASE_FEE) + tip, tip, 110);
        match pool.insert(candidate, account, BASE_FEE, 0) {
            Ok(_) => accepted += 1,
            Err(Refused::Underpriced {
                max_fee,
                max_priority_fee,
                ..
            }) => {
                tip = max_priority_fee.max(max_fee - u128::from(BASE_FEE));
            }
            Err(Refused::Known(_)) => tip += 1,
            Err(_) => break,
        }
    }
    // With a whole coin of 10^18 wei: from 10^3 to 10^18 / 21 000 wei a gas in steps of a tenth.
    assert!(accepted < 270, "{accepted} versions of one transaction");
    assert_eq!(pool.counts().pending, 1);
    let last = pool.content(1)[0].candidate.clone();
    assert!(
        last.cost > account.balance / U256::from(2),
        "the last version risks the coin"
    );
}

#[test]
fn a_small_replacement_does_not_hand_back_the_room_a_large_one_took() {
    let limits = Limits {
        bytes: 50 * 1_000,
        ..small(1000)
    };
    let mut pool = pool(limits);
    for from in 0..50 {
        pool.insert(sized(from, 0, 10, 1_000), rich(0), BASE_FEE, 0)
            .unwrap();
    }
    // The large one would push out 40 small ones: at their price it may not.
    let refused = pool.insert(sized(ATTACKER, 0, 11, 40_000), rich(0), BASE_FEE, 0);
    assert!(matches!(refused, Err(Refused::Full { .. })));
    // Above the sum of what they pay, by what its own size makes it pay at least, it may.
    let large = sized(ATTACKER, 0, 21, 40_000);
    let weight = |bytes: u128| 21_000 + 10 * bytes.saturating_sub(1024);
    assert!(weight(40_000) * 21 < 40 * 10 * weight(1_000) * 2);
    let tip = (40 * 10 * weight(1_000)) / weight(40_000) + 1;
    let dear = sized(ATTACKER, 0, tip, 40_000);
    let evicted = match pool.insert(large, rich(0), BASE_FEE, 0) {
        Ok(inserted) => inserted.evicted.len(),
        Err(_) => pool
            .insert(dear, rich(0), BASE_FEE, 0)
            .unwrap()
            .evicted
            .len(),
    };
    assert_eq!(evicted, 40);
    // A tenth more for a hundredth of the size is refused.
    let refused = pool.insert(sized(ATTACKER, 0, tip * 2, 110), rich(0), BASE_FEE, 0);
    assert!(matches!(refused, Err(Refused::Underpriced { .. })));
}

#[test]
fn who_evicts_pays_more_than_what_is_lost_and_each_return_costs_more() {
    let mut pool = pool(small(50));
    let hashes = honest(&mut pool, 50, 100);
    // Below the bump: nothing.
    for account in 0..50 {
        let refused = pool.insert(transfer(ATTACKER + account, 0, 109), rich(0), BASE_FEE, 0);
        assert_eq!(refused.unwrap_err(), Refused::Full { tip: 100 });
    }
    // The attacker cycles its accounts: each round evicts its own or the honest at a tenth more.
    let (mut tip, mut rounds, mut nonce) = (110, 0, vec![0_u64; 60]);
    while tip < 1_000_000 {
        for account in 0..60_u64 {
            let index = usize::try_from(account).unwrap();
            let candidate = transfer(ATTACKER + account, nonce[index], tip);
            if pool.insert(candidate, rich(0), BASE_FEE, 0).is_ok() {
                nonce[index] += 1;
            }
        }
        rounds += 1;
        tip = (tip * 110).div_ceil(100);
    }
    assert_eq!(present(&pool, &hashes), 0);
    assert!(rounds < 110);
    // What is left in the pool pays: the attacker's last tips, not its first.
    let best = pool.best(BASE_FEE, BLOCK_GAS, 1 << 20);
    assert_eq!(best.len(), 50);
    let paid: u128 = best.iter().map(|c| c.tip(BASE_FEE)).sum();
    assert!(paid >= 50 * 110, "more than all that was lost");
}

#[test]
fn an_evicted_one_does_not_come_back_at_its_old_price() {
    let mut pool = pool(small(10));
    honest(&mut pool, 10, 10);
    let evicted = pool
        .insert(transfer(ATTACKER, 0, 11), rich(0), BASE_FEE, 0)
        .unwrap()
        .evicted;
    assert_eq!(evicted.len(), 1);
    // The last that came of the cheapest went.
    assert_eq!(evicted[0], transfer(9, 0, 10).hash);
    let refused = pool.insert(transfer(9, 0, 10), rich(0), BASE_FEE, 0);
    assert_eq!(refused.unwrap_err(), Refused::Full { tip: 10 });
}

#[test]
fn a_dear_transaction_does_not_shelter_a_cheap_one_before_it() {
    let mut pool = pool(small(4));
    pool.insert(transfer(ATTACKER, 0, 0), rich(0), BASE_FEE, 0)
        .unwrap();
    for nonce in 1..4 {
        pool.insert(transfer(ATTACKER, nonce, 1 << 50), rich(0), BASE_FEE, 0)
            .unwrap();
    }
    // Its tail goes first, and nothing of it is left after four.
    for from in 0..4 {
        let inserted = pool
            .insert(transfer(from, 0, 1), rich(0), BASE_FEE, 0)
            .unwrap();
        assert_eq!(inserted.evicted.len(), 1);
    }
    assert_eq!(pool.nonce_after(sender(ATTACKER)), None);
    // Nor does a cheap head carry a dear tail in.
    pool.insert(transfer(0, 0, 1), rich(0), BASE_FEE, 0)
        .unwrap_err();
    let tail = pool.insert(transfer(0, 1, 1 << 50), rich(0), BASE_FEE, 0);
    assert_eq!(tail.unwrap_err(), Refused::Full { tip: 1 });
}

#[test]
fn one_newcomer_causes_bounded_work() {
    let mut pool = pool(Limits {
        bytes: 1_000 * 100,
        ..Limits::default()
    });
    for from in 0..1_000 {
        pool.insert(sized(from, 0, 1, 100), rich(0), BASE_FEE, 0)
            .unwrap();
    }
    let refused = pool.insert(sized(ATTACKER, 0, 1 << 40, 90_000), rich(0), BASE_FEE, 0);
    assert!(matches!(refused, Err(Refused::Full { .. })));
    assert_eq!(pool.counts().pending, 1_000);
}

#[test]
fn a_base_fee_above_all_parks_without_losing_and_parked_ones_are_no_pressure() {
    let mut pool = pool(small(20));
    for from in 0..20 {
        pool.insert(
            priced(ATTACKER + from, 0, 110, 10, 110),
            rich(0),
            BASE_FEE,
            0,
        )
        .unwrap();
    }
    block(&mut pool, &[], &[], 120, 0);
    assert_eq!(pool.counts().queued, 20);
    // Whoever pays the new base fee gets in, even with no tip.
    for from in 0..20 {
        pool.insert(priced(from, 0, 120, 0, 110), rich(0), 120, 0)
            .unwrap();
    }
    assert_eq!(pool.counts().pending, 20);
}

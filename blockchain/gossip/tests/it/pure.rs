//! Budgets, scores, the address book and batches, each with a clock of its own.

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use lucid_gossip::{Batcher, Book, Budget, Fault, Limits, Pass, Scores, TokenBucket, peer_id};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_bucket_never_gives_more_than_its_rate(
        rate in 1_u64..10_000, capacity in 1_u64..10_000,
        steps in vec((0_u64..500, 0_u64..2_000), 1..100),
    ) {
        let mut bucket = TokenBucket::new(rate, capacity, 0);
        let (mut now, mut taken) = (0, 0);
        for (pause, wanted) in steps {
            now += pause;
            if bucket.take(wanted, now) {
                taken += wanted;
            }
            prop_assert!(taken <= capacity + now * rate / 1000);
        }
    }

    #[test]
    fn what_a_bucket_says_to_wait_is_enough_and_not_too_much(
        rate in 1_u64..10_000, capacity in 1_u64..10_000, first in 0_u64..10_000, wanted in 0_u64..10_000,
    ) {
        let mut bucket = TokenBucket::new(rate, capacity, 0);
        bucket.take(first.min(capacity), 0);
        match bucket.wait_ms(wanted, 0) {
            None => prop_assert!(wanted > capacity),
            Some(wait) => {
                prop_assert!(wait == 0 || !bucket.clone().take(wanted, wait - 1));
                prop_assert!(bucket.take(wanted, wait));
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_breaks_nothing(times in vec(any::<u64>(), 1..50)) {
        let mut bucket = TokenBucket::new(u64::MAX, u64::MAX, 5);
        let mut scores: Scores<u8> = Scores::new(4, 1_000);
        for time in times {
            bucket.take(time, time);
            bucket.wait_ms(time, time);
            scores.fault(&(time.to_le_bytes()[0] % 8), Fault::Junk, time);
            scores.reward(&(time.to_le_bytes()[1] % 8), time);
            scores.tick(time);
            prop_assert!(scores.len() <= 4);
        }
    }

    #[test]
    fn who_keeps_below_the_line_is_never_banned(pauses in vec(75_000_u64..200_000, 1..200)) {
        // An invalid batch costs 25 points, and 20 are forgiven a minute.
        let mut scores = Scores::new(10, 1_000);
        let mut now = 0;
        for pause in pauses {
            now += pause;
            prop_assert_eq!(scores.fault(&1, Fault::Invalid, now), None);
        }
    }

    #[test]
    fn batches_lose_nothing_and_keep_their_bounds(sizes in vec(1_usize..(128 << 10), 1..200), pauses in vec(0_u64..30, 200)) {
        let mut batcher = Batcher::default();
        let mut out: Vec<Vec<Bytes>> = Vec::new();
        let mut now = 0;
        for (size, pause) in sizes.iter().zip(pauses) {
            now += pause;
            out.extend(batcher.due(now));
            out.extend(batcher.push(Bytes::from(vec![1; *size]), now));
            prop_assert!(batcher.deadline_ms().is_none_or(|deadline| deadline <= now + 20));
        }
        out.extend(batcher.due(u64::MAX));
        prop_assert_eq!(batcher.deadline_ms(), None);
        for batch in &out {
            prop_assert!(lucid_gossip::encode_batch(batch).is_ok());
        }
        let sent: Vec<usize> = out.into_iter().flatten().map(|one| one.len()).collect();
        prop_assert_eq!(sent, sizes);
    }

    /// Whatever others tell, the book stays small, and what was configured stays.
    #[test]
    fn the_book_is_bounded(told in vec((0_u8..40, any::<u8>(), any::<u16>(), 0_u64..100_000, 0_u8..4), 1..800)) {
        let mut book = Book::new(id(0));
        book.configure(id(1), address(1), 0);
        let mut now = 0;
        for (teller, peer, port, pause, what) in told {
            now += pause;
            match what {
                0 => book.failed(&id(peer), u64::from(port), now),
                1 => book.connected(&id(peer)),
                _ => { book.learn(id(teller), id(peer), vec![address(port)], now); }
            }
            prop_assert!(book.len() <= 257);
            let due = book.due(|_| false, 3, now);
            prop_assert!(due.iter().filter(|due| due.peer != id(1)).count() <= 3);
            prop_assert!(due.iter().all(|due| due.peer != id(0)));
        }
        prop_assert!(book.is_configured(&id(1)));
    }
}

fn id(seed: u8) -> PeerId {
    use std::sync::OnceLock;
    static IDS: OnceLock<Vec<PeerId>> = OnceLock::new();
    IDS.get_or_init(|| {
        (0..=255)
            .filter_map(|seed| peer_id(&[seed; 32]).ok())
            .collect()
    })[usize::from(seed)]
}

fn address(port: u16) -> Multiaddr {
    Multiaddr::from(std::net::Ipv4Addr::LOCALHOST).with(libp2p::multiaddr::Protocol::Tcp(port))
}

#[test]
fn a_budget_tells_a_busy_peer_from_a_flood() {
    let limits = Limits {
        messages_per_second: 10,
        ..Limits::default()
    };
    let mut budget = Budget::new(&limits, 0);
    let passes: Vec<Pass> = (0..200).map(|_| budget.message(0)).collect();
    assert_eq!(passes.iter().filter(|p| **p == Pass::Yes).count(), 40);
    assert_eq!(passes.iter().filter(|p| **p == Pass::Over).count(), 120);
    assert_eq!(passes.iter().filter(|p| **p == Pass::Flood).count(), 40);
    assert_eq!(budget.message(1_000), Pass::Yes);
    budget.set_limits(
        &Limits {
            messages_per_second: 1,
            ..limits
        },
        1_000,
    );
    let passes = (0..20)
        .filter(|_| budget.message(1_000) == Pass::Yes)
        .count();
    assert_eq!(passes, 4);
}

#[test]
fn a_peer_at_fault_is_banned_for_longer_each_time() {
    let mut scores = Scores::new(10, 1_000);
    assert_eq!(scores.fault(&1, Fault::Junk, 0), None);
    assert_eq!(scores.score(&1, 0), -50);
    assert_eq!(
        scores.fault(&1, Fault::Junk, 0).map(|ban| ban.until_ms),
        Some(1_000)
    );
    assert!(scores.is_banned(&1, 999));
    assert_eq!(
        scores.fault(&1, Fault::Hostile, 500),
        None,
        "already banned"
    );
    assert_eq!(scores.tick(1_000), [1]);
    assert!(!scores.is_banned(&1, 1_000));
    // It is on probation: half of the line is left.
    let second = scores.fault(&1, Fault::Junk, 1_000).unwrap();
    assert_eq!(second.until_ms, 1_000 + 2_000);
    scores.tick(3_000);
    assert_eq!(
        scores.fault(&1, Fault::Hostile, 3_000).unwrap().until_ms,
        3_000 + 4_000
    );
    // A day without a ban, and all is forgotten.
    scores.tick(7_000);
    scores.tick(7_000 + 25 * 60 * 60 * 1000);
    assert!(scores.is_empty());
}

#[test]
fn faults_are_forgiven_and_credit_is_forgotten() {
    let mut scores = Scores::new(10, 1_000);
    scores.fault(&1, Fault::Junk, 0);
    assert_eq!(scores.score(&1, 60_000), -30);
    assert_eq!(scores.score(&1, 150_000), 0);
    for _ in 0..500 {
        scores.reward(&2, 0);
    }
    assert_eq!(scores.score(&2, 0), 100);
    assert_eq!(scores.score(&2, 30 * 60_000), 70);
}

#[test]
fn many_new_names_do_not_push_out_bans() {
    let mut scores = Scores::new(10, 1_000_000);
    for peer in 0..3 {
        scores.fault(&peer, Fault::Hostile, 0);
    }
    for peer in 100..1_000 {
        scores.fault(&peer, Fault::Flood, 0);
    }
    assert_eq!(scores.len(), 10);
    assert_eq!(scores.banned(1).count(), 3);
}

#[test]
fn pauses_double_up_to_a_bound_with_jitter() {
    let mut book = Book::new(id(0));
    book.configure(id(1), address(1), 0);
    let mut now = 0;
    let mut pauses = Vec::new();
    for round in 0..10 {
        assert_eq!(book.due(|_| false, 0, now).len(), 1);
        assert!(book.due(|_| false, 0, now).is_empty(), "it is being dialed");
        book.failed(&id(1), round * 7_919, now);
        let pause = (1..)
            .find(|ms| !book.due(|_| false, 0, now + ms).is_empty())
            .unwrap();
        pauses.push(pause);
        book.failed(&id(1), 0, now);
        now += 1_000_000;
    }
    assert!((750..=1_250).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 37_500), "{pauses:?}");
    assert!(pauses[9] >= 22_500, "{pauses:?}");
}

#[test]
fn a_learned_peer_that_never_answers_is_forgotten() {
    let mut book = Book::new(id(0));
    assert!(book.learn(id(5), id(6), vec![address(6)], 0));
    for _ in 0..7 {
        book.failed(&id(6), 0, 0);
    }
    assert!(book.is_empty());
}

#[test]
fn one_teller_fills_only_its_share_and_cannot_move_others() {
    let mut book = Book::new(id(0));
    book.configure(id(1), address(1), 0);
    let told = (2..200)
        .filter(|n| book.learn(id(200), id(*n), vec![address(9)], 0))
        .count();
    assert_eq!(told, 32);
    assert!(
        !book.learn(id(200), id(1), vec![address(9)], 0),
        "configured"
    );
    assert!(!book.learn(id(201), id(2), vec![address(10)], 0), "known");
    assert!(book.learn(id(2), id(2), vec![address(10)], 0), "of itself");
    assert!(
        !book.learn(id(3), id(0), vec![address(10)], 0),
        "that is us"
    );
    let shared = book.share(&[id(1), id(2), id(77)], 16, 4);
    assert_eq!(shared.len(), 2);
    assert_eq!(shared[0], address(10).with_p2p(id(2)).unwrap());
}

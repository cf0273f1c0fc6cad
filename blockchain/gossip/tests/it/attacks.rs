//! What an attacker can try.

use std::time::Duration;

use bytes::Bytes;
use lucid_gossip::{GossipSettings, Hello, Limits, MAX_BATCH_BYTES, Request};

use crate::raw::Raw;
use crate::support::{GENESIS, INVALID, Node, linked, settings, transaction, until};

fn framed(length: u32, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), body].concat()
}

fn framed_request(request: &Request) -> Vec<u8> {
    let body = request.encode();
    framed(u32::try_from(body.len()).unwrap(), &body)
}

/// Large, packs well, and leaves at once since it fills a batch.
fn bulky(number: u32) -> Bytes {
    let mut bytes = vec![1; 64 << 10];
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    Bytes::from(bytes)
}

#[tokio::test]
async fn a_flood_is_throttled_and_banned_while_honest_traffic_passes() {
    let limits = Limits {
        messages_per_second: 10,
        ..Limits::default()
    };
    let host = Node::start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await;
    let honest = Node::start(settings(2, &[host.address()])).await;
    let flooder = Node::start(settings(3, &[host.address()])).await;
    linked(&host, &honest).await;
    linked(&host, &flooder).await;
    let mut number = 0;
    let mut sent = 0;
    while !host.banned(flooder.id()) {
        assert!(number < 20_000, "the flooder is never banned");
        for _ in 0..20 {
            number += 1;
            // Its own queue fills: that is the flooder's affair.
            let _full = flooder.handle.publish_transactions(vec![bulky(number)]);
        }
        if number % 400 == 0 {
            sent += 1;
            honest
                .handle
                .publish_transactions(vec![transaction(sent)])
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // More honest ones, after.
    for _ in 0..5 {
        sent += 1;
        honest
            .handle
            .publish_transactions(vec![transaction(sent)])
            .unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    until("the honest ones are there", || {
        (1..=sent).all(|n| host.has(&transaction(n)))
    })
    .await;
    let passed = u32::try_from(host.from(flooder.id())).unwrap();
    assert!(passed * 2 < number, "{passed} of {number} passed");
    until("it is thrown out", || !host.knows(flooder.id())).await;
    assert!(!host.banned(honest.id()));
    // It tries to come back and cannot, until it is pardoned.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!host.knows(flooder.id()));
    host.handle.pardon(flooder.id()).unwrap();
    linked(&host, &flooder).await;
}

#[tokio::test]
async fn a_ban_ends() {
    let limits = Limits {
        ban: Duration::from_secs(2),
        ..Limits::default()
    };
    let host = Node::start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await;
    let sender = Node::start(settings(2, &[host.address()])).await;
    linked(&host, &sender).await;
    for number in 0..6 {
        let mut invalid = transaction(number).to_vec();
        invalid[0] = INVALID;
        sender
            .handle
            .publish_transactions(vec![invalid.into()])
            .unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    until("invalid transactions are not put up with", || {
        host.banned(sender.id())
    })
    .await;
    assert_eq!(host.count(), 0);
    until("it is gone", || !host.knows(sender.id())).await;
    linked(&host, &sender).await;
}

#[tokio::test]
async fn junk_on_the_topic_is_not_passed_on_and_banned() {
    let host = Node::start(settings(1, &[])).await;
    let behind = Node::start(settings(2, &[host.address()])).await;
    linked(&host, &behind).await;
    let mut raw = Raw::new(9);
    raw.connect(&host.address()).await;
    raw.publish(b"junk".to_vec());
    raw.publish(b"more junk".to_vec());
    raw.publish(vec![1, 0, 0, 0, 0, 0]);
    let id = raw.id();
    raw.until("it is banned", || host.banned(id)).await;
    assert_eq!(host.count() + behind.count(), 0);
    assert!(!behind.banned(host.id()));
}

#[tokio::test]
async fn a_frame_that_unpacks_to_too_much_is_refused() {
    let host = Node::start(settings(1, &[])).await;
    let mut raw = Raw::new(9);
    raw.connect(&host.address()).await;
    for fill in 0..3 {
        let bomb = zstd::bulk::compress(&vec![fill; 64 << 20], 1).unwrap();
        assert!(bomb.len() < MAX_BATCH_BYTES);
        raw.publish([&[1, 1], &bomb[..]].concat());
    }
    let id = raw.id();
    raw.until("it is banned", || host.banned(id)).await;
}

#[tokio::test]
async fn an_oversized_message_is_refused() {
    let host = Node::start(settings(1, &[])).await;
    let honest = Node::start(settings(2, &[host.address()])).await;
    linked(&host, &honest).await;
    let mut raw = Raw::new(9);
    raw.connect(&host.address()).await;
    raw.publish(vec![1; MAX_BATCH_BYTES + 4096]);
    raw.publish(vec![2; 8 << 20]);
    honest
        .handle
        .publish_transactions(vec![transaction(1)])
        .unwrap();
    raw.until("others are heard", || host.has(&transaction(1)))
        .await;
    assert_eq!(host.count(), 1);
}

#[tokio::test]
async fn broken_and_oversized_requests_are_banned() {
    for (seed, broken) in [
        (10, framed(5, b"hello")),
        (11, framed(u32::MAX, b"")),
        (12, framed(8193, &[0; 8193])),
    ] {
        let host = Node::start(settings(1, &[])).await;
        let mut raw = Raw::new(seed);
        raw.connect(&host.address()).await;
        // Two are the line, less what is forgiven in between.
        for _ in 0..3 {
            raw.request(host.id(), broken.clone());
        }
        let id = raw.id();
        raw.until("it is banned", || host.banned(id)).await;
    }
}

#[tokio::test]
async fn who_claims_another_chain_after_the_handshake_is_banned() {
    let host = Node::start(settings(1, &[])).await;
    let mut raw = Raw::new(9);
    raw.connect(&host.address()).await;
    raw.request(host.id(), framed_request(&Request::Hello(Hello::default())));
    let id = raw.id();
    raw.until("it is banned", || host.banned(id)).await;
}

#[tokio::test]
async fn a_flood_of_requests_is_banned() {
    let limits = Limits {
        requests_per_second: 1,
        ..Limits::default()
    };
    let host = Node::start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await;
    let mut raw = Raw::new(9);
    raw.connect(&host.address()).await;
    for _ in 0..60 {
        raw.request(host.id(), framed_request(&Request::Manifest));
    }
    let id = raw.id();
    // Only so many streams of a connection are open at once: what is refused there is sent again.
    for _ in 0..20 {
        if host.banned(id) {
            break;
        }
        for _ in 0..10 {
            raw.request(host.id(), framed_request(&Request::Manifest));
        }
        let pause = std::time::Instant::now();
        raw.until("time has passed", || {
            pause.elapsed() > Duration::from_millis(200)
        })
        .await;
    }
    raw.until("it is banned", || host.banned(id)).await;
}

#[tokio::test]
async fn told_addresses_are_bounded_and_dialing_them_harms_nobody() {
    let host = Node::start(GossipSettings {
        discovery: true,
        ..settings(1, &[])
    })
    .await;
    let honest = Node::start(settings(2, &[host.address()])).await;
    linked(&host, &honest).await;
    let mut raw = Raw::new(9);
    raw.connect(&host.address()).await;
    for round in 0..20_u8 {
        let peers = (0..16_u8)
            .map(|n| {
                let id =
                    lucid_gossip::peer_id(&[round.wrapping_mul(16).wrapping_add(n).max(3); 32])
                        .unwrap();
                let address: libp2p::Multiaddr =
                    format!("/ip4/127.0.0.1/tcp/{}/p2p/{id}", 1 + u16::from(n))
                        .parse()
                        .unwrap();
                address.to_vec()
            })
            .collect();
        let hello = Hello {
            genesis_hash: GENESIS,
            peers,
            ..Hello::default()
        };
        raw.request(host.id(), framed_request(&Request::Hello(hello)));
    }
    let pause = std::time::Instant::now();
    raw.until("some were dialed", || {
        pause.elapsed() > Duration::from_secs(2)
    })
    .await;
    honest
        .handle
        .publish_transactions(vec![transaction(1)])
        .unwrap();
    raw.until("honest peers are heard", || host.has(&transaction(1)))
        .await;
}

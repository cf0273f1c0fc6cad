//! Who finds whom.

use std::time::Duration;

use alloy_primitives::B256;
use lucid_chain_types::Height;
use lucid_gossip::{GossipError, GossipSettings, Limits, Status, peer_id, start};

use crate::support::{Node, linked, settings, until};

#[tokio::test]
async fn peers_of_a_peer_are_found() {
    let meet = |seed, peers: &[String]| GossipSettings {
        discovery: true,
        ..settings(seed, peers)
    };
    let first = Node::start(meet(1, &[])).await;
    let second = Node::start(meet(2, &[first.address()])).await;
    linked(&first, &second).await;
    let third = Node::start(meet(3, &[first.address()])).await;
    linked(&second, &third).await;
}

#[tokio::test]
async fn without_discovery_only_configured_peers_are_dialed() {
    let first = Node::start(GossipSettings {
        discovery: true,
        ..settings(1, &[])
    })
    .await;
    let second = Node::start(settings(2, &[first.address()])).await;
    let third = Node::start(settings(3, &[first.address()])).await;
    linked(&first, &second).await;
    linked(&first, &third).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(second.handle.peers().len(), 1);
    assert_eq!(third.handle.peers().len(), 1);
}

#[tokio::test]
async fn another_chain_is_never_met() {
    let ours = Node::start(settings(1, &[])).await;
    let theirs = GossipSettings {
        genesis_hash: B256::repeat_byte(8),
        ..settings(2, &[ours.address()])
    };
    let theirs = Node::start(theirs).await;
    ours.handle.add_peer(&theirs.address()).unwrap();
    let friend = Node::start(settings(3, &[ours.address()])).await;
    linked(&ours, &friend).await;
    // Both sides have dialed, more than once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(theirs.seen.lock().unwrap().connected.is_empty());
    assert_eq!(ours.seen.lock().unwrap().connected, [friend.id()]);
}

#[tokio::test]
async fn a_configured_peer_that_comes_back_is_dialed_again() {
    let first = Node::start(settings(1, &[])).await;
    let address = first.address();
    let second = Node::start(settings(2, std::slice::from_ref(&address))).await;
    linked(&first, &second).await;
    first.handle.shutdown().await;
    until("it is missed", || !second.knows(first.id())).await;
    let place = address.split("/p2p/").next().unwrap().to_owned();
    let again = Node::start(GossipSettings {
        listen: place,
        ..settings(1, &[])
    })
    .await;
    linked(&again, &second).await;
}

#[tokio::test]
async fn peers_are_added_and_removed_while_running() {
    let first = Node::start(settings(1, &[])).await;
    let second = Node::start(settings(2, &[])).await;
    let id = first.handle.add_peer(&second.address()).unwrap();
    assert_eq!(id, second.id());
    linked(&first, &second).await;
    assert!(first.handle.peers()[0].configured && first.handle.peers()[0].outbound);
    first.handle.remove_peer(id).unwrap();
    until("it is gone", || !second.knows(first.id())).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!first.knows(id));
}

#[tokio::test]
async fn peers_say_where_they_stand() {
    let first = Node::start(settings(1, &[])).await;
    let status = Status {
        height: Height(90),
        earliest: Height(10),
        snapshots: (0..40).map(Height).collect(),
    };
    first.handle.set_status(status).unwrap();
    let second = Node::start(settings(2, &[first.address()])).await;
    let stands = || {
        second
            .handle
            .peers()
            .first()
            .and_then(|info| info.status.clone())
    };
    until("it is known", || {
        stands().is_some_and(|status| status.height == Height(90))
    })
    .await;
    let status = stands().unwrap();
    assert_eq!(status.earliest, Height(10));
    assert_eq!(
        status.snapshots,
        (24..40).rev().map(Height).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn more_peers_than_there_may_be_are_refused_but_configured_ones() {
    let limits = Limits {
        max_peers: 4,
        ..Limits::default()
    };
    let trusted = Node::start(settings(99, &[])).await;
    let host = Node::start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await;
    let mut guests = Vec::new();
    for seed in 10..18 {
        guests.push(Node::start(settings(seed, &[host.address()])).await);
    }
    until("it is full", || host.handle.peers().len() == 3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // A quarter of four is kept for connections from here.
    assert_eq!(host.handle.peers().len(), 3);
    host.handle.add_peer(&trusted.address()).unwrap();
    linked(&host, &trusted).await;
}

#[tokio::test]
async fn connections_from_one_address_are_bounded_where_that_is_asked_for() {
    let limits = Limits {
        per_ip: Some(2),
        ..Limits::default()
    };
    let host = Node::start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await;
    let mut guests = Vec::new();
    for seed in 10..15 {
        guests.push(Node::start(settings(seed, &[host.address()])).await);
    }
    until("two are in", || host.handle.peers().len() == 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(host.handle.peers().len(), 2);
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let text = |error: GossipError| error.to_string();
    let with = |change: fn(&mut GossipSettings)| {
        let mut changed = settings(1, &[]);
        change(&mut changed);
        start(changed)
    };
    let error = with(|s| s.listen = "127.0.0.1:1".to_owned())
        .await
        .unwrap_err();
    assert!(text(error).starts_with("127.0.0.1:1 is not a multiaddress: "));
    let error = with(|s| s.peers = vec!["/ip4/127.0.0.1/tcp/1".to_owned()])
        .await
        .unwrap_err();
    assert_eq!(
        text(error),
        "the peer address /ip4/127.0.0.1/tcp/1 does not end in /p2p/PEER-ID"
    );
    let error = with(|s| s.limits.max_peers = 0).await.unwrap_err();
    assert_eq!(text(error), "max_peers is 0, it must be from 1 to 10000");
    let taken = Node::start(settings(2, &[])).await;
    let place = taken.address().split("/p2p/").next().unwrap().to_owned();
    let error = start(GossipSettings {
        listen: place.clone(),
        ..settings(1, &[])
    })
    .await
    .unwrap_err();
    assert!(text(error).starts_with(&format!("cannot listen on {place}: ")));
    assert_eq!(peer_id(&[2; 32]).unwrap(), taken.id());
}

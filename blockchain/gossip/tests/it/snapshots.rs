//! Snapshots by request.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use lucid_chain_types::Height;
use lucid_gossip::{
    GossipEvent, GossipSettings, Limits, RequestError, SnapshotReply, Wanted, start,
};

use crate::support::{Node, linked, settings, until};

#[tokio::test]
async fn manifests_and_pieces_come_whole() {
    let (host, mut events) = start(settings(1, &[])).await.unwrap();
    let manifest = Bytes::from_static(b"manifest");
    // As large as the state's pieces get, and nothing that packs.
    let piece: Bytes = (0..1_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let pieces = HashMap::from([(7, piece.clone())]);
    let answer = manifest.clone();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let GossipEvent::SnapshotRequest { wanted, reply, .. } = event {
                reply.reply(match wanted {
                    Wanted::Manifest => Some(answer.clone()),
                    Wanted::Piece {
                        height: Height(5),
                        index,
                    } => pieces.get(&index).cloned(),
                    Wanted::Piece { .. } => None,
                });
            }
        }
    });
    let guest = Node::start(settings(2, &host.addresses())).await;
    let id = host.peer_id();
    until("it is connected", || guest.knows(id)).await;
    assert_eq!(
        guest.handle.request_snapshot_manifest(id).await,
        Ok(manifest)
    );
    assert_eq!(
        guest.handle.request_snapshot_piece(id, Height(5), 7).await,
        Ok(piece)
    );
    assert_eq!(
        guest.handle.request_snapshot_piece(id, Height(5), 8).await,
        Err(RequestError::Missing)
    );
    assert_eq!(
        guest.handle.request_snapshot_piece(id, Height(6), 7).await,
        Err(RequestError::Missing)
    );
    let stranger = lucid_gossip::peer_id(&[77; 32]).unwrap();
    assert_eq!(
        guest.handle.request_snapshot_manifest(stranger).await,
        Err(RequestError::NotConnected(stranger))
    );
}

#[tokio::test]
async fn only_so_many_are_served_at_once() {
    let limits = Limits {
        serving: 1,
        ..Limits::default()
    };
    let (host, mut events) = start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await
    .unwrap();
    let guest = Node::start(settings(2, &host.addresses())).await;
    let id = host.peer_id();
    until("it is connected", || guest.knows(id)).await;
    let handle = guest.handle.clone();
    let first = tokio::spawn(async move { handle.request_snapshot_manifest(id).await });
    let held: SnapshotReply = loop {
        if let Some(GossipEvent::SnapshotRequest { reply, .. }) = events.recv().await {
            break reply;
        }
    };
    assert_eq!(
        guest.handle.request_snapshot_manifest(id).await,
        Err(RequestError::Busy)
    );
    held.reply(Some(Bytes::from_static(b"at last")));
    assert_eq!(first.await.unwrap(), Ok(Bytes::from_static(b"at last")));
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait() {
    let limits = Limits {
        requests_per_second: 1,
        ..Limits::default()
    };
    let host = Node::start(GossipSettings {
        limits,
        ..settings(1, &[])
    })
    .await;
    let guest = Node::start(settings(2, &[host.address()])).await;
    until("it is connected", || guest.knows(host.id())).await;
    let mut busy = 0;
    for _ in 0..8 {
        let answer = guest.handle.request_snapshot_manifest(host.id()).await;
        busy += usize::from(answer == Err(RequestError::Busy));
    }
    assert!(busy > 0);
    assert!(!host.banned(guest.id()), "it is not yet a flood");
}

#[tokio::test]
async fn limits_change_while_running() {
    let host = Node::start(settings(1, &[])).await;
    let guest = Node::start(settings(2, &[host.address()])).await;
    until("it is connected", || guest.knows(host.id())).await;
    let ask = || guest.handle.request_snapshot_manifest(host.id());
    assert_eq!(ask().await, Err(RequestError::Missing));
    let none = Limits {
        requests_per_second: 0,
        ..Limits::default()
    };
    let refused = host.handle.set_limits(none).unwrap_err();
    assert!(refused.to_string().starts_with("requests_per_second is 0"));
    let fewer = Limits {
        requests_per_second: 1,
        ..Limits::default()
    };
    host.handle.set_limits(fewer).unwrap();
    let mut busy = 0;
    for _ in 0..8 {
        busy += usize::from(ask().await == Err(RequestError::Busy));
    }
    assert!(busy > 0);
}

#[tokio::test]
async fn an_unanswered_request_is_let_go() {
    let limits = Limits {
        request_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let (host, mut events) = start(settings(1, &[])).await.unwrap();
    let guest = Node::start(GossipSettings {
        limits,
        ..settings(2, &host.addresses())
    })
    .await;
    let id = host.peer_id();
    until("it is connected", || guest.knows(id)).await;
    let mut kept = Vec::new();
    let (answer, ()) = tokio::join!(guest.handle.request_snapshot_manifest(id), async {
        while let Some(event) = events.recv().await {
            if let GossipEvent::SnapshotRequest { reply, .. } = event {
                kept.push(reply);
                break;
            }
        }
    });
    assert!(matches!(answer, Err(RequestError::Failed(_))));
}

#[tokio::test]
async fn who_is_blamed_for_its_answers_again_and_again_is_banned() {
    let host = Node::start(settings(1, &[])).await;
    let liar = Node::start(settings(2, &[host.address()])).await;
    let honest = Node::start(settings(3, &[host.address()])).await;
    linked(&host, &liar).await;
    linked(&host, &honest).await;
    host.handle.blame(honest.id()).unwrap();
    for _ in 0..5 {
        host.handle.blame(liar.id()).unwrap();
    }
    until("it is banned", || host.banned(liar.id())).await;
    until("it is thrown out", || !host.knows(liar.id())).await;
    assert!(!host.banned(honest.id()));
    assert!(host.knows(honest.id()));
}

//! Nodes on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_gossip::{GossipEvent, GossipSettings, Handle, Limits, PeerId, Verdict, start};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Long enough on a machine that builds something else meanwhile; no test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const GENESIS: B256 = B256::repeat_byte(7);
/// A transaction that starts so is invalid.
pub(crate) const INVALID: u8 = 0xff;

pub(crate) fn settings(seed: u8, peers: &[String]) -> GossipSettings {
    GossipSettings {
        identity: Zeroizing::new([seed; 32]),
        listen: "/ip4/127.0.0.1/tcp/0".to_owned(),
        announce: Vec::new(),
        peers: peers.to_vec(),
        genesis_hash: GENESIS,
        discovery: false,
        limits: Limits::default(),
    }
}

/// What a node has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) transactions: Vec<(PeerId, Bytes)>,
    pub(crate) connected: Vec<PeerId>,
    pub(crate) disconnected: Vec<PeerId>,
    pub(crate) banned: Vec<PeerId>,
}

/// A node that accepts transactions and keeps them.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Node {
    pub(crate) async fn start(settings: GossipSettings) -> Self {
        let (handle, events) = start(settings).await.expect("a node starts");
        let seen = Arc::default();
        tokio::spawn(watch(events, Arc::clone(&seen)));
        Self { handle, seen }
    }

    pub(crate) fn address(&self) -> String {
        self.handle.addresses().remove(0)
    }

    pub(crate) fn id(&self) -> PeerId {
        self.handle.peer_id()
    }

    pub(crate) fn knows(&self, peer: PeerId) -> bool {
        self.handle.peers().iter().any(|info| info.peer == peer)
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().transactions.len()
    }

    pub(crate) fn has(&self, transaction: &Bytes) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.transactions.iter().any(|(_, one)| one == transaction)
    }

    pub(crate) fn from(&self, peer: PeerId) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.transactions
            .iter()
            .filter(|(from, _)| *from == peer)
            .count()
    }

    pub(crate) fn banned(&self, peer: PeerId) -> bool {
        self.seen.lock().unwrap().banned.contains(&peer)
    }
}

async fn watch(mut events: mpsc::Receiver<GossipEvent>, seen: Arc<Mutex<Seen>>) {
    while let Some(event) = events.recv().await {
        let mut seen = seen.lock().expect("nobody panics with it");
        match event {
            GossipEvent::Transactions {
                from,
                list,
                verdict,
            } => {
                if list.iter().any(|one| one[0] == INVALID) {
                    verdict.reply(Verdict::Reject);
                    continue;
                }
                seen.transactions
                    .extend(list.into_iter().map(|one| (from, one)));
                verdict.reply(Verdict::Accept);
            }
            GossipEvent::SnapshotRequest { reply, .. } => reply.reply(None),
            GossipEvent::PeerConnected { peer } => seen.connected.push(peer),
            GossipEvent::PeerDisconnected { peer } => seen.disconnected.push(peer),
            GossipEvent::PeerBanned { peer, .. } => seen.banned.push(peer),
            GossipEvent::PeerStatus { .. } => {}
        }
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came about that {what}");
}

/// Waits until all of them are connected and in each other's mesh, so that what is published reaches them at once.
pub(crate) async fn linked(a: &Node, b: &Node) {
    until("two nodes are connected", || {
        a.knows(b.id()) && b.knows(a.id())
    })
    .await;
}

pub(crate) fn transaction(number: u32) -> Bytes {
    let mut bytes = vec![2; 110];
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    Bytes::from(bytes)
}

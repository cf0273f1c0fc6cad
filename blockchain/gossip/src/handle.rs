//! What a node holds of its gossip.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use lucid_chain_types::Height;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{GossipError, RequestError};
use crate::settings::{GossipSettings, Limits, peer_address};
use crate::task::Task;
use crate::wire::Request;

/// Commands that wait for the task.
const MAX_COMMANDS: usize = 1024;
/// Events that wait for the node.
const MAX_EVENTS: usize = 1024;

/// Where a node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its newest block.
    pub height: Height,
    /// The oldest block it still has.
    pub earliest: Height,
    /// Heights of its snapshots, at most 16.
    pub snapshots: Vec<Height>,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// The other end of its connection.
    pub address: String,
    /// Whether the connection was made from here.
    pub outbound: bool,
    /// Whether it is one of the configured peers.
    pub configured: bool,
    /// Our points: credit for accepted transactions and answers less faults; banned at -100.
    pub score: i64,
    /// Gossipsub's score of it.
    pub mesh_score: f64,
    /// Where it stands, once it has said so.
    pub status: Option<Status>,
}

/// What the node makes of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They go on to others.
    Accept,
    /// They stay here; nobody is to blame: known already, no room, too cheap by now.
    Ignore,
    /// At least one was never valid: a wrong signature, another chain. The peer should not have sent it on.
    Reject,
}

/// Takes the verdict. Dropped, it ignores.
#[derive(Debug)]
pub struct VerdictReply(pub(crate) oneshot::Sender<Verdict>);

impl VerdictReply {
    /// Says what becomes of the transactions.
    pub fn reply(self, verdict: Verdict) {
        // Too late is as good as never: the message is no longer there to be sent on.
        let _late = self.0.send(verdict);
    }
}

/// What of a snapshot a peer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The newest snapshot's manifest.
    Manifest,
    /// A piece.
    Piece {
        /// Which snapshot.
        height: Height,
        /// Which piece.
        index: u32,
    },
}

/// Takes a manifest or piece. Dropped, the peer is told that it is not there.
#[derive(Debug)]
pub struct SnapshotReply(pub(crate) oneshot::Sender<Option<Bytes>>);

impl SnapshotReply {
    /// Answers; with nothing where there is none. At most [`crate::MAX_ANSWER_BYTES`] less a few.
    pub fn reply(self, bytes: Option<Bytes>) {
        let _late = self.0.send(bytes);
    }
}

/// What gossip tells the node. Where the node does not keep up, transactions are dropped and requests answered with "busy".
#[derive(Debug)]
pub enum GossipEvent {
    /// Transactions came.
    Transactions {
        /// Who sent them on.
        from: PeerId,
        /// EIP-2718 encodings, not looked at.
        list: Vec<Bytes>,
        /// What to do with them.
        verdict: VerdictReply,
    },
    /// A peer wants something of a snapshot.
    SnapshotRequest {
        /// Who.
        from: PeerId,
        /// What.
        wanted: Wanted,
        /// The answer.
        reply: SnapshotReply,
    },
    /// A connection is there.
    PeerConnected {
        /// Who.
        peer: PeerId,
    },
    /// The last connection to a peer is gone.
    PeerDisconnected {
        /// Who.
        peer: PeerId,
    },
    /// A peer said where it stands.
    PeerStatus {
        /// Who.
        peer: PeerId,
        /// Where.
        status: Status,
    },
    /// A peer was banned.
    PeerBanned {
        /// Who.
        peer: PeerId,
        /// For how long, ms.
        for_ms: u64,
    },
}

/// What the handle asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Vec<Bytes>),
    Request {
        peer: PeerId,
        request: Request,
        reply: oneshot::Sender<Result<Bytes, RequestError>>,
    },
    AddPeer(PeerId, Multiaddr),
    RemovePeer(PeerId),
    SetLimits(Limits),
    SetStatus(Status),
    Blame(PeerId),
    Pardon(PeerId),
    Shutdown,
}

/// A node's hold on its gossip. Gossip ends with the last of them, or with the receiver of its events.
#[derive(Debug, Clone)]
pub struct Handle {
    own: PeerId,
    addresses: Arc<[Multiaddr]>,
    commands: mpsc::Sender<Command>,
    peers: watch::Receiver<Arc<[PeerInfo]>>,
    tally: Arc<Tally>,
}

/// What the task counts, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    dropped: AtomicU64,
    banned: AtomicU64,
}

impl Tally {
    /// A message was dropped, or a request answered with "busy".
    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// So many peers are banned now.
    pub(crate) fn banned(&self, count: usize) {
        self.banned.store(count as u64, Ordering::Relaxed);
    }
}

/// Starts gossip on the current tokio runtime. Returns once it listens.
pub async fn start(
    settings: GossipSettings,
) -> Result<(Handle, mpsc::Receiver<GossipEvent>), GossipError> {
    let (commands, command_receiver) = mpsc::channel(MAX_COMMANDS);
    let (events, event_receiver) = mpsc::channel(MAX_EVENTS);
    let (peers_sender, peers) = watch::channel(Arc::from([]));
    let tally = Arc::new(Tally::default());
    let task = Task::start(
        settings,
        command_receiver,
        events,
        peers_sender,
        Arc::clone(&tally),
    )
    .await?;
    let handle = Handle {
        own: task.own(),
        addresses: task.listening().into(),
        commands,
        peers,
        tally,
    };
    tokio::spawn(task.run());
    Ok((handle, event_receiver))
}

impl Handle {
    /// This node's peer id.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.own
    }

    /// Where it listens, each with its peer id: what others may be configured with.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses
            .iter()
            .filter_map(|address| address.clone().with_p2p(self.own).ok())
            .map(|address| address.to_string())
            .collect()
    }

    /// Sends transactions of this node to all. They leave within 20 ms, several in one message. Those above the size of a
    /// transaction are left out.
    pub fn publish_transactions(&self, transactions: Vec<Bytes>) -> Result<(), GossipError> {
        self.send(Command::Publish(transactions))
    }

    /// The manifest of a peer's newest snapshot, as the peer's node encodes it.
    pub async fn request_snapshot_manifest(&self, peer: PeerId) -> Result<Bytes, RequestError> {
        self.request(peer, Request::Manifest).await
    }

    /// A piece of a peer's snapshot.
    pub async fn request_snapshot_piece(
        &self,
        peer: PeerId,
        height: Height,
        index: u32,
    ) -> Result<Bytes, RequestError> {
        self.request(peer, Request::Piece { height, index }).await
    }

    async fn request(&self, peer: PeerId, request: Request) -> Result<Bytes, RequestError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Request {
            peer,
            request,
            reply,
        };
        self.send(command)
            .map_err(|_| RequestError::NotSent("gossip has too much to do, or has ended"))?;
        answer
            .await
            .unwrap_or(Err(RequestError::NotSent("gossip has ended")))
    }

    /// Keeps a connection to a peer from now on.
    pub fn add_peer(&self, address: &str) -> Result<PeerId, GossipError> {
        let (peer, address) = peer_address(address)?;
        self.send(Command::AddPeer(peer, address))?;
        Ok(peer)
    }

    /// No longer keeps a connection to a peer, and ends the one there is.
    pub fn remove_peer(&self, peer: PeerId) -> Result<(), GossipError> {
        self.send(Command::RemovePeer(peer))
    }

    /// Changes the bounds.
    pub fn set_limits(&self, limits: Limits) -> Result<(), GossipError> {
        limits.check()?;
        self.send(Command::SetLimits(limits))
    }

    /// Says where this node stands, for peers that ask.
    pub fn set_status(&self, status: Status) -> Result<(), GossipError> {
        self.send(Command::SetStatus(status))
    }

    /// Counts an answer against a peer that was not what it said it was. Some of them, and it is banned.
    pub fn blame(&self, peer: PeerId) -> Result<(), GossipError> {
        self.send(Command::Blame(peer))
    }

    /// Ends a peer's ban and forgets its faults.
    pub fn pardon(&self, peer: PeerId) -> Result<(), GossipError> {
        self.send(Command::Pardon(peer))
    }

    /// Messages and requests that were dropped by a limit since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.tally.dropped.load(Ordering::Relaxed)
    }

    /// Peers that are banned now. As of at most a second ago.
    #[must_use]
    pub fn banned(&self) -> u64 {
        self.tally.banned.load(Ordering::Relaxed)
    }

    /// The connected peers, the best first. As of at most a second ago.
    #[must_use]
    pub fn peers(&self) -> Arc<[PeerInfo]> {
        Arc::clone(&self.peers.borrow())
    }

    /// The same, to be waited on.
    #[must_use]
    pub fn watch_peers(&self) -> watch::Receiver<Arc<[PeerInfo]>> {
        self.peers.clone()
    }

    /// Ends gossip and waits until its connections are closed.
    pub async fn shutdown(&self) {
        // Where it does not go out, the task has ended.
        let _ended = self.commands.send(Command::Shutdown).await;
        self.commands.closed().await;
    }

    fn send(&self, command: Command) -> Result<(), GossipError> {
        self.commands.try_send(command).map_err(|error| {
            GossipError::Unavailable(match error {
                mpsc::error::TrySendError::Full(_) => "it has too much to do",
                mpsc::error::TrySendError::Closed(_) => "it has ended",
            })
        })
    }
}

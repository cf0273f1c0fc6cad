//! The task that owns the swarm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use libp2p::futures::StreamExt;
use libp2p::futures::stream::FuturesUnordered;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId, PublishError};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use lucid_chain_types::MAX_TRANSACTION_BYTES;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::batch::Batcher;
use crate::behaviour::{self, BAN_SCORE, Doors, DoorsEvent, Names};
use crate::book::{Book, is_public, plain_tcp};
use crate::codec;
use crate::error::{GossipError, RequestError};
use crate::handle::{
    Command, GossipEvent, PeerInfo, SnapshotReply, Status, Tally, Verdict, VerdictReply, Wanted,
};
use crate::rate::{Budget, Pass, TokenBucket};
use crate::score::{Fault, Scores};
use crate::settings::{GossipSettings, Limits, address, keypair, peer_address, split};
use crate::wire::{
    Hello, MAX_ADDRESSES, MAX_EXCHANGED, MAX_SNAPSHOTS, Request, Response, decode_batch,
    encode_batch,
};

/// How long listening may take to begin.
const LISTENING: Duration = Duration::from_secs(5);
/// How often scores, bans, greetings and dials are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often a peer is asked where it stands, ms.
const GREET_EVERY_MS: u64 = 20_000;
/// A peer that leaves so many greetings in a row without an answer is gone.
const MAX_UNANSWERED: u32 = 3;
/// How long the node has for a verdict; gossipsub keeps the message a little longer.
const VERDICT: Duration = Duration::from_secs(8);
/// How long the node has for an answer to a peer.
const ANSWER: Duration = Duration::from_secs(15);
/// Messages that wait for a verdict, in all and of one peer.
const MAX_WAITING: usize = 512;
const MAX_WAITING_OF_ONE: usize = 64;
/// Requests of ours under way.
const MAX_REQUESTS: usize = 256;
/// Messages kept until there is a peer to send them to.
const MAX_UNSENT: usize = 64;
/// Peers whose behaviour is remembered.
const MAX_SCORES: usize = 4096;
/// Learned peers dialed in one tick.
const MAX_DIALS: usize = 4;

type Answering = Pin<Box<dyn Future<Output = (ResponseChannel<Response>, Response)> + Send>>;
type Judging = Pin<Box<dyn Future<Output = (MessageId, PeerId, Verdict)> + Send>>;

/// A connected peer.
struct Peer {
    address: Multiaddr,
    outbound: bool,
    budget: Budget,
    status: Option<Status>,
    since_ms: u64,
    greeted_ms: u64,
    unanswered: u32,
    /// Messages that wait for a verdict.
    waiting: usize,
}

/// Time for a peer to say that it listens, from its connection on.
const SUBSCRIBE_MS: u64 = 10_000;

/// A request of ours under way.
enum Asked {
    Hello,
    Snapshot(oneshot::Sender<Result<Bytes, RequestError>>),
}

pub(crate) struct Task {
    swarm: Swarm<Doors>,
    names: Names,
    genesis_hash: B256,
    status: Status,
    announce: Vec<Multiaddr>,
    listening: Vec<Multiaddr>,
    discovery: bool,
    limits: Limits,
    read_rate: Arc<AtomicU32>,
    start: Instant,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<GossipEvent>,
    peers_view: watch::Sender<Arc<[PeerInfo]>>,
    tally: Arc<Tally>,
    peers: HashMap<PeerId, Peer>,
    inbound_from: HashMap<ConnectionId, IpAddr>,
    scores: Scores<PeerId>,
    book: Book,
    total_bytes: TokenBucket,
    batcher: Batcher,
    unsent: VecDeque<Vec<u8>>,
    asked: HashMap<OutboundRequestId, Asked>,
    judging: FuturesUnordered<Judging>,
    answering: FuturesUnordered<Answering>,
}

impl Task {
    pub(crate) async fn start(
        settings: GossipSettings,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<GossipEvent>,
        peers_view: watch::Sender<Arc<[PeerInfo]>>,
        tally: Arc<Tally>,
    ) -> Result<Self, GossipError> {
        let limits = settings.limits;
        limits.check()?;
        let listen = address(&settings.listen)?;
        let announce = settings
            .announce
            .iter()
            .map(|text| address(text))
            .collect::<Result<_, _>>()?;
        let key = keypair(&settings.identity)?;
        let own = key.public().to_peer_id();
        let mut book = Book::new(own);
        for text in &settings.peers {
            let (peer, address) = peer_address(text)?;
            book.configure(peer, address, 0);
        }
        let names = Names::new(settings.genesis_hash);
        let read_rate = Arc::new(AtomicU32::new(limits.connection_bytes_per_second));
        let mut swarm = behaviour::swarm(
            &key,
            settings.genesis_hash,
            &names,
            &limits,
            Arc::clone(&read_rate),
        )?;
        for peer in book.configured() {
            swarm.behaviour_mut().limits.bypass_peer_id(peer);
        }
        let total = u64::from(limits.total_bytes_per_second);
        let mut task = Self {
            swarm,
            names,
            genesis_hash: settings.genesis_hash,
            status: Status::default(),
            announce,
            listening: Vec::new(),
            discovery: settings.discovery,
            scores: Scores::new(MAX_SCORES, milliseconds(limits.ban)),
            limits,
            read_rate,
            start: Instant::now(),
            commands,
            events,
            peers_view,
            tally,
            peers: HashMap::new(),
            inbound_from: HashMap::new(),
            book,
            total_bytes: TokenBucket::new(total, total.saturating_mul(2), 0),
            batcher: Batcher::default(),
            unsent: VecDeque::new(),
            asked: HashMap::new(),
            judging: FuturesUnordered::new(),
            answering: FuturesUnordered::new(),
        };
        task.listen(&settings.listen, listen).await?;
        Ok(task)
    }

    async fn listen(&mut self, text: &str, address: Multiaddr) -> Result<(), GossipError> {
        let refused = |reason: String| GossipError::Listen {
            address: text.to_owned(),
            reason,
        };
        // libp2p shares a port with whoever has it already and lets it share too; two nodes on one port are a mistake.
        if let Some(place) = plain_tcp(&address) {
            std::net::TcpListener::bind(place).map_err(|error| refused(error.to_string()))?;
        }
        self.swarm
            .listen_on(address)
            .map_err(|error| refused(error.to_string()))?;
        let begun = tokio::time::timeout(LISTENING, async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { address, .. } => return Ok(address),
                    SwarmEvent::ListenerError { error, .. } => return Err(error.to_string()),
                    SwarmEvent::ListenerClosed { reason, .. } => {
                        return Err(reason
                            .err()
                            .map_or("it was closed".to_owned(), |error| error.to_string()));
                    }
                    _ => {}
                }
            }
        })
        .await;
        match begun {
            Ok(Ok(address)) => self.listening.push(address),
            Ok(Err(reason)) => return Err(refused(reason)),
            Err(_) => return Err(refused("it did not begin in time".to_owned())),
        }
        Ok(())
    }

    pub(crate) fn own(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub(crate) fn listening(&self) -> Vec<Multiaddr> {
        self.listening.clone()
    }

    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let batch_due = self
                .batcher
                .deadline_ms()
                .map(|ms| self.start + Duration::from_millis(ms));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.on_command(command),
                },
                Some((id, peer, verdict)) = self.judging.next(), if !self.judging.is_empty() => {
                    self.on_verdict(&id, peer, verdict);
                }
                Some((channel, response)) = self.answering.next(), if !self.answering.is_empty() => {
                    // Where it is refused, the peer has stopped waiting.
                    let _gone = self.swarm.behaviour_mut().requests.send_response(channel, response);
                }
                () = wait_until(batch_due), if batch_due.is_some() => {
                    if let Some(batch) = self.batcher.due(self.now()) {
                        self.publish(&batch);
                    }
                }
                _ = tick.tick() => self.on_tick(),
                () = self.events.closed() => break,
            }
        }
    }

    fn now(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }

    fn on_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Publish(transactions) => {
                for transaction in transactions {
                    if transaction.is_empty() || transaction.len() > MAX_TRANSACTION_BYTES {
                        tracing::warn!(
                            bytes = transaction.len(),
                            "a transaction of this size is not gossiped"
                        );
                        continue;
                    }
                    if let Some(batch) = self.batcher.push(transaction, now) {
                        self.publish(&batch);
                    }
                }
            }
            Command::Request {
                peer,
                request,
                reply,
            } => self.ask(peer, request, reply),
            Command::AddPeer(peer, address) => {
                self.book.configure(peer, address, now);
                self.swarm.behaviour_mut().limits.bypass_peer_id(&peer);
                self.dial(now);
            }
            Command::RemovePeer(peer) => {
                self.book.remove(&peer);
                self.swarm.behaviour_mut().limits.remove_peer_id(&peer);
                let _absent = self.swarm.disconnect_peer_id(peer);
            }
            Command::SetLimits(limits) => self.set_limits(limits, now),
            Command::SetStatus(mut status) => {
                // The newest ones: peers want those.
                status.snapshots.sort_unstable_by(|a, b| b.cmp(a));
                status.snapshots.truncate(MAX_SNAPSHOTS);
                self.status = status;
            }
            Command::Blame(peer) => self.fault(peer, Fault::BadAnswer, now),
            Command::Pardon(peer) => {
                if self.scores.pardon(&peer) {
                    self.swarm.behaviour_mut().bans.unblock_peer(peer);
                }
            }
            Command::Shutdown => {}
        }
    }

    fn set_limits(&mut self, limits: Limits, now: u64) {
        *self.swarm.behaviour_mut().limits.limits_mut() = behaviour::connection_limits(&limits);
        self.read_rate
            .store(limits.connection_bytes_per_second, Ordering::Relaxed);
        let total = u64::from(limits.total_bytes_per_second);
        self.total_bytes
            .set_rate(total, total.saturating_mul(2), now);
        for peer in self.peers.values_mut() {
            peer.budget.set_limits(&limits, now);
        }
        self.scores.set_first_ban_ms(milliseconds(limits.ban));
        self.limits = limits;
    }

    // Sending.

    fn publish(&mut self, batch: &[Bytes]) {
        match encode_batch(batch) {
            Ok(message) => self.send(message),
            Err(error) => tracing::warn!(%error, "transactions are not gossiped"),
        }
    }

    fn send(&mut self, message: Vec<u8>) {
        let topic = self.names.topic.hash();
        match self
            .swarm
            .behaviour_mut()
            .gossip
            .publish(topic, message.clone())
        {
            Ok(_) | Err(PublishError::Duplicate) => {}
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                if self.unsent.len() >= MAX_UNSENT {
                    self.unsent.pop_front();
                }
                self.unsent.push_back(message);
            }
            Err(error) => tracing::warn!(%error, "transactions are not gossiped"),
        }
    }

    fn send_unsent(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        for message in std::mem::take(&mut self.unsent) {
            self.send(message);
        }
    }

    fn ask(
        &mut self,
        peer: PeerId,
        request: Request,
        reply: oneshot::Sender<Result<Bytes, RequestError>>,
    ) {
        let refused = if !self.peers.contains_key(&peer) {
            Some(RequestError::NotConnected(peer))
        } else if self.asked.len() >= MAX_REQUESTS {
            Some(RequestError::NotSent("too many requests are under way"))
        } else {
            None
        };
        if let Some(refused) = refused {
            let _gone = reply.send(Err(refused));
            return;
        }
        let id = self
            .swarm
            .behaviour_mut()
            .requests
            .send_request(&peer, Ok(request));
        self.asked.insert(id, Asked::Snapshot(reply));
    }

    fn greet(&mut self, peer: PeerId, now: u64) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.greeted_ms = now;
        }
        let hello = self.hello(peer);
        let id = self
            .swarm
            .behaviour_mut()
            .requests
            .send_request(&peer, Ok(Request::Hello(hello)));
        self.asked.insert(id, Asked::Hello);
    }

    fn hello(&self, to: PeerId) -> Hello {
        let own = if self.announce.is_empty() {
            &self.listening
        } else {
            &self.announce
        };
        let others: Vec<PeerId> = self
            .peers
            .keys()
            .copied()
            .filter(|peer| *peer != to)
            .collect();
        let shared = if self.discovery {
            self.book.share(&others, MAX_EXCHANGED, random())
        } else {
            Vec::new()
        };
        let bytes = |address: &Multiaddr| address.to_vec();
        Hello {
            genesis_hash: self.genesis_hash,
            height: self.status.height,
            earliest: self.status.earliest,
            snapshots: self.status.snapshots.clone(),
            addresses: own.iter().take(MAX_ADDRESSES).map(bytes).collect(),
            peers: shared.iter().map(bytes).collect(),
        }
    }

    // Receiving.

    fn on_swarm(&mut self, event: SwarmEvent<DoorsEvent>) {
        match event {
            SwarmEvent::Behaviour(DoorsEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(DoorsEvent::Requests(event)) => self.on_request_response(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let outbound = endpoint.is_dialer();
                let address = endpoint.get_remote_address().clone();
                self.on_connected(peer_id, connection_id, address, outbound);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                self.inbound_from.remove(&connection_id);
                if num_established == 0 {
                    self.on_disconnected(peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => {
                tracing::debug!(%peer, %error, "cannot connect");
                self.book.failed(&peer, random(), self.now());
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.listening.retain(|known| *known != address);
                self.listening.push(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.retain(|known| *known != address);
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "listening for gossip");
            }
            _ => {}
        }
    }

    fn on_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        address: Multiaddr,
        outbound: bool,
    ) {
        let now = self.now();
        if !outbound && let Some(ip) = ip_of(&address) {
            let same = self
                .inbound_from
                .values()
                .filter(|other| **other == ip)
                .count();
            self.inbound_from.insert(connection, ip);
            let most = self
                .limits
                .per_ip
                .and_then(|most| usize::try_from(most).ok());
            if most.is_some_and(|most| same >= most) && !self.book.is_configured(&peer) {
                tracing::debug!(%peer, %ip, "too many connections from one address");
                self.swarm.close_connection(connection);
                return;
            }
        }
        self.book.connected(&peer);
        if self.peers.contains_key(&peer) {
            return;
        }
        tracing::debug!(%peer, %address, "connected");
        let known = Peer {
            address,
            outbound,
            budget: Budget::new(&self.limits, now),
            status: None,
            since_ms: now,
            greeted_ms: now,
            unanswered: 0,
            waiting: 0,
        };
        self.peers.insert(peer, known);
        self.tell(GossipEvent::PeerConnected { peer });
        self.greet(peer, now);
        self.show_peers(now);
    }

    fn on_disconnected(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_none() {
            return;
        }
        let now = self.now();
        tracing::debug!(%peer, "disconnected");
        self.book.failed(&peer, random(), now);
        self.tell(GossipEvent::PeerDisconnected { peer });
        self.show_peers(now);
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let judged = self.on_message(propagation_source, &message_id, &message.data);
                if let Err(verdict) = judged {
                    self.report(&message_id, propagation_source, verdict);
                }
            }
            gossipsub::Event::Subscribed { .. } => self.send_unsent(),
            _ => {}
        }
    }

    /// Hands a message to the node, or judges it here.
    fn on_message(&mut self, from: PeerId, id: &MessageId, data: &[u8]) -> Result<(), Verdict> {
        let now = self.now();
        let peer = self.peers.get_mut(&from).ok_or(Verdict::Ignore)?;
        let pass = peer.budget.message(now);
        self.check(from, pass, now)?;
        let list = match decode_batch(data) {
            Ok(list) => list,
            Err(error) => {
                tracing::debug!(%from, %error, "a message is refused");
                self.fault(from, Fault::Junk, now);
                return Err(Verdict::Reject);
            }
        };
        let bytes = list.iter().map(Bytes::len).sum();
        let peer = self.peers.get_mut(&from).ok_or(Verdict::Ignore)?;
        let pass = peer.budget.transactions(list.len(), bytes, now);
        self.check(from, pass, now)?;
        let peer = self.peers.get_mut(&from).ok_or(Verdict::Ignore)?;
        if peer.waiting >= MAX_WAITING_OF_ONE
            || self.judging.len() >= MAX_WAITING
            || !self.total_bytes.take(bytes as u64, now)
        {
            self.tally.dropped();
            return Err(Verdict::Ignore);
        }
        let (reply, verdict) = oneshot::channel();
        let event = GossipEvent::Transactions {
            from,
            list,
            verdict: VerdictReply(reply),
        };
        if self.events.try_send(event).is_err() {
            self.tally.dropped();
            return Err(Verdict::Ignore);
        }
        peer.waiting += 1;
        let id = id.clone();
        self.judging.push(Box::pin(async move {
            let verdict = tokio::time::timeout(VERDICT, verdict).await;
            (
                id,
                from,
                verdict.ok().and_then(Result::ok).unwrap_or(Verdict::Ignore),
            )
        }));
        Ok(())
    }

    fn check(&mut self, from: PeerId, pass: Pass, now: u64) -> Result<(), Verdict> {
        match pass {
            Pass::Yes => Ok(()),
            Pass::Over => {
                self.tally.dropped();
                Err(Verdict::Ignore)
            }
            Pass::Flood => {
                self.tally.dropped();
                self.fault(from, Fault::Flood, now);
                Err(Verdict::Ignore)
            }
        }
    }

    fn on_verdict(&mut self, id: &MessageId, from: PeerId, verdict: Verdict) {
        let now = self.now();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.waiting = peer.waiting.saturating_sub(1);
        }
        match verdict {
            Verdict::Accept => self.scores.reward(&from, now),
            Verdict::Ignore => {}
            Verdict::Reject => self.fault(from, Fault::Invalid, now),
        }
        self.report(id, from, verdict);
    }

    fn report(&mut self, id: &MessageId, from: PeerId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, &from, acceptance);
    }

    fn on_request_response(&mut self, event: request_response::Event<codec::Asked, Response>) {
        let now = self.now();
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => {
                    self.on_request(peer, request, channel, now);
                }
                request_response::Message::Response {
                    request_id,
                    response,
                } => {
                    self.on_response(peer, request_id, response, now);
                }
            },
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.on_no_answer(peer, request_id, &error, now);
            }
            request_response::Event::InboundFailure { .. }
            | request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(
        &mut self,
        from: PeerId,
        request: codec::Asked,
        channel: ResponseChannel<Response>,
        now: u64,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        match peer.budget.request(now) {
            Pass::Yes => {}
            pass => {
                if pass == Pass::Flood {
                    self.fault(from, Fault::Flood, now);
                }
                return self.answer(channel, Response::Busy);
            }
        }
        let wanted = match request {
            Err(error) => {
                tracing::debug!(%from, %error, "a request is refused");
                return self.fault(from, Fault::Junk, now);
            }
            Ok(Request::Hello(hello)) => {
                self.on_hello(from, &hello, now);
                let own = self.hello(from);
                return self.answer(channel, Response::Hello(own));
            }
            Ok(Request::Manifest) => Wanted::Manifest,
            Ok(Request::Piece { height, index }) => Wanted::Piece { height, index },
        };
        let most = usize::try_from(self.limits.serving).unwrap_or(usize::MAX);
        if self.answering.len() >= most {
            return self.answer(channel, Response::Busy);
        }
        let (reply, answer) = oneshot::channel();
        let event = GossipEvent::SnapshotRequest {
            from,
            wanted,
            reply: SnapshotReply(reply),
        };
        if self.events.try_send(event).is_err() {
            return self.answer(channel, Response::Busy);
        }
        self.answering.push(Box::pin(async move {
            let response = match tokio::time::timeout(ANSWER, answer).await {
                Ok(bytes) => Response::Snapshot(bytes.ok().flatten().map(|bytes| bytes.to_vec())),
                Err(_) => Response::Busy,
            };
            (channel, response)
        }));
    }

    fn answer(&mut self, channel: ResponseChannel<Response>, response: Response) {
        if matches!(response, Response::Busy) {
            self.tally.dropped();
        }
        // Where it is refused, the peer has stopped waiting.
        let _gone = self
            .swarm
            .behaviour_mut()
            .requests
            .send_response(channel, response);
    }

    fn on_response(&mut self, from: PeerId, id: OutboundRequestId, response: Response, now: u64) {
        match (self.asked.remove(&id), response) {
            (Some(Asked::Hello), Response::Hello(hello)) => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.unanswered = 0;
                }
                self.on_hello(from, &hello, now);
            }
            // Somebody is there, and has too many greetings of ours.
            (Some(Asked::Hello), Response::Busy) | (None, _) => {}
            (Some(Asked::Hello), Response::Snapshot(_)) => {
                self.fault(from, Fault::BadAnswer, now);
            }
            (Some(Asked::Snapshot(reply)), response) => {
                let answer = match response {
                    Response::Snapshot(Some(bytes)) => {
                        self.scores.reward(&from, now);
                        Ok(Bytes::from(bytes))
                    }
                    Response::Snapshot(None) => Err(RequestError::Missing),
                    Response::Busy => Err(RequestError::Busy),
                    Response::Hello(_) => {
                        self.fault(from, Fault::BadAnswer, now);
                        Err(RequestError::Mismatch)
                    }
                };
                let _gone = reply.send(answer);
            }
        }
    }

    fn on_no_answer(
        &mut self,
        from: PeerId,
        id: OutboundRequestId,
        error: &OutboundFailure,
        now: u64,
    ) {
        match self.asked.remove(&id) {
            Some(Asked::Snapshot(reply)) => {
                let _gone = reply.send(Err(RequestError::Failed(error.to_string())));
            }
            Some(Asked::Hello) => {
                let gone = self.peers.get_mut(&from).is_some_and(|peer| {
                    peer.unanswered += 1;
                    peer.unanswered >= MAX_UNANSWERED
                });
                if gone {
                    tracing::debug!(peer = %from, "it no longer answers");
                    let _absent = self.swarm.disconnect_peer_id(from);
                }
            }
            None => {}
        }
        match error {
            OutboundFailure::Timeout => self.fault(from, Fault::Silence, now),
            OutboundFailure::Io(error) if is_junk(error) => self.fault(from, Fault::Junk, now),
            _ => {}
        }
    }

    fn on_hello(&mut self, from: PeerId, hello: &Hello, now: u64) {
        if hello.genesis_hash != self.genesis_hash {
            // The handshake has shown that it knows better.
            self.fault(from, Fault::Hostile, now);
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let status = hello.status();
        let changed = peer.status.as_ref() != Some(&status);
        peer.status = Some(status.clone());
        let neighbour = ip_of(&peer.address).is_some_and(|ip| !is_public(ip));
        if changed {
            self.tell(GossipEvent::PeerStatus { peer: from, status });
            self.show_peers(now);
        }
        if !self.discovery {
            return;
        }
        let usable = |bytes: &Vec<u8>| {
            let address = Multiaddr::try_from(bytes.clone()).ok()?;
            let (peer, plain) = match split(address.clone()) {
                Some((peer, plain)) => (Some(peer), plain),
                None => (None, address),
            };
            let (ip, _) = plain_tcp(&plain)?;
            (neighbour || is_public(ip)).then_some((peer, plain))
        };
        let own: Vec<Multiaddr> = hello
            .addresses
            .iter()
            .filter_map(usable)
            .filter(|(peer, _)| peer.is_none_or(|peer| peer == from))
            .map(|(_, plain)| plain)
            .collect();
        self.book.learn(from, from, own, now);
        for (peer, plain) in hello.peers.iter().filter_map(usable) {
            if let Some(peer) = peer
                && !self.scores.is_banned(&peer, now)
            {
                self.book.learn(from, peer, vec![plain], now);
            }
        }
    }

    // Keeping order.

    fn fault(&mut self, peer: PeerId, fault: Fault, now: u64) {
        let Some(ban) = self.scores.fault(&peer, fault, now) else {
            return;
        };
        let for_ms = ban.until_ms.saturating_sub(now);
        tracing::info!(%peer, ?fault, for_ms, "banned");
        self.swarm.behaviour_mut().bans.block_peer(peer);
        self.tell(GossipEvent::PeerBanned { peer, for_ms });
    }

    fn on_tick(&mut self) {
        let now = self.now();
        for peer in self.scores.tick(now) {
            tracing::info!(%peer, "its ban is over");
            self.swarm.behaviour_mut().bans.unblock_peer(peer);
        }
        // A ban whose record had to go ends, too.
        let forgotten: Vec<PeerId> = self
            .swarm
            .behaviour()
            .bans
            .blocked_peers()
            .iter()
            .copied()
            .filter(|peer| !self.scores.is_banned(peer, now))
            .collect();
        for peer in forgotten {
            self.swarm.behaviour_mut().bans.unblock_peer(peer);
        }
        let banned = self.swarm.behaviour().bans.blocked_peers().len();
        self.tally.banned(banned);

        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            let points = self.scores.score(&peer, now).clamp(-1_000, 0);
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            // Small integers: every one of them is a float.
            let points = f64::from(i32::try_from(points).unwrap_or(0));
            gossip.set_application_score(&peer, points);
            if gossip
                .peer_score(&peer)
                .is_some_and(|score| score < BAN_SCORE)
            {
                self.fault(peer, Fault::Hostile, now);
            }
            let due = self
                .peers
                .get(&peer)
                .is_some_and(|known| now.saturating_sub(known.greeted_ms) >= GREET_EVERY_MS);
            if due && self.asked.len() < MAX_REQUESTS {
                self.greet(peer, now);
            }
        }
        self.end_deaf_connections(now);
        self.dial(now);
        self.send_unsent();
        self.show_peers(now);
    }

    /// Ends connections to peers that listen to nothing. Where a line was cut, a peer may take a connection for a second one that
    /// is the first for us: then it does not say again what it listens to, and would never be sent anything.
    fn end_deaf_connections(&mut self, now: u64) {
        let listening: HashSet<PeerId> = self
            .swarm
            .behaviour()
            .gossip
            .all_peers()
            .filter(|(_, topics)| !topics.is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        let deaf: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(peer, known)| {
                now.saturating_sub(known.since_ms) >= SUBSCRIBE_MS && !listening.contains(*peer)
            })
            .map(|(peer, _)| *peer)
            .collect();
        for peer in deaf {
            tracing::debug!(%peer, "ends a connection to a peer that listens to nothing");
            // Where it is gone already, that is as well.
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn dial(&mut self, now: u64) {
        // Half of the connections are left to those that come.
        let enough = usize::try_from(self.limits.max_peers.div_ceil(2)).unwrap_or(usize::MAX);
        let wanted = enough.saturating_sub(self.peers.len()).min(MAX_DIALS);
        let peers = &self.peers;
        let scores = &self.scores;
        let absent = |peer: &PeerId| peers.contains_key(peer) || scores.is_banned(peer, now);
        for due in self.book.due(absent, wanted, now) {
            let options = DialOpts::peer_id(due.peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(due.addresses)
                .build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(peer = %due.peer, %error, "not dialed");
                // Where another dial to it is under way, that one reports.
                if !matches!(error, DialError::DialPeerConditionFalse(_)) {
                    self.book.failed(&due.peer, random(), now);
                }
            }
        }
    }

    fn show_peers(&self, now: u64) {
        let gossip = &self.swarm.behaviour().gossip;
        let mut list: Vec<PeerInfo> = self
            .peers
            .iter()
            .map(|(peer, known)| PeerInfo {
                peer: *peer,
                address: known.address.to_string(),
                outbound: known.outbound,
                configured: self.book.is_configured(peer),
                score: self.scores.score(peer, now),
                mesh_score: gossip.peer_score(peer).unwrap_or(0.0),
                status: known.status.clone(),
            })
            .collect();
        list.sort_by_key(|info| (std::cmp::Reverse(info.score), info.peer));
        self.peers_view.send_replace(list.into());
    }

    /// Tells the node. It can ask for the peers at any time, so what does not fit is left out.
    fn tell(&self, event: GossipEvent) {
        if self.events.try_send(event).is_err() {
            tracing::debug!("the node does not keep up with gossip's events");
        }
    }
}

async fn wait_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time).await;
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

fn is_junk(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

/// For jitter and for choosing whom to share: nothing depends on its quality.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! Starts Malachite's actors and stops them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lucid_chain_types::Pace;
use malachite_app::app::config::{
    ConsensusConfig, DiscoveryConfig, P2pConfig, PubSubProtocol, ValuePayload, ValueSyncConfig,
};
use malachite_app::app::net::Multiaddr;
use malachite_app::app::spawn::{
    spawn_consensus_actor, spawn_network_actor, spawn_node_actor, spawn_sync_actor, spawn_wal_actor,
};
use malachite_app::app::types::Keypair;
use malachite_codec::Codec as _;
use malachite_config::{ChannelNames, GossipSubConfig, ProtocolNames, PubSubMaxSizePerTopic};
use malachite_core::Input;
use malachite_engine::network::{
    Msg as NetworkMsg, NetworkIdentity, NetworkRef, PersistentPeersOp,
};
use malachite_engine::node::NodeRef;
use malachite_engine::util::events::{Event as EngineEvent, RxEvent, TxEvent};
use malachite_engine::util::output_port::{OutputPort, OutputPortSubscriberTrait as _};
use malachite_metrics::{Metrics, SharedRegistry};
use malachite_signing::Signer as _;
use malachite_types::LinearTimeouts;
use ractor::{Actor, ActorCell};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{mpsc, oneshot};

use crate::codec::{
    Borsh, MAX_CONSENSUS_BYTES, MAX_LIVENESS_BYTES, MAX_PART_BYTES, MAX_RESPONSE_BYTES,
    MAX_SMALL_BYTES,
};
use crate::context::{Address, Lucid, ValidatorSet};
use crate::error::ConsensusError;
use crate::event::Event;
use crate::guard::Guard;
use crate::host::{Gate, Host, Shared, Watcher, end_deaf_connections};
use crate::settings::Settings;
use crate::signing::{ChainVerifier, GuardedSigner, Key};

/// Events that wait for the node before the engine does.
const EVENT_QUEUE: usize = 256;
/// How long an actor may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long binding the port may take.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Heights ahead of ours whose votes are kept, and messages a height.
const QUEUED_HEIGHTS: usize = 8;
const QUEUED_PER_HEIGHT: usize = 1_000;
/// Blocks in one answer to a peer that catches up.
pub(crate) const SYNC_BATCH: usize = 8;

/// A running engine.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Running>,
}

struct Running {
    peer_id: String,
    network: NetworkRef<Lucid>,
    /// In the order in which they stop.
    actors: Vec<ActorCell>,
    node: NodeRef,
    listening: String,
    signer: Option<GuardedSigner>,
    wal: PathBuf,
}

/// What the network looks like from here.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkState {
    /// This node's libp2p peer id.
    pub peer_id: String,
    /// Peers it keeps a connection to.
    pub persistent: Vec<String>,
    /// Connected peers.
    pub peers: Vec<Peer>,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Its libp2p peer id.
    pub id: String,
    /// The name it gives itself.
    pub moniker: String,
    /// Its address.
    pub address: String,
    /// The validator that it has proved to be.
    pub validator: Option<String>,
    /// Whether it connected to us.
    pub inbound: Option<bool>,
    /// Its gossip score: higher is better, below -2000 it is ignored.
    pub score: f64,
}

/// Starts an engine. Its events end when it has stopped, whether it was told to or failed.
pub async fn start(settings: Settings) -> Result<(mpsc::Receiver<Event>, Handle), ConsensusError> {
    let listen = address(&settings.listen)?;
    if !is_free(&settings.listen) {
        return Err(ConsensusError::Listen {
            address: settings.listen,
        });
    }
    let peers = settings
        .peers
        .iter()
        .map(|peer| address(peer))
        .collect::<Result<Vec<_>, _>>()?;
    let keypair = Keypair::ed25519_from_bytes(*settings.identity.0)
        .map_err(|error| ConsensusError::Identity(error.to_string()))?;
    let peer_id = keypair.public().to_peer_id();
    let signer = match &settings.consensus_key {
        Some(key) => {
            let guard = Guard::open(&settings.home.join("signed"))?;
            Some(GuardedSigner::new(
                settings.node,
                Key::new(settings.genesis_hash, &key.0),
                guard,
            ))
        }
        None => None,
    };
    let identity = match &signer {
        Some(signer) => {
            let proof = signer.sign_validator_proof(signer.public().to_vec(), peer_id.to_bytes());
            let proof = proof.await.map_err(failed)?;
            let proof = Borsh.encode(&proof).map_err(failed)?;
            NetworkIdentity::new_validator(
                settings.moniker.clone(),
                keypair,
                settings.node.to_string(),
                proof,
            )
        }
        None => NetworkIdentity::new(settings.moniker.clone(), keypair, None),
    };
    let verifier = ChainVerifier {
        genesis: settings.genesis_hash,
    };
    let (consensus_config, sync_config) = configuration(&settings, listen, peers);
    let registry = SharedRegistry::global().with_moniker(&settings.moniker);
    let metrics = Metrics::register(&registry);
    let wal_path = settings.home.join("wal").join("consensus.wal");
    let first = ValidatorSet::new(settings.first.validators.clone(), &settings.first.order);
    let first = first.ok_or(ConsensusError::Order)?;
    let first_validators = first.clone();
    let (events, receiver) = mpsc::channel(EVENT_QUEUE);
    let shared = Arc::new(Shared::new(
        &settings,
        verifier,
        signer.clone(),
        first,
        events,
    ));
    let tx_event = TxEvent::new();
    if let Some(signer) = signer.clone() {
        tokio::spawn(watch_replay(tx_event.subscribe(), signer));
    }
    let mut log = None;
    if signer.is_some() {
        remove_stub(&wal_path);
        log = Some(WatchedLog {
            path: wal_path.clone(),
            events: tx_event.subscribe(),
        });
    }

    let (node, _) = spawn_node_actor(metrics.clone()).await.map_err(failed)?;
    let mut actors: Vec<ActorCell> = Vec::new();
    let spawned = async {
        let network: NetworkRef<Lucid> =
            spawn_network_actor(&consensus_config, &sync_config, identity, &registry, Borsh)
                .await?;
        actors.insert(0, network.get_cell());
        let (network, _) = Actor::spawn(None, Gate::new(Arc::clone(&shared), network), ()).await?;
        actors.insert(0, network.get_cell());
        shared.set_network(network.clone());
        let wal = spawn_wal_actor(&Lucid, Borsh, &wal_path, &registry, node.clone()).await?;
        actors.insert(0, wal.get_cell());
        let (host, _) = Actor::spawn(None, Host::new(Arc::clone(&shared), log), ()).await?;
        actors.insert(0, host.get_cell());
        let (watcher, _) = Actor::spawn(None, Watcher::new(Arc::clone(&shared)), ()).await?;
        actors.insert(0, watcher.get_cell());
        network.cast(NetworkMsg::Subscribe(Box::new(watcher)))?;
        network.cast(NetworkMsg::UpdateValidatorSet(first_validators))?;
        tokio::spawn(end_deaf_connections(Arc::clone(&shared), network.clone()));
        let port = Arc::new(OutputPort::new());
        let consensus = spawn_consensus_actor(
            Lucid,
            Address(settings.node),
            consensus_config,
            Box::new(verifier),
            signer.clone().map(|signer| Box::new(signer) as Box<_>),
            network.clone(),
            host.clone(),
            wal,
            Arc::clone(&port),
            metrics,
            tx_event,
            node.clone(),
        )
        .await?;
        let sync = spawn_sync_actor(
            Lucid,
            network.clone(),
            host,
            consensus.clone(),
            Borsh,
            &sync_config,
            &registry,
        )
        .await?;
        if let Some(sync) = sync {
            sync.subscribe_to_port(&port);
            actors.insert(0, sync.get_cell());
        }
        actors.insert(0, consensus.get_cell());
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(network)
    }
    .await;
    for actor in &actors {
        actor.link(node.get_cell());
    }
    let listening = match &spawned {
        Ok(_) => shared.listening(LISTEN_TIMEOUT).await,
        Err(_) => None,
    };
    let (network, listening) = match (spawned, listening) {
        (Ok(network), Some(listening)) => (network, listening),
        (spawned, _) => {
            stop(&actors, &node).await;
            return Err(match spawned {
                Ok(_) => ConsensusError::Listen {
                    address: settings.listen,
                },
                Err(error) => failed(error),
            });
        }
    };
    let running = Running {
        peer_id: peer_id.to_string(),
        network,
        actors,
        node,
        listening,
        signer,
        wal: wal_path,
    };
    Ok((
        receiver,
        Handle {
            inner: Arc::new(running),
        },
    ))
}

impl Handle {
    /// This node's libp2p peer id, for other nodes' `/p2p/` addresses.
    pub fn peer_id(&self) -> &str {
        &self.inner.peer_id
    }

    /// Where it listens: the port the system chose if it was asked for any.
    pub fn listening(&self) -> &str {
        &self.inner.listening
    }

    /// Signatures that this node's signer refused since the start, because they would contradict an earlier one.
    pub fn refused_signatures(&self) -> u64 {
        self.inner.signer.as_ref().map_or(0, GuardedSigner::refused)
    }

    /// Stops the engine: no more votes, then no more network. The events end, and another engine can open its files.
    pub async fn shutdown(&self) {
        stop(&self.inner.actors, &self.inner.node).await;
        released(&self.inner.wal).await;
    }

    /// What the network looks like.
    pub async fn network(&self) -> Result<NetworkState, ConsensusError> {
        let (reply, dump) = oneshot::channel();
        self.inner
            .network
            .cast(NetworkMsg::DumpState(reply.into()))
            .map_err(|_| ConsensusError::Stopped)?;
        let dump = dump.await.ok().flatten().ok_or(ConsensusError::Stopped)?;
        let mut peers: Vec<Peer> = dump
            .peers
            .into_iter()
            .map(|(id, peer)| Peer {
                id: id.to_string(),
                moniker: peer.moniker,
                address: peer.address.to_string(),
                validator: peer.consensus_address,
                inbound: peer
                    .connection_direction
                    .map(|direction| direction.as_str() == "inbound"),
                score: peer.score,
            })
            .collect();
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(NetworkState {
            peer_id: self.inner.peer_id.clone(),
            persistent: dump
                .persistent_peer_addrs
                .iter()
                .map(ToString::to_string)
                .collect(),
            peers,
        })
    }

    /// Keeps a connection to one more peer.
    pub async fn add_peer(&self, peer: &str) -> Result<(), ConsensusError> {
        self.update(peer, PersistentPeersOp::Add(address(peer)?))
            .await
    }

    /// No longer keeps a connection to a peer.
    pub async fn remove_peer(&self, peer: &str) -> Result<(), ConsensusError> {
        self.update(peer, PersistentPeersOp::Remove(address(peer)?))
            .await
    }

    /// The figures of all engines of this process, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        malachite_metrics::export(&mut text);
        text
    }

    async fn update(&self, peer: &str, op: PersistentPeersOp) -> Result<(), ConsensusError> {
        let (reply, done) = oneshot::channel();
        self.inner
            .network
            .cast(NetworkMsg::UpdatePersistentPeers(op, reply.into()))
            .map_err(|_| ConsensusError::Stopped)?;
        done.await
            .map_err(|_| ConsensusError::Stopped)?
            .map_err(|error| ConsensusError::Peer {
                address: peer.into(),
                reason: error.to_string(),
            })
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Handle({} on {})",
            self.inner.peer_id, self.inner.listening
        )
    }
}

/// Waits until the log can be opened again: its thread ends some time after its actor.
async fn released(log: &Path) {
    let free = || std::fs::File::open(log).map_or(true, |file| file.try_lock().is_ok());
    for _ in 0..250 {
        if free() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tracing::warn!(log = %log.display(), "the engine's log is still open");
}

/// Unlinks first, so that the supervisor does not take an ordered stop for a failure.
async fn stop(actors: &[ActorCell], node: &NodeRef) {
    for actor in actors {
        actor.unlink(node.get_cell());
    }
    for actor in actors {
        if actor
            .stop_and_wait(Some("shutdown".into()), Some(STOP_TIMEOUT))
            .await
            .is_err()
        {
            actor.kill();
        }
    }
    node.stop(None);
}

/// Tells the guard what the engine's log remembers.
async fn watch_replay(mut events: RxEvent<Lucid>, signer: GuardedSigner) {
    loop {
        match events.recv().await {
            Ok(EngineEvent::WalReplayEntry(Input::Vote(vote)))
                if vote.message.address.0 == signer.node() =>
            {
                signer.remembers(&vote.message.to_chain());
            }
            // A missed event leaves the guard more careful than it need be.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// The engine's log, and what the engine says about it.
pub(crate) struct WatchedLog {
    path: PathBuf,
    events: RxEvent<Lucid>,
}

impl WatchedLog {
    /// When the engine has stopped: sets the log aside if it could not be replayed.
    ///
    /// That happens after two crashes in one height: the first between the guard's record of a vote and the log's, so that the guard
    /// repeats the vote where the engine would now cast another; then that vote is in the log, and does not follow from it. The
    /// engine stops, rightly, and would at every start. Without the log the guard still holds the validator to all it signed.
    pub(crate) fn set_aside_if_damaged(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(EngineEvent::WalReplayError(_) | EngineEvent::WalCorrupted(_)) => break,
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
        let aside = self.path.with_extension("damaged");
        match std::fs::rename(&self.path, &aside) {
            Ok(()) => tracing::error!(
                log = %aside.display(),
                "the engine cannot replay its log; it is set aside, and the next start does without"
            ),
            Err(error) => tracing::error!(%error, "the engine's log cannot be set aside"),
        }
    }
}

/// Removes a log whose head a crash left unfinished: it never held anything, and the engine would not open it.
fn remove_stub(log: &Path) {
    /// Version and height.
    const HEAD: usize = 4 + 8;
    let mut head = Vec::new();
    let read = File::open(log).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
    if read.is_ok() && (head.len() < HEAD || head[..4] == [0; 4]) {
        match std::fs::remove_file(log) {
            Ok(()) => tracing::warn!(log = %log.display(), "removed an unfinished log"),
            Err(error) => tracing::error!(%error, "an unfinished log cannot be removed"),
        }
    }
}

fn address(text: &str) -> Result<Multiaddr, ConsensusError> {
    text.parse().map_err(|_| ConsensusError::Address {
        address: text.into(),
    })
}

/// libp2p shares a port with whoever shares it too (SO_REUSEPORT), such as another node of ours: half the peers would reach each.
fn is_free(listen: &str) -> bool {
    let mut words = listen.split('/').skip(2);
    let (host, port) = (words.next(), words.nth(1));
    let ip = host.and_then(|host| host.parse::<std::net::IpAddr>().ok());
    match (ip, port.and_then(|port| port.parse::<u16>().ok())) {
        (Some(ip), Some(port)) => std::net::TcpListener::bind((ip, port)).is_ok(),
        // A name: libp2p will say.
        _ => true,
    }
}

fn failed(error: impl std::fmt::Display) -> ConsensusError {
    ConsensusError::Engine(error.to_string())
}

/// The engine's timeouts. A proposal has the same time in every round (requirement C7); votes get more with each, so that a slow
/// network settles at last.
pub fn timeouts(pace: &Pace) -> LinearTimeouts {
    let vote = Duration::from_millis(pace.vote_timeout_ms);
    let propose = Duration::from_millis(pace.propose_timeout_ms);
    LinearTimeouts {
        propose,
        propose_delta: Duration::ZERO,
        prevote: vote,
        prevote_delta: vote / 2,
        precommit: vote,
        precommit_delta: vote / 2,
        rebroadcast: propose + 2 * vote,
        max_timeout: Duration::from_secs(60),
    }
}

/// From a height's start until stragglers' precommits are no longer waited for. The next block is not due before the interval is
/// over; the last quarter is for building it.
pub fn target_time(pace: &Pace) -> Duration {
    Duration::from_millis(pace.block_interval_ms) * 3 / 4
}

/// The engine's own type for sizes, which it does not hand out.
fn bytes<T: Default + std::ops::AddAssign<u64>>(size: usize) -> T {
    let mut bytes = T::default();
    bytes += size as u64;
    bytes
}

fn configuration(
    settings: &Settings,
    listen_addr: Multiaddr,
    persistent_peers: Vec<Multiaddr>,
) -> (ConsensusConfig, ValueSyncConfig) {
    let limits = &settings.limits;
    // Peers of another chain fail at the first handshake.
    let chain = alloy_primitives::hex::encode(&settings.genesis_hash[..8]);
    let name = |what: &str| format!("/lucid/{chain}/{what}/1");
    let p2p = P2pConfig {
        listen_addr,
        persistent_peers,
        persistent_peers_only: false,
        discovery: DiscoveryConfig {
            enabled: settings.discovery,
            num_outbound_peers: limits.outbound_peers,
            num_inbound_peers: limits.inbound_peers,
            max_connections_per_peer: 2,
            max_connections_per_ip: limits.connections_per_ip,
            ip_throttle_duration: limits.ip_throttle,
            ..DiscoveryConfig::default()
        },
        protocol: PubSubProtocol::GossipSub(GossipSubConfig::new(6, 12, 4, 2, true, false, true)),
        pubsub_max_size: bytes(2 * MAX_PART_BYTES),
        pubsub_max_size_per_topic: PubSubMaxSizePerTopic {
            consensus: Some(bytes(MAX_CONSENSUS_BYTES)),
            proposal_parts: Some(bytes(MAX_PART_BYTES)),
            liveness: Some(bytes(MAX_LIVENESS_BYTES)),
        },
        rpc_max_size: bytes(MAX_RESPONSE_BYTES + MAX_SMALL_BYTES),
        protocol_names: ProtocolNames {
            consensus: name("consensus"),
            discovery_kad: name("kad"),
            discovery_regres: name("discovery"),
            sync: name("sync"),
            validator_proof: name("validator"),
        },
        channel_names: ChannelNames {
            consensus: name("votes"),
            proposal_parts: name("parts"),
            sync: name("status"),
            liveness: name("liveness"),
        },
    };
    let consensus = ConsensusConfig {
        enabled: true,
        p2p,
        value_payload: ValuePayload::ProposalAndParts,
        queue_capacity: QUEUED_HEIGHTS,
        queue_per_height_capacity: QUEUED_PER_HEIGHT,
    };
    let sync = ValueSyncConfig {
        enabled: true,
        status_update_interval: Duration::from_secs(2),
        request_timeout: Duration::from_secs(10),
        max_request_size: bytes(MAX_SMALL_BYTES),
        max_response_size: bytes(MAX_RESPONSE_BYTES),
        parallel_requests: 4,
        batch_size: SYNC_BATCH,
        inbound_request_rate_limit_window: Duration::from_secs(10),
        max_inbound_requests_per_window: 200,
        max_concurrent_inbound_requests: 8,
        max_pending_inbound_requests: 32,
        ..ValueSyncConfig::default()
    };
    (consensus, sync)
}

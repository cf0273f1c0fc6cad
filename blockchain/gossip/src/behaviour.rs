//! The swarm: transport, protocols and their bounds.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alloy_primitives::B256;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{
    self, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity,
    PeerScoreParams, PeerScoreThresholds, TopicScoreParams, ValidationMode,
    WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{self, NetworkBehaviour, Swarm};
use libp2p::{PeerId, StreamProtocol, Transport, noise, tcp, yamux};

use crate::codec::SyncCodec;
use crate::error::GossipError;
use crate::settings::Limits;
use crate::throttle::Throttled;
use crate::wire::{MAX_MESSAGE_BYTES, message_id};

/// Handshakes under way at once, each way.
const MAX_PENDING: u32 = 32;
/// A handshake that takes longer is given up. Tor takes its time.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Both ends may dial at once; one of the two connections then goes.
const MAX_PER_PEER: u32 = 2;
/// Requests under way on one connection, both ways.
const MAX_STREAMS: usize = 16;
/// What protobuf puts around a message.
const ENVELOPE_BYTES: usize = 1 << 10;
/// Below this score of gossipsub's a peer is banned. It is lower than any at which gossipsub itself has stopped listening.
pub(crate) const BAN_SCORE: f64 = -400.0;

/// The protocols of a node. The first two decide on connections.
#[derive(NetworkBehaviour)]
pub(crate) struct Doors {
    pub(crate) bans: allow_block_list::Behaviour<BlockedPeers>,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) requests: request_response::Behaviour<SyncCodec>,
}

type Gossip = gossipsub::Behaviour<
    IdentityTransform,
    MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>,
>;

/// Names that carry the chain, so that nodes of different chains have no protocol in common.
pub(crate) struct Names {
    gossip: String,
    requests: String,
    pub(crate) topic: IdentTopic,
}

impl Names {
    pub(crate) fn new(genesis_hash: B256) -> Self {
        let chain = alloy_primitives::hex::encode(&genesis_hash[..8]);
        Self {
            gossip: format!("/lucid/{chain}/gossip"),
            requests: format!("/lucid/{chain}/sync/1"),
            topic: IdentTopic::new(format!("lucid/{chain}/transactions/1")),
        }
    }
}

pub(crate) fn connection_limits(limits: &Limits) -> ConnectionLimits {
    let inbound = limits.max_peers - limits.max_peers / 4;
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING))
        .with_max_pending_outgoing(Some(MAX_PENDING))
        .with_max_established_incoming(Some(inbound))
        .with_max_established(Some(limits.max_peers))
        .with_max_established_per_peer(Some(MAX_PER_PEER))
}

pub(crate) fn swarm(
    key: &Keypair,
    genesis_hash: B256,
    names: &Names,
    limits: &Limits,
    read_rate: Arc<AtomicU32>,
) -> Result<Swarm<Doors>, GossipError> {
    let own = key.public().to_peer_id();
    let doors = Doors {
        bans: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(connection_limits(limits)),
        gossip: gossip(names, limits)?,
        requests: request_response::Behaviour::with_codec(
            SyncCodec,
            [(
                StreamProtocol::try_from_owned(names.requests.clone())
                    .map_err(|error| GossipError::Setup(error.to_string()))?,
                ProtocolSupport::Full,
            )],
            request_response::Config::default()
                .with_request_timeout(limits.request_timeout)
                .with_max_concurrent_streams(MAX_STREAMS),
        ),
    };
    let config = swarm::Config::with_tokio_executor()
        // Connections are kept; a peer that is gone shows by not answering greetings.
        .with_idle_connection_timeout(Duration::from_secs(60 * 60 * 24))
        .with_max_negotiating_inbound_streams(MAX_STREAMS)
        .with_per_connection_event_buffer_size(16);
    Ok(Swarm::new(
        transport(key, genesis_hash, read_rate)?,
        doors,
        own,
        config,
    ))
}

/// TCP, Noise, Yamux. The genesis hash is part of the handshake, which fails where the two ends name different ones.
fn transport(
    key: &Keypair,
    genesis_hash: B256,
    read_rate: Arc<AtomicU32>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, GossipError> {
    let noise = noise::Config::new(key)
        .map_err(|error| GossipError::Identity(error.to_string()))?
        .with_prologue(genesis_hash.to_vec());
    Ok(
        tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .map(move |stream, _| Throttled::new(stream, read_rate.load(Ordering::Relaxed)))
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .timeout(HANDSHAKE)
            .boxed(),
    )
}

fn gossip(names: &Names, limits: &Limits) -> Result<Gossip, GossipError> {
    let setup = |error: String| GossipError::Setup(error);
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(names.gossip.clone())
        .max_transmit_size(MAX_MESSAGE_BYTES + ENVELOPE_BYTES)
        // Transactions carry their own signatures, and who sent one first is nobody's business.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| message_id(&message.data))
        .heartbeat_initial_delay(Duration::from_millis(200))
        .heartbeat_interval(Duration::from_millis(700))
        // A verdict has eight seconds before the message is gone.
        .history_length(12)
        .history_gossip(3)
        .mesh_n_low(5)
        .mesh_n(8)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        // Longer than a message is kept, and shorter than the time after which a node passes a waiting transaction on again.
        .duplicate_cache_time(Duration::from_secs(9))
        .max_messages_per_rpc(Some(64))
        .max_ihave_length(1_000)
        .iwant_followup_time(Duration::from_secs(10))
        .connection_handler_queue_len(128)
        .build()
        .map_err(|error| setup(error.to_string()))?;
    let topic = names.topic.hash();
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(HashSet::from([topic.clone()])),
        max_subscribed_topics: 1,
        max_subscriptions_per_request: 4,
    };
    let mut gossip =
        Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
            .map_err(|error| setup(error.to_owned()))?;
    gossip
        .with_peer_score(score_params(&topic, limits), thresholds())
        .map_err(setup)?;
    gossip
        .subscribe(&names.topic)
        .map_err(|error| setup(error.to_string()))?;
    Ok(gossip)
}

/// Gossipsub's own scores see what we do not: broken protocol messages, broken promises, grafting against backoff. Ours comes
/// in as the application's. What depends on a steady flow of messages is off, since a quiet chain has none.
fn score_params(topic: &gossipsub::TopicHash, limits: &Limits) -> PeerScoreParams {
    let transactions = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 100.0,
        first_message_deliveries_decay: 0.9,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: [(topic.clone(), transactions)].into(),
        topic_score_cap: 10.0,
        app_specific_weight: 1.0,
        // Behind a sidecar all peers have one address: off, unless the operator bounds peers of an address.
        ip_colocation_factor_weight: if limits.per_ip.is_some() { -5.0 } else { 0.0 },
        ip_colocation_factor_threshold: f64::from(limits.per_ip.unwrap_or(1)).max(1.0),
        // A peer short of CPU breaks some promises; only one that breaks many a second means it.
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 10.0,
        behaviour_penalty_decay: 0.8,
        // A peer whose link is slow is no attacker: it leaves the mesh, and is not refused.
        slow_peer_weight: -0.01,
        slow_peer_threshold: 10.0,
        slow_peer_decay: 0.5,
        retain_score: Duration::from_secs(60 * 10),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -50.0,
        publish_threshold: -100.0,
        graylist_threshold: -200.0,
        accept_px_threshold: 1_000.0,
        opportunistic_graft_threshold: 1.0,
    }
}

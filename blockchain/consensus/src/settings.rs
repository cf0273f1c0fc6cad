//! What the engine is started with.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::B256;
use lucid_chain_types::{NodeId, Pace};
use zeroize::Zeroizing;

use crate::event::Start;

/// A validator's Ed25519 key, from its 32-byte seed.
#[derive(Clone)]
pub struct ConsensusKey(pub Zeroizing<[u8; 32]>);

impl std::fmt::Debug for ConsensusKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConsensusKey(..)")
    }
}

/// What one engine runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the write-ahead log (`wal/`) and of the signer's guard (`signed`).
    pub home: PathBuf,
    /// Name of the chain, part of everything that is signed.
    pub genesis_hash: B256,
    /// How fast the chain runs.
    pub pace: Pace,
    /// This node.
    pub node: NodeId,
    /// A name for people, shown to peers.
    pub moniker: String,
    /// Seed of the Ed25519 key that names this node on the network (its libp2p peer id).
    pub identity: ConsensusKey,
    /// The key it votes with; none for a node that only follows.
    pub consensus_key: Option<ConsensusKey>,
    /// Where it listens, such as `/ip4/0.0.0.0/tcp/26656`.
    pub listen: String,
    /// Peers it keeps a connection to, such as `/ip4/10.0.0.2/tcp/26656` with or without `/p2p/PEER`.
    pub peers: Vec<String>,
    /// Whether it looks for more peers.
    pub discovery: bool,
    /// The height after the node's last block: it tells the engine whom to wait for and to believe until the node answers
    /// [`crate::Event::Ready`].
    pub first: Start,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds on what peers may make this node do (requirement L7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that others may open.
    pub inbound_peers: usize,
    /// Connections that it opens.
    pub outbound_peers: usize,
    /// Connections of one address. Behind a sidecar every peer comes from 127.0.0.1, so this is not below `inbound_peers`
    /// there.
    pub connections_per_ip: usize,
    /// How long an address that was refused for having too many connections stays refused.
    pub ip_throttle: Duration,
    /// Longest wait for a quorum of validators before the first height begins.
    pub quorum_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inbound_peers: 64,
            outbound_peers: 32,
            connections_per_ip: 96,
            ip_throttle: Duration::ZERO,
            quorum_wait: Duration::from_secs(5),
        }
    }
}

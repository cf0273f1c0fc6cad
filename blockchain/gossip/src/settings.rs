//! What gossip is started with.

use std::time::Duration;

use alloy_primitives::B256;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use zeroize::Zeroizing;

use crate::error::GossipError;

/// What gossip is started with.
#[derive(Clone)]
pub struct GossipSettings {
    /// Ed25519 seed of the node's network identity (its libp2p peer id).
    pub identity: Zeroizing<[u8; 32]>,
    /// Where to listen: a multiaddress, such as `/ip4/0.0.0.0/tcp/26657`.
    pub listen: String,
    /// Where others reach this node. Empty: where it listens.
    pub announce: Vec<String>,
    /// Peers to keep a connection to, each with `/p2p/PEER-ID` at its end. They have connections reserved.
    pub peers: Vec<String>,
    /// Which chain: no connection to nodes of another.
    pub genesis_hash: B256,
    /// Whether to tell peers about each other and dial those one is told of.
    pub discovery: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds. All but what is said otherwise may be changed while running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most connected peers, besides those of [`GossipSettings::peers`]. A quarter is kept for connections from here.
    pub max_peers: u32,
    /// Most connections from one IP address. None where a sidecar makes everybody come from 127.0.0.1.
    pub per_ip: Option<u32>,
    /// Gossip messages a second of one peer.
    pub messages_per_second: u32,
    /// Transactions a second of one peer.
    pub transactions_per_second: u32,
    /// Bytes of gossip a second of one peer, as they are after decompression.
    pub bytes_per_second: u32,
    /// Bytes of gossip a second of all peers together.
    pub total_bytes_per_second: u32,
    /// Bytes a second read from a connection, whatever they are. Taken by new connections.
    pub connection_bytes_per_second: u32,
    /// Requests a second of one peer.
    pub requests_per_second: u32,
    /// Snapshot requests served at once.
    pub serving: u32,
    /// How long the first ban lasts; each one after it twice as long as the one before, up to a day.
    pub ban: Duration,
    /// How long a peer has to answer a request. Fixed at the start.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_peers: 50,
            per_ip: None,
            messages_per_second: 100,
            transactions_per_second: 2_000,
            bytes_per_second: 2 << 20,
            total_bytes_per_second: 8 << 20,
            connection_bytes_per_second: 16 << 20,
            requests_per_second: 20,
            serving: 8,
            ban: Duration::from_secs(10 * 60),
            request_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), GossipError> {
        let checks = [
            ("max_peers", self.max_peers, 1, 10_000),
            ("per_ip", self.per_ip.unwrap_or(1), 1, 10_000),
            ("messages_per_second", self.messages_per_second, 1, 100_000),
            (
                "transactions_per_second",
                self.transactions_per_second,
                1,
                1_000_000,
            ),
            // A second's worth must hold one message of the largest size.
            ("bytes_per_second", self.bytes_per_second, 1 << 19, 1 << 30),
            (
                "total_bytes_per_second",
                self.total_bytes_per_second,
                1 << 19,
                1 << 30,
            ),
            (
                "connection_bytes_per_second",
                self.connection_bytes_per_second,
                1 << 16,
                1 << 30,
            ),
            ("requests_per_second", self.requests_per_second, 1, 10_000),
            ("serving", self.serving, 1, 1_000),
        ];
        for (name, value, min, max) in checks {
            if value < min || value > max {
                return Err(GossipError::Limit {
                    name,
                    value: u64::from(value),
                    min: u64::from(min),
                    max: u64::from(max),
                });
            }
        }
        Ok(())
    }
}

/// The peer id of an identity.
pub fn peer_id(identity: &[u8; 32]) -> Result<PeerId, GossipError> {
    Ok(keypair(identity)?.public().to_peer_id())
}

pub(crate) fn keypair(identity: &[u8; 32]) -> Result<Keypair, GossipError> {
    // The callee wipes what it is given.
    let mut seed = Zeroizing::new(*identity);
    Keypair::ed25519_from_bytes(seed.as_mut_slice())
        .map_err(|error| GossipError::Identity(error.to_string()))
}

pub(crate) fn address(text: &str) -> Result<Multiaddr, GossipError> {
    text.parse().map_err(|error| GossipError::Address {
        address: text.to_owned(),
        reason: format!("{error}"),
    })
}

/// An address and whose it is.
pub(crate) fn peer_address(text: &str) -> Result<(PeerId, Multiaddr), GossipError> {
    split(address(text)?).ok_or_else(|| GossipError::NoPeerId(text.to_owned()))
}

/// Takes `/p2p/PEER-ID` off the end.
pub(crate) fn split(mut address: Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.pop() {
        Some(Protocol::P2p(peer)) if !address.is_empty() => Some((peer, address)),
        _ => None,
    }
}

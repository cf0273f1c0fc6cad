//! What goes wrong.

use std::io;

use libp2p::PeerId;

/// Why gossip does not start, or a peer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// Not an address.
    #[error("{address} is not a multiaddress: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address without its owner.
    #[error("the peer address {0} does not end in /p2p/PEER-ID")]
    NoPeerId(String),
    /// A bound outside of its own bounds.
    #[error("{name} is {value}, it must be from {min} to {max}")]
    Limit {
        /// Which.
        name: &'static str,
        /// What was given.
        value: u64,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// The identity is no key, or the handshake cannot be set up from it.
    #[error("the gossip identity key is not usable: {0}")]
    Identity(String),
    /// The engine refuses its settings: a fault of this program.
    #[error("gossip cannot be set up: {0}")]
    Setup(String),
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// It has ended, or has more to do than it takes.
    #[error("gossip does not take more: {0}")]
    Unavailable(&'static str),
}

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection to it.
    #[error("{0} is not connected")]
    NotConnected(PeerId),
    /// It does not have what was asked for.
    #[error("the peer does not have it")]
    Missing,
    /// It has too much to do.
    #[error("the peer is busy")]
    Busy,
    /// It answered something else.
    #[error("the peer's answer does not belong to the question")]
    Mismatch,
    /// It did not answer.
    #[error("no answer: {0}")]
    Failed(String),
    /// Too many requests at once from here, or gossip has ended.
    #[error("the request was not sent: {0}")]
    NotSent(&'static str),
}

/// Why bytes of a peer were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// More than there may be.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A version or packing this program does not know.
    #[error("{what} has the unknown version {version}")]
    Version {
        /// What was read.
        what: &'static str,
        /// What it says.
        version: u8,
    },
    /// Anything else.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

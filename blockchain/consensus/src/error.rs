//! Why the engine does not start.

use crate::guard::GuardError;

/// Why the engine does not start, or does not take a peer.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// Not a multiaddr.
    #[error("{address} is not an address such as /ip4/10.0.0.2/tcp/26656")]
    Address {
        /// What was given.
        address: String,
    },
    /// Nothing listens.
    #[error("cannot listen on {address}: is the port in use?")]
    Listen {
        /// Where.
        address: String,
    },
    /// The identity's seed is not a key.
    #[error("the network identity is not a key: {0}")]
    Identity(String),
    /// The first height cannot run.
    #[error("the order of leaders is empty or names somebody who is no validator")]
    Order,
    /// The signer's guard.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The engine itself.
    #[error("the consensus engine did not start: {0}")]
    Engine(String),
    /// The engine is gone.
    #[error("the consensus engine has stopped")]
    Stopped,
    /// A peer was not taken.
    #[error("peer {address}: {reason}")]
    Peer {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
}

//! What the server cannot see in the ledger: the node's network and itself.

use std::sync::Arc;

use lucid_chain_types::{Height, NodeId};
use lucid_client::wire::PeerInfo;
use lucid_ledger::Snapshots;
use lucid_readmodel::Collections;
use tokio::sync::watch;

/// Where the node is in catching up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncProgress {
    /// Whether it is catching up.
    pub syncing: bool,
    /// Where it began.
    pub started_at: Height,
    /// The highest height any peer told of.
    pub highest: Height,
}

/// What the node tells its RPC server.
#[derive(Debug, Clone)]
pub struct NetworkInfo {
    /// Connected peers.
    pub peers: watch::Receiver<Vec<PeerInfo>>,
    /// Catching up.
    pub sync: watch::Receiver<SyncProgress>,
    /// What `web3_clientVersion` says, such as `lucid/0.1.0/linux`.
    pub version: String,
    /// This node, if it is a validator.
    pub node: Option<NodeId>,
    /// The snapshots that it keeps.
    pub snapshots: Option<Snapshots>,
    /// Its read model.
    pub model: Option<watch::Receiver<ModelState>>,
}

/// The read model, as whoever keeps it tells of it.
#[derive(Debug, Clone, Default)]
pub struct ModelState {
    /// Where it is; `None` until its database was reached.
    pub store: Option<Arc<dyn Collections>>,
    /// What keeps it from following the chain.
    pub trouble: Option<String>,
}

impl NetworkInfo {
    /// A node without a network.
    pub fn alone(version: impl Into<String>) -> Self {
        Self {
            peers: watch::channel(Vec::new()).1,
            sync: watch::channel(SyncProgress::default()).1,
            version: version.into(),
            node: None,
            snapshots: None,
            model: None,
        }
    }
}

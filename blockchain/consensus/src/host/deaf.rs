//! Connections over which a peer seems to want nothing.
//!
//! Where a line was cut, one side may have given the connection up and made another while the other side still has the first. A
//! side tells what it listens to, and proves whose keys it holds, on what it takes for the first connection only: so this one never
//! hears it and sends that peer nothing, for as long as the second connection lasts. Once it is ended, the next is the first for
//! both.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use malachite_app::app::types::PeerId;
use malachite_engine::network::{Msg as NetworkMsg, NetworkRef};
use malachite_network::PeerIdExt as _;
use malachite_network::validator_proof::ProofVerificationResult;
use tokio::sync::oneshot;

use super::Shared;
use crate::context::Lucid;

/// How often it looks. A connection has this long, too, to say what it is for.
const EVERY: Duration = Duration::from_secs(4);
/// A height that takes longer may be waiting for peers that do not hear us. No peer is cut off while all is well: in a large
/// network there are some that others serve.
const STALLED: Duration = Duration::from_secs(6);

/// Until the engine stops.
pub(crate) async fn end_deaf_connections(shared: Arc<Shared>, network: NetworkRef<Lucid>) {
    let mut suspects = HashSet::new();
    loop {
        tokio::time::sleep(EVERY).await;
        if shared.is_closed() {
            return;
        }
        if !shared.is_stalled() {
            suspects.clear();
            continue;
        }
        let (reply, dump) = oneshot::channel();
        if network.cast(NetworkMsg::DumpState(reply.into())).is_err() {
            return;
        }
        let Ok(Some(dump)) = dump.await else {
            return;
        };
        let deaf = dump
            .peers
            .iter()
            .filter(|(_, peer)| peer.topics.is_empty() && peer.consensus_public_key.is_none());
        let deaf: HashSet<PeerId> = deaf.map(|(id, _)| PeerId::from_libp2p(id)).collect();
        for peer in deaf.intersection(&suspects) {
            tracing::info!(%peer, "ends a connection to a peer that seems to want nothing");
            // The one message that ends a connection whoever made it.
            let end = NetworkMsg::ValidatorProofVerified {
                peer_id: *peer,
                result: ProofVerificationResult::Invalid,
                public_key: None,
            };
            if network.cast(end).is_err() {
                return;
            }
        }
        suspects = &deaf - &suspects;
    }
}

impl Shared {
    /// Whether the height that runs takes long.
    fn is_stalled(&self) -> bool {
        let began = self.state().began;
        began.is_some_and(|began| began.elapsed() >= STALLED)
    }
}

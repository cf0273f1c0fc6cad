//! Between the engine and the node: the engine's questions become [`Event`]s, the node's answers become the engine's.
//!
//! [`Shared`] is what two actors share: [`Host`] answers the engine and never waits for the node itself; [`Watcher`] listens to the
//! network, so that a node that holds its answer hears when the others go on. `proposals` takes blocks apart and puts them
//! together, `others` keeps what the other validators are at, `deaf` ends connections that lead nowhere, `actors` has the actors.

mod actors;
mod deaf;
mod others;
mod proposals;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_chain_types::{BlockId, Height as ChainHeight, NodeId, Pace, SignedProposal};
use malachite_app::app::streaming::{StreamContent, StreamId, StreamMessage};
use malachite_app::app::types::PeerId;
use malachite_core::ProposedValue;
use malachite_engine::host::HeightParams;
use malachite_engine::network::{Msg as NetworkMsg, NetworkRef};
use ractor::RpcReplyPort;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::codec::STREAM_ID_BYTES;
use crate::context::{Lucid, ValidatorSet};
use crate::engine::{target_time, timeouts};
use crate::event::{Event, Start};
use crate::parts::{Assembler, cut};
use crate::settings::Settings;
use crate::signing::{ChainVerifier, GuardedSigner};

pub(crate) use actors::{Gate, Host, Watcher};
pub(crate) use deaf::end_deaf_connections;

/// Time for the last peers' subscriptions to all channels to arrive: a message before them would be lost.
const SETTLE: Duration = Duration::from_millis(200);

/// A proposal that came before its height began.
struct EarlyProposal {
    signed: SignedProposal,
    packed: Bytes,
    reply: RpcReplyPort<ProposedValue<Lucid>>,
}

#[derive(Default)]
struct State {
    /// The height that runs, or the last one while the node holds its answer; its validators (before the first height: that one's).
    start: Option<(ChainHeight, ValidatorSet)>,
    round: u32,
    /// Whether the node owes the answer to [`Event::Finalized`].
    holding: bool,
    /// Since when the height runs; nothing while the node holds.
    began: Option<Instant>,
    /// Highest height that each validator's votes and proposals were for, as far as it is plausible.
    seen: HashMap<NodeId, ChainHeight>,
    /// Highest height that each validator has proposed a block for, likewise.
    proposed: HashMap<NodeId, ChainHeight>,
    /// Whether the node was told that its held answer is due.
    told: bool,
    /// Whose proposals it was told of.
    told_of: HashSet<NodeId>,
    /// What peers say they have decided.
    tips: HashMap<PeerId, ChainHeight>,
    assembler: Assembler<PeerId>,
    early: Vec<EarlyProposal>,
    /// Proposals of this height that were handed to the node.
    proposals: BTreeMap<(u32, BlockId), SignedProposal>,
    /// Keys that peers have proved to hold.
    proofs: HashMap<PeerId, B256>,
    /// Peers that listen.
    listeners: HashSet<PeerId>,
}

/// What the two actors share.
pub(crate) struct Shared {
    node: NodeId,
    pace: Pace,
    quorum_wait: Duration,
    verifier: ChainVerifier,
    signer: Option<GuardedSigner>,
    /// Gone when the engine has stopped, which ends the node's stream.
    events: Mutex<Option<mpsc::Sender<Event>>>,
    network: OnceLock<NetworkRef<Lucid>>,
    listening: watch::Sender<Option<String>>,
    /// A peer came, proved something or subscribed.
    peers: Notify,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(
        settings: &Settings,
        verifier: ChainVerifier,
        signer: Option<GuardedSigner>,
        validators: ValidatorSet,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let before = settings
            .first
            .height
            .parent()
            .unwrap_or(ChainHeight::GENESIS);
        Self {
            node: settings.node,
            pace: settings.pace,
            quorum_wait: settings.limits.quorum_wait,
            verifier,
            signer,
            events: Mutex::new(Some(events)),
            network: OnceLock::new(),
            listening: watch::Sender::new(None),
            peers: Notify::new(),
            state: Mutex::new(State {
                start: Some((before, validators)),
                ..State::default()
            }),
        }
    }

    pub(crate) fn set_network(&self, network: NetworkRef<Lucid>) {
        // Set once, before any actor that uses it is started.
        drop(self.network.set(network));
    }

    /// The address that is listened on, if it comes about in time.
    pub(crate) async fn listening(&self, timeout: Duration) -> Option<String> {
        let mut listening = self.listening.subscribe();
        let address = tokio::time::timeout(timeout, listening.wait_for(Option::is_some))
            .await
            .ok()?
            .ok()?;
        address.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event to the node and gives its answer; nothing if it has none.
    async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Option<T> {
        self.send(event).await?.await.ok()
    }

    /// Hands an event to the node.
    async fn send<T>(
        &self,
        event: impl FnOnce(oneshot::Sender<T>) -> Event,
    ) -> Option<oneshot::Receiver<T>> {
        let (reply, answer) = oneshot::channel();
        self.tell(event(reply)).await.then_some(answer)
    }

    async fn tell(&self, event: Event) -> bool {
        let events = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match events {
            Some(events) => events.send(event).await.is_ok(),
            None => false,
        }
    }

    fn close(&self) {
        if let Some(signer) = &self.signer {
            signer.close();
        }
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Whether the engine has stopped.
    fn is_closed(&self) -> bool {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Whether any peer listens.
    fn is_heard(&self) -> bool {
        !self.state().listeners.is_empty()
    }

    fn publish(&self, signed: SignedProposal, packed: &Bytes) {
        let Some(network) = self.network.get() else {
            return;
        };
        let mut stream = [0; STREAM_ID_BYTES];
        if getrandom::fill(&mut stream).is_err() {
            return;
        }
        let stream = StreamId::new(Bytes::copy_from_slice(&stream));
        for (sequence, part) in (0..).zip(cut(signed, packed)) {
            let message = StreamMessage::new(stream.clone(), sequence, StreamContent::Data(part));
            if network
                .cast(NetworkMsg::PublishProposalPart(message))
                .is_err()
            {
                return;
            }
        }
    }

    /// Begins a height with what the node said; nothing if that makes no sense.
    fn begin(&self, start: &Start) -> Option<HeightParams<Lucid>> {
        let Some(validators) = ValidatorSet::new(start.validators.clone(), &start.order) else {
            tracing::error!(height = %start.height, "the order of leaders is empty or names somebody who is no validator");
            return None;
        };
        let mut state = self.state();
        state.start = Some((start.height, validators.clone()));
        state.round = 0;
        state.holding = false;
        state.began = Some(Instant::now());
        state.seen.retain(|_, height| *height > start.height);
        state.proposed.retain(|_, height| *height > start.height);
        state.proposals.clear();
        state
            .assembler
            .retain(|signed| signed.proposal.height >= start.height);
        state
            .early
            .retain(|early| early.signed.proposal.height >= start.height);
        drop(state);
        Some(HeightParams::new(
            validators,
            timeouts(&self.pace),
            Some(target_time(&self.pace)),
        ))
    }

    /// Waits until a quorum of the first height's validators hears us, or for as long as is sensible.
    async fn wait_for_quorum(&self) {
        let Some(validators) = self
            .state()
            .start
            .as_ref()
            .map(|(_, validators)| validators.clone())
        else {
            return;
        };
        let validators = validators.chain();
        let met = || {
            let state = self.state();
            let own = validators
                .get(self.node)
                .filter(|_| self.signer.is_some())
                .map(|own| own.consensus_key);
            let keys: HashSet<B256> = state
                .proofs
                .iter()
                .filter(|(peer, _)| state.listeners.contains(*peer))
                .map(|(_, key)| *key)
                .chain(own)
                .filter(|key| {
                    validators
                        .list()
                        .iter()
                        .any(|validator| validator.consensus_key == *key)
                })
                .collect();
            keys.len() >= validators.quorum()
        };
        let waiting = async {
            loop {
                let changed = self.peers.notified();
                if met() {
                    return;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(self.quorum_wait, waiting).await {
            Ok(()) => tokio::time::sleep(SETTLE).await,
            Err(_) => {
                tracing::warn!("no quorum of validators is connected yet; beginning all the same");
            }
        }
    }
}

//! Between the engine and the node: the engine's questions become [`Event`]s, the node's answers become the engine's.
//!
//! Two actors share one state. [`Host`] answers the engine and never waits for the node itself; [`Watcher`] listens to the network,
//! so that a node that holds its answer hears when the others go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use alloy_primitives::B256;
use async_trait::async_trait;
use bytes::Bytes;
use lucid_chain_types::{
    Block, BlockId, Certificate, Evidence, Height as ChainHeight, NodeId, Pace, Proposal,
    Signature, SignedProposal, SignedVote, SignerBitmap,
};
use malachite_app::app::streaming::{StreamContent, StreamId, StreamMessage};
use malachite_app::app::types::PeerId;
use malachite_core::{
    LivenessMsg, LocallyProposedValue, MisbehaviorEvidence, ProposedValue, VoteExtensionError,
};
use malachite_engine::host::{HeightParams, HostMsg, Next, SyncedValueOutcome};
use malachite_engine::network::{Msg as NetworkMsg, NetworkEvent, NetworkRef};
use malachite_sync::RawDecidedValue;
use malachite_types::{
    CommitCertificate, ExtendedCommitCertificate, ExtendedCommitSignature, Round,
    ValidatorSet as _, Validity,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::codec::STREAM_ID_BYTES;
use crate::context::{
    Address, Height, Lucid, Part, PublicKey, ValidatorSet, Value, Vote, optional_round,
    round_number,
};
use crate::engine::{SYNC_BATCH, WatchedLog, target_time, timeouts};
use crate::event::{DecidedBlock, Event, Start, UndecidedBlock, Verdict};
use crate::guard::GuardError;
use crate::pack::{pack, unpack};
use crate::parts::{Added, Assembler, cut};
use crate::settings::Settings;
use crate::signing::{ABSTAIN, ChainVerifier, GuardedSigner};

/// Rounds ahead of ours whose proposals are taken; the engine drops messages of later ones too.
const ROUNDS_AHEAD: u32 = 10;
/// Blocks of one leader and round that are looked at: more than one is equivocation, and each costs an execution.
const BLOCKS_PER_ROUND: usize = 2;
/// Time for the last peers' subscriptions to all channels to arrive: a message before them would be lost.
const SETTLE: Duration = Duration::from_millis(200);
/// Bytes of proposals of the next height that are kept while ours is not over.
const EARLY_BYTES: usize = 32 << 20;
/// Messages for later heights than this many ahead of ours count as if they were for that one: a lie is forgotten soon.
const PLAUSIBLE_LEAD: u64 = 8;
/// Peers whose proofs are kept; more than connections are allowed.
const MAX_PEERS: usize = 1_024;

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

    /// A validator was seen at work on a height.
    async fn saw(&self, validator: NodeId, height: ChainHeight, proposes: bool) {
        {
            let mut state = self.state();
            let current = state.start.as_ref().map_or(0, |(height, _)| height.0);
            let plausible = height.min(ChainHeight(current.saturating_add(PLAUSIBLE_LEAD)));
            let raise = |heights: &mut HashMap<NodeId, ChainHeight>| {
                let known = heights.entry(validator).or_default();
                *known = plausible.max(*known);
            };
            raise(&mut state.seen);
            if proposes {
                raise(&mut state.proposed);
            }
        }
        self.remind().await;
    }

    /// The node holds its answer from now on.
    async fn hold(&self) {
        {
            let mut state = self.state();
            state.holding = true;
            state.told = false;
            state.told_of.clear();
        }
        // Others may have gone on before.
        self.remind().await;
    }

    /// Tells a node that holds its answer that others have gone on.
    async fn remind(&self) {
        let mut due = Vec::new();
        let next = {
            let mut state = self.state();
            let Some((current, validators)) = state.start.clone() else {
                return;
            };
            if !state.holding || state.told {
                return;
            }
            // Never the height that others claim: a lie would be believed for long.
            let next = current.next();
            let proposers = state.proposed.iter();
            let proposers: Vec<NodeId> = proposers
                .filter(|(_, height)| **height > current)
                .map(|(proposer, _)| *proposer)
                .collect();
            due.extend(
                proposers
                    .into_iter()
                    .filter(|proposer| state.told_of.insert(*proposer))
                    .map(Some),
            );
            if self.others_went_on(&state, current, validators.chain()) {
                state.told = true;
                due.push(None);
            }
            next
        };
        for proposer in due {
            self.tell(Event::Early {
                height: next,
                proposer,
            })
            .await;
        }
    }

    /// Whether so many have gone on from a height that an honest validator is among them.
    fn others_went_on(
        &self,
        state: &State,
        current: ChainHeight,
        validators: &lucid_chain_types::ValidatorSet,
    ) -> bool {
        // A node that never leads loses nothing when it is woken for nothing.
        if self.signer.is_none() || validators.get(self.node).is_none() {
            return state.seen.values().any(|height| *height > current)
                || state.tips.values().any(|tip| *tip > current);
        }
        let faulty = validators.len() - validators.quorum();
        let gone = validators.list().iter().filter(|validator| {
            let seen = state.seen.get(&validator.node);
            seen.is_some_and(|height| *height > current)
                || state.tips.iter().any(|(peer, tip)| {
                    *tip > current && state.proofs.get(peer) == Some(&validator.consensus_key)
                })
        });
        gone.count() > faulty
    }

    /// Whether the head of a stream may be believed.
    fn accepts(&self, state: &State, signed: &SignedProposal) -> bool {
        let proposal = &signed.proposal;
        let Some((height, validators)) = &state.start else {
            return false;
        };
        let validator = if proposal.height == *height {
            // Once the height is decided nothing more is wanted for it.
            if state.holding
                || proposal.round > state.round.saturating_add(ROUNDS_AHEAD)
                || state
                    .proposals
                    .contains_key(&(proposal.round, proposal.block))
            {
                return false;
            }
            let leader = validators.leader(Round::new(proposal.round));
            (leader.address.0 == proposal.proposer).then_some(leader)
        } else if proposal.height == height.next() && proposal.round <= ROUNDS_AHEAD {
            // Who leads the next height is not known yet, but only validators may ask us to keep something for it.
            validators.get_by_address(&Address(proposal.proposer))
        } else {
            None
        };
        validator.is_some_and(|validator| {
            let proposal = crate::context::Proposal::from_chain(proposal);
            self.verifier
                .proposal(&proposal, &signed.signature, &validator.key)
        })
    }

    /// Takes a piece of a proposal.
    async fn part(
        self: &Arc<Self>,
        publisher: PeerId,
        message: StreamMessage<Part>,
        reply: RpcReplyPort<ProposedValue<Lucid>>,
    ) {
        let StreamContent::Data(part) = message.content else {
            return;
        };
        let stream = message.stream_id.to_bytes();
        let added = {
            let mut state = self.state();
            let mut assembler = std::mem::take(&mut state.assembler);
            let added = assembler.add(&publisher, &stream, message.sequence, part, |signed| {
                self.accepts(&state, signed)
            });
            state.assembler = assembler;
            added
        };
        match added {
            Added::Waiting => {}
            Added::Dropped(reason) => {
                tracing::debug!(%publisher, reason, "dropped a piece of a proposal");
            }
            Added::Complete { signed, packed } => {
                let Proposal {
                    height, proposer, ..
                } = signed.proposal;
                let early = {
                    let mut state = self.state();
                    let early = state
                        .start
                        .as_ref()
                        .is_some_and(|(current, _)| height > *current);
                    if early {
                        // One of each validator: none can push out the leader's.
                        let mut kept = state.early.iter();
                        let known = kept.any(|early| early.signed.proposal.proposer == proposer);
                        let held: usize = state.early.iter().map(|early| early.packed.len()).sum();
                        if !known && held.saturating_add(packed.len()) <= EARLY_BYTES {
                            state.early.push(EarlyProposal {
                                signed,
                                packed,
                                reply,
                            });
                        }
                        None
                    } else {
                        Some((signed, packed, reply))
                    }
                };
                match early {
                    None => self.saw(proposer, height, true).await,
                    Some((signed, packed, reply)) => {
                        tokio::spawn(Arc::clone(self).judge(signed, packed, reply));
                    }
                }
            }
        }
    }

    /// Hands the early proposals of a height that has begun to the node.
    fn release(self: &Arc<Self>, height: ChainHeight) {
        let mut state = self.state();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.early)
            .into_iter()
            .partition(|early| early.signed.proposal.height == height);
        state.early = later;
        for early in due {
            // Now the leader is known.
            if self.accepts(&state, &early.signed) {
                tokio::spawn(Arc::clone(self).judge(early.signed, early.packed, early.reply));
            }
        }
    }

    /// Asks the node about a whole proposal.
    async fn judge(
        self: Arc<Self>,
        signed: SignedProposal,
        packed: Bytes,
        reply: RpcReplyPort<ProposedValue<Lucid>>,
    ) {
        let proposal = signed.proposal;
        // Anybody can send other bytes under a leader's signature. They are dropped without a verdict: the leader's own may come.
        let Some(bytes) = unpack_block(packed, Some(proposal.block)).await else {
            tracing::debug!(height = %proposal.height, round = proposal.round, "the bytes of a proposal are not its block's");
            return;
        };
        {
            let mut state = self.state();
            let current = state
                .start
                .as_ref()
                .is_some_and(|(height, _)| *height == proposal.height);
            let of_round = state
                .proposals
                .range((proposal.round, BlockId(B256::ZERO))..)
                .take_while(|((round, _), _)| *round == proposal.round);
            if !current || of_round.count() >= BLOCKS_PER_ROUND {
                return;
            }
            if state
                .proposals
                .insert((proposal.round, proposal.block), signed)
                .is_some()
            {
                return;
            }
        }
        let verdict = self
            .ask(|reply| Event::Received {
                height: proposal.height,
                round: proposal.round,
                valid_round: proposal.valid_round,
                proposer: proposal.proposer,
                bytes,
                reply,
            })
            .await;
        let Some(verdict) = verdict else {
            // The node could not say; it may be asked again.
            self.state()
                .proposals
                .remove(&(proposal.round, proposal.block));
            return;
        };
        drop(reply.send(ProposedValue {
            height: Height(proposal.height),
            round: Round::new(proposal.round),
            valid_round: optional_round(proposal.valid_round),
            proposer: Address(proposal.proposer),
            value: Value(proposal.block),
            validity: Validity::from_bool(verdict == Verdict::Valid(proposal.block)),
        }));
    }

    /// This node leads a round.
    async fn propose(
        self: Arc<Self>,
        height: ChainHeight,
        round: u32,
        timeout: Duration,
        reply: RpcReplyPort<LocallyProposedValue<Lucid>>,
    ) {
        let Some(signer) = &self.signer else {
            return;
        };
        // Before a restart a proposal was signed here: no other may be.
        let (block, signed, bytes) = if let Some(signed) = signer.history().proposed(height, round)
        {
            let proposal = signed.proposal;
            let bytes = self.ask(|reply| Event::Repropose {
                height,
                round,
                valid_round: proposal.valid_round,
                block: proposal.block,
                reply,
            });
            let Some(bytes) = bytes.await.flatten() else {
                tracing::warn!(%height, round, "the block that was proposed before the restart is gone; passing this round");
                return;
            };
            (proposal.block, signed, bytes)
        } else {
            let block = self.ask(|reply| Event::Propose {
                height,
                round,
                timeout,
                reply,
            });
            let Some(block) = block.await else {
                tracing::debug!(%height, round, "the node has nothing to propose");
                return;
            };
            let id = block.id();
            let signed = signer.proposal(Proposal {
                height,
                round,
                block: id,
                valid_round: None,
                proposer: self.node,
            });
            match signed.await {
                Ok(signed) if signed.signature != ABSTAIN => (id, signed, block.encode()),
                Ok(_) => return,
                Err(GuardError::Stopped) => return,
                Err(error) => {
                    tracing::error!(%error, "cannot sign a proposal");
                    return;
                }
            }
        };
        if let Some(packed) = pack_block(bytes).await {
            self.state().proposals.insert((round, block), signed);
            self.publish(signed, &packed);
            drop(reply.send(LocallyProposedValue::new(
                Height(height),
                Round::new(round),
                Value(block),
            )));
        }
    }

    /// A block has to travel again.
    async fn restream(self: Arc<Self>, proposal: Proposal) {
        let signed = match &self.signer {
            Some(signer) if proposal.proposer == self.node => signer.proposal(proposal).await.ok(),
            _ => self
                .state()
                .proposals
                .get(&(proposal.round, proposal.block))
                .copied(),
        };
        let Some(signed) = signed.filter(|signed| signed.signature != ABSTAIN) else {
            return;
        };
        let bytes = self.ask(|reply| Event::Repropose {
            height: proposal.height,
            round: proposal.round,
            valid_round: proposal.valid_round,
            block: proposal.block,
            reply,
        });
        let Some(bytes) = bytes.await.flatten() else {
            tracing::warn!(height = %proposal.height, block = %proposal.block, "the node no longer has a block that has to travel again");
            return;
        };
        if let Some(packed) = pack_block(bytes).await {
            self.state()
                .proposals
                .insert((proposal.round, proposal.block), signed);
            self.publish(signed, &packed);
        }
    }

    fn certificate(&self, certificate: &CommitCertificate<Lucid>) -> Option<Certificate> {
        let state = self.state();
        let (height, validators) = state.start.as_ref()?;
        if *height != certificate.height.0 {
            return None;
        }
        let validators = validators.chain();
        let signatures: BTreeMap<usize, Signature> = certificate
            .commit_signatures
            .iter()
            .filter_map(|signature| {
                Some((
                    validators.index_of(signature.address.0)?,
                    signature.signature,
                ))
            })
            .collect();
        Some(Certificate {
            height: *height,
            round: round_number(certificate.round),
            block: certificate.value_id,
            signers: SignerBitmap::new(validators.len(), signatures.keys().copied()),
            signatures: signatures.into_values().collect(),
        })
    }

    /// A peer's value with its certificate, which the engine has checked.
    async fn synced(
        self: Arc<Self>,
        height: ChainHeight,
        round: Round,
        proposer: Address,
        packed: Bytes,
        reply: RpcReplyPort<SyncedValueOutcome<Lucid>>,
    ) {
        let outcome = match unpack_block(packed, None).await {
            None => SyncedValueOutcome::PeerFault,
            Some(bytes) => {
                let id = header_id(&bytes);
                let verdict = self.ask(|reply| Event::Synced {
                    height,
                    round: round_number(round),
                    proposer: proposer.0,
                    bytes,
                    reply,
                });
                match (verdict.await, id) {
                    (Some(verdict), Some(id)) => SyncedValueOutcome::Verdict(ProposedValue {
                        height: Height(height),
                        round,
                        valid_round: Round::Nil,
                        proposer,
                        value: Value(id),
                        validity: Validity::from_bool(verdict == Verdict::Valid(id)),
                    }),
                    _ => SyncedValueOutcome::LocalTransientError,
                }
            }
        };
        drop(reply.send(outcome));
    }

    /// What the network actor says.
    async fn watch(&self, event: NetworkEvent<Lucid>) {
        match event {
            NetworkEvent::Listening(address) => {
                self.listening.send_replace(Some(address.to_string()));
            }
            NetworkEvent::PeerDisconnected(peer) => {
                let mut state = self.state();
                state.proofs.remove(&peer);
                state.listeners.remove(&peer);
                state.tips.remove(&peer);
                state.assembler.forget(&peer);
            }
            // The engine tells of one of a connection's subscriptions only; the others are sent with it.
            NetworkEvent::PeerSubscribed(peer, _) => {
                let mut state = self.state();
                if state.listeners.len() < MAX_PEERS {
                    state.listeners.insert(peer);
                }
                drop(state);
                self.peers.notify_waiters();
            }
            NetworkEvent::ValidatorProofReceived { peer_id, proof } => {
                if let Some(key) = self.verifier.proof(&proof) {
                    let mut state = self.state();
                    if state.proofs.len() < MAX_PEERS {
                        state.proofs.insert(peer_id, key);
                    }
                    drop(state);
                    self.peers.notify_waiters();
                }
            }
            NetworkEvent::Vote(_, vote) => {
                let Vote {
                    height, address, ..
                } = vote.message;
                let known = |state: &State| state.seen.get(&address.0).copied();
                if let Some(key) = self.early_key(address, height.0, known)
                    && self.verifier.vote(&vote.message, &vote.signature, &key)
                {
                    self.saw(address.0, height.0, false).await;
                }
            }
            NetworkEvent::Proposal(_, proposal) => {
                let (height, address) = (proposal.message.height, proposal.message.address);
                let known = |state: &State| state.proposed.get(&address.0).copied();
                if let Some(key) = self.early_key(address, height.0, known)
                    && self
                        .verifier
                        .proposal(&proposal.message, &proposal.signature, &key)
                {
                    self.saw(address.0, height.0, true).await;
                }
            }
            NetworkEvent::Status(peer, status) => {
                {
                    let mut state = self.state();
                    if state.tips.len() < MAX_PEERS || state.tips.contains_key(&peer) {
                        state.tips.insert(peer, status.tip_height.0);
                    }
                }
                self.remind().await;
            }
            _ => {}
        }
    }

    /// The key to check a message with, if it would show that a validator works on a later height than is known of it.
    fn early_key(
        &self,
        validator: Address,
        height: ChainHeight,
        known: impl Fn(&State) -> Option<ChainHeight>,
    ) -> Option<PublicKey> {
        let state = self.state();
        let (current, validators) = state.start.as_ref()?;
        let known = known(&state).unwrap_or_default();
        (height > *current && height > known)
            .then(|| validators.get_by_address(&validator).map(|it| it.key))?
    }
}

/// Unpacks and decodes off the actors' threads; nothing if the bytes are no block, or not the one they should be.
async fn unpack_block(packed: Bytes, id: Option<BlockId>) -> Option<Vec<u8>> {
    let work = move || {
        let bytes = unpack(&packed).ok()?;
        let block = Block::decode(&bytes).ok()?;
        id.is_none_or(|id| block.id() == id).then_some(bytes)
    };
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

async fn pack_block(bytes: Vec<u8>) -> Option<Bytes> {
    let packed = tokio::task::spawn_blocking(move || pack(&bytes))
        .await
        .ok()?;
    packed
        .inspect_err(|error| tracing::error!(%error, "a block cannot be sent"))
        .ok()
}

fn header_id(block: &[u8]) -> Option<BlockId> {
    use lucid_chain_types::Header;
    Some(Header::decode(block.get(..Header::BYTES)?).ok()?.id())
}

fn evidence(found: MisbehaviorEvidence<Lucid>) -> Vec<Evidence> {
    let votes = found
        .votes
        .into_iter()
        .flat_map(|(_, pairs)| pairs)
        .map(|(a, b)| {
            let [a, b] = [a, b].map(|signed| SignedVote {
                vote: signed.message.to_chain(),
                signature: signed.signature,
            });
            Evidence::votes(a, b)
        });
    let proposals = found
        .proposals
        .into_iter()
        .flat_map(|(_, pairs)| pairs)
        .map(|(a, b)| {
            let [a, b] = [a, b].map(|signed| SignedProposal {
                proposal: signed.message.to_chain(),
                signature: signed.signature,
            });
            Evidence::proposals(a, b)
        });
    votes.chain(proposals).collect()
}

async fn raw_values(blocks: Vec<DecidedBlock>) -> Vec<RawDecidedValue<Lucid>> {
    let pack_all = move || {
        blocks
            .into_iter()
            .take(SYNC_BATCH)
            .map_while(
                |DecidedBlock {
                     certificate,
                     validators,
                     bytes,
                 }| {
                    let signers = certificate.signers.signers().zip(&certificate.signatures);
                    let commit_signatures = signers
                        .filter_map(|(index, signature)| {
                            let validator = validators.list().get(index)?;
                            Some(ExtendedCommitSignature::new(
                                Address(validator.node),
                                *signature,
                                None,
                            ))
                        })
                        .collect();
                    let certificate = ExtendedCommitCertificate {
                        height: Height(certificate.height),
                        round: Round::new(certificate.round),
                        value_id: certificate.block,
                        commit_signatures,
                    };
                    Some(RawDecidedValue::new(pack(&bytes).ok()?, certificate))
                },
            )
            .collect()
    };
    tokio::task::spawn_blocking(pack_all)
        .await
        .unwrap_or_default()
}

/// Answers the engine.
pub(crate) struct Host {
    shared: Arc<Shared>,
    log: Mutex<Option<WatchedLog>>,
}

impl Host {
    pub(crate) const fn new(shared: Arc<Shared>, log: Option<WatchedLog>) -> Self {
        Self {
            shared,
            log: Mutex::new(log),
        }
    }
}

#[async_trait]
impl Actor for Host {
    type Msg = HostMsg<Lucid>;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        _args: (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // Before the node's stream ends, which may end the process.
        let log = self.log.lock().map(|mut log| log.take());
        if let Some(mut log) = log.unwrap_or_default() {
            log.set_aside_if_damaged();
        }
        self.shared.close();
        Ok(())
    }

    // Events leave in the order in which the engine asks; answers are waited for elsewhere. Answers that the engine no longer
    // waits for are dropped.
    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let shared = Arc::clone(&self.shared);
        match message {
            HostMsg::ConsensusReady { reply_to } => {
                tokio::spawn(async move {
                    shared.wait_for_quorum().await;
                    let Some(answer) = shared.send(|reply| Event::Ready { reply }).await else {
                        return;
                    };
                    shared.hold().await;
                    if let Ok(start) = answer.await
                        && let Some(params) = shared.begin(&start)
                    {
                        drop(reply_to.send((Height(start.height), params)));
                    }
                });
            }
            HostMsg::StartedRound {
                height,
                round,
                proposer,
                role: _,
                reply_to,
            } => {
                let height = height.0;
                let round = round_number(round);
                shared.state().round = round;
                let answer = shared.send(|reply| Event::StartedRound {
                    height,
                    round,
                    proposer: proposer.0,
                    reply,
                });
                let answer = answer.await;
                tokio::spawn(async move {
                    let undecided = match answer {
                        Some(answer) => answer.await.unwrap_or_default(),
                        None => Vec::new(),
                    };
                    drop(reply_to.send(undecided.iter().map(proposed_value).collect()));
                    shared.release(height);
                });
            }
            HostMsg::GetValue {
                height,
                round,
                timeout,
                reply_to,
            } => {
                tokio::spawn(shared.propose(height.0, round_number(round), timeout, reply_to));
            }
            HostMsg::ExtendVote { reply_to, .. } => drop(reply_to.send(None)),
            HostMsg::VerifyVoteExtensions {
                extensions,
                reply_to,
                ..
            } => {
                let refused = extensions
                    .into_iter()
                    .map(|(address, ())| (address, Err(VoteExtensionError::InvalidVoteExtension)));
                drop(reply_to.send(refused.collect()));
            }
            HostMsg::RestreamValue {
                height,
                round,
                valid_round,
                address,
                value_id,
            } => {
                tokio::spawn(shared.restream(Proposal {
                    height: height.0,
                    round: round_number(round),
                    block: value_id,
                    valid_round: valid_round.as_u32(),
                    proposer: address.0,
                }));
            }
            HostMsg::GetHistoryMinHeight { reply_to } => {
                tokio::spawn(async move {
                    if let Some(height) = shared.ask(|reply| Event::MinHeight { reply }).await {
                        drop(reply_to.send(Height(height)));
                    }
                });
            }
            HostMsg::ReceivedProposalPart {
                from,
                published_by,
                part,
                reply_to,
            } => {
                shared
                    .part(published_by.unwrap_or(from), part, reply_to)
                    .await;
            }
            HostMsg::Decided {
                certificate,
                reply_to,
                ..
            } => {
                let Some(certificate) = shared.certificate(&certificate) else {
                    tracing::error!(height = %certificate.height, "a decision of another height than the one that runs");
                    return Ok(());
                };
                if let Some(answer) = shared
                    .send(|reply| Event::Decided { certificate, reply })
                    .await
                {
                    tokio::spawn(async move {
                        if answer.await.is_ok() {
                            drop(reply_to.send(()));
                        }
                    });
                }
            }
            HostMsg::Finalized {
                certificate,
                evidence: found,
                reply_to,
                ..
            } => {
                let Some(certificate) = shared.certificate(&certificate) else {
                    return Ok(());
                };
                let height = certificate.height;
                let evidence = evidence(found);
                let answer = shared.send(|reply| Event::Finalized {
                    certificate,
                    evidence,
                    reply,
                });
                let Some(answer) = answer.await else {
                    return Ok(());
                };
                // After the event, before its answer is looked at.
                shared.hold().await;
                tokio::spawn(async move {
                    let Ok(start) = answer.await else {
                        return;
                    };
                    if let Some(params) = shared.begin(&start) {
                        let start_height = Height(start.height);
                        drop(reply_to.send(if start.height > height {
                            Next::Start(start_height, params)
                        } else {
                            Next::Restart(start_height, params)
                        }));
                    }
                });
            }
            HostMsg::GetDecidedValues { range, reply_to } => {
                let from = range.start().0;
                let last = ChainHeight(from.0.saturating_add(SYNC_BATCH as u64 - 1));
                let to = range.end().0.min(last);
                tokio::spawn(async move {
                    let blocks = shared
                        .ask(|reply| Event::GetDecided { from, to, reply })
                        .await;
                    drop(reply_to.send(raw_values(blocks.unwrap_or_default()).await));
                });
            }
            HostMsg::ProcessSyncedValue {
                height,
                round,
                proposer,
                value_bytes,
                reply_to,
            } => {
                tokio::spawn(shared.synced(height.0, round, proposer, value_bytes, reply_to));
            }
        }
        Ok(())
    }
}

fn proposed_value(block: &UndecidedBlock) -> ProposedValue<Lucid> {
    ProposedValue {
        height: Height(block.height),
        round: Round::new(block.round),
        valid_round: optional_round(block.valid_round),
        proposer: Address(block.proposer),
        value: Value(block.block),
        validity: Validity::from_bool(block.valid),
    }
}

/// In front of the network's actor: what nobody would hear, or what carries no signature, is not published.
pub(crate) struct Gate {
    shared: Arc<Shared>,
    network: NetworkRef<Lucid>,
}

impl Gate {
    pub(crate) const fn new(shared: Arc<Shared>, network: NetworkRef<Lucid>) -> Self {
        Self { shared, network }
    }
}

#[async_trait]
impl Actor for Gate {
    type Msg = NetworkMsg<Lucid>;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        _args: (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let useful = match &message {
            NetworkMsg::PublishConsensusMsg(message) => {
                *message.signature() != ABSTAIN && self.shared.is_heard()
            }
            NetworkMsg::PublishLivenessMsg(LivenessMsg::Vote(vote)) => {
                vote.signature != ABSTAIN && self.shared.is_heard()
            }
            NetworkMsg::PublishLivenessMsg(_) | NetworkMsg::PublishProposalPart(_) => {
                self.shared.is_heard()
            }
            _ => true,
        };
        if useful {
            self.network.cast(message)?;
        }
        Ok(())
    }
}

/// Listens to the network.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// A network event, as a message of our own.
pub(crate) struct Seen(NetworkEvent<Lucid>);

impl From<NetworkEvent<Lucid>> for Seen {
    fn from(event: NetworkEvent<Lucid>) -> Self {
        Self(event)
    }
}

#[async_trait]
impl Actor for Watcher {
    type Msg = Seen;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        _args: (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        Seen(event): Seen,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.shared.watch(event).await;
        Ok(())
    }
}

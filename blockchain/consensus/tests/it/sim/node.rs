//! One node's engine: Malachite's core, driven as its actors drive it, on a virtual disk and under a virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use lucid_chain_types::{BlockId, Evidence, NodeId, Proposal as ChainProposal, SignedProposal};
use lucid_consensus::codec::Borsh;
use lucid_consensus::context::{Address, Height, Lucid, Proposal, ValidatorSet, Vote};
use lucid_consensus::guard::{Answer, History, Message as Signable, Signed};
use lucid_consensus::signing::{ABSTAIN, Key};
use lucid_consensus::{target_time, timeouts};
use malachite_app::app::types::PeerId;
use malachite_core::{
    ConsensusMsg, Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, ProposedValue,
    Resumable, Resume, SignedConsensusMsg, State, ThresholdParams,
};
use malachite_engine::wal::{decode_entry, encode_entry};
use malachite_metrics::Metrics;
use malachite_signing::VerifierExt;
use malachite_types::{
    Round, SignedMessage, ThresholdParam, Timeout, TimeoutKind, ValidatorSet as _, ValueOrigin,
    ValuePayload, VoteExtensionPolicy,
};
use malachite_wal::log::Log;

use super::app::{Rules, node_id, node_key};
use super::checker::Rule;
use super::disk::{File, Handle, Tail};
use super::host::{Host, Store};
use super::plan::{Break, MS, Micros, Mischief, Plan, Wipe};
use super::verifier::now;
use super::world::{Message, Task, World};

/// Heights ahead of ours whose votes are kept, and messages a height: as in the engine's configuration.
const QUEUED_HEIGHTS: usize = 8;
const QUEUED_PER_HEIGHT: usize = 1_000;
/// Messages that wait for the first height.
const WAITING: usize = 1_024;
/// A height's target in the core's words: never reached on the real clock, which the core reads. The virtual one decides.
const NEVER: Duration = Duration::from_secs(1 << 20);
/// Between two statuses.
pub(crate) const STATUS_EVERY: Micros = 2_000 * MS;

/// Why a node stops in the middle of something.
pub(crate) enum Stop {
    /// Its process was killed.
    Crash,
    /// The engine's actor stops, and with it the node.
    Error(String),
    /// The engine's log cannot be replayed.
    Hang(String),
}

/// What happens inside a node.
#[derive(Debug)]
pub(crate) enum Local {
    Timer(Timeout, u64),
    /// A quorum is connected.
    Ready,
    /// The app is asked for a block.
    Propose(u64, u32),
    Proposed(LocallyProposedValue<Lucid>),
    Restream(ChainProposal),
    /// The app looks at a block.
    Judge(SignedProposal, Bytes),
    Value(ProposedValue<Lucid>, ValueOrigin),
    Synced(Box<Synced>),
    Commit(lucid_chain_types::Certificate),
    Finalized(lucid_chain_types::Certificate, Vec<Evidence>),
    Status,
    Mischief,
}

/// A peer's value whose certificate was good.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) peer: usize,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) proposer: Address,
    pub(crate) id: BlockId,
    pub(crate) packed: Bytes,
}

impl Local {
    pub(crate) const fn tag(&self) -> u64 {
        match self {
            Self::Timer(_, generation) => 20 + *generation * 100,
            Self::Ready => 21,
            Self::Propose(..) => 22,
            Self::Proposed(_) => 23,
            Self::Restream(_) => 24,
            Self::Judge(..) => 25,
            Self::Value(..) => 26,
            Self::Synced(_) => 27,
            Self::Commit(_) => 28,
            Self::Finalized(..) => 29,
            Self::Status => 30,
            Self::Mischief => 31,
        }
    }
}

/// A node: what is on its disk, and what runs.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) key: Key,
    pub(crate) mischief: Option<Mischief>,
    pub(crate) clock: (u64, u64),
    pub(crate) cost: Micros,
    pub(crate) busy_until: Micros,
    pub(crate) inbox: VecDeque<Task>,
    /// Whether it will look into its inbox.
    pub(crate) awake: bool,
    /// Restarts.
    pub(crate) epoch: u32,
    /// Effects until it is killed, and what then happens.
    pub(crate) fuse: Option<(u32, Tail, Wipe, Micros)>,
    /// The height at which the guard repeated another vote than the engine asked for.
    repeated: u64,
    /// The engine's log.
    pub(crate) log: File,
    /// The guard's file: synced before each signature leaves.
    pub(crate) guard: Vec<u8>,
    pub(crate) store: Store,
    pub(crate) run: Option<Box<Run>>,
}

/// A node's process.
pub(crate) struct Run {
    /// Away while it works.
    core: Option<State<Lucid>>,
    metrics: Rc<Metrics>,
    log: Log<Handle>,
    log_height: Option<u64>,
    started: bool,
    recovering: bool,
    validator: bool,
    timers: BTreeMap<(u8, i64), u64>,
    generation: u64,
    waiting: VecDeque<(usize, Rc<Message>)>,
    /// When the height began.
    begun: Micros,
    pub(crate) guard: History,
    pub(crate) host: Host,
}

impl Run {
    pub(crate) const fn is_started(&self) -> bool {
        self.started
    }

    /// The engine's height, while it has not decided it.
    pub(crate) fn undecided_height(&self) -> Option<u64> {
        let core = self.core.as_ref().filter(|_| self.started)?;
        (!core.driver.step_is_commit()).then_some(core.height().0.0)
    }
}

pub(crate) fn peer_id(node: usize) -> PeerId {
    // The shortest there is: a multihash of one byte that stands for itself.
    PeerId::from_bytes(&[0, 1, node as u8]).unwrap()
}

fn timer_key(timeout: &Timeout) -> (u8, i64) {
    let kind = match timeout.kind {
        TimeoutKind::Propose => 0,
        TimeoutKind::Prevote => 1,
        TimeoutKind::Precommit => 2,
        TimeoutKind::Rebroadcast => 3,
        TimeoutKind::FinalizeHeight(_) => 4,
    };
    (kind, timeout.round.as_i64())
}

impl Node {
    pub(crate) fn new(index: usize, plan: &Plan, rules: &Rules) -> Self {
        Self {
            id: node_id(index),
            key: node_key(index),
            mischief: plan.mischief[index],
            clock: plan.clocks[index],
            cost: plan.costs[index],
            busy_until: 0,
            inbox: VecDeque::new(),
            awake: false,
            epoch: 0,
            fuse: None,
            repeated: 0,
            log: File::default(),
            guard: borsh::to_vec(&History::default()).unwrap(),
            store: Store::new(rules),
            run: None,
        }
    }

    /// Where it stands, for a person.
    pub(crate) fn stand(&self) -> String {
        let core = self.run.as_ref().and_then(|run| run.core.as_ref());
        let core = core.map(|core| {
            let driver = &core.driver;
            format!("{}/{} {:?}", core.height(), core.round(), driver.step())
        });
        let host = self.run.as_ref().map(|run| run.host.stand());
        format!(
            "{:?}{} committed {}, engine {core:?}, {host:?}",
            self.id.0[0] - 1,
            if self.mischief.is_some() {
                " (byzantine)"
            } else {
                ""
            },
            self.store.state.height,
        )
    }
}

impl World {
    pub(crate) fn running(&mut self, node: usize) -> &mut Run {
        self.nodes[node].run.as_mut().unwrap()
    }

    /// The node's process begins.
    pub(crate) fn start(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let log = match Log::<Handle>::open_with("wal", this.log.clone()) {
            Ok(log) => log,
            Err(_) => {
                // A header that is torn: the operator deletes the file.
                this.log.delete();
                Log::open_with("wal", this.log.clone()).unwrap()
            }
        };
        let mut guard: History = borsh::from_slice(&this.guard).unwrap();
        if self.plan.broken != Break::Lock {
            guard.inherit();
        }
        this.run = Some(Box::new(Run {
            core: None,
            metrics: Rc::default(),
            log,
            log_height: None,
            started: false,
            recovering: false,
            validator: false,
            timers: BTreeMap::new(),
            generation: 0,
            waiting: VecDeque::new(),
            begun: 0,
            guard,
            host: Host::new(&this.store.state),
        }));
        let wait = self.rng.range(10 * MS, 1_000 * MS);
        self.later(node, wait, Local::Ready);
        let wait = self.rng.below(STATUS_EVERY);
        self.later(node, wait, Local::Status);
        if self.nodes[node].mischief.is_some() {
            self.later(node, wait, Local::Mischief);
        }
    }

    /// A height begins: the engine's `StartHeight`.
    pub(crate) fn begin(&mut self, node: usize) -> Result<(), Stop> {
        let clock = self.now;
        let state = &self.nodes[node].store.state;
        let height = Height(lucid_chain_types::Height(state.height + 1));
        let set = ValidatorSet::new(state.set.clone(), &state.order).unwrap();
        let address = Address(self.nodes[node].id);
        let params = Params {
            address,
            threshold_params: self.thresholds(self.nodes.len()),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let run = self.running(node);
        run.host.begin(height.0.0, set.clone());
        run.begun = clock;
        run.validator = set.get_by_address(&address).is_some();
        if run.core.is_none() {
            run.core = Some(State::new(
                Lucid,
                height,
                set.clone(),
                params,
                QUEUED_HEIGHTS,
                QUEUED_PER_HEIGHT,
            ));
        }
        let entries = if run.validator {
            run.fetch(height.0.0)
        } else {
            run.log_height = Some(height.0.0);
            run.log.reset(height.0.0).unwrap();
            Vec::new()
        };
        let policy = VoteExtensionPolicy::Disabled;
        self.input(
            node,
            Input::StartHeight(height, set, false, Some(NEVER), policy),
        )?;
        if !entries.is_empty() {
            self.replay(node, entries)?;
        }
        let run = self.running(node);
        run.started = true;
        let waiting = std::mem::take(&mut run.waiting);
        for (from, message) in waiting {
            self.handle(node, from, &message)?;
        }
        self.feed(node)
    }

    fn thresholds(&self, validators: usize) -> ThresholdParams {
        let mut params = ThresholdParams::default();
        if matches!(self.plan.broken, Break::Quorum | Break::QuorumUnseen) {
            // More than quorum − 2 votes: one too few.
            let quorum = params.quorum.min_expected(validators as u64);
            params.quorum = ThresholdParam::new(quorum - 2, validators as u64);
        }
        params
    }

    fn replay(
        &mut self,
        node: usize,
        entries: Vec<Result<Input<Lucid>, String>>,
    ) -> Result<(), Stop> {
        let id = self.nodes[node].id;
        let late = self.plan.late_memory;
        let run = self.running(node);
        run.recovering = true;
        if let Some(core) = &mut run.core {
            let good = || entries.iter().filter_map(|entry| entry.as_ref().ok());
            core.record_recovered_own_precommit_extensions(good());
            core.index_wal_entries(good());
        }
        let mut own = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Stop::Hang)?;
            if let Input::Vote(vote) = &entry
                && vote.message.address.0 == id
            {
                let vote = vote.message.to_chain();
                if late {
                    own.push(vote);
                } else {
                    self.running(node).guard.remembers(&vote);
                }
            }
            match self.input(node, entry) {
                Ok(()) => {}
                Err(Stop::Error(error)) => {
                    // A vote that the guard repeated is in the log in place of the one that follows from the log.
                    let this = &self.nodes[node];
                    if this.mischief.is_none() && this.repeated != this.store.state.height + 1 {
                        let what = format!("node {node} cannot replay its log: {error}");
                        self.checker.fail(Rule::Engine, what);
                    }
                    return Err(Stop::Hang(error));
                }
                Err(stop) => return Err(stop),
            }
        }
        let run = self.running(node);
        for vote in own {
            run.guard.remembers(&vote);
        }
        if let Some(core) = &mut run.core {
            core.reset_entries_index();
        }
        run.recovering = false;
        Ok(())
    }

    /// A message arrived.
    pub(crate) fn receive(
        &mut self,
        node: usize,
        from: usize,
        message: &Rc<Message>,
    ) -> Result<(), Stop> {
        if self.nodes[node].mischief.is_some() {
            self.tempt(node, from, message);
        }
        self.watch(node, from, message)?;
        if matches!(
            **message,
            Message::Status(_) | Message::Ask(..) | Message::Answer(_) | Message::Transaction(_)
        ) {
            return self.exchange(node, from, message);
        }
        let run = self.running(node);
        if run.started {
            return self.handle(node, from, message);
        }
        if run.waiting.len() < WAITING {
            run.waiting.push_back((from, Rc::clone(message)));
        }
        Ok(())
    }

    /// A message for the engine, which runs.
    fn handle(&mut self, node: usize, from: usize, message: &Message) -> Result<(), Stop> {
        match message {
            Message::Vote(vote) => self.input(node, Input::Vote(vote.clone())),
            Message::Proposal(proposal) => self.input(node, Input::Proposal(proposal.clone())),
            Message::Polka(certificate) => {
                self.input(node, Input::PolkaCertificate(certificate.clone()))
            }
            Message::Round(certificate) => {
                self.input(node, Input::RoundCertificate(certificate.clone()))
            }
            Message::Body { signed, packed } => self.body(node, from, signed, packed),
            _ => Ok(()),
        }
    }

    /// Something inside the node is due.
    pub(crate) fn local(&mut self, node: usize, what: Local) -> Result<(), Stop> {
        match what {
            Local::Timer(timeout, generation) => {
                let run = self.running(node);
                let key = timer_key(&timeout);
                if run.timers.get(&key) != Some(&generation) {
                    return Ok(());
                }
                run.timers.remove(&key);
                self.input(node, Input::TimeoutElapsed(timeout))
            }
            Local::Proposed(value) => self.input(node, Input::Propose(value)),
            Local::Value(value, origin) => self.input(node, Input::ProposedValue(value, origin)),
            other => self.host(node, other),
        }
    }

    pub(crate) fn input(&mut self, node: usize, input: Input<Lucid>) -> Result<(), Stop> {
        let metrics = Rc::clone(&self.running(node).metrics);
        let Some(mut core) = self.running(node).core.take() else {
            return Ok(());
        };
        let result: Result<(), Error<Lucid>> = malachite_core::process!(
            input: input,
            state: &mut core,
            metrics: &metrics,
            with: effect => match self.effect(node, effect) {
                Ok(resume) => Ok::<_, Infallible>(resume),
                Err(stop) => return Err(stop),
            }
        );
        self.running(node).core = Some(core);
        result.map_err(|error| Stop::Error(error.to_string()))
    }

    // The order of what is synced and what leaves is that of the engine's actor.
    fn effect(&mut self, node: usize, effect: Effect<Lucid>) -> Result<Resume<Lucid>, Stop> {
        if let Some((left, ..)) = &mut self.nodes[node].fuse {
            if *left == 0 {
                return Err(Stop::Crash);
            }
            *left -= 1;
        }
        let verifier = Rc::clone(&self.verifier);
        Ok(match effect {
            Effect::CancelAllTimeouts(r) => {
                self.running(node).timers.clear();
                r.resume_with(())
            }
            Effect::CancelTimeout(timeout, r) => {
                self.running(node).timers.remove(&timer_key(&timeout));
                r.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, r) => {
                self.set_timer(node, timeout);
                r.resume_with(())
            }
            Effect::StartRound(height, round, _, _, r) => {
                self.running(node).flush();
                self.started_round(node, height.0.0, round.as_u32().unwrap_or(0));
                r.resume_with(())
            }
            Effect::PublishConsensusMsg(message, r) => {
                self.running(node).flush();
                match message {
                    SignedConsensusMsg::Vote(vote) => self.publish_vote(node, vote),
                    SignedConsensusMsg::Proposal(proposal) => self.publish_proposal(node, proposal),
                }
                r.resume_with(())
            }
            Effect::PublishLivenessMsg(message, r) => {
                match message {
                    LivenessMsg::Vote(vote) => self.publish_vote(node, vote),
                    LivenessMsg::PolkaCertificate(it) => self.publish(node, Message::Polka(it)),
                    LivenessMsg::SkipRoundCertificate(it) => self.publish(node, Message::Round(it)),
                }
                r.resume_with(())
            }
            Effect::RepublishVote(vote, r) => {
                self.publish_vote(node, vote);
                r.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, r) => {
                self.publish(node, Message::Round(certificate));
                r.resume_with(())
            }
            Effect::GetValue(height, round, _, r) => {
                let wait = self.rng.range(MS, 30 * MS);
                let round = round.as_u32().unwrap_or(0);
                self.later(node, wait, Local::Propose(height.0.0, round));
                r.resume_with(())
            }
            Effect::RestreamProposal(height, round, valid_round, address, block, r) => {
                let proposal = ChainProposal {
                    height: height.0,
                    round: round.as_u32().unwrap_or(0),
                    block,
                    valid_round: valid_round.as_u32(),
                    proposer: address.0,
                };
                self.later(node, MS, Local::Restream(proposal));
                r.resume_with(())
            }
            Effect::CertVerifiedSyncValue(value, proposer, r) => {
                let peer = value
                    .peer
                    .to_bytes()
                    .last()
                    .map_or(0, |last| usize::from(*last));
                let synced = Synced {
                    peer,
                    height: value.certificate.height,
                    round: value.certificate.round,
                    proposer,
                    id: value.certificate.value_id,
                    packed: value.value_bytes,
                };
                let wait = self.rng.range(MS, 20 * MS);
                self.later(node, wait, Local::Synced(Box::new(synced)));
                r.resume_with(())
            }
            Effect::CertRejectedSyncValue(peer, _, _, r) => {
                let peer = peer.to_bytes().last().map_or(0, |last| usize::from(*last));
                self.blame(node, peer);
                r.resume_with(())
            }
            Effect::Decide(certificate, _, r) => {
                self.running(node).flush();
                self.decided(node, &certificate);
                r.resume_with(())
            }
            Effect::Finalize(certificate, _, evidence, r) => {
                self.finalized(node, &certificate, evidence);
                r.resume_with(())
            }
            Effect::SignVote(vote, r) => r.resume_with(self.sign_vote(node, vote)),
            Effect::SignProposal(proposal, r) => {
                let signed = self.sign_proposal(node, proposal.to_chain());
                r.resume_with(SignedMessage::new(
                    Proposal::from_chain(&signed.proposal),
                    signed.signature,
                ))
            }
            Effect::VerifySignature(message, key, r) => {
                let valid = match &message.message {
                    ConsensusMsg::Vote(vote) => verifier.vote(vote, &message.signature, key),
                    ConsensusMsg::Proposal(it) => verifier.proposal(it, &message.signature, key),
                };
                r.resume_with(valid)
            }
            Effect::VerifyCommitCertificate(certificate, set, thresholds, r) => {
                let check =
                    verifier.verify_commit_certificate(&Lucid, &certificate, &set, thresholds);
                r.resume_with(now(check))
            }
            Effect::VerifyExtendedCommitCertificate(certificate, set, thresholds, policy, r) => {
                let check = verifier.verify_extended_commit_certificate(
                    &Lucid,
                    &certificate,
                    &set,
                    thresholds,
                    policy,
                );
                let result = now(check);
                r.resume_with(if self.plan.broken == Break::Sync {
                    Ok(())
                } else {
                    result
                })
            }
            Effect::VerifyPolkaCertificate(certificate, set, thresholds, r) => {
                let check =
                    verifier.verify_polka_certificate(&Lucid, &certificate, &set, thresholds);
                r.resume_with(now(check))
            }
            Effect::VerifyRoundCertificate(certificate, set, thresholds, r) => {
                let check =
                    verifier.verify_round_certificate(&Lucid, &certificate, &set, thresholds);
                r.resume_with(now(check))
            }
            Effect::WalAppend(height, entry, r) => {
                self.running(node).append(height.0.0, entry);
                r.resume_with(())
            }
            Effect::ExtendVote(_, _, _, _, r) => r.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, r) => r.resume_with(Err(
                malachite_core::VoteExtensionError::InvalidVoteExtension,
            )),
        })
    }

    fn set_timer(&mut self, node: usize, timeout: Timeout) {
        let pace = self.plan.pace;
        let (_, rate) = self.nodes[node].clock;
        let clock = self.now;
        let run = self.running(node);
        let (timeout, wait) = match timeout.kind {
            TimeoutKind::FinalizeHeight(_) => {
                let target = target_time(&pace).as_micros() as u64;
                let timeout = Timeout::finalize_height(timeout.round, Duration::ZERO);
                (timeout, target.saturating_sub(clock - run.begun))
            }
            _ => (
                timeout,
                timeouts(&pace).duration_for(timeout).as_micros() as u64,
            ),
        };
        run.generation += 1;
        let generation = run.generation;
        run.timers.insert(timer_key(&timeout), generation);
        self.later(
            node,
            wait * rate / 1_000_000,
            Local::Timer(timeout, generation),
        );
    }

    fn sign_vote(&mut self, node: usize, vote: Vote) -> SignedMessage<Lucid, Vote> {
        let vote = vote.to_chain();
        let signed = match self.sign(node, Signable::Vote(vote)) {
            Some(Signed::Vote(signed)) => signed,
            _ => lucid_chain_types::SignedVote {
                vote,
                signature: ABSTAIN,
            },
        };
        SignedMessage::new(Vote::from_chain(&signed.vote), signed.signature)
    }

    pub(crate) fn sign_proposal(&mut self, node: usize, proposal: ChainProposal) -> SignedProposal {
        match self.sign(node, Signable::Proposal(proposal)) {
            Some(Signed::Proposal(signed)) => signed,
            _ => SignedProposal {
                proposal,
                signature: ABSTAIN,
            },
        }
    }

    /// As the guarded signer does it: decide, record, sync, and only then let the signature out.
    fn sign(&mut self, node: usize, message: Signable) -> Option<Signed> {
        let this = &mut self.nodes[node];
        let sign = |key: &Key| match message {
            Signable::Vote(vote) => Signed::Vote(key.vote(vote)),
            Signable::Proposal(proposal) => Signed::Proposal(key.proposal(proposal)),
        };
        if this.mischief.is_some() {
            return Some(sign(&this.key));
        }
        let run = this.run.as_mut()?;
        let signed = if self.plan.broken == Break::Guard {
            sign(&this.key)
        } else {
            match run.guard.ask(&message) {
                Answer::Sign => {
                    let signed = sign(&this.key);
                    run.guard.record(signed);
                    this.guard = borsh::to_vec(&run.guard).unwrap();
                    signed
                }
                Answer::Repeat(earlier) => {
                    if earlier.message() != message {
                        self.report.repeats += 1;
                        this.repeated = message.height().0;
                    }
                    earlier
                }
                Answer::Refuse(refusal) => {
                    let clock = self.now;
                    self.trace.add(&[clock, 96, node as u64], || {
                        format!("{:>10} {node} must not sign: {refusal}", clock / MS)
                    });
                    if let Some(nothing) = refusal.instead(&message) {
                        this.repeated = message.height().0;
                        return self.sign(node, nothing);
                    }
                    self.report.refusals += 1;
                    return None;
                }
            }
        };
        self.checker.signed(node, signed.message());
        Some(signed)
    }
}

impl Run {
    /// The engine's `wal_fetch`: what is in the log of this height, which is reset if it is of another.
    fn fetch(&mut self, height: u64) -> Vec<Result<Input<Lucid>, String>> {
        if self.log_height.replace(height) == Some(height) {
            return Vec::new();
        }
        if self.log.sequence() != height {
            self.log.reset(height).unwrap();
            return Vec::new();
        }
        let mut entries = Vec::new();
        let mut broken = None;
        if !self.log.is_empty() {
            for (index, bytes) in self.log.iter().unwrap().enumerate() {
                let entry = bytes.and_then(|bytes| {
                    decode_entry(&Borsh, bytes.as_slice())
                        .map_err(|error| std::io::Error::other(format!("decode: {error}")))
                });
                match entry {
                    Ok(entry) => entries.push(Ok(entry)),
                    Err(error) => {
                        let text = error.to_string();
                        if !text.starts_with("decode") {
                            broken = Some(index);
                        }
                        entries.push(Err(text));
                        if broken.is_some() {
                            break;
                        }
                    }
                }
            }
        }
        if let Some(index) = broken {
            self.log.truncate(index as u64).unwrap();
        }
        entries
    }

    fn append(&mut self, height: u64, entry: Input<Lucid>) {
        if self.recovering || !self.validator || self.log_height != Some(height) {
            return;
        }
        let mut bytes = Vec::new();
        encode_entry(entry, &Borsh, &mut bytes).unwrap();
        self.log.append(&bytes).unwrap();
    }

    fn flush(&mut self) {
        if !self.recovering && self.validator {
            self.log.flush().unwrap();
        }
    }
}

//! Between the engine and the app: what `src/host.rs` and the node do, without actors.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use lucid_chain_types::{
    Block, BlockId, Certificate, Evidence, Proposal as ChainProposal, Signature, SignedProposal,
    SignedVote, SignerBitmap,
};
use lucid_consensus::context::{
    Address, Height, Lucid, Proposal, ValidatorSet, Value, Vote, optional_round,
};
use lucid_consensus::pack::{pack, unpack};
use lucid_consensus::signing::ABSTAIN;
use malachite_core::{Input, LocallyProposedValue, MisbehaviorEvidence, ProposedValue};
use malachite_types::{
    CommitCertificate, ExtendedCommitCertificate, ExtendedCommitSignature, Round, SignedMessage,
    ValidatorSet as _, Validity, ValueOrigin, ValueResponse,
};

use super::app::{Contents, Rules, State};
use super::checker::Rule;
use super::node::{Local, STATUS_EVERY, Stop, Synced, peer_id};
use super::plan::{Break, MS, Micros, SECOND};
use super::world::{Message, World};

/// As in `src/host.rs`.
const ROUNDS_AHEAD: u32 = 10;
const BLOCKS_PER_ROUND: usize = 2;
const PLAUSIBLE_LEAD: u64 = 8;
/// Blocks in one answer.
const BATCH: u64 = 8;
/// How long an answer is waited for, and a liar not asked again.
const ANSWER: Micros = 4 * SECOND;
const GRUDGE: Micros = 20 * SECOND;
/// Longest time the app takes to commit; an event after a decision comes later.
const COMMIT: Micros = 15 * MS;

/// A stored proposal.
#[derive(Clone)]
struct Undecided {
    height: u64,
    round: u32,
    proposal: ChainProposal,
}

/// What the app has on disk.
pub(crate) struct Store {
    pub(crate) state: State,
    pub(crate) chain: Vec<(Certificate, Block)>,
    bodies: BTreeMap<BlockId, Block>,
    undecided: Vec<Undecided>,
    pub(crate) pool: BTreeSet<u64>,
}

impl Store {
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            state: rules.genesis(),
            chain: Vec::new(),
            bodies: BTreeMap::new(),
            undecided: Vec::new(),
            pool: BTreeSet::new(),
        }
    }

    pub(crate) fn clear(&mut self, rules: &Rules) {
        *self = Self::new(rules);
    }

    pub(crate) fn forget_bodies(&mut self) {
        self.bodies.clear();
        self.undecided.clear();
    }

    fn keep(&mut self, block: &Block, proposal: ChainProposal) {
        self.insert(block);
        self.undecided.push(Undecided {
            height: proposal.height.0,
            round: proposal.round,
            proposal,
        });
    }

    pub(crate) fn insert(&mut self, block: &Block) {
        self.bodies.insert(block.id(), block.clone());
    }

    pub(crate) fn body(&self, id: BlockId) -> Option<&Block> {
        self.bodies.get(&id)
    }

    fn has_work(&self) -> bool {
        self.pool.iter().any(|it| !self.state.has(*it))
    }
}

/// What the host has in memory.
pub(crate) struct Host {
    /// The height that runs, or the last one.
    height: u64,
    set: ValidatorSet,
    round: u32,
    holding: bool,
    told: bool,
    seen: u64,
    tips: BTreeMap<usize, u64>,
    early: Vec<(SignedProposal, Bytes)>,
    proposals: BTreeMap<(u32, BlockId), SignedProposal>,
    found: Vec<Evidence>,
    asked: Option<(usize, Micros)>,
    answers: BTreeMap<u64, (usize, Certificate, Bytes)>,
    blamed: BTreeMap<usize, Micros>,
}

impl Host {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            height: state.height,
            set: ValidatorSet::new(state.set.clone(), &state.order).unwrap(),
            round: 0,
            holding: false,
            told: false,
            seen: 0,
            tips: BTreeMap::new(),
            early: Vec::new(),
            proposals: BTreeMap::new(),
            found: Vec::new(),
            asked: None,
            answers: BTreeMap::new(),
            blamed: BTreeMap::new(),
        }
    }

    pub(crate) fn begin(&mut self, height: u64, set: ValidatorSet) {
        self.height = height;
        self.set = set;
        self.round = 0;
        self.holding = false;
        self.proposals.clear();
        self.early
            .retain(|(signed, _)| signed.proposal.height.0 >= height);
    }

    pub(crate) fn stand(&self) -> String {
        format!(
            "host {} holding {} seen {} tips {:?} answers {:?}",
            self.height,
            self.holding,
            self.seen,
            self.tips.values().collect::<Vec<_>>(),
            self.answers.keys().collect::<Vec<_>>()
        )
    }
}

impl World {
    fn host_of(&mut self, node: usize) -> &mut Host {
        &mut self.running(node).host
    }

    /// An event of the host or the app.
    pub(crate) fn host(&mut self, node: usize, what: Local) -> Result<(), Stop> {
        match what {
            Local::Ready => self.hold(node),
            Local::Propose(height, round) => self.propose(node, height, round),
            Local::Restream(proposal) => self.restream(node, proposal),
            Local::Judge(signed, packed) => self.judge(node, signed, &packed),
            Local::Synced(synced) => self.synced(node, *synced),
            Local::Commit(certificate) => self.commit(node, certificate),
            Local::Finalized(certificate, evidence) => {
                let store = &mut self.nodes[node].store;
                if let Some((last, _)) = store.chain.last_mut()
                    && last.height == certificate.height
                {
                    *last = certificate;
                }
                self.host_of(node).found.extend(evidence);
                self.hold(node)
            }
            Local::Status => {
                let tip = self.nodes[node].store.state.height;
                self.publish(node, Message::Status(tip));
                self.later(node, STATUS_EVERY, Local::Status);
                Ok(())
            }
            Local::Mischief => {
                self.mischief(node);
                Ok(())
            }
            Local::Timer(..) | Local::Proposed(_) | Local::Value(..) => Ok(()),
        }
    }

    // --- when a height begins ---

    fn hold(&mut self, node: usize) -> Result<(), Stop> {
        let host = self.host_of(node);
        host.holding = true;
        host.told = false;
        self.remind(node)?;
        self.begin_if_due(node)
    }

    /// Others may have gone on.
    fn remind(&mut self, node: usize) -> Result<(), Stop> {
        let host = self.host_of(node);
        let ahead = host.seen > host.height || host.tips.values().any(|tip| *tip > host.height);
        if !host.holding || host.told || !ahead {
            return Ok(());
        }
        host.told = true;
        self.begin_if_due(node)
    }

    fn begin_if_due(&mut self, node: usize) -> Result<(), Stop> {
        let work = !self.plan.idle || self.nodes[node].store.has_work();
        let host = self.host_of(node);
        if host.holding && (work || host.told) {
            self.begin(node)?;
        }
        Ok(())
    }

    fn saw(&mut self, node: usize, height: u64) -> Result<(), Stop> {
        let host = self.host_of(node);
        host.seen = host.seen.max(height.min(host.height + PLAUSIBLE_LEAD));
        self.remind(node)
    }

    /// Listens to the network beside the engine.
    pub(crate) fn watch(
        &mut self,
        node: usize,
        from: usize,
        message: &Message,
    ) -> Result<(), Stop> {
        match message {
            Message::Vote(vote) => {
                let verifier = Rc::clone(&self.verifier);
                let host = self.host_of(node);
                let height = vote.message.height.0.0;
                let early = height > host.height
                    && height > host.seen
                    && host
                        .set
                        .get_by_address(&vote.message.address)
                        .is_some_and(|it| verifier.vote(&vote.message, &vote.signature, it.key));
                if early {
                    self.saw(node, height)?;
                }
            }
            Message::Status(tip) => {
                let (own, sender) = (self.nodes[node].id, self.nodes[from].id);
                let host = self.host_of(node);
                let set = host.set.chain();
                if set.get(own).is_none() || set.get(sender).is_some() {
                    host.tips.insert(from, *tip);
                }
                self.remind(node)?;
            }
            _ => {}
        }
        Ok(())
    }

    // --- proposals ---

    pub(crate) fn started_round(&mut self, node: usize, height: u64, round: u32) {
        self.host_of(node).round = round;
        let undecided = self.nodes[node].store.undecided.clone();
        for it in undecided {
            if it.height == height && it.round == round {
                let value = proposed_value(&it.proposal, true);
                self.later(node, MS, Local::Value(value, ValueOrigin::Consensus));
            }
        }
        // Now the leader of early proposals is known.
        let host = self.host_of(node);
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut host.early)
            .into_iter()
            .partition(|(signed, _)| signed.proposal.height.0 == height);
        host.early = later;
        for (signed, packed) in due {
            if self.accepts(node, &signed) {
                self.execute(node, signed, packed);
            }
        }
    }

    fn accepts(&mut self, node: usize, signed: &SignedProposal) -> bool {
        let verifier = Rc::clone(&self.verifier);
        let host = self.host_of(node);
        let proposal = &signed.proposal;
        let height = proposal.height.0;
        let validator = if height == host.height {
            let known = host
                .proposals
                .contains_key(&(proposal.round, proposal.block));
            if host.holding || proposal.round > host.round.saturating_add(ROUNDS_AHEAD) || known {
                return false;
            }
            let leader = host.set.leader(Round::new(proposal.round));
            (leader.address.0 == proposal.proposer).then_some(leader)
        } else if height == host.height + 1 && proposal.round <= ROUNDS_AHEAD {
            host.set.get_by_address(&Address(proposal.proposer))
        } else {
            None
        };
        validator.is_some_and(|validator| {
            let proposal = Proposal::from_chain(proposal);
            verifier.proposal(&proposal, &signed.signature, validator.key)
        })
    }

    fn execute(&mut self, node: usize, signed: SignedProposal, packed: Bytes) {
        let wait = self.rng.range(MS, 25 * MS);
        self.later(node, wait, Local::Judge(signed, packed));
    }

    /// A proposal's parts are complete.
    pub(crate) fn body(
        &mut self,
        node: usize,
        _from: usize,
        signed: &SignedProposal,
        packed: &Bytes,
    ) -> Result<(), Stop> {
        if !self.accepts(node, signed) {
            return Ok(());
        }
        let host = self.host_of(node);
        let height = signed.proposal.height.0;
        if height <= host.height {
            self.execute(node, *signed, packed.clone());
            return Ok(());
        }
        let proposer = signed.proposal.proposer;
        if !host
            .early
            .iter()
            .any(|(it, _)| it.proposal.proposer == proposer)
        {
            host.early.push((*signed, packed.clone()));
        }
        self.saw(node, height)
    }

    fn judge(&mut self, node: usize, signed: SignedProposal, packed: &Bytes) -> Result<(), Stop> {
        let proposal = signed.proposal;
        let Some(block) = unpacked(packed).filter(|block| block.id() == proposal.block) else {
            return Ok(());
        };
        let host = self.host_of(node);
        let of_round = host
            .proposals
            .keys()
            .filter(|(round, _)| *round == proposal.round);
        if host.height != proposal.height.0 || of_round.count() >= BLOCKS_PER_ROUND {
            return Ok(());
        }
        let place = (proposal.round, proposal.block);
        if host.proposals.insert(place, signed).is_some() {
            return Ok(());
        }
        // As the node's driver: a new block says in which round it was made, an old one that it was accepted since.
        let made = block.header.round;
        let timely = proposal
            .valid_round
            .map_or(made == proposal.round, |valid_round| made <= valid_round);
        let valid = timely && self.is_valid(node, &block);
        if valid {
            self.nodes[node].store.keep(&block, proposal);
        }
        let wait = self.rng.range(100, 3 * MS);
        let value = proposed_value(&proposal, valid);
        self.later(node, wait, Local::Value(value, ValueOrigin::Consensus));
        Ok(())
    }

    fn is_valid(&self, node: usize, block: &Block) -> bool {
        let state = &self.nodes[node].store.state;
        self.plan.broken == Break::Validity
            || self.rules.check(state, block, &self.verifier).is_ok()
    }

    /// The block that this node would propose.
    pub(crate) fn build(&mut self, node: usize, round: u32, transactions: Vec<u64>) -> Block {
        let evidence = self.host_of(node).found.clone();
        let this = &self.nodes[node];
        let (ahead, rate) = this.clock;
        let contents = Contents {
            round,
            proposer: this.id,
            clock_ms: ahead + self.now / 1_000 * 1_000_000 / rate,
            last_commit: this
                .store
                .chain
                .last()
                .map(|(certificate, _)| certificate.clone()),
            evidence,
            transactions,
        };
        let block = self.rules.build(&this.store.state, contents);
        self.checker.built(&block);
        block
    }

    fn propose(&mut self, node: usize, height: u64, round: u32) -> Result<(), Stop> {
        if self.nodes[node].store.state.height + 1 != height || self.host_of(node).holding {
            return Ok(());
        }
        if self.nodes[node].mischief.is_some() && self.scheme(node, height, round) {
            return Ok(());
        }
        let known = self
            .running(node)
            .guard
            .proposed(lucid_chain_types::Height(height), round);
        let (signed, block) = if let Some(signed) = known {
            let Some(block) = self.nodes[node].store.body(signed.proposal.block) else {
                return Ok(());
            };
            (signed, block.clone())
        } else {
            let transactions = self.nodes[node].store.pool.iter().copied().collect();
            let block = self.build(node, round, transactions);
            let proposal = ChainProposal {
                height: lucid_chain_types::Height(height),
                round,
                block: block.id(),
                valid_round: None,
                proposer: self.nodes[node].id,
            };
            self.nodes[node].store.keep(&block, proposal);
            let signed = self.sign_proposal(node, proposal);
            if signed.signature == ABSTAIN {
                return Ok(());
            }
            (signed, block)
        };
        let place = (round, block.id());
        self.host_of(node).proposals.insert(place, signed);
        self.send_body(node, signed, &block);
        let value = LocallyProposedValue::new(
            Height(lucid_chain_types::Height(height)),
            Round::new(round),
            Value(block.id()),
        );
        self.later(node, 100, Local::Proposed(value));
        Ok(())
    }

    fn restream(&mut self, node: usize, proposal: ChainProposal) -> Result<(), Stop> {
        let signed = if proposal.proposer == self.nodes[node].id {
            Some(self.sign_proposal(node, proposal))
        } else {
            let place = (proposal.round, proposal.block);
            self.host_of(node).proposals.get(&place).copied()
        };
        let Some(signed) = signed.filter(|signed| signed.signature != ABSTAIN) else {
            return Ok(());
        };
        if let Some(block) = self.nodes[node].store.body(proposal.block).cloned() {
            let place = (proposal.round, proposal.block);
            self.host_of(node).proposals.insert(place, signed);
            self.send_body(node, signed, &block);
        }
        Ok(())
    }

    pub(crate) fn send_body(&mut self, node: usize, signed: SignedProposal, block: &Block) {
        self.checker.proposed(&signed.proposal);
        let packed = pack(&block.encode()).unwrap();
        self.publish(node, Message::Body { signed, packed });
    }

    // --- messages that the engine publishes ---

    pub(crate) fn publish(&mut self, node: usize, message: Message) {
        if self.nodes[node].mischief.is_some() {
            self.tamper(node, message);
        } else {
            self.send_all(node, message);
        }
    }

    pub(crate) fn publish_vote(&mut self, node: usize, vote: SignedMessage<Lucid, Vote>) {
        if vote.signature != ABSTAIN {
            self.publish(node, Message::Vote(vote));
        }
    }

    pub(crate) fn publish_proposal(
        &mut self,
        node: usize,
        proposal: SignedMessage<Lucid, Proposal>,
    ) {
        if proposal.signature != ABSTAIN {
            self.checker.proposed(&proposal.message.to_chain());
            self.publish(node, Message::Proposal(proposal));
        }
    }

    // --- decisions ---

    fn certificate(
        &mut self,
        node: usize,
        certificate: &CommitCertificate<Lucid>,
    ) -> Option<Certificate> {
        let host = self.host_of(node);
        let set = host.set.chain();
        let signatures: BTreeMap<usize, Signature> = certificate
            .commit_signatures
            .iter()
            .filter_map(|it| Some((set.index_of(it.address.0)?, it.signature)))
            .collect();
        (host.height == certificate.height.0.0).then(|| Certificate {
            height: certificate.height.0,
            round: certificate.round.as_u32().unwrap_or(0),
            block: certificate.value_id,
            signers: SignerBitmap::new(set.len(), signatures.keys().copied()),
            signatures: signatures.into_values().collect(),
        })
    }

    pub(crate) fn decided(&mut self, node: usize, certificate: &CommitCertificate<Lucid>) {
        let Some(certificate) = self.certificate(node, certificate) else {
            let what = format!("node {node} decided height {}", certificate.height);
            return self.checker.fail(Rule::Engine, what);
        };
        let (clock, block) = (self.now, certificate.block);
        self.trace
            .add(&[clock, 95, node as u64, certificate.height.0], || {
                format!(
                    "{:>10} {node} decides {}/{} {block}",
                    clock / MS,
                    certificate.height,
                    certificate.round
                )
            });
        if self.nodes[node].mischief.is_none() {
            let (rules, verifier) = (Rc::clone(&self.rules), Rc::clone(&self.verifier));
            self.checker.decision(node, &certificate, &rules, &verifier);
        }
        let wait = self.rng.range(MS, COMMIT);
        self.later(node, wait, Local::Commit(certificate));
    }

    pub(crate) fn finalized(
        &mut self,
        node: usize,
        certificate: &CommitCertificate<Lucid>,
        found: MisbehaviorEvidence<Lucid>,
    ) {
        let Some(certificate) = self.certificate(node, certificate) else {
            return;
        };
        let found = evidence(found);
        if self.nodes[node].mischief.is_none() {
            let (rules, verifier) = (Rc::clone(&self.rules), Rc::clone(&self.verifier));
            for evidence in &found {
                let honest = self.nodes[usize::from(evidence.offender().0[0]) - 1]
                    .mischief
                    .is_none();
                self.checker
                    .evidence(node, evidence, honest, &rules, &verifier);
            }
            self.checker.decision(node, &certificate, &rules, &verifier);
        }
        self.later(node, COMMIT + MS, Local::Finalized(certificate, found));
    }

    fn commit(&mut self, node: usize, certificate: Certificate) -> Result<(), Stop> {
        let rules = Rc::clone(&self.rules);
        let store = &mut self.nodes[node].store;
        let height = certificate.height.0;
        let body = store.bodies.get(&certificate.block).cloned();
        let next = store.state.height + 1 == height;
        let Some(block) = body.filter(|_| next) else {
            if self.nodes[node].mischief.is_none() {
                let block = certificate.block;
                let what = format!(
                    "node {node} decided {height}, but does not have {block} (in order: {next})"
                );
                self.checker.fail(Rule::Storage, what);
            }
            return Err(Stop::Crash);
        };
        store.state = rules.next(&store.state, &block);
        store.chain.push((certificate, block));
        store
            .bodies
            .retain(|_, block| block.header.height.0 > height);
        store.undecided.retain(|it| it.height > height);
        let state = &store.state;
        store.pool.retain(|it| !state.has(*it));
        self.host_of(node).answers.retain(|it, _| *it > height);
        Ok(())
    }

    // --- catching up ---

    pub(crate) fn exchange(
        &mut self,
        node: usize,
        from: usize,
        message: &Message,
    ) -> Result<(), Stop> {
        match message {
            Message::Transaction(number) => {
                if !self.nodes[node].store.state.has(*number) {
                    self.nodes[node].store.pool.insert(*number);
                }
                self.begin_if_due(node)
            }
            Message::Status(tip) => {
                let clock = self.now;
                let run = self.running(node);
                let Some(want) = run.undecided_height() else {
                    return Ok(());
                };
                let host = &mut run.host;
                let waits = host.asked.is_some_and(|(_, until)| clock < until);
                let blamed = host.blamed.get(&from).is_some_and(|until| clock < *until);
                if *tip < want || waits || blamed || host.answers.contains_key(&want) {
                    return Ok(());
                }
                host.asked = Some((from, clock + ANSWER));
                let to = (*tip).min(want + BATCH - 1);
                self.send(node, from, &Rc::new(Message::Ask(want, to)));
                Ok(())
            }
            Message::Ask(first, last) => {
                let chain = &self.nodes[node].store.chain;
                let blocks = chain
                    .iter()
                    .skip(first.saturating_sub(1) as usize)
                    .take_while(|(certificate, _)| certificate.height.0 <= *last)
                    .take(BATCH as usize);
                let blocks = blocks.map(|(certificate, block)| {
                    (certificate.clone(), pack(&block.encode()).unwrap())
                });
                let mut blocks: Vec<_> = blocks.collect();
                if self.nodes[node].mischief.is_some() {
                    self.lie(node, &mut blocks);
                }
                self.send(node, from, &Rc::new(Message::Answer(blocks)));
                Ok(())
            }
            Message::Answer(values) => {
                let host = self.host_of(node);
                if host.asked.is_none_or(|(peer, _)| peer != from) {
                    return Ok(());
                }
                host.asked = None;
                for (certificate, packed) in values {
                    let value = (from, certificate.clone(), packed.clone());
                    host.answers.entry(certificate.height.0).or_insert(value);
                }
                self.feed(node)
            }
            _ => Ok(()),
        }
    }

    /// Gives the engine a peer's value for its height.
    pub(crate) fn feed(&mut self, node: usize) -> Result<(), Stop> {
        let run = self.running(node);
        if !run.is_started() {
            return Ok(());
        }
        let Some(height) = run.undecided_height() else {
            return Ok(());
        };
        let Some((peer, certificate, packed)) = run.host.answers.remove(&height) else {
            return Ok(());
        };
        let set = self.rules.set(height);
        let signers = certificate.signers.signers().zip(&certificate.signatures);
        let commit_signatures = signers.filter_map(|(index, signature)| {
            let address = Address(set.list().get(index)?.node);
            Some(ExtendedCommitSignature::new(address, *signature, None))
        });
        let certificate = ExtendedCommitCertificate {
            height: Height(certificate.height),
            round: Round::new(certificate.round),
            value_id: certificate.block,
            commit_signatures: commit_signatures.collect(),
        };
        let response = ValueResponse::new(peer_id(peer), packed, certificate);
        self.input(node, Input::SyncValueResponse(response))
    }

    /// A peer lied.
    pub(crate) fn blame(&mut self, node: usize, peer: usize) {
        let until = self.now + GRUDGE;
        let host = self.host_of(node);
        host.blamed.insert(peer, until);
        host.answers.retain(|_, (from, ..)| *from != peer);
    }

    fn synced(&mut self, node: usize, synced: Synced) -> Result<(), Stop> {
        let block = unpacked(&synced.packed).filter(|block| block.id() == synced.id);
        let Some(block) = block else {
            self.blame(node, synced.peer);
            return Ok(());
        };
        if self.nodes[node].store.state.height + 1 != synced.height.0.0 {
            return Ok(());
        }
        let valid = self.is_valid(node, &block);
        if valid {
            self.report.synced += 1;
            self.nodes[node].store.insert(&block);
        }
        let value = ProposedValue {
            height: synced.height,
            round: synced.round,
            valid_round: Round::Nil,
            proposer: synced.proposer,
            value: Value(synced.id),
            validity: Validity::from_bool(valid),
        };
        self.later(node, MS, Local::Value(value, ValueOrigin::Sync));
        Ok(())
    }
}

fn unpacked(packed: &Bytes) -> Option<Block> {
    Block::decode(&unpack(packed).ok()?).ok()
}

fn proposed_value(proposal: &ChainProposal, valid: bool) -> ProposedValue<Lucid> {
    ProposedValue {
        height: Height(proposal.height),
        round: Round::new(proposal.round),
        valid_round: optional_round(proposal.valid_round),
        proposer: Address(proposal.proposer),
        value: Value(proposal.block),
        validity: Validity::from_bool(valid),
    }
}

fn evidence(found: MisbehaviorEvidence<Lucid>) -> Vec<Evidence> {
    let votes = found.votes.into_iter().flat_map(|(_, pairs)| pairs);
    let votes = votes.map(|(a, b)| {
        let [a, b] = [a, b].map(|signed| SignedVote {
            vote: signed.message.to_chain(),
            signature: signed.signature,
        });
        Evidence::votes(a, b)
    });
    let proposals = found.proposals.into_iter().flat_map(|(_, pairs)| pairs);
    let proposals = proposals.map(|(a, b)| {
        let [a, b] = [a, b].map(|signed| SignedProposal {
            proposal: signed.message.to_chain(),
            signature: signed.signature,
        });
        Evidence::proposals(a, b)
    });
    votes.chain(proposals).collect()
}

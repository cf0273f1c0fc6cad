//! What must never happen, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lucid_chain_types::{Block, BlockId, Certificate, Evidence, NodeId, VoteKind};
use lucid_consensus::guard::Message as Signable;

use super::app::{GENESIS, Rules, State};
use super::verifier::Verifier;

/// A rule that was broken. The names are for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Two honest nodes decided differently.
    Agreement,
    /// A decided block breaks a rule of the app, or the round's leader did not propose it.
    Validity,
    /// An honest node signed two things of which it may sign one.
    SignedTwice,
    /// A decision's certificate does not verify.
    Certificate,
    /// An honest node is accused, or the evidence does not verify.
    Evidence,
    /// A node decided a block that it does not have, or out of order.
    Storage,
    /// The engine gave up.
    Engine,
    /// No progress after healing.
    Liveness,
}

pub(crate) type Violation = (Rule, String);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Proposal,
    Prevote,
    Precommit,
}

pub(crate) struct Checker {
    /// Everything that was ever proposed.
    blocks: HashMap<BlockId, Block>,
    /// Proposals that were sent: height, round, block, leader.
    proposed: BTreeSet<(u64, u32, BlockId, NodeId)>,
    signed: BTreeMap<(usize, u64, u32, Place), Signable>,
    /// The state after each decided height; genesis is first.
    chain: Vec<State>,
    violation: Option<Violation>,
    pub(crate) accused: BTreeSet<(NodeId, u64)>,
    /// Highest round of a decision.
    pub(crate) rounds: u32,
}

impl Checker {
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            blocks: HashMap::new(),
            proposed: BTreeSet::new(),
            signed: BTreeMap::new(),
            chain: vec![rules.genesis()],
            violation: None,
            accused: BTreeSet::new(),
            rounds: 0,
        }
    }

    /// The first violation.
    pub(crate) fn take(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    pub(crate) const fn failed(&self) -> bool {
        self.violation.is_some()
    }

    pub(crate) fn fail(&mut self, rule: Rule, what: String) {
        self.violation.get_or_insert((rule, what));
    }

    pub(crate) fn height(&self) -> u64 {
        self.chain.len() as u64 - 1
    }

    pub(crate) fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(&id)
    }

    /// The decided block of a height.
    pub(crate) fn decided(&self, height: u64) -> Option<BlockId> {
        self.chain.get(height as usize).map(|state| state.id)
    }

    pub(crate) fn built(&mut self, block: &Block) {
        self.blocks
            .entry(block.id())
            .or_insert_with(|| block.clone());
    }

    pub(crate) fn proposed(&mut self, proposal: &lucid_chain_types::Proposal) {
        self.proposed.insert((
            proposal.height.0,
            proposal.round,
            proposal.block,
            proposal.proposer,
        ));
    }

    /// An honest node made a signature.
    pub(crate) fn signed(&mut self, node: usize, message: Signable) {
        let place = match message {
            Signable::Proposal(_) => Place::Proposal,
            Signable::Vote(vote) if vote.kind == VoteKind::Prevote => Place::Prevote,
            Signable::Vote(_) => Place::Precommit,
        };
        let place = (node, message.height().0, message.round(), place);
        let first = *self.signed.entry(place).or_insert(message);
        if first != message {
            let what = format!("node {node} signed {first:?} and then {message:?}");
            self.fail(Rule::SignedTwice, what);
        }
    }

    /// An honest node's engine decided.
    pub(crate) fn decision(
        &mut self,
        node: usize,
        certificate: &Certificate,
        rules: &Rules,
        verifier: &Verifier,
    ) {
        let height = certificate.height.0;
        let id = certificate.block;
        self.rounds = self.rounds.max(certificate.round);
        let parent = height
            .checked_sub(1)
            .and_then(|below| self.chain.get(below as usize));
        let Some(parent) = parent else {
            let what = format!("node {node} decided height {height} before the one below");
            return self.fail(Rule::Storage, what);
        };
        if let Some(decided) = self.decided(height)
            && decided != id
        {
            let what = format!("height {height}: node {node} decided {id}, another {decided}");
            return self.fail(Rule::Agreement, what);
        }
        let Some(block) = self.blocks.get(&id) else {
            let what = format!("height {height}: node {node} decided {id}, which nobody made");
            return self.fail(Rule::Validity, what);
        };
        let (round, leader) = (certificate.round, parent.leader(certificate.round));
        if block.header.round > round || !self.proposed.contains(&(height, round, id, leader)) {
            let what = format!(
                "height {height}: {id} was decided in round {round}, and its leader did not propose it"
            );
            return self.fail(Rule::Validity, what);
        }
        if self.decided(height).is_none() {
            if let Err(reason) = rules.check(parent, block, verifier) {
                let what =
                    format!("height {height}: node {node} decided a block with a wrong {reason}");
                return self.fail(Rule::Validity, what);
            }
            self.chain.push(rules.next(parent, block));
        }
        if !verifier.certificate(certificate, &rules.set(height)) {
            let error = certificate.verify(GENESIS, &rules.set(height));
            let what = format!("height {height}, node {node}: {error:?}");
            self.fail(Rule::Certificate, what);
        }
    }

    /// An honest node found evidence.
    pub(crate) fn evidence(
        &mut self,
        node: usize,
        evidence: &Evidence,
        honest: bool,
        rules: &Rules,
        verifier: &Verifier,
    ) {
        let height = evidence.height().0;
        let offender = evidence.offender();
        if honest {
            let what = format!("node {node} accuses {offender}, which is honest: {evidence:?}");
            self.fail(Rule::Evidence, what);
        }
        if !verifier.evidence(evidence, &rules.set(height)) {
            let error = evidence.verify(GENESIS, &rules.set(height));
            let what = format!("node {node}: {error:?} for {evidence:?}");
            self.fail(Rule::Evidence, what);
        }
        self.accused.insert((offender, height));
    }
}

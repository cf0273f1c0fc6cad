//! Nodes that lie. They run the engine to know what is going on, sign whatever helps, and work together: all split their victims alike.

use std::rc::Rc;

use bytes::Bytes;
use lucid_chain_types::{
    Block, BlockId, Certificate, Proposal as ChainProposal, SignedProposal, Vote as ChainVote,
    VoteKind, last_commit_hash, transactions_root,
};
use lucid_consensus::context::{Height, Lucid, Proposal, Value, Vote};
use lucid_consensus::pack::pack;
use lucid_consensus::signing::ABSTAIN;
use malachite_core::LocallyProposedValue;
use malachite_types::{
    PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType, SignedMessage,
};

use super::app::node_id;
use super::node::Local;
use super::plan::MS;
use super::rng::mix;
use super::world::{Message, World};

/// Messages that are kept for later.
const MEMORY: usize = 400;

/// What the Byzantine nodes know together.
#[derive(Default)]
pub(crate) struct Conspiracy {
    memory: Vec<Rc<Message>>,
    /// Blocks that were proposed: height, round, block.
    offers: Vec<(u64, u32, BlockId)>,
    /// Votes for everything: node, height, round, block.
    eager: Vec<(usize, u64, u32, BlockId)>,
}

impl Conspiracy {
    /// Both blocks of a round, or the one there is twice.
    fn rivals(&self, height: u64, round: u32) -> Option<[BlockId; 2]> {
        let mut of_round = self
            .offers
            .iter()
            .filter(|it| (it.0, it.1) == (height, round));
        let first = of_round.next()?.2;
        Some([first, of_round.next().map_or(first, |it| it.2)])
    }
}

impl World {
    /// Which of two stories a victim is told.
    fn side(&self, victim: usize, height: u64, round: u32) -> usize {
        let divide = self.plan.mischief.iter().flatten().any(|it| it.divide);
        if let Some(groups) = self.groups.as_ref().filter(|_| divide) {
            return usize::from(groups[victim] & 1);
        }
        let place = height.wrapping_mul(1_000).wrapping_add(round as u64);
        (mix(self.salt ^ place ^ ((victim as u64) << 48)) & 1) as usize
    }

    fn signed_vote(&self, node: usize, vote: ChainVote) -> Message {
        let signed = self.nodes[node].key.vote(vote);
        Message::Vote(SignedMessage::new(
            Vote::from_chain(&vote),
            signed.signature,
        ))
    }

    /// Sends what the engine publishes, or something else.
    pub(crate) fn tamper(&mut self, node: usize, message: Message) {
        let Some(mischief) = self.nodes[node].mischief else {
            return;
        };
        self.remember(&message);
        let vote = match &message {
            Message::Vote(vote) if mischief.double_vote => Some(vote.message.to_chain()),
            _ => None,
        };
        let split = match &message {
            Message::Proposal(it) if mischief.equivocate => {
                let proposal = it.message.to_chain();
                Some((proposal.height.0, proposal.round, proposal.block))
            }
            _ => None,
        };
        let message = Rc::new(message);
        for to in 0..self.nodes.len() {
            let quiet = mischief.silent && !mix(self.salt ^ to as u64).is_multiple_of(4);
            if to == node || quiet {
                continue;
            }
            if let Some(vote) = vote {
                let side = self.side(to, vote.height.0, vote.round);
                let rivals = self.conspiracy.rivals(vote.height.0, vote.round);
                let block = match (rivals, side) {
                    (Some([a, b]), _) if a != b => Some([a, b][side]),
                    (_, 0) => vote.block,
                    (Some([a, _]), _) if vote.block.is_none() => Some(a),
                    _ => None,
                };
                let other = self.signed_vote(node, ChainVote { block, ..vote });
                self.send(node, to, &Rc::new(other));
                if self.rng.chance(200) {
                    self.send(node, to, &message);
                }
                continue;
            }
            if let Some((height, round, block)) = split
                && let Some(rivals) = self.conspiracy.rivals(height, round)
                && rivals[0] != rivals[1]
                && rivals[self.side(to, height, round)] != block
            {
                continue;
            }
            self.send(node, to, &message);
        }
    }

    fn remember(&mut self, message: &Message) {
        if let Message::Body { signed, .. } = message {
            let offer = (
                signed.proposal.height.0,
                signed.proposal.round,
                signed.proposal.block,
            );
            if !self.conspiracy.offers.contains(&offer) {
                self.conspiracy.offers.push(offer);
            }
        }
        let memory = &mut self.conspiracy.memory;
        if memory.len() < MEMORY {
            memory.push(Rc::new(message.clone()));
        } else if self.rng.chance(300) {
            let at = self.rng.index(MEMORY);
            self.conspiracy.memory[at] = Rc::new(message.clone());
        }
    }

    /// A message arrived at a Byzantine node.
    pub(crate) fn tempt(&mut self, node: usize, _from: usize, message: &Rc<Message>) {
        let Some(mischief) = self.nodes[node].mischief else {
            return;
        };
        self.remember(message);
        let Message::Body { signed, .. } = &**message else {
            return;
        };
        let ChainProposal {
            height,
            round,
            block,
            ..
        } = signed.proposal;
        let done = (node, height.0, round, block);
        if !mischief.eager || self.conspiracy.eager.contains(&done) {
            return;
        }
        self.conspiracy.eager.push(done);
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            let voter = self.nodes[node].id;
            let vote = ChainVote {
                kind,
                height,
                round,
                block: Some(block),
                voter,
            };
            let vote = Rc::new(self.signed_vote(node, vote));
            for to in 0..self.nodes.len() {
                if to != node && self.rng.chance(700) {
                    self.send(node, to, &vote);
                }
            }
        }
    }

    /// A Byzantine leader proposes in its own way; false if it does not want to.
    pub(crate) fn scheme(&mut self, node: usize, height: u64, round: u32) -> bool {
        let Some(mischief) = self.nodes[node].mischief else {
            return false;
        };
        let id = self.nodes[node].id;
        let proposal = |block: &Block| ChainProposal {
            height: lucid_chain_types::Height(height),
            round,
            block: block.id(),
            valid_round: None,
            proposer: id,
        };
        let mut chosen: Option<Block> = None;
        if mischief.invalid && self.rng.chance(600) {
            let mut block = self.build(node, round, Vec::new());
            self.spoil(&mut block);
            self.checker.built(&block);
            chosen = Some(block);
        } else if mischief.equivocate && self.rng.chance(700) {
            let transactions: Vec<u64> = self.nodes[node].store.pool.iter().copied().collect();
            let first = self.build(node, round, transactions.clone());
            let mut more = transactions;
            more.push(u64::MAX - self.rng.below(1_000_000));
            let second = self.build(node, round, more);
            for block in [&first, &second] {
                let offer = (height, round, block.id());
                self.conspiracy.offers.push(offer);
            }
            // The message follows when the engine publishes it; here goes the other one's, and both bodies.
            let stories = [&first, &second].map(|block| {
                let signed = self.nodes[node].key.proposal(proposal(block));
                self.checker.proposed(&signed.proposal);
                let packed = pack(&block.encode()).unwrap();
                (signed, packed)
            });
            for to in 0..self.nodes.len() {
                if to == node {
                    continue;
                }
                let side = self.side(to, height, round);
                let both = self.rng.chance(150);
                for (story, (signed, packed)) in stories.iter().enumerate() {
                    if story == side || both {
                        self.tell(node, to, *signed, packed.clone());
                    }
                }
            }
            chosen = Some(first);
        }
        let Some(block) = chosen else {
            return false;
        };
        let signed = self.nodes[node].key.proposal(proposal(&block));
        self.nodes[node].store.insert(&block);
        if mischief.invalid {
            self.send_body(node, signed, &block);
        }
        let value = LocallyProposedValue::new(
            Height(lucid_chain_types::Height(height)),
            Round::new(round),
            Value(block.id()),
        );
        self.later(node, 100, Local::Proposed(value));
        true
    }

    fn tell(&mut self, node: usize, to: usize, signed: SignedProposal, packed: Bytes) {
        self.send(node, to, &Rc::new(Message::Body { signed, packed }));
        let message = SignedMessage::new(Proposal::from_chain(&signed.proposal), signed.signature);
        self.send(node, to, &Rc::new(Message::Proposal(message)));
    }

    /// Breaks one rule of the app.
    fn spoil(&mut self, block: &mut Block) {
        let wrong = alloy_primitives::B256::repeat_byte(0xee);
        match self.rng.below(8) {
            0 => block.header.parent = BlockId(wrong),
            1 => block.header.height.0 += 1,
            2 => block.header.state_root = wrong,
            3 => block.header.proposer = node_id(self.rng.index(self.nodes.len())),
            4 => block.header.time_ms = 0,
            5 => block.header.next_validators_hash = wrong,
            6 => {
                let one = self.checker.height().to_be_bytes().to_vec();
                block.body.transactions = vec![one.clone(), one];
                block.header.transactions_root = transactions_root(&block.body.transactions);
            }
            _ => {
                match &mut block.body.last_commit {
                    Some(certificate) => drop(certificate.signatures.pop()),
                    None => block.header.state_root = wrong,
                }
                block.header.last_commit_hash = last_commit_hash(block.body.last_commit.as_ref());
            }
        }
        if block.header.state_root != wrong && block.header.height.0 == self.checker.height() + 1 {
            // Whatever was drawn may have been right by chance.
            block.header.receipts_root = wrong;
        }
    }

    /// From time to time.
    pub(crate) fn mischief(&mut self, node: usize) {
        let Some(mischief) = self.nodes[node].mischief else {
            return;
        };
        let wait = self.rng.range(300 * MS, 1_200 * MS);
        self.later(node, wait, Local::Mischief);
        let to = self.rng.index(self.nodes.len());
        if to == node {
            return;
        }
        if mischief.replay && !self.conspiracy.memory.is_empty() {
            for _ in 0..3 {
                let message = Rc::clone(self.rng.pick(&self.conspiracy.memory));
                self.send(node, to, &message);
            }
        }
        if mischief.flood {
            let height = lucid_chain_types::Height(self.checker.height() + self.rng.range(1, 4));
            let voter = self.nodes[node].id;
            let kind = VoteKind::Precommit;
            let vote = self.signed_vote(
                node,
                ChainVote {
                    kind,
                    height,
                    round: 0,
                    block: None,
                    voter,
                },
            );
            let vote = Rc::new(vote);
            for _ in 0..1_100 {
                self.send(node, to, &vote);
            }
        }
        if mischief.spam {
            let message = self.nonsense(node);
            self.send_all(node, message);
        }
    }

    fn nonsense(&mut self, node: usize) -> Message {
        let tip = self.checker.height();
        let height = match self.rng.below(4) {
            0 => tip + 1,
            1 => tip + self.rng.below(12),
            2 => tip.saturating_sub(self.rng.below(4)),
            _ => *self.rng.pick(&[u64::MAX, 0, tip + 1_000]),
        };
        let round = match self.rng.below(3) {
            0 => 0,
            1 => self.rng.below(14) as u32,
            _ => *self.rng.pick(&[u32::MAX, u32::MAX - 1, 1_000, 11]),
        };
        let offers = &self.conspiracy.offers;
        let block = if offers.is_empty() || self.rng.chance(500) {
            BlockId(alloy_primitives::B256::repeat_byte(
                self.rng.below(256) as u8
            ))
        } else {
            self.rng.pick(offers).2
        };
        let kind = *self.rng.pick(&[VoteKind::Prevote, VoteKind::Precommit]);
        let everybody: Vec<usize> = (0..self.nodes.len()).collect();
        let height = lucid_chain_types::Height(height);
        let vote = |voter: usize, block| ChainVote {
            kind,
            height,
            round,
            block,
            voter: node_id(voter),
        };
        match self.rng.below(6) {
            0 | 1 => {
                let block = self.rng.chance(700).then_some(block);
                self.signed_vote(node, vote(node, block))
            }
            2 => {
                // In another's name.
                let victim = *self.rng.pick(&everybody);
                let forged = vote(victim, Some(block));
                let signed = self.nodes[node].key.vote(forged);
                Message::Vote(SignedMessage::new(
                    Vote::from_chain(&forged),
                    signed.signature,
                ))
            }
            3 => {
                // Certificates of one's own vote, over and over, or of nobody's.
                let votes = everybody.iter().map(|voter| {
                    let signer = if self.salt & 1 == 0 { node } else { *voter };
                    let it = vote(signer, None);
                    let signature = if signer == node {
                        self.nodes[node].key.vote(it).signature
                    } else {
                        ABSTAIN
                    };
                    SignedMessage::<Lucid, Vote>::new(Vote::from_chain(&it), signature)
                });
                let kind = if self.rng.chance(500) {
                    RoundCertificateType::Precommit
                } else {
                    RoundCertificateType::Skip
                };
                Message::Round(RoundCertificate::new_from_votes(
                    Height(height),
                    Round::new(round),
                    kind,
                    votes.collect(),
                ))
            }
            4 => {
                let it = ChainVote {
                    kind: VoteKind::Prevote,
                    ..vote(node, Some(block))
                };
                let own = self.nodes[node].key.vote(it).signature;
                let polka_signatures = everybody.iter().map(|voter| {
                    PolkaSignature::new(lucid_consensus::context::Address(node_id(*voter)), own)
                });
                Message::Polka(PolkaCertificate {
                    height: Height(height),
                    round: Round::new(round),
                    value_id: block,
                    polka_signatures: polka_signatures.collect(),
                })
            }
            _ => Message::Status(height.0),
        }
    }

    /// An answer to somebody who catches up.
    pub(crate) fn lie(&mut self, node: usize, blocks: &mut Vec<(Certificate, Bytes)>) {
        if !self.nodes[node].mischief.is_some_and(|it| it.false_sync) {
            return;
        }
        let chance = self.rng.below(5);
        let Some((certificate, packed)) = blocks.first_mut() else {
            return;
        };
        match chance {
            0 => certificate.signatures.truncate(1),
            1 => {
                // Another block, with the signatures of the first.
                let Some(mut block) = self.checker.block(certificate.block).cloned() else {
                    return;
                };
                block.header.time_ms += 1;
                self.checker.built(&block);
                certificate.block = block.id();
                *packed = pack(&block.encode()).unwrap();
            }
            2 => *packed = Bytes::from_static(b"\0\x03\0\0\0abc"),
            3 => {
                // A true certificate, another block.
                let Some(mut block) = self.checker.block(certificate.block).cloned() else {
                    return;
                };
                block.header.time_ms += 1;
                *packed = pack(&block.encode()).unwrap();
            }
            _ => blocks.clear(),
        }
    }
}

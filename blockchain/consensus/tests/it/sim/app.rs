//! The chain that the simulated nodes agree on: blocks of numbered transactions, leaders that are demoted when they miss their round,
//! validators that come and go. Pure, so that the checker runs the same rules as the nodes.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use lucid_chain_types::{
    Block, BlockId, Body, Certificate, Evidence, Header, Height, NodeId, Slot, Validator,
    ValidatorSet, evidence_hash, last_commit_hash, transactions_root,
};
use lucid_consensus::signing::Key;
use zeroize::Zeroizing;

use super::rng::mix;
use super::verifier::Verifier;

/// The chain's name.
pub(crate) const GENESIS: B256 = B256::repeat_byte(7);
/// Most transactions in a block.
const BLOCK_TRANSACTIONS: usize = 16;

pub(crate) fn node_id(index: usize) -> NodeId {
    NodeId(Address::repeat_byte(index as u8 + 1))
}

pub(crate) fn node_key(index: usize) -> Key {
    Key::new(GENESIS, &Zeroizing::new([index as u8 + 1; 32]))
}

/// The chain's fixed part.
pub(crate) struct Rules {
    members: Vec<Validator>,
    byzantine: Vec<bool>,
    /// Heights between changes of the validator set; 0 for none.
    change_every: u64,
    /// Heights of a slot, after which the leaders are ranked anew.
    slot: u64,
    salt: u64,
}

/// The state after a block.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) height: u64,
    pub(crate) id: BlockId,
    time_ms: u64,
    root: B256,
    /// Of the next height.
    pub(crate) set: ValidatorSet,
    /// Leaders of the next height.
    pub(crate) order: Vec<NodeId>,
    included: BTreeSet<u64>,
    punished: BTreeSet<(NodeId, Height)>,
}

impl State {
    pub(crate) fn has(&self, transaction: u64) -> bool {
        self.included.contains(&transaction)
    }

    /// The leader of a round of the next height.
    pub(crate) fn leader(&self, round: u32) -> NodeId {
        self.order[round as usize % self.order.len()]
    }
}

/// What goes into a block.
pub(crate) struct Contents {
    pub(crate) round: u32,
    pub(crate) proposer: NodeId,
    pub(crate) clock_ms: u64,
    pub(crate) last_commit: Option<Certificate>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) transactions: Vec<u64>,
}

impl Rules {
    pub(crate) fn new(byzantine: Vec<bool>, change_every: u64, slot: u64, salt: u64) -> Self {
        let members = (0..byzantine.len()).map(|index| Validator {
            node: node_id(index),
            consensus_key: node_key(index).public(),
            vrf_key: B256::repeat_byte(index as u8 + 1),
        });
        Self {
            members: members.collect(),
            byzantine,
            change_every,
            slot,
            salt,
        }
    }

    /// The validators of a height: all, or all but one of those without whom the rest still outvotes the Byzantine ones.
    pub(crate) fn set(&self, height: u64) -> ValidatorSet {
        let total = self.members.len();
        let mut away = None;
        if let Some(era) = height.checked_div(self.change_every)
            && era > 0
            && total > 4
        {
            let draw = mix(self.salt ^ era);
            let candidate = (draw >> 8) as usize % total;
            let byzantine = self.byzantine.iter().filter(|it| **it).count()
                - usize::from(self.byzantine[candidate]);
            if !draw.is_multiple_of(4) && 3 * byzantine < total - 1 {
                away = Some(candidate);
            }
        }
        let members = self.members.iter().enumerate();
        let members = members.filter(|(index, _)| Some(*index) != away);
        ValidatorSet::new(members.map(|(_, member)| *member).collect()).unwrap()
    }

    /// Byzantine or forgetful nodes that the smallest set can bear.
    pub(crate) fn tolerance(&self) -> usize {
        let least =
            self.members.len() - usize::from(self.change_every > 0 && self.members.len() > 4);
        (least - 1) / 3
    }

    pub(crate) fn genesis(&self) -> State {
        let set = self.set(1);
        State {
            height: 0,
            id: BlockId(GENESIS),
            time_ms: 0,
            root: GENESIS,
            order: set.list().iter().map(|validator| validator.node).collect(),
            set,
            included: BTreeSet::new(),
            punished: BTreeSet::new(),
        }
    }

    /// The state after `block`, which was checked.
    pub(crate) fn next(&self, state: &State, block: &Block) -> State {
        let height = state.height + 1;
        let set = self.set(height + 1);
        let mut order = state.order.clone();
        let missed = block.header.round as usize % order.len();
        order.rotate_left(missed);
        order.retain(|node| set.get(*node).is_some());
        for validator in set.list() {
            if !order.contains(&validator.node) {
                order.push(validator.node);
            }
        }
        if height.is_multiple_of(self.slot) {
            order.sort_by_key(|node| mix(self.salt ^ (height << 8) ^ u64::from(node.0[0])));
        }
        let mut included = state.included.clone();
        included.extend(block.body.transactions.iter().filter_map(|it| number(it)));
        let mut punished = state.punished.clone();
        let evidence = block.body.evidence.iter();
        punished.extend(evidence.map(|it| (it.offender(), it.height())));
        State {
            height,
            id: block.id(),
            time_ms: block.header.time_ms,
            root: block.header.state_root,
            set,
            order,
            included,
            punished,
        }
    }

    pub(crate) fn build(&self, state: &State, contents: Contents) -> Block {
        let height = state.height + 1;
        let mut transactions: Vec<u64> = contents.transactions;
        transactions.retain(|it| !state.has(*it));
        transactions.truncate(BLOCK_TRANSACTIONS);
        let transactions: Vec<Vec<u8>> = transactions
            .iter()
            .map(|it| it.to_be_bytes().to_vec())
            .collect();
        let mut evidence: Vec<Evidence> = Vec::new();
        for found in contents.evidence {
            let known = evidence.iter().any(|it| it.offender() == found.offender());
            if !known && !state.punished.contains(&(found.offender(), found.height())) {
                evidence.push(found);
            }
        }
        let header = Header {
            version: Header::VERSION,
            chain_id: 1,
            height: Height(height),
            time_ms: contents.clock_ms.max(state.time_ms + 1),
            slot: Slot(0),
            round: contents.round,
            seal: false,
            proposer: contents.proposer,
            parent: state.id,
            last_commit_hash: last_commit_hash(contents.last_commit.as_ref()),
            transactions_root: transactions_root(&transactions),
            evidence_hash: evidence_hash(&evidence),
            state_root: root(state.root, &transactions),
            receipts_root: B256::ZERO,
            gas_limit: 0,
            gas_used: 0,
            base_fee: 0,
            validators_hash: state.set.hash(),
            next_validators_hash: self.set(height + 1).hash(),
            vrf_proof: proof(contents.proposer, state.id),
        };
        Block {
            header,
            body: Body {
                transactions,
                last_commit: contents.last_commit,
                evidence,
            },
        }
    }

    /// Whether `block` may follow.
    pub(crate) fn check(
        &self,
        state: &State,
        block: &Block,
        verifier: &Verifier,
    ) -> Result<(), &'static str> {
        let header = &block.header;
        let must = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        must(header.height.0 == state.height + 1, "height")?;
        must(header.parent == state.id, "parent")?;
        must(header.time_ms > state.time_ms, "time")?;
        must(header.proposer == state.leader(header.round), "leader")?;
        must(
            header.vrf_proof == proof(header.proposer, state.id),
            "proof",
        )?;
        must(
            header.validators_hash == state.set.hash()
                && header.next_validators_hash == self.set(state.height + 2).hash(),
            "validators",
        )?;
        must(
            header.state_root == root(state.root, &block.body.transactions),
            "state root",
        )?;
        let mut seen = BTreeSet::new();
        for transaction in &block.body.transactions {
            let fresh = number(transaction).is_some_and(|it| !state.has(it) && seen.insert(it));
            must(fresh, "transaction")?;
        }
        let mut seen = BTreeSet::new();
        for evidence in &block.body.evidence {
            let against = (evidence.offender(), evidence.height());
            must(
                evidence.height().0 <= state.height
                    && !state.punished.contains(&against)
                    && seen.insert(against)
                    && verifier.evidence(evidence, &self.set(evidence.height().0)),
                "evidence",
            )?;
        }
        match &block.body.last_commit {
            None => must(state.height == 0, "no certificate of the parent"),
            Some(certificate) => must(
                certificate.height.0 == state.height
                    && certificate.block == state.id
                    && verifier.certificate(certificate, &self.set(state.height)),
                "certificate of the parent",
            ),
        }
    }
}

fn number(transaction: &[u8]) -> Option<u64> {
    transaction.try_into().ok().map(u64::from_be_bytes)
}

fn root(parent: B256, transactions: &[Vec<u8>]) -> B256 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(parent.as_slice());
    for transaction in transactions {
        hasher.update(transaction);
    }
    B256::new(hasher.finalize().into())
}

/// Stands for the leader's VRF proof: what only it could have made.
fn proof(leader: NodeId, parent: BlockId) -> [u8; 80] {
    let mut proof = [0; 80];
    let bytes = [leader.0.as_slice(), parent.0.as_slice()].concat();
    proof[..32].copy_from_slice(blake3::hash(&bytes).as_bytes());
    proof
}

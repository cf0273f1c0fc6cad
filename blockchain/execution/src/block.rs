//! Blocks: building one, and checking one, by the same code.
//!
//! A block runs in this order, and each step sees what the ones before it did:
//! 1. `WorkCredits.onBlock`: credits for the signatures under the parent, and the cost of missed proposals;
//! 2. `WorkCredits.onEvidence` for each validator caught;
//! 3. the transactions;
//! 4. at a seal: the tally, the ranking drawn from it with the leader's VRF output, and `WorkCredits.onSeal`.

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use lucid_chain_types::{
    Block, BlockId, Body, Certificate, Domain, Evidence, Genesis, Header, Height, MAX_BLOCK_BYTES,
    MAX_BLOCK_TRANSACTIONS, MAX_EVIDENCE, NodeId, Slot, VRF_PROOF_BYTES, Validator, ValidatorSet,
    evidence_hash, last_commit_hash, merkle_root, open_slot_after, seals, slot_of, vrf_input,
};
use lucid_poot::{LeaderRecord, Standing, Work, cool_down, missed, order_after, proposer, vrf};
use lucid_state::{Historic, Prepared, State, StateChanges, StateReader};
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, InvalidTransaction};
use revm::context::transaction::{AccessList, AccessListItem};
use vrf_rfc9381::ec::edwards25519::EdVrfProof;
use vrf_rfc9381::ec::edwards25519::tai::EdVrfEdwards25519Tai;
use vrf_rfc9381::{Proof as _, VRF as _};

use crate::contracts::interfaces::{Entity, ParamRegistry, WorkCredits};
use crate::evm::{Environment, Machine, NotRun};
use crate::fees::{NextBlock, next_base_fee, next_gas_limit};
use crate::genesis::short_string;
use crate::receipt::{Log, Receipt, SystemRecord, Tallied, receipts_root};
use crate::transaction::{Transaction, decode_all};
use crate::{BlockError, ExecutionError, TransactionError};
use lucid_chain_types::contracts::{PARAM_REGISTRY, WORK_CREDITS};

/// Evidence is accepted for this many blocks after the offence: a day of full blocks.
pub const MAX_EVIDENCE_AGE: u64 = 86_400;

/// A chain: what its genesis fixes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chain {
    genesis: Arc<Genesis>,
    genesis_hash: B256,
}

/// What a block is built or checked on.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Its header; none before the first block.
    pub header: Option<Header>,
    /// Who voted on it; not looked at before the first block.
    pub signers: ValidatorSet,
    /// Who votes on the next block.
    pub validators: ValidatorSet,
    /// Who leads its rounds.
    pub order: Vec<NodeId>,
}

/// What a leader decides about its block.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// When, ms since the Unix epoch.
    pub time_ms: u64,
    /// In which round.
    pub round: u32,
    /// Who.
    pub proposer: NodeId,
    /// Its proof over [`vrf_input`].
    pub vrf_proof: [u8; VRF_PROOF_BYTES],
    /// A certificate of the parent.
    pub last_commit: Option<Certificate>,
    /// Validators caught.
    pub evidence: Vec<Evidence>,
    /// Transactions, best first.
    pub transactions: Vec<Vec<u8>>,
}

/// A block that was built, ready to be proposed.
#[derive(Debug)]
pub struct Built {
    /// The block.
    pub block: Block,
    /// What it does.
    pub executed: Executed,
    /// Transactions that are not in it.
    pub left_out: Vec<LeftOut>,
}

/// A transaction that did not get into a block.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Its hash.
    pub hash: B256,
    /// Why; `None` if there was no room.
    pub reason: Option<TransactionError>,
}

/// What a block does.
#[derive(Debug)]
pub struct Executed {
    /// The new state, to be committed.
    pub prepared: Prepared,
    /// One for each transaction.
    pub receipts: Vec<Receipt>,
    /// Who votes on the next block.
    pub next_validators: ValidatorSet,
    /// Who leads its rounds.
    pub next_order: Vec<NodeId>,
    /// Who led the slot, if this block closes it.
    pub leader: Option<LeaderRecord>,
    /// What the block's own calls left behind.
    pub system: SystemRecord,
}

/// Everything `run` finds out.
struct Outcome {
    changes: StateChanges,
    receipts: Vec<Receipt>,
    gas_used: u64,
    included: Vec<Vec<u8>>,
    /// Of what is included.
    hashes: Vec<B256>,
    /// Bytes the block can still take.
    bytes_left: usize,
    left_out: Vec<LeftOut>,
    next_validators: ValidatorSet,
    next_order: Vec<NodeId>,
    leader: Option<LeaderRecord>,
    system: SystemRecord,
}

/// The part of a block that is known before it runs.
struct Frame {
    height: Height,
    parent: BlockId,
    slot: Slot,
    seal: bool,
    gas_limit: u64,
    base_fee: u64,
    randomness: B256,
}

/// What to do with a transaction that cannot be included.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// Leave it out and go on: this node builds.
    LeaveOut,
    /// The block is invalid: this node checks.
    Refuse,
}

/// `PREVRANDAO` of a block, and `mixHash` in JSON-RPC: the VRF's output, which also draws the ranking. Not the proof's hash: a
/// leader can make many proofs of one output, and would take the one it likes. The header is a checked one.
pub fn prev_randao(header: &Header) -> B256 {
    let output = EdVrfProof::decode_pi(&header.vrf_proof)
        .and_then(|proof| proof.proof_to_hash(EdVrfEdwards25519Tai.ciphersuite()));
    output
        .ok()
        .and_then(|output| output.get(..32).map(B256::from_slice))
        .unwrap_or_default()
}

impl Chain {
    /// The chain of a genesis.
    pub fn new(genesis: Genesis) -> Self {
        let genesis_hash = genesis.hash();
        Self {
            genesis: Arc::new(genesis),
            genesis_hash,
        }
    }

    /// Its genesis.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Its name in every signature.
    pub fn genesis_hash(&self) -> B256 {
        self.genesis_hash
    }

    /// Builds a block on `parent`, whose state is `state`. Transactions that do not fit or are not valid now, and evidence that
    /// proves nothing new, are left out. [`BlockError::Empty`] where nothing is left and the slot need not be sealed.
    pub fn build(
        &self,
        parent: &Parent,
        state: &State,
        mut proposal: Proposal,
    ) -> Result<Built, ExecutionError> {
        let reader = self.reader(parent, state)?;
        let frame = self.frame(parent, &reader, &mut proposal, Unfit::LeaveOut)?;
        let transactions = std::mem::take(&mut proposal.transactions);
        let outcome = self.run(
            parent,
            &reader,
            &frame,
            &proposal,
            &transactions,
            Unfit::LeaveOut,
        )?;
        let prepared = state.prepare(&outcome.changes)?;
        let body = Body {
            transactions: outcome.included,
            last_commit: proposal.last_commit,
            evidence: proposal.evidence,
        };
        let header = Header {
            version: Header::VERSION,
            chain_id: self.genesis.chain_id,
            height: frame.height,
            time_ms: proposal.time_ms,
            slot: frame.slot,
            round: proposal.round,
            seal: frame.seal,
            proposer: proposal.proposer,
            parent: frame.parent,
            last_commit_hash: last_commit_hash(body.last_commit.as_ref()),
            transactions_root: merkle_root(Domain::TransactionLeaf, &outcome.hashes),
            evidence_hash: evidence_hash(&body.evidence),
            state_root: prepared.root(),
            receipts_root: receipts_root(&outcome.receipts),
            gas_limit: frame.gas_limit,
            gas_used: outcome.gas_used,
            base_fee: frame.base_fee,
            validators_hash: parent.validators.hash(),
            next_validators_hash: outcome.next_validators.hash(),
            vrf_proof: proposal.vrf_proof,
        };
        Ok(Built {
            block: Block { header, body },
            executed: Executed {
                prepared,
                receipts: outcome.receipts,
                next_validators: outcome.next_validators,
                next_order: outcome.next_order,
                leader: outcome.leader,
                system: outcome.system,
            },
            left_out: outcome.left_out,
        })
    }

    /// Checks a block on `parent`, whose state is `state`: every field of the header is held against this node's own execution.
    /// [`ExecutionError::Block`] is the block's fault, any other error this node's. How far ahead of the clock its time may be,
    /// and whether its round is the one it was proposed in, is the caller's to check.
    pub fn validate(
        &self,
        parent: &Parent,
        state: &State,
        block: &Block,
    ) -> Result<Executed, ExecutionError> {
        let reader = self.reader(parent, state)?;
        let Block { header, body } = block;
        self.check_place(parent, header)?;
        let size: usize = body
            .transactions
            .iter()
            .map(|bytes| bytes.len().saturating_add(4))
            .sum();
        if body.transactions.len() > MAX_BLOCK_TRANSACTIONS || size > MAX_BLOCK_BYTES {
            return Err(BlockError::TooLarge.into());
        }
        let mut proposal = Proposal {
            time_ms: header.time_ms,
            round: header.round,
            proposer: header.proposer,
            vrf_proof: header.vrf_proof,
            last_commit: body.last_commit.clone(),
            evidence: body.evidence.clone(),
            transactions: Vec::new(),
        };
        let frame = self.frame(parent, &reader, &mut proposal, Unfit::Refuse)?;
        if header.slot != frame.slot {
            return Err(BlockError::Slot {
                found: header.slot,
                expected: frame.slot,
            }
            .into());
        }
        if header.seal != frame.seal {
            return Err(BlockError::Seal {
                found: header.seal,
                expected: frame.seal,
            }
            .into());
        }
        same("gas limit", header.gas_limit, frame.gas_limit)?;
        same("base fee", header.base_fee, frame.base_fee)?;
        same(
            "validators hash",
            header.validators_hash,
            parent.validators.hash(),
        )?;
        same(
            "last commit hash",
            header.last_commit_hash,
            last_commit_hash(body.last_commit.as_ref()),
        )?;
        same(
            "evidence hash",
            header.evidence_hash,
            evidence_hash(&body.evidence),
        )?;
        let outcome = self.run(
            parent,
            &reader,
            &frame,
            &proposal,
            &body.transactions,
            Unfit::Refuse,
        )?;
        same(
            "transactions root",
            header.transactions_root,
            merkle_root(Domain::TransactionLeaf, &outcome.hashes),
        )?;
        same("gas used", header.gas_used, outcome.gas_used)?;
        same(
            "receipts root",
            header.receipts_root,
            receipts_root(&outcome.receipts),
        )?;
        same(
            "next validators hash",
            header.next_validators_hash,
            outcome.next_validators.hash(),
        )?;
        let prepared = state.prepare(&outcome.changes)?;
        same("state root", header.state_root, prepared.root())?;
        Ok(Executed {
            prepared,
            receipts: outcome.receipts,
            next_validators: outcome.next_validators,
            next_order: outcome.next_order,
            leader: outcome.leader,
            system: outcome.system,
        })
    }

    fn parent_id(&self, parent: &Parent) -> BlockId {
        parent
            .header
            .as_ref()
            .map_or(BlockId(self.genesis_hash), Header::id)
    }

    /// The state after `parent`, and that it is: what the caller hands in belongs together.
    fn reader(&self, parent: &Parent, state: &State) -> Result<Historic, ExecutionError> {
        let reader = state.latest()?;
        let expected = parent
            .header
            .as_ref()
            .map_or(self.genesis.state_root, |header| header.state_root);
        if reader.root() != expected {
            return Err(ExecutionError::OtherState {
                found: reader.root(),
                expected,
            });
        }
        if let Some(header) = &parent.header
            && (header.validators_hash != parent.signers.hash()
                || header.next_validators_hash != parent.validators.hash())
        {
            return Err(ExecutionError::OtherValidators(header.height));
        }
        Ok(reader)
    }

    /// Checks that a header follows the parent on this chain.
    fn check_place(&self, parent: &Parent, header: &Header) -> Result<(), BlockError> {
        if header.version != Header::VERSION {
            return Err(BlockError::Version(header.version));
        }
        if header.chain_id != self.genesis.chain_id {
            return Err(BlockError::ChainId {
                found: header.chain_id,
                expected: self.genesis.chain_id,
            });
        }
        let expected = parent
            .header
            .as_ref()
            .map_or(Height(1), |parent| parent.height.next());
        if header.height != expected {
            return Err(BlockError::Height {
                found: header.height,
                expected,
            });
        }
        let parent_id = self.parent_id(parent);
        if header.parent != parent_id {
            return Err(BlockError::Parent {
                found: header.parent.0,
                expected: parent_id.0,
            });
        }
        Ok(())
    }

    /// Checks what does not need execution, and computes what the block runs in.
    fn frame(
        &self,
        parent: &Parent,
        state: &Historic,
        proposal: &mut Proposal,
        unfit: Unfit,
    ) -> Result<Frame, ExecutionError> {
        let genesis_time = self.genesis.time_ms;
        let header = parent.header.as_ref();
        let parent_time = header.map_or(genesis_time, |header| header.time_ms);
        if proposal.time_ms <= parent_time {
            return Err(BlockError::Time {
                found: proposal.time_ms,
                parent: parent_time,
            }
            .into());
        }
        let slot = open_slot_after(genesis_time, header);
        let leads = proposer(&parent.order, proposal.round).unwrap_or_default();
        if proposal.proposer != leads {
            return Err(BlockError::Proposer {
                found: proposal.proposer,
                expected: leads,
                round: proposal.round,
            }
            .into());
        }
        let parent_id = self.parent_id(parent);
        let input = vrf_input(self.genesis_hash, slot, parent_id);
        let leader = parent.validators.get(leads).ok_or(BlockError::Vrf)?;
        let randomness =
            vrf::verify(leader.vrf_key, &input, &proposal.vrf_proof).ok_or(BlockError::Vrf)?;
        self.check_last_commit(parent, proposal, parent_id)?;
        let height = header.map_or(Height(1), |header| header.height.next());

        let mut machine = Machine::new(state, &self.reading(height));
        self.sift_evidence(&mut machine, proposal, height, unfit)?;
        let next = next_block(&mut machine, header)?;
        Ok(Frame {
            height,
            parent: parent_id,
            slot,
            seal: seals(genesis_time, slot, proposal.time_ms),
            gas_limit: next.gas_limit,
            base_fee: next.base_fee,
            randomness,
        })
    }

    fn check_last_commit(
        &self,
        parent: &Parent,
        proposal: &Proposal,
        parent_id: BlockId,
    ) -> Result<(), BlockError> {
        match (&parent.header, &proposal.last_commit) {
            (None, None) => Ok(()),
            (Some(header), Some(certificate)) => {
                if certificate.height != header.height || certificate.block != parent_id {
                    return Err(BlockError::OtherLastCommit);
                }
                Ok(certificate.verify(self.genesis_hash, &parent.signers)?)
            }
            _ => Err(BlockError::NoLastCommit),
        }
    }

    /// Keeps of the evidence what this block may have: once a node, recent, of a node that can still lose something.
    fn sift_evidence<R: StateReader>(
        &self,
        machine: &mut Machine<'_, R>,
        proposal: &mut Proposal,
        height: Height,
        unfit: Unfit,
    ) -> Result<(), ExecutionError> {
        let mut kept: Vec<Evidence> = Vec::new();
        for evidence in std::mem::take(&mut proposal.evidence) {
            match self.evidence_fault(machine, &evidence, &kept, height)? {
                None => kept.push(evidence),
                Some(_) if unfit == Unfit::LeaveOut => {}
                Some(fault) => return Err(fault.into()),
            }
        }
        proposal.evidence = kept;
        Ok(())
    }

    fn evidence_fault<R: StateReader>(
        &self,
        machine: &mut Machine<'_, R>,
        evidence: &Evidence,
        before: &[Evidence],
        height: Height,
    ) -> Result<Option<BlockError>, ExecutionError> {
        let node = evidence.offender();
        let age = height.0.checked_sub(evidence.height().0);
        if age.is_none_or(|age| age > MAX_EVIDENCE_AGE) {
            return Ok(Some(BlockError::EvidenceAge {
                node,
                height: evidence.height(),
            }));
        }
        if before.len() >= MAX_EVIDENCE {
            return Ok(Some(BlockError::TooMuchEvidence));
        }
        // One is enough: the second of a block would slash nothing.
        let twice = before.iter().any(|other| other.offender() == node);
        let is_node = WorkCredits::isNodeCall { node: node.0 };
        if twice || !machine.view("WorkCredits.isNode", WORK_CREDITS, &is_node)? {
            return Ok(Some(BlockError::EvidenceSettled(node)));
        }
        // Not against the set of that height, which a node that started from a snapshot may not have: a key is one node's for
        // good (WorkCredits), and whoever signs twice with it is caught wherever it stands now.
        let keys = machine.view(
            "WorkCredits.keysOf",
            WORK_CREDITS,
            &WorkCredits::keysOfCall { node: node.0 },
        )?;
        let offender = Validator {
            node,
            consensus_key: keys.consensusKey,
            vrf_key: keys.vrfKey,
        };
        let set = ValidatorSet::new(vec![offender]).map_err(|error| ExecutionError::System {
            what: "WorkCredits.keysOf",
            reason: error.to_string(),
        })?;
        let proven = evidence.verify(self.genesis_hash, &set);
        Ok(proven
            .err()
            .map(|source| BlockError::Evidence { node, source }))
    }

    fn environment(&self, frame: &Frame, proposal: &Proposal) -> Environment {
        Environment {
            chain_id: self.genesis.chain_id,
            number: frame.height.0,
            time_ms: proposal.time_ms,
            gas_limit: frame.gas_limit,
            base_fee: frame.base_fee,
            beneficiary: proposal.proposer.0,
            randomness: frame.randomness,
        }
    }

    /// The one code path of building and checking. A system call that fails is the block's fault: it can be in no chain.
    fn run(
        &self,
        parent: &Parent,
        state: &Historic,
        frame: &Frame,
        proposal: &Proposal,
        transactions: &[Vec<u8>],
        unfit: Unfit,
    ) -> Result<Outcome, ExecutionError> {
        self.steps(parent, state, frame, proposal, transactions, unfit)
            .map_err(|error| match error {
                ExecutionError::System { what, reason } => {
                    BlockError::System { what, reason }.into()
                }
                other => other,
            })
    }

    fn steps(
        &self,
        parent: &Parent,
        state: &Historic,
        frame: &Frame,
        proposal: &Proposal,
        transactions: &[Vec<u8>],
        unfit: Unfit,
    ) -> Result<Outcome, ExecutionError> {
        let mut machine = Machine::new(state, &self.environment(frame, proposal));
        let signers = proposal
            .last_commit
            .iter()
            .flat_map(|certificate| certificate.signers.signers());
        let signers = signers
            .filter_map(|index| parent.signers.list().get(index))
            .map(|validator| validator.node.0);
        let late = missed(&parent.order, proposal.round);
        machine.system(
            "WorkCredits.onBlock",
            WORK_CREDITS,
            &WorkCredits::onBlockCall {
                height: frame.height.0,
                slot: frame.slot.0,
                proposer: proposal.proposer.0,
                signers: signers.collect(),
                missed: late.iter().map(|node| node.0).collect(),
            },
        )?;
        for evidence in &proposal.evidence {
            machine.system(
                "WorkCredits.onEvidence",
                WORK_CREDITS,
                &WorkCredits::onEvidenceCall {
                    node: evidence.offender().0,
                    kind: evidence.kind(),
                    height: evidence.height().0,
                },
            )?;
        }
        let mut outcome = Outcome {
            changes: StateChanges::default(),
            receipts: Vec::new(),
            gas_used: 0,
            included: Vec::new(),
            hashes: Vec::new(),
            bytes_left: MAX_BLOCK_BYTES.saturating_sub(bytes_without_transactions(proposal)),
            left_out: Vec::new(),
            next_validators: parent.validators.clone(),
            next_order: parent.order.clone(),
            leader: None,
            system: SystemRecord::default(),
        };
        let decoded = decode_all(transactions, self.genesis.chain_id);
        for (index, transaction) in decoded.into_iter().enumerate() {
            let included = match transaction {
                Ok(transaction) => include(&mut machine, frame, &transaction, &mut outcome)?,
                Err(reason) => Some(LeftOut {
                    hash: keccak256(&transactions[index]),
                    reason: Some(reason),
                }),
            };
            match included {
                None => {}
                Some(left_out) if unfit == Unfit::LeaveOut => outcome.left_out.push(left_out),
                Some(LeftOut {
                    reason: Some(source),
                    ..
                }) => return Err(BlockError::Transaction { index, source }.into()),
                Some(_) => {
                    return Err(BlockError::NoRoom {
                        index,
                        gas_limit: frame.gas_limit,
                    }
                    .into());
                }
            }
        }
        if outcome.included.is_empty() && proposal.evidence.is_empty() && !frame.seal {
            return Err(BlockError::Empty {
                left_out: outcome.left_out,
            }
            .into());
        }
        if frame.seal {
            outcome.leader = self.seal(&mut machine, frame, proposal)?;
            outcome.system.tally = tally(&mut machine)?;
            let validators = machine.view(
                "WorkCredits.validators",
                WORK_CREDITS,
                &WorkCredits::validatorsCall {},
            )?;
            outcome.next_validators = validator_set(validators)?;
        }
        if frame.seal || !late.is_empty() {
            outcome.next_order = current_order(&mut machine)?;
        }
        outcome.system.logs = machine.take_system_logs();
        outcome.changes = machine.into_changes();
        Ok(outcome)
    }

    /// Closes the slot: the documentation of `lucid_poot` has the steps.
    fn seal<R: StateReader>(
        &self,
        machine: &mut Machine<'_, R>,
        frame: &Frame,
        proposal: &Proposal,
    ) -> Result<Option<LeaderRecord>, ExecutionError> {
        let sealed_in = slot_of(self.genesis.time_ms, proposal.time_ms);
        let next_slot = Slot(frame.slot.0.saturating_add(1)).max(sealed_in);
        let call = WorkCredits::validatorTallyCall {};
        let entities = machine.view("WorkCredits.validatorTally", WORK_CREDITS, &call)?;
        let mut standings: Vec<Standing> = entities.iter().map(standing).collect();
        let order = current_order(machine)?;
        // Those who missed in this slot were moved to the end one after the other: turned back, this is how it opened.
        let demoted = order.iter().filter(|node| {
            standings
                .iter()
                .any(|standing| standing.node == **node && standing.last_led == Some(frame.slot))
        });
        let mut opened = order.clone();
        opened.rotate_right(demoted.count());
        let record = LeaderRecord::new(frame.slot, &opened, proposal.proposer, sealed_in);

        for standing in &mut standings {
            if standing.node == proposal.proposer {
                standing.last_led = Some(frame.slot);
            }
        }
        let entered: Vec<NodeId> = standings
            .iter()
            .filter(|standing| standing.last_led == Some(frame.slot))
            .map(|standing| standing.node)
            .collect();
        let announced = machine.view(
            "WorkCredits.nextOrder",
            WORK_CREDITS,
            &WorkCredits::nextOrderCall {},
        )?;
        // Who is in the next set, as WorkCredits puts it: those announced first, newcomers behind them.
        let mut next = nodes(announced.order);
        next.retain(|node| standings.iter().any(|standing| standing.node == *node));
        for standing in &standings {
            if !next.contains(&standing.node) {
                next.push(standing.node);
            }
        }
        let next = cool_down(&next, &entered);
        let after = order_after(&standings, next_slot, &next, frame.randomness);
        machine.system(
            "WorkCredits.onSeal",
            WORK_CREDITS,
            &WorkCredits::onSealCall {
                slot: frame.slot.0,
                nextSlot: next_slot.0,
                winner: proposal.proposer.0,
                reason: record.as_ref().map_or(0, |record| record.reason.code()),
                nextOrder: after.nodes().iter().map(|node| node.0).collect(),
            },
        )?;
        Ok(record)
    }

    /// Who votes on and leads the block after the one whose state this is.
    pub fn leadership<R: StateReader>(
        &self,
        state: &R,
    ) -> Result<(ValidatorSet, Vec<NodeId>), ExecutionError> {
        let mut machine = Machine::new(state, &self.reading(Height::GENESIS));
        let validators = machine.view(
            "WorkCredits.validators",
            WORK_CREDITS,
            &WorkCredits::validatorsCall {},
        )?;
        Ok((validator_set(validators)?, current_order(&mut machine)?))
    }

    /// An environment to read the state in.
    pub(crate) fn reading(&self, height: Height) -> Environment {
        Environment {
            chain_id: self.genesis.chain_id,
            number: height.0,
            time_ms: self.genesis.time_ms,
            gas_limit: u64::MAX,
            base_fee: 0,
            beneficiary: Address::ZERO,
            randomness: B256::ZERO,
        }
    }
}

/// Size of the encoded block but for its transactions.
fn bytes_without_transactions(proposal: &Proposal) -> usize {
    let rest = borsh::object_length(&(&proposal.last_commit, &proposal.evidence))
        .unwrap_or(MAX_BLOCK_BYTES);
    rest.saturating_add(Header::BYTES + 4)
}

/// Runs a transaction if it can be included; says why if not.
fn include<R: StateReader>(
    machine: &mut Machine<'_, R>,
    frame: &Frame,
    transaction: &Transaction,
    outcome: &mut Outcome,
) -> Result<Option<LeftOut>, ExecutionError> {
    let left_out = |reason| {
        Ok(Some(LeftOut {
            hash: transaction.hash,
            reason,
        }))
    };
    let gas_left = frame.gas_limit - outcome.gas_used;
    let gas_limit = transaction.envelope.gas_limit();
    if gas_limit > frame.gas_limit {
        return left_out(Some(TransactionError::GasLimit {
            limit: gas_limit,
            block: frame.gas_limit,
        }));
    }
    // Each is encoded with its length before it.
    let bytes = transaction.bytes.len().saturating_add(4);
    if gas_limit > gas_left
        || bytes > outcome.bytes_left
        || outcome.included.len() >= MAX_BLOCK_TRANSACTIONS
    {
        return left_out(None);
    }
    let result = match machine.transact(tx_env(transaction)) {
        Ok(result) => result,
        Err(NotRun::Own(error)) => return Err(error),
        Err(NotRun::Invalid(invalid)) => {
            return left_out(Some(refusal(&invalid, transaction, frame.base_fee)));
        }
    };
    let gas_used = result.tx_gas_used();
    outcome.gas_used += gas_used;
    outcome.receipts.push(Receipt {
        success: result.is_success(),
        tx_type: transaction.envelope.tx_type() as u8,
        gas_used,
        cumulative_gas_used: outcome.gas_used,
        effective_gas_price: transaction
            .envelope
            .effective_gas_price(Some(frame.base_fee)),
        logs: match &result {
            ExecutionResult::Success { logs, .. } => logs.iter().map(Log::from).collect(),
            _ => Vec::new(),
        },
    });
    outcome.bytes_left -= bytes;
    outcome.hashes.push(transaction.hash);
    outcome.included.push(transaction.bytes.to_vec());
    Ok(None)
}

pub(crate) fn tx_env(transaction: &Transaction) -> TxEnv {
    let envelope = &transaction.envelope;
    TxEnv {
        tx_type: envelope.tx_type() as u8,
        caller: transaction.sender,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        kind: TxKind::Call(envelope.to().unwrap_or_default()),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope
            .access_list()
            .map_or_else(AccessList::default, |list| {
                AccessList(
                    list.0
                        .iter()
                        .map(|item| AccessListItem {
                            address: item.address,
                            storage_keys: item.storage_keys.clone(),
                        })
                        .collect(),
                )
            }),
        ..TxEnv::default()
    }
}

/// revm's refusals in our words.
pub(crate) fn refusal(
    invalid: &InvalidTransaction,
    transaction: &Transaction,
    base_fee: u64,
) -> TransactionError {
    match invalid {
        InvalidTransaction::NonceTooLow { tx, state } => TransactionError::NonceTooLow {
            found: *tx,
            expected: *state,
        },
        InvalidTransaction::NonceTooHigh { tx, state } => TransactionError::NonceTooHigh {
            found: *tx,
            expected: *state,
        },
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => TransactionError::Funds {
            sender: transaction.sender,
            balance: **balance,
            cost: **fee,
        },
        InvalidTransaction::GasPriceLessThanBasefee => TransactionError::FeeBelowBase {
            max_fee: transaction.envelope.max_fee_per_gas(),
            base_fee,
        },
        InvalidTransaction::RejectCallerWithCode => {
            TransactionError::SenderIsContract(transaction.sender)
        }
        other => TransactionError::Other(other.to_string()),
    }
}

fn same<T: Copy + PartialEq + std::fmt::Display>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), BlockError> {
    if found == expected {
        return Ok(());
    }
    Err(BlockError::Outcome {
        what,
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// What the block after `parent`, whose state this is, charges and holds.
pub(crate) fn next_block<R: StateReader>(
    machine: &mut Machine<'_, R>,
    parent: Option<&Header>,
) -> Result<NextBlock, ExecutionError> {
    let mut governed = |key| {
        let call = ParamRegistry::getCall {
            key: short_string(key),
        };
        // What does not fit is taken as the largest.
        let word: U256 = machine.view("ParamRegistry.get", PARAM_REGISTRY, &call)?;
        Ok::<u64, ExecutionError>(word.saturating_to())
    };
    Ok(NextBlock {
        base_fee: next_base_fee(parent, governed("minBaseFee")?),
        gas_limit: next_gas_limit(parent, governed("blockGasMin")?, governed("blockGasMax")?),
    })
}

fn current_order<R: StateReader>(
    machine: &mut Machine<'_, R>,
) -> Result<Vec<NodeId>, ExecutionError> {
    let current = machine.view(
        "WorkCredits.currentOrder",
        WORK_CREDITS,
        &WorkCredits::currentOrderCall {},
    )?;
    Ok(nodes(current.order))
}

pub(crate) fn nodes(list: Vec<Address>) -> Vec<NodeId> {
    list.into_iter().map(NodeId).collect()
}

pub(crate) fn validator_set(
    list: Vec<crate::interfaces::Validator>,
) -> Result<ValidatorSet, ExecutionError> {
    let validators = list.into_iter().map(|validator| Validator {
        node: NodeId(validator.node),
        consensus_key: validator.consensusKey,
        vrf_key: validator.vrfKey,
    });
    ValidatorSet::new(validators.collect()).map_err(|error| ExecutionError::System {
        what: "WorkCredits.validators",
        reason: error.to_string(),
    })
}

/// All registered nodes.
pub(crate) fn tally<R: StateReader>(
    machine: &mut Machine<'_, R>,
) -> Result<Vec<Tallied>, ExecutionError> {
    let call = WorkCredits::tallyCall {};
    let entities = machine.view("WorkCredits.tally", WORK_CREDITS, &call)?;
    Ok(entities
        .iter()
        .map(|entity| Tallied {
            standing: standing(entity),
            validator: entity.validator,
            jailed: entity.jailed,
        })
        .collect())
}

/// A node of the tally, as PoOT ranks it.
pub(crate) fn standing(entity: &Entity) -> Standing {
    Standing {
        node: NodeId(entity.node),
        work: Work {
            relay: entity.relay,
            storage: entity.storageWork,
            validation: entity.validation,
            uptime: entity.uptime,
        },
        timeouts: entity.timeouts,
        // Kept plus one, so that slot 0 is not taken for never.
        last_led: entity.lastLedSlot.checked_sub(1).map(Slot),
        joined: Slot(entity.joinedSlot),
    }
}

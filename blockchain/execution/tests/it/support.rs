//! A chain of one process: it builds, checks, signs and commits blocks.

use std::collections::BTreeMap;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_sol_types::SolCall;
use ed25519_dalek::{Signer, SigningKey};
use fjall::Database;
use lucid_chain_types::{
    Block, BlockId, Certificate, Evidence, Genesis, GenesisAccount, GenesisParameter, Height,
    NodeId, Pace, SLOT_MS, SignedVote, SignerBitmap, Slot, Validator, Vote, VoteKind,
    open_slot_after, vote_sign_bytes, vrf_input,
};
use lucid_execution::{
    Built, Call, CallOutcome, Chain, Executed, ExecutionError, Parent, Proposal, Receipt,
    SystemRecord, complete_genesis, genesis_changes,
};
use lucid_poot::proposer;
use lucid_poot::vrf::VrfSecret;
use lucid_state::{State, StateChanges, StateOptions, StateReader as _};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use tempfile::TempDir;

pub(crate) const CHAIN_ID: u64 = 20_260;
pub(crate) const GENESIS_MS: u64 = 1_700_000_000_000;
pub(crate) const COIN: u128 = 1_000_000_000_000_000_000;
/// What transactions of tests offer for a gas: enough for any base fee they meet.
pub(crate) const MAX_FEE: u128 = 1_000_000_000_000;
pub(crate) const TIP: u128 = 1_000;

pub(crate) fn coins(count: u64) -> U256 {
    U256::from(count) * U256::from(COIN)
}

/// An account with its key.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) key: SecretKey,
    pub(crate) address: Address,
}

impl User {
    pub(crate) fn new(seed: u64) -> Self {
        let key = SecretKey::from_slice(keccak256(seed.to_be_bytes()).as_slice()).unwrap();
        let public = PublicKey::from_secret_key(SECP256K1, &key).serialize_uncompressed();
        Self {
            key,
            address: Address::from_raw_public_key(&public[1..]),
        }
    }

    fn signature(&self, hash: B256) -> Signature {
        let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(hash.0), &self.key);
        let (id, bytes) = signature.serialize_compact();
        Signature::from_bytes_and_parity(&bytes, i32::from(id) == 1)
    }

    pub(crate) fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> Vec<u8>
    where
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = self.signature(transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
    }

    pub(crate) fn call<C: SolCall>(&self, nonce: u64, to: Address, call: &C) -> Vec<u8> {
        self.sign(eip1559(nonce, to, call.abi_encode()))
    }

    pub(crate) fn pay(&self, nonce: u64, to: Address, value: U256) -> Vec<u8> {
        self.sign(TxEip1559 {
            value,
            gas_limit: 30_000,
            ..eip1559(nonce, to, vec![])
        })
    }
}

pub(crate) fn eip1559(nonce: u64, to: Address, input: Vec<u8>) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: MAX_FEE,
        max_priority_fee_per_gas: TIP,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: Default::default(),
        input: input.into(),
    }
}

pub(crate) fn legacy(nonce: u64, to: Address) -> TxLegacy {
    TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: MAX_FEE,
        gas_limit: 30_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        input: Bytes::new(),
    }
}

pub(crate) fn eip2930(nonce: u64, to: Address) -> TxEip2930 {
    TxEip2930 {
        chain_id: CHAIN_ID,
        nonce,
        gas_price: MAX_FEE,
        gas_limit: 30_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        access_list: Default::default(),
        input: Bytes::new(),
    }
}

/// A validator with its keys.
pub(crate) struct Node {
    pub(crate) operator: User,
    pub(crate) consensus: SigningKey,
    pub(crate) vrf: VrfSecret,
}

impl Node {
    pub(crate) fn new(seed: u64) -> Self {
        let secret = |kind: &[u8]| keccak256([kind, &seed.to_be_bytes()].concat()).0;
        Self {
            operator: User::new(1_000_000 + seed),
            consensus: SigningKey::from_bytes(&secret(b"consensus")),
            vrf: VrfSecret::from_seed(&secret(b"vrf")),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId(self.operator.address)
    }

    pub(crate) fn validator(&self) -> Validator {
        Validator {
            node: self.id(),
            consensus_key: B256::new(self.consensus.verifying_key().to_bytes()),
            vrf_key: self.vrf.public(),
        }
    }

    pub(crate) fn vote(&self, genesis: B256, vote: Vote) -> SignedVote {
        let signature = self.consensus.sign(&vote_sign_bytes(genesis, &vote));
        SignedVote {
            vote,
            signature: lucid_chain_types::Signature(signature.to_bytes()),
        }
    }
}

pub(crate) struct Setup {
    pub(crate) validators: u64,
    pub(crate) users: u64,
    pub(crate) parameters: Vec<(&'static str, U256)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            validators: 4,
            users: 8,
            parameters: vec![],
        }
    }
}

impl Setup {
    pub(crate) fn genesis(&self) -> Genesis {
        let mut validators: Vec<Validator> = (0..self.validators)
            .map(|seed| Node::new(seed).validator())
            .collect();
        validators.sort_by_key(|validator| validator.node);
        let operators = (0..self.validators).map(|seed| Node::new(seed).operator.address);
        let mut accounts: Vec<GenesisAccount> = (0..self.users)
            .map(|seed| User::new(seed).address)
            .chain(operators)
            .map(|address| GenesisAccount {
                address,
                balance: coins(1_000),
            })
            .collect();
        accounts.sort_by_key(|account| account.address);
        let mut parameters: Vec<GenesisParameter> = self
            .parameters
            .iter()
            .map(|(key, value)| GenesisParameter {
                key: (*key).to_owned(),
                value: *value,
            })
            .collect();
        parameters.sort_by(|a, b| a.key.cmp(&b.key));
        let genesis = Genesis {
            version: Genesis::VERSION,
            chain_id: CHAIN_ID,
            time_ms: GENESIS_MS,
            pace: Pace::DIRECT,
            validators,
            accounts,
            reward_reserve: coins(1_000_000),
            payment_signers: [1, 2, 3].map(Address::with_last_byte),
            parameters,
            contracts_hash: B256::ZERO,
            state_root: B256::ZERO,
        };
        let genesis = complete_genesis(genesis).unwrap();
        genesis.check().unwrap();
        genesis
    }

    pub(crate) fn net(&self) -> Net {
        Net::new(self.genesis())
    }
}

/// A chain and its state.
pub(crate) struct Net {
    // Dropped before its folder.
    db: Database,
    pub(crate) state: State,
    pub(crate) chain: Chain,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) parent: Parent,
    pub(crate) last_commit: Option<Certificate>,
    /// Of the last block.
    pub(crate) system: SystemRecord,
    folder: TempDir,
}

impl Net {
    pub(crate) fn new(genesis: Genesis) -> Self {
        let root = genesis.state_root;
        let net = Self::with_more(genesis, StateChanges::default());
        assert_eq!(net.state.root(), root);
        net
    }

    /// A chain whose genesis state holds more than its file says.
    pub(crate) fn with_more(mut genesis: Genesis, more: StateChanges) -> Self {
        let folder = TempDir::new().unwrap();
        let db = Database::builder(folder.path()).open().unwrap();
        let state = State::open(&db, StateOptions::default()).unwrap();
        let mut changes = genesis_changes(&genesis).unwrap();
        changes.accounts.extend(more.accounts);
        for (address, slots) in more.storage {
            changes.storage.entry(address).or_default().extend(slots);
        }
        let prepared = state.prepare(&changes).unwrap();
        genesis.state_root = prepared.root();
        let mut batch = db.batch();
        state.commit(0, &prepared, &mut batch).unwrap();
        batch.commit().unwrap();
        state.committed(0, &prepared).unwrap();

        let chain = Chain::new(genesis);
        let (validators, order) = chain.leadership(&state.latest().unwrap()).unwrap();
        let nodes = (0..200)
            .map(Node::new)
            .map(|node| (node.id(), node))
            .take(validators.len().max(8))
            .collect();
        Self {
            db,
            state,
            chain,
            nodes,
            parent: Parent {
                header: None,
                signers: validators.clone(),
                validators,
                order,
            },
            last_commit: None,
            system: SystemRecord::default(),
            folder,
        }
    }

    /// Closes the database, and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self {
            db,
            state,
            chain,
            nodes,
            parent,
            last_commit,
            system,
            folder,
        } = self;
        drop(state);
        drop(db);
        let db = Database::builder(folder.path()).open().unwrap();
        let state = State::open(&db, StateOptions::default()).unwrap();
        Self {
            db,
            state,
            chain,
            nodes,
            parent,
            last_commit,
            system,
            folder,
        }
    }

    pub(crate) fn height(&self) -> Height {
        self.parent
            .header
            .as_ref()
            .map_or(Height::GENESIS, |header| header.height)
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.parent
            .header
            .as_ref()
            .map_or(GENESIS_MS, |header| header.time_ms)
    }

    pub(crate) fn parent_id(&self) -> BlockId {
        let genesis = BlockId(self.chain.genesis_hash());
        self.parent
            .header
            .as_ref()
            .map_or(genesis, lucid_chain_types::Header::id)
    }

    pub(crate) fn slot(&self) -> Slot {
        open_slot_after(GENESIS_MS, self.parent.header.as_ref())
    }

    /// When the open slot ends.
    pub(crate) fn slot_end_ms(&self) -> u64 {
        GENESIS_MS + (self.slot().0 + 1) * SLOT_MS
    }

    pub(crate) fn proposal(
        &self,
        time_ms: u64,
        round: u32,
        transactions: Vec<Vec<u8>>,
    ) -> Proposal {
        let leader = proposer(&self.parent.order, round).unwrap();
        let input = vrf_input(self.chain.genesis_hash(), self.slot(), self.parent_id());
        Proposal {
            time_ms,
            round,
            proposer: leader,
            vrf_proof: self.nodes[&leader].vrf.prove(&input),
            last_commit: self.last_commit.clone(),
            evidence: vec![],
            transactions,
        }
    }

    pub(crate) fn build(&self, proposal: Proposal) -> Result<Built, ExecutionError> {
        self.chain.build(&self.parent, &self.state, proposal)
    }

    pub(crate) fn validate(&self, block: &Block) -> Result<Executed, ExecutionError> {
        self.chain.validate(&self.parent, &self.state, block)
    }

    /// A certificate of a block on the head, signed by these validators.
    pub(crate) fn certify(&self, block: &Block, signers: impl Fn(usize) -> bool) -> Certificate {
        let set = &self.parent.validators;
        let signers: Vec<usize> = (0..set.len()).filter(|index| signers(*index)).collect();
        let signatures = signers.iter().map(|index| {
            let node = &self.nodes[&set.list()[*index].node];
            let vote = Vote {
                kind: VoteKind::Precommit,
                height: block.header.height,
                round: block.header.round,
                block: Some(block.id()),
                voter: node.id(),
            };
            node.vote(self.chain.genesis_hash(), vote).signature
        });
        Certificate {
            height: block.header.height,
            round: block.header.round,
            block: block.id(),
            signatures: signatures.collect(),
            signers: SignerBitmap::new(set.len(), signers),
        }
    }

    pub(crate) fn commit(&mut self, block: &Block, executed: Executed) -> Vec<Receipt> {
        let certificate = self.certify(block, |_| true);
        let Executed {
            prepared,
            receipts,
            next_validators,
            next_order,
            system,
            ..
        } = executed;
        self.system = system;
        let height = block.header.height.0;
        let mut batch = self.db.batch();
        self.state.commit(height, &prepared, &mut batch).unwrap();
        batch.commit().unwrap();
        self.state.committed(height, &prepared).unwrap();
        let signers = std::mem::replace(&mut self.parent.validators, next_validators);
        self.parent.signers = signers;
        self.parent.order = next_order;
        self.parent.header = Some(block.header.clone());
        self.last_commit = Some(certificate);
        receipts
    }

    /// Builds a block, checks what came out as another node would, and commits it.
    pub(crate) fn advance(&mut self, proposal: Proposal) -> (Block, Vec<Receipt>) {
        let built = self.build(proposal).unwrap();
        assert!(built.left_out.is_empty(), "left out: {:?}", built.left_out);
        let bytes = built.block.encode();
        let block = Block::decode(&bytes).unwrap();
        assert_eq!(block, built.block);
        let executed = self.validate(&block).unwrap();
        assert_eq!(executed.prepared.root(), built.executed.prepared.root());
        assert_eq!(executed.receipts, built.executed.receipts);
        assert_eq!(executed.next_validators, built.executed.next_validators);
        assert_eq!(executed.next_order, built.executed.next_order);
        assert_eq!(executed.leader, built.executed.leader);
        let receipts = self.commit(&block, executed);
        (block, receipts)
    }

    /// A block of transactions a second after the last.
    pub(crate) fn next(&mut self, transactions: Vec<Vec<u8>>) -> (Block, Vec<Receipt>) {
        let proposal = self.proposal(self.time_ms() + 1_000, 0, transactions);
        self.advance(proposal)
    }

    /// The block that closes the slot.
    pub(crate) fn seal(&mut self, transactions: Vec<Vec<u8>>) -> (Block, Vec<Receipt>) {
        let proposal = self.proposal(self.slot_end_ms() + 1, 0, transactions);
        let (block, receipts) = self.advance(proposal);
        assert!(block.header.seal);
        (block, receipts)
    }

    pub(crate) fn with_evidence(
        &self,
        mut proposal: Proposal,
        evidence: Vec<Evidence>,
    ) -> Proposal {
        proposal.evidence = evidence;
        proposal
    }

    pub(crate) fn balance(&self, address: Address) -> U256 {
        self.state
            .account(address)
            .unwrap()
            .unwrap_or_default()
            .balance
    }

    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.state
            .account(address)
            .unwrap()
            .unwrap_or_default()
            .nonce
    }

    /// What a contract answers.
    pub(crate) fn ask<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let call = Call {
            to,
            data: call.abi_encode().into(),
            gas: 100_000_000,
            ..Call::default()
        };
        let state = self.state.latest().unwrap();
        match self
            .chain
            .call(&state, self.parent.header.as_ref(), &call)
            .unwrap()
        {
            CallOutcome::Returned { output, .. } => C::abi_decode_returns(&output).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

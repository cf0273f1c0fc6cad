//! A chain of one process that holds the keys of all its validators.

use std::collections::BTreeMap;
use std::path::Path;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, keccak256};
use ed25519_dalek::{Signer, SigningKey};
use lucid_chain_types::{
    Block, BlockId, Certificate, Evidence, Genesis, GenesisAccount, Height, NodeId, Pace, SLOT_MS,
    SignedVote, SignerBitmap, Validator, Vote, VoteKind, open_slot_after, vote_sign_bytes,
    vrf_input,
};
use lucid_execution::{Built, Proposal, complete_genesis};
use lucid_ledger::{Ledger, LedgerOptions};
use lucid_light::TrustedGenesis;
use lucid_poot::vrf::VrfSecret;
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use tempfile::TempDir;

pub(crate) const CHAIN_ID: u64 = 20_261;
const GENESIS_MS: u64 = 1_700_000_000_000;
const COIN: u128 = 1_000_000_000_000_000_000;

/// An account with its key.
pub(crate) struct User {
    key: SecretKey,
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

    /// A transaction with this nonce.
    pub(crate) fn call(&self, nonce: u64, to: Address, value: u64, input: Vec<u8>) -> Vec<u8> {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: if input.is_empty() { 30_000 } else { 110_000 },
            max_fee_per_gas: 1_000_000_000_000,
            max_priority_fee_per_gas: 1_000,
            to: TxKind::Call(to),
            value: U256::from(value),
            access_list: Default::default(),
            input: input.into(),
        };
        let hash = Message::from_digest(transaction.signature_hash().0);
        let (id, bytes) = SECP256K1
            .sign_ecdsa_recoverable(&hash, &self.key)
            .serialize_compact();
        let signature = Signature::from_bytes_and_parity(&bytes, i32::from(id) == 1);
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
    }
}

struct Node {
    consensus: SigningKey,
    vrf: VrfSecret,
}

pub(crate) struct Net {
    pub(crate) genesis: Genesis,
    pub(crate) ledger: Ledger,
    nodes: BTreeMap<NodeId, Node>,
    nonce: u64,
    #[allow(
        dead_code,
        reason = "read by examples/idle.rs, and kept for as long as the ledger"
    )]
    pub(crate) folder: TempDir,
}

impl Net {
    pub(crate) fn new(validators: u64) -> Self {
        Self::with(validators, 1, LedgerOptions::default())
    }

    pub(crate) fn with(validators: u64, users: u64, options: LedgerOptions) -> Self {
        let mut nodes = BTreeMap::new();
        let mut list = Vec::new();
        for seed in 0..validators {
            let secret = |kind: &str| keccak256(format!("{kind} {seed}")).0;
            let node = NodeId(User::new(1_000_000 + seed).address);
            let consensus = SigningKey::from_bytes(&secret("consensus"));
            let vrf = VrfSecret::from_seed(&secret("vrf"));
            list.push(Validator {
                node,
                consensus_key: B256::new(consensus.verifying_key().to_bytes()),
                vrf_key: vrf.public(),
            });
            nodes.insert(node, Node { consensus, vrf });
        }
        list.sort_by_key(|validator| validator.node);
        let addresses = (0..users).map(|seed| User::new(seed).address);
        let mut accounts: Vec<GenesisAccount> = addresses
            .chain(list.iter().map(|validator| validator.node.0))
            .map(|address| GenesisAccount {
                address,
                balance: U256::from(COIN) * U256::from(100_000),
            })
            .collect();
        accounts.sort_by_key(|account| account.address);
        let genesis = complete_genesis(Genesis {
            version: Genesis::VERSION,
            chain_id: CHAIN_ID,
            time_ms: GENESIS_MS,
            pace: Pace::DIRECT,
            validators: list,
            accounts,
            reward_reserve: U256::from(COIN),
            payment_signers: [1, 2, 3].map(Address::with_last_byte),
            parameters: Vec::new(),
            contracts_hash: B256::ZERO,
            state_root: B256::ZERO,
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), genesis.clone(), options).unwrap();
        Self {
            genesis,
            ledger,
            nodes,
            nonce: 0,
            folder,
        }
    }

    pub(crate) fn trusted(&self) -> TrustedGenesis {
        TrustedGenesis::new(&self.genesis).unwrap()
    }

    /// A ledger of this chain in another folder.
    pub(crate) fn open(&self, folder: &Path) -> Ledger {
        Ledger::open(folder, self.genesis.clone(), LedgerOptions::default()).unwrap()
    }

    /// A block a second after the last with these transactions.
    pub(crate) fn add(&mut self, transactions: Vec<Vec<u8>>) -> Block {
        let time = self.time_ms() + 1_000;
        self.add_at(time, transactions, Vec::new())
    }

    /// A block with one transfer.
    pub(crate) fn pay(&mut self) -> Block {
        let bytes = User::new(0).call(self.nonce, Address::repeat_byte(7), 1, Vec::new());
        self.nonce += 1;
        self.add(vec![bytes])
    }

    /// The block that closes the slot.
    pub(crate) fn seal(&mut self) -> Block {
        let open = open_slot_after(GENESIS_MS, self.ledger.head().header.as_ref());
        self.add_at(
            GENESIS_MS + (open.0 + 1) * SLOT_MS + 1,
            Vec::new(),
            Vec::new(),
        )
    }

    /// Shuts a validator out for having signed twice, as the next seal does.
    pub(crate) fn shut_out(&mut self) -> NodeId {
        let caught = self.ledger.head().validators.list()[1].node;
        let vote = |block| {
            let vote = Vote {
                kind: VoteKind::Precommit,
                height: self.ledger.head().height,
                round: 0,
                block: Some(BlockId(B256::repeat_byte(block))),
                voter: caught,
            };
            SignedVote {
                vote,
                signature: self.sign(caught, &vote),
            }
        };
        let evidence = Evidence::votes(vote(1), vote(2));
        let time = self.time_ms() + 1_000;
        self.add_at(time, Vec::new(), vec![evidence]);
        self.seal();
        assert!(self.ledger.head().validators.get(caught).is_none());
        caught
    }

    pub(crate) fn time_ms(&self) -> u64 {
        let head = self.ledger.head();
        head.header.map_or(GENESIS_MS, |header| header.time_ms)
    }

    fn sign(&self, node: NodeId, vote: &Vote) -> lucid_chain_types::Signature {
        let bytes = vote_sign_bytes(self.ledger.genesis_hash(), vote);
        lucid_chain_types::Signature(self.nodes[&node].consensus.sign(&bytes).to_bytes())
    }

    fn add_at(
        &mut self,
        time_ms: u64,
        transactions: Vec<Vec<u8>>,
        evidence: Vec<Evidence>,
    ) -> Block {
        let proposal = self.proposal(time_ms, transactions, evidence);
        let built = self.ledger.build(proposal).unwrap();
        assert!(built.left_out.is_empty(), "{:?}", built.left_out);
        self.take(built)
    }

    /// What the leader of the first round would propose.
    pub(crate) fn proposal(
        &self,
        time_ms: u64,
        transactions: Vec<Vec<u8>>,
        evidence: Vec<Evidence>,
    ) -> Proposal {
        let head = self.ledger.head();
        let slot = open_slot_after(GENESIS_MS, head.header.as_ref());
        let proposer = head.order[0];
        let input = vrf_input(self.ledger.genesis_hash(), slot, head.id);
        Proposal {
            time_ms,
            round: 0,
            proposer,
            vrf_proof: self.nodes[&proposer].vrf.prove(&input),
            last_commit: self.ledger.certificate(head.height).unwrap(),
            evidence,
            transactions,
        }
    }

    /// Certifies and commits a block that was built on the head.
    pub(crate) fn take(&mut self, built: Built) -> Block {
        let signers = self.ledger.head().validators.len();
        let certificate = self.certify(&built.block, signers);
        self.ledger
            .commit(&built.block, built.executed, &certificate)
            .unwrap();
        built.block
    }

    /// A certificate of a block on the head by the first validators.
    pub(crate) fn certify(&self, block: &Block, signers: usize) -> Certificate {
        let set = self.ledger.head().validators;
        let signatures = set.list()[..signers].iter().map(|validator| {
            let vote = Vote {
                kind: VoteKind::Precommit,
                height: block.header.height,
                round: 0,
                block: Some(block.id()),
                voter: validator.node,
            };
            self.sign(validator.node, &vote)
        });
        Certificate {
            height: block.header.height,
            round: 0,
            block: block.id(),
            signatures: signatures.collect(),
            signers: SignerBitmap::new(set.len(), 0..signers),
        }
    }
}

/// Both have the same blocks, receipts and states from `from` on, and make the same of the next block.
pub(crate) fn assert_same(net: &mut Net, other: &Ledger, from: u64) {
    let height = net.ledger.head().height;
    assert_eq!(other.head().height, height);
    assert_eq!(other.head().id, net.ledger.head().id);
    assert_eq!(other.head().validators, net.ledger.head().validators);
    assert_eq!(other.head().order, net.ledger.head().order);
    assert_eq!(other.head().next, net.ledger.head().next);
    assert_eq!(other.state().root(), net.ledger.state().root());
    for height in (from..=height.0).map(Height) {
        assert_eq!(
            other.block(height).unwrap().unwrap(),
            net.ledger.block(height).unwrap().unwrap()
        );
        assert_eq!(
            other.receipts(height).unwrap().unwrap(),
            net.ledger.receipts(height).unwrap().unwrap()
        );
    }
    let block = net.pay();
    let executed = other.validate(&block).unwrap();
    let certificate = net
        .ledger
        .certificate(block.header.height)
        .unwrap()
        .unwrap();
    other.commit(&block, executed, &certificate).unwrap();
    assert_eq!(other.state().root(), net.ledger.state().root());
    let proof = other.finality_proof(block.header.height).unwrap();
    let verified = lucid_light::verify(&net.trusted(), &proof).unwrap();
    assert_eq!(verified.id(), block.id());
}

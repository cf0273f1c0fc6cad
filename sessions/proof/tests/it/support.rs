//! A chain with a few sessions on it.

use std::io::Cursor;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use lucid_chain_types::anchors::{
    BatchSent, CheckpointSent, Moment, anchor_id, batch_log_slot, batch_path, batch_root,
    checkpoint_leaf,
};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{Block, Height};
use lucid_client::anchors;
use lucid_format::merkle::{self, Log};
use lucid_format::{Hash, Recording, VerifyOptions};
use lucid_ledger::LedgerOptions;
use lucid_light::{Account, SlotProof, StateProof, TransactionProof, TrustedGenesis};
use lucid_proof::{
    BatchLeaf, Coverage, Evidence, Opening, Proof, ProofError, Recorded, Story, Transaction,
};

#[path = "../../../../blockchain/ledger/tests/it/support.rs"]
#[allow(dead_code, reason = "the ledger's tests use more of it")]
mod chain;
#[path = "../../../format/tests/it/support.rs"]
#[allow(dead_code, reason = "the format's tests use more of it")]
pub(crate) mod recordings;

pub(crate) use chain::{Net, User};
pub(crate) use recordings::{Scene, scene};

/// What sends transactions to the contract.
pub(crate) struct Sender {
    user: User,
    nonce: u64,
}

impl Sender {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            user: User::new(seed),
            nonce: 0,
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.user.address
    }

    pub(crate) fn call(&mut self, input: &Bytes) -> Vec<u8> {
        self.nonce += 1;
        self.user
            .call(self.nonce - 1, LUCID_ANCHORS, 0, input.to_vec())
    }
}

pub(crate) fn net() -> Net {
    Net::with(4, 3, LedgerOptions::default())
}

pub(crate) fn moment(block: &Block) -> Moment {
    Moment {
        height: block.header.height,
        time_s: block.header.time_ms / 1_000,
    }
}

pub(crate) fn word(hash: Hash) -> B256 {
    B256::new(hash.0)
}

pub(crate) fn addresses(scene: &Scene) -> Vec<Hash> {
    scene.chunks.iter().map(|chunk| Hash::of(chunk)).collect()
}

/// Salted root over the first chunks.
pub(crate) fn root_of(scene: &Scene, size: u32) -> B256 {
    let mut log = Log::default();
    for chunk in addresses(scene).into_iter().take(size as usize) {
        log.push(chunk).unwrap();
    }
    word(merkle::salted(&scene.head.head.salt, size, log.root()))
}

pub(crate) fn id(scene: &Scene) -> B256 {
    anchor_id(scene.id.0)
}

/// A session as it goes onto the chain.
pub(crate) struct Anchoring<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) story: Story,
}

impl<'a> Anchoring<'a> {
    pub(crate) fn open(
        net: &mut Net,
        scene: &'a Scene,
        opener: &mut Sender,
        owner: Address,
    ) -> Self {
        let ticket = &scene.head.ticket;
        let call = anchors::open(
            id(scene),
            owner,
            B256::new(ticket.session_key.0),
            word(ticket.policy),
        );
        let block = net.add(vec![opener.call(&call)]);
        let opened = Opening {
            owner,
            opener: opener.address(),
            registered: false,
            at: moment(&block),
        };
        Self {
            scene,
            story: Story {
                opened,
                checkpoints: Vec::new(),
                batches_start: B256::ZERO,
                batches: Vec::new(),
                closed: None,
            },
        }
    }

    pub(crate) fn checkpoint(&mut self, net: &mut Net, sender: &mut Sender, size: u32) {
        let root = root_of(self.scene, size);
        self.checkpoint_of(net, sender, size, root);
    }

    pub(crate) fn checkpoint_of(
        &mut self,
        net: &mut Net,
        sender: &mut Sender,
        size: u32,
        root: B256,
    ) {
        let call = anchors::checkpoint(id(self.scene), size.into(), root);
        let at = moment(&net.add(vec![sender.call(&call)]));
        self.story.checkpoints.push(CheckpointSent {
            size: size.into(),
            root,
            at,
        });
    }

    /// A batch of five checkpoints, one of them of this session unless `size` is `None`.
    pub(crate) fn batch(&mut self, net: &mut Net, sender: &mut Sender, size: Option<u32>) {
        let height = net.ledger.head().height.0;
        let mut leaves: Vec<B256> = (0..5u64)
            .map(|other| keccak256([other.to_be_bytes(), height.to_be_bytes()].concat()))
            .collect();
        if let Some(size) = size {
            leaves[2] = checkpoint_leaf(id(self.scene), size.into(), root_of(self.scene, size));
        }
        let root = batch_root(&leaves).unwrap();
        let at = moment(&net.add(vec![sender.call(&anchors::batch(root, 5))]));
        let leaf = size.map(|size| BatchLeaf {
            size,
            root: root_of(self.scene, size),
            path: batch_path(&leaves, 2).unwrap(),
        });
        self.story
            .batches
            .push((BatchSent { root, count: 5, at }, leaf));
    }

    pub(crate) fn close(&mut self, net: &mut Net, sender: &mut Sender) {
        let manifest = &self.scene.manifest;
        let call = anchors::close(
            id(self.scene),
            word(manifest.hash()),
            word(manifest.manifest.root),
            manifest.manifest.chunks.into(),
        );
        if self.story.batches.is_empty() {
            // What the closer had sent for other sessions is bound too.
            let sent = state(
                net,
                net.ledger.head().height,
                &[batch_log_slot(sender.address())],
            );
            self.story.batches_start = sent.slots[0].value.into();
        }
        let block = net.add(vec![sender.call(&call)]);
        self.story.closed = Some(moment(&block));
    }

    pub(crate) fn register(
        net: &mut Net,
        scene: &'a Scene,
        opener: &mut Sender,
        owner: Address,
    ) -> Self {
        let manifest = &scene.manifest;
        let call = anchors::register(
            id(scene),
            owner,
            B256::new(scene.head.ticket.session_key.0),
            word(manifest.hash()),
            word(manifest.manifest.root),
            manifest.manifest.chunks.into(),
        );
        let at = moment(&net.add(vec![opener.call(&call)]));
        let opened = Opening {
            owner,
            opener: opener.address(),
            registered: true,
            at,
        };
        Self {
            scene,
            story: Story {
                opened,
                checkpoints: Vec::new(),
                batches_start: B256::ZERO,
                batches: Vec::new(),
                closed: Some(at),
            },
        }
    }

    pub(crate) fn prove(&self, net: &Net, height: Height, most: Option<usize>) -> Proof {
        prove(net, self.scene, &self.story, height, most).unwrap()
    }
}

/// The proof of a story by the state at a height.
pub(crate) fn prove(
    net: &Net,
    scene: &Scene,
    story: &Story,
    height: Height,
    most: Option<usize>,
) -> Result<Proof, ProofError> {
    let transaction = story
        .closed
        .filter(|at| at.height == height)
        .map(|_| transaction(net, height, 0));
    let evidence = Evidence {
        finality: net.ledger.finality_proof(height).unwrap(),
        state: state(net, height, &story.slots(id(scene))),
        transaction,
    };
    let recorded = Recorded {
        head: scene.head.bytes(),
        manifest: story.closed.map(|_| scene.manifest.bytes()),
        chunks: &addresses(scene),
    };
    Proof::build(recorded, story, &evidence, most)
}

pub(crate) fn transaction(net: &Net, height: Height, index: usize) -> Transaction {
    let transactions = net.ledger.block(height).unwrap().unwrap().body.transactions;
    Transaction {
        bytes: transactions[index].clone(),
        place: TransactionProof::of(&transactions, index).unwrap().place,
    }
}

/// What `eth_getProof` tells.
pub(crate) fn state(net: &Net, height: Height, slots: &[alloy_primitives::U256]) -> StateProof {
    let proof = net
        .ledger
        .state_at(height)
        .unwrap()
        .proof(LUCID_ANCHORS, slots)
        .unwrap();
    let nodes = |nodes: &[Bytes]| nodes.iter().map(|node| node.to_vec()).collect();
    StateProof {
        address: proof.address,
        account: proof.account.map(|account| Account {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: proof.storage_root,
            code_hash: account.code_hash,
        }),
        nodes: nodes(&proof.account_proof),
        slots: proof
            .storage
            .iter()
            .map(|slot| SlotProof {
                slot: slot.key,
                value: slot.value,
                nodes: nodes(&slot.proof),
            })
            .collect(),
    }
}

/// What stands between a reader and the answer; the same as `lucid verify`.
pub(crate) fn check(
    recording: &[u8],
    proof: &[u8],
    genesis: &[u8],
) -> Result<Coverage, Box<dyn std::error::Error>> {
    let genesis = TrustedGenesis::parse(genesis)?;
    let anchored = Proof::decode(proof)?.verify(&genesis)?;
    let mut recording = Recording::open(Cursor::new(recording))?;
    let coverage = anchored.covers(&recording.head, &recording.manifest, &recording.index)?;
    lucid_format::verify(&mut recording, VerifyOptions::default())?;
    Ok(coverage)
}

//! Blocks with their receipts, as the methods need them, and a memory of the last few.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{B256, Bloom, keccak256};
use lucid_chain_types::{
    Block, BlockId, Body, Header, Height, NodeId, VRF_PROOF_BYTES, transactions_root,
};
use lucid_execution::{Receipt, logs_bloom};
use lucid_ledger::Ledger;

use crate::error::{CallError, CallResult};

/// Most blocks kept in memory, and most bytes of them: clients ask for the receipts of the last blocks over and over. With its
/// receipts a block of registrations takes three times its encoded bytes.
const MAX_BLOCKS: usize = 32;
const MAX_BYTES: usize = 4 << 20;
/// Blooms kept in memory, 256 bytes each: `eth_getLogs` skips blocks by them without reading their receipts.
const MAX_BLOOMS: usize = 1 << 16;

/// A block, its receipts, and what is computed from them.
pub(crate) struct Loaded {
    pub(crate) id: BlockId,
    pub(crate) header: Header,
    pub(crate) body: Body,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) bloom: Bloom,
    /// How many logs the block has before each transaction's.
    logs_before: Vec<u64>,
    /// Bytes of the encoded block.
    pub(crate) size: usize,
}

impl Loaded {
    pub(crate) fn height(&self) -> Height {
        self.header.height
    }

    /// Its time as Ethereum has it, s.
    pub(crate) fn timestamp(&self) -> u64 {
        self.header.time_ms / 1_000
    }

    pub(crate) fn hash_of(&self, index: usize) -> Option<B256> {
        self.body.transactions.get(index).map(keccak256)
    }

    /// How many logs the block has before a transaction's.
    pub(crate) fn logs_before(&self, index: usize) -> u64 {
        self.logs_before.get(index).copied().unwrap_or_default()
    }
}

/// The blocks of a ledger.
pub(crate) struct Blocks {
    genesis: Arc<Loaded>,
    recent: Mutex<VecDeque<Arc<Loaded>>>,
    blooms: Mutex<BTreeMap<u64, Bloom>>,
}

impl Blocks {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Self {
            genesis: Arc::new(genesis(ledger)),
            recent: Mutex::default(),
            blooms: Mutex::default(),
        }
    }

    /// The block at a height that is not above the head; genesis is a block here.
    pub(crate) fn get(&self, ledger: &Ledger, height: Height) -> CallResult<Arc<Loaded>> {
        if let Some(loaded) = self.remembered(height) {
            return Ok(loaded);
        }
        let loaded = Arc::new(read(ledger, height)?);
        self.remember(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// As [`Self::get`], for a walk over many blocks, which must not push out what others need.
    pub(crate) fn pass_by(&self, ledger: &Ledger, height: Height) -> CallResult<Arc<Loaded>> {
        match self.remembered(height) {
            Some(loaded) => Ok(loaded),
            None => Ok(Arc::new(read(ledger, height)?)),
        }
    }

    /// The bloom of a block's logs.
    pub(crate) fn bloom(&self, ledger: &Ledger, height: Height) -> CallResult<Bloom> {
        if height == Height::GENESIS {
            return Ok(Bloom::ZERO);
        }
        if let Some(bloom) = self
            .blooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&height.0)
        {
            return Ok(*bloom);
        }
        let bloom = bloom_of(&receipts(ledger, height)?);
        self.remember_bloom(height, bloom);
        Ok(bloom)
    }

    fn remembered(&self, height: Height) -> Option<Arc<Loaded>> {
        if height == Height::GENESIS {
            return Some(Arc::clone(&self.genesis));
        }
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .iter()
            .find(|loaded| loaded.height() == height)
            .cloned()
    }

    fn remember(&self, loaded: Arc<Loaded>) {
        self.remember_bloom(loaded.height(), loaded.bloom);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.iter().any(|other| other.height() == loaded.height()) {
            return;
        }
        recent.push_back(loaded);
        while recent.len() > MAX_BLOCKS
            || recent.len() > 1
                && recent.iter().map(|loaded| loaded.size).sum::<usize>() > MAX_BYTES
        {
            recent.pop_front();
        }
    }

    fn remember_bloom(&self, height: Height, bloom: Bloom) {
        let mut blooms = self.blooms.lock().unwrap_or_else(PoisonError::into_inner);
        blooms.insert(height.0, bloom);
        if blooms.len() > MAX_BLOOMS {
            blooms.pop_first();
        }
    }
}

fn not_kept(ledger: &Ledger, height: Height) -> CallError {
    CallError::NotKept {
        height,
        earliest: ledger.earliest(),
    }
}

fn receipts(ledger: &Ledger, height: Height) -> CallResult<Vec<Receipt>> {
    ledger
        .receipts(height)?
        .ok_or_else(|| not_kept(ledger, height))
}

fn read(ledger: &Ledger, height: Height) -> CallResult<Loaded> {
    let block = ledger
        .block(height)?
        .ok_or_else(|| not_kept(ledger, height))?;
    let receipts = receipts(ledger, height)?;
    let size = block.encode().len();
    let Block { header, body } = block;
    let logs_before = receipts
        .iter()
        .scan(0, |logs, receipt| {
            let before = *logs;
            *logs += receipt.logs.len() as u64;
            Some(before)
        })
        .collect();
    Ok(Loaded {
        id: header.id(),
        bloom: bloom_of(&receipts),
        logs_before,
        header,
        body,
        receipts,
        size,
    })
}

fn bloom_of(receipts: &[Receipt]) -> Bloom {
    logs_bloom(receipts.iter().flat_map(|receipt| &receipt.logs))
}

/// Genesis as a block: what tools that start at 0 expect to find.
fn genesis(ledger: &Ledger) -> Loaded {
    let genesis = ledger.genesis();
    let body = Body::default();
    let (gas_limit, base_fee) = first_gas(ledger);
    Loaded {
        id: BlockId(ledger.genesis_hash()),
        header: Header {
            version: Header::VERSION,
            chain_id: genesis.chain_id,
            height: Height::GENESIS,
            time_ms: genesis.time_ms,
            slot: lucid_chain_types::Slot(0),
            round: 0,
            seal: false,
            proposer: NodeId::default(),
            parent: BlockId::default(),
            last_commit_hash: B256::ZERO,
            transactions_root: transactions_root(&body.transactions),
            evidence_hash: B256::ZERO,
            state_root: genesis.state_root,
            receipts_root: B256::ZERO,
            gas_limit,
            gas_used: 0,
            base_fee,
            validators_hash: B256::ZERO,
            next_validators_hash: B256::ZERO,
            vrf_proof: [0; VRF_PROOF_BYTES],
        },
        body,
        receipts: Vec::new(),
        bloom: Bloom::ZERO,
        logs_before: Vec::new(),
        size: 0,
    }
}

/// Gas limit and base fee of the first block, which genesis shares: there is nothing before it that could move them.
fn first_gas(ledger: &Ledger) -> (u64, u64) {
    if let Ok(Some(first)) = ledger.header(Height(1)) {
        return (first.gas_limit, first.base_fee);
    }
    let next = ledger.head().next;
    (next.gas_limit, next.base_fee)
}

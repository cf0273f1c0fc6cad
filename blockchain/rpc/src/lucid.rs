//! Lucid's own methods: slots, schedules, validators, work, certificates, proofs.

use alloy_eips::{BlockId as BlockParam, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use lucid_chain_types::{Height, NodeId, SLOT_MS, Slot, ValidatorSet, open_slot_after};
use lucid_client::wire::{
    BlockInfo, CertificateInfo, LeaderInfo, Mempool, Parameter, PeerInfo, Reason, Schedule,
    SlotInfo, Status, Validators, Work,
};
use lucid_poot::LeadReason;
use serde::{Deserialize, Deserializer};

use crate::backend::Backend;
use crate::contracts;
use crate::error::{CallError, CallResult};
use crate::params::{Arguments, Number};

/// A block as people and programs name it: a number, in hex or not, a tag, or an id.
struct AnyBlock(BlockParam);

impl<'de> Deserialize<'de> for AnyBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Hash(B256),
            Tag(BlockNumberOrTag),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Number(number) => BlockNumberOrTag::Number(number).into(),
            Either::Hash(hash) => hash.into(),
            Either::Tag(tag) => tag.into(),
        }))
    }
}

fn any_block(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<Height>> {
    let block = args
        .optional::<AnyBlock>("block")?
        .map_or_else(BlockParam::default, |block| block.0);
    node.find(block)
}

pub(crate) fn status(node: &Backend, _: &mut Arguments<'_>) -> CallResult<Status> {
    let genesis = node.ledger.genesis();
    let head = node.ledger.head();
    let block = node.blocks.get(&node.ledger, head.height)?;
    let sync = *node.network.sync.borrow();
    let pool = node.pool.status();
    Ok(Status {
        version: node.network.version.clone(),
        chain_id: genesis.chain_id,
        genesis_hash: node.ledger.genesis_hash(),
        genesis_time_ms: genesis.time_ms,
        height: head.height,
        block: block.id,
        block_time_ms: block.header.time_ms,
        slot: block.header.slot,
        state_root: block.header.state_root,
        base_fee: block.header.base_fee,
        gas_limit: block.header.gas_limit,
        earliest: node.ledger.earliest(),
        validators: head.validators.len(),
        node: node.network.node,
        peers: node.network.peers.borrow().len(),
        syncing: sync.syncing,
        highest: sync.highest.max(head.height),
        mempool: Mempool {
            pending: pool.pending,
            queued: pool.queued,
            bytes: pool.bytes,
        },
    })
}

pub(crate) fn block(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<BlockInfo>> {
    let Some(height) = any_block(node, args)? else {
        return Ok(None);
    };
    if height != Height::GENESIS && height < node.ledger.earliest() {
        return Ok(None);
    }
    let block = node.blocks.get(&node.ledger, height)?;
    let header = &block.header;
    Ok(Some(BlockInfo {
        id: block.id,
        height,
        time_ms: header.time_ms,
        slot: header.slot,
        round: header.round,
        seal: header.seal,
        proposer: header.proposer,
        parent: header.parent,
        state_root: header.state_root,
        transactions_root: header.transactions_root,
        receipts_root: header.receipts_root,
        validators_hash: header.validators_hash,
        next_validators_hash: header.next_validators_hash,
        gas_limit: header.gas_limit,
        gas_used: header.gas_used,
        base_fee: header.base_fee,
        size: block.size,
        transactions: (0..block.body.transactions.len())
            .filter_map(|index| block.hash_of(index))
            .collect(),
        evidence: block.body.evidence.len(),
        header: if height == Height::GENESIS {
            Bytes::new()
        } else {
            header.encode().into()
        },
    }))
}

fn open_slot(node: &Backend) -> Slot {
    open_slot_after(
        node.ledger.genesis().time_ms,
        node.ledger.head().header.as_ref(),
    )
}

pub(crate) fn slot(node: &Backend, args: &mut Arguments<'_>) -> CallResult<SlotInfo> {
    let open = open_slot(node);
    let slot = args
        .optional::<Number>("slot")?
        .map_or(open, |number| Slot(number.0));
    let record = node.ledger.leader_record(slot)?;
    let start_ms = slot
        .0
        .saturating_mul(SLOT_MS)
        .saturating_add(node.ledger.genesis().time_ms);
    Ok(SlotInfo {
        slot,
        start_ms,
        end_ms: start_ms.saturating_add(SLOT_MS),
        open: slot == open,
        record: record.map(|record| LeaderInfo {
            primary: record.primary,
            fallbacks: record.fallbacks,
            winner: record.winner,
            reason: match record.reason {
                LeadReason::Primary => Reason::Primary,
                LeadReason::Fallback => Reason::Fallback,
                LeadReason::Late => Reason::Late,
            },
        }),
    })
}

pub(crate) fn schedule(node: &Backend, _: &mut Arguments<'_>) -> CallResult<Schedule> {
    let head = node.ledger.head();
    let (next_slot, next_order) = contracts::next_order(node, head.height)?;
    Ok(Schedule {
        height: head.height.next(),
        slot: open_slot_after(node.ledger.genesis().time_ms, head.header.as_ref()),
        order: head.order,
        next_slot,
        next_order,
    })
}

/// The set that votes on a height, up to the one after the head.
fn set_of(node: &Backend, height: Height) -> CallResult<ValidatorSet> {
    let head = node.ledger.head();
    if height == head.height.next() {
        return Ok(head.validators);
    }
    let not_kept = || {
        CallError::Refused(format!(
            "the validators of height {height} are not known here"
        ))
    };
    let header = node.ledger.header(height)?.ok_or_else(not_kept)?;
    node.ledger
        .validator_set(header.validators_hash)?
        .ok_or_else(not_kept)
}

pub(crate) fn validators(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Validators> {
    let height = args.optional::<Number>("height")?.map_or_else(
        || node.ledger.head().height.next(),
        |number| Height(number.0),
    );
    let set = set_of(node, height)?;
    Ok(Validators {
        height,
        hash: set.hash(),
        quorum: set.quorum(),
        validators: set.list().to_vec(),
    })
}

pub(crate) fn params(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Vec<Parameter>> {
    let height = any_block(node, args)?.ok_or(CallError::UnknownBlock)?;
    contracts::params(node, height)
}

pub(crate) fn work(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<Work>> {
    let entity: NodeId = args.next("node")?;
    let height = any_block(node, args)?.ok_or(CallError::UnknownBlock)?;
    contracts::work(node, height, entity)
}

pub(crate) fn certificate(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<CertificateInfo>> {
    let Some(height) = any_block(node, args)? else {
        return Ok(None);
    };
    let Some(certificate) = node.ledger.certificate(height)? else {
        return Ok(None);
    };
    let set = set_of(node, height)?;
    let signers = certificate
        .signers
        .signers()
        .filter_map(|index| set.list().get(index))
        .map(|validator| validator.node)
        .collect();
    let encoded =
        borsh::to_vec(&certificate).map_err(|error| CallError::Internal(error.to_string()))?;
    Ok(Some(CertificateInfo {
        height,
        round: certificate.round,
        block: certificate.block,
        signers,
        certificate: encoded.into(),
    }))
}

pub(crate) fn finality_proof(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Bytes> {
    let height = Height(args.next::<Number>("height")?.0);
    if height > node.height() {
        return Err(CallError::UnknownBlock);
    }
    Ok(node.ledger.finality_proof(height)?.encode().into())
}

pub(crate) fn peers(node: &Backend, _: &mut Arguments<'_>) -> CallResult<Vec<PeerInfo>> {
    Ok(node.network.peers.borrow().clone())
}

//! From a final block to changes of the collections.

use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall as _;
use lucid_chain_types::Header;
use lucid_chain_types::contracts::{LUCID_ANCHORS, LUCID_CHUNK_STORE, WORK_CREDITS};
use lucid_execution::{Log, Receipt, SystemRecord, Tallied};
use lucid_poot::{LeaderRecord, TaskKind, score};

use crate::documents::{
    Chunk, Holder, LeadResult, Leader, Session, SessionPlace, SessionStatus, Tally, TaskProof,
};
use crate::events::{anchors, chunks, read, work};
use crate::key::task_kind;
use crate::{Change, Key, ModelError};

/// Slots of an epoch of `work_tally`: an hour, as WorkCredits sums work up.
pub const SLOTS_PER_EPOCH: u64 = 30;

/// A final block, as far as the collections are made of it.
#[derive(Debug, Clone, Copy)]
pub struct BlockView<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its transactions, encoded; may be left out unless [`needs_transactions`].
    pub transactions: &'a [Vec<u8>],
    /// Their receipts.
    pub receipts: &'a [Receipt],
    /// What its own calls left behind.
    pub system: &'a SystemRecord,
    /// Who led the slot, if it seals one.
    pub leader: Option<&'a LeaderRecord>,
}

/// Whether a block with these receipts is about anything in the collections, so that its transactions are looked at.
pub fn needs_transactions(receipts: &[Receipt]) -> bool {
    let mut logs = receipts.iter().flat_map(|receipt| &receipt.logs);
    logs.any(|log| [LUCID_ANCHORS, LUCID_CHUNK_STORE, WORK_CREDITS].contains(&log.address))
}

/// Where and when something happened.
#[derive(Clone, Copy)]
struct At {
    height: u64,
    ts: u64,
    tx: B256,
}

/// What a block changes, in order. The same for the same block, always.
pub fn project(block: &BlockView<'_>) -> Result<Vec<Change>, ModelError> {
    let mut changes = Vec::new();
    let mut at = At {
        height: block.header.height.0,
        ts: block.header.time_ms,
        tx: B256::ZERO,
    };
    for (index, receipt) in block.receipts.iter().enumerate() {
        if !needs_transactions(std::slice::from_ref(receipt)) {
            continue;
        }
        let transaction = block.transactions.get(index).ok_or_else(|| {
            ModelError::damaged(
                format!("block {}", block.header.height),
                format!("receipt {index} has no transaction"),
            )
        })?;
        at.tx = keccak256(transaction);
        let mut claims = None;
        for log in &receipt.logs {
            match log.address {
                LUCID_ANCHORS => session(log, at, &mut changes)?,
                LUCID_CHUNK_STORE => chunk(log, at, &mut changes)?,
                WORK_CREDITS => {
                    let claims = claims.get_or_insert_with(|| submitted(transaction));
                    accepted(log, at, claims, &mut changes)?;
                }
                _ => {}
            }
        }
    }
    for log in &block.system.logs {
        counted(log, at, &mut changes)?;
    }
    tally(block, at, &mut changes)?;
    if let Some(record) = block.leader {
        let leader = Leader {
            primary: record.primary.0,
            fallbacks: record.fallbacks.iter().map(|node| node.0).collect(),
            result: LeadResult {
                winner: record.winner.0,
                reason: record.reason,
            },
            height: at.height,
            ts: at.ts,
        };
        changes.push(Change::set(Key::leader(record.slot.0), &leader)?);
    }
    Ok(changes)
}

fn session(log: &Log, at: At, changes: &mut Vec<Change>) -> Result<(), ModelError> {
    let At { height, ts, tx } = at;
    let mut listed = None;
    let (id, fields) = if let Some(event) = read::<anchors::SessionOpened>(log) {
        listed = Some(event.id);
        let opened = Session {
            status: Some(SessionStatus::Open),
            owner: Some(event.owner),
            opener: Some(event.opener),
            session_key: Some(event.sessionKey),
            policy_hash: Some(event.policyHash),
            opened_height: Some(height),
            opened_at: Some(ts),
            opened_tx: Some(tx),
            ..Session::default()
        };
        (event.id, opened)
    } else if let Some(event) = read::<anchors::Checkpoint>(log) {
        let checkpoint = Session {
            // Only an open session can be checkpointed; it may have been opened before the first block that is here.
            status: Some(SessionStatus::Open),
            checkpoint_size: Some(event.size),
            checkpoint_root: Some(event.root),
            checkpoint_height: Some(height),
            checkpoint_at: Some(ts),
            ..Session::default()
        };
        (event.id, checkpoint)
    } else if let Some(event) = read::<anchors::SessionClosed>(log) {
        let closed = Session {
            status: Some(SessionStatus::Closed),
            owner: Some(event.owner),
            manifest_hash: Some(event.manifestHash),
            merkle_root: Some(event.merkleRoot),
            chunk_count: Some(event.chunkCount),
            closed_height: Some(height),
            closed_at: Some(ts),
            closed_tx: Some(tx),
            ..Session::default()
        };
        (event.id, closed)
    } else if let Some(event) = read::<anchors::SessionRegistered>(log) {
        listed = Some(event.id);
        let registered = Session {
            status: Some(SessionStatus::Closed),
            owner: Some(event.owner),
            session_key: Some(event.sessionKey),
            manifest_hash: Some(event.manifestHash),
            merkle_root: Some(event.merkleRoot),
            chunk_count: Some(event.chunkCount),
            opened_height: Some(height),
            opened_at: Some(ts),
            opened_tx: Some(tx),
            closed_height: Some(height),
            closed_at: Some(ts),
            closed_tx: Some(tx),
            ..Session::default()
        };
        (event.id, registered)
    } else {
        return Ok(());
    };
    changes.push(Change::set(Key::session(id), &fields)?);
    if let Some(id) = listed {
        let key = Key::session_order(height, id);
        changes.push(Change::set(key, &SessionPlace {})?);
    }
    Ok(())
}

fn chunk(log: &Log, at: At, changes: &mut Vec<Change>) -> Result<(), ModelError> {
    let At { height, ts, tx } = at;
    if let Some(event) = read::<chunks::ChunkCommitted>(log) {
        let fields = Chunk {
            hash: event.chunkHash,
            number: event.number,
            size: event.size,
            expiry: event.expiry,
            height,
            ts,
            tx,
        };
        changes.push(Change::set(
            Key::chunk(event.sessionId, event.index),
            &fields,
        )?);
    } else if let Some(event) = read::<chunks::CustodyAccepted>(log) {
        let key = Key::holder(event.number, event.node);
        changes.push(Change::set(key, &Holder { height, ts, tx })?);
    } else if let Some(event) = read::<chunks::CustodyReleased>(log) {
        let key = Key::holder(event.number, event.node);
        changes.push(Change::Remove { key });
    }
    Ok(())
}

/// The claims that a transaction brings.
fn submitted(transaction: &[u8]) -> Vec<work::TaskProof> {
    let Ok(envelope) = TxEnvelope::decode_2718_exact(transaction) else {
        return Vec::new();
    };
    work::submitCall::abi_decode(envelope.input())
        .map(|call| call.proofs)
        .unwrap_or_default()
}

/// A claim was accepted.
fn accepted(
    log: &Log,
    at: At,
    claims: &[work::TaskProof],
    changes: &mut Vec<Change>,
) -> Result<(), ModelError> {
    let Some(event) = read::<work::ProofAccepted>(log) else {
        return Ok(());
    };
    let Some(kind) = task_kind(event.kind) else {
        return Ok(());
    };
    let claim = claims
        .iter()
        .find(|claim| (claim.node, claim.slot, claim.kind) == (event.node, event.slot, event.kind));
    let sig = claim
        .map(|claim| claim.signature.clone())
        .filter(|signature: &Bytes| !signature.is_empty());
    let proof = TaskProof {
        value: event.value,
        sig,
        ts: at.ts,
        height: at.height,
        tx: Some(at.tx),
    };
    changes.push(Change::set(
        Key::task_proof(event.slot, event.node, kind),
        &proof,
    )?);
    Ok(())
}

/// The seal counted a node's work of the slot.
fn counted(log: &Log, at: At, changes: &mut Vec<Change>) -> Result<(), ModelError> {
    if log.address != WORK_CREDITS {
        return Ok(());
    }
    let Some(event) = read::<work::Credited>(log) else {
        return Ok(());
    };
    // What was claimed is there as a claim, of the slot that it was claimed for; this is the slot that it counts in.
    let (kind, value) = match task_kind(event.kind) {
        Some(TaskKind::Validation) => (TaskKind::Validation, event.value),
        Some(TaskKind::Uptime) => (TaskKind::Uptime, 1),
        _ => return Ok(()),
    };
    let proof = TaskProof {
        value,
        sig: None,
        ts: at.ts,
        height: at.height,
        tx: None,
    };
    changes.push(Change::set(
        Key::task_proof(event.slot, event.node, kind),
        &proof,
    )?);
    Ok(())
}

fn tally(block: &BlockView<'_>, at: At, changes: &mut Vec<Change>) -> Result<(), ModelError> {
    let slot = block.header.slot.0;
    let votes = |entry: &&Tallied| entry.validator && !entry.jailed;
    let tally = &block.system.tally;
    let scores: Vec<u64> = tally
        .iter()
        .filter(votes)
        .map(|entry| score(&entry.standing))
        .collect();
    for entry in tally {
        let entity: Address = entry.standing.node.0;
        let live_score = score(&entry.standing);
        let better = scores.iter().filter(|other| **other > live_score).count();
        let rank = Some(entry)
            .filter(votes)
            .and_then(|_| u32::try_from(better + 1).ok());
        let document = Tally {
            credits: entry.standing.work,
            timeouts: entry.standing.timeouts,
            live_score,
            rank,
            validator: entry.validator,
            jailed: entry.jailed,
            slot,
            height: at.height,
            ts: at.ts,
        };
        changes.push(Change::set(
            Key::tally(slot / SLOTS_PER_EPOCH, entity),
            &document,
        )?);
    }
    Ok(())
}

//! The documents. Names are those of the specification where it has them; heights, slots, counts and times (`ts` and `…At`, Unix ms) are
//! numbers, hashes and accounts hex.
//!
//! A block gives a document only the fields that it knows of, so most are optional: of a session that was opened before the first
//! block that is here, only what came later is known. A document has its key's fields and `_id` besides.

use alloy_primitives::{Address, B256, Bytes};
use lucid_poot::{LeadReason, Work};
use serde::{Deserialize, Serialize};

/// What a session is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// It runs.
    Open,
    /// It is over: closed, or registered when it was.
    Closed,
}

/// `sessions`, by `_id`: the session's id as the chain has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<SessionStatus>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Address>,
    /// Who opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opener: Option<Address>,
    /// Key that signs its records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<B256>,
    /// Hash of the policy it runs under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<B256>,
    /// Records that its last own checkpoint covers. Checkpoints in batches do not show whose they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_size: Option<u64>,
    /// Their Merkle root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_root: Option<B256>,
    /// Block of that checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_height: Option<u64>,
    /// Its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_at: Option<u64>,
    /// Hash of the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_hash: Option<B256>,
    /// Merkle root over all chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merkle_root: Option<B256>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_count: Option<u64>,
    /// Block in which it was opened or registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_height: Option<u64>,
    /// Its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<u64>,
    /// The transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_tx: Option<B256>,
    /// Block in which it was closed or registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_height: Option<u64>,
    /// Its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<u64>,
    /// The transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_tx: Option<B256>,
}

/// `chunks`, by `session_id` and `idx`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// Hash of the encrypted chunk.
    pub hash: B256,
    /// Its number in the chunk store.
    pub number: u64,
    /// Its bytes.
    pub size: u32,
    /// The slot that the commitment paid until.
    pub expiry: u64,
    /// Block of the commitment.
    pub height: u64,
    /// Its time.
    pub ts: u64,
    /// The transaction.
    pub tx: B256,
}

/// `chunk_holders`, by `number` and `nodeId`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Block in which the node said so.
    pub height: u64,
    /// Its time.
    pub ts: u64,
    /// The transaction.
    pub tx: B256,
}

/// `session_order`, by `height` and `session_id`: nothing but its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPlace {}

/// `task_proofs`, by `slot`, `nodeId` and `type`.
///
/// Relay and storage are claims that were accepted. Validation is counted from certificates when the slot is sealed. Uptime is 1 where
/// the node was seen in the slot, by a beacon or a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskProof {
    /// How much, in the kind's unit.
    pub value: u64,
    /// The node's signature of its claim; none where the chain counted, or the node sent the transaction itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig: Option<Bytes>,
    /// Time of the block.
    pub ts: u64,
    /// The block.
    pub height: u64,
    /// The transaction, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx: Option<B256>,
}

/// `work_tally`, by `epoch` and `entityId`: as the last seal of the hour left it, so the newest epoch is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Work within the window of seven days.
    pub credits: Work,
    /// Proposals missed within it.
    pub timeouts: u64,
    /// What PoOT makes of both.
    pub live_score: u64,
    /// Place among the validators by score, from 1; equals share one. None for who is no validator.
    pub rank: Option<u32>,
    /// Whether it votes.
    pub validator: bool,
    /// Whether it is shut out for good.
    pub jailed: bool,
    /// The slot that was sealed.
    pub slot: u64,
    /// The block that sealed it.
    pub height: u64,
    /// Its time.
    pub ts: u64,
}

/// `leader_schedule`, by `slot`: slots that were sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// Who was to lead.
    pub primary: Address,
    /// Who was to step in, in order.
    pub fallbacks: Vec<Address>,
    /// What came of it.
    pub result: LeadResult,
    /// The block that sealed the slot.
    pub height: u64,
    /// Its time.
    pub ts: u64,
}

/// Who led a slot, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadResult {
    /// Who.
    pub winner: Address,
    /// Why.
    pub reason: LeadReason,
}

//! Answers of the `lucid_` methods. Heights, slots, counts and times are JSON numbers; amounts of coins are hex strings, as in
//! Ethereum's methods.

use alloy_primitives::{Address, B256, Bytes, U256};
use lucid_chain_types::{BlockId, Height, NodeId, Slot, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `lucid_status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The program and its version.
    pub version: String,
    /// The EVM's chain id.
    pub chain_id: u64,
    /// The chain's name in every signature.
    pub genesis_hash: B256,
    /// When slot 0 began, ms since the Unix epoch.
    pub genesis_time_ms: u64,
    /// The last final block.
    pub height: Height,
    /// Its id; the genesis hash at height 0.
    pub block: BlockId,
    /// Its time, ms since the Unix epoch.
    pub block_time_ms: u64,
    /// Its slot.
    pub slot: Slot,
    /// The state's root after it.
    pub state_root: B256,
    /// Its base fee, wei a gas.
    pub base_fee: u64,
    /// Its gas limit.
    pub gas_limit: u64,
    /// First block that is kept here.
    pub earliest: Height,
    /// How many validators decide the next block.
    pub validators: usize,
    /// The validator this node is, if it is one.
    pub node: Option<NodeId>,
    /// Connected peers.
    pub peers: usize,
    /// Whether it is catching up.
    pub syncing: bool,
    /// The highest height told of while it is.
    pub highest: Height,
    /// Transactions that wait.
    pub mempool: Mempool,
}

/// Transactions that wait at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mempool {
    /// That could be in the next block.
    pub pending: usize,
    /// That wait for an earlier nonce.
    pub queued: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// `lucid_block`: what Ethereum's block has no place for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockInfo {
    /// Its id.
    pub id: BlockId,
    /// Its number.
    pub height: Height,
    /// When it was proposed, ms since the Unix epoch.
    pub time_ms: u64,
    /// The slot it belongs to.
    pub slot: Slot,
    /// The round it was first proposed in.
    pub round: u32,
    /// Whether it closes its slot.
    pub seal: bool,
    /// Who made it.
    pub proposer: NodeId,
    /// The block before.
    pub parent: BlockId,
    /// State root after it.
    pub state_root: B256,
    /// Of its transactions.
    pub transactions_root: B256,
    /// Of their receipts.
    pub receipts_root: B256,
    /// The set that votes on it.
    pub validators_hash: B256,
    /// The set that votes on the next.
    pub next_validators_hash: B256,
    /// Most gas.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Wei a gas.
    pub base_fee: u64,
    /// Bytes.
    pub size: usize,
    /// Its transactions.
    pub transactions: Vec<B256>,
    /// Validators it shows to have signed two things.
    pub evidence: usize,
    /// The header's canonical encoding, of which the id is the hash; empty for genesis.
    pub header: Bytes,
}

/// Why a node led a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It was first in rank.
    Primary,
    /// Those before it missed their turn.
    Fallback,
    /// The slot was sealed after its time.
    Late,
}

/// `lucid_slot`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotInfo {
    /// The slot.
    pub slot: Slot,
    /// Its first moment, ms since the Unix epoch.
    pub start_ms: u64,
    /// The first moment after it.
    pub end_ms: u64,
    /// Whether it is the open one.
    pub open: bool,
    /// Who led it, once it is sealed. Slots that nobody sealed have no record.
    pub record: Option<LeaderInfo>,
}

/// A sealed slot's leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderInfo {
    /// First in rank.
    pub primary: NodeId,
    /// The others in rank.
    pub fallbacks: Vec<NodeId>,
    /// Who sealed it.
    pub winner: NodeId,
    /// Why it.
    pub reason: Reason,
}

/// `lucid_schedule`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The height to be decided.
    pub height: Height,
    /// The open slot.
    pub slot: Slot,
    /// Who leads round 0, 1, … of the height.
    pub order: Vec<NodeId>,
    /// The slot after, as far as it is known.
    pub next_slot: Slot,
    /// Its order.
    pub next_order: Vec<NodeId>,
}

/// `lucid_validators`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validators {
    /// The height they decide.
    pub height: Height,
    /// Hash of the set, as in the header.
    pub hash: B256,
    /// Votes that decide.
    pub quorum: usize,
    /// The validators, by node.
    pub validators: Vec<Validator>,
}

/// `lucid_params`: one governed parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// Its key, such as `maxChunkSize`.
    pub key: String,
    /// Its value.
    pub value: U256,
    /// The least it may be.
    pub min: U256,
    /// The most.
    pub max: U256,
}

/// A parameter's key from its 32 bytes: text, filled up with zeros.
pub fn parameter_key(bytes: B256) -> String {
    String::from_utf8_lossy(bytes.as_slice())
        .trim_end_matches('\0')
        .to_owned()
}

/// `lucid_work`: what a node has done within the window, and what it got for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The node.
    pub node: NodeId,
    /// Whether it votes.
    pub validator: bool,
    /// Whether it was shut out.
    pub jailed: bool,
    /// MiB relayed.
    pub relay: u64,
    /// GiB-slots stored.
    pub storage: u64,
    /// Signatures in certificates.
    pub validation: u64,
    /// Slots seen up.
    pub uptime: u64,
    /// Proposals it let time out.
    pub timeouts: u64,
    /// What these come to in the ranking.
    pub score: u64,
    /// The slot it last led.
    pub last_led: Option<Slot>,
    /// The slot it joined in.
    pub joined: Slot,
    /// Share of slots seen up, in ten thousandths.
    pub uptime_bps: u16,
    /// Earned so far, wei.
    pub earned: U256,
    /// Whether it may vote on proposals.
    pub eligible: bool,
}

/// `lucid_certificate`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateInfo {
    /// The block's height.
    pub height: Height,
    /// The round it was decided in.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// Who signed.
    pub signers: Vec<NodeId>,
    /// Its canonical encoding.
    pub certificate: Bytes,
}

/// `lucid_snapshot`: the newest snapshot that a node keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    /// The block after which it is the state.
    pub height: Height,
    /// Its manifest, in base64.
    pub manifest: String,
}

/// `lucid_readModel`: how far the read model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// `embedded` or `mongodb`; none until its database was reached.
    pub store: Option<String>,
    /// The first block in it.
    pub from: Option<Height>,
    /// The last.
    pub height: Option<Height>,
    /// The chain's last block.
    pub head: Height,
    /// The first block that is kept here: what it could be made from.
    pub earliest: Height,
    /// Whether it has everything since genesis.
    pub complete: bool,
    /// What keeps it from following the chain.
    pub trouble: Option<String>,
}

/// Collections of the read model that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelCollection {
    /// In the order in which they came.
    Sessions,
    /// With those who hold them.
    Chunks,
    /// Work by slot and node.
    TaskProofs,
    /// The tally by hour and node.
    WorkTally,
    /// Who led which slot.
    LeaderSchedule,
}

impl ModelCollection {
    /// The method that gives its pages.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Sessions => "lucid_sessions",
            Self::Chunks => "lucid_chunks",
            Self::TaskProofs => "lucid_taskProofs",
            Self::WorkTally => "lucid_workTally",
            Self::LeaderSchedule => "lucid_leaderSchedule",
        }
    }
}

/// What to look for in the read model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ModelQuery {
    /// A key, or its first parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The largest key first.
    pub newest_first: bool,
}

/// Documents of the read model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelPage {
    /// They.
    pub items: Vec<Value>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// `lucid_peers`: a connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerInfo {
    /// Its network identity.
    pub id: String,
    /// Where it is connected from or to.
    pub address: String,
    /// Whether it called this node.
    pub inbound: bool,
    /// Its score; higher is better.
    pub score: f64,
    /// Its operator, where that is known.
    pub node: Option<Address>,
    /// The highest height it told of.
    pub height: Option<Height>,
}

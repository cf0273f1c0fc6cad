//! What this node counts of its own work; [`lucid_rpc::metrics`] lists and describes all of it.

use std::time::Duration;

use lucid_chain_types::{Certificate, Header, Height};
use lucid_custody::tally::Tally;
use lucid_ledger::PoolStatus;
use lucid_rpc::SyncProgress;
use lucid_rpc::metrics as table;

pub(crate) fn round(height: Height, round: u32) {
    table::CONSENSUS_HEIGHT.set_count(height.0);
    table::CONSENSUS_ROUND.set_count(round.into());
    if round > 0 {
        table::CONSENSUS_LATE_ROUNDS.add(1);
    }
}

pub(crate) fn built(took: Duration) {
    table::BLOCKS_PROPOSED.add(1);
    table::BLOCK_BUILD.observe(took.as_secs_f64());
}

pub(crate) fn checked(took: Duration) {
    table::BLOCK_CHECK.observe(took.as_secs_f64());
}

/// A proposal came in, made at `time_ms` by its leader's clock.
pub(crate) fn proposal_time(now_ms: u64, time_ms: u64) {
    let ahead = Duration::from_millis(now_ms.abs_diff(time_ms)).as_secs_f64();
    table::CLOCK_SKEW.set(if now_ms < time_ms { -ahead } else { ahead });
}

/// A round that this node led passed without a decision.
pub(crate) fn missed() {
    table::CONSENSUS_MISSED.add(1);
}

pub(crate) fn disk_used(bytes: u64) {
    table::DISK_USED.set_count(bytes);
}

/// The read model has all blocks up to this one.
pub(crate) fn read_model(height: Height) {
    table::READ_MODEL_HEIGHT.set_count(height.0);
}

pub(crate) fn refused_block() {
    table::BLOCKS_REFUSED.add(1);
}

pub(crate) fn equivocation() {
    table::EQUIVOCATIONS.add(1);
}

pub(crate) fn committed(
    header: &Header,
    transactions: usize,
    certificate: &Certificate,
    now_ms: u64,
    took: Duration,
) {
    table::CHAIN_HEIGHT.set_count(header.height.0);
    table::CHAIN_SLOT.set_count(header.slot.0);
    table::CHAIN_BLOCK_TIME.set(Duration::from_millis(header.time_ms).as_secs_f64());
    table::CHAIN_BASE_FEE.set_count(header.base_fee);
    table::CHAIN_GAS_LIMIT.set_count(header.gas_limit);
    table::CHAIN_GAS.add(header.gas_used);
    table::CHAIN_TRANSACTIONS.add(transactions as u64);
    table::CONSENSUS_SIGNERS.set_count(certificate.signatures.len() as u64);
    table::BLOCK_COMMIT.observe(took.as_secs_f64());
    let age = Duration::from_millis(now_ms.saturating_sub(header.time_ms));
    table::BLOCK_FINALITY.observe(age.as_secs_f64());
    if header.seal {
        table::SLOTS_SEALED.add(1);
    }
}

/// What is seen from time to time, not as it happens.
pub(crate) struct Surroundings {
    pub(crate) pool: PoolStatus,
    pub(crate) pool_capacity: usize,
    pub(crate) peers: usize,
    pub(crate) banned: u64,
    pub(crate) dropped: u64,
    pub(crate) refused_signatures: u64,
    pub(crate) disk_free: u64,
    pub(crate) validators: usize,
    pub(crate) oldest_state: u64,
    pub(crate) sync: SyncProgress,
    pub(crate) height: Height,
}

impl Surroundings {
    pub(crate) fn record(&self) {
        table::MEMPOOL_PENDING.set_count(self.pool.pending as u64);
        table::MEMPOOL_QUEUED.set_count(self.pool.queued as u64);
        table::MEMPOOL_BYTES.set_count(self.pool.bytes as u64);
        table::MEMPOOL_CAPACITY.set_count(self.pool_capacity as u64);
        table::MEMPOOL_REFUSED.raise(self.pool.refused);
        table::NET_PEERS.set_count(self.peers as u64);
        table::NET_BANNED.set_count(self.banned);
        table::NET_DROPPED.raise(self.dropped);
        table::CONSENSUS_REFUSED_SIGNATURES.raise(self.refused_signatures);
        table::DISK_FREE.set_count(self.disk_free);
        table::CHAIN_VALIDATORS.set_count(self.validators as u64);
        table::STATE_OLDEST.set_count(self.oldest_state);
        table::SYNC_ACTIVE.set_count(self.sync.syncing.into());
        table::SYNC_LAG.set_count(self.sync.highest.0.saturating_sub(self.height.0));
    }
}

/// What custody has counted.
pub(crate) fn custody(tally: &Tally) {
    table::CUSTODY_CHUNKS.set_count(Tally::get(&tally.held));
    table::CUSTODY_BYTES.set_count(Tally::get(&tally.bytes));
    for (metric, count) in [
        (table::CUSTODY_SERVED, &tally.served_bytes),
        (table::CUSTODY_RECEIVED, &tally.received),
        (table::CUSTODY_FETCHED, &tally.fetched),
        (table::CUSTODY_REFUSED, &tally.refused),
        (table::CUSTODY_PROVEN, &tally.proven),
        (table::CUSTODY_LOST, &tally.lost),
        (table::CUSTODY_PRUNED, &tally.pruned),
        (table::CUSTODY_FAULTS, &tally.faults),
    ] {
        metric.raise(Tally::get(count));
    }
}

/// The process runs since `now_ms`, and its last block is from `block_ms`.
pub(crate) fn started(now_ms: u64, block_ms: u64) {
    table::PROCESS_START.set(Duration::from_millis(now_ms).as_secs_f64());
    table::CHAIN_BLOCK_TIME.set(Duration::from_millis(block_ms).as_secs_f64());
    table::BUILD.set_labelled(1.0, &[("version", env!("CARGO_PKG_VERSION").into())]);
}

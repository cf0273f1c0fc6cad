//! Every metric of a node, described once: the table is what `/metrics` says, what the node records through, and what the
//! alert rules in `ops/monitoring/lucid_rules.yml` may name (a test compares them).

use lucid_service::monitor::{Metric, counter, gauge, histogram};
use metrics::Unit;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::RpcError;

// chain
/// Height of the last final block.
pub const CHAIN_HEIGHT: Metric = gauge(
    "lucid_chain_height",
    Unit::Count,
    "Height of the last final block.",
);
/// Slot of the last final block.
pub const CHAIN_SLOT: Metric = gauge(
    "lucid_chain_slot",
    Unit::Count,
    "Slot of the last final block.",
);
/// Time in the last final block's header, Unix seconds.
pub const CHAIN_BLOCK_TIME: Metric = gauge(
    "lucid_chain_block_time_seconds",
    Unit::Seconds,
    "Time in the last final block's header, Unix seconds.",
);
/// Base fee of the last final block, wei a gas.
pub const CHAIN_BASE_FEE: Metric = gauge(
    "lucid_chain_base_fee_wei",
    Unit::Count,
    "Base fee of the last final block, wei a gas.",
);
/// Gas limit of the last final block.
pub const CHAIN_GAS_LIMIT: Metric = gauge(
    "lucid_chain_gas_limit",
    Unit::Count,
    "Gas limit of the last final block.",
);
/// Gas of final blocks since the node started.
pub const CHAIN_GAS: Metric = counter(
    "lucid_chain_gas_used_total",
    Unit::Count,
    "Gas of final blocks since the node started.",
);
/// Transactions in final blocks since the node started.
pub const CHAIN_TRANSACTIONS: Metric = counter(
    "lucid_chain_transactions_total",
    Unit::Count,
    "Transactions in final blocks since the node started.",
);
/// Validators of the next height.
pub const CHAIN_VALIDATORS: Metric = gauge(
    "lucid_chain_validators",
    Unit::Count,
    "Validators of the next height.",
);
/// Slots sealed since the node started.
pub const SLOTS_SEALED: Metric = counter(
    "lucid_slots_sealed_total",
    Unit::Count,
    "Slots sealed since the node started.",
);

// blocks
/// Blocks this node proposed.
pub const BLOCKS_PROPOSED: Metric = counter(
    "lucid_blocks_proposed_total",
    Unit::Count,
    "Blocks this node proposed.",
);
/// Proposed blocks this node found invalid.
pub const BLOCKS_REFUSED: Metric = counter(
    "lucid_blocks_refused_total",
    Unit::Count,
    "Proposed blocks this node found invalid.",
);
/// Building a block to propose.
pub const BLOCK_BUILD: Metric =
    histogram("lucid_block_build_seconds", "Building a block to propose.");
/// Checking and executing a proposed block.
pub const BLOCK_CHECK: Metric = histogram(
    "lucid_block_check_seconds",
    "Checking and executing a proposed block.",
);
/// Writing a block, its state and its certificate to disk.
pub const BLOCK_COMMIT: Metric = histogram(
    "lucid_block_commit_seconds",
    "Writing a block, its state and its certificate to disk.",
);
/// From a block's time to its commit here.
pub const BLOCK_FINALITY: Metric = histogram(
    "lucid_block_finality_seconds",
    "From a block's time to its commit here.",
);

// consensus
/// Height being decided.
pub const CONSENSUS_HEIGHT: Metric = gauge(
    "lucid_consensus_height",
    Unit::Count,
    "Height being decided.",
);
/// Round of the height being decided; above 0 a leader was missed.
pub const CONSENSUS_ROUND: Metric = gauge(
    "lucid_consensus_round",
    Unit::Count,
    "Round of the height being decided; above 0 a leader was missed.",
);
/// Rounds after a height's first, whoever led them.
pub const CONSENSUS_LATE_ROUNDS: Metric = counter(
    "lucid_consensus_late_rounds_total",
    Unit::Count,
    "Rounds after a height's first, whoever led them.",
);
/// Rounds that this node was to lead and that passed without a decision.
pub const CONSENSUS_MISSED: Metric = counter(
    "lucid_consensus_missed_proposals_total",
    Unit::Count,
    "Rounds that this node was to lead and that passed without a decision.",
);
/// Signatures in the last block's certificate.
pub const CONSENSUS_SIGNERS: Metric = gauge(
    "lucid_consensus_signers",
    Unit::Count,
    "Signatures in the last block's certificate.",
);
/// Signatures this node's signer refused because they would contradict an earlier one.
pub const CONSENSUS_REFUSED_SIGNATURES: Metric = counter(
    "lucid_consensus_refused_signatures_total",
    Unit::Count,
    "Signatures this node's signer refused because they would contradict an earlier one.",
);
/// Pieces of evidence seen that a validator signed two things.
pub const EQUIVOCATIONS: Metric = counter(
    "lucid_equivocations_total",
    Unit::Count,
    "Pieces of evidence seen that a validator signed two things.",
);

// mempool
/// Transactions that could be in the next block.
pub const MEMPOOL_PENDING: Metric = gauge(
    "lucid_mempool_pending",
    Unit::Count,
    "Transactions that could be in the next block.",
);
/// Transactions that wait for an earlier nonce.
pub const MEMPOOL_QUEUED: Metric = gauge(
    "lucid_mempool_queued",
    Unit::Count,
    "Transactions that wait for an earlier nonce.",
);
/// Bytes of waiting transactions.
pub const MEMPOOL_BYTES: Metric = gauge(
    "lucid_mempool_bytes",
    Unit::Bytes,
    "Bytes of waiting transactions.",
);
/// Most transactions that may wait.
pub const MEMPOOL_CAPACITY: Metric = gauge(
    "lucid_mempool_capacity",
    Unit::Count,
    "Most transactions that may wait.",
);
/// Transactions refused.
pub const MEMPOOL_REFUSED: Metric = counter(
    "lucid_mempool_refused_total",
    Unit::Count,
    "Transactions refused.",
);

// network
/// Connected peers.
pub const NET_PEERS: Metric = gauge("lucid_net_peers", Unit::Count, "Connected peers.");
/// Peers that are shut out for now.
pub const NET_BANNED: Metric = gauge(
    "lucid_net_banned_peers",
    Unit::Count,
    "Peers that are shut out for now.",
);
/// Inbound messages of peers that a limit dropped, and requests answered with busy.
pub const NET_DROPPED: Metric = counter(
    "lucid_net_dropped_messages_total",
    Unit::Count,
    "Inbound messages of peers that a limit dropped, and requests answered with busy.",
);

// sync
/// 1 while the node catches up.
pub const SYNC_ACTIVE: Metric = gauge(
    "lucid_sync_active",
    Unit::Count,
    "1 while the node catches up.",
);
/// Blocks this node is behind the highest height told of.
pub const SYNC_LAG: Metric = gauge(
    "lucid_sync_lag_blocks",
    Unit::Count,
    "Blocks this node is behind the highest height told of.",
);

// read model
/// Height that the read model has reached.
pub const READ_MODEL_HEIGHT: Metric = gauge(
    "lucid_readmodel_height",
    Unit::Count,
    "Height that the read model has reached.",
);

// disk
/// Oldest height whose state can still be read.
pub const STATE_OLDEST: Metric = gauge(
    "lucid_state_oldest_height",
    Unit::Count,
    "Oldest height whose state can still be read.",
);
/// Bytes of the node's folder.
pub const DISK_USED: Metric = gauge(
    "lucid_disk_used_bytes",
    Unit::Bytes,
    "Bytes of the node's folder.",
);
/// Bytes free on the disk of the node's folder.
pub const DISK_FREE: Metric = gauge(
    "lucid_disk_free_bytes",
    Unit::Bytes,
    "Bytes free on the disk of the node's folder.",
);

// custody
/// Chunks that the chain says this node holds.
pub const CUSTODY_CHUNKS: Metric = gauge(
    "lucid_custody_chunks",
    Unit::Count,
    "Chunks that the chain says this node holds.",
);
/// Bytes of chunks kept for others.
pub const CUSTODY_BYTES: Metric = gauge(
    "lucid_custody_bytes",
    Unit::Bytes,
    "Bytes of chunks kept for others.",
);
/// Bytes of chunks served.
pub const CUSTODY_SERVED: Metric = counter(
    "lucid_custody_served_bytes_total",
    Unit::Bytes,
    "Bytes of chunks served.",
);
/// Chunks pushed to this node.
pub const CUSTODY_RECEIVED: Metric = counter(
    "lucid_custody_received_total",
    Unit::Count,
    "Chunks pushed to this node.",
);
/// Chunks fetched from other holders.
pub const CUSTODY_FETCHED: Metric = counter(
    "lucid_custody_fetched_total",
    Unit::Count,
    "Chunks fetched from other holders.",
);
/// Uploads and connections for chunks refused by a limit or for their bytes.
pub const CUSTODY_REFUSED: Metric = counter(
    "lucid_custody_refused_total",
    Unit::Count,
    "Uploads and connections for chunks refused by a limit or for their bytes.",
);
/// Slots whose challenges were answered.
pub const CUSTODY_PROVEN: Metric = counter(
    "lucid_custody_proven_total",
    Unit::Count,
    "Slots whose challenges were answered.",
);
/// Challenged chunks that could not be opened.
pub const CUSTODY_LOST: Metric = counter(
    "lucid_custody_lost_total",
    Unit::Count,
    "Challenged chunks that could not be opened.",
);
/// Chunks whose silent holders this node struck off.
pub const CUSTODY_PRUNED: Metric = counter(
    "lucid_custody_pruned_total",
    Unit::Count,
    "Chunks whose silent holders this node struck off.",
);
/// Rounds of custody that failed.
pub const CUSTODY_FAULTS: Metric = counter(
    "lucid_custody_faults_total",
    Unit::Count,
    "Rounds of custody that failed.",
);

// machine
/// How far this clock was ahead of the last proposal's time when it came in, s: a little is the way here, negative means that its leader's clock is ahead.
pub const CLOCK_SKEW: Metric = gauge(
    "lucid_clock_skew_seconds",
    Unit::Seconds,
    "How far this clock was ahead of the last proposal's time when it came in, s: a little is the way here, negative means that its leader's clock is ahead.",
);
/// When the node started, Unix seconds.
pub const PROCESS_START: Metric = gauge(
    "lucid_process_start_seconds",
    Unit::Seconds,
    "When the node started, Unix seconds.",
);
/// 1; the label says which version runs.
pub const BUILD: Metric = gauge(
    "lucid_build_info",
    Unit::Count,
    "1; the label says which version runs.",
);

// JSON-RPC
/// Calls answered, by method and outcome.
pub const RPC_CALLS: Metric = counter(
    "lucid_rpc_calls_total",
    Unit::Count,
    "Calls answered, by method and outcome.",
);
/// Time to answer a call, by method.
pub const RPC_SECONDS: Metric = histogram(
    "lucid_rpc_call_seconds",
    "Time to answer a call, by method.",
);
/// Calls and connections refused by a limit, by reason.
pub const RPC_REFUSED: Metric = counter(
    "lucid_rpc_refused_total",
    Unit::Count,
    "Calls and connections refused by a limit, by reason.",
);
/// Open connections.
pub const RPC_CONNECTIONS: Metric =
    gauge("lucid_rpc_connections", Unit::Count, "Open connections.");
/// Open subscriptions.
pub const RPC_SUBSCRIPTIONS: Metric = gauge(
    "lucid_rpc_subscriptions",
    Unit::Count,
    "Open subscriptions.",
);
/// Subscriptions closed because their reader could not keep up.
pub const RPC_SLOW_SUBSCRIBERS: Metric = counter(
    "lucid_rpc_slow_subscribers_total",
    Unit::Count,
    "Subscriptions closed because their reader could not keep up.",
);

/// All of them.
pub const ALL: &[Metric] = &[
    CHAIN_HEIGHT,
    CHAIN_SLOT,
    CHAIN_BLOCK_TIME,
    CHAIN_BASE_FEE,
    CHAIN_GAS_LIMIT,
    CHAIN_GAS,
    CHAIN_TRANSACTIONS,
    CHAIN_VALIDATORS,
    SLOTS_SEALED,
    BLOCKS_PROPOSED,
    BLOCKS_REFUSED,
    BLOCK_BUILD,
    BLOCK_CHECK,
    BLOCK_COMMIT,
    BLOCK_FINALITY,
    CONSENSUS_HEIGHT,
    CONSENSUS_ROUND,
    CONSENSUS_LATE_ROUNDS,
    CONSENSUS_MISSED,
    CONSENSUS_SIGNERS,
    CONSENSUS_REFUSED_SIGNATURES,
    EQUIVOCATIONS,
    MEMPOOL_PENDING,
    MEMPOOL_QUEUED,
    MEMPOOL_BYTES,
    MEMPOOL_CAPACITY,
    MEMPOOL_REFUSED,
    NET_PEERS,
    NET_BANNED,
    NET_DROPPED,
    SYNC_ACTIVE,
    SYNC_LAG,
    READ_MODEL_HEIGHT,
    STATE_OLDEST,
    DISK_USED,
    DISK_FREE,
    CUSTODY_CHUNKS,
    CUSTODY_BYTES,
    CUSTODY_SERVED,
    CUSTODY_RECEIVED,
    CUSTODY_FETCHED,
    CUSTODY_REFUSED,
    CUSTODY_PROVEN,
    CUSTODY_LOST,
    CUSTODY_PRUNED,
    CUSTODY_FAULTS,
    CLOCK_SKEW,
    PROCESS_START,
    BUILD,
    RPC_CALLS,
    RPC_SECONDS,
    RPC_REFUSED,
    RPC_CONNECTIONS,
    RPC_SUBSCRIPTIONS,
    RPC_SLOW_SUBSCRIBERS,
];

/// Installs the process's recorder, with all descriptions. Once a process.
pub fn install() -> Result<PrometheusHandle, RpcError> {
    lucid_service::monitor::install(&[ALL]).map_err(|error| RpcError::Metrics(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use lucid_service::monitor::Kind;

    use super::*;

    #[test]
    fn names_are_unique_and_say_their_kind() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("lucid_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}

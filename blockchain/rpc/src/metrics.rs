//! Every metric of a node, described once: the table is what `/metrics` says, what the node records through, and what the
//! alert rules in `ops/monitoring/lucid_rules.yml` may name (a test compares them).

use metrics::{Label, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::RpcError;

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, in [`SECONDS`].
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name on the wire: `lucid_COMPONENT_WHAT_UNIT`.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// For people.
    pub help: &'static str,
}

/// Upper bounds of the histograms' buckets, s.
pub const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal $unit:ident $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                help: $help,
            };
        )*
        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    // chain
    CHAIN_HEIGHT = Gauge "lucid_chain_height" Count "Height of the last final block.";
    CHAIN_SLOT = Gauge "lucid_chain_slot" Count "Slot of the last final block.";
    CHAIN_BLOCK_TIME = Gauge "lucid_chain_block_time_seconds" Seconds "Time in the last final block's header, Unix seconds.";
    CHAIN_BASE_FEE = Gauge "lucid_chain_base_fee_wei" Count "Base fee of the last final block, wei a gas.";
    CHAIN_GAS_LIMIT = Gauge "lucid_chain_gas_limit" Count "Gas limit of the last final block.";
    CHAIN_GAS = Counter "lucid_chain_gas_used_total" Count "Gas of final blocks since the node started.";
    CHAIN_TRANSACTIONS = Counter "lucid_chain_transactions_total" Count "Transactions in final blocks since the node started.";
    CHAIN_VALIDATORS = Gauge "lucid_chain_validators" Count "Validators of the next height.";
    SLOTS_SEALED = Counter "lucid_slots_sealed_total" Count "Slots sealed since the node started.";
    // blocks
    BLOCKS_PROPOSED = Counter "lucid_blocks_proposed_total" Count "Blocks this node proposed.";
    BLOCKS_REFUSED = Counter "lucid_blocks_refused_total" Count "Proposed blocks this node found invalid.";
    BLOCK_BUILD = Histogram "lucid_block_build_seconds" Seconds "Building a block to propose.";
    BLOCK_CHECK = Histogram "lucid_block_check_seconds" Seconds "Checking and executing a proposed block.";
    BLOCK_COMMIT = Histogram "lucid_block_commit_seconds" Seconds "Writing a block, its state and its certificate to disk.";
    BLOCK_FINALITY = Histogram "lucid_block_finality_seconds" Seconds "From a block's time to its commit here.";
    // consensus
    CONSENSUS_HEIGHT = Gauge "lucid_consensus_height" Count "Height being decided.";
    CONSENSUS_ROUND = Gauge "lucid_consensus_round" Count "Round of the height being decided; above 0 a leader was missed.";
    CONSENSUS_LATE_ROUNDS = Counter "lucid_consensus_late_rounds_total" Count "Rounds after a height's first, whoever led them.";
    CONSENSUS_MISSED = Counter "lucid_consensus_missed_proposals_total" Count "Rounds that this node was to lead and that passed without a decision.";
    CONSENSUS_SIGNERS = Gauge "lucid_consensus_signers" Count "Signatures in the last block's certificate.";
    CONSENSUS_REFUSED_SIGNATURES = Counter "lucid_consensus_refused_signatures_total" Count "Signatures this node's signer refused because they would contradict an earlier one.";
    EQUIVOCATIONS = Counter "lucid_equivocations_total" Count "Pieces of evidence seen that a validator signed two things.";
    // mempool
    MEMPOOL_PENDING = Gauge "lucid_mempool_pending" Count "Transactions that could be in the next block.";
    MEMPOOL_QUEUED = Gauge "lucid_mempool_queued" Count "Transactions that wait for an earlier nonce.";
    MEMPOOL_BYTES = Gauge "lucid_mempool_bytes" Bytes "Bytes of waiting transactions.";
    MEMPOOL_CAPACITY = Gauge "lucid_mempool_capacity" Count "Most transactions that may wait.";
    MEMPOOL_REFUSED = Counter "lucid_mempool_refused_total" Count "Transactions refused.";
    // network
    NET_PEERS = Gauge "lucid_net_peers" Count "Connected peers.";
    NET_BANNED = Gauge "lucid_net_banned_peers" Count "Peers that are shut out for now.";
    NET_DROPPED = Counter "lucid_net_dropped_messages_total" Count "Inbound messages of peers that a limit dropped, and requests answered with busy.";
    // sync
    SYNC_ACTIVE = Gauge "lucid_sync_active" Count "1 while the node catches up.";
    SYNC_LAG = Gauge "lucid_sync_lag_blocks" Count "Blocks this node is behind the highest height told of.";
    // disk
    STATE_OLDEST = Gauge "lucid_state_oldest_height" Count "Oldest height whose state can still be read.";
    DISK_USED = Gauge "lucid_disk_used_bytes" Bytes "Bytes of the node's folder.";
    DISK_FREE = Gauge "lucid_disk_free_bytes" Bytes "Bytes free on the disk of the node's folder.";
    // machine
    CLOCK_SKEW = Gauge "lucid_clock_skew_seconds" Seconds "How far this clock was ahead of the last proposal's time when it came in, s: a little is the way here, negative means that its leader's clock is ahead.";
    PROCESS_START = Gauge "lucid_process_start_seconds" Seconds "When the node started, Unix seconds.";
    BUILD = Gauge "lucid_build_info" Count "1; the label says which version runs.";
    // JSON-RPC
    RPC_CALLS = Counter "lucid_rpc_calls_total" Count "Calls answered, by method and outcome.";
    RPC_SECONDS = Histogram "lucid_rpc_call_seconds" Seconds "Time to answer a call, by method.";
    RPC_REFUSED = Counter "lucid_rpc_refused_total" Count "Calls and connections refused by a limit, by reason.";
    RPC_CONNECTIONS = Gauge "lucid_rpc_connections" Count "Open connections.";
    RPC_SUBSCRIPTIONS = Gauge "lucid_rpc_subscriptions" Count "Open subscriptions.";
    RPC_SLOW_SUBSCRIBERS = Counter "lucid_rpc_slow_subscribers_total" Count "Subscriptions closed because their reader could not keep up.";
}

impl Metric {
    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        metrics::gauge!(self.name).set(value);
    }

    /// Sets a gauge to a whole number. Those beyond 2⁵³ lose their last digits, as all numbers of Prometheus do.
    pub fn set_count(&self, value: u64) {
        self.set(as_f64(value));
    }

    /// Moves a gauge.
    pub fn change(&self, by: f64) {
        metrics::gauge!(self.name).increment(by);
    }

    /// Adds to a counter.
    pub fn add(&self, by: u64) {
        metrics::counter!(self.name).increment(by);
    }

    /// Raises a counter to what something else has counted.
    pub fn raise(&self, total: u64) {
        metrics::counter!(self.name).absolute(total);
    }

    /// Adds to a counter with labels.
    pub fn add_labelled(&self, by: u64, labels: &[(&'static str, SharedString)]) {
        metrics::counter!(self.name, to_labels(labels)).increment(by);
    }

    /// Sets a gauge with labels.
    pub fn set_labelled(&self, value: f64, labels: &[(&'static str, SharedString)]) {
        metrics::gauge!(self.name, to_labels(labels)).set(value);
    }

    /// Notes a duration in a histogram, s.
    pub fn observe(&self, seconds: f64) {
        metrics::histogram!(self.name).record(seconds);
    }

    /// Notes a duration in a histogram with labels, s.
    pub fn observe_labelled(&self, seconds: f64, labels: &[(&'static str, SharedString)]) {
        metrics::histogram!(self.name, to_labels(labels)).record(seconds);
    }
}

fn to_labels(labels: &[(&'static str, SharedString)]) -> Vec<Label> {
    labels
        .iter()
        .map(|(name, value)| Label::new(*name, value.clone()))
        .collect()
}

fn as_f64(value: u64) -> f64 {
    // Two halves that fit exactly: there is no lossless conversion from u64.
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// Describes the whole table to the installed recorder.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// Installs the process's recorder, with the histograms' buckets and all descriptions. Once a process.
pub fn install() -> Result<PrometheusHandle, RpcError> {
    let fault =
        |error: metrics_exporter_prometheus::BuildError| RpcError::Metrics(error.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(fault)?
        .install_recorder()
        .map_err(fault)?;
    describe();
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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

    #[test]
    fn whole_numbers_become_floats_without_loss_where_they_can() {
        for value in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 53) - 1] {
            assert_eq!(format!("{:.0}", as_f64(value)), value.to_string());
        }
    }
}

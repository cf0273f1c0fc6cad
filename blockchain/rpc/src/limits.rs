//! What one server is willing to do for its callers (requirement L7).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Bounds of the server. All but `max_connections`' effect on connections that are already open takes hold at once when it is
/// changed with [`crate::RpcHandle::set_limits`]; a WebSocket keeps the sizes it was opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcLimits {
    /// Connections at once, HTTP and WebSocket.
    pub max_connections: u32,
    /// Bytes of a request or a batch.
    pub max_request: u32,
    /// Bytes of an answer or a batch of answers.
    pub max_response: u32,
    /// Calls in a batch; they run one after the other.
    pub max_batch: u32,
    /// Calls at once, of all callers together. This and the next bound hold where all callers share one address, such as
    /// behind a sidecar.
    pub max_calls: usize,
    /// Calls at once on one connection.
    pub max_calls_per_connection: usize,
    /// Calls a second from one address; `None` for no such bound.
    pub max_calls_per_second_per_ip: Option<u32>,
    /// `eth_call`, `eth_estimateGas`, `eth_getLogs` and `eth_getProof` at once: each takes a core.
    pub max_executions: usize,
    /// Other reads of the database at once.
    pub max_reads: usize,
    /// `eth_sendRawTransaction` at once.
    pub max_submissions: usize,
    /// Reads of the read model at once.
    pub max_model_reads: usize,
    /// How long a call waits for its turn before it is told that the node is busy.
    pub patience: Duration,
    /// How long an execution may take until its caller is told that it was too long.
    pub execution_time: Duration,
    /// How long a request may take in all over HTTP, with reading its body.
    pub request_time: Duration,
    /// How long a connection may be idle, and how long a peer may leave what was sent to it unread.
    pub idle_time: Duration,
    /// Subscriptions on one WebSocket.
    pub max_subscriptions: u32,
    /// Blocks one `eth_getLogs` looks at.
    pub max_log_blocks: u64,
    /// Logs one `eth_getLogs` returns.
    pub max_logs: usize,
    /// Addresses, or topics in one place, of a log filter.
    pub max_filter_entries: usize,
    /// Gas one `eth_call` or `eth_estimateGas` may use.
    pub call_gas: u64,
    /// Blocks one `eth_feeHistory` looks at.
    pub max_fee_blocks: u64,
    /// Storage slots one `eth_getProof` proves.
    pub max_proof_slots: usize,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            max_connections: 200,
            max_request: 1 << 20,
            max_response: 16 << 20,
            max_batch: 100,
            max_calls: 512,
            max_calls_per_connection: 64,
            max_calls_per_second_per_ip: None,
            max_executions: 8,
            max_reads: 32,
            max_submissions: 32,
            max_model_reads: 16,
            patience: Duration::from_secs(2),
            execution_time: Duration::from_secs(5),
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(75),
            max_subscriptions: 32,
            max_log_blocks: 10_000,
            max_logs: 10_000,
            max_filter_entries: 256,
            call_gas: 50_000_000,
            max_fee_blocks: 256,
            max_proof_slots: 128,
        }
    }
}

/// The limits as they are now, shared by everything that is bound by them.
#[derive(Debug, Clone)]
pub(crate) struct SharedLimits(Arc<RwLock<Arc<RpcLimits>>>);

impl SharedLimits {
    pub(crate) fn new(limits: RpcLimits) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(limits))))
    }

    pub(crate) fn get(&self) -> Arc<RpcLimits> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, limits: RpcLimits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }
}

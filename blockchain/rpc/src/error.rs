//! What goes wrong, and how it is told to callers: codes and texts are those that Ethereum's clients look for.

use std::io;
use std::net::SocketAddr;

use alloy_primitives::Bytes;
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE};
use lucid_chain_types::Height;
use lucid_execution::ExecutionError;
use lucid_ledger::LedgerError;
use lucid_readmodel::ModelError;
use lucid_state::StateError;

/// A call that failed while it ran: what every client takes for a refused transaction or a failed call.
const SERVER_ERROR_CODE: i32 = -32_000;
/// EIP-1474: the caller asked for too much.
const LIMIT_EXCEEDED_CODE: i32 = -32_005;
/// Geth's code for `execution reverted`; clients decode the reason from `data` when they see it.
const REVERTED_CODE: i32 = 3;

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address is taken, or not this machine's.
    #[error("the JSON-RPC server cannot listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Two methods have one name, or a CORS origin cannot be a header.
    #[error("the JSON-RPC server: {0}")]
    Setup(String),
    /// The metrics' recorder was there already, or its buckets are none.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0}")]
    Params(String),
    /// Geth's text.
    #[error("header not found")]
    UnknownBlock,
    #[error(
        "the state of block {height} is not kept here any more, only that of {oldest} and later"
    )]
    Pruned { height: Height, oldest: Height },
    #[error("block {height} is not kept here, only {earliest} and later")]
    NotKept { height: Height, earliest: Height },
    #[error("execution reverted{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Reverted { reason: Option<String>, data: Bytes },
    /// A call or a transaction that fails, with Ethereum's text.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Limit(String),
    #[error("the node is busy, try again")]
    Busy,
    /// What the caller cannot do anything about. The text is for the log.
    #[error("{0}")]
    Internal(String),
}

pub(crate) type CallResult<T> = Result<T, CallError>;

impl From<LedgerError> for CallError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::State(error) => error.into(),
            LedgerError::Proof { .. } => Self::Refused(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<ModelError> for CallError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Key { .. } => Self::Params(error.to_string()),
            ModelError::Mongo(_) => Self::Refused(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<StateError> for CallError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::NotKept { height, oldest, .. } => Self::Pruned {
                height: Height(height),
                oldest: Height(oldest),
            },
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<ExecutionError> for CallError {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::State(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<CallError> for ErrorObjectOwned {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        let plain = |code| Self::owned(code, text.clone(), None::<()>);
        match error {
            CallError::Params(_) => plain(INVALID_PARAMS_CODE),
            CallError::UnknownBlock
            | CallError::Pruned { .. }
            | CallError::NotKept { .. }
            | CallError::Refused(_) => plain(SERVER_ERROR_CODE),
            CallError::Reverted { data, .. } => Self::owned(REVERTED_CODE, text, Some(data)),
            CallError::Limit(_) | CallError::Busy => plain(LIMIT_EXCEEDED_CODE),
            CallError::Internal(_) => {
                tracing::error!(error = %text, "a call failed inside the node");
                Self::owned(INTERNAL_ERROR_CODE, "internal error", None::<()>)
            }
        }
    }
}

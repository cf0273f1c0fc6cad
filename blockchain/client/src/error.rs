use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{Panic, Revert, SolError};
use jsonrpsee_core::client::Error;

use crate::WalletError;

/// Why a node could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address to ask at.
    #[error("'{url}' is not the address of a node, such as http://127.0.0.1:8545: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Nobody there, or not a node.
    #[error(
        "the node at {url} does not answer: {reason}; does it run, and is rpc.listen this address?"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The node said no.
    #[error("the node refused {method}: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its code.
        code: i32,
        /// Its words.
        message: String,
    },
    /// A contract reverted.
    #[error("the contract refuses: {}", reason(.0))]
    Reverted(Bytes),
    /// The answer is not what the method answers.
    #[error("the node's answer to {method} cannot be read: {reason}")]
    Answer {
        /// What was asked.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No block took the transaction in time.
    #[error("transaction {hash} is in no block after {} s; look again with 'lucid chain tx {hash}'", .waited.as_secs())]
    NotIncluded {
        /// The transaction.
        hash: B256,
        /// How long was waited.
        waited: Duration,
    },
    /// A block took it, and it failed; running it again does not.
    #[error(
        "transaction {hash} failed, and would not fail now: it ran out of gas, or something changed since"
    )]
    Failed {
        /// The transaction.
        hash: B256,
    },
    /// A parameter's key.
    #[error("the key of a parameter has at most 32 characters")]
    Key,
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
}

/// A revert's reason for people: the text of `require`, a panic's meaning, or the selector of a custom error.
fn reason(data: &Bytes) -> String {
    if let Ok(revert) = Revert::abi_decode(data) {
        return revert.reason;
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return panic.to_string();
    }
    if let Some(name) = crate::governance::refusal(data) {
        return name;
    }
    if data.is_empty() {
        return "no reason given".to_owned();
    }
    format!("error {data}")
}

impl ClientError {
    pub(crate) fn of(method: &'static str, url: &str, error: Error) -> Self {
        match error {
            Error::Call(error) => match error
                .data()
                .map(|data| serde_json::from_str::<Bytes>(data.get()))
            {
                Some(Ok(data)) if error.code() == REVERTED => Self::Reverted(data),
                _ => Self::Refused {
                    method,
                    code: error.code(),
                    message: error.message().to_owned(),
                },
            },
            Error::ParseError(error) => Self::Answer {
                method,
                reason: error.to_string(),
            },
            other => Self::Unreachable {
                url: url.to_owned(),
                reason: deepest(&other),
            },
        }
    }
}

/// The code of `execution reverted`.
const REVERTED: i32 = 3;

/// Transport errors wrap each other; the innermost says what happened.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

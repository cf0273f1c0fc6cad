//! The list of methods, and the way each one runs.

use std::sync::Arc;

use jsonrpsee::core::{JsonRawValue, to_json_raw_value};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::{Extensions, RpcModule};
use serde::Serialize;

use crate::backend::{Backend, Lane};
use crate::error::{CallError, CallResult};
use crate::params::Arguments;
use crate::{RpcError, call, copies, eth, fees, logs, lucid, model, state, subscriptions};

type Answer = Result<Box<JsonRawValue>, ErrorObjectOwned>;

fn render<T: Serialize>(value: &T) -> CallResult<Box<JsonRawValue>> {
    to_json_raw_value(value).map_err(|error| CallError::Internal(error.to_string()))
}

struct Methods(RpcModule<Backend>, Option<RpcError>);

impl Methods {
    /// A method that answers from memory.
    fn memory<T: Serialize + 'static>(
        mut self,
        name: &'static str,
        method: fn(&Backend, &mut Arguments<'_>) -> CallResult<T>,
    ) -> Self {
        let added = self
            .0
            .register_method(name, move |params, node, _: &Extensions| -> Answer {
                method(node, &mut Arguments::new(&params))
                    .and_then(|value| render(&value))
                    .map_err(Into::into)
            });
        self.1 = self
            .1
            .or(added.err().map(|error| RpcError::Setup(error.to_string())));
        self
    }

    /// A method that works in a lane. Its answer is written there too: a large one takes a while.
    fn lane<T: Serialize + 'static>(
        mut self,
        lane: Lane,
        name: &'static str,
        method: fn(&Backend, &mut Arguments<'_>) -> CallResult<T>,
    ) -> Self {
        let added =
            self.0
                .register_async_method(name, move |params, node: Arc<Backend>, _| async move {
                    let outcome = node
                        .run(lane, move |node| {
                            method(node, &mut Arguments::new(&params))
                                .and_then(|value| render(&value))
                        })
                        .await;
                    outcome.map_err(ErrorObjectOwned::from)
                });
        self.1 = self
            .1
            .or(added.err().map(|error| RpcError::Setup(error.to_string())));
        self
    }

    fn read<T: Serialize + 'static>(
        self,
        name: &'static str,
        method: fn(&Backend, &mut Arguments<'_>) -> CallResult<T>,
    ) -> Self {
        self.lane(Lane::Read, name, method)
    }

    fn execution<T: Serialize + 'static>(
        self,
        name: &'static str,
        method: fn(&Backend, &mut Arguments<'_>) -> CallResult<T>,
    ) -> Self {
        self.lane(Lane::Execution, name, method)
    }
}

/// All methods.
pub(crate) fn module(backend: Arc<Backend>) -> Result<RpcModule<Backend>, RpcError> {
    let Methods(mut module, error) = Methods(RpcModule::from_arc(backend), None)
        .memory("web3_clientVersion", eth::client_version)
        .memory("web3_sha3", eth::sha3)
        .memory("net_version", eth::net_version)
        .memory("net_listening", eth::net_listening)
        .memory("net_peerCount", eth::net_peer_count)
        .memory("eth_chainId", eth::chain_id)
        .memory("eth_blockNumber", eth::block_number)
        .memory("eth_syncing", eth::syncing)
        .memory("eth_accounts", eth::accounts)
        .memory("eth_sendTransaction", eth::no_signing)
        .read("eth_getBlockByNumber", eth::block_by_number)
        .read("eth_getBlockByHash", eth::block_by_hash)
        .read("eth_getBlockTransactionCountByNumber", eth::count_by_number)
        .read("eth_getBlockTransactionCountByHash", eth::count_by_hash)
        .read("eth_getUncleCountByBlockNumber", eth::uncles_by_number)
        .read("eth_getUncleCountByBlockHash", eth::uncles_by_hash)
        .memory("eth_getUncleByBlockNumberAndIndex", eth::no_uncle)
        .memory("eth_getUncleByBlockHashAndIndex", eth::no_uncle)
        .read("eth_getTransactionByHash", eth::transaction)
        .read("eth_getRawTransactionByHash", eth::raw_transaction)
        .read(
            "eth_getTransactionByBlockNumberAndIndex",
            eth::transaction_by_number,
        )
        .read(
            "eth_getTransactionByBlockHashAndIndex",
            eth::transaction_by_block_hash,
        )
        .read("eth_getTransactionReceipt", eth::receipt)
        .read("eth_getBlockReceipts", eth::block_receipts)
        .read("eth_getTransactionCount", state::nonce)
        .read("eth_getBalance", state::balance)
        .read("eth_getCode", state::code)
        .read("eth_getStorageAt", state::storage)
        .execution("eth_getProof", state::proof)
        .execution("eth_call", call::call)
        .execution("eth_estimateGas", call::estimate)
        .read("eth_gasPrice", fees::gas_price)
        .read("eth_maxPriorityFeePerGas", fees::priority_fee)
        .execution("eth_feeHistory", fees::history)
        .lane(Lane::Submission, "eth_sendRawTransaction", eth::send_raw)
        .execution("eth_getLogs", logs::get)
        .read("lucid_status", lucid::status)
        .read("lucid_block", lucid::block)
        .read("lucid_slot", lucid::slot)
        .read("lucid_schedule", lucid::schedule)
        .read("lucid_validators", lucid::validators)
        .read("lucid_params", lucid::params)
        .read("lucid_work", lucid::work)
        .read("lucid_certificate", lucid::certificate)
        .execution("lucid_finalityProof", lucid::finality_proof)
        .execution("lucid_blocks", copies::blocks)
        .read("lucid_snapshot", copies::snapshot)
        .read("lucid_snapshotPiece", copies::piece)
        .lane(Lane::Model, "lucid_readModel", model::status)
        .lane(Lane::Model, "lucid_session", model::session)
        .lane(Lane::Model, "lucid_sessions", model::sessions)
        .lane(Lane::Model, "lucid_chunks", model::chunks)
        .lane(Lane::Model, "lucid_taskProofs", model::task_proofs)
        .lane(Lane::Model, "lucid_workTally", model::work_tally)
        .lane(Lane::Model, "lucid_leaderSchedule", model::leader_schedule)
        .memory("lucid_peers", lucid::peers);
    if let Some(error) = error {
        return Err(error);
    }
    module
        .register_subscription(
            "eth_subscribe",
            "eth_subscription",
            "eth_unsubscribe",
            |params, pending, node, _| subscriptions::subscribe(params, pending, node),
        )
        .map_err(|error| RpcError::Setup(error.to_string()))?;
    Ok(module)
}

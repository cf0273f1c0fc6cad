//! Calls that leave nothing behind.

use alloy_eips::BlockId as BlockParam;
use alloy_primitives::{Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::{Panic, Revert, SolError};
use jsonrpsee::core::JsonRawValue;
use lucid_chain_types::Height;
use lucid_execution::{Call, CallOutcome};
use lucid_state::{Historic, StateReader};

use crate::backend::Backend;
use crate::error::{CallError, CallResult};
use crate::params::Arguments;

pub(crate) fn call(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Bytes> {
    let (call, height) = parse(node, args)?;
    let state = node.ledger.state_at(height)?;
    can_send(&state, &call)?;
    let header = node.ledger.header(height)?;
    match node.ledger.chain().call(&state, header.as_ref(), &call)? {
        CallOutcome::Returned { output, .. } => Ok(output),
        failed => Err(failure(failed)),
    }
}

pub(crate) fn estimate(node: &Backend, args: &mut Arguments<'_>) -> CallResult<U64> {
    let (call, height) = parse(node, args)?;
    let state = node.ledger.state_at(height)?;
    can_send(&state, &call)?;
    let header = node.ledger.header(height)?;
    match node
        .ledger
        .chain()
        .estimate_gas(&state, header.as_ref(), &call)?
    {
        Ok(gas) => Ok(U64::from(gas)),
        Err(failed) => Err(failure(failed)),
    }
}

/// Calls are free, but coins sent along have to be there.
fn can_send(state: &Historic, call: &Call) -> CallResult<()> {
    if call.value.is_zero() {
        return Ok(());
    }
    let balance = state.account(call.from)?.unwrap_or_default().balance;
    if balance >= call.value {
        return Ok(());
    }
    Err(CallError::Refused(format!(
        "insufficient funds for gas * price + value: {} has {balance} wei, the call sends {}",
        call.from, call.value
    )))
}

fn parse(node: &Backend, args: &mut Arguments<'_>) -> CallResult<(Call, Height)> {
    let request: TransactionRequest = args.next("transaction")?;
    let block: BlockParam = args.block()?;
    for what in ["state overrides", "block overrides"] {
        let given: Option<&JsonRawValue> = args.optional(what)?;
        if given.is_some_and(|given| !matches!(given.get(), "{}" | "[]")) {
            return Err(CallError::Params(format!("{what} are not supported")));
        }
    }
    Ok((to_call(node, request)?, node.resolve(block)?))
}

fn to_call(node: &Backend, request: TransactionRequest) -> CallResult<Call> {
    let Some(TxKind::Call(to)) = request.to else {
        return Err(CallError::Refused(
            "contracts cannot be created on this chain: 'to' is missing".to_owned(),
        ));
    };
    if request
        .blob_versioned_hashes
        .is_some_and(|hashes| !hashes.is_empty())
        || request.sidecar.is_some()
    {
        return Err(CallError::Refused(
            "transaction type not supported: blobs".to_owned(),
        ));
    }
    if request
        .authorization_list
        .is_some_and(|list| !list.is_empty())
    {
        return Err(CallError::Refused(
            "transaction type not supported: delegations".to_owned(),
        ));
    }
    let chain_id = node.ledger.genesis().chain_id;
    if request.chain_id.is_some_and(|given| given != chain_id) {
        return Err(CallError::Refused(format!(
            "invalid chain id for signer: this chain is {chain_id}"
        )));
    }
    let price = request.max_fee_per_gas.or(request.gas_price);
    if let (Some(tip), Some(price)) = (request.max_priority_fee_per_gas, price)
        && tip > price
    {
        return Err(CallError::Refused(
            "max priority fee per gas higher than max fee per gas".to_owned(),
        ));
    }
    let input = match (request.input.input, request.input.data) {
        (Some(input), Some(data)) if input != data => {
            return Err(CallError::Params(
                "both 'data' and 'input' are given and differ; send one of them".to_owned(),
            ));
        }
        (input, data) => input.or(data).unwrap_or_default(),
    };
    let most = node.limits.get().call_gas;
    Ok(Call {
        from: request.from.unwrap_or_default(),
        to,
        value: request.value.unwrap_or(U256::ZERO),
        data: input,
        // Geth caps quietly too: wallets ask with whatever the block's limit is.
        gas: request.gas.unwrap_or(most).min(most),
    })
}

/// A call that failed, in the words that clients decode.
fn failure(outcome: CallOutcome) -> CallError {
    match outcome {
        CallOutcome::Reverted { output, .. } => CallError::Reverted {
            reason: reason(&output),
            data: output,
        },
        CallOutcome::Failed { reason } if reason.starts_with("OutOfGas") => {
            CallError::Refused("out of gas".to_owned())
        }
        CallOutcome::Failed { reason } => CallError::Refused(reason),
        CallOutcome::Returned { .. } => {
            CallError::Internal("a call that returned is no failure".to_owned())
        }
    }
}

/// The text of `revert("…")` and `require(…, "…")`, or what a panic means. Custom errors have none: clients know their names.
fn reason(output: &Bytes) -> Option<String> {
    if let Ok(revert) = Revert::abi_decode(output) {
        return Some(revert.reason);
    }
    Panic::abi_decode(output)
        .ok()
        .map(|panic| panic.to_string())
}

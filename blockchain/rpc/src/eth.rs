//! Blocks, transactions and receipts.

use std::sync::Arc;

use alloy_eips::{BlockId as BlockParam, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes, U64, U256, keccak256};
use alloy_rpc_types_eth::{Block, SyncInfo, SyncStatus, Transaction, TransactionReceipt};
use lucid_ledger::SubmitError;

use crate::backend::Backend;
use crate::blocks::Loaded;
use crate::convert;
use crate::error::{CallError, CallResult};
use crate::params::{Arguments, Number};

pub(crate) fn chain_id(node: &Backend, _: &mut Arguments<'_>) -> CallResult<U64> {
    Ok(U64::from(node.ledger.genesis().chain_id))
}

pub(crate) fn block_number(node: &Backend, _: &mut Arguments<'_>) -> CallResult<U64> {
    Ok(U64::from(node.height().0))
}

pub(crate) fn syncing(node: &Backend, _: &mut Arguments<'_>) -> CallResult<SyncStatus> {
    let sync = *node.network.sync.borrow();
    if !sync.syncing {
        return Ok(SyncStatus::None);
    }
    Ok(SyncStatus::Info(Box::new(SyncInfo {
        starting_block: U256::from(sync.started_at.0),
        current_block: U256::from(node.height().0),
        highest_block: U256::from(sync.highest.0),
        ..SyncInfo::default()
    })))
}

pub(crate) fn accounts(_: &Backend, _: &mut Arguments<'_>) -> CallResult<Vec<B256>> {
    // A node keeps no accounts' keys.
    Ok(Vec::new())
}

pub(crate) fn net_version(node: &Backend, _: &mut Arguments<'_>) -> CallResult<String> {
    Ok(node.ledger.genesis().chain_id.to_string())
}

pub(crate) fn net_listening(_: &Backend, _: &mut Arguments<'_>) -> CallResult<bool> {
    Ok(true)
}

pub(crate) fn net_peer_count(node: &Backend, _: &mut Arguments<'_>) -> CallResult<U64> {
    Ok(U64::from(node.network.peers.borrow().len()))
}

pub(crate) fn client_version(node: &Backend, _: &mut Arguments<'_>) -> CallResult<String> {
    Ok(node.network.version.clone())
}

pub(crate) fn sha3(_: &Backend, args: &mut Arguments<'_>) -> CallResult<B256> {
    Ok(keccak256(args.next::<Bytes>("data")?))
}

fn loaded(node: &Backend, block: BlockParam) -> CallResult<Option<Arc<Loaded>>> {
    node.find_kept(block)?
        .map(|height| node.blocks.get(&node.ledger, height))
        .transpose()
}

fn by_number(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<Arc<Loaded>>> {
    loaded(node, args.next::<BlockNumberOrTag>("block number")?.into())
}

fn by_hash(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<Arc<Loaded>>> {
    loaded(node, args.next::<B256>("block hash")?.into())
}

fn render(block: Option<Arc<Loaded>>, args: &mut Arguments<'_>) -> CallResult<Option<Block>> {
    let whole = args.optional("full transactions")?.unwrap_or(false);
    block.map(|block| convert::block(&block, whole)).transpose()
}

pub(crate) fn block_by_number(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Block>> {
    render(by_number(node, args)?, args)
}

pub(crate) fn block_by_hash(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<Block>> {
    render(by_hash(node, args)?, args)
}

fn count(block: Option<Arc<Loaded>>) -> Option<U64> {
    block.map(|block| U64::from(block.body.transactions.len()))
}

pub(crate) fn count_by_number(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<U64>> {
    Ok(count(by_number(node, args)?))
}

pub(crate) fn count_by_hash(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<U64>> {
    Ok(count(by_hash(node, args)?))
}

pub(crate) fn uncles_by_number(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<U64>> {
    Ok(by_number(node, args)?.map(|_| U64::ZERO))
}

pub(crate) fn uncles_by_hash(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<U64>> {
    Ok(by_hash(node, args)?.map(|_| U64::ZERO))
}

pub(crate) fn no_uncle(_: &Backend, _: &mut Arguments<'_>) -> CallResult<Option<Block>> {
    Ok(None)
}

fn at_index(
    block: Option<Arc<Loaded>>,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Transaction>> {
    let index = usize::try_from(args.next::<Number>("index")?.0).unwrap_or(usize::MAX);
    block
        .filter(|block| index < block.body.transactions.len())
        .map(|block| convert::included(&block, index))
        .transpose()
}

pub(crate) fn transaction_by_number(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Transaction>> {
    at_index(by_number(node, args)?, args)
}

pub(crate) fn transaction_by_block_hash(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Transaction>> {
    at_index(by_hash(node, args)?, args)
}

/// Where a transaction is, if it is in a block that is here.
fn place(node: &Backend, hash: B256) -> CallResult<Option<(Arc<Loaded>, usize)>> {
    let Some(place) = node.ledger.transaction_place(hash)? else {
        return Ok(None);
    };
    let block = node.blocks.get(&node.ledger, place.height)?;
    let index = usize::try_from(place.index).unwrap_or(usize::MAX);
    Ok(Some((block, index)))
}

pub(crate) fn transaction(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Transaction>> {
    let hash: B256 = args.next("transaction hash")?;
    // The pool first: a transaction that is included between the two looks is then found by the second.
    let waiting = node.pool.get(hash);
    if let Some((block, index)) = place(node, hash)? {
        return convert::included(&block, index).map(Some);
    }
    waiting.map(|bytes| convert::waiting(&bytes)).transpose()
}

pub(crate) fn raw_transaction(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Bytes>> {
    let hash: B256 = args.next("transaction hash")?;
    let waiting = node.pool.get(hash);
    let included = place(node, hash)?;
    Ok(included
        .and_then(|(block, index)| {
            block
                .body
                .transactions
                .get(index)
                .map(|bytes| Bytes::copy_from_slice(bytes))
        })
        .or(waiting))
}

pub(crate) fn receipt(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<TransactionReceipt>> {
    let hash: B256 = args.next("transaction hash")?;
    place(node, hash)?
        .map(|(block, index)| convert::receipt(&block, index))
        .transpose()
}

pub(crate) fn block_receipts(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<Option<Vec<TransactionReceipt>>> {
    let Some(block) = loaded(node, args.next::<BlockParam>("block")?)? else {
        return Ok(None);
    };
    let receipts: CallResult<Vec<_>> = (0..block.body.transactions.len())
        .map(|index| convert::receipt(&block, index))
        .collect();
    receipts.map(Some)
}

pub(crate) fn send_raw(node: &Backend, args: &mut Arguments<'_>) -> CallResult<B256> {
    let bytes: Bytes = args.next("transaction")?;
    node.pool.submit(&bytes, true).map_err(|error| match error {
        SubmitError::Ledger(error) => error.into(),
        // Their texts begin as Geth's do: clients tell by them what is wrong.
        SubmitError::Invalid(_) | SubmitError::Refused(_) => CallError::Refused(error.to_string()),
    })
}

/// For tools that look whether they may sign here.
pub(crate) fn no_signing(_: &Backend, _: &mut Arguments<'_>) -> CallResult<()> {
    Err(CallError::Refused(
        "unknown account: this node keeps no keys, sign the transaction yourself".to_owned(),
    ))
}

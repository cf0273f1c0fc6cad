//! Our blocks, transactions and receipts in Ethereum's clothes.

use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Eip658Value, Header as EthHeader,
    Receipt as EthReceipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxEnvelope, TxType,
};
use alloy_eips::eip2718::Decodable2718;
use alloy_eips::eip4895::Withdrawals;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};

use crate::blocks::Loaded;
use crate::error::{CallError, CallResult};

/// The header, with every field of Ethereum's newest; what we do not have is what an empty one has there.
pub(crate) fn header(loaded: &Loaded) -> Header {
    let ours = &loaded.header;
    let inner = EthHeader {
        parent_hash: ours.parent.0,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: ours.proposer.0,
        state_root: ours.state_root,
        transactions_root: ours.transactions_root,
        receipts_root: ours.receipts_root,
        logs_bloom: loaded.bloom,
        difficulty: U256::ZERO,
        number: ours.height.0,
        gas_limit: ours.gas_limit,
        gas_used: ours.gas_used,
        timestamp: loaded.timestamp(),
        mix_hash: lucid_execution::prev_randao(ours),
        base_fee_per_gas: Some(ours.base_fee),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..EthHeader::default()
    };
    Header {
        hash: loaded.id.0,
        inner,
        total_difficulty: Some(U256::ZERO),
        size: Some(U256::from(loaded.size)),
    }
}

/// The block, with whole transactions or only their hashes.
pub(crate) fn block(loaded: &Loaded, whole: bool) -> CallResult<Block> {
    let count = loaded.body.transactions.len();
    let transactions = if whole {
        let transactions: CallResult<Vec<_>> =
            (0..count).map(|index| included(loaded, index)).collect();
        BlockTransactions::Full(transactions?)
    } else {
        BlockTransactions::Hashes(
            (0..count)
                .filter_map(|index| loaded.hash_of(index))
                .collect(),
        )
    };
    Ok(Block {
        header: header(loaded),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Withdrawals::default()),
    })
}

fn decode(bytes: &[u8]) -> CallResult<TxEnvelope> {
    TxEnvelope::decode_2718_exact(bytes)
        .map_err(|error| CallError::Internal(format!("a stored transaction: {error}")))
}

fn recover(bytes: &[u8]) -> CallResult<Recovered<TxEnvelope>> {
    decode(bytes)?.try_into_recovered().map_err(|error| {
        CallError::Internal(format!("the sender of a stored transaction: {error}"))
    })
}

/// A transaction that waits.
pub(crate) fn waiting(bytes: &[u8]) -> CallResult<Transaction> {
    Ok(Transaction {
        inner: recover(bytes)?,
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: None,
        block_timestamp: None,
    })
}

/// A block's transaction; `index` is in range.
pub(crate) fn included(loaded: &Loaded, index: usize) -> CallResult<Transaction> {
    let bytes = loaded
        .body
        .transactions
        .get(index)
        .ok_or(CallError::UnknownBlock)?;
    let inner = recover(bytes)?;
    Ok(Transaction {
        effective_gas_price: Some(inner.effective_gas_price(Some(loaded.header.base_fee))),
        inner,
        block_hash: Some(loaded.id.0),
        block_number: Some(loaded.height().0),
        transaction_index: Some(index as u64),
        block_timestamp: Some(loaded.timestamp()),
    })
}

/// A block's receipt; `index` is in range.
pub(crate) fn receipt(loaded: &Loaded, index: usize) -> CallResult<TransactionReceipt> {
    let missing =
        || CallError::Internal(format!("block {} has no receipt {index}", loaded.height()));
    let bytes = loaded.body.transactions.get(index).ok_or_else(missing)?;
    let receipt = loaded.receipts.get(index).ok_or_else(missing)?;
    let transaction = recover(bytes)?;
    let logs = logs(loaded, index);
    let inner = ReceiptWithBloom {
        receipt: EthReceipt {
            status: Eip658Value::Eip658(receipt.success),
            cumulative_gas_used: receipt.cumulative_gas_used,
            logs,
        },
        logs_bloom: lucid_execution::logs_bloom(&receipt.logs),
    };
    let kind = TxType::try_from(receipt.tx_type)
        .map_err(|error| CallError::Internal(error.to_string()))?;
    Ok(TransactionReceipt {
        inner: ReceiptEnvelope::from_typed(kind, inner),
        transaction_hash: *transaction.tx_hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(loaded.id.0),
        block_number: Some(loaded.height().0),
        gas_used: receipt.gas_used,
        effective_gas_price: receipt.effective_gas_price,
        blob_gas_used: None,
        blob_gas_price: None,
        from: transaction.signer(),
        to: transaction.to(),
        contract_address: None,
    })
}

/// The logs of a block's transaction.
pub(crate) fn logs(loaded: &Loaded, index: usize) -> Vec<Log> {
    let Some(receipt) = loaded.receipts.get(index) else {
        return Vec::new();
    };
    let hash = loaded.hash_of(index);
    (loaded.logs_before(index)..)
        .zip(&receipt.logs)
        .map(|(log_index, log)| Log {
            inner: alloy_primitives::Log::new_unchecked(
                log.address,
                log.topics.clone(),
                log.data.clone(),
            ),
            block_hash: Some(loaded.id.0),
            block_number: Some(loaded.height().0),
            block_timestamp: Some(loaded.timestamp()),
            transaction_hash: hash,
            transaction_index: Some(index as u64),
            log_index: Some(log_index),
            removed: false,
        })
        .collect()
}

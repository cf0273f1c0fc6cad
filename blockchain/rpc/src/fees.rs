//! What a transaction should pay.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::U256;
use alloy_rpc_types_eth::FeeHistory;
use lucid_chain_types::Height;

use crate::backend::Backend;
use crate::blocks::Loaded;
use crate::error::{CallError, CallResult};
use crate::params::{Arguments, Number};

/// Blocks looked at for a tip.
const TIP_BLOCKS: u64 = 20;
/// What is suggested when nobody tips, wei a gas: little enough not to matter, and ahead of those who pay nothing.
const LEAST_TIP: u128 = 1_000;
/// Percentiles one `eth_feeHistory` may ask for; Geth's bound.
const MAX_PERCENTILES: usize = 100;

pub(crate) fn gas_price(node: &Backend, _: &mut Arguments<'_>) -> CallResult<U256> {
    Ok(U256::from(
        tip(node)? + u128::from(base_fee_after(node, node.height())?),
    ))
}

pub(crate) fn priority_fee(node: &Backend, _: &mut Arguments<'_>) -> CallResult<U256> {
    Ok(U256::from(tip(node)?))
}

/// The base fee of the block after `height`, whether it is there or not.
fn base_fee_after(node: &Backend, height: Height) -> CallResult<u64> {
    if height < node.height() {
        return Ok(node
            .blocks
            .get(&node.ledger, height.next())?
            .header
            .base_fee);
    }
    Ok(node.ledger.head().next.base_fee)
}

/// The median tip of the last transactions.
fn tip(node: &Backend) -> CallResult<u128> {
    let head = node.height();
    let mut tips = Vec::new();
    for height in (head.0.saturating_sub(TIP_BLOCKS - 1)..=head.0).map(Height) {
        if height >= node.ledger.earliest() || height == head {
            tips.extend(rewards(&*node.blocks.get(&node.ledger, height)?).map(|(tip, _)| tip));
        }
    }
    tips.sort_unstable();
    Ok(tips
        .get(tips.len() / 2)
        .copied()
        .unwrap_or_default()
        .max(LEAST_TIP))
}

/// Tip and gas of each transaction.
fn rewards(block: &Loaded) -> impl Iterator<Item = (u128, u64)> + '_ {
    let base_fee = u128::from(block.header.base_fee);
    block.receipts.iter().map(move |receipt| {
        (
            receipt.effective_gas_price.saturating_sub(base_fee),
            receipt.gas_used,
        )
    })
}

pub(crate) fn history(node: &Backend, args: &mut Arguments<'_>) -> CallResult<FeeHistory> {
    let count = args.next::<Number>("block count")?.0;
    let newest: BlockNumberOrTag = args.next("newest block")?;
    let percentiles: Vec<f64> = args.optional("reward percentiles")?.unwrap_or_default();
    if percentiles.len() > MAX_PERCENTILES {
        return Err(CallError::Params(format!(
            "over the query limit {MAX_PERCENTILES} of reward percentiles"
        )));
    }
    if percentiles
        .iter()
        .any(|percentile| !(0.0..=100.0).contains(percentile))
        || !percentiles.is_sorted()
    {
        return Err(CallError::Params(
            "reward percentiles must be from 0 to 100 and ascending".to_owned(),
        ));
    }
    let newest = node.resolve(newest.into())?;
    let most = node.limits.get().max_fee_blocks;
    // As Geth does: too many are not an error, fewer are answered.
    let count = count.min(most).min(newest.0 + 1);
    let mut history = FeeHistory {
        oldest_block: newest.0 + 1 - count,
        reward: (!percentiles.is_empty()).then(Vec::new),
        ..FeeHistory::default()
    };
    if count == 0 {
        history.oldest_block = 0;
        return Ok(history);
    }
    for height in history.oldest_block..=newest.0 {
        let block = node.blocks.pass_by(&node.ledger, Height(height))?;
        history
            .base_fee_per_gas
            .push(u128::from(block.header.base_fee));
        history
            .gas_used_ratio
            .push(ratio(block.header.gas_used, block.header.gas_limit));
        history.base_fee_per_blob_gas.push(0);
        history.blob_gas_used_ratio.push(0.0);
        if let Some(reward) = &mut history.reward {
            reward.push(at_percentiles(&block, &percentiles));
        }
    }
    history
        .base_fee_per_gas
        .push(u128::from(base_fee_after(node, newest)?));
    history.base_fee_per_blob_gas.push(0);
    Ok(history)
}

fn ratio(used: u64, limit: u64) -> f64 {
    // In millionths: there is no lossless way from u64 to f64, and more digits say nothing.
    let millionths = u128::from(used) * 1_000_000 / u128::from(limit.max(1));
    f64::from(u32::try_from(millionths).unwrap_or(1_000_000)) / 1e6
}

/// The tips at which these shares of the block's gas are reached, cheapest first.
fn at_percentiles(block: &Loaded, percentiles: &[f64]) -> Vec<u128> {
    let mut rewards: Vec<_> = rewards(block).collect();
    rewards.sort_unstable();
    let total: u64 = rewards.iter().map(|(_, gas)| gas).sum();
    percentiles
        .iter()
        .map(|percentile| {
            let mut reached = 0;
            rewards
                .iter()
                .find(|(_, gas)| {
                    reached += gas;
                    ratio(reached, total) * 100.0 >= *percentile
                })
                .or(rewards.last())
                .map(|(tip, _)| *tip)
                .unwrap_or_default()
        })
        .collect()
}

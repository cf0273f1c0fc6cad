//! Logs by filter.
//!
//! A block's bloom says whether its receipts are worth reading. The blooms of the last 65,536 blocks looked at are kept in memory;
//! the first look at a block reads its receipts.

use std::time::Instant;

use alloy_primitives::{Address, B256, Bloom, BloomInput};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use lucid_chain_types::Height;

use crate::backend::Backend;
use crate::blocks::Loaded;
use crate::convert;
use crate::error::{CallError, CallResult};
use crate::limits::RpcLimits;
use crate::params::Arguments;

pub(crate) fn get(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Vec<Log>> {
    let filter: Filter = args.next("filter")?;
    let limits = node.limits.get();
    check(&filter, &limits)?;
    let Some((first, last)) = range(node, &filter)? else {
        return Ok(Vec::new());
    };
    let blocks = (last.0 - first.0).saturating_add(1);
    if blocks > limits.max_log_blocks {
        return Err(CallError::Limit(format!(
            "the range has {blocks} blocks, at most {} are searched at once",
            limits.max_log_blocks
        )));
    }
    let end = Instant::now() + limits.execution_time;
    let mut found = Vec::new();
    for height in (first.0..=last.0).map(Height) {
        if Instant::now() > end {
            return Err(CallError::Limit(format!(
                "the search took too long and stopped at block {height}; ask for a smaller range"
            )));
        }
        if !may_match(&filter, &node.blocks.bloom(&node.ledger, height)?) {
            continue;
        }
        found.extend(matching(
            &filter,
            &*node.blocks.pass_by(&node.ledger, height)?,
        ));
        if found.len() > limits.max_logs {
            return Err(CallError::Limit(format!(
                "more than {} logs match; ask for a smaller range, up to block {height}",
                limits.max_logs
            )));
        }
    }
    Ok(found)
}

/// Refuses filters that would take long to compare.
pub(crate) fn check(filter: &Filter, limits: &RpcLimits) -> CallResult<()> {
    let longest = filter
        .topics
        .iter()
        .map(|topics| topics.len())
        .chain([filter.address.len()])
        .max();
    if longest.is_some_and(|entries| entries > limits.max_filter_entries) {
        return Err(CallError::Limit(format!(
            "a filter may have {} addresses, and so many topics in one place",
            limits.max_filter_entries
        )));
    }
    Ok(())
}

/// First and last block of a filter; `None` for a range that has none.
fn range(node: &Backend, filter: &Filter) -> CallResult<Option<(Height, Height)>> {
    match &filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let height = node
                .find_id(*hash)?
                .ok_or_else(|| CallError::Refused("unknown block".to_owned()))?;
            Ok(Some((height, height)))
        }
        FilterBlockOption::Range {
            from_block,
            to_block,
        } => {
            let head = node.height();
            let bound = |tag: Option<alloy_eips::BlockNumberOrTag>| -> CallResult<Height> {
                match tag.unwrap_or_default() {
                    alloy_eips::BlockNumberOrTag::Number(number) => Ok(Height(number)),
                    tag => node.resolve(tag.into()),
                }
            };
            let (first, last) = (bound(*from_block)?, bound(*to_block)?);
            if first > last {
                return Err(CallError::Params("invalid block range params".to_owned()));
            }
            // Blocks before the earliest kept cannot be said to have no logs: reading them fails and says so.
            Ok((first <= head).then_some((first, last.min(head))))
        }
    }
}

/// Whether a block with this bloom can have a log that matches.
pub(crate) fn may_match(filter: &Filter, bloom: &Bloom) -> bool {
    if bloom.is_zero() {
        return false;
    }
    let addresses = &filter.address;
    if !addresses.is_empty()
        && !addresses
            .iter()
            .any(|address| has(bloom, address.as_slice()))
    {
        return false;
    }
    filter
        .topics
        .iter()
        .all(|topics| topics.is_empty() || topics.iter().any(|topic| has(bloom, topic.as_slice())))
}

fn has(bloom: &Bloom, bytes: &[u8]) -> bool {
    bloom.contains_input(BloomInput::Raw(bytes))
}

/// Whether a log matches.
fn matches(filter: &Filter, address: &Address, topics: &[B256]) -> bool {
    if !filter.address.is_empty() && !filter.address.contains(address) {
        return false;
    }
    filter.topics.iter().enumerate().all(|(place, wanted)| {
        wanted.is_empty()
            || topics
                .get(place)
                .is_some_and(|topic| wanted.contains(topic))
    })
}

/// A block's logs that match.
pub(crate) fn matching<'a>(
    filter: &'a Filter,
    block: &'a Loaded,
) -> impl Iterator<Item = Log> + 'a {
    let worth = move |index: &usize| {
        block.receipts.get(*index).is_some_and(|receipt| {
            receipt
                .logs
                .iter()
                .any(|log| matches(filter, &log.address, &log.topics))
        })
    };
    (0..block.receipts.len())
        .filter(worth)
        .flat_map(|index| convert::logs(block, index))
        .filter(|log| matches(filter, &log.inner.address, log.inner.data.topics()))
}

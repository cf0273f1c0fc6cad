//! A session's chunks at the nodes, as their owner sees them: what is still to be committed to, pushed, and fetched.
//!
//! All of it is level-triggered: it compares what there is with what the chain has, so it can be called again after any failure, and
//! does nothing where nothing is left to do. Transactions are made, not sent: whoever owns the account's nonces sends them.

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_chain_types::NodeId;

use crate::CustodyError;
use crate::chain::Chain;
use crate::contract::{BATCH, Call, Commitment, commit};
use crate::place;
use crate::plan::Lease;
use crate::transfer;

/// Index of the first of a recording's small sections, which are kept like chunks: the head.
pub const HEAD: u64 = 1 << 32;
/// The wraps.
pub const WRAPS: u64 = HEAD + 1;
/// The signed manifest, once the session is sealed.
pub const MANIFEST: u64 = HEAD + 2;

/// Calls that commit to those of `pieces` (by index, ascending) that the chain has no lease of, for so many slots.
pub async fn commits_due(
    chain: &Chain,
    session: B256,
    pieces: &[(u64, Commitment)],
    slots: u64,
) -> Result<Vec<Call>, CustodyError> {
    let mut due = Vec::new();
    for (index, piece) in pieces {
        if chain.chunk(session, *index).await?.is_none() {
            due.push((*index, *piece));
        }
    }
    let mut calls = Vec::new();
    for (first, run) in runs(&due) {
        let bytes = run.iter().map(|piece| u64::from(piece.size)).sum();
        let fee = chain.fee(bytes, slots).await?;
        calls.push(commit(session, first, &run, slots, fee));
    }
    Ok(calls)
}

/// Pieces whose indices follow each other, with the first of them, at most [`BATCH`] each.
fn runs(due: &[(u64, Commitment)]) -> Vec<(u64, Vec<Commitment>)> {
    let mut runs: Vec<(u64, Vec<Commitment>)> = Vec::new();
    for (index, piece) in due {
        match runs.last_mut() {
            Some((first, run))
                if run.len() < BATCH && first.checked_add(run.len() as u64) == Some(*index) =>
            {
                run.push(*piece);
            }
            _ => runs.push((*index, vec![*piece])),
        }
    }
    runs
}

/// Pushes a chunk that nobody says it holds to the first node of its order that takes it; the others fetch it from there. Whether
/// it was pushed: where it has holders there is nothing to do.
pub async fn push_due(chain: &Chain, lease: &Lease, bytes: &Bytes) -> Result<bool, CustodyError> {
    if !lease.holders.is_empty() {
        return Ok(false);
    }
    let doors = chain.doors().await?;
    let replicas = chain.replicas().await?;
    let nodes: Vec<NodeId> = doors.iter().map(|door| door.node).collect();
    let mut reasons = Vec::new();
    for node in place::order(lease.hash, &nodes).iter().take(replicas) {
        let Some(door) = doors.iter().find(|door| door.node == *node) else {
            continue;
        };
        match transfer::push(&door.url, lease.number, lease.hash, bytes.clone()).await {
            Ok(()) => return Ok(true),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(CustodyError::Refused {
        hash: lease.hash,
        reasons: reasons.join("; "),
    })
}

/// Fetches a chunk of a session from its holders; `None` where the chain has no lease of it.
pub async fn fetch(
    chain: &Chain,
    session: B256,
    index: u64,
) -> Result<Option<Vec<u8>>, CustodyError> {
    let Some(lease) = chain.chunk(session, index).await? else {
        return Ok(None);
    };
    let doors = chain.doors().await?;
    let holders = lease.holders.iter();
    let urls: Vec<String> = holders
        .filter_map(|holder| doors.iter().find(|door| door.node == *holder))
        .map(|door| door.url.clone())
        .collect();
    transfer::fetch_bytes(&urls, lease.hash, lease.size)
        .await
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_about_indices_that_follow_each_other() {
        let piece = Commitment {
            hash: B256::ZERO,
            storage_root: B256::ZERO,
            size: 1,
        };
        let long = BATCH as u64;
        let indices = (3..3 + 2 * long + 1).chain([900, 902, 903, u64::MAX]);
        let due: Vec<_> = indices.map(|index| (index, piece)).collect();
        let runs = runs(&due);
        let shape: Vec<_> = runs
            .iter()
            .map(|(first, run)| (*first, run.len()))
            .collect();
        let whole = [(3, BATCH), (3 + long, BATCH), (3 + 2 * long, 1)];
        assert_eq!(
            shape,
            [&whole[..], &[(900, 1), (902, 2), (u64::MAX, 1)]].concat()
        );
    }
}

//! The keys of the keyspaces. Within one table a key's first bytes tell its length, so that none is the start of another
//! and a height can follow.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::nybbles::Nibbles;

/// Tables that have a history; the first byte of a history key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    /// `state-flat`, accounts.
    Account = 0,
    /// `state-flat`, slots.
    Slot = 1,
    /// `state-nodes`.
    Node = 2,
    /// The root of the account tree (in `state-meta`).
    Root = 3,
}

/// The first byte of the lists of what a height changed, in `state-history`.
pub(crate) const CHANGED: u8 = 4;

pub(crate) fn account(address: Address) -> B256 {
    keccak256(address)
}

pub(crate) fn slot(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

/// A slot's key in `state-flat`: right behind its account's.
pub(crate) fn flat_slot(account: &B256, slot: &B256) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(&account.0);
    key[32..].copy_from_slice(&slot.0);
    key
}

/// A branch of the account tree (no owner) or of an account's storage tree. Depth comes before path, so that the upper
/// levels, which every block rewrites, lie together.
pub(crate) fn node(owner: Option<&B256>, path: &Nibbles) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + 32 + 32);
    match owner {
        None => key.push(0),
        Some(owner) => {
            key.push(1);
            key.extend_from_slice(&owner.0);
        }
    }
    key.push(path.len().to_le_bytes()[0]);
    key.extend_from_slice(&path.pack());
    key
}

/// What all branches of a storage tree begin with.
pub(crate) fn nodes_of(owner: &B256) -> Vec<u8> {
    [&[1][..], &owner.0].concat()
}

/// Where a key's value before `height` is kept.
pub(crate) fn history(table: Table, key: &[u8], height: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len() + 8);
    out.push(table as u8);
    out.extend_from_slice(key);
    out.extend_from_slice(&height.to_be_bytes());
    out
}

/// The `part`th list of what `height` changed.
pub(crate) fn changed(height: u64, part: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(13);
    out.push(CHANGED);
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&part.to_be_bytes());
    out
}

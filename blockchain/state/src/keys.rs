//! The keys of the keyspaces.

use std::ops::Deref;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::nybbles::Nibbles;

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

/// The key of a branch: at most kind, owner, depth and 32 bytes of path.
#[derive(Clone, Copy)]
pub(crate) struct NodeKey {
    bytes: [u8; 66],
    len: usize,
}

impl Deref for NodeKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A branch of the account tree (no owner) or of an account's storage tree. Depth comes before path, so that the upper
/// levels, which every block rewrites, lie together.
pub(crate) fn node(owner: Option<&B256>, path: &Nibbles) -> NodeKey {
    let mut bytes = [0; 66];
    let mut len = 1;
    if let Some(owner) = owner {
        bytes[0] = 1;
        bytes[1..33].copy_from_slice(&owner.0);
        len = 33;
    }
    bytes[len] = path.len().to_le_bytes()[0];
    len += 1;
    let packed = path.pack();
    bytes[len..len + packed.len()].copy_from_slice(&packed);
    len += packed.len();
    NodeKey { bytes, len }
}

/// What all branches of a storage tree begin with.
pub(crate) fn nodes_of(owner: &B256) -> Vec<u8> {
    [&[1][..], &owner.0].concat()
}

//! A state in plain maps: what the real one is checked against, and enough for tests that need no database.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::nybbles::Nibbles;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, KECCAK_EMPTY};

use crate::{Account, Result, StateChanges, StateError, StateReader, keys, record};

/// A state in memory. Its root is computed from scratch by `alloy_trie`, in time linear in its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    accounts: BTreeMap<Address, Account>,
    storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    code: BTreeMap<B256, Bytes>,
}

impl MemoryState {
    /// Applies the changes of a block, with the same meaning as [`crate::State::prepare`].
    pub fn apply(&mut self, changes: &StateChanges) -> Result<()> {
        for (address, slots) in &changes.storage {
            let there = match changes.accounts.get(address) {
                Some(account) => account.is_some(),
                None => self.accounts.contains_key(address),
            };
            if !there && slots.values().any(|value| !value.is_zero()) {
                return Err(StateError::StorageWithoutAccount(*address));
            }
        }
        for (address, slots) in &changes.storage {
            let stored = self.storage.entry(*address).or_default();
            for (slot, value) in slots {
                if value.is_zero() {
                    stored.remove(slot);
                } else {
                    stored.insert(*slot, *value);
                }
            }
        }
        for (address, account) in &changes.accounts {
            match account {
                Some(account) => {
                    self.accounts.insert(*address, *account);
                }
                None => {
                    self.accounts.remove(address);
                    self.storage.remove(address);
                }
            }
        }
        self.storage.retain(|_, slots| !slots.is_empty());
        self.code.extend(changes.code.clone());
        Ok(())
    }

    /// The root of the account tree.
    #[must_use]
    pub fn root(&self) -> B256 {
        let leaves = self.accounts.iter().map(|(address, account)| {
            (
                keys::account(*address),
                record::account_rlp(account, &self.storage_root(*address)),
            )
        });
        root_of(leaves.collect())
    }

    /// The root of an account's storage tree.
    #[must_use]
    pub fn storage_root(&self, address: Address) -> B256 {
        let Some(slots) = self.storage.get(&address) else {
            return EMPTY_ROOT_HASH;
        };
        root_of(
            slots
                .iter()
                .map(|(slot, value)| (keys::slot(*slot), alloy_rlp::encode(value)))
                .collect(),
        )
    }
}

fn root_of(leaves: BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack_array(&key.0), &value);
    }
    builder.root()
}

impl StateReader for MemoryState {
    fn account(&self, address: Address) -> Result<Option<Account>> {
        Ok(self.accounts.get(&address).copied())
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256> {
        Ok(self
            .storage
            .get(&address)
            .and_then(|slots| slots.get(&slot))
            .copied()
            .unwrap_or_default())
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        if hash == KECCAK_EMPTY {
            return Ok(Bytes::new());
        }
        self.code
            .get(&hash)
            .cloned()
            .ok_or(StateError::UnknownCode(hash))
    }
}

//! Reading: one database snapshot, as of its newest height or of an older one that is still kept.

use std::ops::ControlFlow;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::nybbles::Nibbles;
use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY};
use fjall::{Readable, Slice, Snapshot};

use crate::cache::Cache;
use crate::history::{Indexes, Past, Previous, Table};
use crate::keys;
use crate::record::{self, AccountRecord, Head};
use crate::store::Keyspaces;
use crate::trie::{self, Branch, Child, Source};
use crate::{Account, Result, StateError, StateReader};

/// The proof of an account and some of its slots, as `eth_getProof` gives it. Verifies with `alloy_trie::proof::verify_proof`
/// under `keccak(address)` and, for a slot, `keccak(slot)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// Whose.
    pub address: Address,
    /// `None`: the proof shows that there is no such account.
    pub account: Option<Account>,
    /// [`EMPTY_ROOT_HASH`] for an account without storage, or none at all.
    pub storage_root: B256,
    /// Nodes from the state root down.
    pub account_proof: Vec<Bytes>,
    /// One for each slot asked for, in that order.
    pub storage: Vec<StorageProof>,
}

/// The proof of one slot under an account's storage root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageProof {
    /// The slot.
    pub key: U256,
    /// Zero: the proof shows that nothing is stored.
    pub value: U256,
    /// Nodes from the storage root down; empty if the account has no storage.
    pub proof: Vec<Bytes>,
}

/// What is kept in memory of the newest state. Whoever clears the database takes a new one.
pub(crate) struct Memory {
    pub(crate) nodes: Cache,
    pub(crate) flat: Cache,
    pub(crate) indexes: Indexes,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        // Branches are read more often than they fit; rows are read by the executor and then by its block's root.
        Self {
            nodes: Cache::new(bytes / 4 * 3),
            flat: Cache::new(bytes / 4),
            indexes: Indexes::default(),
        }
    }
}

/// The database at the moment after one block.
pub(crate) struct View {
    pub(crate) keyspaces: Arc<Keyspaces>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) snapshot: Snapshot,
    pub(crate) generation: u64,
    /// `None`: nothing was ever committed.
    pub(crate) head: Option<Head>,
    pub(crate) root: B256,
}

pub(crate) fn damaged(what: &str, key: &[u8]) -> StateError {
    StateError::Damaged(format!(
        "{what} at key {} does not decode",
        alloy_primitives::hex::encode(key)
    ))
}

impl View {
    pub(crate) fn new(
        keyspaces: Arc<Keyspaces>,
        memory: Arc<Memory>,
        generation: u64,
    ) -> Result<Self> {
        let snapshot = keyspaces.db.snapshot();
        let head = keyspaces.read_head(&snapshot)?;
        let root = trie::root_hash(head.as_ref().and_then(|head| head.root.as_ref()));
        Ok(Self {
            keyspaces,
            memory,
            snapshot,
            generation,
            head,
            root,
        })
    }

    /// Tells what a key held before each height above `at` that changed it, oldest first.
    fn later(
        &self,
        table: Table,
        key: &[u8],
        at: u64,
        each: impl FnMut(Previous<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let past = Past {
            keyspace: &self.keyspaces.history,
            snapshot: &self.snapshot,
            indexes: &self.memory.indexes,
        };
        let newest = self.head.as_ref().map_or(0, |head| head.height);
        past.each(at.saturating_add(1)..=newest, table, key, each)
    }

    /// What a key held at a height, if a later one changed it.
    fn earlier(&self, table: Table, key: &[u8], at: u64) -> Result<Option<Option<Slice>>> {
        let mut found = None;
        self.later(table, key, at, |previous| {
            found = Some(match previous {
                Previous::Absent => None,
                Previous::Whole(value) => Some(Slice::from(value)),
                Previous::Part(..) => return Err(damaged("the history of a value", key)),
            });
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    pub(crate) fn flat(&self, key: &[u8], at: Option<u64>) -> Result<Option<Slice>> {
        if let Some(at) = at {
            if let Some(earlier) = self.earlier(Table::Flat, key, at)? {
                return Ok(earlier);
            }
            return Ok(self.snapshot.get(&self.keyspaces.flat, key)?);
        }
        if let Some(row) = self.memory.flat.get(self.generation, key) {
            return Ok(row);
        }
        let row = self.snapshot.get(&self.keyspaces.flat, key)?;
        self.memory.flat.put(self.generation, key, row.as_deref());
        Ok(row)
    }

    pub(crate) fn account(&self, key: &B256, at: Option<u64>) -> Result<Option<AccountRecord>> {
        self.flat(&key.0, at)?
            .map(|bytes| AccountRecord::decode(&bytes).ok_or_else(|| damaged("an account", &key.0)))
            .transpose()
    }

    pub(crate) fn slot(&self, key: &[u8; 64], at: Option<u64>) -> Result<U256> {
        match self.flat(key, at)? {
            None => Ok(U256::ZERO),
            Some(bytes) => record::decode_u256(&bytes).ok_or_else(|| damaged("a slot", key)),
        }
    }

    fn branch(&self, owner: Option<&B256>, path: &Nibbles, at: Option<u64>) -> Result<Branch> {
        let key = keys::node(owner, path);
        let found = match at {
            None => self.newest_branch(&key, path.len())?,
            Some(at) => self.older_branch(&key, path.len(), at)?,
        };
        found.ok_or_else(|| StateError::Damaged(format!("the branch at {path:?} is missing")))
    }

    fn newest_branch(&self, key: &[u8], depth: usize) -> Result<Option<Branch>> {
        let decode = |bytes| {
            Branch::decode(bytes, depth)
                .ok_or_else(|| damaged("a branch", key))
                .map(Some)
        };
        match self.memory.nodes.get(self.generation, key) {
            Some(None) => return Ok(None),
            Some(Some(bytes)) => return decode(bytes),
            None => {}
        }
        match self.snapshot.get(&self.keyspaces.nodes, key)? {
            None => Ok(None),
            Some(bytes) => {
                self.memory.nodes.put(self.generation, key, Some(&bytes));
                decode(bytes)
            }
        }
    }

    /// Each later height says what it replaced; the first word on a child is the one that counts.
    fn older_branch(&self, key: &[u8], depth: usize, at: u64) -> Result<Option<Branch>> {
        let broken = || damaged("the history of a branch", key);
        let mut branch = Branch::empty(depth);
        let mut known = 0u16;
        let mut absent = false;
        self.later(Table::Node, key, at, |previous| {
            let (mask, part) = match previous {
                // Only the first word can be that there was nothing: before a branch can go, it must have come.
                Previous::Absent => {
                    absent = true;
                    return Ok(ControlFlow::Break(()));
                }
                Previous::Whole(bytes) => (u16::MAX, bytes),
                Previous::Part(mask, children) => (mask, children),
            };
            let part = Branch::decode(part.into(), depth).ok_or_else(broken)?;
            branch.fill(&mut known, mask, &part).ok_or_else(broken)?;
            Ok(if known == u16::MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        if absent {
            return Ok(None);
        }
        if known != u16::MAX {
            let Some(newest) = self.newest_branch(key, depth)? else {
                return Ok(None);
            };
            branch
                .fill(&mut known, u16::MAX, &newest)
                .ok_or_else(broken)?;
        }
        Ok(Some(branch))
    }

    fn root_at(&self, at: u64) -> Result<Option<Child>> {
        match self.earlier(Table::Root, &[], at)? {
            None => Ok(self.head.as_ref().and_then(|head| head.root.clone())),
            Some(bytes) => bytes
                .and_then(|bytes| record::root_from_bytes(&bytes))
                .ok_or_else(|| damaged("the history of the root", &[])),
        }
    }

    pub(crate) fn read_account(
        &self,
        address: Address,
        at: Option<u64>,
    ) -> Result<Option<Account>> {
        Ok(self
            .account(&keys::account(address), at)?
            .map(|record| record.account))
    }

    pub(crate) fn read_storage(
        &self,
        address: Address,
        slot: U256,
        at: Option<u64>,
    ) -> Result<U256> {
        self.slot(
            &keys::flat_slot(&keys::account(address), &keys::slot(slot)),
            at,
        )
    }

    pub(crate) fn read_code(&self, hash: B256) -> Result<Bytes> {
        if hash == KECCAK_EMPTY {
            return Ok(Bytes::new());
        }
        match self.snapshot.get(&self.keyspaces.code, hash)? {
            Some(code) => Ok(Bytes::copy_from_slice(&code)),
            None => Err(StateError::UnknownCode(hash)),
        }
    }

    pub(crate) fn proof(
        &self,
        address: Address,
        slots: &[U256],
        root: Option<&Child>,
        at: Option<u64>,
    ) -> Result<AccountProof> {
        let key = keys::account(address);
        let record = self.account(&key, at)?;
        let account_proof = trie::prove(&AccountTree { view: self, at }, root, &key)?;
        let tree = StorageTree {
            view: self,
            owner: key,
            at,
        };
        let storage_tree = record.as_ref().and_then(|record| record.storage.as_ref());
        let storage = slots
            .iter()
            .map(|slot| {
                let hashed = keys::slot(*slot);
                Ok(StorageProof {
                    key: *slot,
                    value: self.slot(&keys::flat_slot(&key, &hashed), at)?,
                    proof: trie::prove(&tree, storage_tree, &hashed)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(AccountProof {
            address,
            storage_root: record
                .as_ref()
                .map_or(EMPTY_ROOT_HASH, AccountRecord::storage_root),
            account: record.map(|record| record.account),
            account_proof,
            storage,
        })
    }
}

/// The tree of accounts.
pub(crate) struct AccountTree<'a> {
    pub(crate) view: &'a View,
    pub(crate) at: Option<u64>,
}

impl Source for AccountTree<'_> {
    fn branch(&self, path: &Nibbles) -> Result<Branch> {
        self.view.branch(None, path, self.at)
    }

    fn value(&self, key: &B256) -> Result<Vec<u8>> {
        match self.view.account(key, self.at)? {
            Some(record) => Ok(record.rlp()),
            None => Err(StateError::Damaged(format!("the account {key} is missing"))),
        }
    }
}

/// The tree of an account's slots.
pub(crate) struct StorageTree<'a> {
    pub(crate) view: &'a View,
    pub(crate) owner: B256,
    pub(crate) at: Option<u64>,
}

impl Source for StorageTree<'_> {
    fn branch(&self, path: &Nibbles) -> Result<Branch> {
        self.view.branch(Some(&self.owner), path, self.at)
    }

    fn value(&self, key: &B256) -> Result<Vec<u8>> {
        match self
            .view
            .flat(&keys::flat_slot(&self.owner, key), self.at)?
        {
            Some(value) => Ok(alloy_rlp::encode(&*value)),
            None => Err(StateError::Damaged(format!(
                "the slot {key} of account {} is missing",
                self.owner
            ))),
        }
    }
}

/// The state after one block, kept for as long as this is held whatever is committed and pruned meanwhile.
#[derive(Clone)]
pub struct Historic {
    view: Arc<View>,
    height: u64,
    /// `None` for the newest height of the view.
    at: Option<u64>,
    tree: Option<Child>,
    root: B256,
}

impl Historic {
    pub(crate) fn new(view: Arc<View>, height: Option<u64>) -> Result<Self> {
        let head = view.head.as_ref().ok_or(StateError::Empty)?;
        let height = height.unwrap_or(head.height);
        if height > head.height || height < head.oldest {
            return Err(StateError::NotKept {
                height,
                oldest: head.oldest,
                head: head.height,
            });
        }
        let (at, tree) = if height == head.height {
            (None, head.root.clone())
        } else {
            (Some(height), view.root_at(height)?)
        };
        let root = trie::root_hash(tree.as_ref());
        Ok(Self {
            height,
            at,
            tree,
            root,
            view,
        })
    }

    /// The root of the account tree.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.root
    }

    /// The height this is the state after.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Proves an account and slots of it, present or not, under [`Historic::root`].
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof> {
        self.view.proof(address, slots, self.tree.as_ref(), self.at)
    }
}

impl std::fmt::Debug for Historic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Historic")
            .field("height", &self.height)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl StateReader for Historic {
    fn account(&self, address: Address) -> Result<Option<Account>> {
        self.view.read_account(address, self.at)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256> {
        self.view.read_storage(address, slot, self.at)
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        self.view.read_code(hash)
    }
}

impl<R: StateReader + ?Sized> StateReader for &R {
    fn account(&self, address: Address) -> Result<Option<Account>> {
        (**self).account(address)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256> {
        (**self).storage(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        (**self).code(hash)
    }
}

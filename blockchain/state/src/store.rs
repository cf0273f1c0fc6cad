//! The persistent state: prepare, commit, history and pruning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use fjall::config::FilterPolicy;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Readable, Slice, Snapshot,
};

use crate::cache::Cache;
use crate::keys::{self, Table};
use crate::record::{self, AccountRecord, Head, Previous};
use crate::trie::{self, Change, Child, Rewritten};
use crate::view::{AccountProof, AccountTree, Historic, StorageTree, View, damaged};
use crate::{Account, MAX_CODE_BYTES, Result, StateChanges, StateError, StateReader};

/// How many changed keys one list in the history names.
const KEYS_A_LIST: usize = 256;

/// How many such lists a block prunes at least, if there are as many; twice its own number if that is more. So the work
/// is bounded by what blocks do themselves, and a backlog (a shortened history) melts away.
const LISTS_A_BLOCK: usize = 32;

const HEAD: &[u8] = b"head";
/// Set while a snapshot is being restored. What is found under it at start is half a state and is dropped.
pub(crate) const RESTORING: &[u8] = b"restoring";

/// What a node may choose about its state. None of it changes a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// How many heights below the newest stay readable. Zero keeps no history.
    pub history: u64,
    /// Memory for branches of the trees, in bytes.
    pub cache_bytes: usize,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            history: 256,
            cache_bytes: 32 << 20,
        }
    }
}

pub(crate) struct Keyspaces {
    pub(crate) db: Database,
    pub(crate) flat: Keyspace,
    pub(crate) nodes: Keyspace,
    pub(crate) code: Keyspace,
    pub(crate) history: Keyspace,
    pub(crate) meta: Keyspace,
}

impl Keyspaces {
    fn open(db: &Database) -> Result<Self> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(16 << 20);
        let small = || KeyspaceCreateOptions::default().max_memtable_size(2 << 20);
        Ok(Self {
            db: db.clone(),
            flat: db.keyspace("state-flat", options)?,
            // A branch that is asked for is there: no filter needed on the last level.
            nodes: db.keyspace("state-nodes", || options().expect_point_read_hits(true))?,
            code: db.keyspace("state-code", small)?,
            // Read by ranges only: filters are of no use.
            history: db.keyspace("state-history", || {
                options().filter_policy(FilterPolicy::disabled())
            })?,
            meta: db.keyspace("state-meta", small)?,
        })
    }

    pub(crate) fn read_head(&self, snapshot: &Snapshot) -> Result<Option<Head>> {
        snapshot
            .get(&self.meta, HEAD)?
            .map(|bytes| {
                Head::decode(&bytes).ok_or_else(|| {
                    StateError::Damaged(
                        "the head of the state has another version or is broken".to_owned(),
                    )
                })
            })
            .transpose()
    }

    pub(crate) fn write_head(&self, batch: &mut OwnedWriteBatch, head: &Head) {
        batch.insert(&self.meta, HEAD, head.encode());
    }

    pub(crate) fn clear(&self) -> Result<()> {
        // The marker goes last: whatever is left by a crash in between is found again.
        for keyspace in [
            &self.flat,
            &self.nodes,
            &self.code,
            &self.history,
            &self.meta,
        ] {
            keyspace.clear()?;
        }
        self.db.persist(fjall::PersistMode::SyncAll)?;
        Ok(())
    }
}

/// A value of `state-flat` that changes.
struct FlatWrite {
    table: Table,
    key: Vec<u8>,
    old: Option<Slice>,
    new: Option<Vec<u8>>,
}

/// A branch that changes.
struct NodeWrite {
    key: Vec<u8>,
    previous: Previous,
    new: Option<Vec<u8>>,
}

/// The outcome of [`State::prepare`]: a root, and all that must be written for it.
pub struct Prepared {
    prepared_on: B256,
    root: B256,
    tree: Option<Child>,
    flat: Vec<FlatWrite>,
    nodes: Vec<NodeWrite>,
    code: Vec<(B256, Bytes)>,
}

impl Prepared {
    /// The root after the changes.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.root
    }

    /// The root of the state they were prepared on.
    #[must_use]
    pub fn prepared_on(&self) -> B256 {
        self.prepared_on
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("prepared_on", &self.prepared_on)
            .field("root", &self.root)
            .field("values", &self.flat.len())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// The state. Clones share it; any number of threads may read and prepare while one commits.
#[derive(Clone)]
pub struct State(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) keyspaces: Arc<Keyspaces>,
    pub(crate) cache: Arc<Cache>,
    options: StateOptions,
    view: RwLock<Arc<View>>,
    /// A snapshot is on its way in.
    pub(crate) restoring: AtomicBool,
}

impl Inner {
    pub(crate) fn view(&self) -> Arc<View> {
        self.view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes what the database holds now the present state; whatever was cached is forgotten.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let generation = view.generation + 1;
        let next = View::new(self.keyspaces.clone(), self.cache.clone(), generation)?;
        self.cache.reset(generation);
        *view = Arc::new(next);
        Ok(())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let view = self.0.view();
        f.debug_struct("State")
            .field("height", &view.head.as_ref().map(|head| head.height))
            .field("root", &view.root)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Opens the state in the node's database, and creates what is missing. What an interrupted restore left is dropped.
    pub fn open(db: &Database, options: StateOptions) -> Result<Self> {
        let keyspaces = Arc::new(Keyspaces::open(db)?);
        if keyspaces.meta.contains_key(RESTORING)? {
            keyspaces.clear()?;
        }
        let cache = Arc::new(Cache::new(options.cache_bytes));
        let view = View::new(keyspaces.clone(), cache.clone(), 0)?;
        Ok(Self(Arc::new(Inner {
            keyspaces,
            cache,
            options,
            view: RwLock::new(Arc::new(view)),
            restoring: AtomicBool::new(false),
        })))
    }

    /// The root after the last committed block; [`crate::EMPTY_ROOT_HASH`] before genesis.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.0.view().root
    }

    /// The last committed height; `None` before genesis.
    #[must_use]
    pub fn height(&self) -> Option<u64> {
        self.0.view().head.as_ref().map(|head| head.height)
    }

    /// The oldest height that [`State::at`] still gives.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.0.view().head.as_ref().map(|head| head.oldest)
    }

    /// The state after the last committed block, which stays as it is while others are committed.
    pub fn latest(&self) -> Result<Historic> {
        Historic::new(self.0.view(), None)
    }

    /// The state after the block at `height`: the newest, or one of the last [`StateOptions::history`] before it.
    pub fn at(&self, height: u64) -> Result<Historic> {
        Historic::new(self.0.view(), Some(height))
    }

    /// Proves an account and slots of it, present or not, under [`State::root`].
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof> {
        let view = self.0.view();
        let tree = view.head.as_ref().and_then(|head| head.root.as_ref());
        view.proof(address, slots, tree, None)
    }

    /// Deletes the whole state, so that another can be restored in its place. Views that are held meanwhile become useless.
    pub fn clear(&self) -> Result<()> {
        if self.0.restoring.swap(true, Ordering::AcqRel) {
            return Err(StateError::Restoring);
        }
        let keyspaces = &self.0.keyspaces;
        let cleared = (|| {
            keyspaces.meta.insert(RESTORING, [record::VERSION])?;
            keyspaces.db.persist(fjall::PersistMode::SyncAll)?;
            keyspaces.clear()?;
            self.0.reload()
        })();
        self.0.restoring.store(false, Ordering::Release);
        cleared
    }

    /// Computes what the changes would make of the present state. Changes nothing; several may be prepared side by side,
    /// one of which is committed.
    pub fn prepare(&self, changes: &StateChanges) -> Result<Prepared> {
        let view = self.0.view();
        let mut flat = Vec::new();
        let mut nodes = Vec::new();
        let mut tree_changes = Vec::new();

        let mut addresses: Vec<_> = changes
            .accounts
            .keys()
            .chain(changes.storage.keys())
            .copied()
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        // In the order of the keys, which is how they lie on disk.
        let mut addresses: Vec<_> = addresses
            .into_iter()
            .map(|address| (keys::account(address), address))
            .collect();
        addresses.sort_unstable();
        for (key, address) in addresses {
            let old_bytes = view.snapshot.get(&view.keyspaces.flat, key)?;
            let old = old_bytes
                .as_ref()
                .map(|bytes| {
                    AccountRecord::decode(bytes).ok_or_else(|| damaged("an account", &key.0))
                })
                .transpose()?;
            let account = match changes.accounts.get(&address) {
                Some(account) => *account,
                None => old.as_ref().map(|record| record.account),
            };
            let slots = changes.storage.get(&address);
            let Some(account) = account else {
                if slots.is_some_and(|slots| slots.values().any(|value| !value.is_zero())) {
                    return Err(StateError::StorageWithoutAccount(address));
                }
                if old.is_some() {
                    delete_storage(&view, &key, &mut flat, &mut nodes)?;
                    flat.push(FlatWrite {
                        table: Table::Account,
                        key: key.to_vec(),
                        old: old_bytes,
                        new: None,
                    });
                    tree_changes.push(Change { key, value: None });
                }
                continue;
            };
            let mut storage = old.as_ref().and_then(|record| record.storage.clone());
            if let Some(slots) = slots {
                let mut slots: Vec<_> = slots
                    .iter()
                    .map(|(slot, value)| (keys::slot(*slot), *value))
                    .collect();
                slots.sort_unstable();
                let changes = slot_changes(&view, &key, &slots, &mut flat)?;
                let tree = StorageTree {
                    view: &view,
                    owner: key,
                    at: None,
                };
                let mut written = Vec::new();
                storage = trie::apply(&tree, storage, &changes, &mut written)?;
                nodes.extend(written.iter().map(|branch| node_write(Some(&key), branch)));
            }
            let record = AccountRecord { account, storage };
            if old.as_ref() != Some(&record) {
                tree_changes.push(Change {
                    key,
                    value: Some(record.rlp()),
                });
                let new = Some(record.encode());
                flat.push(FlatWrite {
                    table: Table::Account,
                    key: key.to_vec(),
                    old: old_bytes,
                    new,
                });
            }
        }

        let old_tree = view.head.as_ref().and_then(|head| head.root.clone());
        let mut written = Vec::new();
        let tree = trie::apply(
            &AccountTree {
                view: &view,
                at: None,
            },
            old_tree,
            &tree_changes,
            &mut written,
        )?;
        nodes.extend(written.iter().map(|branch| node_write(None, branch)));

        let mut code = Vec::new();
        for (hash, bytes) in &changes.code {
            if bytes.len() > MAX_CODE_BYTES {
                return Err(StateError::CodeTooLong(bytes.len()));
            }
            if keccak256(bytes) != *hash {
                return Err(StateError::CodeMismatch {
                    hash: *hash,
                    bytes: bytes.len(),
                });
            }
            if !bytes.is_empty() {
                code.push((*hash, bytes.clone()));
            }
        }
        Ok(Prepared {
            prepared_on: view.root,
            root: trie::root_hash(tree.as_ref()),
            tree,
            flat,
            nodes,
            code,
        })
    }

    /// Adds all writes of a prepared block to the caller's batch, and a bounded share of pruning. Nothing is changed until
    /// the caller has committed (and persisted) the batch and called [`State::committed`].
    pub fn commit(
        &self,
        height: u64,
        prepared: &Prepared,
        batch: &mut OwnedWriteBatch,
    ) -> Result<()> {
        let view = self.0.view();
        let keyspaces = &self.0.keyspaces;
        if self.0.restoring.load(Ordering::Acquire) {
            return Err(StateError::Restoring);
        }
        if prepared.prepared_on != view.root {
            return Err(StateError::Stale {
                prepared_on: prepared.prepared_on,
                root: view.root,
            });
        }
        let oldest = match &view.head {
            None => height,
            Some(head) if head.height.checked_add(1) == Some(height) => {
                let oldest = if self.0.options.history == 0 {
                    // Nothing is recorded for this height, so nothing below it can be read.
                    self.prune(&view, u64::MAX, usize::MAX, batch)?;
                    height
                } else {
                    let lists = self.record_history(height, &view, prepared, batch);
                    let keep_from = height.saturating_sub(self.0.options.history);
                    self.prune(&view, keep_from, LISTS_A_BLOCK.max(2 * lists), batch)?
                };
                oldest.max(head.oldest)
            }
            Some(head) => {
                return Err(StateError::HeightOutOfOrder {
                    head: Some(head.height),
                    got: height,
                });
            }
        };
        for write in &prepared.flat {
            match &write.new {
                Some(value) => {
                    batch.insert(&keyspaces.flat, write.key.as_slice(), value.as_slice());
                }
                None => batch.remove(&keyspaces.flat, write.key.as_slice()),
            }
        }
        for write in &prepared.nodes {
            match &write.new {
                Some(value) => {
                    batch.insert(&keyspaces.nodes, write.key.as_slice(), value.as_slice());
                }
                None => batch.remove(&keyspaces.nodes, write.key.as_slice()),
            }
        }
        for (hash, code) in &prepared.code {
            batch.insert(&keyspaces.code, hash.as_slice(), code.as_ref());
        }
        keyspaces.write_head(
            batch,
            &Head {
                height,
                oldest,
                root: prepared.tree.clone(),
            },
        );
        Ok(())
    }

    /// Moves on to the committed block, once its batch is in the database. Until then, and if it never gets there, the state
    /// stays what it was.
    pub fn committed(&self, height: u64, prepared: &Prepared) -> Result<()> {
        let mut view = self.0.view.write().unwrap_or_else(PoisonError::into_inner);
        let generation = view.generation + 1;
        let next = View::new(self.0.keyspaces.clone(), self.0.cache.clone(), generation)?;
        if next.head.as_ref().map(|head| head.height) != Some(height) || next.root != prepared.root
        {
            return Err(StateError::NotWritten(height));
        }
        if view.root == prepared.prepared_on {
            self.0.cache.advance(
                generation,
                prepared
                    .nodes
                    .iter()
                    .map(|write| (write.key.as_slice(), write.new.as_deref())),
            );
        } else {
            self.0.cache.reset(generation);
        }
        *view = Arc::new(next);
        Ok(())
    }

    /// Writes what every changed key held before `height`, and lists them for pruning. Gives the number of lists.
    fn record_history(
        &self,
        height: u64,
        view: &View,
        prepared: &Prepared,
        batch: &mut OwnedWriteBatch,
    ) -> usize {
        let history = &self.0.keyspaces.history;
        let mut changed = Vec::with_capacity(prepared.flat.len() + prepared.nodes.len() + 1);
        let mut record = |table, key: &[u8], previous: &Previous| {
            let key = keys::history(table, key, height);
            batch.insert(history, key.as_slice(), previous.encode());
            changed.push(key);
        };
        for write in &prepared.flat {
            let previous = write
                .old
                .as_ref()
                .map_or(Previous::Absent, |old| Previous::Whole(old.to_vec()));
            record(write.table, &write.key, &previous);
        }
        for write in &prepared.nodes {
            record(Table::Node, &write.key, &write.previous);
        }
        let old_tree = view.head.as_ref().and_then(|head| head.root.as_ref());
        if old_tree != prepared.tree.as_ref() {
            record(
                Table::Root,
                &[],
                &Previous::Whole(record::root_bytes(old_tree)),
            );
        }
        let mut lists = 0;
        for (part, keys) in (0u32..).zip(changed.chunks(KEYS_A_LIST)) {
            batch.insert(history, keys::changed(height, part), encode_list(keys));
            lists += 1;
        }
        lists
    }

    /// Removes history of heights up to `keep_from`, at most `lists` lists of it. Gives the oldest height that can be
    /// read afterwards: a height whose history is begun on takes the one before it away.
    fn prune(
        &self,
        view: &View,
        keep_from: u64,
        lists: usize,
        batch: &mut OwnedWriteBatch,
    ) -> Result<u64> {
        let history = &self.0.keyspaces.history;
        let oldest = view.head.as_ref().map_or(0, |head| head.oldest);
        if keep_from < oldest {
            return Ok(oldest);
        }
        let mut begun = oldest;
        let range = keys::changed(oldest, 0)..=keys::changed(keep_from, u32::MAX);
        for (done, entry) in view.snapshot.range(history, range).enumerate() {
            let (key, list) = entry.into_inner()?;
            let height = key
                .get(1..9)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_be_bytes);
            let height = height.ok_or_else(|| damaged("the history", &key))?;
            if done >= lists {
                return Ok(begun);
            }
            begun = height;
            for changed in decode_list(&list).ok_or_else(|| damaged("a list of changes", &key))? {
                batch.remove(history, changed);
            }
            batch.remove(history, key);
        }
        Ok(keep_from)
    }
}

impl StateReader for State {
    fn account(&self, address: Address) -> Result<Option<Account>> {
        self.0.view().read_account(address, None)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256> {
        self.0.view().read_storage(address, slot, None)
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        self.0.view().read_code(hash)
    }
}

/// The slots that really change, for the storage tree; their rows go to `flat`.
fn slot_changes(
    view: &View,
    owner: &B256,
    slots: &[(B256, U256)],
    flat: &mut Vec<FlatWrite>,
) -> Result<Vec<Change>> {
    let mut changes = Vec::with_capacity(slots.len());
    for (slot, value) in slots {
        let key = keys::flat_slot(owner, slot);
        let old = view.slot_bytes(&key, None)?;
        let new = (!value.is_zero()).then(|| record::encode_u256(*value));
        if old.as_deref() == new.as_deref() {
            continue;
        }
        changes.push(Change {
            key: *slot,
            value: new.as_deref().map(alloy_rlp::encode),
        });
        flat.push(FlatWrite {
            table: Table::Slot,
            key: key.to_vec(),
            old,
            new,
        });
    }
    Ok(changes)
}

/// Deletes all slots and branches of an account. Contracts cannot be deleted on this chain, so in practice there are none.
fn delete_storage(
    view: &View,
    owner: &B256,
    flat: &mut Vec<FlatWrite>,
    nodes: &mut Vec<NodeWrite>,
) -> Result<()> {
    for entry in view.snapshot.prefix(&view.keyspaces.flat, owner) {
        let (key, old) = entry.into_inner()?;
        if key.len() == 64 {
            flat.push(FlatWrite {
                table: Table::Slot,
                key: key.to_vec(),
                old: Some(old),
                new: None,
            });
        }
    }
    for entry in view
        .snapshot
        .prefix(&view.keyspaces.nodes, keys::nodes_of(owner))
    {
        let (key, old) = entry.into_inner()?;
        nodes.push(NodeWrite {
            key: key.to_vec(),
            previous: Previous::Whole(old.to_vec()),
            new: None,
        });
    }
    Ok(())
}

fn node_write(owner: Option<&B256>, branch: &Rewritten) -> NodeWrite {
    NodeWrite {
        key: keys::node(owner, &branch.path),
        previous: Previous::of_branch(branch.old.as_ref(), branch.new.as_ref()),
        new: branch.new.as_ref().map(trie::Branch::encode),
    }
}

/// Keys one after the other, each with its length (all are short).
fn encode_list(keys: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(keys.iter().map(|key| key.len() + 1).sum());
    for key in keys {
        out.push(key.len().to_le_bytes()[0]);
        out.extend_from_slice(key);
    }
    out
}

fn decode_list(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut keys = Vec::with_capacity(KEYS_A_LIST);
    while let Some((&len, rest)) = bytes.split_first() {
        let (key, rest) = rest.split_at_checked(usize::from(len))?;
        keys.push(key);
        bytes = rest;
    }
    Some(keys)
}

//! The persistent state: prepare, commit, history and pruning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use fjall::config::FilterPolicy;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Readable, Slice, Snapshot,
};

use crate::history::{self, Previous, Recorder, Table};
use crate::keys;
use crate::record::{self, AccountRecord, Head};
use crate::trie::{self, Change, Child, Rewritten};
use crate::view::{AccountProof, AccountTree, Historic, Memory, StorageTree, View, damaged};
use crate::{Account, MAX_CODE_BYTES, Result, StateChanges, StateError, StateReader};

/// So many heights' history a block prunes at most: one in the long run, more while a backlog is left (a shortened history).
const PRUNED_A_BLOCK: u64 = 4;

/// From this many slots of one account on, what they held is read by several threads.
const PARALLEL_FROM: usize = 256;

const HEAD: &[u8] = b"head";
/// Set while a snapshot is being restored. What is found under it at start is half a state and is dropped.
pub(crate) const RESTORING: &[u8] = b"restoring";

/// What a node may choose about its state. None of it changes a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// How many heights below the newest stay readable. Zero keeps no history.
    pub history: u64,
    /// Memory for branches of the trees and for rows, in bytes. It pays to hold all branches: half a kilobyte for each
    /// eight keys or so.
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
        let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
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
    key: Slice,
    old: Option<Slice>,
    new: Option<Slice>,
}

/// A branch that changes; `previous` as the history has it.
struct NodeWrite {
    key: Slice,
    previous: Vec<u8>,
    new: Option<Slice>,
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

    /// Makes what the database holds now the present state; whatever was in memory is forgotten.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let memory = Arc::new(Memory::new(self.options.cache_bytes));
        *view = Arc::new(View::new(self.keyspaces.clone(), memory, 0)?);
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
        let memory = Arc::new(Memory::new(options.cache_bytes));
        let view = RwLock::new(Arc::new(View::new(keyspaces.clone(), memory, 0)?));
        Ok(Self(Arc::new(Inner {
            keyspaces,
            options,
            view,
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
            let old_bytes = view.flat(&key.0, None)?;
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
                        key: key.0.into(),
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
                let (root, written) = trie::apply(&tree, storage, &changes)?;
                storage = root;
                nodes.extend(
                    written
                        .into_iter()
                        .map(|branch| node_write(Some(&key), branch)),
                );
            }
            let record = AccountRecord { account, storage };
            if old.as_ref() != Some(&record) {
                tree_changes.push(Change {
                    key,
                    value: Some(record.rlp()),
                });
                flat.push(FlatWrite {
                    key: key.0.into(),
                    old: old_bytes,
                    new: Some(record.encode().into()),
                });
            }
        }

        let old_tree = view.head.as_ref().and_then(|head| head.root.clone());
        let (tree, written) = trie::apply(
            &AccountTree {
                view: &view,
                at: None,
            },
            old_tree,
            &tree_changes,
        )?;
        nodes.extend(written.into_iter().map(|branch| node_write(None, branch)));

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
        let (oldest, pruned) = match &view.head {
            None => (height, height),
            Some(head) if head.height.checked_add(1) == Some(height) => {
                let pruned = self.prune(&view, head, height, batch)?;
                if self.0.options.history == 0 {
                    // Nothing is recorded of this height, so nothing below it can be read.
                    (height, pruned)
                } else {
                    Self::record(&view, prepared).write(height, &keyspaces.history, batch);
                    (head.oldest.max(pruned), pruned)
                }
            }
            Some(head) => {
                return Err(StateError::HeightOutOfOrder {
                    head: Some(head.height),
                    got: height,
                });
            }
        };
        let rows = prepared
            .flat
            .iter()
            .map(|write| (&keyspaces.flat, &write.key, &write.new));
        for (keyspace, key, new) in rows.chain(
            prepared
                .nodes
                .iter()
                .map(|write| (&keyspaces.nodes, &write.key, &write.new)),
        ) {
            match new {
                Some(value) => batch.insert(keyspace, key.clone(), value.clone()),
                None => batch.remove(keyspace, key.clone()),
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
                pruned,
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
        let next = View::new(self.0.keyspaces.clone(), view.memory.clone(), generation)?;
        let Some(head) = next
            .head
            .as_ref()
            .filter(|head| head.height == height && next.root == prepared.root)
        else {
            return Err(StateError::NotWritten(height));
        };
        // INVARIANT: commit has refused what was prepared on another state, so these are all the changes between the two.
        let memory = &view.memory;
        memory.nodes.advance(
            generation,
            prepared
                .nodes
                .iter()
                .map(|write| (&*write.key, write.new.clone())),
        );
        memory.flat.advance(
            generation,
            prepared
                .flat
                .iter()
                .map(|write| (&*write.key, write.new.clone())),
        );
        memory.indexes.forget_up_to(head.oldest);
        *view = Arc::new(next);
        Ok(())
    }

    /// What every changed key held before this block.
    fn record(view: &View, prepared: &Prepared) -> Recorder {
        let mut recorder = Recorder::with_capacity(prepared.flat.len() + prepared.nodes.len() + 1);
        for write in &prepared.flat {
            let previous = write
                .old
                .as_deref()
                .map_or(Previous::Absent, Previous::Whole);
            recorder.add(Table::Flat, &write.key, &previous.encode());
        }
        for write in &prepared.nodes {
            recorder.add(Table::Node, &write.key, &write.previous);
        }
        let old_tree = view.head.as_ref().and_then(|head| head.root.as_ref());
        if old_tree != prepared.tree.as_ref() {
            recorder.add(
                Table::Root,
                &[],
                &Previous::Whole(&record::root_bytes(old_tree)).encode(),
            );
        }
        recorder
    }

    /// Deletes history that is too old once `height` is committed, a bounded part of it. Gives the last height whose history
    /// is gone: that height itself can still be read, for it takes what later ones replaced.
    fn prune(
        &self,
        view: &View,
        head: &Head,
        height: u64,
        batch: &mut OwnedWriteBatch,
    ) -> Result<u64> {
        let target = height
            .saturating_sub(self.0.options.history)
            .min(head.height);
        let to = target.min(head.pruned.saturating_add(PRUNED_A_BLOCK));
        for old in head.pruned.saturating_add(1)..=to {
            history::forget(old, &self.0.keyspaces.history, &view.snapshot, batch)?;
        }
        Ok(to.max(head.pruned))
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
    let read = |(slot, _): &(B256, U256)| {
        let key = keys::flat_slot(owner, slot);
        view.flat(&key, None).map(|old| (key, old))
    };
    let old: Vec<_> = if slots.len() >= PARALLEL_FROM {
        use rayon::prelude::*;
        slots.par_iter().map(read).collect::<Result<_>>()?
    } else {
        slots.iter().map(read).collect::<Result<_>>()?
    };
    let mut changes = Vec::with_capacity(slots.len());
    for ((slot, value), (key, old)) in slots.iter().zip(old) {
        let new = (!value.is_zero()).then(|| record::encode_u256(*value));
        if old.as_deref() == new.as_deref() {
            continue;
        }
        changes.push(Change {
            key: *slot,
            value: new.as_deref().map(alloy_rlp::encode),
        });
        flat.push(FlatWrite {
            key: key.into(),
            old,
            new: new.map(Slice::from),
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
                key,
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
            key,
            previous: Previous::Whole(&old).encode(),
            new: None,
        });
    }
    Ok(())
}

fn node_write(owner: Option<&B256>, branch: Rewritten) -> NodeWrite {
    NodeWrite {
        key: Slice::from(&*keys::node(owner, &branch.path)),
        previous: branch.previous,
        new: branch.new,
    }
}

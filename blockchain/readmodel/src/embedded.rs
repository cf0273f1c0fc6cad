//! The collections in a database of their own beside the chain's.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use alloy_primitives::B256;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, Readable as _};

use crate::collections::advance;
use crate::{
    Applied, Batch, Collection, Collections, Document, Key, ModelError, Page, Position, Query, fold,
};

/// Version of this layout. What has another is made anew from the chain.
const VERSION: u8 = 1;
/// Bytes of the database's cache, of what is written and not sorted yet a keyspace, and of its journal: this must not take the
/// room of the chain's own database.
const CACHE: u64 = 4 << 20;
const MEMTABLE: u64 = 1 << 20;
const JOURNAL: u64 = 64 << 20;

const KEY_VERSION: &[u8] = b"version";
const KEY_GENESIS: &[u8] = b"genesis";
const KEY_POSITION: &[u8] = b"position";

/// The embedded store, which is the default.
///
/// Writes are not synced one by one: a crash takes the last blocks back, documents and position alike, and they are read again from
/// the chain.
pub struct Embedded {
    path: PathBuf,
    db: Database,
    meta: Keyspace,
    collections: BTreeMap<Collection, Keyspace>,
    /// Who writes.
    writer: Mutex<()>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in a folder, and makes it where there is none.
    pub fn open(path: &Path, genesis: B256) -> Result<Self, ModelError> {
        let fault = |fault| ModelError::Database {
            path: path.to_owned(),
            fault,
        };
        fs::create_dir_all(path).map_err(|error| fault(error.into()))?;
        let db = Database::builder(path)
            .cache_size(CACHE)
            .max_journaling_size(JOURNAL)
            .worker_threads(1)
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => ModelError::InUse {
                    path: path.to_owned(),
                },
                other => fault(other),
            })?;
        let keyspace = |name: &str| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
            db.keyspace(name, options).map_err(fault)
        };
        let mut collections = BTreeMap::new();
        for collection in Collection::ALL {
            collections.insert(collection, keyspace(collection.name())?);
        }
        let store = Self {
            path: path.to_owned(),
            meta: keyspace("meta")?,
            collections,
            db,
            writer: Mutex::new(()),
        };
        store.check_origin(genesis)?;
        Ok(store)
    }

    fn check_origin(&self, genesis: B256) -> Result<(), ModelError> {
        let meta = |key: &[u8]| self.meta.get(key).map_err(|fault| self.fault(fault));
        let found = meta(KEY_GENESIS)?;
        if let Some(found) = &found
            && found.as_ref() != genesis.as_slice()
        {
            return Err(ModelError::OtherChain {
                place: self.path.display().to_string(),
                found: B256::try_from(found.as_ref()).unwrap_or_default(),
                expected: genesis,
            });
        }
        // Also after a crash between the steps of a reset: documents without a position are of no block.
        if meta(KEY_VERSION)?.as_deref() != Some(&[VERSION]) || self.position()?.is_none() {
            self.clear()?;
            let mut batch = self.db.batch();
            batch.insert(&self.meta, KEY_VERSION, [VERSION]);
            batch.insert(&self.meta, KEY_GENESIS, genesis.as_slice());
            batch.commit().map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    fn fault(&self, fault: fjall::Error) -> ModelError {
        ModelError::Database {
            path: self.path.clone(),
            fault,
        }
    }

    fn keyspace(&self, collection: Collection) -> Result<&Keyspace, ModelError> {
        self.collections
            .get(&collection)
            .ok_or_else(|| ModelError::damaged(collection.name(), "it is not there"))
    }

    /// The position first: a crash on the way leaves none, and then the rest is cleared when it is opened.
    fn clear(&self) -> Result<(), ModelError> {
        let fault = |fault| self.fault(fault);
        self.meta.remove(KEY_POSITION).map_err(fault)?;
        self.db
            .persist(fjall::PersistMode::SyncAll)
            .map_err(fault)?;
        for keyspace in self.collections.values() {
            keyspace.clear().map_err(fault)?;
        }
        Ok(())
    }

    fn document(collection: Collection, bytes: &[u8]) -> Result<Document, ModelError> {
        serde_json::from_slice(bytes).map_err(|error| {
            ModelError::damaged(format!("a document in {}", collection.name()), error)
        })
    }
}

impl Collections for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn position(&self) -> Result<Option<Position>, ModelError> {
        let bytes = self
            .meta
            .get(KEY_POSITION)
            .map_err(|fault| self.fault(fault))?;
        bytes
            .map(|bytes| {
                serde_json::from_slice(&bytes)
                    .map_err(|error| ModelError::damaged("the position", error))
            })
            .transpose()
    }

    fn apply(&self, batch: &Batch) -> Result<Applied, ModelError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.position()?;
        let Some(after) = advance(before, batch)? else {
            return Ok(Applied::Before);
        };
        let encode = |error: serde_json::Error| ModelError::Encode(error.to_string());
        let mut write = self.db.batch();
        for ((collection, bytes), (key, op)) in fold(batch, before.map(|at| at.height)) {
            let keyspace = self.keyspace(collection)?;
            match op.apply(self.get(&key)?) {
                None => write.remove(keyspace, bytes),
                Some(document) => {
                    let document = serde_json::to_vec(&document).map_err(encode)?;
                    write.insert(keyspace, bytes, document);
                }
            }
        }
        let position = serde_json::to_vec(&after).map_err(encode)?;
        write.insert(&self.meta, KEY_POSITION, position);
        write.commit().map_err(|fault| self.fault(fault))?;
        Ok(Applied::Now)
    }

    fn get(&self, key: &Key) -> Result<Option<Document>, ModelError> {
        let keyspace = self.keyspace(key.collection())?;
        let found = keyspace
            .get(key.bytes())
            .map_err(|fault| self.fault(fault))?;
        found
            .map(|bytes| Self::document(key.collection(), &bytes))
            .transpose()
    }

    fn query(&self, query: &Query) -> Result<Page, ModelError> {
        let collection = query.prefix.collection();
        let keyspace = self.keyspace(collection)?;
        let prefix = query.prefix.bytes();
        // All keys of a collection have one length, so this is behind every key with the prefix.
        let mut end = prefix.clone();
        end.resize(prefix.len() + 64, 0xff);
        let mut range = (Bound::Included(prefix), Bound::Included(end));
        if let Some(after) = &query.after {
            if !query.prefix.covers(after) {
                return Ok(Page::default());
            }
            let after = Bound::Excluded(after.bytes());
            if query.descending {
                range.1 = after;
            } else {
                range.0 = after;
            }
        }
        let snapshot = self.db.snapshot();
        let found = snapshot.range(keyspace, range);
        let limit = query.limit();
        let read = |guard: Guard| {
            let bytes = guard.value().map_err(|fault| self.fault(fault))?;
            Self::document(collection, &bytes)
        };
        let mut items: Vec<Document> = if query.descending {
            found
                .rev()
                .take(limit + 1)
                .map(read)
                .collect::<Result<_, _>>()?
        } else {
            found.take(limit + 1).map(read).collect::<Result<_, _>>()?
        };
        Ok(Page {
            next: next(&mut items, limit),
            items,
        })
    }

    fn reset(&self) -> Result<(), ModelError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear()
    }
}

/// Cuts a page that was read with one document too many, and says where the next begins.
pub(crate) fn next(items: &mut Vec<Document>, limit: usize) -> Option<String> {
    if items.len() <= limit {
        return None;
    }
    items.truncate(limit);
    let last = items.last()?.get("_id")?.as_str()?;
    Some(last.to_owned())
}

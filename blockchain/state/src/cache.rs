//! Rows in memory. Two maps: what is used moves to the young one, and when that is full the old one is dropped, which keeps
//! what was used lately at no cost for keeping order.

use std::sync::{Mutex, PoisonError, RwLock};

use alloy_primitives::map::HashMap;
use fjall::Slice;

const SHARDS: usize = 16;

/// Rough cost of an entry besides its bytes.
const ENTRY: usize = 96;

/// A row, or that there is none.
type Row = Option<Slice>;

#[derive(Default)]
struct Shard {
    young: HashMap<Box<[u8]>, Row>,
    old: HashMap<Box<[u8]>, Row>,
    young_bytes: usize,
}

fn len(row: &Row) -> usize {
    row.as_ref().map_or(0, |bytes| bytes.len())
}

impl Shard {
    fn put(&mut self, key: Box<[u8]>, row: Row, budget: usize) {
        let fixed = key.len() + ENTRY;
        self.young_bytes += fixed + len(&row);
        if let Some(before) = self.young.insert(key, row) {
            self.young_bytes = self.young_bytes.saturating_sub(fixed + len(&before));
        }
        if self.young_bytes > budget / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    fn get(&mut self, key: &[u8], budget: usize) -> Option<Row> {
        if let Some(row) = self.young.get(key) {
            return Some(row.clone());
        }
        let (key, row) = self.old.remove_entry(key)?;
        self.put(key, row.clone(), budget);
        Some(row)
    }
}

/// Rows of the newest state by key.
pub(crate) struct Cache {
    /// Which state the content belongs to. INVARIANT: content is read and added only under this lock and only for this
    /// generation, so that work on an older state neither sees newer rows nor leaves older ones behind.
    generation: RwLock<u64>,
    shards: [Mutex<Shard>; SHARDS],
    shard_budget: usize,
}

impl Cache {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            generation: RwLock::new(0),
            shards: Default::default(),
            shard_budget: bytes / SHARDS,
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        // The end of a key is a hash or a path in a tree of hashes, and so evenly spread.
        let sum = key.iter().rev().take(4).fold(0usize, |sum, b| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*b))
        });
        &self.shards[sum % SHARDS]
    }

    /// `None` if it is not known here.
    pub(crate) fn get(&self, generation: u64, key: &[u8]) -> Option<Row> {
        let now = self
            .generation
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if *now != generation {
            return None;
        }
        self.shard(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key, self.shard_budget)
    }

    pub(crate) fn put(&self, generation: u64, key: &[u8], row: Option<&[u8]>) {
        let now = self
            .generation
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if *now == generation {
            // Copied: the database's slice would keep the whole block that it lies in.
            let row = row.map(Slice::from);
            self.shard(key)
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .put(key.into(), row, self.shard_budget);
        }
    }

    /// Moves on to the next generation with these changes.
    pub(crate) fn advance<'a>(
        &self,
        generation: u64,
        changes: impl Iterator<Item = (&'a [u8], Row)>,
    ) {
        let mut now = self
            .generation
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (key, row) in changes {
            let mut shard = self
                .shard(key)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            shard.old.remove(key);
            shard.put(key.into(), row, self.shard_budget);
        }
        *now = generation;
    }
}

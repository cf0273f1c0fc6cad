//! Branches in memory. Two maps: what is used moves to the young one, and when that is full the old one is dropped, which
//! keeps what was used lately at no cost for keeping order.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use fjall::Slice;

const SHARDS: usize = 16;

/// Rough cost of an entry besides its bytes.
const ENTRY: usize = 96;

#[derive(Default)]
struct Shard {
    young: HashMap<Vec<u8>, Slice>,
    old: HashMap<Vec<u8>, Slice>,
    young_bytes: usize,
}

impl Shard {
    fn put(&mut self, key: Vec<u8>, value: Slice, budget: usize) {
        let fixed = key.len() + ENTRY;
        self.young_bytes += fixed + value.len();
        if let Some(before) = self.young.insert(key, value) {
            self.young_bytes = self.young_bytes.saturating_sub(fixed + before.len());
        }
        if self.young_bytes > budget / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    fn get(&mut self, key: &[u8], budget: usize) -> Option<Slice> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), budget);
        Some(value)
    }
}

/// Encoded branches of the newest state by node key.
pub(crate) struct Cache {
    /// Which state the content belongs to. INVARIANT: content is read and added only under this lock and only for this
    /// generation, so that work on an older state neither sees newer branches nor leaves older ones behind.
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
        // The end of a key is the path, which is evenly spread.
        let sum = key.iter().rev().take(4).fold(0usize, |sum, b| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*b))
        });
        &self.shards[sum % SHARDS]
    }

    pub(crate) fn get(&self, generation: u64, key: &[u8]) -> Option<Slice> {
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

    pub(crate) fn put(&self, generation: u64, key: Vec<u8>, value: &[u8]) {
        let now = self
            .generation
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if *now == generation {
            // Copied: the database's slice would keep the whole block that it lies in.
            let value = Slice::from(value);
            self.shard(&key)
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .put(key, value, self.shard_budget);
        }
    }

    /// Moves on to the next generation with these changes.
    pub(crate) fn advance<'a>(
        &self,
        generation: u64,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        let mut now = self
            .generation
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            let mut shard = self
                .shard(key)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            shard.old.remove(key);
            match value {
                Some(value) => shard.put(key.to_vec(), Slice::from(value), self.shard_budget),
                None => {
                    if let Some(before) = shard.young.remove(key) {
                        shard.young_bytes = shard
                            .young_bytes
                            .saturating_sub(key.len() + before.len() + ENTRY);
                    }
                }
            }
        }
        *now = generation;
    }

    /// Forgets everything.
    pub(crate) fn reset(&self, generation: u64) {
        let mut now = self
            .generation
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
        *now = generation;
    }
}

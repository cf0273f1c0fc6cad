//! What a height's block replaced. All of it lies in a few long rows, so that a block costs some tens of writes more, and
//! pruning as many deletions, however many keys it changed:
//!
//! - `height, 0`: the index: a 32-bit hash of each changed key, sorted;
//! - `height, 1…`: the entries in the same order, [`ENTRIES`] a row: length and bytes of the key (its table first), length
//!   and bytes of what it held.
//!
//! A value at a height is the first word that a later height says about its key, or else the present one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Keyspace, OwnedWriteBatch, Readable, Snapshot};

use crate::view::damaged;
use crate::{Result, StateError};

/// Entries in one row: about ten kilobytes.
const ENTRIES: usize = 128;

/// Tables that have a history; the first byte of an entry's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    /// `state-flat`: accounts and slots (keys of 32 and of 64 bytes).
    Flat = 0,
    /// `state-nodes`.
    Node = 1,
    /// The root of the account tree (in `state-meta`).
    Root = 2,
}

/// What a key held before a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Previous<'a> {
    /// Nothing.
    Absent,
    /// This value.
    Whole(&'a [u8]),
    /// A branch that differs from the next one in the children of this mask only; these are they. Most blocks touch one or
    /// two children of a branch, and a whole branch is half a kilobyte.
    Part(u16, &'a [u8]),
}

impl<'a> Previous<'a> {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Absent => vec![0],
            Self::Whole(value) => [&[1], value].concat(),
            Self::Part(mask, children) => [&[2], &mask.to_be_bytes()[..], children].concat(),
        }
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            0 if rest.is_empty() => Some(Self::Absent),
            1 => Some(Self::Whole(rest)),
            2 => {
                let (mask, children) = rest.split_first_chunk()?;
                Some(Self::Part(u16::from_be_bytes(*mask), children))
            }
            _ => None,
        }
    }
}

/// Places entries; not a defence: keys are Keccak hashes, and two keys with one hash only lie side by side.
fn hash(table: Table, key: &[u8]) -> u32 {
    let seed = 0xcbf2_9ce4_8422_2325 ^ u64::from(table as u8);
    let sum = key.iter().fold(seed, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let bytes = (sum ^ (sum >> 32))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn row(height: u64, number: usize) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&height.to_be_bytes());
    // INVARIANT: a block cannot change 2^32 keys: its gas would not suffice.
    key[8..].copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    key
}

/// Gathers what one block replaces.
#[derive(Default)]
pub(crate) struct Recorder {
    /// Hash, and where in `bytes` the entry is.
    places: Vec<(u32, usize, usize)>,
    bytes: Vec<u8>,
}

impl Recorder {
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self {
            places: Vec::with_capacity(entries),
            bytes: Vec::with_capacity(entries * 112),
        }
    }

    /// `previous` is encoded.
    pub(crate) fn add(&mut self, table: Table, key: &[u8], previous: &[u8]) {
        let start = self.bytes.len();
        // INVARIANT: keys are at most 66 bytes, previous values at most a branch, some thousand.
        self.bytes.push((key.len() + 1).to_le_bytes()[0]);
        self.bytes.push(table as u8);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(
            &u16::try_from(previous.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        self.bytes.extend_from_slice(previous);
        self.places
            .push((hash(table, key), start, self.bytes.len()));
    }

    pub(crate) fn write(mut self, height: u64, keyspace: &Keyspace, batch: &mut OwnedWriteBatch) {
        if self.places.is_empty() {
            return;
        }
        self.places.sort_unstable();
        let index: Vec<u8> = self
            .places
            .iter()
            .flat_map(|(hash, ..)| hash.to_be_bytes())
            .collect();
        batch.insert(keyspace, row(height, 0), index);
        for (number, places) in (1..).zip(self.places.chunks(ENTRIES)) {
            let mut entries =
                Vec::with_capacity(places.iter().map(|(_, from, to)| to - from).sum());
            for (_, from, to) in places {
                entries.extend_from_slice(&self.bytes[*from..*to]);
            }
            batch.insert(keyspace, row(height, number), entries);
        }
    }
}

/// Deletes what is recorded of a height.
pub(crate) fn forget(
    height: u64,
    keyspace: &Keyspace,
    snapshot: &Snapshot,
    batch: &mut OwnedWriteBatch,
) -> Result<()> {
    if let Some(index) = snapshot.get(keyspace, row(height, 0))? {
        for number in 0..=(index.len() / 4).div_ceil(ENTRIES) {
            batch.remove(keyspace, row(height, number));
        }
    }
    Ok(())
}

/// Indexes of heights that were asked for: four bytes for each key that a block changed.
#[derive(Default)]
pub(crate) struct Indexes(Mutex<HashMap<u64, Arc<[u32]>>>);

impl Indexes {
    pub(crate) fn forget_up_to(&self, height: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|at, _| *at > height);
    }

    fn get(&self, height: u64, keyspace: &Keyspace, snapshot: &Snapshot) -> Result<Arc<[u32]>> {
        if let Some(index) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&height)
        {
            return Ok(index.clone());
        }
        let bytes = snapshot.get(keyspace, row(height, 0))?;
        let (hashes, rest) = bytes.as_deref().unwrap_or_default().as_chunks::<4>();
        if !rest.is_empty() {
            return Err(damaged("the history's index", &row(height, 0)));
        }
        let index: Arc<[u32]> = hashes
            .iter()
            .map(|hash| u32::from_be_bytes(*hash))
            .collect();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(height, index.clone());
        Ok(index)
    }
}

/// The history as one snapshot has it.
pub(crate) struct Past<'a> {
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) indexes: &'a Indexes,
}

impl Past<'_> {
    /// Tells `each` what the key held before every height in `heights` that changed it, until it has heard enough.
    pub(crate) fn each(
        &self,
        heights: std::ops::RangeInclusive<u64>,
        table: Table,
        key: &[u8],
        mut each: impl FnMut(Previous<'_>) -> Result<std::ops::ControlFlow<()>>,
    ) -> Result<()> {
        let hash = hash(table, key);
        for height in heights {
            let index = self.indexes.get(height, self.keyspace, self.snapshot)?;
            let from = index.partition_point(|other| *other < hash);
            let same = index[from..]
                .iter()
                .take_while(|other| **other == hash)
                .count();
            if same == 0 {
                continue;
            }
            // Keys of one hash may lie across two rows.
            for number in from / ENTRIES..=(from + same - 1) / ENTRIES {
                let row = row(height, number + 1);
                let entries = self.snapshot.get(self.keyspace, row)?;
                let entries = entries.ok_or_else(|| {
                    StateError::Damaged(format!("history of height {height} is missing"))
                })?;
                let found = find(&entries, table, key).ok_or_else(|| damaged("history", &row))?;
                if let Some(previous) = found {
                    let previous =
                        Previous::decode(previous).ok_or_else(|| damaged("history", &row))?;
                    if each(previous)?.is_break() {
                        return Ok(());
                    }
                    break;
                }
            }
        }
        Ok(())
    }
}

/// `None` if the row does not decode; `Some(None)` if the key is not in it.
fn find<'a>(mut entries: &'a [u8], table: Table, key: &[u8]) -> Option<Option<&'a [u8]>> {
    while let Some((&len, rest)) = entries.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(len))?;
        let (len, rest) = rest.split_first_chunk()?;
        let (previous, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        if name.split_first() == Some((&(table as u8), key)) {
            return Some(Some(previous));
        }
        entries = rest;
    }
    Some(None)
}

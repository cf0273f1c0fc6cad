//! One sender's transactions, by nonce.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::U256;

use crate::{Account, Candidate};

/// A transaction and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) candidate: Arc<Candidate>,
    /// Counts arrivals: no two are equal.
    pub(crate) arrival: u64,
    pub(crate) at_ms: u64,
}

/// What the next block asks of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) base_fee: u64,
    pub(crate) gas_limit: u64,
}

impl Asking {
    pub(crate) fn met_by(self, candidate: &Candidate) -> bool {
        candidate.max_fee >= u128::from(self.base_fee) && candidate.gas_limit <= self.gas_limit
    }
}

/// One sender's transactions.
///
/// INVARIANT: no nonce is below the account's; after [`Line::settle`] or [`Line::extend`] the counters describe `entries`.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) account: Account,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// Of all entries.
    pub(crate) bytes: usize,
    /// Of all entries, wei.
    pub(crate) cost: U256,
    /// How many follow each other from the account's nonce on.
    run: usize,
    /// How many of the run are pending: the first ones.
    pub(crate) pending: usize,
    pub(crate) pending_bytes: usize,
    /// Lowest tip of the pending ones.
    pub(crate) rank: u128,
}

impl Line {
    pub(crate) const fn new(account: Account) -> Self {
        Self {
            account,
            entries: BTreeMap::new(),
            bytes: 0,
            cost: U256::ZERO,
            run: 0,
            pending: 0,
            pending_bytes: 0,
            rank: u128::MAX,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.entries.len() - self.pending
    }

    /// The first nonce from the account's on that no entry has.
    pub(crate) fn missing(&self) -> u64 {
        self.account.nonce.saturating_add(self.run as u64)
    }

    /// The first nonce that is not pending.
    pub(crate) fn pending_end(&self) -> u64 {
        self.account.nonce.saturating_add(self.pending as u64)
    }

    /// The pending entries, in their order.
    pub(crate) fn ready(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(..self.pending_end()).map(|(_, e)| e)
    }

    /// The queued entries, in their order.
    pub(crate) fn waiting(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(self.pending_end()..).map(|(_, e)| e)
    }

    /// Lowest tip of the entries below `nonce`.
    pub(crate) fn rank_below(&self, nonce: u64, base_fee: u64) -> u128 {
        self.entries
            .range(..nonce)
            .map(|(_, entry)| entry.candidate.tip(base_fee))
            .min()
            .unwrap_or(u128::MAX)
    }

    /// Puts an entry in its place and returns what was there. The counters follow.
    pub(crate) fn put(&mut self, entry: Entry, asking: Asking) -> Option<Entry> {
        let nonce = entry.candidate.nonce;
        self.bytes += entry.candidate.bytes.len();
        self.cost = self.cost.saturating_add(entry.candidate.cost);
        let replaced = self.entries.insert(nonce, entry);
        if let Some(old) = &replaced {
            self.bytes -= old.candidate.bytes.len();
            self.cost = self.cost.saturating_sub(old.candidate.cost);
            self.settle(asking);
        } else if nonce == self.missing() {
            self.extend(asking);
        }
        replaced
    }

    /// Takes an entry out. The counters do not follow.
    pub(crate) fn take(&mut self, nonce: u64) -> Option<Entry> {
        let entry = self.entries.remove(&nonce)?;
        self.bytes -= entry.candidate.bytes.len();
        self.cost = self.cost.saturating_sub(entry.candidate.cost);
        Some(entry)
    }

    /// Takes out the entry at `nonce` and all after it, which cannot be in a block before it. The counters do not follow.
    pub(crate) fn cut(&mut self, nonce: u64) -> Vec<Entry> {
        let entries = self.entries.split_off(&nonce);
        for entry in entries.values() {
            self.bytes -= entry.candidate.bytes.len();
            self.cost = self.cost.saturating_sub(entry.candidate.cost);
        }
        entries.into_values().collect()
    }

    /// Takes out what is below the account's nonce. The counters do not follow.
    pub(crate) fn prune(&mut self) -> Vec<Entry> {
        let kept = self.entries.split_off(&self.account.nonce);
        let gone = std::mem::replace(&mut self.entries, kept);
        for entry in gone.values() {
            self.bytes -= entry.candidate.bytes.len();
            self.cost = self.cost.saturating_sub(entry.candidate.cost);
        }
        gone.into_values().collect()
    }

    /// The first entry that the balance does not reach for, counted from the first on.
    pub(crate) fn unpayable(&self) -> Option<u64> {
        if self.cost <= self.account.balance {
            return None;
        }
        let mut needed = U256::ZERO;
        self.entries.iter().find_map(|(&nonce, entry)| {
            needed = needed.saturating_add(entry.candidate.cost);
            (needed > self.account.balance).then_some(nonce)
        })
    }

    /// Counts anew what is pending.
    pub(crate) fn settle(&mut self, asking: Asking) {
        self.run = 0;
        self.pending = 0;
        self.pending_bytes = 0;
        self.rank = u128::MAX;
        self.extend(asking);
    }

    /// Counts on from what was pending: for entries that were added after the run.
    fn extend(&mut self, asking: Asking) {
        let mut open = self.pending == self.run;
        for (&nonce, entry) in self.entries.range(self.missing()..) {
            if nonce != self.account.nonce.saturating_add(self.run as u64) {
                break;
            }
            self.run += 1;
            open = open && asking.met_by(&entry.candidate);
            if open {
                self.pending += 1;
                self.pending_bytes += entry.candidate.bytes.len();
                self.rank = self.rank.min(entry.candidate.tip(asking.base_fee));
            }
        }
    }
}

//! Who behaves. Pure: the time is handed in.

use std::collections::HashMap;
use std::hash::Hash;

/// Points of fault at which a peer is banned.
const BAN_AT: u64 = 100_000;
/// Faults forgiven a millisecond: 20 points a minute.
const FORGIVEN_PER_MS: (u64, u64) = (20_000, 60_000);
/// Most credit, and how much of it is forgotten a millisecond: a point a minute.
const MOST_CREDIT: u64 = 100_000;
const FORGOTTEN_PER_MS: (u64, u64) = (1_000, 60_000);
/// Longest ban.
const LONGEST_BAN_MS: u64 = 24 * 60 * 60 * 1000;
/// How long after a ban the next one is still longer.
const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;

/// What a peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes that no program of ours makes.
    Junk,
    /// Transactions that were never valid, which it should have refused itself.
    Invalid,
    /// Far more than it may send.
    Flood,
    /// An answer that does not belong to the question.
    BadAnswer,
    /// No answer.
    Silence,
    /// It claims to be of another chain, or worse.
    Hostile,
}

impl Fault {
    /// Thousandths of a point.
    const fn weight(self) -> u64 {
        match self {
            Self::Hostile => BAN_AT,
            Self::Junk => 50_000,
            Self::Invalid | Self::BadAnswer => 25_000,
            Self::Flood => 5_000,
            Self::Silence => 10_000,
        }
    }
}

/// A ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    /// When it ends.
    pub until_ms: u64,
}

#[derive(Debug, Clone, Default)]
struct Record {
    faults: u64,
    credit: u64,
    at_ms: u64,
    bans: u32,
    banned_until: Option<u64>,
    last_ban_ms: u64,
}

impl Record {
    fn settle(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms);
        let part = |(amount, of): (u64, u64)| passed.saturating_mul(amount) / of;
        if part(FORGOTTEN_PER_MS) > 0 || (self.faults == 0 && self.credit == 0) {
            self.faults = self.faults.saturating_sub(part(FORGIVEN_PER_MS));
            self.credit = self.credit.saturating_sub(part(FORGOTTEN_PER_MS));
            self.at_ms = self.at_ms.max(now_ms);
        }
        if self.bans > 0
            && self.banned_until.is_none()
            && now_ms.saturating_sub(self.last_ban_ms) > REMEMBERED_MS
        {
            self.bans = 0;
        }
    }

    fn is_blank(&self) -> bool {
        self.faults == 0 && self.credit == 0 && self.bans == 0 && self.banned_until.is_none()
    }

    /// What is lost by forgetting it.
    fn worth(&self) -> (u64, u32, u64) {
        (
            self.banned_until.unwrap_or(0),
            self.bans,
            self.faults.max(self.credit),
        )
    }
}

/// The scores of a bounded number of peers.
#[derive(Debug)]
pub struct Scores<K> {
    records: HashMap<K, Record>,
    capacity: usize,
    first_ban_ms: u64,
}

impl<K: Eq + Hash + Clone + Ord> Scores<K> {
    /// Keeps at most `capacity` records. The first ban of a peer lasts `first_ban_ms`.
    #[must_use]
    pub fn new(capacity: usize, first_ban_ms: u64) -> Self {
        Self {
            records: HashMap::new(),
            capacity: capacity.max(1),
            first_ban_ms,
        }
    }

    /// Changes how long a first ban lasts, from the next on.
    pub const fn set_first_ban_ms(&mut self, first_ban_ms: u64) {
        self.first_ban_ms = first_ban_ms;
    }

    /// Notes a fault. Returns the ban where this one was too much. A banned peer is not banned anew.
    pub fn fault(&mut self, peer: &K, fault: Fault, now_ms: u64) -> Option<Ban> {
        let first = self.first_ban_ms;
        let record = self.record(peer, now_ms);
        if record.banned_until.is_some() {
            return None;
        }
        record.faults = record.faults.saturating_add(fault.weight());
        if record.faults < BAN_AT {
            return None;
        }
        let factor = 1_u64.checked_shl(record.bans.min(32)).unwrap_or(u64::MAX);
        let length = first.saturating_mul(factor).min(LONGEST_BAN_MS.max(first));
        let until_ms = now_ms.saturating_add(length);
        record.bans = record.bans.saturating_add(1);
        record.last_ban_ms = until_ms;
        record.banned_until = Some(until_ms);
        record.credit = 0;
        Some(Ban { until_ms })
    }

    /// Notes something useful.
    pub fn reward(&mut self, peer: &K, now_ms: u64) {
        let record = self.record(peer, now_ms);
        record.credit = record.credit.saturating_add(1_000).min(MOST_CREDIT);
    }

    /// Points: credit less faults.
    #[must_use]
    pub fn score(&self, peer: &K, now_ms: u64) -> i64 {
        let Some(record) = self.records.get(peer) else {
            return 0;
        };
        let mut record = record.clone();
        record.settle(now_ms);
        let points = |amount: u64| i64::try_from(amount.div_ceil(1_000)).unwrap_or(i64::MAX);
        points(record.credit).saturating_sub(points(record.faults))
    }

    /// Whether a peer is banned.
    #[must_use]
    pub fn is_banned(&self, peer: &K, now_ms: u64) -> bool {
        self.records
            .get(peer)
            .and_then(|record| record.banned_until)
            .is_some_and(|until| until > now_ms)
    }

    /// Ends bans that are over, forgets peers of whom there is nothing to remember, and returns whose bans ended.
    pub fn tick(&mut self, now_ms: u64) -> Vec<K> {
        let mut freed = Vec::new();
        self.records.retain(|peer, record| {
            if record.banned_until.is_some_and(|until| until <= now_ms) {
                record.banned_until = None;
                // Half of the line is left: who goes on as before is soon banned again.
                record.faults = BAN_AT / 2;
                record.at_ms = now_ms;
                freed.push(peer.clone());
            }
            record.settle(now_ms);
            !record.is_blank()
        });
        freed.sort_unstable();
        freed
    }

    /// Forgets a peer: an operator's pardon. Returns whether it was banned.
    pub fn pardon(&mut self, peer: &K) -> bool {
        self.records
            .remove(peer)
            .is_some_and(|record| record.banned_until.is_some())
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Everybody banned now.
    pub fn banned(&self, now_ms: u64) -> impl Iterator<Item = &K> {
        self.records
            .iter()
            .filter(move |(_, record)| record.banned_until.is_some_and(|until| until > now_ms))
            .map(|(peer, _)| peer)
    }

    fn record(&mut self, peer: &K, now_ms: u64) -> &mut Record {
        if !self.records.contains_key(peer) && self.records.len() >= self.capacity {
            // Names are free to make: who makes many pushes out the least of what is known, not the bans.
            let least = self
                .records
                .iter()
                .min_by_key(|(peer, record)| (record.worth(), (*peer).clone()))
                .map(|(peer, _)| peer.clone());
            if let Some(least) = least {
                self.records.remove(&least);
            }
        }
        let record = self.records.entry(peer.clone()).or_insert_with(|| Record {
            at_ms: now_ms,
            ..Record::default()
        });
        record.settle(now_ms);
        record
    }
}

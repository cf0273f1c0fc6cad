//! How much a peer may send. Pure: the time is handed in.

use crate::settings::Limits;

/// How many seconds' worth may come at once.
const BURST_SECONDS: u64 = 4;
/// Above so many times the limits it is no longer a busy peer but a flood.
const FLOOD_FACTOR: u64 = 4;

/// Allows so many things a second, and some at once after a pause.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: u64,
    capacity: u64,
    /// Thousandths: what a millisecond brings.
    level: u64,
    at_ms: u64,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub const fn new(per_second: u64, capacity: u64, now_ms: u64) -> Self {
        Self {
            per_second,
            capacity,
            level: capacity.saturating_mul(1000),
            at_ms: now_ms,
        }
    }

    /// What can be taken now.
    pub fn available(&mut self, now_ms: u64) -> u64 {
        // A clock that goes back brings nothing and takes nothing.
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.level = self
            .level
            .saturating_add(passed.saturating_mul(self.per_second))
            .min(self.capacity.saturating_mul(1000));
        self.level / 1000
    }

    /// Takes `count`, or nothing where there are not so many.
    pub fn take(&mut self, count: u64, now_ms: u64) -> bool {
        let enough = self.available(now_ms) >= count;
        if enough {
            self.level -= count.saturating_mul(1000);
        }
        enough
    }

    /// How long until `count` can be taken, ms; never where that is more than it ever holds.
    pub fn wait_ms(&mut self, count: u64, now_ms: u64) -> Option<u64> {
        if self.available(now_ms) >= count {
            return Some(0);
        }
        if count > self.capacity || self.per_second == 0 {
            return None;
        }
        let missing = count.saturating_mul(1000).saturating_sub(self.level);
        Some(missing.div_ceil(self.per_second))
    }

    /// Changes the rate. What is in the bucket stays, up to the new capacity.
    pub fn set_rate(&mut self, per_second: u64, capacity: u64, now_ms: u64) {
        self.available(now_ms);
        self.per_second = per_second;
        self.capacity = capacity;
        self.level = self.level.min(capacity.saturating_mul(1000));
    }
}

/// Whether something may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It may.
    Yes,
    /// More than the peer may send: it is dropped.
    Over,
    /// Far more: the peer is at fault.
    Flood,
}

/// What one peer may send.
#[derive(Debug, Clone)]
pub struct Budget {
    messages: Door,
    bytes: Door,
    transactions: Door,
    requests: Door,
}

/// A limit, and the one above which it is a flood.
#[derive(Debug, Clone)]
struct Door {
    limit: TokenBucket,
    flood: TokenBucket,
}

impl Door {
    fn new(per_second: u32, now_ms: u64) -> Self {
        let rate = u64::from(per_second);
        let most = rate * FLOOD_FACTOR;
        Self {
            limit: TokenBucket::new(rate, rate * BURST_SECONDS, now_ms),
            flood: TokenBucket::new(most, most * BURST_SECONDS, now_ms),
        }
    }

    fn pass(&mut self, count: u64, now_ms: u64) -> Pass {
        if !self.flood.take(count, now_ms) {
            return Pass::Flood;
        }
        if self.limit.take(count, now_ms) {
            Pass::Yes
        } else {
            Pass::Over
        }
    }

    fn set_rate(&mut self, per_second: u32, now_ms: u64) {
        let rate = u64::from(per_second);
        let most = rate * FLOOD_FACTOR;
        self.limit.set_rate(rate, rate * BURST_SECONDS, now_ms);
        self.flood.set_rate(most, most * BURST_SECONDS, now_ms);
    }
}

impl Budget {
    /// A fresh one.
    #[must_use]
    pub fn new(limits: &Limits, now_ms: u64) -> Self {
        Self {
            messages: Door::new(limits.messages_per_second, now_ms),
            bytes: Door::new(limits.bytes_per_second, now_ms),
            transactions: Door::new(limits.transactions_per_second, now_ms),
            requests: Door::new(limits.requests_per_second, now_ms),
        }
    }

    /// A gossip message as it came.
    pub fn message(&mut self, now_ms: u64) -> Pass {
        self.messages.pass(1, now_ms)
    }

    /// What was in it.
    pub fn transactions(&mut self, count: usize, bytes: usize, now_ms: u64) -> Pass {
        let count = self.transactions.pass(count as u64, now_ms);
        let bytes = self.bytes.pass(bytes as u64, now_ms);
        match (count, bytes) {
            (Pass::Yes, Pass::Yes) => Pass::Yes,
            (Pass::Flood, _) | (_, Pass::Flood) => Pass::Flood,
            _ => Pass::Over,
        }
    }

    /// A request.
    pub fn request(&mut self, now_ms: u64) -> Pass {
        self.requests.pass(1, now_ms)
    }

    /// Changes the limits.
    pub fn set_limits(&mut self, limits: &Limits, now_ms: u64) {
        self.messages.set_rate(limits.messages_per_second, now_ms);
        self.bytes.set_rate(limits.bytes_per_second, now_ms);
        self.transactions
            .set_rate(limits.transactions_per_second, now_ms);
        self.requests.set_rate(limits.requests_per_second, now_ms);
    }
}

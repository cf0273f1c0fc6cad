//! Time, handed in: the node asks a clock, tests give it one that lies.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where a node gets the time from.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The machine's clock, shifted by a constant.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock {
    /// Added to the machine's time; tests of clock skew set it (`LUCID_CLOCK_SKEW_MS`).
    pub skew_ms: i64,
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        now.saturating_add_signed(self.skew_ms)
    }
}

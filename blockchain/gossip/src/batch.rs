//! What goes into one message. Pure: the time is handed in.

use bytes::Bytes;

use crate::wire::{MAX_BATCH_BYTES, MAX_BATCH_TRANSACTIONS};

/// How long a transaction waits for others, ms.
const WAIT_MS: u64 = 20;
/// A batch of so many bytes waits no longer.
const FULL_BYTES: usize = 64 << 10;
/// What the encoding adds to a transaction, and to a batch.
const LENGTH_BYTES: usize = 4;

/// Collects transactions for 20 ms or 64 KiB.
#[derive(Debug, Default)]
pub struct Batcher {
    open: Vec<Bytes>,
    bytes: usize,
    since_ms: u64,
}

impl Batcher {
    /// Adds a transaction. Returns a batch that is full without it, or with it.
    pub fn push(&mut self, transaction: Bytes, now_ms: u64) -> Option<Vec<Bytes>> {
        let size = transaction.len() + LENGTH_BYTES;
        let full = if self.bytes + size + LENGTH_BYTES > MAX_BATCH_BYTES {
            self.flush()
        } else {
            None
        };
        if self.open.is_empty() {
            self.since_ms = now_ms;
        }
        self.bytes += size;
        self.open.push(transaction);
        if full.is_none() && (self.bytes >= FULL_BYTES || self.open.len() >= MAX_BATCH_TRANSACTIONS)
        {
            return self.flush();
        }
        full
    }

    /// When the open batch has waited long enough; none where nothing waits.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        (!self.open.is_empty()).then(|| self.since_ms.saturating_add(WAIT_MS))
    }

    /// The open batch, where it has waited long enough.
    pub fn due(&mut self, now_ms: u64) -> Option<Vec<Bytes>> {
        self.deadline_ms()
            .filter(|deadline| *deadline <= now_ms)
            .and_then(|_| self.flush())
    }

    fn flush(&mut self) -> Option<Vec<Bytes>> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.open);
        (!batch.is_empty()).then_some(batch)
    }
}

//! What a node's custody counts, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start, and two figures of now.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes of chunks that were served.
    pub served_bytes: AtomicU64,
    /// Chunks that were pushed here.
    pub received: AtomicU64,
    /// Chunks that were fetched from other holders.
    pub fetched: AtomicU64,
    /// Uploads and connections refused.
    pub refused: AtomicU64,
    /// Slots whose challenges were answered.
    pub proven: AtomicU64,
    /// Challenged chunks that could not be opened.
    pub lost: AtomicU64,
    /// Chunks whose silent holders were struck off.
    pub pruned: AtomicU64,
    /// Rounds of the keeper that failed.
    pub faults: AtomicU64,
    /// Chunks that the chain says this node holds, now.
    pub held: AtomicU64,
    /// Bytes of chunks on the disk, now.
    pub bytes: AtomicU64,
}

impl Tally {
    /// Adds to a count.
    pub fn add(count: &AtomicU64, by: u64) {
        count.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets a figure.
    pub fn set(figure: &AtomicU64, to: u64) {
        figure.store(to, Ordering::Relaxed);
    }

    /// Reads a count.
    pub fn get(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}

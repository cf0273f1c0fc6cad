//! Bounds.

/// Bounds of the pool (requirements L5, L7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most transactions in all.
    pub count: usize,
    /// Most bytes of encoded transactions in all.
    pub bytes: usize,
    /// Most of them that may be queued.
    pub queued: usize,
    /// Most bytes of them that may be queued.
    pub queued_bytes: usize,
    /// Most transactions of one sender.
    pub per_sender: usize,
    /// Most bytes of one sender.
    pub per_sender_bytes: usize,
    /// How much more, in percent, a replacement pays for a gas, and by how much a newcomer outranks what it evicts.
    pub replacement_bump_percent: u32,
    /// How far a nonce may be after the first one that is missing.
    pub max_nonce_gap: u64,
    /// How long a pending transaction waits, ms.
    pub ttl_ms: u64,
    /// How long a queued transaction waits, ms.
    pub queued_ttl_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            count: 20_000,
            bytes: 64 << 20,
            queued: 5_000,
            queued_bytes: 8 << 20,
            per_sender: 512,
            per_sender_bytes: 4 << 20,
            replacement_bump_percent: 10,
            max_nonce_gap: 16,
            ttl_ms: 3 * 60 * 60 * 1000,
            queued_ttl_ms: 10 * 60 * 1000,
        }
    }
}

impl Limits {
    /// The least fee that is `replacement_bump_percent` above `fee`, and above it at all.
    pub(crate) fn bumped(&self, fee: u128) -> u128 {
        let percent = 100 + u128::from(self.replacement_bump_percent);
        // Divided first where the product would not fit: at such fees the last two digits do not matter.
        let raised = match fee.checked_mul(percent) {
            Some(product) => product.div_ceil(100),
            None => (fee / 100).saturating_mul(percent),
        };
        raised.max(fee.saturating_add(1))
    }
}

//! Slots: 120 s terms that never overlap (requirement C7; SPEC-1B-v2, "Slot Timing").

use crate::block::Header;
use crate::ids::Slot;

/// Length of a slot. Immutable.
pub const SLOT_MS: u64 = 120_000;
/// How long a round waits for its leader's proposal.
pub const PROPOSAL_TIMEOUT_MS: u64 = 5_000;
/// Slots a leader stays out of the ranking's head after its term.
pub const COOLDOWN_SLOTS: u64 = 16;
/// The sliding window of work credits: seven days of slots.
pub const WINDOW_SLOTS: u64 = 7 * 24 * 60 * 60 * 1_000 / SLOT_MS;

/// The slot a time falls into. A time before genesis falls into slot 0.
pub const fn slot_of(genesis_time_ms: u64, time_ms: u64) -> Slot {
    Slot(time_ms.saturating_sub(genesis_time_ms) / SLOT_MS)
}

/// Whether a block of `slot` made at `time_ms` closes that slot: it does once the slot's time is over.
pub const fn seals(genesis_time_ms: u64, slot: Slot, time_ms: u64) -> bool {
    slot_of(genesis_time_ms, time_ms).0 > slot.0
}

/// The slot that the block after `parent` belongs to; slot 0 for the first block.
///
/// A slot stays open until it is sealed. After a seal the slot that its time falls into opens; slots nobody sealed in between
/// have passed without a leader.
pub fn open_slot_after(genesis_time_ms: u64, parent: Option<&Header>) -> Slot {
    match parent {
        None => Slot(0),
        Some(header) if header.seal => {
            let now = slot_of(genesis_time_ms, header.time_ms);
            now.max(Slot(header.slot.0.saturating_add(1)))
        }
        Some(header) => header.slot,
    }
}

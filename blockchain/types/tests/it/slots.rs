//! Slots never overlap, and at most 30 of them are sealed in an hour (SPEC-1B-v2, "Slot Timing").

use lucid_chain_types::{
    COOLDOWN_SLOTS, Header, Height, PROPOSAL_TIMEOUT_MS, SLOT_MS, Slot, WINDOW_SLOTS,
    open_slot_after, seals, slot_of,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::block;

const GENESIS_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;

#[test]
fn the_numbers_are_those_of_the_specification() {
    assert_eq!(
        (SLOT_MS, PROPOSAL_TIMEOUT_MS, COOLDOWN_SLOTS, WINDOW_SLOTS),
        (120_000, 5_000, 16, 5_040)
    );
    assert_eq!(HOUR_MS / SLOT_MS, 30);
}

#[test]
fn a_slot_ends_when_the_next_begins() {
    let at = |ms: u64| slot_of(GENESIS_MS, GENESIS_MS + ms);
    assert_eq!(
        (at(0), at(119_999), at(120_000)),
        (Slot(0), Slot(0), Slot(1))
    );
    assert_eq!(slot_of(GENESIS_MS, 0), Slot(0), "a clock before genesis");
    assert_eq!(slot_of(0, u64::MAX), Slot(u64::MAX / SLOT_MS));
    assert!(!seals(GENESIS_MS, Slot(0), GENESIS_MS + 119_999));
    assert!(seals(GENESIS_MS, Slot(0), GENESIS_MS + 120_000));
    assert!(!seals(GENESIS_MS, Slot(1), GENESIS_MS + 120_000));
    let last = Header {
        seal: true,
        slot: Slot(u64::MAX),
        ..block().header
    };
    assert_eq!(open_slot_after(GENESIS_MS, Some(&last)), Slot(u64::MAX));
}

/// The headers a chain has whose blocks are made at these times.
fn chain(gaps: &[u64]) -> Vec<Header> {
    let any = block().header;
    let mut headers: Vec<Header> = Vec::new();
    let mut time_ms = GENESIS_MS;
    for gap in gaps {
        time_ms += gap;
        let slot = open_slot_after(GENESIS_MS, headers.last());
        headers.push(Header {
            height: Height(headers.len() as u64 + 1),
            time_ms,
            slot,
            seal: seals(GENESIS_MS, slot, time_ms),
            ..any.clone()
        });
    }
    headers
}

fn any_gap() -> impl Strategy<Value = u64> {
    // Bursts, usual pace, about a slot, and a chain that stood.
    prop_oneof![
        1u64..50,
        1_000u64..5_000,
        110_000u64..130_000,
        1u64..2_000_000,
        Just(120_000)
    ]
}

proptest! {
    #[test]
    fn slots_never_overlap(gaps in vec(any_gap(), 1..400)) {
        let headers = chain(&gaps);
        prop_assert_eq!(headers[0].slot, Slot(0));
        for pair in headers.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            if a.seal {
                prop_assert!(b.slot > a.slot, "a sealed slot is over");
                prop_assert_eq!(b.slot, slot_of(GENESIS_MS, a.time_ms), "the slot of its time opens");
            } else {
                prop_assert_eq!(b.slot, a.slot, "a slot is open until it is sealed");
            }
        }
        for header in &headers {
            // A seal lies behind its slot's end; everything else lies inside.
            prop_assert_eq!(header.seal, slot_of(GENESIS_MS, header.time_ms) > header.slot);
            prop_assert!(slot_of(GENESIS_MS, header.time_ms) >= header.slot);
        }
    }

    #[test]
    fn at_most_thirty_seals_an_hour(gaps in vec(any_gap(), 1..400)) {
        let seals: Vec<u64> = chain(&gaps).iter().filter(|h| h.seal).map(|h| h.time_ms - GENESIS_MS).collect();
        // No two in the time of one slot; so 30 in an hour that begins with a slot, and 31 in any other.
        for pair in seals.windows(2) {
            prop_assert!(pair[0] / SLOT_MS < pair[1] / SLOT_MS);
        }
        for (first, start) in seals.iter().enumerate() {
            let aligned = start / SLOT_MS * SLOT_MS;
            let within = |from: u64| seals[first..].iter().filter(|seal| **seal < from + HOUR_MS).count();
            prop_assert!(within(aligned) <= 30);
            prop_assert!(within(*start) <= 31);
        }
    }

    #[test]
    fn a_busy_chain_seals_every_slot(gaps in vec(1_000u64..20_000, 1..400)) {
        let headers = chain(&gaps);
        let sealed: Vec<u64> = headers.iter().filter(|h| h.seal).map(|h| h.slot.0).collect();
        prop_assert_eq!(sealed.clone(), (0..sealed.len() as u64).collect::<Vec<_>>());
    }
}

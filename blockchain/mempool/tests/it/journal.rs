//! The journal's bytes and what comes back from them.

use lucid_mempool::{
    Candidate, JournalEntry, JournalError, Limits, decode_journal, encode_journal,
};
use proptest::prelude::*;

use crate::support::{BASE_FEE, BLOCK_GAS, pool, rich, sized, transfer};

fn entry() -> impl Strategy<Value = JournalEntry> {
    (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(at_ms, bytes)| JournalEntry { at_ms, bytes })
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(entry(), 0..30)) {
        prop_assert_eq!(decode_journal(&encode_journal(&entries)), Ok(entries));
    }

    #[test]
    fn junk_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode_journal(&bytes).is_err());
    }

    #[test]
    fn a_changed_or_cut_journal_is_refused(
        entries in proptest::collection::vec(entry(), 0..5),
        place in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut bytes = encode_journal(&entries);
        let place = place.index(bytes.len());
        prop_assert!(decode_journal(&bytes[..place]).is_err());
        bytes[place] ^= flip;
        prop_assert!(decode_journal(&bytes).is_err());
    }
}

#[test]
fn a_false_count_is_refused_without_reserving_it() {
    let mut bytes = encode_journal(&[]);
    let end = bytes.len() - 32;
    bytes[end - 4..end].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.truncate(end);
    let checksum = blake3_of(&bytes);
    bytes.extend_from_slice(&checksum);
    assert!(matches!(
        decode_journal(&bytes),
        Err(JournalError::Malformed(_))
    ));
}

fn blake3_of(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key("lucid chain 2026 mempool journal v1", bytes)
}

#[test]
fn a_journal_of_a_newer_program_is_named() {
    let mut bytes = encode_journal(&[]);
    bytes[8] = 2;
    assert_eq!(
        decode_journal(&bytes).unwrap_err().to_string(),
        "the mempool journal has version 2, this program reads 1"
    );
}

#[test]
fn a_restart_brings_back_the_same_order() {
    let mut before = pool(Limits::default());
    let mut all: Vec<Candidate> = Vec::new();
    for (from, nonce, tip) in [
        (0, 1, 5),
        (1, 0, 5),
        (0, 0, 5),
        (2, 0, 9),
        (3, 4, 1),
        (1, 0, 20),
    ] {
        let candidate = sized(from, nonce, tip, 100 + all.len());
        before
            .insert(candidate.clone(), rich(0), BASE_FEE, 50)
            .unwrap();
        all.push(candidate);
    }
    let entries = decode_journal(&before.export()).unwrap();
    assert_eq!(entries.len(), 5);
    // Sizes are unique here and stand in for decoding.
    let decoded: Vec<(u64, Candidate)> = entries
        .into_iter()
        .map(|entry| {
            let found = all.iter().find(|c| c.bytes == entry.bytes).unwrap();
            (entry.at_ms, found.clone())
        })
        .collect();
    let mut after = pool(Limits::default());
    let restored = after.import(decoded, |_| Some(rich(0)), BASE_FEE, 60);
    assert_eq!(restored.kept, 5);
    assert_eq!(after.counts(), before.counts());
    assert_eq!(after.content(9), before.content(9));
    assert_eq!(
        after.best(BASE_FEE, BLOCK_GAS, 1 << 20),
        before.best(BASE_FEE, BLOCK_GAS, 1 << 20)
    );
}

#[test]
fn an_import_checks_as_a_new_arrival_does() {
    let mut pool = pool(Limits {
        ttl_ms: 1000,
        ..Limits::default()
    });
    let entries = vec![
        (0, transfer(0, 0, 1)),
        (500, transfer(1, 0, 1)),
        (500, transfer(2, 0, 1)),
        (u64::MAX, transfer(3, 5, 1)),
    ];
    let restored = pool.import(
        entries,
        |sender| {
            (sender != transfer(2, 0, 1).sender)
                .then(|| rich(u64::from(sender == transfer(3, 0, 1).sender) * 5))
        },
        BASE_FEE,
        1200,
    );
    assert_eq!(
        (restored.kept, restored.expired, restored.refused),
        (2, 1, 1)
    );
    // A time from the future counts as now.
    assert_eq!(pool.expire(2200).len(), 2);
}

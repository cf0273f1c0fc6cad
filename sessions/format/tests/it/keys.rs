//! The key tree gives a range its keys and nothing else.

use lucid_format::{ChunkKey, Hash, InnerKey, KeySource, SessionId, SessionSeed};
use proptest::prelude::*;

use crate::support::{TestRng, chunk, place, scene};

const SESSION: SessionId = SessionId([8; 16]);

/// The key of a chunk, as docs/sessions/format.md words it.
fn naive(seed: &[u8; 32], session: SessionId, index: u32) -> [u8; 32] {
    let mut key: [u8; 32] = blake3::Hasher::new_derive_key("lucid 2026-11 ggm root v1")
        .update(seed)
        .update(&session.0)
        .finalize()
        .into();
    for bit in (0..32).rev() {
        let label: &[u8] = if index >> bit & 1 == 1 {
            b"lucid ggm v1: right"
        } else {
            b"lucid ggm v1: left"
        };
        key = blake3::keyed_hash(&key, label).into();
    }
    key
}

/// Two keys are the same when a chunk sealed with one opens with the other.
fn same(a: &ChunkKey, b: &ChunkKey) -> bool {
    let place = place(SESSION, 0, Hash::default(), 0);
    let bytes = chunk(place, a, &[], 0, false, &mut TestRng::new("same"));
    lucid_format::ChunkView::parse(&bytes, false)
        .unwrap()
        .open(b)
        .is_ok()
}

fn source(seed: u8) -> KeySource {
    SessionSeed::from_bytes(&[seed; 32]).keys(SESSION)
}

fn span(key: &InnerKey) -> (u64, u64) {
    let first = u64::from(key.prefix) << (32 - key.level);
    (first, first + (1 << (32 - key.level)) - 1)
}

#[test]
fn chunk_keys_are_what_the_specification_says() {
    for index in [0, 1, 2, 3, 0x8000_0000, 0xdead_beef, u32::MAX] {
        let expected = ChunkKey::from_bytes(&naive(&[5; 32], SESSION, index));
        assert!(
            same(&source(5).chunk_key(index).unwrap(), &expected),
            "{index}"
        );
    }
    let other = SessionSeed::from_bytes(&[5; 32]).keys(SessionId([0; 16]));
    assert!(!same(
        &other.chunk_key(0).unwrap(),
        &source(5).chunk_key(0).unwrap()
    ));
}

/// The fewest aligned blocks that make up `first..=last`: greedy from the left.
fn fewest(first: u32, last: u32) -> Vec<(u64, u64)> {
    let (mut at, end) = (u64::from(first), u64::from(last) + 1);
    let mut blocks = Vec::new();
    while at < end {
        let mut size = 1u64 << at.trailing_zeros().min(32);
        while at + size > end {
            size /= 2;
        }
        blocks.push((at, at + size - 1));
        at += size;
    }
    blocks
}

proptest! {
    #[test]
    fn a_cover_is_exact_and_the_smallest_there_is(a in any::<u32>(), b in any::<u32>(), near in any::<bool>()) {
        let (first, last) = if near { (a, a.saturating_add(b % 5000)) } else { (a.min(b), a.max(b)) };
        let cover = source(1).cover(first, last).unwrap();
        let spans: Vec<(u64, u64)> = cover.iter().map(span).collect();
        prop_assert_eq!(spans, fewest(first, last));
        prop_assert!(cover.len() <= 62);
    }
}

#[test]
fn the_worst_cover_is_62_keys() {
    assert_eq!(source(1).cover(1, u32::MAX - 1).unwrap().len(), 62);
    assert_eq!(source(1).cover(0, u32::MAX).unwrap().len(), 1);
    assert!(source(1).cover(2, 1).is_none());
}

#[test]
fn a_disclosed_cover_opens_its_range_and_nothing_else() {
    let scene = scene("cover", 9);
    for first in 0..9 {
        for last in first..9 {
            let disclosed = scene.statement(first, last).source();
            for index in 0..12 {
                let inside = (first..=last).contains(&index);
                let key = disclosed.chunk_key(index);
                assert_eq!(key.is_some(), inside);
                if let Some(key) = key {
                    assert!(same(&key, &scene.keys().chunk_key(index).unwrap()));
                }
            }
            // What was disclosed can be disclosed on, but not grown.
            assert_eq!(
                disclosed.cover(first, last),
                scene.keys().cover(first, last)
            );
            assert!(disclosed.cover(first, last + 1).is_none());
            assert!(first == 0 || disclosed.cover(first - 1, last).is_none());
        }
    }
}

#[test]
fn secrets_are_never_printed() {
    let seed = SessionSeed::from_bytes(&[0x41; 32]);
    let keys = seed.keys(SESSION);
    let text = format!("{seed:?} {keys:?} {:?}", keys.chunk_key(0));
    assert_eq!(text.matches("redacted").count(), 3);
    assert!(!text.contains("65") && !text.contains("41"), "{text}");
}

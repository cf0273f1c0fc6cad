//! A chunk opens with its key to what was put in, and in no other way.

use lucid_format::{
    CHUNK_HEADER_LEN, ChunkHeader, ChunkKey, ChunkView, ErrorKind, FormatError, Hash,
    MAX_CHUNK_BYTES, MAX_CHUNK_PLAINTEXT, MAX_PAYLOAD, Packed, Packer, Sealer, SessionId, Stream,
    valid_prefix,
};
use proptest::prelude::*;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use crate::support::{Owned, TestRng, chunk, chunk_of, place, trailer};

const SESSION: SessionId = SessionId([9; 16]);

fn key() -> ChunkKey {
    ChunkKey::from_bytes(&[3; 32])
}

fn open(bytes: &[u8], key: &ChunkKey) -> Result<Vec<Owned>, FormatError> {
    let view = ChunkView::parse(bytes, false)?;
    let plain = view.open(key)?;
    view.records(&plain).map(|r| r.map(Owned::from)).collect()
}

fn small() -> (Vec<Owned>, Vec<u8>) {
    let records = vec![
        Owned::new(1_000, Stream::Keyframe, b"screen"),
        Owned::new(1_001, Stream::PduOut, &[5; 60]),
        Owned::new(1_002, Stream::Input, b"k"),
    ];
    let place = place(SESSION, 0, Hash::default(), 1_000);
    let bytes = chunk(
        place,
        &key(),
        &records,
        2_000,
        true,
        &mut TestRng::new("small"),
    );
    (records, bytes)
}

/// One zstd frame of `data` made with `parameters`.
fn frame(data: &[u8], parameters: &[CParameter], end: bool) -> Vec<u8> {
    let mut zstd = Encoder::new(1).unwrap();
    for parameter in parameters {
        zstd.set_parameter(*parameter).unwrap();
    }
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(data.len()) + 100);
    let mut input = InBuffer::around(data);
    while input.pos() < data.len() {
        let filled = out.len();
        zstd.run(&mut input, &mut OutBuffer::around_pos(&mut out, filled))
            .unwrap();
    }
    let filled = out.len();
    let mut buffer = OutBuffer::around_pos(&mut out, filled);
    let left = if end {
        zstd.finish(&mut buffer, true)
    } else {
        zstd.flush(&mut buffer)
    };
    assert_eq!(left.unwrap(), 0);
    out
}

/// A well sealed chunk of these pieces that states `plaintext` bytes.
fn sealed(pieces: Vec<Packed>, plaintext: usize) -> Vec<u8> {
    chunk_of(
        place(SESSION, 0, Hash::default(), 0),
        &key(),
        pieces,
        trailer(9, 1, u32::try_from(plaintext).unwrap()),
        &mut TestRng::new("hostile"),
    )
}

fn refusal(pieces: Vec<Packed>, plaintext: usize) -> FormatError {
    let bytes = sealed(pieces, plaintext);
    ChunkView::parse(&bytes, false)
        .unwrap()
        .open(&key())
        .unwrap_err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Flushes anywhere, noise that is stored and text that is compressed in any order.
    #[test]
    fn what_was_written_is_read(
        parts in prop::collection::vec((any::<bool>(), any::<bool>(), 0..70_000usize), 0..8)
    ) {
        let mut rng = TestRng::new("mix");
        let mut writer = lucid_format::ChunkWriter::new(place(SESSION, 0, Hash::default(), 0), &key(), &mut rng).unwrap();
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for (i, (noise, flush, len)) in (0..).zip(parts) {
            let payload = if noise { rng.bytes(len) } else { vec![b'a'; len] };
            let record = Owned::new(i, Stream::PduOut, &payload);
            writer.push(&record.record()).unwrap();
            records.push(record);
            if flush {
                bytes.append(&mut writer.flush().unwrap());
                prop_assert_eq!(writer.packer().pending(), 0);
            }
        }
        let (mut tail, sealed) = writer.finish(100).unwrap();
        bytes.append(&mut tail);
        prop_assert_eq!(sealed.hash, Hash::of(&bytes));
        prop_assert_eq!(sealed.trailer.records as usize, records.len());
        prop_assert_eq!(valid_prefix(&bytes), (bytes.len(), true));
        prop_assert_eq!(open(&bytes, &key()).unwrap(), records);
    }
}

#[test]
fn noise_is_stored_and_text_is_compressed() {
    let pack = |payload: &[u8]| {
        let mut packer = Packer::new(0).unwrap();
        let record = Owned::new(0, Stream::PduOut, payload);
        packer.push(&record.record()).unwrap();
        packer.flush().unwrap().data().len()
    };
    let noise = TestRng::new("noise").bytes(1 << 20);
    assert_eq!(pack(&noise), noise.len() + 13);
    assert!(pack(&vec![b'a'; 1 << 20]) < 1000);
}

#[test]
fn an_empty_chunk_opens_to_nothing() {
    let place = place(SESSION, 0, Hash::default(), 5);
    let bytes = chunk(place, &key(), &[], 7, true, &mut TestRng::new("empty"));
    assert_eq!(bytes.len(), CHUNK_HEADER_LEN + 13 + 17 + 16);
    let view = ChunkView::parse(&bytes, false).unwrap();
    assert_eq!(view.open(&key()).unwrap(), b"");
    let trailer = view.trailer.unwrap();
    assert_eq!(
        (trailer.records, trailer.plaintext, trailer.end_us),
        (0, 0, 7)
    );
    assert!(!trailer.has_keyframe());
}

#[test]
fn the_largest_keyframe_fits_a_chunk_whatever_it_shows() {
    for payload in [
        vec![0; MAX_PAYLOAD],
        TestRng::new("photo").bytes(MAX_PAYLOAD),
    ] {
        let records = [Owned::new(0, Stream::Keyframe, &payload)];
        let place = place(SESSION, 0, Hash::default(), 0);
        let bytes = chunk(place, &key(), &records, 1, false, &mut TestRng::new("k"));
        assert!(bytes.len() <= MAX_CHUNK_BYTES);
        let view = ChunkView::parse(&bytes, false).unwrap();
        assert!(view.trailer.as_ref().unwrap().has_keyframe());
        let plain = view.open(&key()).unwrap();
        assert_eq!(plain.len(), MAX_CHUNK_PLAINTEXT);
        assert_eq!(
            view.records(&plain).next().unwrap().unwrap(),
            records[0].record()
        );
    }
}

#[test]
fn recovery_keeps_whole_segments_wherever_the_power_was_cut() {
    let (records, bytes) = small();
    // Borders of segments, read by hand.
    let mut borders = Vec::new();
    let mut at = CHUNK_HEADER_LEN;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at += 13 + length + if bytes[at + 4] & 0x80 == 0 { 0 } else { 17 };
        borders.push(at);
    }
    assert_eq!(borders.len(), 4);
    for cut in 0..=bytes.len() {
        let kept = borders.iter().filter(|b| **b <= cut).count();
        let expected = if kept == 0 { 0 } else { borders[kept - 1] };
        assert_eq!(
            valid_prefix(&bytes[..cut]),
            (expected, cut == bytes.len()),
            "cut at {cut}"
        );
        if kept == 0 || kept == 4 {
            continue;
        }
        // What is kept opens to the records whose flush was whole; without `torn_ok` it does not.
        let torn = &bytes[..expected];
        assert_eq!(
            ChunkView::parse(torn, false).unwrap_err().kind(),
            ErrorKind::Truncated
        );
        let view = ChunkView::parse(torn, true).unwrap();
        let plain = view.open(&key()).unwrap();
        let read: Vec<Owned> = view.records(&plain).map(|r| r.unwrap().into()).collect();
        assert_eq!(read, records[..kept]);
    }
    // A tail that the disk never wrote, or wrote with something else.
    for tail in [vec![0; 40], vec![0xff; 40]] {
        let torn = [&bytes[..borders[1]], &tail].concat();
        assert_eq!(valid_prefix(&torn), (borders[1], false));
    }
    let mut hole = bytes;
    hole[borders[1] + 20] ^= 1;
    assert_eq!(valid_prefix(&hole), (borders[1], false));
}

#[test]
fn recovery_keeps_no_final_segment_that_claims_more_than_a_chunk_holds() {
    let (_, mut bytes) = small();
    let mut at = CHUNK_HEADER_LEN;
    while bytes[at + 4] & 0x80 == 0 {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at += 13 + length;
    }
    // The trailer: end, records, then the bytes of all records.
    bytes[at + 13 + 12..at + 13 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    let check = blake3::Hasher::new()
        .update(&bytes[at..at + 5])
        .update(&bytes[at + 13..])
        .finalize();
    bytes[at + 5..at + 13].copy_from_slice(&check.as_bytes()[..8]);
    assert_eq!(valid_prefix(&bytes), (at, false));
    assert!(ChunkView::parse(&bytes[..at], true).is_ok());
}

#[test]
fn a_chunk_cut_anywhere_is_refused_as_cut_short() {
    let (_, bytes) = small();
    for cut in 0..bytes.len() {
        let error = ChunkView::parse(&bytes[..cut], false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "cut at {cut}: {error}");
    }
}

#[test]
fn another_key_is_told_apart_before_anything_is_decrypted() {
    let (_, bytes) = small();
    let other = ChunkKey::from_bytes(&[4; 32]);
    let error = open(&bytes, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert_eq!(error.to_string(), "chunk 0: this key does not open it");
}

/// A second key that is made to fit by rewriting the commitment still opens nothing: the header is associated data.
#[test]
fn one_ciphertext_opens_under_one_key() {
    let (_, bytes) = small();
    let other = ChunkKey::from_bytes(&[4; 32]);
    let mut expanded = [0; 64];
    blake3::Hasher::new_keyed(&[4; 32])
        .update(b"lucid chunk key v1\0")
        .update(&bytes[..94])
        .finalize_xof()
        .fill(&mut expanded);
    let mut forged = bytes;
    forged[94..126].copy_from_slice(&expanded[32..]);
    assert_eq!(
        open(&forged, &key()).unwrap_err().kind(),
        ErrorKind::WrongKey
    );
    assert_eq!(
        open(&forged, &other).unwrap_err().kind(),
        ErrorKind::Tampered
    );
}

#[test]
fn every_flipped_bit_is_refused_but_in_the_check_that_only_recovery_reads() {
    let (records, bytes) = small();
    let mut check = Vec::new();
    let mut at = CHUNK_HEADER_LEN;
    while at < bytes.len() {
        check.extend(at + 5..at + 13);
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at += 13 + length + if bytes[at + 4] & 0x80 == 0 { 0 } else { 17 };
    }
    for byte in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << bit;
            let opened = open(&flipped, &key());
            if check.contains(&byte) {
                assert_eq!(opened.unwrap(), records);
                assert!(valid_prefix(&flipped).0 < bytes.len());
            } else {
                assert!(opened.is_err(), "bit {bit} of byte {byte}");
            }
            assert_ne!(Hash::of(&flipped), Hash::of(&bytes));
        }
    }
}

#[test]
fn each_part_of_the_header_is_refused_in_its_own_words() {
    let (_, bytes) = small();
    let flipped = |byte: usize| {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1;
        open(&flipped, &key()).unwrap_err()
    };
    assert_eq!(
        flipped(0).to_string(),
        "this is not a chunk: it starts with other bytes"
    );
    assert_eq!(
        flipped(4).to_string(),
        "a chunk has version 0, and this program reads version 1: use a newer lucid"
    );
    assert_eq!(
        flipped(6).to_string(),
        "a chunk header does not decode: suite 0 is unknown"
    );
    // Session, index, prev, times and nonce all hang on the commitment.
    for byte in [7, 23, 27, 59, 67, 75, 94, 125] {
        assert_eq!(flipped(byte).kind(), ErrorKind::WrongKey, "byte {byte}");
    }
    assert_eq!(
        ChunkHeader::decode(b"").unwrap_err().kind(),
        ErrorKind::Truncated
    );
}

#[test]
fn segments_cannot_be_dropped_repeated_or_reordered() {
    let (_, bytes) = small();
    let mut segments = Vec::new();
    let mut rest = &bytes[CHUNK_HEADER_LEN..];
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let len = 13 + length + if rest[4] & 0x80 == 0 { 0 } else { 17 };
        segments.push(&rest[..len]);
        rest = &rest[len..];
    }
    let of = |order: &[usize]| {
        let picked: Vec<u8> = order.iter().flat_map(|i| segments[*i]).copied().collect();
        open(&[&bytes[..CHUNK_HEADER_LEN], &picked].concat(), &key())
    };
    assert!(of(&[0, 1, 2, 3]).is_ok());
    for order in [&[1, 0, 2, 3][..], &[0, 1, 3], &[0, 0, 1, 2, 3], &[3]] {
        assert_eq!(of(order).unwrap_err().kind(), ErrorKind::Tampered);
    }
    for order in [&[0, 1, 2, 3, 0][..], &[0, 1, 2, 3, 3]] {
        assert_eq!(
            of(order).unwrap_err().to_string(),
            "a chunk does not decode: bytes follow its final segment"
        );
    }
    assert_eq!(of(&[0, 1, 2]).unwrap_err().kind(), ErrorKind::Truncated);
}

#[test]
fn a_frame_with_a_window_over_8_mib_is_refused() {
    let data = vec![1; 1000];
    let fits = frame(&data, &[CParameter::WindowLog(23)], true);
    let bytes = sealed(vec![Packed::zstd(fits)], data.len());
    assert_eq!(
        ChunkView::parse(&bytes, false)
            .unwrap()
            .open(&key())
            .unwrap(),
        data
    );
    let wide = frame(&data, &[CParameter::WindowLog(24)], true);
    let error = refusal(vec![Packed::zstd(wide)], data.len());
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(
        error
            .to_string()
            .starts_with("a zstd frame does not decode"),
        "{error}"
    );
}

#[test]
fn a_frame_that_inflates_past_what_the_trailer_states_is_refused_early() {
    let bomb = frame(&vec![0; 256 << 20], &[], true);
    assert!(bomb.len() < 64 << 10);
    for stated in [0, 1, 100_000, MAX_CHUNK_PLAINTEXT] {
        let error = refusal(vec![Packed::zstd(bomb.clone())], stated);
        let FormatError::TooLarge { value, bound, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(bound, stated as u64);
        assert!(value <= bound + (1 << 20), "{value} bytes were made");
    }
    let error = refusal(vec![Packed::stored(vec![0; 101])], 100);
    assert_eq!(
        error.to_string(),
        "a chunk's content claims 101, and the bound is 100: refused unread"
    );
}

#[test]
fn content_that_is_shorter_than_stated_is_refused() {
    let error = refusal(vec![Packed::stored(vec![0; 99])], 100);
    assert_eq!(
        error.to_string(),
        "a chunk does not decode: it holds 99 bytes of plaintext and states 100"
    );
    let error = refusal(vec![Packed::zstd(frame(&[0; 99], &[], true))], 100);
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn a_chunk_holds_one_zstd_frame_with_its_end_and_nothing_after() {
    let whole = frame(&[b'x'; 100], &[], true);
    let open_end = frame(&[b'x'; 100], &[], false);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let zstd = Packed::zstd;
    for (what, pieces, stated) in [
        (
            "two frames in a segment",
            vec![zstd([&whole[..], &whole].concat())],
            200,
        ),
        (
            "two frames in two segments",
            vec![zstd(whole.clone()), zstd(whole.clone())],
            200,
        ),
        (
            "bytes after the end",
            vec![zstd([&whole[..], b"!"].concat())],
            100,
        ),
        (
            "bytes in the next segment",
            vec![zstd(whole.clone()), zstd(b"!".to_vec())],
            100,
        ),
        (
            "an empty segment after the end",
            vec![zstd(whole.clone()), zstd(vec![])],
            100,
        ),
        (
            "a skippable frame after the end",
            vec![zstd([&whole[..], &skippable].concat())],
            100,
        ),
        ("no end", vec![zstd(open_end.clone())], 100),
        (
            "no end before a stored segment",
            vec![zstd(open_end), Packed::stored(vec![])],
            100,
        ),
        ("an empty segment instead of a frame", vec![zstd(vec![])], 0),
        (
            "no frame at all",
            vec![zstd(b"text that is no frame".to_vec())],
            21,
        ),
    ] {
        let error = refusal(pieces, stated);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{what}: {error}");
        assert!(
            error.to_string().starts_with("a zstd frame"),
            "{what}: {error}"
        );
    }
    // Stored segments may stand before, between and after the pieces of the frame.
    let cut = whole.len() / 2;
    let pieces = vec![
        Packed::stored(b"a".to_vec()),
        zstd(whole[..cut].to_vec()),
        zstd(whole[cut..].to_vec()),
        Packed::stored(b"b".to_vec()),
    ];
    let bytes = sealed(pieces, 102);
    let plain = ChunkView::parse(&bytes, false)
        .unwrap()
        .open(&key())
        .unwrap();
    assert_eq!(plain, [&b"a"[..], &[b'x'; 100], b"b"].concat());
}

#[test]
fn lengths_above_their_bound_are_refused_unread() {
    let (_, bytes) = small();
    let mut huge = bytes;
    huge[CHUNK_HEADER_LEN..CHUNK_HEADER_LEN + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        open(&huge, &key()).unwrap_err().to_string(),
        "a segment claims 4294967295, and the bound is 17825792: refused unread"
    );
    assert_eq!(valid_prefix(&huge), (0, false));
    let long = vec![0; MAX_CHUNK_BYTES + 1];
    assert_eq!(
        ChunkView::parse(&long, true).unwrap_err().to_string(),
        "a chunk claims 17825793, and the bound is 17825792: refused unread"
    );
    let bytes = sealed(vec![Packed::stored(vec![])], MAX_CHUNK_PLAINTEXT + 1);
    assert_eq!(
        ChunkView::parse(&bytes, false).unwrap_err().to_string(),
        "a chunk's plaintext claims 16777217, and the bound is 16777216: refused unread"
    );
}

#[test]
fn the_sealer_stops_at_the_bound_of_a_chunk() {
    let place = place(SESSION, 0, Hash::default(), 0);
    let mut sealer = Sealer::new(place, &key(), &mut TestRng::new("bound")).unwrap();
    let error = sealer
        .segment(Packed::stored(vec![0; MAX_CHUNK_BYTES]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "a chunk would exceed its bound of 17825792"
    );
}

#[test]
fn the_same_chunk_sealed_twice_shares_no_bytes_after_its_place() {
    let place = place(SESSION, 0, Hash::default(), 0);
    let mut rng = TestRng::new("twice");
    let records = [Owned::new(1, Stream::PduOut, &[0; 500])];
    let one = chunk(place.clone(), &key(), &records, 2, true, &mut rng);
    let two = chunk(place, &key(), &records, 2, true, &mut rng);
    assert_eq!(one[..75], two[..75]);
    assert_ne!(one[75..94], two[75..94], "the nonce is random");
    assert_ne!(one[94..126], two[94..126]);
    assert_ne!(one[139..], two[139..]);
}

use lucid_format::Stream;
use lucid_player::{ChunkSpan, Decoder, Player, decode_clipboard, input, is_graphics};
use proptest::prelude::*;

use crate::{decoding::screen, frames};

fn stream() -> impl Strategy<Value = Stream> {
    prop::sample::select(Stream::ALL.to_vec())
}

/// A frame that is well-formed on the outside and anything inside.
fn wrapped() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..120);
    prop_oneof![
        bytes.clone(),
        (0u8..16, 0u8..4, bytes.clone())
            .prop_map(|(code, part, data)| frames::fast_path(&[(code, part, &data)])),
        (0u8..=255, bytes.clone()).prop_map(|(kind, data)| frames::from_desktop(
            1003,
            &frames::share_data(kind, 0, &data)
        )),
        bytes
            .clone()
            .prop_map(|data| frames::from_desktop(1003, &data)),
        (
            prop::sample::select(vec![8u16, 15, 16, 24, 32]),
            any::<bool>(),
            0u16..30,
            0u16..30,
            bytes
        )
            .prop_map(|(bpp, raw, x, y, data)| {
                let flags = if raw { frames::RAW } else { frames::COMPRESSED };
                let bitmap = frames::Bitmap {
                    x,
                    y,
                    width: 4,
                    height: 4,
                    row_width: 4,
                    bpp,
                    flags,
                    data: &data,
                };
                frames::update(1, &frames::bitmaps(&[bitmap]))
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_record_panics_or_grows_the_screen(records in prop::collection::vec((stream(), wrapped()), 0..8)) {
        let mut decoder = screen(16, 16);
        for (stream, payload) in &records {
            let _ = is_graphics(*stream, payload);
            let _ = decoder.apply(*stream, payload);
            prop_assert!(decoder.screen().pixels().len() <= 8192 * 8192 * 4);
            prop_assert!(decoder.screen().pixels().as_chunks::<4>().0.iter().all(|p| p[3] == 255));
        }
    }

    #[test]
    fn what_changes_pixels_is_graphics(payload in wrapped()) {
        let mut decoder = screen(16, 16);
        let before = decoder.screen().clone();
        let _ = decoder.apply(Stream::PduOut, &payload);
        prop_assert!(*decoder.screen() == before || is_graphics(Stream::PduOut, &payload));
    }

    #[test]
    fn no_client_frame_panics(payload in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = input::decode(&payload);
        let _ = decode_clipboard(&payload);
    }

    #[test]
    fn no_plaintext_panics_the_player(plaintext in prop::collection::vec(any::<u8>(), 0..200), at in 0u64..20) {
        let span = ChunkSpan { start_us: 0, end_us: u64::MAX, keyframe: true };
        let mut player = Player::new(vec![span]).unwrap();
        if player.load(0, plaintext).is_ok() {
            let _ = player.seek(at);
            let _ = player.advance(u64::MAX);
        }
    }
}

#[test]
fn a_small_frame_cannot_claim_a_huge_bitmap() {
    let data = [0xF3, 0xFF, 0xFF, 0, 0];
    let bitmap = frames::Bitmap {
        x: 0,
        y: 0,
        width: 8000,
        height: 8000,
        row_width: 8000,
        bpp: 16,
        flags: frames::COMPRESSED,
        data: &data,
    };
    let frame = frames::update(1, &frames::bitmaps(&[bitmap]));
    let mut decoder = Decoder::new();
    decoder
        .apply(Stream::Resize, &frames::resize(100, 100))
        .unwrap();
    let error = decoder.apply(Stream::PduOut, &frame).unwrap_err();
    assert!(error.to_string().contains("8000×8000"), "{error}");
}

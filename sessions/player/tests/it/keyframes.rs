use lucid_format::Stream;
use lucid_player::{Decoder, PlayerError};
use proptest::prelude::*;

use crate::{decoding::screen, frames};

fn round_trip(decoder: &Decoder) -> usize {
    let payload = decoder.keyframe().unwrap();
    let mut other = Decoder::new();
    let change = other.apply(Stream::Keyframe, &payload).unwrap();
    assert!(change.resized);
    assert_eq!(other.screen(), decoder.screen());
    assert_eq!(other.pointer(), decoder.pointer());
    payload.len()
}

proptest! {
    #[test]
    fn keyframes_bring_back_the_screen(
        width in 1u16..40, height in 1u16..40, seed in any::<u32>(), colours in 1u32..2000, pointer in any::<Option<(u16, u16)>>(),
    ) {
        let mut decoder = screen(width, height);
        let frame = frames::paint(0, 0, width, height, |x, y| {
            let n = seed.wrapping_mul(u32::from(x) * 7919 + u32::from(y) * 104_729 + 1) % colours;
            let [r, g, b, _] = n.wrapping_mul(2_654_435_761).to_le_bytes();
            [r, g, b]
        });
        decoder.apply(Stream::PduOut, &frame).unwrap();
        if let Some((x, y)) = pointer.filter(|p| *p != (0xFFFF, 0xFFFF)) {
            decoder.apply(Stream::Input, &frames::fast_input(&[&frames::mouse(0x0800, x, y)])).unwrap();
        }
        round_trip(&decoder);
    }

    #[test]
    fn changed_keyframes_never_panic(at in 0usize..400, bit in 0u8..8, cut in 0usize..400) {
        let mut payload = screen(10, 10).keyframe().unwrap();
        let len = payload.len();
        payload[at % len] ^= 1 << bit;
        let _ = Decoder::new().apply(Stream::Keyframe, &payload);
        let error = Decoder::new().apply(Stream::Keyframe, &payload[..cut % len]);
        assert!(error.is_err());
    }
}

#[test]
fn few_colours_take_a_byte_a_pixel_and_photographs_three() {
    let mut decoder = screen(64, 64);
    assert_eq!(round_trip(&decoder), 9 + 1 + 3 + 64 * 64);
    let noise = frames::paint(0, 0, 64, 64, |x, y| {
        [
            x.to_le_bytes()[0],
            y.to_le_bytes()[0],
            (x ^ y).to_le_bytes()[0],
        ]
    });
    decoder.apply(Stream::PduOut, &noise).unwrap();
    assert_eq!(round_trip(&decoder), 9 + 3 * 64 * 64);
}

#[test]
fn the_encoding_does_not_change() {
    let mut decoder = screen(2, 2);
    decoder
        .apply(Stream::PduOut, &frames::paint(0, 0, 1, 1, |_, _| [1, 2, 3]))
        .unwrap();
    decoder
        .apply(
            Stream::Input,
            &frames::fast_input(&[&frames::mouse(0x0800, 1, 0)]),
        )
        .unwrap();
    let golden = [2, 0, 2, 0, 1, 0, 0, 0, 2, 2, 0, 0, 0, 1, 2, 3, 1, 0, 0, 0];
    assert_eq!(decoder.keyframe().unwrap(), golden);
    let planes = [
        2, 0, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 10, 20, 1, 2, 0xFF, 0xFE,
    ];
    let mut decoder = Decoder::new();
    decoder.apply(Stream::Keyframe, &planes).unwrap();
    assert_eq!(decoder.screen().pixels(), [11, 10, 9, 255, 22, 20, 18, 255]);
    assert_eq!(decoder.pointer(), None);
}

#[test]
fn malformed_keyframes_are_refused() {
    let good = screen(3, 3).keyframe().unwrap();
    let refuse = |payload: &[u8]| Decoder::new().apply(Stream::Keyframe, payload).unwrap_err();
    let with = |at: usize, byte: u8| {
        let mut payload = good.clone();
        payload[at] = byte;
        payload
    };
    assert!(matches!(refuse(&[]), PlayerError::Truncated { .. }));
    assert!(
        refuse(&with(8, 0x82))
            .to_string()
            .contains("flags are 0x82")
    );
    assert!(
        refuse(&with(13, 5))
            .to_string()
            .contains("index 5 of 1 colours")
    );
    assert!(refuse(&with(13, 255)).to_string().contains("cut short"));
    assert!(
        refuse(&[good.clone(), vec![0]].concat())
            .to_string()
            .contains("1 bytes follow")
    );
    assert!(matches!(
        refuse(&[0, 0, 0, 0, 0, 0, 0, 0, 2, 0]),
        PlayerError::ScreenSize { .. }
    ));
    // A claim of 8192×8192 costs no memory without the bytes.
    assert!(
        refuse(&[0, 32, 0, 32, 0, 0, 0, 0, 0])
            .to_string()
            .contains("67108864 bytes needed")
    );
    assert!(matches!(
        Decoder::new().keyframe(),
        Err(PlayerError::ScreenSize {
            width: 0,
            height: 0
        })
    ));
}

//! What a real xrdp 0.9.21 sent to a real FreeRDP 2.11: its login screen, 640×480, slow-path planar bitmaps of 32 bits a
//! pixel, with drawing orders switched off in the client's capabilities on the way. Recorded from a connection without
//! encryption.

use lucid_format::{Hash, Stream};
use lucid_player::{Decoder, is_graphics};

use crate::decoding::screen;

const XRDP: &[u8] = include_bytes!("../vectors/xrdp-login-640x480.bin");

/// Splits the connection's bytes into frames.
fn frames(mut bytes: &'static [u8]) -> Vec<&'static [u8]> {
    let mut frames = Vec::new();
    while bytes.len() > 3 {
        let length = match bytes {
            [3, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            [_, long, low, ..] if *long >= 0x80 => {
                usize::from(long & 0x7F) << 8 | usize::from(*low)
            }
            [_, short, ..] => usize::from(*short),
            _ => break,
        };
        let Some((frame, rest)) = bytes.split_at_checked(length) else {
            break;
        };
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn watch(decoder: &mut Decoder) -> usize {
    let mut painted = 0;
    for frame in frames(XRDP) {
        let change = decoder.apply(Stream::PduOut, frame).unwrap();
        if change.painted.is_some() {
            assert!(is_graphics(Stream::PduOut, frame));
            painted += 1;
        }
    }
    painted
}

#[test]
fn a_real_desktop_is_drawn() {
    let mut decoder = screen(640, 480);
    let painted = watch(&mut decoder);
    let digest = Hash::of(decoder.screen().pixels()).to_hex();
    // The client's own screenshot at the same moment had these pixels, every one.
    assert_eq!(painted, 40);
    assert_eq!(
        digest,
        "7bb8f82b33576b3b6b9ba816af83072bd9de39aad73deb7b6062093c453f8d6e"
    );
}

//! The player's decoders of single payloads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::Stream;
use lucid_fuzz::{Script, seeds};
use lucid_player::{Decoder, Keyboard, decode_clipboard, input, is_graphics};

fuzz_target!(
    init: seeds(|| {
        let mut decoder = Decoder::new();
        decoder.apply(Stream::Resize, &[8, 0, 6, 0]).expect("it resizes");
        let keyframe = decoder.keyframe().expect("it fits");
        vec![
            [&[0][..], &keyframe].concat(),
            b"\x01\x04\x08\x00\x1E\x20\x00\x08\x10\x00\x20\x00".to_vec(),
            b"\x02\x00\x0D\x00\x02\x00\x06\x00\x00\x00a\0b\0\0\0".to_vec(),
        ]
    }),
    |data: &[u8]| {
        let mut script = Script(data);
        let kind = script.byte();
        let data = script.rest();
        match kind % 4 {
            0 => {
                // A keyframe states its size; large ones are legal and slow.
                if data.len() >= 4 && (data[1] > 1 || data[3] > 1) {
                    return;
                }
                let mut decoder = Decoder::new();
                if decoder.apply(Stream::Keyframe, data).is_ok() {
                    let pixels = decoder.screen().pixels().to_vec();
                    let again = decoder.keyframe().expect("a small screen fits");
                    decoder.apply(Stream::Keyframe, &again).expect("what was written can be read");
                    assert_eq!(decoder.screen().pixels(), pixels);
                }
            }
            1 => {
                let mut keyboard = Keyboard::default();
                for event in input::decode(data).unwrap_or_default() {
                    keyboard.feed(&event);
                }
            }
            2 => drop(decode_clipboard(data)),
            _ => Stream::ALL.iter().for_each(|stream| {
                is_graphics(*stream, data);
            }),
        }
    }
);

//! A desktop's frames, one after another: updates in fragments, bitmaps in every depth and compression, resizes between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::Stream;
use lucid_fuzz::{Script, seeds, step};
use lucid_player::Decoder;

/// A fast-path frame with one update.
fn fast_path(header: u8, data: &[u8]) -> Vec<u8> {
    let update = step(&[header & 0x3F], data);
    let len = u16::try_from(update.len() + 3).unwrap_or(u16::MAX) & 0x7FFF | 0x8000;
    [&[0][..], &len.to_be_bytes(), &update].concat()
}

/// A bitmap update's data: one rectangle of 4×4 at 0,0.
fn bitmap(bits: u8, flags: u16, pixels: &[u8]) -> Vec<u8> {
    let fields = [1, 1, 0, 0, 3, 3, 4, 4, bits.into(), flags];
    let len = u16::try_from(pixels.len()).expect("a seed is short");
    fields
        .iter()
        .chain([&len])
        .flat_map(|field: &u16| field.to_le_bytes())
        .chain(pixels.iter().copied())
        .collect()
}

fuzz_target!(
    init: seeds(|| {
        let resize = step(&[1], &[16, 0, 16, 0]);
        let mut all = Vec::new();
        for bits in [8, 15, 16, 24, 32] {
            let raw = vec![0x5A; 16 * usize::from(bits).div_ceil(8)];
            let compressed = if bits == 32 { vec![0x10, 0x41, 1, 2, 3, 4, 5] } else { vec![0x10, 0x60, 1, 2, 3, 4] };
            all.push([resize.clone(), step(&[2, 1], &bitmap(bits, 0, &raw))].concat());
            all.push([resize.clone(), step(&[2, 1], &bitmap(bits, 0x0401, &compressed))].concat());
        }
        // The same in two fragments, and pointers.
        let (first, rest) = (bitmap(32, 0, &[7; 64]), [8, 10, 11]);
        all.push([resize.clone(), step(&[2, 0x21], &first[..30]), step(&[2, 0x11], &first[30..])].concat());
        all.extend(rest.map(|code| [resize.clone(), step(&[2, code], &[0; 20])].concat()));
        all
    }),
    |data: &[u8]| {
        let mut script = Script(data);
        let mut decoder = Decoder::new();
        while script.more() {
            let applied = match script.byte() % 4 {
                0 => decoder.apply(Stream::PduOut, script.bytes()),
                1 => {
                    // Small screens: a large one is legal and slow.
                    let size = script.bytes();
                    let mut small = size.to_vec();
                    small.iter_mut().skip(1).step_by(2).for_each(|high| *high &= 1);
                    decoder.apply(Stream::Resize, &small)
                }
                2 => {
                    let header = script.byte();
                    decoder.apply(Stream::PduOut, &fast_path(header, script.bytes()))
                }
                _ => decoder.apply(Stream::Input, script.bytes()),
            };
            // The recorder ends the session at the first fault; so does a replay.
            if applied.is_err() {
                break;
            }
            let screen = decoder.screen();
            let pixels = usize::from(screen.width()) * usize::from(screen.height());
            assert_eq!(screen.pixels().len(), pixels * 4);
        }
    }
);

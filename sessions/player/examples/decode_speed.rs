//! How fast pixels are decoded, in MB/s of RGBA: `cargo run --release -p lucid-player --example decode_speed`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss)] // a measurement, printed

use std::time::Instant;

use ironrdp_graphics::rdp6::{ARgbChannels, BitmapStreamEncoder};
use lucid_format::Stream;
use lucid_player::Decoder;

#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/it/frames.rs"]
mod frames;

const SIDE: u16 = 64;

/// Lines of something like text on a plain ground.
fn ink(x: u16, y: u16) -> bool {
    y % 18 < 12 && (x / 2 * 7 + y / 2 * 13).is_multiple_of(5) && x % 9 < 7
}

fn report(what: &str, payload: &[u8], stream: Stream, pixels: usize) {
    let mut decoder = Decoder::new();
    decoder
        .apply(Stream::Resize, &frames::resize(1024, 768))
        .unwrap();
    let (begun, mut rounds) = (Instant::now(), 0usize);
    while begun.elapsed().as_millis() < 700 {
        for _ in 0..50 {
            decoder.apply(stream, payload).unwrap();
        }
        rounds += 50;
    }
    let rate = (rounds * pixels * 4) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!(
        "{what:<28} {rate:>8.0} MB/s   ({} bytes for {pixels} pixels)",
        payload.len()
    );
}

fn tile(bpp: u16, flags: u16, data: &[u8]) -> Vec<u8> {
    let bitmap = frames::Bitmap {
        x: 64,
        y: 64,
        width: SIDE,
        height: SIDE,
        row_width: SIDE,
        bpp,
        flags,
        data,
    };
    frames::update(1, &frames::bitmaps(&[bitmap]))
}

fn main() {
    let area = usize::from(SIDE) * usize::from(SIDE);
    let color = |x, y| {
        if ink(x, y) {
            [220, 226, 236]
        } else {
            [22, 26, 33]
        }
    };
    report(
        "raw, 32 bits",
        &frames::paint(0, 0, SIDE, SIDE, color),
        Stream::PduOut,
        area,
    );

    let argb: Vec<u8> = (0..area)
        .flat_map(|i| {
            let i = u16::try_from(i).unwrap();
            let [r, g, b] = color(i % SIDE, i / SIDE);
            [255, r, g, b]
        })
        .collect();
    let mut planar = vec![0; area * 8];
    let len = BitmapStreamEncoder::new(SIDE.into(), SIDE.into())
        .encode_bitmap::<ARgbChannels>(&argb, &mut planar, true)
        .unwrap();
    report(
        "planar with runs, 32 bits",
        &tile(32, frames::COMPRESSED, &planar[..len]),
        Stream::PduOut,
        area,
    );

    // Runs of background, colour and foreground, and some colours as they are.
    let mut data = Vec::new();
    for _ in 0..area / 64 {
        data.extend([
            0x10, 0x10, 0x68, 0x34, 0x12, 0x30, 0x88, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
            14, 15, 16,
        ]);
    }
    report(
        "interleaved runs, 16 bits",
        &tile(16, frames::COMPRESSED, &data),
        Stream::PduOut,
        area,
    );

    let mut decoder = Decoder::new();
    decoder
        .apply(Stream::Resize, &frames::resize(1024, 768))
        .unwrap();
    for y in (0..768).step_by(64) {
        for x in (0..1024).step_by(64) {
            decoder
                .apply(Stream::PduOut, &frames::paint(x, y, 64, 64, color))
                .unwrap();
        }
    }
    let keyframe = decoder.keyframe().unwrap();
    report("keyframe, loaded", &keyframe, Stream::Keyframe, 1024 * 768);
    let (begun, rounds) = (Instant::now(), 50usize);
    for _ in 0..rounds {
        decoder.keyframe().unwrap();
    }
    let rate = (rounds * 1024 * 768 * 4) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{:<28} {rate:>8.0} MB/s", "keyframe, written");
}

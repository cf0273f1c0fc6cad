//! The whole screen in one record, so that a chunk plays by itself.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | width in pixels, 1 to 8192 |
//! | 2 | 2 | height in pixels, 1 to 8192 |
//! | 4 | 2 | mouse pointer, pixels from the left |
//! | 6 | 2 | mouse pointer, pixels from the top; both 0xFFFF when it is not known |
//! | 8 | 1 | flags: bit 0 an 8-bit palette follows, bit 1 the picture is indexed; any other bit is refused |
//! | 9 | 768 | with bit 0: the palette in force for 8-bit bitmaps, 256 × red green blue |
//!
//! Then the picture, rows top-down, in one of two encodings; the shorter one for the picture at hand is written.
//!
//! **Indexed** (bit 1 set), for pictures of few colours, which desktops are: `n` (1 byte, at most 255), `n` colours (red
//! green blue each), one index for each pixel (0xFF: the colour stands among the rest), and the rest, red green blue for
//! each pixel whose index was 0xFF, in order.
//!
//! **Planes** (bit 1 clear): green of all pixels, then red − green of all, then blue − green of all, modulo 256. Grey is zero
//! in two of the three.
//!
//! Nothing may follow. Neither encoding compresses: chunks are compressed as a whole. They make what zstd sees smaller and
//! more alike (a page of text at 1024×768: raw 2.3 MB and 51 kB after zstd, planes 45 kB, indexed 0.8 MB and 40 kB).

use std::collections::HashMap;

use crate::{
    PlayerError, Screen,
    bitmap::Palette,
    error::{take, take_u8, take_u16},
};

/// Pixels of the largest screen whose keyframe fits a record whatever it shows (2560×2048). Larger ones fit too unless most of
/// the screen is a photograph.
pub const ALWAYS_FITS: usize = 2560 * 2048;

const WHAT: &str = "a keyframe";
const HAS_PALETTE: u8 = 1;
const INDEXED: u8 = 2;
const ESCAPE: u8 = 0xFF;
const NOWHERE: u16 = 0xFFFF;
/// Colours that are counted before the picture is taken for a photograph.
const MAX_COUNTED: usize = 1 << 16;

/// What a keyframe holds.
pub(crate) struct Keyframe {
    pub(crate) screen: Screen,
    pub(crate) palette: Option<Box<Palette>>,
    pub(crate) pointer: Option<(u16, u16)>,
}

/// Writes a keyframe's payload.
pub(crate) fn encode(
    screen: &Screen,
    palette: Option<&Palette>,
    pointer: Option<(u16, u16)>,
) -> Result<Vec<u8>, PlayerError> {
    let (width, height) = (screen.width(), screen.height());
    if width == 0 {
        return Err(PlayerError::ScreenSize { width, height });
    }
    let pixels = screen.pixels().as_chunks::<4>().0;
    let (x, y) = pointer.unwrap_or((NOWHERE, NOWHERE));
    let colors = colors(pixels);
    let mut out = Vec::with_capacity(1024 + pixels.len() * if colors.is_some() { 1 } else { 3 });
    for field in [width, height, x, y] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    out.push(flag(palette.is_some(), HAS_PALETTE) | flag(colors.is_some(), INDEXED));
    if let Some(palette) = palette {
        out.extend_from_slice(palette.as_flattened());
    }
    match colors {
        Some(colors) => indexed(pixels, &colors, &mut out),
        None => {
            out.extend(pixels.iter().map(|[_, g, _, _]| *g));
            out.extend(pixels.iter().map(|[r, g, _, _]| r.wrapping_sub(*g)));
            out.extend(pixels.iter().map(|[_, g, b, _]| b.wrapping_sub(*g)));
        }
    }
    if out.len() > lucid_format::MAX_PAYLOAD {
        return Err(PlayerError::TooLarge {
            what: WHAT,
            value: out.len(),
            bound: lucid_format::MAX_PAYLOAD,
        });
    }
    Ok(out)
}

/// The colours worth an index, most frequent first; `None` when planes are shorter.
fn colors(pixels: &[[u8; 4]]) -> Option<Vec<[u8; 3]>> {
    let mut counts: HashMap<[u8; 3], usize> = HashMap::new();
    for run in pixels.chunk_by(|a, b| a == b) {
        let [r, g, b, _] = run[0];
        *counts.entry([r, g, b]).or_default() += run.len();
        if counts.len() > MAX_COUNTED {
            return None;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|&(color, count)| (std::cmp::Reverse(count), color));
    counts.truncate(usize::from(ESCAPE));
    let escapes = pixels.len() - counts.iter().map(|c| c.1).sum::<usize>();
    (3 * escapes < 2 * pixels.len()).then(|| counts.into_iter().map(|c| c.0).collect())
}

fn indexed(pixels: &[[u8; 4]], colors: &[[u8; 3]], out: &mut Vec<u8>) {
    let numbers: HashMap<[u8; 3], u8> = colors.iter().copied().zip(0u8..).collect();
    out.extend(numbers.len().to_le_bytes().first());
    out.extend_from_slice(colors.as_flattened());
    let mut escapes = Vec::new();
    for run in pixels.chunk_by(|a, b| a == b) {
        let [r, g, b, _] = run[0];
        let number = numbers.get(&[r, g, b]).copied();
        out.resize(out.len() + run.len(), number.unwrap_or(ESCAPE));
        if number.is_none() {
            escapes.extend(std::iter::repeat_n([r, g, b], run.len()));
        }
    }
    out.extend_from_slice(escapes.as_flattened());
}

/// Reads a keyframe's payload.
pub(crate) fn decode(payload: &[u8]) -> Result<Keyframe, PlayerError> {
    let mut rest = payload;
    let width = take_u16(&mut rest, WHAT)?;
    let height = take_u16(&mut rest, WHAT)?;
    let at = (take_u16(&mut rest, WHAT)?, take_u16(&mut rest, WHAT)?);
    let flags = take_u8(&mut rest, WHAT)?;
    if flags & !(HAS_PALETTE | INDEXED) != 0 {
        return Err(PlayerError::malformed(
            WHAT,
            format!("its flags are {flags:#04x}"),
        ));
    }
    let palette = match flags & HAS_PALETTE {
        0 => None,
        _ => {
            let mut palette = Box::new([[0; 3]; 256]);
            palette
                .as_flattened_mut()
                .copy_from_slice(take(&mut rest, 768, WHAT)?);
            Some(palette)
        }
    };
    let area = usize::from(width) * usize::from(height);
    // In both branches the picture's bytes are there before memory is taken for it.
    let mut screen;
    if flags & INDEXED != 0 {
        let count = usize::from(take_u8(&mut rest, WHAT)?);
        let colors = take(&mut rest, count * 3, WHAT)?.as_chunks::<3>().0;
        let indices = take(&mut rest, area, WHAT)?;
        let mut table = [None; 256];
        for (slot, color) in table.iter_mut().zip(colors) {
            *slot = Some(*color);
        }
        table[usize::from(ESCAPE)] = None;
        screen = Screen::new(width, height)?;
        for (to, index) in screen
            .pixels_mut()
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(indices)
        {
            let [r, g, b] = match table[usize::from(*index)] {
                Some(color) => color,
                None if *index == ESCAPE => {
                    let color = take(&mut rest, 3, WHAT)?;
                    [color[0], color[1], color[2]]
                }
                None => {
                    return Err(PlayerError::malformed(
                        WHAT,
                        format!("index {index} of {count} colours"),
                    ));
                }
            };
            *to = [r, g, b, 255];
        }
    } else {
        let (green, red, blue) = (
            take(&mut rest, area, WHAT)?,
            take(&mut rest, area, WHAT)?,
            take(&mut rest, area, WHAT)?,
        );
        screen = Screen::new(width, height)?;
        let planes = green.iter().zip(red).zip(blue);
        for (to, ((g, r), b)) in screen
            .pixels_mut()
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(planes)
        {
            *to = [r.wrapping_add(*g), *g, b.wrapping_add(*g), 255];
        }
    }
    if !rest.is_empty() {
        return Err(PlayerError::malformed(
            WHAT,
            format!("{} bytes follow the picture", rest.len()),
        ));
    }
    Ok(Keyframe {
        screen,
        palette,
        pointer: (at != (NOWHERE, NOWHERE)).then_some(at),
    })
}

use ironrdp_core::{Decode as _, ReadCursor};
use ironrdp_graphics::rdp6::BitmapStreamDecoder;
use ironrdp_pdu::bitmap::{BitmapData, Compression};

use crate::{PlayerError, Rect, Screen, error::take_u16, rle};

/// Pixels by which a bitmap may be larger than the rectangle it is drawn to, and reach over the screen's edge: servers pad
/// rows and draw in tiles of 64. Bounds the memory a small compressed bitmap can claim.
const MAX_PADDING: u16 = 64;

/// 256 colours, red green blue.
pub(crate) type Palette = [[u8; 3]; 256];

/// Buffers that are used again for each bitmap.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pixels: Vec<u8>,
    planes: BitmapStreamDecoder,
}

/// Draws a bitmap update: what follows `updateType` (TS_UPDATE_BITMAP_DATA, MS-RDPBCGR 2.2.9.1.1.3.1.2).
/// Returns the rectangle around all of it.
pub(crate) fn draw(
    mut data: &[u8],
    screen: &mut Screen,
    palette: Option<&Palette>,
    scratch: &mut Scratch,
) -> Result<Option<Rect>, PlayerError> {
    let count = take_u16(&mut data, "a bitmap update")?;
    let mut src = ReadCursor::new(data);
    let mut dirty: Option<Rect> = None;
    for _ in 0..count {
        let bitmap = BitmapData::decode(&mut src)
            .map_err(|e| PlayerError::malformed("a bitmap update", e.report()))?;
        let rect = draw_one(&bitmap, screen, palette, scratch)?;
        dirty = Some(dirty.map_or(rect, |d| d.union(rect)));
    }
    Ok(dirty)
}

fn draw_one(
    bitmap: &BitmapData<'_>,
    screen: &mut Screen,
    palette: Option<&Palette>,
    scratch: &mut Scratch,
) -> Result<Rect, PlayerError> {
    let rect = place(bitmap, screen)?;
    let (width, height) = (usize::from(bitmap.width), usize::from(bitmap.height));
    let data = bitmap.bitmap_data;
    let depth = bitmap.bits_per_pixel;
    let bytes = match depth {
        8 => 1,
        15 | 16 => 2,
        24 => 3,
        32 => 4,
        _ => {
            return Err(PlayerError::unsupported(format!(
                "a bitmap with {depth} bits a pixel"
            )));
        }
    };
    let known = Compression::BITMAP_COMPRESSION | Compression::NO_BITMAP_COMPRESSION_HDR;
    if !known.contains(bitmap.compression_flags) {
        return Err(PlayerError::unsupported(format!(
            "a bitmap with flags {:#06x}",
            bitmap.compression_flags.bits()
        )));
    }
    let compressed = bitmap
        .compression_flags
        .contains(Compression::BITMAP_COMPRESSION);
    let data = match &bitmap.compressed_data_header {
        Some(header) => {
            data.get(..usize::from(header.main_body_size))
                .ok_or(PlayerError::Truncated {
                    what: "a compressed bitmap",
                    need: usize::from(header.main_body_size),
                    have: data.len(),
                })?
        }
        None => data,
    };

    if !compressed {
        // Rows of raw bitmaps are padded to four bytes; some servers leave the padding out.
        let tight = width * bytes;
        let padded = tight.next_multiple_of(4);
        let stride = match data.len() {
            n if n >= padded * height => padded,
            n if n == tight * height => tight,
            have => {
                return Err(PlayerError::Truncated {
                    what: "a raw bitmap",
                    need: padded * height,
                    have,
                });
            }
        };
        blit(screen, rect, data, stride, height, depth, palette)?;
    } else if depth == 32 {
        // RDP 6.0 bitmap compression (MS-RDPEGDI 2.2.2.5.1); gives red, green, blue.
        scratch.pixels.clear();
        scratch
            .planes
            .decode_bitmap_stream_to_rgb24(data, &mut scratch.pixels, width, height)
            .map_err(|e| PlayerError::malformed("a planar bitmap", chain(&e)))?;
        if scratch.pixels.len() != width * height * 3 {
            return Err(PlayerError::malformed(
                "a planar bitmap",
                "it has the wrong number of pixels",
            ));
        }
        blit_rows(
            screen,
            rect,
            &scratch.pixels,
            width * 3,
            height,
            |to, from| {
                pixels::<3>(to, from, |[r, g, b]| [*r, *g, *b, 255]);
            },
        );
    } else {
        scratch.pixels.resize(width * height * bytes, 0);
        let (out, row) = (scratch.pixels.as_mut_slice(), width * bytes);
        match depth {
            8 => rle::decompress(data, out, row, [0xFF])?,
            15 => rle::decompress(data, out, row, [0xFF, 0x7F])?,
            16 => rle::decompress(data, out, row, [0xFF, 0xFF])?,
            _ => rle::decompress(data, out, row, [0xFF; 3])?,
        }
        blit(screen, rect, &scratch.pixels, row, height, depth, palette)?;
    }
    Ok(rect)
}

/// Where the bitmap goes. Its rectangle may reach over the right and lower edge (servers draw in tiles), but must begin on
/// the screen, and the bitmap must cover it.
fn place(bitmap: &BitmapData<'_>, screen: &Screen) -> Result<Rect, PlayerError> {
    let r = &bitmap.rectangle;
    if r.right < r.left || r.bottom < r.top {
        let reason = format!(
            "its rectangle {},{} to {},{} is inside out",
            r.left, r.top, r.right, r.bottom
        );
        return Err(PlayerError::malformed("a bitmap", reason));
    }
    if r.left >= screen.width() || r.top >= screen.height() {
        return Err(PlayerError::OutsideScreen {
            x: r.left,
            y: r.top,
            width: screen.width(),
            height: screen.height(),
        });
    }
    let (wide, high) = (
        u32::from(r.right - r.left) + 1,
        u32::from(r.bottom - r.top) + 1,
    );
    let fits = |side: u16, span: u32, screen: u16| {
        let most = (span + u32::from(MAX_PADDING)).min(u32::from(screen) + u32::from(MAX_PADDING));
        (span..=most).contains(&u32::from(side))
    };
    if !fits(bitmap.width, wide, screen.width()) || !fits(bitmap.height, high, screen.height()) {
        let reason = format!(
            "{}×{} pixels are drawn to {wide}×{high}",
            bitmap.width, bitmap.height
        );
        return Err(PlayerError::malformed("a bitmap", reason));
    }
    let clip = |span: u32, room: u16| u16::try_from(span).map_or(room, |s| s.min(room));
    Ok(Rect {
        x: r.left,
        y: r.top,
        width: clip(wide, screen.width() - r.left),
        height: clip(high, screen.height() - r.top),
    })
}

fn blit(
    screen: &mut Screen,
    rect: Rect,
    data: &[u8],
    stride: usize,
    height: usize,
    depth: u16,
    palette: Option<&Palette>,
) -> Result<(), PlayerError> {
    let five = |v: u16| ((v << 3) | (v >> 2)).to_le_bytes()[0];
    let six = |v: u16| ((v << 2) | (v >> 4)).to_le_bytes()[0];
    match depth {
        8 => {
            let palette = palette.ok_or_else(|| {
                PlayerError::malformed("an 8-bit bitmap", "no palette was sent before it")
            })?;
            blit_rows(screen, rect, data, stride, height, |to, from| {
                pixels::<1>(to, from, |[i]| {
                    let [r, g, b] = palette[usize::from(*i)];
                    [r, g, b, 255]
                });
            });
        }
        15 => blit_rows(screen, rect, data, stride, height, |to, from| {
            pixels::<2>(to, from, |p| {
                let v = u16::from_le_bytes(*p);
                [five(v >> 10 & 31), five(v >> 5 & 31), five(v & 31), 255]
            });
        }),
        16 => blit_rows(screen, rect, data, stride, height, |to, from| {
            pixels::<2>(to, from, |p| {
                let v = u16::from_le_bytes(*p);
                [five(v >> 11), six(v >> 5 & 63), five(v & 31), 255]
            });
        }),
        24 => blit_rows(screen, rect, data, stride, height, |to, from| {
            pixels::<3>(to, from, |[b, g, r]| [*r, *g, *b, 255]);
        }),
        _ => blit_rows(screen, rect, data, stride, height, |to, from| {
            pixels::<4>(to, from, |[b, g, r, _]| [*r, *g, *b, 255]);
        }),
    }
    Ok(())
}

/// Copies bottom-up rows of `data` to `rect`, top-down, each through `convert`.
fn blit_rows(
    screen: &mut Screen,
    rect: Rect,
    data: &[u8],
    stride: usize,
    height: usize,
    convert: impl Fn(&mut [u8], &[u8]),
) {
    for (line, from) in (0..rect.height).zip(data[..stride * height].chunks_exact(stride).rev()) {
        convert(screen.row_mut(rect, rect.y + line), from);
    }
}

fn pixels<const N: usize>(to: &mut [u8], from: &[u8], convert: impl Fn(&[u8; N]) -> [u8; 4]) {
    for (to, from) in to
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(from.as_chunks::<N>().0)
    {
        *to = convert(from);
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text = format!("{text}: {e}");
        source = e.source();
    }
    text
}

//! Interleaved run-length encoding (MS-RDPBCGR 3.1.9), for 8, 15, 16 and 24 bits a pixel.
//!
//! `ironrdp_graphics::rle` reads the same encoding and is the oracle of this module's tests, but accepts a stream that ends
//! before the bitmap is full and leaves the rest as it was. Here that is an error, and runs are copied as slices.

use crate::{
    PlayerError,
    error::{take, take_u8, take_u16},
};

const WHAT: &str = "a compressed bitmap";

struct Output<'a, const N: usize> {
    pixels: &'a mut [u8],
    at: usize,
    row: usize,
    first_row: bool,
}

impl<const N: usize> Output<'_, N> {
    /// Moves `at` past `pixels` pixels; the bytes they take.
    fn claim(&mut self, pixels: usize) -> Result<std::ops::Range<usize>, PlayerError> {
        let end = self.at + pixels * N;
        if end > self.pixels.len() {
            let reason = format!(
                "a run ends {} bytes after the bitmap's {}",
                end - self.pixels.len(),
                self.pixels.len()
            );
            return Err(PlayerError::malformed(WHAT, reason));
        }
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    fn fill(&mut self, pixels: usize, pixel: [u8; N]) -> Result<(), PlayerError> {
        let range = self.claim(pixels)?;
        self.pixels[range].as_chunks_mut::<N>().0.fill(pixel);
        Ok(())
    }

    /// Repeats what is above. A run may be longer than a row, and then repeats what it has just written.
    fn above(&mut self, pixels: usize) -> Result<(), PlayerError> {
        let range = self.claim(pixels)?;
        let mut at = range.start;
        while at < range.end {
            let n = self.row.min(range.end - at);
            self.pixels
                .copy_within(at - self.row..at - self.row + n, at);
            at += n;
        }
        Ok(())
    }

    /// What is above, with `pixel` exclusive-ored in; on the first row, `pixel`.
    fn above_xor(&mut self, pixels: usize, pixel: [u8; N]) -> Result<(), PlayerError> {
        if self.first_row {
            return self.fill(pixels, pixel);
        }
        let range = self.claim(pixels)?;
        let mut at = range.start;
        while at < range.end {
            let n = self.row.min(range.end - at);
            let (done, todo) = self.pixels.split_at_mut(at);
            let above = done[at - self.row..][..n].as_chunks::<N>().0;
            for (to, from) in todo[..n].as_chunks_mut::<N>().0.iter_mut().zip(above) {
                for ((to, from), x) in to.iter_mut().zip(from).zip(pixel) {
                    *to = from ^ x;
                }
            }
            at += n;
        }
        Ok(())
    }

    /// The background: what is above, or black on the first row.
    fn background(&mut self, pixels: usize) -> Result<(), PlayerError> {
        if self.first_row {
            self.fill(pixels, [0; N])
        } else {
            self.above(pixels)
        }
    }

    /// One pixel for each of the lowest `pixels` bits of `mask`: foreground where set, background where clear.
    fn masked(&mut self, mask: u8, pixels: usize, foreground: [u8; N]) -> Result<(), PlayerError> {
        let range = self.claim(pixels)?;
        for (bit, at) in range.step_by(N).enumerate() {
            let mut pixel = [0; N];
            if !self.first_row {
                pixel.copy_from_slice(&self.pixels[at - self.row..][..N]);
            }
            if mask & (1 << bit) != 0 {
                for (p, x) in pixel.iter_mut().zip(foreground) {
                    *p ^= x;
                }
            }
            self.pixels[at..at + N].copy_from_slice(&pixel);
        }
        Ok(())
    }
}

fn pixel<const N: usize>(src: &mut &[u8]) -> Result<[u8; N], PlayerError> {
    let mut pixel = [0; N];
    pixel.copy_from_slice(take(src, N, WHAT)?);
    Ok(pixel)
}

/// Fills `dst` (rows of `row` bytes, `N` bytes a pixel, in the order of the stream: bottom-up) from `src`.
pub(crate) fn decompress<const N: usize>(
    mut src: &[u8],
    dst: &mut [u8],
    row: usize,
    white: [u8; N],
) -> Result<(), PlayerError> {
    let mut out = Output::<N> {
        pixels: dst,
        at: 0,
        row,
        first_row: true,
    };
    let mut foreground = white;
    // Two background runs in a row are divided by one pixel of foreground (MS-RDPBCGR 3.1.9).
    let mut after_background = false;
    while !src.is_empty() {
        if out.first_row && out.at >= row {
            out.first_row = false;
            after_background = false;
        }
        let header = take_u8(&mut src, WHAT)?;
        let code = match header {
            0xF0.. => header,
            0xC0..=0xEF => header >> 4,
            _ => header >> 5,
        };
        let divide = std::mem::take(&mut after_background);
        match code {
            // background run
            0x00 | 0xF0 => {
                let n = run(code, header, &mut src)?;
                if divide {
                    out.above_xor(1, foreground)?;
                    out.background(n - 1)?;
                } else {
                    out.background(n)?;
                }
                after_background = true;
            }
            // foreground run; 0xC and 0xF6 bring a new foreground
            0x01 | 0xF1 | 0x0C | 0xF6 => {
                let n = run(code, header, &mut src)?;
                if matches!(code, 0x0C | 0xF6) {
                    foreground = pixel(&mut src)?;
                }
                out.above_xor(n, foreground)?;
            }
            // mask of foreground and background; 0xD and 0xF7 bring a new foreground
            0x02 | 0xF2 | 0x0D | 0xF7 => {
                let mut n = run(code, header, &mut src)?;
                if matches!(code, 0x0D | 0xF7) {
                    foreground = pixel(&mut src)?;
                }
                while n > 0 {
                    let bits = n.min(8);
                    let mask = take_u8(&mut src, WHAT)?;
                    out.masked(mask, bits, foreground)?;
                    n -= bits;
                }
            }
            // one colour
            0x03 | 0xF3 => {
                let n = run(code, header, &mut src)?;
                let color = pixel(&mut src)?;
                out.fill(n, color)?;
            }
            // colours as they are
            0x04 | 0xF4 => {
                let n = run(code, header, &mut src)?;
                let range = out.claim(n)?;
                let colors = take(&mut src, n * N, WHAT)?;
                out.pixels[range].copy_from_slice(colors);
            }
            // two colours in turn
            0x0E | 0xF8 => {
                let n = run(code, header, &mut src)?;
                let (a, b) = (pixel::<N>(&mut src)?, pixel::<N>(&mut src)?);
                let range = out.claim(2 * n)?;
                for (i, to) in out.pixels[range]
                    .as_chunks_mut::<N>()
                    .0
                    .iter_mut()
                    .enumerate()
                {
                    *to = if i % 2 == 0 { a } else { b };
                }
            }
            0xF9 => out.masked(0x03, 8, foreground)?,
            0xFA => out.masked(0x05, 8, foreground)?,
            0xFD => out.fill(1, white)?,
            0xFE => out.fill(1, [0; N])?,
            _ => {
                return Err(PlayerError::malformed(
                    WHAT,
                    format!("order {header:#04x} is unknown"),
                ));
            }
        }
    }
    if out.at != out.pixels.len() {
        return Err(PlayerError::Truncated {
            what: "a compressed bitmap's pixels",
            need: out.pixels.len(),
            have: out.at,
        });
    }
    Ok(())
}

/// The length of a run, in pixels; never 0.
fn run(code: u8, header: u8, src: &mut &[u8]) -> Result<usize, PlayerError> {
    Ok(match code {
        0xF0..=0xF8 => match take_u16(src, WHAT)? {
            0 => return Err(PlayerError::malformed(WHAT, "a run of no pixels")),
            n => usize::from(n),
        },
        0x02 | 0x0D => match header & if code == 0x02 { 0x1F } else { 0x0F } {
            0 => usize::from(take_u8(src, WHAT)?) + 1,
            n => usize::from(n) * 8,
        },
        0x0C | 0x0E => match header & 0x0F {
            0 => usize::from(take_u8(src, WHAT)?) + 16,
            n => usize::from(n),
        },
        _ => match header & 0x1F {
            0 => usize::from(take_u8(src, WHAT)?) + 32,
            n => usize::from(n),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Streams that are mostly valid: random orders.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let order = prop_oneof![
            (0u8..=0x9F, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(h, mut v)| {
                v.insert(0, h);
                v
            }),
            (0xC0u8..=0xEF, prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(h, mut v)| {
                v.insert(0, h);
                v
            }),
            (
                0xF0u8..=0xFE,
                1u16..40,
                prop::collection::vec(any::<u8>(), 0..20)
            )
                .prop_map(|(h, n, v)| {
                    let mut all = vec![h];
                    all.extend(n.to_le_bytes());
                    all.extend(v);
                    all
                }),
        ];
        prop::collection::vec(order, 0..12).prop_map(|v| v.concat())
    }

    fn same_as_the_oracle<const N: usize>(
        src: &[u8],
        width: usize,
        height: usize,
        bpp: usize,
        white: [u8; N],
    ) {
        let mut ours = vec![0u8; width * height * N];
        let result = decompress::<N>(src, &mut ours, width * N, white);
        let mut theirs = Vec::new();
        // The oracle trips over a run that begins on the first row and is read from above; only its good answers count.
        let oracle = ironrdp_graphics::rle::decompress(src, &mut theirs, width, height, bpp);
        match result {
            Ok(()) => {
                oracle.expect("what we accept is valid");
                assert_eq!(ours, theirs);
            }
            Err(PlayerError::Truncated {
                what: "a compressed bitmap's pixels",
                ..
            }) => {
                oracle.expect("short of pixels, else valid");
                assert_eq!(ours, theirs);
            }
            Err(_) => assert!(oracle.is_err(), "{src:02x?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_the_oracle_on_any_stream(src in stream(), width in 1usize..24, height in 1usize..12) {
            same_as_the_oracle::<1>(&src, width, height, 8, [0xFF]);
            same_as_the_oracle::<2>(&src, width, height, 15, [0xFF, 0x7F]);
            same_as_the_oracle::<2>(&src, width, height, 16, [0xFF, 0xFF]);
            same_as_the_oracle::<3>(&src, width, height, 24, [0xFF; 3]);
        }

        #[test]
        fn never_panics_on_bytes(src in prop::collection::vec(any::<u8>(), 0..200), width in 1usize..24, height in 1usize..12) {
            let mut out = vec![0; width * height * 3];
            let _ = decompress::<3>(&src, &mut out, width * 3, [0xFF; 3]);
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_refused() {
        let mut out = [0; 16];
        let error = decompress::<1>(&[0x6F, 7], &mut out, 4, [0xFF]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a compressed bitmap's pixels is cut short: 16 bytes needed, 15 there"
        );
    }
}

//! The data sets: the same bytes every time, of three kinds that recordings are made of.
//!
//! ```text
//! desktop   32-bit pixels of text rows as a desktop repaints them while somebody types and scrolls
//! typing    the event stream of a terminal, one JSON line an event
//! photo     noise, as photographs and video are to a compressor
//! ```

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::json;

/// Character cells of a row on the screen.
pub const COLUMNS: usize = 160;
/// Rows on the screen.
const ROWS: usize = 45;
/// A cell is this many pixels wide.
pub const CELL_WIDTH: usize = 8;
/// A cell is this many pixels high.
pub const CELL_HEIGHT: usize = 16;
const INK: [u8; 4] = [0xE0, 0xE0, 0xE0, 0];
const PAPER: [u8; 4] = [0x40, 0x30, 0x20, 0];

/// Names of the data sets.
pub const NAMES: [&str; 3] = ["desktop", "typing", "photo"];

/// Writes the data sets, `bytes` each or a little more, and waits until the disk has them: writing them back later would
/// disturb what is measured.
pub fn make(dir: &Path, bytes: u64) -> Result<Vec<(&'static str, PathBuf)>> {
    let made = NAMES.into_iter().map(|name| {
        let path = dir.join(name);
        let write = || -> io::Result<()> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&path)?);
            match name {
                "desktop" => desktop(&mut out, bytes)?,
                "typing" => typing(&mut out, bytes)?,
                _ => photo(&mut out, bytes)?,
            }
            out.into_inner()?.sync_all()
        };
        write().with_context(|| format!("making the data set '{name}'"))?;
        Ok((name, path))
    });
    made.collect()
}

/// Numbers that look random and are the same in every run (splitmix64).
pub struct Numbers(u64);

impl Numbers {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// One below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(((self.next() >> 32) * bound as u64) >> 32).unwrap_or_default()
    }

    /// One from 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits are what a double holds"
    )]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Somebody who fills lines with words in a font of 96 glyphs.
pub struct Typist {
    numbers: Numbers,
    /// 8 pixels of each of the 16 rows of each glyph.
    glyphs: Vec<[[u8; CELL_WIDTH * 4]; CELL_HEIGHT]>,
    words: Vec<Vec<usize>>,
}

impl Typist {
    /// Makes up a font and a vocabulary.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let glyphs = (0..96)
            .map(|_| std::array::from_fn(|_| glyph_row(&mut numbers)))
            .collect();
        let words = (0..900)
            .map(|_| {
                let letters = 2 + numbers.below(8);
                (0..letters).map(|_| numbers.below(96)).collect()
            })
            .collect();
        Self {
            numbers,
            glyphs,
            words,
        }
    }

    /// The next line of `columns` cells.
    pub fn line(&mut self, columns: usize) -> Vec<usize> {
        let mut line = Vec::new();
        while line.len() + 10 < columns {
            line.extend_from_slice(&self.words[self.numbers.below(900)]);
            line.push(0);
        }
        line.resize(columns, 0);
        line
    }

    /// The pixels of a part of a line, rows from the top.
    pub fn band(&self, line: &[usize]) -> Vec<u8> {
        let mut out = Vec::with_capacity(line.len() * CELL_WIDTH * 4 * CELL_HEIGHT);
        for row in 0..CELL_HEIGHT {
            for cell in line {
                out.extend_from_slice(&self.glyphs[*cell][row]);
            }
        }
        out
    }
}

fn glyph_row(numbers: &mut Numbers) -> [u8; CELL_WIDTH * 4] {
    let bits = numbers.next();
    let bits = bits & bits >> 8;
    let mut row = [0; CELL_WIDTH * 4];
    for (x, pixel) in row.chunks_exact_mut(4).enumerate() {
        pixel.copy_from_slice(if bits >> x & 1 == 1 { &INK } else { &PAPER });
    }
    row
}

fn desktop(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut typist = Typist::new(1);
    let mut screen = vec![vec![0; COLUMNS]; ROWS];
    let mut written = 0;
    while written < bytes {
        let line = typist.line(COLUMNS);
        // One time in five the screen scrolls and every row is repainted; else somebody types and one is.
        let dirty = if typist.numbers.below(5) == 0 {
            screen.remove(0);
            screen.push(line);
            0..ROWS
        } else {
            let row = typist.numbers.below(ROWS);
            screen[row] = line;
            row..row + 1
        };
        for row in dirty {
            let band = typist.band(&screen[row]);
            out.write_all(&band)?;
            written += band.len() as u64;
        }
    }
    Ok(())
}

fn typing(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    const KEYS: &[u8] = b"abcdefghijklmnopqrstuvwxyz -/.";
    let mut n = Numbers::new(2);
    let (mut time, mut written) = (0.0, 0);
    while written < bytes {
        time -= (1.0 - n.fraction()).ln() / 12.0;
        let text = match n.fraction() {
            kind if kind < 0.3 => char::from(KEYS[n.below(KEYS.len())]).to_string(),
            kind if kind < 0.7 => format!(
                "{:02}:{:02}:{:02} host{} sshd[{}]: Accepted publickey for user{} from 10.{}.{}.{} port {} SHA256:{:016x}{:016x}{:016x}\r\n",
                n.below(24),
                n.below(60),
                n.below(60),
                n.below(9),
                1 + n.below(99_999),
                n.below(9),
                n.below(256),
                n.below(256),
                n.below(256),
                1024 + n.below(64_512),
                n.next(),
                n.next(),
                n.next(),
            ),
            _ => format!(
                "\x1b[{};1H\x1b[3{}m{:6} user{} {:5.1}\x1b[0m",
                1 + n.below(45),
                n.below(8),
                1 + n.below(99_999),
                n.below(9),
                n.fraction() * 100.0,
            ),
        };
        let line = format!("[{time:.6}, \"o\", {}]\n", json!(text));
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    Ok(())
}

fn photo(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut noise = blake3::Hasher::new().update(b"photo").finalize_xof();
    io::copy(&mut io::Read::take(&mut noise, bytes), out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_sets_are_the_same_every_time_and_shrink_as_their_kinds_do() {
        let make = |what: fn(&mut Vec<u8>, u64) -> io::Result<()>| {
            let (mut once, mut again) = (Vec::new(), Vec::new());
            what(&mut once, 4 << 20).unwrap();
            what(&mut again, 4 << 20).unwrap();
            assert_eq!(once, again);
            once.len() / zstd::bulk::compress(&once, 1).unwrap().len()
        };
        assert!((15..60).contains(&make(desktop)));
        assert!((2..5).contains(&make(typing)));
        assert_eq!(make(photo), 0);
    }
}

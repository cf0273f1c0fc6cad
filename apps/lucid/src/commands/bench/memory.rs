//! What a live session costs in memory and time, however long it lasts.
//!
//! The session is written by a process of its own, so that nothing else counts, at simulated time.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context, Result, bail};
use lucid_format::{DEFAULT_CHUNK_PLAINTEXT, Stream};
use lucid_recorder::{SessionWriter, wall_clock_us};
use serde::{Deserialize, Serialize};

use super::{
    Bench,
    data::{CELL_HEIGHT, CELL_WIDTH, Typist},
    rdp,
    report::{Row, number},
    session,
};
use crate::App;

/// Bound of a session's memory.
const TARGET_MIB: f64 = 64.0;
/// Minutes of the sessions that are written.
const MINUTES: [u64; 2] = [1, 30];
/// Character cells of a tile.
const TILE: usize = 32;

#[derive(Serialize, Deserialize)]
struct Written {
    peak_kib: u64,
    frames: u64,
    seconds: f64,
    chunk_bytes: u64,
}

/// Lets a process of its own write each session.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for minutes in MINUTES {
        let spinner = bench.app.ui.spinner(&format!("a session of {minutes} min"));
        let mut child = Command::new(std::env::current_exe().context("finding this program")?);
        child
            .args(["bench", "--child", &minutes.to_string()])
            .env("TMPDIR", &bench.scratch);
        let output = child.output().context("starting this program again")?;
        spinner.finish_and_clear();
        if !output.status.success() {
            bail!(
                "the session's process failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let written: Written =
            serde_json::from_slice(&output.stdout).context("what the session's process said")?;
        rows.extend(report(minutes, &written));
    }
    Ok(rows)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "kilobytes and bytes of a benchmark are far below 2^52"
)]
fn report(minutes: u64, written: &Written) -> [Row; 2] {
    let peak = written.peak_kib as f64 / 1024.0;
    let megabytes = written.frames as f64 / 1e6;
    let recorded = written.chunk_bytes as f64 / 1e6;
    let note = format!(
        "{} MB of frames became {} MB",
        number(megabytes),
        number(recorded)
    );
    let speed = Row::new(
        format!("{minutes} min: how fast it is written, one thread"),
        "MB/s",
        &[megabytes / written.seconds],
    );
    let needed = format!(
        "{}× what the session sent",
        number(minutes as f64 * 60.0 / written.seconds)
    );
    [
        Row::new(
            format!("{minutes} min: peak of the whole process"),
            "MiB",
            &[peak],
        )
        .at_most(TARGET_MIB)
        .note(note),
        speed
            .ratio(needed)
            .note("decoded, packed, sealed, synced once a second"),
    ]
}

/// Writes a session of `minutes` of somebody typing and scrolling; says what it cost.
pub fn child(app: &App, minutes: &str) -> Result<()> {
    let minutes: u64 = minutes.parse()?;
    let dir = tempfile::tempdir()?;
    let session::Session {
        open, key, seed, ..
    } = session::begin(dir.path())?;
    let mut writer = SessionWriter::new(open, key, &seed, DEFAULT_CHUNK_PLAINTEXT);
    let wall_us = wall_clock_us();
    let mut typist = Typist::new(3);
    let rows = rdp::HEIGHT / u16::try_from(CELL_HEIGHT)?;
    let begin = Instant::now();
    let mut frames = 0;
    writer.record(0, wall_us, Stream::Resize, &rdp::size())?;
    for tenth in 0..minutes * 600 {
        let now_us = tenth * 100_000;
        // Ten lines a second, and every three seconds a screenful.
        let first = u16::try_from(tenth % u64::from(rows))?;
        let dirty = if tenth % 30 == 29 {
            0..rows
        } else {
            first..first + 1
        };
        for row in dirty {
            for frame in line(&mut typist, row * u16::try_from(CELL_HEIGHT)?)? {
                frames += frame.len() as u64;
                writer.record(now_us, wall_us + now_us, Stream::PduOut, &frame)?;
            }
        }
        writer.tick(now_us, wall_us + now_us)?;
    }
    let end_us = minutes * 60_000_000;
    let manifest = writer.finish(end_us, wall_us + end_us, "the user signed out")?;
    let seconds = begin.elapsed().as_secs_f64();
    let status =
        fs::read_to_string("/proc/self/status").context("asking for the peak of memory")?;
    let peak = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    let peak_kib = peak.context("the kernel does not say the peak of memory")?;
    app.ui.json(&Written {
        peak_kib,
        frames,
        seconds,
        chunk_bytes: manifest.chunk_bytes,
    })
}

/// The frames that paint the next line of text across the screen.
pub fn line(typist: &mut Typist, y: u16) -> Result<Vec<Vec<u8>>> {
    let line = typist.line(usize::from(rdp::WIDTH) / CELL_WIDTH);
    let (width, height) = (
        u16::try_from(TILE * CELL_WIDTH)?,
        u16::try_from(CELL_HEIGHT)?,
    );
    let tiles = (0u16..).zip(line.chunks_exact(TILE));
    Ok(tiles
        .map(|(nth, cells)| rdp::picture(nth * width, y, width, height, &typist.band(cells)))
        .collect())
}

//! `lucid export`: a video or a still, by ffmpeg as a child process.

use std::{
    io::{BufWriter, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};
use lucid_format::{ChunkView, FormatError, KeySource, Stream};
use lucid_player::{Decoder, Screen};

use crate::{
    App,
    cli::{ExportArgs, RangeArgs},
    exit::{NO_KEY, PROGRAM, USAGE, exit},
    keyring,
    recording::{self, OpenRecording},
    ui::clock,
};

/// Writes the video or still.
pub fn run(app: &App, args: &ExportArgs) -> Result<()> {
    let mut recording = recording::open(app, &args.recording)?;
    let secret = keyring::secret(&args.key)?;
    let no_key = || {
        exit(
            NO_KEY,
            "exporting needs a recipient's secret key: add --key NAME.key",
        )
    };
    let keys = recording::keys(&recording, secret.as_ref())?.ok_or_else(no_key)?;
    let written = export(app, &mut recording, &keys, &args.to, &args.range, args.fps)?;
    if app.ui.json {
        app.ui
            .json(&serde_json::json!({ "file": args.to, "what": written }))?;
    } else {
        app.ui.line(format!("{}: {written}", args.to.display()));
    }
    app.ui.note(
        "This is derived: it proves nothing by itself. The recording does, with 'lucid verify'.",
    );
    Ok(())
}

/// Exports `range` of a recording to `to`, by its ending; returns what was written, in words.
pub fn export(
    app: &App,
    recording: &mut OpenRecording,
    keys: &KeySource,
    to: &Path,
    range: &RangeArgs,
    fps: u32,
) -> Result<String> {
    let end = recording::end_us(recording);
    let begin = recording.index.chunks.first().map_or(0, |c| c.start_us);
    let (from, until) = (
        range.from.unwrap_or(begin).max(begin),
        range.until.unwrap_or(end).min(end),
    );
    if from > until {
        return Err(exit(
            USAGE,
            format!(
                "nothing was recorded in that range: the recording lasts {}",
                clock(end)
            ),
        ));
    }
    match to.extension().and_then(|e| e.to_str()) {
        Some("png") => still(recording, keys, to, from),
        Some("mp4" | "mkv" | "webm") => video(app, recording, keys, to, (from, until), fps),
        _ => Err(exit(
            USAGE,
            format!("{} ends in none of .mp4, .mkv, .webm, .png", to.display()),
        )),
    }
}

fn still(recording: &mut OpenRecording, keys: &KeySource, to: &Path, at: u64) -> Result<String> {
    let mut frames = Frames::at(recording, keys, at)?;
    frames.advance(at)?;
    let screen = frames.decoder.screen();
    let (width, height) = (screen.width(), screen.height());
    if width == 0 {
        return Err(exit(
            USAGE,
            format!("nothing had been drawn at {}", clock(at)),
        ));
    }
    let comment = provenance(frames.recording, at, at);
    recording::write_atomically(to, |file| {
        let mut encoder = png::Encoder::new(BufWriter::new(file), width.into(), height.into());
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.add_text_chunk("Comment".to_owned(), comment.clone())?;
        let mut pixels = screen.pixels().to_vec();
        draw_pointer(&mut pixels, screen, frames.decoder.pointer());
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        Ok(writer.finish()?)
    })?;
    Ok(format!("{width}×{height} at {}", clock(at)))
}

fn video(
    app: &App,
    recording: &mut OpenRecording,
    keys: &KeySource,
    to: &Path,
    (from, until): (u64, u64),
    fps: u32,
) -> Result<String> {
    let (width, height) = largest_screen(app, recording, keys, from, until)?;
    let comment = provenance(recording, from, until);
    let mut ffmpeg = Ffmpeg::start(to, width, height, fps, &comment)?;
    let mut frames = Frames::at(recording, keys, from)?;
    let count = ((until - from) * u64::from(fps)).div_ceil(1_000_000).max(1);
    let bar = app.ui.steps_bar("exporting", count);
    let mut canvas = vec![0; usize::from(width) * usize::from(height) * 4];
    for frame in 0..count {
        let changed = frames.advance(from + frame * 1_000_000 / u64::from(fps))?;
        if changed || frame == 0 {
            compose(
                &mut canvas,
                width,
                frames.decoder.screen(),
                frames.decoder.pointer(),
            );
        }
        ffmpeg.frame(&canvas)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    ffmpeg.finish(to)?;
    Ok(format!(
        "{width}×{height}, {count} frames, {} to {}",
        clock(from),
        clock(until)
    ))
}

/// What a derived file says of itself.
fn provenance(recording: &OpenRecording, from: u64, until: u64) -> String {
    let manifest = &recording.manifest.manifest;
    format!(
        "Derived from Lucid recording {}, {} to {}, Merkle root {}. A picture proves nothing: verify the recording.",
        manifest.session,
        clock(from),
        clock(until),
        manifest.root
    )
}

/// Steps through a recording's pictures.
struct Frames<'a> {
    recording: &'a mut OpenRecording,
    keys: &'a KeySource,
    decoder: Decoder,
    next: usize,
    /// Records of the chunk being played, those still to come first.
    waiting: std::collections::VecDeque<(u64, Stream, Vec<u8>)>,
}

impl<'a> Frames<'a> {
    /// Ready to step from `at`: the chunk with the last picture before it is where decoding begins.
    fn at(recording: &'a mut OpenRecording, keys: &'a KeySource, at: u64) -> Result<Self> {
        let chunks = &recording.index.chunks;
        let here = chunks
            .partition_point(|c| c.start_us <= at)
            .saturating_sub(1);
        let pictured = |nth: &usize| chunks.get(*nth).is_some_and(|c| c.keyframe);
        let mut first = (0..=here).rev().find(pictured).unwrap_or(0);
        let earlier = (0..first).rev().find(pictured);
        let mut decoder = Decoder::new();
        let mut waiting = Vec::new();
        if !chunks.is_empty() {
            waiting = records(recording, keys, first)?;
        }
        let anchor = waiting
            .iter()
            .find(|r| matches!(r.1, Stream::Keyframe | Stream::Resize))
            .filter(|r| r.0 > at);
        match (anchor, earlier) {
            // A keyframe is the screen before the first change: it holds for the time before it too.
            (Some((_, Stream::Keyframe, payload)), _) => {
                decoder.apply(Stream::Keyframe, payload)?;
            }
            // Until the screen gets its new size, the one of an earlier chunk is on.
            (Some(_), Some(earlier)) => {
                first = earlier;
                waiting = records(recording, keys, first)?;
            }
            _ => {}
        }
        Ok(Self {
            recording,
            keys,
            decoder,
            next: first + 1,
            waiting: waiting.into(),
        })
    }

    /// Plays everything up to `at`; whether anything was drawn or the pointer moved.
    fn advance(&mut self, at: u64) -> Result<bool> {
        let mut changed = false;
        loop {
            while self.waiting.front().is_some_and(|(time, ..)| *time <= at) {
                let Some((time, stream, payload)) = self.waiting.pop_front() else {
                    break;
                };
                let change = self
                    .decoder
                    .apply(stream, &payload)
                    .with_context(|| format!("at {}", clock(time)))?;
                changed |= change != lucid_player::Change::default();
            }
            if !self.waiting.is_empty()
                || self
                    .recording
                    .index
                    .chunks
                    .get(self.next)
                    .is_none_or(|c| c.start_us > at)
            {
                return Ok(changed);
            }
            self.waiting = records(self.recording, self.keys, self.next)?.into();
            self.next += 1;
        }
    }
}

fn records(
    recording: &mut OpenRecording,
    keys: &KeySource,
    nth: usize,
) -> Result<Vec<(u64, Stream, Vec<u8>)>> {
    let bytes = recording.chunk(nth)?;
    let view = ChunkView::parse(&bytes, true)?;
    let index = view.header.index;
    let no_key = || FormatError::NoKey {
        why: format!("the key does not reach chunk {index}"),
    };
    let plaintext = view.open(&keys.chunk_key(index).ok_or_else(no_key)?)?;
    view.records(&plaintext)
        .map(|r| Ok(r.map(|r| (r.time_us, r.stream, r.payload.to_vec()))?))
        .collect()
}

/// The largest screen of a range, even in both directions as video wants it: later frames cannot grow a video.
fn largest_screen(
    app: &App,
    recording: &mut OpenRecording,
    keys: &KeySource,
    from: u64,
    until: u64,
) -> Result<(u16, u16)> {
    let chunks: Vec<usize> = (0..recording.index.chunks.len())
        .filter(|nth| recording.index.chunks[*nth].start_us <= until)
        .collect();
    let first = chunks.iter().rev().copied().find(|n| {
        recording.index.chunks[*n].start_us <= from && recording.index.chunks[*n].keyframe
    });
    let bar = app.ui.steps_bar("measuring", chunks.len() as u64);
    let (mut width, mut height) = (0, 0);
    for nth in chunks.into_iter().skip_while(|n| Some(*n) < first) {
        for (_, stream, payload) in records(recording, keys, nth)? {
            if let (Stream::Resize | Stream::Keyframe, Some([w0, w1, h0, h1])) =
                (stream, payload.first_chunk::<4>())
            {
                width = width.max(u16::from_le_bytes([*w0, *w1]));
                height = height.max(u16::from_le_bytes([*h0, *h1]));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if width == 0 || height == 0 {
        return Err(exit(USAGE, "nothing was drawn in that range"));
    }
    Ok((width.next_multiple_of(2), height.next_multiple_of(2)))
}

/// Draws the screen and the pointer into the top left of a canvas that is at least as large.
fn compose(canvas: &mut [u8], canvas_width: u16, screen: &Screen, pointer: Option<(u16, u16)>) {
    let stride = usize::from(canvas_width) * 4;
    canvas.fill(0);
    let row = usize::from(screen.width()) * 4;
    if row == 0 {
        return;
    }
    let mut pixels = screen.pixels().to_vec();
    draw_pointer(&mut pixels, screen, pointer);
    for (line, source) in canvas
        .chunks_exact_mut(stride)
        .zip(pixels.chunks_exact(row))
    {
        line[..row].copy_from_slice(source);
    }
}

/// An arrow: `#` black, `.` white.
const ARROW: [&str; 17] = [
    "#           ",
    "##          ",
    "#.#         ",
    "#..#        ",
    "#...#       ",
    "#....#      ",
    "#.....#     ",
    "#......#    ",
    "#.......#   ",
    "#........#  ",
    "#.........# ",
    "#......#####",
    "#...#..#    ",
    "#..##...#   ",
    "#.#  #..#   ",
    "##   #...#  ",
    "#     ###   ",
];

fn draw_pointer(pixels: &mut [u8], screen: &Screen, pointer: Option<(u16, u16)>) {
    let Some((x, y)) = pointer else { return };
    let (width, x, y) = (usize::from(screen.width()), usize::from(x), usize::from(y));
    for (dy, line) in ARROW.iter().enumerate() {
        for (dx, dot) in line
            .bytes()
            .enumerate()
            .filter(|(dx, dot)| *dot != b' ' && x + dx < width)
        {
            let at = ((y + dy) * width + x + dx) * 4;
            let shade = if dot == b'#' { 0 } else { 255 };
            if let Some(pixel) = pixels.get_mut(at..at + 3) {
                pixel.fill(shade);
            }
        }
    }
}

struct Ffmpeg {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
}

impl Ffmpeg {
    fn start(to: &Path, width: u16, height: u16, fps: u32, comment: &str) -> Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-nostdin",
            "-y",
            "-f",
            "rawvideo",
            "-pixel_format",
            "rgba",
        ]);
        command.args([
            "-video_size",
            &format!("{width}x{height}"),
            "-framerate",
            &fps.to_string(),
            "-i",
            "pipe:0",
        ]);
        command.args([
            "-pix_fmt",
            "yuv420p",
            "-metadata",
            "title=Derived from a Lucid recording",
        ]);
        command.args(["-metadata", &format!("comment={comment}")]);
        if to.extension().is_some_and(|e| e != "webm") {
            command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "23"]);
        }
        if to.extension().is_some_and(|e| e == "mp4") {
            command.args(["-movflags", "+faststart"]);
        }
        command
            .arg("--")
            .arg(to)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                exit(PROGRAM, "ffmpeg is not installed: install it ('apt-get install ffmpeg'), or export a .png, which needs none")
            }
            _ => exit(PROGRAM, format!("ffmpeg cannot be started: {e}")),
        })?;
        let input = child.stdin.take().map(BufWriter::new);
        Ok(Self { child, input })
    }

    fn frame(&mut self, pixels: &[u8]) -> Result<()> {
        match self.input.as_mut().map(|input| input.write_all(pixels)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn finish(mut self, to: &Path) -> Result<()> {
        let flushed = self.input.take().map(|mut input| input.flush());
        let status = self
            .child
            .wait()
            .with_context(|| format!("waiting for ffmpeg to write {}", to.display()))?;
        if status.success() && matches!(flushed, Some(Ok(()))) {
            Ok(())
        } else {
            Err(self.failure())
        }
    }

    /// What ffmpeg said; it has little to say, so reading it all is bounded.
    fn failure(&mut self) -> anyhow::Error {
        self.input = None;
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.as_mut() {
            // Its words are a help, not the fault.
            let _ =
                std::io::Read::read_to_string(&mut std::io::Read::take(stderr, 4096), &mut said);
        }
        exit(PROGRAM, format!("ffmpeg failed: {}", said.trim()))
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.input = None;
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Only reached when exporting stopped half-way: nothing is to be waited for.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

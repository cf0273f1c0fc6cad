use std::collections::BTreeMap;
use std::ops::Range;

use lucid_format::{Marker, Records, Stream};

use crate::{
    Change, Decoder, PlayerError, Screen,
    clipboard::decode_clipboard,
    decoder::is_graphics,
    input::{self, Button, InputEvent},
    keyboard::{Keyboard, Typed},
};

/// Plaintext kept for going back, in bytes; the chunks in use are kept whatever their size.
const CACHE: usize = 48 << 20;

/// How long before the instant that was sought events are told again, in µs: what the overlay would still show.
const RECALL_US: u64 = 6_000_000;

/// What the recording's index says of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSpan {
    /// First instant, µs since the session began.
    pub start_us: u64,
    /// Last instant, µs since the session began.
    pub end_us: u64,
    /// It holds a keyframe. One that does not changes no pixels, unless no chunk before it holds one.
    pub keyframe: bool,
}

/// Something for the overlay to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, µs since the session began.
    pub time_us: u64,
    /// What.
    pub kind: EventKind,
}

/// What the overlay shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A key.
    Typed(Typed),
    /// A mouse button went down.
    Click {
        /// Which.
        button: Button,
        /// Pixels from the left.
        x: u16,
        /// Pixels from the top.
        y: u16,
    },
    /// Clipboard content passed.
    Clipboard {
        /// `true` from the client to the desktop.
        to_desktop: bool,
        /// The text, or what it is instead.
        text: String,
    },
    /// The recorder said something.
    Marker(Marker),
}

/// How far [`Player::advance`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What changed on the way.
    pub change: Change,
    /// The chunk to load before it can go on, if it stopped early.
    pub needs: Option<usize>,
}

/// One record of a loaded chunk.
#[derive(Debug, Clone)]
struct Entry {
    time_us: u64,
    stream: Stream,
    payload: Range<usize>,
}

/// What is played next.
#[derive(Debug, Clone, Copy)]
struct Needle {
    chunk: usize,
    /// The record that comes next.
    next: usize,
    /// Records before this one do not paint: the keyframe that was loaded has their outcome.
    paint_from: usize,
}

#[derive(Debug)]
struct Loaded {
    plaintext: Vec<u8>,
    records: Vec<Entry>,
    /// Position of the first record that sets a whole screen: a resize or a keyframe.
    anchor: Option<usize>,
    used: u64,
}

impl Loaded {
    fn payload(&self, entry: &Entry) -> &[u8] {
        &self.plaintext[entry.payload.clone()]
    }
}

/// Plays the decrypted records of a recording's chunks, and seeks in them.
///
/// It reads nothing itself: [`seek`](Self::seek) and [`advance`](Self::advance) name the chunk they need, and the caller
/// [`load`](Self::load)s it and asks again. A seek needs at most the chunk it leads into and the latest one with a keyframe.
#[derive(Debug, Default)]
pub struct Player {
    spans: Vec<ChunkSpan>,
    loaded: BTreeMap<usize, Loaded>,
    clock: u64,
    decoder: Decoder,
    keyboard: Keyboard,
    events: Vec<Event>,
    /// Where the needle is; `None` before the first seek.
    at: Option<Needle>,
    now_us: u64,
}

impl Player {
    /// A player of a recording with these chunks, in order.
    ///
    /// # Errors
    /// When their times are not in order.
    pub fn new(spans: Vec<ChunkSpan>) -> Result<Self, PlayerError> {
        let ordered = spans.iter().all(|s| s.start_us <= s.end_us)
            && spans.windows(2).all(|w| w[0].end_us <= w[1].start_us);
        if !ordered {
            return Err(PlayerError::malformed(
                "the recording's index",
                "its chunks are not in order of time",
            ));
        }
        Ok(Self {
            spans,
            ..Self::default()
        })
    }

    /// Time of the last record, µs since the session began.
    pub fn duration_us(&self) -> u64 {
        self.spans.last().map_or(0, |s| s.end_us)
    }

    /// The instant that is shown, µs since the session began.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The picture.
    pub fn screen(&self) -> &Screen {
        self.decoder.screen()
    }

    /// Where the mouse pointer is, in pixels.
    pub fn pointer(&self) -> Option<(u16, u16)> {
        self.decoder.pointer()
    }

    /// Takes what happened since the last call (after a seek: in the seconds before it), oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether chunk `index` need not be loaded.
    pub fn is_loaded(&self, index: usize) -> bool {
        self.loaded.contains_key(&index)
    }

    /// The chunk that is on at `time_us`.
    pub fn chunk_at(&self, time_us: u64) -> usize {
        self.spans
            .partition_point(|s| s.start_us <= time_us)
            .saturating_sub(1)
    }

    /// Takes the plaintext of chunk `index`.
    ///
    /// # Errors
    /// When its records are malformed, or it changes the screen without the keyframe it would need to be found.
    pub fn load(&mut self, index: usize, plaintext: Vec<u8>) -> Result<(), PlayerError> {
        let span = self
            .spans
            .get(index)
            .ok_or(PlayerError::NeedsChunk { chunk: index })?;
        let mut records = Vec::new();
        let mut at = 0;
        for record in Records::new(&plaintext, span.start_us, span.end_us.max(span.start_us)) {
            let record = record.map_err(|e| PlayerError::malformed("a chunk", e))?;
            let end = at + record.encoded_len();
            records.push(Entry {
                time_us: record.time_us,
                stream: record.stream,
                payload: end - record.payload.len()..end,
            });
            at = end;
        }
        let anchor = records
            .iter()
            .position(|r| matches!(r.stream, Stream::Keyframe | Stream::Resize));
        let mut chunk = Loaded {
            plaintext,
            records,
            anchor,
            used: 0,
        };
        if !span.keyframe && self.spans[..index].iter().any(|s| s.keyframe) {
            let paints =
                |e: &Entry| e.stream == Stream::Resize || is_graphics(e.stream, chunk.payload(e));
            if chunk.records.iter().any(paints) {
                let reason = format!("chunk {index} changes the screen and has no keyframe");
                return Err(PlayerError::malformed("the recording", reason));
            }
        }
        self.clock += 1;
        chunk.used = self.clock;
        self.loaded.insert(index, chunk);
        self.evict(index);
        Ok(())
    }

    /// Forgets the chunks that were not used for longest.
    fn evict(&mut self, keep: usize) {
        let playing = self.at.map(|a| a.chunk);
        loop {
            let total: usize = self.loaded.values().map(|c| c.plaintext.len()).sum();
            // The last few stay whatever their size: a seek may need two and the next one is loaded ahead.
            if total <= CACHE || self.loaded.len() <= 4 {
                return;
            }
            let spare = self
                .loaded
                .iter()
                .filter(|(i, _)| **i != keep && Some(**i) != playing);
            let Some(oldest) = spare.min_by_key(|(_, c)| c.used).map(|(i, _)| *i) else {
                return;
            };
            self.loaded.remove(&oldest);
        }
    }

    /// Shows the instant `time_us`, or the last one if that lies after the end.
    ///
    /// # Errors
    /// [`PlayerError::NeedsChunk`]: load it and seek again. Anything else: the recording cannot be shown.
    pub fn seek(&mut self, time_us: u64) -> Result<Change, PlayerError> {
        let time_us = time_us.min(self.duration_us());
        let target = self.chunk_at(time_us);
        let plan = self.plan(target, time_us)?;
        self.clock += 1;
        for (index, _) in &plan {
            if let Some(chunk) = self.loaded.get_mut(index) {
                chunk.used = self.clock;
            }
        }

        // From scratch: an earlier state, whatever it was, has no part in what is shown.
        self.decoder = Decoder::new();
        self.keyboard = Keyboard::default();
        self.events.clear();
        self.at = None;
        self.now_us = time_us;
        for (chunk, paint_from) in plan {
            let until = if chunk == target { time_us } else { u64::MAX };
            let needle = Needle {
                chunk,
                next: 0,
                paint_from,
            };
            self.early_keyframe(needle, until)?;
            self.play(needle, until, time_us.saturating_sub(RECALL_US))?;
        }
        let bounds = self.decoder.screen().bounds();
        Ok(Change {
            painted: bounds,
            resized: true,
            pointer: true,
        })
    }

    /// The chunks to play, each from its first record that counts for the picture, to show `time_us` in chunk `target`.
    fn plan(&self, target: usize, time_us: u64) -> Result<Vec<(usize, usize)>, PlayerError> {
        let chunk = self.get(target)?;
        if let Some(at) = chunk.anchor {
            let anchor = &chunk.records[at];
            // A keyframe is the screen before the first change: it holds for the time before it too.
            if anchor.stream == Stream::Keyframe || anchor.time_us <= time_us {
                return Ok(vec![(target, at)]);
            }
        }
        match self.spans[..target].iter().rposition(|s| s.keyframe) {
            Some(base) => {
                let at = self.get(base)?.anchor.unwrap_or(0);
                Ok(vec![(base, at), (target, 0)])
            }
            None => (0..=target).map(|i| self.get(i).map(|_| (i, 0))).collect(),
        }
    }

    fn get(&self, chunk: usize) -> Result<&Loaded, PlayerError> {
        self.loaded
            .get(&chunk)
            .ok_or(PlayerError::NeedsChunk { chunk })
    }

    /// Plays on until `time_us`.
    ///
    /// # Errors
    /// When the recording cannot be shown, or there was no seek yet.
    pub fn advance(&mut self, time_us: u64) -> Result<Progress, PlayerError> {
        let Some(mut needle) = self.at else {
            return Err(PlayerError::NeedsChunk { chunk: 0 });
        };
        let mut change = Change::NOTHING;
        loop {
            change.merge(self.play(needle, time_us, 0)?);
            let chunk = needle.chunk;
            let done = self.at.is_some_and(|at| {
                at.next == self.loaded.get(&chunk).map_or(0, |c| c.records.len())
            });
            match self.spans.get(chunk + 1) {
                Some(following) if done && following.start_us <= time_us => {
                    self.clock += 1;
                    let Some(following) = self.loaded.get_mut(&(chunk + 1)) else {
                        self.now_us = self.now_us.max(self.spans[chunk].end_us);
                        return Ok(Progress {
                            change,
                            needs: Some(chunk + 1),
                        });
                    };
                    following.used = self.clock;
                    needle = Needle {
                        chunk: chunk + 1,
                        next: 0,
                        paint_from: 0,
                    };
                }
                _ => {
                    self.now_us = self.now_us.max(time_us.min(self.duration_us()));
                    return Ok(Progress {
                        change,
                        needs: None,
                    });
                }
            }
        }
    }

    /// Loads the keyframe a chunk begins to paint with although its time has not come: the screen is the same before it.
    fn early_keyframe(&mut self, needle: Needle, until_us: u64) -> Result<(), PlayerError> {
        let chunk = self
            .loaded
            .get(&needle.chunk)
            .ok_or(PlayerError::NeedsChunk {
                chunk: needle.chunk,
            })?;
        if let Some(entry) = chunk.records.get(needle.paint_from)
            && entry.stream == Stream::Keyframe
            && entry.time_us > until_us
        {
            self.decoder.apply(entry.stream, chunk.payload(entry))?;
        }
        Ok(())
    }

    /// Applies the records from `needle` until `until_us` and moves the needle. Events before `events_us` are not told.
    fn play(
        &mut self,
        mut needle: Needle,
        until_us: u64,
        events_us: u64,
    ) -> Result<Change, PlayerError> {
        let chunk = self
            .loaded
            .get(&needle.chunk)
            .ok_or(PlayerError::NeedsChunk {
                chunk: needle.chunk,
            })?;
        let mut change = Change::NOTHING;
        while let Some(entry) = chunk
            .records
            .get(needle.next)
            .filter(|e| e.time_us <= until_us)
        {
            let payload = chunk.payload(entry);
            let time_us = entry.time_us;
            let mut tell = |kind| {
                if time_us >= events_us {
                    self.events.push(Event { time_us, kind });
                }
            };
            match entry.stream {
                Stream::Input => {
                    let events = input::decode(payload).unwrap_or_default();
                    change.merge(self.decoder.input(&events));
                    for event in &events {
                        if let Some(typed) = self.keyboard.feed(event) {
                            tell(EventKind::Typed(typed));
                        }
                        if let InputEvent::Button {
                            button,
                            down: true,
                            x,
                            y,
                        } = *event
                        {
                            tell(EventKind::Click { button, x, y });
                        }
                    }
                }
                Stream::Clipboard => {
                    if let Some(event) = decode_clipboard(payload)? {
                        tell(EventKind::Clipboard {
                            to_desktop: event.to_desktop,
                            text: event.text,
                        });
                    }
                }
                Stream::Marker => {
                    let marker = Marker::decode(payload)
                        .map_err(|e| PlayerError::malformed("a marker", e))?;
                    tell(EventKind::Marker(marker));
                }
                Stream::PduOut | Stream::Resize | Stream::Keyframe
                    if needle.next >= needle.paint_from =>
                {
                    change.merge(self.decoder.apply(entry.stream, payload)?);
                }
                _ => {}
            }
            needle.next += 1;
        }
        self.at = Some(needle);
        Ok(change)
    }
}

/// How much happened in each second of a chunk, for a heat map: records that carry input, graphics or clipboard content.
///
/// # Errors
/// When the records are malformed.
pub fn activity(plaintext: &[u8], span: ChunkSpan) -> Result<Vec<u32>, PlayerError> {
    let seconds = usize::try_from((span.end_us - span.start_us) / 1_000_000)
        .unwrap_or(0)
        .min(MAX_SECONDS)
        + 1;
    let mut counts = vec![0u32; seconds];
    for record in Records::new(plaintext, span.start_us, span.end_us) {
        let record = record.map_err(|e| PlayerError::malformed("a chunk", e))?;
        if matches!(
            record.stream,
            Stream::Input | Stream::Clipboard | Stream::Resize
        ) || is_graphics(record.stream, record.payload)
        {
            let second = usize::try_from((record.time_us - span.start_us) / 1_000_000).unwrap_or(0);
            if let Some(count) = counts.get_mut(second) {
                *count = count.saturating_add(1);
            }
        }
    }
    Ok(counts)
}

/// Longest chunk that is counted second by second; chunks last ten.
const MAX_SECONDS: usize = 3600;

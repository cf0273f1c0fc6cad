//! Turns what happens in a session into sealed chunks on disk (requirements S2 to S6).
//!
//! Time comes in from outside as µs since the session began, so tests drive it and nothing here reads a clock but the wall
//! clock that its owner passes.

use lucid_format::{
    CHUNK_SPAN_US, ChunkPlace, ChunkWriter, KeySource, Keypair, MAX_CHUNK_PLAINTEXT, Manifest,
    Marker, Record, SessionSeed, SignedManifest, Stream,
};
use lucid_player::Decoder;
use lucid_store::{OpenSession, StoreError};

use crate::{RecorderError, anchoring::Covered};

/// What was written may be lost to a power cut for this long, in µs, plus what the disk needs to sync.
const SYNC_US: u64 = 1_000_000;
/// Plaintext that waits for a segment at most.
const SEGMENT_BYTES: usize = 1 << 20;

/// What a session has come to so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Chunks closed.
    pub chunks: u32,
    /// Bytes of closed chunks.
    pub bytes: u64,
    /// Time of the last record, µs since the session began.
    pub last_us: u64,
    /// Records so far.
    pub records: u64,
}

/// Writes one session.
pub struct SessionWriter {
    store: OpenSession,
    session_key: Keypair,
    keys: KeySource,
    decoder: Decoder,
    max_chunk: usize,
    chunk: Option<Current>,
    /// A quota or the disk's reserve said stop: only the proper end may still be written.
    full: bool,
    progress: Progress,
    covered: Option<Covered>,
    last_record_us: u64,
}

struct Current {
    writer: ChunkWriter,
    start_us: u64,
    /// Whether the screen so far can be seen from this chunk alone.
    pictured: bool,
    /// When the oldest record that is not synced yet came.
    unsynced_us: Option<u64>,
}

impl SessionWriter {
    /// Begins to write into `store`, a fresh session. `max_chunk` is the plaintext at which a chunk closes
    /// (`maxChunkSize`).
    pub fn new(
        store: OpenSession,
        session_key: Keypair,
        seed: &SessionSeed,
        max_chunk: usize,
    ) -> Self {
        let keys = seed.keys(store.id());
        Self {
            store,
            session_key,
            keys,
            decoder: Decoder::new(),
            max_chunk: max_chunk.min(MAX_CHUNK_PLAINTEXT),
            chunk: None,
            full: false,
            progress: Progress::default(),
            covered: None,
            last_record_us: 0,
        }
    }

    /// What has been written.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The closed chunks, for a checkpoint on the chain.
    pub(crate) fn covered(&self) -> Option<Covered> {
        self.covered
    }

    /// Records a marker.
    ///
    /// # Errors
    /// See [`record`](Self::record).
    pub fn marker(
        &mut self,
        time_us: u64,
        wall_us: u64,
        marker: Marker,
    ) -> Result<(), RecorderError> {
        self.record(time_us, wall_us, Stream::Marker, &marker.encode()?)
    }

    /// Records one thing that happened. Server frames are decoded as a player would: what cannot be replayed is an error
    /// now, not a black recording later.
    ///
    /// # Errors
    /// [`RecorderError::FailClosed`] when the frame cannot be replayed; the disk's errors. The session must end then.
    pub fn record(
        &mut self,
        time_us: u64,
        wall_us: u64,
        stream: Stream,
        payload: &[u8],
    ) -> Result<(), RecorderError> {
        let time_us = time_us.max(self.progress.last_us);
        let graphics = lucid_player::is_graphics(stream, payload);
        self.make_room(time_us, wall_us, payload.len(), graphics)?;
        if graphics {
            self.picture(time_us, wall_us)?;
        }
        // Before it is written: the recording then plays to its end, where a marker says what came next.
        self.decoder.apply(stream, payload).map_err(|e| {
            RecorderError::FailClosed(format!(
                "the desktop sent something that cannot be replayed ({e}); the session was ended"
            ))
        })?;
        self.push(
            wall_us,
            &Record {
                time_us,
                stream,
                payload,
            },
        )?;
        // A resize clears the screen. With this, a chunk without a keyframe shows what the one before ended on.
        if stream == Stream::Resize {
            if let Some(chunk) = &mut self.chunk {
                chunk.pictured = false;
            }
            self.picture(time_us, wall_us)?;
        }
        Ok(())
    }

    /// Does what is due at `now_us`: a heartbeat when nothing happened for ten seconds, a sync every second, a new chunk
    /// every ten.
    ///
    /// # Errors
    /// The disk's.
    pub fn tick(&mut self, now_us: u64, wall_us: u64) -> Result<(), RecorderError> {
        let now_us = now_us.max(self.progress.last_us);
        let may_close = !self.decoder.mid_update();
        if now_us - self.last_record_us >= CHUNK_SPAN_US {
            if may_close {
                self.close_chunk(now_us, wall_us)?;
            }
            let payload = wall_us.to_le_bytes();
            self.push(
                wall_us,
                &Record {
                    time_us: now_us,
                    stream: Stream::Heartbeat,
                    payload: &payload,
                },
            )?;
        }
        let over = |c: &Current| now_us - c.start_us >= CHUNK_SPAN_US;
        if may_close && self.chunk.as_ref().is_some_and(over) {
            self.close_chunk(now_us, wall_us)?;
        }
        if let Some(chunk) = &mut self.chunk
            && chunk
                .unsynced_us
                .is_some_and(|since| now_us - since >= SYNC_US)
        {
            let bytes = chunk.writer.flush()?;
            chunk.unsynced_us = None;
            self.append(&bytes)?;
            self.store.sync()?;
        }
        Ok(())
    }

    /// When [`tick`](Self::tick) has something to do next, µs since the session began.
    pub fn next_tick_us(&self) -> u64 {
        let heartbeat = self.last_record_us + CHUNK_SPAN_US;
        let Some(chunk) = &self.chunk else {
            return heartbeat;
        };
        let sync = chunk.unsynced_us.map_or(u64::MAX, |since| since + SYNC_US);
        let close = if self.decoder.mid_update() {
            u64::MAX
        } else {
            chunk.start_us + CHUNK_SPAN_US
        };
        heartbeat.min(sync).min(close)
    }

    /// Ends the session: the last chunk, and the manifest signed with the session's key, which is gone afterwards.
    ///
    /// # Errors
    /// The disk's; recovery can seal the session then.
    pub fn finish(
        mut self,
        time_us: u64,
        wall_us: u64,
        reason: &str,
    ) -> Result<Manifest, RecorderError> {
        let reason = cut(reason);
        self.marker(
            time_us,
            wall_us,
            Marker::Ended {
                wall_us,
                reason: reason.clone(),
            },
        )?;
        self.close_chunk(self.progress.last_us, wall_us)?;
        let manifest = self.store.manifest(self.progress.last_us, wall_us, &reason);
        let signed = SignedManifest::sign(&manifest, self.store.head(), &self.session_key)?;
        self.store.seal(&signed)?;
        Ok(manifest)
    }

    /// Closes the current chunk when its ten seconds are over, or when `bytes` more, and a keyframe if one is due, would
    /// take it past its size.
    ///
    /// INVARIANT: never between the fragments of one update. The next chunk would begin with the middle of it and could
    /// not play by itself.
    fn make_room(
        &mut self,
        time_us: u64,
        wall_us: u64,
        bytes: usize,
        graphics: bool,
    ) -> Result<(), RecorderError> {
        let Some(chunk) = self.chunk.as_ref().filter(|_| !self.decoder.mid_update()) else {
            return Ok(());
        };
        // Of four bytes a pixel, a keyframe keeps three at most.
        let keyframe = if graphics && !chunk.pictured {
            self.decoder.screen().pixels().len() / 4 * 3
        } else {
            0
        };
        let full = chunk.writer.packer().plaintext() + bytes + keyframe > self.max_chunk;
        let over = time_us - chunk.start_us >= CHUNK_SPAN_US;
        if full || over {
            self.close_chunk(time_us, wall_us)
        } else {
            Ok(())
        }
    }

    /// Writes the screen as it is before the first graphics of a chunk, so that every chunk with graphics plays by itself
    /// and every chunk without shows what the last one with them ended on.
    fn picture(&mut self, time_us: u64, wall_us: u64) -> Result<(), RecorderError> {
        let pictured = self.chunk.as_ref().is_some_and(|c| c.pictured);
        if pictured || self.decoder.screen().pixels().is_empty() || self.decoder.mid_update() {
            return Ok(());
        }
        let fault = |e: lucid_player::PlayerError| {
            RecorderError::FailClosed(format!("the screen cannot be kept: {e}"))
        };
        let payload = self.decoder.keyframe().map_err(fault)?;
        self.push(
            wall_us,
            &Record {
                time_us,
                stream: Stream::Keyframe,
                payload: &payload,
            },
        )?;
        if let Some(chunk) = &mut self.chunk {
            chunk.pictured = true;
        }
        Ok(())
    }

    fn push(&mut self, wall_us: u64, record: &Record<'_>) -> Result<(), RecorderError> {
        if self.chunk.is_none() {
            self.chunk = Some(self.open_chunk(record.time_us, wall_us)?);
        }
        let Some(chunk) = &mut self.chunk else {
            return Ok(());
        };
        chunk.writer.push(record)?;
        chunk.unsynced_us.get_or_insert(record.time_us);
        self.progress.last_us = record.time_us;
        self.last_record_us = record.time_us;
        self.progress.records += 1;
        if chunk.writer.packer().pending() >= SEGMENT_BYTES {
            let bytes = chunk.writer.flush()?;
            self.append(&bytes)?;
        }
        Ok(())
    }

    fn open_chunk(&self, start_us: u64, start_wall_us: u64) -> Result<Current, RecorderError> {
        let index = self.store.chunks();
        let out_of_keys =
            || RecorderError::FailClosed("the session has used up all of its chunk keys".into());
        let key = self.keys.chunk_key(index).ok_or_else(out_of_keys)?;
        let place = ChunkPlace {
            session: self.store.id(),
            index,
            prev: self.store.last(),
            start_us,
            start_wall_us,
        };
        let writer = ChunkWriter::new(place, &key, &mut crate::rng())?;
        Ok(Current {
            writer,
            start_us,
            pictured: false,
            unsynced_us: None,
        })
    }

    fn close_chunk(&mut self, end_us: u64, wall_us: u64) -> Result<(), RecorderError> {
        let Some(chunk) = self.chunk.take() else {
            return Ok(());
        };
        let (bytes, sealed) = chunk.writer.finish(end_us)?;
        let full = self.append(&bytes);
        let checkpoint = self.store.checkpoint(&sealed, wall_us)?;
        self.store
            .close_chunk(&sealed, &checkpoint.sign(&self.session_key)?)?;
        self.covered = Some(Covered {
            chunks: checkpoint.chunks,
            root: checkpoint.root,
        });
        self.progress.chunks = self.store.chunks();
        self.progress.bytes = self.store.chunk_bytes();
        self.progress.last_us = self.progress.last_us.max(sealed.trailer.end_us);
        full
    }

    /// Appends to the chunk's file. Bytes that a limit refuses are written all the same, once: they are sealed already, and
    /// the session must end in order.
    fn append(&mut self, bytes: &[u8]) -> Result<(), RecorderError> {
        if self.full {
            return Ok(self.store.append_past_limits(bytes)?);
        }
        match self.store.append(bytes) {
            Err(error @ StoreError::Full { .. }) => {
                self.full = true;
                self.store.append_past_limits(bytes)?;
                Err(error.into())
            }
            other => Ok(other?),
        }
    }
}

/// A reason that fits a manifest.
pub(crate) fn cut(reason: &str) -> String {
    const LONGEST: usize = 240;
    let end = (0..=reason.len().min(LONGEST))
        .rev()
        .find(|at| reason.is_char_boundary(*at))
        .unwrap_or(0);
    reason[..end].to_owned()
}

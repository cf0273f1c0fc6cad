//! Records: what happened, when, as a chunk's plaintext holds it.
//!
//! ```text
//! time_us u64 LE | stream u8 | length u32 LE | payload
//! ```
//!
//! `time_us` counts from the start of the session on a monotonic clock and never decreases.

use crate::FormatError;

/// Bytes before a record's payload.
pub const RECORD_HEADER: usize = 13;

/// Largest payload of one record: a keyframe of the largest screen Lucid accepts still fits a chunk.
pub const MAX_PAYLOAD: usize = crate::MAX_CHUNK_PLAINTEXT - RECORD_HEADER;

/// What a record's payload is (requirement S2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// A frame from the client to the desktop, as it passed.
    PduIn = 1,
    /// A frame from the desktop to the client, as it passed.
    PduOut = 2,
    /// A frame from the client that carries keyboard or mouse input, as it passed.
    Input = 3,
    /// A clipboard PDU that was let through: one byte direction (0 client to desktop, 1 desktop to client), then the
    /// reassembled CLIPRDR PDU.
    Clipboard = 4,
    /// The desktop's new size: width u16 LE, height u16 LE, in pixels.
    Resize = 5,
    /// The whole screen at this instant, in the encoding of `lucid-player`.
    Keyframe = 6,
    /// Something the recorder has to say: a [`Marker`](crate::Marker).
    Marker = 7,
    /// Nothing happened, and the recorder was there: wall clock, µs since the Unix epoch, u64 LE.
    Heartbeat = 8,
}

impl Stream {
    /// Every stream, in the order of its number.
    pub const ALL: [Stream; 8] = [
        Stream::PduIn,
        Stream::PduOut,
        Stream::Input,
        Stream::Clipboard,
        Stream::Resize,
        Stream::Keyframe,
        Stream::Marker,
        Stream::Heartbeat,
    ];

    /// The stream with this number, if there is one.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.number() == number)
    }

    /// The number that stands in the bytes.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Microseconds since the session began.
    pub time_us: u64,
    /// What the payload is.
    pub stream: Stream,
    /// The bytes.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes this record takes in a chunk's plaintext.
    pub fn encoded_len(&self) -> usize {
        RECORD_HEADER + self.payload.len()
    }

    /// Appends the record's bytes to `out`.
    ///
    /// # Errors
    /// When the payload is longer than [`MAX_PAYLOAD`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let too_large = FormatError::WriterBound {
            what: "a record's payload",
            bound: MAX_PAYLOAD as u64,
        };
        if self.payload.len() > MAX_PAYLOAD {
            return Err(too_large);
        }
        let len = u32::try_from(self.payload.len()).map_err(|_| too_large)?;
        out.extend_from_slice(&self.time_us.to_le_bytes());
        out.push(self.stream.number());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

/// Walks the records of a chunk's plaintext; stops for good at the first fault.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    last_us: u64,
    end_us: u64,
}

impl<'a> Records<'a> {
    /// Reads `plaintext`, whose records must lie within `start_us..=end_us`.
    pub fn new(plaintext: &'a [u8], start_us: u64, end_us: u64) -> Self {
        Self {
            rest: plaintext,
            last_us: start_us,
            end_us,
        }
    }

    fn read(&mut self) -> Result<Record<'a>, FormatError> {
        let truncated = |need: usize| FormatError::Truncated {
            what: "a record",
            need: need as u64,
            have: self.rest.len() as u64,
        };
        let (head, rest) = self
            .rest
            .split_first_chunk::<RECORD_HEADER>()
            .ok_or_else(|| truncated(RECORD_HEADER))?;
        let [t0, t1, t2, t3, t4, t5, t6, t7, stream, l0, l1, l2, l3] = *head;
        let time_us = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let stream = Stream::from_u8(stream).ok_or_else(|| {
            FormatError::malformed("a record", format!("stream {stream} is unknown"))
        })?;
        if rest.len() < len {
            return Err(truncated(RECORD_HEADER + len));
        }
        if time_us < self.last_us || time_us > self.end_us {
            return Err(FormatError::malformed(
                "a record",
                format!(
                    "its time {time_us} µs is outside {}..={} µs",
                    self.last_us, self.end_us
                ),
            ));
        }
        let (payload, rest) = rest.split_at(len);
        self.rest = rest;
        self.last_us = time_us;
        Ok(Record {
            time_us,
            stream,
            payload,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

//! Chunks: the unit of seeking, proof and disclosure (requirements S3, S4).
//!
//! ```text
//! chunk   = header (126 bytes) ‖ segment*
//! segment = length u32 LE ‖ kind u8 ‖ check [8] ‖ [trailer (17 bytes) when final] ‖ ciphertext ‖ tag [16]
//! kind    = bit 0: zstd (else stored), bit 7: final; any other bit is refused
//! ```
//!
//! `length` counts ciphertext and tag. `check` is the first 8 bytes of the BLAKE3 of everything in the segment but itself:
//! recovery finds the torn tail by it without any key; it protects nothing else. The associated data of a segment is the
//! header, its kind and, when final, the trailer. All zstd segments of a chunk are one zstd frame, flushed at each
//! segment's end; stored segments stand between them as they are.
//!
//! Address of the chunk: BLAKE3 of all its bytes.

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use crate::{
    ChunkKey, FormatError, Hash, MAX_CHUNK_PLAINTEXT, Record, Records, SessionId, Stream, aead,
    decode_exact, encode,
};

/// Bytes of an encoded [`ChunkHeader`].
pub const CHUNK_HEADER_LEN: usize = 126;

/// Upper bound of a whole chunk's bytes: plaintext that does not shrink, and room for the framing of some thirty thousand
/// segments.
pub const MAX_CHUNK_BYTES: usize = MAX_CHUNK_PLAINTEXT + (1 << 20);

const MAGIC: [u8; 4] = *b"LCHK";
const VERSION: u16 = 1;
/// zstd, XChaCha20-Poly1305 STREAM BE32, BLAKE3.
const SUITE: u8 = 1;
const SEGMENT_HEADER: usize = 13;
const TRAILER_LEN: usize = 17;
/// Room before the content of a segment, and of a chunk's first one.
const ROOM: usize = SEGMENT_HEADER;
const FIRST_ROOM: usize = CHUNK_HEADER_LEN + SEGMENT_HEADER;
const KIND_ZSTD: u8 = 1;
const KIND_FINAL: u8 = 0x80;
const FLAG_KEYFRAME: u8 = 1;

/// With long-distance matching, level 1 makes chunks as small as level 3 does, in half the time (docs/sessions/format.md,
/// "Compression"). What is written here is the writer's choice: a reader takes any level.
const ZSTD_LEVEL: i32 = 1;
/// Shortest match over the long distance, in bytes: screens repeat rows, not words.
const ZSTD_LDM_MIN_MATCH: u32 = 128;
/// One position in 2^7 is remembered for the long distance.
const ZSTD_LDM_HASH_RATE_LOG: u32 = 7;
/// Window of 8 MiB, both ways: more context shrinks screens more, and a decoder needs no more memory than this.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Piece that is probed before a segment is compressed.
const PROBE: usize = 16 << 10;

/// Where a chunk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Which session.
    pub session: SessionId,
    /// Position, from 0.
    pub index: u32,
    /// Address of the chunk before; of the first chunk, the head's hash.
    pub prev: Hash,
    /// Time of the chunk's first instant, µs since the session began.
    pub start_us: u64,
    /// Wall clock at that instant, µs since the Unix epoch.
    pub start_wall_us: u64,
}

/// The first bytes of a chunk. All of it is associated data of every segment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkHeader {
    magic: [u8; 4],
    version: u16,
    suite: u8,
    /// Which session.
    pub session: SessionId,
    /// Position, from 0.
    pub index: u32,
    /// Address of the chunk before, or the head's hash.
    pub prev: Hash,
    /// Time of the chunk's first instant, µs since the session began.
    pub start_us: u64,
    /// Wall clock at that instant, µs since the Unix epoch.
    pub start_wall_us: u64,
    /// Random nonce prefix: after a power cut an index may be sealed again under the same key.
    nonce: [u8; aead::NONCE_PREFIX],
    /// Commits to the key: this ciphertext opens one way only.
    commitment: [u8; 32],
}

/// What is known when a chunk closes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Trailer {
    /// Time of the chunk's last instant, µs since the session began.
    pub end_us: u64,
    /// Number of records.
    pub records: u32,
    /// Bytes of all records.
    pub plaintext: u32,
    flags: u8,
}

impl Trailer {
    /// Whether the chunk holds a keyframe, so that it plays by itself.
    pub fn has_keyframe(&self) -> bool {
        self.flags & FLAG_KEYFRAME != 0
    }
}

/// A finished chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedChunk {
    /// Its address: BLAKE3 of its bytes.
    pub hash: Hash,
    /// Its length in bytes.
    pub len: u32,
    /// Where it stands.
    pub place: ChunkPlace,
    /// What it holds.
    pub trailer: Trailer,
}

/// One segment's content before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    kind: u8,
    /// Room for what the sealer writes before the content, then the content: so it need not be copied once more.
    data: Vec<u8>,
    room: usize,
}

impl Packed {
    /// Plaintext as it is.
    pub fn stored(data: Vec<u8>) -> Self {
        Self {
            kind: 0,
            data,
            room: 0,
        }
    }

    /// The next piece of the chunk's zstd frame. Nothing looks at it until the chunk is opened.
    pub fn zstd(data: Vec<u8>) -> Self {
        Self {
            kind: KIND_ZSTD,
            data,
            room: 0,
        }
    }

    /// Bytes of the piece.
    pub fn data(&self) -> &[u8] {
        &self.data[self.room..]
    }
}

/// First half of a [`ChunkWriter`]: records in, compressed segments out. It needs no key, so many can work side by side.
pub struct Packer {
    /// Made when first needed: a chunk of heartbeats or photographs needs none.
    zstd: Option<Encoder<'static>>,
    /// Room for the headers of a segment that is not the last, then its records.
    pending: Vec<u8>,
    room: usize,
    plaintext: usize,
    records: u32,
    last_us: u64,
    keyframe: bool,
}

impl Packer {
    /// Begins a chunk whose first instant is `start_us`.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new(start_us: u64) -> Result<Self, FormatError> {
        Ok(Self {
            zstd: None,
            pending: vec![0; FIRST_ROOM],
            room: FIRST_ROOM,
            plaintext: 0,
            records: 0,
            last_us: start_us,
            keyframe: false,
        })
    }

    /// Adds a record to the segment that is being filled.
    ///
    /// # Errors
    /// When it does not fit the chunk (see [`has_room`](Self::has_room)) or its time is before the last one's.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), FormatError> {
        if !self.has_room(record) {
            return Err(FormatError::WriterBound {
                what: "a chunk's plaintext",
                bound: MAX_CHUNK_PLAINTEXT as u64,
            });
        }
        if record.time_us < self.last_us {
            let why = format!(
                "its time {} µs is before the last one's, {} µs",
                record.time_us, self.last_us
            );
            return Err(FormatError::malformed("a record", why));
        }
        let before = self.pending.len();
        record.encode(&mut self.pending)?;
        self.plaintext += self.pending.len() - before;
        self.records += 1;
        self.last_us = record.time_us;
        self.keyframe |= record.stream == Stream::Keyframe;
        Ok(())
    }

    /// Whether `record` fits the hard bound of a chunk.
    pub fn has_room(&self, record: &Record<'_>) -> bool {
        record.encoded_len() <= MAX_CHUNK_PLAINTEXT - self.plaintext && self.records < u32::MAX
    }

    /// Plaintext bytes so far.
    pub fn plaintext(&self) -> usize {
        self.plaintext
    }

    /// Plaintext bytes that no segment holds yet.
    pub fn pending(&self) -> usize {
        self.pending.len() - self.room
    }

    /// Compresses what is pending into a segment. A segment that a 16 KiB probe says would shrink by less than 7 % is
    /// stored as it is.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn flush(&mut self) -> Result<Packed, FormatError> {
        if shrinks(&self.pending[self.room..]) {
            return self.compress(false);
        }
        Ok(self.store())
    }

    /// Takes what is pending as it is; the next segment's records will need as much memory.
    fn store(&mut self) -> Packed {
        let mut next = Vec::with_capacity(self.pending.capacity());
        next.resize(ROOM, 0);
        Packed {
            kind: 0,
            data: std::mem::replace(&mut self.pending, next),
            room: std::mem::replace(&mut self.room, ROOM),
        }
    }

    /// Compresses the rest and says what the chunk holds.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn finish(mut self, end_us: u64) -> Result<(Vec<Packed>, Trailer), FormatError> {
        let mut segments = Vec::new();
        let (begun, empty) = (self.zstd.is_some(), self.pending() == 0);
        let shrinks = shrinks(&self.pending[self.room..]);
        if !(shrinks || begun && empty) {
            segments.push(self.store());
        }
        if shrinks || begun {
            segments.push(self.compress(true)?);
        }
        let bound = FormatError::WriterBound {
            what: "a chunk's plaintext",
            bound: MAX_CHUNK_PLAINTEXT as u64,
        };
        let trailer = Trailer {
            end_us: end_us.max(self.last_us),
            records: self.records,
            plaintext: u32::try_from(self.plaintext).map_err(|_| bound)?,
            flags: if self.keyframe { FLAG_KEYFRAME } else { 0 },
        };
        Ok((segments, trailer))
    }

    fn compress(&mut self, end: bool) -> Result<Packed, FormatError> {
        let room = self.room + if end { TRAILER_LEN } else { 0 };
        let bound = zstd::zstd_safe::compress_bound(self.pending());
        let mut out = Vec::with_capacity(room + bound + 64);
        out.resize(room, 0);
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(encoder().map_err(zstd_error)?),
        };
        let mut input = InBuffer::around(&self.pending[self.room..]);
        while input.pos() < self.pending.len() - self.room {
            step(&mut out, |buffer| zstd.run(&mut input, buffer))?;
        }
        while step(&mut out, |buffer| {
            if end {
                zstd.finish(buffer, true)
            } else {
                zstd.flush(buffer)
            }
        })? > 0
        {}
        self.room = ROOM;
        self.pending.clear();
        self.pending.resize(ROOM, 0);
        Ok(Packed {
            kind: KIND_ZSTD,
            data: out,
            room,
        })
    }
}

fn encoder() -> std::io::Result<Encoder<'static>> {
    let mut zstd = Encoder::new(ZSTD_LEVEL)?;
    zstd.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
    zstd.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
    zstd.set_parameter(CParameter::LdmMinMatch(ZSTD_LDM_MIN_MATCH))?;
    zstd.set_parameter(CParameter::LdmHashRateLog(ZSTD_LDM_HASH_RATE_LOG))?;
    Ok(zstd)
}

/// Runs one zstd operation that appends to `out`, whose capacity grows as needed.
fn step(
    out: &mut Vec<u8>,
    run: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> std::io::Result<usize>,
) -> Result<usize, FormatError> {
    if out.capacity() - out.len() < 256 {
        out.reserve(64 << 10);
    }
    let filled = out.len();
    let mut buffer = OutBuffer::around_pos(out, filled);
    run(&mut buffer).map_err(zstd_error)
}

/// Whether compressing is worth it: a probe from the middle must shrink by 7 %.
fn shrinks(data: &[u8]) -> bool {
    if data.len() < 2 * PROBE {
        return !data.is_empty();
    }
    let middle = data.len() / 2 - PROBE / 2;
    let probe = &data[middle..middle + PROBE];
    zstd::bulk::compress(probe, 1).is_ok_and(|small| small.len() < PROBE / 100 * 93)
}

fn zstd_error(error: std::io::Error) -> FormatError {
    FormatError::malformed("a zstd frame", error)
}

/// Second half of a [`ChunkWriter`]: compressed segments in, a chunk's bytes out.
pub struct Sealer {
    place: ChunkPlace,
    header: Vec<u8>,
    header_written: bool,
    cipher: aead::StreamCipher,
    hasher: blake3::Hasher,
    len: usize,
}

impl Sealer {
    /// Begins a chunk at `place` under `key`.
    ///
    /// # Errors
    /// Never in practice: encoding to memory.
    pub fn new(
        place: ChunkPlace,
        key: &ChunkKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, FormatError> {
        let mut nonce = [0; aead::NONCE_PREFIX];
        rng.fill_bytes(&mut nonce);
        let mut header = ChunkHeader {
            magic: MAGIC,
            version: VERSION,
            suite: SUITE,
            session: place.session,
            index: place.index,
            prev: place.prev,
            start_us: place.start_us,
            start_wall_us: place.start_wall_us,
            nonce,
            commitment: [0; 32],
        };
        let (key, commitment) = header.expand(key)?;
        header.commitment = commitment;
        let cipher = aead::StreamCipher::new(&key, &nonce)?;
        let header = encode("a chunk header", &header)?;
        Ok(Self {
            place,
            header,
            header_written: false,
            cipher,
            hasher: blake3::Hasher::new(),
            len: 0,
        })
    }

    /// Seals a segment; returns the bytes to append (the first time, with the header).
    ///
    /// # Errors
    /// When the chunk grows past [`MAX_CHUNK_BYTES`].
    pub fn segment(&mut self, packed: Packed) -> Result<Vec<u8>, FormatError> {
        self.seal(packed, None)
    }

    /// Seals the last segment with the trailer.
    ///
    /// # Errors
    /// When the chunk grows past [`MAX_CHUNK_BYTES`].
    pub fn finish(
        mut self,
        last: Packed,
        trailer: Trailer,
    ) -> Result<(Vec<u8>, SealedChunk), FormatError> {
        let bytes = self.seal(last, Some(&trailer))?;
        let bound = FormatError::WriterBound {
            what: "a chunk",
            bound: MAX_CHUNK_BYTES as u64,
        };
        let len = u32::try_from(self.len).map_err(|_| bound)?;
        let hash = Hash(self.hasher.finalize().into());
        Ok((
            bytes,
            SealedChunk {
                hash,
                len,
                place: self.place,
                trailer,
            },
        ))
    }

    fn seal(&mut self, packed: Packed, trailer: Option<&Trailer>) -> Result<Vec<u8>, FormatError> {
        let bound = FormatError::WriterBound {
            what: "a chunk",
            bound: MAX_CHUNK_BYTES as u64,
        };
        let trailer = trailer
            .map(|t| encode("a chunk trailer", t))
            .transpose()?
            .unwrap_or_default();
        let Packed {
            kind,
            data: mut out,
            room,
        } = packed;
        let kind = kind | if trailer.is_empty() { 0 } else { KIND_FINAL };
        let header: &[u8] = if self.header_written {
            &[]
        } else {
            &self.header
        };
        let begin = header.len();
        let from = begin + SEGMENT_HEADER + trailer.len();
        if room != from {
            let mut moved = Vec::with_capacity(from + out.len() - room + aead::TAG);
            moved.resize(from, 0);
            moved.extend_from_slice(&out[room..]);
            out = moved;
        }
        let length = u32::try_from(out.len() - from + aead::TAG).map_err(|_| bound.clone())?;
        out[..begin].copy_from_slice(header);
        out[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
        out[begin + 4] = kind;
        out[begin + SEGMENT_HEADER..from].copy_from_slice(&trailer);
        self.header_written = true;
        self.cipher.seal(
            &associated(&self.header, kind, &trailer),
            &mut out,
            from,
            !trailer.is_empty(),
        )?;
        let check = segment_check(&out[begin..]);
        out[begin + 5..begin + SEGMENT_HEADER].copy_from_slice(&check);

        self.len += out.len();
        if self.len > MAX_CHUNK_BYTES {
            return Err(bound);
        }
        self.hasher.update(&out);
        Ok(out)
    }
}

fn associated(header: &[u8], kind: u8, trailer: &[u8]) -> Vec<u8> {
    [header, &[kind], trailer].concat()
}

/// First 8 bytes of the BLAKE3 of a segment without its check.
fn segment_check(segment: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&segment[..5])
        .update(&segment[SEGMENT_HEADER..]);
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}

/// Writes one chunk while things happen: push records, flush at least once a second, finish after ten.
///
/// Everything it returns is to be appended to the chunk's file in order.
pub struct ChunkWriter {
    packer: Packer,
    sealer: Sealer,
}

impl ChunkWriter {
    /// Begins a chunk.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new(
        place: ChunkPlace,
        key: &ChunkKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, FormatError> {
        Ok(Self {
            packer: Packer::new(place.start_us)?,
            sealer: Sealer::new(place, key, rng)?,
        })
    }

    /// What was pushed so far.
    pub fn packer(&self) -> &Packer {
        &self.packer
    }

    /// Adds a record.
    ///
    /// # Errors
    /// See [`Packer::push`].
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), FormatError> {
        self.packer.push(record)
    }

    /// Seals what is pending into a segment; empty when nothing is.
    ///
    /// # Errors
    /// When a bound is exceeded.
    pub fn flush(&mut self) -> Result<Vec<u8>, FormatError> {
        if self.packer.pending() == 0 {
            return Ok(Vec::new());
        }
        self.sealer.segment(self.packer.flush()?)
    }

    /// Seals the rest; `end_us` is the chunk's last instant.
    ///
    /// # Errors
    /// When a bound is exceeded.
    pub fn finish(mut self, end_us: u64) -> Result<(Vec<u8>, SealedChunk), FormatError> {
        let (mut segments, trailer) = self.packer.finish(end_us)?;
        let last = segments.pop().unwrap_or_else(|| Packed::stored(Vec::new()));
        let mut bytes = Vec::new();
        for segment in segments {
            bytes.append(&mut self.sealer.segment(segment)?);
        }
        let (mut tail, sealed) = self.sealer.finish(last, trailer)?;
        bytes.append(&mut tail);
        Ok((bytes, sealed))
    }
}

impl ChunkHeader {
    /// Reads the header at the start of a chunk.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let truncated = FormatError::Truncated {
            what: "a chunk",
            need: CHUNK_HEADER_LEN as u64,
            have: bytes.len() as u64,
        };
        if !bytes.starts_with(&MAGIC[..bytes.len().min(4)]) {
            return Err(FormatError::NotLucid { what: "a chunk" });
        }
        let header: Self = decode_exact(
            "a chunk header",
            bytes.get(..CHUNK_HEADER_LEN).ok_or(truncated)?,
        )?;
        if header.version != VERSION {
            return Err(FormatError::Version {
                what: "a chunk",
                found: header.version,
                known: VERSION,
            });
        }
        if header.suite != SUITE {
            return Err(FormatError::malformed(
                "a chunk header",
                format!("suite {} is unknown", header.suite),
            ));
        }
        Ok(header)
    }

    fn expand(
        &self,
        key: &ChunkKey,
    ) -> Result<(zeroize::Zeroizing<[u8; 32]>, [u8; 32]), FormatError> {
        let bytes = encode("a chunk header", self)?;
        Ok(key.expand(&bytes[..CHUNK_HEADER_LEN - 32]))
    }
}

/// One segment of a parsed chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    kind: u8,
    trailer: &'a [u8],
    /// Ciphertext and tag.
    pub ciphertext: &'a [u8],
}

/// Reads the segment at the start of `bytes`; `Ok(None)` when it is cut short.
fn read_segment(bytes: &[u8]) -> Result<Option<(Segment<'_>, usize)>, FormatError> {
    let Some(head) = bytes.first_chunk::<SEGMENT_HEADER>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let kind = head[4];
    if length as usize > MAX_CHUNK_BYTES {
        return Err(FormatError::TooLarge {
            what: "a segment",
            value: length.into(),
            bound: MAX_CHUNK_BYTES as u64,
        });
    }
    if kind & !(KIND_ZSTD | KIND_FINAL) != 0 || (length as usize) < aead::TAG {
        return Err(FormatError::malformed(
            "a segment",
            format!("kind {kind:#04x}, length {length}"),
        ));
    }
    let trailer_len = if kind & KIND_FINAL != 0 {
        TRAILER_LEN
    } else {
        0
    };
    let end = SEGMENT_HEADER + trailer_len + length as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let trailer = &bytes[SEGMENT_HEADER..SEGMENT_HEADER + trailer_len];
    Ok(Some((
        Segment {
            kind,
            trailer,
            ciphertext: &bytes[SEGMENT_HEADER + trailer_len..end],
        },
        end,
    )))
}

/// How many bytes at the start of a chunk's file are whole segments, and whether the last of them is final: what
/// recovery keeps. Needs no key. 0 when not even one segment is whole.
pub fn valid_prefix(bytes: &[u8]) -> (usize, bool) {
    if ChunkHeader::decode(bytes).is_err() {
        return (0, false);
    }
    let mut end = CHUNK_HEADER_LEN;
    while let Ok(Some((segment, len))) = read_segment(&bytes[end..]) {
        if segment_check(&bytes[end..end + len]) != bytes[end + 5..end + SEGMENT_HEADER] {
            break;
        }
        let closes = segment.kind & KIND_FINAL != 0;
        if closes && read_trailer(segment.trailer).is_err() {
            // No writer made it: what is before it is kept, and reads.
            break;
        }
        end += len;
        if closes {
            return (end, true);
        }
    }
    if end == CHUNK_HEADER_LEN {
        (0, false)
    } else {
        (end, false)
    }
}

/// A chunk whose framing was read; nothing is decrypted.
#[derive(Debug, Clone)]
pub struct ChunkView<'a> {
    /// The header.
    pub header: ChunkHeader,
    /// The trailer; absent in a chunk that a power cut tore.
    pub trailer: Option<Trailer>,
    segments: Vec<Segment<'a>>,
    header_bytes: &'a [u8],
}

impl<'a> ChunkView<'a> {
    /// Reads the framing of a chunk. A torn chunk (no final segment) is accepted only when `torn_ok`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8], torn_ok: bool) -> Result<Self, FormatError> {
        if bytes.len() > MAX_CHUNK_BYTES {
            return Err(FormatError::TooLarge {
                what: "a chunk",
                value: bytes.len() as u64,
                bound: MAX_CHUNK_BYTES as u64,
            });
        }
        let header = ChunkHeader::decode(bytes)?;
        let (header_bytes, mut rest) = bytes.split_at(CHUNK_HEADER_LEN);
        let (mut segments, mut trailer) = (Vec::new(), None);
        while !rest.is_empty() {
            let (segment, len) = read_segment(rest)?.ok_or(FormatError::Truncated {
                what: "a chunk",
                need: bytes.len() as u64 + 1,
                have: bytes.len() as u64,
            })?;
            rest = &rest[len..];
            segments.push(segment);
            if segment.kind & KIND_FINAL != 0 {
                let found = read_trailer(segment.trailer)?;
                check_trailer(&found, &header)?;
                if !rest.is_empty() {
                    return Err(FormatError::malformed(
                        "a chunk",
                        "bytes follow its final segment",
                    ));
                }
                trailer = Some(found);
            }
        }
        if trailer.is_none() && !torn_ok {
            let have = bytes.len() as u64;
            return Err(FormatError::Truncated {
                what: "a chunk without its final segment",
                need: have + 1,
                have,
            });
        }
        Ok(Self {
            header,
            trailer,
            segments,
            header_bytes,
        })
    }

    /// Decrypts and decompresses the chunk: its plaintext, which [`records`](Self::records) walks.
    ///
    /// # Errors
    /// [`FormatError::WrongKey`] when the key commitment does not match, [`FormatError::Tampered`] when a tag does not
    /// hold, [`FormatError::TooLarge`] when the content is larger than stated.
    pub fn open(&self, key: &ChunkKey) -> Result<Vec<u8>, FormatError> {
        let name = || format!("chunk {}", self.header.index);
        let (key, commitment) = self.header.expand(key)?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(
            &commitment[..],
            &self.header.commitment[..],
        )) {
            return Err(FormatError::WrongKey { what: name() });
        }
        let mut cipher = aead::StreamCipher::new(&key, &self.header.nonce)?;
        let bound = self
            .trailer
            .as_ref()
            .map_or(MAX_CHUNK_PLAINTEXT, |t| t.plaintext as usize);
        let mut unpacker = Unpacker::new(bound)?;
        let mut buffer = Vec::new();
        for segment in &self.segments {
            buffer.clear();
            buffer.extend_from_slice(segment.ciphertext);
            let last = segment.kind & KIND_FINAL != 0;
            let aad = associated(self.header_bytes, segment.kind, segment.trailer);
            let plain = cipher.open(&aad, &mut buffer, last).map_err(|_| {
                FormatError::tampered(name(), "a segment's authentication tag does not hold")
            })?;
            if segment.kind & KIND_ZSTD != 0 {
                unpacker.zstd(plain)?;
            } else {
                unpacker.stored(plain)?;
            }
        }
        unpacker.finish(self.trailer.is_none(), bound)
    }

    /// The records in the plaintext that [`open`](Self::open) gave.
    pub fn records<'p>(&self, plaintext: &'p [u8]) -> Records<'p> {
        Records::new(
            plaintext,
            self.header.start_us,
            self.trailer.as_ref().map_or(u64::MAX, |t| t.end_us),
        )
    }
}

/// Reads the trailer of a final segment, as far as it can be judged without the header.
fn read_trailer(bytes: &[u8]) -> Result<Trailer, FormatError> {
    let trailer: Trailer = decode_exact("a chunk trailer", bytes)?;
    if trailer.plaintext as usize > MAX_CHUNK_PLAINTEXT {
        let value = trailer.plaintext.into();
        return Err(FormatError::TooLarge {
            what: "a chunk's plaintext",
            value,
            bound: MAX_CHUNK_PLAINTEXT as u64,
        });
    }
    Ok(trailer)
}

fn check_trailer(trailer: &Trailer, header: &ChunkHeader) -> Result<(), FormatError> {
    if trailer.flags & !FLAG_KEYFRAME != 0 || trailer.end_us < header.start_us {
        return Err(FormatError::malformed(
            "a chunk trailer",
            "unknown flags, or it ends before it begins",
        ));
    }
    Ok(())
}

/// Puts the segments' content together, never past `bound` bytes.
struct Unpacker {
    zstd: Decoder<'static>,
    begun: bool,
    ended: bool,
    out: Vec<u8>,
    bound: usize,
}

impl Unpacker {
    fn new(bound: usize) -> Result<Self, FormatError> {
        let mut zstd = Decoder::new().map_err(zstd_error)?;
        zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
            .map_err(zstd_error)?;
        Ok(Self {
            zstd,
            begun: false,
            ended: false,
            out: Vec::new(),
            bound,
        })
    }

    fn check_bound(&self, len: usize) -> Result<(), FormatError> {
        if len > self.bound {
            return Err(FormatError::TooLarge {
                what: "a chunk's content",
                value: len as u64,
                bound: self.bound as u64,
            });
        }
        Ok(())
    }

    fn stored(&mut self, data: &[u8]) -> Result<(), FormatError> {
        self.check_bound(self.out.len() + data.len())?;
        self.out.extend_from_slice(data);
        Ok(())
    }

    fn zstd(&mut self, data: &[u8]) -> Result<(), FormatError> {
        self.begun = true;
        let mut input = InBuffer::around(data);
        loop {
            if self.ended {
                // Everything before the end was given out, or the end would not have come.
                return if input.pos() == data.len() && !data.is_empty() {
                    Ok(())
                } else {
                    let why = "a segment or bytes follow its end";
                    Err(FormatError::malformed("a zstd frame", why))
                };
            }
            if self.out.len() == self.out.capacity() {
                // One byte more than may come, so that what comes too much is seen; grown in steps, because `bound` is
                // only a claim until the last segment's tag was checked.
                let missing = self.bound - self.out.len() + 1;
                self.out
                    .reserve_exact(missing.min(self.out.len().max(256 << 10)));
            }
            let filled = self.out.len();
            let mut output = OutBuffer::around_pos(&mut self.out, filled);
            let hint = self.zstd.run(&mut input, &mut output).map_err(zstd_error)?;
            self.ended = hint == 0;
            self.check_bound(self.out.len())?;
            if !self.ended && input.pos() == data.len() && self.out.len() < self.out.capacity() {
                return Ok(());
            }
        }
    }

    fn finish(self, torn: bool, stated: usize) -> Result<Vec<u8>, FormatError> {
        if !torn && self.begun != self.ended {
            return Err(FormatError::malformed("a zstd frame", "its end is missing"));
        }
        if !torn && self.out.len() != stated {
            let why = format!(
                "it holds {} bytes of plaintext and states {stated}",
                self.out.len()
            );
            return Err(FormatError::malformed("a chunk", why));
        }
        Ok(self.out)
    }
}

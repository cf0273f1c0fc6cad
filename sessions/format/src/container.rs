//! The `.lucid` file: one recording, or one disclosed range of it.
//!
//! ```text
//! "LUCIDREC" ‖ version u16 LE ‖ kind u8 ‖ 0 [5]
//! section*   = tag [4] ‖ length u64 LE ‖ bytes
//!   HEAD       the signed head
//!   WRAP       the key wraps              (recording; left out when they were destroyed)
//!   KEYS       the signed inner keys      (disclosure)
//!   PROF       Merkle proof of the range  (disclosure)
//!   CHNK*      the chunks, in order
//!   MANI       the signed manifest
//!   INDX       where all of these are
//! length of INDX u32 LE ‖ "LUCIDEND"
//! ```
//!
//! The index lets a player fetch one chunk of a large file. Nothing in it is believed: hashes must lead to the manifest's
//! root, and times and places are compared with each chunk's own. Sections stand in this order with nothing between them
//! and nothing left out, and the reader compares each tag and length, so no byte of a file is free to change.

use std::io::{Read, Seek, SeekFrom, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    ChunkView, Disclosed, FormatError, Hash, MAX_CHUNK_BYTES, SealedChunk, SignedHead,
    SignedManifest, Wrap, decode_exact, encode, merkle,
};

const MAGIC: [u8; 8] = *b"LUCIDREC";
const END: [u8; 8] = *b"LUCIDEND";
const VERSION: u16 = 1;
const PREAMBLE: u64 = 16;
const FOOTER: u64 = 12;
/// Bytes before a section's content: its tag and its length.
const FRAME: u64 = 12;
/// Largest head, wraps, keys, proof or manifest section.
const MAX_SECTION: u64 = 256 << 10;

/// Largest index that is read: a quarter of a million chunks, a month of silence.
pub const MAX_INDEX_BYTES: usize = 16 << 20;

/// What a `.lucid` file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FileKind {
    /// A whole recording.
    Recording,
    /// A range of one, with its keys.
    Disclosure,
}

/// A piece of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Span {
    /// From the start of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// What the index says of one chunk.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct IndexEntry {
    /// From the start of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// Address.
    pub hash: Hash,
    /// First instant, µs since the session began.
    pub start_us: u64,
    /// Last instant; of a torn chunk, its first.
    pub end_us: u64,
    /// Whether it holds a keyframe.
    pub keyframe: bool,
}

impl IndexEntry {
    /// What to say of `chunk`; the writer fills in the offset.
    pub fn of(chunk: &ChunkView<'_>, bytes: &[u8]) -> Result<Self, FormatError> {
        let bound = FormatError::WriterBound {
            what: "a chunk",
            bound: MAX_CHUNK_BYTES as u64,
        };
        Ok(Self {
            offset: 0,
            len: u32::try_from(bytes.len()).map_err(|_| bound)?,
            hash: Hash::of(bytes),
            start_us: chunk.header.start_us,
            end_us: chunk
                .trailer
                .as_ref()
                .map_or(chunk.header.start_us, |t| t.end_us),
            keyframe: chunk
                .trailer
                .as_ref()
                .is_some_and(crate::Trailer::has_keyframe),
        })
    }
}

impl From<&SealedChunk> for IndexEntry {
    fn from(chunk: &SealedChunk) -> Self {
        Self {
            offset: 0,
            len: chunk.len,
            hash: chunk.hash,
            start_us: chunk.place.start_us,
            end_us: chunk.trailer.end_us,
            keyframe: chunk.trailer.has_keyframe(),
        }
    }
}

/// Where everything in the file is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Index {
    /// What the file is.
    pub kind: FileKind,
    /// The signed head.
    pub head: Span,
    /// The key wraps.
    pub wraps: Option<Span>,
    /// The disclosed keys.
    pub keys: Option<Span>,
    /// The Merkle proof.
    pub proof: Option<Span>,
    /// The signed manifest.
    pub manifest: Span,
    /// Position of the first chunk in the session.
    pub first: u32,
    /// The chunks.
    pub chunks: Vec<IndexEntry>,
}

impl Index {
    /// Where the index is, from the file's length and its last [`Index::FOOTER_LEN`] bytes.
    ///
    /// # Errors
    /// When the file was cut short or is no Lucid file.
    pub fn locate(file_len: u64, footer: &[u8]) -> Result<Span, FormatError> {
        let truncated = FormatError::Truncated {
            what: "the recording's end",
            need: file_len + 1,
            have: file_len,
        };
        let footer: &[u8; 12] = footer.try_into().map_err(|_| truncated.clone())?;
        if footer[4..] != END {
            return Err(truncated);
        }
        let len = u64::from(u32::from_le_bytes([
            footer[0], footer[1], footer[2], footer[3],
        ]));
        if len > MAX_INDEX_BYTES as u64 {
            return Err(FormatError::TooLarge {
                what: "the index",
                value: len,
                bound: MAX_INDEX_BYTES as u64,
            });
        }
        let offset = file_len
            .checked_sub(FOOTER + len)
            .filter(|offset| *offset >= PREAMBLE + FRAME)
            .ok_or(truncated)?;
        Ok(Span { offset, len })
    }

    /// Bytes at the end of a file that [`locate`](Self::locate) needs.
    pub const FOOTER_LEN: u64 = FOOTER;

    /// Bytes at the start of a file that [`check_preamble`](Self::check_preamble) needs.
    pub const PREAMBLE_LEN: u64 = PREAMBLE;

    /// Checks the first bytes of a file.
    ///
    /// # Errors
    /// When it is empty, no Lucid file, or of another version.
    pub fn check_preamble(bytes: &[u8]) -> Result<(), FormatError> {
        if bytes.is_empty() {
            return Err(FormatError::Truncated {
                what: "the recording",
                need: PREAMBLE,
                have: 0,
            });
        }
        if !bytes.starts_with(&MAGIC[..bytes.len().min(8)]) {
            return Err(FormatError::NotLucid {
                what: "a Lucid recording",
            });
        }
        let Some(start) = bytes.first_chunk::<16>() else {
            return Err(FormatError::Truncated {
                what: "the recording",
                need: PREAMBLE,
                have: bytes.len() as u64,
            });
        };
        let found = u16::from_le_bytes([start[8], start[9]]);
        if found != VERSION {
            return Err(FormatError::Version {
                what: "the recording",
                found,
                known: VERSION,
            });
        }
        if start[10] > 1 || start[11..] != [0; 5] {
            return Err(FormatError::malformed(
                "the recording",
                "unknown kind, or reserved bytes that are not zero",
            ));
        }
        Ok(())
    }

    /// Reads an index and checks that what it names lies inside `file_len`, within its bounds, and that the sections
    /// stand in their order without gaps.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Self, FormatError> {
        let index: Self = decode_exact("the index", bytes)?;
        let small = [
            Some(index.head),
            index.wraps,
            index.keys,
            index.proof,
            Some(index.manifest),
        ];
        for span in small.into_iter().flatten() {
            check_span(span, MAX_SECTION, file_len)?;
        }
        for chunk in &index.chunks {
            check_span(chunk.span(), MAX_CHUNK_BYTES as u64, file_len)?;
        }
        let whole = index.kind == FileKind::Recording;
        if whole != (index.keys.is_none() && index.proof.is_none() && index.first == 0)
            || (!whole && index.wraps.is_some())
        {
            return Err(FormatError::malformed(
                "the index",
                "its sections are not those of its kind of file",
            ));
        }
        let mut at = PREAMBLE;
        for span in index.sections() {
            if span.offset != at.saturating_add(FRAME) {
                return Err(FormatError::tampered(
                    "the index",
                    format!(
                        "it says byte {} of a section that begins elsewhere",
                        span.offset
                    ),
                ));
            }
            at = span.offset.saturating_add(span.len);
        }
        if at.saturating_add(FRAME + FOOTER + bytes.len() as u64) != file_len {
            return Err(FormatError::tampered(
                "the recording",
                format!("its sections end at byte {at} and its index does not begin there"),
            ));
        }
        Ok(index)
    }

    /// Every section but the index itself, in the order of the file.
    fn sections(&self) -> impl Iterator<Item = Span> + '_ {
        [Some(self.head), self.wraps, self.keys, self.proof]
            .into_iter()
            .flatten()
            .chain(self.chunks.iter().map(IndexEntry::span))
            .chain([self.manifest])
    }
}

impl IndexEntry {
    /// Where the chunk is.
    pub fn span(&self) -> Span {
        Span {
            offset: self.offset,
            len: self.len.into(),
        }
    }
}

fn check_span(span: Span, bound: u64, file_len: u64) -> Result<(), FormatError> {
    if span.len > bound {
        return Err(FormatError::TooLarge {
            what: "a section of the recording",
            value: span.len,
            bound,
        });
    }
    let end = span.offset.checked_add(span.len);
    if span.offset < PREAMBLE || end.is_none_or(|end| end > file_len) {
        return Err(FormatError::Truncated {
            what: "the recording",
            need: end.unwrap_or(u64::MAX),
            have: file_len,
        });
    }
    Ok(())
}

/// Writes a `.lucid` file front to back.
pub struct RecordingWriter<W> {
    out: W,
    at: u64,
    index: Index,
}

const NOWHERE: Span = Span { offset: 0, len: 0 };

impl<W: Write> RecordingWriter<W> {
    /// Begins a whole recording. `wraps` are left out when they were destroyed.
    ///
    /// # Errors
    /// When writing fails.
    pub fn recording(
        out: W,
        head: &SignedHead,
        wraps: Option<&[Wrap]>,
    ) -> Result<Self, FormatError> {
        let mut writer = Self::begin(out, FileKind::Recording, 0, head)?;
        if let Some(wraps) = wraps {
            writer.index.wraps = Some(writer.section(*b"WRAP", &encode("the key wraps", &wraps)?)?);
        }
        Ok(writer)
    }

    /// Begins a disclosure: the bytes of a signed [`Disclosed`] and the Merkle proof of its range.
    ///
    /// # Errors
    /// When writing fails or `disclosed` does not check.
    pub fn disclosure(
        out: W,
        head: &SignedHead,
        disclosed: &[u8],
        proof: &[Hash],
    ) -> Result<Self, FormatError> {
        let first = Disclosed::decode(disclosed)?.first;
        let mut writer = Self::begin(out, FileKind::Disclosure, first, head)?;
        writer.index.keys = Some(writer.section(*b"KEYS", disclosed)?);
        writer.index.proof = Some(writer.section(*b"PROF", &encode("the Merkle proof", &proof)?)?);
        Ok(writer)
    }

    fn begin(out: W, kind: FileKind, first: u32, head: &SignedHead) -> Result<Self, FormatError> {
        let index = Index {
            kind,
            head: NOWHERE,
            wraps: None,
            keys: None,
            proof: None,
            manifest: NOWHERE,
            first,
            chunks: Vec::new(),
        };
        let mut writer = Self { out, at: 0, index };
        writer.write(&MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        writer.write(&[u8::from(kind == FileKind::Disclosure), 0, 0, 0, 0, 0])?;
        writer.index.head = writer.section(*b"HEAD", head.bytes())?;
        Ok(writer)
    }

    /// Appends the next chunk.
    ///
    /// # Errors
    /// When the bytes are no chunk, or writing fails.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let mut entry = IndexEntry::of(&ChunkView::parse(bytes, true)?, bytes)?;
        entry.offset = self.section(*b"CHNK", bytes)?.offset;
        self.index.chunks.push(entry);
        Ok(())
    }

    /// Writes manifest and index; returns what was written to.
    ///
    /// # Errors
    /// When writing fails, or there are more chunks than an index holds.
    pub fn finish(mut self, manifest: &SignedManifest) -> Result<W, FormatError> {
        self.index.manifest = self.section(*b"MANI", manifest.bytes())?;
        let index = encode("the index", &self.index)?;
        let bound = FormatError::WriterBound {
            what: "the index",
            bound: MAX_INDEX_BYTES as u64,
        };
        let len = u32::try_from(index.len())
            .ok()
            .filter(|l| *l as usize <= MAX_INDEX_BYTES)
            .ok_or(bound)?;
        self.section(*b"INDX", &index)?;
        self.write(&len.to_le_bytes())?;
        self.write(&END)?;
        self.out.flush().map_err(|e| write_error(&e))?;
        Ok(self.out)
    }

    fn section(&mut self, tag: [u8; 4], bytes: &[u8]) -> Result<Span, FormatError> {
        self.write(&tag)?;
        self.write(&(bytes.len() as u64).to_le_bytes())?;
        let span = Span {
            offset: self.at,
            len: bytes.len() as u64,
        };
        self.write(bytes)?;
        Ok(span)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.out.write_all(bytes).map_err(|e| write_error(&e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn write_error(error: &std::io::Error) -> FormatError {
    FormatError::Io {
        what: "writing the recording",
        why: error.to_string(),
    }
}

/// An opened `.lucid` file: head, manifest and index are read and checked, chunks are read one at a time.
#[derive(Debug)]
pub struct Recording<R> {
    source: R,
    /// Where everything is.
    pub index: Index,
    /// The head.
    pub head: SignedHead,
    /// The manifest.
    pub manifest: SignedManifest,
    /// The key wraps, unless destroyed.
    pub wraps: Option<Vec<Wrap>>,
    /// The disclosed range and its keys, in a disclosure.
    pub disclosed: Option<Disclosed>,
    /// The Merkle proof, in a disclosure.
    pub proof: Option<Vec<Hash>>,
}

impl<R: Read + Seek> Recording<R> {
    /// Opens a recording: reads its small parts, checks their signatures, and that the chunks' addresses lead to the
    /// manifest's root. Chunks are checked as they are read ([`crate::verify`], [`crate::check_chunk`]).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(mut source: R) -> Result<Self, FormatError> {
        let io = |e: std::io::Error| FormatError::Io {
            what: "reading the recording",
            why: e.to_string(),
        };
        let file_len = source.seek(SeekFrom::End(0)).map_err(io)?;
        let preamble = read_at(
            &mut source,
            Span {
                offset: 0,
                len: file_len.min(PREAMBLE),
            },
        )?;
        Index::check_preamble(&preamble)?;
        let footer_at = file_len.saturating_sub(FOOTER);
        let footer = read_at(
            &mut source,
            Span {
                offset: footer_at,
                len: file_len - footer_at,
            },
        )?;
        let index = read_section(&mut source, *b"INDX", Index::locate(file_len, &footer)?)?;
        let index = Index::decode(&index, file_len)?;
        if (index.kind == FileKind::Disclosure) != (preamble[10] == 1) {
            return Err(FormatError::malformed(
                "the recording",
                "its first bytes and its index name two kinds",
            ));
        }
        let head = read_section(&mut source, *b"HEAD", index.head)?;
        let manifest = read_section(&mut source, *b"MANI", index.manifest)?;
        let mut read = |tag: &[u8; 4], span: Option<Span>| {
            span.map(|span| read_section(&mut source, *tag, span))
                .transpose()
        };
        let wraps = read(b"WRAP", index.wraps)?;
        let keys = read(b"KEYS", index.keys)?;
        let proof = read(b"PROF", index.proof)?;
        let parts = Parts {
            head: &head,
            manifest: &manifest,
            wraps: wraps.as_deref(),
            keys: keys.as_deref(),
            proof: proof.as_deref(),
        };
        let (head, manifest, wraps, disclosed, proof) = parts.decode()?;
        crate::check_index(
            &index,
            &head,
            &manifest,
            disclosed.as_ref(),
            proof.as_deref(),
        )?;
        Ok(Self {
            source,
            index,
            head,
            manifest,
            wraps,
            disclosed,
            proof,
        })
    }

    /// Reads the bytes of the `nth` chunk in the file and checks them ([`crate::check_chunk`]).
    ///
    /// # Errors
    /// When it is not there or does not check.
    pub fn chunk(&mut self, nth: usize) -> Result<Vec<u8>, FormatError> {
        let missing = || FormatError::malformed("the recording", format!("it has no chunk {nth}"));
        let span = self.index.chunks.get(nth).ok_or_else(missing)?.span();
        let bytes = read_section(&mut self.source, *b"CHNK", span)?;
        crate::check_chunk(&self.index, &self.head, &self.manifest, nth, &bytes)?;
        Ok(bytes)
    }

    /// Leaves of the Merkle log, of a whole recording.
    pub fn leaves(&self) -> Vec<Hash> {
        (0..=u32::MAX)
            .zip(&self.index.chunks)
            .map(|(i, c)| merkle::leaf(self.index.first + i, c.hash))
            .collect()
    }
}

/// The small sections of a file, as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// HEAD.
    pub head: &'a [u8],
    /// MANI.
    pub manifest: &'a [u8],
    /// WRAP.
    pub wraps: Option<&'a [u8]>,
    /// KEYS.
    pub keys: Option<&'a [u8]>,
    /// PROF.
    pub proof: Option<&'a [u8]>,
}

type Decoded = (
    SignedHead,
    SignedManifest,
    Option<Vec<Wrap>>,
    Option<Disclosed>,
    Option<Vec<Hash>>,
);

impl Parts<'_> {
    /// Decodes the sections and checks that they belong together.
    ///
    /// # Errors
    /// What does not hold.
    pub fn decode(&self) -> Result<Decoded, FormatError> {
        let head = SignedHead::decode(self.head)?;
        let manifest = SignedManifest::decode(self.manifest, &head)?;
        let wraps: Option<Vec<Wrap>> = self
            .wraps
            .map(|b| decode_exact("the key wraps", b))
            .transpose()?;
        if let Some(wraps) = &wraps
            && (crate::hash_wraps(wraps)? != head.head.wraps
                || !wraps
                    .iter()
                    .map(|w| w.recipient)
                    .eq(head.head.recipients.iter().copied()))
        {
            return Err(FormatError::tampered(
                "the key wraps",
                "they are not those the head names",
            ));
        }
        let disclosed = self.keys.map(Disclosed::decode).transpose()?;
        if disclosed
            .as_ref()
            .is_some_and(|d| d.session != head.ticket.session)
        {
            return Err(FormatError::tampered(
                "the disclosure",
                "it is of another session",
            ));
        }
        let proof = self
            .proof
            .map(|b| decode_exact("the Merkle proof", b))
            .transpose()?;
        Ok((head, manifest, wraps, disclosed, proof))
    }
}

/// Reads a section's content after comparing the tag and length before it.
fn read_section<R: Read + Seek>(
    source: &mut R,
    tag: [u8; 4],
    span: Span,
) -> Result<Vec<u8>, FormatError> {
    let frame = Span {
        offset: span.offset.saturating_sub(FRAME),
        len: FRAME,
    };
    let expected = [tag.as_slice(), &span.len.to_le_bytes()].concat();
    if read_at(source, frame)? != expected {
        return Err(FormatError::tampered(
            format!("the {} section", String::from_utf8_lossy(&tag)),
            format!(
                "the tag or length before byte {} is not the index's",
                span.offset
            ),
        ));
    }
    read_at(source, span)
}

fn read_at<R: Read + Seek>(source: &mut R, span: Span) -> Result<Vec<u8>, FormatError> {
    let io = |e: std::io::Error| FormatError::Io {
        what: "reading the recording",
        why: e.to_string(),
    };
    source.seek(SeekFrom::Start(span.offset)).map_err(io)?;
    // Bounded: the span was checked against its section's bound and the file's length.
    let mut bytes = Vec::with_capacity(usize::try_from(span.len).unwrap_or_default());
    source.take(span.len).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 != span.len {
        return Err(FormatError::Truncated {
            what: "the recording",
            need: span.len,
            have: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

//! A small session and the files made of it, the same bytes every time.

use std::{convert::Infallible, io::Cursor};

use lucid_format::{
    ChunkKey, ChunkPlace, ChunkWriter, Disclosed, Ending, FileKind, FormatError, Hash, Head, Index,
    IndexEntry, KeySource, Keypair, Manifest, Proven, Record, Recording, RecordingWriter, Sealer,
    SecretKeys, SessionId, SessionSeed, SignedHead, SignedManifest, Span, Stream, Ticket, Trailer,
    VerifyOptions, Wrap, hash_wraps, merkle, verify, wrap_seed,
};
use rand_core::{Rng, TryCryptoRng, TryRng};

/// Random numbers that are the same in every run: BLAKE3 of a name, as long as needed.
pub(crate) struct TestRng(blake3::OutputReader);

impl TestRng {
    pub(crate) fn new(name: &str) -> Self {
        Self(blake3::Hasher::new().update(name.as_bytes()).finalize_xof())
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl TryRng for TestRng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.array()))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.array()))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// A record that owns its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) time_us: u64,
    pub(crate) stream: Stream,
    pub(crate) payload: Vec<u8>,
}

impl Owned {
    pub(crate) fn new(time_us: u64, stream: Stream, payload: &[u8]) -> Self {
        Self {
            time_us,
            stream,
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            time_us: self.time_us,
            stream: self.stream,
            payload: &self.payload,
        }
    }
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Self {
        Self::new(record.time_us, record.stream, record.payload)
    }
}

pub(crate) fn place(session: SessionId, index: u32, prev: Hash, start_us: u64) -> ChunkPlace {
    ChunkPlace {
        session,
        index,
        prev,
        start_us,
        start_wall_us: 1_800_000_000_000_000 + start_us,
    }
}

/// A chunk of `records`, flushed after each of them when `flush`.
pub(crate) fn chunk(
    place: ChunkPlace,
    key: &ChunkKey,
    records: &[Owned],
    end_us: u64,
    flush: bool,
    rng: &mut TestRng,
) -> Vec<u8> {
    let mut writer = ChunkWriter::new(place, key, rng).unwrap();
    let mut bytes = Vec::new();
    for record in records {
        writer.push(&record.record()).unwrap();
        if flush {
            bytes.append(&mut writer.flush().unwrap());
        }
    }
    let (mut tail, sealed) = writer.finish(end_us).unwrap();
    bytes.append(&mut tail);
    assert_eq!(sealed.hash, Hash::of(&bytes));
    assert_eq!(sealed.len as usize, bytes.len());
    bytes
}

/// A trailer that says what the test wants.
pub(crate) fn trailer(end_us: u64, records: u32, plaintext: u32) -> Trailer {
    let packer = lucid_format::Packer::new(0).unwrap();
    let (_, mut trailer) = packer.finish(end_us).unwrap();
    trailer.records = records;
    trailer.plaintext = plaintext;
    trailer
}

/// A chunk of these pieces, whatever they are.
pub(crate) fn chunk_of(
    place: ChunkPlace,
    key: &ChunkKey,
    mut pieces: Vec<lucid_format::Packed>,
    trailer: Trailer,
    rng: &mut TestRng,
) -> Vec<u8> {
    let mut sealer = Sealer::new(place, key, rng).unwrap();
    let last = pieces.pop().unwrap();
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.append(&mut sealer.segment(piece).unwrap());
    }
    bytes.append(&mut sealer.finish(last, trailer).unwrap().0);
    bytes
}

/// One session with everything that belongs to it.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) id: SessionId,
    pub(crate) host: Keypair,
    pub(crate) session_key: Keypair,
    pub(crate) seed: SessionSeed,
    pub(crate) auditor: SecretKeys,
    pub(crate) head: SignedHead,
    pub(crate) wraps: Vec<Wrap>,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) manifest: SignedManifest,
}

/// Chunks of ten seconds with four records each, of which the first is a keyframe in every second chunk.
pub(crate) fn scene(name: &str, chunks: u32) -> Scene {
    let mut rng = TestRng::new(name);
    let host = Keypair::generate(&mut TestRng::new("host"));
    let auditor = SecretKeys::generate("auditor", &mut TestRng::new("auditor")).unwrap();
    let id = SessionId(rng.array());
    let session_key = Keypair::generate(&mut rng);
    let seed = SessionSeed::generate(&mut rng);
    let wraps = wrap_seed(&seed, id, &[auditor.public()], &mut rng).unwrap();
    let head = head(id, &host, &session_key, &wraps, &mut rng);
    let keys = seed.keys(id);
    let mut sealed: Vec<Vec<u8>> = Vec::new();
    for index in 0..chunks {
        let start = u64::from(index) * 10_000_000;
        let prev = sealed.last().map_or(head.hash, |c| Hash::of(c));
        let records = records_of(index);
        let key = keys.chunk_key(index).unwrap();
        let place = place(id, index, prev, start);
        sealed.push(chunk(
            place,
            &key,
            &records,
            start + 9_000_000,
            true,
            &mut rng,
        ));
    }
    let manifest = manifest(&head, &sealed, Ending::Closed, &session_key);
    Scene {
        id,
        host,
        session_key,
        seed,
        auditor,
        head,
        wraps,
        chunks: sealed,
        manifest,
    }
}

pub(crate) fn records_of(index: u32) -> Vec<Owned> {
    let start = u64::from(index) * 10_000_000;
    let first = if index.is_multiple_of(2) {
        Stream::Keyframe
    } else {
        Stream::Heartbeat
    };
    vec![
        Owned::new(start, first, &index.to_le_bytes()),
        Owned::new(start + 1, Stream::PduOut, &[index.to_le_bytes()[0]; 40]),
        Owned::new(start + 5, Stream::Input, b"key"),
        Owned::new(start + 8_000_000, Stream::PduIn, b""),
    ]
}

pub(crate) fn head(
    id: SessionId,
    host: &Keypair,
    session_key: &Keypair,
    wraps: &[Wrap],
    rng: &mut TestRng,
) -> SignedHead {
    let ticket = Ticket {
        session: id,
        session_key: session_key.public(),
        host_key: host.public(),
        user: "operator1".into(),
        target: "desk1".into(),
        minted_us: 1_799_999_000_000_000,
        expires_us: 1_800_000_600_000_000,
        policy: Hash::of_policy("clipboard=deny"),
    };
    let head = Head {
        version: Head::VERSION,
        ticket: ticket.sign(host).unwrap(),
        started_us: 1_800_000_000_000_000,
        salt: rng.array(),
        recipients: wraps.iter().map(|w| w.recipient).collect(),
        wraps: hash_wraps(wraps).unwrap(),
        recorder: "lucid test".into(),
        client: "127.0.0.1:1 test".into(),
    };
    SignedHead::sign(head, session_key).unwrap()
}

pub(crate) fn leaves(chunks: &[Vec<u8>]) -> Vec<Hash> {
    (0..)
        .zip(chunks)
        .map(|(i, c)| merkle::leaf(i, Hash::of(c)))
        .collect()
}

pub(crate) fn manifest_body(head: &SignedHead, chunks: &[Vec<u8>], ending: Ending) -> Manifest {
    let size = u32::try_from(chunks.len()).unwrap();
    Manifest {
        version: Manifest::VERSION,
        session: head.ticket.session,
        head: head.hash,
        chunks: size,
        root: merkle::salted(&head.head.salt, size, merkle::root(&leaves(chunks))),
        duration_us: u64::from(size) * 10_000_000,
        sealed_us: 1_800_000_900_000_000,
        chunk_bytes: chunks.iter().map(|c| c.len() as u64).sum(),
        ending,
        reason: "the client hung up".into(),
    }
}

pub(crate) fn manifest(
    head: &SignedHead,
    chunks: &[Vec<u8>],
    ending: Ending,
    key: &Keypair,
) -> SignedManifest {
    SignedManifest::sign(&manifest_body(head, chunks, ending), head, key).unwrap()
}

impl Scene {
    pub(crate) fn keys(&self) -> KeySource {
        self.seed.keys(self.id)
    }

    /// The whole recording, by the crate's own writer.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut writer =
            RecordingWriter::recording(Vec::new(), &self.head, Some(&self.wraps)).unwrap();
        for chunk in &self.chunks {
            writer.chunk(chunk).unwrap();
        }
        writer.finish(&self.manifest).unwrap()
    }

    pub(crate) fn statement(&self, first: u32, last: u32) -> Disclosed {
        Disclosed {
            version: Disclosed::VERSION,
            session: self.id,
            first,
            last,
            by: self.auditor.signing().public(),
            keys: self.keys().cover(first, last).unwrap(),
        }
    }

    pub(crate) fn proof(&self, first: u32, last: u32) -> Vec<Hash> {
        let count = (last - first) as usize + 1;
        merkle::prove_range(&leaves(&self.chunks), first as usize, count).unwrap()
    }

    /// A disclosure of `first..=last`, by the crate's own writer.
    pub(crate) fn disclosure(&self, first: u32, last: u32) -> Vec<u8> {
        let statement = self
            .statement(first, last)
            .sign(&self.auditor.signing())
            .unwrap();
        let mut writer = RecordingWriter::disclosure(
            Vec::new(),
            &self.head,
            &statement,
            &self.proof(first, last),
        )
        .unwrap();
        for chunk in &self.chunks[first as usize..=last as usize] {
            writer.chunk(chunk).unwrap();
        }
        writer.finish(&self.manifest).unwrap()
    }

    /// The sections of the whole recording, for [`assemble`].
    pub(crate) fn sections(&self) -> Vec<Section> {
        let mut sections = vec![
            (*b"HEAD", self.head.bytes().to_vec()),
            (*b"WRAP", borsh::to_vec(&self.wraps).unwrap()),
        ];
        sections.extend(self.chunks.iter().map(|c| (*b"CHNK", c.clone())));
        sections.push((*b"MANI", self.manifest.bytes().to_vec()));
        sections
    }
}

pub(crate) type Section = ([u8; 4], Vec<u8>);

/// Writes a `.lucid` file of any sections, with the index that fits them after `edit` had its way: what a forger does.
pub(crate) fn assemble(
    kind: FileKind,
    first: u32,
    sections: &[Section],
    edit: impl FnOnce(&mut Index),
) -> Vec<u8> {
    let mut out = b"LUCIDREC\x01\x00".to_vec();
    out.extend_from_slice(&[u8::from(kind == FileKind::Disclosure), 0, 0, 0, 0, 0]);
    let nowhere = Span { offset: 0, len: 0 };
    let mut index = Index {
        kind,
        head: nowhere,
        wraps: None,
        keys: None,
        proof: None,
        manifest: nowhere,
        first,
        chunks: Vec::new(),
    };
    for (tag, bytes) in sections {
        out.extend_from_slice(tag);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        let span = Span {
            offset: out.len() as u64,
            len: bytes.len() as u64,
        };
        out.extend_from_slice(bytes);
        match tag {
            b"HEAD" => index.head = span,
            b"WRAP" => index.wraps = Some(span),
            b"KEYS" => index.keys = Some(span),
            b"PROF" => index.proof = Some(span),
            b"MANI" => index.manifest = span,
            _ => {
                let view = lucid_format::ChunkView::parse(bytes, true).unwrap();
                index.chunks.push(IndexEntry {
                    offset: span.offset,
                    ..IndexEntry::of(&view, bytes).unwrap()
                });
            }
        }
    }
    edit(&mut index);
    close(out, &borsh::to_vec(&index).unwrap())
}

/// Appends an index of any bytes, and the end.
pub(crate) fn close(mut out: Vec<u8>, index: &[u8]) -> Vec<u8> {
    out.extend_from_slice(b"INDX");
    out.extend_from_slice(&(index.len() as u64).to_le_bytes());
    out.extend_from_slice(index);
    out.extend_from_slice(&u32::try_from(index.len()).unwrap().to_le_bytes());
    out.extend_from_slice(b"LUCIDEND");
    out
}

/// Opens and verifies without any key.
pub(crate) fn check(file: &[u8]) -> Result<Proven, FormatError> {
    verify(
        &mut Recording::open(Cursor::new(file))?,
        VerifyOptions::default(),
    )
}

/// Opens and verifies, and opens every chunk.
pub(crate) fn check_with(file: &[u8], keys: &KeySource) -> Result<Proven, FormatError> {
    let options = VerifyOptions {
        keys: Some(keys),
        progress: None,
    };
    verify(&mut Recording::open(Cursor::new(file))?, options)
}

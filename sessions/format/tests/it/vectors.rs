//! Golden vectors: these bytes never change without a new version number.
//!
//! `LUCID_BLESS=1 cargo test -p lucid-format vectors` writes them anew: only for a new version, or to add one. What
//! depends on the version of a library (a zstd frame, the random parts of HPKE) is read from the stored vectors, so
//! that updating a library does not change them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use data_encoding::HEXLOWER;
use lucid_format::{
    Checkpoint, ChunkView, Disclosed, Ending, Hash, KdfCost, Keypair, Manifest, Marker, Packed,
    Packer, PublicKeys, RecordingWriter, SecretKeys, SessionId, SessionSeed, SignedHead,
    SignedManifest, Stream, Wrap, merkle, open_wraps, wrap_seed,
};

use crate::support::{
    Owned, Scene, TestRng, check, check_with, chunk_of, head, manifest_body, place,
};

const ID: SessionId = SessionId([0x11; 16]);
const SEED: [u8; 32] = [0x22; 32];
const HOST: [u8; 32] = [0x33; 32];
const SESSION_KEY: [u8; 32] = [0x44; 32];
const PASSPHRASE: &str = "correct horse battery staple";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/format")
}

fn blessing() -> bool {
    std::env::var_os("LUCID_BLESS").is_some()
}

/// The stored vectors, the ones made now, and whether they are the same.
struct Vectors {
    stored: BTreeMap<String, String>,
    made: BTreeMap<String, String>,
}

impl Vectors {
    fn read() -> Self {
        let text = fs::read_to_string(folder().join("vectors.json"));
        let stored = match text {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(_) if blessing() => BTreeMap::new(),
            Err(error) => panic!("tests/vectors/format/vectors.json: {error}"),
        };
        Self {
            stored,
            made: BTreeMap::new(),
        }
    }

    fn is(&mut self, name: &str, bytes: &[u8]) {
        self.made.insert(name.into(), HEXLOWER.encode(bytes));
    }

    /// Bytes that are stored and used, not made again; when blessing and there are none, `make` makes them.
    fn fixed(&mut self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let bytes = match self.stored.get(name) {
            Some(hex) => HEXLOWER.decode(hex.as_bytes()).unwrap(),
            None if blessing() => make(),
            None => panic!("{name} is not in the stored vectors"),
        };
        self.is(name, &bytes);
        bytes
    }

    fn check(self) {
        if blessing() {
            fs::create_dir_all(folder()).unwrap();
            let text = serde_json::to_string_pretty(&self.made).unwrap();
            fs::write(folder().join("vectors.json"), text + "\n").unwrap();
            return;
        }
        for (name, hex) in &self.made {
            assert_eq!(self.stored.get(name), Some(hex), "{name}");
        }
        assert_eq!(
            self.stored.len(),
            self.made.len(),
            "vectors that nothing checks"
        );
    }
}

fn file_is(name: &str, bytes: &[u8]) {
    let path = folder().join(name);
    if blessing() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(path, bytes).unwrap();
    } else {
        assert!(fs::read(path).unwrap() == bytes, "{name} differs");
    }
}

fn auditor() -> SecretKeys {
    SecretKeys::generate("auditor", &mut TestRng::new("golden auditor")).unwrap()
}

/// What happens in the three chunks.
fn records(index: u32) -> Vec<Owned> {
    let start = u64::from(index) * 10_000_000;
    let marker = Marker::Note {
        text: "golden".into(),
    };
    match index {
        0 => vec![
            Owned::new(start, Stream::Resize, &[0x00, 0x04, 0x00, 0x03]),
            Owned::new(start + 1, Stream::Keyframe, &[0xaa; 300]),
            Owned::new(start + 2, Stream::PduOut, &[0xbb; 200]),
        ],
        1 => vec![
            Owned::new(start, Stream::Marker, &marker.encode().unwrap()),
            Owned::new(start + 7, Stream::Input, &[0x04, 0x08, 0x01, 0x1e]),
            Owned::new(start + 8, Stream::PduIn, b"pdu"),
            Owned::new(start + 9, Stream::Clipboard, b"\x00text"),
        ],
        _ => vec![Owned::new(
            start,
            Stream::Heartbeat,
            &1_800_000_020_000_000u64.to_le_bytes(),
        )],
    }
}

fn plaintext(index: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records(index) {
        record.record().encode(&mut out).unwrap();
    }
    out
}

/// Chunk 0 is compressed in two segments, 1 and 2 are stored; 2 is torn when `torn`.
fn chunks(vectors: &mut Vectors, head: &SignedHead, torn: bool) -> Vec<Vec<u8>> {
    let keys = SessionSeed::from_bytes(&SEED).keys(ID);
    let split = |index: u32| {
        let first = Packer::new(0).and_then(|mut packer| {
            for record in records(index) {
                packer.push(&record.record())?;
            }
            let mut pieces = vec![packer.flush()?];
            let (mut rest, trailer) = packer.finish(u64::from(index) * 10_000_000 + 9_000_000)?;
            pieces.append(&mut rest);
            Ok((pieces, trailer))
        });
        first.unwrap()
    };
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for index in 0..3 {
        let (pieces, trailer) = split(index);
        let pieces = if index == 0 {
            let mut frame = |name: &str, piece: &Packed| {
                Packed::zstd(vectors.fixed(name, || piece.data().to_vec()))
            };
            vec![
                frame("chunk 0: first piece of its zstd frame", &pieces[0]),
                frame("chunk 0: last piece of its zstd frame", &pieces[1]),
            ]
        } else {
            vec![Packed::stored(plaintext(index)), Packed::stored(vec![])]
        };
        let prev = chunks.last().map_or(head.hash, |c| Hash::of(c));
        let place = place(ID, index, prev, u64::from(index) * 10_000_000);
        let mut rng = TestRng::new(&format!("golden chunk {index}"));
        let key = keys.chunk_key(index).unwrap();
        let mut bytes = chunk_of(place, &key, pieces, trailer, &mut rng);
        if index == 2 && torn {
            let (end, _) = lucid_format::valid_prefix(&bytes[..bytes.len() - 1]);
            bytes.truncate(end);
        }
        chunks.push(bytes);
    }
    chunks
}

fn golden(vectors: &mut Vectors, ending: Ending) -> Scene {
    let (host, session_key) = (
        Keypair::from_secret(&HOST),
        Keypair::from_secret(&SESSION_KEY),
    );
    let seed = SessionSeed::from_bytes(&SEED);
    let wraps = vectors.fixed(
        "key wraps of the seed to the auditor (WRAP section)",
        || {
            let to = [auditor().public()];
            borsh::to_vec(&wrap_seed(&seed, ID, &to, &mut TestRng::new("golden wrap")).unwrap())
                .unwrap()
        },
    );
    let wraps: Vec<Wrap> = borsh::from_slice(&wraps).unwrap();
    let head = head(
        ID,
        &host,
        &session_key,
        &wraps,
        &mut TestRng::new("golden salt"),
    );
    let chunks = chunks(vectors, &head, ending == Ending::Cut);
    let body: Manifest = manifest_body(&head, &chunks, ending);
    let signer = match ending {
        Ending::Closed => &session_key,
        Ending::Cut => &host,
    };
    let manifest = SignedManifest::sign(&body, &head, signer).unwrap();
    Scene {
        id: ID,
        host,
        session_key,
        seed,
        auditor: auditor(),
        head,
        wraps,
        chunks,
        manifest,
    }
}

#[test]
fn every_vector_is_what_this_code_makes() {
    let mut v = Vectors::read();
    let scene = golden(&mut v, Ending::Closed);

    // What everything below is made from.
    v.is("input: session id", &ID.0);
    v.is("input: seed", &SEED);
    v.is("input: the host's Ed25519 secret key", &HOST);
    v.is("input: the session's Ed25519 secret key", &SESSION_KEY);
    v.is(
        "input: passphrase of auditor.key, UTF-8",
        PASSPHRASE.as_bytes(),
    );

    // Keys.
    let keys = scene.keys();
    for (name, first, last) in [
        ("inner keys for chunks 0..=4294967295", 0, u32::MAX),
        ("inner keys for chunks 1..=6", 1, 6),
        ("inner keys for chunk 4294967295", u32::MAX, u32::MAX),
    ] {
        let cover = keys.cover(first, last).unwrap();
        v.is(name, &borsh::to_vec(&cover).unwrap());
    }
    let opened = open_wraps(&scene.wraps, ID, &scene.auditor).unwrap();
    assert_eq!(*opened.bytes(), SEED, "the stored wraps open to the seed");

    // Key files.
    let cost = KdfCost {
        memory_kib: 64,
        passes: 2,
        lanes: 1,
    };
    let secret = scene
        .auditor
        .to_text(PASSPHRASE, cost, &mut TestRng::new("golden key file"))
        .unwrap();
    file_is("auditor.key", secret.as_bytes());
    file_is("auditor.pub", scene.auditor.public().to_text().as_bytes());
    v.is("auditor: recipient id", &scene.auditor.public().id().0);

    // Records and markers.
    for index in 0..3 {
        v.is(&format!("chunk {index}: plaintext"), &plaintext(index));
        v.is(
            &format!("chunk {index}: bytes"),
            &scene.chunks[index as usize],
        );
        v.is(
            &format!("chunk {index}: address"),
            &Hash::of(&scene.chunks[index as usize]).0,
        );
    }
    let started = Marker::Started {
        wall_us: 1,
        client: "c".into(),
        target: "t".into(),
    };
    v.is("marker: started", &started.encode().unwrap());
    let denied = Marker::ChannelDenied {
        permission: "drives".into(),
        to_desktop: true,
        count: 2,
    };
    v.is("marker: channel denied", &denied.encode().unwrap());
    v.is(
        "policy hash of 'clipboard=deny'",
        &Hash::of_policy("clipboard=deny").0,
    );

    // Merkle log over chunks whose addresses are BLAKE3 of their position in 4 bytes, little-endian.
    let mut log = merkle::Log::default();
    let leaves: Vec<Hash> = (0..13u32)
        .map(|i| merkle::leaf(i, Hash::of(&i.to_le_bytes())))
        .collect();
    for i in 0..=13u32 {
        v.is(&format!("merkle: root of {i:02} leaves"), &log.root().0);
        log.push(Hash::of(&i.to_le_bytes())).unwrap();
    }
    let proof = |list: Option<Vec<Hash>>| borsh::to_vec(&list.unwrap()).unwrap();
    v.is(
        "merkle: proof of leaves 3..=6 of 13",
        &proof(merkle::prove_range(&leaves, 3, 4)),
    );
    v.is(
        "merkle: consistency of 6 with 13",
        &proof(merkle::prove_consistency(&leaves, 6)),
    );
    let root = merkle::root(&leaves);
    v.is(
        "merkle: salted root of 13 leaves, salt 00..00",
        &merkle::salted(&[0; 32], 13, root).0,
    );

    // Signed parts.
    v.is("head (HEAD section)", scene.head.bytes());
    v.is("head: hash", &scene.head.hash.0);
    v.is("manifest (MANI section)", scene.manifest.bytes());
    let checkpoint = Checkpoint {
        session: ID,
        chunks: 2,
        last_chunk: Hash::of(&scene.chunks[1]),
        root: Hash([5; 32]),
        end_us: 19_000_000,
        wall_us: 1_800_000_019_000_000,
    };
    let checkpoint = checkpoint.sign(&scene.session_key).unwrap();
    v.is("checkpoint, signed", &borsh::to_vec(&checkpoint).unwrap());

    // Files.
    file_is("recording.lucid", &scene.file());
    file_is("disclosure.lucid", &scene.disclosure(1, 2));
    let cut = golden(&mut v, Ending::Cut);
    file_is("cut.lucid", &cut.file());
    let mut writer = RecordingWriter::recording(Vec::new(), &scene.head, None).unwrap();
    for chunk in &scene.chunks {
        writer.chunk(chunk).unwrap();
    }
    file_is("shredded.lucid", &writer.finish(&scene.manifest).unwrap());
    v.check();
}

/// Without making anything: what is stored is read, verified and opened.
#[test]
fn every_stored_file_is_read_verified_and_opened() {
    if blessing() {
        return;
    }
    let text = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    let secret = SecretKeys::from_text(&text("auditor.key"), PASSPHRASE).unwrap();
    assert_eq!(
        PublicKeys::from_text(&text("auditor.pub")).unwrap(),
        secret.public()
    );

    for (name, complete, chunks) in [
        ("recording.lucid", true, 3),
        ("shredded.lucid", true, 3),
        ("cut.lucid", false, 3),
        ("disclosure.lucid", false, 2),
    ] {
        let file = fs::read(folder().join(name)).unwrap();
        let proven = check(&file).unwrap();
        assert_eq!(
            (proven.complete, proven.chunks),
            (complete, chunks),
            "{name}"
        );
        let mut recording = lucid_format::Recording::open(std::io::Cursor::new(&file)).unwrap();
        let keys = match (&recording.wraps, &recording.disclosed) {
            (Some(wraps), None) => open_wraps(wraps, ID, &secret).unwrap().keys(ID),
            (None, Some(disclosed)) => Disclosed::source(disclosed),
            _ => continue,
        };
        check_with(&file, &keys).unwrap();
        for nth in 0..recording.index.chunks.len() {
            let bytes = recording.chunk(nth).unwrap();
            let view = ChunkView::parse(&bytes, true).unwrap();
            let index = view.header.index;
            let plain = view.open(&keys.chunk_key(index).unwrap()).unwrap();
            assert_eq!(plain, plaintext(index), "{name}, chunk {index}");
        }
    }
}

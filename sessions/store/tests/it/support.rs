//! A small recorder, and pictures of a store's files.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use lucid_format::{
    ChunkPlace, ChunkView, ChunkWriter, Hash, Head, KeySource, Keypair, Proven, PublicKeys, Record,
    Recording, SecretKeys, SessionId, SessionSeed, SignedHead, SignedManifest, Stream, Ticket,
    VerifyOptions, Wrap, hash_wraps, open_wraps, verify, wrap_seed,
};
use lucid_store::{Limits, OpenSession, Options, Recoverable, Store, StoreError, Tap};
use rand_core::{TryCryptoRng, TryRng};
use tempfile::TempDir;

/// Random bytes that a seed fixes, so that a child process and its parent agree on every key.
pub(crate) struct Seeded(blake3::OutputReader);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(
            blake3::Hasher::new_keyed(b"keys for tests, not for secrets!")
                .update(&seed.to_le_bytes())
                .finalize_xof(),
        )
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let Ok(n) = self.try_next_u64();
        n % bound
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}

/// The one recipient of all test sessions; making its key takes a moment.
pub(crate) fn auditor() -> &'static SecretKeys {
    static KEYS: OnceLock<SecretKeys> = OnceLock::new();
    KEYS.get_or_init(|| SecretKeys::generate("auditor", &mut Seeded::new(7)).unwrap())
}

/// Everything that is fixed before a session begins.
pub(crate) struct Minted {
    pub(crate) id: SessionId,
    pub(crate) head: SignedHead,
    pub(crate) wraps: Vec<Wrap>,
    pub(crate) host: Keypair,
    pub(crate) key: Keypair,
    pub(crate) keys: KeySource,
    rng: Seeded,
}

impl Minted {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Seeded::new(seed);
        let host = Keypair::generate(&mut Seeded::new(1));
        let key = Keypair::generate(&mut rng);
        let session_seed = SessionSeed::generate(&mut rng);
        let mut id = [0; 16];
        let Ok(()) = rng.try_fill_bytes(&mut id);
        let id = SessionId(id);
        let recipients: [PublicKeys; 1] = [auditor().public()];
        let wraps = wrap_seed(&session_seed, id, &recipients, &mut rng).unwrap();
        let ticket = Ticket {
            session: id,
            session_key: key.public(),
            host_key: host.public(),
            user: "operator1".into(),
            target: "desk1".into(),
            minted_us: 1_000,
            expires_us: 2_000,
            policy: Hash::of_policy("deny all"),
        };
        let head = Head {
            version: Head::VERSION,
            ticket: ticket.sign(&host).unwrap(),
            started_us: 1_000_000 + seed,
            salt: [9; 32],
            recipients: recipients.iter().map(PublicKeys::id).collect(),
            wraps: hash_wraps(&wraps).unwrap(),
            recorder: "tests".into(),
            client: "127.0.0.1".into(),
        };
        Self {
            id,
            head: SignedHead::sign(head, &key).unwrap(),
            wraps,
            host,
            key,
            keys: session_seed.keys(id),
            rng,
        }
    }

    pub(crate) fn seal_cut(&self, found: Recoverable) -> Result<(), StoreError> {
        let manifest = found.manifest(5_000_000, "its recorder died");
        let signed = SignedManifest::sign(&manifest, &found.head, &self.host).unwrap();
        found.seal(&signed)
    }
}

/// Records numbered records, each 10 ms after the last.
pub(crate) struct Recorder {
    pub(crate) minted: Minted,
    session: OpenSession,
    writer: Option<ChunkWriter>,
    next: u64,
    /// Records that are durable.
    pub(crate) synced: u64,
}

const STEP_US: u64 = 10_000;

impl Recorder {
    pub(crate) fn start(store: &Store, minted: Minted) -> Result<Self, StoreError> {
        let session = store.create_session(&minted.head, &minted.wraps)?;
        Ok(Self {
            minted,
            session,
            writer: None,
            next: 0,
            synced: 0,
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.minted.id
    }

    pub(crate) fn session(&mut self) -> &mut OpenSession {
        &mut self.session
    }

    fn now_us(&self) -> u64 {
        self.next * STEP_US
    }

    fn writer(&mut self) -> &mut ChunkWriter {
        let place = ChunkPlace {
            session: self.id(),
            index: self.session.chunks(),
            prev: self.session.last(),
            start_us: self.now_us(),
            start_wall_us: self.now_us(),
        };
        self.writer.get_or_insert_with(|| {
            let key = self.minted.keys.chunk_key(place.index).unwrap();
            ChunkWriter::new(place, &key, &mut self.minted.rng).unwrap()
        })
    }

    pub(crate) fn push(&mut self, extra: &[u8]) {
        let payload = [&self.next.to_le_bytes(), extra].concat();
        let record = Record {
            time_us: self.now_us(),
            stream: Stream::PduOut,
            payload: &payload,
        };
        self.writer().push(&record).unwrap();
        self.next += 1;
    }

    /// Appends what was pushed.
    pub(crate) fn append(&mut self) -> Result<(), StoreError> {
        let bytes = self.writer().flush().unwrap();
        self.session.append(&bytes)
    }

    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.session.sync()?;
        self.synced = self.next;
        Ok(())
    }

    /// Appends a record and makes it durable.
    pub(crate) fn record(&mut self, extra: &[u8]) -> Result<(), StoreError> {
        self.push(extra);
        self.append()?;
        self.sync()
    }

    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        self.close_with(OpenSession::append)
    }

    pub(crate) fn close_with(
        &mut self,
        append: impl FnOnce(&mut OpenSession, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.writer();
        let end_us = self.now_us();
        let (bytes, sealed) = self.writer.take().unwrap().finish(end_us).unwrap();
        append(&mut self.session, &bytes)?;
        let checkpoint = self.session.checkpoint(&sealed, end_us)?;
        let signed = checkpoint.sign(&self.minted.key).unwrap();
        self.session.close_chunk(&sealed, &signed)?;
        self.synced = self.next;
        Ok(())
    }

    pub(crate) fn seal(self, sealed_us: u64) -> Result<Minted, StoreError> {
        let manifest = self
            .session
            .manifest(self.now_us(), sealed_us, "logged off");
        let signed = SignedManifest::sign(&manifest, &self.minted.head, &self.minted.key).unwrap();
        self.session.seal(&signed)?;
        Ok(self.minted)
    }

    /// Stops as a killed process does: nothing is closed.
    pub(crate) fn die(self) -> Minted {
        self.minted
    }
}

/// A sealed session of `chunks` chunks with two records each.
pub(crate) fn sealed(store: &Store, seed: u64, chunks: u32, sealed_us: u64) -> Minted {
    let mut recorder = Recorder::start(store, Minted::new(seed)).unwrap();
    for _ in 0..chunks {
        recorder.record(b"one").unwrap();
        recorder.record(b"two").unwrap();
        recorder.close().unwrap();
    }
    recorder.seal(sealed_us).unwrap()
}

/// A session with a closed chunk and a torn one, recovered and sealed.
pub(crate) fn cut(store: &Store, seed: u64) -> Minted {
    let mut recorder = Recorder::start(store, Minted::new(seed)).unwrap();
    recorder.record(b"one").unwrap();
    recorder.close().unwrap();
    recorder.record(b"two").unwrap();
    let minted = recorder.die();
    minted.seal_cut(store.recover(minted.id).unwrap()).unwrap();
    minted
}

/// What a store takes to be tested: nothing kept free, so that small disks do.
pub(crate) fn options(tap: Option<Tap>) -> Options {
    Options {
        limits: Limits {
            max_bytes: None,
            min_free: 0,
        },
        tap,
    }
}

pub(crate) fn open(root: &Path) -> Store {
    Store::open_with(root, options(None)).unwrap()
}

/// A folder in memory where there is one: the crash tests sync tens of thousands of times.
pub(crate) fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

/// Packs a session, verifies the file with and without keys, and counts the numbered records in it.
pub(crate) fn pack_and_verify(store: &Store, minted: &Minted) -> (Proven, u64) {
    let file = store.pack(minted.id, Vec::new(), &mut |_, _| {}).unwrap();
    let mut recording = Recording::open(Cursor::new(file)).unwrap();
    let proven = verify(&mut recording, VerifyOptions::default()).unwrap();
    let opened = VerifyOptions {
        keys: Some(&minted.keys),
        progress: None,
    };
    verify(&mut recording, opened).unwrap();
    let mut count = 0;
    for nth in 0..recording.index.chunks.len() {
        let bytes = recording.chunk(nth).unwrap();
        let view = ChunkView::parse(&bytes, true).unwrap();
        let key = minted.keys.chunk_key(view.header.index).unwrap();
        let plaintext = view.open(&key).unwrap();
        for record in view.records(&plaintext) {
            assert_eq!(record.unwrap().payload[..8], u64::to_le_bytes(count));
            count += 1;
        }
    }
    (proven, count)
}

/// Whether the auditor can open the session's wraps.
pub(crate) fn auditor_opens(store: &Store, minted: &Minted) -> bool {
    let file = store.pack(minted.id, Vec::new(), &mut |_, _| {}).unwrap();
    let recording = Recording::open(Cursor::new(file)).unwrap();
    recording
        .wraps
        .is_some_and(|wraps| open_wraps(&wraps, minted.id, auditor()).is_ok())
}

/// All files under a folder; folders have no bytes.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

pub(crate) fn picture(root: &Path) -> Tree {
    fn walk(root: &Path, dir: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            if path.is_dir() {
                tree.insert(name, None);
                walk(root, &path, tree);
            } else {
                tree.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    let mut tree = Tree::new();
    if root.is_dir() {
        walk(root, root, &mut tree);
    }
    tree
}

pub(crate) fn restore(root: &Path, tree: &Tree) {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    fs::create_dir(root).unwrap();
    for (name, bytes) in tree {
        match bytes {
            None => fs::create_dir(root.join(name)).unwrap(),
            Some(bytes) => fs::write(root.join(name), bytes).unwrap(),
        }
    }
}

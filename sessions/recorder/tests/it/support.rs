//! A session with simulated time, written as the gateway's recorder thread writes one.

use std::{
    collections::HashMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use lucid_format::{
    ChunkView, Hash, Head, KeySource, Keypair, Manifest, PublicKeys, Recording, SecretKeys,
    SessionId, SessionSeed, SignedHead, Stream, Ticket, VerifyOptions, hash_wraps, verify,
    wrap_seed,
};
use lucid_player::Decoder;
use lucid_recorder::{RecorderError, SessionWriter, rng};
use lucid_store::{Change, Limits, Options, Store};
use tempfile::TempDir;

/// Wall clock when every test session begins, µs since the Unix epoch.
pub(crate) const WALL_US: u64 = 1_800_000_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// The one recipient; making its key takes a moment.
fn auditor() -> &'static SecretKeys {
    static KEYS: OnceLock<SecretKeys> = OnceLock::new();
    KEYS.get_or_init(|| SecretKeys::generate("auditor", &mut rng()).unwrap())
}

/// A folder in memory where there is one: these tests sync often.
pub(crate) fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

/// How long each file was when it was last synced: what a power cut leaves of it.
type Synced = Arc<Mutex<HashMap<PathBuf, u64>>>;

/// A session being written, and its clock.
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) id: SessionId,
    pub(crate) host: Keypair,
    pub(crate) keys: KeySource,
    pub(crate) writer: Option<SessionWriter>,
    pub(crate) now_us: u64,
    synced: Synced,
    _dir: TempDir,
}

/// A record as it was read back.
pub(crate) type Told = (u64, Stream, Vec<u8>);

/// A chunk as it was read back.
pub(crate) struct Chunk {
    pub(crate) start_us: u64,
    /// `None` in a torn chunk.
    pub(crate) end_us: Option<u64>,
    pub(crate) keyframe: bool,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) records: Vec<Told>,
}

impl Session {
    pub(crate) fn new(max_chunk: usize) -> Self {
        Self::with_quota(max_chunk, None)
    }

    pub(crate) fn with_quota(max_chunk: usize, max_bytes: Option<u64>) -> Self {
        let dir = quick_dir();
        let synced = Synced::default();
        let seen = synced.clone();
        let tap = move |change: &Change<'_>| {
            let mut seen = seen.lock().unwrap();
            match change {
                Change::Sync(path) => {
                    seen.insert(path.to_path_buf(), fs::metadata(path)?.len());
                }
                Change::Rename { from, to } => {
                    let len = seen.remove(*from).unwrap_or(0);
                    seen.insert(to.to_path_buf(), len);
                }
                _ => {}
            }
            Ok(())
        };
        let options = Options {
            limits: Limits {
                max_bytes,
                min_free: 0,
            },
            tap: Some(Arc::new(tap)),
        };
        let store = Store::open_with(dir.path().join("store"), options).unwrap();
        let mut rng = rng();
        let (host, key) = (Keypair::generate(&mut rng), Keypair::generate(&mut rng));
        let seed = SessionSeed::generate(&mut rng);
        let mut id = [0; 16];
        rand_core::Rng::fill_bytes(&mut rng, &mut id);
        let id = SessionId(id);
        let recipients: [PublicKeys; 1] = [auditor().public()];
        let wraps = wrap_seed(&seed, id, &recipients, &mut rng).unwrap();
        let ticket = Ticket {
            session: id,
            session_key: key.public(),
            host_key: host.public(),
            user: "operator1".into(),
            target: "desk1".into(),
            minted_us: WALL_US,
            expires_us: WALL_US + SECOND,
            policy: Hash::of_policy("every channel closed"),
        };
        let head = Head {
            version: Head::VERSION,
            ticket: ticket.sign(&host).unwrap(),
            started_us: WALL_US,
            salt: [9; 32],
            recipients: recipients.iter().map(PublicKeys::id).collect(),
            wraps: hash_wraps(&wraps).unwrap(),
            recorder: "tests".into(),
            client: "127.0.0.1".into(),
        };
        let head = SignedHead::sign(head, &key).unwrap();
        let open = store.create_session(&head, &wraps).unwrap();
        Self {
            writer: Some(SessionWriter::new(open, key, &seed, max_chunk)),
            keys: seed.keys(id),
            store,
            id,
            host,
            now_us: 0,
            synced,
            _dir: dir,
        }
    }

    pub(crate) fn wall_us(&self) -> u64 {
        WALL_US + self.now_us
    }

    pub(crate) fn writer(&mut self) -> &mut SessionWriter {
        self.writer.as_mut().unwrap()
    }

    /// Lets time pass until `until_us`, doing what is due when it is due and not before, as the recorder's thread does.
    pub(crate) fn wait_until(&mut self, until_us: u64) -> Result<(), RecorderError> {
        loop {
            let due = self.writer().next_tick_us().max(self.now_us);
            if due > until_us {
                self.now_us = until_us;
                return Ok(());
            }
            self.now_us = due;
            let wall = self.wall_us();
            self.writer().tick(due, wall)?;
        }
    }

    /// Records what happens at `at_us`.
    pub(crate) fn record(
        &mut self,
        at_us: u64,
        stream: Stream,
        payload: &[u8],
    ) -> Result<(), RecorderError> {
        self.wait_until(at_us)?;
        let wall = self.wall_us();
        self.writer().record(at_us, wall, stream, payload)?;
        self.writer().tick(at_us, wall)
    }

    pub(crate) fn finish(&mut self, reason: &str) -> Result<Manifest, RecorderError> {
        let (now, wall) = (self.now_us, self.wall_us());
        self.writer.take().unwrap().finish(now, wall, reason)
    }

    /// The process is killed.
    pub(crate) fn kill(&mut self) {
        self.writer = None;
    }

    /// The power is cut: what was not synced is gone.
    pub(crate) fn cut_power(&mut self) {
        self.writer = None;
        let open = self.folder().join("open.chunk");
        if open.exists() {
            let kept = self.synced.lock().unwrap().get(&open).copied().unwrap_or(0);
            let file = fs::OpenOptions::new().write(true).open(&open).unwrap();
            file.set_len(kept).unwrap();
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.store.root().join("sessions").join(self.id.to_string())
    }

    pub(crate) fn recover(&self) -> Result<Manifest, RecorderError> {
        lucid_recorder::recover(&self.store, &self.host, self.id, "the recorder died")
    }

    /// Packs the sealed session, verifies it without and with keys, and reads everything back.
    pub(crate) fn read(&self) -> Vec<Chunk> {
        let file = self
            .store
            .pack(self.id, Vec::new(), &mut |_, _| {})
            .unwrap();
        let mut recording = Recording::open(Cursor::new(file)).unwrap();
        verify(&mut recording, VerifyOptions::default()).unwrap();
        let opened = VerifyOptions {
            keys: Some(&self.keys),
            progress: None,
        };
        verify(&mut recording, opened).unwrap();
        (0..recording.index.chunks.len())
            .map(|nth| self.open(&recording.chunk(nth).unwrap()))
            .collect()
    }

    /// Opens the bytes of one chunk, whole or not.
    pub(crate) fn open(&self, bytes: &[u8]) -> Chunk {
        let view = ChunkView::parse(bytes, true).unwrap();
        let key = self.keys.chunk_key(view.header.index).unwrap();
        let plaintext = view.open(&key).unwrap();
        let records = view
            .records(&plaintext)
            .map(|r| r.unwrap())
            .map(|r| (r.time_us, r.stream, r.payload.to_vec()))
            .collect();
        Chunk {
            start_us: view.header.start_us,
            end_us: view.trailer.as_ref().map(|t| t.end_us),
            keyframe: view.trailer.as_ref().is_some_and(|t| t.has_keyframe()),
            plaintext,
            records,
        }
    }
}

/// All records of all chunks.
pub(crate) fn all(chunks: &[Chunk]) -> impl Iterator<Item = &Told> {
    chunks.iter().flat_map(|c| &c.records)
}

/// Plays records one after another.
pub(crate) fn play<'a>(decoder: &mut Decoder, records: impl IntoIterator<Item = &'a Told>) {
    for (_, stream, payload) in records {
        decoder.apply(*stream, payload).unwrap();
    }
}

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lucid_format::{
    Ending, Hash, MAX_CHUNK_BYTES, RecordingWriter, SessionId, SignedHead, SignedManifest, Wrap,
    hash_wraps, merkle, valid_prefix,
};
use serde::{Serialize, Serializer};

use crate::{
    OpenSession, StoreError, Tap,
    disk::{self, Disk, Lock},
    log,
};

/// Largest head, wraps, manifest, hold or marker that is read.
pub(crate) const MAX_SMALL: u64 = 256 << 10;
/// Bytes each live session keeps aside, so that it can be sealed when the disk is full.
const RESERVE_BYTES: usize = 64 << 10;
/// How long a lock that others hold for an instant is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// How long the count of the store's bytes is believed: other processes write and prune too.
const COUNT_IS_FRESH: Duration = Duration::from_secs(60);

/// Stands between a text and its hash.
const CHECK: &str = "\nblake3 ";

const VERSION_FILE: &str = "version";
const VERSION: &str = "lucid-store 1\n";
const CHUNKS: &str = "chunks";
const SESSIONS: &str = "sessions";
const MAINTENANCE: &str = "maintenance.lock";

pub(crate) const HEAD: &str = "head";
pub(crate) const WRAPS: &str = "wraps";
pub(crate) const LOG: &str = "log";
pub(crate) const OPEN_CHUNK: &str = "open.chunk";
pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const HOLD: &str = "hold";
pub(crate) const SHREDDING: &str = "shredding";
pub(crate) const SHREDDED: &str = "shredded";
pub(crate) const SESSION_LOCK: &str = "lock";
pub(crate) const RESERVE: &str = "reserve";
/// Folders of sessions that are being created.
pub(crate) const NEW: &str = ".tmp-new-";
/// Folders of sessions that are being pruned.
pub(crate) const TRASH: &str = "trash-";

/// What a store may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes the store may hold; `None` for no quota.
    pub max_bytes: Option<u64>,
    /// Bytes of the disk that recording leaves free, so that sessions can end properly; 0 to write until it is full.
    pub min_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: None,
            min_free: 32 << 20,
        }
    }
}

/// How a store is opened.
#[derive(Clone, Default)]
pub struct Options {
    /// What it may take.
    pub limits: Limits,
    /// Called before each change on the disk.
    pub tap: Option<Tap>,
}

/// The sessions and chunks under one folder. Clones share one count of the bytes.
#[derive(Clone)]
pub struct Store {
    root: Arc<Path>,
    limits: Limits,
    pub(crate) disk: Disk,
    used: Arc<Mutex<Option<(u64, Instant)>>>,
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// A writer has it.
    Live,
    /// Its writer died before sealing it: to be recovered.
    Unsealed,
    /// Sealed at its proper end.
    Closed,
    /// Sealed by recovery.
    Cut,
}

/// What a listing says of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionSummary {
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub id: SessionId,
    /// Where it is in its life.
    pub state: SessionState,
    /// Who it was for.
    pub user: String,
    /// Name of the target.
    pub target: String,
    /// Address and name of the client.
    pub client: String,
    /// Wall clock at its start, µs since the Unix epoch.
    pub started_us: u64,
    /// Time of the last record, µs since the start; of a session that is not sealed, at its last checkpoint.
    pub duration_us: u64,
    /// Wall clock when it was sealed, µs since the Unix epoch.
    pub sealed_us: Option<u64>,
    /// Why it ended.
    pub reason: Option<String>,
    /// Closed chunks.
    pub chunks: u32,
    /// Bytes of all its chunks, the open one too.
    pub bytes: u64,
    /// When its keys were destroyed, µs since the Unix epoch.
    pub shredded_us: Option<u64>,
    /// The legal hold on it.
    pub hold: Option<String>,
}

/// A session that cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSession {
    /// Its id.
    pub id: SessionId,
    /// What is wrong with it.
    pub error: StoreError,
}

/// All sessions of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Oldest first.
    pub sessions: Vec<SessionSummary>,
    /// Those whose small files do not read.
    pub damaged: Vec<DamagedSession>,
}

/// Everything small of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// What a listing says.
    pub summary: SessionSummary,
    /// Its head.
    pub head: SignedHead,
    /// Its key wraps, unless they were destroyed.
    pub wraps: Option<Vec<Wrap>>,
    /// Its manifest, once sealed.
    pub manifest: Option<SignedManifest>,
    /// Addresses of its closed chunks, in order.
    pub chunks: Vec<Hash>,
}

impl Store {
    /// Opens the store under `root` with default [`Options`]; makes it when there is nothing.
    ///
    /// # Errors
    /// When the folder is something else, of another version, or cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(root, Options::default())
    }

    /// Opens the store under `root`; makes it when there is nothing.
    ///
    /// # Errors
    /// When the folder is something else, of another version, or cannot be written.
    pub fn open_with(root: impl Into<PathBuf>, options: Options) -> Result<Self, StoreError> {
        let store = Self {
            root: root.into().into(),
            limits: options.limits,
            disk: Disk { tap: options.tap },
            used: Arc::default(),
        };
        match disk::read(&store.root.join(VERSION_FILE), MAX_SMALL)? {
            Some(version) if version == VERSION.as_bytes() => {
                store.make_lock()?;
                Ok(store)
            }
            Some(version) => Err(StoreError::NotAStore {
                root: store.root.to_path_buf(),
                why: format!(
                    "its version is '{}', and this program knows '{}'",
                    String::from_utf8_lossy(&version).trim(),
                    VERSION.trim()
                ),
            }),
            None => {
                store.make()?;
                Ok(store)
            }
        }
    }

    /// Makes the folders. The version is written last: what has it is whole, what does not is made again.
    fn make(&self) -> Result<(), StoreError> {
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent).map_err(|e| StoreError::io("making", parent, &e))?;
        }
        self.disk.make_dir(&self.root)?;
        let ours = [CHUNKS, SESSIONS, MAINTENANCE, VERSION_FILE];
        let foreign = disk::entries(&self.root)?
            .into_iter()
            .find(|name| !ours.contains(&name.as_str()) && !name.starts_with(disk::TEMP));
        if let Some(name) = foreign {
            return Err(StoreError::NotAStore {
                root: self.root.to_path_buf(),
                why: format!("'{name}' is in it, and no version file: name an empty folder"),
            });
        }
        self.disk.make_dir(&self.root.join(CHUNKS))?;
        self.disk.make_dir(&self.root.join(SESSIONS))?;
        self.make_lock()?;
        self.disk
            .put(&self.root, VERSION_FILE, VERSION.as_bytes())?;
        match self.root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.disk.sync_dir(parent),
            _ => Ok(()),
        }
    }

    fn make_lock(&self) -> Result<(), StoreError> {
        let path = self.maintenance_lock();
        if disk::len(&path)?.is_some() {
            return Ok(());
        }
        match self.disk.create(&path) {
            // Another process made it in between.
            Err(StoreError::Io { .. }) if path.exists() => Ok(()),
            made => made.map(drop),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn sessions_dir(&self) -> PathBuf {
        self.root.join(SESSIONS)
    }

    pub(crate) fn chunks_dir(&self) -> PathBuf {
        self.root.join(CHUNKS)
    }

    pub(crate) fn session_dir(&self, id: SessionId) -> PathBuf {
        self.sessions_dir().join(id.to_string())
    }

    pub(crate) fn maintenance_lock(&self) -> PathBuf {
        self.root.join(MAINTENANCE)
    }

    /// What belongs at the top of a store.
    pub(crate) fn is_ours(name: &str) -> bool {
        [CHUNKS, SESSIONS, MAINTENANCE, VERSION_FILE].contains(&name)
    }

    /// Folder and file name of a chunk.
    pub(crate) fn chunk_path(&self, hash: Hash) -> (PathBuf, PathBuf) {
        let hex = hash.to_hex();
        let dir = self.chunks_dir().join(&hex[..2]);
        let path = dir.join(&hex[2..]);
        (dir, path)
    }

    /// Folder of a session that must be there.
    pub(crate) fn existing(&self, id: SessionId) -> Result<PathBuf, StoreError> {
        let dir = self.session_dir(id);
        if disk::len(&dir)?.is_none() {
            return Err(StoreError::NoSession { id });
        }
        Ok(dir)
    }

    /// Begins a session: its head and wraps are durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id was used before; [`StoreError::Full`].
    pub fn create_session(
        &self,
        head: &SignedHead,
        wraps: &[Wrap],
    ) -> Result<OpenSession, StoreError> {
        let id = head.ticket.session;
        let wraps_hash = hash_wraps(wraps).map_err(StoreError::format("the key wraps"))?;
        if wraps_hash != head.head.wraps {
            return Err(StoreError::Mismatch {
                id,
                what: "the key wraps",
                why: "the head names others".into(),
            });
        }
        if disk::len(&self.session_dir(id))?.is_some() {
            return Err(StoreError::Exists { id });
        }
        self.room_for(head.bytes().len() as u64)?;

        // A folder is filled under a name that nobody looks at and then renamed: no session without its head.
        let temp = self
            .sessions_dir()
            .join(format!("{NEW}{id}-{}", disk::unique()));
        self.disk.make_dir(&temp)?;
        let made = self.fill_session(&temp, head, wraps);
        let (lock, log) = match made {
            Ok(made) => made,
            Err(error) => {
                // The first fault is the one to report; what is left over is harmless and the next prune removes it.
                let _ = self.disk.remove_dir(&temp);
                return Err(error);
            }
        };
        let dir = self.session_dir(id);
        if let Err(error) = self.disk.rename(&temp, &dir) {
            let _ = self.disk.remove_dir(&temp);
            // A folder with something in it is never replaced by a rename.
            let lost_race = disk::len(&dir)?.is_some();
            return Err(if lost_race {
                StoreError::Exists { id }
            } else {
                error
            });
        }
        self.disk.sync_dir(&self.sessions_dir())?;
        let log = disk::Appending {
            path: dir.join(LOG),
            ..log
        };
        Ok(OpenSession::new(self.clone(), dir, head.clone(), lock, log))
    }

    fn fill_session(
        &self,
        dir: &Path,
        head: &SignedHead,
        wraps: &[Wrap],
    ) -> Result<(fs::File, disk::Appending), StoreError> {
        let lock_path = dir.join(SESSION_LOCK);
        self.disk.create(&lock_path)?;
        let lock = disk::lock(&lock_path, Lock::Exclusive, PATIENCE)?.ok_or(StoreError::Live {
            id: head.ticket.session,
            doing: "creating it",
        })?;
        for (name, bytes) in [
            (HEAD, head.bytes()),
            (
                WRAPS,
                &borsh::to_vec(wraps)
                    .map_err(|e| StoreError::damaged(&dir.join(WRAPS), e.to_string()))?,
            ),
        ] {
            let mut file = self.disk.create(&dir.join(name))?;
            self.disk.write(&mut file, bytes)?;
            self.disk.sync(&file)?;
        }
        let log = self.disk.create(&dir.join(LOG))?;
        self.disk.allocate(&dir.join(RESERVE), RESERVE_BYTES)?;
        self.disk.sync_dir(dir)?;
        Ok((lock, log))
    }

    /// Refuses `more` bytes that would pass the quota or what is to stay free.
    pub(crate) fn room_for(&self, more: u64) -> Result<(), StoreError> {
        let min_free = self.limits.min_free;
        if min_free > 0 {
            let free = disk::free(&self.root)?;
            if free < min_free.saturating_add(more) {
                return Err(StoreError::Full {
                    why: format!(
                        "the disk of {} has {free} bytes free, and {min_free} are to stay free",
                        self.root.display()
                    ),
                });
            }
        }
        let Some(quota) = self.limits.max_bytes else {
            return Ok(());
        };
        let used = self.counted()?;
        if used.saturating_add(more) > quota {
            return Err(StoreError::Full {
                why: format!(
                    "the store {} holds {used} bytes of its quota of {quota}",
                    self.root.display()
                ),
            });
        }
        Ok(())
    }

    /// The store's bytes, counted at most a minute ago plus what this process wrote since.
    fn counted(&self) -> Result<u64, StoreError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match *used {
            Some((bytes, at)) if at.elapsed() < COUNT_IS_FRESH => Ok(bytes),
            _ => {
                let bytes = self.bytes()?;
                *used = Some((bytes, Instant::now()));
                Ok(bytes)
            }
        }
    }

    pub(crate) fn wrote(&self, more: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, _)) = used.as_mut() {
            *bytes = bytes.saturating_add(more);
        }
    }

    /// Bytes of all files in the store.
    ///
    /// # Errors
    /// When a folder does not read.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let mut total = 0;
        for top in [self.chunks_dir(), self.sessions_dir()] {
            for folder in disk::entries(&top)? {
                let folder = top.join(folder);
                if !folder.is_dir() {
                    continue;
                }
                let files = match disk::entries(&folder) {
                    Ok(files) => files,
                    // Renamed since: a session that was being created, or one that is being pruned.
                    Err(_) if disk::len(&folder)?.is_none() => continue,
                    Err(error) => return Err(error),
                };
                for file in files {
                    total += disk::len(&folder.join(file))?.unwrap_or(0);
                }
            }
        }
        Ok(total)
    }

    /// Ids of all sessions.
    pub(crate) fn ids(&self) -> Result<Vec<SessionId>, StoreError> {
        let names = disk::entries(&self.sessions_dir())?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Whether a writer has the session.
    pub(crate) fn is_live(dir: &Path) -> Result<bool, StoreError> {
        let path = dir.join(SESSION_LOCK);
        match disk::lock(&path, Lock::Shared, Duration::ZERO) {
            Ok(lock) => Ok(lock.is_none()),
            Err(_) if disk::len(&path)?.is_none() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a session for `doing` something with it; given back when the file is dropped.
    pub(crate) fn take(
        &self,
        id: SessionId,
        doing: &'static str,
    ) -> Result<(PathBuf, fs::File), StoreError> {
        let dir = self.existing(id)?;
        let lock = disk::lock(&dir.join(SESSION_LOCK), Lock::Exclusive, PATIENCE)?;
        Ok((dir, lock.ok_or(StoreError::Live { id, doing })?))
    }

    /// Lists all sessions.
    ///
    /// # Errors
    /// When the folder of sessions does not read; what is wrong with one session is in the listing.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for id in self.ids()? {
            match self.session(id) {
                Ok(session) => listing.sessions.push(session.summary),
                // Pruned since the folder was read.
                Err(_) if disk::len(&self.session_dir(id))?.is_none() => {}
                Err(error) => listing.damaged.push(DamagedSession { id, error }),
            }
        }
        listing.sessions.sort_by_key(|s| (s.started_us, s.id));
        Ok(listing)
    }

    /// Everything small of a session.
    ///
    /// # Errors
    /// [`StoreError::NoSession`], or what is wrong with its files.
    pub fn session(&self, id: SessionId) -> Result<StoredSession, StoreError> {
        let dir = self.existing(id)?;
        // Asked first: a session that is sealed while this reads is then live at worst.
        let live = Self::is_live(&dir)?;
        let head = read_head(&dir, id)?;
        let wraps = read_wraps(&dir, &head)?;
        let manifest = read_manifest(&dir, &head)?;
        let log = disk::read(&dir.join(LOG), log::MAX_LOG_BYTES)?.unwrap_or_default();
        let (chunks, checkpointed_us) = log::addresses(&log);
        if let Some(manifest) = &manifest {
            check_chunk_list(&dir, &head, manifest, &chunks)?;
        }
        let bytes = match &manifest {
            Some(sealed) => sealed.manifest.chunk_bytes,
            None => {
                let mut bytes = disk::len(&dir.join(OPEN_CHUNK))?.unwrap_or(0);
                for chunk in &chunks {
                    bytes += disk::len(&self.chunk_path(*chunk).1)?.unwrap_or(0);
                }
                bytes
            }
        };
        let sealed = manifest.as_ref().map(|m| &m.manifest);
        let summary = SessionSummary {
            id,
            state: match sealed.map(|m| m.ending) {
                Some(Ending::Closed) => SessionState::Closed,
                Some(Ending::Cut) => SessionState::Cut,
                None if live => SessionState::Live,
                None => SessionState::Unsealed,
            },
            user: head.ticket.user.clone(),
            target: head.ticket.target.clone(),
            client: head.head.client.clone(),
            started_us: head.head.started_us,
            duration_us: sealed.map_or(checkpointed_us, |m| m.duration_us),
            sealed_us: sealed.map(|m| m.sealed_us),
            reason: sealed.map(|m| m.reason.clone()),
            chunks: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            bytes,
            shredded_us: read_shredded(&dir)?,
            hold: read_hold(&dir)?,
        };
        Ok(StoredSession {
            summary,
            head,
            wraps,
            manifest,
            chunks,
        })
    }

    /// A chunk's bytes; they have the hash.
    ///
    /// # Errors
    /// [`StoreError::ChunkMissing`], [`StoreError::ChunkDamaged`].
    pub fn chunk(&self, hash: Hash) -> Result<Vec<u8>, StoreError> {
        let (_, path) = self.chunk_path(hash);
        let bytes = match disk::read(&path, MAX_CHUNK_BYTES as u64) {
            Ok(bytes) => bytes.ok_or(StoreError::ChunkMissing { hash })?,
            Err(StoreError::Damaged { why, .. }) => {
                return Err(StoreError::ChunkDamaged { hash, why });
            }
            Err(error) => return Err(error),
        };
        if Hash::of(&bytes) != hash {
            return Err(StoreError::ChunkDamaged {
                hash,
                why: format!("its {} bytes have another hash", bytes.len()),
            });
        }
        Ok(bytes)
    }

    /// The whole segments of the chunk that is being written, for watching a live session; `None` when none is.
    ///
    /// # Errors
    /// [`StoreError::NoSession`], or when it does not read.
    pub fn open_chunk(&self, id: SessionId) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.existing(id)?.join(OPEN_CHUNK);
        let Some(mut bytes) = disk::read(&path, MAX_CHUNK_BYTES as u64)? else {
            return Ok(None);
        };
        let (valid, _) = valid_prefix(&bytes);
        bytes.truncate(valid);
        Ok((valid > 0).then_some(bytes))
    }

    /// Writes a sealed session as a `.lucid` file. Holds one chunk in memory at a time.
    ///
    /// `progress` gets the chunk bytes done and in all.
    ///
    /// # Errors
    /// [`StoreError::NotSealed`], or the first thing that does not hold.
    pub fn pack<W: Write>(
        &self,
        id: SessionId,
        out: W,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<W, StoreError> {
        let session = self.session(id)?;
        let manifest = session.manifest.ok_or(StoreError::NotSealed { id })?;
        let fault = || StoreError::format(format!("packing session {id}"));
        let mut writer = RecordingWriter::recording(out, &session.head, session.wraps.as_deref())
            .map_err(fault())?;
        let mut done = 0;
        for chunk in session.chunks {
            let bytes = self.chunk(chunk)?;
            writer.chunk(&bytes).map_err(fault())?;
            done += bytes.len() as u64;
            progress(done, manifest.manifest.chunk_bytes);
        }
        writer.finish(&manifest).map_err(fault())
    }
}

/// Whether the log of a sealed session is what its manifest commits to.
pub(crate) fn check_chunk_list(
    dir: &Path,
    head: &SignedHead,
    manifest: &SignedManifest,
    chunks: &[Hash],
) -> Result<(), StoreError> {
    let leaves: Vec<Hash> = (0..)
        .zip(chunks)
        .map(|(i, c)| merkle::leaf(i, *c))
        .collect();
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    if manifest
        .manifest
        .commits_to(head, merkle::root(&leaves), count)
    {
        return Ok(());
    }
    let why = format!(
        "the {count} chunks it names do not lead to the signed root over {}",
        manifest.manifest.chunks
    );
    Err(StoreError::damaged(&dir.join(LOG), why))
}

pub(crate) fn read_head(dir: &Path, id: SessionId) -> Result<SignedHead, StoreError> {
    let path = dir.join(HEAD);
    let bytes =
        disk::read(&path, MAX_SMALL)?.ok_or_else(|| StoreError::damaged(&path, "it is missing"))?;
    let head = SignedHead::decode(&bytes).map_err(|e| StoreError::damaged(&path, e.to_string()))?;
    if head.ticket.session != id {
        let why = format!("it is of session {}", head.ticket.session);
        return Err(StoreError::damaged(&path, why));
    }
    Ok(head)
}

/// The wraps; `None` once they are, or are being, destroyed.
pub(crate) fn read_wraps(dir: &Path, head: &SignedHead) -> Result<Option<Vec<Wrap>>, StoreError> {
    let path = dir.join(WRAPS);
    let shredded = || -> Result<bool, StoreError> {
        Ok(disk::len(&dir.join(SHREDDED))?.is_some() || disk::len(&dir.join(SHREDDING))?.is_some())
    };
    if shredded()? {
        return Ok(None);
    }
    let load = || -> Result<Vec<Wrap>, StoreError> {
        let bytes = disk::read(&path, MAX_SMALL)?.ok_or_else(|| {
            StoreError::damaged(&path, "it is missing, and the session was not shredded")
        })?;
        let wraps: Vec<Wrap> =
            borsh::from_slice(&bytes).map_err(|e| StoreError::damaged(&path, e.to_string()))?;
        match hash_wraps(&wraps) {
            Ok(hash) if hash == head.head.wraps => Ok(wraps),
            _ => Err(StoreError::damaged(&path, "the head names other wraps")),
        }
    };
    match load() {
        Ok(wraps) => Ok(Some(wraps)),
        // Destroyed between the two looks.
        Err(_) if shredded()? => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn read_manifest(
    dir: &Path,
    head: &SignedHead,
) -> Result<Option<SignedManifest>, StoreError> {
    let path = dir.join(MANIFEST);
    disk::read(&path, MAX_SMALL)?
        .map(|bytes| {
            SignedManifest::decode(&bytes, head)
                .map_err(|e| StoreError::damaged(&path, e.to_string()))
        })
        .transpose()
}

/// A text and its hash, so that fsck finds a changed byte in it: nothing signed covers these files.
pub(crate) fn checked_text(text: &str) -> Vec<u8> {
    let hash = Hash::of(text.as_bytes());
    format!("{text}{CHECK}{hash}\n").into_bytes()
}

fn read_checked_text(path: &Path) -> Result<Option<String>, StoreError> {
    let Some(bytes) = disk::read(path, MAX_SMALL)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let text = text
        .rsplit_once(CHECK)
        .map(|(text, _)| text.to_owned())
        .filter(|text| checked_text(text) == bytes);
    text.map(Some)
        .ok_or_else(|| StoreError::damaged(path, "it does not have the hash in its last line"))
}

pub(crate) fn read_hold(dir: &Path) -> Result<Option<String>, StoreError> {
    read_checked_text(&dir.join(HOLD))
}

/// When the wraps were destroyed, µs since the Unix epoch.
pub(crate) fn read_shredded(dir: &Path) -> Result<Option<u64>, StoreError> {
    let path = dir.join(SHREDDED);
    let time = read_checked_text(&path)?.map(|text| {
        text.parse()
            .map_err(|_| StoreError::damaged(&path, format!("'{text}' is no time in µs")))
    });
    time.transpose()
}

pub(crate) fn as_text<S: Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

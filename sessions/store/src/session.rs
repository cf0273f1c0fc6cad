use std::{fs::File, path::PathBuf};

use lucid_format::{
    Checkpoint, Ending, Hash, MAX_CHUNK_BYTES, Manifest, SealedChunk, SessionId, Signed,
    SignedHead, SignedManifest, merkle,
};

use crate::{
    Store, StoreError,
    disk::Appending,
    log,
    store::{MANIFEST, OPEN_CHUNK, RESERVE},
};

/// A session that is being recorded. Dropping it leaves the session unsealed, to be recovered.
///
/// A fault of the disk poisons it: every later call returns that fault, because after a failed write or sync nobody knows
/// what is on the disk until it is read again, which is what [`Store::recover`] does.
pub struct OpenSession {
    store: Store,
    dir: PathBuf,
    head: SignedHead,
    /// Held until this is dropped: two writers would tear each other's chunks.
    _lock: File,
    log: Appending,
    merkle: merkle::Log,
    last: Hash,
    chunk_bytes: u64,
    open: Option<OpenChunk>,
    poison: Option<StoreError>,
}

struct OpenChunk {
    file: Appending,
    len: u64,
    hasher: blake3::Hasher,
    /// Whether its name is durable.
    named: bool,
    /// Whether its bytes are durable.
    synced: bool,
}

impl OpenSession {
    pub(crate) fn new(
        store: Store,
        dir: PathBuf,
        head: SignedHead,
        lock: File,
        log: Appending,
    ) -> Self {
        Self {
            last: head.hash,
            store,
            dir,
            head,
            _lock: lock,
            log,
            merkle: merkle::Log::default(),
            chunk_bytes: 0,
            open: None,
            poison: None,
        }
    }

    /// Which session.
    pub fn id(&self) -> SessionId {
        self.head.ticket.session
    }

    /// Its head.
    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// Chunks closed so far: the index of the next one.
    pub fn chunks(&self) -> u32 {
        self.merkle.size()
    }

    /// Bytes of the chunks closed so far.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Address of the last closed chunk, or the head's hash: what the next chunk names as the one before.
    pub fn last(&self) -> Hash {
        self.last
    }

    /// Appends a chunk's bytes, within the store's limits. A limit refuses before anything is written, and the session
    /// stays usable: see [`append_past_limits`](Self::append_past_limits).
    ///
    /// # Errors
    /// [`StoreError::Full`]; any fault of the disk, which poisons the session.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.sound()?;
        self.store.room_for(bytes.len() as u64)?;
        self.append_past_limits(bytes)
    }

    /// Appends a chunk's bytes whatever quota and free space say: for the segments that a limit refused and the last one
    /// after it, so that the session ends properly and its recording says why.
    ///
    /// # Errors
    /// As [`append`](Self::append), but for the limits.
    pub fn append_past_limits(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.sound()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let begun = self.open.as_ref().map_or(0, |open| open.len);
        if begun + bytes.len() as u64 > MAX_CHUNK_BYTES as u64 {
            let why = format!("a chunk holds at most {MAX_CHUNK_BYTES} bytes");
            return Err(self.mismatch("a segment", why));
        }
        if self.open.is_none() && self.chunks() >= log::MAX_CHUNKS {
            return Err(StoreError::Full {
                why: format!(
                    "session {} has {} chunks, and no recording holds more",
                    self.id(),
                    log::MAX_CHUNKS
                ),
            });
        }
        let written = self.write(bytes);
        self.poison_on(written)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(OpenChunk {
                file: self.store.disk.create(&self.dir.join(OPEN_CHUNK))?,
                len: 0,
                hasher: blake3::Hasher::new(),
                named: false,
                synced: false,
            }),
        };
        open.synced = false;
        self.store.disk.write(&mut open.file, bytes)?;
        open.hasher.update(bytes);
        open.len += bytes.len() as u64;
        self.store.wrote(bytes.len() as u64);
        Ok(())
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// Any fault of the disk, which poisons the session: a failed sync is never tried again.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.sound()?;
        let synced = self.sync_open();
        self.poison_on(synced)
    }

    fn sync_open(&mut self) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if !open.synced {
            self.store.disk.sync(&open.file)?;
            open.synced = true;
        }
        if !open.named {
            self.store.disk.sync_dir(&self.dir)?;
            open.named = true;
        }
        Ok(())
    }

    /// The checkpoint over all chunks and `chunk` after them, for the session's key to sign.
    ///
    /// # Errors
    /// When the log is full.
    pub fn checkpoint(&self, chunk: &SealedChunk, wall_us: u64) -> Result<Checkpoint, StoreError> {
        let merkle = self.with(chunk)?;
        Ok(Checkpoint {
            session: self.id(),
            chunks: merkle.size(),
            last_chunk: chunk.hash,
            root: merkle::salted(&self.head.head.salt, merkle.size(), merkle.root()),
            end_us: chunk.trailer.end_us,
            wall_us,
        })
    }

    fn with(&self, chunk: &SealedChunk) -> Result<merkle::Log, StoreError> {
        let mut merkle = self.merkle.clone();
        merkle
            .push(chunk.hash)
            .map_err(StoreError::format("the log"))?;
        Ok(merkle)
    }

    /// Gives the appended chunk its address and writes down its signed checkpoint; all of it is durable when this returns.
    ///
    /// The order is: sync the chunk; append the checkpoint to the log, sync it; rename the chunk. So whenever it is cut,
    /// recovery finds the chunk either under the address that the log names last, or still as the open chunk.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when `chunk` is not what was appended, or `checkpoint` is not about it: then nothing was
    /// done. Any fault of the disk, which poisons the session.
    pub fn close_chunk(
        &mut self,
        chunk: &SealedChunk,
        checkpoint: &Signed,
    ) -> Result<(), StoreError> {
        self.sound()?;
        let merkle = self.with(chunk)?;
        let Some(open) = &self.open else {
            return Err(self.mismatch("a chunk", "nothing was appended"));
        };
        let hash = Hash(open.hasher.finalize().into());
        if hash != chunk.hash || open.len != u64::from(chunk.len) {
            let why = format!(
                "{} bytes with hash {hash} were appended, and the chunk is {} bytes with hash {}",
                open.len, chunk.len, chunk.hash
            );
            return Err(self.mismatch("a chunk", why));
        }
        let place = &chunk.place;
        if (place.session, place.index, place.prev) != (self.id(), self.chunks(), self.last) {
            let why = format!(
                "it was sealed as chunk {} of session {} after {}",
                place.index, place.session, place.prev
            );
            return Err(self.mismatch("a chunk", why));
        }
        let named = Checkpoint::open(checkpoint, &self.head)
            .map_err(|e| self.mismatch("a checkpoint", e.to_string()))?;
        if named.last_chunk != chunk.hash || !log::leads_to(&named, &merkle, &self.head) {
            return Err(self.mismatch("a checkpoint", "it is not about the chunk being closed"));
        }

        let closed = self.close(chunk, checkpoint);
        self.poison_on(closed)?;
        self.merkle = merkle;
        self.last = chunk.hash;
        self.chunk_bytes += u64::from(chunk.len);
        Ok(())
    }

    fn close(&mut self, chunk: &SealedChunk, checkpoint: &Signed) -> Result<(), StoreError> {
        self.sync_open()?;
        let frame = log::checkpoint_frame(checkpoint)?;
        self.store.disk.write(&mut self.log, &frame)?;
        self.store.disk.sync(&self.log)?;
        self.store.wrote(frame.len() as u64);
        match self.open.take() {
            Some(open) => self.store.place(&open.file, chunk.hash),
            None => Ok(()),
        }
    }

    /// The manifest of a session that came to its proper end here, for the session's key to sign.
    pub fn manifest(&self, duration_us: u64, sealed_us: u64, reason: &str) -> Manifest {
        Manifest {
            version: Manifest::VERSION,
            session: self.id(),
            head: self.head.hash,
            chunks: self.chunks(),
            root: merkle::salted(&self.head.head.salt, self.merkle.size(), self.merkle.root()),
            duration_us,
            sealed_us,
            chunk_bytes: self.chunk_bytes,
            ending: Ending::Closed,
            reason: reason.to_owned(),
        }
    }

    /// Seals the session.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when a chunk is still open or the manifest is about something else; any fault of the disk.
    pub fn seal(self, manifest: &SignedManifest) -> Result<(), StoreError> {
        self.sound()?;
        if self.open.is_some() {
            return Err(self.mismatch("a manifest", "a chunk is still open: close it first"));
        }
        let stated = &manifest.manifest;
        let expected = self.manifest(stated.duration_us, stated.sealed_us, &stated.reason);
        if *stated != expected {
            return Err(self.mismatch("a manifest", "it is not about the chunks of this session"));
        }
        self.store.put_manifest(&self.dir, manifest)
    }

    fn sound(&self) -> Result<(), StoreError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn poison_on<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.poison = Some(error.clone());
        }
        result
    }

    fn mismatch(&self, what: &'static str, why: impl Into<String>) -> StoreError {
        StoreError::Mismatch {
            id: self.id(),
            what,
            why: why.into(),
        }
    }
}

impl Store {
    /// Gives a finished chunk its address. Its content is durable and the log names it already.
    pub(crate) fn place(&self, file: &Appending, hash: Hash) -> Result<(), StoreError> {
        let (dir, path) = self.chunk_path(hash);
        self.disk.make_dir(&dir)?;
        // Also when it was there: another process may have made it just now.
        self.disk.sync_dir(&self.chunks_dir())?;
        self.disk.protect(file)?;
        self.disk.rename(&file.path, &path)?;
        // The new name first: a chunk that has two names is no loss, one that has none is.
        self.disk.sync_dir(&dir)?;
        match file.path.parent() {
            Some(session) => self.disk.sync_dir(session),
            None => Ok(()),
        }
    }

    pub(crate) fn put_manifest(
        &self,
        dir: &std::path::Path,
        manifest: &SignedManifest,
    ) -> Result<(), StoreError> {
        // What was kept aside is for this file.
        self.disk.remove(&dir.join(RESERVE))?;
        self.disk.put(dir, MANIFEST, manifest.bytes())
    }
}

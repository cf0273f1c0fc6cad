use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use lucid_format::{
    CHUNK_SPAN_US, ChunkHeader, ChunkView, Ending, Hash, MAX_CHUNK_BYTES, Manifest, SessionId,
    SignedHead, SignedManifest, merkle, valid_prefix,
};

use crate::{
    Store, StoreError, disk, log,
    store::{LOG, MANIFEST, OPEN_CHUNK, RESERVE, read_head},
};

/// A session whose writer died, put in order and ready to be sealed as cut.
pub struct Recoverable {
    /// Its head.
    pub head: SignedHead,
    /// Addresses of its chunks, the torn one too.
    pub chunks: Vec<Hash>,
    /// Bytes of all its chunks.
    pub chunk_bytes: u64,
    /// Time that the chunks themselves prove, µs since the session began: the last trailer's end, or the torn chunk's
    /// start.
    pub end_us: u64,
    /// When the torn chunk was last written to, µs since the session began, by the clock of the file system: an estimate.
    pub last_write_us: Option<u64>,
    /// Whether the last chunk is torn: it has no trailer.
    pub torn: bool,
    /// Bytes after the last whole segment that were dropped.
    pub dropped_bytes: u64,
    merkle: merkle::Log,
    store: Store,
    dir: PathBuf,
    _lock: File,
}

impl Store {
    /// Puts a session in order whose writer died: cuts the torn tail, gives the last chunk its address. Does the rest of
    /// what a kill or a power cut interrupted, and can itself be interrupted and run again.
    ///
    /// # Errors
    /// [`StoreError::Live`], [`StoreError::Sealed`]; [`StoreError::Damaged`] or [`StoreError::ChunkMissing`] when what is
    /// there is nothing that a crash leaves.
    pub fn recover(&self, id: SessionId) -> Result<Recoverable, StoreError> {
        let (dir, lock) = self.take(id, "recovering it")?;
        if disk::len(&dir.join(MANIFEST))?.is_some() {
            return Err(StoreError::Sealed { id });
        }
        let head = read_head(&dir, id)?;
        // A full disk may be why the writer died: what it kept aside is for what follows.
        self.disk.remove(&dir.join(RESERVE))?;

        let mut open = OpenFile::read(&dir)?;
        let log = self.mend_log(&dir, &head, open.as_ref())?;
        let (mut chunks, mut merkle) = (log.chunks, log.merkle);
        if let (Some(last), Some(found)) = (chunks.last(), &open)
            && Hash::of(&found.bytes) == *last
        {
            self.finish_rename(found, *last)?;
            open = None;
        }
        let mut dropped_bytes = 0;
        let mut last_write_us = None;
        if let Some(found) = open {
            dropped_bytes = found.bytes.len() as u64 - found.valid as u64;
            if found.valid == 0 {
                self.disk.remove(&found.path)?;
                self.disk.sync_dir(&dir)?;
            } else {
                if log.recovered {
                    let why = "it follows a chunk that was recovered as the last one";
                    return Err(StoreError::damaged(&found.path, why));
                }
                let header = found.check_place(&head, &chunks)?;
                last_write_us = found.last_write(&header);
                let hash = self.keep_torn(&dir, &found)?;
                chunks.push(hash);
                merkle.push(hash).map_err(StoreError::format("the log"))?;
            }
        }

        let (chunk_bytes, end_us, torn) = self.measure(&chunks)?;
        if dropped_bytes > 0 {
            tracing::info!(session = %id, dropped_bytes, "cut the torn tail of the last chunk");
        }
        Ok(Recoverable {
            head,
            chunks,
            chunk_bytes,
            end_us,
            last_write_us: last_write_us.filter(|_| torn),
            torn,
            dropped_bytes,
            merkle,
            store: self.clone(),
            dir,
            _lock: lock,
        })
    }

    /// Reads the log and cuts a frame that was being written when the writer died.
    fn mend_log(
        &self,
        dir: &Path,
        head: &SignedHead,
        open: Option<&OpenFile>,
    ) -> Result<log::CheckedLog, StoreError> {
        let path = dir.join(LOG);
        let bytes = disk::read(&path, log::MAX_LOG_BYTES)?
            .ok_or_else(|| StoreError::damaged(&path, "it is missing"))?;
        let checked = log::check(&bytes, head);
        let Some(why) = &checked.broken else {
            return Ok(checked);
        };
        // A frame is only torn while its chunk is the open one. Otherwise the chunk is under its address already, the
        // frame was durable, and something else broke it: cutting it would lose the chunk without a word.
        let being_written = open.is_some_and(|o| {
            o.valid > 0 && o.check_place(head, &checked.chunks).is_ok() && !checked.recovered
        });
        if !being_written || bytes.len() - checked.valid > log::MAX_FRAME {
            return Err(StoreError::damaged(&path, why));
        }
        let file = self.disk.append_to(&path)?;
        self.disk.truncate(&file, checked.valid as u64)?;
        self.disk.sync(&file)?;
        Ok(checked)
    }

    /// The log names the open chunk: its writer died between writing that down and the rename.
    fn finish_rename(&self, found: &OpenFile, hash: Hash) -> Result<(), StoreError> {
        let file = self.disk.append_to(&found.path)?;
        self.disk.sync(&file)?;
        self.place(&file, hash)
    }

    /// Cuts the open chunk to its whole segments, writes its address down and gives it that address, in the order of
    /// `close_chunk`.
    fn keep_torn(&self, dir: &Path, found: &OpenFile) -> Result<Hash, StoreError> {
        let file = self.disk.append_to(&found.path)?;
        if found.valid < found.bytes.len() {
            self.disk.truncate(&file, found.valid as u64)?;
        }
        self.disk.sync(&file)?;
        let hash = Hash::of(&found.bytes[..found.valid]);
        let mut log = self.disk.append_to(&dir.join(LOG))?;
        self.disk.write(&mut log, &log::recovered_frame(hash))?;
        self.disk.sync(&log)?;
        self.place(&file, hash)?;
        Ok(hash)
    }

    /// Bytes of all chunks, the end that the last proves, and whether that one is torn.
    fn measure(&self, chunks: &[Hash]) -> Result<(u64, u64, bool), StoreError> {
        let mut bytes = 0;
        for hash in chunks {
            let len = disk::len(&self.chunk_path(*hash).1)?;
            bytes += len.ok_or(StoreError::ChunkMissing { hash: *hash })?;
        }
        // A torn chunk proves its start only; the one before it may end later than that by the clock of its trailer.
        let (mut end_us, mut torn) = (0, false);
        for hash in chunks.iter().rev().take(2) {
            let chunk = self.chunk(*hash)?;
            let view = ChunkView::parse(&chunk, true).map_err(|e| StoreError::ChunkDamaged {
                hash: *hash,
                why: e.to_string(),
            })?;
            torn |= view.trailer.is_none();
            let ends = view.trailer.map_or(view.header.start_us, |t| t.end_us);
            end_us = end_us.max(ends);
        }
        Ok((bytes, end_us, torn))
    }
}

impl Recoverable {
    /// Which session.
    pub fn id(&self) -> SessionId {
        self.head.ticket.session
    }

    /// The manifest of what was kept, for the host's key to sign.
    pub fn manifest(&self, sealed_us: u64, reason: &str) -> Manifest {
        Manifest {
            version: Manifest::VERSION,
            session: self.id(),
            head: self.head.hash,
            chunks: self.merkle.size(),
            root: merkle::salted(&self.head.head.salt, self.merkle.size(), self.merkle.root()),
            duration_us: self
                .last_write_us
                .map_or(self.end_us, |t| t.max(self.end_us)),
            sealed_us,
            chunk_bytes: self.chunk_bytes,
            ending: Ending::Cut,
            reason: reason.to_owned(),
        }
    }

    /// Seals the session as cut.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when the manifest is about something else; any fault of the disk.
    pub fn seal(self, manifest: &SignedManifest) -> Result<(), StoreError> {
        let stated = &manifest.manifest;
        let expected = Manifest {
            duration_us: stated.duration_us,
            ..self.manifest(stated.sealed_us, &stated.reason)
        };
        if *stated != expected || stated.duration_us < self.end_us {
            return Err(StoreError::Mismatch {
                id: self.id(),
                what: "a manifest",
                why: "it is not about what was recovered".into(),
            });
        }
        self.store.put_manifest(&self.dir, manifest)
    }
}

/// The open chunk that a dead writer left.
pub(crate) struct OpenFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// Bytes of whole segments.
    pub(crate) valid: usize,
}

impl OpenFile {
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(OPEN_CHUNK);
        let Some(bytes) = disk::read(&path, MAX_CHUNK_BYTES as u64)? else {
            return Ok(None);
        };
        let (valid, _) = valid_prefix(&bytes);
        Ok(Some(Self { path, bytes, valid }))
    }

    /// Whether it is the chunk that follows `chunks`.
    pub(crate) fn check_place(
        &self,
        head: &SignedHead,
        chunks: &[Hash],
    ) -> Result<ChunkHeader, StoreError> {
        let header = ChunkHeader::decode(&self.bytes)
            .map_err(|e| StoreError::damaged(&self.path, e.to_string()))?;
        let prev = chunks.last().copied().unwrap_or(head.hash);
        if header.session != head.ticket.session
            || header.index as usize != chunks.len()
            || header.prev != prev
        {
            let why = format!(
                "it is chunk {} of session {}, and chunk {} of session {} belongs here",
                header.index,
                header.session,
                chunks.len(),
                head.ticket.session
            );
            return Err(StoreError::damaged(&self.path, why));
        }
        Ok(header)
    }

    /// When it was last written to, µs since the session began; never more than a chunk's span after its start.
    fn last_write(&self, header: &ChunkHeader) -> Option<u64> {
        let modified = fs::metadata(&self.path).ok()?.modified().ok()?;
        let wall_us = modified.duration_since(UNIX_EPOCH).ok()?.as_micros();
        let wall_us = u64::try_from(wall_us).ok()?;
        let since = wall_us
            .saturating_sub(header.start_wall_us)
            .min(CHUNK_SPAN_US);
        header.start_us.checked_add(since)
    }
}

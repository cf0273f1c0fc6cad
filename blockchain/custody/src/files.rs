//! Chunks on a node's disk.
//!
//! ```text
//!  FOLDER/chunks/ab/cdef…    a chunk; its name is the BLAKE3 of its bytes
//!        /chunks/ab/cdef….b3 its outline, where it is longer than a group
//!        /incoming/          what is being received; emptied at a start
//! ```
//!
//! A chunk is written under another name, synced, renamed, and its folder synced: what has its name is whole. All calls block.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use alloy_primitives::{B256, hex};

use crate::CustodyError;
use crate::contract::Commitment;
use crate::outline::{self, MAX_CHUNK};
use crate::plan::Quota;
use crate::tree::Leaves;

/// Chunks in a folder.
#[derive(Debug, Clone)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    most: u64,
    // Bytes of chunks that are here or being received.
    used: AtomicU64,
    next: AtomicU64,
}

/// A chunk that is being received. Dropped, it is gone.
#[derive(Debug)]
pub struct Incoming {
    files: Files,
    expected: Commitment,
    path: PathBuf,
    file: File,
    written: u64,
    hasher: blake3::Hasher,
    leaves: Leaves,
    outline: outline::Maker,
    kept: bool,
}

/// What a look through the files found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Chunks that are what their names say.
    pub sound: u64,
    /// Chunks that were not, and were removed: they are fetched again.
    pub damaged: Vec<B256>,
}

impl Files {
    /// Opens the folder, made if it is not there; at most `most` bytes of chunks are kept in it.
    pub fn open(folder: &Path, most: u64) -> Result<Self, CustodyError> {
        let incoming = folder.join("incoming");
        // What was being received in the last run has no owner any more.
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CustodyError::file(&incoming, error));
            }
            _ => {}
        }
        for made in [folder.join("chunks"), incoming] {
            fs::create_dir_all(&made).map_err(|error| CustodyError::file(&made, error))?;
        }
        let files = Self(Arc::new(Inner {
            folder: folder.to_owned(),
            most,
            used: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }));
        let mut used = 0;
        for hash in files.list()? {
            used += files.len(hash)?.unwrap_or_default();
        }
        files.0.used.store(used, Ordering::Relaxed);
        Ok(files)
    }

    /// Room that there is.
    pub fn quota(&self) -> Quota {
        Quota {
            most: self.0.most,
            used: self.0.used.load(Ordering::Relaxed),
        }
    }

    fn path(&self, hash: B256) -> PathBuf {
        let name = hex::encode(hash);
        let (first, rest) = name.split_at(2);
        self.0.folder.join("chunks").join(first).join(rest)
    }

    fn outline_path(&self, hash: B256) -> PathBuf {
        self.path(hash).with_extension("b3")
    }

    /// Bytes of a chunk; `None` where it is not here.
    pub fn len(&self, hash: B256) -> Result<Option<u64>, CustodyError> {
        let path = self.path(hash);
        match fs::metadata(&path) {
            Ok(data) => Ok(Some(data.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CustodyError::file(&path, error)),
        }
    }

    /// Opens a chunk for reading, with its length.
    pub fn read(&self, hash: B256) -> Result<Option<(File, u64)>, CustodyError> {
        let path = self.path(hash);
        let fault = |error| CustodyError::file(&path, error);
        match File::open(&path) {
            Ok(file) => {
                let len = file.metadata().map_err(fault)?.len();
                Ok(Some((file, len)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }

    /// A whole chunk, as it lies there.
    pub fn bytes(&self, hash: B256) -> Result<Option<Vec<u8>>, CustodyError> {
        self.read(hash)?
            .map(|(file, _)| {
                bounded(file).map_err(|error| CustodyError::file(&self.path(hash), error))
            })
            .transpose()
    }

    /// A chunk's outline; empty where the chunk is one group. `None` where the chunk is not here.
    pub fn outline(&self, hash: B256) -> Result<Option<Vec<u8>>, CustodyError> {
        let Some(len) = self.len(hash)? else {
            return Ok(None);
        };
        if len <= outline::GROUP as u64 {
            return Ok(Some(Vec::new()));
        }
        let path = self.outline_path(hash);
        match File::open(&path).and_then(bounded) {
            Ok(bytes) => Ok(Some(bytes)),
            // It follows from the chunk: whoever has one can have the other.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(self.bytes(hash)?.map(|bytes| outline::make(&bytes)))
            }
            Err(error) => Err(CustodyError::file(&path, error)),
        }
    }

    /// Begins to receive a chunk. `None` where there is no room for it.
    pub fn receive(&self, expected: Commitment) -> Result<Option<Incoming>, CustodyError> {
        let reserve = |used: u64| {
            let quota = Quota {
                most: self.0.most,
                used,
            };
            quota
                .fits(expected.size)
                .then(|| used + u64::from(expected.size))
        };
        if self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve)
            .is_err()
        {
            return Ok(None);
        }
        let unique = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.folder.join("incoming").join(unique.to_string());
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => Ok(Some(Incoming {
                files: self.clone(),
                expected,
                path,
                file,
                written: 0,
                hasher: blake3::Hasher::new(),
                leaves: Leaves::default(),
                outline: outline::Maker::default(),
                kept: false,
            })),
            Err(error) => {
                self.give_back(expected.size.into());
                Err(CustodyError::file(&path, error))
            }
        }
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Removes a chunk; one that is not here is fine.
    pub fn remove(&self, hash: B256) -> Result<(), CustodyError> {
        let len = self.len(hash)?;
        for path in [self.path(hash), self.outline_path(hash)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CustodyError::file(&path, error));
                }
                _ => {}
            }
        }
        self.give_back(len.unwrap_or_default());
        Ok(())
    }

    /// All chunks that are here. Foreign files are passed over.
    pub fn list(&self) -> Result<Vec<B256>, CustodyError> {
        let chunks = self.0.folder.join("chunks");
        let mut list = Vec::new();
        for folder in names(&chunks)? {
            for rest in names(&chunks.join(&folder))? {
                if let Ok(bytes) = hex::decode_to_array::<_, 32>(format!("{folder}{rest}")) {
                    list.push(B256::new(bytes));
                }
            }
        }
        Ok(list)
    }

    /// Removes what is not in `keep` and was here before `begun`. How many went.
    pub fn sweep(&self, keep: &HashSet<B256>, begun: SystemTime) -> Result<u64, CustodyError> {
        let mut removed = 0;
        for hash in self.list()? {
            if keep.contains(&hash) {
                continue;
            }
            let path = self.path(hash);
            let since = fs::metadata(&path).and_then(|data| data.modified());
            // One that has come since was not looked for; one that is gone is gone.
            if since.is_ok_and(|since| since < begun) {
                self.remove(hash)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Reads every chunk, and removes those that are damaged.
    pub fn fsck(&self) -> Result<Findings, CustodyError> {
        let mut findings = Findings::default();
        for hash in self.list()? {
            let Some(bytes) = self.bytes(hash)? else {
                continue;
            };
            if blake3::hash(&bytes).as_bytes() == &hash.0 {
                findings.sound += 1;
            } else {
                self.remove(hash)?;
                findings.damaged.push(hash);
            }
        }
        Ok(findings)
    }
}

impl Incoming {
    /// Takes the next bytes; more than were committed to are refused.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CustodyError> {
        self.written += bytes.len() as u64;
        if self.written > u64::from(self.expected.size) {
            return Err(self.mismatch("the size"));
        }
        self.hasher.update(bytes);
        self.leaves.update(bytes);
        self.outline.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|error| CustodyError::file(&self.path, error))
    }

    fn mismatch(&self, what: &'static str) -> CustodyError {
        CustodyError::Mismatch {
            hash: self.expected.hash,
            what,
        }
    }

    /// Checks what was received and keeps it. A chunk that is here already stays.
    pub fn keep(mut self) -> Result<(), CustodyError> {
        let Commitment {
            hash,
            storage_root,
            size,
        } = self.expected;
        if self.written != u64::from(size) {
            return Err(self.mismatch("the size"));
        }
        if self.hasher.finalize().as_bytes() != &hash.0 {
            return Err(self.mismatch("the hash"));
        }
        if std::mem::take(&mut self.leaves).root() != Some(storage_root) {
            return Err(self.mismatch("the storage root"));
        }
        let to = self.files.path(hash);
        let folder = to.parent().unwrap_or(&to).to_owned();
        let outline = std::mem::take(&mut self.outline).finish();
        let keep = || {
            self.file.sync_all()?;
            fs::create_dir_all(&folder)?;
            if !outline.is_empty() {
                // Not synced: it can be made again, and one that is torn only makes a fetch go elsewhere.
                fs::write(self.files.outline_path(hash), &outline)?;
            }
            let new = !to.exists();
            fs::rename(&self.path, &to)?;
            for synced in [folder.as_path(), folder.parent().unwrap_or(&folder)] {
                File::open(synced)?.sync_all()?;
            }
            Ok(new)
        };
        let new = keep().map_err(|error| CustodyError::file(&to, error))?;
        if !new {
            self.files.give_back(size.into());
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is removed at the next start.
            let _gone = fs::remove_file(&self.path);
            self.files.give_back(self.expected.size.into());
        }
    }
}

/// Bytes of an open chunk from a place on, as many as fit.
pub fn piece(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
    file.read_at(into, at)
}

fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(u64::from(MAX_CHUNK) + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn names(folder: &Path) -> Result<Vec<String>, CustodyError> {
    let read = || -> io::Result<Vec<String>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        read => read.map_err(|error| CustodyError::file(folder, error)),
    }
}

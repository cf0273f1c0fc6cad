//! Snapshots as files, one folder each.
//!
//! ```text
//! FOLDER/1000/manifest, 0, 1, 2 …     the snapshot of block 1000: its manifest and its pieces
//!       /making/                      one that is being made; removed at the next start
//!       /incoming/                    one that is being fetched; goes on where it was
//! ```
//! A folder gets its number by a rename, once everything in it is on the disk.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use lucid_chain_types::Height;
use lucid_light::TrustedGenesis;

use crate::LedgerError;
use crate::snapshot::{
    MAX_SNAPSHOT_MANIFEST_BYTES, MAX_SNAPSHOT_PIECE_BYTES, Making, SnapshotManifest,
    VerifiedSnapshot,
};

/// Snapshots that are kept. The one before the newest is there for who has begun to fetch it.
const KEPT: usize = 2;

const MANIFEST: &str = "manifest";
const MAKING: &str = "making";
const INCOMING: &str = "incoming";

/// A folder of snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
}

impl Snapshots {
    /// The snapshots in a folder, which is made where there is none. What a crash left of one that was being made is removed.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|source| LedgerError::file(&folder, source))?;
        let snapshots = Self { folder };
        remove(&snapshots.folder.join(MAKING))?;
        Ok(snapshots)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of the newest snapshot; 0 where there is none.
    pub fn newest_bytes(&self) -> Result<u64, LedgerError> {
        let Some(newest) = self.heights()?.first().copied() else {
            return Ok(0);
        };
        let folder = self.folder.join(newest.0.to_string());
        let sum = || {
            let mut bytes = 0;
            for entry in fs::read_dir(&folder)? {
                bytes += entry?.metadata()?.len();
            }
            Ok(bytes)
        };
        sum().map_err(|source| LedgerError::file(&folder, source))
    }

    /// Heights of the snapshots that are whole, the newest first.
    pub fn heights(&self) -> Result<Vec<Height>, LedgerError> {
        let fault = |source| LedgerError::file(&self.folder, source);
        let mut heights = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            if let Some(height) = name.to_str().and_then(|name| name.parse().ok()) {
                heights.push(Height(height));
            }
        }
        heights.sort_unstable_by(|a, b| b.cmp(a));
        Ok(heights)
    }

    /// A snapshot's manifest as it is on the disk; `None` where there is no such snapshot.
    pub fn manifest(&self, height: Height) -> Result<Option<Vec<u8>>, LedgerError> {
        read(
            &self.folder.join(height.0.to_string()).join(MANIFEST),
            MAX_SNAPSHOT_MANIFEST_BYTES,
        )
    }

    /// A piece of a snapshot as it is on the disk; `None` where there is no such piece.
    pub fn piece(&self, height: Height, index: u32) -> Result<Option<Vec<u8>>, LedgerError> {
        read(
            &self
                .folder
                .join(height.0.to_string())
                .join(index.to_string()),
            MAX_SNAPSHOT_PIECE_BYTES,
        )
    }

    /// Writes a snapshot, and removes all but the newest two.
    pub fn make(&self, mut making: Making) -> Result<Height, LedgerError> {
        let height = making.height();
        let folder = self.folder.join(MAKING);
        remove(&folder)?;
        fs::create_dir(&folder).map_err(|source| LedgerError::file(&folder, source))?;
        let mut index = 0u32;
        while let Some(piece) = making.next()? {
            write_synced(&folder.join(index.to_string()), &piece)?;
            index += 1;
        }
        write_synced(&folder.join(MANIFEST), &making.finish()?.encode())?;
        self.place(&folder, height)?;
        Ok(height)
    }

    /// Gives a whole snapshot its number, and removes all but the newest two.
    fn place(&self, from: &Path, height: Height) -> Result<(), LedgerError> {
        sync_folder(from)?;
        let to = self.folder.join(height.0.to_string());
        // The same block again, which is the same snapshot.
        remove(&to)?;
        fs::rename(from, &to).map_err(|source| LedgerError::file(&to, source))?;
        sync_folder(&self.folder)?;
        for old in self.heights()?.into_iter().skip(KEPT) {
            remove(&self.folder.join(old.0.to_string()))?;
        }
        Ok(())
    }

    /// The snapshot that is being fetched, if one was begun and its manifest verifies still.
    pub fn incoming(&self, genesis: &TrustedGenesis) -> Result<Option<Incoming>, LedgerError> {
        let folder = self.folder.join(INCOMING);
        let Some(bytes) = read(&folder.join(MANIFEST), MAX_SNAPSHOT_MANIFEST_BYTES)? else {
            return Ok(None);
        };
        let verified = SnapshotManifest::decode(&bytes).and_then(|it| it.verify(genesis));
        Ok(verified.ok().map(|snapshot| Incoming { folder, snapshot }))
    }

    /// Begins to fetch a snapshot; what was fetched of another is removed.
    pub fn begin_incoming(&self, snapshot: VerifiedSnapshot) -> Result<Incoming, LedgerError> {
        let folder = self.folder.join(INCOMING);
        remove(&folder)?;
        fs::create_dir(&folder).map_err(|source| LedgerError::file(&folder, source))?;
        write_synced(&folder.join(MANIFEST), &snapshot.manifest().encode())?;
        Ok(Incoming { folder, snapshot })
    }

    /// Forgets the snapshot that is being fetched.
    pub fn drop_incoming(&self) -> Result<(), LedgerError> {
        remove(&self.folder.join(INCOMING))
    }

    /// Makes a snapshot that was fetched whole one of those that are kept here.
    pub fn keep(&self, incoming: &Incoming) -> Result<(), LedgerError> {
        for index in 0..incoming.snapshot.manifest().pieces() {
            let path = incoming.folder.join(index.to_string());
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|source| LedgerError::file(&path, source))?;
        }
        self.place(&incoming.folder, incoming.snapshot.height())
    }
}

/// A snapshot that is being fetched.
#[derive(Debug, Clone)]
pub struct Incoming {
    folder: PathBuf,
    snapshot: VerifiedSnapshot,
}

impl Incoming {
    /// What is being fetched.
    #[must_use]
    pub fn snapshot(&self) -> &VerifiedSnapshot {
        &self.snapshot
    }

    /// Takes a piece, if it is the right one.
    pub fn put(&self, index: usize, piece: &[u8]) -> Result<(), LedgerError> {
        self.snapshot.check(index, piece)?;
        // Not synced: what a crash leaves of it is found by its hash.
        let path = self.folder.join(index.to_string());
        fs::write(&path, piece).map_err(|source| LedgerError::file(&path, source))
    }

    /// A piece that was taken; `None` where it was not, or is damaged.
    pub fn piece(&self, index: usize) -> Result<Option<Vec<u8>>, LedgerError> {
        let piece = read(
            &self.folder.join(index.to_string()),
            MAX_SNAPSHOT_PIECE_BYTES,
        )?;
        Ok(piece.filter(|piece| self.snapshot.check(index, piece).is_ok()))
    }

    /// Numbers of the pieces that are to be fetched, after a look at every one that is here.
    pub fn missing(&self) -> Result<Vec<usize>, LedgerError> {
        let mut missing = Vec::new();
        for index in 0..self.snapshot.manifest().pieces() {
            if self.piece(index)?.is_none() {
                missing.push(index);
            }
        }
        Ok(missing)
    }
}

fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, LedgerError> {
    let fault = |source| LedgerError::file(path, source);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(fault)?,
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    // Nothing that long was written here.
    Ok((bytes.len() <= limit).then_some(bytes))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| LedgerError::file(path, source))
}

fn sync_folder(path: &Path) -> Result<(), LedgerError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| LedgerError::file(path, source))
}

fn remove(folder: &Path) -> Result<(), LedgerError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LedgerError::file(folder, error))
        }
        _ => Ok(()),
    }
}

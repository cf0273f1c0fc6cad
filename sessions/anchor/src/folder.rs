//! The queue's folder.
//!
//! ```text
//! anchors/  lock               held by the process that has the queue
//!           journal            see the journal's own description
//!           sessions/ID        what is settled, one session a file: LUCIDANS ‖ version u16 ‖ check [8] ‖ borsh
//!           batches/ROOT       the tree of a batch, as long as a session in it is not settled: LUCIDANB ‖ version u16 ‖ count u64 ‖
//!                              leaves, 56 bytes each, by session ‖ the hashes of each level, the leaves' first
//!           batches.log        every final batch in order, 84 bytes each: root ‖ count ‖ height ‖ time ‖ transaction
//! ```
//!
//! Files in `sessions` and `batches` are written whole. A session's file holds the paths of its batched checkpoints, so that it is all
//! that a proof needs from here.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::anchors::{batch_levels, batch_root_of_path};
use lucid_format::SessionId;
use rustix::fs::{FlockOperation, flock};

use crate::book::{BatchEntry, Book, Leaf, Session};
use crate::journal::{self, write_whole};
use crate::queue::MAX_LEAVES;
use crate::{AnchorError, hash_leaf};

const SESSION: &[u8; 8] = b"LUCIDANS";
const BATCH: &[u8; 8] = b"LUCIDANB";
const VERSION: u16 = 1;
const HEADER: usize = 8 + 2 + 8;
const CHECK: &str = "lucid 2026-11 anchor file v1";
/// Longest file of a session that is read.
const MAX_FILE: u64 = 128 << 20;
const BATCH_HEADER: usize = 8 + 2 + 8;
const LEAF: usize = 16 + 8 + 32;
const ENTRY: usize = 32 + 4 + 8 + 8 + 32;

/// The folder of one account's queue.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// Holds the folder for this process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Folder {
    /// The folder at `root`. Nothing is made yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn session_path(&self, id: SessionId) -> PathBuf {
        self.root.join("sessions").join(id.to_string())
    }

    fn batch_path(&self, root: B256) -> PathBuf {
        let name = data_encoding::HEXLOWER.encode(root.as_slice());
        self.root.join("batches").join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("batches.log")
    }

    /// Makes what is not there, and takes the folder for this process.
    ///
    /// # Errors
    /// [`AnchorError::Locked`], or the disk's.
    pub fn lock(&self) -> Result<Lock, AnchorError> {
        for folder in [
            self.root.clone(),
            self.root.join("sessions"),
            self.root.join("batches"),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|e| AnchorError::io("making folder", &folder, e))?;
        }
        let path = self.root.join("lock");
        let fault = |e| AnchorError::io("locking", &path, e);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fault)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(AnchorError::Locked {
                folder: self.root.clone(),
            }),
            Err(e) => Err(fault(e.into())),
        }
    }

    /// What is known of a session, whoever has the queue. `None` if nothing is.
    ///
    /// # Errors
    /// When a file does not read.
    pub fn session(&self, id: SessionId) -> Result<Option<Session>, AnchorError> {
        if let Some(session) = self.settled(id)? {
            return Ok(Some(session));
        }
        let Some((_, book)) = journal::peek(&self.journal())? else {
            return Ok(None);
        };
        match book.sessions.get(&id) {
            Some(session) => Ok(Some(session.clone())),
            // It may have been settled between the two looks.
            None => self.settled(id),
        }
    }

    /// What is known of every session that is not settled, and whose queue it is. `None` where there is no queue.
    ///
    /// # Errors
    /// When the journal does not read.
    pub fn book(&self) -> Result<Option<(Address, Book)>, AnchorError> {
        journal::peek(&self.journal())
    }

    /// A settled session.
    ///
    /// # Errors
    /// When its file does not read.
    pub fn settled(&self, id: SessionId) -> Result<Option<Session>, AnchorError> {
        read(&self.session_path(id), SESSION)
    }

    /// Keeps a settled session; the paths of its batched checkpoints are filled in.
    pub(crate) fn settle(&self, id: SessionId, mut session: Session) -> Result<(), AnchorError> {
        for checkpoint in &mut session.checkpoints {
            let Some(root) = checkpoint.batch.filter(|_| checkpoint.path.is_empty()) else {
                continue;
            };
            let leaf = Leaf {
                id,
                size: checkpoint.size,
                root: checkpoint.root,
            };
            checkpoint.path = self.path(root, &leaf)?.unwrap_or_default();
        }
        write(&self.session_path(id), SESSION, &session)
    }

    /// A checkpoint's siblings in a batch from its leaf up, `None` if the batch is not kept here or does not have it. They lead to the
    /// batch's root: a file that says otherwise is damaged.
    ///
    /// # Errors
    /// When the batch's file does not read.
    pub fn path(&self, batch: B256, leaf: &Leaf) -> Result<Option<Vec<B256>>, AnchorError> {
        let path = self.batch_path(batch);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(AnchorError::io("reading", &path, e)),
        };
        let found = find_path(&file, leaf).map_err(|e| AnchorError::io("reading", &path, e))?;
        if let Some(found) = &found
            && batch_root_of_path(hash_leaf(leaf), found) != batch
        {
            return Err(AnchorError::Damaged {
                path,
                why: "its hashes do not lead to the batch's root".to_owned(),
            });
        }
        Ok(found)
    }

    /// Keeps the tree of a batch, so that a path is found without hashing all of it again.
    pub(crate) fn keep_batch(&self, root: B256, leaves: &[Leaf]) -> Result<(), AnchorError> {
        let path = self.batch_path(root);
        let fault = |e| AnchorError::io("writing", &path, e);
        let mut bytes = BATCH.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((leaves.len() as u64).to_le_bytes());
        for leaf in leaves {
            bytes.extend(borsh::to_vec(leaf).map_err(fault)?);
        }
        let hashes: Vec<B256> = leaves.iter().map(hash_leaf).collect();
        for level in batch_levels(&hashes) {
            bytes.extend(level.iter().flatten());
        }
        write_whole(&path, &bytes)
    }

    /// Removes the batches of which no session in the book has a checkpoint.
    pub(crate) fn drop_batches(&self, book: &Book) -> Result<(), AnchorError> {
        let needed: BTreeSet<PathBuf> = book
            .sessions
            .values()
            .flat_map(|session| session.checkpoints.iter().filter_map(|c| c.batch))
            .map(|root| self.batch_path(root))
            .collect();
        let folder = self.root.join("batches");
        let fault = |e| AnchorError::io("reading", &folder, e);
        for entry in fs::read_dir(&folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if !needed.contains(&path) {
                fs::remove_file(&path).map_err(|e| AnchorError::io("removing", &path, e))?;
            }
        }
        Ok(())
    }

    /// Every final batch of this queue's account, oldest first.
    ///
    /// # Errors
    /// When the file does not read.
    pub fn batches(&self) -> Result<Vec<BatchEntry>, AnchorError> {
        let path = self.log_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(AnchorError::io("reading", &path, e)),
        };
        let (mut entries, mut seen) = (Vec::<BatchEntry>::new(), BTreeSet::new());
        // A torn end is no whole entry. One that was written twice, around a crash, is there once.
        for bytes in bytes.chunks_exact(ENTRY) {
            let entry: BatchEntry = borsh::from_slice(bytes).map_err(|e| AnchorError::Damaged {
                path: path.clone(),
                why: e.to_string(),
            })?;
            if seen.insert(entry.root) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Appends final batches, synced. A torn end is overwritten.
    pub(crate) fn log_batches(&self, entries: &[BatchEntry]) -> Result<(), AnchorError> {
        let path = self.log_path();
        let fault = |e| AnchorError::io("writing", &path, e);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(fault)?;
        let len = file.metadata().map_err(fault)?.len();
        file.set_len(len - len % ENTRY as u64).map_err(fault)?;
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend(borsh::to_vec(entry).map_err(fault)?);
        }
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .map_err(fault)
    }
}

/// Searches the leaves, which are in the order of their sessions, and reads the siblings.
fn find_path(file: &File, leaf: &Leaf) -> io::Result<Option<Vec<B256>>> {
    let mut head = [0; BATCH_HEADER];
    file.read_exact_at(&mut head, 0)?;
    let count = u64::from_le_bytes(*head.last_chunk().unwrap_or(&[0; 8]));
    if &head[..8] != BATCH || head[8..10] != VERSION.to_le_bytes() || count > MAX_LEAVES as u64 {
        return Err(io::Error::other(
            "it is something else, or of a newer version",
        ));
    }
    let leaves_at = BATCH_HEADER as u64;
    let (mut low, mut high) = (0, count);
    let index = loop {
        if low >= high {
            return Ok(None);
        }
        let middle = low + (high - low) / 2;
        let mut bytes = [0; LEAF];
        file.read_exact_at(&mut bytes, leaves_at + middle * LEAF as u64)?;
        let found: Leaf = borsh::from_slice(&bytes)?;
        match found.id.cmp(&leaf.id) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal if found == *leaf => break middle,
            Ordering::Equal => return Ok(None),
        }
    };
    let (mut at, mut nodes, mut index) = (leaves_at + count * LEAF as u64, count, index);
    let mut path = Vec::new();
    while nodes > 1 {
        let sibling = index ^ 1;
        if sibling < nodes {
            let mut hash = B256::ZERO;
            file.read_exact_at(hash.as_mut_slice(), at + sibling * 32)?;
            path.push(hash);
        }
        at += nodes * 32;
        (nodes, index) = (nodes.div_ceil(2), index / 2);
    }
    Ok(Some(path))
}

fn write<T: BorshSerialize>(path: &Path, magic: &[u8; 8], value: &T) -> Result<(), AnchorError> {
    let body = borsh::to_vec(value).map_err(|e| AnchorError::io("encoding", path, e))?;
    let mut bytes = magic.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(check(&body));
    bytes.extend(body);
    write_whole(path, &bytes)
}

fn read<T: BorshDeserialize>(path: &Path, magic: &[u8; 8]) -> Result<Option<T>, AnchorError> {
    let fault = |e| AnchorError::io("reading", path, e);
    let damaged = |why: String| AnchorError::Damaged {
        path: path.to_owned(),
        why,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fault(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged("it is far too long".to_owned()));
    }
    let (Some(head), Some(body)) = (bytes.get(..HEADER), bytes.get(HEADER..)) else {
        return Err(damaged("it is too short".to_owned()));
    };
    if &head[..8] != magic || head[8..10] != VERSION.to_le_bytes() {
        return Err(damaged(
            "it is something else, or of a newer version".to_owned(),
        ));
    }
    if head[10..] != check(body) {
        return Err(damaged("it was changed".to_owned()));
    }
    borsh::from_slice(body)
        .map(Some)
        .map_err(|e| damaged(e.to_string()))
}

fn check(body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK);
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.update(body).finalize().as_bytes()[..8]);
    check
}

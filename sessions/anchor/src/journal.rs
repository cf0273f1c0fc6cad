//! The journal: records in one append-only file.
//!
//! ```text
//! LUCIDANQ ‖ version u16 = 1 ‖ account [20] ‖ frame ‖ frame ‖ …
//! frame = length of body u32 ‖ check [8] ‖ body = borsh of a list of records
//! ```
//!
//! All numbers little-endian. The check is the start of a BLAKE3 over length and body. A frame is one synced write: a power cut tears
//! the last one at most, and it is cut off at the next start, for nothing was done upon it. A broken frame with a whole one behind it
//! is damage, and refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;

use crate::AnchorError;
use crate::book::{Book, Record};

const MAGIC: &[u8; 8] = b"LUCIDANQ";
const VERSION: u16 = 1;
const HEADER: usize = 8 + 2 + 20;
const FRAME: usize = 4 + 8;
const CHECK: &str = "lucid 2026-11 anchor journal frame v1";
/// Longest body of a frame: a session checkpointed every 30 s for a year has 100 MB of them, and nobody runs one.
const MAX_BODY: usize = 128 << 20;
/// Longest journal that is read: compaction keeps it to a few times what is alive.
const MAX_FILE: u64 = 4 << 30;
/// Bytes below which a journal is not compacted.
const SMALL: u64 = 4 << 20;
/// Records in a frame that compaction writes.
const COMPACTED: usize = 256;

/// The journal of one account, open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    account: Address,
    file: File,
    bytes: u64,
    /// Bytes after the last compaction.
    compacted: u64,
}

impl Journal {
    /// Opens the journal, or makes one, and reads it. A torn end is cut off.
    ///
    /// # Errors
    /// When the disk fails, or the file is damaged or of another account.
    pub fn open(path: &Path, account: Address) -> Result<(Self, Book), AnchorError> {
        let fault = |doing| move |e| AnchorError::io(doing, path, e);
        match fs::metadata(path) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                write_whole(path, &header(account))?;
            }
            Err(e) => return Err(fault("reading")(e)),
        }
        let bytes = read(path)?;
        let (found, book, end) = decode(path, &bytes)?;
        if found != account {
            return Err(AnchorError::OtherAccount {
                path: path.to_owned(),
                found,
                account,
            });
        }
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(fault("opening"))?;
        if end < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - end, "the journal's torn end is cut off");
            file.set_len(end as u64)
                .and_then(|()| file.sync_all())
                .map_err(fault("cutting"))?;
        }
        file.seek(SeekFrom::Start(end as u64))
            .map_err(fault("reading"))?;
        let journal = Self {
            path: path.to_owned(),
            account,
            file,
            bytes: end as u64,
            compacted: 0,
        };
        Ok((journal, book))
    }

    /// Appends records as one frame; they are on the disk when this returns. After an error the journal must not be used: what of
    /// the frame is on the disk is not known.
    ///
    /// # Errors
    /// The disk's.
    pub fn append(&mut self, records: &[Record]) -> Result<(), AnchorError> {
        let frame = frame(&self.path, records)?;
        self.file
            .write_all(&frame)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| AnchorError::io("writing", &self.path, e))?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Whether most of the file is history.
    pub fn is_long(&self) -> bool {
        self.bytes > SMALL.max(self.compacted.saturating_mul(4))
    }

    /// Puts a file that says the same with fewer records in the place of this.
    ///
    /// # Errors
    /// The disk's.
    pub fn compact(&mut self, book: &Book) -> Result<(), AnchorError> {
        let mut bytes = header(self.account);
        for records in book.records().chunks(COMPACTED) {
            bytes.extend(frame(&self.path, records)?);
        }
        write_whole(&self.path, &bytes)?;
        let mut file = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .map_err(|e| AnchorError::io("opening", &self.path, e))?;
        file.seek(SeekFrom::End(0))
            .map_err(|e| AnchorError::io("reading", &self.path, e))?;
        self.file = file;
        self.bytes = bytes.len() as u64;
        self.compacted = self.bytes;
        Ok(())
    }
}

/// Reads a journal that another process may be writing: up to its last whole frame. `None` where there is none.
///
/// # Errors
/// When the disk fails or the file is damaged.
pub fn peek(path: &Path) -> Result<Option<(Address, Book)>, AnchorError> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(AnchorError::io("reading", path, e)),
        Ok(_) => {}
    }
    let bytes = read(path)?;
    decode(path, &bytes).map(|(account, book, _)| Some((account, book)))
}

fn read(path: &Path) -> Result<Vec<u8>, AnchorError> {
    let fault = |e| AnchorError::io("reading", path, e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged(path, "it is far too long"));
    }
    Ok(bytes)
}

fn damaged(path: &Path, why: impl Into<String>) -> AnchorError {
    AnchorError::Damaged {
        path: path.to_owned(),
        why: why.into(),
    }
}

fn header(account: Address) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(account.as_slice());
    bytes
}

fn frame(path: &Path, records: &[Record]) -> Result<Vec<u8>, AnchorError> {
    let body = borsh::to_vec(records).map_err(|e| AnchorError::io("encoding", path, e))?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_BODY)
        .ok_or_else(|| damaged(path, "more is to be written at once than it can hold"))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(check(length, &body));
    frame.extend(body);
    Ok(frame)
}

fn check(length: u32, body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK);
    let hash = hasher.update(&length.to_le_bytes()).update(body).finalize();
    let mut check = [0; 8];
    check.copy_from_slice(&hash.as_bytes()[..8]);
    check
}

/// The frame at `at`: its body, `Err` with the place behind it when its check does not hold, `None` when it is not whole.
fn body_at(bytes: &[u8], at: usize) -> Option<Result<&[u8], usize>> {
    let head = bytes.get(at..at + FRAME)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let size = usize::try_from(length)
        .ok()
        .filter(|size| *size <= MAX_BODY)?;
    let body = bytes.get(at + FRAME..at + FRAME + size)?;
    Some(if check(length, body) == head[4..] {
        Ok(body)
    } else {
        Err(at + FRAME + size)
    })
}

/// Whose journal it is, what it adds up to, and where its last whole frame ends.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<(Address, Book, usize), AnchorError> {
    let head = bytes
        .get(..HEADER)
        .ok_or_else(|| damaged(path, "it is too short to be an anchor journal"))?;
    if &head[..8] != MAGIC {
        return Err(damaged(path, "it is no anchor journal"));
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    if version != VERSION {
        return Err(damaged(
            path,
            format!("it has version {version}, and this program reads {VERSION}"),
        ));
    }
    let (account, mut book, mut at) = (Address::from_slice(&head[10..]), Book::default(), HEADER);
    while let Some(body) = body_at(bytes, at) {
        let body = match body {
            Ok(body) => body,
            Err(behind) if matches!(body_at(bytes, behind), Some(Ok(_))) => {
                return Err(damaged(
                    path,
                    format!("it was changed at byte {at}: restore it from a backup"),
                ));
            }
            Err(_) => break,
        };
        let records: Vec<Record> =
            borsh::from_slice(body).map_err(|e| damaged(path, format!("at byte {at}: {e}")))?;
        records.iter().for_each(|record| book.apply(record));
        at += FRAME + body.len();
    }
    Ok((account, book, at))
}

/// Writes a file whole or not at all, in the place of another if there is one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), AnchorError> {
    let fault = |e| AnchorError::io("writing", path, e);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(fault)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all())
        .map_err(fault)
}

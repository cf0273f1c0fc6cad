//! The audit log: who was let in, who was not, and what was opened, one JSON object a line.
//!
//! Each line names the BLAKE3 of the line before, so lines cannot be changed or dropped in the middle unnoticed. The
//! gateway and the command line both append, under a file lock.
//!
//! A power cut can tear the last line. It stays where it is, the next line names it as it is, and reading shows it as
//! [`TORN`]: the log goes on, and everybody sees where it was torn.

use std::{
    fs,
    io::{self, BufRead, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{RecorderError, home};

const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Longest line that is read back.
const MAX_LINE: u64 = 16 << 10;
/// Longest text in an entry, in bytes: what a client calls itself is its own choice. Six times all of them, as JSON
/// escapes them at worst, still fit a line.
const MAX_TEXT: usize = 512;

/// The event of a line that a power cut tore; its detail says how much is left of it.
pub const TORN: &str = "torn-line";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Wall clock, µs since the Unix epoch.
    pub time_us: u64,
    /// What happened: `session-minted`, `client-refused`, `session-started`, …
    pub event: String,
    /// The session, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The user, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client's address, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Why, or what exactly.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// BLAKE3 of the line before, in hex; zeros in the first.
    pub prev: String,
}

impl AuditEntry {
    /// Cuts texts that are longer than a line has room for.
    fn bound(&mut self) {
        let texts = [&mut self.session, &mut self.user, &mut self.peer];
        let texts = texts.into_iter().filter_map(Option::as_mut);
        for text in texts.chain([&mut self.event, &mut self.detail]) {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
    }
}

/// The log at one path.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log at `path`; the file is made by the first line.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Appends a line and syncs it. `prev` is filled in.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, mut entry: AuditEntry) -> Result<(), RecorderError> {
        let fault = |e: io::Error| RecorderError::io("writing", &self.path, e);
        let mut file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(fault)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| fault(e.into()))?;
        let last = last_line(&mut file).map_err(fault)?;
        let first = last.is_none();
        entry.prev = last.map_or_else(|| FIRST.to_owned(), |line| link(&line));
        entry.bound();
        let mut line = serde_json::to_string(&entry).map_err(|e| fault(e.into()))?;
        line.push('\n');
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(fault)?;
        match self.path.parent() {
            Some(folder) if first => home::sync_dir(folder),
            _ => Ok(()),
        }
    }

    /// Reads the log and checks its chain. What a power cut left of a line is an entry with the event [`TORN`].
    ///
    /// # Errors
    /// [`RecorderError::Audit`] with the line that does not follow.
    pub fn read(&self) -> Result<Vec<AuditEntry>, RecorderError> {
        let file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(RecorderError::io("reading", &self.path, e)),
        };
        // A line that is being written is not torn.
        flock(&file, FlockOperation::LockShared)
            .map_err(|e| RecorderError::io("locking", &self.path, e.into()))?;
        let mut reader = io::BufReader::new(file);
        let (mut entries, mut prev) = (Vec::new(), FIRST.to_owned());
        loop {
            let mut line = Vec::new();
            let number = entries.len() + 1;
            let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            if read.map_err(|e| RecorderError::io("reading", &self.path, e))? == 0 {
                return Ok(entries);
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            // What is no entry was torn if the next line names it as it is now, or if there is no next line.
            let entry = match serde_json::from_slice::<AuditEntry>(text) {
                Ok(entry) if entry.prev != prev => {
                    return Err(changed(
                        &self.path,
                        number,
                        "it does not name the line before",
                    ));
                }
                Ok(entry) => entry,
                Err(_) if line.len() as u64 == MAX_LINE => {
                    return Err(changed(
                        &self.path,
                        number,
                        "it is longer than any line that is written",
                    ));
                }
                Err(_) => torn(text, prev),
            };
            prev = link(text);
            entries.push(entry);
        }
    }
}

/// What is shown of a line that a power cut tore.
fn torn(text: &[u8], prev: String) -> AuditEntry {
    AuditEntry {
        time_us: 0,
        event: TORN.to_owned(),
        session: None,
        user: None,
        peer: None,
        detail: format!(
            "a line was torn by a power cut: {} bytes are left of it",
            text.len()
        ),
        prev,
    }
}

fn changed(path: &Path, line: usize, why: &str) -> RecorderError {
    RecorderError::Audit {
        path: path.to_owned(),
        line,
        why: why.to_owned(),
    }
}

fn link(line: &[u8]) -> String {
    blake3::hash(line).to_hex().to_string()
}

/// The last whole line. A line torn by a power cut is ended first, so that it cannot swallow the next one; the chain then
/// shows it.
fn last_line(file: &mut fs::File) -> io::Result<Option<Vec<u8>>> {
    let len = file.seek(io::SeekFrom::End(0))?;
    if len == 0 {
        return Ok(None);
    }
    file.seek(io::SeekFrom::Start(len.saturating_sub(MAX_LINE)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    if tail.last() != Some(&b'\n') {
        file.write_all(b"\n")?;
        tail.push(b'\n');
    }
    tail.pop();
    let begin = tail
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    Ok(Some(tail.split_off(begin)))
}

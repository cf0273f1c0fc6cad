//! A file that a crash can damage, under the engine's own log format.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;

use malachite_wal::Storage;

use super::rng::Rng;

/// What a crash does to writes that were not synced. Those before a sync always survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// All are gone.
    Lost,
    /// Some survive, in order, and the last of them perhaps in part.
    Torn,
    /// As before, but the space of the next one was reserved and holds zeros.
    Zeros,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Size(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                if to.len() < at + bytes.len() {
                    to.resize(at + bytes.len(), 0);
                }
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Size(size) => to.resize(*size, 0),
        }
    }
}

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

/// A file. Clones are the same file.
#[derive(Clone, Default)]
pub(crate) struct File(Rc<RefCell<Content>>);

impl File {
    pub(crate) fn crash(&self, tail: Tail, rng: &mut Rng) {
        let mut content = self.0.borrow_mut();
        let pending = std::mem::take(&mut content.pending);
        let mut survived = std::mem::take(&mut content.durable);
        if tail != Tail::Lost {
            let whole = rng.index(pending.len() + 1);
            for change in &pending[..whole] {
                change.apply(&mut survived);
            }
            if let Some(Change::Write { at, bytes }) = pending.get(whole) {
                let bytes = match tail {
                    Tail::Zeros => vec![0; bytes.len()],
                    _ => bytes[..rng.index(bytes.len() + 1)].to_vec(),
                };
                Change::Write { at: *at, bytes }.apply(&mut survived);
            }
        }
        content.current = survived.clone();
        content.durable = survived;
    }

    pub(crate) fn delete(&self) {
        *self.0.borrow_mut() = Content::default();
    }
}

/// An open file.
pub(crate) struct Handle {
    file: File,
    position: u64,
}

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.file.0.borrow();
        let rest = content.current.get(self.position as usize..);
        let rest = rest.unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.file.0.borrow_mut();
        let change = Change::Write {
            at: self.position as usize,
            bytes: bytes.to_vec(),
        };
        change.apply(&mut content.current);
        content.pending.push(change);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let size = self.file.0.borrow().current.len() as u64;
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => size.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Storage for Handle {
    type OpenOptions = File;

    fn open_with(_: impl AsRef<Path>, file: File) -> io::Result<Self> {
        Ok(Self { file, position: 0 })
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.0.borrow().current.len() as u64)
    }

    fn truncate_to(&mut self, size: u64) -> io::Result<()> {
        let mut content = self.file.0.borrow_mut();
        let change = Change::Size(size as usize);
        change.apply(&mut content.current);
        content.pending.push(change);
        Ok(())
    }

    fn sync_all(&mut self) -> io::Result<()> {
        let mut content = self.file.0.borrow_mut();
        content.pending.clear();
        content.durable = content.current.clone();
        Ok(())
    }
}

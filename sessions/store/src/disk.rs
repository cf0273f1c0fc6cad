//! Every change the store makes on the disk goes through here: what is written is synced before it is renamed, a rename
//! is made durable by syncing its folder, and a test can look at, stop or fail each single step.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{fs::FallocateFlags, io::Errno};

use crate::StoreError;

/// What names of files that are not finished start with.
pub(crate) const TEMP: &str = ".tmp-";

/// One change on the disk, about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// A folder is made.
    MakeDir(&'a Path),
    /// A file is created, empty.
    Create(&'a Path),
    /// Bytes are appended to a file.
    Write {
        /// Which file.
        path: &'a Path,
        /// How many bytes.
        len: usize,
    },
    /// A file is cut.
    Truncate {
        /// Which file.
        path: &'a Path,
        /// Its new length in bytes.
        len: u64,
    },
    /// A file's content is made durable.
    Sync(&'a Path),
    /// A file or folder gets another name, replacing what had it.
    Rename {
        /// The old name.
        from: &'a Path,
        /// The new name.
        to: &'a Path,
    },
    /// A file or empty folder is removed.
    Remove(&'a Path),
    /// A folder's names are made durable.
    SyncDir(&'a Path),
}

/// Called before each [`Change`]; an error stands for a disk that refuses it. For tests that cut the power.
pub type Tap = Arc<dyn Fn(&Change<'_>) -> io::Result<()> + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) tap: Option<Tap>,
}

/// A file that is appended to.
pub(crate) struct Appending {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Disk {
    fn run<T>(
        &self,
        doing: &'static str,
        path: &Path,
        change: &Change<'_>,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let tapped = self.tap.as_ref().map_or(Ok(()), |tap| tap(change));
        tapped
            .and_then(|()| act())
            .map_err(|e| StoreError::io(doing, path, &e))
    }

    /// Makes a folder only its owner can enter; one that is there is fine.
    pub(crate) fn make_dir(&self, path: &Path) -> Result<(), StoreError> {
        let make = || match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        self.run("making", path, &Change::MakeDir(path), make)
    }

    /// Creates a file that must not exist yet.
    pub(crate) fn create(&self, path: &Path) -> Result<Appending, StoreError> {
        let create = || {
            OpenOptions::new()
                .create_new(true)
                .append(true)
                .mode(0o600)
                .open(path)
        };
        let file = self.run("creating", path, &Change::Create(path), create)?;
        let path = path.to_path_buf();
        Ok(Appending { file, path })
    }

    /// Opens a file to append to it or cut it.
    pub(crate) fn append_to(&self, path: &Path) -> Result<Appending, StoreError> {
        let open = || {
            if fs::metadata(path)?.permissions().readonly() {
                fs::set_permissions(path, Permissions::from_mode(0o600))?;
            }
            OpenOptions::new().append(true).open(path)
        };
        let file = open().map_err(|e| StoreError::io("opening", path, &e))?;
        let path = path.to_path_buf();
        Ok(Appending { file, path })
    }

    pub(crate) fn write(&self, to: &mut Appending, bytes: &[u8]) -> Result<(), StoreError> {
        let len = bytes.len();
        let (path, file) = (&to.path, &mut to.file);
        self.run("writing", path, &Change::Write { path, len }, || {
            file.write_all(bytes)
        })
    }

    pub(crate) fn truncate(&self, file: &Appending, len: u64) -> Result<(), StoreError> {
        let path = &file.path;
        self.run("cutting", path, &Change::Truncate { path, len }, || {
            file.file.set_len(len)
        })
    }

    /// fdatasync: content and length. A failure is final, because the kernel then forgets what it could not write: who
    /// tries again is told "done" about lost bytes.
    pub(crate) fn sync(&self, file: &Appending) -> Result<(), StoreError> {
        self.run("syncing", &file.path, &Change::Sync(&file.path), || {
            file.file.sync_data()
        })
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.run("syncing", path, &Change::SyncDir(path), || {
            File::open(path)?.sync_all()
        })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.run("renaming", from, &Change::Rename { from, to }, || {
            fs::rename(from, to)
        })
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let remove = || match fs::remove_file(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        };
        self.run("removing", path, &Change::Remove(path), remove)
    }

    /// Removes a folder of the store with the files in it.
    pub(crate) fn remove_dir(&self, path: &Path) -> Result<(), StoreError> {
        for entry in entries(path)? {
            self.remove(&path.join(entry))?;
        }
        self.run("removing", path, &Change::Remove(path), || {
            fs::remove_dir(path)
        })
    }

    /// Writes a file whole or not at all, replacing what had its name.
    pub(crate) fn put(&self, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = dir.join(format!("{TEMP}{name}-{}", unique()));
        let written = self.create(&temp).and_then(|mut file| {
            self.write(&mut file, bytes)?;
            self.sync(&file)
        });
        let named = written.and_then(|()| self.rename(&temp, &dir.join(name)));
        if let Err(error) = named {
            // The first fault is the one to report; fsck names the file if this fails as well.
            let _ = fs::remove_file(&temp);
            return Err(error);
        }
        self.sync_dir(dir)
    }

    /// Creates a file that takes up `len` bytes of the disk.
    pub(crate) fn allocate(&self, path: &Path, len: usize) -> Result<(), StoreError> {
        let mut file = self.create(path)?;
        match rustix::fs::fallocate(&file.file, FallocateFlags::empty(), 0, len as u64) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write(&mut file, &vec![0; len]),
            Err(e) => Err(StoreError::io("reserving", path, &e.into())),
        }?;
        self.sync(&file)
    }

    /// Overwrites a file with zeros in place.
    pub(crate) fn wipe(&self, path: &Path) -> Result<(), StoreError> {
        let wipe = || {
            let mut file = OpenOptions::new().write(true).open(path)?;
            let len = file.metadata()?.len();
            io::copy(&mut io::repeat(0).take(len), &mut file)?;
            file.sync_all()
        };
        let change = Change::Write { path, len: 0 };
        self.run("overwriting", path, &change, wipe)
    }

    /// Takes away the right to write, so that no slip changes a finished chunk.
    pub(crate) fn protect(&self, file: &Appending) -> Result<(), StoreError> {
        file.file
            .set_permissions(Permissions::from_mode(0o400))
            .map_err(|e| StoreError::io("protecting", &file.path, &e))
    }
}

/// A part of a file name no other process and no other call has.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Names in a folder, sorted. Names that are not UTF-8 come out with replacement characters: foreign either way.
pub(crate) fn entries(dir: &Path) -> Result<Vec<String>, StoreError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(dir)?
            .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    };
    read().map_err(|e| StoreError::io("reading", dir, &e))
}

/// A file's bytes, never more than `bound`; `None` when it is not there.
pub(crate) fn read(path: &Path, bound: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("opening", path, &e)),
    };
    let mut bytes = Vec::new();
    file.take(bound + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| StoreError::io("reading", path, &e))?;
    if bytes.len() as u64 > bound {
        let why = format!("it is larger than {bound} bytes");
        return Err(StoreError::damaged(path, why));
    }
    Ok(Some(bytes))
}

/// A file's length in bytes; `None` when it is not there.
pub(crate) fn len(path: &Path) -> Result<Option<u64>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.len())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("looking at", path, &e)),
    }
}

/// Bytes free to this user on the disk of `path`.
pub(crate) fn free(path: &Path) -> Result<u64, StoreError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| StoreError::io("asking the free space of", path, &e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How a lock is to be held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

/// Locks a lock file, waiting up to `patience`: others hold a lock for an instant just to see whether it is free. `None`
/// when somebody keeps it. The kernel gives the lock back when the process dies.
pub(crate) fn lock(path: &Path, how: Lock, patience: Duration) -> Result<Option<File>, StoreError> {
    let file = File::open(path).map_err(|e| StoreError::io("opening", path, &e))?;
    let until = Instant::now() + patience;
    loop {
        let taken = match how {
            Lock::Shared => file.try_lock_shared(),
            Lock::Exclusive => file.try_lock(),
        };
        match taken {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(e)) => return Err(StoreError::io("locking", path, &e)),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

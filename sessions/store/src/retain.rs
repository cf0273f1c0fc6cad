//! What stays and what goes: retention, legal hold, destroying keys.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use lucid_format::{Hash, SessionId};
use serde::Serialize;

use crate::{
    SessionState, SessionSummary, Store, StoreError,
    disk::{self, Lock, TEMP},
    log,
    store::{
        HOLD, LOG, NEW, PATIENCE, SESSION_LOCK, SHREDDED, SHREDDING, TRASH, WRAPS, as_text,
        checked_text, read_head, read_hold,
    },
};

/// A session that is being created is a folder for milliseconds; what is this old was left by a dead process.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// Longest text of a legal hold, in bytes.
const MAX_HOLD: usize = 4096;

/// What may stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePolicy {
    /// The wall clock, µs since the Unix epoch.
    pub now_us: u64,
    /// Sessions that were sealed longer ago than this go, in µs.
    pub max_age_us: Option<u64>,
    /// While the store is larger than this, its oldest sessions go.
    pub max_bytes: Option<u64>,
}

/// A session that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub id: SessionId,
    /// Bytes that were freed.
    pub bytes: u64,
    /// Chunks that were removed; those that other sessions have too stay.
    pub chunks: u32,
    /// `age` or `size`.
    pub why: &'static str,
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Sessions that went, oldest first.
    pub removed: Vec<Pruned>,
    /// Sessions that would have gone but for a legal hold.
    pub held: u32,
    /// Sessions that would have gone but that a process is working on.
    pub busy: u32,
    /// Bytes of the store before.
    pub bytes_before: u64,
    /// Bytes of the store after.
    pub bytes_after: u64,
    /// Bytes by which the store is still larger than the policy allows: held, live and unsealed sessions stay.
    pub over_bytes: u64,
}

impl Store {
    /// The lock over what changes sessions from outside. Waits a moment, then says who is in the way.
    pub(crate) fn maintain(&self, how: Lock) -> Result<File, StoreError> {
        disk::lock(&self.maintenance_lock(), how, PATIENCE)?.ok_or_else(|| StoreError::Busy {
            root: self.root().to_path_buf(),
        })
    }

    /// Removes whole sealed sessions, oldest first, never those that are held, live or unsealed. Ends what an interrupted
    /// prune began. With `dry_run`, changes nothing and says what it would do.
    ///
    /// A session's folder is renamed first, so that it is gone at once; then its chunks go, then its log. Whenever that is
    /// cut, the next prune reads the log again and goes on.
    ///
    /// # Errors
    /// [`StoreError::Busy`]; any fault of the disk.
    pub fn prune(&self, policy: &PrunePolicy, dry_run: bool) -> Result<PruneReport, StoreError> {
        let _maintenance = self.maintain(Lock::Exclusive)?;
        if !dry_run {
            self.tidy()?;
        }
        let bytes_before = self.bytes()?;
        let mut report = PruneReport {
            bytes_before,
            bytes_after: bytes_before,
            ..PruneReport::default()
        };
        let mut references = None;
        for session in self.list()?.sessions {
            let Some(why) = doomed(&session, policy, report.bytes_after) else {
                continue;
            };
            if session.hold.is_some() {
                report.held += 1;
                continue;
            }
            // Recovery or shredding may have it; a reader of a sealed session does not lock it and gets an error.
            let Ok((dir, _lock)) = self.take(session.id, "pruning it") else {
                report.busy += 1;
                continue;
            };
            let known = match &mut references {
                Some(known) => known,
                none => none.insert(self.references()?),
            };
            let (bytes, chunks) = self.remove_session(&dir, session.id, known, dry_run)?;
            report.bytes_after = report.bytes_after.saturating_sub(bytes);
            let id = session.id;
            report.removed.push(Pruned {
                id,
                bytes,
                chunks,
                why,
            });
        }
        report.over_bytes = policy
            .max_bytes
            .map_or(0, |max| report.bytes_after.saturating_sub(max));
        Ok(report)
    }

    /// Bytes and chunks that removing the session frees; removes it unless `dry_run`.
    fn remove_session(
        &self,
        dir: &Path,
        id: SessionId,
        references: &mut References,
        dry_run: bool,
    ) -> Result<(u64, u32), StoreError> {
        let mut bytes = 0;
        for file in disk::entries(dir)? {
            bytes += disk::len(&dir.join(file))?.unwrap_or(0);
        }
        let chunks = read_addresses(dir)?;
        references.drop_session(&chunks);
        let mut own = 0;
        for chunk in references.unused(&chunks) {
            bytes += disk::len(&self.chunk_path(chunk).1)?.unwrap_or(0);
            own += 1;
        }
        if !dry_run {
            let trash = self.sessions_dir().join(format!("{TRASH}{id}"));
            self.disk.rename(dir, &trash)?;
            self.disk.sync_dir(&self.sessions_dir())?;
            self.empty_trash(&trash, references)?;
        }
        Ok((bytes, own))
    }

    /// How many sessions name each chunk. Sessions that begin meanwhile have chunks of their own: every chunk's header has
    /// its session and a random nonce.
    fn references(&self) -> Result<References, StoreError> {
        let mut references = References(HashMap::new());
        for id in self.ids()? {
            for chunk in read_addresses(&self.session_dir(id))? {
                *references.0.entry(chunk).or_default() += 1;
            }
        }
        Ok(references)
    }

    /// Removes the session in `trash`: chunks first, because only its log says which they are.
    fn empty_trash(&self, trash: &Path, references: &References) -> Result<(), StoreError> {
        let mut folders = HashSet::new();
        for chunk in references.unused(&read_addresses(trash)?) {
            let (folder, path) = self.chunk_path(chunk);
            if disk::len(&path)?.is_some() {
                self.disk.remove(&path)?;
                folders.insert(folder);
            }
        }
        for folder in folders {
            self.disk.sync_dir(&folder)?;
        }
        self.disk.remove_dir(trash)?;
        self.disk.sync_dir(&self.sessions_dir())
    }

    /// Ends interrupted prunes and removes what dead processes left half-written.
    fn tidy(&self) -> Result<(), StoreError> {
        let sessions = self.sessions_dir();
        for name in disk::entries(&sessions)? {
            let dir = sessions.join(&name);
            if name.starts_with(TRASH) {
                self.empty_trash(&dir, &self.references()?)?;
            } else if name.starts_with(NEW) && is_old(&dir) && !Self::is_live(&dir)? {
                self.disk.remove_dir(&dir)?;
            }
        }
        for id in self.ids()? {
            // A session that somebody works on may have such a file for good reason.
            let Ok((dir, _lock)) = self.take_at_once(id) else {
                continue;
            };
            for name in disk::entries(&dir)? {
                if name.starts_with(TEMP) {
                    self.disk.remove(&dir.join(name))?;
                }
            }
        }
        Ok(())
    }

    fn take_at_once(&self, id: SessionId) -> Result<(PathBuf, File), StoreError> {
        let dir = self.existing(id)?;
        let lock = disk::lock(&dir.join(SESSION_LOCK), Lock::Exclusive, Duration::ZERO)?;
        let doing = "tidying it";
        Ok((dir, lock.ok_or(StoreError::Live { id, doing })?))
    }

    /// Puts a session under legal hold: it is neither pruned nor shredded until released. `text` says who and why; it
    /// replaces an earlier one. Live sessions can be held too.
    ///
    /// # Errors
    /// [`StoreError::NoSession`], [`StoreError::Busy`], or any fault of the disk.
    pub fn hold(&self, id: SessionId, text: &str) -> Result<(), StoreError> {
        let _maintenance = self.maintain(Lock::Exclusive)?;
        let dir = self.existing(id)?;
        if text.trim().is_empty() || text.len() > MAX_HOLD {
            return Err(StoreError::Mismatch {
                id,
                what: "a legal hold",
                why: format!("who and why is a text of 1 to {MAX_HOLD} bytes"),
            });
        }
        self.disk.put(&dir, HOLD, &checked_text(text))
    }

    /// Ends a legal hold; one that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError::NoSession`], [`StoreError::Busy`], or any fault of the disk.
    pub fn release(&self, id: SessionId) -> Result<(), StoreError> {
        let _maintenance = self.maintain(Lock::Exclusive)?;
        let dir = self.existing(id)?;
        self.disk.remove(&dir.join(HOLD))?;
        self.disk.sync_dir(&dir)
    }

    /// Destroys the wraps of a session's seed (crypto-shredding): nobody opens the recording any more, everybody can still
    /// verify it. Interrupted, it is finished by calling it again.
    ///
    /// The wraps are overwritten in place and removed. Flash storage, file systems that copy on write, snapshots, backups
    /// and packed `.lucid` files may still have them: what cannot be found again is up to those who keep such copies. Who
    /// opened the recording before may have its seed.
    ///
    /// # Errors
    /// [`StoreError::Held`], [`StoreError::Live`], [`StoreError::Busy`], or any fault of the disk.
    pub fn shred(&self, id: SessionId, now_us: u64) -> Result<(), StoreError> {
        let _maintenance = self.maintain(Lock::Exclusive)?;
        let (dir, _lock) = self.take(id, "shredding it")?;
        if let Some(hold) = read_hold(&dir)? {
            return Err(StoreError::Held { id, hold });
        }
        if disk::len(&dir.join(SHREDDED))?.is_some() {
            return Ok(());
        }
        read_head(&dir, id)?;
        // Said before it is done, so that a half-wiped file is not taken for damage; "shredded" only after it is done.
        let shredding = dir.join(SHREDDING);
        self.disk
            .put(&dir, SHREDDING, &checked_text(&now_us.to_string()))?;
        let wraps = dir.join(WRAPS);
        if disk::len(&wraps)?.is_some() {
            self.disk.wipe(&wraps)?;
            self.disk.remove(&wraps)?;
            self.disk.sync_dir(&dir)?;
        }
        self.disk.rename(&shredding, &dir.join(SHREDDED))?;
        self.disk.sync_dir(&dir)
    }
}

/// How many sessions name each chunk.
struct References(HashMap<Hash, u32>);

impl References {
    fn drop_session(&mut self, chunks: &[Hash]) {
        for chunk in chunks {
            if let Some(count) = self.0.get_mut(chunk) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Those of `chunks` that no session names.
    fn unused(&self, chunks: &[Hash]) -> HashSet<Hash> {
        let named = |chunk: &&Hash| self.0.get(*chunk).is_some_and(|count| *count > 0);
        chunks.iter().filter(|c| !named(c)).copied().collect()
    }
}

fn read_addresses(dir: &Path) -> Result<Vec<Hash>, StoreError> {
    let log = disk::read(&dir.join(LOG), log::MAX_LOG_BYTES)?.unwrap_or_default();
    Ok(log::addresses(&log).0)
}

/// Why a session goes, if it does.
fn doomed(session: &SessionSummary, policy: &PrunePolicy, bytes: u64) -> Option<&'static str> {
    if !matches!(session.state, SessionState::Closed | SessionState::Cut) {
        return None;
    }
    let age_us = policy.now_us.saturating_sub(session.sealed_us?);
    if policy.max_age_us.is_some_and(|max| age_us > max) {
        Some("age")
    } else if policy.max_bytes.is_some_and(|max| bytes > max) {
        Some("size")
    } else {
        None
    }
}

fn is_old(dir: &Path) -> bool {
    let modified = dir.metadata().and_then(|m| m.modified());
    modified
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok())
        .is_some_and(|age| age > LEFT_OVER_AFTER)
}

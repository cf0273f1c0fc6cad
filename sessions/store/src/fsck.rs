//! Checking the whole store. Reads everything, writes nothing.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use lucid_format::{
    ChunkHeader, ChunkView, Ending, ErrorKind, Hash, SessionId, SignedHead, SignedManifest,
};
use serde::Serialize;

use crate::{
    Store, StoreError,
    disk::{self, Lock, TEMP},
    log,
    recover::OpenFile,
    store::{
        HEAD, HOLD, LOG, MANIFEST, NEW, OPEN_CHUNK, RESERVE, SESSION_LOCK, SHREDDED, SHREDDING,
        TRASH, WRAPS, as_text, check_chunk_list, read_head, read_hold, read_manifest,
        read_shredded, read_wraps,
    },
};

/// Whether something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Bytes were changed, lost or put there by something else.
    Error,
    /// What a running or an interrupted process leaves, and what ends it.
    Harmless,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// Bytes are not those that were written.
    Changed,
    /// The end is gone.
    Truncated,
    /// A file is gone.
    Missing,
    /// A file that nothing in the store refers to or that does not belong there.
    Extra,
    /// A file of the store that does not decode or whose signature does not hold.
    Unreadable,
    /// Chunks and signed root do not belong together.
    WrongRoot,
    /// A session to be recovered.
    Unsealed,
    /// What an interrupted or a running process has not finished.
    Unfinished,
}

/// One thing that is not as a store at rest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether something was lost.
    pub severity: Severity,
    /// What.
    pub kind: FindingKind,
    /// Where, from the store's root.
    pub path: PathBuf,
    /// The session it belongs to.
    #[serde(serialize_with = "maybe_text")]
    pub session: Option<SessionId>,
    /// In words.
    pub why: String,
}

/// What fsck found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FsckReport {
    /// Sessions looked at.
    pub sessions: u32,
    /// Chunks whose bytes were hashed.
    pub chunks: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Errors first.
    pub findings: Vec<Finding>,
}

impl FsckReport {
    /// Whether nothing was lost.
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|f| f.severity == Severity::Harmless)
    }
}

// The signature is what serde's `serialize_with` calls.
#[allow(clippy::ref_option)]
fn maybe_text<S: serde::Serializer>(
    id: &Option<SessionId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => as_text(id, serializer),
        None => serializer.serialize_none(),
    }
}

impl Store {
    /// Checks every file: hashes, signatures, names, and that each session's chunks lead to its signed root.
    ///
    /// `progress` gets the chunk bytes done and in all.
    ///
    /// # Errors
    /// [`StoreError::Busy`], or when the disk does not read; what is wrong with the content is in the report.
    pub fn fsck(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport, StoreError> {
        // Nothing is pruned or shredded meanwhile; sessions may be written and sealed.
        let _maintenance = self.maintain(Lock::Shared)?;
        let mut fsck = Fsck {
            store: self,
            report: FsckReport::default(),
            referred: HashSet::new(),
        };
        // Read before the logs: a chunk that is there now is named by a log now (a log is written first).
        let there = fsck.chunk_files()?;
        fsck.top()?;
        let mut sessions = fsck.sessions()?;
        sessions.retain_mut(|session| !session.chunks.is_empty());
        let mut done = 0;
        let total = there.values().sum();
        for session in &sessions {
            done = fsck.chunks(session, done, total, progress)?;
        }
        fsck.orphans(&there, done, total, progress);
        fsck.report
            .findings
            .sort_by(|a, b| (a.severity, &a.path, a.kind).cmp(&(b.severity, &b.path, b.kind)));
        Ok(fsck.report)
    }
}

struct Fsck<'a> {
    store: &'a Store,
    report: FsckReport,
    referred: HashSet<Hash>,
}

/// A session whose chunks are still to be read.
struct Session {
    id: SessionId,
    dir: PathBuf,
    head: SignedHead,
    manifest: Option<SignedManifest>,
    chunks: Vec<Hash>,
    /// Whether the last chunk may be torn.
    recovered: bool,
}

impl Fsck<'_> {
    fn find(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        path: &Path,
        session: Option<SessionId>,
        why: impl Into<String>,
    ) {
        let path = path.strip_prefix(self.store.root()).unwrap_or(path);
        self.report.findings.push(Finding {
            severity,
            kind,
            path: path.to_path_buf(),
            session,
            why: why.into(),
        });
    }

    fn error(
        &mut self,
        kind: FindingKind,
        path: &Path,
        session: Option<SessionId>,
        why: impl Into<String>,
    ) {
        self.find(Severity::Error, kind, path, session, why);
    }

    fn harmless(
        &mut self,
        kind: FindingKind,
        path: &Path,
        session: Option<SessionId>,
        why: impl Into<String>,
    ) {
        self.find(Severity::Harmless, kind, path, session, why);
    }

    fn foreign(&mut self, path: &Path, session: Option<SessionId>) {
        let why = "it is no file of the store: move it elsewhere";
        self.error(FindingKind::Extra, path, session, why);
    }

    /// Takes what is wrong with a file as a finding; faults of the disk end the check.
    fn unless_damaged<T>(
        &mut self,
        session: SessionId,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::Damaged { path, why }) => {
                let kind = if disk::len(&path)?.is_none() {
                    FindingKind::Missing
                } else {
                    FindingKind::Unreadable
                };
                self.error(kind, &path, Some(session), why);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn top(&mut self) -> Result<(), StoreError> {
        for name in disk::entries(self.store.root())? {
            let path = self.store.root().join(&name);
            if name.starts_with(TEMP) {
                let why = "a process died while it made the store; it can be removed";
                self.harmless(FindingKind::Unfinished, &path, None, why);
            } else if !Store::is_ours(&name) {
                self.foreign(&path, None);
            }
        }
        Ok(())
    }

    /// All chunks by name, with their lengths.
    fn chunk_files(&mut self) -> Result<HashMap<Hash, u64>, StoreError> {
        let top = self.store.chunks_dir();
        let mut there = HashMap::new();
        for folder in disk::entries(&top)? {
            let dir = top.join(&folder);
            if folder.len() != 2 || !dir.is_dir() {
                self.foreign(&dir, None);
                continue;
            }
            for file in disk::entries(&dir)? {
                let path = dir.join(&file);
                let is_file = path.symlink_metadata().is_ok_and(|m| m.is_file());
                match Hash::from_hex(&format!("{folder}{file}")) {
                    Ok(hash) if is_file => {
                        there.insert(hash, disk::len(&path)?.unwrap_or(0));
                    }
                    _ => self.foreign(&path, None),
                }
            }
        }
        Ok(there)
    }

    fn sessions(&mut self) -> Result<Vec<Session>, StoreError> {
        let top = self.store.sessions_dir();
        let mut sessions = Vec::new();
        for name in disk::entries(&top)? {
            let dir = top.join(&name);
            if let Ok(id) = name.parse::<SessionId>() {
                self.report.sessions += 1;
                sessions.extend(self.session(id, &dir)?);
            } else if name.starts_with(NEW) {
                let why = if Store::is_live(&dir)? {
                    "a session is being created"
                } else {
                    "a process died while it created a session; 'lucid prune' removes this after an hour"
                };
                // Asked last: the session may have got its name since.
                if disk::len(&dir)?.is_some() {
                    self.harmless(FindingKind::Unfinished, &dir, None, why);
                }
            } else if name.starts_with(TRASH) {
                let why = "a prune was interrupted; 'lucid prune' goes on with it";
                self.harmless(FindingKind::Unfinished, &dir, None, why);
                let log = disk::read(&dir.join(LOG), log::MAX_LOG_BYTES)?.unwrap_or_default();
                self.referred.extend(log::addresses(&log).0);
            } else {
                self.foreign(&dir, None);
            }
        }
        Ok(sessions)
    }

    /// Checks the small files of a session.
    fn session(&mut self, id: SessionId, dir: &Path) -> Result<Option<Session>, StoreError> {
        // Asked first: what is sealed while this reads is then live at worst, and a live session is given the benefit.
        let live = Store::is_live(dir)?;
        self.names(id, dir, live)?;
        let log_path = dir.join(LOG);
        let head = read_head(dir, id);
        let head = self.unless_damaged(id, head)?;
        let manifest = head.as_ref().map(|head| read_manifest(dir, head));
        // Read after the manifest: nothing is logged once that is there.
        let log = disk::read(&log_path, log::MAX_LOG_BYTES);
        let log = self.unless_damaged(id, log)?.flatten();
        self.referred
            .extend(log::addresses(log.as_deref().unwrap_or_default()).0);
        let (Some(head), Some(manifest)) = (head, manifest) else {
            return Ok(None);
        };
        let unreadable_manifest = manifest.is_err();
        let manifest = self.unless_damaged(id, manifest)?.flatten();
        let wraps = read_wraps(dir, &head);
        self.unless_damaged(id, wraps)?;
        self.markers(id, dir)?;
        let Some(log) = log else {
            let why = "the log is missing: which chunks the session has is not known";
            self.error(FindingKind::Missing, &log_path, Some(id), why);
            return Ok(None);
        };
        let checked = log::check(&log, &head);
        let open = OpenFile::read(dir);
        let open = self.unless_damaged(id, open)?.flatten();

        if let Some(sealed) = &manifest {
            let named = checked
                .broken
                .clone()
                .map(|why| (FindingKind::Unreadable, why));
            let rooted = check_chunk_list(dir, &head, sealed, &checked.chunks).err();
            if let Some((kind, why)) = named {
                self.error(kind, &log_path, Some(id), why);
            } else if let Some(StoreError::Damaged { why, .. }) = rooted {
                self.error(FindingKind::WrongRoot, &log_path, Some(id), why);
            } else if checked.recovered && sealed.manifest.ending != Ending::Cut {
                let why =
                    "it names a recovered chunk, and the manifest says the session was closed";
                self.error(FindingKind::Unreadable, &log_path, Some(id), why);
            }
            if open.is_some() && !live {
                let why = "the session is sealed, and no manifest names this";
                self.error(FindingKind::Extra, &dir.join(OPEN_CHUNK), Some(id), why);
            }
        } else if !live && !unreadable_manifest {
            self.unsealed(id, dir, &head, &checked, open.as_ref());
        }
        let mut chunks = checked.chunks;
        // The last chunk a log names may still be the open one: its writer, or recovery, renames it.
        let is_open = |hash: &Hash| {
            open.as_ref().is_some_and(|o| Hash::of(&o.bytes) == *hash)
                || (live && manifest.is_none())
        };
        if let Some(last) = chunks.last()
            && disk::len(&self.store.chunk_path(*last).1)?.is_none()
            && is_open(last)
        {
            chunks.pop();
        }
        Ok(Some(Session {
            id,
            dir: dir.to_path_buf(),
            head,
            manifest,
            chunks,
            recovered: checked.recovered,
        }))
    }

    /// A session whose writer died: is this what a crash leaves?
    fn unsealed(
        &mut self,
        id: SessionId,
        dir: &Path,
        head: &SignedHead,
        log: &log::CheckedLog,
        open: Option<&OpenFile>,
    ) {
        let why = format!("its recorder died: 'lucid session recover {id}' seals what is there");
        self.harmless(FindingKind::Unsealed, dir, Some(id), why);
        let named = |o: &OpenFile| log.chunks.last().is_some_and(|c| Hash::of(&o.bytes) == *c);
        let follows = open.is_some_and(|o| {
            o.valid > 0 && !log.recovered && o.check_place(head, &log.chunks).is_ok()
        });
        if let Some(why) = &log.broken {
            if follows {
                let why = format!("{why}: it was being written");
                self.harmless(FindingKind::Unfinished, &dir.join(LOG), Some(id), why);
            } else {
                self.error(FindingKind::Unreadable, &dir.join(LOG), Some(id), why);
            }
        }
        let Some(open) = open else { return };
        if open.valid < open.bytes.len() {
            let why = format!(
                "the last {} of its {} bytes are no whole segment: recovery cuts them",
                open.bytes.len() - open.valid,
                open.bytes.len()
            );
            self.harmless(FindingKind::Unfinished, &open.path, Some(id), why);
        }
        if open.valid > 0 && !follows && !named(open) {
            let why = "it is not the chunk that follows those in the log";
            self.error(FindingKind::Changed, &open.path, Some(id), why);
        }
    }

    fn markers(&mut self, id: SessionId, dir: &Path) -> Result<(), StoreError> {
        let marker = read_shredded(dir);
        self.unless_damaged(id, marker)?;
        let hold = read_hold(dir);
        self.unless_damaged(id, hold)?;
        let begun = disk::len(&dir.join(SHREDDING))?.is_some();
        let done = disk::len(&dir.join(SHREDDED))?.is_some();
        let there = disk::len(&dir.join(WRAPS))?.is_some();
        if begun || (done && there) {
            let why = format!(
                "destroying the keys was not finished: run 'lucid session shred {id}' again"
            );
            self.error(FindingKind::Extra, &dir.join(WRAPS), Some(id), why);
        }
        Ok(())
    }

    fn names(&mut self, id: SessionId, dir: &Path, live: bool) -> Result<(), StoreError> {
        let sealed = disk::len(&dir.join(MANIFEST))?.is_some();
        for name in disk::entries(dir)? {
            let path = dir.join(&name);
            match name.as_str() {
                HEAD | WRAPS | LOG | OPEN_CHUNK | MANIFEST | HOLD | SHREDDED | SHREDDING
                | SESSION_LOCK => {}
                RESERVE if live || !sealed => {}
                _ if name.starts_with(TEMP) => {
                    let why = if live {
                        "a process is writing it"
                    } else {
                        "a process died while it wrote this; 'lucid prune' removes it"
                    };
                    self.harmless(FindingKind::Unfinished, &path, Some(id), why);
                }
                _ => self.foreign(&path, Some(id)),
            }
        }
        if disk::len(&dir.join(SESSION_LOCK))?.is_none() {
            let why = "without it two writers could take the session: create it, empty";
            self.error(FindingKind::Missing, &dir.join(SESSION_LOCK), Some(id), why);
        }
        Ok(())
    }

    /// Reads and checks the chunks of a session; returns the bytes done so far.
    fn chunks(
        &mut self,
        session: &Session,
        mut done: u64,
        total: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, StoreError> {
        let mut prev = session.head.hash;
        let mut bytes_in_all = 0;
        let last = session.chunks.len().saturating_sub(1);
        let mut whole = true;
        for (nth, hash) in session.chunks.iter().enumerate() {
            let (_, path) = self.store.chunk_path(*hash);
            let len = self.chunk(session, nth, *hash, prev, &path, nth == last)?;
            whole &= len.is_some();
            bytes_in_all += len.unwrap_or(0);
            done += len.unwrap_or(0);
            progress(done, total.max(done));
            prev = *hash;
        }
        if let Some(sealed) = &session.manifest
            && whole
            && bytes_in_all != sealed.manifest.chunk_bytes
        {
            let why = format!(
                "its chunks are {bytes_in_all} bytes and the manifest says {}",
                sealed.manifest.chunk_bytes
            );
            let path = session.dir.join(MANIFEST);
            self.error(FindingKind::WrongRoot, &path, Some(session.id), why);
        }
        Ok(done)
    }

    /// Checks one chunk; its length when it is what its address says.
    fn chunk(
        &mut self,
        session: &Session,
        nth: usize,
        hash: Hash,
        prev: Hash,
        path: &Path,
        last: bool,
    ) -> Result<Option<u64>, StoreError> {
        let id = Some(session.id);
        let Some(len) = disk::len(path)? else {
            let why = format!("chunk {nth} of session {} is gone", session.id);
            self.error(FindingKind::Missing, path, id, why);
            return Ok(None);
        };
        let bytes = match self.store.chunk(hash) {
            Ok(bytes) => bytes,
            Err(StoreError::ChunkDamaged { why, .. }) => {
                let kind = self.how_damaged(path);
                let why = format!("chunk {nth} of session {}: {why}", session.id);
                self.error(kind, path, id, why);
                return Ok(None);
            }
            Err(error) => {
                self.error(FindingKind::Unreadable, path, id, error.to_string());
                return Ok(None);
            }
        };
        self.report.chunks += 1;
        self.report.bytes += len;
        match ChunkView::parse(&bytes, last && session.recovered) {
            Err(error) => self.error(FindingKind::Unreadable, path, id, error.to_string()),
            Ok(view)
                if view.header.session != session.id
                    || view.header.index as usize != nth
                    || view.header.prev != prev =>
            {
                let why = format!(
                    "it was sealed as chunk {} of session {}, and is chunk {nth} of {}",
                    view.header.index, view.header.session, session.id
                );
                self.error(FindingKind::WrongRoot, path, id, why);
            }
            Ok(_) => {}
        }
        Ok(Some(len))
    }

    /// Cut short, or changed within: only the framing tells, because the length is written nowhere else.
    fn how_damaged(&self, path: &Path) -> FindingKind {
        let bound = lucid_format::MAX_CHUNK_BYTES as u64;
        let Ok(Some(bytes)) = disk::read(path, bound) else {
            return FindingKind::Changed;
        };
        match ChunkView::parse(&bytes, false) {
            Err(error) if error.kind() == ErrorKind::Truncated => FindingKind::Truncated,
            _ => FindingKind::Changed,
        }
    }

    /// Chunks that no session names.
    fn orphans(
        &mut self,
        there: &HashMap<Hash, u64>,
        mut done: u64,
        total: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) {
        for (hash, len) in there {
            if self.referred.contains(hash) {
                continue;
            }
            let path = self.store.chunk_path(*hash).1;
            // It may be the only trace of what a damaged log named: say whose it is before somebody removes it.
            let why = match self.store.chunk(*hash) {
                Ok(bytes) => match ChunkHeader::decode(&bytes) {
                    Ok(header) => format!(
                        "no session names it; it was sealed as chunk {} of session {}",
                        header.index, header.session
                    ),
                    Err(error) => format!("no session names it, and it is no chunk: {error}"),
                },
                Err(error) => format!("no session names it; {error}"),
            };
            self.error(FindingKind::Extra, &path, None, why);
            done += len;
            progress(done, total.max(done));
        }
    }
}

//! Finding and opening a recording, by file name or by session id.

use std::{
    fs::File,
    io::{BufReader, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use lucid_format::{
    FileKind, FormatError, KeySource, Recording, SecretKeys, SessionId, SessionSeed, Wrap,
    open_wraps,
};
use lucid_store::Store;

use crate::{
    App,
    exit::{NO_KEY, NOT_FOUND, WRONG_KEY, exit},
};

/// A recording that is a file: given as one, or packed from the store.
pub type OpenRecording = Recording<BufReader<File>>;

/// Opens what a person named: a file, or the id of a session in the store.
pub fn open(app: &App, name: &str) -> Result<OpenRecording> {
    let file = file(app, name)?;
    Recording::open(BufReader::with_capacity(1 << 20, file)).with_context(|| name.to_owned())
}

/// The bytes of a recording as a file. A session of the store is packed into one that has no name and is gone when closed.
pub fn file(app: &App, name: &str) -> Result<File> {
    let path = Path::new(name);
    if path.exists() {
        return File::open(path).with_context(|| format!("opening {name}"));
    }
    let Ok(id) = name.parse::<SessionId>() else {
        return Err(exit(
            NOT_FOUND,
            format!("there is no file '{name}', and it is no session id"),
        ));
    };
    let store = app.store()?;
    let temporary =
        tempfile::tempfile_in(store.root()).context("making a temporary file in the store")?;
    let mut packed = pack(app, &store, id, temporary)?;
    packed.rewind()?;
    Ok(packed)
}

/// Packs a session of the store, with a progress bar.
pub fn pack<W: Write>(app: &App, store: &Store, id: SessionId, out: W) -> Result<W> {
    let bar = app.ui.bytes_bar("packing", 0);
    let packed = store.pack(id, out, &mut |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(packed?)
}

/// Writes a file whole or not at all: into a temporary file beside it, then renamed.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut temporary = tempfile::NamedTempFile::new_in(&folder)
        .with_context(|| format!("writing into {}", folder.display()))?;
    write(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary
        .persist(path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

/// The keys that open a recording: a recipient's, or those a disclosure carries.
pub fn keys<R>(recording: &Recording<R>, secret: Option<&SecretKeys>) -> Result<Option<KeySource>> {
    let session = recording.head.ticket.session;
    if let Some(disclosed) = &recording.disclosed {
        return Ok(Some(disclosed.source()));
    }
    let Some(secret) = secret else {
        return Ok(None);
    };
    Ok(Some(seed(recording, secret)?.keys(session)))
}

/// The seed of a whole recording: everything in it opens with it.
pub fn seed<R>(recording: &Recording<R>, secret: &SecretKeys) -> Result<SessionSeed> {
    open_seed(wraps(recording)?, recording.head.ticket.session, secret)
}

/// The seed that `wraps` hold for `secret`.
pub fn open_seed(wraps: &[Wrap], session: SessionId, secret: &SecretKeys) -> Result<SessionSeed> {
    match open_wraps(wraps, session, secret) {
        // A key is there, and it is not one of those that were sealed to.
        Err(FormatError::NoKey { why }) => Err(exit(WRONG_KEY, why)),
        opened => Ok(opened?),
    }
}

/// The wrapped seed of a whole recording, unless it was destroyed.
pub fn wraps<R>(recording: &Recording<R>) -> Result<&[Wrap]> {
    let session = recording.head.ticket.session;
    let destroyed = || {
        let what = "it verifies, and nobody can open it";
        exit(
            NO_KEY,
            format!("the keys of session {session} were destroyed: {what}"),
        )
    };
    recording.wraps.as_deref().ok_or_else(destroyed)
}

/// When a file ends, µs since the session began. A torn chunk does not say when it ended; its manifest does.
pub fn end_us<R>(recording: &Recording<R>) -> u64 {
    match recording.index.kind {
        FileKind::Recording => recording.manifest.manifest.duration_us,
        FileKind::Disclosure => recording.index.chunks.last().map_or(0, |c| c.end_us),
    }
}

//! Verifying: without a key, everything but the plaintext; with one, that too (requirement S9).

use std::io::{Read, Seek};

use crate::{
    ChunkView, Disclosed, Ending, FileKind, FormatError, Hash, Index, KeySource, Recording,
    SignedHead, SignedManifest, Stream, merkle,
};

/// What a successful verification proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Chunks whose bytes were checked.
    pub chunks: u32,
    /// Chunks of the whole session, as its manifest says.
    pub of: u32,
    /// Bytes of the chunks that were checked.
    pub bytes: u64,
    /// Records that were decrypted; none without a key.
    pub records: u64,
    /// Whether the chunks were opened too.
    pub opened: bool,
    /// Whether the file is the whole session and the session came to its proper end.
    pub complete: bool,
}

/// How [`verify`] goes about it.
#[derive(Default)]
pub struct VerifyOptions<'a> {
    /// Open the chunks too, with these keys.
    pub keys: Option<&'a KeySource>,
    /// Called after each chunk: chunks done, chunks in all, bytes done.
    pub progress: Option<&'a mut dyn FnMut(u32, u32, u64)>,
}

/// Checks every chunk of a recording that [`Recording::open`] read.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify<R: Read + Seek>(
    recording: &mut Recording<R>,
    options: VerifyOptions<'_>,
) -> Result<Proven, FormatError> {
    let manifest = recording.manifest.manifest.clone();
    let all = u32::try_from(recording.index.chunks.len()).unwrap_or(u32::MAX);
    let mut proven = Proven {
        chunks: 0,
        of: manifest.chunks,
        bytes: 0,
        records: 0,
        opened: options.keys.is_some(),
        complete: recording.index.kind == FileKind::Recording && manifest.ending == Ending::Closed,
    };
    let mut progress = options.progress;
    for nth in 0..recording.index.chunks.len() {
        let bytes = recording.chunk(nth)?;
        if let Some(keys) = options.keys {
            proven.records += open_records(&bytes, keys)?;
        }
        proven.chunks += 1;
        proven.bytes += bytes.len() as u64;
        if let Some(progress) = progress.as_mut() {
            progress(proven.chunks, all, proven.bytes);
        }
    }
    Ok(proven)
}

fn open_records(bytes: &[u8], keys: &KeySource) -> Result<u64, FormatError> {
    let view = ChunkView::parse(bytes, true)?;
    let index = view.header.index;
    let no_key = || FormatError::NoKey {
        why: format!("the key does not reach chunk {index}"),
    };
    let plaintext = view.open(&keys.chunk_key(index).ok_or_else(no_key)?)?;
    let (mut records, mut keyframe) = (0, false);
    for record in view.records(&plaintext) {
        keyframe |= record?.stream == Stream::Keyframe;
        records += 1;
    }
    match &view.trailer {
        Some(trailer) if u64::from(trailer.records) != records => {
            let why = format!("it holds {records} records and states {}", trailer.records);
            Err(FormatError::malformed("a chunk", why))
        }
        Some(trailer) if trailer.has_keyframe() != keyframe => Err(FormatError::malformed(
            "a chunk",
            "whether it holds a keyframe is not what it states",
        )),
        _ => Ok(records),
    }
}

/// Checks that the addresses in an index lead to the manifest's root: all of them, or a disclosure's range by its proof.
///
/// # Errors
/// What does not hold.
pub fn check_index(
    index: &Index,
    head: &SignedHead,
    manifest: &SignedManifest,
    disclosed: Option<&Disclosed>,
    proof: Option<&[Hash]>,
) -> Result<(), FormatError> {
    let manifest = &manifest.manifest;
    let count = u32::try_from(index.chunks.len()).unwrap_or(u32::MAX);
    if u64::from(index.first) + u64::from(count) > u64::from(manifest.chunks) {
        let why = format!(
            "{count} chunks from position {} are there and the signed manifest says {}",
            index.first, manifest.chunks
        );
        return Err(FormatError::tampered("the recording", why));
    }
    let leaves: Vec<Hash> = (index.first..=u32::MAX)
        .zip(&index.chunks)
        .map(|(position, chunk)| merkle::leaf(position, chunk.hash))
        .collect();
    let wrong_root = || {
        FormatError::tampered(
            "the recording",
            "its chunks do not lead to the signed Merkle root",
        )
    };
    let root = match (index.kind, disclosed, proof) {
        (FileKind::Recording, None, None) => {
            if count != manifest.chunks {
                let why = format!(
                    "{count} chunks are there and the signed manifest says {}",
                    manifest.chunks
                );
                return Err(FormatError::tampered("the recording", why));
            }
            let bytes: u64 = index.chunks.iter().map(|c| u64::from(c.len)).sum();
            if bytes != manifest.chunk_bytes {
                return Err(FormatError::tampered(
                    "the recording",
                    "its size is not the one the manifest states",
                ));
            }
            merkle::root(&leaves)
        }
        (FileKind::Disclosure, Some(disclosed), Some(proof)) => {
            if disclosed.first != index.first
                || u64::from(disclosed.last - disclosed.first) + 1 != u64::from(count)
            {
                return Err(FormatError::tampered(
                    "the disclosure",
                    "its chunks are not those it names",
                ));
            }
            merkle::range_root(manifest.chunks, index.first, &leaves, proof)
                .ok_or_else(wrong_root)?
        }
        _ => {
            return Err(FormatError::malformed(
                "the index",
                "its sections are not those of its kind of file",
            ));
        }
    };
    if !manifest.commits_to(head, root, manifest.chunks) {
        return Err(wrong_root());
    }
    Ok(())
}

/// Checks the bytes of the `nth` chunk of a file: its address, session, position, order and times.
///
/// # Errors
/// What does not hold.
pub fn check_chunk(
    index: &Index,
    head: &SignedHead,
    manifest: &SignedManifest,
    nth: usize,
    bytes: &[u8],
) -> Result<(), FormatError> {
    let position = u32::try_from(nth)
        .ok()
        .and_then(|n| index.first.checked_add(n));
    let (Some(entry), Some(position)) = (index.chunks.get(nth), position) else {
        return Err(FormatError::malformed(
            "the recording",
            format!("it has no chunk {nth}"),
        ));
    };
    let name = || format!("chunk {position}");
    if Hash::of(bytes) != entry.hash {
        return Err(FormatError::tampered(
            name(),
            "its bytes do not have the hash in the signed Merkle tree",
        ));
    }
    let manifest = &manifest.manifest;
    let last = position.checked_add(1) == Some(manifest.chunks);
    let view = ChunkView::parse(bytes, last && manifest.ending == Ending::Cut)?;
    if view.header.session != head.ticket.session {
        return Err(FormatError::tampered(
            name(),
            format!("it is of session {}", view.header.session),
        ));
    }
    if view.header.index != position {
        return Err(FormatError::tampered(
            name(),
            format!("it was chunk {} when it was sealed", view.header.index),
        ));
    }
    let prev = match nth.checked_sub(1) {
        Some(before) => index.chunks.get(before).map(|c| c.hash),
        None => (position == 0).then_some(head.hash),
    };
    if prev.is_some_and(|prev| prev != view.header.prev) {
        return Err(FormatError::tampered(
            name(),
            "it was sealed after another chunk",
        ));
    }
    let expected = crate::IndexEntry {
        offset: entry.offset,
        ..crate::IndexEntry::of(&view, bytes)?
    };
    if *entry != expected {
        return Err(FormatError::tampered(
            name(),
            "the index says other times or another length than the chunk",
        ));
    }
    let before_ends = nth
        .checked_sub(1)
        .and_then(|n| index.chunks.get(n))
        .map_or(0, |c| c.end_us);
    if view.header.start_us < before_ends || entry.end_us > manifest.duration_us {
        return Err(FormatError::tampered(
            name(),
            "its times overlap another chunk's or lie after the end",
        ));
    }
    Ok(())
}

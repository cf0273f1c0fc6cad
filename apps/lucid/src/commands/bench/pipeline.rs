//! Records → sealed chunks on the disk, on two threads, beside the programs people would use instead.

use std::{
    fs::File,
    num::NonZeroUsize,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lucid_format::{
    ChunkPlace, DEFAULT_CHUNK_PLAINTEXT, Packer, RECORD_HEADER, Record, SealedChunk, Sealer,
    SessionId, SignedManifest, Stream,
};
use lucid_recorder::{
    bulk::{self, PackedChunk},
    wall_clock_us,
};
use lucid_store::Store;

use super::{
    Bench,
    peers::{self, Peer, Run},
    report::{Row, cpu, median, number, rate},
    session,
};

/// Bytes of a record's payload.
const PAYLOAD: usize = 64 << 10;
/// Plaintext of a segment, as the recorder of a live session makes them.
const SEGMENT: usize = 1 << 20;
/// Records of a chunk: as many as fit the default size.
const RECORDS: u64 = (DEFAULT_CHUNK_PLAINTEXT / (PAYLOAD + RECORD_HEADER)) as u64;
const CHUNK: u64 = RECORDS * PAYLOAD as u64;
const THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Lucid is to be this much faster than the first peer, and than the others.
const TARGET_ZSTD_AGE: f64 = 1.3;
const TARGET_BACKUP: f64 = 5.0;

/// Measures every data set.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, file) in bench.data()? {
        rows.extend(data_set(bench, name, file)?);
    }
    Ok(rows)
}

fn data_set(bench: &Bench<'_>, name: &str, file: &Path) -> Result<Vec<Row>> {
    let bytes = std::fs::metadata(file)?.len();
    let (peers, missing): (Vec<_>, Vec<_>) =
        peers::ALL.iter().partition(|peer| peer.lacks().is_none());
    // By turns, so that whatever else the machine does falls on all of them alike.
    let rounds = bench.repeat(name, || {
        let ours = lucid(file, &bench.scratch)?;
        let theirs = peers.iter().map(|peer| peer.run(file, &bench.scratch));
        Ok((ours, theirs.collect::<Result<Vec<_>>>()?))
    })?;
    let ours: Vec<&Run> = rounds.iter().map(|round| &round.0).collect();
    let our_time = took(&ours).context("no run")?;
    let mut rows = vec![row(format!("{name}: Lucid, two threads"), bytes, &ours)];
    for (nth, peer) in peers.iter().enumerate() {
        let runs: Vec<&Run> = rounds.iter().filter_map(|round| round.1.get(nth)).collect();
        let ratio = took(&runs).context("no run")? / our_time;
        let mut row = row(format!("{name}: {}", peer.name), bytes, &runs);
        row.ratio = format!("Lucid is {}×", number(ratio));
        let bound = match peer.name {
            peers::ZSTD_AGE => Some(TARGET_ZSTD_AGE),
            peers::ZSTD_AGE_SYNCED => None,
            _ => Some(TARGET_BACKUP),
        };
        if let Some(bound) = bound {
            row.target = format!("≥ {}×", number(bound));
            row.met = Some(ratio >= bound);
        }
        rows.push(row);
    }
    let why = |peer: &&Peer| format!("'{}' is not installed", peer.lacks().unwrap_or_default());
    rows.extend(
        missing
            .iter()
            .map(|peer| Row::missing(format!("{name}: {}", peer.name), why(peer))),
    );
    Ok(rows)
}

fn took(runs: &[&Run]) -> Option<f64> {
    median(
        &runs
            .iter()
            .map(|run| run.took.as_secs_f64())
            .collect::<Vec<_>>(),
    )
}

fn row(what: String, bytes: u64, runs: &[&Run]) -> Row {
    let rates: Vec<f64> = runs.iter().map(|run| rate(bytes, run.took)).collect();
    let left = runs.last().map_or(0, |run| run.bytes);
    let shrunk = rate(bytes, Duration::from_secs(1)) / rate(left.max(1), Duration::from_secs(1));
    let cpu = median(
        &runs
            .iter()
            .map(|run| run.cpu.as_secs_f64())
            .collect::<Vec<_>>(),
    )
    .unwrap_or(f64::NAN);
    Row::new(what, "MB/s", &rates).note(format!("{} to 1, {} CPU s", number(shrunk), number(cpu)))
}

fn lucid(file: &Path, scratch: &Path) -> Result<Run> {
    let dir = tempfile::tempdir_in(scratch)?;
    seal_file(file, dir.path()).map(|(run, ..)| run)
}

/// Seals a file as a session in a new store in `dir`. Timed from the first byte read to the manifest on the disk.
pub fn seal_file(
    file: &Path,
    dir: &Path,
) -> Result<(Run, Store, SessionId, lucid_format::SessionSeed)> {
    let session::Session {
        store,
        mut open,
        key,
        seed,
    } = session::begin(dir)?;
    let id = open.id();
    let (before, begin) = (cpu()?.0, Instant::now());
    let file = File::open(file)?;
    let len = file.metadata()?.len();
    let count = u32::try_from(len.div_ceil(CHUNK))?;
    let (keys, mut prev, mut index) = (seed.keys(id), open.last(), 0u32);
    let mut rng = lucid_recorder::rng();
    let seal = |packed: PackedChunk| {
        let start_us = u64::from(index) * RECORDS;
        let place = ChunkPlace {
            session: id,
            index,
            prev,
            start_us,
            start_wall_us: wall_clock_us(),
        };
        let key = keys.chunk_key(index).context("chunk keys")?;
        let sealed = bulk::seal(Sealer::new(place, &key, &mut rng)?, packed)?;
        (prev, index) = (sealed.1.hash, index + 1);
        Ok(sealed)
    };
    let keep = |(pieces, sealed): (Vec<Vec<u8>>, SealedChunk)| {
        for piece in pieces {
            open.append(&piece)?;
        }
        let checkpoint = open.checkpoint(&sealed, wall_clock_us())?;
        Ok(open.close_chunk(&sealed, &checkpoint.sign(&key)?)?)
    };
    bulk::in_order::<_, _, anyhow::Error>(THREADS, count, |n| pack(&file, len, n), seal, keep)?;
    let manifest = open.manifest(
        u64::from(count) * RECORDS,
        wall_clock_us(),
        "the file is at its end",
    );
    let signed = SignedManifest::sign(&manifest, open.head(), &key)?;
    open.seal(&signed)?;
    let run = Run {
        took: begin.elapsed(),
        cpu: cpu()?.0.saturating_sub(before),
        bytes: manifest.chunk_bytes,
    };
    Ok((run, store, id, seed))
}

/// Compresses the `nth` chunk of a file: records of 64 KiB, a microsecond apart.
fn pack(file: &File, len: u64, nth: u32) -> Result<PackedChunk> {
    let mut at = u64::from(nth) * CHUNK;
    let end = len.min(at + CHUNK);
    let mut time_us = u64::from(nth) * RECORDS;
    let mut packer = Packer::new(time_us)?;
    let (mut segments, mut payload) = (Vec::new(), vec![0; PAYLOAD]);
    while at < end {
        let wanted = usize::try_from(end - at)?.min(PAYLOAD);
        file.read_exact_at(&mut payload[..wanted], at)?;
        packer.push(&Record {
            time_us,
            stream: Stream::PduOut,
            payload: &payload[..wanted],
        })?;
        at += wanted as u64;
        time_us += 1;
        if packer.pending() >= SEGMENT && at < end {
            segments.push(packer.flush()?);
        }
    }
    let (last, trailer) = packer.finish(time_us)?;
    segments.extend(last);
    Ok((segments, trailer))
}

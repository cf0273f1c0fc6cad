//! `lucid chunk`, `lucid encrypt`, `lucid merkle`: the stages of the pipeline on their own, on files, for scripts
//! (requirements S3 to S5).

use std::{
    fs,
    io::{Read, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};
use lucid_format::{
    ChunkPlace, ChunkView, Hash, MAX_CHUNK_BYTES, MAX_CHUNK_PLAINTEXT, MAX_PAYLOAD, Packer, Record,
    Sealer, SessionId, SessionSeed, Stream, Wrap, merkle, wrap_seed,
};
use lucid_recorder::bulk::{self, PackedChunk};
use serde::{Deserialize, Serialize};

use crate::{
    App,
    cli::{ChunkArgs, EncryptArgs, MerkleCommand},
    exit::{TAMPERED, USAGE, exit},
    keyring, recording,
};

const ZSTD_LEVEL: i32 = 3;
/// Name of the file with the wrapped seed, beside the sealed chunks.
const WRAPS: &str = "wraps";
/// Largest wraps file that is read.
const MAX_WRAPS: u64 = 256 << 10;

/// Cuts a file into zstd pieces, or joins them.
pub fn chunk(app: &App, args: &ChunkArgs) -> Result<()> {
    if args.join {
        return join(app, &args.from, &args.to);
    }
    if args.size == 0 || args.size > MAX_CHUNK_PLAINTEXT {
        return Err(exit(
            USAGE,
            format!(
                "--size is 1 to {MAX_CHUNK_PLAINTEXT} bytes, not {}",
                args.size
            ),
        ));
    }
    let mut file =
        fs::File::open(&args.from).with_context(|| format!("opening {}", args.from.display()))?;
    let total = file.metadata()?.len();
    new_dir(&args.to)?;
    let bar = app.ui.bytes_bar("cutting", total);
    let (mut pieces, mut written) = (0u32, 0);
    loop {
        let mut piece = Vec::new();
        (&mut file).take(args.size as u64).read_to_end(&mut piece)?;
        if piece.is_empty() && pieces > 0 {
            break;
        }
        bar.inc(piece.len() as u64);
        let small = zstd::bulk::compress(&piece, ZSTD_LEVEL)?;
        written += small.len();
        put(&args.to.join(format!("{pieces:08}.zst")), &small)?;
        pieces += 1;
    }
    bar.finish_and_clear();
    done(app, &args.to, pieces, total, written as u64)
}

fn join(app: &App, from: &Path, to: &Path) -> Result<()> {
    let files = files_in(from)?;
    recording::write_atomically(to, |out| {
        let bar = app.ui.steps_bar("joining", files.len() as u64);
        for path in &files {
            let small = read_bounded(path, MAX_CHUNK_BYTES)?;
            let piece = zstd::bulk::decompress(&small, MAX_CHUNK_PLAINTEXT)
                .with_context(|| path.display().to_string())?;
            out.write_all(&piece)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    })
}

/// Seals a folder's files as the chunks of a session, or opens them.
pub fn encrypt(app: &App, args: &EncryptArgs) -> Result<()> {
    if args.open {
        return open(app, args);
    }
    let files = files_in(&args.from)?;
    new_dir(&args.to)?;
    let recipients: Vec<_> = args
        .recipient
        .iter()
        .map(|path| keyring::public(path))
        .collect::<Result<_>>()?;
    let mut rng = lucid_recorder::rng();
    let mut id = [0; 16];
    getrandom::fill(&mut id).context("random numbers")?;
    let session = SessionId(id);
    let seed = SessionSeed::generate(&mut rng);
    let wraps = wrap_seed(&seed, session, &recipients, &mut rng)?;
    put(&args.to.join(WRAPS), &borsh::to_vec(&wraps)?)?;
    let keys = seed.keys(session);
    let bar = app.ui.steps_bar("sealing", files.len() as u64);
    let count = u32::try_from(files.len())?;
    let pack = |index: u32| -> Result<(PackedChunk, usize)> {
        let payload = read_bounded(&files[index as usize], MAX_PAYLOAD)?;
        let mut packer = Packer::new(0)?;
        packer.push(&Record {
            time_us: 0,
            stream: Stream::PduOut,
            payload: &payload,
        })?;
        Ok((packer.finish(0)?, payload.len()))
    };
    let (mut prev, mut index) = (Hash::default(), 0);
    let seal = |(packed, len)| {
        let key = keys.chunk_key(index).context("chunk keys")?;
        let place = ChunkPlace {
            session,
            index,
            prev,
            start_us: 0,
            start_wall_us: 0,
        };
        let (pieces, sealed) = bulk::seal(Sealer::new(place, &key, &mut rng)?, packed)?;
        (prev, index) = (sealed.hash, index + 1);
        Ok((pieces.concat(), sealed.place.index, len))
    };
    let (mut read, mut written) = (0, 0);
    let keep = |(bytes, index, len): (Vec<u8>, u32, usize)| {
        read += len as u64;
        written += bytes.len() as u64;
        bar.inc(1);
        put(&args.to.join(format!("{index:08}.chunk")), &bytes)
    };
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    bulk::in_order(threads, count, pack, seal, keep)?;
    bar.finish_and_clear();
    done(app, &args.to, count, read, written)
}

fn open(app: &App, args: &EncryptArgs) -> Result<()> {
    let secret = keyring::secret_required(&args.key, "opening")?;
    let wraps_file = args.from.join(WRAPS);
    let wraps: Vec<Wrap> =
        borsh::from_slice(&read_bounded(&wraps_file, usize::try_from(MAX_WRAPS)?)?)
            .with_context(|| format!("{} holds no key wraps", wraps_file.display()))?;
    let files: Vec<PathBuf> = files_in(&args.from)?
        .into_iter()
        .filter(|p| *p != wraps_file)
        .collect();
    new_dir(&args.to)?;
    let bar = app.ui.steps_bar("opening", files.len() as u64);
    let (mut prev, mut keys, mut read, mut written) = (Hash::default(), None, 0, 0);
    for (index, path) in (0u32..).zip(&files) {
        let context = || path.display().to_string();
        let bytes = read_bounded(path, MAX_CHUNK_BYTES)?;
        let view = ChunkView::parse(&bytes, false).with_context(context)?;
        if view.header.index != index || view.header.prev != prev {
            let why = format!(
                "{} is chunk {} and stands in the place of {index}",
                path.display(),
                view.header.index
            );
            return Err(exit(
                TAMPERED,
                format!("{why}: chunks are missing, swapped or of another folder"),
            ));
        }
        let session = view.header.session;
        let keys = match &keys {
            Some(keys) => keys,
            None => keys.insert(recording::open_seed(&wraps, session, &secret)?.keys(session)),
        };
        let plaintext = view
            .open(&keys.chunk_key(index).context("chunk keys")?)
            .with_context(context)?;
        let mut content = Vec::new();
        for record in view.records(&plaintext) {
            content.extend_from_slice(record?.payload);
        }
        put(&args.to.join(format!("{index:08}")), &content)?;
        (prev, read, written) = (
            Hash::of(&bytes),
            read + bytes.len() as u64,
            written + content.len() as u64,
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    done(app, &args.to, u32::try_from(files.len())?, read, written)
}

/// A proof as `merkle prove` prints it.
#[derive(Serialize, Deserialize)]
struct Proof {
    size: u32,
    position: u32,
    root: String,
    path: Vec<String>,
}

/// Roots and proofs over files.
pub fn merkle(app: &App, command: &MerkleCommand) -> Result<()> {
    match command {
        MerkleCommand::Root { files } => {
            let root = merkle::root(&leaves(app, files)?);
            if app.ui.json {
                return app
                    .ui
                    .json(&serde_json::json!({ "size": files.len(), "root": root.to_hex() }));
            }
            app.ui.line(root);
            Ok(())
        }
        MerkleCommand::Prove { files, position } => {
            let leaves = leaves(app, files)?;
            let outside = || exit(USAGE, format!("--position is 0 to {}", files.len() - 1));
            let path = merkle::prove_range(&leaves, *position as usize, 1).ok_or_else(outside)?;
            let path = path.into_iter().map(Hash::to_hex).collect();
            let root = merkle::root(&leaves).to_hex();
            app.ui.json(&Proof {
                size: u32::try_from(files.len())?,
                position: *position,
                root,
                path,
            })
        }
        MerkleCommand::Check { file, proof, root } => {
            let text = keyring::read_text(proof)?;
            let proof: Proof =
                serde_json::from_str(&text).with_context(|| proof.display().to_string())?;
            let path = proof
                .path
                .iter()
                .map(|h| Hash::from_hex(h))
                .collect::<Result<Vec<_>, _>>()?;
            let leaf = merkle::leaf(proof.position, address(file)?);
            let found = merkle::range_root(proof.size, proof.position, &[leaf], &path);
            if found != Some(Hash::from_hex(root)?) {
                return Err(exit(
                    TAMPERED,
                    format!(
                        "{} is not file {} under that root",
                        file.display(),
                        proof.position
                    ),
                ));
            }
            if app.ui.json {
                let (size, position) = (proof.size, proof.position);
                return app.ui.json(
                    &serde_json::json!({ "size": size, "position": position, "root": root }),
                );
            }
            app.ui.line(format!(
                "{} is file {} of {} under {root}",
                file.display(),
                proof.position,
                proof.size
            ));
            Ok(())
        }
    }
}

fn leaves(app: &App, files: &[PathBuf]) -> Result<Vec<Hash>> {
    let bar = app.ui.steps_bar("hashing", files.len() as u64);
    let leaves = (0u32..).zip(files).map(|(position, path)| {
        bar.inc(1);
        Ok(merkle::leaf(position, address(path)?))
    });
    let leaves = leaves.collect();
    bar.finish_and_clear();
    leaves
}

fn address(path: &Path) -> Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    hasher
        .update_reader(file)
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(Hash(hasher.finalize().into()))
}

fn done(app: &App, to: &Path, count: u32, read: u64, written: u64) -> Result<()> {
    if app.ui.json {
        return app
            .ui
            .json(&serde_json::json!({ "files": count, "bytes_in": read, "bytes_out": written }));
    }
    let (read, written) = (crate::ui::size(read), crate::ui::size(written));
    app.ui.line(format!(
        "{}: {count} files, {read} became {written}",
        to.display()
    ));
    Ok(())
}

fn new_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    if fs::read_dir(path)?.next().is_some() {
        return Err(exit(
            USAGE,
            format!("{} is not empty: give a new folder", path.display()),
        ));
    }
    Ok(())
}

fn files_in(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut files = entries
        .map(|e| Ok(e?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|p| p.is_file());
    files.sort();
    if files.is_empty() {
        return Err(exit(USAGE, format!("{} holds no files", path.display())));
    }
    Ok(files)
}

fn read_bounded(path: &Path, bound: usize) -> Result<Vec<u8>> {
    let len = fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .len();
    if len > bound as u64 {
        let way_out = "cut it first with 'lucid chunk'";
        return Err(exit(
            USAGE,
            format!(
                "{} has {len} bytes and the bound is {bound}: {way_out}",
                path.display()
            ),
        ));
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

//! `lucid chain backup`, `snapshot` and `restore`: a chain in a file, and back. The file's format is in `lucid_ledger`'s archive.rs
//! and in docs/blockchain/archive.md.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lucid_chain_types::{Genesis, Height};
use lucid_client::Client;
use lucid_ledger::{
    ArchiveReader, ArchiveWriter, Durability, Ledger, LedgerError, LedgerOptions, Restored,
    SnapshotManifest, Snapshots,
};
use lucid_light::TrustedGenesis;
use lucid_node::home::Home;
use serde_json::json;

use crate::App;
use crate::cli::{BackupArgs, RestoreArgs, SnapshotArgs};
use crate::commands::chain::block_on;
use crate::exit::{NOT_FOUND, TAMPERED, USAGE, exit};
use crate::ui::size;

/// Cache of a database that is restored; a node's own is for what its callers read.
const RESTORE_CACHE: u64 = 128 << 20;
/// A genesis file is read up to here.
const MAX_GENESIS: u64 = 16 << 20;
/// A file this short has not even the head of an archive.
const SHORTEST: u64 = 78;

type Writer = ArchiveWriter<BufWriter<File>>;

/// `lucid chain backup`
pub fn backup(app: &App, args: &BackupArgs) -> Result<()> {
    let genesis = trusted(app, args.genesis.as_deref())?;
    let client = Client::new(&args.rpc.rpc)?;
    let status = block_on(client.status())?;
    if status.genesis_hash != genesis.hash() {
        return Err(exit(
            USAGE,
            format!(
                "the node at {} is of the chain {}, the genesis file is of {}",
                client.url(),
                status.genesis_hash,
                genesis.hash()
            ),
        ));
    }
    let part = part_of(&args.out);
    let mut writer = begin(app, &part, &args.out, &genesis)?;
    let first = writer.height() == Height::GENESIS && writer.open_snapshot().is_none();
    if first && (args.from_snapshot || status.earliest > Height(1)) {
        let newest = block_on(client.snapshot())?;
        let (_, manifest) = newest.ok_or_else(|| no_snapshot(&client))?;
        writer
            .snapshot(SnapshotManifest::decode(&manifest).map_err(refused)?)
            .map_err(refused)?;
    }
    pieces(app, &client, &mut writer, &part)?;
    if writer.height().next() < status.earliest {
        return Err(exit(
            NOT_FOUND,
            format!(
                "{} ends at block {}, and this node has none before {}: ask another node, or begin a new file",
                args.out.display(),
                writer.height(),
                status.earliest
            ),
        ));
    }
    // Up to where the chain was when this began: a chain under load would never be done.
    let old = writer.height();
    let bar = app
        .ui
        .steps_bar("blocks", status.height.0.saturating_sub(old.0));
    while writer.height() < status.height {
        let blocks = block_on(client.blocks(writer.height().next()))?;
        if blocks.is_empty() {
            return Err(exit(
                NOT_FOUND,
                format!("the node does not give block {}", writer.height().next()),
            ));
        }
        for block in &blocks {
            if writer.height() == status.height {
                break;
            }
            writer.block(block).map_err(refused)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let height = writer.height();
    let bytes = finish(writer, &part, &args.out)?;
    let added = height.0 - old.0.min(height.0);
    if app.ui.json {
        return app
            .ui
            .json(&json!({ "file": args.out, "bytes": bytes, "height": height, "added": added }));
    }
    app.ui.line(format!(
        "{} holds the chain up to block {height} ({added} blocks added, {})",
        args.out.display(),
        size(bytes)
    ));
    app.ui.note(
        "Keys are not in it: back up the node's keys/ and consensus/signed yourself, and keep them secret.",
    );
    Ok(())
}

/// `lucid chain snapshot`
pub fn snapshot(app: &App, args: &SnapshotArgs) -> Result<()> {
    if args.out.exists() {
        return Err(exit(
            USAGE,
            format!(
                "{} is there already; it is not overwritten",
                args.out.display()
            ),
        ));
    }
    let part = part_of(&args.out);
    let height = match &args.node_home {
        Some(folder) => of_stopped(app, folder, &part, &args.out)?,
        None => {
            let genesis = trusted(app, args.genesis.as_deref())?;
            let client = Client::new(&args.rpc.rpc)?;
            let (height, manifest) =
                block_on(client.snapshot())?.ok_or_else(|| no_snapshot(&client))?;
            let manifest = SnapshotManifest::decode(&manifest).map_err(refused)?;
            let mut writer = begin(app, &part, &args.out, &genesis)?;
            // What was begun of an older one is of no use.
            let other = match writer.open_snapshot() {
                Some((begun, _)) => begun.manifest().contents() != manifest.contents(),
                None => writer.height() != height,
            };
            if other {
                drop(writer);
                writer = create(&part, &genesis)?;
                writer.snapshot(manifest).map_err(refused)?;
            }
            pieces(app, &client, &mut writer, &part)?;
            finish(writer, &part, &args.out)?;
            height
        }
    };
    let bytes = fs::metadata(&args.out).map_or(0, |about| about.len());
    if app.ui.json {
        return app
            .ui
            .json(&json!({ "file": args.out, "bytes": bytes, "height": height }));
    }
    app.ui.line(format!(
        "{} is the state after block {height} ({})",
        args.out.display(),
        size(bytes)
    ));
    Ok(())
}

/// Takes a snapshot of the chain in a stopped node's folder.
fn of_stopped(app: &App, folder: &Path, part: &Path, out: &Path) -> Result<Height> {
    let home = Home::new(folder);
    let ledger = open(&home.data(), home.genesis()?, LedgerOptions::default())?;
    let genesis = ledger.trusted_genesis()?;
    let spinner = app.ui.spinner("taking a snapshot");
    // Its pieces are known before its manifest is.
    let beside = part.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = tempfile::tempdir_in(beside.unwrap_or(Path::new(".")))?;
    let snapshots = Snapshots::open(folder.path())?;
    let height = snapshots.make(ledger.snapshot()?)?;
    let gone = || {
        anyhow::anyhow!(
            "a piece of the snapshot is gone from {}",
            folder.path().display()
        )
    };
    let manifest = snapshots.manifest(height)?.ok_or_else(gone)?;
    let mut writer = create(part, &genesis)?;
    writer.snapshot(SnapshotManifest::decode(&manifest)?)?;
    while let Some((_, index)) = writer.open_snapshot() {
        let piece = snapshots.piece(height, u32::try_from(index)?)?;
        writer.piece(&piece.ok_or_else(gone)?)?;
    }
    finish(writer, part, out)?;
    spinner.finish_and_clear();
    Ok(height)
}

/// `lucid chain restore`
pub fn restore(app: &App, args: &RestoreArgs) -> Result<()> {
    let folder = args.node_home.clone();
    let home = Home::new(folder.unwrap_or_else(|| app.home.join("node")));
    if !home.genesis_path().is_file() {
        return Err(exit(
            NOT_FOUND,
            format!(
                "{} is no node's folder: put the chain's genesis.json there, which is what the archive is checked with",
                home.path().display()
            ),
        ));
    }
    let genesis = home
        .genesis()
        .map_err(|error| exit(USAGE, error.to_string()))?;
    let file = File::open(&args.file)
        .map_err(|error| exit(NOT_FOUND, format!("{}: {error}", args.file.display())))?;
    let bytes = file.metadata()?.len();
    let data = home.data();
    if data.exists() {
        let ledger = open(&data, genesis.clone(), LedgerOptions::default())?;
        let height = ledger.head().height;
        if height != Height::GENESIS {
            return Err(exit(
                USAGE,
                format!(
                    "{} has a chain already, at block {height}: an archive goes into a folder without one",
                    data.display()
                ),
            ));
        }
    }
    // Beside it, and put in its place when all of it is there.
    let work = home.path().join("data.restoring");
    let options = LedgerOptions {
        cache: RESTORE_CACHE,
        durability: Durability::OnPersist,
        ..LedgerOptions::default()
    };
    let ledger = open(&work, genesis, options)?;
    let begun = ledger.head().height;
    if begun != Height::GENESIS {
        app.ui.note(format!("going on after block {begun}"));
    }
    let bar = app.ui.bytes_bar("restoring", bytes);
    let input = bar.wrap_read(BufReader::with_capacity(1 << 20, file));
    let trusted = ledger.trusted_genesis()?;
    let restored = ArchiveReader::open(input, &trusted)
        .and_then(|archive| ledger.restore(archive, |_| ()))
        .map_err(|error| {
            refused_at(error, &format!("{}; what was restored is in {}, and another file of this chain goes on from it", args.file.display(), work.display()))
        })?;
    bar.finish_and_clear();
    let earliest = ledger.earliest();
    drop(ledger);
    let placed = || {
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::rename(&work, &data)?;
        File::open(home.path())?.sync_all()
    };
    placed().with_context(|| data.display().to_string())?;
    let Restored {
        height,
        blocks,
        transactions,
    } = restored;
    if app.ui.json {
        return app.ui.json(&json!({
            "height": height, "earliest": earliest, "blocks": blocks, "transactions": transactions,
        }));
    }
    app.ui.line(format!(
        "restored up to block {height}: {blocks} blocks with {transactions} transactions executed"
    ));
    app.ui.note(format!(
        "Start it with 'lucid node --node-home {}'. A validator needs its keys/, and consensus/signed if it has ever voted.",
        home.path().display()
    ));
    Ok(())
}

/// The genesis file that is trusted; the one of the node in the home folder where none is named.
fn trusted(app: &App, path: Option<&Path>) -> Result<TrustedGenesis> {
    let own = app.home.join("node/genesis.json");
    let path = path.unwrap_or(&own);
    let missing = |error: &dyn std::fmt::Display| {
        exit(
            NOT_FOUND,
            format!(
                "{}: {error}; name the chain's genesis file with --genesis, it is what all is checked with",
                path.display()
            ),
        )
    };
    let about = fs::metadata(path).map_err(|error| missing(&error))?;
    if about.len() > MAX_GENESIS {
        return Err(exit(
            USAGE,
            format!("{} is no genesis file", path.display()),
        ));
    }
    let bytes = fs::read(path).map_err(|error| missing(&error))?;
    TrustedGenesis::parse(&bytes).map_err(|error| exit(USAGE, error.to_string()))
}

fn open(data: &Path, genesis: Genesis, options: LedgerOptions) -> Result<Ledger> {
    Ledger::open(data, genesis, options).map_err(|error| match error {
        LedgerError::InUse { .. } => exit(NOT_FOUND, error.to_string()),
        LedgerError::OtherChain { .. } | LedgerError::GenesisRoot { .. } => {
            exit(USAGE, error.to_string())
        }
        other => other.into(),
    })
}

fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Goes on with what an interrupted run left, or with a copy of the file that is there, or begins.
fn begin(app: &App, part: &Path, out: &Path, genesis: &TrustedGenesis) -> Result<Writer> {
    if !part.exists() && out.exists() {
        fs::copy(out, part).with_context(|| part.display().to_string())?;
    }
    let length = match fs::metadata(part) {
        Ok(about) => about.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create(part, genesis),
        Err(error) => return Err(error).with_context(|| part.display().to_string()),
    };
    if length < SHORTEST {
        return create(part, genesis);
    }
    let file = File::options()
        .read(true)
        .write(true)
        .open(part)
        .with_context(|| part.display().to_string())?;
    let bar = app.ui.spinner("checking what is there");
    let opened = ArchiveReader::open(BufReader::with_capacity(1 << 20, file), genesis);
    let reader = opened.map_err(|error| {
        refused_at(
            error,
            &format!("{}; remove it to begin anew", part.display()),
        )
    })?;
    let writer = reader.resume(
        |height| bar.set_message(format!("checking what is there: block {height}")),
        |input, position| {
            let mut file = input.into_inner();
            file.set_len(position)?;
            file.seek(SeekFrom::Start(position))?;
            Ok(BufWriter::new(file))
        },
    )?;
    bar.finish_and_clear();
    Ok(writer)
}

fn create(part: &Path, genesis: &TrustedGenesis) -> Result<Writer> {
    let file = File::create(part)
        .map_err(|error| exit(NOT_FOUND, format!("{}: {error}", part.display())))?;
    Ok(ArchiveWriter::new(BufWriter::new(file), genesis)?)
}

/// Fetches the pieces of the snapshot that the archive begins with, those that are missing.
fn pieces(app: &App, client: &Client, writer: &mut Writer, part: &Path) -> Result<()> {
    let Some((snapshot, next)) = writer.open_snapshot() else {
        return Ok(());
    };
    let (height, count) = (snapshot.height(), snapshot.manifest().pieces());
    let bar = app.ui.steps_bar("pieces", count as u64);
    for index in next..count {
        bar.set_position(index as u64);
        let piece = block_on(client.snapshot_piece(height, index))?.ok_or_else(|| {
            exit(
                NOT_FOUND,
                format!(
                    "the node no longer has the snapshot of block {height}: remove {} and begin anew",
                    part.display()
                ),
            )
        })?;
        writer.piece(&piece).map_err(refused)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Ends the file, waits until it is on the disk, and gives it its name.
fn finish(writer: Writer, part: &Path, out: &Path) -> Result<u64> {
    let file = writer
        .finish()?
        .into_inner()
        .map_err(|error| error.into_error())?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    drop(file);
    place(part, out)?;
    Ok(bytes)
}

fn place(part: &Path, out: &Path) -> Result<()> {
    fs::rename(part, out).with_context(|| out.display().to_string())?;
    let folder = out.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| folder.display().to_string())
}

fn no_snapshot(client: &Client) -> anyhow::Error {
    exit(
        NOT_FOUND,
        format!(
            "the node at {} keeps no snapshot yet: it makes one every 'state.snapshot_every' blocks; of a stopped node, \
             'lucid chain snapshot --node-home DIR' takes one at once",
            client.url()
        ),
    )
}

fn refused(error: LedgerError) -> anyhow::Error {
    refused_at(error, "what the node gave is not used")
}

fn refused_at(error: LedgerError, what: &str) -> anyhow::Error {
    match error {
        LedgerError::Archive(_)
        | LedgerError::Snapshot(_)
        | LedgerError::State(
            lucid_ledger::StateError::ManifestRefused(_)
            | lucid_ledger::StateError::PieceRefused { .. }
            | lucid_ledger::StateError::RootMismatch { .. },
        ) => exit(TAMPERED, format!("{error} ({what})")),
        LedgerError::NotEmpty(_) => exit(USAGE, format!("{error} ({what})")),
        other => other.into(),
    }
}

//! `lucid verify`: what a recording proves, and when it was anchored.

use std::path::Path;

use anyhow::{Context, Result};
use lucid_format::{Ending, FileKind, Proven, VerifyOptions};
use lucid_light::TrustedGenesis;
use lucid_proof::{Anchored, By, Coverage, Fixed, MAX_PROOF_BYTES, Piece, Proof, ProofError};
use serde_json::json;

use crate::{
    App,
    cli::VerifyArgs,
    exit::{CUT, TAMPERED, USAGE, VERSION, exit},
    keyring,
    recording::{self, OpenRecording},
    ui::{Tone, clock, date, size},
};

/// Verifies; 0 only when the recording is complete (or a sound disclosure).
pub fn run(app: &App, args: &VerifyArgs) -> Result<u8> {
    let mut recording = recording::open(app, &args.recording)?;
    let host = recording.head.ticket.host_key.to_string();
    if let Some(expected) = args.host_key.as_ref().filter(|e| **e != host) {
        return Err(exit(
            TAMPERED,
            format!("it was recorded by host {host}, not by {expected}"),
        ));
    }
    let anchor = match (&args.proof, &args.genesis) {
        (Some(proof), Some(genesis)) => Some(anchor(proof, genesis, &recording)?),
        _ => None,
    };
    let secret = keyring::secret(&args.key)?;
    let proven = check(app, &mut recording, secret.as_ref())?;
    if app.ui.json {
        let mut value = describe(&recording, &proven);
        if let Some((anchored, coverage)) = &anchor {
            value["anchor"] = describe_anchor(&recording, anchored, coverage);
        }
        app.ui.json(&value)?;
    } else {
        print(app, &args.recording, &recording, &proven);
        if let Some((anchored, coverage)) = &anchor {
            print_anchor(app, &recording, anchored, coverage);
        }
    }
    let cut = recording.manifest.manifest.ending == Ending::Cut;
    Ok(if cut { CUT } else { 0 })
}

/// Reads a genesis file.
pub fn genesis(path: &Path) -> Result<TrustedGenesis> {
    let bytes = read(path, lucid_chain_types::Genesis::MAX_BYTES)?;
    TrustedGenesis::parse(&bytes)
        .map_err(|error| exit(USAGE, format!("{}: {error}", path.display())))
}

/// A file of at most `most` bytes.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>> {
    let name = || path.display().to_string();
    let size = std::fs::metadata(path).with_context(name)?.len();
    if size > most as u64 {
        return Err(exit(
            USAGE,
            format!("{} has {size} bytes, at most {most} are read", name()),
        ));
    }
    std::fs::read(path).with_context(name)
}

/// Checks a proof, and holds the recording against it.
fn anchor(
    proof: &Path,
    genesis_file: &Path,
    recording: &OpenRecording,
) -> Result<(Anchored, Coverage)> {
    let genesis = genesis(genesis_file)?;
    // The magic and the version come on top.
    let bytes = read(proof, MAX_PROOF_BYTES + 9)?;
    let refused = |error: ProofError| {
        let code = match error {
            ProofError::Version { .. } => VERSION,
            _ => TAMPERED,
        };
        exit(code, format!("the proof is refused: {error}"))
    };
    let anchored = Proof::decode(&bytes)
        .and_then(|proof| proof.verify(&genesis))
        .map_err(refused)?;
    let coverage = anchored
        .covers(&recording.head, &recording.manifest, &recording.index)
        .map_err(|error| exit(TAMPERED, format!("the recording is refused: {error}")))?;
    Ok((anchored, coverage))
}

/// When chunks of a file begin and end, µs since the session began.
fn span(recording: &OpenRecording, chunks: &std::ops::Range<u32>) -> (u64, u64) {
    let index = &recording.index;
    let entry = |position: u32| {
        index
            .chunks
            .get(position.checked_sub(index.first)? as usize)
    };
    let start = entry(chunks.start).map_or(0, |chunk| chunk.start_us);
    let end = chunks.end.checked_sub(1).and_then(entry);
    (start, end.map_or(start, |chunk| chunk.end_us))
}

fn by(piece: &Piece) -> &'static str {
    match piece.by {
        Fixed::Checkpoint(By::Checkpoint) => "checkpoint",
        Fixed::Checkpoint(By::Batch) => "batch",
        Fixed::Close => "close",
    }
}

fn print_anchor(app: &App, recording: &OpenRecording, anchored: &Anchored, coverage: &Coverage) {
    let ui = app.ui;
    let row = |label: &str, text: String| {
        ui.line(format!(
            "  {} {text}",
            ui.paint(Tone::Faint, format!("{label:<9}"))
        ));
    };
    let at = |time_s: u64| date(time_s.saturating_mul(1_000_000));
    row(
        "anchored",
        match anchored.closed {
            Some(closed) => ui.paint(
                Tone::Good,
                format!("closed in block {}, {}", closed.height, at(closed.time_s)),
            ),
            None => ui.paint(
                Tone::Bad,
                format!(
                    "still open in block {}, {}: its end is not anchored",
                    anchored.height,
                    at(anchored.time_ms / 1_000)
                ),
            ),
        },
    );
    row(
        "opened",
        format!(
            "in block {}, {}, by {} for {}",
            anchored.opened.height,
            at(anchored.opened.time_s),
            anchored.opener,
            anchored.owner
        ),
    );
    if let Some(transaction) = anchored.transaction {
        row("closed by", format!("transaction {transaction}"));
    }
    for piece in &coverage.pieces {
        let (start, end) = span(recording, &piece.chunks);
        row(
            "fixed",
            format!(
                "{} to {} (chunks {} to {}) by block {}, {}: {}",
                clock(start),
                clock(end),
                piece.chunks.start,
                piece.chunks.end - 1,
                piece.at.height,
                at(piece.at.time_s),
                by(piece)
            ),
        );
    }
    if !coverage.open.is_empty() {
        let (start, end) = span(recording, &coverage.open);
        row(
            "not fixed",
            format!(
                "{} to {} (chunks {} to {})",
                clock(start),
                clock(end),
                coverage.open.start,
                coverage.open.end - 1
            ),
        );
    }
}

fn describe_anchor(
    recording: &OpenRecording,
    anchored: &Anchored,
    coverage: &Coverage,
) -> serde_json::Value {
    let pieces = coverage.pieces.iter().map(|piece| {
        let (start_us, end_us) = span(recording, &piece.chunks);
        json!({
            "first": piece.chunks.start,
            "last": piece.chunks.end - 1,
            "start_us": start_us,
            "end_us": end_us,
            "height": piece.at.height,
            "time": piece.at.time_s,
            "by": by(piece),
        })
    });
    json!({
        "height": anchored.height,
        "block": anchored.block,
        "owner": anchored.owner,
        "opener": anchored.opener,
        "registered": anchored.registered,
        "opened": { "height": anchored.opened.height, "time": anchored.opened.time_s },
        "closed": anchored.closed.map(|at| json!({ "height": at.height, "time": at.time_s })),
        "transaction": anchored.transaction,
        "checkpoints": anchored.checkpoints.len(),
        "fixed": pieces.collect::<Vec<_>>(),
        "not_fixed": coverage.open.len(),
    })
}

/// Checks every chunk, with a progress bar; opens them too when there is a key.
pub fn check(
    app: &App,
    recording: &mut OpenRecording,
    secret: Option<&lucid_format::SecretKeys>,
) -> Result<Proven> {
    let keys = recording::keys(recording, secret)?;
    let total = recording
        .index
        .chunks
        .iter()
        .map(|c| u64::from(c.len))
        .sum();
    let bar = app.ui.bytes_bar("verifying", total);
    let mut step = |_, _, bytes| bar.set_position(bytes);
    let options = VerifyOptions {
        keys: keys.as_ref(),
        progress: Some(&mut step),
    };
    let proven = lucid_format::verify(recording, options);
    bar.finish_and_clear();
    Ok(proven?)
}

/// Says what was proven.
pub fn print(app: &App, name: &str, recording: &OpenRecording, proven: &Proven) {
    let ui = app.ui;
    let (ticket, manifest) = (&recording.head.ticket, &recording.manifest.manifest);
    let verdict = match (recording.index.kind, manifest.ending) {
        (FileKind::Recording, Ending::Closed) => ui.paint(Tone::Good, "complete and unchanged"),
        (FileKind::Recording, Ending::Cut) => ui.paint(
            Tone::Bad,
            "unchanged, but CUT: the recorder died before the end",
        ),
        (FileKind::Disclosure, _) => ui.paint(Tone::Good, "an unchanged part of a recording"),
    };
    ui.line(format!("{name}: {verdict}"));
    let row = |label: &str, text: String| {
        ui.line(format!(
            "  {} {text}",
            ui.paint(Tone::Faint, format!("{label:<9}"))
        ));
    };
    row("session", ticket.session.to_string());
    row(
        "who",
        format!(
            "{} on {}, from {}",
            ticket.user, ticket.target, recording.head.head.client
        ),
    );
    row(
        "when",
        format!(
            "{}, {} long",
            date(recording.head.head.started_us),
            clock(manifest.duration_us)
        ),
    );
    row(
        "chunks",
        format!(
            "{} of {} checked: each hash, its place, its order, {}",
            proven.chunks,
            proven.of,
            size(proven.bytes)
        ),
    );
    let opened = format!(
        "{} records decrypted: every tag and key commitment holds",
        proven.records
    );
    row(
        "content",
        if proven.opened {
            opened
        } else {
            "not opened: add --key to check it too".to_owned()
        },
    );
    let signer = match manifest.ending {
        Ending::Closed => "the session's one-time key",
        Ending::Cut => "the host's key, at recovery",
    };
    row(
        "signed by",
        format!("{signer}; ticket by host {}", ticket.host_key),
    );
    row("root", manifest.root.to_string());
    row("end", manifest.reason.clone());
    if let Some(disclosed) = &recording.disclosed {
        row(
            "disclosed",
            format!(
                "chunks {} to {} of {}, by {}",
                disclosed.first, disclosed.last, manifest.chunks, disclosed.by
            ),
        );
    }
    if recording.index.kind == FileKind::Recording && recording.wraps.is_none() {
        row(
            "keys",
            "destroyed: nobody can open this recording any more".to_owned(),
        );
    }
}

fn describe(recording: &OpenRecording, proven: &Proven) -> serde_json::Value {
    let (ticket, manifest) = (&recording.head.ticket, &recording.manifest.manifest);
    serde_json::json!({
        "complete": proven.complete,
        "kind": match recording.index.kind { FileKind::Recording => "recording", FileKind::Disclosure => "disclosure" },
        "ending": match manifest.ending { Ending::Closed => "closed", Ending::Cut => "cut" },
        "session": ticket.session.to_string(),
        "user": ticket.user,
        "target": ticket.target,
        "client": recording.head.head.client,
        "host_key": ticket.host_key.to_string(),
        "started_us": recording.head.head.started_us,
        "duration_us": manifest.duration_us,
        "chunks": proven.chunks,
        "chunks_of_session": proven.of,
        "bytes": proven.bytes,
        "opened": proven.opened,
        "records": proven.records,
        "root": manifest.root.to_string(),
        "reason": manifest.reason,
        "keys_destroyed": recording.index.kind == FileKind::Recording && recording.wraps.is_none(),
    })
}

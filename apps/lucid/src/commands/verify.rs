//! `lucid verify`: what a recording proves.

use anyhow::Result;
use lucid_format::{Ending, FileKind, Proven, VerifyOptions};

use crate::{
    App,
    cli::VerifyArgs,
    exit::{CUT, TAMPERED, exit},
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
    let secret = keyring::secret(&args.key)?;
    let proven = check(app, &mut recording, secret.as_ref())?;
    if app.ui.json {
        app.ui.json(&describe(&recording, &proven))?;
    } else {
        print(app, &args.recording, &recording, &proven);
    }
    let cut = recording.manifest.manifest.ending == Ending::Cut;
    Ok(if cut { CUT } else { 0 })
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

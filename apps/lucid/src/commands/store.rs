//! `lucid pack`, `lucid fsck`, `lucid prune`: the chunk store.

use std::{io::BufWriter, path::PathBuf};

use anyhow::{Context, Result};
use lucid_format::SessionId;
use lucid_recorder::wall_clock_us;
use lucid_store::{PrunePolicy, Severity};

use crate::{
    App,
    cli::{PackArgs, PruneArgs},
    exit::{DAMAGED, USAGE, exit},
    recording,
    ui::{Tone, size},
};

/// Writes a session into one file.
pub fn pack(app: &App, args: &PackArgs) -> Result<()> {
    let id: SessionId = args.id.parse()?;
    let to = args
        .to
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{id}.lucid")));
    let store = app.store()?;
    recording::write_atomically(&to, |file| {
        let writer = recording::pack(app, &store, id, BufWriter::new(file))?;
        writer
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context("writing")?;
        Ok(())
    })?;
    let bytes = std::fs::metadata(&to)?.len();
    if app.ui.json {
        return app
            .ui
            .json(&serde_json::json!({ "file": to, "bytes": bytes }));
    }
    app.ui.line(format!("{}: {}", to.display(), size(bytes)));
    Ok(())
}

/// Checks every file; the exit code says whether there is damage.
pub fn fsck(app: &App) -> Result<u8> {
    let store = app.store()?;
    let bar = app.ui.bytes_bar("checking", 0);
    let report = store.fsck(&mut |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let sound = report.is_sound();
    if app.ui.json {
        app.ui.json(&report)?;
    } else {
        for finding in &report.findings {
            let tone = if finding.severity == Severity::Error {
                Tone::Bad
            } else {
                Tone::Faint
            };
            app.ui.line(format!(
                "{} {}: {}",
                app.ui
                    .paint(tone, format!("{:?}", finding.kind).to_lowercase()),
                finding.path.display(),
                finding.why
            ));
        }
        let verdict = if sound {
            app.ui.paint(Tone::Good, "sound")
        } else {
            app.ui.paint(Tone::Bad, "DAMAGED")
        };
        app.ui.line(format!(
            "{verdict}: {} sessions, {} chunks, {}",
            report.sessions,
            report.chunks,
            size(report.bytes)
        ));
    }
    Ok(if sound { 0 } else { DAMAGED })
}

/// Removes what is too old or too much.
pub fn prune(app: &App, args: &PruneArgs) -> Result<()> {
    let max_age = args.older_than.or(app.settings.max_age());
    let policy = PrunePolicy {
        now_us: wall_clock_us(),
        max_age_us: max_age.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
        max_bytes: args.max_bytes,
    };
    if policy.max_age_us.is_none() && policy.max_bytes.is_none() {
        return Err(exit(
            USAGE,
            "nothing says what is too old or too much: give --older-than or --max-bytes, or set store.max_age_days",
        ));
    }
    let report = app.store()?.prune(&policy, args.dry_run)?;
    if app.ui.json {
        return app.ui.json(&report);
    }
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for gone in &report.removed {
        app.ui.line(format!(
            "{verb} {}: {}, {} chunks, {}",
            gone.id,
            gone.why,
            gone.chunks,
            size(gone.bytes)
        ));
    }
    let (count, held) = (report.removed.len(), report.held);
    app.ui.line(format!(
        "{verb} {count} recordings: {} became {}; {held} are held",
        size(report.bytes_before),
        size(report.bytes_after)
    ));
    Ok(())
}

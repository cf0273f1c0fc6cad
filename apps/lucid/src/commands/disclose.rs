//! `lucid disclose`: a time range, its keys, and nothing else.

use std::io::BufWriter;

use anyhow::{Context, Result};
use lucid_format::{Disclosed, FileKind, Index, RecordingWriter, merkle};

use crate::{
    App,
    cli::{DiscloseArgs, RangeArgs},
    exit::{USAGE, exit},
    keyring, recording,
    ui::clock,
};

/// Writes the disclosure.
pub fn run(app: &App, args: &DiscloseArgs) -> Result<()> {
    let mut recording = recording::open(app, &args.recording)?;
    if recording.index.kind == FileKind::Disclosure {
        return Err(exit(
            USAGE,
            "this is a disclosure already; cut from the whole recording",
        ));
    }
    let secret = keyring::secret_required(&args.key, "disclosing")?;
    let (first, last) = range(&recording.index, recording::end_us(&recording), &args.range)?;
    let nothing = || exit(USAGE, "the keys do not reach that range");
    let keys = recording::keys(&recording, Some(&secret))?.ok_or_else(nothing)?;
    let identity = secret.signing();
    let disclosed = Disclosed {
        version: Disclosed::VERSION,
        session: recording.head.ticket.session,
        first,
        last,
        by: identity.public(),
        keys: keys.cover(first, last).ok_or_else(nothing)?,
    };
    let count = last - first + 1;
    let proof = merkle::prove_range(&recording.leaves(), first as usize, count as usize)
        .ok_or_else(nothing)?;
    let signed = disclosed.sign(&identity)?;
    recording::write_atomically(&args.to, |file| {
        let mut writer =
            RecordingWriter::disclosure(BufWriter::new(file), &recording.head, &signed, &proof)?;
        let bar = app.ui.steps_bar("disclosing", count.into());
        for nth in first..=last {
            writer.chunk(&recording.chunk(nth as usize)?)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        writer
            .finish(&recording.manifest)?
            .into_inner()
            .map_err(|e| e.into_error())
            .context("writing")?;
        Ok(())
    })?;
    let chunks = &recording.index.chunks[first as usize..=last as usize];
    let (from, until) = (
        chunks.first().map_or(0, |c| c.start_us),
        chunks.last().map_or(0, |c| c.end_us),
    );
    if app.ui.json {
        let (from_us, until_us) = (from, until);
        return app.ui.json(&serde_json::json!({ "first": first, "last": last, "from_us": from_us, "until_us": until_us, "keys": disclosed.keys.len() }));
    }
    app.ui.line(format!(
        "{}: chunks {first} to {last} of {}, {} to {}, opened by {} inner keys",
        args.to.display(),
        recording.manifest.manifest.chunks,
        clock(from),
        clock(until),
        disclosed.keys.len(),
    ));
    app.ui.note("A chunk is the smallest part that can be proven, so the range was widened to whole chunks.");
    if let Some(pictured) = chunks.iter().position(|c| c.keyframe).filter(|at| *at > 0) {
        let at = clock(chunks[pictured].start_us);
        app.ui.note(format!(
            "The screen did not change before {at}, so the part before it shows no picture: begin earlier to include one."
        ));
    }
    Ok(())
}

/// First and last chunk that a time range touches, of a recording that ends at `end`.
fn range(index: &Index, end: u64, range: &RangeArgs) -> Result<(u32, u32)> {
    let (from, until) = (range.from.unwrap_or(0), range.until.unwrap_or(u64::MAX));
    // The last chunk lasts until the end, which a torn one does not say itself.
    let ends = index
        .chunks
        .iter()
        .skip(1)
        .map(|next| next.start_us)
        .chain([end]);
    let mut positions = (0u32..)
        .zip(index.chunks.iter().zip(ends))
        .filter(|(_, (c, ends))| c.end_us.max(*ends) >= from && c.start_us <= until)
        .map(|(position, _)| position);
    let first = positions.next();
    match (first, positions.last().or(first)) {
        (Some(first), Some(last)) if from <= until => Ok((first, last)),
        _ => Err(exit(
            USAGE,
            format!(
                "nothing was recorded in that range: the recording lasts {}",
                clock(end)
            ),
        )),
    }
}

//! `lucid bench`: figures beside those of named peers and limits, measured in the same run on the same data.
//!
//! ```text
//! pipeline   records → sealed chunks on the disk         beside zstd | age, restic, borg, rustic
//! memory     a live session, short and long              beside its bound
//! verify     a sealed recording, without and with keys   beside plain BLAKE3
//! gateway    throughput, latency, idle sessions          beside the same connection without it
//! office     a real desktop: kB a minute                 beside its bounds
//! chain      validators as processes, under load         beside one thread with the same blocks
//! anchor     a thousand sessions on the same chain      beside its bounds
//! ```
//!
//! Nothing is asserted here: a machine that is busy or slow prints its figures all the same.

mod anchor;
mod chain;
mod data;
mod gateway;
mod memory;
mod office;
mod peers;
mod pipeline;
mod rdp;
mod report;
mod session;
mod verify;

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{App, cli::BenchArgs};
use report::{Machine, Row, Section, load};

/// What every measurement has at hand.
pub struct Bench<'a> {
    app: &'a App,
    args: &'a BenchArgs,
    /// Everything is written in here.
    scratch: PathBuf,
    data: OnceCell<Vec<(&'static str, PathBuf)>>,
}

impl Bench<'_> {
    /// The data sets, made when first needed.
    fn data(&self) -> Result<impl Iterator<Item = (&'static str, &Path)>> {
        if self.data.get().is_none() {
            let spinner = self.app.ui.spinner("making the data sets");
            let made = data::make(&self.scratch, u64::from(self.args.megabytes) << 20)?;
            spinner.finish_and_clear();
            // Nobody else is here to have set it.
            let _ = self.data.set(made);
        }
        Ok(self
            .data
            .get()
            .into_iter()
            .flatten()
            .map(|(name, path)| (*name, path.as_path())))
    }

    /// Measures as often as was asked for, after one run that does not count.
    fn repeat<T>(&self, what: &str, mut measure: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        let bar = self.app.ui.steps_bar(what, u64::from(self.args.runs) + 1);
        measure().with_context(|| what.to_owned())?;
        let runs = (0..self.args.runs).map(|_| {
            bar.inc(1);
            measure().with_context(|| what.to_owned())
        });
        let runs = runs.collect();
        bar.finish_and_clear();
        runs
    }
}

/// Measures one of the things there are to measure.
type Measure = fn(&Bench<'_>) -> Result<Vec<Row>>;

/// Runs what was asked for, or everything.
pub fn run(app: &App, args: &BenchArgs) -> Result<()> {
    if let Some(child) = &args.child {
        return memory::child(app, child);
    }
    let scratch = tempfile::Builder::new()
        .prefix("lucid-bench-")
        .tempdir()
        .context("making a temporary folder")?;
    let machine = Machine::here(scratch.path());
    let bench = Bench {
        app,
        args,
        scratch: scratch.path().to_owned(),
        data: OnceCell::new(),
    };
    if !app.ui.json {
        let Machine {
            processor,
            cores,
            memory_mib,
            file_system,
        } = &machine;
        app.ui.line(format!(
            "{cores} cores ({processor}), {memory_mib} MiB of memory, written to {file_system}"
        ));
        app.ui.line(format!(
            "{} MB of each data set, median of {} runs",
            args.megabytes, args.runs
        ));
    }
    let all: [(&str, &str, Measure); 7] = [
        (
            "pipeline",
            "Pipeline: records to sealed chunks on the disk",
            pipeline::run,
        ),
        ("memory", "Memory of a live session", memory::run),
        ("verify", "Verify: one thread, ciphertext", verify::run),
        (
            "gateway",
            "Gateway: on loopback, peers and recorder in the same process",
            gateway::run,
        ),
        (
            "office",
            "Office work: a real desktop at 1024×768",
            office::run,
        ),
        (
            "chain",
            "Chain: validators on this machine, registrations over JSON-RPC",
            chain::run,
        ),
        (
            "anchor",
            "Anchors: many sessions at once, on a chain on this machine",
            anchor::run,
        ),
    ];
    let mut sections = Vec::new();
    for (name, title, measure) in all {
        if !args.what.is_empty() && !args.what.iter().any(|w| w == name) {
            continue;
        }
        let before = load();
        let rows = measure(&bench).with_context(|| format!("measuring '{name}'"))?;
        let section = Section {
            title: title.to_owned(),
            rows,
            load: [before, load()],
        };
        if !app.ui.json {
            report::print(app.ui, &section);
        }
        sections.push(section);
    }
    if app.ui.json {
        app.ui.json(&serde_json::json!({
            "machine": machine, "megabytes": args.megabytes, "runs": args.runs, "sections": sections,
        }))?;
    }
    Ok(())
}

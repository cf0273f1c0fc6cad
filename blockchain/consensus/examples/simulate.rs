//! Runs the simulation for long: `cargo run --release -p lucid-consensus --example simulate -- --seeds 10000 [--from N] [--for SECONDS]`,
//! or one seed: `--seed N [--trace]`. `--break RULE` breaks a rule on purpose; `--stops` tells
//! of runs that made no progress because more nodes forgot than progress can bear.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::needless_pass_by_value
)]

#[path = "../tests/it/sim/mod.rs"]
mod sim;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::{Break, Report, run};

const USAGE: &str = "usage: simulate [--seeds N] [--from N] [--for SECONDS] [--seed N] [--trace] [--stops] [--break guard|quorum|quorum-unseen|validity|bodies|sync|lock]";
/// Rules that can be broken.
const BREAKS: [(&str, Break); 8] = [
    ("nothing", Break::Nothing),
    ("guard", Break::Guard),
    ("quorum", Break::Quorum),
    ("quorum-unseen", Break::QuorumUnseen),
    ("validity", Break::Validity),
    ("bodies", Break::Bodies),
    ("sync", Break::Sync),
    ("lock", Break::Lock),
];
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(10);

struct Arguments {
    from: u64,
    seeds: u64,
    limit: Option<Duration>,
    trace: bool,
    tell_stops: bool,
    broken: (&'static str, Break),
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments {
        from: 0,
        seeds: 1_000,
        limit: None,
        trace: false,
        tell_stops: false,
        broken: ("nothing", Break::Nothing),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => arguments.seeds = words.next()?.parse().ok()?,
            "--from" => arguments.from = words.next()?.parse().ok()?,
            "--for" => arguments.limit = Some(Duration::from_secs(words.next()?.parse().ok()?)),
            "--seed" => {
                arguments.from = words.next()?.parse().ok()?;
                arguments.seeds = 1;
            }
            "--trace" => arguments.trace = true,
            "--stops" => arguments.tell_stops = true,
            "--break" => {
                let name = words.next()?;
                arguments.broken = *BREAKS.iter().find(|(known, _)| *known == name)?;
            }
            _ => return None,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let Some(Arguments {
        from,
        seeds,
        limit,
        trace,
        tell_stops,
        broken: (name, broken),
    }) = arguments()
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let mut told = begun;
    let mut failed = Vec::new();
    let mut all = Report::default();
    let mut recoveries = Vec::new();
    let (mut beyond, mut stopped) = (0_u64, 0_u64);
    let mut done = 0_u64;
    for seed in from..from.saturating_add(seeds) {
        let report = run(seed, broken, trace);
        done += 1;
        all.events += report.events;
        all.heights += report.heights;
        all.rounds = all.rounds.max(report.rounds);
        all.crashes += report.crashes;
        all.hangs += report.hangs;
        all.repeats += report.repeats;
        all.refusals += report.refusals;
        all.synced += report.synced;
        all.accused += report.accused;
        beyond += u64::from(report.beyond);
        if let Some(what) = &report.stopped {
            stopped += 1;
            if tell_stops {
                println!("seed {seed} stopped: {what}");
            }
        }
        recoveries.extend(report.recovery.filter(|_| !report.beyond));
        if seeds == 1 {
            println!("{report:#?}");
        }
        if let Some((rule, what)) = report.violation {
            println!("seed {seed}: {rule:?}: {what}");
            let replay = if name == "nothing" {
                String::new()
            } else {
                format!(" --break {name}")
            };
            println!(
                "  replay: cargo run --release -p lucid-consensus --example simulate -- --seed {seed} --trace{replay}"
            );
            failed.push(seed);
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!(
                "{done} seeds, {:.1} a second, {} failed",
                done as f64 / begun.elapsed().as_secs_f64(),
                failed.len()
            );
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            break;
        }
    }
    recoveries.sort_unstable();
    let at = |part: usize| {
        recoveries.get((recoveries.len() * part / 1_000).min(recoveries.len().saturating_sub(1)))
    };
    let seconds = |time: Option<&u64>| time.map_or(0.0, |time| *time as f64 / 1e6);
    println!(
        "{done} seeds from {from} in {:.0} s ({:.1} a second): {} failed {failed:?}\n\
         {} events, {} heights, highest round {}, {} crashes, {} unreadable logs, {} repeated and {} refused signatures, \
         {} blocks caught up with, {} offences proved\n\
         after healing all went on within {:.1} s (half of the seeds), {:.1} s (99 %), {:.1} s (all); {beyond} seeds had more forgetful \
         and Byzantine nodes than progress can bear, and {stopped} of them stopped",
        begun.elapsed().as_secs_f64(),
        done as f64 / begun.elapsed().as_secs_f64(),
        failed.len(),
        all.events,
        all.heights,
        all.rounds,
        all.crashes,
        all.hangs,
        all.repeats,
        all.refusals,
        all.synced,
        all.accused,
        seconds(at(500)),
        seconds(at(990)),
        seconds(recoveries.last()),
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! An idle chain's disk: seals one slot after another, as a network does that has nothing else to do, and prints what a year of
//! them takes beside the limit of issue 3.
//!
//! ```text
//! cargo run --release -p lucid-ledger --example idle -- --seals 262800      # a year of slots of 120 s, in minutes
//! ```
//! Four validators' keys in this process. Without arguments a day of slots, and the rest of the year is reckoned from it.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark"
)]

use std::fs;
use std::path::Path;

use lucid_ledger::{Durability, LedgerOptions};

#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
mod support;

use support::Net;

/// Slots of a day and of a year.
const DAY: u64 = 720;
const YEAR: u64 = 365 * DAY;
/// A year of idle chain is to take less, bytes.
const LIMIT: f64 = (2u64 << 30) as f64;

/// Bytes of tables, and of journals as far as they are written: the rest of a journal is room that is kept.
fn bytes_in(folder: &Path) -> (u64, u64) {
    let (mut tables, mut journals) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let (more, journal) = bytes_in(&path);
            tables += more;
            journals += journal;
        } else if path.extension().is_some_and(|extension| extension == "jnl") {
            let bytes = fs::read(&path).unwrap();
            let written = bytes.iter().rposition(|byte| *byte != 0);
            journals += written.map_or(0, |last| last as u64 + 1);
        } else {
            tables += fs::metadata(&path).unwrap().len();
        }
    }
    (tables, journals)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seals: u64 = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => DAY,
        ["--seals", count] => count.parse().unwrap(),
        _ => panic!("usage: idle [--seals COUNT]"),
    };
    let options = LedgerOptions {
        durability: Durability::OnPersist,
        ..LedgerOptions::default()
    };
    let mut net = Net::with(4, 1, options);
    let (before, journal_before) = bytes_in(net.folder.path());
    for _ in 0..seals {
        assert!(net.seal().header.seal);
    }
    let (tables, journals) = bytes_in(net.folder.path());
    let grown = (tables + journals - before - journal_before) as f64;
    let year = grown / seals as f64 * YEAR as f64;
    println!(
        "{seals} seals: {} bytes of tables and {} of journals more, {:.0} a seal; a year of them {:.2} GiB, {:.2} of the limit of 2 GiB",
        tables - before,
        journals - journal_before,
        grown / seals as f64,
        year / f64::from(1u32 << 30),
        year / LIMIT
    );
}

//! What a minute of somebody working at a real desktop takes on the disk, and a minute of nobody.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use lucid_desktop::{Client, ClientOptions, Desktop, DesktopError, DesktopOptions};
use lucid_format::{SecretKeys, SessionId};
use lucid_store::Store;

use super::{
    Bench,
    gateway::POLICY,
    report::{Row, number},
};
use crate::{
    exit::{PROGRAM, exit},
    hosted::{Hosted, PATIENCE, own_desktop, runtime},
};

const USER: &str = "operator1";
const MINUTE: Duration = Duration::from_secs(60);
const TARGET_WORK_KB: f64 = 600.0;
const TARGET_IDLE_KB: f64 = 10.0;
/// Time for each word: five letters and a space, at about sixty words a minute.
const WORD: Duration = Duration::from_secs(1);

/// Records a minute of work and a minute of nothing.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let dir = tempfile::tempdir_in(&bench.scratch)?;
    let desktop = match Desktop::start(&DesktopOptions::new(dir.path().join("desktop"))) {
        Ok(desktop) => desktop,
        Err(error @ (DesktopError::NotRoot { .. } | DesktopError::Missing { .. })) => {
            return Ok(vec![Row::missing(
                "typing and listings in a terminal",
                error.to_string(),
            )]);
        }
        Err(error) => return Err(exit(PROGRAM, error.to_string())),
    };
    let runtime = runtime()?;
    let target = own_desktop(&runtime, &desktop)?;
    let auditor = SecretKeys::generate("auditor", &mut lucid_recorder::rng())?;
    let gateway = Hosted::start(&runtime, dir.path(), auditor.public(), target, 1, None)?;
    let minted = gateway.mint(USER, POLICY)?;
    let id = minted.ticket.session;

    let fault = |e: DesktopError| exit(PROGRAM, e.to_string());
    let options = ClientOptions::new(
        dir.path().join("client"),
        gateway.address,
        USER,
        minted.password.as_str(),
    );
    let mut client = Client::connect(&options).map_err(fault)?;
    client.wait_for_picture(PATIENCE).map_err(fault)?;
    client.mouse_click(300, 200).map_err(fault)?;
    thread::sleep(Duration::from_secs(3));

    let spinner = bench.app.ui.spinner("a minute of typing on a real desktop");
    let before = recorded(&gateway.store, id)?;
    work(&client).map_err(fault)?;
    let worked = recorded(&gateway.store, id)? - before;
    spinner.set_message("a minute of nothing on it");
    // What the last key press drew.
    thread::sleep(Duration::from_secs(2));
    let before = recorded(&gateway.store, id)?;
    thread::sleep(MINUTE);
    let idled = recorded(&gateway.store, id)? - before;
    spinner.finish_and_clear();
    client.disconnect().map_err(fault)?;
    gateway.stop(&runtime)?;

    let work =
        Row::new("typing and listings in a terminal", "kB/min", &[worked]).at_most(TARGET_WORK_KB);
    let idle = Row::new("nobody there", "kB/min", &[idled]).at_most(TARGET_IDLE_KB);
    let day = format!("{} MB in a day of 8 hours", number(worked * 480.0 / 1e3));
    Ok(vec![work.note(day), idle.note("a heartbeat every 10 s")])
}

/// Bytes of the session's chunks so far, in kB.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a benchmark are far below 2^52"
)]
fn recorded(store: &Store, id: SessionId) -> Result<f64> {
    Ok(store.session(id)?.summary.bytes as f64 / 1e3)
}

/// A minute of typing at sixty words a minute, with a listing after every ten.
fn work(client: &Client) -> Result<(), DesktopError> {
    const WORDS: [&str; 10] = [
        "echo ", "these ", "words ", "were ", "typed ", "by ", "one ", "hand ", "this ", "morning ",
    ];
    let begin = Instant::now();
    for nth in 0.. {
        let due = begin + WORD * nth;
        if due.duration_since(begin) >= MINUTE {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for letter in WORDS[nth as usize % WORDS.len()].split_inclusive(|_| true) {
            client.type_text(letter)?;
            thread::sleep(WORD / 12);
        }
        if nth % 10 == 9 {
            client.type_text("\nls -l /usr\n")?;
        }
    }
    thread::sleep((begin + MINUTE).saturating_duration_since(Instant::now()));
    Ok(())
}

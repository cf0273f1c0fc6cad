//! A real process that commits blocks, killed with SIGKILL at random instants.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use fjall::PersistMode;
use lucid_state::MemoryState;

use crate::blocks::{Seeded, block, database, open, seed};
use crate::model::compare;

const ROOT: &str = "LUCID_STATE_KILL_ROOT";
const SEED: &str = "LUCID_STATE_KILL_SEED";
const ROUNDS: u64 = 12;
const HISTORY: u64 = 4;

/// Not a test of its own: the process that is killed. Commits until it is, and says what is durable.
#[test]
fn writer_to_be_killed() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let seed: u64 = env::var(SEED).expect("a seed").parse().expect("a number");
    let db = database(Path::new(&root));
    let state = open(&db, HISTORY);
    let mut stdout = std::io::stdout().lock();
    loop {
        let height = state.height().map_or(0, |height| height + 1);
        let prepared = state.prepare(&block(seed, height)).expect("prepares");
        let mut batch = db.batch();
        state
            .commit(height, &prepared, &mut batch)
            .expect("goes into the batch");
        batch
            .durability(Some(PersistMode::SyncData))
            .commit()
            .expect("is written");
        state.committed(height, &prepared).expect("moves on");
        writeln!(stdout, "durable {height}").expect("says so");
        stdout.flush().expect("says so");
    }
}

#[test]
fn a_writer_that_is_killed_has_whole_blocks_and_all_it_called_durable() {
    let mut random = Seeded(seed());
    let seed = random.next();
    let dir = tempfile::tempdir().expect("a folder");
    let mut model = MemoryState::default();
    let mut before = MemoryState::default();
    let mut blocks = 0;
    let mut durable = None;
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "kill::writer_to_be_killed", "--nocapture"])
            .env(ROOT, dir.path())
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let reader = thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines
                .filter_map(|line| {
                    line.strip_prefix("durable ")
                        .and_then(|n| n.parse::<u64>().ok())
                })
                .last()
        });
        thread::sleep(Duration::from_micros(random.below(300_000)));
        child.kill().expect("is killed");
        child.wait().expect("has ended");
        durable = reader.join().expect("was read").or(durable);

        let db = database(dir.path());
        let state = open(&db, HISTORY);
        let reached = state.height();
        assert!(
            reached >= durable,
            "round {round}: {durable:?} was durable, {reached:?} is there"
        );
        while reached.is_some_and(|reached| blocks <= reached) {
            before = model.clone();
            model.apply(&block(seed, blocks)).expect("applies");
            blocks += 1;
        }
        assert_eq!(state.root(), model.root(), "round {round}");
        if let Some(reached) = reached {
            compare(&state.latest().expect("a state"), &model);
            if reached > 0 {
                assert_eq!(
                    state.at(reached - 1).expect("is kept").root(),
                    before.root()
                );
            }
        }
    }
    println!("{ROUNDS} kills, {blocks} blocks");
}

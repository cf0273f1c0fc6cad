//! A real writer process, killed with SIGKILL at random instants.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lucid_store::{SessionState, StoreError};
use tempfile::TempDir;

use crate::support::{Minted, Recorder, Seeded, open, pack_and_verify};

const ROOT: &str = "LUCID_STORE_KILL_ROOT";
const SEED: &str = "LUCID_TEST_SEED";
const ROUNDS: u64 = 25;

/// Not a test of its own: the process that is killed. Records until it is, and says what is durable.
#[test]
fn writer_to_be_killed() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let seed = env::var(SEED).unwrap().parse().unwrap();
    let mut random = Seeded::new(seed ^ 0x5eed);
    let store = open(Path::new(&root));
    let mut recorder = Recorder::start(&store, Minted::new(seed)).unwrap();
    let mut stdout = std::io::stdout().lock();
    loop {
        let extra = vec![b'k'; usize::try_from(random.below(5_000)).unwrap()];
        match random.below(10) {
            0 => recorder.close().unwrap(),
            1..4 => {
                recorder.push(&extra);
                recorder.append().unwrap();
            }
            _ => recorder.record(&extra).unwrap(),
        }
        writeln!(stdout, "durable {}", recorder.synced).unwrap();
        stdout.flush().unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_loses_nothing_it_called_durable() {
    let seed: u64 = match env::var(SEED) {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        }
    };
    println!("{SEED}={seed} repeats this run");
    let mut random = Seeded::new(seed);
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut kept = 0;
    for round in 0..ROUNDS {
        let minted = Minted::new(seed.wrapping_add(round));
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kill::writer_to_be_killed", "--nocapture"])
            .env(ROOT, dir.path())
            .env(SEED, seed.wrapping_add(round).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            let durable = stdout.lines().map_while(Result::ok).filter_map(|line| {
                line.strip_prefix("durable ")
                    .and_then(|n| n.parse::<u64>().ok())
            });
            durable.last()
        });
        // From its first instant (no session yet) to a few chunks in.
        thread::sleep(Duration::from_micros(random.below(250_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let durable = reader.join().unwrap();

        let report = store.fsck(&mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "round {round}: {report:#?}");
        match store.recover(minted.id) {
            Ok(found) => minted.seal_cut(found).unwrap(),
            Err(StoreError::NoSession { .. }) if durable.is_none() => continue,
            Err(error) => panic!("round {round}: {error}"),
        }
        let (_, records) = pack_and_verify(&store, &minted);
        assert!(
            records >= durable.unwrap_or(0),
            "round {round}: {records} records are left of {durable:?}"
        );
        kept += records;
    }
    let listing = store.list().unwrap();
    assert!(
        listing
            .sessions
            .iter()
            .all(|s| s.state == SessionState::Cut)
    );
    println!("{} sessions, {kept} records", listing.sessions.len());
    assert!(listing.sessions.len() > 5 && kept > 50);
}

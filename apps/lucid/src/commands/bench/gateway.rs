//! What the gateway costs: the same client and desktop, with it between them and without.
//!
//! Peers, gateway and recorder share this process and its cores, so whatever the peers need counts against the gateway.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use lucid_format::SecretKeys;
use lucid_rdp::Trust;
use lucid_store::SessionState;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
};

use super::{
    Bench,
    data::{CELL_HEIGHT, Numbers, Typist},
    memory,
    rdp::{self, Client, Desk, Server},
    report::{Row, cpu, median, number, percentile, rate},
};
use crate::hosted::{Hosted, PATIENCE, runtime, target};

const TARGET_MBIT: f64 = 400.0;
const TARGET_ADDED_MS: f64 = 2.0;
const TARGET_IDLE_PERCENT: f64 = 5.0;
/// How long each throughput run sends.
const SENDING: Duration = Duration::from_secs(3);
/// Bytes of different pictures before they repeat: several chunks, so that the recorder finds no repetition.
const PICTURES: usize = 48 << 20;
/// Key presses of a latency run, and the pause between them.
const KEYS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(2);
/// The channel policy that tickets name.
pub const POLICY: &str = "benchmark";
const IDLE_SESSIONS: usize = 20;
const IDLE: Duration = Duration::from_secs(20);
/// Measures throughput, latency and idle sessions.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let dir = tempfile::tempdir_in(&bench.scratch)?;
    let runtime = runtime()?;
    let mut desk = runtime.block_on(Desk::start(dir.path()))?;
    let target = target(desk.address, Trust::Pin(desk.fingerprint), "desk", "desk");
    let auditor = SecretKeys::generate("auditor", &mut lucid_recorder::rng())?;
    let gateway = Hosted::start(
        &runtime,
        dir.path(),
        auditor.public(),
        target,
        IDLE_SESSIONS + 2,
        None,
    )?;
    let mut place = Place {
        dir: dir.path(),
        runtime: &runtime,
        desk: &mut desk,
        gateway: &gateway,
    };
    let mut rows = Vec::new();
    for (name, pictures) in [("text", text()?), ("noise", noise())] {
        rows.extend(throughput(bench, &mut place, name, &Arc::new(pictures))?);
    }
    rows.extend(latency(bench, &mut place)?);
    rows.extend(idle(bench, &mut place)?);
    gateway.stop(&runtime)?;
    Ok(rows)
}

/// Where everything happens.
struct Place<'a> {
    dir: &'a Path,
    runtime: &'a Runtime,
    desk: &'a mut Desk,
    gateway: &'a Hosted,
}

impl Place<'_> {
    fn direct(&mut self) -> Result<(Client, Server)> {
        self.runtime.block_on(self.desk.direct(self.dir))
    }

    fn through(&mut self) -> Result<(Client, Server)> {
        let minted = self.gateway.mint("operator1", POLICY)?;
        let (certificate, _) = self.gateway.home.tls();
        let password = minted.password.as_str();
        self.runtime.block_on(self.desk.through(
            self.gateway.address,
            &certificate,
            "operator1",
            password,
        ))
    }

    /// Waits until no session is live.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self
            .gateway
            .store
            .list()?
            .sessions
            .iter()
            .any(|s| s.state == SessionState::Live)
        {
            anyhow::ensure!(
                Instant::now() < deadline,
                "a session was not sealed within {} s",
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Frames that fill the screen with text again and again.
fn text() -> Result<Vec<Vec<u8>>> {
    let mut typist = Typist::new(4);
    let (mut frames, mut bytes) = (Vec::new(), 0);
    let rows = usize::from(rdp::HEIGHT) / CELL_HEIGHT;
    for nth in 0.. {
        if bytes >= PICTURES {
            break;
        }
        let line = memory::line(&mut typist, u16::try_from(nth % rows * CELL_HEIGHT)?)?;
        bytes += line.iter().map(Vec::len).sum::<usize>();
        frames.extend(line);
    }
    Ok(frames)
}

/// Frames as a video in a window makes them.
fn noise() -> Vec<Vec<u8>> {
    let mut numbers = Numbers::new(5);
    let tiles = PICTURES / (64 * 64 * 4);
    let tile = |nth: usize| {
        let pixels: Vec<u8> = (0..64 * 64 / 2)
            .flat_map(|_| numbers.next().to_le_bytes())
            .collect();
        let x = u16::try_from(nth % 16 * 64).unwrap_or_default();
        let y = u16::try_from(nth / 16 % 12 * 64).unwrap_or_default();
        rdp::picture(x, y, 64, 64, &pixels)
    };
    (0..tiles).map(tile).collect()
}

fn throughput(
    bench: &Bench<'_>,
    place: &mut Place<'_>,
    name: &str,
    pictures: &Arc<Vec<Vec<u8>>>,
) -> Result<Vec<Row>> {
    let rounds = bench.repeat(&format!("throughput, {name}"), || {
        let (client, server) = place.direct()?;
        let direct = place
            .runtime
            .block_on(stream(client, server, pictures.clone()))?;
        let (client, server) = place.through()?;
        let through = place
            .runtime
            .block_on(stream(client, server, pictures.clone()))?;
        place.settle()?;
        Ok((direct, through))
    })?;
    let (direct, through): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    let part = median(&through).unwrap_or(f64::NAN) / median(&direct).unwrap_or(f64::NAN);
    let direct = Row::new(format!("throughput, {name}: direct"), "Mbit/s", &direct)
        .note("TLS, nothing recorded");
    let through = Row::new(
        format!("throughput, {name}: one session, recorded"),
        "Mbit/s",
        &through,
    );
    Ok(vec![
        direct,
        through
            .ratio(format!("{} of direct", number(part)))
            .at_least(TARGET_MBIT),
    ])
}

/// Mbit/s that reach the client.
async fn stream(
    mut client: Client,
    mut server: Server,
    pictures: Arc<Vec<Vec<u8>>>,
) -> Result<f64> {
    let begin = Instant::now();
    let sender = tokio::spawn(async move {
        let end = begin + SENDING;
        for picture in pictures.iter().cycle() {
            // A gateway that breaks off shows in the figure, and in what the client gets.
            if Instant::now() >= end || server.write_all(picture).await.is_err() {
                break;
            }
        }
        // The other side may be gone first.
        let _ = server.shutdown().await;
    });
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 16]);
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        bytes += read as u64;
    }
    let took = begin.elapsed();
    sender.await?;
    anyhow::ensure!(
        took >= SENDING,
        "the session broke off after {} s",
        number(took.as_secs_f64())
    );
    Ok(rate(bytes, took) * 8.0)
}

fn latency(bench: &Bench<'_>, place: &mut Place<'_>) -> Result<Vec<Row>> {
    let rounds = bench.repeat("latency", || {
        let (client, server) = place.direct()?;
        let direct = place.runtime.block_on(round_trips(client, server))?;
        let (client, server) = place.through()?;
        let through = place.runtime.block_on(round_trips(client, server))?;
        place.settle()?;
        Ok((direct, through))
    })?;
    let mut rows = Vec::new();
    for percent in [50, 99] {
        let of = |trips: &Vec<f64>| percentile(trips, percent);
        let direct: Vec<f64> = rounds.iter().map(|(direct, _)| of(direct)).collect();
        let through: Vec<f64> = rounds.iter().map(|(_, through)| of(through)).collect();
        let added: Vec<f64> = rounds
            .iter()
            .map(|(direct, through)| of(through) - of(direct))
            .collect();
        rows.push(Row::new(
            format!("key to picture, p{percent}: direct"),
            "ms",
            &direct,
        ));
        rows.push(Row::new(
            format!("key to picture, p{percent}: recorded"),
            "ms",
            &through,
        ));
        let added = Row::new(
            format!("added by the gateway, p{percent}, both ways together"),
            "ms",
            &added,
        );
        rows.push(if percent == 99 {
            added.at_most(TARGET_ADDED_MS)
        } else {
            added
        });
    }
    Ok(rows)
}

/// Milliseconds from a key press to the small picture that answers it, sorted.
async fn round_trips(mut client: Client, mut server: Server) -> Result<Vec<f64>> {
    const PRESS: [u8; 4] = [4, 4, 0, 30];
    let picture = rdp::picture(8, 16, 8, 16, &[0x5A; 8 * 16 * 4]);
    let mut answer = vec![0; picture.len()];
    let desk = tokio::spawn(async move {
        let mut press = PRESS;
        // Ends when the client leaves.
        while server.read_exact(&mut press).await.is_ok() {
            if server.write_all(&picture).await.is_err() || server.flush().await.is_err() {
                break;
            }
        }
    });
    let mut trips = Vec::with_capacity(KEYS);
    for _ in 0..KEYS {
        tokio::time::sleep(PAUSE).await;
        let begin = Instant::now();
        client.write_all(&PRESS).await?;
        client.flush().await?;
        client.read_exact(&mut answer).await?;
        trips.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    // It may not wait for the goodbye.
    let _ = client.shutdown().await;
    drop(client);
    desk.await?;
    trips.sort_by(f64::total_cmp);
    Ok(trips)
}

fn idle(bench: &Bench<'_>, place: &mut Place<'_>) -> Result<Vec<Row>> {
    let spinner = bench
        .app
        .ui
        .spinner(&format!("{IDLE_SESSIONS} idle sessions"));
    let sessions = (0..IDLE_SESSIONS)
        .map(|_| place.through())
        .collect::<Result<Vec<_>>>()?;
    // Until the last one's first segment is written.
    std::thread::sleep(Duration::from_secs(3));
    let (before, begin) = (cpu()?.0, Instant::now());
    std::thread::sleep(IDLE);
    let share =
        cpu()?.0.saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    drop(sessions);
    place.settle()?;
    spinner.finish_and_clear();
    let row = Row::new(
        format!("{IDLE_SESSIONS} idle sessions, {} s", IDLE.as_secs()),
        "% of a core",
        &[share],
    );
    Ok(vec![row.at_most(TARGET_IDLE_PERCENT).note(
        "heartbeats recorded; the peers' own share is in it",
    )])
}

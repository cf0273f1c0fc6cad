//! The anchor queue with a thousand sessions at once, on a network of real nodes.
//!
//! ```text
//!  sessions ──open──▶ queue ──▶ node 0      each validator a process under a guard
//!           ──checkpoint, all at once, a few times──▶
//!           ──close──▶
//! ```
//!
//! A figure is the time from when something is due until this program knows that it is final.

use std::time::{Duration, Instant};

use alloy_primitives::B256;
use anyhow::{Context, Result, ensure};
use lucid_anchor::book::{Job, Session};
use lucid_anchor::{Anchors, Settings};
use lucid_client::{Client, Wallet};
use lucid_format::SessionId;
use lucid_node::init::network;

use super::Bench;
use super::report::{Row, percentile};
use crate::anchoring::IN_FLIGHT;
use crate::processes;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Seconds beyond the pace from an event to its final checkpoint (issue 4).
const TARGET_LAG: f64 = 2.0;
/// Seconds from a session's end to where it can be proven.
const TARGET_CLOSE: f64 = 3.0;

/// Runs the network and measures it.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let args = &bench.args.anchor;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting")?;
    let dir = bench.scratch.join("anchor");
    runtime.block_on(async {
        let spinner = bench.app.ui.spinner("a new network");
        network(&processes::options(&dir, bench.args.chain.validators, 0)?)?;
        let mut nodes = processes::start_all(&dir, false)?;
        processes::wait_until_ready(&mut nodes).await?;
        let urls: Vec<String> = nodes.iter().map(|node| node.url.clone()).collect();
        let client = Client::new(urls.first().context("a network without nodes")?)?;
        let settings = Settings {
            folder: dir.join("anchors"),
            urls,
            wallet: Wallet::load(&dir.join("funded.key"))?,
            genesis: None,
            batch_from: bench.app.settings.chain.batch_from,
            in_flight: IN_FLIGHT,
        };
        let (anchors, thread) = Anchors::start(settings)?;
        let fleet = Fleet {
            ids: (0..args.sessions).map(id).collect(),
            anchors,
            client,
        };
        let rows = measure(
            &fleet,
            args.rounds,
            Duration::from_secs(args.pace),
            &spinner,
        )
        .await?;
        spinner.finish_and_clear();
        drop(fleet);
        let _ended = thread.join();
        Ok(rows)
    })
}

async fn measure(
    fleet: &Fleet,
    rounds: u32,
    pace: Duration,
    spinner: &indicatif::ProgressBar,
) -> Result<Vec<Row>> {
    let count = fleet.ids.len();
    let mut rows = Vec::new();
    spinner.set_message("opening");
    let open = |id| Job::Open {
        id,
        owner: fleet.anchors.account(),
        session_key: B256::repeat_byte(1),
        policy: B256::repeat_byte(2),
    };
    let one = fleet.all(&fleet.ids[..1], &open, opened).await?;
    rows.push(Row::new("one opening → final", "s", &one.seconds));
    let opens = fleet.all(&fleet.ids[1..], &open, opened).await?;
    rows.push(opens.row(&format!("{} openings at once → the last final", count - 1)));

    let (mut lags, mut transactions, mut late) = (Vec::new(), 0, 0);
    let begun = Instant::now();
    for size in 1..=u64::from(rounds) {
        spinner.set_message(format!("checkpoints, round {size} of {rounds}"));
        let checkpoint = |id: SessionId| Job::Checkpoint {
            id,
            size,
            root: root(id, size),
        };
        let covered = |s: &Session| {
            let last = s.checkpoints.last()?;
            (last.size >= size && last.stage.is_final()).then_some(())
        };
        let due = Instant::now();
        let done = fleet.all(&fleet.ids, &checkpoint, covered).await?;
        lags.extend(done.seconds.last());
        transactions += done.transactions;
        let took = due.elapsed();
        late += u32::from(took > pace);
        tokio::time::sleep(pace.saturating_sub(took)).await;
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    rows.push(
        Row::new(
            format!("checkpoints of {count} sessions, due at once → all final"),
            "s",
            &lags,
        )
        .at_most(TARGET_LAG)
        .note(format!(
            "{rounds} rounds, {} s apart; {late} rounds were not final before the next was due",
            pace.as_secs()
        )),
    );
    let rate = f64::from(u32::try_from(transactions).unwrap_or(u32::MAX)) / minutes;
    rows.push(Row::new("transactions for them", "a minute", &[rate]));

    spinner.set_message("closing");
    let close = |id: SessionId| Job::Close {
        id,
        manifest: root(id, 0),
        root: root(id, u64::from(rounds)),
        chunks: u64::from(rounds),
    };
    let one = fleet.all(&fleet.ids[..1], &close, closed).await?;
    rows.push(Row::new("one end → final", "s", &one.seconds).at_most(TARGET_CLOSE));
    let closes = fleet.all(&fleet.ids[1..], &close, closed).await?;
    rows.push(closes.row(&format!("{} ends at once → the last final", count - 1)));
    Ok(rows)
}

struct Fleet {
    ids: Vec<SessionId>,
    anchors: Anchors,
    client: Client,
}

/// How something went for many sessions.
struct Done {
    /// From due to final, in the order in which they became so.
    seconds: Vec<f64>,
    transactions: u64,
}

impl Fleet {
    /// Hands a job in for each session and waits until all are final.
    async fn all(
        &self,
        ids: &[SessionId],
        job: &dyn Fn(SessionId) -> Job,
        ready: impl Fn(&Session) -> Option<()> + Copy,
    ) -> Result<Done> {
        let before = self.client.final_nonce(self.anchors.account()).await?;
        let due = Instant::now();
        let jobs = ids.iter().map(|id| job(*id)).collect();
        for result in self.anchors.submit(jobs).await? {
            result?;
        }
        let mut seconds = Vec::new();
        // They are sent in this order.
        for id in ids {
            self.anchors.wait(*id, PATIENCE, ready).await?;
            seconds.push(due.elapsed().as_secs_f64());
        }
        let after = self.client.final_nonce(self.anchors.account()).await?;
        ensure!(after >= before, "the account's count went back");
        Ok(Done {
            seconds,
            transactions: after - before,
        })
    }
}

impl Done {
    fn row(&self, what: &str) -> Row {
        let last = self.seconds.last().copied().unwrap_or_default();
        Row::new(what, "s", &[last]).note(format!(
            "half of them in {:.1} s; {} transactions",
            percentile(&self.seconds, 50),
            self.transactions
        ))
    }
}

fn opened(session: &Session) -> Option<()> {
    session.opened.is_final().then_some(())
}

fn closed(session: &Session) -> Option<()> {
    session.closed.as_ref()?.stage.is_final().then_some(())
}

fn id(number: u32) -> SessionId {
    let mut id = [0x5a; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    SessionId(id)
}

fn root(id: SessionId, size: u64) -> B256 {
    let mut bytes = id.0.to_vec();
    bytes.extend(size.to_le_bytes());
    B256::from(*blake3::hash(&bytes).as_bytes())
}

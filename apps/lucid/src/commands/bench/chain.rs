//! A whole chain on this machine: validators as processes, transactions over JSON-RPC, a subscriber that sees them final.
//!
//! ```text
//!  pre-signed registrations ──batches──▶ node 0 … node n          each a process under a guard
//!                                          │ blocks
//!  submitted ───────────── finality ──────▶ a subscriber of node 0
//! ```
//!
//! In this order: the nodes idle, load at a steady rate, the leader killed under that load, the same nodes idle again. Then the
//! nodes stop, and the limit is measured: the blocks they made, checked and committed again by one thread with no network and no
//! votes.

mod load;
mod process;
mod replay;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lucid_client::{Client, Heads};
use lucid_node::init::network;

use super::Bench;
use super::report::{Row, number, percentile};
use crate::cli::ChainBenchArgs;
use crate::processes::{self, Node};
use load::{Load, Seen};
use process::Usage;

/// Committed registrations a second (issue 3).
const TARGET_RATE: f64 = 1_000.0;
/// Seconds between blocks under load.
const TARGET_INTERVAL: f64 = 1.0;
/// Seconds from submission to finality.
const TARGET_P50: f64 = 1.5;
const TARGET_P99: f64 = 3.0;
/// Seconds without a block when the leader is killed.
const TARGET_GAP: f64 = 10.0;
/// Per cent of a core an idle validator uses.
const TARGET_IDLE: f64 = 2.0;
/// MiB an idle validator has in memory.
const TARGET_MEMORY: f64 = 150.0;
/// The first blocks after a start are slower than those of a chain that runs.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the chain has to make blocks again after its leader was killed.
const HEALING: Duration = Duration::from_secs(60);
/// How long what still waits may take to get into blocks after the load.
const DRAINING: Duration = Duration::from_secs(60);
/// Blocks after a kill in which the gap is looked for.
const BLOCKS_AFTER_KILL: usize = 4;

/// The row that is read against the limit.
const COMMITTED: &str = "committed registrations";

/// Runs the network and measures it.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let args = &bench.args.chain;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting")?;
    let dir = bench.scratch.join("chain");
    let mut rows = Vec::new();
    let measured = runtime.block_on(measure(bench, args, dir.clone(), &mut rows))?;
    let spinner = bench.app.ui.spinner("the same blocks by one thread alone");
    let replayed = replay::run(&dir, &bench.scratch.join("replayed"), measured.blocks)?;
    spinner.finish_and_clear();
    let limit = Row::new(
        "limit: the same blocks checked and committed by one thread, no network",
        "tx/s",
        &[replayed.rate],
    )
    .note(format!(
        "{} blocks, {} registrations, wall time, fsync included",
        replayed.blocks, replayed.transactions
    ));
    if let Some(committed) = rows.iter_mut().find(|row| row.what == COMMITTED) {
        committed.ratio = format!("{} of the limit", number(measured.rate / replayed.rate));
    }
    rows.push(limit);
    Ok(rows)
}

/// What the replay needs to know of the run.
struct Measured {
    /// First and last height of the measured time.
    blocks: (u64, u64),
    rate: f64,
}

async fn measure(
    bench: &Bench<'_>,
    args: &ChainBenchArgs,
    dir: PathBuf,
    rows: &mut Vec<Row>,
) -> Result<Measured> {
    let (warm_up, seconds) = (
        Duration::from_secs(args.warm_up),
        Duration::from_secs(args.seconds),
    );
    let spinner = bench.app.ui.spinner("signing registrations");
    // The load goes on while the leader is killed, and for as long as the chain takes to get over it.
    let signed = load::sign(args, warm_up + seconds + HEALING / 2)?;
    spinner.set_message("a new network");
    let mut options = processes::options(&dir, args.validators, 0)?;
    options.accounts = load::accounts(args.accounts);
    network(&options)?;
    let started = Instant::now();
    let mut nodes = processes::start_all(&dir, false)?;
    processes::wait_until_ready(&mut nodes).await?;
    let start_up = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    spinner.set_message("idle");
    idle("before any load", args, &nodes, rows).await?;

    spinner.set_message("load");
    let mut load = Load::start(args, &nodes, signed).await?;
    tokio::time::sleep(warm_up).await;
    load.steady();
    let before = usage(&nodes)?;
    let own_before = process::usage(std::process::id())?;
    let from = Instant::now();
    tokio::time::sleep(seconds).await;
    let until = Instant::now();
    let after = usage(&nodes)?;
    let own_after = process::usage(std::process::id())?;
    for node in &mut nodes {
        node.check()?;
    }
    let seen = load.seen(from, until);
    ensure!(
        !seen.is_empty(),
        "the chain made no block in {} s: give it more with --seconds",
        args.seconds
    );
    let took = until - from;
    let rate = under_load(args, &load, &seen, took, rows);
    resources(&before, &after, took, rows);
    let own = own_after.cpu.saturating_sub(own_before.cpu);
    rows.push(
        Row::new(
            "load generator and subscriber: processor",
            "% of a core",
            &[percent(own, took)],
        )
        .note("takes its share of the same cores"),
    );
    let blocks = (
        seen.first().map_or(0, |it| it.height),
        seen.last().map_or(0, |it| it.height),
    );

    spinner.set_message("the leader is killed");
    let killed = kill_leader(&mut nodes, rows).await?;
    load.stop().await;
    let home = nodes[killed].home.clone();
    nodes[killed] = processes::start(home, false)?;
    processes::wait_until_ready(&mut nodes).await?;
    spinner.set_message("idle");
    drain(&nodes).await?;
    idle("after the load", args, &nodes, rows).await?;
    rows.push(
        Row::new(
            format!(
                "start: {} nodes on a genesis of {} accounts",
                args.validators, args.accounts
            ),
            "s",
            &[start_up.as_secs_f64()],
        )
        .note("all at once, until all answer"),
    );
    spinner.finish_and_clear();
    Ok(Measured { blocks, rate })
}

fn usage(nodes: &[Node]) -> Result<Vec<Usage>> {
    nodes
        .iter()
        .map(|node| process::usage(node.pid()))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
fn under_load(
    args: &ChainBenchArgs,
    load: &Load,
    seen: &[Seen],
    took: Duration,
    rows: &mut Vec<Row>,
) -> f64 {
    let committed: usize = seen.iter().map(|block| block.transactions).sum();
    let rate = committed as f64 / took.as_secs_f64();
    let offered = match args.rate {
        0 => "as many as it takes".to_owned(),
        rate => format!("{rate}/s offered"),
    };
    let mut note = format!(
        "{offered} to {} validators from {} accounts",
        args.validators, args.accounts
    );
    if let Some((count, why)) = load.refused() {
        note = format!("{note}; {count} refused: {why}");
    }
    rows.push(
        Row::new(COMMITTED, "tx/s", &[rate])
            .at_least(TARGET_RATE)
            .note(note),
    );
    let mut intervals: Vec<f64> = seen
        .windows(2)
        .map(|pair| pair[1].time_ms.saturating_sub(pair[0].time_ms) as f64 / 1e3)
        .collect();
    intervals.sort_by(f64::total_cmp);
    rows.push(
        Row::new("block interval p50", "s", &[percentile(&intervals, 50)])
            .at_most(TARGET_INTERVAL)
            .note(format!(
                "{} blocks; the pace allows none sooner than 1 s",
                seen.len()
            )),
    );
    rows.push(Row::new(
        "block interval p99",
        "s",
        &[percentile(&intervals, 99)],
    ));
    let mut latencies: Vec<f64> = seen
        .iter()
        .flat_map(|block| &block.latencies)
        .copied()
        .collect();
    latencies.sort_by(f64::total_cmp);
    for (percent, target) in [(50, TARGET_P50), (99, TARGET_P99)] {
        let latency = percentile(&latencies, percent);
        rows.push(
            Row::new(
                format!("finality p{percent}: submission to a subscriber's final block"),
                "s",
                &[latency],
            )
            .at_most(target)
            .ratio(format!(
                "{}× the block interval",
                number(latency / TARGET_INTERVAL)
            )),
        );
    }
    let fill: Vec<f64> = seen
        .iter()
        .map(|block| block.gas_used as f64 / block.gas_limit.max(1) as f64 * 100.0)
        .collect();
    let last = seen.last();
    rows.push(Row::new("block fill", "% of its gas", &fill).note(format!(
        "gas limit {} M and base fee {} gwei at the end",
        last.map_or(0, |block| block.gas_limit / 1_000_000),
        number(last.map_or(0.0, |block| block.base_fee as f64 / 1e9)),
    )));
    let sizes: Vec<f64> = seen.iter().map(|block| block.bytes as f64 / 1e3).collect();
    rows.push(Row::new("block size", "kB", &sizes));
    rate
}

fn percent(cpu: Duration, took: Duration) -> f64 {
    cpu.as_secs_f64() / took.as_secs_f64() * 100.0
}

fn resources(before: &[Usage], after: &[Usage], took: Duration, rows: &mut Vec<Row>) {
    let shares: Vec<f64> = before
        .iter()
        .zip(after)
        .map(|(before, after)| percent(after.cpu.saturating_sub(before.cpu), took))
        .collect();
    rows.push(Row::new(
        "a validator under load: processor",
        "% of a core",
        &shares,
    ));
    let memory: Vec<f64> = after.iter().map(|usage| usage.resident_mib).collect();
    rows.push(Row::new("a validator under load: memory", "MiB", &memory));
}

/// Kills who leads, as `kill -9`, and looks for the longest time without a block. Says whom it killed.
async fn kill_leader(nodes: &mut [Node], rows: &mut Vec<Row>) -> Result<usize> {
    const WHAT: &str = "longest time without a block, leader killed under load";
    let order = Client::new(&nodes[0].url)?.schedule().await?.order;
    let leader = order.first().context("nobody leads")?;
    let mut at = 0;
    for (index, node) in nodes.iter().enumerate() {
        if node.home.node_id()? == *leader {
            at = index;
        }
    }
    if nodes.len() < 4 {
        rows.push(Row::missing(
            WHAT,
            "fewer than four validators stand still without one of them",
        ));
        nodes[at].kill()?;
        return Ok(at);
    }
    let witness = if at == 0 { 1 } else { 0 };
    let mut heads = Heads::subscribe(&nodes[witness].url).await?;
    nodes[at].kill()?;
    let mut last = Instant::now();
    let deadline = tokio::time::Instant::now() + HEALING;
    let mut gap = Duration::ZERO;
    for _ in 0..BLOCKS_AFTER_KILL {
        let Ok(Some(head)) = tokio::time::timeout_at(deadline, heads.next()).await else {
            rows.push(Row::missing(
                WHAT,
                format!("no blocks within {} s", HEALING.as_secs()),
            ));
            return Ok(at);
        };
        head?;
        gap = gap.max(last.elapsed());
        last = Instant::now();
    }
    rows.push(
        Row::new(WHAT, "s", &[gap.as_secs_f64()])
            .at_most(TARGET_GAP)
            .note("5 s of it are the proposal timeout (C7)"),
    );
    Ok(at)
}

/// Waits until nothing waits any more and all nodes have the same blocks.
async fn drain(nodes: &[Node]) -> Result<()> {
    let deadline = Instant::now() + DRAINING;
    while Instant::now() < deadline {
        let mut waiting = 0;
        let mut heights = BTreeSet::new();
        for node in nodes {
            let status = Client::new(&node.url)?.status().await?;
            waiting += status.mempool.pending;
            heights.insert(status.height);
        }
        if waiting == 0 && heights.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

async fn idle(
    when: &str,
    args: &ChainBenchArgs,
    nodes: &[Node],
    rows: &mut Vec<Row>,
) -> Result<()> {
    let before = usage(nodes)?;
    let from = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    let took = from.elapsed();
    let after = usage(nodes)?;
    let mut shares: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| percent(after.cpu.saturating_sub(before.cpu), took))
        .collect();
    let mut memory: Vec<f64> = after.iter().map(|usage| usage.resident_mib).collect();
    shares.sort_by(f64::total_cmp);
    memory.sort_by(f64::total_cmp);
    // The worst of them is held against the target.
    let worst = |values: &[f64]| values.last().copied().unwrap_or(f64::NAN);
    let mut processor = Row::new(
        format!("an idle validator, {when}: processor"),
        "% of a core",
        &[worst(&shares)],
    )
    .at_most(TARGET_IDLE)
    .note(format!("the busiest of them, over {} s", args.idle));
    processor.range = shares.first().map(|least| [*least, worst(&shares)]);
    let mut resident = Row::new(
        format!("an idle validator, {when}: memory"),
        "MiB",
        &[worst(&memory)],
    )
    .at_most(TARGET_MEMORY)
    .note("the largest of them");
    resident.range = memory.first().map(|least| [*least, worst(&memory)]);
    rows.extend([processor, resident]);
    Ok(())
}

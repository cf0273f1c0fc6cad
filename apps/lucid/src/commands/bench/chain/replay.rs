//! The limit of a chain: its blocks, checked and committed again by one thread that does nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lucid_chain_types::Height;
use lucid_ledger::{Ledger, LedgerOptions};
use lucid_node::home::Home;

/// How that went.
pub struct Replayed {
    pub blocks: u64,
    pub transactions: usize,
    /// Transactions a second, wall time.
    pub rate: f64,
}

/// Runs the blocks of the first node of the network in `dir` on a new ledger in `scratch`, and times those from `blocks.0` to
/// `blocks.1`. The nodes must have stopped. Signatures are recovered anew: this process has not seen these transactions.
pub fn run(dir: &Path, scratch: &Path, blocks: (u64, u64)) -> Result<Replayed> {
    // What runs on all cores elsewhere runs on one here.
    let alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .context("a thread")?;
    alone.install(|| replay(dir, scratch, blocks))
}

fn replay(dir: &Path, scratch: &Path, (first, last): (u64, u64)) -> Result<Replayed> {
    let home = Home::new(dir.join("node0"));
    let genesis = home.genesis()?;
    let made = Ledger::open(&home.data(), genesis.clone(), LedgerOptions::default())?;
    std::fs::create_dir_all(scratch)?;
    let again = Ledger::open(scratch, genesis, LedgerOptions::default())?;
    let (mut transactions, mut took) = (0, Duration::ZERO);
    for height in 1..=last {
        let block = made.block(Height(height))?.context("a block is gone")?;
        let certificate = made
            .certificate(Height(height))?
            .context("a certificate is gone")?;
        let count = block.body.transactions.len();
        let begin = Instant::now();
        let executed = again.validate(&block)?;
        again.commit(&block, executed, &certificate)?;
        if height >= first {
            took += begin.elapsed();
            transactions += count;
        }
    }
    ensure!(
        again.state().root() == made_root(&made, last)?,
        "the replayed blocks end in another state"
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a benchmark are far below 2^52"
    )]
    let rate = transactions as f64 / took.as_secs_f64();
    Ok(Replayed {
        blocks: (last + 1).saturating_sub(first),
        transactions,
        rate,
    })
}

fn made_root(made: &Ledger, height: u64) -> Result<alloy_primitives::B256> {
    let block = made.block(Height(height))?.context("a block is gone")?;
    Ok(block.header.state_root)
}

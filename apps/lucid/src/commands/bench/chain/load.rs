//! Registrations signed beforehand, sent at a steady rate or as fast as blocks take them, and seen again in final blocks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use alloy_sol_types::SolCall as _;
use anyhow::{Context, Result};
use lucid_chain_types::GenesisAccount;
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_client::{Client, Heads, Wallet};
use lucid_execution::interfaces::LucidAnchors;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::ChainBenchArgs;
use crate::processes::{CHAIN_ID, Node};

/// Accounts that send at most; the others only have coins.
const MAX_SENDERS: usize = 2_000;
/// Registrations signed for each second in which as many are sent as blocks take: more than this machine commits.
const SIGNED_PER_SECOND: u64 = 3_000;
/// How often a steady load is sent.
const TICK: Duration = Duration::from_millis(50);
/// Transactions of one request; `rpc.max_batch` is 100.
const BATCH: usize = 100;
/// A registration uses 69,000.
const GAS: u64 = 110_000;
/// What one offers, wei a gas: enough for any base fee the load brings about, since a busy chain's rises.
const MAX_FEE: u128 = 100_000_000_000_000;
/// The tip, wei a gas.
const TIP: u128 = 1_000_000_000;
/// Coins of each account.
const COINS: u64 = 1_000_000;
/// 10¹⁸ wei.
const COIN: u64 = 1_000_000_000_000_000_000;
/// Blocks' worth of transactions on their way when as many are sent as blocks take.
const WINDOW_BLOCKS: u64 = 2;

/// The `index`-th account. The keys are known to everybody: these chains live for minutes.
fn wallet(index: usize) -> Result<Wallet> {
    let seed = keccak256(format!("lucid bench account {index}"));
    Ok(Wallet::from_bytes(&seed.0)?)
}

fn senders(accounts: u32) -> usize {
    usize::try_from(accounts)
        .unwrap_or(usize::MAX)
        .min(MAX_SENDERS)
}

/// Accounts for the genesis file: those that send, and as many more as were asked for.
pub fn accounts(count: u32) -> Vec<GenesisAccount> {
    let sending = senders(count);
    let own = (0..sending).filter_map(|index| Some(wallet(index).ok()?.address()));
    let more = (sending..usize::try_from(count).unwrap_or(usize::MAX))
        .map(|index| Address::from_word(keccak256(index.to_be_bytes())));
    own.chain(more)
        .map(|address| GenesisAccount {
            address,
            balance: U256::from(COINS) * U256::from(COIN),
        })
        .collect()
}

/// A transaction ready to be sent.
pub struct Signed {
    hash: B256,
    bytes: Vec<u8>,
}

/// For each node its transactions, in the order in which they have to go out: a sender has one node.
pub type Streams = Vec<Vec<Signed>>;

/// Signs enough for a load of this length.
pub fn sign(args: &ChainBenchArgs, length: Duration) -> Result<Streams> {
    let rate = match args.rate {
        0 => SIGNED_PER_SECOND,
        rate => u64::from(rate) + u64::from(rate) / 20,
    };
    let count = usize::try_from(rate * length.as_secs())?;
    let senders = senders(args.accounts);
    let nodes = usize::from(args.validators);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Each thread has every so-manieth sender; each sender's transactions are then one thread's.
    let parts: Vec<Result<Vec<(usize, Signed)>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                scope.spawn(move || {
                    let mut signed = Vec::new();
                    for sender in (core..senders).step_by(cores) {
                        let wallet = wallet(sender)?;
                        for (nonce, place) in (0u64..).zip((sender..count).step_by(senders)) {
                            signed.push((place, registration(&wallet, place, nonce)?));
                        }
                    }
                    Ok(signed)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| anyhow::bail!("a thread that signs has failed"))
            })
            .collect()
    });
    let mut all = Vec::with_capacity(count);
    for part in parts {
        all.extend(part?);
    }
    all.sort_unstable_by_key(|(place, _)| *place);
    let mut streams: Streams = (0..nodes).map(|_| Vec::new()).collect();
    for (place, signed) in all {
        streams[place % senders % nodes].push(signed);
    }
    Ok(streams)
}

fn registration(wallet: &Wallet, place: usize, nonce: u64) -> Result<Signed> {
    let word = |kind: u8| keccak256([&place.to_be_bytes()[..], &[kind]].concat());
    let call = LucidAnchors::registerSessionCall {
        id: word(0),
        owner: wallet.address(),
        sessionKey: word(1),
        manifestHash: word(2),
        merkleRoot: word(3),
        chunkCount: 7,
    };
    let bytes = wallet.sign(TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: GAS,
        max_fee_per_gas: MAX_FEE,
        max_priority_fee_per_gas: TIP,
        to: TxKind::Call(LUCID_ANCHORS),
        input: call.abi_encode().into(),
        ..TxEip1559::default()
    })?;
    Ok(Signed {
        hash: keccak256(&bytes),
        bytes,
    })
}

/// A final block as the subscriber saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub height: u64,
    pub time_ms: u64,
    pub gas_used: u64,
    pub gas_limit: u64,
    pub base_fee: u64,
    pub bytes: usize,
    pub transactions: usize,
    /// Seconds from the submission of each of its transactions.
    pub latencies: Vec<f64>,
}

/// What the tasks share.
#[derive(Default)]
struct Shared {
    sent: Mutex<HashMap<B256, Instant>>,
    seen: Mutex<Vec<Seen>>,
    /// Taken by nodes and not yet in a block.
    waiting: AtomicUsize,
    refused: AtomicUsize,
    first_refusal: OnceLock<String>,
    /// Most that may wait while no more are sent than blocks take.
    window: AtomicUsize,
    /// When the steady load began; until then blocks still grow, and what they cannot take would only pile up.
    steady: OnceLock<Instant>,
}

/// A load that runs.
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Starts sending to all nodes, and listening to one.
    pub async fn start(args: &ChainBenchArgs, nodes: &[Node], streams: Streams) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let urls: Vec<String> = nodes.iter().map(|node| node.url.clone()).collect();
        let first = urls.first().context("no node")?;
        let heads = Heads::subscribe(first).await?;
        let status = Client::new(first)?.status().await?;
        shared
            .window
            .store(window(status.gas_limit), Ordering::Relaxed);
        tasks.spawn(listen(
            Arc::clone(&shared),
            urls,
            Some(heads),
            stopped.clone(),
        ));
        let share = f64::from(args.rate) / f64::from(args.validators);
        for (node, stream) in nodes.iter().zip(streams) {
            let sender = Sender {
                shared: Arc::clone(&shared),
                client: Client::new(&node.url)?,
                rate: share,
            };
            tasks.spawn(sender.run(stream, stopped.clone()));
        }
        Ok(Self {
            shared,
            stop,
            tasks,
        })
    }

    /// From now on the rate holds, whatever the blocks take.
    pub fn steady(&self) {
        let _first = self.shared.steady.set(Instant::now());
    }

    /// The blocks seen in a time.
    pub fn seen(&self, from: Instant, until: Instant) -> Vec<Seen> {
        lock(&self.shared.seen)
            .iter()
            .filter(|block| block.at >= from && block.at < until)
            .cloned()
            .collect()
    }

    /// How many transactions were refused, and why the first.
    pub fn refused(&self) -> Option<(usize, &str)> {
        let first = self.shared.first_refusal.get()?;
        Some((self.shared.refused.load(Ordering::Relaxed), first))
    }

    /// Sends no more.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

fn window(gas_limit: u64) -> usize {
    let block = gas_limit / GAS;
    usize::try_from(block * WINDOW_BLOCKS)
        .unwrap_or(usize::MAX)
        .max(BATCH)
}

/// Listens to one node after the other: the one that is listened to may be the one that is killed, and who then hears of no block
/// takes everything for waiting and sends no more.
async fn listen(
    shared: Arc<Shared>,
    urls: Vec<String>,
    mut first: Option<Heads>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    for url in urls {
        let heads = match first.take() {
            Some(heads) => heads,
            None => Heads::subscribe(&url).await?,
        };
        let client = Client::new(&url)?;
        tokio::select! {
            () = hear(&shared, heads, &client) => {}
            _ = stopped.changed() => return Ok(()),
        }
    }
    Ok(())
}

/// Until the node is gone.
async fn hear(shared: &Shared, mut heads: Heads, client: &Client) {
    while let Some(Ok(head)) = heads.next().await {
        let at = Instant::now();
        let Ok(Some(block)) = client.block(&head.number.to_string()).await else {
            continue;
        };
        let latencies: Vec<f64> = {
            let mut sent = lock(&shared.sent);
            let times = block
                .transactions
                .iter()
                .filter_map(|hash| sent.remove(hash));
            times
                .map(|sent| at.saturating_duration_since(sent).as_secs_f64())
                .collect()
        };
        shared.waiting.fetch_sub(latencies.len(), Ordering::Relaxed);
        shared
            .window
            .store(window(block.gas_limit), Ordering::Relaxed);
        lock(&shared.seen).push(Seen {
            at,
            height: block.height.0,
            time_ms: block.time_ms,
            gas_used: block.gas_used,
            gas_limit: block.gas_limit,
            base_fee: block.base_fee,
            bytes: block.size,
            transactions: block.transactions.len(),
            latencies,
        });
    }
}

/// Sends to one node.
struct Sender {
    shared: Arc<Shared>,
    client: Client,
    /// Transactions a second; 0 for as many as blocks take.
    rate: f64,
}

impl Sender {
    /// One request after the other: a sender's transactions arrive in the order of their nonces.
    async fn run(self, stream: Vec<Signed>, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let mut rest = stream.as_slice();
        let mut tick = tokio::time::interval(TICK);
        let mut begin = Instant::now();
        let mut sent = 0;
        let mut steady = false;
        while !rest.is_empty() {
            if let Some(since) = self.shared.steady.get().filter(|_| !steady) {
                (begin, sent, steady) = (*since, 0, true);
            }
            let mut due = if self.rate == 0.0 {
                BATCH
            } else {
                self.due(begin, sent)
            };
            if self.rate == 0.0 || !steady {
                due = due.min(self.room());
            }
            let due = due.min(rest.len());
            if due == 0 {
                tokio::select! {
                    _ = tick.tick() => continue,
                    _ = stopped.changed() => return Ok(()),
                }
            }
            if *stopped.borrow() {
                return Ok(());
            }
            let (batch, more) = rest.split_at(due);
            rest = more;
            sent += due;
            if !self.send(batch).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How many more the next blocks take.
    fn room(&self) -> usize {
        let window = self.shared.window.load(Ordering::Relaxed);
        window.saturating_sub(self.shared.waiting.load(Ordering::Relaxed))
    }

    /// How many to send now, to keep the rate.
    fn due(&self, begin: Instant, sent: usize) -> usize {
        let due = Duration::from_secs(1).div_f64(self.rate);
        let all = begin.elapsed().as_nanos() / due.as_nanos().max(1);
        usize::try_from(all)
            .unwrap_or(usize::MAX)
            .saturating_sub(sent)
            .min(BATCH)
    }

    /// Whether to go on.
    async fn send(&self, batch: &[Signed]) -> bool {
        let now = Instant::now();
        lock(&self.shared.sent).extend(batch.iter().map(|signed| (signed.hash, now)));
        self.shared
            .waiting
            .fetch_add(batch.len(), Ordering::Relaxed);
        let bytes: Vec<&[u8]> = batch.iter().map(|signed| signed.bytes.as_slice()).collect();
        let Ok(answers) = self.client.send_raw_batch(&bytes).await else {
            // Killed, most likely: that is part of the plan.
            self.give_up(batch);
            return false;
        };
        for (signed, answer) in batch.iter().zip(answers) {
            if let Err(error) = answer {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                let _first = self.shared.first_refusal.set(error.to_string());
                self.give_up(std::slice::from_ref(signed));
            }
        }
        true
    }

    fn give_up(&self, batch: &[Signed]) {
        let mut sent = lock(&self.shared.sent);
        for signed in batch {
            if sent.remove(&signed.hash).is_some() {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

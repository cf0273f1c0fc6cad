//! From a folder to a running node, and down again in order.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucid_chain_types::{Height, NodeId, ValidatorSet};
use lucid_client::{Client, Wallet};
use lucid_consensus::{ConsensusKey, Handle as Engine, Start};
use lucid_custody::files::Files;
use lucid_custody::tally::Tally;
use lucid_custody::{CustodyError, keeper};
use lucid_gossip::{GossipEvent, GossipSettings, Handle as Gossip, Status, Verdict, VerdictReply};
use lucid_ledger::{Arrival, Ledger, LedgerOptions, Pool, Snapshots, SubmitError};
use lucid_poot::vrf::VrfSecret;
use lucid_rpc::{
    HealthFacts, ModelState, NetworkInfo, PeerInfo, RpcHandle, RpcLimits, RpcSettings, SyncProgress,
};
use lucid_service::logs::Levels;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::clock::{Clock, SystemClock};
use crate::config::{MempoolSection, NodeConfig, Role, RpcSection};
use crate::driver::{Driver, Leader, Progress};
use crate::home::{Home, KeyFile, short};
use crate::snapshots::{Joined, Making};
use crate::{NodeError, metrics, readmodel, snapshots};

/// How often the node looks at its surroundings: peers, disk, pool.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// How often waiting transactions are written down, so that few are lost in a crash.
const JOURNAL_EVERY: Duration = Duration::from_secs(30);
/// How often a transaction that waits is passed on again.
const SPREAD_EVERY: Duration = Duration::from_secs(10);
/// Transactions that are passed on again; of more, the newest.
const SPREAD_MOST: usize = 2_048;
/// How often the files of its folder are added up.
const WEIGH_EVERY: Duration = Duration::from_secs(60);
/// A node this far behind its peers says that it is catching up.
const BEHIND: u64 = 5;

/// What a node runs with, besides its folder.
pub struct RunOptions {
    /// Its folder.
    pub home: Home,
    /// Turns true when the node is to stop.
    pub stop: watch::Receiver<bool>,
    /// Told once the node serves; with the addresses it listens at.
    pub ready: Option<tokio::sync::oneshot::Sender<Listening>>,
    /// To change the log level on a reload.
    pub levels: Option<Levels>,
    /// Where it gets the time from.
    pub clock: SystemClock,
    /// How it comes by the chain where it has none.
    pub sync: SyncFrom,
}

/// How a node without a chain comes by one. Where there is a chain already it goes on from that, block by block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncFrom {
    /// From genesis on, executing every block.
    #[default]
    Blocks,
    /// From a peer's snapshot on, whose root a certificate vouches for.
    Snapshot,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// JSON-RPC.
    pub rpc: Option<SocketAddr>,
    /// `/health` and `/metrics`.
    pub monitor: Option<SocketAddr>,
    /// Chunks.
    pub custody: Option<SocketAddr>,
}

/// Runs a node until it is told to stop or cannot go on.
pub async fn run(options: RunOptions) -> Result<(), NodeError> {
    let RunOptions {
        home,
        mut stop,
        ready,
        levels,
        clock,
        sync: how,
    } = options;
    let config = NodeConfig::load(&home.config_path())?.value;
    let genesis = home.genesis()?;
    let data = home.data();
    fs::create_dir_all(&data).map_err(|source| NodeError::file(&data, source))?;
    check_disk(&data, config.node.min_free)?;

    let node = home.node_id()?;
    let ledger = {
        let options = LedgerOptions {
            history: config.state.history,
            cache: config.state.cache,
            ..LedgerOptions::default()
        };
        blocking(move || Ok(Ledger::open(&data, genesis, options)?)).await?
    };
    let snapshots = Snapshots::open(home.snapshots())?;
    let keys_of = |validators: &ValidatorSet| match config.node.role {
        Role::Full => Ok(None),
        Role::Validator => validator_keys(&home, node, validators).map(Some),
    };
    let mut keys = keys_of(&ledger.head().validators)?;

    let monitor = lucid_rpc::metrics::install().ok();
    let (gossip, mut gossip_events) =
        lucid_gossip::start(gossip_settings(&home, &config, &ledger)?).await?;
    if how == SyncFrom::Snapshot {
        match ledger.head().height {
            Height::GENESIS => {
                let joined =
                    snapshots::join(&gossip, &mut gossip_events, &ledger, &snapshots, &mut stop);
                match joined.await? {
                    Joined::At(height) => {
                        info!(%height, "the chain here begins with a snapshot");
                        keys = keys_of(&ledger.head().validators)?;
                    }
                    Joined::Nobody => warn!(
                        "no peer offers a snapshot that can be used: all blocks are fetched instead, as with --sync blocks"
                    ),
                    Joined::Stopped => {
                        gossip.shutdown().await;
                        return Ok(());
                    }
                }
            }
            height => warn!(
                %height,
                "--sync snapshot is for a node without a chain; this one has one, and goes on from it block by block"
            ),
        }
    }
    metrics::started(clock.now_ms(), last_time(&ledger));
    let pool = Pool::new(ledger.clone(), mempool_limits(&config.mempool));
    restore_pool(&home, &pool);
    info!(
        chain = short(ledger.genesis_hash()),
        %node,
        role = ?config.node.role,
        height = %ledger.head().height,
        "starting"
    );

    let head = ledger.head();
    let (consensus_key, leader) = match keys {
        Some((consensus, vrf)) => (Some(consensus), Some(Leader { node, vrf })),
        None => (None, None),
    };
    let identity = ConsensusKey(home.key(KeyFile::Network)?);
    let (events, engine) = lucid_consensus::start(lucid_consensus::Settings {
        home: home.consensus(),
        genesis_hash: ledger.genesis_hash(),
        pace: ledger.genesis().pace,
        node,
        moniker: config.node.moniker.clone(),
        identity,
        consensus_key,
        listen: config.p2p.listen.clone(),
        peers: config.p2p.peers.clone(),
        discovery: config.p2p.discovery && !config.p2p.closed,
        first: Start {
            height: head.height.next(),
            validators: head.validators,
            order: head.order,
        },
        limits: lucid_consensus::Limits {
            inbound_peers: config.p2p.max_peers,
            outbound_peers: config.p2p.max_peers,
            connections_per_ip: config.p2p.max_per_ip,
            ..lucid_consensus::Limits::default()
        },
    })
    .await?;

    let (progress, _) = watch::channel(Progress::default());
    let driver = Driver::new(
        ledger.clone(),
        pool.clone(),
        Arc::new(clock),
        leader,
        progress,
    );
    let (peers, sync) = (
        watch::channel(Vec::new()).0,
        watch::channel(SyncProgress::default()).0,
    );
    let model = watch::channel(ModelState::default()).0;
    let network = NetworkInfo {
        peers: peers.subscribe(),
        sync: sync.subscribe(),
        version: concat!("lucid/", env!("CARGO_PKG_VERSION"), "/linux").to_owned(),
        node: (config.node.role == Role::Validator).then_some(node),
        snapshots: Some(snapshots.clone()),
        model: Some(model.subscribe()),
    };
    let rpc = serve_rpc(&config, &ledger, &pool, network).await?;
    let mut tasks = JoinSet::new();
    let monitor_at = match monitor.filter(|_| config.monitor.enabled) {
        None => None,
        Some(metrics) => {
            let facts = health(&ledger, &peers, &sync, clock);
            Some(
                serve_monitor(
                    &mut tasks,
                    &config.monitor.listen,
                    lucid_rpc::monitor_router(metrics, facts),
                )
                .await?,
            )
        }
    };
    let keeping = match &rpc {
        Some(rpc) if config.custody.enabled => {
            Some(keep_chunks(&home, &config, rpc.local_addr, stop.clone()).await?)
        }
        _ => None,
    };
    if let Some(ready) = ready {
        // Whoever asked may have gone.
        let _gone = ready.send(Listening {
            rpc: rpc.as_ref().map(|rpc| rpc.local_addr),
            monitor: monitor_at,
            custody: keeping.as_ref().map(|keeping| keeping.listen),
        });
    }
    let (making, settings) = watch::channel(making(&config));
    tasks.spawn(snapshots::make(
        ledger.clone(),
        snapshots.clone(),
        settings,
        sync.subscribe(),
    ));
    let place = readmodel::Place::of(&home, &config.database);
    tasks.spawn(readmodel::follow(ledger.clone(), place, model));
    tasks.spawn(take_gossip(pool.clone(), snapshots.clone(), gossip_events));
    tasks.spawn(spread(pool.clone(), pool.arrivals(), gossip.clone()));
    tasks.spawn(look_around(Around {
        home: home.clone(),
        ledger: ledger.clone(),
        pool: pool.clone(),
        engine: engine.clone(),
        gossip: gossip.clone(),
        peers,
        sync,
        snapshots,
        making,
        config: config.clone(),
        rpc_limits: rpc.as_ref().map(RpcHandle::limits_setter),
        levels,
        custody: keeping.as_ref().map(|keeping| Arc::clone(&keeping.tally)),
    }));

    let driving = tokio::spawn(driver.run(events, stop));
    let outcome = tokio::select! {
        driven = driving => driven.unwrap_or_else(|error| Err(NodeError::Panicked(error.to_string()))),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => Ok(()),
            Err(error) => Err(NodeError::Panicked(error.to_string())),
        },
    };
    match &outcome {
        Ok(()) => info!("stopping"),
        Err(error) => error!(%error, "stopping"),
    }
    if let Some(keeping) = keeping {
        // What it was about to do, the next run finds again; a file is whole or not there.
        keeping.task.abort();
    }
    if let Some(rpc) = rpc {
        rpc.stop().await;
    }
    engine.shutdown().await;
    tasks.shutdown().await;
    gossip.shutdown().await;
    keep_pool(&home, &pool);
    outcome
}

/// The secret keys of a validator, held against what the chain has for it.
fn validator_keys(
    home: &Home,
    node: NodeId,
    set: &ValidatorSet,
) -> Result<(ConsensusKey, VrfSecret), NodeError> {
    let consensus = home.key(KeyFile::Consensus)?;
    let vrf = VrfSecret::from_seed(&*home.key(KeyFile::Vrf)?);
    match set.get(node) {
        None => {
            warn!(%node, "this node is not in the validator set now; it votes once it is admitted");
        }
        Some(known) => {
            let public = ed25519_dalek::SigningKey::from_bytes(&consensus)
                .verifying_key()
                .to_bytes();
            for (what, same) in [
                ("consensus.key", known.consensus_key.0 == public),
                ("vrf.key", known.vrf_key == vrf.public()),
            ] {
                if !same {
                    return Err(NodeError::OtherKeys {
                        node: node.to_string(),
                        what,
                    });
                }
            }
        }
    }
    Ok((ConsensusKey(consensus), vrf))
}

fn mempool_limits(section: &MempoolSection) -> lucid_mempool::Limits {
    lucid_mempool::Limits {
        count: section.max_count,
        bytes: section.max_bytes,
        per_sender: section.max_per_sender,
        ttl_ms: section.ttl_seconds.saturating_mul(1_000),
        ..lucid_mempool::Limits::default()
    }
}

fn making(config: &NodeConfig) -> Making {
    Making {
        every: config.state.snapshot_every,
        min_free: config.node.min_free,
    }
}

fn gossip_limits(config: &NodeConfig) -> lucid_gossip::Limits {
    lucid_gossip::Limits {
        max_peers: u32::try_from(config.gossip.max_peers).unwrap_or(u32::MAX),
        transactions_per_second: config.gossip.transactions_per_second,
        ..lucid_gossip::Limits::default()
    }
}

fn gossip_settings(
    home: &Home,
    config: &NodeConfig,
    ledger: &Ledger,
) -> Result<GossipSettings, NodeError> {
    Ok(GossipSettings {
        identity: home.key(KeyFile::Network)?,
        listen: config.gossip.listen.clone(),
        announce: Vec::new(),
        peers: config.gossip.peers.clone(),
        genesis_hash: ledger.genesis_hash(),
        discovery: config.p2p.discovery && !config.p2p.closed,
        limits: gossip_limits(config),
    })
}

fn rpc_limits(section: &RpcSection) -> RpcLimits {
    RpcLimits {
        max_connections: section.max_connections,
        max_request: section.max_request,
        max_response: section.max_response,
        max_batch: section.max_batch,
        max_executions: section.max_executions,
        max_log_blocks: section.max_log_blocks,
        max_logs: section.max_logs,
        call_gas: section.call_gas,
        ..RpcLimits::default()
    }
}

async fn serve_rpc(
    config: &NodeConfig,
    ledger: &Ledger,
    pool: &Pool,
    network: NetworkInfo,
) -> Result<Option<RpcHandle>, NodeError> {
    if !config.rpc.enabled {
        return Ok(None);
    }
    let settings = RpcSettings {
        // Checked when the configuration was read.
        listen: config
            .rpc
            .listen
            .parse()
            .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0))),
        origins: config.rpc.cors.clone(),
        limits: rpc_limits(&config.rpc),
    };
    Ok(Some(
        lucid_rpc::serve(settings, ledger.clone(), pool.clone(), network).await?,
    ))
}

/// Custody that runs.
struct Keeping {
    task: tokio::task::JoinHandle<()>,
    listen: SocketAddr,
    tally: Arc<Tally>,
}

/// Starts to keep chunks. It asks this node by JSON-RPC, as it would another.
async fn keep_chunks(
    home: &Home,
    config: &NodeConfig,
    rpc: SocketAddr,
    stop: watch::Receiver<bool>,
) -> Result<Keeping, NodeError> {
    let section = &config.custody;
    let fault = |source| NodeError::Listen {
        address: section.listen.clone(),
        source,
    };
    let listener = TcpListener::bind(&section.listen).await.map_err(fault)?;
    let listen = listener.local_addr().map_err(fault)?;
    let (folder, quota) = (home.custody(), section.quota);
    let files = blocking(move || Ok(Files::open(&folder, quota)?)).await?;
    // Whoever listens everywhere is reached on loopback.
    let reached = match rpc.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], rpc.port())),
        ip if ip.is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, rpc.port())),
        _ => rpc,
    };
    let client = Client::new(&format!("http://{reached}")).map_err(CustodyError::from)?;
    let wallet = Wallet::from_bytes(&*home.key(KeyFile::Operator)?)?;
    let tally = Arc::new(Tally::default());
    let task = tokio::spawn(keeper::run(
        keeper::Settings {
            wallet,
            client,
            files,
            listener,
            url: section.door(),
            every: Duration::from_secs(section.every_seconds),
            grace: Duration::from_secs(section.grace_seconds),
            limits: lucid_custody::door::Limits {
                connections: section.max_connections,
                uploads: section.max_uploads,
            },
            tally: Arc::clone(&tally),
        },
        stop,
    ));
    Ok(Keeping {
        task,
        listen,
        tally,
    })
}

async fn serve_monitor(
    tasks: &mut JoinSet<Result<(), NodeError>>,
    address: &str,
    router: axum::Router,
) -> Result<SocketAddr, NodeError> {
    let fault = |source| NodeError::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let at = listener.local_addr().map_err(fault)?;
    let address = address.to_owned();
    tasks.spawn(async move {
        axum::serve(listener, router)
            .await
            .map_err(|source| NodeError::Listen { address, source })
    });
    Ok(at)
}

fn health(
    ledger: &Ledger,
    peers: &watch::Sender<Vec<PeerInfo>>,
    sync: &watch::Sender<SyncProgress>,
    clock: SystemClock,
) -> impl Fn() -> HealthFacts + Send + Sync + 'static {
    let (ledger, peers, sync) = (ledger.clone(), peers.subscribe(), sync.subscribe());
    move || {
        let head = ledger.head();
        HealthFacts {
            height: head.height,
            since_last_block: clock
                .now_ms()
                .checked_sub(last_time(&ledger))
                .map(Duration::from_millis),
            peers: peers.borrow().len(),
            peers_needed: head.validators.quorum() - 1,
            syncing: sync.borrow().syncing,
        }
    }
}

/// Time of the last block, or of the genesis, Unix ms.
fn last_time(ledger: &Ledger) -> u64 {
    let head = ledger.head();
    head.header
        .as_ref()
        .map_or(ledger.genesis().time_ms, |header| header.time_ms)
}

/// Takes transactions that peers send on, and answers those that want snapshots.
async fn take_gossip(
    pool: Pool,
    snapshots: Snapshots,
    mut events: mpsc::Receiver<GossipEvent>,
) -> Result<(), NodeError> {
    while let Some(event) = events.recv().await {
        match event {
            GossipEvent::Transactions { list, verdict, .. } => {
                let pool = pool.clone();
                blocking(move || {
                    take(&pool, &list, verdict);
                    Ok(())
                })
                .await?;
            }
            GossipEvent::PeerBanned { peer, for_ms } => warn!(%peer, for_ms, "shut a peer out"),
            GossipEvent::SnapshotRequest { wanted, reply, .. } => {
                snapshots::answer(&snapshots, wanted, reply);
            }
            GossipEvent::PeerConnected { .. }
            | GossipEvent::PeerDisconnected { .. }
            | GossipEvent::PeerStatus { .. } => {}
        }
    }
    Ok(())
}

fn take(pool: &Pool, list: &[impl AsRef<[u8]>], verdict: VerdictReply) {
    let mut taken = false;
    let mut forged = false;
    for bytes in list {
        match pool.submit(bytes.as_ref(), false) {
            Ok(_) => taken = true,
            Err(SubmitError::Ledger(error)) => error!(%error, "a transaction could not be checked"),
            Err(error) => forged |= error.is_forged(),
        }
    }
    verdict.reply(match (forged, taken) {
        (true, _) => Verdict::Reject,
        (false, true) => Verdict::Accept,
        (false, false) => Verdict::Ignore,
    });
}

/// Sends this node's users' transactions to the others, and again while they wait: a peer may have been away, or had no room.
async fn spread(
    pool: Pool,
    mut arrivals: broadcast::Receiver<Arrival>,
    gossip: Gossip,
) -> Result<(), NodeError> {
    let mut waiting = VecDeque::new();
    let mut again = tokio::time::interval(SPREAD_EVERY);
    loop {
        let list = tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Ok(arrival) if arrival.local => {
                    waiting.push_back(arrival.hash);
                    if waiting.len() > SPREAD_MOST {
                        waiting.pop_front();
                    }
                    vec![arrival.bytes.0]
                }
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    warn!(count, "transactions came faster than they could be passed on; they stay in this node's pool");
                    continue;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            _ = again.tick() => {
                let found = waiting.iter().filter_map(|hash| Some((*hash, pool.get(*hash)?)));
                let (still, bytes): (VecDeque<_>, Vec<_>) =
                    found.map(|(hash, bytes)| (hash, bytes.0)).unzip();
                waiting = still;
                bytes
            }
        };
        if !list.is_empty()
            && let Err(error) = gossip.publish_transactions(list)
        {
            warn!(%error, "transactions could not be passed on; they stay in this node's pool");
        }
    }
}

/// What [`look_around`] works on.
struct Around {
    home: Home,
    ledger: Ledger,
    pool: Pool,
    engine: Engine,
    gossip: Gossip,
    peers: watch::Sender<Vec<PeerInfo>>,
    sync: watch::Sender<SyncProgress>,
    snapshots: Snapshots,
    making: watch::Sender<Making>,
    config: NodeConfig,
    rpc_limits: Option<Box<dyn Fn(RpcLimits) + Send + Sync>>,
    levels: Option<Levels>,
    custody: Option<Arc<Tally>>,
}

/// Keeps an eye on peers and disk, writes the pool down, and reads the configuration again on SIGHUP.
async fn look_around(mut around: Around) -> Result<(), NodeError> {
    let mut look = tokio::time::interval(LOOK_AROUND);
    let mut journal = tokio::time::interval(JOURNAL_EVERY);
    let mut weigh = tokio::time::interval(WEIGH_EVERY);
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .map_err(|source| NodeError::file(around.home.path(), source))?;
    loop {
        tokio::select! {
            _ = look.tick() => around.look().await?,
            _ = journal.tick() => keep_pool(&around.home, &around.pool),
            _ = weigh.tick() => {
                let folder = around.home.path().to_owned();
                metrics::disk_used(blocking(move || Ok(bytes_in(&folder))).await?);
            }
            _ = hangup.recv() => around.reload().await,
        }
    }
}

impl Around {
    async fn look(&mut self) -> Result<(), NodeError> {
        let free = check_disk(&self.home.data(), self.config.node.min_free)?;
        let head = self.ledger.head();
        let height = head.height;
        let told: Vec<_> = self.gossip.peers().to_vec();
        let list: Vec<PeerInfo> = told
            .iter()
            .map(|peer| PeerInfo {
                id: peer.peer.to_string(),
                address: peer.address.clone(),
                inbound: !peer.outbound,
                score: peer.mesh_score,
                node: None,
                height: peer.status.as_ref().map(|status| status.height),
            })
            .collect();
        let highest = list
            .iter()
            .filter_map(|peer| peer.height)
            .max()
            .unwrap_or(Height::GENESIS);
        self.sync.send_if_modified(|progress| {
            let syncing = highest.0 > height.0.saturating_add(BEHIND);
            let started_at = if progress.syncing {
                progress.started_at
            } else {
                height
            };
            let now = SyncProgress {
                syncing,
                started_at,
                highest,
            };
            let changed = *progress != now;
            *progress = now;
            changed
        });
        metrics::Surroundings {
            pool: self.pool.status(),
            pool_capacity: self.config.mempool.max_count,
            peers: list.len(),
            banned: self.gossip.banned(),
            dropped: self.gossip.dropped(),
            refused_signatures: self.engine.refused_signatures(),
            disk_free: free,
            validators: head.validators.len(),
            oldest_state: self.ledger.state().oldest().unwrap_or_default(),
            sync: *self.sync.borrow(),
            height,
        }
        .record();
        if let Some(tally) = &self.custody {
            metrics::custody(tally);
        }
        self.peers.send_replace(list);
        let status = Status {
            height,
            earliest: self.ledger.earliest(),
            snapshots: self.snapshots.heights()?,
        };
        if let Err(error) = self.gossip.set_status(status) {
            warn!(%error, "peers are not told where this node stands");
        }
        Ok(())
    }

    /// Takes over what may change while the node runs, and names what may not.
    async fn reload(&mut self) {
        let new = match NodeConfig::load(&self.home.config_path()) {
            Ok(loaded) => loaded.value,
            Err(error) => {
                error!(%error, "the configuration was not read again; the one in force stays");
                return;
            }
        };
        let changes = self.config.changes(&new);
        for key in &changes.refused {
            warn!(key, "this change needs a restart and was not taken over");
        }
        if changes.taken.is_empty() {
            info!("the configuration was read again: nothing to take over");
            return;
        }
        self.pool.set_limits(mempool_limits(&new.mempool));
        if let Err(error) = self.gossip.set_limits(gossip_limits(&new)) {
            warn!(%error, "gossip keeps its limits");
        }
        if let Some(set) = &self.rpc_limits {
            set(rpc_limits(&new.rpc));
        }
        if let Some(levels) = &self.levels
            && let Err(error) = levels.set(&format!(
                "{},{}",
                lucid_consensus::LOG_FILTER,
                new.log.level
            ))
        {
            warn!(%error, "the log level stays");
        }
        for peer in new
            .p2p
            .peers
            .iter()
            .filter(|peer| !self.config.p2p.peers.contains(peer))
        {
            if let Err(error) = self.engine.add_peer(peer).await {
                warn!(peer, %error, "the peer was not added");
            }
        }
        for peer in self
            .config
            .p2p
            .peers
            .iter()
            .filter(|peer| !new.p2p.peers.contains(peer))
        {
            if let Err(error) = self.engine.remove_peer(peer).await {
                warn!(peer, %error, "the peer was not removed");
            }
        }
        for peer in new
            .gossip
            .peers
            .iter()
            .filter(|peer| !self.config.gossip.peers.contains(peer))
        {
            if let Err(error) = self.gossip.add_peer(peer) {
                warn!(peer, %error, "the peer was not added");
            }
        }
        info!(taken = ?changes.taken, "the configuration was read again");
        // What was refused stays as it is, so that it is named again next time.
        self.config.p2p.peers = new.p2p.peers;
        self.config.gossip.peers = new.gossip.peers;
        self.config.gossip.transactions_per_second = new.gossip.transactions_per_second;
        self.config.mempool = new.mempool;
        self.config.log.level = new.log.level;
        self.config.node.min_free = new.node.min_free;
        self.config.state.snapshot_every = new.state.snapshot_every;
        self.making.send_replace(making(&self.config));
        self.config.rpc.max_log_blocks = new.rpc.max_log_blocks;
        self.config.rpc.max_logs = new.rpc.max_logs;
        self.config.rpc.max_executions = new.rpc.max_executions;
        self.config.rpc.call_gas = new.rpc.call_gas;
    }
}

/// Bytes free where a folder is.
pub(crate) fn disk_free(path: &Path) -> Result<u64, NodeError> {
    let stat = rustix::fs::statvfs(path).map_err(|error| NodeError::file(path, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes free where the data is; an error when there are too few to go on.
fn check_disk(data: &Path, least: u64) -> Result<u64, NodeError> {
    let free = disk_free(data)?;
    if free < least {
        return Err(NodeError::DiskFull {
            path: data.to_owned(),
            free,
            least,
        });
    }
    Ok(free)
}

/// Bytes of the files in a folder and those below it. What goes while it looks is not counted.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let data = entry.metadata().ok()?;
            Some(if data.is_dir() {
                bytes_in(&entry.path())
            } else {
                data.len()
            })
        })
        .sum()
}

fn restore_pool(home: &Home, pool: &Pool) {
    let path = home.mempool_path();
    let Ok(journal) = fs::read(&path) else { return };
    match pool.import(&journal) {
        Ok(0) => {}
        Ok(count) => info!(count, "took waiting transactions back"),
        // Nothing of it is final, so nothing is lost that a sender cannot send again.
        Err(error) => {
            warn!(path = %path.display(), %error, "waiting transactions of the last run are not read");
        }
    }
}

fn keep_pool(home: &Home, pool: &Pool) {
    let path = home.mempool_path();
    let temporary = path.with_extension("journal.new");
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&pool.export())?;
        file.sync_data()?;
        fs::rename(&temporary, &path)
    };
    if let Err(error) = write() {
        warn!(path = %path.display(), %error, "waiting transactions were not written down");
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(NodeError::Panicked(error.to_string())))
}

//! A chain in memory that answers an engine's events.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use lucid_chain_types::{
    Block, BlockId, Body, Certificate, Evidence, Header, Height, NodeId, Pace, Slot, Validator,
    ValidatorSet, evidence_hash, last_commit_hash, transactions_root,
};
use lucid_consensus::signing::Key;
use lucid_consensus::{
    ConsensusKey, DecidedBlock, Event, Handle, Limits, Reply, Settings, Start, UndecidedBlock,
    Verdict, start,
};
use tokio::sync::{Barrier, mpsc, watch};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub(crate) const GENESIS: B256 = B256::repeat_byte(7);
pub(crate) const PACE: Pace = Pace {
    block_interval_ms: 200,
    propose_timeout_ms: 2_000,
    vote_timeout_ms: 500,
};

pub(crate) fn seed(index: u8) -> ConsensusKey {
    ConsensusKey(Zeroizing::new([index + 1; 32]))
}

pub(crate) fn node(index: u8) -> NodeId {
    NodeId(Address::repeat_byte(index + 1))
}

pub(crate) fn key(index: u8) -> Key {
    Key::new(GENESIS, &seed(index).0)
}

pub(crate) fn validators(count: u8) -> ValidatorSet {
    let validators = (0..count).map(|index| Validator {
        node: node(index),
        consensus_key: key(index).public(),
        vrf_key: B256::repeat_byte(index),
    });
    ValidatorSet::new(validators.collect()).unwrap()
}

/// A block that holds `filler` bytes of transactions.
pub(crate) fn block(
    set: &ValidatorSet,
    height: u64,
    round: u32,
    proposer: NodeId,
    parent: BlockId,
    last_commit: Option<Certificate>,
    evidence: Vec<Evidence>,
    filler: usize,
) -> Block {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ height;
    let transactions: Vec<Vec<u8>> = (0..filler.div_ceil(100_000))
        .map(|_| {
            let word = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            };
            std::iter::repeat_with(word)
                .take(filler.min(100_000))
                .collect()
        })
        .collect();
    let header = Header {
        version: Header::VERSION,
        chain_id: 1,
        height: Height(height),
        time_ms: height,
        slot: Slot(0),
        round,
        seal: false,
        proposer,
        parent,
        last_commit_hash: last_commit_hash(last_commit.as_ref()),
        transactions_root: transactions_root(&transactions),
        evidence_hash: evidence_hash(&evidence),
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        gas_limit: 0,
        gas_used: 0,
        base_fee: 0,
        validators_hash: set.hash(),
        next_validators_hash: set.hash(),
        vrf_proof: [0; 80],
    };
    Block {
        header,
        body: Body {
            transactions,
            last_commit,
            evidence,
        },
    }
}

/// What a node has on disk.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) blocks: Vec<(Certificate, Block)>,
    stored: HashMap<BlockId, Block>,
    undecided: Vec<UndecidedBlock>,
    pub(crate) early: Vec<Height>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) synced: usize,
    /// From a proposal's signature to its decision, at its proposer.
    pub(crate) latencies: Vec<Duration>,
    proposed: Option<(Height, Instant)>,
}

/// A node that runs, or could.
pub(crate) struct Node {
    pub(crate) index: u8,
    count: u8,
    validator: bool,
    settings: Settings,
    /// Bytes of transactions in its blocks.
    pub(crate) filler: usize,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) height: watch::Sender<u64>,
    /// Whether it begins heights by itself.
    pub(crate) eager: watch::Sender<bool>,
    /// Begins one height.
    pub(crate) go: mpsc::UnboundedSender<()>,
    gone: Option<mpsc::UnboundedReceiver<()>>,
    /// Where it waits with a proposal until another has one too.
    pub(crate) together: Option<Arc<Barrier>>,
    running: Option<(Handle, JoinHandle<()>)>,
}

/// A port that nobody else takes before its node listens: below those the system gives to outgoing connections, and
/// never the same twice in this process.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let port =
            16_000 + (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Settings of nodes that know each other; the first `voting` are validators.
pub(crate) fn cluster(home: &Path, voting: u8, count: u8, filler: usize) -> Vec<Node> {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let address = |index: u8| format!("/ip4/127.0.0.1/tcp/{}", ports[usize::from(index)]);
    (0..count)
        .map(|index| {
            let (go, gone) = mpsc::unbounded_channel();
            Node {
                go,
                gone: Some(gone),
                index,
                count: voting,
                validator: index < voting,
                settings: Settings {
                    home: home.join(format!("node{index}")),
                    genesis_hash: GENESIS,
                    pace: PACE,
                    node: node(index),
                    moniker: format!("node{index}"),
                    identity: ConsensusKey(Zeroizing::new([index + 100; 32])),
                    consensus_key: (index < voting).then(|| seed(index)),
                    listen: address(index),
                    peers: (0..count)
                        .filter(|other| *other != index)
                        .map(address)
                        .collect(),
                    discovery: false,
                    first: Start {
                        height: Height(1),
                        validators: validators(voting),
                        order: vec![node(0)],
                    },
                    limits: Limits::default(),
                },
                filler,
                store: Arc::default(),
                height: watch::Sender::new(0),
                eager: watch::Sender::new(true),
                together: None,
                running: None,
            }
        })
        .collect()
}

impl Node {
    pub(crate) async fn start(&mut self) {
        let app = App {
            node: node(self.index),
            set: validators(self.count),
            filler: self.filler,
            store: Arc::clone(&self.store),
            height: self.height.clone(),
            eager: self.eager.subscribe(),
            go: self
                .gone
                .take()
                .unwrap_or_else(|| mpsc::unbounded_channel().1),
            held: None,
            due: false,
            together: self.together.clone(),
        };
        self.settings.first = app.next();
        let (events, handle) = start(self.settings.clone()).await.unwrap();
        self.running = Some((handle, tokio::spawn(app.run(events))));
    }

    pub(crate) fn handle(&self) -> Handle {
        self.running.as_ref().unwrap().0.clone()
    }

    pub(crate) fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Stops and waits until the events have ended.
    pub(crate) async fn stop(&mut self) {
        if let Some((handle, app)) = self.running.take() {
            handle.shutdown().await;
            tokio::time::timeout(Duration::from_secs(20), app)
                .await
                .unwrap()
                .unwrap();
        }
    }

    /// Until the engine stops by itself.
    pub(crate) async fn ended(&mut self) {
        let (handle, app) = self.running.take().unwrap();
        app.await.unwrap();
        handle.shutdown().await;
    }

    pub(crate) fn wipe_chain(&self) {
        *self.store.lock().unwrap() = Store::default();
    }

    pub(crate) async fn reach(&self, height: u64) {
        let mut watch = self.height.subscribe();
        let reached = tokio::time::timeout(
            Duration::from_secs(90),
            watch.wait_for(|now| *now >= height),
        )
        .await;
        if reached.is_err() {
            panic!(
                "node {} is at {} and not at {height} (validator: {})",
                self.index,
                *self.height.borrow(),
                self.validator
            );
        }
    }
}

struct App {
    node: NodeId,
    set: ValidatorSet,
    filler: usize,
    store: Arc<Mutex<Store>>,
    height: watch::Sender<u64>,
    eager: watch::Receiver<bool>,
    go: mpsc::UnboundedReceiver<()>,
    held: Option<Reply<Start>>,
    /// Told to go while nothing was held.
    due: bool,
    together: Option<Arc<Barrier>>,
}

impl App {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// The next height, and its order: leaders that missed their rounds go to the end.
    fn next(&self) -> Start {
        let store = self.store();
        let mut order: Vec<NodeId> = self
            .set
            .list()
            .iter()
            .map(|validator| validator.node)
            .collect();
        for (_, block) in &store.blocks {
            let missed = usize::try_from(block.header.round).unwrap() % order.len();
            order.rotate_left(missed);
        }
        Start {
            height: Height(store.blocks.len() as u64 + 1),
            validators: self.set.clone(),
            order,
        }
    }

    fn hold(&mut self, reply: Reply<Start>) {
        if *self.eager.borrow() || std::mem::take(&mut self.due) {
            let _ = reply.send(self.next());
        } else {
            self.held = Some(reply);
        }
    }

    fn build(&self, height: Height, round: u32) -> Block {
        let mut store = self.store();
        let last = store.blocks.last();
        let parent = last.map_or(BlockId(GENESIS), |(_, block)| block.id());
        let last_commit = last.map(|(certificate, _)| certificate.clone());
        let built = block(
            &self.set,
            height.0,
            round,
            self.node,
            parent,
            last_commit,
            Vec::new(),
            self.filler,
        );
        store.stored.insert(built.id(), built.clone());
        store.undecided.push(UndecidedBlock {
            height,
            round,
            block: built.id(),
            proposer: self.node,
            valid_round: None,
            valid: true,
        });
        store.proposed = Some((height, Instant::now()));
        built
    }

    fn check(&self, height: Height, bytes: &[u8]) -> Option<Block> {
        let store = self.store();
        let block = Block::decode(bytes).ok()?;
        let last = store.blocks.last();
        let parent = last.map_or(BlockId(GENESIS), |(_, block)| block.id());
        if let (Some(last), Some(commit)) = (last, &block.body.last_commit) {
            commit.verify(GENESIS, &self.set).ok()?;
            (commit.block == last.1.id()).then_some(())?;
        }
        (block.header.height == height && block.header.parent == parent).then_some(block)
    }

    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                Some(()) = self.go.recv() => {
                    match self.held.take() {
                        Some(held) => drop(held.send(self.next())),
                        None => self.due = true,
                    }
                    continue;
                }
            };
            let Some(event) = event else {
                return;
            };
            self.answer(event);
        }
    }

    fn answer(&mut self, event: Event) {
        match event {
            Event::Ready { reply } => self.hold(reply),
            Event::StartedRound {
                height,
                round,
                reply,
                ..
            } => {
                let store = self.store();
                let undecided = store
                    .undecided
                    .iter()
                    .filter(|block| block.height == height && block.round == round);
                let _ = reply.send(undecided.copied().collect());
            }
            Event::Propose {
                height,
                round,
                reply,
                ..
            } => {
                let built = self.build(height, round);
                let together = self.together.clone();
                tokio::spawn(async move {
                    if let Some(together) = together {
                        together.wait().await;
                    }
                    let _ = reply.send(built);
                });
            }
            Event::Repropose { block, reply, .. } => {
                let _ = reply.send(self.store().stored.get(&block).map(Block::encode));
            }
            Event::Received {
                height,
                round,
                valid_round,
                proposer,
                bytes,
                reply,
            } => {
                let verdict = match self.check(height, &bytes) {
                    Some(block) => {
                        let id = block.id();
                        let mut store = self.store();
                        store.stored.insert(id, block);
                        store.undecided.push(UndecidedBlock {
                            height,
                            round,
                            block: id,
                            proposer,
                            valid_round,
                            valid: true,
                        });
                        Verdict::Valid(id)
                    }
                    None => Verdict::Invalid,
                };
                let _ = reply.send(verdict);
            }
            Event::Synced {
                height,
                bytes,
                reply,
                ..
            } => {
                let verdict = match self.check(height, &bytes) {
                    Some(block) => {
                        let id = block.id();
                        let mut store = self.store();
                        store.stored.insert(id, block);
                        store.synced += 1;
                        Verdict::Valid(id)
                    }
                    None => Verdict::Invalid,
                };
                let _ = reply.send(verdict);
            }
            Event::Decided { certificate, reply } => {
                certificate.verify(GENESIS, &self.set).unwrap();
                let mut store = self.store();
                assert_eq!(
                    certificate.height.0,
                    store.blocks.len() as u64 + 1,
                    "decided twice, or out of order"
                );
                let block = store.stored[&certificate.block].clone();
                if let Some((height, since)) = store.proposed.take()
                    && height == certificate.height
                {
                    store.latencies.push(since.elapsed());
                }
                store.blocks.push((certificate, block));
                let height = store.blocks.len() as u64;
                store.undecided.retain(|block| block.height.0 > height);
                drop(store);
                let _ = reply.send(());
                self.height.send_replace(height);
            }
            Event::Finalized {
                certificate,
                evidence,
                reply,
            } => {
                certificate.verify(GENESIS, &self.set).unwrap();
                let mut store = self.store();
                for found in evidence {
                    found.verify(GENESIS, &self.set).unwrap();
                    store.evidence.push(found);
                }
                if let Some(last) = store.blocks.last_mut() {
                    assert!(certificate.signatures.len() >= last.0.signatures.len());
                    last.0 = certificate;
                }
                drop(store);
                self.hold(reply);
            }
            Event::Early { height, proposer } => {
                let leader = self.next().order[0];
                if proposer.is_some_and(|proposer| proposer != leader) {
                    return;
                }
                self.store().early.push(height);
                if let Some(held) = self.held.take() {
                    let _ = held.send(self.next());
                }
            }
            Event::MinHeight { reply } => {
                let _ = reply.send(Height(1));
            }
            Event::GetDecided { from, to, reply } => {
                let store = self.store();
                let blocks = store
                    .blocks
                    .iter()
                    .filter(|(certificate, _)| (from..=to).contains(&certificate.height));
                let blocks = blocks.map(|(certificate, block)| DecidedBlock {
                    certificate: certificate.clone(),
                    validators: self.set.clone(),
                    bytes: block.encode(),
                });
                let _ = reply.send(blocks.collect());
            }
        }
    }
}

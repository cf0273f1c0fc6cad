//! A node's part in custody: it answers the slot's challenges, takes chunks that are its turn, and strikes off who is gone.
//!
//! It works in rounds and keeps nothing but the chunks: whatever it was about to do when it stopped, the next round finds again from
//! the chain and the disk. Each round: what came through the door, the new commitments, and one page of all others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolCall as _;
use lucid_chain_types::contracts::{LUCID_CHUNK_STORE, WORK_CREDITS};
use lucid_chain_types::{NodeId, Slot};
use lucid_client::{Client, Order, Wallet};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::CustodyError;
use crate::chain::{Chain, Door as DoorOf};
use crate::challenge::challenges;
use crate::contract::{
    BATCH, ChunkStore, Commitment, Credits, STORAGE, StoredOpening, StoredProof,
};
use crate::door::{self, Door, Limits, Surroundings, blocking};
use crate::files::Files;
use crate::plan::{Facts, Lease, Step, keeps, step};
use crate::tally::Tally;
use crate::transfer;
use crate::tree;

/// How long a transaction may take to be in a block.
const PATIENCE: Duration = Duration::from_secs(60);
/// Chunks fetched in one round.
const FETCHES: usize = 8;
/// Numbers that wait to be looked at after an upload.
const ARRIVALS: usize = 1_024;

/// What a keeper is started with.
pub struct Settings {
    /// The node's account.
    pub wallet: Wallet,
    /// The node's own JSON-RPC.
    pub client: Client,
    /// The disk.
    pub files: Files,
    /// Where the door is.
    pub listener: TcpListener,
    /// How others reach it.
    pub url: String,
    /// From one round to the next.
    pub every: Duration,
    /// How long a missing holder is waited for before the next in the order steps in.
    pub grace: Duration,
    /// Bounds of the door.
    pub limits: Limits,
    /// What is counted.
    pub tally: Arc<Tally>,
}

struct Keeper {
    chain: Chain,
    wallet: Wallet,
    node: NodeId,
    files: Files,
    url: String,
    grace: Duration,
    around: Arc<Mutex<Surroundings>>,
    tally: Arc<Tally>,
    doors: Vec<DoorOf>,
    // Since when chunks have too few holders.
    lacking: HashMap<u64, Instant>,
    // Numbers below it have been seen once.
    seen: u64,
    // Where the walk over all of them is, and what it found worth keeping so far.
    walk: u64,
    keep: HashSet<B256>,
    begun: std::time::SystemTime,
    // In which slot a failed proof or a missing door was last tried: a fault is not repeated every round.
    tried_door: Option<Slot>,
    // Holders that were asked about in this slot, and whether they are gone.
    gone: HashMap<NodeId, bool>,
    gone_slot: Slot,
}

/// What a round is to do on the chain.
#[derive(Default)]
struct Work {
    accept: BTreeSet<u64>,
    expire: BTreeSet<u64>,
    fetch: Vec<Lease>,
    prune: HashMap<NodeId, BTreeSet<u64>>,
}

/// Serves and keeps chunks until told to stop.
pub async fn run(settings: Settings, mut stop: watch::Receiver<bool>) {
    let (arrived, mut arrivals) = mpsc::channel(ARRIVALS);
    let around = Arc::new(Mutex::new(Surroundings::default()));
    let chain = Chain::new(settings.client);
    let node = NodeId(settings.wallet.address());
    let door = Door {
        node,
        chain: chain.clone(),
        files: settings.files.clone(),
        around: Arc::clone(&around),
        arrived,
        tally: Arc::clone(&settings.tally),
        limits: settings.limits,
    };
    let serving = tokio::spawn(door::serve(door, settings.listener, stop.clone()));
    // What a crash or a bad disk has damaged goes, and is fetched again. It may take long, and nothing waits for it.
    let files = settings.files.clone();
    tokio::spawn(async move {
        match blocking(move || files.fsck()).await {
            Ok(found) if found.damaged.is_empty() => {
                debug!(chunks = found.sound, "the chunks here are sound");
            }
            Ok(found) => warn!(damaged = ?found.damaged, "damaged chunks were removed"),
            Err(error) => warn!(%error, "the chunks here could not be checked"),
        }
    });
    let mut keeper = Keeper {
        chain,
        wallet: settings.wallet,
        node,
        files: settings.files,
        url: settings.url,
        grace: settings.grace,
        around,
        tally: settings.tally,
        doors: Vec::new(),
        lacking: HashMap::new(),
        seen: 1,
        walk: 1,
        keep: HashSet::new(),
        begun: std::time::SystemTime::now(),
        tried_door: None,
        gone: HashMap::new(),
        gone_slot: Slot(0),
    };
    let mut rounds = tokio::time::interval(settings.every);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fresh = BTreeSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            _ = rounds.tick() => {}
        }
        while let Ok(number) = arrivals.try_recv() {
            fresh.insert(number);
        }
        let round = keeper.round(&fresh);
        tokio::select! {
            () = stopped(&mut stop) => break,
            done = round => match done {
                Ok(()) => fresh.clear(),
                Err(error) => {
                    Tally::add(&keeper.tally.faults, 1);
                    warn!(%error, "a round of custody failed; the next one tries again");
                }
            }
        }
    }
    // It has been told to stop, too.
    let _ended = serving.await;
}

impl Keeper {
    async fn round(&mut self, fresh: &BTreeSet<u64>) -> Result<(), CustodyError> {
        let slot = self.chain.slot().await?;
        self.look_around(slot).await?;
        let held = self.chain.held(self.node).await?;
        Tally::set(&self.tally.held, held.len() as u64);
        Tally::set(&self.tally.bytes, self.files.quota().used);
        self.prove(slot, &held).await?;

        let mut work = Work::default();
        for number in fresh {
            if let Some(lease) = self.chain.lease(*number).await? {
                self.consider(slot, lease, &mut work).await?;
            }
        }
        let count = self.chain.count().await?;
        while self.seen <= count {
            let page = self.chain.leases(self.seen).await?;
            self.seen = (self.seen + crate::chain::PAGE).min(count + 1);
            for lease in page {
                self.consider(slot, lease, &mut work).await?;
            }
            if work.fetch.len() >= FETCHES {
                break;
            }
        }
        self.walk_on(slot, count, &mut work).await?;
        self.act(slot, work).await
    }

    /// Takes over who serves chunks, and says where this node does.
    async fn look_around(&mut self, slot: Slot) -> Result<(), CustodyError> {
        self.doors = self.chain.doors().await?;
        let replicas = self.chain.replicas().await?;
        let known = self
            .doors
            .iter()
            .any(|door| door.node == self.node && door.url == self.url);
        if !known && self.tried_door != Some(slot) {
            self.tried_door = Some(slot);
            if self.chain.is_node(self.node).await? {
                let call = ChunkStore::setDoorCall {
                    url: self.url.clone(),
                };
                self.send(LUCID_CHUNK_STORE, call.abi_encode().into())
                    .await?;
                info!(
                    url = self.url,
                    "the chain knows where this node serves chunks"
                );
                self.doors = self.chain.doors().await?;
            } else {
                warn!("this node is not registered: it keeps no chunks until it is");
            }
        }
        let mut around = self.around.lock().unwrap_or_else(PoisonError::into_inner);
        around.nodes = self.doors.iter().map(|door| door.node).collect();
        around.replicas = replicas;
        around.slot = slot;
        around.lacking = self
            .lacking
            .iter()
            .map(|(number, since)| (*number, graces(*since, self.grace)))
            .collect();
        Ok(())
    }

    /// Answers the slot's challenges, once a slot, and hands in what that earns.
    async fn prove(&mut self, slot: Slot, held: &[u64]) -> Result<(), CustodyError> {
        let proven = self.chain.proven(self.node).await?;
        if held.is_empty() || proven.is_some_and(|(last, _)| last >= slot) {
            return Ok(());
        }
        let seed = self.chain.seed().await?;
        let mut openings = Vec::new();
        let mut lost = 0;
        for challenge in challenges(seed, self.node, held.len() as u64) {
            // The place is below the count.
            let number = held[usize::try_from(challenge.place).unwrap_or_default()];
            let opening = match self.chain.lease(number).await? {
                Some(lease) => self.open(&lease, challenge.leaf(lease.size)).await?,
                None => None,
            };
            openings.push(opening.unwrap_or_else(|| {
                lost += 1;
                warn!(number, "a challenged chunk is not here as it should be");
                StoredOpening {
                    leaf: Bytes::new(),
                    path: Vec::new(),
                }
            }));
        }
        let call = ChunkStore::proveCall {
            slot: slot.0,
            openings,
        };
        self.send(LUCID_CHUNK_STORE, call.abi_encode().into())
            .await?;
        Tally::add(&self.tally.proven, 1);
        Tally::add(&self.tally.lost, lost);
        let Some((last, credit)) = self.chain.proven(self.node).await? else {
            return Ok(());
        };
        if last == slot && credit > 0 {
            let proof = StoredProof {
                node: self.node.0,
                slot: slot.0,
                kind: STORAGE,
                value: credit,
                evidence: Bytes::new(),
                signature: Bytes::new(),
            };
            let call = Credits::submitCall {
                proofs: vec![proof],
            };
            self.send(WORK_CREDITS, call.abi_encode().into()).await?;
        }
        Ok(())
    }

    /// The opening of a leaf of a chunk that is sound here.
    async fn open(&self, lease: &Lease, leaf: u64) -> Result<Option<StoredOpening>, CustodyError> {
        let (files, hash) = (self.files.clone(), lease.hash);
        let Some(opening) = blocking(move || {
            Ok(files
                .bytes(hash)?
                .and_then(|bytes| tree::open(&bytes, leaf)))
        })
        .await?
        else {
            return Ok(None);
        };
        if tree::verify(lease.storage_root, lease.size.into(), leaf, &opening) {
            return Ok(Some(opening.into()));
        }
        // Damaged: it goes, and is fetched again.
        let files = self.files.clone();
        blocking(move || files.remove(hash)).await?;
        Ok(None)
    }

    async fn consider(
        &mut self,
        slot: Slot,
        lease: Lease,
        work: &mut Work,
    ) -> Result<(), CustodyError> {
        let (files, hash) = (self.files.clone(), lease.hash);
        let here = blocking(move || files.len(hash)).await?.is_some();
        let (nodes, replicas) = {
            let around = self.around.lock().unwrap_or_else(PoisonError::into_inner);
            (around.nodes.clone(), around.replicas)
        };
        if lease.is_live(slot) && lease.holders.len() < replicas {
            self.lacking
                .entry(lease.number)
                .or_insert_with(Instant::now);
        } else {
            self.lacking.remove(&lease.number);
        }
        let facts = Facts {
            node: self.node,
            nodes: &nodes,
            replicas,
            slot,
            lacking: self
                .lacking
                .get(&lease.number)
                .map_or(0, |since| graces(*since, self.grace)),
            here,
            room: self.files.quota().fits(lease.size),
        };
        if keeps(&lease, &facts) {
            self.keep.insert(lease.hash);
        }
        if lease.is_live(slot) {
            for holder in &lease.holders {
                if *holder != self.node && self.is_gone(slot, *holder).await? {
                    work.prune.entry(*holder).or_default().insert(lease.number);
                }
            }
        }
        match step(&lease, &facts) {
            Step::Rest => {}
            Step::Accept => {
                work.accept.insert(lease.number);
            }
            Step::Expire => {
                work.expire.insert(lease.number);
            }
            Step::Fetch => {
                if work.fetch.len() < FETCHES
                    && lease.holders.iter().any(|holder| *holder != self.node)
                {
                    work.fetch.push(lease);
                }
            }
        }
        Ok(())
    }

    /// Whether a holder may be struck off, asked once a slot.
    async fn is_gone(&mut self, slot: Slot, node: NodeId) -> Result<bool, CustodyError> {
        if self.gone_slot != slot {
            self.gone.clear();
            self.gone_slot = slot;
        }
        if let Some(gone) = self.gone.get(&node) {
            return Ok(*gone);
        }
        let gone = self.chain.is_gone(node).await?;
        self.gone.insert(node, gone);
        Ok(gone)
    }

    /// One page of all commitments. After the last one, what none of them needs goes from the disk.
    async fn walk_on(
        &mut self,
        slot: Slot,
        count: u64,
        work: &mut Work,
    ) -> Result<(), CustodyError> {
        if self.walk <= count {
            let page = self.chain.leases(self.walk).await?;
            self.walk += crate::chain::PAGE;
            for lease in page {
                self.consider(slot, lease, work).await?;
            }
            return Ok(());
        }
        let keep = std::mem::take(&mut self.keep);
        let begun = std::mem::replace(&mut self.begun, std::time::SystemTime::now());
        self.walk = 1;
        let files = self.files.clone();
        let removed = blocking(move || files.sweep(&keep, begun)).await?;
        if removed > 0 {
            info!(
                removed,
                "chunks that nobody needs here are gone from the disk"
            );
        }
        Ok(())
    }

    async fn act(&mut self, slot: Slot, mut work: Work) -> Result<(), CustodyError> {
        for lease in std::mem::take(&mut work.fetch) {
            match self.fetch(&lease).await {
                Ok(()) => {
                    if !lease.holders.contains(&self.node) {
                        work.accept.insert(lease.number);
                    }
                }
                // Another holder may have it the next time.
                Err(error) => debug!(%error, number = lease.number, "a chunk could not be fetched"),
            }
        }
        // What is held changes only after this slot's challenges are answered, see the contract.
        let proven = self.chain.proven(self.node).await?;
        let settled = self.chain.held(self.node).await?.is_empty()
            || proven.is_some_and(|(last, _)| last >= slot);
        if settled {
            self.in_batches(&work.accept, |numbers| {
                ChunkStore::acceptCustodyCall { numbers }
                    .abi_encode()
                    .into()
            })
            .await?;
        }
        self.in_batches(&work.expire, |numbers| {
            ChunkStore::expireCall { numbers }.abi_encode().into()
        })
        .await?;
        for (node, numbers) in &work.prune {
            info!(%node, count = numbers.len(), "a holder has not answered for long: it is struck off");
            let pruned = self
                .in_batches(numbers, |numbers| {
                    ChunkStore::pruneCustodyCall {
                        node: node.0,
                        numbers,
                    }
                    .abi_encode()
                    .into()
                })
                .await?;
            Tally::add(&self.tally.pruned, pruned);
        }
        Ok(())
    }

    /// Sends calls about many numbers; where one refuses all, each alone: others may have been quicker with some. How many were
    /// done.
    async fn in_batches(
        &self,
        numbers: &BTreeSet<u64>,
        call: impl Fn(Vec<u64>) -> Bytes,
    ) -> Result<u64, CustodyError> {
        let list: Vec<u64> = numbers.iter().copied().collect();
        let mut done = 0;
        for batch in list.chunks(BATCH) {
            match self.send(LUCID_CHUNK_STORE, call(batch.to_vec())).await {
                Ok(()) => done += batch.len() as u64,
                Err(error) if batch.len() == 1 => debug!(%error, "refused"),
                Err(_) => {
                    for number in batch {
                        match self.send(LUCID_CHUNK_STORE, call(vec![*number])).await {
                            Ok(()) => done += 1,
                            Err(error) => debug!(%error, number, "refused"),
                        }
                    }
                }
            }
        }
        Ok(done)
    }

    async fn fetch(&self, lease: &Lease) -> Result<(), CustodyError> {
        let doors: Vec<String> = self
            .doors
            .iter()
            .filter(|door| door.node != self.node && lease.holders.contains(&door.node))
            .map(|door| door.url.clone())
            .collect();
        let expected = Commitment {
            hash: lease.hash,
            storage_root: lease.storage_root,
            size: lease.size,
        };
        let files = self.files.clone();
        let Some(mut incoming) = blocking(move || files.receive(expected)).await? else {
            return Ok(());
        };
        let bytes = transfer::fetch_bytes(&doors, lease.hash, lease.size).await?;
        blocking(move || {
            incoming.write(&bytes)?;
            incoming.keep()
        })
        .await?;
        Tally::add(&self.tally.fetched, 1);
        Ok(())
    }

    async fn send(&self, to: Address, input: Bytes) -> Result<(), CustodyError> {
        let order = Order {
            to,
            input,
            ..Order::default()
        };
        self.chain
            .client()
            .send_and_wait(&self.wallet, order, PATIENCE)
            .await?;
        Ok(())
    }
}

/// Waits for the word to stop; who could give it being gone means the same.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _told = stop.wait_for(|stop| *stop).await.is_ok();
}

fn graces(since: Instant, grace: Duration) -> u64 {
    let passed = since.elapsed().as_millis() / grace.as_millis().max(1);
    u64::try_from(passed).unwrap_or(u64::MAX)
}

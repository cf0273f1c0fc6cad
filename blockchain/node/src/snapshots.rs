//! Snapshots of the chain: making them, handing them out, and beginning with one of a peer's.
//!
//! ```text
//!  a height of which state.snapshot_every is a factor ─▶ make ─▶ HOME/snapshots/HEIGHT ─▶ answer ─▶ peers, RPC
//!
//!  --sync snapshot:  manifests of peers ─▶ proof checked from genesis ─▶ newest ─▶ pieces, from all who offer the same,
//!                    each checked ─▶ HOME/snapshots/incoming ─▶ ledger (root checked) ─▶ consensus at the next height
//! ```

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_chain_types::Height;
use lucid_gossip::{GossipEvent, Handle as Gossip, PeerId, RequestError, SnapshotReply, Wanted};
use lucid_ledger::{Incoming, Ledger, LedgerError, SnapshotManifest, Snapshots, VerifiedSnapshot};
use lucid_rpc::SyncProgress;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::NodeError;
use crate::node::{blocking, disk_free};

/// How long a node looks for peers with a snapshot before it takes the blocks instead.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Peers whose manifests are asked for at once; each may have four megabytes.
const ASKED: usize = 8;
/// Pieces asked of one peer at once.
const IN_FLIGHT: usize = 2;
/// How long a busy peer is left alone.
const PAUSE: Duration = Duration::from_millis(300);
/// Requests in a row that a peer may leave without an answer.
const MAX_FAILURES: u32 = 3;

/// What may change of how snapshots are made while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Making {
    /// Blocks from one to the next; 0 for none.
    pub(crate) every: u64,
    /// Bytes that stay free on the disk.
    pub(crate) min_free: u64,
}

/// Makes a snapshot whenever the chain passes a height of which `every` is a factor, on a thread of its own.
/// Not where it could bring the disk below what has to stay free, which would stop the node.
pub(crate) async fn make(
    ledger: Ledger,
    snapshots: Snapshots,
    settings: watch::Receiver<Making>,
    sync: watch::Receiver<SyncProgress>,
) -> Result<(), NodeError> {
    let mut heads = ledger.watch();
    let mut before = *heads.borrow_and_update();
    while heads.changed().await.is_ok() {
        let head = *heads.borrow_and_update();
        let Making { every, min_free } = *settings.borrow();
        let due = every > 0 && before.0 / every < head.0 / every;
        before = head;
        // Who is catching up passes many, none of which anybody would ask for.
        if !due || sync.borrow().syncing {
            continue;
        }
        let (ledger, snapshots) = (ledger.clone(), snapshots.clone());
        let started = Instant::now();
        let made = blocking(move || {
            // As large as the last one, and a quarter more.
            let needs = snapshots.newest_bytes()?;
            let needs = needs.saturating_add(needs / 4).saturating_add(min_free);
            let free = disk_free(snapshots.folder())?;
            if free < needs {
                warn!(free, needs, "there is no room for a snapshot");
                return Ok(None);
            }
            Ok(Some(snapshots.make(ledger.snapshot()?)?))
        })
        .await;
        match made {
            Ok(Some(height)) => {
                info!(%height, seconds = started.elapsed().as_secs(), "made a snapshot");
            }
            Ok(None) => {}
            // The chain goes on without it. Where it is the disk, the node's own look at it says so.
            Err(error) => warn!(%head, %error, "no snapshot was made"),
        }
    }
    Ok(())
}

/// Answers a peer that wants something of a snapshot.
pub(crate) fn answer(snapshots: &Snapshots, wanted: Wanted, reply: SnapshotReply) {
    let snapshots = snapshots.clone();
    // Not waited for: gossip bounds how many are under way.
    tokio::task::spawn_blocking(move || {
        let found = match wanted {
            Wanted::Manifest => newest(&snapshots),
            Wanted::Piece { height, index } => snapshots.piece(height, index),
        };
        match found {
            Ok(found) => reply.reply(found.map(Bytes::from)),
            Err(error) => warn!(%error, "a snapshot is not handed out"),
        }
    });
}

fn newest(snapshots: &Snapshots) -> Result<Option<Vec<u8>>, LedgerError> {
    match snapshots.heights()?.first() {
        Some(height) => snapshots.manifest(*height),
        None => Ok(None),
    }
}

/// How an attempt to begin with a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The ledger begins with the snapshot of this block.
    At(Height),
    /// Nobody has one that can be used.
    Nobody,
    /// The node is to stop.
    Stopped,
}

/// Begins the chain in an empty ledger with the newest snapshot that a peer offers and the genesis file vouches for.
pub(crate) async fn join(
    gossip: &Gossip,
    events: &mut mpsc::Receiver<GossipEvent>,
    ledger: &Ledger,
    snapshots: &Snapshots,
    stop: &mut watch::Receiver<bool>,
) -> Result<Joined, NodeError> {
    let joining = Joining {
        gossip,
        ledger,
        snapshots,
        liars: HashSet::new(),
        fruitless: HashMap::new(),
        refused: HashSet::new(),
    };
    let joined = joining.run();
    tokio::pin!(joined);
    loop {
        tokio::select! {
            joined = &mut joined => return joined,
            changed = stop.changed() => {
                if changed.is_err() || *stop.borrow() {
                    return Ok(Joined::Stopped);
                }
            }
            // Transactions are for nodes that have a state; dropped, they are ignored.
            event = events.recv() => if event.is_none() {
                return Err(NodeError::Snapshot("gossip ended".to_owned()));
            }
        }
    }
}

/// A snapshot that peers have.
struct Offer {
    snapshot: VerifiedSnapshot,
    contents: B256,
    peers: Vec<PeerId>,
}

/// What an attempt to fetch pieces brought.
struct Fetched {
    taken: usize,
    missing: usize,
}

struct Joining<'a> {
    gossip: &'a Gossip,
    ledger: &'a Ledger,
    snapshots: &'a Snapshots,
    /// Peers that are not asked again.
    liars: HashSet<PeerId>,
    /// How often a peer said that it has snapshots and gave none: those are asked last, or a few of them could keep all others from
    /// being asked.
    fruitless: HashMap<PeerId, u32>,
    /// Contents that did not make the state they should.
    refused: HashSet<B256>,
}

impl Joining<'_> {
    async fn run(mut self) -> Result<Joined, NodeError> {
        let mut deadline = Instant::now() + PATIENCE;
        info!("looking for peers with a snapshot");
        loop {
            let offers = self.offers().await?;
            let Some((incoming, peers)) = self.choose(offers)? else {
                if Instant::now() >= deadline {
                    return Ok(Joined::Nobody);
                }
                sleep(LOOK_EVERY).await;
                continue;
            };
            let incoming = Arc::new(incoming);
            let Fetched { taken, missing } = self.fetch(&incoming, &peers).await?;
            if taken > 0 {
                // Patience is for peers that give nothing, not for a long way.
                deadline = Instant::now() + PATIENCE;
            }
            if missing > 0 {
                warn!(
                    missing,
                    "not all of the snapshot could be fetched; looking again"
                );
                if Instant::now() >= deadline {
                    return Ok(Joined::Nobody);
                }
                sleep(LOOK_EVERY).await;
                continue;
            }
            let height = incoming.snapshot().height();
            if self.import(incoming, &peers).await? {
                return Ok(Joined::At(height));
            }
            deadline = Instant::now() + PATIENCE;
        }
    }

    /// What peers offer whose proof leads from genesis to the block; the newest first, and of one height what most have.
    async fn offers(&mut self) -> Result<Vec<Offer>, NodeError> {
        let mut peers: Vec<(u32, Reverse<Height>, PeerId)> = self
            .gossip
            .peers()
            .iter()
            .filter(|peer| !self.liars.contains(&peer.peer))
            .filter_map(|peer| {
                let newest = peer.status.as_ref()?.snapshots.iter().max()?;
                let fruitless = self.fruitless.get(&peer.peer).copied().unwrap_or_default();
                Some((fruitless, Reverse(*newest), peer.peer))
            })
            .collect();
        peers.sort_unstable();
        let mut asked = JoinSet::new();
        for (.., peer) in peers.into_iter().take(ASKED) {
            let gossip = self.gossip.clone();
            asked.spawn(async move { (peer, gossip.request_snapshot_manifest(peer).await) });
        }
        let mut offers: Vec<Offer> = Vec::new();
        while let Some(answer) = asked.join_next().await {
            let (peer, answer) = answer.map_err(|error| NodeError::Panicked(error.to_string()))?;
            let bytes = match answer {
                Ok(bytes) => bytes,
                Err(error) => {
                    debug!(%peer, %error, "no manifest");
                    *self.fruitless.entry(peer).or_default() += 1;
                    continue;
                }
            };
            let genesis = self.ledger.trusted_genesis()?;
            let checked = blocking(move || {
                Ok(SnapshotManifest::decode(&bytes).and_then(|it| it.verify(&genesis)))
            });
            let snapshot = match checked.await? {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    self.blame(peer, &error);
                    continue;
                }
            };
            let contents = snapshot.manifest().contents();
            match offers.iter_mut().find(|offer| offer.contents == contents) {
                Some(offer) => offer.peers.push(peer),
                None => offers.push(Offer {
                    snapshot,
                    contents,
                    peers: vec![peer],
                }),
            }
        }
        offers.retain(|offer| !self.refused.contains(&offer.contents));
        offers.sort_by_key(|offer| Reverse((offer.snapshot.height(), offer.peers.len())));
        Ok(offers)
    }

    /// Goes on with what was begun, if somebody has it still or all of it is here; else begins with the newest.
    fn choose(&self, offers: Vec<Offer>) -> Result<Option<(Incoming, Vec<PeerId>)>, NodeError> {
        let genesis = self.ledger.trusted_genesis()?;
        if let Some(incoming) = self.snapshots.incoming(&genesis)? {
            let contents = incoming.snapshot().manifest().contents();
            if let Some(offer) = offers.iter().find(|offer| offer.contents == contents) {
                return Ok(Some((incoming, offer.peers.clone())));
            }
            if !self.refused.contains(&contents) && incoming.missing()?.is_empty() {
                return Ok(Some((incoming, Vec::new())));
            }
        }
        let Some(newest) = offers.into_iter().next() else {
            return Ok(None);
        };
        let incoming = self.snapshots.begin_incoming(newest.snapshot)?;
        Ok(Some((incoming, newest.peers)))
    }

    /// Fetches what is missing, until nothing is or nobody gives more.
    async fn fetch(
        &mut self,
        incoming: &Arc<Incoming>,
        peers: &[PeerId],
    ) -> Result<Fetched, NodeError> {
        let looked = Arc::clone(incoming);
        let mut queue: VecDeque<usize> = blocking(move || Ok(looked.missing()?)).await?.into();
        let height = incoming.snapshot().height();
        info!(
            %height,
            pieces = incoming.snapshot().manifest().pieces(),
            missing = queue.len(),
            peers = peers.len(),
            "fetching a snapshot"
        );
        let mut free: VecDeque<(PeerId, u32)> = VecDeque::new();
        for _ in 0..IN_FLIGHT {
            free.extend(peers.iter().map(|peer| (*peer, 0)));
        }
        let mut asked = JoinSet::new();
        let mut taken = 0;
        loop {
            while !queue.is_empty()
                && let Some((peer, failures)) = free.pop_front()
            {
                if self.liars.contains(&peer) {
                    continue;
                }
                let Some(index) = queue.pop_front() else {
                    break;
                };
                let gossip = self.gossip.clone();
                // INVARIANT: a manifest has fewer pieces than fit.
                let number = u32::try_from(index).unwrap_or(u32::MAX);
                asked.spawn(async move {
                    let answer = gossip.request_snapshot_piece(peer, height, number).await;
                    if matches!(answer, Err(RequestError::Busy | RequestError::NotSent(_))) {
                        sleep(PAUSE).await;
                    }
                    (peer, failures, index, answer)
                });
            }
            let Some(answer) = asked.join_next().await else {
                return Ok(Fetched {
                    taken,
                    missing: queue.len(),
                });
            };
            let (peer, failures, index, answer) =
                answer.map_err(|error| NodeError::Panicked(error.to_string()))?;
            match answer {
                Ok(bytes) => {
                    let taking = Arc::clone(incoming);
                    match blocking(move || Ok(taking.put(index, &bytes))).await? {
                        Ok(()) => {
                            debug!(%peer, index, "a piece of the snapshot is here");
                            taken += 1;
                            free.push_back((peer, 0));
                        }
                        Err(LedgerError::Snapshot(reason)) => {
                            self.blame(peer, &LedgerError::Snapshot(reason));
                            queue.push_back(index);
                        }
                        Err(own) => return Err(own.into()),
                    }
                }
                Err(RequestError::Busy | RequestError::NotSent(_)) => {
                    queue.push_back(index);
                    free.push_back((peer, failures));
                }
                Err(RequestError::Failed(reason)) if failures + 1 < MAX_FAILURES => {
                    debug!(%peer, index, reason, "no piece");
                    queue.push_back(index);
                    free.push_back((peer, failures + 1));
                }
                Err(error) => {
                    debug!(%peer, index, %error, "the peer is not asked for more");
                    queue.push_back(index);
                }
            }
        }
    }

    /// Takes a snapshot in that is here whole; whether it was what its block says.
    async fn import(
        &mut self,
        incoming: Arc<Incoming>,
        peers: &[PeerId],
    ) -> Result<bool, NodeError> {
        let (ledger, taking) = (self.ledger.clone(), Arc::clone(&incoming));
        let outcome = blocking(move || {
            Ok(ledger.import(taking.snapshot(), |index| {
                taking.piece(index)?.ok_or_else(|| {
                    LedgerError::Snapshot(format!("piece {index} of it is gone from the disk"))
                })
            }))
        });
        match outcome.await? {
            Ok(()) => {
                // This node has it whole, and others may want it.
                self.snapshots.keep(&incoming)?;
                Ok(true)
            }
            Err(error @ (LedgerError::Snapshot(_) | LedgerError::State(_))) if !error.is_disk() => {
                // The pieces are what the manifest said: it lied, and so did all who offered it.
                for peer in peers {
                    self.blame(*peer, &error);
                }
                warn!(%error, "the snapshot is not the state of its block");
                self.refused
                    .insert(incoming.snapshot().manifest().contents());
                self.snapshots.drop_incoming()?;
                Ok(false)
            }
            Err(own) => Err(own.into()),
        }
    }

    fn blame(&mut self, peer: PeerId, error: &LedgerError) {
        warn!(%peer, %error, "a peer's snapshot is refused; it is not asked again");
        self.liars.insert(peer);
        if let Err(error) = self.gossip.blame(peer) {
            debug!(%peer, %error, "it is not held against the peer");
        }
    }
}

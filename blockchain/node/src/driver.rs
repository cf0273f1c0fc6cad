//! Answers the engine: builds, checks, stores and commits blocks, and decides when the next height begins.
//!
//! ```text
//!  Finalized ──▶ hold ──▶ something to put in a block, a slot to seal, or others went ahead ──▶ Start(h + 1)
//!  Propose   ──▶ build on the head ──▶ on disk ──▶ answer
//!  Received  ──▶ decode, check, execute ──▶ on disk ──▶ Valid        (nothing is voted for that a crash could take away)
//!  Decided   ──▶ block + state + certificate in one batch ──▶ answer
//! ```
//!
//! One task; execution runs on a blocking thread while the task waits, since nothing else may touch the state meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lucid_chain_types::{
    Block, BlockId, Certificate, Evidence, Height, MAX_BLOCK_BYTES, MAX_EVIDENCE, NodeId,
    open_slot_after, seals, vrf_input,
};
use lucid_consensus::{DecidedBlock, Event, Reply, Start, UndecidedBlock, Verdict};
use lucid_execution::{BlockError, Executed, ExecutionError, Proposal};
use lucid_ledger::{Head, Ledger, Pool, Undecided};
use lucid_poot::vrf::VrfSecret;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use crate::NodeError;
use crate::clock::Clock;
use crate::metrics;

/// How far ahead of this node's clock a block's time may be.
const MAX_DRIFT_MS: u64 = 2_000;
/// Bytes of blocks handed to a peer at once; enough to keep a syncing peer busy, little enough to answer at once.
const SYNC_BYTES: usize = 4 << 20;
/// Blocks handed to a peer at once.
const SYNC_BLOCKS: u64 = 200;
/// Room left in a block for what is not transactions.
const BLOCK_OVERHEAD: usize = 256 << 10;
/// Blocks executed at one height and kept until it is decided; a Byzantine leader makes more of them than anyone needs.
const MAX_EXECUTED: usize = 16;

/// The keys of a validator that the driver needs.
pub(crate) struct Leader {
    pub(crate) node: NodeId,
    pub(crate) vrf: VrfSecret,
}

/// What the rest of the node is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The round at work, and its height.
    pub(crate) height: Height,
    pub(crate) round: u32,
}

pub(crate) struct Driver {
    ledger: Ledger,
    pool: Pool,
    clock: Arc<dyn Clock>,
    leader: Option<Arc<Leader>>,
    progress: watch::Sender<Progress>,
    /// Blocks of the height at work that were executed, ready to commit.
    executed: HashMap<BlockId, (Block, Executed)>,
    /// Answer that is held while there is nothing to do.
    held: Option<Reply<Start>>,
    /// Others work on this height already.
    early: Height,
    /// Validators caught and not yet reported in a block.
    evidence: Vec<Evidence>,
    /// Whose round is at work.
    led: Option<(Height, NodeId)>,
}

impl Driver {
    pub(crate) fn new(
        ledger: Ledger,
        pool: Pool,
        clock: Arc<dyn Clock>,
        leader: Option<Leader>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            ledger,
            pool,
            clock,
            leader: leader.map(Arc::new),
            progress,
            executed: HashMap::new(),
            held: None,
            early: Height::GENESIS,
            evidence: Vec::new(),
            led: None,
        }
    }

    /// Runs until the engine stops or something fails that only a restart can mend.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), NodeError> {
        let mut waiting = self.pool.changes();
        loop {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                event = events.recv() => match event {
                    Some(event) => self.answer(event).await?,
                    None => return Err(NodeError::EngineStopped),
                },
                changed = waiting.changed(), if self.held.is_some() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = sleep_until(wake), if self.held.is_some() => {}
            }
            self.release();
        }
    }

    async fn answer(&mut self, event: Event) -> Result<(), NodeError> {
        match event {
            Event::Ready { reply } => self.held = Some(reply),
            Event::StartedRound {
                height,
                round,
                proposer,
                reply,
            } => {
                debug!(%height, round, %proposer, "round started");
                metrics::round(height, round);
                let led = self.led.replace((height, proposer));
                if let (Some(led), Some(leader)) = (led, &self.leader)
                    && led == (height, leader.node)
                {
                    metrics::missed();
                }
                self.progress.send_replace(Progress { height, round });
                let stored = self.ledger.undecided(height, round)?;
                let blocks = stored.into_iter().map(|stored| UndecidedBlock {
                    height,
                    round: stored.round,
                    block: stored.block,
                    proposer: stored.proposer,
                    valid_round: stored.valid_round,
                    valid: stored.valid,
                });
                answered(reply.send(blocks.collect()));
            }
            Event::Propose {
                height,
                round,
                timeout,
                reply,
            } => {
                if let Some(block) = self.propose(height, round, timeout).await? {
                    answered(reply.send(block));
                }
            }
            Event::Repropose {
                height,
                block,
                reply,
                ..
            } => {
                let found = self.ledger.undecided_block(height, block)?;
                answered(reply.send(found.map(|stored| stored.bytes)));
            }
            Event::Received {
                height,
                round,
                valid_round,
                proposer,
                bytes,
                reply,
            } => {
                let proposed = Proposed {
                    height,
                    round,
                    valid_round,
                    proposer,
                    synced: false,
                };
                if let Some(verdict) = self.check(proposed, bytes).await? {
                    answered(reply.send(verdict));
                }
            }
            Event::Synced {
                height,
                round,
                proposer,
                bytes,
                reply,
            } => {
                let proposed = Proposed {
                    height,
                    round,
                    valid_round: None,
                    proposer,
                    synced: true,
                };
                if let Some(verdict) = self.check(proposed, bytes).await? {
                    answered(reply.send(verdict));
                }
            }
            Event::Decided { certificate, reply } => {
                self.commit(&certificate).await?;
                answered(reply.send(()));
            }
            Event::Finalized {
                certificate,
                evidence,
                reply,
            } => {
                self.ledger.extend_certificate(&certificate)?;
                self.collect(evidence);
                self.held = Some(reply);
            }
            Event::Early { height, proposer } => {
                let head = self.ledger.head();
                let leads = |proposer| {
                    head.height.next() == height && head.order.first() == Some(&proposer)
                };
                if proposer.is_none_or(leads) {
                    self.early = self.early.max(height);
                }
            }
            Event::MinHeight { reply } => answered(reply.send(self.ledger.earliest())),
            Event::GetDecided { from, to, reply } => answered(reply.send(self.decided(from, to)?)),
        }
        Ok(())
    }

    // ── when a height begins ────────────────────────────────────────────────────────────────────────────────────────────

    /// The next moment at which time alone may release a held answer.
    fn wake_at(&self) -> Instant {
        let head = self.ledger.head();
        let now = self.clock.now_ms();
        let due = self.earliest_next(&head);
        let at = if due > now {
            due
        } else {
            self.slot_end(&head).max(now)
        };
        Instant::now() + Duration::from_millis(at.saturating_sub(now).clamp(1, 60_000))
    }

    /// Least time of the next block: the pace is part of what makes a block valid.
    fn earliest_next(&self, head: &Head) -> u64 {
        head.header
            .as_ref()
            .map_or(self.ledger.genesis().time_ms.saturating_add(1), |header| {
                header
                    .time_ms
                    .saturating_add(self.ledger.genesis().pace.block_interval_ms)
            })
    }

    fn slot_end(&self, head: &Head) -> u64 {
        let genesis = self.ledger.genesis().time_ms;
        let slot = open_slot_after(genesis, head.header.as_ref());
        let next = slot
            .0
            .saturating_add(1)
            .saturating_mul(lucid_chain_types::SLOT_MS);
        genesis.saturating_add(next)
    }

    /// Lets the next height begin if it is time and there is something to do.
    fn release(&mut self) {
        if self.held.is_none() {
            return;
        }
        let head = self.ledger.head();
        let now = self.clock.now_ms();
        let ahead = self.early > head.height;
        if now < self.earliest_next(&head) && !ahead {
            return;
        }
        if !ahead && !self.has_work(&head) {
            return;
        }
        if let Some(reply) = self.held.take() {
            answered(reply.send(Start {
                height: head.height.next(),
                validators: head.validators,
                order: head.order,
            }));
        }
    }

    /// Whether a block on the head would have something in it.
    fn has_work(&self, head: &Head) -> bool {
        self.clock.now_ms() >= self.slot_end(head)
            || !self.evidence.is_empty()
            || self.pool.has_ready()
    }

    // ── building ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn propose(
        &mut self,
        height: Height,
        round: u32,
        timeout: Duration,
    ) -> Result<Option<Block>, NodeError> {
        let Some(leader) = self.leader.clone() else {
            return Ok(None);
        };
        // After a crash: what was proposed in this round must be proposed again, since it may have been signed.
        let stored = self.ledger.undecided(height, round)?;
        if let Some(stored) = stored.iter().find(|it| it.proposer == leader.node) {
            return Ok(Block::decode(&stored.bytes).ok());
        }
        let head = self.ledger.head();
        if head.height.next() != height {
            return Ok(None);
        }
        let earliest = self.earliest_next(&head);
        let wait = Duration::from_millis(earliest.saturating_sub(self.clock.now_ms()));
        if wait > timeout / 2 {
            warn!(%height, ?wait, "the last block's time is too far ahead of this clock to propose now: is the clock right?");
            return Ok(None);
        }
        tokio::time::sleep(wait).await;
        // Others may have begun this height with a transaction that is still on its way here.
        let mut waiting = self.pool.changes();
        let patience = Instant::now() + timeout / 4;
        while !self.has_work(&head)
            && timeout_at(patience, waiting.changed())
                .await
                .is_ok_and(|changed| changed.is_ok())
        {}
        if !self.has_work(&head) {
            debug!(%height, round, "there is nothing to propose");
            return Ok(None);
        }
        let started = Instant::now();
        let time_ms = self.clock.now_ms().max(earliest);
        let genesis = self.ledger.genesis();
        let slot = open_slot_after(genesis.time_ms, head.header.as_ref());
        let proof = leader
            .vrf
            .prove(&vrf_input(self.ledger.genesis_hash(), slot, head.id));
        let last_commit = match head.height {
            Height::GENESIS => None,
            parent => self.ledger.certificate(parent)?,
        };
        let proposal = Proposal {
            time_ms,
            round,
            proposer: leader.node,
            vrf_proof: proof,
            last_commit,
            evidence: self.evidence.iter().take(MAX_EVIDENCE).copied().collect(),
            transactions: self.pool.best(MAX_BLOCK_BYTES - BLOCK_OVERHEAD),
        };
        let (ledger, pool) = (self.ledger.clone(), self.pool.clone());
        let built = blocking(move || {
            let built = match ledger.build(proposal) {
                Ok(built) => built,
                Err(error) => {
                    return match error.into_invalid() {
                        // What the pool took for ready cannot be executed on this head.
                        Ok(BlockError::Empty { left_out }) => {
                            pool.left_out(&left_out);
                            Ok(None)
                        }
                        Ok(other) => Err(ExecutionError::from(other).into()),
                        Err(own) => Err(own.into()),
                    };
                }
            };
            if !built.left_out.is_empty() {
                debug!(
                    count = built.left_out.len(),
                    "transactions left out of a block"
                );
                pool.left_out(&built.left_out);
            }
            ledger.put_undecided(
                height,
                &Undecided {
                    block: built.block.id(),
                    round,
                    valid_round: None,
                    proposer: leader.node,
                    valid: true,
                    bytes: built.block.encode(),
                },
            )?;
            Ok(Some((built.block, built.executed)))
        })
        .await?;
        let Some((block, executed)) = built else {
            debug!(%height, round, "nothing that waits can be executed");
            return Ok(None);
        };
        metrics::built(started.elapsed());
        debug!(%height, round, transactions = block.body.transactions.len(), seal = seals(self.ledger.genesis().time_ms, slot, time_ms), "proposing");
        self.remember(block.clone(), executed);
        Ok(Some(block))
    }

    // ── checking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Checks a block of others. `None` if that cannot be said now, which is not held against anyone.
    async fn check(
        &mut self,
        proposed: Proposed,
        bytes: Vec<u8>,
    ) -> Result<Option<Verdict>, NodeError> {
        let Proposed {
            height,
            round,
            proposer,
            ..
        } = proposed;
        let head = self.ledger.head();
        if head.height.next() != height {
            return Ok(None);
        }
        let refuse = |reason: String| {
            warn!(%height, round, %proposer, reason, "refused a block");
            metrics::refused_block();
            Ok(Some(Verdict::Invalid))
        };
        let block = match Block::decode(&bytes) {
            Ok(block) => block,
            Err(error) => return refuse(error.to_string()),
        };
        if let Err(reason) = self.check_place(&proposed, &block, &head) {
            return refuse(reason);
        }
        let id = block.id();
        if self.executed.contains_key(&id) {
            // Executed already; only the round is new.
            self.store(&proposed, id, bytes).await?;
            return Ok(Some(Verdict::Valid(id)));
        }
        let started = Instant::now();
        let ledger = self.ledger.clone();
        let outcome =
            blocking(move || Ok(ledger.validate(&block).map(|executed| (block, executed)))).await?;
        let (block, executed) = match outcome {
            Ok(done) => done,
            // A fault of this node's own database is no fault of the block.
            Err(error) => match error.into_invalid() {
                Ok(reason) => return refuse(reason.to_string()),
                Err(own) => return Err(own.into()),
            },
        };
        metrics::checked(started.elapsed());
        self.remember(block, executed);
        self.store(&proposed, id, bytes).await?;
        Ok(Some(Verdict::Valid(id)))
    }

    /// What depends on the round and on the clock, and so is not part of the block's own rules.
    fn check_place(&self, proposed: &Proposed, block: &Block, head: &Head) -> Result<(), String> {
        let header = &block.header;
        if header.height != proposed.height {
            return Err(format!("it says it is block {}", header.height));
        }
        if proposed.synced {
            return Ok(());
        }
        match proposed.valid_round {
            None if header.round != proposed.round => {
                return Err(format!("it says it was made for round {}", header.round));
            }
            Some(valid_round) if header.round > valid_round => {
                return Err(format!(
                    "it was made for round {}, after the round {valid_round} it was accepted in",
                    header.round
                ));
            }
            _ => {}
        }
        let now = self.clock.now_ms();
        metrics::proposal_time(now, header.time_ms);
        if header.time_ms > now.saturating_add(MAX_DRIFT_MS) {
            return Err(format!(
                "its time is {} ms ahead of this node's clock",
                header.time_ms - now
            ));
        }
        if header.time_ms < self.earliest_next(head) {
            return Err("it comes sooner after its parent than the pace allows".into());
        }
        Ok(())
    }

    /// On disk before the verdict leaves, whoever sent it: the engine's log keeps the verdict, and after a crash the engine decides
    /// with it and does not hand the bytes over again.
    async fn store(
        &self,
        proposed: &Proposed,
        block: BlockId,
        bytes: Vec<u8>,
    ) -> Result<(), NodeError> {
        let (ledger, height) = (self.ledger.clone(), proposed.height);
        let undecided = Undecided {
            block,
            round: proposed.round,
            valid_round: proposed.valid_round,
            proposer: proposed.proposer,
            valid: true,
            bytes,
        };
        blocking(move || Ok(ledger.put_undecided(height, &undecided)?)).await
    }

    fn remember(&mut self, block: Block, executed: Executed) {
        if self.executed.len() < MAX_EXECUTED {
            self.executed.insert(block.id(), (block, executed));
        }
    }

    // ── deciding ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn commit(&mut self, certificate: &Certificate) -> Result<(), NodeError> {
        let height = certificate.height;
        if height <= self.ledger.head().height {
            // Decided again after a restart: it is committed already.
            return Ok(());
        }
        let ready = self.executed.remove(&certificate.block);
        self.executed.clear();
        let (ledger, pool, decided) = (self.ledger.clone(), self.pool.clone(), certificate.clone());
        let started = Instant::now();
        let (header, transactions) = blocking(move || {
            let (block, executed) = match ready {
                Some(ready) => ready,
                None => ledger.replay_undecided(&decided)?,
            };
            ledger.commit(&block, executed, &decided)?;
            pool.on_block(&block)?;
            Ok((block.header, block.body.transactions.len()))
        })
        .await
        .inspect_err(|error| error!(%height, %error, "a decided block could not be committed; the node stops"))?;
        self.evidence.retain(|evidence| {
            header.height.0.saturating_sub(evidence.height().0) < lucid_execution::MAX_EVIDENCE_AGE
        });
        self.forget_reported(height)?;
        metrics::committed(
            &header,
            transactions,
            certificate,
            self.clock.now_ms(),
            started.elapsed(),
        );
        if header.seal {
            info!(%height, slot = header.slot.0, leader = %header.proposer, "slot sealed");
        }
        debug!(%height, id = %certificate.block, round = certificate.round, gas = header.gas_used, "committed");
        Ok(())
    }

    fn collect(&mut self, found: Vec<Evidence>) {
        for evidence in found {
            warn!(node = %evidence.offender(), height = %evidence.height(), "a validator signed two things of which it may sign one");
            metrics::equivocation();
            if self.evidence.len() < 4 * MAX_EVIDENCE && !self.evidence.contains(&evidence) {
                self.evidence.push(evidence);
            }
        }
    }

    /// Evidence that a block carries need not be carried again.
    fn forget_reported(&mut self, height: Height) -> Result<(), NodeError> {
        if self.evidence.is_empty() {
            return Ok(());
        }
        if let Some(block) = self.ledger.block(height)? {
            self.evidence.retain(|evidence| {
                !block
                    .body
                    .evidence
                    .iter()
                    .any(|reported| reported.offender() == evidence.offender())
            });
        }
        Ok(())
    }

    fn decided(&self, from: Height, to: Height) -> Result<Vec<DecidedBlock>, NodeError> {
        let last = to.0.min(from.0.saturating_add(SYNC_BLOCKS - 1));
        let mut found = Vec::new();
        let mut bytes = 0;
        for height in (from.0..=last).map(Height) {
            let (Some(block), Some(certificate)) =
                (self.ledger.block(height)?, self.ledger.certificate(height)?)
            else {
                break;
            };
            let Some(validators) = self.ledger.validator_set(block.header.validators_hash)? else {
                break;
            };
            let encoded = block.encode();
            bytes += encoded.len();
            if bytes > SYNC_BYTES && !found.is_empty() {
                break;
            }
            found.push(DecidedBlock {
                certificate,
                validators,
                bytes: encoded,
            });
        }
        Ok(found)
    }
}

/// A proposal as the engine hands it over.
struct Proposed {
    height: Height,
    round: u32,
    valid_round: Option<u32>,
    proposer: NodeId,
    /// Final already, and so not subject to the rules of rounds and clocks.
    synced: bool,
}

/// The engine drops its end when it stops or has gone on; then nobody waits for the answer.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the outcome of a send, and the end of it"
)]
fn answered<T>(sent: Result<(), T>) {
    if sent.is_err() {
        debug!("an answer came too late");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(NodeError::Panicked(error.to_string())),
    }
}

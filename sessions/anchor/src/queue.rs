//! The queue itself: bytes and time in, actions out. Who drives it does what [`Queue::next`] says and tells how it went; it may be
//! killed at any point and goes on from the records that it was told to keep.
//!
//! ```text
//!  rest ─▶ ask ─▶ look ─▶ sign ─▶ (keep) ─▶ send ─▶ rest        one round, all of it with one node
//!            └──────┴────────┴── node away ──┴──▶ rest longer, then the next node
//! ```
//!
//! Exactly one transaction a step, whatever is lost: a step has one nonce, written down before anything is sent, and the chain
//! takes one transaction a nonce. A nonce is given up only when the chain has used it up; whether the step was done then is asked
//! of the contract, at a height not below the one at which the nonce was seen to be used.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes};
use lucid_format::SessionId;

use crate::Refused;
use crate::book::{Book, Flight, Job, Leaf, Outcome, Place, Record, Session, Signed, Stage, Step};
use crate::hash_leaf;
use lucid_chain_types::anchors::batch_root;

/// Most checkpoints in a batch: its leaves are in one record of the journal.
pub(crate) const MAX_LEAVES: usize = 1 << 14;
/// Records that are taken between two writes at most.
const MAX_KEPT: usize = 4096;
/// Blocks without a transaction after which it offers more.
const BUMP_AFTER: u64 = 8;
/// Most transactions signed for one nonce: 12.5 % more each time is a thousand times the first.
const MAX_BUMPS: usize = 60;
/// How long a node is believed to still have what it was sent, ms.
const RESEND_MS: u64 = 5_000;
/// How often the chain is asked while something is on its way, ms.
const POLL_MS: u64 = 250;
/// How long jobs gather before a round, ms: the checkpoints of many sessions come due together.
const GATHER_MS: u64 = 30;
/// Longest pause between two attempts, ms.
const MAX_BACKOFF_MS: u64 = 60_000;
/// First pause, ms.
const MIN_BACKOFF_MS: u64 = 250;

/// How the queue is to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The account.
    pub account: Address,
    /// From how many checkpoints due at once a batch is used.
    pub batch_from: usize,
    /// Most nonces given out and not used up. They are sent in order, so a node's bound on gaps between nonces is not met.
    pub in_flight: usize,
}

/// What a transaction offers, wei a gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// At most in all.
    pub max_fee: u128,
    /// To the proposer.
    pub tip: u128,
}

/// What a node says of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The genesis hash.
    pub genesis: B256,
    /// The EVM's chain id.
    pub chain_id: u64,
    /// The last final block.
    pub height: u64,
    /// How many of the account's nonces are used up.
    pub count: u64,
    /// What a transaction should offer now.
    pub offer: Offer,
    /// Of the nonces that were asked about and are used up: the transaction that did it and whether it succeeded, `None` if
    /// it is none of ours or not known any more.
    pub used: BTreeMap<u64, Option<Receipt>>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Where it is.
    pub place: Place,
}

/// What the contract says of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is done, by this account.
    Ours(Place),
    /// It is not done, and can be.
    Absent,
    /// It cannot be done any more.
    Never(String),
}

/// A transaction to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The nonce.
    pub nonce: u64,
    /// What it does.
    pub step: Step,
    /// The call.
    pub input: Bytes,
    /// What it offers.
    pub offer: Offer,
    /// The EVM's chain id.
    pub chain_id: u64,
}

/// How a node took a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It has it, now or before.
    Yes,
    /// Its nonce is used up.
    Used,
    /// It offers too little.
    Cheap,
    /// Not now.
    Later(String),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these down, synced, before anything else is done. [`Queue::kept`] follows.
    Keep(Vec<Record>),
    /// Ask a node for a [`View`]; of these nonces, what became of the transactions with these hashes. [`Queue::saw`] follows.
    Ask(Vec<(u64, Vec<B256>)>),
    /// Look at the contract whether these are done; not at a block before the height. [`Queue::looked`] follows.
    Look {
        /// Nonces, what was to be done with them, and the height after which it may have been.
        steps: Vec<(u64, Step, u64)>,
        /// The height of the view.
        height: u64,
    },
    /// Sign these. [`Queue::signed`] follows.
    Sign(Vec<Order>),
    /// Send these, in this order. [`Queue::sent`] follows.
    Send(Vec<(u64, Vec<u8>)>),
    /// Nothing before this time, ms since the Unix epoch, unless a job comes.
    Rest(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Rest,
    Ask,
    Look(Vec<(u64, Step, u64)>),
    Sign(Vec<Order>),
    Send,
}

/// What is known of a flight and need not outlive the process.
#[derive(Debug, Clone, Copy, Default)]
struct Aloft {
    /// When it was last sent, ms; 0 for never.
    sent_ms: u64,
    /// The height when its newest transaction was signed.
    height: u64,
    /// A node said that it offers too little.
    cheap: bool,
}

/// The queue.
#[derive(Debug, Clone)]
pub struct Queue {
    tuning: Tuning,
    book: Book,
    /// Records that are in the book and were not written down yet.
    outbox: Vec<Record>,
    keeping: bool,
    phase: Phase,
    view: Option<View>,
    aloft: BTreeMap<u64, Aloft>,
    rest_until: u64,
    failures: u32,
    trouble: Option<String>,
    /// Sessions with something to send.
    ready: BTreeSet<SessionId>,
}

impl Queue {
    /// Goes on from a book.
    pub fn new(tuning: Tuning, book: Book) -> Self {
        let ready = book.sessions.keys().copied().collect();
        Self {
            tuning,
            book,
            outbox: Vec::new(),
            keeping: false,
            phase: Phase::Rest,
            view: None,
            aloft: BTreeMap::new(),
            rest_until: 0,
            failures: 0,
            trouble: None,
            ready,
        }
    }

    /// All that is known.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What keeps it from working, if anything does.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// How many rounds in a row could not be ended.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last round could be ended.
    pub fn is_connected(&self) -> bool {
        self.failures == 0 && self.view.is_some()
    }

    /// Whether nothing is to be sent or on its way.
    pub fn is_idle(&self) -> bool {
        self.book.flights.is_empty() && !self.has_ready()
    }

    /// Takes a job. It is safe once the records of the next [`Action::Keep`] are kept.
    ///
    /// # Errors
    /// When it does not follow from what is known of the session.
    pub fn submit(&mut self, job: Job, now_ms: u64) -> Result<(), Refused> {
        if !self.book.check(&job)? {
            return Ok(());
        }
        self.record(Record::Job { job, at_ms: now_ms });
        self.ready.insert(job.id());
        // Away nodes are not asked sooner for it.
        if self.failures == 0 {
            self.rest_until = self.rest_until.min(now_ms + GATHER_MS);
        }
        Ok(())
    }

    /// A settled session is in a file of its own.
    pub fn archived(&mut self, id: SessionId) {
        if self.book.sessions.get(&id).is_some_and(Session::is_settled) {
            self.record(Record::Archived(id));
        }
    }

    /// Nobody will use a session: it leaves the book if nothing of it is on its way and it has no checkpoints and no end. Whether it
    /// did.
    pub fn forget(&mut self, id: SessionId) -> bool {
        let unused = |s: &Session| !s.is_flying() && s.checkpoints.is_empty() && s.closed.is_none();
        let unused = self.book.sessions.get(&id).is_some_and(unused);
        if unused {
            self.record(Record::Archived(id));
            self.ready.remove(&id);
        }
        unused
    }

    /// What to do next.
    pub fn next(&mut self, now_ms: u64) -> Action {
        if !self.outbox.is_empty() {
            self.keeping = true;
            let most = self.outbox.len().min(MAX_KEPT);
            return Action::Keep(self.outbox[..most].to_vec());
        }
        match &self.phase {
            Phase::Rest if self.is_idle() => {
                // What kept it from working keeps it from nothing now.
                (self.failures, self.trouble) = (0, None);
                Action::Rest(u64::MAX)
            }
            Phase::Rest if now_ms < self.rest_until => Action::Rest(self.rest_until),
            Phase::Rest | Phase::Ask => {
                self.phase = Phase::Ask;
                let hashes = |flight: &Flight| flight.signed.iter().map(|s| s.hash).collect();
                let flights = self.book.flights.iter();
                Action::Ask(
                    flights
                        .map(|(nonce, flight)| (*nonce, hashes(flight)))
                        .collect(),
                )
            }
            Phase::Look(steps) => Action::Look {
                steps: steps.clone(),
                height: self.view.as_ref().map_or(0, |view| view.height),
            },
            Phase::Sign(orders) => Action::Sign(orders.clone()),
            Phase::Send => {
                let due = self.due_to_send(now_ms);
                if due.is_empty() {
                    self.rest(now_ms);
                    return Action::Rest(self.rest_until);
                }
                Action::Send(due)
            }
        }
    }

    /// The records of the last [`Action::Keep`] are on the disk.
    pub fn kept(&mut self) {
        if std::mem::take(&mut self.keeping) {
            self.outbox.drain(..self.outbox.len().min(MAX_KEPT));
        }
    }

    /// A node answered [`Action::Ask`].
    pub fn saw(&mut self, view: View, now_ms: u64, random: u64) {
        if self.phase != Phase::Ask {
            return;
        }
        match self.book.chain {
            None => self.record(Record::Chain {
                genesis: view.genesis,
                chain_id: view.chain_id,
            }),
            Some((genesis, _)) if genesis != view.genesis => {
                let why = format!(
                    "the node is one of another chain: its genesis is {}, and that of this queue {genesis}",
                    view.genesis
                );
                return self.away(why, now_ms, random);
            }
            Some(_) => {}
        }
        if view.count < self.book.floor {
            let (count, floor) = (view.count, self.book.floor);
            let why = format!(
                "the node is behind: it has {count} transactions of the account, {floor} are final"
            );
            return self.away(why, now_ms, random);
        }
        let mut look = Vec::new();
        for (nonce, flight) in self.book.flights.range(..view.count) {
            match view.used.get(nonce) {
                Some(Some(receipt)) if receipt.succeeded => {}
                Some(_) => look.push((*nonce, flight.step.clone(), flight.after)),
                // It was not asked about.
                None => {}
            }
        }
        let done: Vec<(u64, Place)> = view
            .used
            .iter()
            .filter_map(|(nonce, receipt)| {
                let receipt = receipt.filter(|r| r.succeeded)?;
                (*nonce < view.count).then_some((*nonce, receipt.place))
            })
            .collect();
        self.view = Some(view);
        for (nonce, place) in done {
            self.settle(nonce, Outcome::Final(place));
        }
        if look.is_empty() {
            self.plan();
        } else {
            self.phase = Phase::Look(look);
        }
    }

    /// The contract was looked at, at `height`.
    pub fn looked(&mut self, seen: Vec<(u64, Seen)>, height: u64, now_ms: u64, random: u64) {
        let Phase::Look(steps) = &self.phase else {
            return;
        };
        if self.view.as_ref().is_none_or(|view| height < view.height) {
            return self.away(
                "the node went back to an earlier block".to_owned(),
                now_ms,
                random,
            );
        }
        let asked: BTreeSet<u64> = steps.iter().map(|(nonce, ..)| *nonce).collect();
        for (nonce, seen) in seen.into_iter().filter(|(nonce, _)| asked.contains(nonce)) {
            let view = self.view.as_ref();
            let receipt = view.and_then(|view| view.used.get(&nonce).copied().flatten());
            self.settle(
                nonce,
                match seen {
                    Seen::Ours(place) => Outcome::Final(place),
                    Seen::Absent if receipt.is_none() => Outcome::Taken,
                    Seen::Absent => Outcome::Again,
                    Seen::Never(why) => Outcome::Failed(why),
                },
            );
        }
        self.plan();
    }

    /// The orders of [`Action::Sign`] are signed: nonce and transaction.
    pub fn signed(&mut self, signed: Vec<(u64, Signed)>) {
        let Phase::Sign(orders) = std::mem::replace(&mut self.phase, Phase::Send) else {
            return;
        };
        let height = self.view.as_ref().map_or(0, |view| view.height);
        let mut orders: BTreeMap<u64, Order> = orders.into_iter().map(|o| (o.nonce, o)).collect();
        let count = self.view.as_ref().map_or(0, |view| view.count);
        for (nonce, signed) in signed {
            let Some(order) = orders.remove(&nonce) else {
                continue;
            };
            if let Some(flight) = self.book.flights.get(&nonce) {
                if flight.step != order.step {
                    continue;
                }
                self.record(Record::Bump { nonce, signed });
            } else {
                // A job may have come in between. The nonces after one that is not used are not used either.
                if nonce != self.book.next_nonce(count) || !self.is_wanted(&order.step) {
                    continue;
                }
                for id in order.step.sessions() {
                    self.ready.remove(&id);
                }
                let flight = Flight {
                    step: order.step,
                    signed: vec![signed],
                    after: height,
                };
                self.record(Record::Flight { nonce, flight });
            }
            self.aloft.insert(
                nonce,
                Aloft {
                    sent_ms: 0,
                    height,
                    cheap: false,
                },
            );
        }
    }

    /// A node answered [`Action::Send`].
    pub fn sent(&mut self, answers: Vec<(u64, Taken)>, now_ms: u64, random: u64) {
        if self.phase != Phase::Send {
            return;
        }
        let mut later = None;
        for (nonce, taken) in answers {
            let Some(flight) = self.book.flights.get(&nonce) else {
                continue;
            };
            let height = self.view.as_ref().map_or(0, |view| view.height);
            let after = flight.after;
            let aloft = self.aloft.entry(nonce).or_insert(Aloft {
                sent_ms: 0,
                height: after.max(height),
                cheap: false,
            });
            match taken {
                Taken::Yes | Taken::Used => aloft.sent_ms = now_ms,
                Taken::Cheap => {
                    (aloft.sent_ms, aloft.cheap) = (now_ms, true);
                }
                Taken::Later(why) => later = Some(why),
            }
        }
        match later {
            Some(why) => self.away(why, now_ms, random),
            None => self.rest(now_ms),
        }
    }

    /// The node cannot be used now. The round is over; the next one is with another node, after a pause.
    pub fn away(&mut self, why: String, now_ms: u64, random: u64) {
        self.trouble = Some(why);
        self.failures = self.failures.saturating_add(1);
        let doubled = MIN_BACKOFF_MS.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
        let longest = doubled.min(MAX_BACKOFF_MS);
        // From half of it on, so that gateways that lost the chain together do not come back together.
        let pause = longest / 2 + random % (longest / 2 + 1);
        self.phase = Phase::Rest;
        self.rest_until = now_ms.saturating_add(pause);
        // What was sent may have gone with the node.
        for aloft in self.aloft.values_mut() {
            aloft.sent_ms = 0;
        }
    }

    fn rest(&mut self, now_ms: u64) {
        (self.failures, self.trouble) = (0, None);
        self.phase = Phase::Rest;
        self.rest_until = now_ms.saturating_add(POLL_MS);
    }

    fn record(&mut self, record: Record) {
        self.book.apply(&record);
        self.outbox.push(record);
    }

    fn settle(&mut self, nonce: u64, outcome: Outcome) {
        let Some(flight) = self.book.flights.get(&nonce) else {
            return;
        };
        self.ready.extend(flight.step.sessions());
        self.aloft.remove(&nonce);
        self.record(Record::Outcome { nonce, outcome });
    }

    /// Whether every session that a step is about still needs just this.
    fn is_wanted(&self, step: &Step) -> bool {
        let needs = |id: &SessionId| self.book.sessions.get(id).and_then(|s| step_of(*id, s));
        match step {
            Step::Batch { leaves, .. } => leaves
                .iter()
                .all(|leaf| needs(&leaf.id) == Some(Step::Checkpoint(*leaf))),
            Step::Open(id) | Step::Close(id) | Step::Checkpoint(Leaf { id, .. }) => {
                needs(id).as_ref() == Some(step)
            }
        }
    }

    fn has_ready(&self) -> bool {
        self.ready.iter().any(|id| {
            self.book
                .sessions
                .get(id)
                .is_some_and(|s| step_of(*id, s).is_some())
        })
    }

    /// Decides what to sign: first what offers too little, then what is new.
    fn plan(&mut self) {
        let Some(view) = &self.view else {
            return;
        };
        let mut orders = Vec::new();
        for (nonce, flight) in &self.book.flights {
            let aloft = self.aloft.get(nonce).copied().unwrap_or_default();
            let waited = aloft.sent_ms > 0 && view.height >= aloft.height + BUMP_AFTER;
            if (aloft.cheap || waited)
                && flight.signed.len() < MAX_BUMPS
                && let Some(last) = flight.signed.last()
                && let Some(input) = crate::chain::input(&flight.step, &self.book)
            {
                let offer = bumped(last, view.offer);
                orders.push(Order {
                    nonce: *nonce,
                    step: flight.step.clone(),
                    input,
                    offer,
                    chain_id: view.chain_id,
                });
            }
        }
        let places = self
            .tuning
            .in_flight
            .saturating_sub(self.book.flights.len());
        let first = self.book.next_nonce(view.count);
        for (nonce, step) in (first..).zip(self.steps(places)) {
            if let Some(input) = crate::chain::input(&step, &self.book) {
                orders.push(Order {
                    nonce,
                    step,
                    input,
                    offer: view.offer,
                    chain_id: view.chain_id,
                });
            }
        }
        // Idle sessions need not be looked at again.
        let sessions = &self.book.sessions;
        self.ready
            .retain(|id| sessions.get(id).is_some_and(|s| step_of(*id, s).is_some()));
        self.phase = if orders.is_empty() {
            Phase::Send
        } else {
            Phase::Sign(orders)
        };
    }

    /// What is to be done next, `most` of it: ends first, for somebody waits to prove them; then openings, for somebody waits to
    /// begin; then checkpoints, which newer ones can take the place of.
    fn steps(&self, most: usize) -> Vec<Step> {
        let (mut closes, mut opens, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for id in &self.ready {
            match self.book.sessions.get(id).and_then(|s| step_of(*id, s)) {
                Some(step @ Step::Open(_)) => opens.push(step),
                Some(step @ Step::Close(_)) => closes.push(step),
                Some(Step::Checkpoint(leaf)) => leaves.push(leaf),
                Some(Step::Batch { .. }) | None => {}
            }
        }
        let due = |step: &Step| {
            let ids = step.sessions();
            let session = ids.first().and_then(|id| self.book.sessions.get(id));
            session.map(|s| s.closed.as_ref().map_or(s.due_ms, |c| c.due_ms))
        };
        closes.sort_by_cached_key(due);
        opens.sort_by_cached_key(due);
        // A place for a batch is kept, so that no flood of openings holds the running sessions' checkpoints up.
        let for_batch = usize::from(!leaves.is_empty());
        let mut steps: Vec<Step> = closes
            .into_iter()
            .chain(opens)
            .take(most.saturating_sub(for_batch))
            .collect();
        let left = most.saturating_sub(steps.len());
        if left == 0 {
            return steps;
        }
        if leaves.len() >= self.tuning.batch_from.max(2) || leaves.len() > left {
            for leaves in leaves.chunks(MAX_LEAVES).take(left) {
                steps.push(batch(leaves));
            }
        } else {
            steps.extend(leaves.into_iter().map(Step::Checkpoint));
        }
        steps
    }

    /// Every flight that a node may not have, in order.
    fn due_to_send(&self, now_ms: u64) -> Vec<(u64, Vec<u8>)> {
        let mut due = Vec::new();
        for (nonce, flight) in &self.book.flights {
            let sent_ms = self.aloft.get(nonce).map_or(0, |aloft| aloft.sent_ms);
            if (sent_ms == 0 || now_ms >= sent_ms.saturating_add(RESEND_MS))
                && let Some(last) = flight.signed.last()
            {
                due.push((*nonce, last.raw.clone()));
            }
        }
        due
    }
}

/// What a session needs next, if anything and if nothing of it is on its way.
fn step_of(id: SessionId, session: &Session) -> Option<Step> {
    if session.is_flying() || session.is_settled() {
        return None;
    }
    if session.opened == Stage::Queued {
        return Some(Step::Open(id));
    }
    if session.closed.is_some() {
        return Some(Step::Close(id));
    }
    session.due().map(|c| {
        Step::Checkpoint(Leaf {
            id,
            size: c.size,
            root: c.root,
        })
    })
}

fn batch(leaves: &[Leaf]) -> Step {
    let hashes: Vec<B256> = leaves.iter().map(hash_leaf).collect();
    Step::Batch {
        root: batch_root(&hashes).unwrap_or_default(),
        leaves: leaves.to_vec(),
    }
}

/// An eighth more than before, and what is asked now if that is more.
fn bumped(last: &Signed, now: Offer) -> Offer {
    let more = |fee: u128| {
        fee.saturating_add(fee.div_ceil(8))
            .max(fee.saturating_add(1))
    };
    let max_fee = more(last.max_fee).max(now.max_fee);
    Offer {
        max_fee,
        tip: more(last.tip).max(now.tip).min(max_fee),
    }
}

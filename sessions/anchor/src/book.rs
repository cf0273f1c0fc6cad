//! What is durable: jobs, transactions and their outcomes, as records, and the book that they add up to.
//!
//! The book changes by records only. So what a crashed process knew is what its journal adds up to, and another process that
//! reads the journal knows the same.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_format::SessionId;
use serde::Serialize;

use crate::Refused;

/// How often a session's steps are tried again after a transaction failed for no reason that the contract shows.
const MAX_TRIES: u8 = 16;

/// What is to be anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Job {
    /// Take the session's id.
    Open {
        /// The session.
        id: SessionId,
        /// Whose session it is, on the chain.
        owner: Address,
        /// Public key that signs the session's records.
        session_key: B256,
        /// Hash of the policy it runs under.
        policy: B256,
    },
    /// Fix its first chunks. Takes the place of an earlier checkpoint that was not sent.
    Checkpoint {
        /// The session.
        id: SessionId,
        /// How many chunks.
        size: u64,
        /// Their salted root.
        root: B256,
    },
    /// Fix all of it. Checkpoints that were not sent are dropped: it says more than they would.
    Close {
        /// The session.
        id: SessionId,
        /// Hash of the signed manifest.
        manifest: B256,
        /// The manifest's salted root.
        root: B256,
        /// How many chunks.
        chunks: u64,
    },
}

impl Job {
    /// Which session it is about.
    pub fn id(&self) -> SessionId {
        match self {
            Self::Open { id, .. } | Self::Checkpoint { id, .. } | Self::Close { id, .. } => *id,
        }
    }
}

/// A checkpoint in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Leaf {
    /// The session.
    pub id: SessionId,
    /// How many chunks.
    pub size: u64,
    /// Their salted root.
    pub root: B256,
}

/// What one transaction does.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Step {
    /// `openSession`
    Open(SessionId),
    /// `checkpoint`
    Checkpoint(Leaf),
    /// `checkpointBatch` of these, in the order of the tree's leaves.
    Batch {
        /// Root of the tree.
        root: B256,
        /// The checkpoints.
        leaves: Vec<Leaf>,
    },
    /// `closeSession`
    Close(SessionId),
}

/// Where in the chain something is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize,
)]
pub struct Place {
    /// The block; 0 where the chain has it and no node that was asked says where.
    pub height: u64,
    /// The block's time as contracts see it, s since the Unix epoch.
    pub time: u64,
    /// The transaction.
    pub transaction: B256,
}

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "lowercase", tag = "stage")]
pub enum Stage {
    /// It waits for its turn, or for the chain.
    Queued,
    /// It is in a signed transaction.
    Sent {
        /// Of the account.
        nonce: u64,
    },
    /// It is in a final block.
    Final(Place),
    /// It will not be anchored.
    Failed {
        /// In words.
        why: String,
    },
}

impl Stage {
    /// Whether it is final.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Final(_))
    }

    /// Whether nothing will change any more.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Final(_) | Self::Failed { .. })
    }
}

/// A checkpoint of a session.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Checkpoint {
    /// How many chunks.
    pub size: u64,
    /// Their salted root.
    pub root: B256,
    /// When it was due, ms since the Unix epoch.
    pub due_ms: u64,
    /// The batch it is in, `None` where it has a transaction of its own or none yet.
    pub batch: Option<B256>,
    /// Siblings from its leaf up, once the session is closed; before that the batch's file has them.
    pub path: Vec<B256>,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Closing {
    /// Hash of the signed manifest.
    pub manifest: B256,
    /// The manifest's salted root.
    pub root: B256,
    /// How many chunks.
    pub chunks: u64,
    /// When it was due, ms since the Unix epoch.
    pub due_ms: u64,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
}

/// Everything about one session.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Session {
    /// Whose session it is, on the chain.
    pub owner: Address,
    /// Public key that signs the session's records.
    pub session_key: B256,
    /// Hash of the policy it runs under.
    pub policy: B256,
    /// When the opening was due, ms since the Unix epoch.
    pub due_ms: u64,
    /// How far the opening is.
    pub opened: Stage,
    /// Its checkpoints, in order. Only the last can be queued.
    pub checkpoints: Vec<Checkpoint>,
    /// Its end, once there is one.
    pub closed: Option<Closing>,
    /// How often a step had to be tried again after its transaction failed.
    pub tries: u8,
}

impl Session {
    /// Whether nothing of it will be sent any more.
    pub fn is_settled(&self) -> bool {
        matches!(self.opened, Stage::Failed { .. })
            || self.closed.as_ref().is_some_and(|c| c.stage.is_settled())
    }

    /// Whether a transaction of it is on its way.
    pub(crate) fn is_flying(&self) -> bool {
        let sent = |stage: &Stage| matches!(stage, Stage::Sent { .. });
        sent(&self.opened)
            || self.moving().any(|c| sent(&c.stage))
            || self.closed.as_ref().is_some_and(|c| sent(&c.stage))
    }

    /// The checkpoints that may not be settled: one that is on its way and one that waits, at the end of the list.
    pub(crate) fn moving(&self) -> impl Iterator<Item = &Checkpoint> {
        self.checkpoints[self.checkpoints.len().saturating_sub(2)..].iter()
    }

    /// The checkpoint that waits.
    pub(crate) fn due(&self) -> Option<&Checkpoint> {
        self.checkpoints
            .last()
            .filter(|c| c.stage == Stage::Queued && self.closed.is_none())
    }

    fn drop_queued(&mut self) {
        self.checkpoints.retain(|c| c.stage != Stage::Queued);
    }
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signed {
    /// Its hash.
    pub hash: B256,
    /// As it is sent.
    pub raw: Vec<u8>,
    /// What it offers at most, wei a gas.
    pub max_fee: u128,
    /// What it offers the proposer, wei a gas.
    pub tip: u128,
}

/// What is being done with a nonce.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Flight {
    /// What.
    pub step: Step,
    /// The transactions that were signed for it, each with higher fees than the one before. One gets in at most.
    pub signed: Vec<Signed>,
    /// The last height known when the first was signed: none of them is in this block or before.
    pub after: u64,
}

/// What became of a nonce.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// The chain has what was to be done.
    Final(Place),
    /// Another transaction of the account had the nonce: it is queued again.
    Taken,
    /// Its transaction failed, and the contract shows no reason: it is queued again, a few times.
    Again,
    /// It cannot be done.
    Failed(String),
}

/// A batch that is final.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BatchEntry {
    /// Root of its tree.
    pub root: B256,
    /// How many leaves.
    pub count: u32,
    /// Where it is.
    pub place: Place,
}

/// One record of the journal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Record {
    /// The chain that all of it is about: the genesis hash and the EVM's chain id.
    Chain {
        /// The chain's name in every signature.
        genesis: B256,
        /// The EVM's.
        chain_id: u64,
    },
    /// A job was taken.
    Job {
        /// What.
        job: Job,
        /// When, ms since the Unix epoch.
        at_ms: u64,
    },
    /// A nonce was given to a step, and a transaction signed.
    Flight {
        /// The nonce.
        nonce: u64,
        /// What it is for.
        flight: Flight,
    },
    /// Another transaction was signed for a nonce, with higher fees.
    Bump {
        /// The nonce.
        nonce: u64,
        /// The transaction.
        signed: Signed,
    },
    /// What became of a nonce.
    Outcome {
        /// The nonce.
        nonce: u64,
        /// What.
        outcome: Outcome,
    },
    /// A settled session is in a file of its own, and leaves the book.
    Archived(SessionId),
    /// A session as it is: what compaction writes in place of its records.
    Session {
        /// Which.
        id: SessionId,
        /// All of it.
        session: Box<Session>,
    },
    /// Nonces below this are used up: what compaction writes in place of outcomes.
    Floor(u64),
}

/// All that the journal adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// The chain, once a node was reached.
    pub chain: Option<(B256, u64)>,
    /// Sessions that are not archived.
    pub sessions: BTreeMap<SessionId, Session>,
    /// Nonces that are given out and not used up.
    pub flights: BTreeMap<u64, Flight>,
    /// Nonces below it are used up.
    pub floor: u64,
}

impl Book {
    /// Whether a job can be taken. `Ok(false)` when there is nothing left to do for it.
    ///
    /// # Errors
    /// [`Refused`] when it does not follow from what is known of the session.
    pub fn check(&self, job: &Job) -> Result<bool, Refused> {
        let id = job.id();
        let session = self.sessions.get(&id);
        if let Job::Open {
            owner,
            session_key,
            policy,
            ..
        } = job
        {
            return match session {
                None => Ok(true),
                Some(s)
                    if (s.owner, s.session_key, s.policy) == (*owner, *session_key, *policy) =>
                {
                    Ok(false)
                }
                Some(_) => Err(Refused::OpenedOtherwise { id }),
            };
        }
        let session = session.ok_or(Refused::NotOpened { id })?;
        if let Stage::Failed { why } = &session.opened {
            return Err(Refused::Failed {
                id,
                why: why.clone(),
            });
        }
        match (job, &session.closed) {
            (Job::Checkpoint { .. }, Some(_)) => Ok(false),
            (Job::Checkpoint { size, .. }, None) => {
                Ok(session.checkpoints.last().is_none_or(|c| c.size < *size))
            }
            (
                Job::Close {
                    manifest,
                    root,
                    chunks,
                    ..
                },
                Some(c),
            ) => {
                if (c.manifest, c.root, c.chunks) == (*manifest, *root, *chunks) {
                    Ok(false)
                } else {
                    Err(Refused::ClosedOtherwise { id })
                }
            }
            _ => Ok(true),
        }
    }

    /// Adds a record. One that does not follow from those before is left out: a journal holds none.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Chain { genesis, chain_id } => self.chain = Some((*genesis, *chain_id)),
            Record::Job { job, at_ms } => self.take(*job, *at_ms),
            Record::Flight { nonce, flight } => {
                self.fly(&flight.step, *nonce);
                self.flights.insert(*nonce, flight.clone());
            }
            Record::Bump { nonce, signed } => {
                if let Some(flight) = self.flights.get_mut(nonce) {
                    flight.signed.push(signed.clone());
                }
            }
            Record::Outcome { nonce, outcome } => {
                self.floor = self.floor.max(nonce + 1);
                if let Some(flight) = self.flights.remove(nonce) {
                    self.settle(&flight.step, outcome);
                }
            }
            Record::Archived(id) => {
                self.sessions.remove(id);
            }
            Record::Session { id, session } => {
                self.sessions.insert(*id, (**session).clone());
            }
            Record::Floor(floor) => self.floor = self.floor.max(*floor),
        }
    }

    /// The fewest records that add up to this.
    pub fn records(&self) -> Vec<Record> {
        let chain = self
            .chain
            .map(|(genesis, chain_id)| Record::Chain { genesis, chain_id });
        let sessions = self.sessions.iter().map(|(id, session)| Record::Session {
            id: *id,
            session: Box::new(session.clone()),
        });
        let flights = self.flights.iter().map(|(nonce, flight)| Record::Flight {
            nonce: *nonce,
            flight: flight.clone(),
        });
        let floor = std::iter::once(Record::Floor(self.floor));
        chain
            .into_iter()
            .chain(floor)
            .chain(sessions)
            .chain(flights)
            .collect()
    }

    /// The nonce to give out next, where the chain's count is `count`.
    pub(crate) fn next_nonce(&self, count: u64) -> u64 {
        let after_flights = self
            .flights
            .last_key_value()
            .map_or(0, |(nonce, _)| nonce + 1);
        count.max(self.floor).max(after_flights)
    }

    fn take(&mut self, job: Job, at_ms: u64) {
        if !matches!(self.check(&job), Ok(true)) {
            return;
        }
        match job {
            Job::Open {
                id,
                owner,
                session_key,
                policy,
            } => {
                let session = Session {
                    owner,
                    session_key,
                    policy,
                    due_ms: at_ms,
                    opened: Stage::Queued,
                    checkpoints: Vec::new(),
                    closed: None,
                    tries: 0,
                };
                self.sessions.insert(id, session);
            }
            Job::Checkpoint { id, size, root } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    // What was not sent is due since then: the newer one says it too.
                    let due_ms = session.due().map_or(at_ms, |older| older.due_ms);
                    session.drop_queued();
                    session.checkpoints.push(Checkpoint {
                        size,
                        root,
                        due_ms,
                        batch: None,
                        path: Vec::new(),
                        stage: Stage::Queued,
                    });
                }
            }
            Job::Close {
                id,
                manifest,
                root,
                chunks,
            } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.drop_queued();
                    session.closed = Some(Closing {
                        manifest,
                        root,
                        chunks,
                        due_ms: at_ms,
                        stage: Stage::Queued,
                    });
                }
            }
        }
    }

    fn fly(&mut self, step: &Step, nonce: u64) {
        self.stages(step, |stage, _| *stage = Stage::Sent { nonce });
        if let Step::Batch { root, leaves } = step {
            for leaf in leaves {
                if let Some(c) = self.checkpoint(leaf) {
                    c.batch = Some(*root);
                }
            }
        }
    }

    fn settle(&mut self, step: &Step, outcome: &Outcome) {
        match outcome {
            Outcome::Final(place) => self.stages(step, |stage, _| *stage = Stage::Final(*place)),
            Outcome::Failed(why) => self.stages(step, |stage, _| {
                *stage = Stage::Failed { why: why.clone() };
            }),
            Outcome::Taken | Outcome::Again => {
                let failed = u8::from(*outcome == Outcome::Again);
                self.stages(step, |stage, tries| {
                    *tries = tries.saturating_add(failed);
                    *stage = if *tries < MAX_TRIES {
                        Stage::Queued
                    } else {
                        let why = format!("it was tried {MAX_TRIES} times, see the logs");
                        Stage::Failed { why }
                    };
                });
                for leaf in step.leaves() {
                    self.requeue(leaf);
                }
            }
        }
    }

    /// A checkpoint that is queued again and is not the newest, or whose session has ended, is moot.
    fn requeue(&mut self, leaf: &Leaf) {
        let Some(session) = self.sessions.get_mut(&leaf.id) else {
            return;
        };
        let newest = session.checkpoints.last().map(|c| c.size);
        let ended = session.closed.is_some();
        session
            .checkpoints
            .retain(|c| c.stage != Stage::Queued || (!ended && Some(c.size) == newest));
        if let Some(c) = session
            .checkpoints
            .last_mut()
            .filter(|c| c.stage == Stage::Queued)
        {
            c.batch = None;
        }
    }

    fn checkpoint(&mut self, leaf: &Leaf) -> Option<&mut Checkpoint> {
        let session = self.sessions.get_mut(&leaf.id)?;
        session
            .checkpoints
            .iter_mut()
            .rev()
            .find(|c| c.size == leaf.size)
    }

    /// Every stage that a step is about, with its session's tries.
    fn stages(&mut self, step: &Step, mut each: impl FnMut(&mut Stage, &mut u8)) {
        match step {
            Step::Open(id) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    each(&mut session.opened, &mut session.tries);
                }
            }
            Step::Close(id) => {
                if let Some(session) = self.sessions.get_mut(id)
                    && let Some(closing) = &mut session.closed
                {
                    each(&mut closing.stage, &mut session.tries);
                }
            }
            Step::Checkpoint(_) | Step::Batch { .. } => {
                for leaf in step.leaves() {
                    if let Some(session) = self.sessions.get_mut(&leaf.id)
                        && let Some(c) = session
                            .checkpoints
                            .iter_mut()
                            .rev()
                            .find(|c| c.size == leaf.size)
                    {
                        each(&mut c.stage, &mut session.tries);
                    }
                }
            }
        }
    }
}

impl Step {
    /// The checkpoints that it fixes.
    pub fn leaves(&self) -> &[Leaf] {
        match self {
            Self::Open(_) | Self::Close(_) => &[],
            Self::Checkpoint(leaf) => std::slice::from_ref(leaf),
            Self::Batch { leaves, .. } => leaves,
        }
    }

    /// The sessions that it is about.
    pub fn sessions(&self) -> Vec<SessionId> {
        match self {
            Self::Open(id) | Self::Close(id) => vec![*id],
            Self::Checkpoint(_) | Self::Batch { .. } => {
                self.leaves().iter().map(|leaf| leaf.id).collect()
            }
        }
    }
}

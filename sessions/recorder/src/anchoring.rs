//! What of a session's life goes on the chain, and when: its opening before the first byte, checkpoints while it runs, its end
//! (requirements S7, S8).
//!
//! The store is the truth. What the queue was told of a session may be lost with a crash; at start every sealed session that the
//! chain does not have the end of is closed again, and closing what is closed does nothing.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use lucid_anchor::book::Job;
use lucid_anchor::{AnchorError, Anchors, Refused};
use lucid_format::{Hash, PublicKey, SessionId, Ticket};
use lucid_store::{SessionState, Store, StoreError};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::control::Sessions;
use crate::{Home, RecorderError, ticket, wall_clock_us};

/// What is done when the chain cannot say in time that a session is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offline {
    /// No session.
    #[default]
    Refuse,
    /// The session begins, and its recording says that the opening waited.
    Queue,
}

/// How sessions are anchored.
#[derive(Debug, Clone)]
pub struct Anchoring {
    /// The queue.
    pub anchors: Anchors,
    /// Whose the sessions are, on the chain.
    pub owner: Address,
    /// How often running sessions are checkpointed.
    pub every: Duration,
    /// How long an opening may take.
    pub patience: Duration,
    /// What is done when it takes longer.
    pub offline: Offline,
}

/// How far a session's opening is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "opening", rename_all = "lowercase")]
pub enum Opening {
    /// It is in a final block.
    Final {
        /// The block.
        height: u64,
        /// The block's time, s since the Unix epoch.
        time: u64,
        /// The transaction.
        transaction: B256,
    },
    /// It waits, and will be sent.
    Queued {
        /// What it waits for.
        why: String,
    },
}

/// The chunks that a checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) chunks: u32,
    pub(crate) root: Hash,
}

impl Anchoring {
    /// Opens a session and waits until that is final.
    ///
    /// # Errors
    /// When somebody else has the id; when it takes too long and nothing may be queued; when the queue has stopped.
    pub async fn open(
        &self,
        id: SessionId,
        session_key: PublicKey,
        policy: Hash,
    ) -> Result<Opening, RecorderError> {
        self.anchors
            .submit_one(self.opening(id, session_key, policy))
            .await?;
        match self.anchors.wait_open(id, self.patience).await {
            Ok(place) => Ok(Opening::Final {
                height: place.height,
                time: place.time,
                transaction: place.transaction,
            }),
            Err(error @ AnchorError::Late { .. }) if self.offline == Offline::Queue => {
                Ok(Opening::Queued {
                    why: error.to_string(),
                })
            }
            Err(error) => {
                // Its ticket is taken back. If it was sent already, the id is taken for nothing.
                if matches!(error, AnchorError::Late { .. }) {
                    self.anchors.forget(id).await?;
                }
                Err(error.into())
            }
        }
    }

    /// Whether a session may begin. `Some` is what its recording has to say of the opening.
    pub(crate) async fn admit(&self, ticket: &Ticket) -> Result<Option<String>, RecorderError> {
        let (id, key, policy) = (ticket.session, ticket.session_key, ticket.policy);
        // One that was minted before the chain was configured is opened now.
        if self.anchors.session(id).await?.is_none() {
            self.anchors
                .submit_one(self.opening(id, key, policy))
                .await?;
        }
        let patience = match self.offline {
            Offline::Refuse => self.patience,
            Offline::Queue => Duration::ZERO,
        };
        match self.anchors.wait_open(id, patience).await {
            Ok(_) => Ok(None),
            Err(AnchorError::Late { .. }) if self.offline == Offline::Queue => {
                let why = self.anchors.health().trouble;
                Ok(Some(format!(
                    "the opening of this session is queued and not final on the chain yet{}",
                    why.map_or_else(String::new, |why| format!(": {why}"))
                )))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn opening(&self, id: SessionId, session_key: PublicKey, policy: Hash) -> Job {
        Job::Open {
            id,
            owner: self.owner,
            session_key: B256::from(session_key.0),
            policy: B256::from(policy.0),
        }
    }

    /// Checkpoints the running sessions at their pace, for ever.
    pub(crate) async fn keep_pace(self, sessions: Sessions) {
        let mut due = tokio::time::interval(self.every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first is due at once.
        due.tick().await;
        loop {
            due.tick().await;
            let covered = sessions.covered();
            // All at once: many of them can share a transaction.
            let jobs: Vec<Job> = covered
                .iter()
                .map(|(id, covered)| Job::Checkpoint {
                    id: *id,
                    size: u64::from(covered.chunks),
                    root: B256::from(covered.root.0),
                })
                .collect();
            if jobs.is_empty() {
                continue;
            }
            match self.anchors.submit(jobs).await {
                Ok(results) => {
                    for ((id, _), result) in covered.iter().zip(results) {
                        if let Err(error) = result {
                            warn!(session = %id, %error, "a checkpoint cannot be anchored");
                        }
                    }
                }
                Err(error) => warn!(%error, "checkpoints cannot be anchored"),
            }
        }
    }

    /// Closes a sealed session.
    pub(crate) async fn close(&self, store: &Store, id: SessionId) -> Result<(), RecorderError> {
        let known = self.anchors.session(id).await?;
        if known.as_ref().is_some_and(|session| session.is_settled()) {
            return Ok(());
        }
        let store = store.clone();
        let stored = crate::gateway::blocking(move || Ok(store.session(id)?)).await?;
        let Some(manifest) = &stored.manifest else {
            return Ok(());
        };
        let ticket = &stored.head.ticket;
        let mut jobs = Vec::new();
        if known.is_none() {
            jobs.push(self.opening(id, ticket.session_key, ticket.policy));
        }
        jobs.push(Job::Close {
            id,
            manifest: B256::new(manifest.hash().0),
            root: B256::from(manifest.manifest.root.0),
            chunks: u64::from(manifest.manifest.chunks),
        });
        for result in self.anchors.submit(jobs).await? {
            match result {
                // What the chain refused once it refuses again; the session's status says so.
                Err(AnchorError::Refused(Refused::Failed { .. })) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Closes every sealed session that the chain does not have the end of; how many there were.
    pub(crate) async fn catch_up(&self, store: &Store) -> Result<usize, RecorderError> {
        let folder = self.anchors.folder().clone();
        let listed = store.clone();
        let open = crate::gateway::blocking(move || {
            let sealed = |state| matches!(state, SessionState::Closed | SessionState::Cut);
            let mut open = Vec::new();
            for session in listed.list()?.sessions {
                if sealed(session.state) && folder.settled(session.id)?.is_none() {
                    open.push(session.id);
                }
            }
            Ok(open)
        })
        .await?;
        for id in &open {
            if let Err(error) = self.close(store, *id).await {
                warn!(session = %id, %error, "the end of a session cannot be anchored");
            }
        }
        Ok(open.len())
    }

    /// Forgets sessions that were opened and can never begin: their tickets expired. No client may be let in meanwhile, for between
    /// a ticket's claim and its session's head there is neither.
    pub(crate) async fn forget_unused(
        &self,
        home: &Home,
        store: &Store,
    ) -> Result<(), RecorderError> {
        let (home, store) = (home.clone(), store.clone());
        let folder = self.anchors.folder().clone();
        let unused = crate::gateway::blocking(move || {
            let tickets = ticket::outstanding(&home, wall_clock_us())?;
            let Some((_, book)) = folder.book()? else {
                return Ok(Vec::new());
            };
            let unused = book.sessions.keys().copied().filter(|id| {
                let text = id.to_string();
                tickets.iter().all(|ticket| ticket.session != text)
                    && matches!(store.session(*id), Err(StoreError::NoSession { .. }))
            });
            Ok(unused.collect())
        })
        .await?;
        for id in unused {
            self.anchors.forget(id).await?;
        }
        Ok(())
    }

    /// Waits until nothing is on its way, `patience` at most.
    pub(crate) async fn drain(&self, patience: Duration) {
        let mut changes = self.anchors.changes();
        let idle = changes.wait_for(|health| health.oldest_ms.is_none() || !health.connected);
        // What is not done goes on at the next start.
        let _ = tokio::time::timeout(patience, idle).await;
    }
}

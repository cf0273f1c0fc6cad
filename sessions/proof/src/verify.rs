//! What a proof proves.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use lucid_chain_types::anchors::{
    self, BatchSent, CheckpointSent, Closed, Moment, Opened, batch_root_of_path, checkpoint_leaf,
};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{BlockId, Height};
use lucid_format::merkle::{self, Log};
use lucid_format::{Hash, PublicKey, SessionId, SignedHead, SignedManifest};
use lucid_light::{
    FinalityProof, StateProof, TransactionProof, TrustedGenesis, VerifiedHeader, verify,
};

use crate::file::{BatchContent, Proof};
use crate::{ProofError, transaction};

/// How a checkpoint came on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// In a transaction of its own.
    Checkpoint,
    /// Together with other sessions'.
    Batch,
}

/// A checkpoint that is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// How many chunks it covers.
    pub size: u32,
    /// Salted root over them.
    pub root: Hash,
    /// When it was anchored.
    pub at: Moment,
    /// How.
    pub by: By,
    /// Whether the spine shows that the final log begins with these chunks. Otherwise only a whole recording does.
    pub linked: bool,
}

/// What a proof has proven: all of it is final on the chain with this genesis file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// The block up to which the chain was looked at.
    pub height: Height,
    /// Its id.
    pub block: BlockId,
    /// Its time, ms since the Unix epoch.
    pub time_ms: u64,
    /// Whose session it is, as the opener said.
    pub owner: Address,
    /// Who anchored it. Compare with whom you expect: an id belongs to whoever takes it first.
    pub opener: Address,
    /// Whether it was opened and closed in one transaction.
    pub registered: bool,
    /// When it was opened.
    pub opened: Moment,
    /// Its checkpoints that are shown, in the order in which they were anchored.
    pub checkpoints: Vec<Covered>,
    /// When it was closed; `None`: it was open still.
    pub closed: Option<Moment>,
    /// Hash of the transaction that closed it, where the proof has it.
    pub transaction: Option<B256>,
    /// The recording's head.
    pub head: SignedHead,
    /// Its manifest, of a session that was closed.
    pub manifest: Option<SignedManifest>,
}

impl Anchored {
    /// Which session.
    pub fn session(&self) -> SessionId {
        self.head.ticket.session
    }

    /// The host that made it. Compare with the host you expect.
    pub fn host_key(&self) -> PublicKey {
        self.head.ticket.host_key
    }
}

impl Proof {
    /// Checks everything, with the genesis file alone.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(&self, genesis: &TrustedGenesis) -> Result<Anchored, ProofError> {
        let header = verify(genesis, &FinalityProof::decode(&self.finality)?)?;
        let head = SignedHead::decode(&self.head).map_err(ProofError::Head)?;
        let manifest = self
            .manifest
            .as_ref()
            .map(|bytes| SignedManifest::decode(bytes, &head))
            .transpose()
            .map_err(ProofError::Manifest)?;
        let ending = match (&manifest, self.closed) {
            (Some(manifest), Some(at)) => Some((manifest, at)),
            (None, None) => None,
            _ => return Err(ProofError::HalfClosed),
        };
        let roots = self.roots(&head, manifest.as_ref())?;
        let opened = self.opened(&head)?;
        let mut told = Told {
            id: opened.id,
            opened: opened.at,
            chunks: manifest.as_ref().map(|manifest| manifest.manifest.chunks),
            roots: &roots,
            checkpoints: Vec::new(),
        };

        // The steps, from the first to the last; the state has the end of this chain.
        let batches = told.batches(self)?;
        let mut logs = vec![opened.log()];
        for checkpoint in &self.checkpoints {
            let root = told.take(
                checkpoint.size,
                checkpoint.root,
                checkpoint.at,
                By::Checkpoint,
            )?;
            let sent = CheckpointSent {
                size: checkpoint.size.into(),
                root: B256::new(root.0),
                at: checkpoint.at,
            };
            logs.push(sent.after(logs[logs.len() - 1]));
        }
        let closed = ending.map(|(manifest, at)| Closed {
            manifest: B256::new(manifest.hash().0),
            root: B256::new(manifest.manifest.root.0),
            chunks: manifest.manifest.chunks.into(),
            batches,
            at,
        });
        if let Some(closed) = &closed {
            logs.push(closed.after(logs[logs.len() - 1]));
        }
        self.check_state(&header, &head, &opened, &logs, batches)?;
        let transaction = closed
            .map(|closed| self.check_transaction(&header, &opened, &closed))
            .transpose()?
            .flatten();

        let mut checkpoints = told.checkpoints;
        checkpoints.sort_by_key(|checkpoint| (checkpoint.at.height, checkpoint.size));
        Ok(Anchored {
            height: header.height(),
            block: header.id(),
            time_ms: header.header().time_ms,
            owner: opened.owner,
            opener: opened.opener,
            registered: self.opened.registered,
            opened: opened.at,
            checkpoints,
            closed: self.closed,
            transaction,
            head,
            manifest,
        })
    }

    /// The salted roots of all sizes that the spine passes.
    fn roots(
        &self,
        head: &SignedHead,
        manifest: Option<&SignedManifest>,
    ) -> Result<BTreeMap<u32, Hash>, ProofError> {
        let (mut log, mut roots) = (Log::default(), BTreeMap::new());
        let salted = |log: &Log| merkle::salted(&head.head.salt, log.size(), log.root());
        for stretch in &self.spine {
            let (after, size) = (log.size(), stretch.size);
            if size <= after {
                return Err(ProofError::SpineOrder { after, size });
            }
            log.extend(size, &stretch.subtrees)
                .ok_or(ProofError::SpineShape { after, size })?;
            roots.insert(size, salted(&log));
        }
        if let Some(manifest) = manifest {
            let chunks = manifest.manifest.chunks;
            if log.size() != chunks {
                let spine = log.size();
                return Err(ProofError::SpineEnd { spine, chunks });
            }
            if salted(&log) != manifest.manifest.root {
                return Err(ProofError::SpineRoot { chunks });
            }
        }
        Ok(roots)
    }

    fn opened(&self, head: &SignedHead) -> Result<Opened, ProofError> {
        let opened = self.opened;
        if opened.registered {
            let more = !self.checkpoints.is_empty()
                || !self.batches.steps.is_empty()
                || !self.batches.start.is_zero();
            if more || self.closed != Some(opened.at) {
                return Err(ProofError::Registered);
            }
        }
        let policy = B256::new(head.ticket.policy.0);
        Ok(Opened {
            id: anchors::anchor_id(head.ticket.session.0),
            owner: opened.owner,
            opener: opened.opener,
            session_key: B256::new(head.ticket.session_key.0),
            policy: if opened.registered {
                B256::ZERO
            } else {
                policy
            },
            at: opened.at,
        })
    }

    fn check_state(
        &self,
        header: &VerifiedHeader,
        head: &SignedHead,
        opened: &Opened,
        logs: &[B256],
        batches: B256,
    ) -> Result<(), ProofError> {
        let (session, height) = (head.ticket.session, header.height());
        let state = StateProof::decode(&self.state)?;
        if state.address != LUCID_ANCHORS {
            let address = state.address;
            return Err(ProofError::OtherAccount { address });
        }
        let log_slot = anchors::log_slot(opened.id);
        // A closing holds the batches; of an open session they are in a word of their own.
        let batch_slot = (self.closed.is_none() && !self.batches.steps.is_empty())
            .then(|| anchors::batch_log_slot(opened.opener));
        let expected = std::iter::once(log_slot).chain(batch_slot);
        if !state.slots.iter().map(|slot| slot.slot).eq(expected) {
            return Err(ProofError::OtherSlots { session });
        }
        let proven = header.account(&state)?;
        let word = |slot: U256| B256::from(proven.slots.get(&slot).copied().unwrap_or_default());
        let stored = word(log_slot);
        if stored.is_zero() {
            return Err(ProofError::NotAnchored { session, height });
        }
        if logs.last() != Some(&stored) {
            // Earlier steps lead there: what comes after them is not on the chain, or not yet.
            return Err(if logs.contains(&stored) {
                ProofError::AheadOfState { session, height }
            } else {
                ProofError::OtherLog { session, height }
            });
        }
        // An open session without batches says nothing of others'.
        let of_others = self.closed.is_none() && batch_slot.is_none() && !batches.is_zero();
        if of_others || batch_slot.is_some_and(|slot| word(slot) != batches) {
            let sender = opened.opener;
            return Err(ProofError::OtherBatches { sender, height });
        }
        Ok(())
    }

    fn check_transaction(
        &self,
        header: &VerifiedHeader,
        opened: &Opened,
        closed: &Closed,
    ) -> Result<Option<B256>, ProofError> {
        let Some(transaction) = &self.transaction else {
            return Ok(None);
        };
        let height = header.height();
        if closed.at.height != height {
            return Err(ProofError::TransactionElsewhere { height });
        }
        let proof = TransactionProof {
            hash: keccak256(&transaction.bytes),
            place: transaction.place.clone(),
        };
        let included = header.transaction(&proof)?;
        if !transaction::closes(&transaction.bytes, opened, self.opened.registered, closed) {
            return Err(ProofError::OtherTransaction);
        }
        Ok(Some(included.hash))
    }
}

/// Collects the checkpoints that a proof tells of.
struct Told<'a> {
    id: B256,
    opened: Moment,
    /// Of the manifest.
    chunks: Option<u32>,
    roots: &'a BTreeMap<u32, Hash>,
    checkpoints: Vec<Covered>,
}

impl Told<'_> {
    /// Adds a checkpoint; its root.
    fn take(
        &mut self,
        size: u32,
        given: Option<Hash>,
        at: Moment,
        by: By,
    ) -> Result<Hash, ProofError> {
        let height = at.height;
        let spine = self.roots.get(&size).copied();
        let root = match (given, spine) {
            (Some(given), Some(spine)) if given != spine => {
                return Err(ProofError::Rewritten { size, height });
            }
            (Some(root), _) | (None, Some(root)) => root,
            (None, None) => return Err(ProofError::NoRoot { size, height }),
        };
        if let Some(chunks) = self.chunks.filter(|chunks| *chunks < size) {
            return Err(ProofError::CutOff {
                size,
                height,
                chunks,
            });
        }
        self.checkpoints.push(Covered {
            size,
            root,
            at,
            by,
            linked: spine.is_some(),
        });
        Ok(root)
    }

    /// The end of the sender's chain of batches.
    fn batches(&mut self, proof: &Proof) -> Result<B256, ProofError> {
        let mut batches = proof.batches.start;
        for step in &proof.batches.steps {
            let root = match &step.content {
                BatchContent::Root(root) => *root,
                BatchContent::Leaf { size, root, path } => {
                    if step.at < self.opened {
                        return Err(ProofError::BatchBeforeOpening {
                            height: step.at.height,
                            opened: self.opened.height,
                        });
                    }
                    let root = self.take(*size, *root, step.at, By::Batch)?;
                    let leaf = checkpoint_leaf(self.id, (*size).into(), B256::new(root.0));
                    batch_root_of_path(leaf, path)
                }
            };
            let sent = BatchSent {
                root,
                count: step.count,
                at: step.at,
            };
            batches = sent.after(batches);
        }
        Ok(batches)
    }
}

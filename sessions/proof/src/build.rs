//! Making a proof from what the store and a node say. What is made is to be verified: nothing that went in is believed here.

use std::collections::BTreeSet;

use alloy_primitives::{B256, U256};
use lucid_chain_types::anchors::{BatchSent, CheckpointSent, Moment, batch_log_slot, log_slot};
use lucid_format::merkle::{self, Log};
use lucid_format::{Hash, SignedHead};
use lucid_light::{FinalityProof, StateProof};

use crate::ProofError;
use crate::file::{
    BatchContent, BatchStep, Batches, Checkpoint, Opening, Proof, Stretch, Transaction,
};

/// What a proof of an hour, with a checkpoint in 30 s and four validators, stays below.
pub const TARGET_BYTES: usize = 20 << 10;

/// What the store has of a session.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// HEAD section.
    pub head: &'a [u8],
    /// MANI section, where the session was closed on the chain.
    pub manifest: Option<&'a [u8]>,
    /// Addresses of its chunks, in order: those that the manifest counts, or those there are.
    pub chunks: &'a [Hash],
}

/// What the chain says of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// How it was opened.
    pub opened: Opening,
    /// Its own checkpoints, in their order.
    pub checkpoints: Vec<CheckpointSent>,
    /// The chain of batches before those below.
    pub batches_start: B256,
    /// All batches from there on: of the closer up to the closing, of an open session's opener up to the block that is looked at.
    pub batches: Vec<(BatchSent, Option<BatchLeaf>)>,
    /// When it was closed.
    pub closed: Option<Moment>,
}

/// A checkpoint in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLeaf {
    /// How many chunks it covers.
    pub size: u32,
    /// Salted root over them.
    pub root: B256,
    /// Its way to the batch's root.
    pub path: Vec<B256>,
}

/// What a node proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// That a block is final.
    pub finality: FinalityProof,
    /// LucidAnchors' words after that block ([`Story::slots`]).
    pub state: StateProof,
    /// The transaction that closed the session, if it is in that block.
    pub transaction: Option<Transaction>,
}

impl Story {
    /// Slots of LucidAnchors that the state proof has to show, in this order.
    pub fn slots(&self, id: B256) -> Vec<U256> {
        let batches = self.closed.is_none() && !self.batches.is_empty();
        let batches = batches.then(|| batch_log_slot(self.opened.opener));
        std::iter::once(log_slot(id)).chain(batches).collect()
    }
}

impl Proof {
    /// Puts a proof together. Where it would be longer than `most`, checkpoints are thinned out evenly, never the first or the last: a
    /// thinned one of its own keeps its root and still holds for a whole recording; one in a batch is left out.
    ///
    /// # Errors
    /// When the head does not decode or a checkpoint is beyond what a recording can have.
    pub fn build(
        recorded: Recorded<'_>,
        story: &Story,
        evidence: &Evidence,
        most: Option<usize>,
    ) -> Result<Self, ProofError> {
        let head = SignedHead::decode(recorded.head).map_err(ProofError::Head)?;
        let maker = Maker::new(recorded, story, evidence, head.head.salt)?;
        let all = maker.sizes.len();
        let whole = maker.make(all);
        let Some(most) = most.filter(|most| whole.encode().len() > *most) else {
            return Ok(whole);
        };
        // The most that fit; two, the first and the last, whatever that takes.
        let (mut fits, mut too_many) = (2.min(all), all);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if maker.make(middle).encode().len() > most {
                too_many = middle;
            } else {
                fits = middle;
            }
        }
        Ok(maker.make(fits))
    }
}

struct Maker<'a> {
    recorded: Recorded<'a>,
    story: &'a Story,
    checkpoints: Vec<(u32, CheckpointSent)>,
    finality: Vec<u8>,
    state: Vec<u8>,
    transaction: Option<Transaction>,
    salt: [u8; 32],
    leaves: Vec<Hash>,
    /// Sizes that the spine can pass, ascending.
    sizes: Vec<u32>,
}

impl<'a> Maker<'a> {
    fn new(
        recorded: Recorded<'a>,
        story: &'a Story,
        evidence: &Evidence,
        salt: [u8; 32],
    ) -> Result<Self, ProofError> {
        let checkpoints = story.checkpoints.iter().map(|sent| {
            let size = sent.size;
            let small = u32::try_from(size).map_err(|_| ProofError::CheckpointSize { size })?;
            Ok((small, *sent))
        });
        let checkpoints: Vec<_> = checkpoints.collect::<Result<_, ProofError>>()?;
        let leaves: Vec<Hash> = (0..=u32::MAX)
            .zip(recorded.chunks)
            .map(|(place, chunk)| merkle::leaf(place, *chunk))
            .collect();
        let there = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        let own = checkpoints.iter().map(|(size, _)| *size);
        let batched = story
            .batches
            .iter()
            .filter_map(|(_, leaf)| leaf.as_ref().map(|leaf| leaf.size));
        let end = recorded.manifest.map(|_| there);
        let sizes: BTreeSet<u32> = own
            .chain(batched)
            .chain(end)
            .filter(|size| (1..=there).contains(size))
            .collect();
        Ok(Self {
            recorded,
            story,
            checkpoints,
            finality: evidence.finality.encode(),
            state: evidence.state.encode(),
            transaction: evidence.transaction.clone(),
            salt,
            leaves,
            sizes: sizes.into_iter().collect(),
        })
    }

    /// The proof whose spine passes `keep` sizes.
    fn make(&self, keep: usize) -> Proof {
        let sizes = evenly(&self.sizes, keep);
        let (mut log, mut roots, mut spine) = (Log::default(), Vec::new(), Vec::new());
        for size in &sizes {
            let (from, to) = (log.size() as usize, *size as usize);
            let subtrees = merkle::prove_extension(&self.leaves[..to], from).unwrap_or_default();
            if log.extend(*size, &subtrees).is_some() {
                roots.push((*size, merkle::salted(&self.salt, *size, log.root())));
                spine.push(Stretch {
                    size: *size,
                    subtrees,
                });
            }
        }
        // None where the spine has it. One that differs is told, for the verifier to refuse.
        let told = |size: u32, root: B256| {
            let root = Hash(root.0);
            let place = roots.binary_search_by_key(&size, |(size, _)| *size);
            place
                .map_or(true, |place| roots[place].1 != root)
                .then_some(root)
        };
        let checkpoints = self.checkpoints.iter().map(|(size, sent)| Checkpoint {
            size: *size,
            root: told(*size, sent.root),
            at: sent.at,
        });
        let steps = self.story.batches.iter().map(|(sent, leaf)| {
            let kept = leaf
                .as_ref()
                .filter(|leaf| sizes.contains(&leaf.size) || !self.sizes.contains(&leaf.size));
            BatchStep {
                count: sent.count,
                at: sent.at,
                content: match kept {
                    None => BatchContent::Root(sent.root),
                    Some(leaf) => BatchContent::Leaf {
                        size: leaf.size,
                        root: told(leaf.size, leaf.root),
                        path: leaf.path.clone(),
                    },
                },
            }
        });
        Proof {
            head: self.recorded.head.to_vec(),
            manifest: self.recorded.manifest.map(<[u8]>::to_vec),
            opened: self.story.opened,
            checkpoints: checkpoints.collect(),
            batches: Batches {
                start: self.story.batches_start,
                steps: steps.collect(),
            },
            closed: self.story.closed,
            spine,
            finality: self.finality.clone(),
            state: self.state.clone(),
            transaction: self.transaction.clone(),
        }
    }
}

/// `keep` of a list, with its first and its last.
fn evenly(list: &[u32], keep: usize) -> Vec<u32> {
    if keep >= list.len() {
        return list.to_vec();
    }
    let steps = keep.saturating_sub(1).max(1);
    (0..keep)
        .map(|step| list[step * (list.len() - 1) / steps])
        .collect()
}

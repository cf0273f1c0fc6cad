//! The file's structures, and how they are read and written.

use alloy_primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::anchors::{MAX_BATCH_PATH, Moment};
use lucid_chain_types::decode;
use lucid_format::Hash;
use lucid_light::Place;

use crate::ProofError;

/// Most bytes of a proof.
pub const MAX_PROOF_BYTES: usize = 16 << 20;
/// Most checkpoints, batches and stretches of the spine, each: three weeks at one in 30 s.
pub const MAX_STEPS: usize = 65_536;
/// Most bytes of the head or the manifest, as in a recording.
const MAX_SECTION: usize = 256 << 10;
/// Most hashes in a stretch: up one side of the tree and down the other.
const MAX_STRETCH: usize = 64;

const MAGIC: &[u8; 8] = b"LUCIDPRF";
const WHAT: &str = "a proof";

/// All that a verifier needs beside the genesis file. Nothing in it is believed before [`Proof::verify`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// The recording's HEAD section.
    pub head: Vec<u8>,
    /// Its MANI section; none of a session that was not closed yet.
    pub manifest: Option<Vec<u8>>,
    /// How its log begins.
    pub opened: Opening,
    /// Checkpoints in transactions of their own: all of them, in order.
    pub checkpoints: Vec<Checkpoint>,
    /// Checkpoints that were sent together with other sessions'.
    pub batches: Batches,
    /// How its log ends; none of a session that was not closed yet.
    pub closed: Option<Moment>,
    /// Shows that the roots of checkpoints and manifest are those of one growing log, without the recording.
    pub spine: Vec<Stretch>,
    /// A finality proof file (`LUCIDFIN`) of the block whose state is looked at.
    pub finality: Vec<u8>,
    /// A state proof file (`LUCIDSTA`) of LucidAnchors: the slot of the session's log; of a session that is open and has batches, the
    /// slot of the opener's batches after it.
    pub state: Vec<u8>,
    /// The transaction that closed or registered the session, where it is in that block.
    pub transaction: Option<Transaction>,
}

/// That the session was opened, or opened and closed in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opening {
    /// Whose session it is.
    pub owner: Address,
    /// Who sent the transaction.
    pub opener: Address,
    /// Whether it was registered: no policy, checkpoints and batches, and closed at once.
    pub registered: bool,
    /// When.
    pub at: Moment,
}

/// A checkpoint in a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// How many chunks it covers.
    pub size: u32,
    /// Salted root over them; none where it is the spine's.
    pub root: Option<Hash>,
    /// When.
    pub at: Moment,
}

/// The end of a sender's chain of batches.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Batches {
    /// The chain before the first step.
    pub start: B256,
    /// All batches from there to the end.
    pub steps: Vec<BatchStep>,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchStep {
    /// How many leaves it has.
    pub count: u32,
    /// When.
    pub at: Moment,
    /// What is known of it.
    pub content: BatchContent,
}

/// What a proof says of a batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BatchContent {
    /// It has no checkpoint of this session, or none that is shown.
    Root(B256),
    /// A checkpoint of this session, and its way to the batch's root.
    Leaf {
        /// How many chunks it covers.
        size: u32,
        /// Salted root over them; none where it is the spine's.
        root: Option<Hash>,
        /// Its neighbours on the way up.
        path: Vec<B256>,
    },
}

/// How the log of chunks grows from the stretch before to `size`.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Stretch {
    /// Chunks after it.
    pub size: u32,
    /// Roots of the largest complete subtrees between.
    pub subtrees: Vec<Hash>,
}

/// A transaction and its place in the block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// As it was signed (EIP-2718).
    pub bytes: Vec<u8>,
    /// Where it is.
    pub place: Place,
}

impl Proof {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(Self::VERSION);
        let written = self.serialize(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        bytes
    }

    /// Reads a file; proves nothing yet.
    ///
    /// # Errors
    /// Where it is no proof, of another version, malformed, or beyond a bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(ProofError::NotAProof)?;
        let (&version, rest) = rest.split_first().ok_or(ProofError::NotAProof)?;
        if version != Self::VERSION {
            return Err(ProofError::Version { version });
        }
        let proof: Self = decode(WHAT, rest, MAX_PROOF_BYTES)?;
        proof.check_bounds()?;
        Ok(proof)
    }

    fn check_bounds(&self) -> Result<(), ProofError> {
        let manifest = self.manifest.as_ref().map_or(0, Vec::len);
        let paths = self.batches.steps.iter().map(|step| match &step.content {
            BatchContent::Root(_) => 0,
            BatchContent::Leaf { path, .. } => path.len(),
        });
        let stretches = self.spine.iter().map(|stretch| stretch.subtrees.len());
        for (what, count, limit) in [
            ("bytes of the head", self.head.len(), MAX_SECTION),
            ("bytes of the manifest", manifest, MAX_SECTION),
            ("checkpoints", self.checkpoints.len(), MAX_STEPS),
            ("batches", self.batches.steps.len(), MAX_STEPS),
            ("stretches of the spine", self.spine.len(), MAX_STEPS),
            (
                "hashes on a way to a batch's root",
                paths.max().unwrap_or(0),
                MAX_BATCH_PATH,
            ),
            (
                "hashes of a stretch of the spine",
                stretches.max().unwrap_or(0),
                MAX_STRETCH,
            ),
        ] {
            if count > limit {
                return Err(ProofError::TooMany { what, count, limit });
            }
        }
        Ok(())
    }
}

//! Why a proof proves nothing, or not this recording.

use alloy_primitives::{Address, U256};
use lucid_chain_types::{DecodeError, Height};
use lucid_format::{FormatError, SessionId};
use lucid_light::LightError;

/// Why a proof proves nothing, or not this recording: each refusal with its own sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the sentence of each variant names its fields")]
pub enum ProofError {
    // Reading.
    #[error("this is not a proof file")]
    NotAProof,
    #[error("the proof has version {version}, and this program reads version {known}: use a newer lucid", known = crate::Proof::VERSION)]
    Version { version: u8 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the proof has {count} {what}, at most {limit} are allowed")]
    TooMany {
        what: &'static str,
        count: usize,
        limit: usize,
    },

    // The chain: genesis, certificates, validator sets, state.
    #[error(transparent)]
    Chain(#[from] LightError),
    #[error("the state proof is about account {address}, not about the anchors' contract")]
    OtherAccount { address: Address },
    #[error("the state proof is about other storage slots than those of session {session}")]
    OtherSlots { session: SessionId },
    #[error("session {session} was not anchored in block {height} or before")]
    NotAnchored { session: SessionId, height: Height },
    #[error(
        "the proof tells more of session {session} than the chain knew in block {height}: its last steps are not anchored there"
    )]
    AheadOfState { session: SessionId, height: Height },
    #[error(
        "what the proof says happened to session {session} is not what the chain has of it in block {height}: a step was changed, dropped, swapped or added"
    )]
    OtherLog { session: SessionId, height: Height },
    #[error(
        "the proof's batches are not those that {sender} had sent up to block {height}: a batch or a path in one was changed, dropped or added"
    )]
    OtherBatches { sender: Address, height: Height },

    // The recording's signed parts.
    #[error("the proof's head does not hold: {0}")]
    Head(#[source] FormatError),
    #[error("the proof's manifest does not hold: {0}")]
    Manifest(#[source] FormatError),
    #[error(
        "the proof has a manifest of a session that was not closed, or a closing without a manifest"
    )]
    HalfClosed,
    #[error(
        "the session was registered in one transaction, and the proof has more steps than that or another time of closing"
    )]
    Registered,

    // The spine and the checkpoints.
    #[error("the spine goes from {after} to {size} chunks: it has to grow")]
    SpineOrder { after: u32, size: u32 },
    #[error(
        "the spine's stretch from {after} to {size} chunks has not as many hashes as lie between"
    )]
    SpineShape { after: u32, size: u32 },
    #[error("the spine ends at {spine} chunks, the manifest says {chunks}")]
    SpineEnd { spine: u32, chunks: u32 },
    #[error("the spine does not lead to the manifest's root over {chunks} chunks")]
    SpineRoot { chunks: u32 },
    #[error(
        "the checkpoint of block {height} over {size} chunks has no root, and the spine does not pass there"
    )]
    NoRoot { size: u32, height: Height },
    #[error(
        "the checkpoint of block {height} over {size} chunks is of another log than the manifest's: what it covered was rewritten afterwards"
    )]
    Rewritten { size: u32, height: Height },
    #[error(
        "the checkpoint of block {height} covers {size} chunks and the manifest ends after {chunks}: what was anchored was cut off"
    )]
    CutOff {
        size: u32,
        height: Height,
        chunks: u32,
    },
    #[error(
        "the batch of block {height} with a checkpoint of this session is older than the session, which was opened in block {opened}"
    )]
    BatchBeforeOpening { height: Height, opened: Height },

    // The transaction.
    #[error("the proof has a transaction and the session was not closed in block {height}")]
    TransactionElsewhere { height: Height },
    #[error("the proof's transaction is not the one that closed this session")]
    OtherTransaction,

    // A recording held against a proof.
    #[error("the recording is of session {recording}, the proof is of session {proof}")]
    OtherSession {
        recording: SessionId,
        proof: SessionId,
    },
    #[error(
        "the recording has another head than the one that was anchored: it is another recording made under the same ticket"
    )]
    OtherHead,
    #[error(
        "the recording has {recording} chunks, and block {height} has a checkpoint over {anchored}: it was cut back to an earlier point"
    )]
    Rewound {
        recording: u32,
        anchored: u32,
        height: Height,
    },
    #[error(
        "the recording has {recording} chunks, and it was closed with {anchored}: it is longer than what was anchored"
    )]
    Longer { recording: u32, anchored: u32 },
    #[error(
        "the recording has {recording} chunks, and it was closed with {anchored}: it is shorter than what was anchored"
    )]
    Shorter { recording: u32, anchored: u32 },
    #[error(
        "the recording has another manifest than the one that was anchored: it was sealed anew"
    )]
    OtherManifest,
    #[error(
        "the first {size} chunks of the recording do not have the root that block {height} has: they were changed after it"
    )]
    Changed { size: u32, height: Height },
    #[error(
        "the session was still open in block {height}, and a disclosure can only be held against a proof of a closed session: make a new proof"
    )]
    StillOpen { height: Height },

    // Making.
    #[error("slot {slot:#x} is not in the node's state proof")]
    MissingSlot { slot: U256 },
    #[error("the chain has a checkpoint over {size} chunks, more than a recording can have")]
    CheckpointSize { size: u64 },
}

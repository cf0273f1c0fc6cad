//! What validators sign.

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::VerifyingKey;

use crate::ids::{BlockId, Height, NodeId, Slot};

/// Domain of votes' signatures.
pub const VOTE_DOMAIN: &[u8] = b"LUCID-VOTE-V1";
/// Domain of proposals' signatures.
pub const PROPOSAL_DOMAIN: &[u8] = b"LUCID-PROPOSAL-V1";
/// Domain of the VRF's input.
const VRF_DOMAIN: &[u8] = b"LUCID-VRF-V1";

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Signature(pub [u8; 64]);

/// First or second vote of a round.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum VoteKind {
    /// "I would accept this block."
    Prevote = 1,
    /// "I have seen that more than two thirds would."
    Precommit = 2,
}

/// A vote.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Vote {
    /// First or second.
    pub kind: VoteKind,
    /// For which height.
    pub height: Height,
    /// In which round.
    pub round: u32,
    /// For which block; `None` is a vote for none.
    pub block: Option<BlockId>,
    /// Whose.
    pub voter: NodeId,
}

/// A leader's proposal of a block in a round.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Proposal {
    /// For which height.
    pub height: Height,
    /// In which round.
    pub round: u32,
    /// Which block.
    pub block: BlockId,
    /// The earlier round in which more than two thirds had prevoted for it, if this is a second proposal of it.
    pub valid_round: Option<u32>,
    /// The leader.
    pub proposer: NodeId,
}

/// A vote and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SignedVote {
    /// The vote.
    pub vote: Vote,
    /// Over [`vote_sign_bytes`].
    pub signature: Signature,
}

/// A proposal and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SignedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// Over [`proposal_sign_bytes`].
    pub signature: Signature,
}

/// The bytes of a vote that are signed: `domain ‖ genesis hash ‖ borsh(vote)`. The genesis hash keeps a vote of one chain from
/// counting on another.
pub fn vote_sign_bytes(genesis: B256, vote: &Vote) -> Vec<u8> {
    sign_bytes(VOTE_DOMAIN, genesis, vote)
}

/// The bytes of a proposal that are signed.
pub fn proposal_sign_bytes(genesis: B256, proposal: &Proposal) -> Vec<u8> {
    sign_bytes(PROPOSAL_DOMAIN, genesis, proposal)
}

/// What a leader's VRF is evaluated on: `domain ‖ genesis hash ‖ slot ‖ parent`. The proof is in the header (requirement C7:
/// "seeded from the previous block hash").
pub fn vrf_input(genesis: B256, slot: Slot, parent: BlockId) -> Vec<u8> {
    [
        VRF_DOMAIN,
        genesis.as_slice(),
        &slot.0.to_be_bytes(),
        parent.0.as_slice(),
    ]
    .concat()
}

fn sign_bytes<T: BorshSerialize>(domain: &[u8], genesis: B256, value: &T) -> Vec<u8> {
    let mut bytes = [domain, genesis.as_slice()].concat();
    // Writing to memory does not fail, and these types have no lists that could be too long.
    let written = value.serialize(&mut bytes);
    debug_assert!(written.is_ok());
    bytes
}

/// Whether `signature` is `key`'s over `message`. Strict (RFC 8032 with the checks of `verify_strict`): all validators agree on
/// every signature, and none can be altered into another that passes.
pub fn verify(key: B256, message: &[u8], signature: &Signature) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .is_ok()
    })
}

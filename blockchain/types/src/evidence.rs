//! Proof that a validator signed two things of which it may sign one (requirement L3).

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::ids::{Height, NodeId};
use crate::validators::ValidatorSet;
use crate::vote::{SignedProposal, SignedVote, proposal_sign_bytes, verify, vote_sign_bytes};

/// Most pieces of evidence a block holds.
pub const MAX_EVIDENCE: usize = 16;

/// Two signatures of one validator that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two votes of one kind in one round.
    DoubleVote {
        /// One; the smaller in borsh order, so that a pair has one encoding.
        first: SignedVote,
        /// The other.
        second: SignedVote,
    },
    /// Two proposals in one round.
    DoubleProposal {
        /// One; the smaller.
        first: SignedProposal,
        /// The other.
        second: SignedProposal,
    },
}

/// Why evidence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// They are of different validators, heights, rounds or kinds, or the same, or not in order.
    #[error("the two messages do not contradict each other")]
    NoConflict,
    /// Not of this set.
    #[error("{0} is not a validator of that height")]
    NotAValidator(NodeId),
    /// Forged.
    #[error("a signature of {0} does not verify")]
    Signature(NodeId),
}

impl Evidence {
    /// Evidence from two votes, in either order.
    pub fn votes(a: SignedVote, b: SignedVote) -> Self {
        Self::DoubleVote {
            first: a.min(b),
            second: a.max(b),
        }
    }

    /// Evidence from two proposals, in either order.
    pub fn proposals(a: SignedProposal, b: SignedProposal) -> Self {
        Self::DoubleProposal {
            first: a.min(b),
            second: a.max(b),
        }
    }

    /// Who is accused.
    pub const fn offender(&self) -> NodeId {
        match self {
            Self::DoubleVote { first, .. } => first.vote.voter,
            Self::DoubleProposal { first, .. } => first.proposal.proposer,
        }
    }

    /// The height it happened at.
    pub const fn height(&self) -> Height {
        match self {
            Self::DoubleVote { first, .. } => first.vote.height,
            Self::DoubleProposal { first, .. } => first.proposal.height,
        }
    }

    /// The kind, as the contract WorkCredits counts them.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::DoubleVote { .. } => 0,
            Self::DoubleProposal { .. } => 1,
        }
    }

    /// Checks it against the validators of its height.
    pub fn verify(&self, genesis: B256, validators: &ValidatorSet) -> Result<(), EvidenceError> {
        let node = self.offender();
        let signed: [(Vec<u8>, _); 2] = match self {
            Self::DoubleVote {
                first: a,
                second: b,
            } => {
                let same = (a.vote.kind, a.vote.height, a.vote.round, a.vote.voter)
                    == (b.vote.kind, b.vote.height, b.vote.round, b.vote.voter);
                if !same || a.vote.block == b.vote.block || a >= b {
                    return Err(EvidenceError::NoConflict);
                }
                [a, b].map(|signed| (vote_sign_bytes(genesis, &signed.vote), signed.signature))
            }
            Self::DoubleProposal {
                first: a,
                second: b,
            } => {
                let same = (a.proposal.height, a.proposal.round, a.proposal.proposer)
                    == (b.proposal.height, b.proposal.round, b.proposal.proposer);
                if !same || a.proposal == b.proposal || a >= b {
                    return Err(EvidenceError::NoConflict);
                }
                [a, b].map(|signed| {
                    (
                        proposal_sign_bytes(genesis, &signed.proposal),
                        signed.signature,
                    )
                })
            }
        };
        let validator = validators
            .get(node)
            .ok_or(EvidenceError::NotAValidator(node))?;
        for (bytes, signature) in &signed {
            if !verify(validator.consensus_key, bytes, signature) {
                return Err(EvidenceError::Signature(node));
            }
        }
        Ok(())
    }
}

//! Proof that a block is final: precommits of more than two thirds of the validators (requirement L4).

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::encoding::{DecodeError, decode};
use crate::ids::{BlockId, Height};
use crate::validators::{MAX_VALIDATORS, ValidatorSet};
use crate::vote::{Signature, Vote, VoteKind, verify, vote_sign_bytes};

/// Which validators of a set signed: bit `i % 8` of byte `i / 8` is validator `i`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct SignerBitmap(Vec<u8>);

impl SignerBitmap {
    /// The bitmap with these validators of a set of `total`.
    pub fn new(total: usize, signers: impl IntoIterator<Item = usize>) -> Self {
        let mut bytes = vec![0; total.div_ceil(8)];
        for signer in signers {
            if let Some(byte) = bytes.get_mut(signer / 8) {
                *byte |= 1 << (signer % 8);
            }
        }
        Self(bytes)
    }

    /// The validators, in order.
    pub fn signers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 8).filter(|signer| self.0[signer / 8] >> (signer % 8) & 1 == 1)
    }
}

/// The certificate of a block. Its size is 52 bytes, a bit a validator and 64 bytes a
/// signature, and it is checked with nothing but the validator set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The block's height.
    pub height: Height,
    /// The round it was decided in.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// Who signed.
    pub signers: SignerBitmap,
    /// One signature for each signer, in their order.
    pub signatures: Vec<Signature>,
}

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bitmap is not that of a set of this size.
    #[error("the certificate of height {height} is not for a set of {validators} validators")]
    Bitmap {
        /// The certificate's height.
        height: Height,
        /// The set's size.
        validators: usize,
    },
    /// Signers and signatures do not pair up.
    #[error(
        "the certificate of height {height} names {signers} signers and has {signatures} signatures"
    )]
    Count {
        /// The certificate's height.
        height: Height,
        /// Bits set.
        signers: usize,
        /// Signatures there.
        signatures: usize,
    },
    /// Too few.
    #[error(
        "the certificate of height {height} has {signers} of the {quorum} signatures that are needed"
    )]
    NoQuorum {
        /// The certificate's height.
        height: Height,
        /// Signers.
        signers: usize,
        /// What is needed.
        quorum: usize,
    },
    /// A signature does not verify.
    #[error(
        "the certificate of height {height}: the signature of validator {index} does not verify"
    )]
    Signature {
        /// The certificate's height.
        height: Height,
        /// The validator's place in the set.
        index: usize,
    },
}

impl Certificate {
    /// Most bytes an encoded certificate has.
    pub const MAX_BYTES: usize =
        8 + 4 + 32 + 4 + MAX_VALIDATORS.div_ceil(8) + 4 + 64 * MAX_VALIDATORS;

    /// Checks that more than two thirds of `validators` precommitted to the block.
    pub fn verify(&self, genesis: B256, validators: &ValidatorSet) -> Result<(), CertificateError> {
        let height = self.height;
        let signers: Vec<usize> = self.signers.signers().collect();
        let total = validators.len();
        if self.signers.0.len() != total.div_ceil(8)
            || signers.last().is_some_and(|last| *last >= total)
        {
            return Err(CertificateError::Bitmap {
                height,
                validators: total,
            });
        }
        if signers.len() != self.signatures.len() {
            return Err(CertificateError::Count {
                height,
                signers: signers.len(),
                signatures: self.signatures.len(),
            });
        }
        if signers.len() < validators.quorum() {
            return Err(CertificateError::NoQuorum {
                height,
                signers: signers.len(),
                quorum: validators.quorum(),
            });
        }
        for (index, signature) in signers.into_iter().zip(&self.signatures) {
            let validator = &validators.list()[index];
            let vote = Vote {
                kind: VoteKind::Precommit,
                height,
                round: self.round,
                block: Some(self.block),
                voter: validator.node,
            };
            if !verify(
                validator.consensus_key,
                &vote_sign_bytes(genesis, &vote),
                signature,
            ) {
                return Err(CertificateError::Signature { height, index });
            }
        }
        Ok(())
    }

    /// Reads an encoded certificate.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode("a certificate", bytes, Self::MAX_BYTES)
    }
}

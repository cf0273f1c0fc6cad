//! The engine's verifier with a memory: a signature that travels to six nodes is checked once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use lucid_chain_types::{
    Certificate, Evidence, Signature, ValidatorSet, proposal_sign_bytes, verify, vote_sign_bytes,
};
use lucid_consensus::context::{Lucid, Proposal, PublicKey, Vote};
use malachite_signing::{Error, VerificationResult};
use malachite_types::{ValidatorProof, VoteExtensionScope};

use super::app::GENESIS;

#[derive(Default)]
pub(crate) struct Verifier {
    /// Takes all certificates of decided blocks.
    pub(crate) blind: bool,
    pub(crate) known: Mutex<HashMap<[u8; 32], bool>>,
}

impl Verifier {
    fn remember(&self, parts: &[&[u8]], check: impl FnOnce() -> bool) -> bool {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(hasher.finalize().into()).or_insert_with(check)
    }

    fn signature(&self, key: PublicKey, message: &[u8], signature: &Signature) -> bool {
        self.remember(&[key.0.as_slice(), &signature.0, message], || {
            verify(key.0, message, signature)
        })
    }

    pub(crate) fn vote(&self, vote: &Vote, signature: &Signature, key: PublicKey) -> bool {
        let message = vote_sign_bytes(GENESIS, &vote.to_chain());
        vote.round.is_defined() && self.signature(key, &message, signature)
    }

    pub(crate) fn proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: PublicKey,
    ) -> bool {
        let message = proposal_sign_bytes(GENESIS, &proposal.to_chain());
        proposal.round.is_defined() && self.signature(key, &message, signature)
    }

    pub(crate) fn certificate(&self, certificate: &Certificate, set: &ValidatorSet) -> bool {
        let bytes = borsh::to_vec(certificate).unwrap();
        self.blind
            || self.remember(&[&bytes, set.hash().as_slice()], || {
                certificate.verify(GENESIS, set).is_ok()
            })
    }

    pub(crate) fn evidence(&self, evidence: &Evidence, set: &ValidatorSet) -> bool {
        let bytes = borsh::to_vec(evidence).unwrap();
        self.remember(&[&bytes, set.hash().as_slice()], || {
            evidence.verify(GENESIS, set).is_ok()
        })
    }
}

#[async_trait]
impl malachite_signing::Verifier<Lucid> for Verifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(
            self.vote(vote, signature, *key),
        ))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(
            self.proposal(proposal, signature, *key),
        ))
    }

    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<Lucid>,
        _extension: &(),
        _signature: &Signature,
        _key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        _proof: &ValidatorProof<Lucid>,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }
}

/// The result of a future that waits for nothing.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a check that waits"),
    }
}

//! Signatures: the chain's own sign-bytes under Ed25519, and the signer that asks its guard first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use lucid_chain_types::{
    NodeId, Signature, SignedProposal, SignedVote, proposal_sign_bytes, verify, vote_sign_bytes,
};
use malachite_signing::{Error as SigningError, Signer, VerificationResult, Verifier};
use malachite_types::{SignedMessage, ValidatorProof, VoteExtensionScope};
use zeroize::Zeroizing;

use crate::context::{Lucid, Proposal, PublicKey, Vote};
use crate::guard::{Guard, GuardError, History, Message, Signed};

/// Domain of the proof that a validator's key and a network identity belong together.
const PROOF_DOMAIN: &[u8] = b"LUCID-PEER-V1";

/// A validator's consensus key and the chain it signs for. It signs what it is given: see [`GuardedSigner`].
#[derive(Clone)]
pub struct Key {
    genesis: B256,
    key: SigningKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.public())
    }
}

impl Key {
    /// The key with this seed.
    pub fn new(genesis: B256, seed: &Zeroizing<[u8; 32]>) -> Self {
        Self {
            genesis,
            key: SigningKey::from_bytes(seed),
        }
    }

    /// Its public half.
    pub fn public(&self) -> B256 {
        B256::new(self.key.verifying_key().to_bytes())
    }

    /// Signs a vote.
    pub fn vote(&self, vote: lucid_chain_types::Vote) -> SignedVote {
        SignedVote {
            vote,
            signature: self.sign(&vote_sign_bytes(self.genesis, &vote)),
        }
    }

    /// Signs a proposal.
    pub fn proposal(&self, proposal: lucid_chain_types::Proposal) -> SignedProposal {
        SignedProposal {
            proposal,
            signature: self.sign(&proposal_sign_bytes(self.genesis, &proposal)),
        }
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.key.sign(bytes).to_bytes())
    }
}

/// Checks signatures of one chain.
#[derive(Debug, Clone, Copy)]
pub struct ChainVerifier {
    /// The chain's genesis hash.
    pub genesis: B256,
}

impl ChainVerifier {
    /// Whether `key` signed `vote`.
    pub fn vote(&self, vote: &Vote, signature: &Signature, key: &PublicKey) -> bool {
        vote.round.is_defined()
            && verify(
                key.0,
                &vote_sign_bytes(self.genesis, &vote.to_chain()),
                signature,
            )
    }

    /// Whether `key` signed `proposal`.
    pub fn proposal(&self, proposal: &Proposal, signature: &Signature, key: &PublicKey) -> bool {
        proposal.round.is_defined()
            && verify(
                key.0,
                &proposal_sign_bytes(self.genesis, &proposal.to_chain()),
                signature,
            )
    }

    /// The key that a peer has proved to hold.
    pub fn proof(&self, proof: &ValidatorProof<Lucid>) -> Option<B256> {
        let key = B256::try_from(proof.public_key.as_slice()).ok()?;
        let bytes = proof_bytes(self.genesis, &proof.public_key, &proof.peer_id);
        verify(key, &bytes, &proof.signature).then_some(key)
    }
}

#[async_trait]
impl Verifier<Lucid> for ChainVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::from_bool(
            self.vote(vote, signature, key),
        ))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::from_bool(
            self.proposal(proposal, signature, key),
        ))
    }

    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<Lucid>,
        _extension: &(),
        _signature: &Signature,
        _key: &PublicKey,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        proof: &ValidatorProof<Lucid>,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::from_bool(self.proof(proof).is_some()))
    }
}

/// Signs for a validator, but never against its guard.
///
/// Where the guard forbids a signature, the message is handed back with one that verifies under no key. The engine checks its own
/// messages as it checks everybody's, drops this one and goes on: the validator abstains from one vote instead of stopping.
#[derive(Debug, Clone)]
pub struct GuardedSigner {
    node: NodeId,
    key: Key,
    guard: Arc<Mutex<Guard>>,
    /// Signatures that were refused.
    refused: Arc<AtomicU64>,
}

/// A signature that verifies under no key: `s` is not reduced (RFC 8032 section 5.1.7).
pub const ABSTAIN: Signature = Signature([0xff; 64]);

impl GuardedSigner {
    /// Signs for `node` with `key` under `guard`.
    pub fn new(node: NodeId, key: Key, guard: Guard) -> Self {
        Self {
            node,
            key,
            guard: Arc::new(Mutex::new(guard)),
            refused: Arc::default(),
        }
    }

    /// The validator's public key.
    pub fn public(&self) -> B256 {
        self.key.public()
    }

    /// The node it signs for.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// How often it abstained because a signature would have contradicted an earlier one.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What the guard has on record.
    pub fn history(&self) -> History {
        self.lock().history().clone()
    }

    /// Signs nothing any more.
    pub fn close(&self) {
        self.lock().close();
    }

    /// Tells the guard that the engine's log still knows what it locked on before the start.
    pub fn remembers(&self, vote: &lucid_chain_types::Vote) {
        self.lock().remembers(vote);
    }

    /// A signed proposal, or the same with [`ABSTAIN`].
    pub async fn proposal(
        &self,
        proposal: lucid_chain_types::Proposal,
    ) -> Result<SignedProposal, GuardError> {
        let abstain = SignedProposal {
            proposal,
            signature: ABSTAIN,
        };
        match self.sign(Message::Proposal(proposal)).await? {
            Some(Signed::Proposal(signed)) => Ok(signed),
            _ => Ok(abstain),
        }
    }

    /// A signed vote: this one, the one that was signed in the same place before, one for nothing, or this one with [`ABSTAIN`].
    pub async fn vote(&self, vote: lucid_chain_types::Vote) -> Result<SignedVote, GuardError> {
        let abstain = SignedVote {
            vote,
            signature: ABSTAIN,
        };
        match self.sign(Message::Vote(vote)).await? {
            Some(Signed::Vote(signed)) => Ok(signed),
            _ => Ok(abstain),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // INVARIANT: a signature leaves this function only after the guard's record of it is on disk.
    async fn sign(&self, message: Message) -> Result<Option<Signed>, GuardError> {
        let signer = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let sign = |message| match message {
                Message::Vote(vote) => Signed::Vote(signer.key.vote(vote)),
                Message::Proposal(proposal) => Signed::Proposal(signer.key.proposal(proposal)),
            };
            let mut guard = signer.lock();
            let answer = guard.sign(&message, || sign(message))?;
            match answer.map_err(|refusal| (refusal, refusal.instead(&message))) {
                Err((_, Some(nothing))) => guard.sign(&nothing, || sign(nothing)),
                Err((refusal, None)) => Ok(Err(refusal)),
                Ok(signed) => Ok(Ok(signed)),
            }
        })
        .await
        .map_err(|_| GuardError::Stopped)??;
        // The second copy is written while the message travels.
        let signer = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = signer.lock().settle() {
                tracing::error!(%error, "the second copy of the signer's record");
            }
        });
        match answer {
            Ok(signed) => {
                if signed.message() != message {
                    tracing::warn!(
                        height = %message.height(),
                        round = message.round(),
                        "the guard allows only another vote here"
                    );
                }
                Ok(Some(signed))
            }
            Err(reason) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%reason, "abstaining from a signature");
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl Signer<Lucid> for GuardedSigner {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<Lucid, Vote>, SigningError> {
        let signed = self
            .vote(vote.to_chain())
            .await
            .map_err(SigningError::from_source)?;
        Ok(SignedMessage::new(
            Vote::from_chain(&signed.vote),
            signed.signature,
        ))
    }

    async fn sign_proposal(
        &self,
        proposal: Proposal,
    ) -> Result<SignedMessage<Lucid, Proposal>, SigningError> {
        let signed = self
            .proposal(proposal.to_chain())
            .await
            .map_err(SigningError::from_source)?;
        Ok(SignedMessage::new(
            Proposal::from_chain(&signed.proposal),
            signed.signature,
        ))
    }

    async fn sign_vote_extension(
        &self,
        _scope: VoteExtensionScope<Lucid>,
        _extension: (),
    ) -> Result<SignedMessage<Lucid, ()>, SigningError> {
        Err(SigningError::new())
    }

    async fn sign_validator_proof(
        &self,
        public_key: Vec<u8>,
        peer_id: Vec<u8>,
    ) -> Result<ValidatorProof<Lucid>, SigningError> {
        let signature = self
            .key
            .sign(&proof_bytes(self.key.genesis, &public_key, &peer_id));
        Ok(ValidatorProof::new(public_key, peer_id, signature))
    }
}

fn proof_bytes(genesis: B256, public_key: &[u8], peer_id: &[u8]) -> Vec<u8> {
    [
        PROOF_DOMAIN,
        genesis.as_slice(),
        &ValidatorProof::<Lucid>::signing_bytes(public_key, peer_id),
    ]
    .concat()
}

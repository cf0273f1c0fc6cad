//! ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381): randomness that only the leader can make, and can make in one way only.
//!
//! On top of `vrf-rfc9381`, [`verify`] refuses what the RFC has a verifier refuse and that crate reduces instead (section 5.4.4,
//! `s >= q`; points that are not in their one encoding). A proof goes into the header, and a second encoding of it would be a
//! second block.

use std::fmt;

use alloy_primitives::B256;
use ed25519_dalek::SigningKey;
use lucid_chain_types::VRF_PROOF_BYTES;
use vrf_rfc9381::ec::edwards25519::EdVrfProof;
use vrf_rfc9381::ec::edwards25519::tai::{
    EdVrfEdwards25519TaiPublicKey, EdVrfEdwards25519TaiSecretKey,
};
use vrf_rfc9381::{Proof, Prover, Verifier};
use zeroize::Zeroizing;

/// A validator's secret VRF key; wiped when dropped, and never shown.
pub struct VrfSecret {
    seed: Zeroizing<[u8; 32]>,
    public: B256,
}

impl fmt::Debug for VrfSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VrfSecret")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl VrfSecret {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        // Key generation is that of Ed25519 (RFC 9381 section 5.5).
        let public = B256::new(SigningKey::from_bytes(seed).verifying_key().to_bytes());
        Self {
            seed: Zeroizing::new(*seed),
            public,
        }
    }

    /// The public key.
    pub fn public(&self) -> B256 {
        self.public
    }

    /// Proof of the randomness that belongs to `input`. In constant time but for the search of a point from the public `input`.
    pub fn prove(&self, input: &[u8]) -> [u8; VRF_PROOF_BYTES] {
        let proof = EdVrfEdwards25519TaiSecretKey::from_slice(self.seed.as_slice())
            .and_then(|secret| secret.prove(input))
            .map(|proof| proof.encode_to_pi());
        // Fails for an input that none of 256 tries maps to a point: not once in 2^256. Zeros do not verify.
        proof
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; VRF_PROOF_BYTES])
    }
}

/// [`VrfSecret::prove`].
pub fn prove(secret: &VrfSecret, input: &[u8]) -> [u8; VRF_PROOF_BYTES] {
    secret.prove(input)
}

/// The randomness of `input` under `key`: the first 32 bytes of the VRF's output. `None` if `proof` is not the proof.
pub fn verify(key: B256, input: &[u8], proof: &[u8; VRF_PROOF_BYTES]) -> Option<B256> {
    if !is_canonical(&key.0) {
        return None;
    }
    let decoded = EdVrfProof::decode_pi(proof).ok()?;
    if decoded.encode_to_pi() != proof {
        return None;
    }
    // Refuses keys of small order (section 5.4.5).
    let key = EdVrfEdwards25519TaiPublicKey::from_slice(key.as_slice()).ok()?;
    let output = key.verify(input, decoded).ok()?;
    output.get(..32).map(B256::from_slice)
}

/// Whether a point's y is below 2^255 - 19, the one encoding it has.
fn is_canonical(point: &[u8; 32]) -> bool {
    let low = point[0] < 0xed;
    low || point[1..31].iter().any(|byte| *byte != 0xff) || point[31] & 0x7f != 0x7f
}

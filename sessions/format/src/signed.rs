use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::FormatError;

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// What a signature is about. The name is signed with the bytes, so that a signature of one thing is none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigDomain {
    /// A [`Ticket`](crate::Ticket), signed by the host.
    Ticket,
    /// A [`Head`](crate::Head), signed by the session.
    Head,
    /// A [`Checkpoint`](crate::Checkpoint), signed by the session.
    Checkpoint,
    /// A [`Manifest`](crate::Manifest), signed by the session, or by the host when the session was cut.
    Manifest,
    /// A [`Disclosed`](crate::Disclosed) range, signed by who disclosed it.
    Disclosure,
}

impl SigDomain {
    fn tag(self) -> &'static [u8] {
        match self {
            Self::Ticket => b"lucid signature: ticket v1\0",
            Self::Head => b"lucid signature: head v1\0",
            Self::Checkpoint => b"lucid signature: checkpoint v1\0",
            Self::Manifest => b"lucid signature: manifest v1\0",
            Self::Disclosure => b"lucid signature: disclosure v1\0",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Ticket => "the ticket",
            Self::Head => "the head",
            Self::Checkpoint => "a checkpoint",
            Self::Manifest => "the manifest",
            Self::Disclosure => "the disclosure",
        }
    }
}

/// An Ed25519 key that signs; zeroized when dropped, and never printed.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Self::from_secret(&secret)
    }

    /// The key with these 32 secret bytes.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The 32 secret bytes, to be stored sealed.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key that verifies.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({}, secret redacted)", self.public())
    }
}

/// Bytes and their signature. The body is kept as it was signed: nothing is encoded twice.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signed {
    /// The signed bytes.
    pub body: Vec<u8>,
    /// Ed25519 over the domain's name and the body.
    pub signature: [u8; 64],
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.body.len())
    }
}

impl Signed {
    /// Signs `body`.
    pub fn new(key: &Keypair, domain: SigDomain, body: Vec<u8>) -> Self {
        let signature = key.0.sign(&[domain.tag(), &body].concat()).to_bytes();
        Self { body, signature }
    }

    /// Checks the signature, strictly (no small-order keys, no malleable signatures).
    ///
    /// # Errors
    /// [`FormatError::Signature`].
    pub fn verify(&self, key: &PublicKey, domain: SigDomain) -> Result<(), FormatError> {
        let bad = FormatError::Signature {
            what: domain.what(),
        };
        let key = VerifyingKey::from_bytes(&key.0).map_err(|_| bad.clone())?;
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature);
        key.verify_strict(&[domain.tag(), &self.body].concat(), &signature)
            .map_err(|_| bad)
    }
}

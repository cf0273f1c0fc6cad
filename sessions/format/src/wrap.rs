//! Wrapping a session's seed to its recipients: HPKE (RFC 9180) with X-Wing, HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! X-Wing is ML-KEM-768 and X25519 together, so a recording that is copied today stays closed to a quantum computer
//! tomorrow.

use borsh::{BorshDeserialize, BorshSerialize};
use hpke::{
    Deserializable, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::XWing, single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    FormatError, MAX_RECIPIENTS, PublicKeys, RecipientId, SecretKeys, SessionId, SessionSeed,
};

/// Bytes of an X-Wing ciphertext.
const ENCAPPED: usize = 1120;
/// Bytes of a sealed seed.
const SEALED: usize = 48;

/// A session's seed, sealed to one recipient.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wrap {
    /// Whose key opens it.
    pub recipient: RecipientId,
    encapped: [u8; ENCAPPED],
    sealed: [u8; SEALED],
}

impl std::fmt::Debug for Wrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wrap(to {})", self.recipient)
    }
}

fn info(session: SessionId) -> Vec<u8> {
    [b"lucid hpke v1: session seed\0".as_slice(), &session.0].concat()
}

/// Wraps `seed` to each of `recipients`.
///
/// # Errors
/// When there is no recipient, more than [`MAX_RECIPIENTS`], or a key that is not one.
pub fn wrap_seed(
    seed: &SessionSeed,
    session: SessionId,
    recipients: &[PublicKeys],
    rng: &mut impl CryptoRng,
) -> Result<Vec<Wrap>, FormatError> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        let why = format!(
            "a session has 1 to {MAX_RECIPIENTS} recipients, not {}",
            recipients.len()
        );
        return Err(FormatError::malformed("the list of recipients", why));
    }
    let fault = |e: hpke::HpkeError| FormatError::malformed("a recipient's key", e);
    let mut wrap = |keys: &PublicKeys| {
        let public = <XWing as hpke::Kem>::PublicKey::from_bytes(&keys.hpke).map_err(fault)?;
        let recipient = keys.id();
        let (enc, body) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &public,
            &info(session),
            seed.bytes().as_ref(),
            &recipient.0,
            rng,
        )
        .map_err(fault)?;
        let (mut encapped, mut sealed) = ([0; ENCAPPED], [0; SEALED]);
        encapped.copy_from_slice(&enc.to_bytes());
        sealed.copy_from_slice(&body);
        Ok(Wrap {
            recipient,
            encapped,
            sealed,
        })
    };
    recipients.iter().map(&mut wrap).collect()
}

/// Opens the wrap that is for `keys`.
///
/// # Errors
/// [`FormatError::NoKey`] when there is none for these keys, [`FormatError::WrongKey`] when it does not open.
pub fn open_wraps(
    wraps: &[Wrap],
    session: SessionId,
    keys: &SecretKeys,
) -> Result<SessionSeed, FormatError> {
    let id = keys.public().id();
    let wrong = || FormatError::WrongKey {
        what: format!("the wrap for recipient {id}"),
    };
    let wrap = wraps.iter().find(|w| w.recipient == id).ok_or_else(|| {
        let named: Vec<String> = wraps.iter().map(|w| w.recipient.to_string()).collect();
        let to = if named.is_empty() {
            "nobody: its keys were destroyed".to_owned()
        } else {
            named.join(", ")
        };
        FormatError::NoKey {
            why: format!("the recording is not sealed to key {id}, but to {to}"),
        }
    })?;
    let encapped =
        <XWing as hpke::Kem>::EncappedKey::from_bytes(&wrap.encapped).map_err(|_| wrong())?;
    let plain = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &keys.hpke(),
        &encapped,
        &info(session),
        &wrap.sealed,
        &id.0,
    )
    .map_err(|_| wrong())?;
    let plain = Zeroizing::new(plain);
    let seed: &[u8; 32] = plain.as_slice().try_into().map_err(|_| wrong())?;
    Ok(SessionSeed::from_bytes(seed))
}

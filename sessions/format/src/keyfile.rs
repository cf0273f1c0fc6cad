//! Key files: what an auditor or a host keeps.
//!
//! Both are one line of text: a label with a version, a name, base64url without padding.
//!
//! ```text
//! lucid-public-key-1 auditor BASE64(X-Wing public key [1216] ‖ Ed25519 public key [32])
//! lucid-secret-key-1 auditor BASE64(borsh: m u32 ‖ t u32 ‖ p u32 ‖ salt [16] ‖ nonce [19] ‖ sealed [48])
//! ```
//!
//! The secret is 32 random bytes from which both key pairs are derived. It is sealed with XChaCha20-Poly1305 under
//! Argon2id (RFC 9106) of a passphrase; label and name are associated data.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use borsh::{BorshDeserialize, BorshSerialize};
use hpke::{Deserializable, Kem as _, Serializable, kem::XWing};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{FormatError, Hash, Keypair, PublicKey, aead, decode_exact, encode, hash};

const PUBLIC: &str = "lucid-public-key-1";
const SECRET: &str = "lucid-secret-key-1";
/// Bytes of an X-Wing public key.
const XWING_PUBLIC: usize = 1216;
/// Longest key file that is read.
const MAX_FILE: usize = 8 << 10;
const MAX_NAME: usize = 64;

/// Names a recipient: a hash of its public keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct RecipientId(pub [u8; 32]);

impl fmt::Display for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0[..8]))
    }
}

impl fmt::Debug for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecipientId({self})")
    }
}

/// What others know of a key: enough to wrap to it and to check its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys {
    /// The name its owner gave it; not authenticated.
    pub name: String,
    /// HPKE key, X-Wing (ML-KEM-768 and X25519).
    pub hpke: Vec<u8>,
    /// Ed25519 identity.
    pub sign: PublicKey,
}

impl PublicKeys {
    /// The name that heads and wraps use.
    pub fn id(&self) -> RecipientId {
        RecipientId(Hash::derive(hash::RECIPIENT, &[&self.hpke, &self.sign.0]).0)
    }

    /// The line of a `.pub` file.
    pub fn to_text(&self) -> String {
        to_line(PUBLIC, &self.name, &[&self.hpke[..], &self.sign.0].concat())
    }

    /// Reads the line of a `.pub` file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_text(text: &str) -> Result<Self, FormatError> {
        let (name, body) = from_line(PUBLIC, "a public key file", text)?;
        if body.len() != XWING_PUBLIC + 32 {
            return Err(FormatError::malformed(
                "a public key file",
                format!("{} bytes of keys", body.len()),
            ));
        }
        let (hpke, sign) = body.split_at(XWING_PUBLIC);
        <XWing as hpke::Kem>::PublicKey::from_bytes(hpke)
            .map_err(|e| FormatError::malformed("a public key file", e))?;
        let mut key = [0; 32];
        key.copy_from_slice(sign);
        Ok(Self {
            name,
            hpke: hpke.to_vec(),
            sign: PublicKey(key),
        })
    }
}

/// Work factors of Argon2id; what a file names is used to read it, within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KdfCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl KdfCost {
    /// What new files get: 64 MiB, 3 passes, the second recommendation of RFC 9106 section 4 with one lane.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 << 10,
        passes: 3,
        lanes: 1,
    };

    /// A file that asks for more than this is refused unread.
    pub const MAX: Self = Self {
        memory_kib: 512 << 10,
        passes: 16,
        lanes: 4,
    };

    fn derive(self, passphrase: &str, salt: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>, FormatError> {
        for (value, bound) in [
            (self.memory_kib, Self::MAX.memory_kib),
            (self.passes, Self::MAX.passes),
            (self.lanes, Self::MAX.lanes),
        ] {
            if value > bound {
                let (value, bound) = (value.into(), bound.into());
                return Err(FormatError::TooLarge {
                    what: "the key file's work factor",
                    value,
                    bound,
                });
            }
        }
        let fault = |e: argon2::Error| FormatError::malformed("the key file's work factor", e);
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(fault)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
            .map_err(fault)?;
        Ok(key)
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct SecretFile {
    cost: KdfCost,
    salt: [u8; 16],
    nonce: [u8; aead::NONCE_PREFIX],
    sealed: [u8; 32 + aead::TAG],
}

/// What a key's owner holds. Zeroized when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKeys {
    #[zeroize(skip)]
    name: String,
    root: [u8; 32],
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({}, redacted)", self.name)
    }
}

impl SecretKeys {
    /// New keys. `name` is letters, digits, `-`, `_` and `.`, at most 64.
    ///
    /// # Errors
    /// When the name is not.
    pub fn generate(name: &str, rng: &mut impl CryptoRng) -> Result<Self, FormatError> {
        check_name(name)?;
        let mut root = [0; 32];
        rng.fill_bytes(&mut root);
        Ok(Self {
            name: name.to_owned(),
            root,
        })
    }

    /// What to give to others.
    pub fn public(&self) -> PublicKeys {
        let hpke = XWing::sk_to_pk(&self.hpke()).to_bytes().to_vec();
        PublicKeys {
            name: self.name.clone(),
            hpke,
            sign: self.signing().public(),
        }
    }

    /// The Ed25519 identity.
    pub fn signing(&self) -> Keypair {
        Keypair::from_secret(&Hash::derive(hash::KEYFILE_SIGN, &[&self.root]).0)
    }

    pub(crate) fn hpke(&self) -> <XWing as hpke::Kem>::PrivateKey {
        let ikm = Zeroizing::new(Hash::derive(hash::KEYFILE_HPKE, &[&self.root]).0);
        XWing::derive_keypair(ikm.as_ref()).0
    }

    /// The line of a `.key` file, sealed under `passphrase`.
    ///
    /// # Errors
    /// When `cost` is out of bounds.
    pub fn to_text(
        &self,
        passphrase: &str,
        cost: KdfCost,
        rng: &mut impl CryptoRng,
    ) -> Result<String, FormatError> {
        let (mut salt, mut nonce) = ([0; 16], [0; aead::NONCE_PREFIX]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        let key = cost.derive(passphrase, &salt)?;
        let mut buffer = self.root.to_vec();
        aead::StreamCipher::new(&key, &nonce)?.seal(
            &associated(&self.name),
            &mut buffer,
            0,
            true,
        )?;
        let mut sealed = [0; 32 + aead::TAG];
        sealed.copy_from_slice(&buffer);
        Ok(to_line(
            SECRET,
            &self.name,
            &encode(
                "a key file",
                &SecretFile {
                    cost,
                    salt,
                    nonce,
                    sealed,
                },
            )?,
        ))
    }

    /// Opens the line of a `.key` file.
    ///
    /// # Errors
    /// [`FormatError::WrongKey`] for a wrong passphrase; else what is wrong with the file.
    pub fn from_text(text: &str, passphrase: &str) -> Result<Self, FormatError> {
        let (name, body) = from_line(SECRET, "a secret key file", text)?;
        let mut file: SecretFile = decode_exact("a secret key file", &body)?;
        let key = file.cost.derive(passphrase, &file.salt)?;
        let wrong = |_| FormatError::WrongKey {
            what: format!("key file '{name}': wrong passphrase, or the file was changed"),
        };
        let mut cipher = aead::StreamCipher::new(&key, &file.nonce)?;
        let plain = cipher
            .open(&associated(&name), &mut file.sealed, true)
            .map_err(wrong)?;
        let mut root = [0; 32];
        root.copy_from_slice(plain);
        file.sealed.zeroize();
        Ok(Self { name, root })
    }
}

fn associated(name: &str) -> Vec<u8> {
    [SECRET.as_bytes(), b" ", name.as_bytes()].concat()
}

fn check_name(name: &str) -> Result<(), FormatError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        let why = format!("'{name}' is not 1 to {MAX_NAME} letters, digits, '-', '_' or '.'");
        return Err(FormatError::malformed("a key's name", why));
    }
    Ok(())
}

fn to_line(label: &str, name: &str, body: &[u8]) -> String {
    format!(
        "{label} {name} {}\n",
        data_encoding::BASE64URL_NOPAD.encode(body)
    )
}

fn from_line(
    label: &str,
    what: &'static str,
    text: &str,
) -> Result<(String, Vec<u8>), FormatError> {
    if text.len() > MAX_FILE {
        return Err(FormatError::TooLarge {
            what,
            value: text.len() as u64,
            bound: MAX_FILE as u64,
        });
    }
    let mut words = text.split_whitespace();
    let (found, name, body) = (words.next(), words.next(), words.next());
    if found != Some(label) {
        return Err(FormatError::NotLucid { what });
    }
    let (Some(name), Some(body), None) = (name, body, words.next()) else {
        return Err(FormatError::malformed(
            what,
            "it is not three words: label, name, base64",
        ));
    };
    check_name(name)?;
    let body = data_encoding::BASE64URL_NOPAD
        .decode(body.as_bytes())
        .map_err(|e| FormatError::malformed(what, e))?;
    Ok((name.to_owned(), body))
}

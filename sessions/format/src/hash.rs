use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{FormatError, Wrap, encode};

/// A BLAKE3 hash.
///
/// The address of a chunk is the plain BLAKE3 of its bytes, so that `b3sum` finds the same and so that 1 KiB openings of
/// BLAKE3's own tree prove storage. Every other hash is in `derive_key` mode with one of the contexts below, so no hash
/// of one thing is ever the hash of another.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Hash(pub [u8; 32]);

pub(crate) const MERKLE_LEAF: &str = "lucid 2026-11 merkle leaf v1";
pub(crate) const MERKLE_NODE: &str = "lucid 2026-11 merkle node v1";
pub(crate) const MERKLE_ROOT: &str = "lucid 2026-11 salted merkle root v1";
pub(crate) const HEAD: &str = "lucid 2026-11 recording head v1";
pub(crate) const MANIFEST: &str = "lucid 2026-11 manifest v1";
pub(crate) const WRAPS: &str = "lucid 2026-11 key wraps v1";
pub(crate) const RECIPIENT: &str = "lucid 2026-11 recipient id v1";
pub(crate) const POLICY: &str = "lucid 2026-11 session policy v1";
pub(crate) const GGM_ROOT: &str = "lucid 2026-11 ggm root v1";
pub(crate) const KEYFILE_HPKE: &str = "lucid 2026-11 key file hpke v1";
pub(crate) const KEYFILE_SIGN: &str = "lucid 2026-11 key file ed25519 v1";

impl Hash {
    /// The address of `bytes`: plain BLAKE3.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Hash of the channel policy that a ticket names (`policy` of [`Ticket`](crate::Ticket)).
    pub fn of_policy(text: &str) -> Self {
        Self::derive(POLICY, &[text.as_bytes()])
    }

    pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Lower-case hex, 64 characters.
    pub fn to_hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when it is not 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Result<Self, FormatError> {
        let bytes = data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .map_err(|e| FormatError::malformed("a hash", format!("'{text}': {e}")))?;
        let bytes = bytes
            .try_into()
            .map_err(|_| FormatError::malformed("a hash", format!("'{text}' is not 32 bytes")))?;
        Ok(Self(bytes))
    }
}

/// Hash of all wraps of a session: the head names it, so a wrap cannot be swapped, and destroying the wraps
/// (crypto-shredding) leaves everything else verifiable.
///
/// # Errors
/// When there are more wraps than the format allows.
pub fn hash_wraps(wraps: &[Wrap]) -> Result<Hash, FormatError> {
    Ok(Hash::derive(WRAPS, &[&encode("the key wraps", &wraps)?]))
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

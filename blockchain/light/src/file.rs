//! Proofs as files: eight bytes that name the kind, a version, and one borsh value.

use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::decode;

use crate::LightError;

/// A kind of file.
pub(crate) struct Kind {
    pub(crate) magic: &'static [u8; 8],
    pub(crate) version: u8,
    /// In errors.
    pub(crate) what: &'static str,
    pub(crate) max_bytes: usize,
}

impl Kind {
    pub(crate) fn encode<T: BorshSerialize>(&self, value: &T) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.push(self.version);
        let written = value.serialize(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        bytes
    }

    pub(crate) fn decode<T: BorshDeserialize>(&self, bytes: &[u8]) -> Result<T, LightError> {
        let rest = bytes
            .strip_prefix(self.magic)
            .ok_or(LightError::NotAProof(self.what))?;
        let (&version, rest) = rest.split_first().ok_or(LightError::NotAProof(self.what))?;
        if version != self.version {
            return Err(LightError::Version {
                what: self.what,
                version,
                known: self.version,
            });
        }
        Ok(decode(self.what, rest, self.max_bytes)?)
    }
}

/// Refuses a list that is too long.
pub(crate) fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), LightError> {
    if count > limit {
        return Err(LightError::TooMany { what, count, limit });
    }
    Ok(())
}

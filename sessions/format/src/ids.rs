use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::FormatError;

/// A session's single-use name (requirement S7): 16 random bytes, written as 26 lower-case base32 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &data_encoding::BASE32_NOPAD
                .encode(&self.0)
                .to_ascii_lowercase(),
        )
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let id = data_encoding::BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map(Self)
            .filter(|id| id.to_string() == text);
        id.ok_or_else(|| {
            FormatError::malformed(
                "a session id",
                format!("'{text}' is not 26 lower-case base32 characters (a-z, 2-7)"),
            )
        })
    }
}

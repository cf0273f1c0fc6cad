//! Reading bytes from outside.

use borsh::BorshDeserialize;

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than this kind may have.
    #[error("{what} has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The bytes are not an encoding of this kind, or more follow it.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Reads one value that fills `bytes`, which may be no longer than `limit`.
pub fn decode<T: BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge {
            what,
            bytes: bytes.len(),
            limit,
        });
    }
    // borsh reads lists piece by piece, so a false length cannot make it reserve more than the input holds.
    borsh::from_slice(bytes).map_err(|error| DecodeError::Malformed {
        what,
        reason: error.to_string(),
    })
}

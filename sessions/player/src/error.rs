/// Why a recording cannot be shown, or must not be made.
///
/// Nothing is skipped: what this crate cannot draw exactly ends in one of these, because a recording that silently shows
/// less than the user saw is worse than none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlayerError {
    /// Bytes are missing.
    #[error("{what} is cut short: {need} bytes needed, {have} there")]
    Truncated {
        /// The structure that was being read.
        what: &'static str,
        /// Bytes the structure needs.
        need: usize,
        /// Bytes that were left.
        have: usize,
    },
    /// A field holds what the protocol does not allow.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The structure that was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Valid protocol that Lucid refuses to record, because it could not be replayed exactly.
    #[error(
        "the desktop sent {what}, which a recording cannot replay; the gateway must switch it off when the session begins"
    )]
    Unsupported {
        /// Name and number of what was sent.
        what: String,
    },
    /// A bitmap that does not touch the screen: a resize was missed.
    #[error(
        "a bitmap at {x},{y} lies outside the {width}×{height} screen; a resize is missing from the recording"
    )]
    OutsideScreen {
        /// Left edge, in pixels.
        x: u16,
        /// Top edge, in pixels.
        y: u16,
        /// The screen's width, in pixels.
        width: u16,
        /// The screen's height, in pixels.
        height: u16,
    },
    /// A screen without area, or larger than [`MAX_SIDE`](crate::MAX_SIDE).
    #[error("a screen of {width}×{height} pixels cannot be recorded: each side must be 1 to 8192")]
    ScreenSize {
        /// Width, in pixels.
        width: u16,
        /// Height, in pixels.
        height: u16,
    },
    /// More than this crate holds in memory.
    #[error("{what} is {value} bytes, more than the bound of {bound}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes.
        value: usize,
        /// The most that is accepted, in bytes.
        bound: usize,
    },
    /// A chunk is needed that was not loaded; load it and ask again.
    #[error("chunk {chunk} has not been loaded")]
    NeedsChunk {
        /// The chunk's index.
        chunk: usize,
    },
}

impl PlayerError {
    pub(crate) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed {
            what,
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// Takes the first `n` bytes off `rest`.
pub(crate) fn take<'a>(
    rest: &mut &'a [u8],
    n: usize,
    what: &'static str,
) -> Result<&'a [u8], PlayerError> {
    let (head, tail) = rest.split_at_checked(n).ok_or(PlayerError::Truncated {
        what,
        need: n,
        have: rest.len(),
    })?;
    *rest = tail;
    Ok(head)
}

/// Takes one byte off `rest`.
pub(crate) fn take_u8(rest: &mut &[u8], what: &'static str) -> Result<u8, PlayerError> {
    take(rest, 1, what).map(|b| b[0])
}

/// Takes a little-endian `u16` off `rest`.
pub(crate) fn take_u16(rest: &mut &[u8], what: &'static str) -> Result<u16, PlayerError> {
    take(rest, 2, what).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

/// Takes a little-endian `u32` off `rest`.
pub(crate) fn take_u32(rest: &mut &[u8], what: &'static str) -> Result<u32, PlayerError> {
    take(rest, 4, what).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

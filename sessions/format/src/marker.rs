use borsh::{BorshDeserialize, BorshSerialize};

use crate::{FormatError, decode_exact};

/// What the recorder itself says inside a recording (the payload of [`Stream::Marker`](crate::Stream)).
///
/// Texts are at most [`MAX_TEXT`](Marker::MAX_TEXT) bytes; the writer cuts them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Marker {
    /// The session began: wall clock in µs since the Unix epoch.
    Started {
        /// Wall clock, µs since the Unix epoch.
        wall_us: u64,
        /// Address and name the client gave.
        client: String,
        /// Name of the target in the gateway's target file, or its address.
        target: String,
    },
    /// A peer used a channel that policy had closed; `count` PDUs since the last such marker were dropped.
    ChannelDenied {
        /// `clipboard-in`, `drives`, …
        permission: String,
        /// `true` from client to desktop.
        to_desktop: bool,
        /// PDUs dropped.
        count: u32,
    },
    /// A channel was opened for a bounded time.
    Granted {
        /// `clipboard-in`, `drives`, …
        permission: String,
        /// How long, in ms (`policyTimeoutMs` bounds it).
        for_ms: u64,
        /// Who opened it.
        by: String,
    },
    /// A grant ran out or was taken back.
    GrantEnded {
        /// `clipboard-in`, `drives`, …
        permission: String,
    },
    /// Free text from an operator or a program.
    Note {
        /// The text.
        text: String,
    },
    /// The session ended, and why.
    Ended {
        /// Wall clock, µs since the Unix epoch.
        wall_us: u64,
        /// Why.
        reason: String,
    },
}

impl Marker {
    /// Longest text in a marker, in bytes.
    pub const MAX_TEXT: usize = 1024;

    /// The marker's bytes, with its texts cut to [`MAX_TEXT`](Self::MAX_TEXT).
    ///
    /// # Errors
    /// Never in practice: encoding to memory.
    pub fn encode(mut self) -> Result<Vec<u8>, FormatError> {
        for text in self.texts() {
            let mut cut = text.len().min(Self::MAX_TEXT);
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            text.truncate(cut);
        }
        borsh::to_vec(&self).map_err(|e| FormatError::malformed("a marker", e))
    }

    /// Reads a marker; rejects unknown kinds and bytes that follow.
    ///
    /// # Errors
    /// [`FormatError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut marker: Self = decode_exact("a marker", bytes)?;
        if let Some(text) = marker
            .texts()
            .into_iter()
            .find(|t| t.len() > Self::MAX_TEXT)
        {
            let value = text.len() as u64;
            return Err(FormatError::TooLarge {
                what: "a marker's text",
                value,
                bound: Self::MAX_TEXT as u64,
            });
        }
        Ok(marker)
    }

    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::Started { client, target, .. } => vec![client, target],
            Self::ChannelDenied { permission, .. } | Self::GrantEnded { permission } => {
                vec![permission]
            }
            Self::Granted { permission, by, .. } => vec![permission, by],
            Self::Note { text } => vec![text],
            Self::Ended { reason, .. } => vec![reason],
        }
    }
}

//! Frames and headers, by byte offset: TPKT, X.224, MCS send-data, fast path, virtual channel chunks.
//!
//! Everything here looks at borrowed bytes and answers with offsets, so that the relay can patch a frame where it lies.
//! Sources: MS-RDPBCGR 2.2.8 and 2.2.9 (fast path), 2.2.6.1 (channel chunks), T.123 (TPKT), T.125 (MCS).

use std::ops::Range;

/// Bytes that are not what their place in the protocol calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Longest frame there can be: both length fields have at most 16 bits.
pub const MAX_FRAME: usize = 0xFFFF;

/// Channel chunk flag: first chunk of a PDU (MS-RDPBCGR 2.2.6.1.1).
pub const CHANNEL_FLAG_FIRST: u32 = 0x01;
/// Channel chunk flag: last chunk of a PDU.
pub const CHANNEL_FLAG_LAST: u32 = 0x02;
/// Channel chunk flag: the receiver is to see the chunk headers.
pub const CHANNEL_FLAG_SHOW_PROTOCOL: u32 = 0x10;
/// Channel chunk flag: the chunk is bulk-compressed.
pub const CHANNEL_PACKET_COMPRESSED: u32 = 0x0020_0000;
/// Channel option (connect initial): show the chunk headers to the endpoint.
pub const CHANNEL_OPTION_SHOW_PROTOCOL: u32 = 0x0020_0000;

/// T.125 user ids start here; the wire carries the difference.
const USER_BASE: u16 = 1001;
const TPKT_VERSION: u8 = 3;
const X224_DATA: [u8; 3] = [0x02, 0xF0, 0x80];
const MCS_OFFSET: usize = 7;

pub(crate) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Length in bytes of the frame that `bytes` begins with, or `None` if too little is there to tell.
///
/// Covers TPKT (first byte 3) and fast path (two low bits zero).
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    if first == TPKT_VERSION {
        let Some(len) = u16_be(bytes, 2) else {
            return Ok(None);
        };
        return if len < 7 {
            Err(Malformed("TPKT length below its own header"))
        } else {
            Ok(Some(len.into()))
        };
    }
    if first & 0b11 != 0 {
        return Err(Malformed("neither a TPKT nor a fast-path frame"));
    }
    let (len, header) = match (bytes.get(1), bytes.get(2)) {
        (Some(&a), _) if a & 0x80 == 0 => (usize::from(a), 2),
        (Some(&a), Some(&b)) => (usize::from(a & 0x7F) << 8 | usize::from(b), 3),
        _ => return Ok(None),
    };
    if len <= header {
        Err(Malformed("fast-path length below its own header"))
    } else {
        Ok(Some(len))
    }
}

/// Whether a whole frame is a fast-path one.
pub fn is_fast_path(frame: &[u8]) -> bool {
    frame.first().is_some_and(|b| b & 0b11 == 0)
}

/// What an X.224 data frame carries at the MCS layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mcs {
    /// Client → server data.
    SendDataRequest(SendData),
    /// Server → client data.
    SendDataIndication(SendData),
    /// Disconnect provider ultimatum, with its reason code.
    Disconnect(u8),
    /// Any other domain PDU, by its number.
    Other(u8),
}

/// The header of an MCS send-data PDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendData {
    /// MCS user id of the sender (client) or of the addressed server.
    pub initiator: u16,
    /// MCS channel id.
    pub channel: u16,
    /// Where the user data lies in the frame.
    pub data: Range<usize>,
}

/// Reads the MCS header of a whole TPKT frame.
pub fn parse_mcs(frame: &[u8]) -> Result<Mcs, Malformed> {
    if frame.get(4..MCS_OFFSET) != Some(&X224_DATA) {
        return Err(Malformed("not an X.224 data TPDU"));
    }
    let choice = *frame
        .get(MCS_OFFSET)
        .ok_or(Malformed("empty X.224 data TPDU"))?;
    match choice >> 2 {
        kind @ (25 | 26) => {
            let short = Malformed("MCS send-data header is cut short");
            let initiator = u16_be(frame, 8)
                .ok_or(short)?
                .checked_add(USER_BASE)
                .ok_or(Malformed("MCS user id overflows"))?;
            let channel = u16_be(frame, 10).ok_or(short)?;
            let (len, at) = read_per_length(frame, 13).ok_or(short)?;
            if frame.len() != at + len {
                return Err(Malformed("MCS user data does not fill its frame"));
            }
            let header = SendData {
                initiator,
                channel,
                data: at..at + len,
            };
            Ok(if kind == 25 {
                Mcs::SendDataRequest(header)
            } else {
                Mcs::SendDataIndication(header)
            })
        }
        8 => Ok(Mcs::Disconnect(
            (choice & 3) << 1 | frame.get(8).map_or(0, |b| b >> 7),
        )),
        other => Ok(Mcs::Other(other)),
    }
}

/// Writes other ids into a frame that [`parse_mcs`] took for send-data.
pub fn patch_ids(frame: &mut [u8], initiator: u16, channel: u16) {
    frame[8..10].copy_from_slice(&initiator.saturating_sub(USER_BASE).to_be_bytes());
    frame[10..12].copy_from_slice(&channel.to_be_bytes());
}

/// A PER length: one byte below 0x80, else two. Returns the value and the offset after it.
fn read_per_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let a = *bytes.get(at)?;
    if a & 0x80 == 0 {
        return Some((a.into(), at + 1));
    }
    Some((
        usize::from(a & 0x7F) << 8 | usize::from(*bytes.get(at + 1)?),
        at + 2,
    ))
}

pub(crate) fn per_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    read_per_length(bytes, at)
}

/// Which way a frame or a PDU goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Client → server: what the person at the client sends.
    In,
    /// Server → client: what the desktop sends.
    Out,
}

impl Direction {
    /// The other way.
    pub fn reverse(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::In => "client to desktop",
            Self::Out => "desktop to client",
        })
    }
}

/// Builds a send-data frame around `user_data`; fails only if it cannot fit a frame (16 bits).
pub fn send_data(
    direction: Direction,
    initiator: u16,
    channel: u16,
    user_data: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let too_long = Malformed("user data too long for one frame");
    let len = u16::try_from(user_data.len()).map_err(|_| too_long)?;
    let total = len
        .checked_add(15)
        .filter(|_| len < 0x8000)
        .ok_or(too_long)?;
    let mut frame = Vec::with_capacity(total.into());
    frame.extend_from_slice(&[TPKT_VERSION, 0]);
    frame.extend_from_slice(&total.to_be_bytes());
    frame.extend_from_slice(&X224_DATA);
    frame.push(if direction == Direction::In {
        25 << 2
    } else {
        26 << 2
    });
    frame.extend_from_slice(&initiator.saturating_sub(USER_BASE).to_be_bytes());
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.push(0x70);
    frame.extend_from_slice(&(len | 0x8000).to_be_bytes());
    frame.extend_from_slice(user_data);
    Ok(frame)
}

/// Bytes of a PDU in one chunk (`CHANNEL_CHUNK_LENGTH`).
const CHUNK: usize = 1600;

/// Builds the frames of a channel PDU, one a chunk. `flags` go on every chunk, beside first and last.
pub fn channel_pdu(
    direction: Direction,
    initiator: u16,
    channel: u16,
    flags: u32,
    pdu: &[u8],
) -> Result<Vec<Vec<u8>>, Malformed> {
    let total = u32::try_from(pdu.len()).map_err(|_| Malformed("channel PDU too long"))?;
    let chunks = pdu.len().div_ceil(CHUNK).max(1);
    (0..chunks)
        .map(|index| {
            let body = &pdu[index * CHUNK..pdu.len().min((index + 1) * CHUNK)];
            let first = if index == 0 { CHANNEL_FLAG_FIRST } else { 0 };
            let last = if index + 1 == chunks {
                CHANNEL_FLAG_LAST
            } else {
                0
            };
            let mut data = Vec::with_capacity(body.len() + CHUNK_HEADER);
            data.extend_from_slice(&total.to_le_bytes());
            data.extend_from_slice(&(flags | first | last).to_le_bytes());
            data.extend_from_slice(body);
            send_data(direction, initiator, channel, &data)
        })
        .collect()
}

/// The frame that ends a session at the MCS layer (T.125 DisconnectProviderUltimatum).
pub fn disconnect_frame(reason: u8) -> [u8; 9] {
    let [a, b, c] = X224_DATA;
    [
        TPKT_VERSION,
        0,
        0,
        9,
        a,
        b,
        c,
        8 << 2 | (reason >> 1 & 3),
        reason << 7,
    ]
}

/// Header of a static virtual channel chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Length in bytes of the whole PDU the chunk belongs to.
    pub total: u32,
    /// `CHANNEL_FLAG_…` bits.
    pub flags: u32,
}

/// Bytes of a chunk header.
pub const CHUNK_HEADER: usize = 8;

/// Reads the chunk header at the head of a channel's user data.
pub fn parse_chunk(data: &[u8]) -> Result<Chunk, Malformed> {
    match (u32_le(data, 0), u32_le(data, 4)) {
        (Some(total), Some(flags)) => Ok(Chunk { total, flags }),
        _ => Err(Malformed("channel chunk without its header")),
    }
}

/// One update of a fast-path output frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastPathUpdate {
    /// Update code (MS-RDPBCGR 2.2.9.1.2.1): 0 orders, 1 bitmap, …
    pub code: u8,
    /// 0 single, 1 last, 2 first, 3 next.
    pub fragmentation: u8,
    /// Whether a compression flags byte is there.
    pub compressed: bool,
    /// Where its data lies in the frame.
    pub data: Range<usize>,
}

/// Walks the updates of a whole fast-path output frame.
pub fn fast_path_updates(frame: &[u8]) -> Result<Vec<FastPathUpdate>, Malformed> {
    if frame.first().is_none_or(|b| b & 0xC3 != 0) {
        return Err(Malformed("fast-path output with encryption flags"));
    }
    let mut at = if frame.get(1).is_some_and(|b| b & 0x80 != 0) {
        3
    } else {
        2
    };
    let mut updates = Vec::with_capacity(1);
    while at < frame.len() {
        let header = frame[at];
        let compressed = header >> 6 != 0;
        let size_at = at + 1 + usize::from(compressed);
        let cut = Malformed("fast-path update is cut short");
        let size = usize::from(u16_le(frame, size_at).ok_or(cut)?);
        let data = size_at + 2..size_at + 2 + size;
        if data.end > frame.len() {
            return Err(cut);
        }
        at = data.end;
        updates.push(FastPathUpdate {
            code: header & 0x0F,
            fragmentation: header >> 4 & 3,
            compressed,
            data,
        });
    }
    Ok(updates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_built_send_data_frame_reads_back() {
        let frame = send_data(Direction::Out, 1002, 1004, b"hello").unwrap();
        assert_eq!(frame_len(&frame), Ok(Some(frame.len())));
        let Mcs::SendDataIndication(header) = parse_mcs(&frame).unwrap() else {
            panic!("wrong kind")
        };
        assert_eq!(
            (header.initiator, header.channel, &frame[header.data]),
            (1002, 1004, b"hello".as_slice())
        );
    }

    #[test]
    fn patched_ids_read_back() {
        let mut frame = send_data(Direction::In, 1002, 1004, b"x").unwrap();
        patch_ids(&mut frame, 1007, 1005);
        let Mcs::SendDataRequest(header) = parse_mcs(&frame).unwrap() else {
            panic!("wrong kind")
        };
        assert_eq!((header.initiator, header.channel), (1007, 1005));
    }

    #[test]
    fn a_disconnect_frame_carries_its_reason() {
        for reason in 0..5 {
            assert_eq!(
                parse_mcs(&disconnect_frame(reason)),
                Ok(Mcs::Disconnect(reason))
            );
        }
    }

    #[test]
    fn user_data_that_does_not_fill_its_frame_is_refused() {
        let mut frame = send_data(Direction::Out, 1002, 1003, b"hello").unwrap();
        frame.push(0);
        assert!(parse_mcs(&frame).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = frame_len(&bytes);
            let _ = parse_mcs(&bytes);
            let _ = parse_chunk(&bytes);
            if let Ok(updates) = fast_path_updates(&bytes) {
                for update in updates { let _ = &bytes[update.data]; }
            }
        }

        #[test]
        fn any_short_user_data_survives_the_frame(data in proptest::collection::vec(any::<u8>(), 0..2000), user in 1001u16.., channel: u16) {
            let frame = send_data(Direction::In, user, channel, &data).unwrap();
            let Mcs::SendDataRequest(header) = parse_mcs(&frame).unwrap() else { panic!("wrong kind") };
            prop_assert_eq!(&frame[header.data], &data[..]);
        }
    }
}

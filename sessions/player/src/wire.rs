//! Frames from the desktop, taken apart down to single updates.
//!
//! ```text
//!  fast-path   header ─ length ─ update*                                  MS-RDPBCGR 2.2.9.1.2
//!  slow-path   TPKT ─ X.224 ─ MCS SendDataIndication ─ share control PDU*  MS-RDPBCGR 2.2.8.1.1
//! ```
//!
//! Only what can change the picture is read; what cannot (licences, capabilities, virtual channels) is passed over, and
//! whatever this module does not know is an error.

use ironrdp_core::{Decode as _, ReadCursor};
use ironrdp_pdu::{
    fast_path::{EncryptionFlags, FastPathHeader, FastPathUpdatePdu, Fragmentation, UpdateCode},
    mcs::{ConnectResponse, McsMessage},
    rdp::headers::CompressionFlags,
    x224::{X224, X224Data},
};

use crate::{
    PlayerError,
    error::{take, take_u8, take_u16},
};

/// The MCS channel that graphics come on. Servers may choose another number, none does; a recording has to be readable from
/// its middle, so the number is fixed and a server that chooses another is refused ([`expect_io_channel`]).
pub(crate) const IO_CHANNEL: u16 = 1003;

/// One update, whole or in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update<'a> {
    /// Part of a fast-path update.
    Fast {
        code: UpdateCode,
        part: Fragmentation,
        data: &'a [u8],
    },
    /// A slow-path graphics update, from its `updateType`.
    SlowGraphics(&'a [u8]),
    /// A slow-path pointer update, from its `messageType`.
    SlowPointer(&'a [u8]),
}

/// Flag of a security header: a licensing PDU follows (MS-RDPBCGR 2.2.8.1.1.2.1).
const SEC_LICENSE: u16 = 0x0080;

/// Calls `each` for every update in a frame from the desktop.
pub(crate) fn updates<'a>(
    frame: &'a [u8],
    mut each: impl FnMut(Update<'a>) -> Result<(), PlayerError>,
) -> Result<(), PlayerError> {
    match frame.first() {
        None => Err(PlayerError::Truncated {
            what: "a frame",
            need: 1,
            have: 0,
        }),
        Some(3) => slow_path(frame, &mut each),
        Some(first) if first & 3 == 0 => fast_path(frame, &mut each),
        Some(first) => Err(PlayerError::malformed(
            "a frame",
            format!("it begins with {first:#04x}"),
        )),
    }
}

fn fast_path<'a>(
    frame: &'a [u8],
    each: &mut impl FnMut(Update<'a>) -> Result<(), PlayerError>,
) -> Result<(), PlayerError> {
    const WHAT: &str = "a fast-path frame";
    let mut src = ReadCursor::new(frame);
    let header =
        FastPathHeader::decode(&mut src).map_err(|e| PlayerError::malformed(WHAT, e.report()))?;
    if header.data_length != src.len() {
        return Err(PlayerError::Truncated {
            what: WHAT,
            need: header.data_length,
            have: src.len(),
        });
    }
    if header.flags != EncryptionFlags::empty() {
        return Err(PlayerError::unsupported(
            "an encrypted or signed fast-path frame (RDP security)",
        ));
    }
    while !src.is_empty() {
        let code = src.remaining()[0] & 0x0F;
        if matches!(code, 0x7 | 0xD..) {
            return Err(PlayerError::unsupported(format!(
                "fast-path update {code:#x}"
            )));
        }
        let update = FastPathUpdatePdu::decode(&mut src)
            .map_err(|e| PlayerError::malformed(WHAT, e.report()))?;
        if update
            .compression_flags
            .is_some_and(|f| f.contains(CompressionFlags::COMPRESSED))
        {
            let code = update.update_code.as_u8();
            return Err(PlayerError::unsupported(format!(
                "fast-path update {code:#x} with bulk compression"
            )));
        }
        each(Update::Fast {
            code: update.update_code,
            part: update.fragmentation,
            data: update.data,
        })?;
    }
    Ok(())
}

fn slow_path<'a>(
    frame: &'a [u8],
    each: &mut impl FnMut(Update<'a>) -> Result<(), PlayerError>,
) -> Result<(), PlayerError> {
    let Some(mcs) = x224_data(frame)? else {
        return Ok(());
    };
    match mcs.first() {
        // BER, application tag 102: MCS Connect-Response
        Some(0x7F) => expect_io_channel(frame),
        // The PER choice of an MCS domain PDU is in the upper six bits.
        Some(choice) if choice >> 2 == 26 => {
            let message = ironrdp_core::decode::<X224<McsMessage<'_>>>(frame)
                .map_err(|e| PlayerError::malformed("an MCS frame", e.report()))?;
            let McsMessage::SendDataIndication(message) = message.0 else {
                return Ok(());
            };
            let std::borrow::Cow::Borrowed(data) = message.user_data else {
                return Ok(());
            };
            if message.channel_id == IO_CHANNEL {
                share_control(data, each)
            } else {
                Ok(())
            }
        }
        Some(_) => Ok(()),
        None => Err(PlayerError::Truncated {
            what: "an MCS frame",
            need: 1,
            have: 0,
        }),
    }
}

/// The content of an X.224 data PDU; `None` for the connection PDUs around it.
fn x224_data(frame: &[u8]) -> Result<Option<&[u8]>, PlayerError> {
    const WHAT: &str = "a TPKT frame";
    let mut rest = frame;
    let head = take(&mut rest, 4, WHAT)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length != frame.len() {
        return Err(PlayerError::Truncated {
            what: WHAT,
            need: length,
            have: frame.len(),
        });
    }
    let header = usize::from(take_u8(&mut rest, WHAT)?);
    let header = take(&mut rest, header, WHAT)?;
    Ok((header.first().is_some_and(|code| code & 0xF0 == 0xF0)).then_some(rest))
}

/// Refuses a server whose I/O channel is not the usual one.
fn expect_io_channel(frame: &[u8]) -> Result<(), PlayerError> {
    const WHAT: &str = "an MCS connect response";
    let data = ironrdp_core::decode::<X224<X224Data<'_>>>(frame)
        .map_err(|e| PlayerError::malformed(WHAT, e.report()))?;
    let response = ironrdp_core::decode::<ConnectResponse>(&data.0.data)
        .map_err(|e| PlayerError::malformed(WHAT, e.report()))?;
    match response.global_channel_id() {
        IO_CHANNEL => Ok(()),
        other => Err(PlayerError::unsupported(format!(
            "graphics on MCS channel {other} instead of {IO_CHANNEL}"
        ))),
    }
}

/// Share control PDUs, one after another (MS-RDPBCGR 2.2.8.1.1.1.1), or a PDU with a security header (licensing).
fn share_control<'a>(
    mut rest: &'a [u8],
    each: &mut impl FnMut(Update<'a>) -> Result<(), PlayerError>,
) -> Result<(), PlayerError> {
    const WHAT: &str = "a share control PDU";
    // A security header (licensing, auto-detection, heartbeat) stands where a share control PDU has its type, whose version
    // bits are 1. Its upper half should be 0; xrdp's licensing PDUs have 0x013e and 0x0010 there.
    if let [f0, f1, hi @ ..] = rest
        && let [h0, h1, ..] = hi
    {
        let (flags, high) = (
            u16::from_le_bytes([*f0, *f1]),
            u16::from_le_bytes([*h0, *h1]),
        );
        let is_share_control = matches!(high, 0x11 | 0x13 | 0x16 | 0x17 | 0x0A);
        if high == 0 || (!is_share_control && flags & SEC_LICENSE != 0) {
            return Ok(());
        }
    }
    while !rest.is_empty() {
        let mut header = rest;
        let length = usize::from(take_u16(&mut header, WHAT)?);
        // Flow control PDUs (T.128 8.5) have this instead of a length, and eight bytes.
        let length = if length == 0x8000 { 8 } else { length };
        // xrdp's empty output PDUs declare no length.
        let pdu = if length == 0 {
            std::mem::take(&mut rest)
        } else {
            take(&mut rest, length, WHAT)?
        };
        if pdu.len() == 8 && pdu[1] == 0x80 {
            continue;
        }
        let mut body = pdu.get(2..).unwrap_or_default();
        let kind = take_u16(&mut body, WHAT)? & 0x0F;
        match kind {
            7 => share_data(body, each)?,
            // demand active, confirm active, deactivate all, server redirection
            1 | 3 | 6 | 10 => {}
            other => {
                return Err(PlayerError::unsupported(format!(
                    "share control PDU {other}"
                )));
            }
        }
    }
    Ok(())
}

/// A data PDU after `pduType` (MS-RDPBCGR 2.2.8.1.1.1.2).
fn share_data<'a>(
    mut body: &'a [u8],
    each: &mut impl FnMut(Update<'a>) -> Result<(), PlayerError>,
) -> Result<(), PlayerError> {
    const WHAT: &str = "a share data PDU";
    // pduSource, shareId, pad, streamId, uncompressedLength
    take(&mut body, 2 + 4 + 1 + 1 + 2, WHAT)?;
    let kind = take_u8(&mut body, WHAT)?;
    let compression = take_u8(&mut body, WHAT)?;
    take(&mut body, 2, WHAT)?;
    if compression & CompressionFlags::COMPRESSED.bits() != 0 {
        return Err(PlayerError::unsupported(format!(
            "share data PDU {kind:#04x} with bulk compression"
        )));
    }
    match kind {
        0x02 if body.is_empty() => Ok(()),
        0x1B if body.is_empty() => Ok(()),
        0x02 => each(Update::SlowGraphics(body)),
        0x1B => each(Update::SlowPointer(body)),
        // control, input, synchronize, refresh rect, play sound, suppress output, shutdown, save session info, font list and
        // map, keyboard indicators, persistent bitmaps, bitmap cache error, keyboard IME, offscreen cache error, set error
        // info, nine-grid error, GDI+ error, ARC status, status info, monitor layout
        0x14 | 0x1C | 0x1F | 0x21 | 0x22 | 0x23 | 0x24 | 0x25 | 0x26 | 0x27 | 0x28 | 0x29
        | 0x2B | 0x2C | 0x2D | 0x2E | 0x2F | 0x30 | 0x31 | 0x32 | 0x36 | 0x37 | 0x38 => Ok(()),
        other => Err(PlayerError::unsupported(format!(
            "share data PDU {other:#04x}"
        ))),
    }
}

//! The client's Connect Initial: what the gateway reads from it, and what it changes in place before the target sees it.
//!
//! Source: MS-RDPBCGR 2.2.1.3; T.125 BER and T.124 PER wrappings around the client data blocks.

use crate::wire::{Malformed, per_length, u16_le, u32_le};

const CS_CORE: u16 = 0xC001;
const CS_NET: u16 = 0xC003;
const CS_CLUSTER: u16 = 0xC004;
const CS_MULTITRANSPORT: u16 = 0xC00A;

/// Offsets in the core data, after the block header.
mod core {
    pub(super) const WIDTH: usize = 4;
    pub(super) const HEIGHT: usize = 6;
    pub(super) const CLIENT_NAME: usize = 20;
    pub(super) const HIGH_COLOR_DEPTH: usize = 136;
    pub(super) const SUPPORTED_DEPTHS: usize = 138;
    pub(super) const EARLY_CAPABILITIES: usize = 140;
    pub(super) const CONNECTION_TYPE: usize = 206;
    pub(super) const SELECTED_PROTOCOL: usize = 208;
}

/// Netchar autodetect, EGFX, heartbeat, skip-channel-join: none of them passes through the gateway.
const FORBIDDEN_EARLY_CAPABILITIES: u16 = 0x0080 | 0x0100 | 0x0400 | 0x0800;
const CHANNEL_OPTIONS_COMPRESSION: u32 = 0x0080_0000 | 0x0040_0000;
/// Channels a client may ask for (MS-RDPBCGR 2.2.1.3.4).
const MAX_CHANNELS: usize = 31;
const CHANNEL_DEF: usize = 12;

/// A static virtual channel the client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRequest {
    /// Name, at most seven characters.
    pub name: String,
    /// `CHANNEL_OPTION_…` bits.
    pub options: u32,
}

/// What the gateway reads from a Connect Initial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientData {
    /// Desktop width the client asks for, in pixels.
    pub width: u16,
    /// Desktop height the client asks for, in pixels.
    pub height: u16,
    /// Name of the client's computer.
    pub client_name: String,
    /// Whether the client reads Set Error Info PDUs (early capability 0x0001).
    pub reads_error_info: bool,
    /// Channels in the client's order.
    pub channels: Vec<ChannelRequest>,
}

/// Offsets of the client data blocks (kind, body range) in a whole Connect Initial frame.
fn blocks(frame: &[u8]) -> Result<Vec<(u16, std::ops::Range<usize>)>, Malformed> {
    let cut = Malformed("connect initial is cut short");
    // TPKT 4, X.224 data 3, then BER [APPLICATION 101].
    if frame.get(7..9) != Some(&[0x7F, 0x65]) {
        return Err(Malformed("not an MCS connect initial"));
    }
    let (_, mut at) = ber_length(frame, 9).ok_or(cut)?;
    // Two domain selectors, the upward flag, three sets of domain parameters; then the user data.
    for tag in [0x04, 0x04, 0x01, 0x30, 0x30, 0x30] {
        if frame.get(at) != Some(&tag) {
            return Err(Malformed("connect initial has an unexpected field"));
        }
        let (len, body) = ber_length(frame, at + 1).ok_or(cut)?;
        at = body.checked_add(len).ok_or(cut)?;
    }
    if frame.get(at) != Some(&0x04) {
        return Err(Malformed("connect initial has no user data"));
    }
    let (len, start) = ber_length(frame, at + 1).ok_or(cut)?;
    if start.checked_add(len) != Some(frame.len()) {
        return Err(Malformed(
            "connect initial user data does not fill its frame",
        ));
    }
    // T.124 connect data: object id, length, conference create request with the H.221 key "Duca", length, blocks.
    if frame.get(start..start + 7) != Some(&[0x00, 0x05, 0x00, 0x14, 0x7C, 0x00, 0x01]) {
        return Err(Malformed("connect initial is not T.124"));
    }
    let (_, at) = per_length(frame, start + 7).ok_or(cut)?;
    if frame.get(at + 8..at + 12) != Some(b"Duca") {
        return Err(Malformed("connect initial has no client data"));
    }
    let (len, mut at) = per_length(frame, at + 12).ok_or(cut)?;
    let end = at + len;
    if end > frame.len() {
        return Err(cut);
    }
    let mut found = Vec::new();
    while at < end {
        let kind = u16_le(frame, at).ok_or(cut)?;
        let len = usize::from(u16_le(frame, at + 2).ok_or(cut)?);
        if len < 4 || at + len > end {
            return Err(Malformed("client data block with a wrong length"));
        }
        found.push((kind, at + 4..at + len));
        at += len;
    }
    Ok(found)
}

fn ber_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        short @ 0..=0x7F => Some((short.into(), at + 1)),
        0x81 => Some(((*bytes.get(at + 1)?).into(), at + 2)),
        0x82 => Some((crate::wire::u16_be(bytes, at + 1)?.into(), at + 3)),
        _ => None,
    }
}

/// Reads a whole Connect Initial frame.
pub fn read(frame: &[u8]) -> Result<ClientData, Malformed> {
    let mut data = ClientData::default();
    let mut core_seen = false;
    for (kind, range) in blocks(frame)? {
        let body = &frame[range];
        match kind {
            CS_CORE => {
                let cut = Malformed("client core data is cut short");
                core_seen = true;
                data.width = u16_le(body, core::WIDTH).ok_or(cut)?;
                data.height = u16_le(body, core::HEIGHT).ok_or(cut)?;
                let name = body
                    .get(core::CLIENT_NAME..core::CLIENT_NAME + 32)
                    .ok_or(cut)?;
                data.client_name = utf16_until_nul(name);
                data.reads_error_info =
                    u16_le(body, core::EARLY_CAPABILITIES).is_some_and(|flags| flags & 1 != 0);
            }
            CS_NET => {
                let count = u32_le(body, 0).ok_or(Malformed("client network data is cut short"))?;
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > MAX_CHANNELS || body.len() < 4 + count * CHANNEL_DEF {
                    return Err(Malformed("client asks for more channels than there can be"));
                }
                data.channels = body[4..4 + count * CHANNEL_DEF]
                    .chunks_exact(CHANNEL_DEF)
                    .map(|def| ChannelRequest {
                        name: def[..7]
                            .iter()
                            .take_while(|b| **b != 0)
                            .map(|b| char::from(*b))
                            .collect(),
                        options: u32_le(def, 8).unwrap_or(0),
                    })
                    .collect();
            }
            _ => {}
        }
    }
    if core_seen {
        Ok(data)
    } else {
        Err(Malformed("connect initial has no core data"))
    }
}

/// Patches a whole Connect Initial frame in place for a target that selected `protocol`
/// (`PROTOCOL_…` of MS-RDPBCGR 2.2.1.2.1).
pub fn patch(frame: &mut [u8], protocol: u32) -> Result<(), Malformed> {
    for (kind, range) in blocks(frame)? {
        let body = &mut frame[range];
        match kind {
            CS_CORE => patch_core(body, protocol),
            CS_NET => {
                let rest = body.get_mut(4..).unwrap_or_default();
                for def in rest.chunks_exact_mut(CHANNEL_DEF) {
                    let options = u32_le(def, 8).unwrap_or(0) & !CHANNEL_OPTIONS_COMPRESSION;
                    def[8..12].copy_from_slice(&options.to_le_bytes());
                }
            }
            // REDIRECTION_SUPPORTED: a redirected client would leave the gateway.
            CS_CLUSTER => {
                if let Some(flags) = body.first_mut() {
                    *flags &= !0x01;
                }
            }
            CS_MULTITRANSPORT => body.fill(0),
            _ => {}
        }
    }
    Ok(())
}

fn patch_core(body: &mut [u8], protocol: u32) {
    let put16 = |body: &mut [u8], at: usize, value: u16| {
        if let Some(field) = body.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    };
    // Palettes and 15 bit are not worth a decoder: 16 bit is the least, and every client since 1998 has it.
    if let Some(depth) = u16_le(body, core::HIGH_COLOR_DEPTH).filter(|depth| *depth < 16) {
        tracing::debug!(depth, "colour depth raised to 16");
        put16(body, core::HIGH_COLOR_DEPTH, 16);
        let supported = u16_le(body, core::SUPPORTED_DEPTHS).unwrap_or(0);
        put16(body, core::SUPPORTED_DEPTHS, supported | 0x0002);
    }
    if let Some(flags) = u16_le(body, core::EARLY_CAPABILITIES) {
        put16(
            body,
            core::EARLY_CAPABILITIES,
            flags & !FORBIDDEN_EARLY_CAPABILITIES,
        );
    }
    // "Autodetect" makes no sense without autodetection; LAN is the next.
    if let Some(kind) = body
        .get_mut(core::CONNECTION_TYPE)
        .filter(|kind| **kind == 7)
    {
        *kind = 6;
    }
    if let Some(field) = body.get_mut(core::SELECTED_PROTOCOL..core::SELECTED_PROTOCOL + 4) {
        field.copy_from_slice(&protocol.to_le_bytes());
    }
}

pub(crate) fn utf16_until_nul(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_le_bytes().to_vec();
        out.extend_from_slice(&u16::try_from(body.len() + 4).unwrap().to_le_bytes());
        out.extend_from_slice(body);
        out
    }

    fn connect_initial(blocks: &[u8]) -> Vec<u8> {
        let two = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
        let mut gcc = vec![0x00, 0x05, 0x00, 0x14, 0x7C, 0x00, 0x01];
        gcc.extend_from_slice(&(u16::try_from(blocks.len() + 14).unwrap() | 0x8000).to_be_bytes());
        gcc.extend_from_slice(&[0x00, 0x08, 0x00, 0x10, 0x00, 0x01, 0xC0, 0x00]);
        gcc.extend_from_slice(b"Duca");
        gcc.extend_from_slice(&(u16::try_from(blocks.len()).unwrap() | 0x8000).to_be_bytes());
        gcc.extend_from_slice(blocks);
        let mut mcs = vec![
            0x04, 1, 1, 0x04, 1, 1, 0x01, 1, 0xFF, 0x30, 0, 0x30, 0, 0x30, 0, 0x04, 0x82,
        ];
        mcs.extend_from_slice(&two(gcc.len()));
        mcs.extend_from_slice(&gcc);
        let mut frame = vec![3, 0];
        frame.extend_from_slice(&two(mcs.len() + 12));
        frame.extend_from_slice(&[2, 0xF0, 0x80, 0x7F, 0x65, 0x82]);
        frame.extend_from_slice(&two(mcs.len()));
        frame.extend_from_slice(&mcs);
        // The three length bytes after the tag make it one longer than the TPKT says.
        let len = u16::try_from(frame.len()).unwrap();
        frame[2..4].copy_from_slice(&len.to_be_bytes());
        frame
    }

    fn sample() -> Vec<u8> {
        let mut core = vec![0u8; 212];
        core[4..6].copy_from_slice(&1024u16.to_le_bytes());
        core[6..8].copy_from_slice(&768u16.to_le_bytes());
        core[20..24].copy_from_slice(&[b'p', 0, b'c', 0]);
        core[136] = 15;
        core[140..142].copy_from_slice(&0x0FFFu16.to_le_bytes());
        core[206] = 7;
        core[208] = 1;
        let mut net = 2u32.to_le_bytes().to_vec();
        net.extend_from_slice(b"cliprdr\0\0\0\xE0\xC0");
        net.extend_from_slice(b"rdpsnd\0\0\0\0\0\xC0");
        let mut blocks = block(CS_CORE, &core);
        blocks.extend(block(CS_NET, &net));
        blocks.extend(block(CS_MULTITRANSPORT, &[5, 0, 0, 0]));
        connect_initial(&blocks)
    }

    #[test]
    fn size_name_and_channels_are_read() {
        let data = read(&sample()).unwrap();
        assert_eq!(
            (data.width, data.height, data.client_name.as_str()),
            (1024, 768, "pc")
        );
        assert_eq!(
            data.channels
                .iter()
                .map(|c| c.name.as_str())
                .collect::<Vec<_>>(),
            ["cliprdr", "rdpsnd"]
        );
        assert!(data.reads_error_info);
    }

    #[test]
    fn what_may_not_pass_the_gateway_is_cleared_in_place() {
        let mut frame = sample();
        let before = frame.len();
        patch(&mut frame, 2).unwrap();
        assert_eq!(frame.len(), before);
        let found = blocks(&frame).unwrap();
        let core = &frame[found[0].1.clone()];
        assert_eq!(u16_le(core, 140), Some(0x0FFF & !0x0D80));
        assert_eq!(
            (u16_le(core, 136), core[206], u32_le(core, 208)),
            (Some(16), 6, Some(2))
        );
        assert_eq!(
            read(&frame).unwrap().channels[0].options & CHANNEL_OPTIONS_COMPRESSION,
            0
        );
        assert_eq!(&frame[found[2].1.clone()], [0; 4]);
        let once = frame.clone();
        patch(&mut frame, 2).unwrap();
        assert_eq!(frame, once);
    }

    proptest! {
        #[test]
        fn any_damage_is_read_without_a_panic(at in 0usize..400, byte: u8, cut in 0usize..400) {
            let mut frame = sample();
            if let Some(b) = frame.get_mut(at) { *b = byte; }
            frame.truncate(frame.len().saturating_sub(cut % 3 * cut));
            let _ = read(&frame);
            let _ = patch(&mut frame, 1);
        }
    }
}

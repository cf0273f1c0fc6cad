//! Capability sets, normalised in place, so that what the server may draw is what a recording can replay.
//!
//! The same rules go over the server's Demand Active (what the client is told) and the client's Confirm Active (what the
//! server is told): no drawing orders, no bitmap, brush, glyph or offscreen caches, no surface commands, no codecs, no
//! channel compression. Lengths never change. Source: MS-RDPBCGR 2.2.1.13, 2.2.7.

use crate::wire::{Malformed, u16_le};

const BITMAP: u16 = 0x0002;
const ORDER: u16 = 0x0003;
const GENERAL: u16 = 0x0001;
const BITMAP_CACHE: u16 = 0x0004;
const BRUSH: u16 = 0x000F;
const GLYPH_CACHE: u16 = 0x0010;
const OFFSCREEN_CACHE: u16 = 0x0011;
const BITMAP_CACHE_REV2: u16 = 0x0013;
const VIRTUAL_CHANNEL: u16 = 0x0014;
const DRAW_NINE_GRID: u16 = 0x0015;
const DRAW_GDI_PLUS: u16 = 0x0016;
const RAIL: u16 = 0x0017;
const WINDOW: u16 = 0x0018;
const DESKTOP_COMPOSITION: u16 = 0x0019;
const SURFACE_COMMANDS: u16 = 0x001C;
const BITMAP_CODECS: u16 = 0x001D;
const FRAME_ACKNOWLEDGE: u16 = 0x001E;

/// Share control PDU type of Demand Active.
pub const DEMAND_ACTIVE: u16 = 1;
/// Share control PDU type of Confirm Active.
pub const CONFIRM_ACTIVE: u16 = 3;

/// What the relay needs to know of a Demand or Confirm Active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Active {
    /// The share id the PDU names.
    pub share_id: u32,
    /// Desktop width and height in pixels, from the bitmap capability set.
    pub desktop: Option<(u16, u16)>,
    /// Colour depth in bits per pixel, from the bitmap capability set.
    pub bits_per_pixel: Option<u16>,
}

/// Normalises a Demand Active or Confirm Active in place. `pdu` is one whole share control PDU.
pub fn normalise(pdu: &mut [u8]) -> Result<Active, Malformed> {
    let cut = Malformed("active PDU is cut short");
    let kind = u16_le(pdu, 2).ok_or(cut)? & 0x0F;
    let share_id = crate::wire::u32_le(pdu, 6).ok_or(cut)?;
    // Confirm Active has an originator id where Demand Active goes straight on to the lengths.
    let lengths = match kind {
        DEMAND_ACTIVE => 10,
        CONFIRM_ACTIVE => 12,
        _ => return Err(Malformed("not an active PDU")),
    };
    let descriptor = usize::from(u16_le(pdu, lengths).ok_or(cut)?);
    let combined = usize::from(u16_le(pdu, lengths + 2).ok_or(cut)?);
    let count_at = lengths + 4 + descriptor;
    let count = u16_le(pdu, count_at).ok_or(cut)?;
    let sets = pdu
        .get_mut(count_at + 4..count_at + combined.max(4))
        .ok_or(cut)?;
    let mut active = Active {
        share_id,
        ..Active::default()
    };
    let mut at = 0;
    for _ in 0..count {
        let (Some(kind), Some(len)) = (u16_le(sets, at), u16_le(sets, at + 2)) else {
            return Err(Malformed("fewer capability sets than announced"));
        };
        let body = usize::from(len)
            .checked_sub(4)
            .ok_or(Malformed("capability set shorter than its header"))?;
        let body = sets
            .get_mut(at + 4..at + 4 + body)
            .ok_or(Malformed("capability set reaches past its PDU"))?;
        normalise_set(kind, body, &mut active);
        at += usize::from(len);
    }
    Ok(active)
}

fn normalise_set(kind: u16, body: &mut [u8], active: &mut Active) {
    let zero = |body: &mut [u8], range: std::ops::Range<usize>| {
        let end = range.end.min(body.len());
        if range.start < end {
            body[range.start..end].fill(0);
        }
    };
    match kind {
        GENERAL => {
            zero(body, 8..10); // generalCompressionTypes
            zero(body, 16..18); // generalCompressionLevel
        }
        BITMAP => {
            active.bits_per_pixel = u16_le(body, 0);
            active.desktop = u16_le(body, 8).zip(u16_le(body, 10));
        }
        ORDER => {
            // ORDERFLAGS_EXTRA_FLAGS off, the two flags that must be set stay.
            if let Some(flags) = body.get_mut(30) {
                *flags &= !0x80;
            }
            zero(body, 32..64); // orderSupport
            zero(body, 66..68); // orderSupportExFlags
            zero(body, 72..76); // desktopSaveSize
        }
        VIRTUAL_CHANNEL => zero(body, 0..4), // compression flags; the chunk size stays
        BITMAP_CACHE | BITMAP_CACHE_REV2 | BRUSH | GLYPH_CACHE | OFFSCREEN_CACHE
        | DRAW_NINE_GRID | DRAW_GDI_PLUS | RAIL | WINDOW | DESKTOP_COMPOSITION
        | SURFACE_COMMANDS | BITMAP_CODECS | FRAME_ACKNOWLEDGE => body.fill(0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn active_pdu(kind: u16, sets: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut caps = Vec::new();
        for (kind, body) in sets {
            caps.extend_from_slice(&kind.to_le_bytes());
            caps.extend_from_slice(&u16::try_from(body.len() + 4).unwrap().to_le_bytes());
            caps.extend_from_slice(body);
        }
        let mut pdu = vec![0, 0];
        pdu.extend_from_slice(&(kind | 0x10).to_le_bytes());
        pdu.extend_from_slice(&1002u16.to_le_bytes());
        pdu.extend_from_slice(&0x0001_03EAu32.to_le_bytes());
        if kind == CONFIRM_ACTIVE {
            pdu.extend_from_slice(&0x03EAu16.to_le_bytes());
        }
        pdu.extend_from_slice(&4u16.to_le_bytes());
        pdu.extend_from_slice(&u16::try_from(caps.len() + 4).unwrap().to_le_bytes());
        pdu.extend_from_slice(b"RDP\0");
        pdu.extend_from_slice(&u16::try_from(sets.len()).unwrap().to_le_bytes());
        pdu.extend_from_slice(&[0, 0]);
        pdu.extend_from_slice(&caps);
        if kind == DEMAND_ACTIVE {
            pdu.extend_from_slice(&[0; 4]);
        }
        let len = u16::try_from(pdu.len()).unwrap();
        pdu[..2].copy_from_slice(&len.to_le_bytes());
        pdu
    }

    #[test]
    fn orders_caches_and_codecs_are_gone_and_the_size_is_read() {
        let mut order = vec![1u8; 84];
        order[30] = 0xAA;
        let mut bitmap = vec![0u8; 24];
        bitmap[0] = 32;
        bitmap[8..10].copy_from_slice(&1024u16.to_le_bytes());
        bitmap[10..12].copy_from_slice(&768u16.to_le_bytes());
        for kind in [DEMAND_ACTIVE, CONFIRM_ACTIVE] {
            let mut pdu = active_pdu(
                kind,
                &[
                    (ORDER, order.clone()),
                    (BITMAP, bitmap.clone()),
                    (BITMAP_CODECS, vec![3; 60]),
                    (GLYPH_CACHE, vec![7; 48]),
                ],
            );
            let active = normalise(&mut pdu).unwrap();
            assert_eq!(active.desktop, Some((1024, 768)));
            assert_eq!(active.bits_per_pixel, Some(32));
            let sets = ironrdp_sets(&pdu, kind);
            assert_eq!(sets[0][30], 0x2A);
            assert!(sets[0][32..64].iter().all(|b| *b == 0));
            assert!(sets[2].iter().chain(&sets[3]).all(|b| *b == 0));
        }
    }

    fn ironrdp_sets(pdu: &[u8], kind: u16) -> Vec<Vec<u8>> {
        let mut at = if kind == DEMAND_ACTIVE { 22 } else { 24 };
        let mut sets = Vec::new();
        for _ in 0..4 {
            let len = usize::from(u16_le(pdu, at + 2).unwrap());
            sets.push(pdu[at + 4..at + len].to_vec());
            at += len;
        }
        sets
    }

    #[test]
    fn a_set_that_reaches_past_its_pdu_is_refused() {
        let mut pdu = active_pdu(DEMAND_ACTIVE, &[(ORDER, vec![0; 84])]);
        pdu[24] = 0xFF;
        assert!(normalise(&mut pdu).is_err());
    }

    proptest! {
        #[test]
        fn any_sets_keep_their_length_and_a_second_pass_changes_nothing(
            confirm: bool,
            sets in proptest::collection::vec((0u16..0x22, proptest::collection::vec(any::<u8>(), 0..100)), 0..20),
        ) {
            let mut pdu = active_pdu(if confirm { CONFIRM_ACTIVE } else { DEMAND_ACTIVE }, &sets);
            let before = pdu.len();
            let first = normalise(&mut pdu).unwrap();
            prop_assert_eq!(pdu.len(), before);
            let once = pdu.clone();
            prop_assert_eq!(normalise(&mut pdu).unwrap(), first);
            prop_assert_eq!(pdu, once);
        }

        #[test]
        fn any_bytes_are_normalised_or_refused_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = normalise(&mut bytes);
        }
    }
}

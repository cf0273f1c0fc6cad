//! Frames captured between xfreerdp 2.11, xrdp 0.9.21 and freerdp-shadow-cli 2.11, patched, then read by another parser.

use ironrdp_core::decode;
use ironrdp_pdu::gcc::ClientEarlyCapabilityFlags;
use ironrdp_pdu::mcs::ConnectInitial;
use ironrdp_pdu::rdp::capability_sets::CapabilitySet;
use ironrdp_pdu::rdp::headers::{ShareControlHeader, ShareControlPdu};
use ironrdp_pdu::x224::{X224, X224Data};
use lucid_rdp::{caps, gcc};

const ACTIVE: [&[u8]; 4] = [
    include_bytes!("../vectors/xrdp-demand-active.bin"),
    include_bytes!("../vectors/xrdp-confirm-active.bin"),
    include_bytes!("../vectors/shadow-demand-active.bin"),
    include_bytes!("../vectors/shadow-confirm-active.bin"),
];
const CONNECT_INITIAL: [&[u8]; 2] = [
    include_bytes!("../vectors/xrdp-connect-initial.bin"),
    include_bytes!("../vectors/shadow-connect-initial.bin"),
];

fn sets(pdu: &[u8]) -> Vec<CapabilitySet> {
    match decode::<ShareControlHeader>(pdu).unwrap().share_control_pdu {
        ShareControlPdu::ServerDemandActive(active) => active.pdu.capability_sets,
        ShareControlPdu::ClientConfirmActive(active) => active.pdu.capability_sets,
        other => panic!("{other:?}"),
    }
}

#[test]
fn captured_capabilities_announce_no_order_cache_or_codec_once_normalised() {
    for captured in ACTIVE {
        let mut pdu = captured.to_vec();
        let active = caps::normalise(&mut pdu).unwrap();
        assert!(active.desktop.is_some());
        assert_eq!(pdu.len(), captured.len());
        let (before, after) = (sets(captured), sets(&pdu));
        assert_eq!(before.len(), after.len());
        for set in after {
            match set {
                CapabilitySet::Order(order) => {
                    let zero = (0..32).all(|index| pdu_order_support(&pdu)[index] == 0);
                    assert!(zero, "{order:?}");
                }
                CapabilitySet::BitmapCodecs(codecs) => assert!(codecs.0.is_empty()),
                CapabilitySet::SurfaceCommands(commands) => assert!(commands.flags.is_empty()),
                CapabilitySet::BitmapCache(cache) => {
                    assert!(cache.caches.iter().all(|c| c.entries == 0));
                }
                CapabilitySet::FrameAcknowledge(ack) => {
                    assert_eq!(ack.max_unacknowledged_frame_count, 0);
                }
                CapabilitySet::VirtualChannel(channel) => assert!(channel.flags.is_empty()),
                _ => {}
            }
        }
        let once = pdu.clone();
        caps::normalise(&mut pdu).unwrap();
        assert_eq!(pdu, once);
    }
}

/// orderSupport of a PDU, found by its set's type and length.
fn pdu_order_support(pdu: &[u8]) -> &[u8] {
    let at = pdu.windows(4).position(|w| w == [3, 0, 88, 0]).unwrap();
    &pdu[at + 36..at + 68]
}

#[test]
fn a_captured_connect_initial_asks_for_nothing_the_gateway_forbids_once_patched() {
    for captured in CONNECT_INITIAL {
        let data = gcc::read(captured).unwrap();
        assert!(
            data.channels
                .iter()
                .any(|channel| channel.name == "cliprdr")
        );
        let mut frame = captured.to_vec();
        gcc::patch(&mut frame, 2).unwrap();
        assert_eq!(frame.len(), captured.len());
        let x224 = decode::<X224<X224Data<'_>>>(&frame).unwrap().0;
        let blocks = decode::<ConnectInitial>(&x224.data)
            .unwrap()
            .conference_create_request
            .into_gcc_blocks();
        let flags = blocks.core.optional_data.early_capability_flags.unwrap();
        let forbidden = ClientEarlyCapabilityFlags::SUPPORT_DYN_VC_GFX_PROTOCOL
            | ClientEarlyCapabilityFlags::SUPPORT_HEART_BEAT_PDU
            | ClientEarlyCapabilityFlags::SUPPORT_NET_CHAR_AUTODETECT
            | ClientEarlyCapabilityFlags::SUPPORT_SKIP_CHANNELJOIN;
        assert!(!flags.intersects(forbidden), "{flags:?}");
        assert_eq!(
            blocks
                .core
                .optional_data
                .server_selected_protocol
                .unwrap()
                .bits(),
            2
        );
    }
}

//! The gateway's readers of single frames and PDUs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_fuzz::{Script, seeds};
use lucid_rdp::wire::{self, Direction, Mcs};
use lucid_rdp::{caps, info};

/// Demand and Confirm Active as xrdp, freerdp-shadow-cli and FreeRDP sent them.
const CAPTURED: [&[u8]; 4] = [
    include_bytes!("../../sessions/rdp/tests/vectors/xrdp-demand-active.bin"),
    include_bytes!("../../sessions/rdp/tests/vectors/xrdp-confirm-active.bin"),
    include_bytes!("../../sessions/rdp/tests/vectors/shadow-demand-active.bin"),
    include_bytes!("../../sessions/rdp/tests/vectors/shadow-confirm-active.bin"),
];

fuzz_target!(
    init: seeds(|| {
        let frame = wire::send_data(Direction::In, 1007, 1003, b"user data").expect("it fits");
        // A Client Info with user "u" and password "p".
        let info = [&[0x40, 0, 0, 0, 9, 4, 9, 4, 0x13, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0][..],
            b"\0\0u\0\0\0p\0\0\0\0\0\0\0", &[2, 0, 2, 0, 0, 0, 2, 0, 0, 0], &[0; 190]].concat();
        let mut all = vec![[&[0][..], &frame].concat(), [&[2][..], &info].concat()];
        for pdu in CAPTURED {
            let frame = wire::send_data(Direction::Out, 1002, 1003, pdu).expect("it fits");
            all.extend([[&[0][..], &frame].concat(), [&[1][..], pdu].concat()]);
        }
        all
    }),
    |data: &[u8]| {
        let mut script = Script(data);
        let kind = script.byte();
        let data = script.rest();
        match kind % 3 {
            0 => {
                if let Ok(Some(len)) = wire::frame_len(data) {
                    assert!(len > 0, "a frame of no bytes is read for ever");
                    if let Some(frame) = data.get(..len) {
                        one(frame);
                    }
                }
                one(data);
            }
            1 => {
                let mut pdu = data.to_vec();
                if let Ok(active) = caps::normalise(&mut pdu) {
                    assert_eq!(pdu.len(), data.len(), "patched in place");
                    let once = pdu.clone();
                    assert_eq!(caps::normalise(&mut pdu), Ok(active), "what is normal stays readable");
                    assert_eq!(pdu, once, "and stays as it is");
                }
            }
            _ => {
                let mut blanked = data.to_vec();
                if let Ok(credentials) = info::read(data) {
                    info::blank(&mut blanked).expect("what was read can be blanked");
                    let left = info::read(&blanked).expect("what was blanked can be read");
                    assert!(left.password.chars().all(|c| c == '\0'), "the password is gone");
                    assert_eq!(left.username, credentials.username);
                    if let Ok(again) = info::rewrite(data, &credentials) {
                        assert_eq!(info::read(&again), Ok(credentials));
                    }
                }
            }
        }
    }
);

fn one(frame: &[u8]) {
    if let Ok(Mcs::SendDataRequest(header) | Mcs::SendDataIndication(header)) =
        wire::parse_mcs(frame)
    {
        let _chunk = wire::parse_chunk(&frame[header.data]);
        wire::patch_ids(&mut frame.to_vec(), 1001, 1003);
    }
    for update in wire::fast_path_updates(frame).unwrap_or_default() {
        assert!(frame.get(update.data).is_some());
    }
}

//! The first frames of a connection: what the client asks for, and the patches that keep it replayable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_fuzz::seeds;
use lucid_rdp::gcc;

/// As FreeRDP sent them.
const CAPTURED: [&[u8]; 2] = [
    include_bytes!("../../sessions/rdp/tests/vectors/xrdp-connect-initial.bin"),
    include_bytes!("../../sessions/rdp/tests/vectors/shadow-connect-initial.bin"),
];

fuzz_target!(
    init: seeds(|| CAPTURED.map(<[u8]>::to_vec).to_vec()),
    |data: &[u8]| {
        let mut frame = data.to_vec();
        let patched = gcc::patch(&mut frame, 1);
        if let (Ok(before), Ok(())) = (gcc::read(data), patched) {
            assert_eq!(frame.len(), data.len(), "patched in place");
            let after = gcc::read(&frame).expect("what was patched can be read");
            assert_eq!((after.width, after.height), (before.width, before.height));
            let once = frame.clone();
            gcc::patch(&mut frame, 1).expect("what was patched can be patched");
            assert_eq!(frame, once, "patching is done once");
        }
    }
);

//! A recording that was changed anywhere does not verify: bytes overwritten, inserted, taken out, repeated, cut off.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_fuzz::{SESSION, Script, check, seeds};

fuzz_target!(
    init: seeds(|| vec![b"\0\0\x10\x00\xFF".to_vec(), b"\x01\x02\x40\x00\x01".to_vec(), b"\0\x03\x20\x00\x20".to_vec()]),
    |data: &[u8]| {
        let mut script = Script(data);
        let original = if script.byte() & 1 == 0 { &SESSION.recording } else { &SESSION.disclosure };
        let mut file = original.clone();
        while script.more() && !file.is_empty() {
            let edit = script.byte();
            let at = usize::from(script.u16()) % file.len();
            let value = script.byte();
            let end = (at + usize::from(value)).min(file.len());
            match edit % 5 {
                0 => file[at] ^= value,
                1 => file.truncate(at),
                2 => file.insert(at, value),
                3 => drop(file.drain(at..end)),
                _ => {
                    let piece = file[at..end].to_vec();
                    file.splice(at..at, piece);
                }
            }
        }
        let verified = check(&file, &SESSION.keys).is_ok();
        assert_eq!(verified, file == *original, "a changed file verifies");
    }
);

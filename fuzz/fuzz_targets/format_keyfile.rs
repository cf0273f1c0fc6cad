//! Key files, public and secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::{KdfCost, PublicKeys, SecretKeys};
use lucid_fuzz::{SESSION, seeds};

/// Whether opening the file costs little: what it asks for in memory and passes, if it gets that far at all. Files that ask
/// for the most that is allowed are legal, and too slow to fuzz.
fn cheap(text: &str) -> bool {
    let body = text.split_whitespace().nth(2).and_then(|body| {
        data_encoding::BASE64URL_NOPAD
            .decode(body.as_bytes())
            .ok()?
            .first_chunk::<12>()
            .copied()
    });
    let Some(body) = body else { return true };
    let [memory, passes, lanes] = [0, 4, 8]
        .map(|at| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]));
    memory > KdfCost::MAX.memory_kib
        || passes > KdfCost::MAX.passes
        || lanes > KdfCost::MAX.lanes
        || memory <= 64
}

fuzz_target!(
    init: seeds(|| vec![SESSION.public_key.clone().into_bytes(), SESSION.secret_key.clone().into_bytes()]),
    |data: &[u8]| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Ok(keys) = PublicKeys::from_text(text) {
            let again = PublicKeys::from_text(&keys.to_text()).expect("what was read can be written");
            assert_eq!(again.id(), keys.id());
        }
        if cheap(text) {
            let _opened = SecretKeys::from_text(text, "x");
        }
    }
);

//! A `.lucid` file of any bytes.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use lucid_format::{Recording, VerifyOptions, verify};
use lucid_fuzz::{SESSION, seeds};

fuzz_target!(
    init: seeds(|| vec![SESSION.recording.clone(), SESSION.disclosure.clone()]),
    |data: &[u8]| {
        if let Ok(mut recording) = Recording::open(Cursor::new(data)) {
            let options = VerifyOptions { keys: Some(&SESSION.keys), progress: None };
            let _checked = verify(&mut recording, options);
            recording.leaves();
        }
    }
);

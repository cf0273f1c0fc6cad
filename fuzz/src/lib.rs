//! What the fuzz targets share: reading a script of steps from arbitrary bytes, seeds, and a small session.
//!
//! ```text
//! scripts/fuzz ─▶ fuzz_targets/NAME.rs ─▶ the crate under test
//!                     └── seeds() writes what the crate itself makes, so that mutation starts inside the format
//! ```
//! A target does two things: it feeds bytes and so shows that nothing panics or runs away, and it asserts what must hold for
//! whatever was accepted. Start reading at `fuzz_targets/format_edits.rs`.

use std::path::PathBuf;
use std::sync::LazyLock;

use lucid_format::{FormatError, KeySource, Proven};

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the format's tests use all of it"
)]
#[path = "../../sessions/format/tests/it/support.rs"]
mod support;

/// Bytes taken apart from the front. What is missing at the end reads as zero, so every input is a valid script.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// Whether anything is left.
    pub fn more(&self) -> bool {
        !self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A little-endian number.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A length (two bytes) and so many bytes, or what is left of them.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// A step of a script as [`Script`] reads it: numbers first, then bytes with their length.
pub fn step(head: &[u8], bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a seed's step is short");
    [head, &len.to_le_bytes(), bytes].concat()
}

/// Writes seeds into the folder `scripts/fuzz` names, before libFuzzer reads it.
pub fn seeds(make: impl FnOnce() -> Vec<Vec<u8>>) {
    if let Some(folder) = std::env::var_os("LUCID_FUZZ_SEEDS").map(PathBuf::from) {
        for (number, seed) in make().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)
                .expect("seeds can be written");
        }
    }
}

/// A recording of a small session: the files made of it, and its keys.
pub struct Session {
    /// The whole recording.
    pub recording: Vec<u8>,
    /// A disclosure of its second and third chunk.
    pub disclosure: Vec<u8>,
    /// The sections of the recording apart, chunks among them.
    pub sections: Vec<([u8; 4], Vec<u8>)>,
    /// The signed statement of the disclosure.
    pub statement: Vec<u8>,
    /// Opens every chunk.
    pub keys: KeySource,
    /// The auditor's public key file.
    pub public_key: String,
    /// The auditor's secret key file, cheap to open, with passphrase `x`.
    pub secret_key: String,
}

/// The same session in every run.
pub static SESSION: LazyLock<Session> = LazyLock::new(|| {
    let scene = support::scene("fuzz", 4);
    let cost = lucid_format::KdfCost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    Session {
        recording: scene.file(),
        disclosure: scene.disclosure(1, 2),
        sections: scene.sections(),
        statement: scene
            .statement(1, 2)
            .sign(&scene.auditor.signing())
            .expect("it signs"),
        keys: scene.keys(),
        public_key: scene.auditor.public().to_text(),
        secret_key: scene
            .auditor
            .to_text("x", cost, &mut rng())
            .expect("it seals"),
    }
});

/// Opens a file, verifies it and opens every chunk.
pub fn check(file: &[u8], keys: &KeySource) -> Result<Proven, FormatError> {
    support::check_with(file, keys)
}

/// Random numbers that are the same in every run.
pub fn rng() -> impl rand_core::CryptoRng {
    support::TestRng::new("fuzz")
}

//! What holds for every byte the chain signs, hashes or stores.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says so by panicking; clippy.toml allows it only inside #[test]"
)]

mod anchors;
mod certificate;
mod decoders;
mod evidence;
mod genesis;
mod merkle;
mod slots;
mod support;
mod validators;
mod vectors;

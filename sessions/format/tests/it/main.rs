//! What holds for every byte of a recording: one module a part of the format.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says so by panicking; clippy.toml allows it only inside #[test]"
)]

mod aead;
mod chunk;
mod container;
mod decoders;
mod disclosure;
mod errors;
mod keyfile;
mod keys;
mod merkle;
mod records;
mod support;
mod vectors;
mod verify;
mod wrap;

//! Proofs of sessions on a real chain that runs in this process, and everything a forger could change in them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says so by panicking; clippy.toml allows it only inside #[test]"
)]

mod corpus;
mod proofs;
mod support;

//! What somebody with nothing but the genesis file can check, and how forgeries fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says so by panicking; clippy.toml allows it only inside #[test]"
)]

mod finality;
mod inclusion;
mod state;
mod support;
mod vectors;

//! Blocks of real transactions on the real genesis contracts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says so by panicking; clippy.toml allows it only inside #[test]"
)]

mod blocks;
mod calls;
mod evidence;
mod evm;
mod fees;
mod genesis;
mod governance;
mod random;
mod seals;
mod sessions;
mod support;
mod transactions;

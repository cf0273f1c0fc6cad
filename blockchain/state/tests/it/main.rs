//! The state against a model in memory, Ethereum's proof checker, crashes and damaged snapshots.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod blocks;
mod crash;
mod kill;
mod model;
mod snapshot;

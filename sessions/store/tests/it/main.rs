//! Tests of the store against real files: every cut, every fault, every damage.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod crash;
mod damage;
mod full;
mod journal;
mod kill;
mod retention;
mod support;
mod writers;

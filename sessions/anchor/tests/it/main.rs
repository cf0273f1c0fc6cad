//! The queue against a simulated chain, and its files against cuts and changes.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod files;
mod simulation;

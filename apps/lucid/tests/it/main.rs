//! The program as its users meet it: what it prints, how it exits, what it makes of bad input. No peers are needed here;
//! `tests/e2e` has those.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bad_input;
mod keeping;
mod manners;
mod proofs;
mod stages;
mod support;

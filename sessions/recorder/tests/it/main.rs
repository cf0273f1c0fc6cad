//! Tests of the recorder against real files and a clock of their own.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod audit;
mod crashes;
mod frames;
mod home;
mod limits;
mod support;
mod targets;
mod tickets;
mod writing;

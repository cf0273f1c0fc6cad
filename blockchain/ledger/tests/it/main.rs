//! Chains that begin with a snapshot, chains in a file, and blocks that wait for a decision.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test that is the failure"
)]

mod archive;
mod crash;
mod snapshot;
mod support;
mod undecided;

//! Chains that begin with a snapshot, and chains in a file.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test that is the failure"
)]

mod archive;
mod crash;
mod snapshot;
mod support;

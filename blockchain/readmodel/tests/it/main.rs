//! The read model against a plain model of it, crashes, and the contract that every store keeps.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test that is the failure"
)]

mod contract;
mod crash;
mod model;
mod projection;
mod support;

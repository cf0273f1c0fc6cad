//! Tests of gossip: its pure parts against models, and swarms on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of tests stop at the first surprise, too"
)]

mod attacks;
mod discovery;
mod pure;
mod raw;
mod snapshots;
mod spread;
mod support;
mod wire;

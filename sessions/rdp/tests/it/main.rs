//! Sessions between real programs: xfreerdp through the gateway to xrdp and to freerdp-shadow-cli.
//!
//! They need root and the packages of `scripts/setup`, and take seconds each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod gateway;
mod hostile;
mod real;
mod relay;
mod vectors;

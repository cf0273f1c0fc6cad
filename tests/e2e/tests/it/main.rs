//! The whole system against real peers: xrdp and freerdp-shadow-cli as desktops, xfreerdp as client, ffmpeg and Chromium; and
//! networks of chain nodes.
//!
//! Each test runs the program as its users do, in a home folder of its own, with a gateway of its own on a free port. What
//! it starts is under guards that end with it. [`support::program`] says how the program is found: `cargo test --workspace`
//! builds it, because the tests of `apps/lucid` need it too; alone, `cargo build -p lucid` comes first.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod anchors;
mod arrows;
mod chain;
mod channels;
mod crash;
mod demo;
mod full;
mod passwords;
mod recording;
mod replay;
mod several;
mod support;
mod targets;
mod up;

//! Tests of the server over real sockets, on a real ledger with one validator.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod abuse;
mod client;
mod eth;
mod fees;
mod logs;
mod lucid;
mod model;
mod monitor;
mod subscriptions;
mod support;
mod websocket;

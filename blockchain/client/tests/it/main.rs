//! Tests of the client without a node; those with one are in lucid-rpc.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod anchors;
mod governance;
mod unreachable;
mod wallet;

//! Tests of the engine, its codecs and its signer.
// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::too_many_arguments,
    clippy::needless_pass_by_value
)]

mod chain;
mod codecs;
mod guard;
mod network;
mod parts;
mod replay;
mod sim;

//! Trees, challenges, plans, files, and chunks over real sockets. Against the contract: `tests/e2e/tests/it/chain/custody.rs`.

// clippy takes only functions marked #[test] for tests, and these have helpers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod files;
mod pure;
mod transfer;

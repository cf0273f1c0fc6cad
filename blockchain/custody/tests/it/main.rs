//! Trees, challenges, plans, files, and chunks over real sockets. Against the contract: `tests/e2e/tests/it/chain/custody.rs`.

mod files;
mod pure;
mod transfer;

//! JSON-RPC of a chain node: Ethereum's methods, so that its tools work, and Lucid's.
//!
//! ```text
//!  TCP ─▶ place? ─▶ Socket ─▶ HTTP/1.1 ─▶ CORS ─▶ body, batch ─▶ Guarded ─▶ method ─▶ blocking thread ─▶ Ledger, Pool
//!         (connections)       │ or WebSocket         (sizes)      (calls)              (executions, reads, submissions)
//!                             └─▶ eth_subscribe ◀── publisher ◀── Ledger::watch
//! ```
//!
//! Start reading at [`serve`]. Which methods there are: `methods.rs`, one line each. [`RpcLimits`] says what a caller may ask
//! for.
//!
//! # Where this is not Ethereum
//! - A block's hash is [`lucid_chain_types::BlockId`], the BLAKE3 hash of our header: not the Keccak hash of the header's RLP.
//!   So are `parentHash`, `transactionsRoot` and `receiptsRoot`. State root, accounts, storage and their proofs are Ethereum's.
//! - A block is final when it is there: `latest`, `safe` and `finalized` are one, and `pending` is `latest` too, but for
//!   `eth_getTransactionCount`, which counts waiting transactions.
//! - Block 0 is made up from the genesis file; it has no transactions.
//! - `timestamp` is in whole seconds, as Ethereum's; blocks may share one. `lucid_block` has milliseconds.
//! - There are no creations, blobs or delegations: `eth_estimateGas` and `eth_sendRawTransaction` refuse them.

mod backend;
mod blocks;
mod call;
mod contracts;
mod convert;
mod copies;
mod error;
mod eth;
mod fees;
mod gate;
mod health;
mod limits;
mod logs;
mod lucid;
mod methods;
pub mod metrics;
mod middleware;
mod model;
mod network;
mod params;
mod server;
mod socket;
mod state;
mod subscriptions;

pub use error::RpcError;
pub use health::{Health, HealthFacts, STALE_AFTER, monitor_router};
pub use limits::RpcLimits;
pub use lucid_client::wire::PeerInfo;
pub use network::{ModelState, NetworkInfo, SyncProgress};
pub use server::{RpcHandle, RpcSettings, serve};

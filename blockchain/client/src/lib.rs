//! What programs need to use a chain node: its methods, a wallet, and the calls of governance and of anchoring.
//!
//! ```text
//!  Wallet ──sign──▶ Client::send ──HTTP──▶ node
//!                   Client::status, block, receipt, …
//!  Heads ◀──WebSocket── final blocks
//! ```
//!
//! Start reading at [`Client`]. [`wire`] is how the `lucid_` methods' answers look; the node uses the same types. Plain HTTP only:
//! nodes are asked over loopback, a private network or an onion service, which brings its own encryption.

pub mod anchors;
mod client;
mod error;
mod governance;
mod heads;
mod wallet;
pub mod wire;

pub use alloy_rpc_types_eth::{Header, Transaction, TransactionReceipt};
pub use client::{Client, Fees, Order};
pub use error::ClientError;
pub use governance::{Action, Proposal, ProposalState, Support, calls};
pub use heads::Heads;
pub use wallet::{Wallet, WalletError};

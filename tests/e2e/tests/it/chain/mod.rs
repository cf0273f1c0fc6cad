//! The chain: networks of node processes that are killed, stopped, wiped, cut off from each other and started again.
//!
//! Nothing here asserts how fast something is, except where a time is what is promised; what is waited for has
//! [`crate::support::PATIENCE`].

mod archive;
mod bench;
mod blocks;
mod crashes;
mod custody;
mod devnet;
mod faults;
mod index;
mod lines;
mod network;
mod partition;
mod proofs;
mod snapshots;
mod starts;

//! One module a command.

pub mod archive;
pub mod audit;
pub mod bench;
pub mod chain;
pub mod config;
pub mod demo;
pub mod devnet;
pub mod disclose;
pub mod export;
pub mod gateway;
pub mod gov;
pub mod keys;
pub mod node;
pub mod prove;
pub mod replay;
pub mod session;
pub mod shell;
pub mod stages;
pub mod store;
pub mod target;
pub mod verify;

//! One module a command.

pub mod audit;
pub mod bench;
pub mod config;
pub mod demo;
pub mod disclose;
pub mod export;
pub mod gateway;
pub mod keys;
pub mod replay;
pub mod session;
pub mod shell;
pub mod stages;
pub mod store;
pub mod target;
pub mod verify;

//! The read model against a plain model of it, crashes, and the contract that every store keeps.

mod contract;
mod crash;
mod model;
mod projection;
mod support;

//! The state against a model in memory, Ethereum's proof checker, crashes and damaged snapshots.

mod blocks;
mod model;

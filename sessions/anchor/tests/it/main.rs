//! The queue against a simulated chain and a simulated disk.

mod files;
mod simulation;

//! What the player promises, on frames made by hand.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, where a panic is the report

mod decoding;
mod frames;
mod hostile;
mod inputs;
mod keyframes;
mod playing;
mod real;

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, where a panic is the report

mod decoding;
mod frames;
mod hostile;
mod inputs;
mod keyframes;
mod playing;

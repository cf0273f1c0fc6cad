//! Tests of the engine, its codecs and its signer.

mod chain;
mod codecs;
mod guard;
mod network;
mod parts;

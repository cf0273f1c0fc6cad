//! What holds for every byte of a recording: one module a part of the format.

mod aead;
mod chunk;
mod container;
mod decoders;
mod disclosure;
mod errors;
mod keyfile;
mod keys;
mod merkle;
mod records;
mod support;
// mod vectors;
mod verify;
mod wrap;

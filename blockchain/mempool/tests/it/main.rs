//! Tests of the mempool.

mod attacks;
mod journal;
mod model;
mod rules;
mod support;

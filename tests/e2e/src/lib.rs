//! Whole-system tests against real peers: see `tests/`.

//! Tests of gossip.

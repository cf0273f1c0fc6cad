//! Chain RPC client.

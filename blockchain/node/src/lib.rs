//! A chain node: storage, mempool, gossip, sync and JSON-RPC, wired together.

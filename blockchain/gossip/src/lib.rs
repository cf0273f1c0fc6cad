//! Transactions and snapshots between nodes, on a libp2p swarm of our own beside the engine's.
//!
//! ```text
//!            ┌───────────── task ─────────────┐
//!  Handle ──▶│ batches ─▶ gossipsub ─▶ peers  │
//!            │ requests ◀▶ request-response   │
//!  events ◀──│ budgets, scores, address book  │
//!            └────────────────────────────────┘
//! ```
//!
//! One task owns the swarm. What decides is pure and apart from it: [`TokenBucket`] and [`Budget`] (how much a peer may send),
//! [`Scores`] (who is banned, for how long), [`Book`] (whom to dial, when), [`Batcher`] (what goes into one message) and the
//! encodings of [`wire`](encode_batch).
//!
//! The doors, from the outside in (requirement L7):
//!
//! | door | bound |
//! |---|---|
//! | TCP connection | pending and established connections, per peer id, and per address where that means something: behind a sidecar everybody comes from 127.0.0.1 |
//! | handshake | Noise, with the genesis hash as its prologue: a node of another chain does not get through it |
//! | bytes | each connection is read at a bounded rate; what is more waits in the sender's kernel |
//! | gossip message | size; messages, bytes and transactions a second of a peer; bytes a second of all; messages that wait for a verdict |
//! | decompression | at most [`MAX_BATCH_BYTES`] come out, whatever the frame claims |
//! | request | size, number a second of a peer, number at once of all |
//! | address exchange | number, kind, and how many from one peer |
//!
//! Faults lower a peer's score; below a line it is banned for a time that doubles from ban to ban.

mod batch;
mod behaviour;
mod book;
mod codec;
mod error;
mod handle;
mod rate;
mod score;
mod settings;
mod task;
mod throttle;
mod wire;

pub use batch::Batcher;
pub use book::{Book, Due};
pub use error::{GossipError, RequestError, WireError};
pub use handle::{
    GossipEvent, Handle, PeerInfo, SnapshotReply, Status, Verdict, VerdictReply, Wanted, start,
};
pub use libp2p::{Multiaddr, PeerId};
pub use rate::{Budget, Pass, TokenBucket};
pub use score::{Ban, Fault, Scores};
pub use settings::{GossipSettings, Limits, peer_id};
pub use wire::{
    Hello, MAX_ANSWER_BYTES, MAX_BATCH_BYTES, MAX_BATCH_TRANSACTIONS, MAX_MESSAGE_BYTES,
    MAX_REQUEST_BYTES, Request, Response, decode_batch, encode_batch,
};

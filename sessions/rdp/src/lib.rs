//! The RDP gateway: a man in the middle that lets through what can be replayed and what policy allows, and records it.
//!
//! ```text
//! client ══TLS══▶ Acceptor::accept ─▶ PendingClient ──(caller checks the one-time password)──▶ reject
//!                                          │
//!                                  Target::connect ══TLS / NLA══▶ desktop
//!                                          ▼
//!                     Session::run: read ─▶ Filter ─▶ tap ─▶ write        SessionHandle: grant, revoke, end
//! ```
//!
//! Bytes are relayed as they came and patched where they lie; nothing is re-encoded but the Client Info PDU, in which the
//! target's credentials take the place of the user's. Start reading at [`filter`], the pure heart; [`accept`], [`target`]
//! and [`session`] are the shell around it. Everything that parses is a pure function over bytes: [`wire`], [`gcc`],
//! [`caps`], [`info`], [`clipboard`], [`dynamic`], [`policy`].

pub mod accept;
pub mod caps;
pub mod clipboard;
pub mod devices;
pub mod dynamic;
mod error;
pub mod filter;
pub mod gcc;
pub mod info;
mod link;
pub mod policy;
pub mod session;
pub mod tap;
pub mod target;
pub mod tls;
pub mod wire;

pub use accept::{Acceptor, PendingClient, Rejection};
pub use error::{EndReason, RdpError, Unreplayable};
pub use policy::Permission;
pub use session::{Session, SessionEnd, SessionHandle};
pub use target::{Security, Target, Trust};
pub use tls::{Fingerprint, Identity};

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
//! [`caps`], [`info`], [`clipboard`], [`devices`], [`dynamic`], [`policy`].
//!
//! # Limits, on purpose
//! - Towards the client there is TLS and no NLA: CredSSP would need the one-time password in the clear before the caller
//!   is asked. A client that offers NLA only is refused with the protocol's own code.
//! - Towards the target NLA is NTLM; there is no Kerberos.
//! - With [`Security::Tls`] the desktop's own login takes the credentials. A wrong password there shows that login, through
//!   the gateway and recorded, where NLA refuses before there is a picture.
//! - A dynamic channel refused at its creation (sound, microphone) is asked for again by the server, or not: a grant does
//!   not reopen it by itself. Static channels start on a later grant.
//! - `rail` and every channel without a permission stay closed whatever is granted.

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

//! What can go wrong, and why a session ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::Fingerprint;
use crate::wire::Malformed;

/// Why the gateway could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RdpError {
    /// The client did something the protocol does not allow here.
    #[error("client {peer}: {what}")]
    Client {
        /// Who.
        peer: SocketAddr,
        /// What was wrong.
        what: Malformed,
    },
    /// The client's connection failed.
    #[error("client {peer}: {source}")]
    ClientIo {
        /// Who.
        peer: SocketAddr,
        /// The failure.
        source: io::Error,
    },
    /// The client did not get through the handshake in time.
    #[error("client {peer} did not finish the handshake within {after:?}")]
    ClientTimeout {
        /// Who.
        peer: SocketAddr,
        /// The limit.
        after: Duration,
    },
    /// The client offers no security layer the gateway has.
    #[error(
        "client {peer} does not offer TLS (it offers {offered}); connect with TLS security, e.g. xfreerdp /sec:tls"
    )]
    ClientWithoutTls {
        /// Who.
        peer: SocketAddr,
        /// What it offered.
        offered: String,
    },
    /// The target's name or address cannot be connected to.
    #[error("target {address} cannot be reached: {source}")]
    TargetDown {
        /// Host and port.
        address: String,
        /// The failure.
        source: io::Error,
    },
    /// The target did not finish the handshake in time.
    #[error("target {address} did not answer within {after:?}")]
    TargetTimeout {
        /// Host and port.
        address: String,
        /// The limit.
        after: Duration,
    },
    /// The target does not do the security layer the gateway is configured for.
    #[error("target {address} refuses {wanted}: {why}; see `security` in the target file")]
    TargetSecurity {
        /// Host and port.
        address: String,
        /// What was asked for.
        wanted: &'static str,
        /// What it said.
        why: String,
    },
    /// No pin is known for the target; nothing was sent to it but a TLS handshake.
    #[error(
        "target {address} shows the unknown certificate {fingerprint}; check it and pin it in the target file"
    )]
    UnknownCertificate {
        /// Host and port.
        address: String,
        /// SHA-256 of the certificate it showed.
        fingerprint: Fingerprint,
    },
    /// The target's certificate is not the pinned one.
    #[error(
        "target {address} shows the certificate {shown}, not the pinned {pinned}; if it was renewed, pin the new one"
    )]
    WrongCertificate {
        /// Host and port.
        address: String,
        /// SHA-256 of the certificate it showed.
        shown: Fingerprint,
        /// The pin.
        pinned: Fingerprint,
    },
    /// TLS with the target failed.
    #[error("target {address}: TLS failed: {source}")]
    TargetTls {
        /// Host and port.
        address: String,
        /// The failure.
        source: io::Error,
    },
    /// The target does not take the credentials.
    #[error(
        "target {address} refuses user `{user}`: {why}; check user and password in the target file"
    )]
    TargetLogon {
        /// Host and port.
        address: String,
        /// Who.
        user: String,
        /// What it said.
        why: String,
    },
    /// The target did something the protocol does not allow, or that would not be recorded.
    #[error("target {address}: {what}")]
    Target {
        /// Host and port.
        address: String,
        /// What was wrong.
        what: String,
    },
    /// A file of the gateway's own TLS identity cannot be used.
    #[error("gateway identity {path}: {why}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The host's certificate authorities cannot be used.
    #[error(
        "no certificate authority could be loaded: {0}; install ca-certificates or pin the target"
    )]
    NoAuthorities(String),
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// The client closed or lost the connection.
    #[error("the client disconnected")]
    ClientClosed,
    /// The target closed or lost the connection.
    #[error("the target disconnected")]
    TargetClosed,
    /// Somebody on the gateway's side ended it.
    #[error("ended: {0}")]
    Ordered(String),
    /// The recorder stopped taking events; without a recording there is no session.
    #[error("the recorder failed")]
    RecorderFailed,
    /// The target drew something that cannot be replayed.
    #[error("the target sent {0}, which a recording could not replay")]
    NotReplayable(Unreplayable),
    /// The target wants the client to go elsewhere, past the gateway.
    #[error("the target tried to redirect the client to another server")]
    Redirected,
    /// A frame did not parse, so it could not be checked.
    #[error("a frame {direction} could not be checked: {what}")]
    Malformed {
        /// Which way it went.
        direction: crate::wire::Direction,
        /// What was wrong.
        what: Malformed,
    },
}

/// Something the target may not send, because a recording of it would stay black.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreplayable {
    /// Bulk-compressed output.
    #[error("bulk-compressed output")]
    Compressed,
    /// Drawing orders.
    #[error("drawing orders")]
    Orders,
    /// Surface commands.
    #[error("surface commands")]
    SurfaceCommands,
    /// An update code that is not known.
    #[error("an unknown update (code {0:#04x})")]
    UnknownUpdate(u16),
    /// A PDU that is not known.
    #[error("an unknown PDU (type {0:#04x})")]
    UnknownPdu(u8),
    /// Fewer colours than the gateway asked for.
    #[error("a desktop of {0} bits per pixel, less than the 16 asked for")]
    ColourDepth(u16),
    /// A bulk-compressed channel chunk.
    #[error("a bulk-compressed channel chunk")]
    CompressedChannel,
}

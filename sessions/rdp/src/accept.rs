//! The client's side of the handshake: the gateway plays the server until it knows who is there.
//!
//! ```text
//! X.224 request → confirm (TLS) → TLS → connect initial → response → erect, attach, joins → client info = PendingClient
//! ```
//! The target is not touched before the caller has checked the password (S1). Source: MS-RDPBCGR 1.3.1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ironrdp_core::{Encode, decode, encode_vec};
use ironrdp_pdu::gcc;
use ironrdp_pdu::mcs::{
    AttachUserConfirm, ChannelJoinConfirm, ConnectResponse, DomainParameters, McsMessage,
};
use ironrdp_pdu::nego::{
    ConnectionConfirm, ConnectionRequest, FailureCode, ResponseFlags, SecurityProtocol,
};
use ironrdp_pdu::x224::{X224, X224Data};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use zeroize::{Zeroize as _, Zeroizing};

use crate::RdpError;
use crate::filter::{Ids, error_info_frame};
use crate::gcc::ClientData;
use crate::info::Credentials;
use crate::link::Link;
use crate::tls::Identity;
use crate::wire::{self, Malformed, Mcs};

/// Ids the gateway gives every client: the user, the I/O channel, then one id a static channel.
const USER: u16 = 1002;
const IO: u16 = 1003;
/// Frames a client may send before its Client Info: 31 joins, three more, and some patience.
const MAX_HANDSHAKE_FRAMES: usize = 80;

/// Takes clients up to the point where their password is known.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    timeout: Duration,
}

/// Why a client is turned away, in the words of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Wrong, used or expired password.
    Denied,
    /// The target cannot be reached, or refuses the gateway.
    TargetFailed,
    /// The gateway is full or going down.
    Unavailable,
}

impl Rejection {
    /// Set Error Info code (MS-RDPBCGR 2.2.5.1.1) that clients show a message for.
    fn code(self) -> u32 {
        match self {
            Self::Denied => 0x0000_0007,       // ERRINFO_SERVER_DENIED_CONNECTION
            Self::TargetFailed => 0x0000_0001, // ERRINFO_RPC_INITIATED_DISCONNECT
            Self::Unavailable => 0x0000_0006, // ERRINFO_OUT_OF_MEMORY: "the server ran out of resources"
        }
    }
}

/// A client that has shown its credentials and waits for an answer.
pub struct PendingClient {
    pub(crate) link: Link<tokio_rustls::server::TlsStream<TcpStream>>,
    pub(crate) connect_initial: BytesMut,
    pub(crate) client_info: Zeroizing<Vec<u8>>,
    pub(crate) ids: Ids,
    peer: SocketAddr,
    data: ClientData,
    credentials: Credentials,
}

impl std::fmt::Debug for PendingClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingClient")
            .field("peer", &self.peer)
            .field("data", &self.data)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// An acceptor that shows `identity` and gives each client 30 s.
    pub fn new(identity: &Identity) -> Result<Self, RdpError> {
        let tls = TlsAcceptor::from(Arc::new(identity.server_config()?));
        Ok(Self {
            tls,
            timeout: Duration::from_secs(30),
        })
    }

    /// The same with another limit on the whole handshake.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Leads a new connection through the handshake up to its credentials.
    pub async fn accept(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<PendingClient, RdpError> {
        let after = self.timeout;
        tokio::time::timeout(after, self.handshake(tcp, peer))
            .await
            .unwrap_or(Err(RdpError::ClientTimeout { peer, after }))
    }

    async fn handshake(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<PendingClient, RdpError> {
        let broken = |source| RdpError::ClientIo { peer, source };
        let bad = |what| RdpError::Client {
            peer,
            what: Malformed(what),
        };
        let wrong = |what| RdpError::Client { peer, what };
        crate::link::tune(&tcp).map_err(broken)?;

        let request = connection_request(&mut tcp).await.map_err(broken)?;
        let request = decode::<X224<ConnectionRequest>>(&request)
            .map_err(|_| bad("not an X.224 connection request"))?
            .0;
        if !request.protocol.contains(SecurityProtocol::SSL) {
            let refusal = ConnectionConfirm::Failure {
                code: FailureCode::SSL_REQUIRED_BY_SERVER,
            };
            tcp.write_all(&encode(&X224(refusal)).map_err(wrong)?)
                .await
                .map_err(broken)?;
            return Err(RdpError::ClientWithoutTls {
                peer,
                offered: request.protocol.to_string(),
            });
        }
        let confirm = ConnectionConfirm::Response {
            flags: ResponseFlags::EXTENDED_CLIENT_DATA_SUPPORTED,
            protocol: SecurityProtocol::SSL,
        };
        tcp.write_all(&encode(&X224(confirm)).map_err(wrong)?)
            .await
            .map_err(broken)?;

        let mut link = Link::new(self.tls.accept(tcp).await.map_err(broken)?);
        let connect_initial = link.frame().await.map_err(broken)?;
        let data = crate::gcc::read(&connect_initial).map_err(wrong)?;
        let ids = Ids {
            user: USER,
            io: IO,
            message: None,
            channels: (IO + 1..).take(data.channels.len()).collect(),
        };
        let response = connect_response(&ids, request.protocol).map_err(wrong)?;
        link.send(&response).await.map_err(broken)?;

        for _ in 0..MAX_HANDSHAKE_FRAMES {
            let mut frame = link.frame().await.map_err(broken)?;
            if let Mcs::SendDataRequest(header) = wire::parse_mcs(&frame).map_err(wrong)? {
                if header.channel != IO {
                    return Err(bad("channel data before the client info"));
                }
                let client_info = Zeroizing::new(frame[header.data].to_vec());
                frame.zeroize(); // the password was in here as well
                let credentials = crate::info::read(&client_info).map_err(wrong)?;
                return Ok(PendingClient {
                    link,
                    connect_initial,
                    client_info,
                    ids,
                    peer,
                    data,
                    credentials,
                });
            }
            let message = decode::<X224<McsMessage<'_>>>(&frame)
                .map_err(|_| bad("not an MCS PDU"))?
                .0;
            let answer = match message {
                McsMessage::ErectDomainRequest(_) => continue,
                McsMessage::AttachUserRequest(_) => {
                    McsMessage::AttachUserConfirm(AttachUserConfirm {
                        result: 0,
                        initiator_id: USER,
                    })
                }
                McsMessage::ChannelJoinRequest(join) => {
                    let known = [USER, IO].contains(&join.channel_id)
                        || ids.channels.contains(&join.channel_id);
                    if !known {
                        return Err(bad("the client joins a channel that does not exist"));
                    }
                    McsMessage::ChannelJoinConfirm(ChannelJoinConfirm {
                        result: 0,
                        initiator_id: USER,
                        requested_channel_id: join.channel_id,
                        channel_id: join.channel_id,
                    })
                }
                _ => return Err(bad("unexpected MCS PDU in the handshake")),
            };
            link.send(&encode(&X224(answer)).map_err(wrong)?)
                .await
                .map_err(broken)?;
        }
        Err(bad("too many frames before the client info"))
    }
}

impl PendingClient {
    /// Where the client connects from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// User name the client gave.
    pub fn username(&self) -> &str {
        &self.credentials.username
    }

    /// Domain the client gave, often empty.
    pub fn domain(&self) -> &str {
        &self.credentials.domain
    }

    /// Password the client gave: the one-time password, to be checked and forgotten.
    pub fn password(&self) -> &Zeroizing<String> {
        &self.credentials.password
    }

    /// Name of the client's computer.
    pub fn client_name(&self) -> &str {
        &self.data.client_name
    }

    /// Desktop width and height the client asks for, in pixels.
    pub fn desktop(&self) -> (u16, u16) {
        (self.data.width, self.data.height)
    }

    /// Names of the static virtual channels the client asks for.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.data.channels.iter().map(|c| c.name.as_str())
    }

    pub(crate) fn requests(&self) -> &[crate::gcc::ChannelRequest] {
        &self.data.channels
    }

    /// Turns the client away with a message, and closes the connection. Takes at most two seconds.
    pub async fn reject(mut self, why: Rejection) {
        let farewell = async {
            if self.data.reads_error_info {
                // No share exists yet; clients take the error in any state.
                if let Ok(frame) = error_info_frame(self.ids.user, self.ids.io, 0, why.code()) {
                    self.link.send(&frame).await?;
                }
            }
            self.link.send(&wire::disconnect_frame(1)).await?;
            self.link.stream.shutdown().await
        };
        match tokio::time::timeout(Duration::from_secs(2), farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "the client left before it was told why");
            }
            Err(_) => tracing::debug!(peer = %self.peer, "the client did not take its rejection"),
        }
    }
}

/// Reads exactly the first TPKT frame: what follows belongs to TLS.
async fn connection_request(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut frame = vec![0; 4];
    tcp.read_exact(&mut frame).await?;
    if frame[0] != 3 {
        return Err(invalid(
            "not an RDP client: the first byte is no TPKT header",
        ));
    }
    let len = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
    if !(11..=1024).contains(&len) {
        return Err(invalid(
            "an X.224 connection request of an impossible length",
        ));
    }
    frame.resize(len, 0);
    tcp.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

pub(crate) fn encode<T: Encode>(pdu: &T) -> Result<Vec<u8>, Malformed> {
    encode_vec(pdu).map_err(|_| Malformed("the gateway could not encode its answer"))
}

fn connect_response(ids: &Ids, requested: SecurityProtocol) -> Result<Vec<u8>, Malformed> {
    let blocks = gcc::ServerGccBlocks {
        core: gcc::ServerCoreData {
            version: gcc::RdpVersion::V5_PLUS,
            optional_data: gcc::ServerCoreOptionalData {
                client_requested_protocols: Some(requested),
                early_capability_flags: None,
            },
        },
        network: gcc::ServerNetworkData {
            channel_ids: ids.channels.clone(),
            io_channel: ids.io,
        },
        security: gcc::ServerSecurityData::no_security(),
        message_channel: None,
        multi_transport_channel: None,
    };
    let response = ConnectResponse {
        conference_create_response: gcc::ConferenceCreateResponse::new(ids.user, blocks)
            .map_err(|_| Malformed("more channels than a connect response can name"))?,
        called_connect_id: 1,
        domain_parameters: DomainParameters::target(),
    };
    let data = encode(&response)?;
    encode(&X224(X224Data { data: data.into() }))
}

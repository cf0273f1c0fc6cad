//! The target's side of the handshake: the gateway plays the client, with the target's own credentials.
//!
//! ```text
//! X.224 request → confirm → TLS (certificate checked) → [CredSSP] → the client's connect initial, patched → response
//!   → erect, attach, joins → client info with the target's credentials
//! ```

use std::io;
use std::time::Duration;

use ironrdp_connector::credssp::CredsspSequence;
use ironrdp_core::{WriteBuf, decode};
use ironrdp_pdu::PduHint;
use ironrdp_pdu::gcc::{EncryptionLevel, EncryptionMethod};
use ironrdp_pdu::mcs::{
    AttachUserRequest, ChannelJoinRequest, ConnectResponse, ErectDomainPdu, McsMessage,
};
use ironrdp_pdu::nego::{ConnectionConfirm, ConnectionRequest, RequestFlags, SecurityProtocol};
use ironrdp_pdu::x224::{X224, X224Data};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::{Zeroize as _, Zeroizing};

use crate::accept::{PendingClient, encode};
use crate::filter::Ids;
use crate::info::{self, Credentials};
use crate::link::Link;
use crate::tls::{Fingerprint, Verifier};
use crate::wire::{self, Direction, Malformed};
use crate::{RdpError, tls};

pub use crate::tls::Trust;

/// How the gateway secures its connection to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS; the desktop's own login takes the credentials.
    Tls,
    /// TLS with network level authentication (CredSSP, NTLM).
    Nla,
    /// Whichever of the two the target chooses.
    Auto,
}

/// A desktop, and how to get into it.
#[derive(Clone)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port, 3389 as a rule.
    pub port: u16,
    /// The target's own credentials, never the user's.
    pub credentials: Credentials,
    /// TLS or NLA.
    pub security: Security,
    /// How its certificate is checked.
    pub trust: Trust,
    /// Limit on the whole handshake.
    pub timeout: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("credentials", &self.credentials)
            .field("security", &self.security)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// A target that has taken the client's settings and the gateway's credentials.
pub struct ConnectedTarget {
    pub(crate) link: Link<TlsStream<TcpStream>>,
    pub(crate) ids: Ids,
    /// The Client Info frame as it was sent, with its secrets zeroed.
    pub(crate) client_info_record: Vec<u8>,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for ConnectedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectedTarget")
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl ConnectedTarget {
    /// SHA-256 of the certificate the target showed.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Target {
    /// Host and port, as messages show them.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Connects for a client whose password was checked.
    pub async fn connect(&self, client: &PendingClient) -> Result<ConnectedTarget, RdpError> {
        let timeout = || RdpError::TargetTimeout {
            address: self.address(),
            after: self.timeout,
        };
        tokio::time::timeout(self.timeout, self.handshake(client))
            .await
            .unwrap_or_else(|_| Err(timeout()))
    }

    /// Connects just far enough to see the target's certificate, for pinning it. Nothing is authenticated or sent.
    pub async fn show_certificate(&self) -> Result<Fingerprint, RdpError> {
        let ask = Self {
            trust: Trust::AskFirstUse,
            ..self.clone()
        };
        let timeout = || RdpError::TargetTimeout {
            address: self.address(),
            after: self.timeout,
        };
        match tokio::time::timeout(self.timeout, ask.secure())
            .await
            .unwrap_or_else(|_| Err(timeout()))
        {
            Err(RdpError::UnknownCertificate { fingerprint, .. }) => Ok(fingerprint),
            Err(other) => Err(other),
            Ok(secured) => Ok(secured.fingerprint),
        }
    }

    fn broken(&self, source: &io::Error) -> RdpError {
        RdpError::Target {
            address: self.address(),
            what: source.to_string(),
        }
    }

    fn bad(&self, what: impl Into<String>) -> RdpError {
        RdpError::Target {
            address: self.address(),
            what: what.into(),
        }
    }

    fn wanted(&self) -> (SecurityProtocol, &'static str) {
        match self.security {
            Security::Tls => (SecurityProtocol::SSL, "TLS security"),
            Security::Nla => (
                SecurityProtocol::HYBRID | SecurityProtocol::SSL,
                "network level authentication",
            ),
            Security::Auto => (
                SecurityProtocol::HYBRID | SecurityProtocol::SSL,
                "TLS or network level authentication",
            ),
        }
    }

    /// TCP, X.224 and TLS.
    async fn secure(&self) -> Result<Secured, RdpError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|source| RdpError::TargetDown {
                address: self.address(),
                source,
            })?;
        crate::link::tune(&tcp).map_err(|e| self.broken(&e))?;
        let mut plain = Link::new(tcp);
        let (protocol, wanted) = self.wanted();
        let request = ConnectionRequest {
            nego_data: None,
            flags: RequestFlags::empty(),
            protocol,
            correlation_info: None,
        };
        let request = encode(&X224(request)).map_err(|e| self.bad(e.to_string()))?;
        plain.send(&request).await.map_err(|e| self.broken(&e))?;
        let confirm = plain.frame().await.map_err(|e| self.broken(&e))?;
        let refused = |why: String| RdpError::TargetSecurity {
            address: self.address(),
            wanted,
            why,
        };
        let confirm = decode::<X224<ConnectionConfirm>>(&confirm)
            .map_err(|_| self.bad("its answer is not RDP"))?
            .0;
        let selected = match confirm {
            ConnectionConfirm::Response { protocol, .. } => protocol,
            ConnectionConfirm::Failure { code } => return Err(refused(code.to_string())),
        };
        let allowed = match self.security {
            Security::Tls => selected == SecurityProtocol::SSL,
            Security::Nla => selected == SecurityProtocol::HYBRID,
            Security::Auto => {
                selected == SecurityProtocol::SSL || selected == SecurityProtocol::HYBRID
            }
        };
        if !allowed {
            return Err(refused(format!("it selected {selected}")));
        }
        if !plain.buffer.is_empty() {
            return Err(self.bad("it speaks before TLS"));
        }

        let verifier = Verifier::new(&self.trust)?;
        let connector = TlsConnector::from(std::sync::Arc::new(verifier.client_config()?));
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| self.bad("its name is no host name"))?;
        let stream = connector
            .connect(name, plain.stream)
            .await
            .map_err(|source| {
                let address = self.address();
                match (&self.trust, verifier.shown()) {
                    (Trust::AskFirstUse, Some(fingerprint)) => RdpError::UnknownCertificate {
                        address,
                        fingerprint,
                    },
                    (Trust::Pin(pinned), Some(shown)) if *pinned != shown => {
                        RdpError::WrongCertificate {
                            address,
                            shown,
                            pinned: *pinned,
                        }
                    }
                    _ => RdpError::TargetTls { address, source },
                }
            })?;
        let fingerprint = verifier
            .shown()
            .ok_or_else(|| self.bad("it showed no certificate"))?;
        Ok(Secured {
            link: Link::new(stream),
            selected,
            fingerprint,
        })
    }

    async fn handshake(&self, client: &PendingClient) -> Result<ConnectedTarget, RdpError> {
        let Secured {
            mut link,
            selected,
            fingerprint,
        } = self.secure().await?;
        let broken = |e: io::Error| self.broken(&e);
        let wrong = |e: Malformed| self.bad(e.to_string());
        if selected == SecurityProtocol::HYBRID {
            self.credssp(&mut link, selected).await?;
        }

        let mut connect_initial = client.connect_initial.clone();
        crate::gcc::patch(&mut connect_initial, selected.bits()).map_err(wrong)?;
        link.send(&connect_initial).await.map_err(broken)?;
        let frame = link.frame().await.map_err(broken)?;
        let data = decode::<X224<X224Data<'_>>>(&frame)
            .map_err(|_| self.bad("its connect response is not X.224"))?
            .0;
        let response = decode::<ConnectResponse>(&data.data)
            .map_err(|e| self.bad(format!("its connect response: {e}")))?;
        let mut ids = self.read_response(response, client.requests().len())?;

        let erect = McsMessage::ErectDomainRequest(ErectDomainPdu {
            sub_height: 0,
            sub_interval: 0,
        });
        link.send(&encode(&X224(erect)).map_err(wrong)?)
            .await
            .map_err(broken)?;
        let attach = McsMessage::AttachUserRequest(AttachUserRequest);
        link.send(&encode(&X224(attach)).map_err(wrong)?)
            .await
            .map_err(broken)?;
        ids.user = match self.message(&mut link).await? {
            McsMessage::AttachUserConfirm(confirm) if confirm.result == 0 => confirm.initiator_id,
            other => return Err(self.bad(format!("it does not attach the user: {other:?}"))),
        };
        for channel_id in [ids.user, ids.io]
            .into_iter()
            .chain(ids.message)
            .chain(ids.channels.iter().copied())
        {
            let join = McsMessage::ChannelJoinRequest(ChannelJoinRequest {
                initiator_id: ids.user,
                channel_id,
            });
            link.send(&encode(&X224(join)).map_err(wrong)?)
                .await
                .map_err(broken)?;
            match self.message(&mut link).await? {
                McsMessage::ChannelJoinConfirm(confirm)
                    if confirm.result == 0 && confirm.channel_id == channel_id => {}
                other => {
                    return Err(
                        self.bad(format!("it does not join channel {channel_id}: {other:?}"))
                    );
                }
            }
        }

        let info = info::rewrite(&client.client_info, &self.credentials).map_err(wrong)?;
        let frame =
            Zeroizing::new(wire::send_data(Direction::In, ids.user, ids.io, &info).map_err(wrong)?);
        link.send(&frame).await.map_err(broken)?;
        let mut blanked = info;
        info::blank(&mut blanked).map_err(wrong)?;
        let client_info_record =
            wire::send_data(Direction::In, ids.user, ids.io, &blanked).map_err(wrong)?;
        Ok(ConnectedTarget {
            link,
            ids,
            client_info_record,
            fingerprint,
        })
    }

    fn read_response(&self, response: ConnectResponse, wanted: usize) -> Result<Ids, RdpError> {
        let blocks = response.conference_create_response.into_gcc_blocks();
        let plain = blocks.security.encryption_method == EncryptionMethod::empty()
            && blocks.security.encryption_level == EncryptionLevel::None;
        if !plain {
            return Err(self.bad("it wants RDP encryption inside TLS, which could not be recorded"));
        }
        let channels = blocks.network.channel_ids;
        if channels.len() != wanted {
            return Err(self.bad(format!(
                "it gives {} channels for {wanted} requested",
                channels.len()
            )));
        }
        let message = blocks
            .message_channel
            .map(|m| m.mcs_message_channel_id)
            .filter(|id| *id != 0);
        Ok(Ids {
            user: 0,
            io: blocks.network.io_channel,
            message,
            channels,
        })
    }

    async fn message(
        &self,
        link: &mut Link<TlsStream<TcpStream>>,
    ) -> Result<McsMessage<'static>, RdpError> {
        use ironrdp_core::IntoOwned as _;
        let frame = link.frame().await.map_err(|e| self.broken(&e))?;
        let message = decode::<X224<McsMessage<'_>>>(&frame)
            .map_err(|_| self.bad("its answer is not MCS"))?
            .0;
        Ok(message.into_owned())
    }

    /// Network level authentication by NTLM, with the target's credentials (MS-CSSP).
    async fn credssp(
        &self,
        link: &mut Link<TlsStream<TcpStream>>,
        selected: SecurityProtocol,
    ) -> Result<(), RdpError> {
        const MAX_MESSAGE: usize = 64 * 1024;
        let denied = |why: String| RdpError::TargetLogon {
            address: self.address(),
            user: self.credentials.username.clone(),
            why,
        };
        let (_, session) = link.stream.get_ref();
        let key = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|certificate| tls::public_key(certificate))
            .ok_or_else(|| self.bad("its certificate has no public key"))?
            .bits
            .to_vec();
        let domain = Some(self.credentials.domain.as_str()).filter(|d| !d.is_empty());
        let mut credentials = ironrdp_connector::Credentials::UsernamePassword {
            username: self.credentials.username.clone(),
            password: self.credentials.password.to_string(),
        };
        let begun = CredsspSequence::init(
            credentials.clone(),
            domain,
            selected,
            ironrdp_connector::ServerName::new(self.host.clone()),
            key,
            None,
        );
        if let ironrdp_connector::Credentials::UsernamePassword { password, .. } = &mut credentials
        {
            password.zeroize();
        }
        let (mut sequence, mut request) = begun.map_err(|e| denied(e.to_string()))?;
        let mut buffer = WriteBuf::new();
        loop {
            // NTLM needs nobody else, so the generator never suspends for the network.
            let state = sequence
                .process_ts_request(request)
                .resolve_to_result()
                .map_err(|e| denied(e.to_string()))?;
            buffer.clear();
            let written = sequence
                .handle_process_result(state, &mut buffer)
                .map_err(|e| denied(e.to_string()))?;
            if let Some(len) = written.size() {
                link.send(&buffer[..len])
                    .await
                    .map_err(|e| self.broken(&e))?;
            }
            let Some(hint) = sequence.next_pdu_hint() else {
                return Ok(());
            };
            let answer = link
                .read_by(|bytes| ts_request_len(hint, bytes), MAX_MESSAGE)
                .await
                .map_err(|e| denied(format!("{e} during network level authentication")))?;
            match sequence
                .decode_server_message(&answer)
                .map_err(|e| denied(e.to_string()))?
            {
                Some(next) => request = next,
                None => return Ok(()),
            }
        }
    }
}

fn ts_request_len(hint: &dyn PduHint, bytes: &[u8]) -> io::Result<Option<usize>> {
    let found = hint
        .find_size(bytes)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    Ok(found.map(|(_, len)| len))
}

struct Secured {
    link: Link<TlsStream<TcpStream>>,
    selected: SecurityProtocol,
    fingerprint: Fingerprint,
}

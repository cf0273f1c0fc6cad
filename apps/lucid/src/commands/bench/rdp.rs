//! An RDP client and a desktop that speak just enough of the protocol, on both sides of the gateway or on both ends of a
//! direct connection: X.224, TLS, MCS, credentials, capabilities, and from there on fast-path frames (MS-RDPBCGR 1.3.1.1).

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use lucid_rdp::{
    Fingerprint, Identity,
    wire::{self, Direction},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The client's end of a session.
pub type Client = tokio_rustls::client::TlsStream<TcpStream>;
/// The desktop's end.
pub type Server = tokio_rustls::server::TlsStream<TcpStream>;

/// Size of the desktop in pixels.
pub const WIDTH: u16 = 1024;
/// Size of the desktop in pixels.
pub const HEIGHT: u16 = 768;

/// MCS ids the desktop hands out.
const USER: u16 = 1007;
const IO: u16 = 1003;
const NAME: &str = "lucid-gateway";

/// A desktop on a free loopback port.
pub struct Desk {
    /// Where it listens.
    pub address: SocketAddr,
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// Sessions that have begun.
    sessions: mpsc::Receiver<Result<Server>>,
}

impl Desk {
    /// Listens until it is dropped; its certificate goes to `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        let (certificate, key) = (dir.join("desk.crt"), dir.join("desk.key"));
        let fingerprint = Identity::load_or_create(&certificate, &key)?.fingerprint();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&certificate)?],
                PrivateKeyDer::from_pem_file(&key)?,
            )?;
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, sessions) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                if sender.send(serve(tcp, &tls).await).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            address,
            fingerprint,
            sessions,
        })
    }

    /// A client connected here directly, and the desktop's end of it.
    pub async fn direct(&mut self, dir: &Path) -> Result<(Client, Server)> {
        self.through(self.address, &dir.join("desk.crt"), "direct", "none")
            .await
    }

    /// A client connected by way of `address`, which shows `certificate`, and the desktop's end of it.
    pub async fn through(
        &mut self,
        address: SocketAddr,
        certificate: &Path,
        user: &str,
        password: &str,
    ) -> Result<(Client, Server)> {
        let client = connect(address, certificate, user, password).await?;
        let server = self
            .sessions
            .recv()
            .await
            .context("the desktop is gone")??;
        Ok((client, server))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The client's side, up to the desktop's capabilities.
async fn connect(
    address: SocketAddr,
    certificate: &Path,
    user: &str,
    password: &str,
) -> Result<Client> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    // Connection request with a negotiation request for TLS.
    tcp.write_all(&[3, 0, 0, 19, 14, 0xE0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 1, 0, 0, 0])
        .await?;
    frame(&mut tcp).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut tls = connector.connect(NAME.try_into()?, tcp).await?;
    send(&mut tls, &connect_initial()).await?;
    frame(&mut tls).await?;
    send(&mut tls, &mcs(&[0x04, 1, 0, 1, 0])).await?; // erect domain
    send(&mut tls, &mcs(&[0x28])).await?; // attach user
    let confirm = frame(&mut tls).await?;
    let user_id = confirm
        .get(9..11)
        .context("the attach user confirm is too short")?;
    let user_id = u16::from_be_bytes([user_id[0], user_id[1]]) + 1001;
    for channel in [user_id, IO] {
        let [high, low] = channel.to_be_bytes();
        let [a, b] = (user_id - 1001).to_be_bytes();
        send(&mut tls, &mcs(&[0x38, a, b, high, low])).await?;
        frame(&mut tls).await?;
    }
    send(
        &mut tls,
        &wire::send_data(Direction::In, user_id, IO, &client_info(user, password)?)?,
    )
    .await?;
    // The desktop's capabilities: from here on it draws.
    frame(&mut tls).await.context("the session was refused")?;
    Ok(tls)
}

/// The desktop's side, up to its capabilities.
async fn serve(mut tcp: TcpStream, tls: &TlsAcceptor) -> Result<Server> {
    tcp.set_nodelay(true)?;
    frame(&mut tcp).await?;
    // Connection confirm that selects TLS.
    tcp.write_all(&[
        3, 0, 0, 19, 14, 0xD0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 1, 0, 0, 0,
    ])
    .await?;
    let mut tls = tls.accept(tcp).await?;
    frame(&mut tls).await?;
    send(&mut tls, &connect_response()).await?;
    let [a, b] = (USER - 1001).to_be_bytes();
    loop {
        let asked = frame(&mut tls).await?;
        match asked.get(7).map(|choice| choice >> 2) {
            Some(1) => {}
            Some(10) => send(&mut tls, &mcs(&[0x2E, 0, a, b])).await?,
            Some(14) => {
                let channel = asked
                    .get(10..12)
                    .context("a channel join request is too short")?;
                send(
                    &mut tls,
                    &mcs(&[
                        0x3E, 0, a, b, channel[0], channel[1], channel[0], channel[1],
                    ]),
                )
                .await?;
            }
            Some(25) => break,
            other => anyhow::bail!("unexpected MCS PDU {other:?}"),
        }
    }
    send(
        &mut tls,
        &wire::send_data(Direction::Out, 1002, IO, &demand_active())?,
    )
    .await?;
    Ok(tls)
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}

/// The next TPKT frame.
async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).await?;
    ensure!(frame[0] == 3, "a frame that is not TPKT");
    let len = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
    ensure!(len > 4, "a frame of {len} bytes");
    frame.resize(len, 0);
    stream.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

/// An MCS PDU in X.224 and TPKT.
fn mcs(pdu: &[u8]) -> Vec<u8> {
    let len = length(pdu.len() + 7).to_be_bytes();
    [&[3, 0, len[0], len[1], 2, 0xF0, 0x80], pdu].concat()
}

/// Lengths here are of PDUs made here: all of them fit.
fn length(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn block(kind: u16, body: &[u8]) -> Vec<u8> {
    [
        &kind.to_le_bytes()[..],
        &length(body.len() + 4).to_le_bytes(),
        body,
    ]
    .concat()
}

fn per(len: usize) -> [u8; 2] {
    (length(len) | 0x8000).to_be_bytes()
}

/// Connect initial with a client core block and no channels.
fn connect_initial() -> Vec<u8> {
    let mut core = vec![0; 212];
    core[..4].copy_from_slice(&0x0008_0004u32.to_le_bytes());
    core[4..6].copy_from_slice(&WIDTH.to_le_bytes());
    core[6..8].copy_from_slice(&HEIGHT.to_le_bytes());
    core[20..24].copy_from_slice(&[b'p', 0, b'c', 0]);
    core[136] = 24;
    let blocks = block(0xC001, &core);
    let gcc = [
        &[0, 5, 0, 0x14, 0x7C, 0, 1][..],
        &per(blocks.len() + 14),
        &[0, 8, 0, 0x10, 0, 1, 0xC0, 0],
        b"Duca",
        &per(blocks.len()),
        &blocks,
    ];
    let gcc = gcc.concat();
    let parameters = domain_parameters();
    let selectors = [4, 1, 1, 4, 1, 1, 1, 1, 0xFF];
    let body = [
        &selectors[..],
        &parameters,
        &parameters,
        &parameters,
        &[4, 0x82],
        &length(gcc.len()).to_be_bytes(),
        &gcc,
    ];
    application(0x65, &body.concat())
}

/// Connect response with the I/O channel and no others, without encryption of its own.
fn connect_response() -> Vec<u8> {
    let mut network = IO.to_le_bytes().to_vec();
    network.extend([0, 0]);
    let blocks = [
        block(0x0C01, &[4, 0, 8, 0, 1, 0, 0, 0]),
        block(0x0C03, &network),
        block(0x0C02, &[0; 8]),
    ]
    .concat();
    let gcc = [
        &[0, 5, 0, 0x14, 0x7C, 0, 1][..],
        &per(blocks.len() + 14),
        &[0x14, 0x76, 0x0A, 1, 1, 0, 1, 0xC0, 0],
        b"McDn",
        &per(blocks.len()),
        &blocks,
    ];
    let gcc = gcc.concat();
    let body = [
        &[0x0A, 1, 0, 2, 1, 0][..],
        &domain_parameters(),
        &[4, 0x82],
        &length(gcc.len()).to_be_bytes(),
        &gcc,
    ];
    application(0x66, &body.concat())
}

/// An MCS connect PDU: BER, application tag.
fn application(tag: u8, body: &[u8]) -> Vec<u8> {
    mcs(&[
        &[0x7F, tag, 0x82][..],
        &length(body.len()).to_be_bytes(),
        body,
    ]
    .concat())
}

fn domain_parameters() -> Vec<u8> {
    let integers = [
        &[2, 1, 34][..],
        &[2, 1, 3],
        &[2, 1, 0],
        &[2, 1, 1],
        &[2, 1, 0],
        &[2, 1, 1],
        &[2, 3, 0, 0xFF, 0xF8],
        &[2, 1, 2],
    ];
    let body = integers.concat();
    [
        &[0x30, u8::try_from(body.len()).unwrap_or(u8::MAX)][..],
        &body,
    ]
    .concat()
}

/// Client info: user and password in UTF-16, no domain, no shell.
fn client_info(user: &str, password: &str) -> Result<Vec<u8>> {
    const INFO_UNICODE: u32 = 0x10;
    let strings = ["", user, password, "", ""].map(|text| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    });
    let mut out = vec![0x40, 0, 0, 0, 0, 0, 0, 0];
    out.extend(INFO_UNICODE.to_le_bytes());
    for text in &strings {
        out.extend(
            u16::try_from(text.len())
                .context("a user name or password is too long")?
                .to_le_bytes(),
        );
    }
    for text in &strings {
        out.extend_from_slice(text);
        out.extend([0, 0]);
    }
    Ok(out)
}

/// Demand active with a bitmap capability set: 32 bits a pixel, and the desktop's size.
fn demand_active() -> Vec<u8> {
    let mut bitmap = vec![0; 24];
    bitmap[0] = 32;
    bitmap[8..10].copy_from_slice(&WIDTH.to_le_bytes());
    bitmap[10..12].copy_from_slice(&HEIGHT.to_le_bytes());
    let sets = block(2, &bitmap);
    let body = [
        &0x0001_03EAu32.to_le_bytes()[..],
        &4u16.to_le_bytes(),
        &length(sets.len() + 4).to_le_bytes(),
        b"RDP\0",
        &[1, 0, 0, 0],
        &sets,
        &[0; 4],
    ];
    let body = body.concat();
    [
        &length(body.len() + 6).to_le_bytes()[..],
        &[0x11, 0],
        &1002u16.to_le_bytes(),
        &body,
    ]
    .concat()
}

/// A fast-path frame that paints one rectangle. `rows` are 32-bit pixels from the top.
pub fn picture(x: u16, y: u16, width: u16, height: u16, rows: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 3 + 3 + 4 + 18;
    let mut frame = Vec::with_capacity(HEADERS + rows.len());
    frame.push(0);
    frame.extend((length(HEADERS + rows.len()) | 0x8000).to_be_bytes());
    frame.push(1);
    frame.extend(length(HEADERS - 6 + rows.len()).to_le_bytes());
    let fields = [
        1,
        1,
        x,
        y,
        x + width - 1,
        y + height - 1,
        width,
        height,
        32,
        0,
        length(rows.len()),
    ];
    frame.extend(fields.iter().flat_map(|field: &u16| field.to_le_bytes()));
    // On the wire the lowest row comes first.
    for row in rows.chunks_exact(usize::from(width) * 4).rev() {
        frame.extend_from_slice(row);
    }
    frame
}

/// A resize record's payload: what the gateway makes of [`demand_active`].
pub fn size() -> Vec<u8> {
    [WIDTH.to_le_bytes(), HEIGHT.to_le_bytes()].concat()
}

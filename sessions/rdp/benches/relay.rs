//! The gateway's figures on loopback, TLS on both sides: `cargo bench -p lucid-rdp --bench relay`.
//!
//! Throughput of one session, latency it adds to a round trip, CPU of 20 sessions in which little happens.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use lucid_rdp::filter::{Filter, Ids};
use lucid_rdp::{Identity, session, tap};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Client = tokio_rustls::client::TlsStream<TcpStream>;
type Server = tokio_rustls::server::TlsStream<TcpStream>;

struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (crt, key) = (dir.path().join("crt"), dir.path().join("key"));
        Identity::load_or_create(&crt, &key).unwrap();
        let certificate = CertificateDer::from_pem_file(&crt).unwrap();
        let key = PrivateKeyDer::from_pem_file(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            acceptor: Arc::new(server).into(),
            connector: Arc::new(client).into(),
        }
    }

    async fn pair(&self) -> (Client, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (out, accepted) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let (out, accepted) = (out.unwrap(), accepted.unwrap().0);
        out.set_nodelay(true).unwrap();
        accepted.set_nodelay(true).unwrap();
        let name = "lucid-gateway".try_into().unwrap();
        let (client, server) = tokio::join!(
            self.connector.connect(name, out),
            self.acceptor.accept(accepted)
        );
        (client.unwrap(), server.unwrap())
    }

    /// A client and a desktop with the gateway between them.
    async fn session(&self) -> (Client, Server) {
        let (client, gateway_in) = self.pair().await;
        let (gateway_out, desktop) = self.pair().await;
        let ids = || Ids {
            user: 1002,
            io: 1003,
            message: None,
            channels: Vec::new(),
        };
        let (sender, mut receiver) = tap::channel();
        let filter = Filter::new(ids(), ids(), &[]);
        tokio::spawn(session::relay(
            gateway_in,
            gateway_out,
            filter,
            sender,
            Instant::now(),
        ));
        tokio::spawn(async move { while receiver.recv().await.is_some() {} });
        (client, desktop)
    }
}

/// A fast-path frame with one bitmap update of `len` bytes.
fn bitmap_frame(len: usize) -> Vec<u8> {
    let total = u16::try_from(len + 6).unwrap();
    let mut frame = vec![0];
    frame.extend_from_slice(&(total | 0x8000).to_be_bytes());
    frame.push(1);
    frame.extend_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
    frame.resize(total.into(), 0x5A);
    frame
}

async fn throughput<C: AsyncRead + Unpin, S: AsyncWrite + Unpin + Send + 'static>(
    mut client: C,
    mut desktop: S,
) -> f64 {
    let lasts = Duration::from_secs(3);
    let sender = tokio::spawn(async move {
        let frame = bitmap_frame(8000);
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            if desktop.write_all(&frame).await.is_err() {
                break;
            }
        }
        let _ = desktop.shutdown().await;
    });
    let (start, mut bytes, mut buffer) = (Instant::now(), 0usize, vec![0; 1 << 16]);
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        bytes += read;
    }
    let rate = bytes as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64();
    sender.await.unwrap();
    rate
}

/// Round trips in µs, sorted: a key from the client, a small picture from the desktop.
async fn round_trips(mut client: Client, mut desktop: Server) -> Vec<u128> {
    let picture = bitmap_frame(200);
    let len = picture.len();
    tokio::spawn(async move {
        let mut key = [0; 4];
        while desktop.read_exact(&mut key).await.is_ok() {
            let _ = desktop.write_all(&picture).await;
            let _ = desktop.flush().await;
        }
    });
    let (mut times, mut answer) = (Vec::new(), vec![0; len]);
    for _ in 0..5000 {
        let start = Instant::now();
        client.write_all(&[4, 4, 0, 30]).await.unwrap();
        client.flush().await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
        times.push(start.elapsed().as_micros());
    }
    times.sort_unstable();
    times
}

/// User and system time of this process so far, from /proc (in ticks of 10 ms).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split(' ')
        .skip(12)
        .take(2)
        .map(|f| f.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let tls = Tls::new();
    let (client, desktop) = tls.pair().await;
    println!(
        "direct      {:>8.0} Mbit/s",
        throughput(client, desktop).await
    );
    let (client, desktop) = tls.session().await;
    println!(
        "gateway     {:>8.0} Mbit/s",
        throughput(client, desktop).await
    );

    let (client, desktop) = tls.pair().await;
    let direct = round_trips(client, desktop).await;
    let (client, desktop) = tls.session().await;
    let through = round_trips(client, desktop).await;
    for (name, at) in [("p50", 50), ("p99", 99)] {
        let pick = |times: &[u128]| times[times.len() * at / 100];
        println!(
            "round trip  {name}: direct {} µs, gateway {} µs, added {} µs",
            pick(&direct),
            pick(&through),
            pick(&through).saturating_sub(pick(&direct))
        );
    }

    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(tls.session().await);
    }
    let (before, start) = (cpu(), Instant::now());
    while start.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (_, desktop) in &mut sessions {
            desktop.write_all(&bitmap_frame(200)).await.unwrap();
            desktop.flush().await.unwrap();
        }
    }
    let share = (cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    println!("20 sessions, one update a second each: {share:.1} % of a core");
}

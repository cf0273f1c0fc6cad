use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lucid_rdp::Security;

use crate::gateway::{Gateway, target};

fn gateway(timeout: Duration) -> Gateway {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    Gateway::start_with(target(nowhere, "x", "y", Security::Tls), timeout, true)
}

fn error_after(gateway: &Gateway, bytes: &[u8]) -> (String, Vec<u8>) {
    let before = gateway.seen(|s| s.errors.len());
    let mut tcp = TcpStream::connect(gateway.addr).unwrap();
    tcp.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    (
        gateway.wait_for("error", |s| s.errors.get(before).cloned()),
        answer,
    )
}

#[test]
fn a_client_without_tls_gets_the_protocols_refusal() {
    let gateway = gateway(Duration::from_secs(30));
    // X.224 connection request: standard RDP security only, then NLA only.
    for protocols in [0u8, 2] {
        let request = [
            3, 0, 0, 19, 14, 0xE0, 0, 0, 0, 0, 0, 1, 0, 8, 0, protocols, 0, 0, 0,
        ];
        let (error, answer) = error_after(&gateway, &request);
        assert!(error.contains("does not offer TLS"), "{error}");
        assert_eq!(
            answer[11..],
            [3, 0, 8, 0, 1, 0, 0, 0],
            "SSL_REQUIRED_BY_SERVER"
        );
    }
}

#[test]
fn what_is_not_rdp_is_turned_away_at_once() {
    let gateway = gateway(Duration::from_secs(30));
    let long = [3, 0, 0xFF, 0xFF, 0, 0, 0, 0];
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0; 64],
        &long,
        &[3, 0, 0, 11, 6, 0xD0, 0, 0, 0, 0, 0],
    ] {
        let (error, _) = error_after(&gateway, bytes);
        assert!(error.starts_with("client 127.0.0.1:"), "{error}");
    }
}

#[test]
fn a_client_that_dawdles_is_cut_off() {
    let gateway = gateway(Duration::from_millis(300));
    let start = Instant::now();
    let (error, _) = error_after(&gateway, &[3, 0, 0]);
    assert!(error.contains("did not finish the handshake"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

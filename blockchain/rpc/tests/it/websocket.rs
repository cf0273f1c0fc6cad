//! As much of a WebSocket client (RFC 6455) as the tests need, and tests of the connection itself.

use std::net::SocketAddr;
use std::time::Duration;

use lucid_rpc::{RpcLimits, RpcSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{GENESIS_TIME, Solo};

pub(crate) struct Socket {
    stream: TcpStream,
    received: Vec<u8>,
    aside: Vec<Value>,
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::from_page(address, None).await.expect("an upgrade")
    }

    /// With the `Origin` a browser would send; the answer's status if it is not an upgrade.
    pub(crate) async fn from_page(address: SocketAddr, origin: Option<&str>) -> Result<Self, u16> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let origin = origin
            .map(|origin| format!("origin: {origin}\r\n"))
            .unwrap_or_default();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n{origin}\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return Err(0),
            }
        }
        match String::from_utf8(head).unwrap()[9..12].parse().unwrap() {
            101 => Ok(Self {
                stream,
                received: Vec::new(),
                aside: Vec::new(),
            }),
            status => Err(status),
        }
    }

    /// A text frame, masked with zeros, which leaves it as it is.
    pub(crate) fn frame(text: &str) -> Vec<u8> {
        let mut frame = vec![0x81];
        let length = text.len();
        if let Ok(short) = u8::try_from(length)
            && short <= 125
        {
            frame.push(0x80 | short);
        } else if let Ok(medium) = u16::try_from(length) {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        } else {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        frame
    }

    pub(crate) async fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(&Self::frame(text)).await
    }

    pub(crate) async fn call(&mut self, id: u64, method: &str, params: Value) {
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&call.to_string()).await.unwrap();
    }

    /// The next text message; `None` when the connection is over.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(Duration::from_secs(20), self.next_inner())
            .await
            .expect("a message")
    }

    async fn next_inner(&mut self) -> Option<Value> {
        loop {
            if let Some((kind, payload, used)) = self.parse() {
                self.received.drain(..used);
                match kind {
                    1 => return Some(serde_json::from_slice(&payload).unwrap()),
                    8 => return None,
                    // A pong, empty and masked.
                    9 => {
                        let _ = self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await;
                    }
                    _ => {}
                }
                // What is left may hold a whole frame.
                continue;
            }
            let mut chunk = vec![0; 64 << 10];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }

    fn parse(&self) -> Option<(u8, Vec<u8>, usize)> {
        let bytes = &self.received;
        let kind = bytes.first()? & 0x0f;
        let (length, head) = match *bytes.get(1)? {
            126 => (
                u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
                4,
            ),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let end = head + usize::try_from(length).unwrap();
        Some((kind, bytes.get(head..end)?.to_vec(), end))
    }

    /// The first message, of those put aside or still to come, that is wanted; others are put aside.
    async fn first(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.aside.iter().position(&wanted) {
            return self.aside.remove(place);
        }
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("no {what}"));
            if wanted(&message) {
                return message;
            }
            self.aside.push(message);
        }
    }

    /// The answer to a call.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        self.first("answer", |message| message["id"] == json!(id))
            .await
    }

    /// The next notification of a subscription.
    pub(crate) async fn told(&mut self, subscription: &Value) -> Value {
        let message = self
            .first("notification", |message| {
                &message["params"]["subscription"] == subscription
            })
            .await;
        assert_eq!(message["method"], json!("eth_subscription"));
        message["params"]["result"].clone()
    }
}

#[tokio::test]
async fn calls_and_batches_work_over_a_websocket() {
    let solo = Solo::start().await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    socket.call(1, "eth_chainId", json!([])).await;
    assert_eq!(socket.answer(1).await["result"], json!("0x12cc9"));
    socket.send(r#"[{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"},{"jsonrpc":"2.0","id":2,"method":"nothing"}]"#).await.unwrap();
    let batch = socket.next().await.unwrap();
    assert_eq!(batch[0]["result"], json!("0x0"));
    assert_eq!(batch[1]["error"]["code"], json!(-32_601));
    socket.send("not json").await.unwrap();
    assert_eq!(
        socket.next().await.unwrap()["error"]["code"],
        json!(-32_700)
    );
}

#[tokio::test]
async fn a_message_above_the_bound_is_refused_and_the_connection_goes_on() {
    let solo = Solo::limited(RpcLimits {
        max_request: 4_096,
        ..RpcLimits::default()
    })
    .await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    socket
        .send(&format!("{{\"x\":\"{}\"}}", "y".repeat(8_192)))
        .await
        .unwrap();
    let refusal = socket.next().await;
    assert!(refusal.is_none_or(|it| it["error"]["code"] == json!(-32_007)));
    assert_eq!(
        solo.ask("eth_blockNumber", json!([])).await,
        json!("0x0"),
        "others are served"
    );
}

#[tokio::test]
async fn pages_need_to_be_listed() {
    let listed = RpcSettings {
        origins: vec!["https://wallet.example".to_owned()],
        ..RpcSettings::default()
    };
    let solo = Solo::with(listed, GENESIS_TIME).await;
    let address = solo.rpc.local_addr;
    assert!(
        Socket::from_page(address, None).await.is_ok(),
        "programs say no origin"
    );
    assert!(
        Socket::from_page(address, Some("https://wallet.example"))
            .await
            .is_ok()
    );
    assert_eq!(
        Socket::from_page(address, Some("https://evil.example"))
            .await
            .err(),
        Some(403)
    );
    let none = Solo::start().await;
    assert_eq!(
        Socket::from_page(none.rpc.local_addr, Some("http://localhost"))
            .await
            .err(),
        Some(403)
    );
}

#[tokio::test]
async fn the_server_stops_while_connections_are_open() {
    let solo = Solo::start().await;
    let mut socket = Socket::open(solo.rpc.local_addr).await;
    socket.call(1, "eth_subscribe", json!(["newHeads"])).await;
    socket.answer(1).await;
    let address = solo.rpc.local_addr;
    tokio::time::timeout(Duration::from_secs(15), solo.rpc.stop())
        .await
        .expect("a stop");
    assert!(TcpStream::connect(address).await.is_err());
    assert!(socket.next().await.is_none());
}

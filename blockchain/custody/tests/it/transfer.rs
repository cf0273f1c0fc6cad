//! A real door, and holders that lie, over loopback.

use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256};
use bytes::Bytes;
use lucid_chain_types::NodeId;
use lucid_client::Client;
use lucid_custody::chain::Chain;
use lucid_custody::contract::Commitment;
use lucid_custody::door::{self, Door, Limits, Surroundings};
use lucid_custody::files::Files;
use lucid_custody::outline::{self, GROUP};
use lucid_custody::tally::Tally;
use lucid_custody::{CustodyError, transfer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// A door with chunks behind it. No chain: what it serves needs none.
struct Serving {
    url: String,
    tally: Arc<Tally>,
    _stop: watch::Sender<bool>,
    _dir: TempDir,
}

async fn serve(chunks: &[&[u8]], limits: Limits) -> Serving {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path(), 64 << 20).unwrap();
    for bytes in chunks {
        let mut incoming = files
            .receive(Commitment::of(bytes).unwrap())
            .unwrap()
            .unwrap();
        incoming.write(bytes).unwrap();
        incoming.keep().unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tally = Arc::new(Tally::default());
    let (stop, stopped) = watch::channel(false);
    let door = Door {
        node: NodeId(Address::ZERO),
        // Nobody listens there.
        chain: Chain::new(Client::new("http://127.0.0.1:1").unwrap()),
        files,
        around: Arc::new(Mutex::new(Surroundings::default())),
        arrived: mpsc::channel(1).0,
        tally: Arc::clone(&tally),
        limits,
    };
    tokio::spawn(door::serve(door, listener, stopped));
    Serving {
        url,
        tally,
        _stop: stop,
        _dir: dir,
    }
}

/// A holder that answers as told: outline and bytes as given, and then hangs up.
async fn liar(outline: Vec<u8>, bytes: Vec<u8>, announced: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (outline, bytes) = (outline.clone(), bytes.clone());
            tokio::spawn(async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    let text = String::from_utf8(head).unwrap();
                    let (status, len, body) = if text.contains("/outline") {
                        ("200 OK", outline.len(), &outline[..])
                    } else {
                        let from = text.to_lowercase();
                        let from = from.split("bytes=").nth(1).unwrap();
                        let from: usize = from.split('-').next().unwrap().parse().unwrap();
                        (
                            "206 Partial Content",
                            announced - from,
                            &bytes[from.min(bytes.len())..],
                        )
                    };
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n");
                    if stream.write_all(head.as_bytes()).await.is_err()
                        || stream.write_all(body).await.is_err()
                        || body.len() < len
                    {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn hash(bytes: &[u8]) -> B256 {
    B256::new(blake3::hash(bytes).into())
}

async fn fetch(doors: &[String], bytes: &[u8]) -> Result<Vec<u8>, CustodyError> {
    transfer::fetch_bytes(doors, hash(bytes), bytes.len().try_into().unwrap()).await
}

async fn raw(url: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_every_shape_come_whole() {
    for len in [
        1,
        GROUP - 1,
        GROUP,
        GROUP + 1,
        2 * GROUP,
        5 * GROUP + 77,
        40 * GROUP,
    ] {
        let bytes = content(len);
        let holder = serve(&[&bytes], Limits::default()).await;
        assert_eq!(
            fetch(std::slice::from_ref(&holder.url), &bytes)
                .await
                .unwrap(),
            bytes,
            "{len}"
        );
        assert_eq!(Tally::get(&holder.tally.served_bytes), len as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_at_the_next_holder_where_the_last_one_broke_off() {
    let bytes = content(10 * GROUP);
    let whole = serve(&[&bytes], Limits::default()).await;
    let torn = liar(
        outline::make(&bytes),
        bytes[..4 * GROUP + 9].to_vec(),
        bytes.len(),
    )
    .await;
    let nobody = "http://127.0.0.1:1".to_owned();
    let without = serve(&[], Limits::default()).await;
    let doors = [nobody, without.url.clone(), torn, whole.url.clone()];
    assert_eq!(fetch(&doors, &bytes).await.unwrap(), bytes);
    assert_eq!(
        Tally::get(&whole.tally.served_bytes),
        6 * GROUP as u64,
        "only what was missing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_lies_is_named_and_not_believed() {
    let bytes = content(6 * GROUP + 3);
    let mut forged = bytes.clone();
    forged[3 * GROUP] ^= 1;
    let lies = [
        (
            outline::make(&forged),
            forged.clone(),
            bytes.len(),
            "the outline",
        ),
        (
            outline::make(&bytes),
            forged.clone(),
            bytes.len(),
            "group 3",
        ),
        (Vec::new(), bytes.clone(), bytes.len(), "the outline"),
        (
            vec![0; 64 << 10],
            bytes.clone(),
            bytes.len(),
            "more than was asked",
        ),
    ];
    for (outline, sent, announced, told) in lies {
        let door = liar(outline, sent, announced).await;
        let mut taken = Vec::new();
        let size = bytes.len().try_into().unwrap();
        let error = transfer::fetch(std::slice::from_ref(&door), hash(&bytes), size, |more| {
            taken.extend_from_slice(more);
            Ok(())
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains(told) && error.contains(&door), "{error}");
        assert!(bytes.starts_with(&taken), "nothing false is passed on");
        let honest = serve(&[&bytes], Limits::default()).await;
        assert_eq!(
            fetch(&[door, honest.url.clone()], &bytes).await.unwrap(),
            bytes
        );
    }
    assert!(matches!(
        fetch(&[], &bytes).await,
        Err(CustodyError::Nowhere { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_taker_ends_a_fetch() {
    let bytes = content(100);
    let holder = serve(&[&bytes], Limits::default()).await;
    let full = || CustodyError::Panicked("disk full".into());
    let error = transfer::fetch(
        &[holder.url.clone(), holder.url.clone()],
        hash(&bytes),
        100,
        |_| Err(full()),
    )
    .await;
    assert!(matches!(error, Err(CustodyError::Panicked(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_answers_plain_http_with_ranges_and_refuses_the_rest() {
    let bytes = content(1_000);
    let holder = serve(&[&bytes], Limits::default()).await;
    let name = alloy_primitives::hex::encode(hash(&bytes));
    let ask = |method: &str, path: &str, more: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
        let url = holder.url.clone();
        async move { raw(&url, &request).await }
    };
    let chunk = format!("/chunks/{name}");
    let head = ask("HEAD", &chunk, "").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-length: 1000"),
        "{head}"
    );
    let part = ask("GET", &chunk, "range: bytes=990-\r\n").await;
    assert!(
        part.starts_with("HTTP/1.1 206") && part.contains("content-range: bytes 990-999/1000"),
        "{part}"
    );
    for (method, path, more, status) in [
        ("GET", chunk.as_str(), "range: bytes=1000-\r\n", "416"),
        ("GET", chunk.as_str(), "range: bytes=0-1,4-5\r\n", "416"),
        ("DELETE", chunk.as_str(), "", "405"),
        ("GET", "/", "", "404"),
        ("GET", "/chunks/../../etc/passwd", "", "404"),
        ("GET", &format!("/chunks/{}", "0".repeat(64)), "", "404"),
        ("PUT", chunk.as_str(), "content-length: 0\r\n", "400"),
        // The chain cannot be asked: nothing is taken on trust.
        (
            "PUT",
            &format!("{chunk}?number=1"),
            "content-length: 0\r\n",
            "500",
        ),
    ] {
        let answer = ask(method, path, more).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answer}"
        );
    }
    let error = transfer::push(&holder.url, 1, hash(&bytes), Bytes::from(bytes))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("500"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_uploads_are_bounded() {
    let bytes = content(100);
    let holder = serve(
        &[&bytes],
        Limits {
            connections: 1,
            uploads: 0,
        },
    )
    .await;
    let error = transfer::push(&holder.url, 1, hash(&bytes), Bytes::from(bytes.clone()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    let _held = TcpStream::connect(holder.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    // The one before may still be ending; once the held one has the place, there is none.
    for _ in 0..1_000 {
        if fetch(std::slice::from_ref(&holder.url), &bytes)
            .await
            .is_err()
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(Tally::get(&holder.tally.refused) >= 2);
}

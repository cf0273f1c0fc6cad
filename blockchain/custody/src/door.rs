//! Where a node takes and serves chunks: HTTP/1.1, everything bounded.
//!
//! | request | answer |
//! |---|---|
//! | `GET`, `HEAD /chunks/HASH`, with `Range: bytes=A-` or `bytes=A-B` | the chunk, or a part of it |
//! | `GET /chunks/HASH/outline` | the hashes that a fetch verifies with, see [`crate::outline`] |
//! | `PUT /chunks/HASH?number=N` | 201 once it is on the disk, 200 where it was; 403 where it is not this node's turn, 404 for what nobody has paid for, 409 for other bytes, 503 when busy, 507 when full |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT_RANGES, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lucid_chain_types::{NodeId, Slot};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::CustodyError;
use crate::chain::Chain;
use crate::contract::Commitment;
use crate::files::{Files, piece};
use crate::keeper::stopped;
use crate::outline::GROUP;
use crate::plan::{Facts, turn};
use crate::tally::Tally;

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Bytes that are read from the disk at once.
const PIECE: usize = 4 * GROUP;
/// How long a client may take for a head, or from one piece to the next.
const IDLE: Duration = Duration::from_secs(30);

/// Bounds of a door.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Chunks received at once.
    pub uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            uploads: 8,
        }
    }
}

/// What a door knows of the network; the keeper keeps it up to date.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// All nodes that serve chunks.
    pub nodes: Vec<NodeId>,
    /// How many are to hold a chunk.
    pub replicas: usize,
    /// The open slot.
    pub slot: Slot,
    /// Grace periods for which chunks have had too few holders, by number.
    pub lacking: std::collections::HashMap<u64, u64>,
}

/// What a door needs.
#[derive(Clone)]
pub struct Door {
    /// This node.
    pub node: NodeId,
    /// The chain.
    pub chain: Chain,
    /// The disk.
    pub files: Files,
    /// The network.
    pub around: Arc<Mutex<Surroundings>>,
    /// Told the numbers of chunks that have come.
    pub arrived: mpsc::Sender<u64>,
    /// What it counts.
    pub tally: Arc<Tally>,
    /// Bounds.
    pub limits: Limits,
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

struct Serving {
    door: Door,
    uploads: Semaphore,
}

/// Serves at `listener` until told to stop.
pub async fn serve(door: Door, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(door.limits.connections));
    let serving = Arc::new(Serving {
        uploads: Semaphore::new(door.limits.uploads),
        door,
    });
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&connections).try_acquire_owned() {
                Ok(place) => {
                    let serving = Arc::clone(&serving);
                    open.spawn(async move {
                        converse(serving, stream, peer).await;
                        drop(place);
                    });
                }
                Err(_) => Tally::add(&serving.door.tally.refused, 1),
            },
            Err(error) => {
                // Most often too many open files: it passes when connections end.
                warn!(%error, "custody cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(serving: Arc<Serving>, stream: TcpStream, peer: SocketAddr) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let serving = Arc::clone(&serving);
        async move { Ok::<_, Infallible>(serving.answer(request).await) }
    });
    let outcome = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD.max(PIECE))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = outcome {
        debug!(%error, %peer, "a connection for chunks failed");
    }
}

impl Serving {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let Some((hash, outline)) = parse(&path) else {
            return plain(
                StatusCode::NOT_FOUND,
                "there is /chunks/HASH and /chunks/HASH/outline",
            );
        };
        let answered = match (request.method(), outline) {
            (&Method::GET, true) => self.outline(hash).await,
            (&Method::GET | &Method::HEAD, false) => self.get(hash, &request).await,
            (&Method::PUT, false) => self.put(hash, request).await,
            _ => Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD or PUT")),
        };
        answered.unwrap_or_else(|error| {
            warn!(%error, "a chunk could not be served or taken");
            // What went wrong here is for this node's log.
            closing(plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "this node cannot do that now",
            ))
        })
    }

    async fn outline(&self, hash: B256) -> Result<Answer, CustodyError> {
        let files = self.door.files.clone();
        Ok(match blocking(move || files.outline(hash)).await? {
            Some(bytes) => Response::new(full(bytes.into())),
            None => not_here(),
        })
    }

    async fn get(&self, hash: B256, request: &Request<Incoming>) -> Result<Answer, CustodyError> {
        let files = self.door.files.clone();
        let Some((file, len)) = blocking(move || files.read(hash)).await? else {
            return Ok(not_here());
        };
        let asked = request.headers().get(RANGE);
        let (from, to) =
            match asked.map(|range| range.to_str().ok().and_then(|text| span(text, len))) {
                None => (0, len),
                Some(Some(span)) => span,
                Some(None) => {
                    let mut answer = plain(
                        StatusCode::RANGE_NOT_SATISFIABLE,
                        "one range, within the chunk",
                    );
                    set(&mut answer, CONTENT_RANGE, format!("bytes */{len}"));
                    return Ok(answer);
                }
            };
        let body = if request.method() == Method::HEAD {
            full(Bytes::new())
        } else {
            let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(2);
            let tally = Arc::clone(&self.door.tally);
            tokio::spawn(async move {
                let mut file = file;
                let mut at = from;
                while at < to {
                    let length = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
                    let read = tokio::task::spawn_blocking(move || {
                        let mut bytes = vec![0; length];
                        let count = piece(&file, at, &mut bytes)?;
                        bytes.truncate(count);
                        Ok::<_, std::io::Error>((file, bytes))
                    });
                    match read.await {
                        Ok(Ok((again, bytes))) if !bytes.is_empty() => {
                            at += bytes.len() as u64;
                            file = again;
                            Tally::add(&tally.served_bytes, bytes.len() as u64);
                            // A reader that stands still is not waited for.
                            match timeout(IDLE, sender.send_data(bytes.into())).await {
                                Ok(Ok(())) => {}
                                _ => return,
                            }
                        }
                        _ => {
                            sender.abort(std::io::Error::other("the chunk cannot be read"));
                            return;
                        }
                    }
                }
            });
            body.boxed()
        };
        let mut answer = Response::new(body);
        if asked.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(
                &mut answer,
                CONTENT_RANGE,
                format!("bytes {from}-{}/{len}", to.saturating_sub(1)),
            );
        }
        set(&mut answer, ACCEPT_RANGES, "bytes".to_owned());
        set(&mut answer, CONTENT_LENGTH, (to - from).to_string());
        Ok(answer)
    }

    async fn put(&self, hash: B256, request: Request<Incoming>) -> Result<Answer, CustodyError> {
        let number = request
            .uri()
            .query()
            .and_then(|query| query.strip_prefix("number="))
            .and_then(|number| number.parse().ok());
        let Some(number) = number else {
            return Ok(closing(plain(
                StatusCode::BAD_REQUEST,
                "?number= is the commitment's number",
            )));
        };
        let Ok(_place) = self.uploads.try_acquire() else {
            Tally::add(&self.door.tally.refused, 1);
            return Ok(closing(plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy: try again",
            )));
        };
        let lease = match self.door.chain.lease(number).await? {
            Some(lease) if lease.hash == hash => lease,
            _ => {
                return Ok(closing(plain(
                    StatusCode::NOT_FOUND,
                    "nobody has committed to this",
                )));
            }
        };
        if request.body().size_hint().exact() != Some(lease.size.into()) {
            return Ok(closing(plain(StatusCode::CONFLICT, "the size is another")));
        }
        let files = self.door.files.clone();
        let here = blocking(move || files.len(hash)).await?.is_some();
        let admitted = {
            let around = self
                .door
                .around
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let facts = Facts {
                node: self.door.node,
                nodes: &around.nodes,
                replicas: around.replicas,
                slot: around.slot,
                lacking: around.lacking.get(&number).copied().unwrap_or_default(),
                here,
                room: true,
            };
            lease.is_live(around.slot) && turn(&lease, &facts)
        };
        if !admitted {
            return Ok(closing(plain(
                StatusCode::FORBIDDEN,
                "this node is not to hold it, or not now",
            )));
        }
        if here {
            // The commitment may be a new one of the same bytes.
            let _full = self.door.arrived.try_send(number);
            return Ok(closing(plain(StatusCode::OK, "it is here")));
        }
        let expected = Commitment {
            hash,
            storage_root: lease.storage_root,
            size: lease.size,
        };
        let files = self.door.files.clone();
        let Some(mut incoming) = blocking(move || files.receive(expected)).await? else {
            Tally::add(&self.door.tally.refused, 1);
            return Ok(closing(plain(
                StatusCode::INSUFFICIENT_STORAGE,
                "this node is full",
            )));
        };
        let mut body = request.into_body();
        loop {
            let frame = match timeout(IDLE, body.frame()).await {
                Err(_) => {
                    return Ok(closing(plain(
                        StatusCode::REQUEST_TIMEOUT,
                        "it took too long",
                    )));
                }
                Ok(None) => break,
                Ok(Some(Err(_))) => {
                    return Ok(closing(plain(StatusCode::BAD_REQUEST, "it broke off")));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // Anything else is trailers, which say nothing here.
            if let Ok(data) = frame.into_data() {
                incoming = blocking(move || {
                    incoming.write(&data)?;
                    Ok(incoming)
                })
                .await?;
            }
        }
        match blocking(move || incoming.keep()).await {
            Ok(()) => {
                Tally::add(&self.door.tally.received, 1);
                // The keeper finds it by itself, later.
                let _full = self.door.arrived.try_send(number);
                Ok(plain(StatusCode::CREATED, "kept"))
            }
            Err(CustodyError::Mismatch { .. }) => {
                Tally::add(&self.door.tally.refused, 1);
                Ok(closing(plain(
                    StatusCode::CONFLICT,
                    "these are other bytes",
                )))
            }
            Err(error) => Err(error),
        }
    }
}

/// The chunk that a path names, and whether its outline is meant.
fn parse(path: &str) -> Option<(B256, bool)> {
    let name = path.strip_prefix("/chunks/")?;
    let (name, outline) = match name.strip_suffix("/outline") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let bytes = alloy_primitives::hex::decode_to_array::<_, 32>(name).ok()?;
    // One name a chunk: no prefix.
    (name.len() == 64).then(|| (B256::new(bytes), outline))
}

/// First byte and the one behind the last, of `bytes=A-` or `bytes=A-B`.
fn span(text: &str, len: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let to = match to {
        "" => len,
        last => last.parse::<u64>().ok()?.checked_add(1)?.min(len),
    };
    (from < to).then_some((from, to))
}

fn full(bytes: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(full(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}

fn not_here() -> Answer {
    plain(StatusCode::NOT_FOUND, "it is not here")
}

/// Ends the connection after this answer: what is left of the request is not worth reading.
fn closing(mut answer: Answer) -> Answer {
    set(&mut answer, CONNECTION, "close".to_owned());
    answer
}

fn set(answer: &mut Answer, name: hyper::header::HeaderName, value: String) {
    if let Ok(value) = value.try_into() {
        answer.headers_mut().insert(name, value);
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CustodyError> + Send + 'static,
) -> Result<T, CustodyError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CustodyError::Panicked(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_within_the_chunk_only() {
        assert_eq!(span("bytes=0-", 10), Some((0, 10)));
        assert_eq!(span("bytes=3-5", 10), Some((3, 6)));
        assert_eq!(span("bytes=3-99", 10), Some((3, 10)));
        assert_eq!(span("bytes=9-18446744073709551615", 10), None);
        for refused in [
            "bytes=10-",
            "bytes=5-3",
            "bytes=-3",
            "bytes=0-1,3-4",
            "lines=0-",
            "bytes=",
            "0-5",
        ] {
            assert_eq!(span(refused, 10), None, "{refused}");
        }
    }

    #[test]
    fn a_chunk_has_one_name() {
        let name = "ab".repeat(32);
        assert_eq!(
            parse(&format!("/chunks/{name}")),
            Some((B256::repeat_byte(0xab), false))
        );
        assert_eq!(
            parse(&format!("/chunks/{name}/outline")),
            Some((B256::repeat_byte(0xab), true))
        );
        for refused in [
            format!("/chunks/0x{name}"),
            format!("/chunks/{name}/"),
            "/chunks/".into(),
            "/".into(),
            format!("/chunks/../{name}"),
        ] {
            assert_eq!(parse(&refused), None, "{refused}");
        }
    }
}

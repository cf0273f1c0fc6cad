//! Pushing chunks to nodes and fetching them from any holder.
//!
//! A fetch believes nobody: the outline is held against the chunk's hash, each group of 64 KiB against the outline, before its bytes
//! go on. It resumes at the first group that is missing, at the next holder when one breaks off, is slow or lies.

use std::time::Duration;

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, HOST, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::CustodyError;
use crate::outline::{GROUP, Outline, groups};

/// How long a holder may take to be reached, to begin its answer, or from one piece to the next.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a whole push may take: the holder syncs before it answers.
const PUSH: Duration = Duration::from_secs(120);
/// Most bytes of an answer that is read for its text.
const MAX_TEXT: usize = 1 << 10;

/// A connection to a door. Requests go over it one after the other.
struct Line {
    door: String,
    host: String,
    sender: SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
}

/// Whether this is the address of a door.
pub fn is_door(url: &str) -> bool {
    host_of(url).is_ok()
}

/// Host and port of a door's address.
fn host_of(door: &str) -> Result<&str, CustodyError> {
    let malformed = || CustodyError::Url(door.chars().take(100).collect());
    let rest = door.strip_prefix("http://").ok_or_else(malformed)?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let (name, port) = host.rsplit_once(':').ok_or_else(malformed)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if name.is_empty() || !name.chars().all(plain) || port.parse::<u16>().is_err() {
        return Err(malformed());
    }
    Ok(host)
}

impl Line {
    async fn open(door: &str) -> Result<Self, CustodyError> {
        let host = host_of(door)?.to_owned();
        let fault = |reason: String| CustodyError::Holder {
            door: door.to_owned(),
            reason,
        };
        let stream = timeout(PATIENCE, TcpStream::connect(&host))
            .await
            .map_err(|_| fault("it cannot be reached".into()))?
            .map_err(|error| fault(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| fault(error.to_string()))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| fault(error.to_string()))?;
        // Ends when the line is dropped; what went wrong comes out at the request.
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        Ok(Self {
            door: door.to_owned(),
            host,
            sender,
        })
    }

    fn fault(&self, reason: impl Into<String>) -> CustodyError {
        CustodyError::Holder {
            door: self.door.clone(),
            reason: reason.into(),
        }
    }

    async fn ask(
        &mut self,
        request: hyper::http::request::Builder,
        body: BoxBody<Bytes, std::convert::Infallible>,
        patience: Duration,
    ) -> Result<Response<Incoming>, CustodyError> {
        let request = request
            .header(HOST, &self.host)
            .body(body)
            .map_err(|error| self.fault(error.to_string()))?;
        timeout(patience, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        })
        .await
        .map_err(|_| self.fault("it took too long"))?
        .map_err(|error| self.fault(error.to_string()))
    }

    async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, CustodyError> {
        loop {
            let frame = timeout(PATIENCE, body.frame())
                .await
                .map_err(|_| self.fault("it took too long"))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.fault(error.to_string())),
                // Anything else is trailers, which say nothing here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// A whole answer, which must not be longer than expected.
    async fn whole(&self, mut body: Incoming, most: usize) -> Result<Vec<u8>, CustodyError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            if bytes.len() + piece.len() > most {
                return Err(self.fault("it says more than was asked"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn refused(&self, answer: Response<Incoming>) -> CustodyError {
        let status = answer.status();
        let text = self
            .whole(answer.into_body(), MAX_TEXT)
            .await
            .unwrap_or_default();
        self.fault(format!("{status}: {}", String::from_utf8_lossy(&text)))
    }
}

/// Gives a committed chunk to a node.
pub async fn push(door: &str, number: u64, hash: B256, bytes: Bytes) -> Result<(), CustodyError> {
    let mut line = Line::open(door).await?;
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/chunks/{}?number={number}", hex::encode(hash)))
        .header(CONTENT_LENGTH, bytes.len());
    let answer = line.ask(request, Full::new(bytes).boxed(), PUSH).await?;
    match answer.status() {
        StatusCode::CREATED | StatusCode::OK => Ok(()),
        _ => Err(line.refused(answer).await),
    }
}

/// Fetches a chunk of `size` bytes from the doors of its holders, in their order, and gives its bytes to `take` as they are
/// verified, in their order. An error of `take` ends it.
pub async fn fetch(
    doors: &[String],
    hash: B256,
    size: u32,
    mut take: impl FnMut(&[u8]) -> Result<(), CustodyError> + Send,
) -> Result<(), CustodyError> {
    let mut next = 0;
    let mut reasons = Vec::new();
    for door in doors {
        let mut own = None;
        let mut give = |bytes: &[u8]| {
            take(bytes).map_err(|error| {
                own = Some(error);
                CustodyError::Url(String::new())
            })
        };
        let outcome = from_one(door, hash, size, &mut next, &mut give).await;
        if let Some(error) = own {
            return Err(error);
        }
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if reasons.is_empty() {
        reasons.push("there is none".to_owned());
    }
    Err(CustodyError::Nowhere {
        hash,
        reasons: reasons.join("; "),
    })
}

/// Fetches a chunk into memory.
pub async fn fetch_bytes(doors: &[String], hash: B256, size: u32) -> Result<Vec<u8>, CustodyError> {
    let mut bytes = Vec::new();
    fetch(doors, hash, size, |more| {
        bytes.extend_from_slice(more);
        Ok(())
    })
    .await?;
    Ok(bytes)
}

/// Goes on from group `next`, and moves it on with each group that is verified.
async fn from_one(
    door: &str,
    hash: B256,
    size: u32,
    next: &mut usize,
    take: &mut (dyn FnMut(&[u8]) -> Result<(), CustodyError> + Send),
) -> Result<(), CustodyError> {
    let lie = |what: String| CustodyError::Lie {
        door: door.to_owned(),
        hash,
        what,
    };
    let mut line = Line::open(door).await?;
    let name = hex::encode(hash);
    let outline = if groups(size) > 1 {
        let request = Request::builder().uri(format!("/chunks/{name}/outline"));
        let answer = line.ask(request, Empty::new().boxed(), PATIENCE).await?;
        if answer.status() != StatusCode::OK {
            return Err(line.refused(answer).await);
        }
        line.whole(answer.into_body(), Outline::len_of(size))
            .await?
    } else {
        Vec::new()
    };
    let outline = Outline::check(hash, size, &outline).ok_or_else(|| lie("the outline".into()))?;

    let request = Request::builder()
        .uri(format!("/chunks/{name}"))
        .header(RANGE, format!("bytes={}-", *next * GROUP));
    let answer = line.ask(request, Empty::new().boxed(), PATIENCE).await?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(line.refused(answer).await);
    }
    let mut body = answer.into_body();
    // Bytes of the group that has begun; pieces that are whole groups are not copied.
    let mut begun: Vec<u8> = Vec::new();
    while *next < groups(size) {
        let Some(piece) = line.piece(&mut body).await? else {
            return Err(line.fault("it broke off"));
        };
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let length = outline.group_len(*next);
            if length == 0 {
                return Err(lie("what is behind the end".into()));
            }
            let group = if begun.is_empty() && rest.len() >= length {
                let (group, behind) = rest.split_at(length);
                rest = behind;
                group
            } else {
                let (more, behind) = rest.split_at(rest.len().min(length - begun.len()));
                begun.extend_from_slice(more);
                rest = behind;
                if begun.len() < length {
                    break;
                }
                &begun
            };
            if !outline.is_group(*next, group) {
                return Err(lie(format!("group {next}")));
            }
            take(group)?;
            *next += 1;
            begun.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_a_host_and_a_port() {
        for good in [
            "http://10.0.0.5:26658",
            "http://[::1]:1",
            "http://abc.onion:80/",
        ] {
            assert!(host_of(good).is_ok(), "{good}");
        }
        for bad in [
            "https://a:1",
            "http://a",
            "http://:1",
            "http://a:99999",
            "http://a:1/x",
            "http://u@a:1",
            "",
            "http://a b:1",
        ] {
            assert!(host_of(bad).is_err(), "{bad}");
        }
    }
}

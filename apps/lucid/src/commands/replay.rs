//! `lucid replay`: serves the web player and one recording, as ciphertext, on loopback.
//!
//! The key goes into the address's fragment, which a browser never sends: decryption and decoding happen in the page, in
//! WebAssembly. What this server could leak is what is on the disk anyway.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use include_dir::{Dir, include_dir};
use lucid_chain_types::Genesis;
use lucid_format::{FileKind, SessionSeed};
use lucid_proof::MAX_PROOF_BYTES;
use tokio::net::TcpListener;

use crate::{App, cli::ReplayArgs, commands::verify, keyring, recording};

/// The player, built by `scripts/build-player`.
static PLAYER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../sessions/player/web/dist");

/// Everything the page may load comes from here; WebAssembly may be compiled.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Longest piece of a recording one request gets.
const MAX_PIECE: u64 = 32 << 20;

/// A recording that is served.
#[derive(Clone)]
pub struct Served {
    file: Arc<Mutex<File>>,
    len: u64,
    /// A proof file and the genesis file, for the page to check.
    proof: Option<Arc<[Vec<u8>; 2]>>,
    /// `127.0.0.1:port`: other names are refused, so that a foreign page cannot reach this server by rebinding a name.
    host: Arc<str>,
}

/// Serves until Ctrl-C.
pub fn run(app: &App, args: &ReplayArgs) -> Result<()> {
    let recording = recording::open(app, &args.recording)?;
    let secret = keyring::secret(&args.key)?;
    let seed = match recording.index.kind {
        FileKind::Recording => {
            recording::wraps(&recording)?;
            let seed = |secret| recording::seed(&recording, secret);
            secret.as_ref().map(seed).transpose()?
        }
        FileKind::Disclosure => None,
    };
    let proof = match (&args.proof, &args.genesis) {
        (Some(proof), Some(genesis)) => Some(Arc::new([
            verify::read(proof, MAX_PROOF_BYTES + 9)?,
            verify::read(genesis, Genesis::MAX_BYTES)?,
        ])),
        _ => None,
    };
    let file = recording::file(app, &args.recording)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(async {
        let (listener, mut served) = listen(file, args.port).await?;
        served.proof = proof;
        let url = seed.map_or_else(|| served.page(), |seed| served.url(&seed));
        if app.ui.json {
            app.ui.json(&serde_json::json!({ "url": url }))?;
        } else {
            app.ui.line(format!("player at {url}"));
            app.ui.note("The part behind # is the key: it never leaves your browser, so do not share the address. Ctrl-C ends.");
        }
        if !args.no_browser && !app.ui.json {
            open_browser(app, &url);
        }
        tokio::select! {
            served = serve(listener, served) => served,
            stopped = tokio::signal::ctrl_c() => stopped.context("waiting for Ctrl-C"),
        }
    })
}

impl Served {
    /// The page's address; it asks for the key.
    pub fn page(&self) -> String {
        let query = if self.proof.is_some() { "?proof" } else { "" };
        format!("http://{}/{query}", self.host)
    }

    /// The page's address with the key in its fragment.
    pub fn url(&self, seed: &SessionSeed) -> String {
        format!(
            "{}#k={}",
            self.page(),
            data_encoding::BASE64URL_NOPAD.encode(seed.bytes().as_ref())
        )
    }
}

/// Listens on loopback and readies a recording to be served.
pub async fn listen(file: File, port: u16) -> Result<(TcpListener, Served)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .with_context(|| format!("listening on 127.0.0.1:{port}"))?;
    let host = listener.local_addr()?.to_string().into();
    let len = file.metadata()?.len();
    Ok((
        listener,
        Served {
            file: Arc::new(Mutex::new(file)),
            len,
            proof: None,
            host,
        },
    ))
}

/// Serves the player and the recording.
pub async fn serve(listener: TcpListener, served: Served) -> Result<()> {
    let router = Router::new()
        .route("/recording", get(piece))
        .route("/proof", get(|served| beside(served, 0)))
        .route("/genesis", get(|served| beside(served, 1)))
        .fallback(page)
        .layer(middleware::from_fn_with_state(served.clone(), guard))
        .with_state(served);
    axum::serve(listener, router)
        .await
        .context("serving the player")
}

/// Refuses foreign host names, and says what a browser may do with what it gets.
async fn guard(State(served): State<Served>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok());
    let port = served.host.rsplit(':').next().unwrap_or_default();
    if host != Some(&*served.host) && host != Some(&format!("localhost:{port}")) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this player answers to its loopback address only\n",
        )
            .into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The proof file or the genesis file.
async fn beside(State(served): State<Served>, which: usize) -> Response {
    let Some(bytes) = served.proof.as_ref().and_then(|proof| proof.get(which)) else {
        return (StatusCode::NOT_FOUND, "not here\n").into_response();
    };
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    (kind, bytes.clone()).into_response()
}

/// A file of the player.
async fn page(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = PLAYER.get_file(path) else {
        return (StatusCode::NOT_FOUND, "not here\n").into_response();
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind)], file.contents()).into_response()
}

/// The recording, or the range of it that was asked for (RFC 9110 section 14, one range).
async fn piece(State(served): State<Served>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).and_then(|r| r.to_str().ok());
    let span = match range.map(|r| parse_range(r, served.len)) {
        None => (0, served.len.min(MAX_PIECE)),
        Some(Some(span)) => span,
        Some(None) => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{}", served.len))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, all).into_response();
        }
    };
    let (start, end) = span;
    let whole = start == 0 && end == served.len;
    let len = served.len;
    let read = tokio::task::spawn_blocking(move || {
        // A panic elsewhere leaves the file as it was: every reader seeks first.
        let mut file = served.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&mut *file).take(end - start).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let Ok(Ok(bytes)) = read.await else {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the recording cannot be read\n",
        )
            .into_response();
    };
    let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    let ranges = (header::ACCEPT_RANGES, "bytes".to_owned());
    if whole {
        return ([kind, ranges], Body::from(bytes)).into_response();
    }
    let at = (
        header::CONTENT_RANGE,
        format!("bytes {start}-{}/{len}", end.saturating_sub(1)),
    );
    (
        StatusCode::PARTIAL_CONTENT,
        [kind, ranges, at],
        Body::from(bytes),
    )
        .into_response()
}

/// First byte and one past the last, of `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn parse_range(text: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.checked_add(1)?.min(len)),
        (Ok(first), Err(_)) if last.is_empty() => (first, len),
        (Err(_), Ok(count)) if first.is_empty() => (len.saturating_sub(count), len),
        _ => return None,
    };
    (start < end).then_some((start, end.min(start + MAX_PIECE)))
}

fn open_browser(app: &App, url: &str) {
    let started = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if started.is_err() {
        app.ui
            .note("open the address in a browser: none could be started from here");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_anything_else_is_refused() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(parse_range("bytes=90-", 100), Some((90, 100)));
        assert_eq!(parse_range("bytes=-10", 100), Some((90, 100)));
        assert_eq!(parse_range("bytes=90-200", 100), Some((90, 100)));
        for bad in [
            "bytes=100-",
            "bytes=9-2",
            "bytes=",
            "bytes=-",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=0-18446744073709551615x",
        ] {
            assert_eq!(parse_range(bad, 100), None, "{bad}");
        }
    }
}

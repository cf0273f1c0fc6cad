//! The listener, its connections, and the way down.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpRequest, HttpResponse, IdProvider, Methods, PingConfig,
    ServerBuilder, ServerConfig, ServerHandle, StopHandle, http, stop_channel, ws,
};
use jsonrpsee::types::SubscriptionId;
use lucid_ledger::{Ledger, Pool};
use metrics::SharedString;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::Service;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::RpcError;
use crate::backend::Backend;
use crate::limits::{RpcLimits, SharedLimits};
use crate::methods;
use crate::metrics::RPC_REFUSED;
use crate::middleware::{Connection, Doors, Guarded};
use crate::network::NetworkInfo;
use crate::socket::Socket;
use crate::subscriptions;

/// Answers waiting to be written to one WebSocket.
const WEBSOCKET_BUFFER: u32 = 64;
/// Bytes of a request's head, which hyper buffers.
const MAX_HEAD: usize = 64 << 10;
/// How long calls that run get to finish when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// What the server is told at its start.
#[derive(Debug, Clone)]
pub struct RpcSettings {
    /// Where to listen; port 0 for a free one.
    pub listen: SocketAddr,
    /// Origins whose pages may call, such as `https://wallet.example`; `*` for any. None by default: then only programs can.
    pub origins: Vec<String>,
    /// Bounds.
    pub limits: RpcLimits,
}

impl Default for RpcSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8545)),
            origins: Vec::new(),
            limits: RpcLimits::default(),
        }
    }
}

/// A running server. It goes on when this is dropped; [`RpcHandle::stop`] ends it.
#[derive(Debug)]
pub struct RpcHandle {
    /// Where it listens.
    pub local_addr: SocketAddr,
    limits: SharedLimits,
    stop: ServerHandle,
    publisher: JoinHandle<()>,
    accepting: JoinHandle<()>,
}

impl RpcHandle {
    /// Changes the limits of the running server.
    pub fn set_limits(&self, limits: RpcLimits) {
        self.limits.set(limits);
    }

    /// What changes the limits, for whoever does not hold the server.
    pub fn limits_setter(&self) -> Box<dyn Fn(RpcLimits) + Send + Sync> {
        let limits = self.limits.clone();
        Box::new(move |new| limits.set(new))
    }

    /// The limits as they are.
    pub fn limits(&self) -> RpcLimits {
        self.limits.get().as_ref().clone()
    }

    /// Takes no more connections, lets running calls finish for a few seconds, then closes what is left.
    pub async fn stop(self) {
        // An error means that it has stopped already.
        let _ = self.stop.stop();
        self.publisher.abort();
        let _ = self.accepting.await;
        let _ = tokio::time::timeout(GRACE, self.stop.stopped()).await;
    }
}

/// Serves JSON-RPC over HTTP and WebSocket on one port.
pub async fn serve(
    settings: RpcSettings,
    ledger: Ledger,
    pool: Pool,
    network: NetworkInfo,
) -> Result<RpcHandle, RpcError> {
    let fault = |source| RpcError::Listen {
        address: settings.listen,
        source,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(fault)?;
    let local_addr = listener.local_addr().map_err(fault)?;
    let limits = SharedLimits::new(settings.limits);
    let backend = Arc::new(Backend::new(ledger, pool, network, limits.clone()));
    let publisher = tokio::spawn(subscriptions::publish(Arc::clone(&backend)));
    let module = methods::module(backend)?;
    let doors = Doors {
        methods: module.method_names().collect(),
        ..Doors::default()
    };
    let origins = Origins::new(&settings.origins)?;
    let (stopped, stop) = stop_channel();
    let server = Arc::new(Server {
        methods: module.into(),
        doors: Arc::new(doors),
        limits: limits.clone(),
        origins,
        subscription_ids: SubscriptionIds::default(),
        connection_ids: AtomicU32::new(0),
    });
    tracing::info!(address = %local_addr, "JSON-RPC listens");
    let accepting = tokio::spawn(accept(listener, server, stopped));
    Ok(RpcHandle {
        local_addr,
        limits,
        stop,
        publisher,
        accepting,
    })
}

struct Server {
    methods: Methods,
    doors: Arc<Doors>,
    limits: SharedLimits,
    origins: Origins,
    subscription_ids: SubscriptionIds,
    connection_ids: AtomicU32,
}

/// Whose pages may call.
struct Origins {
    any: bool,
    listed: Vec<HeaderValue>,
}

impl Origins {
    fn new(origins: &[String]) -> Result<Self, RpcError> {
        let listed = origins
            .iter()
            .map(|origin| {
                HeaderValue::from_str(origin)
                    .map_err(|_| RpcError::Setup(format!("'{origin}' is not a web origin")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            any: origins.iter().any(|origin| origin == "*"),
            listed,
        })
    }

    /// Browsers apply CORS to HTTP; for WebSockets they only say where the page is from, and the server has to look. Programs
    /// say nothing.
    fn admits(&self, origin: Option<&HeaderValue>) -> bool {
        origin.is_none_or(|origin| self.any || self.listed.contains(origin))
    }

    fn layer(&self) -> CorsLayer {
        let layer = CorsLayer::new()
            .allow_methods([Method::POST])
            .allow_headers([hyper::header::CONTENT_TYPE])
            .max_age(Duration::from_secs(600));
        if self.any {
            layer.allow_origin(AllowOrigin::any())
        } else if self.listed.is_empty() {
            CorsLayer::new()
        } else {
            layer.allow_origin(AllowOrigin::list(self.listed.iter().cloned()))
        }
    }
}

/// Hex numbers, as Ethereum's clients expect. They need not be secret: a connection can only end its own subscriptions.
#[derive(Debug, Clone, Default)]
struct SubscriptionIds(Arc<AtomicU64>);

impl IdProvider for SubscriptionIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let id = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        SubscriptionId::Str(format!("{id:#x}").into())
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>, stopped: StopHandle) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped.clone().shutdown() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most often too many open files: it passes when connections end, and trying at once would only burn a core.
                tracing::warn!(%error, "JSON-RPC cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let limits = server.limits.get();
        let most = usize::try_from(limits.max_connections).unwrap_or(usize::MAX);
        let Some(place) = server.doors.connections.try_enter(most) else {
            RPC_REFUSED.add_labelled(1, &[("reason", SharedString::const_str("connections"))]);
            continue;
        };
        let connection = Arc::new(Connection::new(peer.ip(), place));
        tokio::spawn(converse(
            stream,
            connection,
            Arc::clone(&server),
            limits,
            stopped.clone(),
        ));
    }
}

/// One connection, until it ends or becomes a WebSocket, which the library then drives.
async fn converse(
    stream: TcpStream,
    connection: Arc<Connection>,
    server: Arc<Server>,
    limits: Arc<RpcLimits>,
    stopped: StopHandle,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let id = server.connection_ids.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(|request| {
        let server = Arc::clone(&server);
        let connection = Arc::clone(&connection);
        let stopped = stopped.clone();
        async move { Ok::<_, Infallible>(answer(request, id, connection, server, stopped).await) }
    });
    let io = TokioIo::new(Socket::new(stream, limits.idle_time));
    // HTTP/1.1 only: nothing here needs more, and it has no streams to flood. The head's timeout also ends idle connections.
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_time)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = stopped.clone().shutdown() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, peer = %connection.peer(), "a JSON-RPC connection failed");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    id: u32,
    connection: Arc<Connection>,
    server: Arc<Server>,
    stopped: StopHandle,
) -> HttpResponse {
    let limits = server.limits.get();
    let websocket = ws::is_upgrade_request(&request);
    if websocket && !server.origins.admits(request.headers().get(ORIGIN)) {
        return plain(StatusCode::FORBIDDEN, "pages of this origin may not call");
    }
    let request: HttpRequest = if websocket || request.method() != Method::POST {
        request.map(HttpBody::new)
    } else {
        // Read here and not by the library, which answers a body that grows too large with a fault of its own.
        let (head, body) = request.into_parts();
        let most = usize::try_from(limits.max_request).unwrap_or(usize::MAX);
        match tokio::time::timeout(limits.request_time, read(body, most)).await {
            Ok(Ok(bytes)) => HttpRequest::from_parts(head, HttpBody::from(bytes)),
            Ok(Err(Unread::TooLarge)) => {
                return closing(http::response::too_large(limits.max_request));
            }
            Ok(Err(Unread::Broken)) => return closing(http::response::malformed()),
            Err(_) => {
                return closing(plain(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request took too long",
                ));
            }
        }
    };
    let mut request = request;
    // Keeps the connection's place for as long as the WebSocket lives.
    request.extensions_mut().insert(Arc::clone(&connection));

    let doors = Arc::clone(&server.doors);
    let layer_limits = Arc::clone(&limits);
    let guard = RpcServiceBuilder::new().layer_fn(move |inner| Guarded {
        inner,
        doors: Arc::clone(&doors),
        connection: Arc::clone(&connection),
        limits: Arc::clone(&layer_limits),
        websocket,
    });
    let mut service = ServerBuilder::with_config(config(&limits, server.subscription_ids.clone()))
        .set_rpc_middleware(guard)
        .set_http_middleware(tower::ServiceBuilder::new().layer(server.origins.layer()))
        .to_service_builder()
        .connection_id(id)
        .build(server.methods.clone(), stopped);
    match tokio::time::timeout(limits.request_time, service.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a JSON-RPC request failed");
            plain(StatusCode::BAD_REQUEST, "the request cannot be read")
        }
        Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
    }
}

enum Unread {
    TooLarge,
    Broken,
}

async fn read(body: Incoming, most: usize) -> Result<Vec<u8>, Unread> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > most) {
        return Err(Unread::TooLarge);
    }
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(frame) = frame else {
            return Err(Unread::Broken);
        };
        // Anything else is trailers, which say nothing here.
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > most {
                return Err(Unread::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// Ends the connection after this answer: what is left of the request is not worth reading.
fn closing(mut response: HttpResponse) -> HttpResponse {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn config(limits: &RpcLimits, ids: SubscriptionIds) -> ServerConfig {
    ServerConfig::builder()
        .max_request_body_size(limits.max_request)
        .max_response_body_size(limits.max_response)
        // Connections are counted where they are accepted.
        .max_connections(u32::MAX)
        .max_subscriptions_per_connection(limits.max_subscriptions)
        .set_batch_request_config(BatchRequestConfig::Limit(limits.max_batch))
        .set_message_buffer_capacity(WEBSOCKET_BUFFER)
        .enable_ws_ping(
            PingConfig::new()
                .ping_interval(limits.idle_time / 3)
                .inactive_limit(limits.idle_time)
                .max_failures(1),
        )
        .set_id_provider(ids)
        .build()
}

fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(text));
    *response.status_mut() = status;
    response
}

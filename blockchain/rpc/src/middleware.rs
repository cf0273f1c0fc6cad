//! What stands between a connection and the methods: bounds, and counting.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use jsonrpsee::server::middleware::rpc::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::server::{BatchResponseBuilder, MethodResponse};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::METHOD_NOT_FOUND_CODE;
use metrics::SharedString;

use crate::error::CallError;
use crate::gate::{Buckets, Gate, Pass};
use crate::limits::RpcLimits;
use crate::metrics::{RPC_CALLS, RPC_CONNECTIONS, RPC_REFUSED, RPC_SECONDS};

/// Geth's code for a subscription over HTTP.
const NO_NOTIFICATIONS_CODE: i32 = -32_001;
/// What methods are called that are not there.
const UNKNOWN: &str = "unknown";

/// What all connections share.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub(crate) connections: Arc<Gate>,
    pub(crate) calls: Arc<Gate>,
    pub(crate) buckets: Buckets,
    /// Methods there are: anything else is counted as one, or callers could make up as many metrics as they like.
    pub(crate) methods: HashSet<&'static str>,
}

/// One connection. A WebSocket holds it, and with it its place, until it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: IpAddr,
    calls: Arc<Gate>,
    _place: Pass,
}

impl Connection {
    pub(crate) fn new(peer: IpAddr, place: Pass) -> Self {
        RPC_CONNECTIONS.change(1.0);
        Self {
            peer,
            calls: Arc::default(),
            _place: place,
        }
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        RPC_CONNECTIONS.change(-1.0);
    }
}

/// Bounds and counts the calls of a connection.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    pub(crate) inner: S,
    pub(crate) doors: Arc<Doors>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) limits: Arc<RpcLimits>,
    pub(crate) websocket: bool,
}

impl<S> Guarded<S> {
    async fn admit(&self) -> Result<(Pass, Pass), CallError> {
        let refused = |reason: &'static str| {
            RPC_REFUSED.add_labelled(1, &[("reason", SharedString::const_str(reason))]);
        };
        if let Some(rate) = self.limits.max_calls_per_second_per_ip
            && !self
                .doors
                .buckets
                .take(self.connection.peer, rate, Instant::now())
        {
            refused("rate");
            return Err(CallError::Limit(format!(
                "more than {rate} calls a second from {}",
                self.connection.peer
            )));
        }
        // Nobody waits here: a connection that has so many calls open already gets its answer at once, or the waiting calls
        // would be what fills the memory.
        let most = self.limits.max_calls_per_connection;
        let Some(mine) = self.connection.calls.try_enter(most) else {
            refused("connection");
            return Err(CallError::Limit(format!(
                "more than {most} calls at once on one connection"
            )));
        };
        let Some(all) = self
            .doors
            .calls
            .enter(self.limits.max_calls, self.limits.patience)
            .await
        else {
            refused("calls");
            return Err(CallError::Busy);
        };
        Ok((mine, all))
    }

    fn name_of(&self, method: &str) -> &'static str {
        self.doors.methods.get(method).copied().unwrap_or(UNKNOWN)
    }
}

impl<S> RpcServiceT for Guarded<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            let method = this.name_of(request.method_name());
            if method == UNKNOWN {
                // Geth's words: ethers tells by them that a node lacks a method.
                let asked: String = request.method_name().chars().take(64).collect();
                let text = format!("the method {asked} does not exist/is not available");
                let error = ErrorObjectOwned::owned(METHOD_NOT_FOUND_CODE, text, None::<()>);
                RPC_CALLS.add_labelled(
                    1,
                    &[
                        ("method", SharedString::const_str(UNKNOWN)),
                        ("outcome", SharedString::const_str("error")),
                    ],
                );
                return MethodResponse::error(request.id, error);
            }
            let subscribes = matches!(method, "eth_subscribe" | "eth_unsubscribe");
            if subscribes && !this.websocket {
                let error = ErrorObjectOwned::owned(
                    NO_NOTIFICATIONS_CODE,
                    "notifications not supported",
                    None::<()>,
                );
                return MethodResponse::error(request.id, error);
            }
            let passes = match this.admit().await {
                Ok(passes) => passes,
                Err(error) => {
                    return MethodResponse::error(request.id, ErrorObjectOwned::from(error));
                }
            };
            let start = Instant::now();
            let answer = this.inner.call(request).await;
            drop(passes);
            let outcome = if answer.is_error() { "error" } else { "ok" };
            let method = ("method", SharedString::const_str(method));
            RPC_SECONDS
                .observe_labelled(start.elapsed().as_secs_f64(), std::slice::from_ref(&method));
            RPC_CALLS.add_labelled(1, &[method, ("outcome", SharedString::const_str(outcome))]);
            answer
        }
    }

    /// One after the other, each as if it had come alone: the inner service would run a batch past the bounds.
    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            let most = usize::try_from(this.limits.max_response).unwrap_or(usize::MAX);
            let mut answers = BatchResponseBuilder::new_with_limit(most);
            let mut notified = false;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => this.call(request).await,
                    Ok(BatchEntry::Notification(_)) => {
                        notified = true;
                        continue;
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_large) = answers.append(answer) {
                    return too_large;
                }
            }
            if answers.is_empty() && notified {
                MethodResponse::notification()
            } else {
                MethodResponse::from_batch(answers.finish())
            }
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        // No method here does anything without an answer.
        std::future::ready(MethodResponse::notification().with_extensions(notification.extensions))
    }
}

//! New final blocks, told as they come.

use std::time::Duration;

use alloy_rpc_types_eth::Header;
use jsonrpsee_core::client::{Subscription, SubscriptionClientT};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use serde_json::json;

use crate::ClientError;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Heads that wait here; who reads slower is ended by the node.
const WAITING: usize = 128;

/// A subscription to a node's final blocks (`eth_subscribe`, `newHeads`), over a WebSocket of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Heads {
    // Held: the subscription ends with it.
    _socket: WsClient,
    heads: Subscription<Header>,
}

impl Heads {
    /// Subscribes at the node at `url`, such as `http://127.0.0.1:8545`: its JSON-RPC and its WebSocket have one port.
    pub async fn subscribe(url: &str) -> Result<Self, ClientError> {
        const METHOD: &str = "eth_subscribe";
        let Some(place) = url.strip_prefix("http://") else {
            return Err(ClientError::Url {
                url: url.to_owned(),
                reason: "it has to begin with http://".to_owned(),
            });
        };
        let socket = WsClientBuilder::default()
            .request_timeout(TIMEOUT)
            .connection_timeout(TIMEOUT)
            .max_buffer_capacity_per_subscription(WAITING)
            .build(format!("ws://{place}"))
            .await
            .map_err(|error| ClientError::of(METHOD, url, error))?;
        let heads = socket
            .subscribe(
                METHOD,
                jsonrpsee_core::rpc_params![json!("newHeads")],
                "eth_unsubscribe",
            )
            .await
            .map_err(|error| ClientError::of(METHOD, url, error))?;
        Ok(Self {
            _socket: socket,
            heads,
        })
    }

    /// The next block's header; `None` once the node has ended the subscription or is gone.
    pub async fn next(&mut self) -> Option<Result<Header, ClientError>> {
        let head = self.heads.next().await?;
        Some(head.map_err(|error| ClientError::Answer {
            method: "eth_subscribe",
            reason: error.to_string(),
        }))
    }
}

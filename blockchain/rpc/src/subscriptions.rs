//! `eth_subscribe`: new heads, logs, and transactions as they arrive.
//!
//! One task reads each new block once and hands it to all subscribers. A subscriber that falls too far behind is ended: memory
//! does not wait for slow readers.

use std::sync::Arc;

use alloy_rpc_types_eth::pubsub::SubscriptionKind;
use alloy_rpc_types_eth::{Filter, Header};
use jsonrpsee::core::server::SubscriptionMessage;
use jsonrpsee::core::{JsonRawValue, SubscriptionError, to_json_raw_value};
use jsonrpsee::server::{PendingSubscriptionSink, SubscriptionSink};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use lucid_chain_types::Height;
use lucid_ledger::Arrival;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::backend::{Backend, Lane};
use crate::blocks::Loaded;
use crate::error::{CallError, CallResult};
use crate::metrics::{RPC_SLOW_SUBSCRIBERS, RPC_SUBSCRIPTIONS};
use crate::params::Arguments;
use crate::{convert, logs};

/// Blocks a subscriber may be behind.
pub(crate) const NEWS: usize = 128;

/// A new block.
pub(crate) struct News {
    block: Arc<Loaded>,
    header: Header,
}

/// Tells subscribers of new blocks, in their order and without gaps, for as long as the ledger is there.
pub(crate) async fn publish(node: Arc<Backend>) {
    let mut heads = node.watch();
    let mut told = node.height();
    while heads.changed().await.is_ok() {
        let head = *heads.borrow_and_update();
        if node.news.receiver_count() == 0 {
            told = head;
            continue;
        }
        while told < head {
            told = told.next();
            match Arc::clone(&node)
                .run(Lane::Read, move |node| news(node, told))
                .await
            {
                // An error only says that the last subscriber has just gone.
                Ok(news) => drop(node.news.send(Arc::new(news))),
                Err(error) => {
                    tracing::error!(height = %told, %error, "a new block could not be told to subscribers");
                }
            }
        }
    }
}

fn news(node: &Backend, height: Height) -> CallResult<News> {
    let block = node.blocks.get(&node.ledger, height)?;
    Ok(News {
        header: convert::header(&block),
        block,
    })
}

enum Wanted {
    Heads,
    Logs(Box<Filter>),
    Arrivals,
}

fn wanted(node: &Backend, params: &Params<'_>) -> CallResult<Wanted> {
    let mut args = Arguments::new(params);
    let kind: SubscriptionKind = args.next("subscription")?;
    match kind {
        SubscriptionKind::NewHeads => Ok(Wanted::Heads),
        SubscriptionKind::NewPendingTransactions => {
            if args.optional("full transactions")?.unwrap_or(false) {
                return Err(CallError::Params(
                    "only hashes of pending transactions are told, not whole ones".to_owned(),
                ));
            }
            Ok(Wanted::Arrivals)
        }
        SubscriptionKind::Logs => {
            let filter: Filter = args.optional("filter")?.unwrap_or_default();
            logs::check(&filter, &node.limits.get())?;
            Ok(Wanted::Logs(Box::new(filter)))
        }
        other => Err(CallError::Params(format!("no subscription {other:?} here"))),
    }
}

/// Serves one `eth_subscribe`, until either side ends it. An error is told to the subscriber.
pub(crate) async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    node: Arc<Backend>,
) -> Result<(), SubscriptionError> {
    let wanted = match wanted(&node, &params) {
        Ok(wanted) => wanted,
        Err(error) => {
            pending.reject(ErrorObjectOwned::from(error)).await;
            return Ok(());
        }
    };
    // Before the answer: what happens after the caller knows of the subscription is in it.
    let news = node.news.subscribe();
    let arrivals = node.pool.arrivals();
    let Ok(sink) = pending.accept().await else {
        return Ok(());
    };
    RPC_SUBSCRIPTIONS.change(1.0);
    let outcome = match wanted {
        Wanted::Heads => {
            drop(arrivals);
            pass_on(&sink, news, |news: Arc<News>| {
                vec![to_json_raw_value(&news.header)]
            })
            .await
        }
        Wanted::Logs(filter) => {
            drop(arrivals);
            pass_on(&sink, news, |news: Arc<News>| {
                if !logs::may_match(&filter, &news.block.bloom) {
                    return Vec::new();
                }
                logs::matching(&filter, &news.block)
                    .map(|log| to_json_raw_value(&log))
                    .collect()
            })
            .await
        }
        Wanted::Arrivals => {
            drop(news);
            pass_on(&sink, arrivals, |arrival: Arrival| {
                vec![to_json_raw_value(&arrival.hash)]
            })
            .await
        }
    };
    RPC_SUBSCRIPTIONS.change(-1.0);
    outcome
}

async fn pass_on<T: Clone>(
    sink: &SubscriptionSink,
    mut source: broadcast::Receiver<T>,
    render: impl Fn(T) -> Vec<serde_json::Result<Box<JsonRawValue>>>,
) -> Result<(), SubscriptionError> {
    loop {
        let item = tokio::select! {
            item = source.recv() => item,
            () = sink.closed() => return Ok(()),
        };
        let item = match item {
            Ok(item) => item,
            Err(RecvError::Closed) => return Ok(()),
            Err(RecvError::Lagged(missed)) => {
                RPC_SLOW_SUBSCRIBERS.add(1);
                return Err(SubscriptionError::from(format!(
                    "the subscription has ended: its reader is {missed} behind; subscribe again and ask for what was missed"
                )));
            }
        };
        for message in render(item) {
            if sink
                .send(SubscriptionMessage::from(message?))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
    }
}

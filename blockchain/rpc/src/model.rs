//! The read model: sessions, chunks, work and schedules, for people and UIs. What is told here proves nothing.

use std::sync::Arc;

use alloy_primitives::B256;
use lucid_chain_types::Height;
use lucid_client::wire::{ModelPage, ModelQuery, ModelStatus};
use lucid_readmodel::{Collection, Collections, Document, Key, MAX_PAGE, Query};
use serde_json::Value;

use crate::backend::Backend;
use crate::error::{CallError, CallResult};
use crate::network::ModelState;
use crate::params::Arguments;

/// Documents of a page where the caller does not say.
const PAGE: usize = 100;
/// Most chunks of a page: each brings those who hold it along.
const MAX_CHUNKS: usize = 200;
/// Most nodes that hold a chunk, as in LucidChunkStore.
const MAX_HOLDERS: usize = 64;

fn state(node: &Backend) -> CallResult<ModelState> {
    let model = node.network.model.as_ref();
    model
        .map(|model| model.borrow().clone())
        .ok_or_else(|| CallError::Refused("this node keeps no read model".to_owned()))
}

fn store(node: &Backend) -> CallResult<Arc<dyn Collections>> {
    let ModelState { store, trouble } = state(node)?;
    store.ok_or_else(|| {
        let why = trouble.unwrap_or_else(|| "it is being opened".to_owned());
        CallError::Refused(format!("the read model is not there yet: {why}"))
    })
}

pub(crate) fn status(node: &Backend, _: &mut Arguments<'_>) -> CallResult<ModelStatus> {
    let ModelState { store, mut trouble } = state(node)?;
    // Where it cannot be asked, that is the answer.
    let position = store.as_ref().and_then(|store| {
        store.position().unwrap_or_else(|error| {
            trouble.get_or_insert_with(|| error.to_string());
            None
        })
    });
    let earliest = node.ledger.earliest();
    Ok(ModelStatus {
        store: store.map(|store| store.kind().to_owned()),
        from: position.map(|at| at.from),
        height: position.map(|at| at.height),
        head: node.height(),
        earliest,
        complete: position.is_some_and(|at| at.from == Height(1)),
        trouble,
    })
}

/// The query of a call, for a collection.
fn query(args: &mut Arguments<'_>, collection: Collection, most: usize) -> CallResult<Query> {
    let asked: ModelQuery = args.optional("query")?.unwrap_or_default();
    let key = |text: Option<String>| text.map(|text| Key::parse(collection, &text)).transpose();
    let limit = asked.limit.unwrap_or(PAGE);
    if limit == 0 || limit > most {
        return Err(CallError::Limit(format!(
            "a page has 1 to {most} documents, not {limit}"
        )));
    }
    let after = key(asked.after)?;
    if after.as_ref().is_some_and(|after| !after.is_whole()) {
        return Err(CallError::Params(
            "'after' is the 'next' of the page before: a whole key".to_owned(),
        ));
    }
    Ok(Query {
        prefix: key(asked.key)?.unwrap_or_else(|| Key::all(collection)),
        after,
        limit,
        descending: asked.newest_first,
    })
}

fn page(node: &Backend, args: &mut Arguments<'_>, collection: Collection) -> CallResult<ModelPage> {
    let query = query(args, collection, MAX_PAGE)?;
    let page = store(node)?.query(&query)?;
    Ok(ModelPage {
        items: page.items.into_iter().map(Value::Object).collect(),
        next: page.next,
    })
}

pub(crate) fn task_proofs(node: &Backend, args: &mut Arguments<'_>) -> CallResult<ModelPage> {
    page(node, args, Collection::TaskProofs)
}

pub(crate) fn work_tally(node: &Backend, args: &mut Arguments<'_>) -> CallResult<ModelPage> {
    page(node, args, Collection::WorkTally)
}

pub(crate) fn leader_schedule(node: &Backend, args: &mut Arguments<'_>) -> CallResult<ModelPage> {
    page(node, args, Collection::LeaderSchedule)
}

pub(crate) fn session(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<Value>> {
    let id: String = args.next("id")?;
    let key = Key::parse(Collection::Sessions, &id)?;
    Ok(store(node)?.get(&key)?.map(Value::Object))
}

/// A hash in a document.
fn hash(document: &Document, name: &str) -> CallResult<B256> {
    let text = document.get(name).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| CallError::Internal(format!("a document has no '{name}': {document:?}")))
}

/// Sessions in the order in which they were opened or registered; keys are `height:id`.
pub(crate) fn sessions(node: &Backend, args: &mut Arguments<'_>) -> CallResult<ModelPage> {
    let query = query(args, Collection::SessionOrder, MAX_PAGE)?;
    let store = store(node)?;
    let page = store.query(&query)?;
    let mut items = Vec::with_capacity(page.items.len());
    for place in &page.items {
        let key = Key::session(hash(place, "session_id")?);
        items.extend(store.get(&key)?.map(Value::Object));
    }
    Ok(ModelPage {
        items,
        next: page.next,
    })
}

/// Chunks, each with the nodes that say they hold it.
pub(crate) fn chunks(node: &Backend, args: &mut Arguments<'_>) -> CallResult<ModelPage> {
    let query = query(args, Collection::Chunks, MAX_CHUNKS)?;
    let store = store(node)?;
    let page = store.query(&query)?;
    let mut items = Vec::with_capacity(page.items.len());
    for mut chunk in page.items {
        let number = chunk.get("number").and_then(Value::as_u64);
        let number = number
            .ok_or_else(|| CallError::Internal(format!("a document has no 'number': {chunk:?}")))?;
        let holders = store.query(&Query {
            prefix: Key::holders(number),
            ..Query::all(Collection::ChunkHolders, MAX_HOLDERS)
        })?;
        let nodes = holders.items.into_iter();
        let nodes = nodes.filter_map(|mut holder| holder.remove("nodeId"));
        chunk.insert("holders".to_owned(), nodes.collect());
        items.push(Value::Object(chunk));
    }
    Ok(ModelPage {
        items,
        next: page.next,
    })
}

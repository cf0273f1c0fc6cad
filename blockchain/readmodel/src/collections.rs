//! What every store of the collections does.

use std::fmt;

use lucid_chain_types::{BlockId, Height};
use serde::{Deserialize, Serialize};

use crate::{Batch, Collection, Document, Key, ModelError};

/// Most documents of one page.
pub const MAX_PAGE: usize = 1_000;

/// Which blocks are in the collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The first.
    pub from: Height,
    /// The last; all between them are there.
    pub height: Height,
    /// Its id.
    pub id: BlockId,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It, or what was new in it, is there now.
    Now,
    /// All of it was there.
    Before,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Documents whose key begins so.
    pub prefix: Key,
    /// Only those behind this key, in the direction of the query.
    pub after: Option<Key>,
    /// At most so many; more than [`MAX_PAGE`] are never given.
    pub limit: usize,
    /// The largest key first.
    pub descending: bool,
}

impl Query {
    /// The first documents of a collection.
    pub const fn all(collection: Collection, limit: usize) -> Self {
        Self {
            prefix: Key::all(collection),
            after: None,
            limit,
            descending: false,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, MAX_PAGE)
    }
}

/// Documents in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// They.
    pub items: Vec<Document>,
    /// The last one's key, if there may be more behind it: [`Query::after`] of the next page.
    pub next: Option<String>,
}

/// A store of the collections. Its calls block.
///
/// One process writes; any number read.
pub trait Collections: fmt::Debug + Send + Sync {
    /// What it is, for people: `embedded`, `mongodb`.
    fn kind(&self) -> &'static str;

    /// Which blocks are in it; `None` before the first.
    fn position(&self) -> Result<Option<Position>, ModelError>;

    /// Adds the blocks of a batch that are not there yet, each exactly once: documents and position change together, whatever is
    /// interrupted or sent again. The batch must join on to what is there ([`ModelError::Gap`]).
    fn apply(&self, batch: &Batch) -> Result<Applied, ModelError>;

    /// One document by its whole key.
    fn get(&self, key: &Key) -> Result<Option<Document>, ModelError>;

    /// Documents whose keys begin alike.
    fn query(&self, query: &Query) -> Result<Page, ModelError>;

    /// Forgets everything: the next batch may begin at any height.
    fn reset(&self) -> Result<(), ModelError>;
}

/// Where a batch stands to what is there: `None` if all of it is, else the position after it.
pub(crate) fn advance(
    position: Option<Position>,
    batch: &Batch,
) -> Result<Option<Position>, ModelError> {
    let from = match position {
        None => batch.first,
        Some(position) if batch.last <= position.height => return Ok(None),
        Some(position) if batch.first > position.height.next() => {
            return Err(ModelError::Gap {
                height: position.height,
                first: batch.first,
                last: batch.last,
            });
        }
        Some(position) => position.from,
    };
    Ok(Some(Position {
        from,
        height: batch.last,
        id: batch.id,
    }))
}

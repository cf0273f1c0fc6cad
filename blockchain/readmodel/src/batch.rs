//! Changes, and how they add up.
//!
//! A change says what a document has, not how it differs: made twice, it is made once. So a store without transactions may repeat
//! what it was interrupted in.

use std::collections::BTreeMap;

use lucid_chain_types::{BlockId, Height};
use serde::Serialize;
use serde_json::Value;

use crate::{Collection, Key, ModelError};

/// A document: fields and their values.
pub type Document = serde_json::Map<String, Value>;

/// What a block does to a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Gives fields their values, and makes the document where there is none.
    Set {
        /// Which document.
        key: Key,
        /// The fields; those of the key are among them.
        fields: Document,
    },
    /// Removes a document.
    Remove {
        /// Which document.
        key: Key,
    },
}

impl Change {
    /// A document's fields, those of its key put in.
    pub(crate) fn set<T: Serialize>(key: Key, fields: &T) -> Result<Self, ModelError> {
        let value =
            serde_json::to_value(fields).map_err(|error| ModelError::Encode(error.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(ModelError::Encode(format!("{value} is no document")));
        };
        fields.insert("_id".to_owned(), key.to_string().into());
        for (field, part) in key.collection().key().iter().zip(key.parts()) {
            fields.insert(field.name.to_owned(), part.value());
        }
        Ok(Self::Set { key, fields })
    }

    /// Which document.
    pub const fn key(&self) -> &Key {
        match self {
            Self::Set { key, .. } | Self::Remove { key } => key,
        }
    }
}

/// The changes of blocks that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The first block.
    pub first: Height,
    /// The last.
    pub last: Height,
    /// The last one's id.
    pub id: BlockId,
    /// The changes with the heights of their blocks, in order.
    pub changes: Vec<(Height, Change)>,
}

/// What is to be done to a document in the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// These fields, the others stay.
    Merge(Document),
    /// These fields and no others.
    Replace(Document),
    /// Nothing is left.
    Remove,
}

impl Op {
    /// What becomes of a document.
    pub fn apply(self, document: Option<Document>) -> Option<Document> {
        match self {
            Self::Remove => None,
            Self::Replace(fields) => Some(fields),
            Self::Merge(fields) => {
                let mut document = document.unwrap_or_default();
                document.extend(fields);
                Some(document)
            }
        }
    }
}

/// Adds the changes above `done` up, a document each.
pub fn fold(batch: &Batch, done: Option<Height>) -> BTreeMap<(Collection, Vec<u8>), (Key, Op)> {
    let mut ops: BTreeMap<(Collection, Vec<u8>), (Key, Op)> = BTreeMap::new();
    for (height, change) in &batch.changes {
        if done.is_some_and(|done| *height <= done) {
            continue;
        }
        let key = change.key();
        let slot = (key.collection(), key.bytes());
        let op = match (change, ops.remove(&slot)) {
            (Change::Remove { .. }, _) => Op::Remove,
            (Change::Set { fields, .. }, None) => Op::Merge(fields.clone()),
            (Change::Set { fields, .. }, Some((_, before))) => match before {
                Op::Merge(mut all) => {
                    all.extend(fields.clone());
                    Op::Merge(all)
                }
                Op::Replace(mut all) => {
                    all.extend(fields.clone());
                    Op::Replace(all)
                }
                Op::Remove => Op::Replace(fields.clone()),
            },
        };
        ops.insert(slot, (key.clone(), op));
    }
    ops
}

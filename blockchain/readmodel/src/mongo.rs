//! The collections in MongoDB, for who has other programs look at them there (specification: MongoDB 7).
//!
//! Where the server has transactions (a replica set, a sharded cluster), documents and position change in one. A lone server has none:
//! there documents go first and the position last, and what was interrupted is made again, which changes nothing (see `batch.rs`).

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::B256;
use lucid_chain_types::{BlockId, Height};
use mongodb::IndexModel;
use mongodb::bson::{self, Bson, Decimal128, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, IndexOptions};
use mongodb::sync::{Client, ClientSession, Database};
use serde_json::Value;

use crate::collections::advance;
use crate::embedded::next;
use crate::{
    Applied, Batch, Collection, Collections, Document, FieldKind, Key, ModelError, Op, Page, Part,
    Position, Query, fold,
};

/// Version of this layout. What has another is made anew from the chain.
const VERSION: i64 = 1;
/// The database where the URL names none.
const DATABASE: &str = "lucid";
/// What the store knows of itself.
const META: &str = "read_model";
/// How long a server is looked for, and how long it may work on a read.
const PATIENCE: Duration = Duration::from_secs(10);
/// The server's answer to making a collection that is there.
const NAMESPACE_EXISTS: i32 = 48;
/// Its answer to sharding a collection that is sharded.
const ALREADY_INITIALIZED: i32 = 23;

/// The collections in MongoDB.
pub struct Mongo {
    client: Client,
    db: Database,
    transactions: bool,
    /// Who writes.
    writer: Mutex<()>,
}

impl fmt::Debug for Mongo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: its options have the password.
        f.debug_struct("Mongo")
            .field("database", &self.db.name())
            .field("transactions", &self.transactions)
            .finish_non_exhaustive()
    }
}

impl From<Error> for ModelError {
    fn from(error: Error) -> Self {
        Self::Mongo(error.to_string())
    }
}

impl Mongo {
    /// Connects, and makes collections, validators, indexes and shards where they are missing.
    pub fn open(url: &str, genesis: B256) -> Result<Self, ModelError> {
        let mut options = ClientOptions::parse(url).run()?;
        options.app_name = Some("lucid".to_owned());
        options.server_selection_timeout.get_or_insert(PATIENCE);
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| DATABASE.to_owned());
        let client = Client::with_options(options)?;
        let db = client.database(&name);
        let hello = client
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .run()?;
        let sharded = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        let store = Self {
            transactions: sharded || hello.contains_key("setName"),
            client,
            db,
            writer: Mutex::new(()),
        };
        store.check_origin(genesis)?;
        for collection in Collection::ALL {
            store.prepare(collection)?;
        }
        if sharded {
            store.shard()?;
        }
        Ok(store)
    }

    /// Removes the database; for tests.
    pub fn drop_database(&self) -> Result<(), ModelError> {
        Ok(self.db.drop().run()?)
    }

    fn meta(&self) -> mongodb::sync::Collection<bson::Document> {
        self.db.collection(META)
    }

    fn collection(&self, collection: Collection) -> mongodb::sync::Collection<bson::Document> {
        self.db.collection(collection.name())
    }

    fn check_origin(&self, genesis: B256) -> Result<(), ModelError> {
        let origin = doc! { "_id": "origin", "version": VERSION, "genesis": genesis.to_string() };
        let found = self.meta().find_one(doc! { "_id": "origin" }).run()?;
        if let Some(found) = &found {
            let chain = found.get_str("genesis").unwrap_or_default();
            if chain != genesis.to_string() {
                return Err(ModelError::OtherChain {
                    place: format!("the database '{}'", self.db.name()),
                    found: chain.parse().unwrap_or_default(),
                    expected: genesis,
                });
            }
        }
        // Also after a reset that was interrupted: documents without a position are of no block.
        if found.as_ref() != Some(&origin) || self.position()?.is_none() {
            self.clear()?;
            self.meta()
                .replace_one(doc! { "_id": "origin" }, origin)
                .upsert(true)
                .run()?;
        }
        Ok(())
    }

    /// Makes a collection with its validator and indexes, or brings those that are there up to date.
    fn prepare(&self, collection: Collection) -> Result<(), ModelError> {
        let name = collection.name();
        let created = self
            .db
            .create_collection(name)
            .validator(validator(collection))
            .run();
        match created {
            Ok(()) => {}
            Err(error) if code(&error) == Some(NAMESPACE_EXISTS) => {
                let command = doc! { "collMod": name, "validator": validator(collection) };
                self.db.run_command(command).run()?;
            }
            Err(error) => return Err(error.into()),
        }
        let handle = self.collection(collection);
        let index = |keys: bson::Document, unique: bool| {
            let options = IndexOptions::builder().unique(unique).build();
            let model = IndexModel::builder().keys(keys).options(options).build();
            handle.create_index(model).run()
        };
        if collection != Collection::Sessions {
            index(order(collection, false), true)?;
        }
        match collection {
            Collection::Sessions => {
                index(doc! { "owner": 1, "openedHeight": -1 }, false)?;
                index(doc! { "openedHeight": -1 }, false)?;
            }
            Collection::Chunks => {
                index(doc! { "hash": 1 }, false)?;
            }
            Collection::TaskProofs => {
                index(doc! { "nodeId": 1, "slot": -1 }, false)?;
            }
            Collection::WorkTally => {
                index(doc! { "epoch": -1, "rank": 1 }, false)?;
            }
            Collection::LeaderSchedule | Collection::SessionOrder | Collection::ChunkHolders => {}
        }
        Ok(())
    }

    /// SPEC-1B-v2: `task_proofs` on slot and node; chunks on session and index. The others stay on one shard.
    fn shard(&self) -> Result<(), ModelError> {
        let admin = self.client.database("admin");
        let done = |outcome: Result<bson::Document, Error>| match outcome {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => Ok(()),
            Err(error) => Err(ModelError::from(error)),
        };
        let name = self.db.name();
        done(admin.run_command(doc! { "enableSharding": name }).run())?;
        for (collection, key) in [
            (Collection::TaskProofs, doc! { "slot": 1, "nodeId": 1 }),
            (Collection::Chunks, doc! { "session_id": 1, "idx": 1 }),
        ] {
            let namespace = format!("{name}.{}", collection.name());
            done(
                admin
                    .run_command(doc! { "shardCollection": namespace, "key": key })
                    .run(),
            )?;
        }
        Ok(())
    }

    /// The position first, as in the embedded store.
    fn clear(&self) -> Result<(), ModelError> {
        self.meta().delete_one(doc! { "_id": "position" }).run()?;
        for collection in Collection::ALL {
            self.collection(collection).delete_many(doc! {}).run()?;
        }
        Ok(())
    }

    fn write(
        &self,
        key: &Key,
        op: Op,
        session: Option<&mut ClientSession>,
    ) -> Result<(), ModelError> {
        let collection = self.collection(key.collection());
        let filter = filter(key)?;
        match op {
            Op::Remove => {
                let action = collection.delete_one(filter);
                match session {
                    Some(session) => action.session(session).run()?,
                    None => action.run()?,
                };
            }
            Op::Merge(fields) if fields.keys().any(|name| !filter.contains_key(name)) => {
                let mut set = to_bson(&fields)?;
                for name in filter.keys() {
                    set.remove(name);
                }
                let action = collection
                    .update_one(filter, doc! { "$set": set })
                    .upsert(true);
                match session {
                    Some(session) => action.session(session).run()?,
                    None => action.run()?,
                };
            }
            // A document that is nothing but its key is merged by being there.
            Op::Merge(fields) | Op::Replace(fields) => {
                let action = collection
                    .replace_one(filter, to_bson(&fields)?)
                    .upsert(true);
                match session {
                    Some(session) => action.session(session).run()?,
                    None => action.run()?,
                };
            }
        }
        Ok(())
    }

    /// Moves the position on, from where it was and from nowhere else.
    fn advance(
        &self,
        before: Option<Position>,
        after: Position,
        session: Option<&mut ClientSession>,
    ) -> Result<(), ModelError> {
        let mut filter = doc! { "_id": "position" };
        if let Some(before) = before {
            filter.insert("height", number(before.height.0)?);
        }
        let position = doc! {
            "_id": "position",
            "from": number(after.from.0)?,
            "height": number(after.height.0)?,
            "id": after.id.to_string(),
        };
        let meta = self.meta();
        let action = meta.replace_one(filter, position).upsert(before.is_none());
        let outcome = match session {
            Some(session) => action.session(session).run()?,
            None => action.run()?,
        };
        if before.is_some() && outcome.matched_count == 0 {
            return Err(ModelError::Mongo(format!(
                "another process writes to the database '{}': give each node one of its own",
                self.db.name()
            )));
        }
        Ok(())
    }

    fn write_all(
        &self,
        batch: &Batch,
        before: Option<Position>,
        after: Position,
        mut session: Option<&mut ClientSession>,
    ) -> Result<(), ModelError> {
        for (key, op) in fold(batch, before.map(|at| at.height)).into_values() {
            self.write(&key, op, session.as_deref_mut())?;
        }
        self.advance(before, after, session)
    }
}

impl Collections for Mongo {
    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn position(&self) -> Result<Option<Position>, ModelError> {
        let found = self.meta().find_one(doc! { "_id": "position" }).run()?;
        let Some(found) = found else { return Ok(None) };
        let document = from_bson(found)?;
        let height = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_u64)
                .map(Height)
                .ok_or_else(|| ModelError::damaged("the position", format!("it has no '{name}'")))
        };
        let id = document.get("id").and_then(Value::as_str);
        let id = id
            .and_then(|id| id.parse::<BlockId>().ok())
            .ok_or_else(|| ModelError::damaged("the position", "it has no 'id'"))?;
        Ok(Some(Position {
            from: height("from")?,
            height: height("height")?,
            id,
        }))
    }

    fn apply(&self, batch: &Batch) -> Result<Applied, ModelError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.position()?;
        let Some(after) = advance(before, batch)? else {
            return Ok(Applied::Before);
        };
        if !self.transactions {
            self.write_all(batch, before, after, None)?;
            return Ok(Applied::Now);
        }
        // Whatever fails in here, or is not known to have succeeded: the position says at the next call whether it is there.
        let mut session = self.client.start_session().run()?;
        session.start_transaction().run()?;
        if let Err(error) = self.write_all(batch, before, after, Some(&mut session)) {
            // The server ends it anyway once the session is gone.
            let _ended = session.abort_transaction().run();
            return Err(error);
        }
        session.commit_transaction().run()?;
        Ok(Applied::Now)
    }

    fn get(&self, key: &Key) -> Result<Option<Document>, ModelError> {
        let found = self
            .collection(key.collection())
            .find_one(filter(key)?)
            .max_time(PATIENCE)
            .run()?;
        found.map(from_bson).transpose()
    }

    fn query(&self, query: &Query) -> Result<Page, ModelError> {
        let collection = query.prefix.collection();
        let mut wanted = parts(&query.prefix)?;
        if let Some(after) = &query.after {
            if !query.prefix.covers(after) {
                return Ok(Page::default());
            }
            wanted.insert("$or", behind(after, query.descending)?);
        }
        let limit = query.limit();
        let found = self
            .collection(collection)
            .find(wanted)
            .sort(order(collection, query.descending))
            .max_time(PATIENCE)
            .limit(i64::try_from(limit + 1).unwrap_or(i64::MAX))
            .run()?;
        let mut items = found
            .map(|document| from_bson(document?))
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Page {
            next: next(&mut items, limit),
            items,
        })
    }

    fn reset(&self) -> Result<(), ModelError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear()
    }
}

fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The fields of a key, in their order, to sort or index by.
fn order(collection: Collection, descending: bool) -> bson::Document {
    let direction = if descending { -1 } else { 1 };
    let fields = collection.key().iter();
    fields
        .map(|field| (field.name.to_owned(), Bson::Int32(direction)))
        .collect()
}

fn part(part: &Part) -> Result<Bson, ModelError> {
    match part {
        Part::Number(value) => number(*value),
        other => Ok(other.to_string().into()),
    }
}

/// The fields of a key, or of the first parts of one.
fn parts(key: &Key) -> Result<bson::Document, ModelError> {
    let fields = key.collection().key().iter().zip(key.parts());
    fields
        .map(|(field, value)| Ok((field.name.to_owned(), part(value)?)))
        .collect()
}

/// What finds the one document of a key, and makes it with the right fields: the shard key is among them.
fn filter(key: &Key) -> Result<bson::Document, ModelError> {
    let mut filter = doc! { "_id": key.to_string() };
    filter.extend(parts(key)?);
    Ok(filter)
}

/// Keys that come after this one.
fn behind(key: &Key, descending: bool) -> Result<Vec<bson::Document>, ModelError> {
    let compare = if descending { "$lt" } else { "$gt" };
    let fields = key.collection().key();
    let mut equal = bson::Document::new();
    let mut any = Vec::new();
    for (field, value) in fields.iter().zip(key.parts()) {
        let value = part(value)?;
        let mut this = equal.clone();
        this.insert(field.name, doc! { compare: value.clone() });
        any.push(this);
        equal.insert(field.name, value);
    }
    Ok(any)
}

/// BSON has no unsigned numbers: those above its largest become decimals, which it compares with integers by value.
fn number(value: u64) -> Result<Bson, ModelError> {
    match i64::try_from(value) {
        Ok(value) => Ok(Bson::Int64(value)),
        Err(_) => value
            .to_string()
            .parse::<Decimal128>()
            .map(Bson::Decimal128)
            .map_err(|error| ModelError::Encode(error.to_string())),
    }
}

fn to_bson(document: &Document) -> Result<bson::Document, ModelError> {
    document
        .iter()
        .map(|(name, value)| Ok((name.clone(), value_to_bson(value)?)))
        .collect()
}

fn value_to_bson(value: &Value) -> Result<Bson, ModelError> {
    Ok(match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::String(value) => Bson::String(value.clone()),
        Value::Number(value) => {
            let value = value
                .as_u64()
                .ok_or_else(|| ModelError::Encode(format!("{value} is no count")))?;
            number(value)?
        }
        Value::Array(values) => Bson::Array(
            values
                .iter()
                .map(value_to_bson)
                .collect::<Result<_, ModelError>>()?,
        ),
        Value::Object(fields) => Bson::Document(to_bson(fields)?),
    })
}

fn from_bson(document: bson::Document) -> Result<Document, ModelError> {
    document
        .into_iter()
        .map(|(name, value)| {
            let value = value_from_bson(value)
                .map_err(|reason| ModelError::damaged(format!("the field '{name}'"), reason))?;
            Ok((name, value))
        })
        .collect()
}

fn value_from_bson(value: Bson) -> Result<Value, String> {
    Ok(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(value) => Value::Bool(value),
        Bson::String(value) => Value::String(value),
        Bson::Int32(value) => u64::try_from(value)
            .map_err(|error| error.to_string())?
            .into(),
        Bson::Int64(value) => u64::try_from(value)
            .map_err(|error| error.to_string())?
            .into(),
        Bson::Decimal128(value) => value
            .to_string()
            .parse::<u64>()
            .map_err(|error| error.to_string())?
            .into(),
        Bson::Array(values) => Value::Array(
            values
                .into_iter()
                .map(value_from_bson)
                .collect::<Result<_, _>>()?,
        ),
        Bson::Document(fields) => {
            Value::Object(from_bson(fields).map_err(|error| error.to_string())?)
        }
        other => return Err(format!("{other} is of a type that is never written")),
    })
}

/// What MongoDB holds every document against: the key's fields are there, and are what they should be. What else is in a document may
/// grow from version to version.
fn validator(collection: Collection) -> bson::Document {
    let mut properties = doc! { "_id": { "bsonType": "string" } };
    let mut required = vec!["_id"];
    for field in collection.key() {
        let schema = match field.kind {
            FieldKind::Number => doc! { "bsonType": ["long", "int", "decimal"], "minimum": 0 },
            FieldKind::Hash => doc! { "bsonType": "string", "pattern": "^0x[0-9a-f]{64}$" },
            FieldKind::Node => doc! { "bsonType": "string", "pattern": "^0x[0-9a-f]{40}$" },
            FieldKind::Task => doc! { "enum": ["relay", "storage", "uptime", "validation"] },
        };
        properties.insert(field.name, schema);
        if field.name != "_id" {
            required.push(field.name);
        }
    }
    doc! { "$jsonSchema": { "bsonType": "object", "required": required, "properties": properties } }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_come_back_as_they_were_written_with_any_number() {
        let document = json!({
            "_id": "1:0xab", "none": null, "yes": true, "numbers": [0, 1, i64::MAX, u64::MAX],
            "within": { "text": "é" },
        });
        let Value::Object(document) = document else {
            unreachable!()
        };
        let written = to_bson(&document).unwrap();
        assert_eq!(from_bson(written).unwrap(), document);
    }

    #[test]
    fn the_next_page_begins_behind_the_whole_key() {
        let key = Key::parse(
            Collection::Chunks,
            &format!("0x{}:{}", "ab".repeat(32), u64::MAX),
        )
        .unwrap();
        let session = format!("0x{}", "ab".repeat(32));
        let last: Decimal128 = u64::MAX.to_string().parse().unwrap();
        assert_eq!(
            behind(&key, false).unwrap(),
            [
                doc! { "session_id": { "$gt": &session } },
                doc! { "session_id": &session, "idx": { "$gt": last } },
            ]
        );
    }
}

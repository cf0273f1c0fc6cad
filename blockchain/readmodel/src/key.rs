//! Collections and their keys.
//!
//! A key has three forms: parts, bytes that sort as the parts do, and text (`12:0xab…:relay`), which is the `_id` of its document.

use std::fmt;

use alloy_primitives::{Address, B256, hex};
use lucid_poot::TaskKind;

use crate::ModelError;

/// The collections: five of the specification, and two that the others are looked up through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Sessions that were opened, closed or registered.
    Sessions,
    /// Chunks that a session's owner committed to.
    Chunks,
    /// Work, by slot and node.
    TaskProofs,
    /// The tally, by hour and node.
    WorkTally,
    /// Who was to lead a slot, and who did.
    LeaderSchedule,
    /// Sessions in the order in which they came, for lists of them.
    SessionOrder,
    /// Who says it holds a chunk, by the chunk's number.
    ChunkHolders,
}

/// A part of a key: what it is called in the document, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The document's field.
    pub name: &'static str,
    /// What it is.
    pub kind: FieldKind,
}

/// What a part of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A height, slot, epoch or index.
    Number,
    /// A session's id as the chain has it, or a chunk's hash.
    Hash,
    /// A node.
    Node,
    /// A kind of work.
    Task,
}

/// A part of a key, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// See [`FieldKind::Number`].
    Number(u64),
    /// See [`FieldKind::Hash`].
    Hash(B256),
    /// See [`FieldKind::Node`].
    Node(Address),
    /// See [`FieldKind::Task`].
    Task(TaskKind),
}

const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind }
}

const SESSIONS: &[Field] = &[field("_id", FieldKind::Hash)];
const CHUNKS: &[Field] = &[
    field("session_id", FieldKind::Hash),
    field("idx", FieldKind::Number),
];
const TASK_PROOFS: &[Field] = &[
    field("slot", FieldKind::Number),
    field("nodeId", FieldKind::Node),
    field("type", FieldKind::Task),
];
const WORK_TALLY: &[Field] = &[
    field("epoch", FieldKind::Number),
    field("entityId", FieldKind::Node),
];
const LEADER_SCHEDULE: &[Field] = &[field("slot", FieldKind::Number)];
const SESSION_ORDER: &[Field] = &[
    field("height", FieldKind::Number),
    field("session_id", FieldKind::Hash),
];
const CHUNK_HOLDERS: &[Field] = &[
    field("number", FieldKind::Number),
    field("nodeId", FieldKind::Node),
];

impl Collection {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sessions,
        Self::Chunks,
        Self::TaskProofs,
        Self::WorkTally,
        Self::LeaderSchedule,
        Self::SessionOrder,
        Self::ChunkHolders,
    ];

    /// Its name, as in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Chunks => "chunks",
            Self::TaskProofs => "task_proofs",
            Self::WorkTally => "work_tally",
            Self::LeaderSchedule => "leader_schedule",
            Self::SessionOrder => "session_order",
            Self::ChunkHolders => "chunk_holders",
        }
    }

    /// What its keys are made of.
    pub const fn key(self) -> &'static [Field] {
        match self {
            Self::Sessions => SESSIONS,
            Self::Chunks => CHUNKS,
            Self::TaskProofs => TASK_PROOFS,
            Self::WorkTally => WORK_TALLY,
            Self::LeaderSchedule => LEADER_SCHEDULE,
            Self::SessionOrder => SESSION_ORDER,
            Self::ChunkHolders => CHUNK_HOLDERS,
        }
    }
}

/// Name of a kind of work in documents.
pub(crate) const fn task_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Relay => "relay",
        TaskKind::Storage => "storage",
        TaskKind::Validation => "validation",
        TaskKind::Uptime => "uptime",
    }
}

const TASKS: [TaskKind; 4] = [
    TaskKind::Relay,
    TaskKind::Storage,
    TaskKind::Validation,
    TaskKind::Uptime,
];

/// The number of WorkCredits as a kind of work.
pub(crate) fn task_kind(code: u8) -> Option<TaskKind> {
    TASKS.get(usize::from(code)).copied()
}

impl Part {
    fn push(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Number(number) => bytes.extend(number.to_be_bytes()),
            Self::Hash(hash) => bytes.extend(hash.as_slice()),
            Self::Node(node) => bytes.extend(node.as_slice()),
            // The first letters differ, and so the bytes sort as the names do.
            Self::Task(kind) => bytes.extend(&task_name(*kind).as_bytes()[..1]),
        }
    }

    /// As it is in a document.
    pub fn value(&self) -> serde_json::Value {
        match self {
            Self::Number(number) => (*number).into(),
            other => other.to_string().into(),
        }
    }

    fn parse(kind: FieldKind, text: &str) -> Option<Self> {
        Some(match kind {
            FieldKind::Number => Self::Number(text.parse().ok()?),
            FieldKind::Hash => Self::Hash(hash(text)?),
            FieldKind::Node => Self::Node(text.parse().ok()?),
            FieldKind::Task => Self::Task(TASKS.into_iter().find(|kind| task_name(*kind) == text)?),
        })
    }
}

/// A hash; a session's id of 16 bytes stands for the one on the chain, which has 16 zero bytes behind it.
fn hash(text: &str) -> Option<B256> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() != 32 && digits.len() != 64 {
        return None;
    }
    let bytes = hex::decode(digits).ok()?;
    Some(B256::right_padding_from(&bytes))
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Hash(hash) => write!(f, "{hash:#x}"),
            Self::Node(node) => write!(f, "{node:#x}"),
            Self::Task(kind) => f.write_str(task_name(*kind)),
        }
    }
}

/// A key, or the first parts of one: then it stands for all keys that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    collection: Collection,
    parts: Vec<Part>,
}

impl Key {
    /// The key that stands for all of a collection.
    pub const fn all(collection: Collection) -> Self {
        Self {
            collection,
            parts: Vec::new(),
        }
    }

    pub(crate) fn of<const N: usize>(collection: Collection, parts: [Part; N]) -> Self {
        debug_assert_eq!(parts.len(), collection.key().len(), "a whole key");
        Self {
            collection,
            parts: parts.into(),
        }
    }

    /// A session.
    pub fn session(id: B256) -> Self {
        Self::of(Collection::Sessions, [Part::Hash(id)])
    }

    /// A session's place in the list of sessions.
    pub(crate) fn session_order(height: u64, id: B256) -> Self {
        Self::of(
            Collection::SessionOrder,
            [Part::Number(height), Part::Hash(id)],
        )
    }

    /// A session's chunk.
    pub fn chunk(session: B256, index: u64) -> Self {
        Self::of(
            Collection::Chunks,
            [Part::Hash(session), Part::Number(index)],
        )
    }

    /// A node's work of a slot.
    pub fn task_proof(slot: u64, node: Address, kind: TaskKind) -> Self {
        Self::of(
            Collection::TaskProofs,
            [Part::Number(slot), Part::Node(node), Part::Task(kind)],
        )
    }

    /// A node's tally of an hour.
    pub fn tally(epoch: u64, entity: Address) -> Self {
        Self::of(
            Collection::WorkTally,
            [Part::Number(epoch), Part::Node(entity)],
        )
    }

    /// A slot.
    pub fn leader(slot: u64) -> Self {
        Self::of(Collection::LeaderSchedule, [Part::Number(slot)])
    }

    /// A node that holds a chunk.
    pub fn holder(chunk: u64, node: Address) -> Self {
        Self::of(
            Collection::ChunkHolders,
            [Part::Number(chunk), Part::Node(node)],
        )
    }

    /// All that hold a chunk.
    pub fn holders(chunk: u64) -> Self {
        Self {
            collection: Collection::ChunkHolders,
            parts: vec![Part::Number(chunk)],
        }
    }

    /// Its collection.
    pub const fn collection(&self) -> Collection {
        self.collection
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether it names one document.
    pub fn is_whole(&self) -> bool {
        self.parts.len() == self.collection.key().len()
    }

    /// Whether a key begins so.
    pub fn covers(&self, key: &Self) -> bool {
        self.collection == key.collection && key.parts.starts_with(&self.parts)
    }

    /// Bytes that sort as the parts do.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for part in &self.parts {
            part.push(&mut bytes);
        }
        bytes
    }

    /// Reads a key's text, or that of its first parts.
    pub fn parse(collection: Collection, text: &str) -> Result<Self, ModelError> {
        let fields = collection.key();
        let fault = || ModelError::Key {
            text: text.chars().take(200).collect(),
            collection: collection.name(),
            expected: format!("expected {}, or the first parts of it", Shape(fields)),
        };
        let mut parts = Vec::with_capacity(fields.len());
        for (index, part) in text.split(':').enumerate() {
            let field = fields.get(index).ok_or_else(fault)?;
            parts.push(Part::parse(field.kind, part).ok_or_else(fault)?);
        }
        Ok(Self { collection, parts })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

/// What a key looks like.
struct Shape<'a>(&'a [Field]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            let name = match field.name {
                "_id" => "ID",
                name => name,
            };
            f.write_str(name)?;
        }
        Ok(())
    }
}

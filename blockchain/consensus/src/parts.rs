//! Blocks in pieces: cutting them for the network and putting them together again, within bounds (requirement L7).
//!
//! A stream is `Init, Data, Data, …`. Its head is signed by the round's leader, so only leaders make a node keep whole blocks;
//! pieces that overtake their head wait in a small place that belongs to their publisher. Pure: the clock is the order of calls.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use bytes::{Bytes, BytesMut};
use lucid_chain_types::SignedProposal;

use crate::context::{Part, PartInit};
use crate::pack::MAX_PACKED_BYTES;

/// Size of a piece.
pub const PART_BYTES: usize = 64 << 10;
/// Most streams of one publisher at a time; the oldest gives way.
pub const STREAMS_PER_PEER: usize = 4;
/// Most streams in all.
pub const MAX_STREAMS: usize = 128;
/// Most bytes of pieces that overtook their head, in one stream.
pub const HEADLESS_BYTES: usize = 16 * PART_BYTES;
/// Most bytes of unfinished streams in all.
pub const MAX_STREAM_BYTES: usize = 64 << 20;

/// Cuts a packed block.
pub fn cut(signed: SignedProposal, packed: &Bytes) -> Vec<Part> {
    let size = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    let count = pieces(packed.len());
    let data = (0..count).map(|piece| {
        let from = piece * PART_BYTES;
        let to = packed.len().min(from + PART_BYTES);
        Part::Data {
            bytes: packed.slice(from..to),
            last: piece + 1 == count,
        }
    });
    std::iter::once(Part::Init(PartInit { signed, size }))
        .chain(data)
        .collect()
}

/// Data pieces of a packed block of this size: at least one.
const fn pieces(size: usize) -> usize {
    let pieces = size.div_ceil(PART_BYTES);
    if pieces == 0 { 1 } else { pieces }
}

/// What a piece did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// More are needed.
    Waiting,
    /// The proposal is complete.
    Complete {
        /// The proposal, as its leader signed it.
        signed: SignedProposal,
        /// The packed block.
        packed: Bytes,
    },
    /// It was dropped, for this reason.
    Dropped(&'static str),
}

#[derive(Debug, Default)]
struct Stream {
    head: Option<PartInit>,
    data: BTreeMap<u64, Bytes>,
    bytes: usize,
    /// When it began, counted in streams.
    age: u64,
}

/// Puts streams together. `P` names a publisher.
#[derive(Debug)]
pub struct Assembler<P> {
    streams: HashMap<(P, Bytes), Stream>,
    bytes: usize,
    /// Streams ever begun.
    begun: u64,
    /// `begun` at the last [`Assembler::retain`].
    mark: u64,
}

impl<P> Default for Assembler<P> {
    fn default() -> Self {
        Self {
            streams: HashMap::new(),
            bytes: 0,
            begun: 0,
            mark: 0,
        }
    }
}

impl<P: Clone + Eq + Hash> Assembler<P> {
    /// Takes a piece. `accept` says whether a head may be believed: right height, right leader, good signature.
    pub fn add(
        &mut self,
        publisher: &P,
        stream: &Bytes,
        sequence: u64,
        part: Part,
        accept: impl FnOnce(&SignedProposal) -> bool,
    ) -> Added {
        let key = (publisher.clone(), stream.clone());
        match part {
            Part::Init(head) => {
                if sequence != 0 {
                    return Added::Dropped("a head that is not first");
                }
                let size = usize::try_from(head.size).unwrap_or(usize::MAX);
                if size > MAX_PACKED_BYTES {
                    self.remove(&key);
                    return Added::Dropped("a block that is too large");
                }
                if !accept(&head.signed) {
                    self.remove(&key);
                    return Added::Dropped("a proposal that is not its leader's, or not for now");
                }
                if !self.make_room(&key) {
                    return Added::Dropped("too many streams");
                }
                self.stream(&key).head.get_or_insert(head);
            }
            Part::Data { bytes, .. } => {
                if sequence == 0
                    || sequence > pieces(MAX_PACKED_BYTES) as u64
                    || bytes.len() > PART_BYTES
                {
                    return Added::Dropped("a piece that no block has");
                }
                let known = self.streams.get(&key);
                let headless = known.is_none_or(|stream| stream.head.is_none());
                let held = known.map_or(0, |stream| stream.bytes);
                if known.is_some_and(|stream| stream.data.contains_key(&sequence)) {
                    return Added::Waiting;
                }
                if headless && held + bytes.len() > HEADLESS_BYTES {
                    return Added::Dropped("too much without a head");
                }
                if self.bytes + bytes.len() > MAX_STREAM_BYTES {
                    return Added::Dropped("too much in all");
                }
                if !self.make_room(&key) {
                    return Added::Dropped("too many streams");
                }
                self.bytes += bytes.len();
                let stream = self.stream(&key);
                stream.bytes += bytes.len();
                stream.data.insert(sequence, bytes);
            }
        }
        self.complete(&key)
    }

    /// Forgets the streams whose proposals are no longer wanted, and those that had no head when this was called before.
    pub fn retain(&mut self, wanted: impl Fn(&SignedProposal) -> bool) {
        let bytes = &mut self.bytes;
        let mark = std::mem::replace(&mut self.mark, self.begun);
        self.streams.retain(|_, stream| {
            let keep = match &stream.head {
                Some(head) => wanted(&head.signed),
                None => stream.age > mark,
            };
            if !keep {
                *bytes -= stream.bytes;
            }
            keep
        });
    }

    /// Forgets a publisher, who left.
    pub fn forget(&mut self, publisher: &P) {
        let bytes = &mut self.bytes;
        self.streams.retain(|(of, _), stream| {
            if of == publisher {
                *bytes -= stream.bytes;
            }
            of != publisher
        });
    }

    /// Bytes of unfinished streams.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Unfinished streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    fn stream(&mut self, key: &(P, Bytes)) -> &mut Stream {
        let begun = &mut self.begun;
        self.streams.entry(key.clone()).or_insert_with(|| {
            *begun += 1;
            Stream {
                age: *begun,
                ..Stream::default()
            }
        })
    }

    fn remove(&mut self, key: &(P, Bytes)) {
        if let Some(stream) = self.streams.remove(key) {
            self.bytes -= stream.bytes;
        }
    }

    /// A new stream pushes out its publisher's oldest; when there are too many in all, it is refused.
    fn make_room(&mut self, key: &(P, Bytes)) -> bool {
        if self.streams.contains_key(key) {
            return true;
        }
        let own = self
            .streams
            .iter()
            .filter(|((publisher, _), _)| *publisher == key.0);
        let (count, oldest) = own.fold((0, None), |(count, oldest), (key, stream)| {
            let older = oldest.is_none_or(|(age, _)| stream.age < age);
            (
                count + 1,
                if older {
                    Some((stream.age, key))
                } else {
                    oldest
                },
            )
        });
        if count >= STREAMS_PER_PEER {
            let oldest = oldest.map(|(_, key)| key.clone());
            if let Some(oldest) = oldest {
                self.remove(&oldest);
            }
        }
        self.streams.len() < MAX_STREAMS
    }

    fn complete(&mut self, key: &(P, Bytes)) -> Added {
        let Some(stream) = self.streams.get(key) else {
            return Added::Waiting;
        };
        let Some(head) = stream.head else {
            return Added::Waiting;
        };
        let size = usize::try_from(head.size).unwrap_or(usize::MAX);
        let count = pieces(size);
        if stream.data.len() < count && stream.bytes <= size {
            return Added::Waiting;
        }
        let mut packed = BytesMut::with_capacity(size.min(stream.bytes));
        for bytes in stream.data.values() {
            packed.extend_from_slice(bytes);
        }
        let whole = packed.len() == size
            && stream.data.len() == count
            && stream
                .data
                .keys()
                .eq((1..=count as u64).collect::<Vec<_>>().iter());
        self.remove(key);
        if whole {
            Added::Complete {
                signed: head.signed,
                packed: packed.freeze(),
            }
        } else {
            Added::Dropped("pieces that do not make up the block")
        }
    }
}

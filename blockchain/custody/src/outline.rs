//! Verification while bytes stream in: the inner hashes of BLAKE3's own tree, one for each 64 KiB.
//!
//! A chunk's address is the plain BLAKE3 of its bytes, which is the root of a tree. Whoever serves a chunk also serves the tree's
//! hashes at one level, the outline. They are held against the address first; then each group of 64 KiB stands for itself, whoever
//! sends it. So a false byte is noticed where it is and blamed on who sent it, and a fetch goes on elsewhere from the last true group.

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};

use alloy_primitives::B256;

/// Bytes that one hash of an outline stands for.
pub const GROUP: usize = 64 << 10;
/// Most bytes of a chunk: the bound of the parameter `maxChunkSize`.
pub const MAX_CHUNK: u32 = 16 << 20;

/// An outline that belongs to its chunk's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    address: B256,
    size: u32,
    values: Vec<ChainingValue>,
}

/// How many groups a chunk has.
pub const fn groups(size: u32) -> usize {
    (size as usize).div_ceil(GROUP)
}

/// Makes the outline of a chunk: 32 bytes a group. Of a chunk that is one group it is empty: the address says it all.
pub fn make(bytes: &[u8]) -> Vec<u8> {
    let mut maker = Maker::default();
    maker.update(bytes);
    maker.finish()
}

/// Makes an outline as the bytes come.
#[derive(Debug, Default)]
pub struct Maker {
    outline: Vec<u8>,
    // INVARIANT: at most GROUP bytes.
    group: Vec<u8>,
    offset: u64,
}

impl Maker {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // Only what has something behind it is known not to be the whole chunk.
            if self.group.len() == GROUP {
                self.end_group();
            }
            let (more, rest) = bytes.split_at(bytes.len().min(GROUP - self.group.len()));
            self.group.extend_from_slice(more);
            bytes = rest;
        }
    }

    fn end_group(&mut self) {
        self.outline
            .extend_from_slice(&value(self.offset, &self.group));
        self.offset += self.group.len() as u64;
        self.group.clear();
    }

    /// The outline.
    pub fn finish(mut self) -> Vec<u8> {
        if self.offset > 0 {
            self.end_group();
        }
        self.outline
    }
}

fn value(offset: u64, group: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset).update(group);
    hasher.finalize_non_root()
}

impl Outline {
    /// Bytes of the outline of a chunk of this size.
    pub const fn len_of(size: u32) -> usize {
        if groups(size) > 1 {
            groups(size) * 32
        } else {
            0
        }
    }

    /// Holds an outline against the address it is to be of. `None` where it is another's, or the size is out of bounds.
    pub fn check(address: B256, size: u32, outline: &[u8]) -> Option<Self> {
        if size == 0 || size > MAX_CHUNK || outline.len() != Self::len_of(size) {
            return None;
        }
        let (values, _) = outline.as_chunks::<32>();
        if let [_, _, ..] = values {
            let left = left_subtree_len(size.into());
            let (first, rest) = values.split_at(usize::try_from(left).ok()? / GROUP);
            let root = merge_subtrees_root(
                &merged(first, left),
                &merged(rest, u64::from(size) - left),
                Mode::Hash,
            );
            if root.as_bytes() != &address.0 {
                return None;
            }
        }
        Some(Self {
            address,
            size,
            values: values.to_vec(),
        })
    }

    /// The chunk's size, bytes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Bytes of a group; 0 behind the last.
    pub fn group_len(&self, index: usize) -> usize {
        (self.size as usize)
            .saturating_sub(index.saturating_mul(GROUP))
            .min(GROUP)
    }

    /// Whether these are the bytes of a group.
    pub fn is_group(&self, index: usize, bytes: &[u8]) -> bool {
        if bytes.is_empty() || bytes.len() != self.group_len(index) {
            return false;
        }
        match self.values.get(index) {
            Some(expected) => value((index * GROUP) as u64, bytes) == *expected,
            // One group, which is the whole chunk.
            None => blake3::hash(bytes).as_bytes() == &self.address.0,
        }
    }
}

/// The hash of a subtree of `len` bytes over these groups.
fn merged(values: &[ChainingValue], len: u64) -> ChainingValue {
    match values {
        [one] => *one,
        _ => {
            let left = left_subtree_len(len);
            // At most MAX_CHUNK: it fits.
            let split = usize::try_from(left).unwrap_or(usize::MAX) / GROUP;
            let (first, rest) = values.split_at(split.min(values.len() - 1));
            merge_subtrees_non_root(&merged(first, left), &merged(rest, len - left), Mode::Hash)
        }
    }
}

//! Keys of a session: one seed, a GGM tree over it, one key a chunk.
//!
//! The tree (Goldreich, Goldwasser, Micali 1986) has depth 32, a leaf for each possible chunk index. Who holds an inner
//! node can derive every leaf below it and nothing else, so a time range is disclosed with at most 62 inner keys and
//! usually a handful.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    FormatError, Hash, Keypair, PublicKey, SessionId, SigDomain, Signed, decode_exact, encode,
    hash::GGM_ROOT,
};

/// Depth of the tree: chunk indices are 32-bit.
const DEPTH: u8 = 32;

/// Most inner keys a contiguous range of leaves needs.
const MAX_COVER: usize = 2 * (DEPTH as usize - 1);

/// The secret a session's keys are derived from. Zeroized when dropped; never on a disk but wrapped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionSeed([u8; 32]);

impl SessionSeed {
    /// A new seed.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self(seed)
    }

    /// The seed with these bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The secret bytes.
    pub fn bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    /// Everything in `session` that this seed opens: all of it.
    pub fn keys(&self, session: SessionId) -> KeySource {
        let key = Hash::derive(GGM_ROOT, &[&self.0, &session.0]).0;
        KeySource {
            keys: vec![InnerKey {
                level: 0,
                prefix: 0,
                key,
            }],
        }
    }
}

impl fmt::Debug for SessionSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSeed(redacted)")
    }
}

/// A node of the tree: opens the `2^(32 − level)` chunks whose index starts with `prefix`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, BorshSerialize, BorshDeserialize)]
pub struct InnerKey {
    /// Distance from the root, 0 to 32.
    pub level: u8,
    /// The first `level` bits of the indices below, right-aligned.
    pub prefix: u32,
    /// The secret.
    pub key: [u8; 32],
}

impl InnerKey {
    fn child(&self, right: bool) -> Self {
        let label: &[u8] = if right {
            b"lucid ggm v1: right"
        } else {
            b"lucid ggm v1: left"
        };
        let prefix = (self.prefix << 1) | u32::from(right);
        Self {
            level: self.level + 1,
            prefix,
            key: blake3::keyed_hash(&self.key, label).into(),
        }
    }

    /// First and last index below this node.
    fn span(&self) -> (u64, u64) {
        let below = DEPTH - self.level;
        let first = u64::from(self.prefix) << below;
        (first, first + (1 << below) - 1)
    }

    fn cover(&self, first: u64, last: u64, out: &mut Vec<Self>) {
        let (low, high) = self.span();
        if first <= low && high <= last {
            out.push(self.clone());
        } else if low <= last && first <= high {
            self.child(false).cover(first, last, out);
            self.child(true).cover(first, last, out);
        }
    }
}

impl fmt::Debug for InnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InnerKey({}/{}, redacted)", self.prefix, self.level)
    }
}

/// The key of one chunk: a leaf of the tree.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ChunkKey([u8; 32]);

impl ChunkKey {
    /// The key with these bytes, for the stages on their own.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// Encryption key and key commitment for a chunk with this `header` (without the commitment itself). Both hang on
    /// every byte of the header, so a ciphertext opens under one key and one header only.
    pub(crate) fn expand(&self, header: &[u8]) -> (Zeroizing<[u8; 32]>, [u8; 32]) {
        let mut out = Zeroizing::new([0; 64]);
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(b"lucid chunk key v1\0")
            .update(header)
            .finalize_xof()
            .fill(out.as_mut());
        let (mut key, mut commitment) = (Zeroizing::new([0; 32]), [0; 32]);
        key.copy_from_slice(&out[..32]);
        commitment.copy_from_slice(&out[32..]);
        (key, commitment)
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(redacted)")
    }
}

/// What somebody holds of a session's tree: the whole of it, or some inner keys.
#[derive(Debug, Clone)]
pub struct KeySource {
    keys: Vec<InnerKey>,
}

impl KeySource {
    /// The key of chunk `index`, if what is held reaches it.
    pub fn chunk_key(&self, index: u32) -> Option<ChunkKey> {
        let held = self.keys.iter().find(|k| {
            let (first, last) = k.span();
            (first..=last).contains(&u64::from(index))
        })?;
        let mut node = held.clone();
        while node.level < DEPTH {
            node = node.child((index >> (DEPTH - 1 - node.level)) & 1 == 1);
        }
        Some(ChunkKey(node.key))
    }

    /// The fewest inner keys that open chunks `first..=last` and nothing else; `None` if what is held does not reach them
    /// all.
    pub fn cover(&self, first: u32, last: u32) -> Option<Vec<InnerKey>> {
        let mut out = Vec::new();
        for key in &self.keys {
            key.cover(first.into(), last.into(), &mut out);
        }
        let reached: u64 = out.iter().map(|k| k.span().1 - k.span().0 + 1).sum();
        (first <= last && reached == u64::from(last - first) + 1).then_some(out)
    }
}

const VERSION: u16 = 1;

/// A disclosed range: the keys of some chunks and of no other, signed by who disclosed them (requirement S9).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Disclosed {
    /// Format version.
    pub version: u16,
    /// Which session.
    pub session: SessionId,
    /// First chunk disclosed.
    pub first: u32,
    /// Last chunk disclosed.
    pub last: u32,
    /// Who disclosed: signs this statement.
    pub by: PublicKey,
    /// The keys.
    pub keys: Vec<InnerKey>,
}

impl Disclosed {
    /// The version this code writes.
    pub const VERSION: u16 = VERSION;

    /// Signs the statement.
    ///
    /// # Errors
    /// When `key` is not `by`.
    pub fn sign(&self, key: &Keypair) -> Result<Vec<u8>, FormatError> {
        if key.public() != self.by {
            return Err(FormatError::WrongKey {
                what: "signing the disclosure".into(),
            });
        }
        encode(
            "the disclosure",
            &Signed::new(key, SigDomain::Disclosure, encode("the disclosure", self)?),
        )
    }

    /// Reads and checks a statement: signature, bounds, and that its keys are those of the one smallest cover of its range,
    /// from left to right. Whether they are the session's own, only opening the chunks shows.
    ///
    /// # Errors
    /// What does not hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let signed: Signed = decode_exact("the disclosure", bytes)?;
        crate::head::check_version("the disclosure", &signed.body, VERSION)?;
        let disclosed: Self = decode_exact("the disclosure", &signed.body)?;
        signed.verify(&disclosed.by, SigDomain::Disclosure)?;
        if disclosed.keys.len() > MAX_COVER {
            let value = disclosed.keys.len() as u64;
            return Err(FormatError::TooLarge {
                what: "the number of disclosed keys",
                value,
                bound: MAX_COVER as u64,
            });
        }
        // The one cover there can be, of a tree whose keys do not matter.
        let mut cover = Vec::new();
        InnerKey {
            level: 0,
            prefix: 0,
            key: [0; 32],
        }
        .cover(disclosed.first.into(), disclosed.last.into(), &mut cover);
        let place = |key: &InnerKey| (key.level, key.prefix);
        if cover.is_empty() || !cover.iter().map(place).eq(disclosed.keys.iter().map(place)) {
            return Err(FormatError::malformed(
                "the disclosure",
                "its keys are not the cover of its range",
            ));
        }
        Ok(disclosed)
    }

    /// The keys, to open chunks with.
    pub fn source(&self) -> KeySource {
        KeySource {
            keys: self.keys.clone(),
        }
    }
}

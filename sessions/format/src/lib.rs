//! Every byte of a recording.
//!
//! A pure crate: bytes, keys and random numbers go in, bytes come out. It knows no file, no clock, no network.
//!
//! ```text
//!  records ─▶ chunk: zstd ─▶ segments sealed with the chunk's key ─▶ BLAKE3 = the chunk's address
//!                     ▲                                                  │
//!   session seed ─▶ GGM tree ─▶ chunk key                                ▼
//!        │                                                  Merkle log ─▶ root ─▶ manifest, signed
//!        └── HPKE ─▶ one wrap for each recipient
//! ```
//!
//! Start reading at [`ChunkWriter`] (how bytes are made), [`verify`] (how they are checked without a key) and
//! [`Recording`] (the `.lucid` file). `docs/sessions/format.md` specifies all of it byte by byte, and golden vectors in
//! `tests/vectors/` pin it: a change there needs a new version number here.

mod aead;
mod chunk;
mod container;
mod error;
mod hash;
mod head;
mod ids;
mod keyfile;
mod keys;
mod manifest;
mod marker;
pub mod merkle;
mod record;
mod signed;
mod verify;
mod wrap;

pub use chunk::{
    CHUNK_HEADER_LEN, ChunkHeader, ChunkPlace, ChunkView, ChunkWriter, MAX_CHUNK_BYTES, Packed,
    Packer, SealedChunk, Sealer, Segment, Trailer, valid_prefix,
};
pub use container::{
    FileKind, Index, IndexEntry, MAX_INDEX_BYTES, Parts, Recording, RecordingWriter, Span,
};
pub use error::{ErrorKind, FormatError};
pub use hash::{Hash, hash_wraps};
pub use head::{Head, MAX_RECIPIENTS, SignedHead, Ticket};
pub use ids::SessionId;
pub use keyfile::{KdfCost, PublicKeys, RecipientId, SecretKeys};
pub use keys::{ChunkKey, Disclosed, InnerKey, KeySource, SessionSeed};
pub use manifest::{Checkpoint, Ending, Manifest, SignedManifest};
pub use marker::Marker;
pub use record::{MAX_PAYLOAD, RECORD_HEADER, Record, Records, Stream};
pub use signed::{Keypair, PublicKey, SigDomain, Signed};
pub use verify::{Proven, VerifyOptions, check_chunk, check_index, verify};
pub use wrap::{Wrap, open_wraps, wrap_seed};

/// Plaintext bytes at which a chunk closes unless governed otherwise (`maxChunkSize`, requirement S3).
pub const DEFAULT_CHUNK_PLAINTEXT: usize = 8 << 20;

/// Upper bound of `maxChunkSize`: no chunk holds more plaintext than this, whatever a header claims.
pub const MAX_CHUNK_PLAINTEXT: usize = 16 << 20;

/// Longest time one chunk covers, in µs; a silent session writes a heartbeat chunk this often (requirement S2).
pub const CHUNK_SPAN_US: u64 = 10_000_000;

/// Decodes borsh and refuses bytes that are left over.
pub(crate) fn decode_exact<T: borsh::BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, FormatError> {
    borsh::from_slice(bytes).map_err(|e| FormatError::malformed(what, e))
}

/// Encodes borsh. Memory is the only thing that can run out.
pub(crate) fn encode<T: borsh::BorshSerialize>(
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, FormatError> {
    borsh::to_vec(value).map_err(|e| FormatError::malformed(what, e))
}

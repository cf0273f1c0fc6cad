//! Blocks on the wire: compressed where that pays (requirement L6), and never larger than a block when unpacked.

use bytes::Bytes;
use lucid_chain_types::MAX_BLOCK_BYTES;

/// Blocks above this size are compressed.
const COMPRESS_ABOVE: usize = 1 << 10;
/// The quickest of zstd's levels with an entropy stage: blocks are mostly hashes and signatures.
const LEVEL: i32 = 1;
const RAW: u8 = 0;
const ZSTD: u8 = 1;
const HEAD: usize = 5;

/// Most bytes of a packed block.
pub const MAX_PACKED_BYTES: usize = MAX_BLOCK_BYTES + HEAD;

/// Why bytes are not a packed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Larger than a block may be.
    #[error("a block of {0} bytes, at most {MAX_BLOCK_BYTES} are allowed")]
    TooLarge(usize),
    /// Not this format.
    #[error("not a packed block")]
    Malformed,
}

/// Packs an encoded block: `kind ‖ size ‖ bytes`.
pub fn pack(block: &[u8]) -> Result<Bytes, PackError> {
    let size = u32::try_from(block.len())
        .ok()
        .filter(|_| block.len() <= MAX_BLOCK_BYTES);
    let size = size.ok_or(PackError::TooLarge(block.len()))?;
    let compressed = (block.len() > COMPRESS_ABOVE)
        .then(|| zstd::bulk::compress(block, LEVEL).ok())
        .flatten()
        .filter(|compressed| compressed.len() < block.len());
    let (kind, body) = match &compressed {
        Some(compressed) => (ZSTD, compressed.as_slice()),
        None => (RAW, block),
    };
    let mut packed = Vec::with_capacity(HEAD + body.len());
    packed.push(kind);
    packed.extend_from_slice(&size.to_le_bytes());
    packed.extend_from_slice(body);
    Ok(packed.into())
}

/// Unpacks a block. No more memory is used than the size it states, which is bounded.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, PackError> {
    let (head, body) = packed.split_at_checked(HEAD).ok_or(PackError::Malformed)?;
    let size = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let size = usize::try_from(size).map_err(|_| PackError::Malformed)?;
    if size > MAX_BLOCK_BYTES {
        return Err(PackError::TooLarge(size));
    }
    let block = match head[0] {
        RAW => body.to_vec(),
        ZSTD => zstd::bulk::decompress(body, size).map_err(|_| PackError::Malformed)?,
        _ => return Err(PackError::Malformed),
    };
    if block.len() == size {
        Ok(block)
    } else {
        Err(PackError::Malformed)
    }
}

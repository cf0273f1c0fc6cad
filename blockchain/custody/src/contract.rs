//! `LucidChunkStore` as far as it is called, and call data for it.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall as _, sol};
use lucid_chain_types::{NodeId, Slot};

use crate::plan::Lease;
use crate::tree::Opening;

#[allow(
    missing_docs,
    clippy::too_many_arguments,
    reason = "generated from the Solidity; NatSpec is in contracts/src"
)]
mod abi {
    use super::sol;
    sol! {
        struct StoredLease {
            uint64 number; bytes32 chunkHash; bytes32 storageRoot; uint32 size; uint64 expiry; address[] holders;
        }
        struct StoredOpening { bytes leaf; bytes32[] path; }
        struct StoredDoor { address node; string url; }
        struct StoredProof { address node; uint64 slot; uint8 kind; uint64 value; bytes evidence; bytes signature; }

        interface ChunkStore {
            function commitBatch(bytes32 sessionId, uint64 firstIndex, bytes32[] calldata chunkHashes, bytes32[] calldata storageRoots, uint32[] calldata sizes, uint64 slots) external payable;
            function extend(uint64[] calldata numbers, uint64 slots) external payable;
            function expire(uint64[] calldata numbers) external;
            function fee(uint256 bytes_, uint256 slots) external view returns (uint256);
            function setDoor(string calldata url) external;
            function acceptCustody(uint64[] calldata numbers) external;
            function releaseCustody(uint64[] calldata numbers) external;
            function pruneCustody(address node, uint64[] calldata numbers) external;
            function prove(uint64 slot, StoredOpening[] calldata openings) external;
            function chunk(bytes32 sessionId, uint64 index) external view returns (StoredLease memory);
            function lease(uint64 number) external view returns (StoredLease memory);
            function leases(uint64 from, uint64 most) external view returns (StoredLease[] memory list);
            function count() external view returns (uint64);
            function held(address node, uint256 from, uint256 most) external view returns (uint64[] memory numbers);
            function heldCount(address node) external view returns (uint256);
            function challenges(address node) external view returns (uint64[] memory numbers, uint64[] memory leaves);
            function proven(address node) external view returns (uint64 slot, uint64 credit);
            function silent(address node) external view returns (bool);
            function doors() external view returns (StoredDoor[] memory list);
            function verifyLeaf(bytes32 root, uint256 size, uint256 index, bytes calldata leaf, bytes32[] calldata path) external pure returns (bool);
        }

        interface Credits {
            function openSlot() external view returns (uint64);
            function seed() external view returns (bytes32);
            function isNode(address node) external view returns (bool);
            function submit(StoredProof[] calldata proofs) external;
        }

        interface Params {
            function get(bytes32 key) external view returns (uint256);
        }
    }
}

pub use abi::{ChunkStore, Credits, Params, StoredLease, StoredOpening, StoredProof};

/// Kind of a storage proof in WorkCredits.
pub const STORAGE: u8 = 1;
/// Most chunks that one call is made for: their commitments fit into the smallest block twice.
pub const BATCH: usize = 24;

impl From<StoredLease> for Lease {
    fn from(stored: StoredLease) -> Self {
        Self {
            number: stored.number,
            hash: stored.chunkHash,
            storage_root: stored.storageRoot,
            size: stored.size,
            expiry: Slot(stored.expiry),
            holders: stored.holders.into_iter().map(NodeId).collect(),
        }
    }
}

impl From<Opening> for StoredOpening {
    fn from(opening: Opening) -> Self {
        Self {
            leaf: opening.leaf.into(),
            path: opening.path,
        }
    }
}

/// What is committed to of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// BLAKE3 of its bytes.
    pub hash: B256,
    /// Root of its leaves.
    pub storage_root: B256,
    /// Bytes.
    pub size: u32,
}

impl Commitment {
    /// Of these bytes; `None` where they are no chunk: none, or more than [`MAX_CHUNK`](crate::outline::MAX_CHUNK).
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let size = u32::try_from(bytes.len()).ok()?;
        if size > crate::outline::MAX_CHUNK {
            return None;
        }
        Some(Self {
            hash: B256::new(blake3::hash(bytes).into()),
            storage_root: crate::tree::root(bytes)?,
            size,
        })
    }
}

/// A transaction to be sent: whoever owns the account's nonces sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The contract.
    pub to: Address,
    /// Call data.
    pub input: Bytes,
    /// Wei to send along.
    pub value: U256,
}

/// Commits to chunks that follow each other. `fee` is what [`ChunkStore::feeCall`] answers for their bytes and slots; a quarter is
/// added, since a vote may raise it before the call runs, and what is too much comes back.
pub fn commit(session: B256, first: u64, chunks: &[Commitment], slots: u64, fee: U256) -> Call {
    let call = ChunkStore::commitBatchCall {
        sessionId: session,
        firstIndex: first,
        chunkHashes: chunks.iter().map(|chunk| chunk.hash).collect(),
        storageRoots: chunks.iter().map(|chunk| chunk.storage_root).collect(),
        sizes: chunks.iter().map(|chunk| chunk.size).collect(),
        slots,
    };
    Call {
        to: lucid_chain_types::contracts::LUCID_CHUNK_STORE,
        input: call.abi_encode().into(),
        value: fee + fee / U256::from(4),
    }
}

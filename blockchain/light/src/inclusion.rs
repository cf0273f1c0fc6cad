//! That a transaction or a receipt is in a block, and at which place.

use alloy_primitives::{B256, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{Domain, merkle_path, merkle_root_of_path};

use crate::file::Kind;
use crate::{LightError, VerifiedHeader};

/// Most bytes of a proof file of inclusion: a receipt with its logs may be large.
pub const MAX_INCLUSION_BYTES: usize = 4 << 20;

const TRANSACTION: Kind = Kind {
    magic: b"LUCIDTXN",
    version: TransactionProof::VERSION,
    what: "a transaction proof",
    max_bytes: MAX_INCLUSION_BYTES,
};
const RECEIPT: Kind = Kind {
    magic: b"LUCIDRCP",
    version: ReceiptProof::VERSION,
    what: "a receipt proof",
    max_bytes: MAX_INCLUSION_BYTES,
};

/// A leaf's place in a block's tree and the way to the root (RFC 9162 section 2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// Which of the block's, from 0.
    pub index: u32,
    /// How many the block has.
    pub count: u32,
    /// The neighbours on the way, lowest first.
    pub path: Vec<B256>,
}

/// That a transaction is in a block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionProof {
    /// Its Ethereum hash.
    pub hash: B256,
    /// Where.
    pub place: Place,
}

/// That a receipt is in a block. With a [`TransactionProof`] of the same index: what became of that transaction.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReceiptProof {
    /// The receipt, encoded.
    pub receipt: Vec<u8>,
    /// Where.
    pub place: Place,
}

/// What is proven of a transaction or receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Included {
    /// Keccak of the encoded transaction or receipt.
    pub hash: B256,
    /// Which of the block's, from 0.
    pub index: u32,
    /// How many the block has.
    pub count: u32,
}

impl Place {
    fn of(domain: Domain, encoded: &[Vec<u8>], index: usize) -> Option<Self> {
        let leaves: Vec<B256> = encoded.iter().map(keccak256).collect();
        Some(Self {
            index: index.try_into().ok()?,
            count: leaves.len().try_into().ok()?,
            path: merkle_path(domain, &leaves, index)?,
        })
    }

    fn leads_to(&self, domain: Domain, hash: B256, root: B256) -> bool {
        merkle_root_of_path(domain, hash, self.index, self.count, &self.path) == Some(root)
    }
}

impl TransactionProof {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;

    /// Proof of transaction `index` of a block's transactions; `None` if there is no such.
    pub fn of(transactions: &[Vec<u8>], index: usize) -> Option<Self> {
        Some(Self {
            hash: keccak256(transactions.get(index)?),
            place: Place::of(Domain::TransactionLeaf, transactions, index)?,
        })
    }

    /// The proof file.
    pub fn encode(&self) -> Vec<u8> {
        TRANSACTION.encode(self)
    }

    /// Reads a proof file; proves nothing yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        TRANSACTION.decode(bytes)
    }
}

impl ReceiptProof {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;

    /// Proof of receipt `index` of a block's encoded receipts; `None` if there is no such.
    pub fn of(receipts: &[Vec<u8>], index: usize) -> Option<Self> {
        Some(Self {
            receipt: receipts.get(index)?.clone(),
            place: Place::of(Domain::ReceiptLeaf, receipts, index)?,
        })
    }

    /// The proof file.
    pub fn encode(&self) -> Vec<u8> {
        RECEIPT.encode(self)
    }

    /// Reads a proof file; proves nothing yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        RECEIPT.decode(bytes)
    }
}

impl VerifiedHeader {
    /// Checks that a transaction is in this block.
    pub fn transaction(&self, proof: &TransactionProof) -> Result<Included, LightError> {
        let root = self.header().transactions_root;
        self.included(
            "transaction",
            Domain::TransactionLeaf,
            proof.hash,
            &proof.place,
            root,
        )
    }

    /// Checks that a receipt is in this block.
    pub fn receipt(&self, proof: &ReceiptProof) -> Result<Included, LightError> {
        let (hash, root) = (keccak256(&proof.receipt), self.header().receipts_root);
        self.included("receipt", Domain::ReceiptLeaf, hash, &proof.place, root)
    }

    fn included(
        &self,
        what: &'static str,
        domain: Domain,
        hash: B256,
        place: &Place,
        root: B256,
    ) -> Result<Included, LightError> {
        let Place { index, count, .. } = *place;
        if !place.leads_to(domain, hash, root) {
            return Err(LightError::NotIncluded {
                what,
                hash,
                index,
                count,
                height: self.height(),
            });
        }
        Ok(Included { hash, index, count })
    }
}

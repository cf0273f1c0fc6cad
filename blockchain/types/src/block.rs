//! Headers and blocks.

use alloy_primitives::{B256, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::Certificate;
use crate::encoding::{DecodeError, decode};
use crate::evidence::{Evidence, MAX_EVIDENCE};
use crate::hash::{Domain, derive, merkle_root};
use crate::ids::{BlockId, Height, NodeId, Slot};
use crate::validators::ValidatorSet;

/// Most bytes of an encoded block (requirement L7: a bound at every door).
pub const MAX_BLOCK_BYTES: usize = 8 << 20;
/// Most transactions in a block.
pub const MAX_BLOCK_TRANSACTIONS: usize = 20_000;
/// Most bytes of one encoded transaction.
pub const MAX_TRANSACTION_BYTES: usize = 128 << 10;
/// Size of an ECVRF-EDWARDS25519-SHA512-TAI proof (RFC 9381 section 5.5).
pub const VRF_PROOF_BYTES: usize = 80;

/// What the validators vote on, by its hash. Everything else of a block is covered by a hash in here.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// Version of the format: [`Header::VERSION`].
    pub version: u8,
    /// The EVM's chain id.
    pub chain_id: u64,
    /// The block's number.
    pub height: Height,
    /// When it was proposed, in ms since the Unix epoch; always later than the parent's.
    pub time_ms: u64,
    /// The slot it belongs to.
    pub slot: Slot,
    /// The round it was first proposed in.
    pub round: u32,
    /// Whether it closes its slot.
    pub seal: bool,
    /// Who made it.
    pub proposer: NodeId,
    /// The block before; for the first block the genesis hash.
    pub parent: BlockId,
    /// Of [`Body::last_commit`].
    pub last_commit_hash: B256,
    /// Of [`Body::transactions`].
    pub transactions_root: B256,
    /// Of [`Body::evidence`].
    pub evidence_hash: B256,
    /// Ethereum state root (secure Merkle-Patricia tree) after this block.
    pub state_root: B256,
    /// Of the receipts of this block's transactions.
    pub receipts_root: B256,
    /// Most gas its transactions may use.
    pub gas_limit: u64,
    /// Gas they did use.
    pub gas_used: u64,
    /// EIP-1559 base fee, wei a gas.
    pub base_fee: u64,
    /// The validator set that votes on this block.
    pub validators_hash: B256,
    /// The validator set that votes on the next.
    pub next_validators_hash: B256,
    /// The proposer's VRF proof over [`crate::vrf_input`].
    pub vrf_proof: [u8; VRF_PROOF_BYTES],
}

/// What a block carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// Transactions, EIP-2718 encoded, in their order.
    pub transactions: Vec<Vec<u8>>,
    /// A certificate of the parent; none in the first block.
    pub last_commit: Option<Certificate>,
    /// Validators caught.
    pub evidence: Vec<Evidence>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// Its header.
    pub header: Header,
    /// What it carries.
    pub body: Body,
}

impl Header {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;
    /// Size of an encoded header.
    pub const BYTES: usize =
        1 + 8 + 8 + 8 + 8 + 4 + 1 + 20 + 6 * 32 + 3 * 8 + 2 * 32 + VRF_PROOF_BYTES;

    /// Its hash: the block's id.
    pub fn id(&self) -> BlockId {
        BlockId(derive(Domain::Header, &[&self.encode()]))
    }

    /// Its canonical encoding, [`Header::BYTES`] long.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        let written = self.serialize(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        bytes
    }

    /// Reads an encoded header and refuses versions it does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Self = decode("a header", bytes, Self::BYTES)?;
        header.check_version()?;
        Ok(header)
    }

    fn check_version(&self) -> Result<(), DecodeError> {
        if self.version == Self::VERSION {
            return Ok(());
        }
        Err(DecodeError::Malformed {
            what: "a header",
            reason: format!("version {} is not known here", self.version),
        })
    }
}

/// [`Header::transactions_root`] of these transactions: a tree over their Ethereum hashes.
pub fn transactions_root(transactions: &[Vec<u8>]) -> B256 {
    let leaves: Vec<B256> = transactions.iter().map(keccak256).collect();
    merkle_root(Domain::TransactionLeaf, &leaves)
}

/// [`Header::receipts_root`] of these receipts, each encoded: a tree over the keccak hashes of their encodings.
pub fn receipts_root(receipts: &[Vec<u8>]) -> B256 {
    let leaves: Vec<B256> = receipts.iter().map(keccak256).collect();
    merkle_root(Domain::ReceiptLeaf, &leaves)
}

/// [`Header::last_commit_hash`] of this certificate.
pub fn last_commit_hash(certificate: Option<&Certificate>) -> B256 {
    encoded_hash(Domain::LastCommit, &certificate)
}

/// [`Header::evidence_hash`] of this evidence.
pub fn evidence_hash(evidence: &[Evidence]) -> B256 {
    encoded_hash(Domain::Evidence, &evidence)
}

fn encoded_hash<T: BorshSerialize>(domain: Domain, value: &T) -> B256 {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut bytes);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    derive(domain, &[&bytes])
}

impl Block {
    /// Its id.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// Its canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.serialize(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        bytes
    }

    /// Reads an encoded block: its size, its counts, and that the header's hashes are those of the body.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let block: Self = decode("a block", bytes, MAX_BLOCK_BYTES)?;
        block.check()?;
        Ok(block)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let block = self;
        block.header.check_version()?;
        let malformed = |reason: &str| DecodeError::Malformed {
            what: "a block",
            reason: reason.into(),
        };
        let Body {
            transactions,
            last_commit,
            evidence,
        } = &block.body;
        if transactions.len() > MAX_BLOCK_TRANSACTIONS {
            return Err(malformed("too many transactions"));
        }
        if transactions
            .iter()
            .any(|bytes| bytes.len() > MAX_TRANSACTION_BYTES)
        {
            return Err(malformed("a transaction is too large"));
        }
        if evidence.len() > MAX_EVIDENCE {
            return Err(malformed("too much evidence"));
        }
        if block.header.transactions_root != transactions_root(transactions) {
            return Err(malformed("the transactions are not those of the header"));
        }
        if block.header.last_commit_hash != last_commit_hash(last_commit.as_ref()) {
            return Err(malformed(
                "the parent's certificate is not that of the header",
            ));
        }
        if block.header.evidence_hash != evidence_hash(evidence) {
            return Err(malformed("the evidence is not that of the header"));
        }
        Ok(())
    }
}

/// A block with what makes it final, as backups and whoever copies a chain have it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertifiedBlock {
    /// The block.
    pub block: Block,
    /// By the validators of its height.
    pub certificate: Certificate,
    /// The set after it; only where it changes the set, since the header has no more than its hash.
    pub next_validators: Option<ValidatorSet>,
}

impl CertifiedBlock {
    /// Most bytes of an encoding.
    pub const MAX_BYTES: usize =
        MAX_BLOCK_BYTES + Certificate::MAX_BYTES + 1 + ValidatorSet::MAX_BYTES;

    /// Its canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.serialize(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        bytes
    }

    /// Reads an encoding: sizes, that the body is the header's, and that there is a next set exactly where the header changes
    /// it. Whether the block is final is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a certified block";
        let certified: Self = decode(WHAT, bytes, Self::MAX_BYTES)?;
        certified.block.check()?;
        let Header {
            validators_hash,
            next_validators_hash,
            ..
        } = certified.block.header;
        let named = (validators_hash != next_validators_hash).then_some(next_validators_hash);
        if certified.next_validators.as_ref().map(ValidatorSet::hash) != named {
            return Err(DecodeError::Malformed {
                what: WHAT,
                reason: "the next validators are not those of the header".into(),
            });
        }
        Ok(certified)
    }
}

//! Every byte the chain signs, hashes or stores: headers, blocks, votes, certificates, evidence and the genesis file.
//!
//! ```text
//!  Genesis ──hash──▶ part of every signature
//!  Block = Header + Body { transactions, last_commit, evidence }
//!  Header ──BLAKE3──▶ BlockId ──voted on──▶ Certificate (precommits of more than two thirds)
//! ```
//!
//! Pure: no files, clocks, sockets or randomness. All encodings are borsh, which has one encoding for a value; decoders bound
//! what they read and refuse trailing bytes and versions they do not know. Start reading at [`Header`].

pub mod anchors;
mod block;
mod certificate;
pub mod contracts;
mod encoding;
mod evidence;
mod genesis;
mod hash;
mod ids;
mod slots;
mod validators;
mod vote;

pub use block::{
    Block, Body, CertifiedBlock, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS,
    MAX_TRANSACTION_BYTES, VRF_PROOF_BYTES, evidence_hash, last_commit_hash, receipts_root,
    transactions_root,
};
pub use certificate::{Certificate, CertificateError, SignerBitmap};
pub use encoding::{DecodeError, decode};
pub use evidence::{Evidence, EvidenceError, MAX_EVIDENCE};
pub use genesis::{
    Genesis, GenesisAccount, GenesisError, GenesisParameter, GenesisValidator, Pace,
};
pub use hash::{Domain, derive, merkle_path, merkle_root, merkle_root_of_path};
pub use ids::{BlockId, Height, NodeId, Slot};
pub use slots::{
    COOLDOWN_SLOTS, PROPOSAL_TIMEOUT_MS, SLOT_MS, WINDOW_SLOTS, open_slot_after, seals, slot_of,
};
pub use validators::{MAX_VALIDATORS, Validator, ValidatorSet, ValidatorSetError, quorum};
pub use vote::{
    PROPOSAL_DOMAIN, Proposal, Signature, SignedProposal, SignedVote, VOTE_DOMAIN, Vote, VoteKind,
    proposal_sign_bytes, verify, vote_sign_bytes, vrf_input,
};

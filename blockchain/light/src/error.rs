//! Why a proof proves nothing.

use alloy_primitives::{Address, B256, U256};
use lucid_chain_types::{BlockId, CertificateError, DecodeError, GenesisError, Height};

/// Why a proof proves nothing: what is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LightError {
    /// The genesis file cannot be used.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Not this kind of file.
    #[error("this is not {0}")]
    NotAProof(&'static str),
    /// A newer format.
    #[error("{what} has version {version}, this program knows version {known}")]
    Version {
        /// What was read.
        what: &'static str,
        /// Its version.
        version: u8,
        /// The one known here.
        known: u8,
    },
    /// Cut, altered or too large.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not an answer of `eth_getProof`.
    #[error("the answer of eth_getProof is malformed: {0}")]
    Json(String),
    /// Of another chain.
    #[error("the proof is for the chain with genesis {proof}, not for {trusted}")]
    OtherGenesis {
        /// The proof's.
        proof: B256,
        /// The one that is trusted.
        trusted: B256,
    },
    /// Of another chain, or a header format that is not known here.
    #[error(
        "the header of height {height} has version {version} and chain id {chain_id}, which are not this chain's"
    )]
    OtherChain {
        /// The header's height.
        height: Height,
        /// Its version.
        version: u8,
        /// Its chain id.
        chain_id: u64,
    },
    /// Headers go up.
    #[error(
        "the header of height {height} comes after that of height {after}, in number or in time"
    )]
    Order {
        /// The header's height.
        height: Height,
        /// The one checked before it.
        after: Height,
    },
    /// The set was changed in between, and the proof leaves that out.
    #[error("the header of height {height} is signed by validators {named}; known are {trusted}")]
    OtherValidators {
        /// The header's height.
        height: Height,
        /// The set it names.
        named: B256,
        /// The set that is trusted.
        trusted: B256,
    },
    /// The certificate is of another block.
    #[error(
        "the certificate is of block {certificate} at height {certified}, the header of height {height} has id {header}"
    )]
    OtherBlock {
        /// The header's height.
        height: Height,
        /// The header's id.
        header: BlockId,
        /// The certificate's height.
        certified: Height,
        /// What the certificate is of.
        certificate: BlockId,
    },
    /// The certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Every change says something.
    #[error("the header of height {0} is listed as a change of validators and changes none")]
    NoChange(Height),
    /// The set after a change is not the one the header names.
    #[error(
        "the header of height {height} makes {named} the next validators, the proof has {given}"
    )]
    OtherNextValidators {
        /// The header's height.
        height: Height,
        /// The set it names.
        named: B256,
        /// The set in the proof.
        given: B256,
    },
    /// Above a bound.
    #[error("{what}: {count} are more than the {limit} that are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// The nodes do not lead from the state root to the account.
    #[error(
        "the account {address} is not as the proof says in the state after height {height}: {reason}"
    )]
    Account {
        /// Whose.
        address: Address,
        /// In which state.
        height: Height,
        /// What does not fit.
        reason: String,
    },
    /// The nodes do not lead from the storage root to the value.
    #[error(
        "slot {slot:#x} of {address} is not as the proof says in the state after height {height}: {reason}"
    )]
    Slot {
        /// Whose.
        address: Address,
        /// Which.
        slot: U256,
        /// In which state.
        height: Height,
        /// What does not fit.
        reason: String,
    },
    /// The path does not lead to the header's root.
    #[error("{what} {hash} is not number {index} of {count} in the block of height {height}")]
    NotIncluded {
        /// A transaction or a receipt.
        what: &'static str,
        /// Its hash.
        hash: B256,
        /// The place claimed.
        index: u32,
        /// Of how many.
        count: u32,
        /// In which block.
        height: Height,
    },
}

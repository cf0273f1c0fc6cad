//! Claims of work (`task_proofs` of the specification): their shape, what is signed, and where kinds of proof plug in.

use alloy_primitives::{Address, B256, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{NodeId, Slot};
use serde::{Deserialize, Serialize};

/// Name in the EIP-712 domain of WorkCredits.
pub const EIP712_NAME: &str = "Lucid WorkCredits";
/// Version in the EIP-712 domain of WorkCredits.
pub const EIP712_VERSION: &str = "1";
/// Most credit of one proof, as in WorkCredits: 1 TiB relayed, or a PiB kept for a slot.
pub const MAX_PROOF_CREDIT: u64 = 1 << 20;
/// Most bytes of evidence in a proof.
pub const MAX_TASK_EVIDENCE: usize = 16 << 10;

const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const PROOF_TYPE: &str =
    "TaskProof(address node,uint64 slot,uint8 kind,uint64 value,bytes evidence)";

/// Kinds of work. The numbers are those of WorkCredits.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum TaskKind {
    /// Bandwidth relayed, in MiB.
    Relay = 0,
    /// Storage proven, in GiB-slots.
    Storage = 1,
    /// Signatures of certificates: counted from blocks, never claimed.
    Validation = 2,
    /// A beacon: the node was up in the slot.
    Uptime = 3,
}

/// A node's claim that it did some work in a slot.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TaskProof {
    /// Who did it.
    pub node: NodeId,
    /// When.
    pub slot: Slot,
    /// What.
    pub kind: TaskKind,
    /// How much, in the kind's unit; 1 for a beacon.
    pub value: u64,
    /// What the kind's verifier needs; empty for a beacon.
    pub evidence: Vec<u8>,
    /// The node's secp256k1 signature of [`TaskProof::digest`], `r ‖ s ‖ v` in 65 bytes; empty where the node itself sends the
    /// transaction.
    pub signature: Vec<u8>,
}

/// Checks proofs of relaying or storing. The chain asks a contract that governance has set for the kind (`IWorkVerifier`); a
/// node asks its own implementation before it pays for a transaction.
pub trait WorkVerifier {
    /// How much of the claim is proven, in the kind's unit; 0 proves nothing.
    fn verify(&self, proof: &TaskProof) -> u64;
}

/// Why a claim brings nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Too early, or too late.
    #[error("the proof is for slot {slot}; slots {oldest} to {open} can be claimed")]
    SlotNotOpen {
        /// The proof's.
        slot: Slot,
        /// The open slot.
        open: Slot,
        /// The oldest that still counts.
        oldest: Slot,
    },
    /// Nothing checks this kind.
    #[error("proofs of {0:?} are not accepted: nothing verifies them")]
    NoVerifier(TaskKind),
    /// Too much to look at.
    #[error("the proof has {0} bytes of evidence, at most {MAX_TASK_EVIDENCE} are allowed")]
    EvidenceTooLarge(usize),
    /// The verifier found nothing in it.
    #[error("the evidence of {node} for slot {slot} proves nothing")]
    NotProven {
        /// Whose.
        node: NodeId,
        /// For when.
        slot: Slot,
    },
}

impl TaskProof {
    /// What the node signs: the EIP-712 digest for the contract `work_credits` of a chain, equal to `WorkCredits.digest`.
    pub fn digest(&self, chain_id: u64, work_credits: Address) -> B256 {
        let domain = keccak256(
            [
                keccak256(DOMAIN_TYPE),
                keccak256(EIP712_NAME),
                keccak256(EIP712_VERSION),
                word(chain_id),
                work_credits.into_word(),
            ]
            .concat(),
        );
        let proof = keccak256(
            [
                keccak256(PROOF_TYPE),
                self.node.0.into_word(),
                word(self.slot.0),
                word(u64::from(self.kind as u8)),
                word(self.value),
                keccak256(&self.evidence),
            ]
            .concat(),
        );
        keccak256([&[0x19, 0x01], domain.as_slice(), proof.as_slice()].concat())
    }
}

/// What a claim brings while slot `open` is open, as WorkCredits decides it. Signature and repetition are its caller's to check.
///
/// `follows`: the slot before the open one was sealed too, and can still be claimed.
pub fn credit(
    proof: &TaskProof,
    open: Slot,
    follows: bool,
    verifier: Option<&dyn WorkVerifier>,
) -> Result<u64, TaskError> {
    let oldest = Slot(open.0.saturating_sub(u64::from(follows)));
    if !(oldest..=open).contains(&proof.slot) {
        return Err(TaskError::SlotNotOpen {
            slot: proof.slot,
            open,
            oldest,
        });
    }
    if proof.evidence.len() > MAX_TASK_EVIDENCE {
        return Err(TaskError::EvidenceTooLarge(proof.evidence.len()));
    }
    let credit = match (proof.kind, verifier) {
        (TaskKind::Uptime, _) => return Ok(1),
        (TaskKind::Relay | TaskKind::Storage, Some(verifier)) => verifier.verify(proof),
        (kind, _) => return Err(TaskError::NoVerifier(kind)),
    };
    match credit.min(proof.value).min(MAX_PROOF_CREDIT) {
        0 => Err(TaskError::NotProven {
            node: proof.node,
            slot: proof.slot,
        }),
        credit => Ok(credit),
    }
}

fn word(number: u64) -> B256 {
    B256::left_padding_from(&number.to_be_bytes())
}

//! The genesis contracts as far as commands call them, and the names of their errors.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolInterface, SolValue, sol};
use serde::{Deserialize, Serialize};

use crate::wire::parameter_key;

sol! {
    interface Governor {
        struct Stored {
            address proposer;
            uint64 createdSlot;
            uint8 action;
            bool canceled;
            bool executed;
            uint64 endSlot;
            uint32 eligibleAtStart;
            uint32 votesFor;
            uint32 votesAgainst;
            uint32 votesAbstain;
            uint64 eta;
            bytes data;
        }
        event ProposalCreated(
            uint256 indexed id, address indexed proposer, uint8 action, bytes data, uint64 endSlot, uint32 eligible, string description
        );
        function propose(uint8 action, bytes data, string description) external returns (uint256 id);
        function vote(uint256 id, uint8 support) external;
        function queue(uint256 id) external;
        function execute(uint256 id) external;
        function cancel(uint256 id) external;
        function state(uint256 id) external view returns (uint8);
        function proposals(uint256 id) external view returns (Stored memory);
        function proposalCount() external view returns (uint256);
    }

    /// What the genesis contracts revert with. A test of lucid-execution's artifacts is not needed for it: an error that is not
    /// listed is shown as its bytes.
    #[derive(Debug)]
    interface Refusals {
        error AlreadyExecuted(uint256 id);
        error AlreadyHolder(uint64 number, address node);
        error AlreadyProven(address node, uint64 slot);
        error AlreadyRegistered(address node);
        error AlreadyScheduled(uint256 id);
        error AlreadyValidator(address node);
        error AlreadyVoted(uint256 id, address voter);
        error BadSignature(address node);
        error BatchExists(bytes32 root);
        error BatchSize(uint256 count, uint256 max);
        error BlockGasBounds(uint256 min, uint256 max);
        error BondTooLarge(uint256 bond);
        error BondTooSmall(uint256 bond, uint256 needed);
        error ChunkHasExpired(uint64 number, uint64 expiry);
        error ChunkExists(bytes32 sessionId, uint64 index);
        error ChunkSize(bytes32 sessionId, uint64 index, uint32 size, uint256 max);
        error DescriptionTooLong(uint256 length, uint256 max);
        error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
        error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
        error ERC20InvalidReceiver(address receiver);
        error ERC2612ExpiredSignature(uint256 deadline);
        error ERC2612InvalidSigner(address signer, address owner);
        error EmptyBatch(bytes32 root);
        error Expired(uint256 id, uint64 until, uint64 slot);
        error FeeTooSmall(uint256 paid, uint256 fee);
        error FewerChunksThanCheckpointed(bytes32 id, uint64 chunkCount, uint64 last);
        error IsJailed(address node);
        error IsLeaving(address node);
        error JoinedLater(uint256 id, address node);
        error KeyTaken(bytes32 consensusKey, address node);
        error LastValidator(address node);
        error LeaseLength(uint64 slots, uint64 max);
        error LengthMismatch(uint256 hashes, uint256 sizes);
        error MalformedAction(uint8 action, uint256 length);
        error NoChunk(uint64 number);
        error NoVerifier(uint8 kind);
        error NotEligible(address node);
        error NotHolder(uint64 number, address node);
        error NotLeaving(address node);
        error NotNode(address caller);
        error NotProposer(uint256 id, address caller);
        error NotProven(address node, uint8 kind, uint64 slot);
        error NotRegistered(address node);
        error NotScheduled(uint256 id);
        error NotSessionOwner(bytes32 sessionId, address caller);
        error NotSessionParty(bytes32 id, address caller);
        error NotValidator(address node);
        error NothingHeld(address node);
        error NothingToClaim(address node);
        error OnlyGovernor(address caller);
        error OnlySystem(address caller);
        error OnlyTimelock(address caller);
        error OpeningCount(uint256 count, uint256 expected);
        error OpenProposal(uint256 id);
        error OtherAction(uint256 id);
        error OverQuota(address payer, uint256 bytes_, uint256 quota);
        error OutOfBounds(bytes32 key, uint256 value, uint256 min, uint256 max);
        error ProofExists(address node, uint8 kind, uint64 slot);
        error ProveFirst(address node, uint64 slot);
        error SameSigner(address signer);
        error SessionExists(bytes32 id);
        error SessionNotOpen(bytes32 id);
        error SizeMustGrow(bytes32 id, uint64 size, uint64 last);
        error SlotNotOpen(uint64 slot, uint64 open);
        error StillBonded(address node, uint64 until, uint64 slot);
        error StillHolding(address node);
        error TooEarly(uint256 id, uint64 eta, uint64 slot);
        error TooManyHolders(uint64 number);
        error TooManyNodes();
        error TooManyValidators(uint256 max);
        error TransferFailed(address to, uint256 amount);
        error UnknownAction(uint8 action);
        error UnknownParameter(bytes32 key);
        error UnknownProposal(uint256 id);
        error UnknownSupport(uint8 support);
        error UrlTooLong(uint256 length, uint256 max);
        error WrongOpening(uint64 number, uint256 leaf);
        error WrongState(uint256 id, uint8 is_, uint8 needed);
        error ZeroAddress();
        error ZeroHash(bytes32 sessionId, uint64 index);
        error ZeroId();
        error ZeroKey();
        error ZeroOwner(bytes32 id);
    }
}

/// A genesis contract's error as Rust shows it, such as `SessionExists { id: 0x… }`.
pub(crate) fn refusal(data: &[u8]) -> Option<String> {
    // The enum's own name and the tuple around it say nothing.
    let shown = format!("{:?}", Refusals::RefusalsErrors::abi_decode(data).ok()?);
    let (_, inner) = shown.split_once('(')?;
    Some(inner.strip_suffix(')').unwrap_or(inner).to_owned())
}

/// What a proposal does when it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets a governed parameter.
    SetParam {
        /// Its key, such as `maxChunkSize`.
        key: String,
        /// Its new value.
        value: U256,
    },
    /// Replaces the payment signers.
    RotateSigners([Address; 3]),
    /// Admits a registered node to the validators, or takes it out.
    SetValidator {
        /// The node.
        node: Address,
        /// Whether it shall vote.
        active: bool,
    },
    /// Sets the contract that checks proofs of a kind of work.
    SetVerifier {
        /// The kind.
        kind: u8,
        /// The contract.
        verifier: Address,
    },
}

impl Action {
    /// Number and arguments, as the governor takes them; `None` if a key is longer than a key can be.
    pub fn encode(&self) -> Option<(u8, Bytes)> {
        Some(match self {
            Self::SetParam { key, value } => {
                let bytes = key.as_bytes();
                if bytes.len() > 32 {
                    return None;
                }
                (
                    0,
                    (B256::right_padding_from(bytes), *value)
                        .abi_encode()
                        .into(),
                )
            }
            Self::RotateSigners(signers) => (1, signers.abi_encode().into()),
            Self::SetValidator { node, active } => (2, (*node, *active).abi_encode().into()),
            // Numbers are encoded in 32 bytes, whatever their type.
            Self::SetVerifier { kind, verifier } => {
                (3, (U256::from(*kind), *verifier).abi_encode().into())
            }
        })
    }

    /// Reads number and arguments back.
    pub fn decode(number: u8, data: &[u8]) -> Option<Self> {
        match number {
            0 => {
                let (key, value) = <(B256, U256)>::abi_decode(data).ok()?;
                Some(Self::SetParam {
                    key: parameter_key(key),
                    value,
                })
            }
            1 => <[Address; 3]>::abi_decode(data)
                .ok()
                .map(Self::RotateSigners),
            2 => {
                let (node, active) = <(Address, bool)>::abi_decode(data).ok()?;
                Some(Self::SetValidator { node, active })
            }
            3 => {
                let (kind, verifier) = <(U256, Address)>::abi_decode(data).ok()?;
                Some(Self::SetVerifier {
                    kind: u8::try_from(kind).ok()?,
                    verifier,
                })
            }
            _ => None,
        }
    }
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Support {
    /// No.
    Against = 0,
    /// Yes.
    For = 1,
    /// Counts for the turnout only.
    Abstain = 2,
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProposalState {
    /// It can be voted on.
    Active,
    /// Its proposer took it back.
    Canceled,
    /// It had too few votes.
    Defeated,
    /// It was accepted and can be queued.
    Succeeded,
    /// Its delay runs, or has run.
    Queued,
    /// It was not executed in time.
    Expired,
    /// It is done.
    Executed,
}

impl ProposalState {
    /// The governor's number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Active),
            2 => Some(Self::Canceled),
            3 => Some(Self::Defeated),
            4 => Some(Self::Succeeded),
            5 => Some(Self::Queued),
            6 => Some(Self::Expired),
            7 => Some(Self::Executed),
            _ => None,
        }
    }
}

/// A proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its number, from 1.
    pub id: U256,
    /// Whose.
    pub proposer: Address,
    /// What it does; `None` for an action that is not known here.
    pub action: Option<Action>,
    /// Where it stands.
    pub state: Option<ProposalState>,
    /// The slot it was made in.
    pub created_slot: u64,
    /// The first slot in which it cannot be voted on any more.
    pub end_slot: u64,
    /// Nodes that could vote when it was made.
    pub eligible: u32,
    /// Votes for it.
    pub votes_for: u32,
    /// Votes against it.
    pub votes_against: u32,
    /// Abstentions.
    pub votes_abstain: u32,
    /// The slot from which it may be executed, once it is queued.
    pub eta: Option<u64>,
}

/// Calls of the governor: bytes for a transaction to [`lucid_chain_types::contracts::LUCID_GOVERNOR`].
pub mod calls {
    use super::{Action, Bytes, Governor, SolCall, Support, U256};

    /// Proposes.
    pub fn propose(action: &Action, description: &str) -> Option<Bytes> {
        let (action, data) = action.encode()?;
        let call = Governor::proposeCall {
            action,
            data,
            description: description.to_owned(),
        };
        Some(call.abi_encode().into())
    }

    /// Votes.
    pub fn vote(id: U256, support: Support) -> Bytes {
        Governor::voteCall {
            id,
            support: support as u8,
        }
        .abi_encode()
        .into()
    }

    /// Starts the delay of an accepted proposal.
    pub fn queue(id: U256) -> Bytes {
        Governor::queueCall { id }.abi_encode().into()
    }

    /// Does what was accepted, after its delay.
    pub fn execute(id: U256) -> Bytes {
        Governor::executeCall { id }.abi_encode().into()
    }

    /// Takes one's own proposal back.
    pub fn cancel(id: U256) -> Bytes {
        Governor::cancelCall { id }.abi_encode().into()
    }
}

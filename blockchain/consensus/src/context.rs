//! Our chain in the engine's words: Malachite's `Context` over lucid-chain-types.
//!
//! The engine's traits are foreign and so are our chain types, hence the newtypes. Everything here is plain data.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_chain_types::{BlockId, NodeId, Signature, SignedProposal, VoteKind};
use malachite_types::{self as engine, LinearTimeouts, NilOrVal, Round, SignedExtension, VoteType};
use zeroize::Zeroizing;

/// A height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(pub lucid_chain_types::Height);

/// A node's id, as the engine's validator address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub NodeId);

/// What is voted on: a block, by its id. Its bytes travel as proposal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub BlockId);

/// An Ed25519 public key; whether it is a point of the curve shows when a signature is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub B256);

/// A validator. All have one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validator {
    /// Its node.
    pub address: Address,
    /// Its consensus key.
    pub key: PublicKey,
}

/// The validators of a height and the order in which they lead its rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatorSet {
    set: Arc<lucid_chain_types::ValidatorSet>,
    /// By node id, as in `set`.
    validators: Arc<[Validator]>,
    /// Places in `validators`; not empty.
    order: Arc<[usize]>,
}

impl ValidatorSet {
    /// `set` led in `order`; nothing if `order` is empty or names somebody who is not in the set.
    pub fn new(set: lucid_chain_types::ValidatorSet, order: &[NodeId]) -> Option<Self> {
        let order: Option<Vec<usize>> = order.iter().map(|node| set.index_of(*node)).collect();
        let order = order.filter(|order| !order.is_empty())?;
        let validators = set
            .list()
            .iter()
            .map(|validator| Validator {
                address: Address(validator.node),
                key: PublicKey(validator.consensus_key),
            })
            .collect();
        Some(Self {
            set: Arc::new(set),
            validators,
            order: order.into(),
        })
    }

    /// The set without its order.
    pub fn chain(&self) -> &lucid_chain_types::ValidatorSet {
        &self.set
    }

    /// The leader of a round; round "none" counts as the first.
    pub fn leader(&self, round: Round) -> &Validator {
        let round = usize::try_from(round.as_u32().unwrap_or(0)).unwrap_or(0);
        &self.validators[self.order[round % self.order.len()]]
    }
}

/// A vote. In votes that leave this node the round is a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    /// First or second.
    pub kind: VoteKind,
    /// For which height.
    pub height: Height,
    /// In which round.
    pub round: Round,
    /// For which block, if any.
    pub value: NilOrVal<BlockId>,
    /// Whose.
    pub address: Address,
}

/// A proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// For which height.
    pub height: Height,
    /// In which round.
    pub round: Round,
    /// Which block.
    pub value: Value,
    /// The round of the block's quorum of prevotes, if it is proposed again.
    pub pol_round: Round,
    /// Whose.
    pub address: Address,
}

/// A piece of a proposal: one `Init`, then as many `Data` as its size asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What is coming, signed by the leader: nobody else can make a node keep data.
    Init(PartInit),
    /// The next 64 KiB of the packed block; the last piece may be shorter.
    Data {
        /// The bytes.
        bytes: Bytes,
        /// Whether these are the last.
        last: bool,
    },
}

/// The head of a proposal's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartInit {
    /// The proposal and the leader's signature: the same that the engine sends as its proposal message.
    pub signed: SignedProposal,
    /// Size of the packed block that follows.
    pub size: u32,
}

/// Ed25519 with the chain's strict verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ed25519;

/// A key or signature of the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are not an Ed25519 key or signature")]
pub struct WrongLength(usize);

/// The engine's context. It carries nothing: what is random or slow is handed in elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lucid;

/// A round that is a number; the engine's `Round::Nil` becomes 0 here and appears in no message.
pub fn round_number(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

/// An optional earlier round.
pub fn optional_round(round: Option<u32>) -> Round {
    round.map_or(Round::Nil, Round::new)
}

impl Vote {
    /// In the chain's words.
    pub fn to_chain(&self) -> lucid_chain_types::Vote {
        lucid_chain_types::Vote {
            kind: self.kind,
            height: self.height.0,
            round: round_number(self.round),
            block: match self.value {
                NilOrVal::Nil => None,
                NilOrVal::Val(block) => Some(block),
            },
            voter: self.address.0,
        }
    }

    /// From the chain's words.
    pub fn from_chain(vote: &lucid_chain_types::Vote) -> Self {
        Self {
            kind: vote.kind,
            height: Height(vote.height),
            round: Round::new(vote.round),
            value: vote.block.map_or(NilOrVal::Nil, NilOrVal::Val),
            address: Address(vote.voter),
        }
    }
}

impl Proposal {
    /// In the chain's words.
    pub fn to_chain(&self) -> lucid_chain_types::Proposal {
        lucid_chain_types::Proposal {
            height: self.height.0,
            round: round_number(self.round),
            block: self.value.0,
            valid_round: self.pol_round.as_u32(),
            proposer: self.address.0,
        }
    }

    /// From the chain's words.
    pub fn from_chain(proposal: &lucid_chain_types::Proposal) -> Self {
        Self {
            height: Height(proposal.height),
            round: Round::new(proposal.round),
            value: Value(proposal.block),
            pol_round: optional_round(proposal.valid_round),
            address: Address(proposal.proposer),
        }
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl engine::Height for Height {
    const ZERO: Self = Self(lucid_chain_types::Height::GENESIS);
    const INITIAL: Self = Self(lucid_chain_types::Height(1));

    fn increment_by(&self, n: u64) -> Self {
        Self(lucid_chain_types::Height(self.0.0.saturating_add(n)))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0
            .0
            .checked_sub(n)
            .map(|height| Self(lucid_chain_types::Height(height)))
    }

    fn as_u64(&self) -> u64 {
        self.0.0
    }
}

impl engine::Address for Address {}

impl engine::Value for Value {
    type Id = BlockId;

    fn id(&self) -> BlockId {
        self.0
    }
}

impl engine::Validator<Lucid> for Validator {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn voting_power(&self) -> engine::VotingPower {
        1
    }
}

impl engine::ValidatorSet<Lucid> for ValidatorSet {
    fn count(&self) -> usize {
        self.validators.len()
    }

    fn total_voting_power(&self) -> engine::VotingPower {
        self.validators.len() as u64
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.set
            .index_of(address.0)
            .map(|index| &self.validators[index])
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.validators.get(index)
    }
}

impl engine::Vote<Lucid> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        match self.kind {
            VoteKind::Prevote => VoteType::Prevote,
            VoteKind::Precommit => VoteType::Precommit,
        }
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }

    // Votes of this chain have no extensions, and every height runs with the policy that forbids them.
    fn extension(&self) -> Option<&SignedExtension<Lucid>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Lucid>> {
        None
    }

    fn extend(self, _extension: SignedExtension<Lucid>) -> Self {
        self
    }
}

impl engine::Proposal<Lucid> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }
}

impl engine::ProposalPart<Lucid> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Self::Init(_))
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::Data { last: true, .. })
    }
}

impl engine::SigningScheme for Ed25519 {
    type DecodingError = WrongLength;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = Zeroizing<[u8; 32]>;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, WrongLength> {
        bytes
            .try_into()
            .map(Signature)
            .map_err(|_| WrongLength(bytes.len()))
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, WrongLength> {
        B256::try_from(bytes)
            .map(PublicKey)
            .map_err(|_| WrongLength(bytes.len()))
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

impl engine::Context for Lucid {
    type Address = Address;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = ValidatorSet;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        validators: &'a ValidatorSet,
        _height: Height,
        round: Round,
    ) -> &'a Validator {
        validators.leader(round)
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        address: Address,
    ) -> Proposal {
        Proposal {
            height,
            round,
            value,
            pol_round,
            address,
        }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<BlockId>,
        address: Address,
    ) -> Vote {
        Vote {
            kind: VoteKind::Prevote,
            height,
            round,
            value,
            address,
        }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<BlockId>,
        address: Address,
    ) -> Vote {
        Vote {
            kind: VoteKind::Precommit,
            height,
            round,
            value,
            address,
        }
    }
}

//! The validator set: one node, one vote.

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::hash::{Domain, derive};
use crate::ids::NodeId;

/// Most validators a set may have; bounds certificates and the parameter `maxValidators`.
pub const MAX_VALIDATORS: usize = 100;

/// A node that votes, and the keys it signs with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Validator {
    /// The node.
    pub node: NodeId,
    /// Ed25519 key of its votes and proposals.
    pub consensus_key: B256,
    /// Key of its ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381) proofs.
    pub vrf_key: B256,
}

/// Validators in the order of their node ids, each once.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct ValidatorSet(Vec<Validator>);

/// Why validators are not a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody could vote.
    #[error("a validator set needs at least one validator")]
    Empty,
    /// Too many.
    #[error("a validator set has {0} validators, at most {MAX_VALIDATORS} are allowed")]
    TooMany(usize),
    /// Two entries for one node, or nodes out of order.
    #[error("validator {0} is out of order or there twice")]
    Order(NodeId),
    /// Two nodes with one key would give one party two votes.
    #[error("validator {0} has a key that another validator has too")]
    SharedKey(NodeId),
}

/// Fewest of `total` equal votes that are more than two thirds of them.
pub const fn quorum(total: usize) -> usize {
    total * 2 / 3 + 1
}

impl ValidatorSet {
    /// Most bytes of an encoded set.
    pub const MAX_BYTES: usize = 4 + 84 * MAX_VALIDATORS;

    /// A set of these validators, whatever their order.
    pub fn new(mut validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        validators.sort_by_key(|validator| validator.node);
        Self::sorted(validators)
    }

    fn sorted(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if validators.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if validators.len() > MAX_VALIDATORS {
            return Err(ValidatorSetError::TooMany(validators.len()));
        }
        for pair in validators.windows(2) {
            if pair[0].node >= pair[1].node {
                return Err(ValidatorSetError::Order(pair[1].node));
            }
        }
        let mut keys: Vec<_> = validators
            .iter()
            .map(|v| (v.consensus_key, v.node))
            .collect();
        keys.sort_unstable();
        for pair in keys.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(ValidatorSetError::SharedKey(pair[1].1));
            }
        }
        Ok(Self(validators))
    }

    /// The validators, by node id.
    pub fn list(&self) -> &[Validator] {
        &self.0
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Votes that decide.
    pub fn quorum(&self) -> usize {
        quorum(self.0.len())
    }

    /// A node's place in the set.
    pub fn index_of(&self, node: NodeId) -> Option<usize> {
        self.0
            .binary_search_by_key(&node, |validator| validator.node)
            .ok()
    }

    /// A node's entry.
    pub fn get(&self, node: NodeId) -> Option<&Validator> {
        self.index_of(node).map(|index| &self.0[index])
    }

    /// Hash of the set: [`crate::Header::validators_hash`].
    pub fn hash(&self) -> B256 {
        let parts: Vec<&[u8]> = self
            .0
            .iter()
            .flat_map(|v| {
                [
                    v.node.0.as_slice(),
                    v.consensus_key.as_slice(),
                    v.vrf_key.as_slice(),
                ]
            })
            .collect();
        derive(Domain::Validators, &parts)
    }
}

impl BorshDeserialize for ValidatorSet {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let validators = Vec::deserialize_reader(reader)?;
        Self::sorted(validators)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}

impl<'de> Deserialize<'de> for ValidatorSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::sorted(<Vec<Validator> as Deserialize>::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

//! The genesis file: the one thing that everyone who checks the chain has to trust.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, U256};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::hash::{Domain, derive};
use crate::validators::{Validator, ValidatorSet, ValidatorSetError};

/// How fast the chain runs: fixed at genesis, because validators who disagreed on it would time each other out.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Least time between two blocks, ms: 1000 on direct links, 4000 over Tor.
    pub block_interval_ms: u64,
    /// How long a round waits for a proposal, ms: 5000 (requirement C7).
    pub propose_timeout_ms: u64,
    /// How long it waits for stragglers' votes, ms, each time.
    pub vote_timeout_ms: u64,
}

impl Pace {
    /// Validators that reach each other directly.
    pub const DIRECT: Self = Self {
        block_interval_ms: 1_000,
        propose_timeout_ms: crate::slots::PROPOSAL_TIMEOUT_MS,
        vote_timeout_ms: 250,
    };
    /// Validators that meet over Tor: 1 s blocks do not hold at onion round-trip times.
    pub const TOR: Self = Self {
        block_interval_ms: 4_000,
        propose_timeout_ms: crate::slots::PROPOSAL_TIMEOUT_MS,
        vote_timeout_ms: 1_000,
    };
}

/// A validator at genesis.
pub type GenesisValidator = Validator;

/// An account that starts with coins.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// The account.
    pub address: Address,
    /// Its balance, wei (10⁻¹⁸ LUCID).
    pub balance: U256,
}

/// A governed parameter that starts away from its default.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisParameter {
    /// Its key in the ParamRegistry, such as `maxChunkSize`.
    pub key: String,
    /// Its value.
    pub value: U256,
}

/// The genesis file.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// Version of the format: [`Genesis::VERSION`].
    pub version: u8,
    /// The EVM's chain id.
    pub chain_id: u64,
    /// When slot 0 begins, ms since the Unix epoch.
    pub time_ms: u64,
    /// How fast the chain runs.
    pub pace: Pace,
    /// The first validators, by node id.
    pub validators: Vec<GenesisValidator>,
    /// Who starts with coins, by address.
    pub accounts: Vec<GenesisAccount>,
    /// Coins set aside for work, wei: WorkCredits pays them out and no more are ever made.
    pub reward_reserve: U256,
    /// Payment signers at genesis (requirement C5), two of which sign.
    pub payment_signers: [Address; 3],
    /// Governed parameters that do not start at their defaults.
    pub parameters: Vec<GenesisParameter>,
    /// Hash of the genesis contracts' creation code, so that nodes with other contracts do not meet.
    pub contracts_hash: B256,
    /// State root after the genesis contracts' constructors ran.
    pub state_root: B256,
}

/// Why a genesis file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// Not this format.
    #[error("the genesis file is malformed: {0}")]
    Malformed(String),
    /// A newer format.
    #[error("the genesis file has version {0}, this program knows version {known}", known = Genesis::VERSION)]
    Version(u8),
    /// The validators are not a set.
    #[error("the genesis validators: {0}")]
    Validators(#[from] ValidatorSetError),
    /// Not in their one order, or there twice.
    #[error("the genesis file lists {0} out of order or twice")]
    Order(&'static str),
    /// A pace that cannot work.
    #[error("the genesis pace: {0}")]
    Pace(String),
    /// Two or more signers are one.
    #[error("the three payment signers must be three different accounts, none of them zero")]
    PaymentSigners,
}

impl Genesis {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;
    /// Most bytes of a genesis file: two million accounts and more.
    pub const MAX_BYTES: usize = 256 << 20;

    /// Reads and checks a genesis file (JSON).
    pub fn parse(json: &[u8]) -> Result<Self, GenesisError> {
        if json.len() > Self::MAX_BYTES {
            return Err(GenesisError::Malformed(format!(
                "it has {} bytes, at most {} are allowed",
                json.len(),
                Self::MAX_BYTES
            )));
        }
        let genesis: Self = serde_json::from_slice(json)
            .map_err(|error| GenesisError::Malformed(error.to_string()))?;
        genesis.check()?;
        Ok(genesis)
    }

    /// The file's text.
    pub fn to_json(&self) -> Result<String, GenesisError> {
        serde_json::to_string_pretty(self)
            .map_err(|error| GenesisError::Malformed(error.to_string()))
    }

    /// Checks what the types do not.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.version != Self::VERSION {
            return Err(GenesisError::Version(self.version));
        }
        let set = self.validator_set()?;
        if set.list() != self.validators {
            return Err(GenesisError::Order("validators"));
        }
        if !self.accounts.is_sorted_by(|a, b| a.address < b.address) {
            return Err(GenesisError::Order("accounts"));
        }
        if !self.parameters.is_sorted_by(|a, b| a.key < b.key) {
            return Err(GenesisError::Order("parameters"));
        }
        let Pace {
            block_interval_ms,
            propose_timeout_ms,
            vote_timeout_ms,
        } = self.pace;
        for (name, value, range) in [
            ("blockIntervalMs", block_interval_ms, 100..=60_000),
            ("proposeTimeoutMs", propose_timeout_ms, 500..=60_000),
            ("voteTimeoutMs", vote_timeout_ms, 50..=30_000),
        ] {
            if !range.contains(&value) {
                return Err(GenesisError::Pace(format!(
                    "{name} is {value}, it must be from {} to {}",
                    range.start(),
                    range.end()
                )));
            }
        }
        let signers: BTreeSet<_> = self.payment_signers.iter().collect();
        if signers.len() != 3 || signers.contains(&Address::ZERO) {
            return Err(GenesisError::PaymentSigners);
        }
        Ok(())
    }

    /// The first validator set.
    pub fn validator_set(&self) -> Result<ValidatorSet, GenesisError> {
        Ok(ValidatorSet::new(self.validators.clone())?)
    }

    /// Its hash: the chain's name in every signature, and the parent of the first block.
    pub fn hash(&self) -> B256 {
        let mut bytes = Vec::new();
        let written = BorshSerialize::serialize(self, &mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        derive(Domain::Genesis, &[&bytes])
    }
}

//! From the genesis file to a header that is final.

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{BlockId, Certificate, DecodeError, Genesis, Header, Height, ValidatorSet};

use crate::LightError;
use crate::difference::Difference;
use crate::file::{Kind, at_most};

/// Most bytes of a finality proof.
pub const MAX_FINALITY_BYTES: usize = 16 << 20;
/// Most changes of the validator set in a proof. A set changes by a vote that takes days, or when somebody is jailed.
pub const MAX_CHANGES: usize = 4_096;

const KIND: Kind = Kind {
    magic: b"LUCIDFIN",
    version: FinalityProof::VERSION,
    what: "a finality proof",
    max_bytes: MAX_FINALITY_BYTES,
};

/// A header after which other validators sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    /// It names two different sets.
    pub header: Header,
    /// By the set before the change.
    pub certificate: Certificate,
    /// The set after it.
    pub next_validators: ValidatorSet,
}

/// That a header is final, for somebody who has the genesis file. About 0.7 KiB with four validators, and as much for each change of
/// the set.
///
/// In a file: the magic `LUCIDFIN` and a version byte, then in borsh the genesis hash, the list of changes, the header, the
/// certificate. A change is its header, its certificate, the places (`u16`, ascending) that leave the set before it, and the
/// validators (ascending by node id) that join; before the first change the set counts as empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalityProof {
    /// Of which chain.
    pub genesis_hash: B256,
    /// All changes of the set below the header's height, lowest first.
    pub changes: Vec<SetChange>,
    /// The header.
    pub header: Header,
    /// By the validators of its height.
    pub certificate: Certificate,
}

/// A [`SetChange`] in a file.
#[derive(BorshSerialize, BorshDeserialize)]
struct Change {
    header: Header,
    certificate: Certificate,
    difference: Difference,
}

impl FinalityProof {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;

    /// The proof file.
    pub fn encode(&self) -> Vec<u8> {
        let mut before = None;
        let changes = self.changes.iter().map(|change| {
            let after = Some(&change.next_validators);
            let difference = Difference::between(
                std::mem::replace(&mut before, after),
                &change.next_validators,
            );
            Change {
                header: change.header.clone(),
                certificate: change.certificate.clone(),
                difference,
            }
        });
        let changes: Vec<Change> = changes.collect();
        KIND.encode(&(self.genesis_hash, changes, &self.header, &self.certificate))
    }

    /// Reads a proof file; proves nothing yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        let (genesis_hash, told, header, certificate): (B256, Vec<Change>, Header, Certificate) =
            KIND.decode(bytes)?;
        at_most("changes of validators", told.len(), MAX_CHANGES)?;
        let mut changes: Vec<SetChange> = Vec::with_capacity(told.len());
        for change in told {
            let before = changes.last().map(|change| &change.next_validators);
            let applied = change.difference.apply(before);
            let next_validators = applied.map_err(|reason| DecodeError::Malformed {
                what: KIND.what,
                reason,
            })?;
            changes.push(SetChange {
                header: change.header,
                certificate: change.certificate,
                next_validators,
            });
        }
        Ok(Self {
            genesis_hash,
            changes,
            header,
            certificate,
        })
    }
}

/// The genesis file, which has to come from a source that one trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedGenesis {
    hash: B256,
    chain_id: u64,
    validators: ValidatorSet,
}

impl TrustedGenesis {
    /// Reads and checks `genesis.json`.
    pub fn parse(json: &[u8]) -> Result<Self, LightError> {
        Self::new(&Genesis::parse(json)?)
    }

    /// From a genesis that is parsed already.
    pub fn new(genesis: &Genesis) -> Result<Self, LightError> {
        Ok(Self {
            hash: genesis.hash(),
            chain_id: genesis.chain_id,
            validators: genesis.validator_set()?,
        })
    }

    /// The chain's name in every signature.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The EVM's chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// What is known at genesis.
    pub fn trust(&self) -> Trust {
        Trust {
            genesis_hash: self.hash,
            chain_id: self.chain_id,
            height: Height::GENESIS,
            time_ms: 0,
            validators: self.validators.clone(),
        }
    }
}

/// What is known of a chain up to a height: the validators that sign from the next on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    genesis_hash: B256,
    chain_id: u64,
    height: Height,
    /// Of the header at that height; 0 at genesis.
    time_ms: u64,
    validators: ValidatorSet,
}

/// A header that the chain has decided. It cannot be made without its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHeader {
    header: Header,
    id: BlockId,
    validators: ValidatorSet,
}

impl VerifiedHeader {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its block's id.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Its height.
    pub fn height(&self) -> Height {
        self.header.height
    }

    /// The set that signed it.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }
}

impl Trust {
    /// The last height that was checked.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The set that signs above that height, until a header changes it.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Checks a header above the known height with its certificate. Only headers that leave the set as it is may be left out in
    /// between.
    pub fn verify(
        &self,
        header: &Header,
        certificate: &Certificate,
    ) -> Result<VerifiedHeader, LightError> {
        let height = header.height;
        let (version, chain_id) = (header.version, header.chain_id);
        if version != Header::VERSION || chain_id != self.chain_id {
            return Err(LightError::OtherChain {
                height,
                version,
                chain_id,
            });
        }
        // The time of a block is later than that of every block before it.
        if height <= self.height || header.time_ms <= self.time_ms {
            return Err(LightError::Order {
                height,
                after: self.height,
            });
        }
        let trusted = self.validators.hash();
        if header.validators_hash != trusted {
            return Err(LightError::OtherValidators {
                height,
                named: header.validators_hash,
                trusted,
            });
        }
        let id = header.id();
        if certificate.height != height || certificate.block != id {
            return Err(LightError::OtherBlock {
                height,
                header: id,
                certified: certificate.height,
                certificate: certificate.block,
            });
        }
        certificate.verify(self.genesis_hash, &self.validators)?;
        Ok(VerifiedHeader {
            header: header.clone(),
            id,
            validators: self.validators.clone(),
        })
    }

    /// Takes a change of the set in: its header is checked by the known set and names the next.
    pub fn advance(&mut self, change: &SetChange) -> Result<VerifiedHeader, LightError> {
        let verified = self.verify(&change.header, &change.certificate)?;
        let Header {
            height,
            time_ms,
            validators_hash,
            next_validators_hash,
            ..
        } = change.header;
        if next_validators_hash == validators_hash {
            return Err(LightError::NoChange(height));
        }
        let given = change.next_validators.hash();
        if next_validators_hash != given {
            return Err(LightError::OtherNextValidators {
                height,
                named: next_validators_hash,
                given,
            });
        }
        (self.height, self.time_ms) = (height, time_ms);
        self.validators = change.next_validators.clone();
        Ok(verified)
    }
}

/// Checks a proof from the genesis file on.
pub fn verify(
    genesis: &TrustedGenesis,
    proof: &FinalityProof,
) -> Result<VerifiedHeader, LightError> {
    if proof.genesis_hash != genesis.hash {
        return Err(LightError::OtherGenesis {
            proof: proof.genesis_hash,
            trusted: genesis.hash,
        });
    }
    at_most("changes of validators", proof.changes.len(), MAX_CHANGES)?;
    let mut trust = genesis.trust();
    for change in &proof.changes {
        trust.advance(change)?;
    }
    trust.verify(&proof.header, &proof.certificate)
}

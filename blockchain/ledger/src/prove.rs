//! Proofs that need nothing but the genesis file to check.

use lucid_chain_types::{Certificate, Header, Height};
use lucid_light::{FinalityProof, SetChange};

use crate::{Ledger, LedgerError};

impl Ledger {
    /// Proof that the block at a height is final: every change of the validator set since genesis, then the block.
    pub fn finality_proof(&self, height: Height) -> Result<FinalityProof, LedgerError> {
        let missing = |reason: String| LedgerError::Proof { height, reason };
        let certified = |at: Height| -> Result<(Header, Certificate), LedgerError> {
            match (self.header(at)?, self.certificate(at)?) {
                (Some(header), Some(certificate)) => Ok((header, certificate)),
                _ => Err(missing(format!(
                    "block {at} is not here; the chain is at {}",
                    self.head().height
                ))),
            }
        };
        let Some(before) = height.parent() else {
            return Err(missing(
                "genesis is what is trusted, and has no proof".into(),
            ));
        };
        let (header, certificate) = certified(height)?;
        let mut changes = Vec::new();
        for at in self.set_changes(before)? {
            let (header, certificate) = certified(at)?;
            let next_validators = self.set_of(header.next_validators_hash)?;
            changes.push(SetChange {
                header,
                certificate,
                next_validators,
            });
        }
        Ok(FinalityProof {
            genesis_hash: self.genesis_hash(),
            changes,
            header,
            certificate,
        })
    }
}

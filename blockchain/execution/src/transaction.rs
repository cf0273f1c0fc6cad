//! Transactions: Ethereum's encodings, and what of them this chain accepts.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use alloy_consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use lucid_chain_types::MAX_TRANSACTION_BYTES;
use rayon::prelude::*;

use crate::TransactionError;

/// Senders remembered: twice this many at most, some 6 MiB.
const REMEMBERED: usize = 1 << 15;

/// Gas of the cheapest transaction.
pub const MIN_GAS: u64 = 21_000;

/// A transaction that could be in a block: decoded, of an accepted kind, its sender recovered.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Ethereum's hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// Its encoding (EIP-2718).
    pub bytes: Bytes,
    /// What was signed.
    pub envelope: TxEnvelope,
}

impl Transaction {
    /// Decodes and checks everything that does not depend on the state.
    pub fn decode(bytes: &[u8], chain_id: u64) -> Result<Self, TransactionError> {
        let envelope = Self::envelope(bytes, chain_id)?;
        let hash = keccak256(bytes);
        let known = senders().get(hash);
        let sender = match known {
            Some(sender) => sender,
            None => {
                // Refuses a high `s` (EIP-2): it would be a second transaction with the same meaning.
                let sender = envelope
                    .recover_signer()
                    .map_err(|_| TransactionError::Signature)?;
                senders().put(hash, sender);
                sender
            }
        };
        Ok(Self {
            hash,
            sender,
            bytes: Bytes::copy_from_slice(bytes),
            envelope,
        })
    }

    fn envelope(bytes: &[u8], chain_id: u64) -> Result<TxEnvelope, TransactionError> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(TransactionError::TooLarge {
                bytes: bytes.len(),
                limit: MAX_TRANSACTION_BYTES,
            });
        }
        // The type comes first in what is not legacy; refused before its contents are looked at.
        if let Some(kind @ 3..=0x7f) = bytes.first().copied() {
            return Err(TransactionError::Type(kind));
        }
        let envelope = TxEnvelope::decode_2718_exact(bytes)
            .map_err(|error| TransactionError::Malformed(error.to_string()))?;
        match envelope.chain_id() {
            None => return Err(TransactionError::NoChainId),
            Some(found) if found != chain_id => {
                return Err(TransactionError::ChainId {
                    found,
                    expected: chain_id,
                });
            }
            Some(_) => {}
        }
        if envelope.kind() == TxKind::Create {
            return Err(TransactionError::Create);
        }
        if envelope
            .max_priority_fee_per_gas()
            .is_some_and(|tip| tip > envelope.max_fee_per_gas())
        {
            return Err(TransactionError::TipAboveFee);
        }
        let needed = intrinsic_gas(&envelope);
        if envelope.gas_limit() < needed {
            return Err(TransactionError::IntrinsicGas {
                limit: envelope.gas_limit(),
                needed,
            });
        }
        if envelope.nonce() == u64::MAX {
            return Err(TransactionError::Malformed(
                "its nonce is the largest there is (EIP-2681)".into(),
            ));
        }
        Ok(envelope)
    }

    /// Most it can cost: value and all its gas.
    pub fn cost(&self) -> U256 {
        let gas =
            U256::from(self.envelope.gas_limit()) * U256::from(self.envelope.max_fee_per_gas());
        gas.saturating_add(self.envelope.value())
    }

    /// The tip its sender offers, wei a gas; for legacy transactions all they pay.
    pub fn max_priority_fee(&self) -> u128 {
        self.envelope
            .max_priority_fee_per_gas()
            .unwrap_or_else(|| self.envelope.max_fee_per_gas())
    }
}

/// Gas that is due before anything runs (EIP-2028, EIP-2930; with EIP-7623's floor).
fn intrinsic_gas(envelope: &TxEnvelope) -> u64 {
    let input = envelope.input();
    let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
    let tokens = zeros + 4 * (input.len() as u64 - zeros);
    let (addresses, keys) = envelope.access_list().map_or((0, 0), |list| {
        let keys: usize = list.0.iter().map(|item| item.storage_keys.len()).sum();
        (list.0.len() as u64, keys as u64)
    });
    let standard = MIN_GAS + 4 * tokens + 2_400 * addresses + 1_900 * keys;
    standard.max(MIN_GAS + 10 * tokens)
}

/// Decodes many at once, on all cores: recovering a signature is most of the work of a block.
pub fn decode_all(list: &[Vec<u8>], chain_id: u64) -> Vec<Result<Transaction, TransactionError>> {
    list.par_iter()
        .with_min_len(8)
        .map(|bytes| Transaction::decode(bytes, chain_id))
        .collect()
}

/// Who sent the transactions decoded lately. A block's transactions were in the mempool before, so their signatures need not be
/// recovered again. The hash covers the signature: what is remembered is what would be computed.
static SENDERS: LazyLock<Mutex<Senders>> = LazyLock::new(Mutex::default);

fn senders() -> MutexGuard<'static, Senders> {
    SENDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two generations; the older is dropped when the younger is full.
#[derive(Default)]
struct Senders {
    young: HashMap<B256, Address>,
    old: HashMap<B256, Address>,
}

impl Senders {
    fn get(&self, hash: B256) -> Option<Address> {
        self.young
            .get(&hash)
            .or_else(|| self.old.get(&hash))
            .copied()
    }

    fn put(&mut self, hash: B256, sender: Address) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, sender);
    }
}

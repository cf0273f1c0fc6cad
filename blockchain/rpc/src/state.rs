//! Accounts, storage and proofs.

use alloy_eips::{BlockId as BlockParam, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use lucid_state::{KECCAK_EMPTY, StateReader};

use crate::backend::Backend;
use crate::error::{CallError, CallResult};
use crate::params::Arguments;

pub(crate) fn balance(node: &Backend, args: &mut Arguments<'_>) -> CallResult<U256> {
    let address: Address = args.next("address")?;
    let account = node.state(args.block()?)?.account(address)?;
    Ok(account.map(|account| account.balance).unwrap_or_default())
}

pub(crate) fn nonce(node: &Backend, args: &mut Arguments<'_>) -> CallResult<U64> {
    let address: Address = args.next("address")?;
    let block = args.block()?;
    if block == BlockParam::Number(BlockNumberOrTag::Pending) {
        return Ok(U64::from(node.pool.next_nonce(address)?));
    }
    let account = node.state(block)?.account(address)?;
    Ok(U64::from(
        account.map(|account| account.nonce).unwrap_or_default(),
    ))
}

pub(crate) fn code(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Bytes> {
    let address: Address = args.next("address")?;
    let state = node.state(args.block()?)?;
    match state.account(address)? {
        Some(account) if account.code_hash != KECCAK_EMPTY => Ok(state.code(account.code_hash)?),
        _ => Ok(Bytes::new()),
    }
}

pub(crate) fn storage(node: &Backend, args: &mut Arguments<'_>) -> CallResult<B256> {
    let address: Address = args.next("address")?;
    let slot = Slot::parse(&args.next::<String>("slot")?)?;
    Ok(node
        .state(args.block()?)?
        .storage(address, slot.number)?
        .into())
}

pub(crate) fn proof(
    node: &Backend,
    args: &mut Arguments<'_>,
) -> CallResult<EIP1186AccountProofResponse> {
    let address: Address = args.next("address")?;
    let slots: Vec<String> = args.next("slots")?;
    let most = node.limits.get().max_proof_slots;
    if slots.len() > most {
        return Err(CallError::Limit(format!(
            "{} slots, at most {most} are proven at once",
            slots.len()
        )));
    }
    let slots = slots
        .iter()
        .map(|text| Slot::parse(text))
        .collect::<CallResult<Vec<_>>>()?;
    let numbers: Vec<U256> = slots.iter().map(|slot| slot.number).collect();
    let proof = node.state(args.block()?)?.proof(address, &numbers)?;
    let account = proof.account.unwrap_or_default();
    Ok(EIP1186AccountProofResponse {
        address,
        balance: account.balance,
        code_hash: account.code_hash,
        nonce: account.nonce,
        storage_hash: proof.storage_root,
        account_proof: proof.account_proof,
        storage_proof: slots
            .iter()
            .zip(proof.storage)
            .map(|(slot, proof)| EIP1186StorageProof {
                key: if slot.padded {
                    B256::from(slot.number).into()
                } else {
                    slot.number.into()
                },
                value: proof.value,
                proof: proof.proof,
            })
            .collect(),
    })
}

/// A slot as callers write it: 32 bytes or a short number, and proofs name it as it was asked for.
struct Slot {
    number: U256,
    padded: bool,
}

impl Slot {
    fn parse(text: &str) -> CallResult<Self> {
        let digits = text
            .strip_prefix("0x")
            .filter(|digits| {
                digits.len() <= 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            })
            .ok_or_else(|| {
                CallError::Params("a storage slot is 0x and up to 64 hex digits".to_owned())
            })?;
        let number = if digits.is_empty() {
            U256::ZERO
        } else {
            U256::from_str_radix(digits, 16)
                .map_err(|error| CallError::Params(format!("a storage slot: {error}")))?
        };
        Ok(Self {
            number,
            padded: digits.len() == 64,
        })
    }
}

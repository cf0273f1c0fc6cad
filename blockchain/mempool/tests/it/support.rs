//! Short ways to make transactions.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lucid_mempool::{Account, BlockUpdate, Candidate, Changes, Limits, Mempool};

pub(crate) const BASE_FEE: u64 = 100;
pub(crate) const GAS: u64 = 21_000;
pub(crate) const BLOCK_GAS: u64 = 30_000_000;

pub(crate) fn sender(number: u64) -> Address {
    Address::left_padding_from(&(number + 1).to_be_bytes())
}

pub(crate) fn rich(nonce: u64) -> Account {
    Account {
        nonce,
        balance: U256::from(10).pow(U256::from(24)),
    }
}

/// A transfer of nothing. What differs in any field has another hash.
pub(crate) fn transfer(from: u64, nonce: u64, tip: u128) -> Candidate {
    sized(from, nonce, tip, 110)
}

pub(crate) fn sized(from: u64, nonce: u64, tip: u128, bytes: usize) -> Candidate {
    priced(from, nonce, u128::from(BASE_FEE) + tip, tip, bytes)
}

pub(crate) fn priced(from: u64, nonce: u64, max_fee: u128, tip: u128, bytes: usize) -> Candidate {
    Candidate {
        hash: hash(from, nonce, max_fee, tip, bytes),
        sender: sender(from),
        nonce,
        gas_limit: GAS,
        max_fee,
        max_priority_fee: tip,
        cost: U256::from(max_fee).saturating_mul(U256::from(GAS)),
        bytes: Bytes::from(vec![7; bytes]),
    }
}

fn hash(from: u64, nonce: u64, max_fee: u128, tip: u128, bytes: usize) -> B256 {
    keccak256(format!("{from} {nonce} {max_fee} {tip} {bytes}"))
}

pub(crate) fn small(count: usize) -> Limits {
    Limits {
        count,
        queued: count,
        per_sender: count,
        ..Limits::default()
    }
}

pub(crate) fn pool(limits: Limits) -> Mempool {
    let mut pool = Mempool::new(limits);
    pool.set_next_block(BASE_FEE, BLOCK_GAS);
    pool
}

pub(crate) fn block(
    pool: &mut Mempool,
    included: &[B256],
    accounts: &[(Address, Account)],
    base_fee: u64,
    now_ms: u64,
) -> Changes {
    pool.on_block(BlockUpdate {
        included,
        accounts,
        base_fee,
        gas_limit: BLOCK_GAS,
        now_ms,
    })
}

//! What a gas costs and how much of it a block has (EIP-1559; requirement L5, L7).

use lucid_chain_types::Header;

/// What the next block charges and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextBlock {
    /// Its base fee, wei a gas.
    pub base_fee: u64,
    /// Most gas its transactions may use.
    pub gas_limit: u64,
}

/// Gas limit of the first block, within the governed bounds: 430 registrations.
pub const INITIAL_GAS_LIMIT: u64 = 30_000_000;
/// EIP-1559: a block is meant to use half its limit.
const ELASTICITY: u64 = 2;
/// EIP-1559: the base fee moves by at most an eighth a block.
const BASE_FEE_CHANGE_DENOMINATOR: u64 = 8;
/// A block that used more than half of its gas lets the next have a sixteenth more: from least to most in under a minute.
const GROW_DENOMINATOR: u64 = 16;
/// One that used less takes it back four times as slowly.
const SHRINK_DENOMINATOR: u64 = 64;

/// Base fee of the block after `parent`, wei a gas; `least` is the governed minimum and the first block's fee.
pub fn next_base_fee(parent: Option<&Header>, least: u64) -> u64 {
    let Some(parent) = parent else { return least };
    let target = (parent.gas_limit / ELASTICITY).max(1);
    let fee = u128::from(parent.base_fee);
    let step = |distance: u64| {
        fee * u128::from(distance) / u128::from(target) / u128::from(BASE_FEE_CHANGE_DENOMINATOR)
    };
    let next = if parent.gas_used > target {
        fee + step(parent.gas_used - target).max(1)
    } else {
        fee - step(target - parent.gas_used)
    };
    u64::try_from(next).unwrap_or(u64::MAX).max(least)
}

/// Gas limit of the block after `parent`, within the governed bounds.
pub fn next_gas_limit(parent: Option<&Header>, least: u64, most: u64) -> u64 {
    let next = match parent {
        None => INITIAL_GAS_LIMIT,
        Some(parent) if parent.gas_used > parent.gas_limit / ELASTICITY => parent
            .gas_limit
            .saturating_add(parent.gas_limit / GROW_DENOMINATOR),
        Some(parent) => parent.gas_limit - parent.gas_limit / SHRINK_DENOMINATOR,
    };
    next.min(most).max(least)
}

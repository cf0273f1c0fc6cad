//! What a node is asked in a slot, as `LucidChunkStore` draws it.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue as _;
use lucid_chain_types::NodeId;

use crate::tree::leaves;

/// Chunks that a node is asked about in a slot.
pub const CHALLENGES: u64 = 2;
/// A GiB for a slot is one credit.
const CREDIT_BITS: u32 = 30;

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Place in the node's list of what it holds.
    pub place: u64,
    draw: u128,
}

impl Challenge {
    /// The leaf that is asked for, of a chunk of this size.
    pub fn leaf(&self, size: u32) -> u64 {
        // Below the count of leaves, which fits.
        u64::try_from(self.draw % u128::from(leaves(size.into()).max(1))).unwrap_or_default()
    }
}

/// The questions of the slot with this seed, to a node that holds so many chunks. None to who holds nothing.
pub fn challenges(seed: B256, node: NodeId, held: u64) -> Vec<Challenge> {
    if held == 0 {
        return Vec::new();
    }
    (0..CHALLENGES)
        .map(|index| {
            let (high, low) = halves(draw(seed, node.0, index));
            Challenge {
                place: u64::try_from(low % u128::from(held)).unwrap_or_default(),
                draw: high,
            }
        })
        .collect()
}

/// What answers bring: `sizes` of the challenged chunks that were opened, of `held` in all. Rounded up as often as the rest says.
pub fn credit(seed: B256, node: NodeId, held: u64, sizes: &[u32]) -> u64 {
    let bytes: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    let exact = bytes * u128::from(held) / u128::from(CHALLENGES);
    let (_, low) = halves(draw(seed, node.0, CHALLENGES));
    let credit = (exact + (low & ((1 << CREDIT_BITS) - 1))) >> CREDIT_BITS;
    u64::try_from(credit).unwrap_or(u64::MAX)
}

fn draw(seed: B256, node: Address, index: u64) -> B256 {
    keccak256((seed, node, U256::from(index)).abi_encode())
}

fn halves(word: B256) -> (u128, u128) {
    let number = U256::from_be_bytes(word.0);
    let low = U256::from(u128::MAX);
    ((number >> 128_usize).to(), (number & low).to())
}

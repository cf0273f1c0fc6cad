//! What became of a transaction.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_poot::Standing;

/// A log of a contract.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// What it can be found by; at most four.
    pub topics: Vec<B256>,
    /// The rest.
    pub data: Bytes,
}

impl From<&alloy_primitives::Log> for Log {
    fn from(log: &alloy_primitives::Log) -> Self {
        Self {
            address: log.address,
            topics: log.data.topics().to_vec(),
            data: log.data.data.clone(),
        }
    }
}

/// What a block's own calls left behind, beside its transactions. No root covers it: every node that executes the block makes the
/// same, and it is for reading only.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SystemRecord {
    /// Logs of the calls of WorkCredits, in order.
    pub logs: Vec<Log>,
    /// At a seal: every registered node as the sealed slot left it.
    pub tally: Vec<Tallied>,
}

impl SystemRecord {
    /// Whether there is nothing in it, as in most blocks.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.tally.is_empty()
    }
}

/// A node of the tally (`work_tally` of the specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tallied {
    /// The node, and its work in the window.
    pub standing: Standing,
    /// Whether it votes from this seal on.
    pub validator: bool,
    /// Whether it is shut out for good.
    pub jailed: bool,
}

/// A transaction's receipt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Whether it did what it was to do; its fee is paid in any case.
    pub success: bool,
    /// EIP-2718 type.
    pub tx_type: u8,
    /// Gas it used.
    pub gas_used: u64,
    /// Gas used in the block up to and with it.
    pub cumulative_gas_used: u64,
    /// What it paid for a gas, wei.
    pub effective_gas_price: u128,
    /// Logs, in order.
    pub logs: Vec<Log>,
}

/// Ethereum's bloom filter over logs.
pub fn logs_bloom<'a>(logs: impl IntoIterator<Item = &'a Log>) -> Bloom {
    let mut bloom = Bloom::ZERO;
    for log in logs {
        bloom.accrue(BloomInput::Raw(log.address.as_slice()));
        for topic in &log.topics {
            bloom.accrue(BloomInput::Raw(topic.as_slice()));
        }
    }
    bloom
}

/// [`lucid_chain_types::Header::receipts_root`] of these receipts.
pub fn receipts_root(receipts: &[Receipt]) -> B256 {
    let encoded: Vec<Vec<u8>> = receipts
        .iter()
        .map(|receipt| borsh::to_vec(receipt).unwrap_or_default())
        .collect();
    lucid_chain_types::receipts_root(&encoded)
}

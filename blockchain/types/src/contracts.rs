//! Addresses of the genesis contracts, part of the format, and of the caller that only the chain itself can be.

use alloy_primitives::{Address, address};

/// C1.
pub const LUCID_ANCHORS: Address = address!("00000000000000000000000000000000004c0001");
/// C2.
pub const LUCID_CHUNK_STORE: Address = address!("00000000000000000000000000000000004c0002");
/// C3.
pub const LUCID_GOVERNOR: Address = address!("00000000000000000000000000000000004c0003");
/// C3.
pub const TIMELOCK: Address = address!("00000000000000000000000000000000004c0004");
/// C4.
pub const PARAM_REGISTRY: Address = address!("00000000000000000000000000000000004c0005");
/// C5.
pub const SIGNER_REGISTRY: Address = address!("00000000000000000000000000000000004c0006");
/// C6, C7.
pub const WORK_CREDITS: Address = address!("00000000000000000000000000000000004c0007");
/// The coin as a token.
pub const LUCID: Address = address!("00000000000000000000000000000000004c0008");
/// Who the chain's own calls come from (as in EIP-4788).
pub const SYSTEM: Address = address!("fffffffffffffffffffffffffffffffffffffffe");

/// The contracts in the order of their addresses.
pub const ALL: [Address; 8] = [
    LUCID_ANCHORS,
    LUCID_CHUNK_STORE,
    LUCID_GOVERNOR,
    TIMELOCK,
    PARAM_REGISTRY,
    SIGNER_REGISTRY,
    WORK_CREDITS,
    LUCID,
];

//! The genesis contracts: where they are, what can be called, and their code.

use alloy_primitives::{Bytes, hex};
use serde_json::Value;

use crate::ExecutionError;

/// What is called from Rust, typed. A test holds it against the artifacts.
#[allow(
    missing_docs,
    clippy::too_many_arguments,
    reason = "generated from the Solidity; NatSpec is in contracts/src"
)]
pub mod interfaces {
    alloy_sol_types::sol! {
        #[derive(Debug, PartialEq, Eq)]
        struct Validator { address node; bytes32 consensusKey; bytes32 vrfKey; }
        #[derive(Debug, PartialEq, Eq)]
        struct Entity {
            address node; bool validator; bool jailed;
            uint64 relay; uint64 storageWork; uint64 validation; uint64 uptime; uint64 timeouts;
            uint64 lastLedSlot; uint64 joinedSlot;
        }

        interface WorkCredits {
            function onBlock(uint64 height, uint64 slot, address proposer, address[] calldata signers, address[] calldata missed) external;
            function onEvidence(address node, uint8 kind, uint64 height) external;
            function onSeal(uint64 slot, uint64 nextSlot, address winner, uint8 reason, address[] calldata nextOrder) external;
            function validators() external view returns (Validator[] memory);
            function register(bytes32 consensusKey, bytes32 vrfKey) external payable;
            function claim(address node) external;
            function nextValidators() external view returns (Validator[] memory);
            function tally() external view returns (Entity[] memory);
            function validatorTally() external view returns (Entity[] memory);
            function entity(address node) external view returns (Entity memory);
            function isNode(address node) external view returns (bool);
            function keysOf(address node) external view returns (bytes32 consensusKey, bytes32 vrfKey);
            function currentOrder() external view returns (uint64 slot, address[] memory order);
            function nextOrder() external view returns (uint64 slot, address[] memory order);
            function credits(address node) external view returns (uint64[4] memory);
            function uptimeBps(address node) external view returns (uint16);
            function earned(address node) external view returns (uint256);
            function eligible(address node) external view returns (bool);
        }

        #[derive(Debug, PartialEq, Eq)]
        struct Session { address owner; uint64 size; uint8 status; bytes32 log; address opener; }

        interface LucidAnchors {
            function openSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) external;
            function checkpoint(bytes32 id, uint64 size, bytes32 root) external;
            function closeSession(bytes32 id, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external;
            function registerSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external;
            function checkpointBatch(bytes32 root, uint32 count) external;
            function session(bytes32 id) external view returns (Session memory);
            function batchLog(address sender) external view returns (bytes32);
            function inBatch(bytes32 batchRoot, bytes32 id, uint64 size, bytes32 root, bytes32[] calldata path) external view returns (bool);
        }

        interface LucidGovernor {
            function propose(uint8 action, bytes calldata data, string calldata description) external returns (uint256 id);
            function vote(uint256 id, uint8 support) external;
            function queue(uint256 id) external;
            function execute(uint256 id) external;
            function cancel(uint256 id) external;
            function state(uint256 id) external view returns (uint8);
        }

        interface SignerRegistry {
            function signers() external view returns (address[3] memory);
            function epoch() external view returns (uint64);
        }

        interface ParamRegistry {
            function get(bytes32 key) external view returns (uint256);
            function list() external view returns (bytes32[] memory keys, uint256[] memory values, uint256[] memory mins, uint256[] memory maxs);
        }
    }
}

/// One compiled contract. The artifacts are built by `contracts/build` and checked in, so that cargo needs no Node.js.
struct Artifact {
    name: &'static str,
    json: &'static str,
}

const fn artifact(name: &'static str, json: &'static str) -> Artifact {
    Artifact { name, json }
}

const ARTIFACTS: [Artifact; 8] = [
    artifact(
        "LucidAnchors",
        include_str!("../../../contracts/artifacts/LucidAnchors.json"),
    ),
    artifact(
        "LucidChunkStore",
        include_str!("../../../contracts/artifacts/LucidChunkStore.json"),
    ),
    artifact(
        "LucidGovernor",
        include_str!("../../../contracts/artifacts/LucidGovernor.json"),
    ),
    artifact(
        "Timelock",
        include_str!("../../../contracts/artifacts/Timelock.json"),
    ),
    artifact(
        "ParamRegistry",
        include_str!("../../../contracts/artifacts/ParamRegistry.json"),
    ),
    artifact(
        "SignerRegistry",
        include_str!("../../../contracts/artifacts/SignerRegistry.json"),
    ),
    artifact(
        "WorkCredits",
        include_str!("../../../contracts/artifacts/WorkCredits.json"),
    ),
    artifact(
        "LUCID",
        include_str!("../../../contracts/artifacts/LUCID.json"),
    ),
];

/// Creation code of every genesis contract, in the order of their addresses.
pub(crate) fn creation_codes() -> Result<Vec<(&'static str, Bytes)>, ExecutionError> {
    ARTIFACTS
        .iter()
        .map(|artifact| {
            let fault = |reason: String| ExecutionError::Artifact {
                name: artifact.name,
                reason,
            };
            let json: Value =
                serde_json::from_str(artifact.json).map_err(|error| fault(error.to_string()))?;
            let code = json["bytecode"]
                .as_str()
                .ok_or_else(|| fault("it has no bytecode".into()))?;
            let code = hex::decode(code).map_err(|error| fault(error.to_string()))?;
            Ok((artifact.name, code.into()))
        })
        .collect()
}

//! The events that the collections are made of. A test holds them against the contracts' artifacts.

use alloy_sol_types::SolEvent;
use lucid_execution::Log;

#[allow(
    missing_docs,
    reason = "generated from the Solidity; NatSpec is in contracts/src"
)]
pub(crate) mod anchors {
    alloy_sol_types::sol! {
        event SessionOpened(bytes32 indexed id, address indexed owner, address indexed opener, bytes32 sessionKey, bytes32 policyHash);
        event Checkpoint(bytes32 indexed id, uint64 size, bytes32 root);
        event SessionClosed(bytes32 indexed id, address indexed owner, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount);
        event SessionRegistered(bytes32 indexed id, address indexed owner, bytes32 sessionKey, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount);
    }
}

#[allow(
    missing_docs,
    reason = "generated from the Solidity; NatSpec is in contracts/src"
)]
pub(crate) mod chunks {
    alloy_sol_types::sol! {
        event ChunkCommitted(bytes32 indexed sessionId, uint64 indexed index, bytes32 indexed chunkHash, uint64 number, uint32 size, uint64 expiry);
        event CustodyAccepted(uint64 indexed number, address indexed node);
        event CustodyReleased(uint64 indexed number, address indexed node);
    }
}

#[allow(
    missing_docs,
    reason = "generated from the Solidity; NatSpec is in contracts/src"
)]
pub(crate) mod work {
    alloy_sol_types::sol! {
        struct TaskProof { address node; uint64 slot; uint8 kind; uint64 value; bytes evidence; bytes signature; }

        event ProofAccepted(address indexed node, uint8 kind, uint64 slot, uint64 value);
        event Credited(address indexed node, uint8 kind, uint64 slot, uint64 value);

        function submit(TaskProof[] calldata proofs) external;
    }
}

/// A log as this event; `None` if it is another, or does not read as it should: a contract of another version is no reason to stop.
pub(crate) fn read<E: SolEvent>(log: &Log) -> Option<E> {
    if log.topics.first() != Some(&E::SIGNATURE_HASH) {
        return None;
    }
    E::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, keccak256};
    use alloy_sol_types::SolCall as _;
    use serde_json::Value;

    use super::*;

    /// Every event that is read: its contract's artifact, and its first topic.
    const ALL: [(&str, B256); 9] = [
        ("LucidAnchors", anchors::SessionOpened::SIGNATURE_HASH),
        ("LucidAnchors", anchors::Checkpoint::SIGNATURE_HASH),
        ("LucidAnchors", anchors::SessionClosed::SIGNATURE_HASH),
        ("LucidAnchors", anchors::SessionRegistered::SIGNATURE_HASH),
        ("LucidChunkStore", chunks::ChunkCommitted::SIGNATURE_HASH),
        ("LucidChunkStore", chunks::CustodyAccepted::SIGNATURE_HASH),
        ("LucidChunkStore", chunks::CustodyReleased::SIGNATURE_HASH),
        ("WorkCredits", work::ProofAccepted::SIGNATURE_HASH),
        ("WorkCredits", work::Credited::SIGNATURE_HASH),
    ];

    fn types(inputs: &Value) -> String {
        let list: Vec<String> = inputs
            .as_array()
            .unwrap()
            .iter()
            .map(|input| match input["type"].as_str().unwrap() {
                "tuple[]" => format!("({})[]", types(&input["components"])),
                plain => plain.to_owned(),
            })
            .collect();
        list.join(",")
    }

    /// Hashes of the signatures of a contract's events or functions, with the names of their indexed arguments.
    fn signatures(contract: &str, kind: &str) -> Vec<(B256, usize)> {
        let path = format!(
            "{}/../../contracts/artifacts/{contract}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let artifact: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let entries = artifact["abi"].as_array().unwrap();
        let of_kind = entries.iter().filter(|entry| entry["type"] == kind);
        of_kind
            .map(|entry| {
                let name = entry["name"].as_str().unwrap();
                let signature = format!("{name}({})", types(&entry["inputs"]));
                let inputs = entry["inputs"].as_array().unwrap();
                let indexed = inputs.iter().filter(|input| input["indexed"] == true);
                (keccak256(signature), indexed.count())
            })
            .collect()
    }

    #[test]
    fn the_contracts_have_every_event_that_is_read() {
        for (index, (contract, topic)) in ALL.into_iter().enumerate() {
            let found = signatures(contract, "event");
            assert!(
                found.iter().any(|(hash, _)| *hash == topic),
                "event {index}: {contract} has it no more"
            );
        }
        let submit = work::submitCall::SELECTOR;
        assert!(
            signatures("WorkCredits", "function")
                .iter()
                .any(|(hash, _)| hash[..4] == submit)
        );
    }

    #[test]
    fn as_many_arguments_are_indexed_as_in_the_contracts() {
        let count = |contract, topic: B256| {
            let found = signatures(contract, "event");
            found.iter().find(|(hash, _)| *hash == topic).unwrap().1
        };
        assert_eq!(
            count("LucidAnchors", anchors::SessionOpened::SIGNATURE_HASH),
            3
        );
        assert_eq!(
            count("LucidAnchors", anchors::Checkpoint::SIGNATURE_HASH),
            1
        );
        assert_eq!(
            count("LucidAnchors", anchors::SessionClosed::SIGNATURE_HASH),
            2
        );
        assert_eq!(
            count("LucidAnchors", anchors::SessionRegistered::SIGNATURE_HASH),
            2
        );
        assert_eq!(
            count("LucidChunkStore", chunks::ChunkCommitted::SIGNATURE_HASH),
            3
        );
        assert_eq!(
            count("LucidChunkStore", chunks::CustodyAccepted::SIGNATURE_HASH),
            2
        );
        assert_eq!(
            count("LucidChunkStore", chunks::CustodyReleased::SIGNATURE_HASH),
            2
        );
        assert_eq!(count("WorkCredits", work::ProofAccepted::SIGNATURE_HASH), 1);
        assert_eq!(count("WorkCredits", work::Credited::SIGNATURE_HASH), 1);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What the genesis contracts ask of each other.

/// @notice Governed numbers, see {ParamRegistry}.
interface IParamRegistry {
    function get(bytes32 key) external view returns (uint256);
    function check(bytes32 key, uint256 value) external view;
    function set(bytes32 key, uint256 value) external;
}

/// @notice The payment signers, see {SignerRegistry}.
interface ISignerRegistry {
    function check(address[3] calldata next) external view;
    function rotate(address[3] calldata next) external;
}

/// @notice Nodes, their work and the slot clock, see {WorkCredits}.
interface IWorkCredits {
    function openSlot() external view returns (uint64);
    function seed() external view returns (bytes32);
    function isNode(address node) external view returns (bool);
    function eligible(address node) external view returns (bool);
    function eligibleCount() external view returns (uint256);
    function joinedSlot(address node) external view returns (uint64);
    function setValidator(address node, bool active) external;
    function setVerifier(uint8 kind, address verifier) external;
}

/// @notice Recorded sessions, see {LucidAnchors}.
interface ILucidAnchors {
    function ownerOf(bytes32 id) external view returns (address);
}

/// @notice The delay between a vote and its effect, see {Timelock}.
interface ITimelock {
    function schedule(uint256 id, uint8 action, bytes calldata data) external returns (uint64 eta);
    function execute(uint256 id, uint8 action, bytes calldata data) external;
}

/// @notice A claim that a node did some work in a slot (requirement C6).
/// @param kind 0 relay, 1 storage, 2 validation (counted from blocks, never claimed), 3 uptime beacon.
/// @param value What is claimed: MiB relayed, GiB-slots kept; 1 for a beacon.
/// @param evidence What the kind's verifier needs; empty for a beacon.
/// @param signature The node's signature of the EIP-712 digest; empty where the node itself sends the transaction.
struct TaskProof {
    address node;
    uint64 slot;
    uint8 kind;
    uint64 value;
    bytes evidence;
    bytes signature;
}

/// @notice Checks proofs of one kind of work. Called with STATICCALL: it can change nothing.
interface IWorkVerifier {
    /// @return credit How much of the claim is proven, in the kind's unit; 0 proves nothing.
    function verify(TaskProof calldata proof) external view returns (uint64 credit);
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ILucidAnchors} from "./Interfaces.sol";

/// @title Anchors of sessions (requirement C1)
/// @notice A session's id is taken once, for good. Either in one transaction ({registerSession}), or opened, checkpointed while
/// it runs, and closed. What a state proof must show without more is stored as it is; what need only be provable is stored as a
/// hash and written out in the log.
contract LucidAnchors is ILucidAnchors {
    enum Status {
        None,
        Open,
        Closed
    }

    struct Session {
        address owner;
        // Chunks of a closed session; of an open one, the size its last checkpoint covers.
        uint64 size;
        Status status;
        // See {commitmentOf}.
        bytes32 commitment;
        // Of the last checkpoint; of a session that was opened and closed, its Merkle root.
        bytes32 root;
        // Who opened it, where that was not the owner.
        address opener;
    }

    struct Batch {
        address sender;
        uint32 count;
        uint64 height;
    }

    mapping(bytes32 id => Session) private _sessions;
    mapping(bytes32 root => Batch) private _batches;

    event SessionOpened(
        bytes32 indexed id, address indexed owner, address indexed opener, bytes32 sessionKey, bytes32 policyHash
    );
    event Checkpoint(bytes32 indexed id, uint64 size, bytes32 root);
    event SessionClosed(
        bytes32 indexed id, address indexed owner, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount
    );
    event SessionRegistered(
        bytes32 indexed id,
        address indexed owner,
        bytes32 sessionKey,
        bytes32 manifestHash,
        bytes32 merkleRoot,
        uint64 chunkCount
    );
    event CheckpointBatch(bytes32 indexed root, address indexed sender, uint32 count);

    error SessionExists(bytes32 id);
    error SessionNotOpen(bytes32 id);
    error NotSessionParty(bytes32 id, address caller);
    error SizeMustGrow(bytes32 id, uint64 size, uint64 last);
    error FewerChunksThanCheckpointed(bytes32 id, uint64 chunkCount, uint64 last);
    error ZeroOwner(bytes32 id);
    error ZeroId();
    error BatchExists(bytes32 root);
    error EmptyBatch(bytes32 root);

    /// @notice Opens a session that will be checkpointed while it runs.
    /// @param id The session's id; nobody can take it again.
    /// @param owner Whose session it is. Owner and sender may checkpoint and close it.
    /// @param sessionKey Public key that signs the session's records.
    /// @param policyHash Hash of the policy the session runs under.
    function openSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) external {
        Session storage entry = _take(id, owner);
        (entry.owner, entry.size, entry.status) = (owner, 0, Status.Open);
        entry.commitment = _openCommitment(sessionKey, policyHash);
        if (msg.sender != owner) entry.opener = msg.sender;
        emit SessionOpened(id, owner, msg.sender, sessionKey, policyHash);
    }

    /// @notice Fixes an open session's first `size` records.
    /// @param size How many; more than at the last checkpoint.
    /// @param root Merkle root over them.
    function checkpoint(bytes32 id, uint64 size, bytes32 root) external {
        Session storage entry = _openFor(id);
        uint64 last = entry.size;
        if (size <= last) revert SizeMustGrow(id, size, last);
        entry.size = size;
        entry.root = root;
        emit Checkpoint(id, size, root);
    }

    /// @notice Closes an open session, once.
    /// @param chunkCount At least what the last checkpoint covers.
    function closeSession(bytes32 id, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external {
        Session storage entry = _openFor(id);
        uint64 last = entry.size;
        if (chunkCount < last) revert FewerChunksThanCheckpointed(id, chunkCount, last);
        address owner = entry.owner;
        (entry.size, entry.status) = (chunkCount, Status.Closed);
        entry.commitment = _closedCommitment(entry.commitment, manifestHash, merkleRoot);
        entry.root = merkleRoot;
        emit SessionClosed(id, owner, manifestHash, merkleRoot, chunkCount);
    }

    /// @notice Registers a finished session in one transaction. Writes two storage slots.
    function registerSession(
        bytes32 id,
        address owner,
        bytes32 sessionKey,
        bytes32 manifestHash,
        bytes32 merkleRoot,
        uint64 chunkCount
    ) external {
        Session storage entry = _take(id, owner);
        (entry.owner, entry.size, entry.status) = (owner, chunkCount, Status.Closed);
        entry.commitment = _closedCommitment(_openCommitment(sessionKey, 0), manifestHash, merkleRoot);
        emit SessionRegistered(id, owner, sessionKey, manifestHash, merkleRoot, chunkCount);
    }

    /// @notice Fixes checkpoints of many sessions at once (requirement L8): the root of a tree of {checkpointLeaf}s.
    /// @param count How many leaves it has.
    function checkpointBatch(bytes32 root, uint32 count) external {
        if (count == 0) revert EmptyBatch(root);
        if (_batches[root].count != 0) revert BatchExists(root);
        // Heights fit in 64 bits.
        _batches[root] = Batch({sender: msg.sender, count: count, height: uint64(block.number)});
        emit CheckpointBatch(root, msg.sender, count);
    }

    /// @notice A session. All zero where the id is free.
    function session(bytes32 id) external view returns (Session memory) {
        return _sessions[id];
    }

    /// @notice Whose session it is, zero where the id is free.
    function ownerOf(bytes32 id) external view returns (address) {
        return _sessions[id].owner;
    }

    /// @notice Who sent a batch of checkpoints, how many it has, and in which block it came. All zero where it is unknown.
    function batch(bytes32 root) external view returns (Batch memory) {
        return _batches[root];
    }

    /// @notice Whether a session was closed or registered with exactly these values. `policyHash` is zero for a registered one.
    function matches(
        bytes32 id,
        bytes32 sessionKey,
        bytes32 policyHash,
        bytes32 manifestHash,
        bytes32 merkleRoot,
        uint64 chunkCount
    ) external view returns (bool) {
        Session storage found = _sessions[id];
        return found.status == Status.Closed && found.size == chunkCount
            && found.commitment == commitmentOf(sessionKey, policyHash, manifestHash, merkleRoot);
    }

    /// @notice What is stored for a closed session:
    /// `keccak(keccak(sessionKey, policyHash), manifestHash, merkleRoot)`, each value in 32 bytes.
    function commitmentOf(bytes32 sessionKey, bytes32 policyHash, bytes32 manifestHash, bytes32 merkleRoot)
        public
        pure
        returns (bytes32)
    {
        return _closedCommitment(_openCommitment(sessionKey, policyHash), manifestHash, merkleRoot);
    }

    /// @notice Leaf of a batch: hashed twice, so that no inner node passes for one.
    function checkpointLeaf(bytes32 id, uint64 size, bytes32 root) public pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(id, size, root))));
    }

    /// @notice Whether a batch contains a session's checkpoint and was sent by who may checkpoint it.
    /// @param path Siblings from the leaf up; each pair is hashed in sorted order.
    function inBatch(bytes32 batchRoot, bytes32 id, uint64 size, bytes32 root, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        address sender = _batches[batchRoot].sender;
        if (sender == address(0) || !_isParty(_sessions[id], sender)) return false;
        return MerkleProof.verifyCalldata(path, batchRoot, checkpointLeaf(id, size, root));
    }

    function _take(bytes32 id, address owner) private view returns (Session storage taken) {
        if (id == 0) revert ZeroId();
        if (owner == address(0)) revert ZeroOwner(id);
        taken = _sessions[id];
        if (taken.status != Status.None) revert SessionExists(id);
    }

    function _openFor(bytes32 id) private view returns (Session storage open) {
        open = _sessions[id];
        if (open.status != Status.Open) revert SessionNotOpen(id);
        if (!_isParty(open, msg.sender)) revert NotSessionParty(id, msg.sender);
    }

    // A free id has no owner, and nobody is the zero address.
    function _isParty(Session storage of_, address who) private view returns (bool) {
        return who == of_.owner || who == of_.opener;
    }

    function _openCommitment(bytes32 sessionKey, bytes32 policyHash) private pure returns (bytes32) {
        return keccak256(abi.encode(sessionKey, policyHash));
    }

    function _closedCommitment(bytes32 open, bytes32 manifestHash, bytes32 merkleRoot) private pure returns (bytes32) {
        return keccak256(abi.encode(open, manifestHash, merkleRoot));
    }
}

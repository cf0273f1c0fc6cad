// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ILucidAnchors} from "./Interfaces.sol";

/// @title Anchors of sessions (requirement C1)
/// @notice A session's id is taken once, for good. Either in one transaction ({registerSession}), or opened, checkpointed while
/// it runs, and closed. All that happened to it is in one hash chain, its log, whose end is stored: one storage slot proves all of
/// it to who knows the steps. They are in the events and the blocks' numbers and times. Whoever takes an id first has it, so one
/// looks at the opener and the owner too, not at the id alone.
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
        // End of the hash chain of its steps, see {Step}.
        bytes32 log;
        // Who opened it, where that was not the owner.
        address opener;
    }

    // First word of what is hashed for a step. The others, each in 32 bytes:
    //   Opened      id, owner, opener, sessionKey, policyHash, number, time
    //   Checkpoint  the log before, size, root, number, time
    //   Closed      the log before, manifestHash, merkleRoot, chunkCount, the sender's batches, number, time
    //   Batch       the sender's batches before, root, count, number, time
    enum Step {
        None,
        Opened,
        Checkpoint,
        Closed,
        Batch
    }

    // A Session in storage. The compiler would write the members of its first word one after the other, 200 gas each.
    struct Entry {
        // From the low end: owner (160 bits), size (64), status (8).
        uint256 head;
        bytes32 log;
        address opener;
    }

    struct Batch {
        address sender;
        uint32 count;
        uint64 height;
    }

    mapping(bytes32 id => Entry) private _sessions;
    mapping(bytes32 root => Batch) private _batches;
    // Ends of the hash chains of each sender's batches.
    mapping(address sender => bytes32) private _batchLogs;

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
    // `previous`: the sender's batches before this one.
    event CheckpointBatch(bytes32 indexed root, address indexed sender, uint32 count, bytes32 previous);

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
        Entry storage entry = _take(id, owner);
        entry.head = _head(owner, 0, Status.Open);
        entry.log = _opened(id, owner, sessionKey, policyHash);
        if (msg.sender != owner) entry.opener = msg.sender;
        emit SessionOpened(id, owner, msg.sender, sessionKey, policyHash);
    }

    /// @notice Fixes an open session's first `size` records.
    /// @param size How many; more than at the last checkpoint.
    /// @param root Merkle root over them.
    function checkpoint(bytes32 id, uint64 size, bytes32 root) external {
        (Entry storage entry, address owner, uint64 last) = _openFor(id);
        if (size <= last) revert SizeMustGrow(id, size, last);
        entry.head = _head(owner, size, Status.Open);
        entry.log = keccak256(abi.encode(Step.Checkpoint, entry.log, size, root, block.number, block.timestamp));
        emit Checkpoint(id, size, root);
    }

    /// @notice Closes an open session, once. Its log then ends with all batches that the sender has sent so far.
    /// @param chunkCount At least what the last checkpoint covers.
    function closeSession(bytes32 id, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external {
        (Entry storage entry, address owner, uint64 last) = _openFor(id);
        if (chunkCount < last) revert FewerChunksThanCheckpointed(id, chunkCount, last);
        entry.head = _head(owner, chunkCount, Status.Closed);
        entry.log = _closed(entry.log, manifestHash, merkleRoot, chunkCount, _batchLogs[msg.sender]);
        emit SessionClosed(id, owner, manifestHash, merkleRoot, chunkCount);
    }

    /// @notice Registers a finished session in one transaction: it is opened, with no policy, and closed, with no batches. Writes
    /// two storage slots.
    function registerSession(
        bytes32 id,
        address owner,
        bytes32 sessionKey,
        bytes32 manifestHash,
        bytes32 merkleRoot,
        uint64 chunkCount
    ) external {
        Entry storage entry = _take(id, owner);
        entry.head = _head(owner, chunkCount, Status.Closed);
        entry.log = _closed(_opened(id, owner, sessionKey, 0), manifestHash, merkleRoot, chunkCount, 0);
        emit SessionRegistered(id, owner, sessionKey, manifestHash, merkleRoot, chunkCount);
    }

    /// @notice Fixes checkpoints of many sessions at once (requirement L8): the root of a tree of {checkpointLeaf}s.
    /// @param count How many leaves it has.
    function checkpointBatch(bytes32 root, uint32 count) external {
        if (count == 0) revert EmptyBatch(root);
        if (_batches[root].count != 0) revert BatchExists(root);
        // Heights fit in 64 bits.
        _batches[root] = Batch({sender: msg.sender, count: count, height: uint64(block.number)});
        bytes32 previous = _batchLogs[msg.sender];
        _batchLogs[msg.sender] = keccak256(abi.encode(Step.Batch, previous, root, count, block.number, block.timestamp));
        emit CheckpointBatch(root, msg.sender, count, previous);
    }

    /// @notice A session. All zero where the id is free.
    function session(bytes32 id) external view returns (Session memory) {
        Entry storage entry = _sessions[id];
        uint256 head = entry.head;
        return Session(_owner(head), _size(head), _status(head), entry.log, entry.opener);
    }

    /// @notice Whose session it is, zero where the id is free.
    function ownerOf(bytes32 id) external view returns (address) {
        return _owner(_sessions[id].head);
    }

    /// @notice Who sent a batch of checkpoints, how many it has, and in which block it came. All zero where it is unknown.
    function batch(bytes32 root) external view returns (Batch memory) {
        return _batches[root];
    }

    /// @notice End of the hash chain of the batches that `sender` has sent; zero where there is none.
    function batchLog(address sender) external view returns (bytes32) {
        return _batchLogs[sender];
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
        Entry storage entry = _sessions[id];
        if (sender == address(0) || (sender != _owner(entry.head) && sender != entry.opener)) return false;
        return MerkleProof.verifyCalldata(path, batchRoot, checkpointLeaf(id, size, root));
    }

    function _take(bytes32 id, address owner) private view returns (Entry storage entry) {
        if (id == 0) revert ZeroId();
        if (owner == address(0)) revert ZeroOwner(id);
        entry = _sessions[id];
        if (entry.head != 0) revert SessionExists(id);
    }

    function _openFor(bytes32 id) private view returns (Entry storage entry, address owner, uint64 size) {
        entry = _sessions[id];
        uint256 head = entry.head;
        if (_status(head) != Status.Open) revert SessionNotOpen(id);
        (owner, size) = (_owner(head), _size(head));
        // No opener is stored where it was the owner, and nobody is the zero address.
        if (msg.sender != owner && msg.sender != entry.opener) revert NotSessionParty(id, msg.sender);
    }

    function _head(address owner, uint64 size, Status status) private pure returns (uint256) {
        return uint256(uint160(owner)) | uint256(size) << 160 | uint256(status) << 224;
    }

    function _owner(uint256 head) private pure returns (address) {
        return address(uint160(head));
    }

    function _size(uint256 head) private pure returns (uint64) {
        return uint64(head >> 160);
    }

    function _status(uint256 head) private pure returns (Status) {
        return Status(uint8(head >> 224));
    }

    function _opened(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) private view returns (bytes32) {
        return keccak256(
            abi.encode(Step.Opened, id, owner, msg.sender, sessionKey, policyHash, block.number, block.timestamp)
        );
    }

    function _closed(bytes32 log, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount, bytes32 batches)
        private
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encode(Step.Closed, log, manifestHash, merkleRoot, chunkCount, batches, block.number, block.timestamp)
        );
    }
}

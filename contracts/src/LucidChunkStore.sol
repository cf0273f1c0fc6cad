// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILucidAnchors, IParamRegistry, IWorkCredits} from "./Interfaces.sol";

/// @title Commitments to chunks, and who keeps them (requirement C2)
/// @notice A session's owner commits to each encrypted chunk's hash and size, once. Nodes say which chunks they hold, by hash.
/// The chunks themselves are with the nodes: a MiB of contract storage would cost 724 million gas.
contract LucidChunkStore {
    /// @notice Most chunks of one {commitBatch}.
    uint256 public constant MAX_BATCH = 512;
    /// @notice Most nodes that hold one chunk.
    uint256 public constant MAX_HOLDERS = 64;

    ILucidAnchors public immutable anchors;
    IParamRegistry public immutable params;
    IWorkCredits public immutable credits;

    mapping(bytes32 sessionId => mapping(uint64 index => bytes32 chunkHash)) private _hashes;
    // Eight 32-bit sizes a storage slot: chunks come in order, so a slot is shared by neighbours.
    mapping(bytes32 sessionId => mapping(uint64 group => uint256 sizes)) private _sizes;
    // slither-disable-next-line uninitialized-state
    mapping(bytes32 chunkHash => address[] nodes) private _holders;
    // Place in the list, counted from 1.
    mapping(bytes32 chunkHash => mapping(address node => uint256 place)) private _places;

    event ChunkCommitted(bytes32 indexed sessionId, uint64 indexed index, bytes32 indexed chunkHash, uint32 size);
    event CustodyAccepted(bytes32 indexed chunkHash, address indexed node);
    event CustodyReleased(bytes32 indexed chunkHash, address indexed node);

    error NotSessionOwner(bytes32 sessionId, address caller);
    error ChunkExists(bytes32 sessionId, uint64 index);
    error ZeroHash(bytes32 sessionId, uint64 index);
    error ChunkSize(bytes32 sessionId, uint64 index, uint32 size, uint256 max);
    error LengthMismatch(uint256 hashes, uint256 sizes);
    error BatchSize(uint256 count, uint256 max);
    error NotNode(address caller);
    error AlreadyHolder(bytes32 chunkHash, address node);
    error NotHolder(bytes32 chunkHash, address node);
    error TooManyHolders(bytes32 chunkHash);
    /// @notice Only a node that is none any more can be struck off by others.
    error StillNode(address node);
    error ZeroAddress();

    constructor(address anchors_, address params_, address credits_) {
        if (anchors_ == address(0) || params_ == address(0) || credits_ == address(0)) revert ZeroAddress();
        anchors = ILucidAnchors(anchors_);
        params = IParamRegistry(params_);
        credits = IWorkCredits(credits_);
    }

    /// @notice Commits to one chunk. The session's owner only, once per index.
    /// @param chunkHash Hash of the encrypted chunk.
    /// @param size Its bytes: 1 to the parameter `maxChunkSize`.
    function commit(bytes32 sessionId, uint64 index, bytes32 chunkHash, uint32 size) external {
        uint256 max = _admit(sessionId);
        uint256 sizes = _sizes[sessionId][index >> 3];
        _sizes[sessionId][index >> 3] = _commit(sessionId, index, chunkHash, size, max, sizes);
    }

    /// @notice Commits to chunks that follow each other.
    /// @param firstIndex Index of the first.
    function commitBatch(
        bytes32 sessionId,
        uint64 firstIndex,
        bytes32[] calldata chunkHashes,
        uint32[] calldata chunkSizes
    ) external {
        uint256 count = chunkHashes.length;
        if (count != chunkSizes.length) revert LengthMismatch(count, chunkSizes.length);
        if (count == 0 || count > MAX_BATCH) revert BatchSize(count, MAX_BATCH);
        uint256 max = _admit(sessionId);
        uint64 group = firstIndex >> 3;
        uint256 sizes = _sizes[sessionId][group];
        for (uint256 i = 0; i < count; ++i) {
            // At most MAX_BATCH is added; checked arithmetic catches an index at the very end.
            uint64 index = firstIndex + uint64(i);
            if (index >> 3 != group) {
                _sizes[sessionId][group] = sizes;
                group = index >> 3;
                sizes = _sizes[sessionId][group];
            }
            sizes = _commit(sessionId, index, chunkHashes[i], chunkSizes[i], max, sizes);
        }
        _sizes[sessionId][group] = sizes;
    }

    /// @notice A committed chunk; both zero where there is none.
    function chunk(bytes32 sessionId, uint64 index) external view returns (bytes32 chunkHash, uint32 size) {
        // Truncation takes the one size out of its group.
        return (_hashes[sessionId][index], uint32(_sizes[sessionId][index >> 3] >> _shift(index)));
    }

    /// @notice The nodes that say they hold a chunk.
    function custody(bytes32 chunkHash) external view returns (address[] memory) {
        return _holders[chunkHash];
    }

    /// @notice Says that the sender, a registered node, holds these chunks.
    function acceptCustody(bytes32[] calldata chunkHashes) external {
        if (!credits.isNode(msg.sender)) revert NotNode(msg.sender);
        if (chunkHashes.length > MAX_BATCH) revert BatchSize(chunkHashes.length, MAX_BATCH);
        for (uint256 i = 0; i < chunkHashes.length; ++i) {
            bytes32 chunkHash = chunkHashes[i];
            address[] storage holders = _holders[chunkHash];
            if (_places[chunkHash][msg.sender] != 0) revert AlreadyHolder(chunkHash, msg.sender);
            if (holders.length >= MAX_HOLDERS) revert TooManyHolders(chunkHash);
            holders.push(msg.sender);
            _places[chunkHash][msg.sender] = holders.length;
            emit CustodyAccepted(chunkHash, msg.sender);
        }
    }

    /// @notice Says that the sender holds these chunks no more.
    function releaseCustody(bytes32[] calldata chunkHashes) external {
        if (chunkHashes.length > MAX_BATCH) revert BatchSize(chunkHashes.length, MAX_BATCH);
        for (uint256 i = 0; i < chunkHashes.length; ++i) {
            _release(chunkHashes[i], msg.sender);
        }
    }

    /// @notice Strikes a holder off that is no registered node any more, so that its place is free. Anyone may.
    function pruneCustody(bytes32 chunkHash, address node) external {
        if (credits.isNode(node)) revert StillNode(node);
        _release(chunkHash, node);
    }

    function _release(bytes32 chunkHash, address node) private {
        uint256 place = _places[chunkHash][node];
        if (place == 0) revert NotHolder(chunkHash, node);
        address[] storage holders = _holders[chunkHash];
        address last = holders[holders.length - 1];
        holders[place - 1] = last;
        _places[chunkHash][last] = place;
        holders.pop();
        delete _places[chunkHash][node];
        emit CustodyReleased(chunkHash, node);
    }

    function _admit(bytes32 sessionId) private view returns (uint256 max) {
        if (anchors.ownerOf(sessionId) != msg.sender) revert NotSessionOwner(sessionId, msg.sender);
        return params.get("maxChunkSize");
    }

    function _commit(bytes32 sessionId, uint64 index, bytes32 chunkHash, uint32 size, uint256 max, uint256 sizes)
        private
        returns (uint256)
    {
        if (chunkHash == 0) revert ZeroHash(sessionId, index);
        if (size == 0 || size > max) revert ChunkSize(sessionId, index, size, max);
        if (_hashes[sessionId][index] != 0) revert ChunkExists(sessionId, index);
        _hashes[sessionId][index] = chunkHash;
        emit ChunkCommitted(sessionId, index, chunkHash, size);
        // INVARIANT: a size is written with its hash and never again, so its bits are still zero.
        return sizes | (uint256(size) << _shift(index));
    }

    function _shift(uint64 index) private pure returns (uint256) {
        return (uint256(index) & 7) * 32;
    }
}

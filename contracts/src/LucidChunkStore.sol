// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILucidAnchors, IParamRegistry, IWorkCredits, IWorkVerifier, TaskProof} from "./Interfaces.sol";

/// @title Commitments to chunks, who keeps them, and whether they still do (requirements C2, L8)
/// @notice A session's owner commits to each encrypted chunk's hash, size and storage root, once, and pays for the time that it is
/// to be kept. Nodes say which chunks they hold and answer challenges that the slot's seed draws. The chunks themselves are with
/// the nodes: a MiB of contract storage would cost 724 million gas.
/// @dev A commitment has a number of its own, and custody is of numbers: a stranger who commits to the same hash with a false
/// root harms only himself.
contract LucidChunkStore is IWorkVerifier {
    /// @dev Three storage slots.
    struct Chunk {
        // BLAKE3 of the encrypted chunk: its address at the nodes.
        bytes32 chunkHash;
        // Root of the tree over its leaves, see {verifyLeaf}.
        bytes32 storageRoot;
        address payer;
        uint32 size;
        // First slot that is not paid for.
        uint40 expiry;
        uint8 holders;
    }

    /// @notice A commitment as it is read.
    struct Lease {
        // 0 where there is none, or no more.
        uint64 number;
        bytes32 chunkHash;
        bytes32 storageRoot;
        uint32 size;
        uint64 expiry;
        address[] holders;
    }

    /// @dev One storage slot.
    struct Holding {
        address node;
        // Place in the node's own list.
        uint64 place;
    }

    /// @dev One storage slot: what a node has proven last.
    struct Proven {
        // Slot + 1; 0 never.
        uint40 slot;
        // GiB-slots, rounded by the slot's seed.
        uint64 credit;
    }

    /// @notice A leaf of a challenged chunk with its path. No leaf: the node says that it has lost the chunk.
    struct Opening {
        bytes leaf;
        bytes32[] path;
    }

    /// @notice Where a node serves chunks.
    struct Door {
        address node;
        string url;
    }

    /// @notice Most chunks of one call.
    uint256 public constant MAX_BATCH = 512;
    /// @notice Most slots that a chunk can be paid for ahead: ten years.
    uint64 public constant MAX_SLOTS = 2_629_800;
    /// @notice Bytes of a leaf; the last one of a chunk may be shorter.
    uint256 public constant LEAF = 1_024;
    /// @notice Chunks that a node is asked about in a slot.
    uint256 public constant CHALLENGES = 2;
    /// @notice Most bytes of a {Door}'s address.
    uint256 public constant MAX_URL = 256;
    /// @notice Kind of the work, see {IWorkVerifier}.
    uint8 private constant STORAGE = 1;
    uint256 private constant SLOTS_PER_DAY = 720;

    bytes32 private constant MAX_CHUNK_SIZE = "maxChunkSize";
    bytes32 private constant CHUNK_REPLICAS = "chunkReplicas";
    bytes32 private constant CHUNK_FEE = "chunkFee";
    bytes32 private constant CHUNK_QUOTA = "chunkQuota";
    bytes32 private constant CUSTODY_SILENCE = "custodySilence";

    ILucidAnchors public immutable anchors;
    IParamRegistry public immutable params;
    IWorkCredits public immutable credits;

    /// @notice Number of the last commitment; they count from 1.
    uint64 public count;
    mapping(uint64 number => Chunk) private _chunks;
    // Four numbers a storage slot: chunks come in order, so a slot is shared by neighbours.
    mapping(bytes32 sessionId => mapping(uint64 group => uint256 numbers)) private _numbers;
    mapping(uint64 number => mapping(uint256 index => Holding)) private _holdings;
    // slither-disable-next-line uninitialized-state
    mapping(address node => uint64[] numbers) private _held;
    mapping(address node => Proven) private _proven;
    /// @notice Bytes that an account pays for.
    mapping(address payer => uint256 bytes_) public leased;
    mapping(address node => string url) private _urls;
    mapping(address node => uint256 place) private _doorPlaces;
    address[] private _doors;

    event ChunkCommitted(
        bytes32 indexed sessionId,
        uint64 indexed index,
        bytes32 indexed chunkHash,
        uint64 number,
        uint32 size,
        uint64 expiry
    );
    event ChunkExtended(uint64 indexed number, uint64 expiry);
    event ChunkExpired(uint64 indexed number, bytes32 indexed chunkHash);
    event CustodyAccepted(uint64 indexed number, address indexed node);
    event CustodyReleased(uint64 indexed number, address indexed node);
    /// @notice The node could not open a challenged chunk.
    event CustodyLost(uint64 indexed number, address indexed node);
    event CustodyProven(address indexed node, uint64 indexed slot, uint64 credit);
    event DoorSet(address indexed node, string url);

    error NotSessionOwner(bytes32 sessionId, address caller);
    error ChunkExists(bytes32 sessionId, uint64 index);
    error NoChunk(uint64 number);
    error ZeroHash(bytes32 sessionId, uint64 index);
    error ChunkSize(bytes32 sessionId, uint64 index, uint32 size, uint256 max);
    error LengthMismatch(uint256 hashes, uint256 sizes);
    error BatchSize(uint256 count, uint256 max);
    error LeaseLength(uint64 slots, uint64 max);
    error FeeTooSmall(uint256 paid, uint256 fee);
    error OverQuota(address payer, uint256 bytes_, uint256 quota);
    error NotNode(address caller);
    error AlreadyHolder(uint64 number, address node);
    error NotHolder(uint64 number, address node);
    error TooManyHolders(uint64 number);
    error ChunkHasExpired(uint64 number, uint64 expiry);
    /// @notice What a node holds stays as it is until it has answered the slot's challenges: otherwise it could move the
    /// challenged places under what it still has.
    error ProveFirst(address node, uint64 slot);
    error NothingHeld(address node);
    error AlreadyProven(address node, uint64 slot);
    error SlotNotOpen(uint64 slot, uint64 open);
    error OpeningCount(uint256 count, uint256 expected);
    error WrongOpening(uint64 number, uint256 leaf);
    /// @notice Others strike a node off once it is none any more, or has been silent for too long.
    error StillHolding(address node);
    error UrlTooLong(uint256 length, uint256 max);
    error TransferFailed(address to, uint256 amount);
    error ZeroAddress();

    constructor(address anchors_, address params_, address credits_) {
        if (anchors_ == address(0) || params_ == address(0) || credits_ == address(0)) revert ZeroAddress();
        anchors = ILucidAnchors(anchors_);
        params = IParamRegistry(params_);
        credits = IWorkCredits(credits_);
    }

    // ------------------------------------------------------------------------------------------------ owners

    /// @notice Commits to chunks that follow each other, and pays for them to be kept. The session's owner only, once per index
    /// as long as they are kept. What is sent above the fee comes back; the fee goes to the reserve that work is paid from.
    /// @param firstIndex Index of the first.
    /// @param slots For how many slots, the open one included.
    function commitBatch(
        bytes32 sessionId,
        uint64 firstIndex,
        bytes32[] calldata chunkHashes,
        bytes32[] calldata storageRoots,
        uint32[] calldata sizes,
        uint64 slots
    ) external payable {
        uint256 length = chunkHashes.length;
        if (length != storageRoots.length) revert LengthMismatch(length, storageRoots.length);
        if (length != sizes.length) revert LengthMismatch(length, sizes.length);
        _bounded(length);
        if (anchors.ownerOf(sessionId) != msg.sender) revert NotSessionOwner(sessionId, msg.sender);
        if (slots == 0 || slots > MAX_SLOTS) revert LeaseLength(slots, MAX_SLOTS);
        uint40 expiry = uint40(credits.openSlot() + slots);
        uint256 max = params.get(MAX_CHUNK_SIZE);
        uint256 total = 0;
        uint64 number = count;
        for (uint256 i = 0; i < length; ++i) {
            // At most MAX_BATCH is added; checked arithmetic catches an index at the very end.
            uint64 index = firstIndex + uint64(i);
            uint32 size = sizes[i];
            if (chunkHashes[i] == 0 || storageRoots[i] == 0) revert ZeroHash(sessionId, index);
            if (size == 0 || size > max) revert ChunkSize(sessionId, index, size, max);
            _assign(sessionId, index, ++number);
            total += size;
            _chunks[number] = Chunk(chunkHashes[i], storageRoots[i], msg.sender, size, expiry, 0);
            emit ChunkCommitted(sessionId, index, chunkHashes[i], number, size, expiry);
        }
        count = number;
        total += leased[msg.sender];
        uint256 quota = params.get(CHUNK_QUOTA);
        if (total > quota) revert OverQuota(msg.sender, total, quota);
        uint256 fee_ = fee(total - leased[msg.sender], slots);
        leased[msg.sender] = total;
        _charge(fee_);
    }

    /// @notice Pays for chunks that are still kept to be kept for longer. Anyone may.
    function extend(uint64[] calldata numbers, uint64 slots) external payable {
        _bounded(numbers.length);
        uint64 open = credits.openSlot();
        uint256 total = 0;
        for (uint256 i = 0; i < numbers.length; ++i) {
            Chunk storage it = _live(numbers[i], open);
            uint64 left = it.expiry - open;
            if (slots == 0 || slots > MAX_SLOTS - left) revert LeaseLength(slots, MAX_SLOTS - left);
            it.expiry += uint40(slots);
            total += it.size;
            emit ChunkExtended(numbers[i], it.expiry);
        }
        _charge(fee(total, slots));
    }

    /// @notice Forgets chunks that are not paid for any more, and who holds them. Anyone may; others are passed over.
    function expire(uint64[] calldata numbers) external {
        _bounded(numbers.length);
        uint64 open = credits.openSlot();
        for (uint256 i = 0; i < numbers.length; ++i) {
            uint64 number = numbers[i];
            Chunk memory it = _chunks[number];
            if (it.size == 0 || it.expiry > open) continue;
            for (uint256 left = it.holders; left > 0; --left) {
                _drop(number, left - 1);
            }
            leased[it.payer] -= it.size;
            // slither-disable-next-line costly-loop
            delete _chunks[number];
            emit ChunkExpired(number, it.chunkHash);
        }
    }

    /// @notice Wei for so many bytes and slots.
    function fee(uint256 bytes_, uint256 slots) public view returns (uint256) {
        return (bytes_ * slots * params.get(CHUNK_FEE) + SLOTS_PER_DAY - 1) / SLOTS_PER_DAY;
    }

    // ------------------------------------------------------------------------------------------------ nodes

    /// @notice Says where the sender, a registered node, serves chunks; nothing for nowhere.
    function setDoor(string calldata url) external {
        if (bytes(url).length > MAX_URL) revert UrlTooLong(bytes(url).length, MAX_URL);
        uint256 place = _doorPlaces[msg.sender];
        if (bytes(url).length == 0) {
            if (place != 0) {
                address last = _doors[_doors.length - 1];
                _doors[place - 1] = last;
                _doorPlaces[last] = place;
                _doors.pop();
                delete _doorPlaces[msg.sender];
                delete _urls[msg.sender];
            }
        } else {
            if (!credits.isNode(msg.sender)) revert NotNode(msg.sender);
            if (place == 0) {
                _doors.push(msg.sender);
                _doorPlaces[msg.sender] = _doors.length;
            }
            _urls[msg.sender] = url;
        }
        emit DoorSet(msg.sender, url);
    }

    /// @notice Says that the sender, a registered node, holds these chunks.
    function acceptCustody(uint64[] calldata numbers) external {
        if (!credits.isNode(msg.sender)) revert NotNode(msg.sender);
        _bounded(numbers.length);
        uint64 open = credits.openSlot();
        uint64[] storage held_ = _held[msg.sender];
        // Who begins is not asked before the next slot.
        if (held_.length == 0) _proven[msg.sender] = Proven(uint40(open + 1), 0);
        else _settled(msg.sender, open);
        uint256 replicas = params.get(CHUNK_REPLICAS);
        for (uint256 i = 0; i < numbers.length; ++i) {
            uint64 number = numbers[i];
            Chunk storage it = _live(number, open);
            uint8 holders = it.holders;
            (bool found,) = _find(number, msg.sender);
            if (found) revert AlreadyHolder(number, msg.sender);
            if (holders >= replicas) revert TooManyHolders(number);
            // A list of 2^64 cannot be built.
            _holdings[number][holders] = Holding(msg.sender, uint64(held_.length));
            held_.push(number);
            it.holders = holders + 1;
            emit CustodyAccepted(number, msg.sender);
        }
    }

    /// @notice Says that the sender holds these chunks no more.
    function releaseCustody(uint64[] calldata numbers) external {
        _bounded(numbers.length);
        _settled(msg.sender, credits.openSlot());
        for (uint256 i = 0; i < numbers.length; ++i) {
            _release(numbers[i], msg.sender);
        }
    }

    /// @notice Strikes a holder off that is no registered node any more or silent, so that its places are free. Anyone may.
    function pruneCustody(address node, uint64[] calldata numbers) external {
        _bounded(numbers.length);
        if (credits.isNode(node) && !silent(node)) revert StillHolding(node);
        for (uint256 i = 0; i < numbers.length; ++i) {
            _release(numbers[i], node);
        }
    }

    /// @notice Answers the open slot's challenges: an opening for each, in their order. A chunk without one is struck off the
    /// sender's list. What is proven can be handed to WorkCredits in this slot and the next.
    /// @param slot The one whose challenges are answered: what comes late must not be held against the next one's.
    /// @dev Each chunk is drawn with the same chance, and an answer stands for as many bytes as it has times the number of chunks:
    /// so what is expected is what is held, and who lost a large chunk loses its share.
    function prove(uint64 slot, Opening[] calldata openings) external {
        uint64 open = credits.openSlot();
        if (slot != open) revert SlotNotOpen(slot, open);
        uint64[] storage held_ = _held[msg.sender];
        if (held_.length == 0) revert NothingHeld(msg.sender);
        if (_proven[msg.sender].slot > slot) revert AlreadyProven(msg.sender, slot);
        if (openings.length != CHALLENGES) revert OpeningCount(openings.length, CHALLENGES);
        bytes32 seed = credits.seed();
        uint256 length = held_.length;
        uint256 bytes_ = 0;
        uint64[] memory lost = new uint64[](CHALLENGES);
        for (uint256 i = 0; i < CHALLENGES; ++i) {
            bytes32 draw = _draw(seed, msg.sender, i);
            uint64 number = held_[uint128(uint256(draw)) % length];
            if (openings[i].leaf.length == 0) {
                lost[i] = number;
                continue;
            }
            Chunk memory it = _chunks[number];
            uint256 leaf = (uint256(draw) >> 128) % _leaves(it.size);
            if (!verifyLeaf(it.storageRoot, it.size, leaf, openings[i].leaf, openings[i].path)) {
                revert WrongOpening(number, leaf);
            }
            bytes_ += it.size;
        }
        // Rounded up as often as the rest says, so that small holdings are credited too. Below 2^64: 2^64 chunks of 2^32 bytes
        // cannot be built.
        uint256 exact = bytes_ * length / CHALLENGES;
        uint64 credit = uint64((exact + (uint256(_draw(seed, msg.sender, CHALLENGES)) & ((1 << 30) - 1))) >> 30);
        _proven[msg.sender] = Proven(uint40(slot + 1), credit);
        emit CustodyProven(msg.sender, slot, credit);
        for (uint256 i = 0; i < CHALLENGES; ++i) {
            // The same chunk may have been drawn twice.
            (bool found, uint256 place) = _find(lost[i], msg.sender);
            if (!found) continue;
            emit CustodyLost(lost[i], msg.sender);
            _drop(lost[i], place);
        }
    }

    /// @inheritdoc IWorkVerifier
    /// @dev The evidence is what {prove} has checked.
    function verify(TaskProof calldata proof) external view returns (uint64 credit) {
        Proven memory proven_ = _proven[proof.node];
        return proof.kind == STORAGE && uint64(proven_.slot) == proof.slot + 1 ? proven_.credit : 0;
    }

    // ------------------------------------------------------------------------------------------------ views

    /// @notice A session's chunk. Its number is 0 where there is none.
    function chunk(bytes32 sessionId, uint64 index) external view returns (Lease memory) {
        return lease(uint64(_numbers[sessionId][index >> 2] >> _shift(index)));
    }

    /// @notice A commitment by its number.
    function lease(uint64 number) public view returns (Lease memory) {
        Chunk memory it = _chunks[number];
        address[] memory holders = new address[](it.holders);
        for (uint256 i = 0; i < it.holders; ++i) {
            holders[i] = _holdings[number][i].node;
        }
        return Lease(it.size == 0 ? 0 : number, it.chunkHash, it.storageRoot, it.size, it.expiry, holders);
    }

    /// @notice Commitments from a number on, at most `most` numbers further.
    function leases(uint64 from, uint64 most) external view returns (Lease[] memory list) {
        uint64 end = from + most > count ? count + 1 : from + most;
        list = new Lease[](from < end ? end - from : 0);
        for (uint64 i = 0; i < list.length; ++i) {
            list[i] = lease(from + i);
        }
    }

    /// @notice How many chunks a node says it holds.
    function heldCount(address node) external view returns (uint256) {
        return _held[node].length;
    }

    /// @notice The numbers that a node says it holds, from a place on.
    function held(address node, uint256 from, uint256 most) external view returns (uint64[] memory numbers) {
        uint256 length = _held[node].length;
        uint256 end = from + most > length ? length : from + most;
        numbers = new uint64[](from < end ? end - from : 0);
        for (uint256 i = 0; i < numbers.length; ++i) {
            numbers[i] = _held[node][from + i];
        }
    }

    /// @notice What a node is asked in the open slot: numbers and leaves. Empty where it holds nothing or has answered.
    function challenges(address node) external view returns (uint64[] memory numbers, uint64[] memory leaves) {
        uint256 length = _held[node].length;
        if (length == 0 || _proven[node].slot > credits.openSlot()) return (numbers, leaves);
        bytes32 seed = credits.seed();
        (numbers, leaves) = (new uint64[](CHALLENGES), new uint64[](CHALLENGES));
        for (uint256 i = 0; i < CHALLENGES; ++i) {
            bytes32 draw = _draw(seed, node, i);
            numbers[i] = _held[node][uint128(uint256(draw)) % length];
            leaves[i] = uint64((uint256(draw) >> 128) % _leaves(_chunks[numbers[i]].size));
        }
    }

    /// @notice The slot after the last one that a node has answered in, and what it proved there.
    function proven(address node) external view returns (uint64 slot, uint64 credit) {
        return (_proven[node].slot, _proven[node].credit);
    }

    /// @notice Whether a node has not answered for longer than `custodySilence` slots.
    function silent(address node) public view returns (bool) {
        return _held[node].length != 0 && _proven[node].slot + params.get(CUSTODY_SILENCE) < credits.openSlot();
    }

    /// @notice Where chunks are served, by nodes that are registered.
    function doors() external view returns (Door[] memory list) {
        uint256 found = 0;
        uint256 length = _doors.length;
        for (uint256 i = 0; i < length; ++i) {
            // slither-disable-next-line calls-loop
            if (credits.isNode(_doors[i])) ++found;
        }
        list = new Door[](found);
        for (uint256 i = length; i > 0; --i) {
            address node = _doors[i - 1];
            // slither-disable-next-line calls-loop
            if (credits.isNode(node)) list[--found] = Door(node, _urls[node]);
        }
    }

    /// @notice Whether `leaf` is leaf `index` of a chunk. Leaves are its pieces of LEAF bytes, hashed behind a zero byte; pairs are
    /// hashed behind a one, level by level, and who has no neighbour goes up as it is.
    function verifyLeaf(bytes32 root, uint256 size, uint256 index, bytes calldata leaf, bytes32[] calldata path)
        public
        pure
        returns (bool)
    {
        uint256 width = _leaves(size);
        if (index >= width) return false;
        uint256 rest = size - index * LEAF;
        if (leaf.length != (rest < LEAF ? rest : LEAF)) return false;
        bytes32 hash = keccak256(bytes.concat(hex"00", leaf));
        uint256 used = 0;
        for (; width > 1; width = (width + 1) >> 1) {
            uint256 other = index & 1 == 0 ? index + 1 : index - 1;
            if (other < width) {
                if (used == path.length) return false;
                bytes32 next = path[used++];
                hash = index & 1 == 0
                    ? keccak256(abi.encodePacked(hex"01", hash, next))
                    : keccak256(abi.encodePacked(hex"01", next, hash));
            }
            index >>= 1;
        }
        return used == path.length && hash == root;
    }

    // ------------------------------------------------------------------------------------------------ inside

    function _bounded(uint256 length) private pure {
        if (length == 0 || length > MAX_BATCH) revert BatchSize(length, MAX_BATCH);
    }

    // Gives a session's index a number.
    function _assign(bytes32 sessionId, uint64 index, uint64 number) private {
        uint256 group = _numbers[sessionId][index >> 2];
        uint256 shift = _shift(index);
        uint64 old = uint64(group >> shift);
        if (old != 0 && _chunks[old].size != 0) revert ChunkExists(sessionId, index);
        // The bits of an expired one are cleared first.
        group &= ~(uint256(type(uint64).max) << shift);
        _numbers[sessionId][index >> 2] = group | (uint256(number) << shift);
    }

    function _charge(uint256 fee_) private {
        if (msg.value < fee_) revert FeeTooSmall(msg.value, fee_);
        _send(address(credits), fee_);
        _send(msg.sender, msg.value - fee_);
    }

    function _send(address to, uint256 amount) private {
        if (amount == 0) return;
        // slither-disable-next-line arbitrary-send-eth,low-level-calls
        (bool sent,) = to.call{value: amount}("");
        if (!sent) revert TransferFailed(to, amount);
    }

    function _live(uint64 number, uint64 open) private view returns (Chunk storage it) {
        it = _chunks[number];
        if (it.size == 0) revert NoChunk(number);
        if (it.expiry <= open) revert ChunkHasExpired(number, it.expiry);
    }

    function _settled(address node, uint64 open) private view {
        if (_held[node].length != 0 && _proven[node].slot <= open) revert ProveFirst(node, open);
    }

    function _release(uint64 number, address node) private {
        (bool found, uint256 place) = _find(number, node);
        if (!found) revert NotHolder(number, node);
        _drop(number, place);
    }

    // A node's place among a chunk's holders.
    function _find(uint64 number, address node) private view returns (bool, uint256) {
        uint256 holders = _chunks[number].holders;
        for (uint256 i = 0; i < holders; ++i) {
            if (_holdings[number][i].node == node) return (true, i);
        }
        return (false, 0);
    }

    // Takes the holder at a place out of a chunk's list, and the chunk out of the holder's.
    function _drop(uint64 number, uint256 at) private {
        Holding memory gone = _holdings[number][at];
        uint64[] storage held_ = _held[gone.node];
        uint64 moved = held_[held_.length - 1];
        if (moved != number) {
            held_[gone.place] = moved;
            // INVARIANT: who has a number in its list is among that chunk's holders.
            uint256 j = 0;
            while (_holdings[moved][j].node != gone.node) ++j;
            _holdings[moved][j].place = gone.place;
        }
        held_.pop();
        uint8 last = _chunks[number].holders - 1;
        if (at != last) _holdings[number][at] = _holdings[number][last];
        delete _holdings[number][last];
        _chunks[number].holders = last;
        emit CustodyReleased(number, gone.node);
    }

    function _draw(bytes32 seed, address node, uint256 index) private pure returns (bytes32) {
        return keccak256(abi.encode(seed, node, index));
    }

    function _leaves(uint256 size) private pure returns (uint256) {
        return (size + LEAF - 1) / LEAF;
    }

    function _shift(uint64 index) private pure returns (uint256) {
        return (uint256(index) & 3) * 64;
    }
}

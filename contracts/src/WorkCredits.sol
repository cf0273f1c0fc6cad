// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IParamRegistry, IWorkCredits, IWorkVerifier, TaskProof} from "./Interfaces.sol";

/// @title Nodes, their work, and what it earns (requirements C6, C7, L7)
/// @notice Keeps the registered nodes and their bonds, the active validators, the order in which they lead, and the work of the
/// last seven days. The chain itself calls {onBlock}, {onEvidence} and {onSeal} from the system address; the open slot is
/// the clock of all contracts.
/// @dev What a block brings is gathered in one storage slot a node and moved into its hourly bucket when the slot is sealed.
/// Everything that walks over nodes is bounded by MAX_NODES.
contract WorkCredits is IWorkCredits, EIP712 {
    /// @notice A node that votes, and its keys.
    struct Validator {
        address node;
        bytes32 consensusKey;
        bytes32 vrfKey;
    }

    /// @notice A registered node as the ranking sees it.
    struct Entity {
        address node;
        // Whether it is in the active set from the next seal on.
        bool validator;
        bool jailed;
        // Work of the window, with that of the open slot.
        uint64 relay;
        uint64 storageWork;
        uint64 validation;
        uint64 uptime;
        uint64 timeouts;
        // 0: never; else the slot + 1.
        uint64 lastLedSlot;
        uint64 joinedSlot;
    }

    /// @dev One storage slot. As a bucket: the work of one hour, which `hour` names. As a window: the sum of the buckets of the
    /// WINDOW_HOURS hours up to and with `hour`.
    struct Work {
        uint32 hour;
        uint32 timeouts;
        uint48 relay;
        uint48 storageWork;
        uint48 validation;
        uint48 uptime;
    }

    /// @dev One storage slot: all that a block changes of a node.
    struct Live {
        // The slot that the five counters after it belong to; they count for nothing once that slot is sealed.
        uint40 slot;
        uint40 relay;
        uint40 storageWork;
        uint32 validation;
        uint24 timeouts;
        uint8 uptime;
        // Bit 0: seen in `slot`; bit 1: seen in the slot before it.
        uint8 seen;
        uint8 flags;
        // 0: never; else the slot + 1.
        uint40 lastLed;
    }

    /// @dev One storage slot.
    struct Stake {
        uint112 bond;
        uint40 joinedSlot;
        // How many slots had been sealed when it joined.
        uint40 joinedSeals;
        // Slot in which it left; meaningful with the flag LEAVING.
        uint40 leftSlot;
        // Place in _nodes.
        uint16 place;
    }

    /// @dev One storage slot: wei earned in all, and how much of it was paid (or, with a bond, burnt).
    struct Account {
        uint128 earned;
        uint128 paid;
    }

    /// @dev One storage slot.
    struct Clock {
        uint64 slot;
        uint64 height;
        uint64 seals;
        // Nodes with the flag ADMITTED: the size of the next active set.
        uint16 admitted;
        // The slot before the open one was sealed too, and not passed over while the chain stood still.
        bool follows;
        // How many nodes might vote when the last slot was sealed.
        uint16 eligible;
    }

    /// @dev One storage slot: wei here that are not the reserve.
    struct Books {
        uint128 bonds;
        uint128 unpaid;
    }

    uint8 public constant RELAY = 0;
    uint8 public constant STORAGE = 1;
    uint8 public constant VALIDATION = 2;
    uint8 public constant UPTIME = 3;

    /// @notice How the leader of a sealed slot came to lead it.
    uint8 public constant REASON_PRIMARY = 0;
    uint8 public constant REASON_FALLBACK = 1;
    uint8 public constant REASON_LATE = 2;

    uint256 private constant SLOTS_PER_HOUR = 30;
    uint256 private constant WINDOW_HOURS = 168;
    /// @notice Most nodes registered at once: it bounds every walk. Places cost a bond each (requirement L7).
    uint256 public constant MAX_NODES = 1_024;
    /// @notice Most credit of one relay or storage proof: the count of one slot stays far inside its bits.
    uint64 public constant MAX_PROOF_CREDIT = 1 << 20;
    /// @notice Most bytes of evidence in a proof.
    uint256 public constant MAX_EVIDENCE = 16 << 10;
    /// @notice Who may vote (requirement C3): up for 80 % of the window, and 1 LUCID earned.
    uint16 public constant ELIGIBLE_UPTIME_BPS = 8_000;
    uint256 public constant ELIGIBLE_EARNED = 1 ether;

    bytes32 private constant VALIDATOR_BOND = "validatorBond";
    bytes32 private constant MAX_VALIDATORS = "maxValidators";
    bytes32 private constant SLOT_REWARD = "slotReward";
    bytes32 private constant UNBONDING_SLOTS = "unbondingSlots";

    uint8 private constant REGISTERED = 1;
    // To be in the active set from the next seal on.
    uint8 private constant ADMITTED = 2;
    uint8 private constant LEAVING = 4;
    uint8 private constant JAILED = 8;

    bytes32 private constant TASK_PROOF_TYPEHASH =
        keccak256("TaskProof(address node,uint64 slot,uint8 kind,uint64 value,bytes evidence)");

    /// @notice Caller of the system calls: no key exists for it.
    address public constant SYSTEM = 0xffffFFFfFFffffffffffffffFfFFFfffFFFfFFfE;

    IParamRegistry public immutable params;
    /// @notice The one caller of {setValidator} and {setVerifier}.
    address public immutable timelock;

    Clock private _clock;
    Books private _books;
    /// @notice Wei of slashed bonds: they stay here for good, counted by nobody.
    uint256 public burnt;

    // The active set, ascending.
    address[] private _active;
    // INVARIANT: both are permutations of _active.
    address[] private _order;
    address[] private _next;

    address[] private _nodes;
    mapping(address node => Live) private _live;
    mapping(address node => Stake) private _stakes;
    mapping(address node => Account) private _accounts;
    mapping(address node => bytes32[2]) private _keys;
    // A key is one node's for good, so that a vote says whose it is long after.
    mapping(bytes32 consensusKey => address node) private _keyOwner;
    // Of node zero: `uptime` counts sealed slots, which every node's uptime is measured against.
    mapping(address node => Work) private _windows;
    mapping(address node => Work[WINDOW_HOURS]) private _buckets;
    // Slot + 1 of the last proof accepted, by kind: each proof is for a later slot than the one before it.
    mapping(address node => uint40[2]) private _lastProof;
    mapping(uint8 kind => IWorkVerifier) private _verifiers;
    /// @notice Drawn when the open slot began, by the VRF of the block that sealed the one before; zero in the first.
    bytes32 public seed;

    event Registered(address indexed node, bytes32 consensusKey, bytes32 vrfKey, uint256 bond);
    event BondAdded(address indexed node, uint256 amount);
    event Leaving(address indexed node, uint64 slot);
    event BondWithdrawn(address indexed node, uint256 amount);
    event ValidatorAdmitted(address indexed node);
    event ValidatorRemoved(address indexed node);
    event ValidatorSetChanged(uint64 slot);
    event VerifierSet(uint8 indexed kind, address verifier);
    event LeaderSchedule(uint64 indexed slot, address indexed winner, uint8 reason, address[] nextOrder);
    event ProofAccepted(address indexed node, uint8 kind, uint64 slot, uint64 value);
    event Credited(address indexed node, uint8 kind, uint64 slot, uint64 value);
    event Rewarded(address indexed node, uint64 slot, uint256 amount);
    event Slashed(address indexed node, uint8 kind, uint64 height, uint256 amount, bool jailed);
    event TimedOut(address indexed node, uint64 slot);
    event Claimed(address indexed node, uint256 amount);
    event Funded(address indexed from, uint256 amount);

    error OnlySystem(address caller);
    error OnlyTimelock(address caller);
    error WrongHeight(uint64 height, uint64 expected);
    error WrongSlot(uint64 slot, uint64 open);
    error UnknownReason(uint8 reason);
    error NoValidators();
    error ZeroAddress();
    error ZeroKey();
    error KeyTaken(bytes32 consensusKey, address node);
    error AlreadyRegistered(address node);
    error NotRegistered(address node);
    error IsJailed(address node);
    error IsLeaving(address node);
    error NotLeaving(address node);
    error BondTooSmall(uint256 bond, uint256 needed);
    error BondTooLarge(uint256 bond);
    error TooManyNodes();
    error TooManyValidators(uint256 max);
    error AlreadyValidator(address node);
    error NotValidator(address node);
    /// @notice The chain would have nobody left.
    error LastValidator(address node);
    error StillBonded(address node, uint64 until, uint64 slot);
    error NoVerifier(uint8 kind);
    error SlotNotOpen(uint64 slot, uint64 open);
    error ProofExists(address node, uint8 kind, uint64 slot);
    error NotProven(address node, uint8 kind, uint64 slot);
    error EvidenceTooLarge(uint256 length, uint256 max);
    error BadSignature(address node);
    error NothingToClaim(address node);
    error TransferFailed(address to, uint256 amount);

    modifier onlySystem() {
        if (msg.sender != SYSTEM) revert OnlySystem(msg.sender);
        _;
    }

    modifier onlyTimelock() {
        if (msg.sender != timelock) revert OnlyTimelock(msg.sender);
        _;
    }

    /// @param paramRegistry Governed parameters.
    /// @param timelock_ The one caller of the setters.
    /// @param storageVerifier Who checks proofs of storage until a vote says otherwise, 0 for nobody.
    /// @param genesisValidators The first active set, in any order. They have put nothing down; what they could lose are their
    /// earnings, their place, and what they add with {addBond}.
    constructor(address paramRegistry, address timelock_, address storageVerifier, Validator[] memory genesisValidators)
        EIP712("Lucid WorkCredits", "1")
    {
        if (paramRegistry == address(0) || timelock_ == address(0)) revert ZeroAddress();
        if (genesisValidators.length == 0) revert NoValidators();
        if (genesisValidators.length > 100) revert TooManyValidators(100);
        params = IParamRegistry(paramRegistry);
        timelock = timelock_;
        address[] memory set = new address[](genesisValidators.length);
        for (uint256 i = 0; i < set.length; ++i) {
            Validator memory validator = genesisValidators[i];
            if (validator.node == address(0)) revert ZeroAddress();
            set[i] = validator.node;
            _enter(validator.node, validator.consensusKey, validator.vrfKey, 0);
            _live[validator.node].flags |= ADMITTED;
            emit ValidatorAdmitted(validator.node);
        }
        _verifiers[STORAGE] = IWorkVerifier(storageVerifier);
        emit VerifierSet(STORAGE, storageVerifier);
        _clock.admitted = uint16(set.length);
        _sort(set);
        _active = set;
        _order = set;
        _next = set;
        emit ValidatorSetChanged(0);
    }

    /// @notice Adds to the reserve that rewards are paid from.
    receive() external payable {
        emit Funded(msg.sender, msg.value);
    }

    // ------------------------------------------------------------------------------------------------ calls of the chain

    /// @notice At the start of every block. Counts a validation for each signer of the parent's certificate, and that signers
    /// and proposer are up; moves those that let their proposal time out to the end of the order, and counts it.
    /// @param height The block's: one more than at the call before.
    /// @param slot The block's: the open one.
    /// @param missed Whose rounds passed before this block was proposed, in the order of the rounds.
    function onBlock(
        uint64 height,
        uint64 slot,
        address proposer,
        address[] calldata signers,
        address[] calldata missed
    ) external onlySystem {
        if (height != _clock.height + 1) revert WrongHeight(height, _clock.height + 1);
        if (slot != _clock.slot) revert WrongSlot(slot, _clock.slot);
        _clock.height = height;
        for (uint256 i = 0; i < signers.length; ++i) {
            Live memory live = _live[signers[i]];
            // A signer may have been struck off since it signed: its work is nobody's then.
            if (!_works(live)) continue;
            _open(live, slot);
            live.validation += 1;
            _see(live);
            _live[signers[i]] = live;
        }
        Live memory leader = _live[proposer];
        if (_works(leader)) {
            _open(leader, slot);
            if (_see(leader)) _live[proposer] = leader;
        }
        if (missed.length != 0) _demote(slot, missed);
    }

    /// @notice A node signed two things of which it may sign one (requirement L3): it loses its bond and its unpaid earnings and
    /// is out for good from the next seal on. Repeated, it does nothing more.
    /// @dev The last validator is not jailed: a chain without validators could never come back.
    /// @param kind Of evidence, for the log.
    /// @param height At which it happened, for the log.
    function onEvidence(address node, uint8 kind, uint64 height) external onlySystem {
        Live memory live = _live[node];
        if (!_has(live, REGISTERED) || _has(live, JAILED)) return;
        bool last = _has(live, ADMITTED) && _clock.admitted == 1;
        if (!last) {
            if (_has(live, ADMITTED)) {
                _clock.admitted -= 1;
                emit ValidatorRemoved(node);
            }
            live.flags = (live.flags & ~ADMITTED) | JAILED;
            _live[node] = live;
        }
        uint112 bond = _stakes[node].bond;
        uint128 unpaid = _accounts[node].earned - _accounts[node].paid;
        _stakes[node].bond = 0;
        _accounts[node].paid += unpaid;
        _books.bonds -= bond;
        _books.unpaid -= unpaid;
        uint256 amount = uint256(bond) + unpaid;
        burnt += amount;
        emit Slashed(node, kind, height, amount, !last);
    }

    /// @notice At the end of the block that seals a slot. Moves the slot's work into the window, shares the slot's reward out,
    /// lets admitted validators in and others out, and makes the order that was next the current one.
    /// @param slot The sealed one: the open one.
    /// @param nextSlot The one that is open from now on.
    /// @param winner Who led the sealed slot.
    /// @param reason 0 primary, 1 fallback, 2 late.
    /// @param nextOrder Who leads in the slot after `nextSlot`, best first. What is not in the new set is left out, what is
    /// missing is put at the end.
    // slither-disable-next-line shadowing-local
    function onSeal(uint64 slot, uint64 nextSlot, address winner, uint8 reason, address[] calldata nextOrder)
        external
        onlySystem
    {
        Clock memory clock = _clock;
        if (slot != clock.slot || nextSlot <= slot) revert WrongSlot(slot, clock.slot);
        if (reason > REASON_LATE) revert UnknownReason(reason);
        if (_has(_live[winner], REGISTERED)) _live[winner].lastLed = uint40(slot + 1);
        _settle(slot);
        (clock.slot, clock.seals, clock.follows) = (nextSlot, clock.seals + 1, nextSlot == slot + 1);
        _clock = clock;
        seed = keccak256(abi.encode(block.prevrandao, nextSlot));

        address[] memory set = _refreshActive(slot, clock.admitted);
        address[] memory order = _coolDown(_arrange(_next, set), slot);
        address[] memory next = _arrange(nextOrder, set);
        _order = order;
        _next = next;
        _clock.eligible = _countEligible();
        emit LeaderSchedule(slot, winner, reason, next);
    }

    // ------------------------------------------------------------------------------------------------ nodes

    /// @notice Registers the sender as a node, with the coins sent along as its bond.
    /// @param consensusKey Ed25519 key of its votes; no other node's, ever.
    /// @param vrfKey Key of its VRF proofs.
    function register(bytes32 consensusKey, bytes32 vrfKey) external payable {
        Live memory live = _live[msg.sender];
        if (_has(live, JAILED)) revert IsJailed(msg.sender);
        if (_has(live, REGISTERED)) revert AlreadyRegistered(msg.sender);
        uint256 needed = params.get(VALIDATOR_BOND);
        if (msg.value < needed) revert BondTooSmall(msg.value, needed);
        _enter(msg.sender, consensusKey, vrfKey, msg.value);
    }

    /// @notice Adds the coins sent along to the sender's bond.
    function addBond() external payable {
        Live memory live = _live[msg.sender];
        if (!_has(live, REGISTERED)) revert NotRegistered(msg.sender);
        if (_has(live, JAILED)) revert IsJailed(msg.sender);
        if (_has(live, LEAVING)) revert IsLeaving(msg.sender);
        uint256 bond = uint256(_stakes[msg.sender].bond) + msg.value;
        if (bond > type(uint112).max) revert BondTooLarge(bond);
        _stakes[msg.sender].bond = uint112(bond);
        // Less than the bond, which fits.
        _books.bonds += uint128(msg.value);
        emit BondAdded(msg.sender, msg.value);
    }

    /// @notice Lets a registered node into the active set, or takes it out, from the next seal on. The timelock only.
    function setValidator(address node, bool active) external onlyTimelock {
        Live memory live = _live[node];
        if (!_has(live, REGISTERED)) revert NotRegistered(node);
        if (!active) {
            _dismiss(node, live);
            _live[node] = live;
            return;
        }
        if (_has(live, JAILED)) revert IsJailed(node);
        if (_has(live, LEAVING)) revert IsLeaving(node);
        if (_has(live, ADMITTED)) revert AlreadyValidator(node);
        uint256 bond = _stakes[node].bond;
        uint256 needed = params.get(VALIDATOR_BOND);
        if (bond < needed) revert BondTooSmall(bond, needed);
        uint256 max = params.get(MAX_VALIDATORS);
        if (_clock.admitted >= max) revert TooManyValidators(max);
        _clock.admitted += 1;
        live.flags |= ADMITTED;
        _live[node] = live;
        emit ValidatorAdmitted(node);
    }

    /// @notice The sender stops being a node: a validator is out of the set from the next seal on, and after `unbondingSlots`
    /// the bond can be withdrawn. Until then it can be slashed for what it did.
    function leave() external {
        Live memory live = _live[msg.sender];
        if (!_has(live, REGISTERED)) revert NotRegistered(msg.sender);
        if (_has(live, LEAVING)) revert IsLeaving(msg.sender);
        if (_has(live, ADMITTED)) _dismiss(msg.sender, live);
        live.flags |= LEAVING;
        _live[msg.sender] = live;
        _stakes[msg.sender].leftSlot = uint40(_clock.slot);
        emit Leaving(msg.sender, _clock.slot);
    }

    /// @notice Pays the sender's bond back once it has left for long enough. It may register again.
    function withdrawBond() external {
        Live memory live = _live[msg.sender];
        if (!_has(live, LEAVING)) revert NotLeaving(msg.sender);
        Stake memory stake = _stakes[msg.sender];
        uint64 until = stake.leftSlot + uint64(params.get(UNBONDING_SLOTS));
        if (_clock.slot < until) revert StillBonded(msg.sender, until, _clock.slot);

        address moved = _nodes[_nodes.length - 1];
        _nodes[stake.place] = moved;
        _stakes[moved].place = stake.place;
        _nodes.pop();
        // Earnings, window, and when it first joined stay: leaving wipes no record.
        _stakes[msg.sender].bond = 0;
        _live[msg.sender].flags = live.flags & JAILED;
        _books.bonds -= stake.bond;
        emit BondWithdrawn(msg.sender, stake.bond);
        _pay(msg.sender, stake.bond);
    }

    // ------------------------------------------------------------------------------------------------ work

    /// @notice Hands in proofs of work. A beacon (kind 3) says that its node is up in the open slot or the one before, and counts
    /// once a slot, however the node was seen; a second one is passed over. Relay and storage go to their verifier.
    function submit(TaskProof[] calldata proofs) external {
        uint64 slot = _clock.slot;
        uint64 oldest = _clock.follows ? slot - 1 : slot;
        for (uint256 i = 0; i < proofs.length; ++i) {
            TaskProof calldata proof = proofs[i];
            Live memory live = _live[proof.node];
            if (!_has(live, REGISTERED)) revert NotRegistered(proof.node);
            if (_has(live, JAILED)) revert IsJailed(proof.node);
            if (proof.slot > slot || proof.slot < oldest || proof.slot < _stakes[proof.node].joinedSlot) {
                revert SlotNotOpen(proof.slot, slot);
            }
            if (proof.evidence.length > MAX_EVIDENCE) revert EvidenceTooLarge(proof.evidence.length, MAX_EVIDENCE);
            if (proof.node != msg.sender && ECDSA.recoverCalldata(digest(proof), proof.signature) != proof.node) {
                revert BadSignature(proof.node);
            }
            _open(live, slot);
            uint64 credit = _count(proof, live, slot);
            if (credit == 0) continue;
            _live[proof.node] = live;
            emit ProofAccepted(proof.node, proof.kind, proof.slot, credit);
        }
    }

    /// @notice Sets who checks proofs of a kind, 0 for nobody. The timelock only.
    /// @param kind 0 relay or 1 storage: the others need no verifier.
    function setVerifier(uint8 kind, address checker) external onlyTimelock {
        if (kind > STORAGE) revert NoVerifier(kind);
        _verifiers[kind] = IWorkVerifier(checker);
        emit VerifierSet(kind, checker);
    }

    /// @notice Pays a node what it earned since it was last paid. Anyone may call it.
    function claim(address node) external {
        Account memory account = _accounts[node];
        uint128 amount = account.earned - account.paid;
        if (amount == 0) revert NothingToClaim(node);
        _accounts[node].paid = account.earned;
        _books.unpaid -= amount;
        emit Claimed(node, amount);
        _pay(node, amount);
    }

    // ------------------------------------------------------------------------------------------------ views

    /// @notice The slot that blocks belong to now: the clock of the contracts.
    function openSlot() external view returns (uint64) {
        return _clock.slot;
    }

    /// @notice Height of the last block that {onBlock} was called for, and how many slots were sealed.
    function progress() external view returns (uint64 height, uint64 seals) {
        return (_clock.height, _clock.seals);
    }

    /// @notice The active set, ascending by address.
    function validators() external view returns (Validator[] memory) {
        return _withKeys(_active);
    }

    /// @notice The set as it will be after the next seal, if nothing changes until then.
    function nextValidators() external view returns (Validator[] memory) {
        return _withKeys(_admitted(_clock.admitted));
    }

    /// @notice All registered nodes with their work, as of now.
    function tally() external view returns (Entity[] memory entities) {
        entities = new Entity[](_nodes.length);
        for (uint256 i = 0; i < entities.length; ++i) {
            entities[i] = entity(_nodes[i]);
        }
    }

    /// @notice As {tally}, of the nodes that {nextValidators} has: all that a ranking needs, however many others register.
    function validatorTally() external view returns (Entity[] memory entities) {
        address[] memory set = _admitted(_clock.admitted);
        entities = new Entity[](set.length);
        for (uint256 i = 0; i < set.length; ++i) {
            entities[i] = entity(set[i]);
        }
    }

    /// @notice One node's entry in the tally.
    function entity(address node) public view returns (Entity memory) {
        Live memory live = _live[node];
        Work memory work = _rolled(node, _hour(_clock.slot));
        if (live.slot == _clock.slot) _add(work, live);
        return Entity({
            node: node,
            validator: _has(live, ADMITTED),
            jailed: _has(live, JAILED),
            relay: work.relay,
            storageWork: work.storageWork,
            validation: work.validation,
            uptime: work.uptime,
            timeouts: work.timeouts,
            lastLedSlot: live.lastLed,
            joinedSlot: _stakes[node].joinedSlot
        });
    }

    /// @notice Who leads in the open slot, by round.
    function currentOrder() external view returns (uint64 slot, address[] memory order) {
        return (_clock.slot, _order);
    }

    /// @notice Who leads in the slot after it.
    function nextOrder() external view returns (uint64 slot, address[] memory order) {
        return (_clock.slot + 1, _next);
    }

    /// @notice A node's work in the window and the open slot: relay, storage, validation, uptime.
    function credits(address node) external view returns (uint64[4] memory) {
        Entity memory of_ = entity(node);
        return [of_.relay, of_.storageWork, of_.validation, of_.uptime];
    }

    /// @notice In how many of the window's sealed slots since it joined a node was up, in 1/10000.
    function uptimeBps(address node) public view returns (uint16) {
        uint256 hour = _hour(_clock.slot);
        uint256 slots = _rolled(address(0), hour).uptime;
        uint256 since = _clock.seals - _stakes[node].joinedSeals;
        if (since < slots) slots = since;
        if (slots == 0) return 0;
        uint256 bps = uint256(_rolled(node, hour).uptime) * 10_000 / slots;
        return bps > 10_000 ? 10_000 : uint16(bps);
    }

    /// @notice Wei a node has earned so far, paid or not.
    function earned(address node) external view returns (uint256) {
        return _accounts[node].earned;
    }

    /// @notice Wei a node can claim.
    function claimable(address node) external view returns (uint256) {
        return _accounts[node].earned - _accounts[node].paid;
    }

    /// @notice Whether a node may propose and vote (requirement C3).
    function eligible(address node) public view returns (bool) {
        // The cheap ones first: the seal asks it of every node.
        return isNode(node) && _accounts[node].earned >= ELIGIBLE_EARNED && uptimeBps(node) >= ELIGIBLE_UPTIME_BPS;
    }

    /// @notice How many nodes might when the last slot was sealed. Counted then, so that asking costs the same however many
    /// nodes there are: a proposal has to fit in the smallest block.
    function eligibleCount() external view returns (uint256) {
        return _clock.eligible;
    }

    /// @notice Whether a node is registered and not jailed.
    function isNode(address node) public view returns (bool) {
        return _live[node].flags & (REGISTERED | JAILED) == REGISTERED;
    }

    /// @notice Slot in which a node first registered.
    function joinedSlot(address node) external view returns (uint64) {
        return _stakes[node].joinedSlot;
    }

    /// @notice Wei a node has put down.
    function bondOf(address node) external view returns (uint256) {
        return _stakes[node].bond;
    }

    /// @notice Slot from which a leaving node can withdraw its bond; 0 where it is not leaving.
    function withdrawableAt(address node) external view returns (uint64) {
        if (!_has(_live[node], LEAVING)) return 0;
        return _stakes[node].leftSlot + uint64(params.get(UNBONDING_SLOTS));
    }

    /// @notice A node's keys: of its votes, of its VRF proofs.
    function keysOf(address node) external view returns (bytes32 consensusKey, bytes32 vrfKey) {
        return (_keys[node][0], _keys[node][1]);
    }

    /// @notice Who has or had a consensus key.
    function nodeOfKey(bytes32 consensusKey) external view returns (address) {
        return _keyOwner[consensusKey];
    }

    /// @notice Who checks proofs of a kind.
    function verifier(uint8 kind) external view returns (address) {
        return address(_verifiers[kind]);
    }

    /// @notice How many nodes are registered.
    function nodeCount() external view returns (uint256) {
        return _nodes.length;
    }

    /// @notice Wei left for rewards.
    function reserve() public view returns (uint256) {
        return address(this).balance - _books.bonds - _books.unpaid - burnt;
    }

    /// @notice Wei held for bonds, and for what is earned and not yet paid.
    function books() external view returns (uint256 bonds, uint256 unpaid) {
        return (_books.bonds, _books.unpaid);
    }

    /// @notice An hour's work as stored: for tests and for who reads state proofs.
    function bucket(address node, uint256 index) external view returns (Work memory) {
        return _buckets[node][index];
    }

    /// @notice A node's window as stored at the last seal.
    function window(address node) external view returns (Work memory) {
        return _windows[node];
    }

    /// @notice What a node signs for a proof (EIP-712; the chain id is part of the domain).
    function digest(TaskProof calldata proof) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    TASK_PROOF_TYPEHASH, proof.node, proof.slot, proof.kind, proof.value, keccak256(proof.evidence)
                )
            )
        );
    }

    // ------------------------------------------------------------------------------------------------ inside: nodes

    function _enter(address node, bytes32 consensusKey, bytes32 vrfKey, uint256 bond) private {
        if (consensusKey == 0 || vrfKey == 0) revert ZeroKey();
        address owner = _keyOwner[consensusKey];
        if (owner != address(0) && owner != node) revert KeyTaken(consensusKey, owner);
        if (_live[node].flags & REGISTERED != 0) revert AlreadyRegistered(node);
        if (_nodes.length >= MAX_NODES) revert TooManyNodes();
        if (bond > type(uint112).max) revert BondTooLarge(bond);
        _keyOwner[consensusKey] = node;
        Stake memory stake = _stakes[node];
        // The first time only: who comes back does not get a new, short record to be measured by.
        if (_keys[node][0] == 0) {
            stake.joinedSlot = uint40(_clock.slot);
            stake.joinedSeals = uint40(_clock.seals);
        }
        stake.bond = uint112(bond);
        stake.place = uint16(_nodes.length);
        _stakes[node] = stake;
        _keys[node] = [consensusKey, vrfKey];
        _nodes.push(node);
        _live[node].flags |= REGISTERED;
        _books.bonds += uint128(bond);
        emit Registered(node, consensusKey, vrfKey, bond);
    }

    // Takes a validator out of the next set; the caller stores `live`.
    function _dismiss(address node, Live memory live) private {
        if (!_has(live, ADMITTED)) revert NotValidator(node);
        if (_clock.admitted == 1) revert LastValidator(node);
        _clock.admitted -= 1;
        live.flags &= ~ADMITTED;
        emit ValidatorRemoved(node);
    }

    function _pay(address to, uint256 amount) private {
        if (amount == 0) return;
        // slither-disable-next-line arbitrary-send-eth,low-level-calls
        (bool sent,) = to.call{value: amount}("");
        if (!sent) revert TransferFailed(to, amount);
    }

    function _has(Live memory live, uint8 flag) private pure returns (bool) {
        return live.flags & flag != 0;
    }

    // Whether what the node does is counted.
    function _works(Live memory live) private pure returns (bool) {
        return live.flags & (REGISTERED | JAILED) == REGISTERED;
    }

    function _withKeys(address[] memory set) private view returns (Validator[] memory list) {
        list = new Validator[](set.length);
        for (uint256 i = 0; i < set.length; ++i) {
            bytes32[2] storage keys = _keys[set[i]];
            list[i] = Validator({node: set[i], consensusKey: keys[0], vrfKey: keys[1]});
        }
    }

    // ------------------------------------------------------------------------------------------------ inside: the open slot

    // Starts the node's counters anew when it is first heard of in a slot. Those of the slot before were settled by its seal.
    function _open(Live memory live, uint64 slot) private pure {
        if (live.slot == slot) return;
        live.seen = uint256(live.slot) + 1 == slot ? (live.seen & 1) << 1 : 0;
        live.slot = uint40(slot);
        (live.relay, live.storageWork, live.validation, live.timeouts, live.uptime) = (0, 0, 0, 0, 0);
    }

    // Counts the node up in the open slot; false where it already was.
    function _see(Live memory live) private pure returns (bool) {
        if (live.seen & 1 != 0) return false;
        live.seen |= 1;
        live.uptime += 1;
        return true;
    }

    // What a proof brings its node; 0 for a beacon of a slot in which it was seen already.
    function _count(TaskProof calldata proof, Live memory live, uint64 slot) private returns (uint64 credit) {
        if (proof.kind == UPTIME) {
            uint8 bit = proof.slot == slot ? 1 : 2;
            if (live.seen & bit != 0) return 0;
            live.seen |= bit;
            live.uptime += 1;
            return 1;
        }
        credit = _verify(proof);
        if (proof.kind == RELAY) live.relay += uint40(credit);
        else live.storageWork += uint40(credit);
    }

    function _verify(TaskProof calldata proof) private returns (uint64 credit) {
        if (proof.kind > STORAGE || address(_verifiers[proof.kind]) == address(0)) revert NoVerifier(proof.kind);
        uint40 last = _lastProof[proof.node][proof.kind];
        if (proof.slot + 1 <= last) revert ProofExists(proof.node, proof.kind, proof.slot);
        _lastProof[proof.node][proof.kind] = uint40(proof.slot + 1);
        // slither-disable-next-line calls-loop
        credit = _verifiers[proof.kind].verify(proof);
        if (credit > proof.value) credit = proof.value;
        if (credit > MAX_PROOF_CREDIT) credit = MAX_PROOF_CREDIT;
        if (credit == 0) revert NotProven(proof.node, proof.kind, proof.slot);
    }

    // The missed go to the end, in the order of their rounds; the others keep theirs.
    function _demote(uint64 slot, address[] calldata missed) private {
        address[] memory order = _order;
        uint256 length = order.length;
        address[] memory last = new address[](length);
        uint256 count = 0;
        for (uint256 i = 0; i < missed.length; ++i) {
            Live memory live = _live[missed[i]];
            if (_works(live)) {
                _open(live, slot);
                live.timeouts += 1;
                // Who let a proposal time out cools down like who led.
                live.lastLed = uint40(slot + 1);
                _live[missed[i]] = live;
                emit TimedOut(missed[i], slot);
            }
            for (uint256 j = 0; j < length; ++j) {
                // A node is taken out of the order once, however often it missed.
                if (order[j] == missed[i]) {
                    order[j] = address(0);
                    last[count++] = missed[i];
                    break;
                }
            }
        }
        if (count == 0) return;
        uint256 kept = 0;
        for (uint256 j = 0; j < length; ++j) {
            if (order[j] != address(0)) order[kept++] = order[j];
        }
        for (uint256 j = 0; j < count; ++j) {
            order[kept + j] = last[j];
        }
        _order = order;
    }

    // ------------------------------------------------------------------------------------------------ inside: the seal

    // Moves the sealed slot's work into buckets and windows, and shares its reward out by it. Each credit weighs the same: one
    // MiB relayed, one GiB kept for a slot, one signature, one slot up.
    function _settle(uint64 slot) private {
        uint256 hour = _hour(slot);
        uint256 length = _nodes.length;
        address[] memory nodes = _nodes;
        uint256[] memory gains = new uint256[](length);
        uint256 total = 0;
        for (uint256 i = 0; i < length; ++i) {
            Live memory live = _live[nodes[i]];
            if (live.slot == slot) {
                _credit(nodes[i], hour, live);
                _log(nodes[i], slot, live);
                if (_works(live)) {
                    gains[i] = uint256(live.relay) + live.storageWork + live.validation + live.uptime;
                    total += gains[i];
                }
            } else if (_windows[nodes[i]].hour != hour) {
                // Kept up to date, so that a view never has more than the hours since the last seal to go through.
                _windows[nodes[i]] = _rolled(nodes[i], hour);
            }
        }
        _credit(address(0), hour, Live(0, 0, 0, 0, 0, 1, 0, 0, 0));

        if (total == 0) return;
        uint256 reward = params.get(SLOT_REWARD);
        uint256 available = reserve();
        if (reward > available) reward = available;
        // slither-disable-next-line incorrect-equality
        if (reward == 0) return;
        uint128 paid = 0;
        for (uint256 i = 0; i < length; ++i) {
            if (gains[i] == 0) continue;
            // At most the reward, 100 LUCID: it fits.
            uint128 share = uint128(reward * gains[i] / total);
            // slither-disable-next-line incorrect-equality
            if (share == 0) continue;
            paid += share;
            _accounts[nodes[i]].earned += share;
            emit Rewarded(nodes[i], slot, share);
        }
        _books.unpaid += paid;
    }

    function _credit(address node, uint256 hour, Live memory live) private {
        Work memory sum = _rolled(node, hour);
        _add(sum, live);
        _windows[node] = sum;
        Work memory part = _buckets[node][hour % WINDOW_HOURS];
        // A week old, and out of the sum already.
        if (part.hour != hour) part = Work(uint32(hour), 0, 0, 0, 0, 0);
        _add(part, live);
        _buckets[node][hour % WINDOW_HOURS] = part;
    }

    function _log(address node, uint64 slot, Live memory live) private {
        if (live.relay != 0) emit Credited(node, RELAY, slot, live.relay);
        if (live.storageWork != 0) emit Credited(node, STORAGE, slot, live.storageWork);
        if (live.validation != 0) emit Credited(node, VALIDATION, slot, live.validation);
        if (live.uptime != 0) emit Credited(node, UPTIME, slot, live.uptime);
    }

    function _add(Work memory work, Live memory live) private pure {
        work.relay += live.relay;
        work.storageWork += live.storageWork;
        work.validation += live.validation;
        work.uptime += live.uptime;
        work.timeouts += live.timeouts;
    }

    // The node's window moved on to an hour: what fell out of it is taken off.
    function _rolled(address node, uint256 hour) private view returns (Work memory work) {
        work = _windows[node];
        uint256 from = work.hour;
        if (hour - from >= WINDOW_HOURS) return Work(uint32(hour), 0, 0, 0, 0, 0);
        work.hour = uint32(hour);
        // Most nodes that have nothing are spared the walk.
        if (work.relay == 0 && work.storageWork == 0 && work.validation == 0 && work.uptime == 0 && work.timeouts == 0)
        {
            return work;
        }
        for (uint256 i = from + 1; i <= hour; ++i) {
            Work memory old = _buckets[node][i % WINDOW_HOURS];
            if (old.hour + WINDOW_HOURS != i) continue;
            work.relay -= old.relay;
            work.storageWork -= old.storageWork;
            work.validation -= old.validation;
            work.uptime -= old.uptime;
            work.timeouts -= old.timeouts;
        }
    }

    function _countEligible() private view returns (uint16 count) {
        uint256 length = _nodes.length;
        for (uint256 i = 0; i < length; ++i) {
            if (eligible(_nodes[i])) ++count;
        }
    }

    function _hour(uint64 slot) private pure returns (uint256) {
        return slot / SLOTS_PER_HOUR;
    }

    // The nodes with the flag ADMITTED, ascending.
    function _admitted(uint256 count) private view returns (address[] memory set) {
        set = new address[](count);
        uint256 length = _nodes.length;
        uint256 found = 0;
        for (uint256 i = 0; i < length; ++i) {
            address node = _nodes[i];
            if (_live[node].flags & ADMITTED != 0) set[found++] = node;
        }
        _sort(set);
    }

    function _refreshActive(uint64 slot, uint256 count) private returns (address[] memory set) {
        set = _admitted(count);
        if (keccak256(abi.encode(set)) == keccak256(abi.encode(_active))) return set;
        _active = set;
        emit ValidatorSetChanged(slot);
    }

    // `wish` without what is not in the set or there twice, and what it lacks of the set behind it.
    function _arrange(address[] memory wish, address[] memory set) private pure returns (address[] memory order) {
        uint256 length = set.length;
        order = new address[](length);
        bool[] memory placed = new bool[](length);
        uint256 count = 0;
        for (uint256 i = 0; i < wish.length && count < length; ++i) {
            (bool found, uint256 place) = _find(set, wish[i]);
            if (!found || placed[place]) continue;
            placed[place] = true;
            order[count++] = wish[i];
        }
        for (uint256 i = 0; i < length; ++i) {
            if (!placed[i]) order[count++] = set[i];
        }
    }

    /// @dev `order` with those who led `slot` or missed in it at its end: it was made before they went into cooldown.
    function _coolDown(address[] memory order, uint64 slot) private view returns (address[] memory cooled) {
        uint256 length = order.length;
        cooled = new address[](length);
        uint256 first = 0;
        uint256 last = length;
        for (uint256 i = 0; i < length; ++i) {
            if (_live[order[i]].lastLed == slot + 1) cooled[--last] = order[i];
            else cooled[first++] = order[i];
        }
        // Filled from the back, so turned round once to keep their order.
        for (uint256 high = length; last + 1 < high; ++last) {
            --high;
            (cooled[last], cooled[high]) = (cooled[high], cooled[last]);
        }
    }

    function _find(address[] memory set, address node) private pure returns (bool, uint256) {
        uint256 low = 0;
        uint256 high = set.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (set[middle] == node) return (true, middle);
            if (set[middle] < node) low = middle + 1;
            else high = middle;
        }
        return (false, 0);
    }

    // By insertion: at most MAX_VALIDATORS, and they come nearly sorted.
    function _sort(address[] memory list) private pure {
        for (uint256 i = 1; i < list.length; ++i) {
            address moving = list[i];
            uint256 j = i;
            while (j > 0 && list[j - 1] > moving) {
                list[j] = list[j - 1];
                --j;
            }
            list[j] = moving;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParamRegistry, ISignerRegistry, ITimelock, IWorkCredits} from "./Interfaces.sol";

/// @title The delay between a vote and its effect (requirement C3)
/// @notice The only caller of the setters, and it knows no other calls: an accepted proposal is one of four actions with decoded
/// arguments, never a target with bytes.
contract Timelock is ITimelock {
    /// @notice `abi.encode(bytes32 key, uint256 value)` for {ParamRegistry.set}.
    uint8 public constant SET_PARAM = 0;
    /// @notice `abi.encode(address[3] signers)` for {SignerRegistry.rotate}.
    uint8 public constant ROTATE_SIGNERS = 1;
    /// @notice `abi.encode(address node, bool active)` for {WorkCredits.setValidator}.
    uint8 public constant SET_VALIDATOR = 2;
    /// @notice `abi.encode(uint8 kind, address verifier)` for {WorkCredits.setVerifier}.
    uint8 public constant SET_VERIFIER = 3;

    /// @notice Slots in which a matured action can be executed: a week. What nobody wanted by then needs a new vote.
    uint64 public constant GRACE_SLOTS = 5_040;

    address public immutable governor;
    IParamRegistry public immutable params;
    ISignerRegistry public immutable signers;
    IWorkCredits public immutable credits;

    /// @notice What waits: the hash of the action, and the slot from which it may happen.
    struct Scheduled {
        bytes32 actionHash;
        uint64 eta;
        bool done;
    }

    mapping(uint256 id => Scheduled) private _scheduled;

    event ActionScheduled(uint256 indexed id, uint8 action, bytes data, uint64 eta);
    event ActionExecuted(uint256 indexed id, uint8 action, bytes data);

    error OnlyGovernor(address caller);
    error AlreadyScheduled(uint256 id);
    error NotScheduled(uint256 id);
    error AlreadyExecuted(uint256 id);
    error TooEarly(uint256 id, uint64 eta, uint64 slot);
    error Expired(uint256 id, uint64 until, uint64 slot);
    error OtherAction(uint256 id);
    error UnknownAction(uint8 action);
    error ZeroAddress();

    modifier onlyGovernor() {
        if (msg.sender != governor) revert OnlyGovernor(msg.sender);
        _;
    }

    constructor(address governor_, address params_, address signers_, address credits_) {
        if (governor_ == address(0) || params_ == address(0) || signers_ == address(0) || credits_ == address(0)) {
            revert ZeroAddress();
        }
        governor = governor_;
        params = IParamRegistry(params_);
        signers = ISignerRegistry(signers_);
        credits = IWorkCredits(credits_);
    }

    /// @notice From which slot a scheduled action may happen, 0 where none is; and whether it did.
    function scheduled(uint256 id) external view returns (uint64 eta, bool done) {
        Scheduled storage entry = _scheduled[id];
        return (entry.eta, entry.done);
    }

    /// @notice Starts an accepted action's delay. The governor only.
    function schedule(uint256 id, uint8 action, bytes calldata data) external onlyGovernor returns (uint64 eta) {
        if (action > SET_VERIFIER) revert UnknownAction(action);
        if (_scheduled[id].eta != 0) revert AlreadyScheduled(id);
        // Both are bounded far below 64 bits: the delay by its parameter, the slot by time. The delay is at least 1.
        eta = credits.openSlot() + uint64(params.get("timelockDelay"));
        _scheduled[id] = Scheduled({actionHash: _hash(action, data), eta: eta, done: false});
        emit ActionScheduled(id, action, data, eta);
    }

    /// @notice Does what was scheduled, once, after its delay. The governor only.
    function execute(uint256 id, uint8 action, bytes calldata data) external onlyGovernor {
        Scheduled storage entry = _scheduled[id];
        uint64 eta = entry.eta;
        uint64 slot = credits.openSlot();
        if (eta == 0) revert NotScheduled(id);
        if (entry.done) revert AlreadyExecuted(id);
        if (slot < eta) revert TooEarly(id, eta, slot);
        if (slot > eta + GRACE_SLOTS) revert Expired(id, eta + GRACE_SLOTS, slot);
        if (entry.actionHash != _hash(action, data)) revert OtherAction(id);
        entry.done = true;
        emit ActionExecuted(id, action, data);

        if (action == SET_PARAM) {
            (bytes32 key, uint256 value) = abi.decode(data, (bytes32, uint256));
            params.set(key, value);
        } else if (action == ROTATE_SIGNERS) {
            signers.rotate(abi.decode(data, (address[3])));
        } else if (action == SET_VALIDATOR) {
            (address node, bool active) = abi.decode(data, (address, bool));
            credits.setValidator(node, active);
        } else {
            (uint8 kind, address verifier) = abi.decode(data, (uint8, address));
            credits.setVerifier(kind, verifier);
        }
    }

    function _hash(uint8 action, bytes calldata data) private pure returns (bytes32) {
        return keccak256(abi.encode(action, data));
    }
}

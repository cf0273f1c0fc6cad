// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParamRegistry} from "./Interfaces.sol";

/// @title Governed parameters (requirement C4)
/// @notice A closed list of numbers, each within bounds that are part of the code. Only the timelock changes one.
contract ParamRegistry is IParamRegistry {
    /// @notice The one caller of {set}.
    address public immutable timelock;

    bytes32 private constant PAYOUT_EPOCH_LENGTH = "payoutEpochLength";
    bytes32 private constant MAX_CHUNK_SIZE = "maxChunkSize";
    bytes32 private constant POLICY_TIMEOUT_MS = "policyTimeoutMs";
    bytes32 private constant BLOCK_GAS_MIN = "blockGasMin";
    bytes32 private constant BLOCK_GAS_MAX = "blockGasMax";
    bytes32 private constant MIN_BASE_FEE = "minBaseFee";
    bytes32 private constant VALIDATOR_BOND = "validatorBond";
    bytes32 private constant MAX_VALIDATORS = "maxValidators";
    bytes32 private constant VOTING_PERIOD = "votingPeriod";
    bytes32 private constant TIMELOCK_DELAY = "timelockDelay";
    bytes32 private constant SLOT_REWARD = "slotReward";
    bytes32 private constant UNBONDING_SLOTS = "unbondingSlots";
    bytes32 private constant CHUNK_REPLICAS = "chunkReplicas";
    bytes32 private constant CHUNK_FEE = "chunkFee";
    bytes32 private constant CHUNK_QUOTA = "chunkQuota";
    bytes32 private constant CUSTODY_SILENCE = "custodySilence";
    uint256 private constant COUNT = 16;

    mapping(bytes32 key => uint256 value) private _values;

    /// @notice A parameter has a new value.
    event ParameterSet(bytes32 indexed key, uint256 value);

    error OnlyTimelock(address caller);
    error UnknownParameter(bytes32 key);
    error OutOfBounds(bytes32 key, uint256 value, uint256 min, uint256 max);
    error LengthMismatch(uint256 keys, uint256 values);
    /// @notice The least block would be larger than the largest.
    error BlockGasBounds(uint256 min, uint256 max);
    error ZeroAddress();

    /// @param timelock_ The one caller of {set}.
    /// @param keys Parameters that do not start at their defaults.
    /// @param values Their values, within the same bounds.
    constructor(address timelock_, bytes32[] memory keys, uint256[] memory values) {
        if (timelock_ == address(0)) revert ZeroAddress();
        if (keys.length != values.length) revert LengthMismatch(keys.length, values.length);
        timelock = timelock_;
        for (uint256 i = 0; i < COUNT; ++i) {
            bytes32 key = _key(i);
            (uint256 initial,,) = _bounds(key);
            _values[key] = initial;
        }
        for (uint256 i = 0; i < keys.length; ++i) {
            _within(keys[i], values[i]);
            _values[keys[i]] = values[i];
        }
        // Checked once all are set: the two may be given in any order.
        if (_values[BLOCK_GAS_MIN] > _values[BLOCK_GAS_MAX]) {
            revert BlockGasBounds(_values[BLOCK_GAS_MIN], _values[BLOCK_GAS_MAX]);
        }
        for (uint256 i = 0; i < COUNT; ++i) {
            emit ParameterSet(_key(i), _values[_key(i)]);
        }
    }

    /// @notice The value of a parameter.
    function get(bytes32 key) external view returns (uint256 value) {
        value = _values[key];
        // A key that is not listed was never written, and few listed ones may be zero.
        if (value == 0) _bounds(key);
    }

    /// @notice Every parameter with its bounds, in the order of the code.
    function list()
        external
        view
        returns (bytes32[] memory keys, uint256[] memory values, uint256[] memory mins, uint256[] memory maxs)
    {
        keys = new bytes32[](COUNT);
        values = new uint256[](COUNT);
        mins = new uint256[](COUNT);
        maxs = new uint256[](COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            bytes32 key = _key(i);
            (, uint256 min, uint256 max) = _bounds(key);
            (keys[i], values[i], mins[i], maxs[i]) = (key, _values[key], min, max);
        }
    }

    /// @notice Reverts unless {set} would accept the value now: a proposal that cannot be executed is not worth a vote.
    function check(bytes32 key, uint256 value) public view {
        _within(key, value);
        if (key == BLOCK_GAS_MIN && value > _values[BLOCK_GAS_MAX]) {
            revert BlockGasBounds(value, _values[BLOCK_GAS_MAX]);
        }
        if (key == BLOCK_GAS_MAX && value < _values[BLOCK_GAS_MIN]) {
            revert BlockGasBounds(_values[BLOCK_GAS_MIN], value);
        }
    }

    /// @notice Changes a parameter. The timelock only, within the bounds only.
    function set(bytes32 key, uint256 value) external {
        if (msg.sender != timelock) revert OnlyTimelock(msg.sender);
        check(key, value);
        _values[key] = value;
        emit ParameterSet(key, value);
    }

    function _within(bytes32 key, uint256 value) private pure {
        (, uint256 min, uint256 max) = _bounds(key);
        if (value < min || value > max) revert OutOfBounds(key, value, min, max);
    }

    function _key(uint256 index) private pure returns (bytes32) {
        return [
            PAYOUT_EPOCH_LENGTH,
            MAX_CHUNK_SIZE,
            POLICY_TIMEOUT_MS,
            BLOCK_GAS_MIN,
            BLOCK_GAS_MAX,
            MIN_BASE_FEE,
            VALIDATOR_BOND,
            MAX_VALIDATORS,
            VOTING_PERIOD,
            TIMELOCK_DELAY,
            SLOT_REWARD,
            UNBONDING_SLOTS,
            CHUNK_REPLICAS,
            CHUNK_FEE,
            CHUNK_QUOTA,
            CUSTODY_SILENCE
        ][index];
    }

    function _bounds(bytes32 key) private pure returns (uint256 initial, uint256 min, uint256 max) {
        // Seconds of a payout epoch: 30 days.
        if (key == PAYOUT_EPOCH_LENGTH) return (30 days, 1 days, 90 days);
        // Bytes of a chunk.
        if (key == MAX_CHUNK_SIZE) return (8 << 20, 64 << 10, 16 << 20);
        // Milliseconds a policy may wait for a person.
        if (key == POLICY_TIMEOUT_MS) return (300_000, 1_000, 86_400_000);
        // Gas of a block: it moves with demand between the two.
        if (key == BLOCK_GAS_MIN) return (5_000_000, 1_000_000, 30_000_000);
        if (key == BLOCK_GAS_MAX) return (120_000_000, 10_000_000, 500_000_000);
        // Wei per gas.
        if (key == MIN_BASE_FEE) return (1_000_000, 1, 1_000_000_000_000);
        // Wei a node puts down (requirement L7: Sybil resistance).
        if (key == VALIDATOR_BOND) return (1 ether, 0.1 ether, 1_000_000 ether);
        if (key == MAX_VALIDATORS) return (32, 4, 100);
        // Slots: 720 are a day, 5040 a week.
        if (key == VOTING_PERIOD) return (720, 1, 5_040);
        if (key == TIMELOCK_DELAY) return (720, 1, 5_040);
        // Wei for the work of one slot, in all.
        if (key == SLOT_REWARD) return (0.1 ether, 0, 100 ether);
        // Slots a bond stays down after its node left.
        if (key == UNBONDING_SLOTS) return (5_040, 720, 50_400);
        // Nodes that hold a chunk.
        if (key == CHUNK_REPLICAS) return (3, 1, 8);
        // Wei for a byte kept for a day: by default a thousandth of a coin for a GiB and day.
        if (key == CHUNK_FEE) return (1_000_000, 0, 1_000_000_000_000);
        // Bytes that one account has kept at once.
        if (key == CHUNK_QUOTA) return (1 << 40, 1 << 20, 1 << 60);
        // Slots without an answer after which a holder is struck off: an hour.
        if (key == CUSTODY_SILENCE) return (30, 1, 5_040);
        revert UnknownParameter(key);
    }
}

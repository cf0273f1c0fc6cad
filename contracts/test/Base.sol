// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LUCID} from "../src/LUCID.sol";
import {LucidAnchors} from "../src/LucidAnchors.sol";
import {LucidChunkStore} from "../src/LucidChunkStore.sol";
import {LucidGovernor} from "../src/LucidGovernor.sol";
import {ParamRegistry} from "../src/ParamRegistry.sol";
import {SignerRegistry} from "../src/SignerRegistry.sol";
import {Timelock} from "../src/Timelock.sol";
import {WorkCredits} from "../src/WorkCredits.sol";

/// @dev The cheat codes we use; npm's forge-std is years old.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function deal(address account, uint256 balance) external;
    function etch(address target, bytes calldata code) external;
    function load(address target, bytes32 slot) external view returns (bytes32);
    function roll(uint256 number) external;
    function warp(uint256 time) external;
    function chainId(uint256 id) external;
    function getCode(string calldata artifact) external view returns (bytes memory);
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function assume(bool condition) external pure;
    function expectRevert(bytes calldata reason) external;
    function expectRevert(bytes4 selector) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectRevert() external;
    function expectEmit(bool topic1, bool topic2, bool topic3, bool data, address emitter) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function lastCallGas() external view returns (Gas memory);
}

/// @dev All eight contracts where the chain has them, made the way the chain makes them: creation code with its arguments is put
/// at the address and run, and what it returns becomes the code.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    LucidAnchors internal constant anchors = LucidAnchors(address(0x4c0001));
    LucidChunkStore internal constant chunks = LucidChunkStore(address(0x4c0002));
    LucidGovernor internal constant governor = LucidGovernor(address(0x4c0003));
    Timelock internal constant timelock = Timelock(address(0x4c0004));
    ParamRegistry internal constant params = ParamRegistry(address(0x4c0005));
    SignerRegistry internal constant signers = SignerRegistry(address(0x4c0006));
    WorkCredits internal constant credits = WorkCredits(payable(address(0x4c0007)));
    LUCID internal constant lucid = LUCID(payable(address(0x4c0008)));

    address internal constant SYSTEM = 0xffffFFFfFFffffffffffffffFfFFFfffFFFfFFfE;
    uint256 internal constant RESERVE = 1_000 ether;

    error Failed(string what, uint256 is_, uint256 expected);

    function deployAll(uint256 validatorCount) internal {
        bytes32[] memory keys = new bytes32[](0);
        uint256[] memory values = new uint256[](0);
        deployParams(keys, values);
        construct(address(anchors), vm.getCode("LucidAnchors.sol:LucidAnchors"), "");
        construct(
            address(chunks),
            vm.getCode("LucidChunkStore.sol:LucidChunkStore"),
            abi.encode(address(anchors), address(params), address(credits))
        );
        construct(
            address(governor),
            vm.getCode("LucidGovernor.sol:LucidGovernor"),
            abi.encode(address(timelock), address(params), address(signers), address(credits))
        );
        construct(
            address(timelock),
            vm.getCode("Timelock.sol:Timelock"),
            abi.encode(address(governor), address(params), address(signers), address(credits))
        );
        address[3] memory first = [address(0x51), address(0x52), address(0x53)];
        construct(
            address(signers), vm.getCode("SignerRegistry.sol:SignerRegistry"), abi.encode(address(timelock), first)
        );
        construct(
            address(credits),
            vm.getCode("WorkCredits.sol:WorkCredits"),
            abi.encode(address(params), address(timelock), address(chunks), genesis(validatorCount))
        );
        construct(address(lucid), vm.getCode("LUCID.sol:LUCID"), "");
        vm.deal(address(credits), RESERVE);
    }

    function deployParams(bytes32[] memory keys, uint256[] memory values) internal {
        construct(
            address(params), vm.getCode("ParamRegistry.sol:ParamRegistry"), abi.encode(address(timelock), keys, values)
        );
    }

    function construct(address at, bytes memory creation, bytes memory arguments) internal {
        vm.etch(at, bytes.concat(creation, arguments));
        (bool ok, bytes memory runtime) = at.call("");
        if (!ok) {
            assembly {
                revert(add(runtime, 32), mload(runtime))
            }
        }
        vm.etch(at, runtime);
    }

    /// @dev Private keys 1, 2, …: addresses in no particular order.
    function node(uint256 number) internal pure returns (address) {
        return vm.addr(number + 1);
    }

    function consensusKey(uint256 number) internal pure returns (bytes32) {
        return keccak256(abi.encode("consensus", number));
    }

    function vrfKey(uint256 number) internal pure returns (bytes32) {
        return keccak256(abi.encode("vrf", number));
    }

    function genesis(uint256 count) internal pure returns (WorkCredits.Validator[] memory list) {
        list = new WorkCredits.Validator[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = WorkCredits.Validator(node(i), consensusKey(i), vrfKey(i));
        }
    }

    function none() internal pure returns (address[] memory) {
        return new address[](0);
    }

    function only(address one) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }

    function activeSet() internal view returns (address[] memory set) {
        WorkCredits.Validator[] memory validators = credits.validators();
        set = new address[](validators.length);
        for (uint256 i = 0; i < set.length; ++i) {
            set[i] = validators[i].node;
        }
    }

    function order() internal view returns (address[] memory list) {
        (, list) = credits.currentOrder();
    }

    function makeBlock(address[] memory signed, address[] memory missed) internal {
        makeBlockBy(order()[0], signed, missed);
    }

    function makeBlockBy(address proposer, address[] memory signed, address[] memory missed) internal {
        (uint64 height,) = credits.progress();
        uint64 slot = credits.openSlot();
        vm.prank(SYSTEM);
        credits.onBlock(height + 1, slot, proposer, signed, missed);
    }

    function seal(uint64 nextSlot, address[] memory next) internal {
        uint64 slot = credits.openSlot();
        address winner = order()[0];
        vm.prank(SYSTEM);
        credits.onSeal(slot, nextSlot, winner, 0, next);
    }

    /// @dev Slots in which all active validators sign one block.
    function pass(uint256 slots) internal {
        for (uint256 i = 0; i < slots; ++i) {
            makeBlock(activeSet(), none());
            seal(credits.openSlot() + 1, activeSet());
        }
    }

    /// @dev lucid_poot's `cool_down`: those of `entered` at the end, all in their order.
    function coolDown(address[] memory list, address[] memory entered) internal pure returns (address[] memory cooled) {
        cooled = new address[](list.length);
        uint256 count = 0;
        for (uint256 pass_ = 0; pass_ < 2; ++pass_) {
            for (uint256 i = 0; i < list.length; ++i) {
                if (contains(entered, list[i]) == (pass_ == 1)) cooled[count++] = list[i];
            }
        }
    }

    function contains(address[] memory list, address one) internal pure returns (bool) {
        for (uint256 i = 0; i < list.length; ++i) {
            if (list[i] == one) return true;
        }
        return false;
    }

    function clamp(uint256 value, uint256 min, uint256 max) internal pure returns (uint256) {
        return min + value % (max - min + 1);
    }

    function eq(uint256 is_, uint256 expected, string memory what) internal pure {
        if (is_ != expected) revert Failed(what, is_, expected);
    }

    function eq(address is_, address expected, string memory what) internal pure {
        if (is_ != expected) revert Failed(what, uint160(is_), uint160(expected));
    }

    function eq(bytes32 is_, bytes32 expected, string memory what) internal pure {
        if (is_ != expected) revert Failed(what, uint256(is_), uint256(expected));
    }

    function eq(address[] memory is_, address[] memory expected, string memory what) internal pure {
        eq(is_.length, expected.length, what);
        for (uint256 i = 0; i < is_.length; ++i) {
            eq(is_[i], expected[i], what);
        }
    }

    function yes(bool condition, string memory what) internal pure {
        if (!condition) revert Failed(what, 0, 1);
    }
}

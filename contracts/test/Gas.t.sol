// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LucidChunkStore} from "../src/LucidChunkStore.sol";
import {TaskProof} from "../src/Interfaces.sol";
import {Base} from "./Base.sol";

/// @dev What transactions and the chain's own calls cost. Isolated: every call is a transaction, with its own base cost and
/// nothing warm. The limits are a little above what was measured; the figures are printed by `contracts/check`.
/// forge-config: default.isolate = true
contract GasTest is Base {
    bytes32 private constant KEY = keccak256("key");
    bytes32 private constant HASH = keccak256("hash");
    bytes32 private constant ROOT = keccak256("root");
    address private owner = node(9);

    event Gas(string what, uint256 used);

    function setUp() public {
        deployAll(4);
        vm.deal(owner, 1 ether);
    }

    function cost(string memory what, uint256 limit) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        emit Gas(what, used);
        if (used > limit) revert Failed(what, used, limit);
    }

    function test_sessions() public {
        vm.prank(owner);
        anchors.registerSession(keccak256("1"), owner, KEY, HASH, ROOT, 1_000);
        cost("registerSession", 72_000);
        vm.prank(owner);
        anchors.openSession(keccak256("2"), owner, KEY, HASH);
        cost("openSession", 71_000);
        vm.prank(owner);
        anchors.checkpoint(keccak256("2"), 10, ROOT);
        cost("checkpoint", 38_000);
        vm.prank(owner);
        anchors.closeSession(keccak256("2"), HASH, ROOT, 30);
        cost("closeSession", 43_000);
        anchors.checkpointBatch(ROOT, 100);
        cost("checkpointBatch, first", 72_000);
        anchors.checkpointBatch(HASH, 100);
        cost("checkpointBatch, later", 55_000);
    }

    function test_chunks() public {
        anchors.openSession(ROOT, owner, KEY, HASH);
        bytes32[] memory hashes = new bytes32[](64);
        uint32[] memory sizes = new uint32[](64);
        uint64[] memory numbers = new uint64[](64);
        for (uint256 i = 0; i < 64; ++i) {
            (hashes[i], sizes[i], numbers[i]) = (keccak256(abi.encode(i)), 1 << 20, uint64(i + 1));
        }
        vm.prank(owner);
        chunks.commitBatch{value: 1 ether}(ROOT, 8, hashes, hashes, sizes, 720);
        cost("commitBatch of 64", 64 * 82_000);
        vm.prank(node(0));
        chunks.acceptCustody(numbers);
        cost("acceptCustody of 64", 64 * 44_000);
        pass(1);
        vm.prank(node(0));
        chunks.prove(1, new LucidChunkStore.Opening[](2));
        cost("prove, both lost", 120_000);
    }

    function test_blocks_and_seals() public {
        // A week, so that nothing is written for the first time.
        for (uint64 hour = 0; hour < 169; ++hour) {
            makeBlock(activeSet(), none());
            seal(hour * 30 + 30, activeSet());
        }
        makeBlock(activeSet(), none());
        cost("onBlock of 4 signers, first in a slot", 62_000);
        makeBlock(activeSet(), none());
        cost("onBlock of 4 signers", 62_000);
        makeBlock(activeSet(), only(order()[0]));
        cost("onBlock of 4 signers, one missed", 90_000);
        address[] memory next = activeSet();
        (next[0], next[1], next[2], next[3]) = (next[3], next[0], next[1], next[2]);
        seal(credits.openSlot() + 1, next);
        cost("onSeal of 4 nodes", 316_000);
    }

    function test_beacon() public {
        TaskProof[] memory list = new TaskProof[](1);
        list[0] = TaskProof(node(0), 0, 3, 1, "", "");
        vm.prank(node(0));
        credits.submit(list);
        cost("submit of one own beacon", 65_000);
    }
}

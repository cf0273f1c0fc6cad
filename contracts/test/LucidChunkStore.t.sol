// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LucidChunkStore} from "../src/LucidChunkStore.sol";
import {Base} from "./Base.sol";

contract LucidChunkStoreTest is Base {
    bytes32 private constant ID = keccak256("session");
    address private owner = node(9);

    function setUp() public {
        deployAll(4);
        anchors.openSession(ID, owner, 0, 0);
    }

    function hashOf(uint256 index) private pure returns (bytes32) {
        return keccak256(abi.encode("chunk", index));
    }

    function one(bytes32 hash) private pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = hash;
    }

    function testFuzz_a_batch_equals_single_commits(uint64 first, uint8 length, uint256 seed) public {
        uint256 count = clamp(length, 1, 40);
        vm.assume(first < type(uint64).max - 40);
        bytes32[] memory hashes = new bytes32[](count);
        uint32[] memory sizes = new uint32[](count);
        for (uint256 i = 0; i < count; ++i) {
            hashes[i] = hashOf(i);
            sizes[i] = uint32(clamp(uint256(keccak256(abi.encode(seed, i))), 1, 8 << 20));
        }
        vm.startPrank(owner);
        // Neighbours, committed alone before: the batch must leave them.
        if (first > 0) chunks.commit(ID, first - 1, hashOf(99), 77);
        chunks.commit(ID, first + uint64(count), hashOf(100), 78);
        chunks.commitBatch(ID, first, hashes, sizes);
        for (uint256 i = 0; i < count; ++i) {
            (bytes32 hash, uint32 size) = chunks.chunk(ID, first + uint64(i));
            eq(hash, hashes[i], "hash");
            eq(size, sizes[i], "size");
        }
        if (first > 0) {
            (, uint32 below) = chunks.chunk(ID, first - 1);
            eq(below, 77, "below");
        }
        (, uint32 above) = chunks.chunk(ID, first + uint64(count));
        eq(above, 78, "above");
    }

    function test_a_commit_is_logged() public {
        vm.expectEmit(true, true, true, true, address(chunks));
        emit LucidChunkStore.ChunkCommitted(ID, 3, hashOf(3), 100);
        vm.prank(owner);
        chunks.commit(ID, 3, hashOf(3), 100);
    }

    function test_a_chunk_is_committed_once() public {
        vm.startPrank(owner);
        chunks.commit(ID, 3, hashOf(3), 100);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ChunkExists.selector, ID, 3));
        chunks.commit(ID, 3, hashOf(4), 100);
        bytes32[] memory hashes = new bytes32[](2);
        uint32[] memory sizes = new uint32[](2);
        (hashes[0], hashes[1], sizes[0], sizes[1]) = (hashOf(2), hashOf(3), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ChunkExists.selector, ID, 3));
        chunks.commitBatch(ID, 2, hashes, sizes);
        (bytes32 hash,) = chunks.chunk(ID, 2);
        eq(hash, 0, "all or nothing");
    }

    function testFuzz_only_the_owner_commits(address stranger) public {
        vm.assume(stranger != owner);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotSessionOwner.selector, ID, stranger));
        vm.prank(stranger);
        chunks.commit(ID, 0, hashOf(0), 1);
    }

    function test_nobody_commits_to_a_session_that_is_not_there() public {
        bytes32 id = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotSessionOwner.selector, id, owner));
        vm.prank(owner);
        chunks.commit(id, 0, hashOf(0), 1);
    }

    function test_a_chunk_is_no_larger_than_governed() public {
        vm.prank(address(timelock));
        params.set("maxChunkSize", 65_536);
        vm.startPrank(owner);
        chunks.commit(ID, 0, hashOf(0), 65_536);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ChunkSize.selector, ID, 1, 65_537, 65_536));
        chunks.commit(ID, 1, hashOf(1), 65_537);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ChunkSize.selector, ID, 1, 0, 65_536));
        chunks.commit(ID, 1, hashOf(1), 0);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ZeroHash.selector, ID, 1));
        chunks.commit(ID, 1, 0, 1);
    }

    function test_batches_are_bounded() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.BatchSize.selector, 0, 512));
        chunks.commitBatch(ID, 0, new bytes32[](0), new uint32[](0));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.BatchSize.selector, 513, 512));
        chunks.commitBatch(ID, 0, new bytes32[](513), new uint32[](513));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.LengthMismatch.selector, 2, 3));
        chunks.commitBatch(ID, 0, new bytes32[](2), new uint32[](3));
    }

    function test_the_last_index_can_be_committed_and_none_behind_it() public {
        bytes32[] memory hashes = new bytes32[](2);
        uint32[] memory sizes = new uint32[](2);
        (hashes[0], hashes[1], sizes[0], sizes[1]) = (hashOf(0), hashOf(1), 1, 1);
        vm.startPrank(owner);
        vm.expectRevert();
        chunks.commitBatch(ID, type(uint64).max, hashes, sizes);
        chunks.commit(ID, type(uint64).max, hashOf(0), 5);
        (, uint32 size) = chunks.chunk(ID, type(uint64).max);
        eq(size, 5, "size");
    }

    function test_nodes_take_and_give_up_custody() public {
        bytes32 hash = hashOf(0);
        for (uint256 i = 0; i < 4; ++i) {
            vm.prank(node(i));
            chunks.acceptCustody(one(hash));
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.AlreadyHolder.selector, hash, node(1)));
        vm.prank(node(1));
        chunks.acceptCustody(one(hash));
        eq(chunks.custody(hash).length, 4, "holders");
        // From the middle, from the end, and so on until nobody holds it.
        for (uint256 i = 1; i <= 4; ++i) {
            vm.prank(node(i % 4));
            chunks.releaseCustody(one(hash));
            address[] memory holders = chunks.custody(hash);
            eq(holders.length, 4 - i, "holders");
            yes(!contains(holders, node(i % 4)), "gone");
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotHolder.selector, hash, node(1)));
        vm.prank(node(1));
        chunks.releaseCustody(one(hash));
        vm.prank(node(1));
        chunks.acceptCustody(one(hash));
        eq(chunks.custody(hash)[0], node(1), "again");
    }

    function testFuzz_only_nodes_take_custody(address stranger) public {
        for (uint256 i = 0; i < 4; ++i) {
            vm.assume(stranger != node(i));
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotNode.selector, stranger));
        vm.prank(stranger);
        chunks.acceptCustody(one(hashOf(0)));
    }

    function test_a_jailed_node_can_be_struck_off_and_no_other() public {
        bytes32 hash = hashOf(0);
        vm.prank(node(1));
        chunks.acceptCustody(one(hash));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.StillNode.selector, node(1)));
        chunks.pruneCustody(hash, node(1));
        vm.prank(SYSTEM);
        credits.onEvidence(node(1), 0, 1);
        chunks.pruneCustody(hash, node(1));
        eq(chunks.custody(hash).length, 0, "holders");
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotNode.selector, node(1)));
        vm.prank(node(1));
        chunks.acceptCustody(one(hash));
    }

    function test_holders_of_a_chunk_are_bounded() public {
        bytes32 hash = hashOf(0);
        for (uint256 i = 0; i < 65; ++i) {
            address who = node(i + 4);
            vm.deal(who, 1 ether);
            vm.prank(who);
            credits.register{value: 1 ether}(consensusKey(i + 4), vrfKey(i + 4));
            if (i == 64) vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.TooManyHolders.selector, hash));
            vm.prank(who);
            chunks.acceptCustody(one(hash));
        }
    }
}

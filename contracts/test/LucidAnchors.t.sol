// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LucidAnchors} from "../src/LucidAnchors.sol";
import {Base} from "./Base.sol";

contract LucidAnchorsTest is Base {
    bytes32 private constant ID = keccak256("session");
    bytes32 private constant KEY = keccak256("key");
    bytes32 private constant POLICY = keccak256("policy");
    bytes32 private constant MANIFEST = keccak256("manifest");
    bytes32 private constant ROOT = keccak256("root");
    address private owner = node(1);
    address private opener = node(2);

    function setUp() public {
        deployAll(4);
    }

    // The steps of a log, written out from the documentation.
    function opened(bytes32 id, address owner_, address opener_, bytes32 key, bytes32 policy)
        private
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(uint256(1), id, owner_, opener_, key, policy, block.number, block.timestamp));
    }

    function checkpointed(bytes32 log, uint64 size, bytes32 root) private view returns (bytes32) {
        return keccak256(abi.encode(uint256(2), log, size, root, block.number, block.timestamp));
    }

    function closed(bytes32 log, bytes32 manifest, bytes32 root, uint64 count, bytes32 batches)
        private
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(uint256(3), log, manifest, root, count, batches, block.number, block.timestamp));
    }

    function batched(bytes32 log, bytes32 root, uint32 count) private view returns (bytes32) {
        return keccak256(abi.encode(uint256(4), log, root, count, block.number, block.timestamp));
    }

    // A later block, at a later time.
    function later() private {
        vm.roll(block.number + 3);
        vm.warp(block.timestamp + 5);
    }

    // Where the documentation says that a session's log is.
    function logSlot(bytes32 id) private pure returns (bytes32) {
        return bytes32(uint256(keccak256(abi.encode(id, uint256(0)))) + 1);
    }

    function testFuzz_a_registered_session_shows_owner_and_count_and_proves_the_rest(
        bytes32 id,
        address owner_,
        bytes32 key,
        bytes32 manifest,
        bytes32 root,
        uint64 count
    ) public {
        vm.assume(id != 0 && owner_ != address(0));
        later();
        vm.prank(opener);
        anchors.registerSession(id, owner_, key, manifest, root, count);
        LucidAnchors.Session memory session = anchors.session(id);
        eq(session.owner, owner_, "owner");
        eq(session.opener, address(0), "nobody else may close it");
        eq(session.size, count, "chunks");
        yes(session.status == LucidAnchors.Status.Closed, "closed");
        eq(session.log, closed(opened(id, owner_, opener, key, 0), manifest, root, count, 0), "log");
        eq(vm.load(address(anchors), logSlot(id)), session.log, "slot");
    }

    function test_registering_is_logged_in_full() public {
        vm.expectEmit(true, true, true, true, address(anchors));
        emit LucidAnchors.SessionRegistered(ID, owner, KEY, MANIFEST, ROOT, 9);
        anchors.registerSession(ID, owner, KEY, MANIFEST, ROOT, 9);
    }

    function test_an_id_is_taken_once() public {
        bytes memory taken = abi.encodeWithSelector(LucidAnchors.SessionExists.selector, ID);
        anchors.openSession(ID, owner, KEY, POLICY);
        vm.expectRevert(taken);
        anchors.openSession(ID, opener, KEY, POLICY);
        vm.expectRevert(taken);
        anchors.registerSession(ID, opener, KEY, MANIFEST, ROOT, 1);
        vm.prank(owner);
        anchors.closeSession(ID, MANIFEST, ROOT, 0);
        vm.expectRevert(taken);
        anchors.openSession(ID, owner, KEY, POLICY);
        vm.expectRevert(taken);
        anchors.registerSession(ID, owner, KEY, MANIFEST, ROOT, 1);
    }

    function test_a_session_has_an_id_and_an_owner() public {
        vm.expectRevert(LucidAnchors.ZeroId.selector);
        anchors.openSession(0, owner, KEY, POLICY);
        vm.expectRevert(abi.encodeWithSelector(LucidAnchors.ZeroOwner.selector, ID));
        anchors.registerSession(ID, address(0), KEY, MANIFEST, ROOT, 1);
    }

    function test_from_open_to_closed() public {
        vm.prank(opener);
        anchors.openSession(ID, owner, KEY, POLICY);
        bytes32 log = opened(ID, owner, opener, KEY, POLICY);
        LucidAnchors.Session memory session = anchors.session(ID);
        eq(session.opener, opener, "opener");
        yes(session.status == LucidAnchors.Status.Open, "open");
        eq(session.log, log, "opened");
        later();
        vm.prank(opener);
        anchors.checkpoint(ID, 5, keccak256("5"));
        log = checkpointed(log, 5, keccak256("5"));
        later();
        vm.prank(owner);
        anchors.checkpoint(ID, 6, keccak256("6"));
        log = checkpointed(log, 6, keccak256("6"));
        session = anchors.session(ID);
        eq(session.size, 6, "size");
        eq(session.log, log, "checkpoints");
        later();
        vm.prank(opener);
        anchors.closeSession(ID, MANIFEST, ROOT, 6);
        session = anchors.session(ID);
        eq(session.log, closed(log, MANIFEST, ROOT, 6, 0), "closed");
        eq(vm.load(address(anchors), logSlot(ID)), session.log, "slot");
        bytes memory notOpen = abi.encodeWithSelector(LucidAnchors.SessionNotOpen.selector, ID);
        vm.expectRevert(notOpen);
        vm.prank(owner);
        anchors.closeSession(ID, MANIFEST, ROOT, 6);
        vm.expectRevert(notOpen);
        vm.prank(owner);
        anchors.checkpoint(ID, 7, ROOT);
    }

    function testFuzz_strangers_neither_checkpoint_nor_close(address stranger) public {
        vm.assume(stranger != owner && stranger != opener);
        vm.prank(opener);
        anchors.openSession(ID, owner, KEY, POLICY);
        bytes memory refused = abi.encodeWithSelector(LucidAnchors.NotSessionParty.selector, ID, stranger);
        vm.expectRevert(refused);
        vm.prank(stranger);
        anchors.checkpoint(ID, 1, ROOT);
        vm.expectRevert(refused);
        vm.prank(stranger);
        anchors.closeSession(ID, MANIFEST, ROOT, 1);
    }

    function test_nothing_happens_to_a_session_that_is_not_there() public {
        vm.expectRevert(abi.encodeWithSelector(LucidAnchors.SessionNotOpen.selector, ID));
        anchors.checkpoint(ID, 1, ROOT);
        vm.expectRevert(abi.encodeWithSelector(LucidAnchors.SessionNotOpen.selector, ID));
        anchors.closeSession(ID, MANIFEST, ROOT, 1);
        eq(anchors.ownerOf(ID), address(0), "owner");
    }

    function testFuzz_checkpoints_grow_and_a_close_covers_them(uint64 first, uint64 second, uint64 count) public {
        vm.assume(first > 0);
        vm.startPrank(owner);
        anchors.openSession(ID, owner, KEY, POLICY);
        vm.expectRevert(abi.encodeWithSelector(LucidAnchors.SizeMustGrow.selector, ID, 0, 0));
        anchors.checkpoint(ID, 0, ROOT);
        anchors.checkpoint(ID, first, ROOT);
        uint64 last = first;
        if (second <= first) {
            vm.expectRevert(abi.encodeWithSelector(LucidAnchors.SizeMustGrow.selector, ID, second, first));
        } else {
            last = second;
        }
        anchors.checkpoint(ID, second, ROOT);
        if (count < last) {
            vm.expectRevert(abi.encodeWithSelector(LucidAnchors.FewerChunksThanCheckpointed.selector, ID, count, last));
        }
        anchors.closeSession(ID, MANIFEST, ROOT, count);
    }

    function testFuzz_a_batch_contains_its_leaves_and_no_others(uint8 leaves, uint8 at, uint64 size, bytes32 root)
        public
    {
        uint256 count = clamp(leaves, 1, 16);
        uint256 chosen = at % count;
        vm.startPrank(opener);
        bytes32[] memory level = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes32 id = keccak256(abi.encode("session", i));
            anchors.openSession(id, owner, KEY, POLICY);
            level[i] = anchors.checkpointLeaf(id, size, root);
        }
        (bytes32 top, bytes32[] memory path) = tree(level, chosen);
        anchors.checkpointBatch(top, uint32(count));
        bytes32 chosenId = keccak256(abi.encode("session", chosen));
        yes(anchors.inBatch(top, chosenId, size, root, path), "in it");
        yes(!anchors.inBatch(top, chosenId, size, ~root, path), "other root");
        yes(!anchors.inBatch(top, ID, size, root, path), "other session");
        yes(!anchors.inBatch(~top, chosenId, size, root, path), "unknown batch");
        eq(anchors.batch(top).sender, opener, "sender");
        eq(anchors.batch(top).count, count, "count");
    }

    function test_batches_are_chained_by_sender_and_a_close_binds_those_of_who_closes() public {
        vm.prank(opener);
        anchors.openSession(ID, owner, KEY, POLICY);
        bytes32 log = opened(ID, owner, opener, KEY, POLICY);
        eq(anchors.batchLog(opener), 0, "none");
        vm.prank(opener);
        anchors.checkpointBatch(keccak256("a"), 3);
        bytes32 batches = batched(0, keccak256("a"), 3);
        eq(anchors.batchLog(opener), batches, "first");
        later();
        vm.prank(owner);
        anchors.checkpointBatch(keccak256("b"), 4);
        eq(anchors.batchLog(owner), batched(0, keccak256("b"), 4), "another's");
        vm.expectEmit(true, true, true, true, address(anchors));
        emit LucidAnchors.CheckpointBatch(keccak256("c"), opener, 5, batches);
        vm.prank(opener);
        anchors.checkpointBatch(keccak256("c"), 5);
        batches = batched(batches, keccak256("c"), 5);
        eq(anchors.batchLog(opener), batches, "second");
        eq(vm.load(address(anchors), keccak256(abi.encode(opener, uint256(2)))), batches, "slot");
        later();
        vm.prank(opener);
        anchors.closeSession(ID, MANIFEST, ROOT, 6);
        eq(anchors.session(ID).log, closed(log, MANIFEST, ROOT, 6, batches), "closed");
    }

    function test_a_batch_of_a_stranger_says_nothing_about_a_session() public {
        vm.prank(opener);
        anchors.openSession(ID, owner, KEY, POLICY);
        bytes32 leaf = anchors.checkpointLeaf(ID, 3, ROOT);
        vm.prank(node(7));
        anchors.checkpointBatch(leaf, 1);
        yes(!anchors.inBatch(leaf, ID, 3, ROOT, new bytes32[](0)), "not the party's");
    }

    function test_a_batch_is_sent_once_and_is_not_empty() public {
        vm.expectRevert(abi.encodeWithSelector(LucidAnchors.EmptyBatch.selector, ROOT));
        anchors.checkpointBatch(ROOT, 0);
        anchors.checkpointBatch(ROOT, 1);
        vm.expectRevert(abi.encodeWithSelector(LucidAnchors.BatchExists.selector, ROOT));
        vm.prank(opener);
        anchors.checkpointBatch(ROOT, 2);
    }

    // A tree of sorted pairs; a node without a sibling goes up as it is.
    function tree(bytes32[] memory level, uint256 at) private pure returns (bytes32 top, bytes32[] memory path) {
        bytes32[] memory siblings = new bytes32[](8);
        uint256 depth = 0;
        while (level.length > 1) {
            if (at ^ 1 < level.length) siblings[depth++] = level[at ^ 1];
            bytes32[] memory up = new bytes32[]((level.length + 1) / 2);
            for (uint256 i = 0; i < up.length; ++i) {
                bytes32 a = level[2 * i];
                if (2 * i + 1 == level.length) {
                    up[i] = a;
                    continue;
                }
                bytes32 b = level[2 * i + 1];
                up[i] = a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
            }
            (level, at) = (up, at / 2);
        }
        path = new bytes32[](depth);
        for (uint256 i = 0; i < depth; ++i) {
            path[i] = siblings[i];
        }
        return (level[0], path);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LucidChunkStore} from "../src/LucidChunkStore.sol";
import {WorkCredits} from "../src/WorkCredits.sol";
import {TaskProof} from "../src/Interfaces.sol";
import {Base} from "./Base.sol";

contract LucidChunkStoreTest is Base {
    bytes32 private constant ID = keccak256("session");
    uint64 private constant DAY = 720;
    address private owner = node(9);
    // Content by number, for openings.
    mapping(uint64 number => bytes content) private contents;

    function setUp() public {
        deployAll(4);
        anchors.openSession(ID, owner, 0, 0);
        vm.deal(owner, 100 ether);
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function content(uint256 seed, uint256 size) private pure returns (bytes memory bytes_) {
        bytes_ = new bytes(size);
        for (uint256 i = 0; i < size; i += 32) {
            bytes32 word = keccak256(abi.encode(seed, i));
            for (uint256 j = 0; j < 32 && i + j < size; ++j) {
                bytes_[i + j] = word[j];
            }
        }
    }

    function leafOf(bytes memory bytes_, uint256 index) private pure returns (bytes memory leaf) {
        uint256 from = index * 1_024;
        uint256 length = bytes_.length - from < 1_024 ? bytes_.length - from : 1_024;
        leaf = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            leaf[i] = bytes_[from + i];
        }
    }

    // Root of the tree, and the path of a leaf: the plain way, all levels written out.
    function tree(bytes memory bytes_, uint256 index) private pure returns (bytes32 root, bytes32[] memory path) {
        uint256 width = (bytes_.length + 1_023) / 1_024;
        bytes32[] memory level = new bytes32[](width);
        for (uint256 i = 0; i < width; ++i) {
            level[i] = keccak256(bytes.concat(hex"00", leafOf(bytes_, i)));
        }
        bytes32[] memory steps = new bytes32[](32);
        uint256 used = 0;
        while (width > 1) {
            if (index ^ 1 < width) steps[used++] = level[index ^ 1];
            uint256 above = (width + 1) / 2;
            for (uint256 i = 0; i < above; ++i) {
                if (2 * i + 1 < width) level[i] = keccak256(bytes.concat(hex"01", level[2 * i], level[2 * i + 1]));
                else level[i] = level[2 * i];
            }
            (width, index) = (above, index / 2);
        }
        path = new bytes32[](used);
        for (uint256 i = 0; i < used; ++i) {
            path[i] = steps[i];
        }
        return (level[0], path);
    }

    function commit(uint64 index, uint256 seed, uint32 size, uint64 slots) private returns (uint64 number) {
        bytes memory bytes_ = content(seed, size);
        (bytes32 root,) = tree(bytes_, 0);
        commitRoot(index, keccak256(bytes_), root, size, slots);
        number = chunks.count();
        contents[number] = bytes_;
    }

    function commitRoot(uint64 index, bytes32 hash, bytes32 root, uint32 size, uint64 slots) private {
        bytes32[] memory hashes = new bytes32[](1);
        bytes32[] memory roots = new bytes32[](1);
        uint32[] memory sizes = new uint32[](1);
        (hashes[0], roots[0], sizes[0]) = (hash, root, size);
        chunks.commitBatch{value: 1 ether}(ID, index, hashes, roots, sizes, slots);
    }

    function just(uint64 number) private pure returns (uint64[] memory list) {
        list = new uint64[](1);
        list[0] = number;
    }

    function accept(address who, uint64 number) private {
        vm.prank(who);
        chunks.acceptCustody(just(number));
    }

    function answers(address who, uint64 without) private view returns (LucidChunkStore.Opening[] memory list) {
        (uint64[] memory numbers, uint64[] memory leaves) = chunks.challenges(who);
        list = new LucidChunkStore.Opening[](numbers.length);
        for (uint256 i = 0; i < numbers.length; ++i) {
            if (numbers[i] == without) continue;
            bytes memory bytes_ = contents[numbers[i]];
            (, bytes32[] memory path) = tree(bytes_, leaves[i]);
            list[i] = LucidChunkStore.Opening(leafOf(bytes_, leaves[i]), path);
        }
    }

    function prove(address who, uint64 without) private {
        LucidChunkStore.Opening[] memory list = answers(who, without);
        uint64 slot = credits.openSlot();
        vm.prank(who);
        chunks.prove(slot, list);
    }

    function sealOnly() private {
        seal(credits.openSlot() + 1, activeSet());
    }

    // ------------------------------------------------------------------------------------------------ commitments

    function testFuzz_a_batch_is_read_back(uint64 first, uint8 length, uint256 seed) public {
        uint256 length_ = clamp(length, 1, 20);
        vm.assume(first < type(uint64).max - 20);
        bytes32[] memory hashes = new bytes32[](length_);
        bytes32[] memory roots = new bytes32[](length_);
        uint32[] memory sizes = new uint32[](length_);
        for (uint256 i = 0; i < length_; ++i) {
            (hashes[i], roots[i]) = (keccak256(abi.encode(seed, i)), keccak256(abi.encode(i)));
            sizes[i] = uint32(clamp(uint256(hashes[i]), 1, 8 << 20));
        }
        vm.startPrank(owner);
        // A neighbour, committed alone before: the batch must leave it.
        if (first > 0) commitRoot(first - 1, keccak256("below"), keccak256("root"), 77, 9);
        uint256 before = owner.balance;
        chunks.commitBatch{value: 1 ether}(ID, first, hashes, roots, sizes, 5);
        uint256 total = 0;
        for (uint256 i = 0; i < length_; ++i) {
            LucidChunkStore.Lease memory it = chunks.chunk(ID, first + uint64(i));
            eq(it.chunkHash, hashes[i], "hash");
            eq(it.storageRoot, roots[i], "root");
            eq(it.size, sizes[i], "size");
            eq(it.expiry, 5, "expiry");
            eq(it.number, (first > 0 ? 2 : 1) + i, "number");
            eq(it.holders.length, 0, "holders");
            total += sizes[i];
        }
        eq(before - owner.balance, chunks.fee(total, 5), "what is above the fee comes back");
        eq(chunks.leased(owner), total + (first > 0 ? 77 : 0), "leased");
        if (first > 0) eq(chunks.chunk(ID, first - 1).size, 77, "below");
        eq(chunks.chunk(ID, first + uint64(length_)).number, 0, "nothing above");
        eq(chunks.leases(1, 1_000).length, chunks.count(), "all");
        eq(chunks.leases(chunks.count() + 1, 10).length, 0, "none behind the last");
        eq(chunks.leases(chunks.count(), 10)[0].number, chunks.count(), "the last");
    }

    function test_a_commit_is_logged() public {
        vm.expectEmit(true, true, true, true, address(chunks));
        emit LucidChunkStore.ChunkCommitted(ID, 3, keccak256("h"), 1, 100, 7);
        vm.prank(owner);
        commitRoot(3, keccak256("h"), keccak256("r"), 100, 7);
    }

    function test_an_index_is_committed_once_while_it_is_kept() public {
        vm.prank(owner);
        commit(0, 1, 100, 2);
        refusedCommit(ID, ID, 1, 1, 1 ether, abi.encodeWithSelector(LucidChunkStore.ChunkExists.selector, ID, 0));
        sealOnly();
        sealOnly();
        chunks.expire(just(1));
        vm.prank(owner);
        commit(0, 2, 200, 2);
        eq(chunks.chunk(ID, 0).size, 200, "again");
        eq(chunks.chunk(ID, 0).number, 2, "number");
    }

    function testFuzz_only_the_owner_commits(address stranger) public {
        vm.assume(stranger != owner);
        bytes32[] memory one = new bytes32[](1);
        one[0] = ID;
        uint32[] memory sizes = new uint32[](1);
        sizes[0] = 1;
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotSessionOwner.selector, ID, stranger));
        vm.prank(stranger);
        chunks.commitBatch(ID, 0, one, one, sizes, 1);
        bytes32 none_ = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotSessionOwner.selector, none_, owner));
        vm.prank(owner);
        chunks.commitBatch(none_, 0, one, one, sizes, 1);
    }

    function refusedCommit(bytes32 hash, bytes32 root, uint32 size, uint64 slots, uint256 value, bytes memory why)
        private
    {
        bytes32[] memory hashes = new bytes32[](1);
        bytes32[] memory roots = new bytes32[](1);
        uint32[] memory sizes = new uint32[](1);
        (hashes[0], roots[0], sizes[0]) = (hash, root, size);
        vm.expectRevert(why);
        vm.prank(owner);
        chunks.commitBatch{value: value}(ID, 0, hashes, roots, sizes, slots);
    }

    function test_bounds_of_a_commitment() public {
        vm.prank(address(timelock));
        params.set("maxChunkSize", 65_536);
        bytes32 h = keccak256("h");
        refusedCommit(
            h, h, 65_537, 1, 1 ether, abi.encodeWithSelector(LucidChunkStore.ChunkSize.selector, ID, 0, 65_537, 65_536)
        );
        refusedCommit(h, h, 0, 1, 1 ether, abi.encodeWithSelector(LucidChunkStore.ChunkSize.selector, ID, 0, 0, 65_536));
        refusedCommit(0, h, 1, 1, 1 ether, abi.encodeWithSelector(LucidChunkStore.ZeroHash.selector, ID, 0));
        refusedCommit(h, 0, 1, 1, 1 ether, abi.encodeWithSelector(LucidChunkStore.ZeroHash.selector, ID, 0));
        refusedCommit(h, h, 1, 0, 1 ether, abi.encodeWithSelector(LucidChunkStore.LeaseLength.selector, 0, 2_629_800));
        refusedCommit(
            h,
            h,
            1,
            2_629_801,
            1 ether,
            abi.encodeWithSelector(LucidChunkStore.LeaseLength.selector, 2_629_801, 2_629_800)
        );
        uint256 fee = chunks.fee(65_536, DAY);
        eq(fee, 65_536 * 1_000_000, "a day");
        refusedCommit(
            h, h, 65_536, DAY, fee - 1, abi.encodeWithSelector(LucidChunkStore.FeeTooSmall.selector, fee - 1, fee)
        );
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.BatchSize.selector, 0, 512));
        chunks.commitBatch(ID, 0, new bytes32[](0), new bytes32[](0), new uint32[](0), 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.BatchSize.selector, 513, 512));
        chunks.commitBatch(ID, 0, new bytes32[](513), new bytes32[](513), new uint32[](513), 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.LengthMismatch.selector, 2, 3));
        chunks.commitBatch(ID, 0, new bytes32[](2), new bytes32[](3), new uint32[](2), 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.LengthMismatch.selector, 2, 3));
        chunks.commitBatch(ID, 0, new bytes32[](2), new bytes32[](2), new uint32[](3), 1);
    }

    function test_an_account_has_a_quota_that_expiry_gives_back() public {
        vm.prank(address(timelock));
        params.set("chunkQuota", 1 << 20);
        vm.startPrank(owner);
        commitRoot(1, keccak256("a"), ID, 1 << 20, 1);
        vm.stopPrank();
        refusedCommit(
            ID,
            ID,
            1,
            1,
            1 ether,
            abi.encodeWithSelector(LucidChunkStore.OverQuota.selector, owner, (1 << 20) + 1, 1 << 20)
        );
        sealOnly();
        chunks.expire(just(1));
        eq(chunks.leased(owner), 0, "given back");
        vm.prank(owner);
        commitRoot(1, keccak256("a"), ID, 1 << 20, 1);
    }

    function test_the_fee_goes_to_the_reserve_of_rewards() public {
        uint256 reserve = credits.reserve();
        vm.startPrank(owner);
        commitRoot(0, ID, ID, 1 << 20, DAY);
        eq(credits.reserve() - reserve, (1 << 20) * 1_000_000, "commit");
        chunks.extend{value: 1 ether}(just(1), DAY * 2);
        eq(credits.reserve() - reserve, (1 << 20) * 3_000_000, "extend");
        eq(address(chunks).balance, 0, "keeps nothing");
    }

    function test_a_lease_is_extended_while_it_lasts() public {
        vm.startPrank(owner);
        commitRoot(0, ID, ID, 10, 2);
        chunks.extend{value: 1 ether}(just(1), 3);
        eq(chunks.lease(1).expiry, 5, "expiry");
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.LeaseLength.selector, 2_629_796, 2_629_795));
        chunks.extend{value: 1 ether}(just(1), 2_629_796);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NoChunk.selector, 2));
        chunks.extend{value: 1 ether}(just(2), 1);
        vm.stopPrank();
        pass(5);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ChunkHasExpired.selector, 1, 5));
        chunks.extend{value: 1 ether}(just(1), 1);
    }

    // ---------------------------------------------------------------------------------------------------- custody

    function test_nodes_take_and_give_up_custody() public {
        vm.startPrank(owner);
        for (uint64 i = 0; i < 5; ++i) {
            commit(i, i, 10, 100);
        }
        vm.stopPrank();
        for (uint256 who = 0; who < 3; ++who) {
            for (uint64 i = 1; i <= 5; ++i) {
                accept(node(who), i);
            }
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.TooManyHolders.selector, 1));
        accept(node(3), 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.AlreadyHolder.selector, 1, node(1)));
        accept(node(1), 1);
        eq(chunks.lease(1).holders.length, 3, "holders");
        // From the middle, from the end, and so on until it holds nothing.
        uint64[5] memory order_ = [uint64(2), 5, 1, 3, 4];
        for (uint256 i = 0; i < 5; ++i) {
            vm.prank(node(1));
            chunks.releaseCustody(just(order_[i]));
            eq(chunks.heldCount(node(1)), 4 - i, "held");
            address[] memory left = chunks.lease(order_[i]).holders;
            eq(left.length, 2, "holders");
            yes(!contains(left, node(1)), "gone");
            consistent(node(0));
            consistent(node(1));
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotHolder.selector, 1, node(1)));
        vm.prank(node(1));
        chunks.releaseCustody(just(1));
        accept(node(3), 1);
    }

    // What a node holds and who holds it say the same.
    function consistent(address who) private view {
        uint64[] memory numbers = chunks.held(who, 0, 1_000);
        eq(numbers.length, chunks.heldCount(who), "all");
        for (uint256 i = 0; i < numbers.length; ++i) {
            yes(contains(chunks.lease(numbers[i]).holders, who), "among the holders");
            for (uint256 j = 0; j < i; ++j) {
                yes(numbers[i] != numbers[j], "once");
            }
        }
    }

    function testFuzz_lists_stay_consistent(uint256 seed) public {
        vm.startPrank(owner);
        for (uint64 i = 0; i < 6; ++i) {
            commit(i, i, uint32(1 + i * 700), 3 + i);
        }
        vm.stopPrank();
        for (uint256 step = 0; step < 60; ++step) {
            uint256 draw = uint256(keccak256(abi.encode(seed, step)));
            address who = node(draw % 4);
            uint64 number = uint64(1 + (draw >> 8) % 6);
            uint256 act = (draw >> 16) % 12;
            // What is not allowed now reverts, and leaves everything as it was.
            vm.prank(act < 9 ? who : owner);
            if (act < 5) {
                try chunks.acceptCustody(just(number)) {} catch {}
            } else if (act < 9) {
                try chunks.releaseCustody(just(number)) {} catch {}
            } else if (act == 9) {
                try chunks.expire(just(number)) {} catch {}
            }
            if (act == 10 && chunks.heldCount(who) != 0) {
                (uint64[] memory asked,) = chunks.challenges(who);
                if (asked.length != 0) prove(who, draw & 0x100000 == 0 ? asked[0] : 0);
            }
            if (act == 11) sealOnly();
            uint256 listed = 0;
            for (uint256 i = 0; i < 4; ++i) {
                consistent(node(i));
                listed += chunks.heldCount(node(i));
            }
            for (uint64 i = 1; i <= 6; ++i) {
                listed -= chunks.lease(i).holders.length;
            }
            eq(listed, 0, "as many holders as holdings");
        }
    }

    function testFuzz_only_nodes_take_custody(address stranger) public {
        for (uint256 i = 0; i < 4; ++i) {
            vm.assume(stranger != node(i));
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotNode.selector, stranger));
        accept(stranger, 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NotNode.selector, stranger));
        vm.prank(stranger);
        chunks.setDoor("http://x");
    }

    function test_what_is_not_there_or_expired_is_not_taken() public {
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NoChunk.selector, 1));
        accept(node(0), 1);
        vm.prank(owner);
        commit(0, 0, 10, 1);
        accept(node(0), 1);
        chunks.expire(just(1));
        eq(chunks.lease(1).number, 1, "not before its time");
        sealOnly();
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ChunkHasExpired.selector, 1, 1));
        accept(node(1), 1);
        chunks.expire(just(1));
        eq(chunks.lease(1).number, 0, "gone");
        eq(chunks.heldCount(node(0)), 0, "held by nobody");
        // Again does nothing.
        chunks.expire(just(1));
    }

    function test_a_jailed_or_silent_node_can_be_struck_off_and_no_other() public {
        vm.prank(owner);
        commit(0, 0, 10, 100);
        accept(node(1), 1);
        accept(node(2), 1);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.StillHolding.selector, node(1)));
        chunks.pruneCustody(node(1), just(1));
        vm.prank(SYSTEM);
        credits.onEvidence(node(1), 0, 1);
        chunks.pruneCustody(node(1), just(1));
        eq(chunks.lease(1).holders, only(node(2)), "holders");
        for (uint256 i = 0; i < 31; ++i) {
            sealOnly();
        }
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.StillHolding.selector, node(2)));
        chunks.pruneCustody(node(2), just(1));
        sealOnly();
        yes(chunks.silent(node(2)), "silent");
        chunks.pruneCustody(node(2), just(1));
        eq(chunks.lease(1).holders.length, 0, "holders");
    }

    function test_doors_are_listed_while_their_nodes_are_nodes() public {
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(node(i));
            chunks.setDoor("http://10.0.0.1:1");
        }
        vm.prank(node(0));
        chunks.setDoor("");
        vm.prank(node(0));
        chunks.setDoor("");
        vm.prank(node(2));
        chunks.setDoor("http://10.0.0.3:1");
        LucidChunkStore.Door[] memory list = chunks.doors();
        eq(list.length, 2, "doors");
        eq(list[0].node, node(2), "moved to the free place");
        eq(keccak256(bytes(list[0].url)), keccak256("http://10.0.0.3:1"), "replaced");
        vm.prank(SYSTEM);
        credits.onEvidence(node(2), 0, 1);
        list = chunks.doors();
        eq(list.length, 1, "doors");
        eq(list[0].node, node(1), "the other");
        vm.prank(node(1));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.UrlTooLong.selector, 257, 256));
        chunks.setDoor(string(new bytes(257)));
    }

    // ----------------------------------------------------------------------------------------------------- proofs

    function testFuzz_every_leaf_opens_and_nothing_else_does(uint256 seed, uint16 size, uint16 at, uint8 flip)
        public
        pure
    {
        bytes memory bytes_ = content(seed, clamp(size, 1, 9_000));
        uint256 leaves = (bytes_.length + 1_023) / 1_024;
        uint256 index = at % leaves;
        (bytes32 root, bytes32[] memory path) = tree(bytes_, index);
        bytes memory leaf = leafOf(bytes_, index);
        yes(chunks.verifyLeaf(root, bytes_.length, index, leaf, path), "opens");
        yes(!chunks.verifyLeaf(root, bytes_.length, leaves, leaf, path), "behind the end");
        if (leaves > 1) yes(!chunks.verifyLeaf(root, bytes_.length, (index + 1) % leaves, leaf, path), "elsewhere");
        yes(!chunks.verifyLeaf(keccak256("x"), bytes_.length, index, leaf, path), "another root");
        yes(!chunks.verifyLeaf(root, bytes_.length, index, bytes.concat(leaf, hex"00"), path), "longer");
        bytes32[] memory more = new bytes32[](path.length + 1);
        yes(!chunks.verifyLeaf(root, bytes_.length, index, leaf, more), "a longer path");
        if (path.length > 0) {
            yes(!chunks.verifyLeaf(root, bytes_.length, index, leaf, new bytes32[](path.length - 1)), "a shorter path");
        }
        leaf[at % leaf.length] ^= bytes1(uint8(clamp(flip, 1, 255)));
        yes(!chunks.verifyLeaf(root, bytes_.length, index, leaf, path), "flipped");
    }

    function test_the_seed_is_the_randomness_of_the_sealing_block() public {
        eq(credits.seed(), 0, "none in the first slot");
        sealOnly();
        eq(credits.seed(), keccak256(abi.encode(block.prevrandao, uint64(1))), "drawn");
    }

    function test_a_proof_earns_what_is_held_and_once_a_slot() public {
        vm.prank(owner);
        commit(0, 0, 5_000, 100);
        accept(node(0), 1);
        (uint64[] memory asked,) = chunks.challenges(node(0));
        eq(asked.length, 0, "not in the slot in which it began");
        vm.startPrank(node(0));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.AlreadyProven.selector, node(0), 0));
        chunks.prove(0, new LucidChunkStore.Opening[](2));
        vm.stopPrank();
        sealOnly();
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ProveFirst.selector, node(0), 1));
        accept(node(0), 1);
        vm.startPrank(node(0));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.ProveFirst.selector, node(0), 1));
        chunks.releaseCustody(just(1));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.SlotNotOpen.selector, 0, 1));
        chunks.prove(0, new LucidChunkStore.Opening[](2));
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.OpeningCount.selector, 1, 2));
        chunks.prove(1, new LucidChunkStore.Opening[](1));
        LucidChunkStore.Opening[] memory wrong = answers(node(0), 0);
        wrong[1].leaf[0] ^= 0x01;
        vm.expectPartialRevert(LucidChunkStore.WrongOpening.selector);
        chunks.prove(1, wrong);
        vm.stopPrank();
        prove(node(0), 0);
        (uint64 slot,) = chunks.proven(node(0));
        eq(slot, 2, "proven");
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.AlreadyProven.selector, node(0), 1));
        vm.prank(node(0));
        chunks.prove(1, wrong);
        vm.expectRevert(abi.encodeWithSelector(LucidChunkStore.NothingHeld.selector, node(1)));
        vm.prank(node(1));
        chunks.prove(1, wrong);
    }

    function test_a_byte_earns_nothing_and_a_claim_for_it_is_refused() public {
        bytes memory bytes_ = content(1, 1);
        bytes32 root = keccak256(bytes.concat(hex"00", bytes_));
        vm.prank(owner);
        commitRoot(0, keccak256("one"), root, 1, 1_000);
        contents[1] = bytes_;
        accept(node(0), 1);
        // A byte is worth a GiB-slot once in 2^30 slots: never here.
        for (uint256 i = 0; i < 20; ++i) {
            sealOnly();
            prove(node(0), 0);
            (, uint64 credit) = chunks.proven(node(0));
            eq(credit, 0, "nothing");
        }
        TaskProof[] memory list = new TaskProof[](1);
        list[0] = TaskProof(node(0), credits.openSlot(), 1, 5, "", "");
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NotProven.selector, node(0), 1, credits.openSlot()));
        vm.prank(node(0));
        credits.submit(list);
    }

    function test_a_gib_is_a_credit_a_slot_and_half_of_one_every_second_slot() public {
        uint256 gained = 0;
        // One size for all, large ones: their openings are those of a false root that is one leaf's.
        uint64[] memory numbers = new uint64[](64);
        vm.prank(address(timelock));
        params.set("maxChunkSize", 16 << 20);
        (bytes32 root, bytes32[] memory path) = zeros(14);
        for (uint64 i = 0; i < 64; ++i) {
            vm.prank(owner);
            commitRoot(i, keccak256(abi.encode(i)), root, 8 << 20, 1_000);
            numbers[i] = i + 1;
        }
        vm.prank(node(0));
        chunks.acceptCustody(numbers);
        LucidChunkStore.Opening[] memory all = new LucidChunkStore.Opening[](2);
        (all[0], all[1]) =
        (LucidChunkStore.Opening(new bytes(1_024), path), LucidChunkStore.Opening(new bytes(1_024), path));
        for (uint256 i = 0; i < 200; ++i) {
            sealOnly();
            vm.prank(node(0));
            chunks.prove(uint64(i) + 1, all);
            (, uint64 credit) = chunks.proven(node(0));
            if (credit == 0) continue;
            gained += credit;
            TaskProof[] memory list = new TaskProof[](1);
            list[0] = TaskProof(node(0), credits.openSlot(), 1, 7, "", "");
            vm.prank(node(0));
            credits.submit(list);
        }
        eq(credits.credits(node(0))[2 - 1], gained, "storage work");
        // Half a GiB for 200 slots: 100, give or take four standard deviations of a coin.
        yes(gained > 70 && gained < 130, "half");
    }

    // A tree of zeros, 2^(levels - 1) leaves wide: every path is the same.
    function zeros(uint256 levels) private pure returns (bytes32 hash, bytes32[] memory path) {
        hash = keccak256(bytes.concat(hex"00", new bytes(1_024)));
        path = new bytes32[](levels - 1);
        for (uint256 i = 0; i < levels - 1; ++i) {
            path[i] = hash;
            hash = keccak256(bytes.concat(hex"01", hash, hash));
        }
    }

    function test_a_lost_chunk_is_found_out_and_earns_nothing() public {
        vm.startPrank(owner);
        commit(0, 0, 3_000, 100);
        commit(1, 1, 3_000, 100);
        vm.stopPrank();
        accept(node(0), 1);
        accept(node(0), 2);
        uint256 slots = 0;
        while (chunks.heldCount(node(0)) == 2) {
            sealOnly();
            vm.expectEmit(true, true, false, false, address(chunks));
            emit LucidChunkStore.CustodyProven(node(0), credits.openSlot(), 0);
            prove(node(0), 2);
            yes(++slots < 60, "found out");
        }
        eq(chunks.lease(2).holders.length, 0, "struck off");
        eq(chunks.lease(1).holders, only(node(0)), "the other stays");
    }

    function test_losing_everything_is_said_in_one_answer() public {
        vm.prank(owner);
        commit(0, 0, 3_000, 100);
        accept(node(0), 1);
        sealOnly();
        // Both challenges are of the one chunk.
        vm.prank(node(0));
        chunks.prove(1, new LucidChunkStore.Opening[](2));
        eq(chunks.heldCount(node(0)), 0, "nothing held");
    }

    function test_verify_is_for_storage_and_the_proven_slot_only() public {
        vm.prank(owner);
        commit(0, 0, 3_000, 100);
        accept(node(0), 1);
        sealOnly();
        prove(node(0), 0);
        for (uint64 slot = 0; slot < 4; ++slot) {
            eq(chunks.verify(TaskProof(node(1), slot, 1, 1, "", "")), 0, "another");
            eq(chunks.verify(TaskProof(node(0), slot, 0, 1, "", "")), 0, "relay");
        }
        eq(credits.verifier(1), address(chunks), "set at genesis");
    }
}

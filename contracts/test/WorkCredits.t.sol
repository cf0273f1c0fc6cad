// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWorkVerifier, TaskProof} from "../src/Interfaces.sol";
import {WorkCredits} from "../src/WorkCredits.sol";
import {Base} from "./Base.sol";

/// @dev Grants what the evidence says.
contract Grants is IWorkVerifier {
    function verify(TaskProof calldata proof) external pure returns (uint64) {
        return abi.decode(proof.evidence, (uint64));
    }
}

/// @dev A node that asks for more while it is being paid.
contract GreedyNode {
    WorkCredits private immutable credits;
    bool private again;

    constructor(WorkCredits credits_) payable {
        credits = credits_;
        credits_.register{value: msg.value}(keccak256("greedy"), keccak256("vrf"));
    }

    function leave() external {
        credits.leave();
    }

    function withdraw() external {
        again = true;
        credits.withdrawBond();
    }

    receive() external payable {
        if (again) credits.withdrawBond();
    }
}

contract WorkCreditsTest is Base {
    address private timelocked = address(timelock);
    uint256 private constant NEW = 50;

    function setUp() public {
        deployAll(4);
    }

    function join(uint256 number) private returns (address who) {
        who = node(number);
        vm.deal(who, 1 ether);
        vm.prank(who);
        credits.register{value: 1 ether}(consensusKey(number), vrfKey(number));
    }

    function admit(address who) private {
        vm.prank(timelocked);
        credits.setValidator(who, true);
    }

    function sealOnly() private {
        seal(credits.openSlot() + 1, activeSet());
    }

    function beacon(uint256 number, uint64 slot) private view returns (TaskProof memory proof) {
        proof = TaskProof(node(number), slot, 3, 1, "", "");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(number + 1, credits.digest(proof));
        proof.signature = abi.encodePacked(r, s, v);
    }

    function send(TaskProof memory proof) private {
        TaskProof[] memory list = new TaskProof[](1);
        list[0] = proof;
        credits.submit(list);
    }

    function refused(TaskProof memory proof, bytes memory reason) private {
        TaskProof[] memory list = new TaskProof[](1);
        list[0] = proof;
        vm.expectRevert(reason);
        credits.submit(list);
    }

    // -------------------------------------------------------------------------------------------- genesis

    function test_genesis_validators_are_active_and_sorted_and_lead_in_that_order() public view {
        address[] memory set = activeSet();
        eq(set.length, 4, "validators");
        for (uint256 i = 1; i < 4; ++i) {
            yes(set[i - 1] < set[i], "ascending");
        }
        eq(order(), set, "order");
        (uint64 slot, address[] memory next) = credits.nextOrder();
        eq(next, set, "next order");
        eq(slot, 1, "next slot");
        for (uint256 i = 0; i < 4; ++i) {
            (bytes32 consensus, bytes32 vrf) = credits.keysOf(node(i));
            eq(consensus, consensusKey(i), "key");
            eq(vrf, vrfKey(i), "vrf key");
            eq(credits.nodeOfKey(consensusKey(i)), node(i), "whose key");
        }
        eq(credits.reserve(), RESERVE, "reserve");
    }

    function test_genesis_refuses_no_validators_twins_and_shared_keys() public {
        WorkCredits.Validator[] memory list = new WorkCredits.Validator[](0);
        vm.expectRevert(WorkCredits.NoValidators.selector);
        new WorkCredits(address(params), timelocked, address(0), list);
        list = genesis(3);
        list[2].node = list[0].node;
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.AlreadyRegistered.selector, list[0].node));
        new WorkCredits(address(params), timelocked, address(0), list);
        list = genesis(3);
        list[2].consensusKey = list[0].consensusKey;
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.KeyTaken.selector, list[0].consensusKey, list[0].node));
        new WorkCredits(address(params), timelocked, address(0), list);
        list = genesis(3);
        list[1].vrfKey = 0;
        vm.expectRevert(WorkCredits.ZeroKey.selector);
        new WorkCredits(address(params), timelocked, address(0), list);
        list = genesis(101);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.TooManyValidators.selector, 100));
        new WorkCredits(address(params), timelocked, address(0), list);
    }

    // -------------------------------------------------------------------------------------------- blocks

    function testFuzz_only_the_chain_makes_its_calls(address caller) public {
        vm.assume(caller != SYSTEM);
        bytes memory reason = abi.encodeWithSelector(WorkCredits.OnlySystem.selector, caller);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        credits.onBlock(1, 0, caller, none(), none());
        vm.expectRevert(reason);
        credits.onSeal(0, 1, caller, 0, none());
        vm.expectRevert(reason);
        credits.onEvidence(node(0), 0, 1);
    }

    function testFuzz_only_the_timelock_sets(address caller) public {
        vm.assume(caller != timelocked);
        bytes memory reason = abi.encodeWithSelector(WorkCredits.OnlyTimelock.selector, caller);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        credits.setValidator(node(0), false);
        vm.expectRevert(reason);
        credits.setVerifier(0, caller);
    }

    function test_heights_follow_each_other_and_slots_are_the_open_one() public {
        makeBlock(none(), none());
        vm.startPrank(SYSTEM);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.WrongHeight.selector, 1, 2));
        credits.onBlock(1, 0, node(0), none(), none());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.WrongHeight.selector, 3, 2));
        credits.onBlock(3, 0, node(0), none(), none());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.WrongSlot.selector, 1, 0));
        credits.onBlock(2, 1, node(0), none(), none());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.WrongSlot.selector, 1, 0));
        credits.onSeal(1, 2, node(0), 0, none());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.WrongSlot.selector, 0, 0));
        credits.onSeal(0, 0, node(0), 0, none());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.UnknownReason.selector, 3));
        credits.onSeal(0, 1, node(0), 3, none());
    }

    function test_each_signature_is_a_validation_and_each_slot_one_uptime() public {
        address signer = activeSet()[1];
        for (uint256 i = 0; i < 5; ++i) {
            makeBlock(only(signer), none());
        }
        eq(credits.credits(signer)[2], 5, "validations, open");
        eq(credits.credits(signer)[3], 1, "uptime, open");
        sealOnly();
        eq(credits.credits(signer)[2], 5, "validations, sealed");
        makeBlock(only(signer), none());
        sealOnly();
        eq(credits.credits(signer)[2], 6, "validations");
        eq(credits.credits(signer)[3], 2, "uptime");
        eq(credits.uptimeBps(signer), 10_000, "up all the time");
        eq(credits.uptimeBps(activeSet()[2]), 0, "never seen");
        eq(credits.uptimeBps(activeSet()[0]), 5_000, "seen as proposer of the first slot");
        eq(credits.credits(activeSet()[0])[2], 0, "and not as signer");
    }

    function test_who_is_no_node_gets_nothing_and_stops_nothing() public {
        makeBlock(only(address(0xdead)), only(address(0xdead)));
        sealOnly();
        eq(credits.credits(address(0xdead))[2], 0, "nothing");
        vm.prank(SYSTEM);
        credits.onSeal(1, 2, address(0xdead), 2, none());
    }

    function test_the_missed_go_to_the_end_in_the_order_of_their_rounds() public {
        address[] memory before = order();
        address[] memory missed = new address[](2);
        (missed[0], missed[1]) = (before[0], before[1]);
        vm.expectEmit(true, true, true, true, address(credits));
        emit WorkCredits.TimedOut(before[0], 0);
        makeBlock(none(), missed);
        address[] memory expected = new address[](4);
        (expected[0], expected[1], expected[2], expected[3]) = (before[2], before[3], before[0], before[1]);
        eq(order(), expected, "order");
        eq(credits.entity(before[0]).timeouts, 1, "timeouts, open");
        sealOnly();
        eq(credits.entity(before[1]).timeouts, 1, "timeouts, sealed");
        eq(credits.entity(before[2]).timeouts, 0, "no timeout");
    }

    function testFuzz_demotion_is_a_stable_partition(uint256 seed, uint8 count) public {
        address[] memory before = order();
        uint256 length = count % 9;
        address[] memory missed = new address[](length);
        for (uint256 i = 0; i < length; ++i) {
            uint256 pick = uint256(keccak256(abi.encode(seed, i))) % 5;
            missed[i] = pick == 4 ? address(uint160(0xbeef)) : before[pick];
        }
        makeBlock(none(), missed);
        address[] memory expected = new address[](4);
        uint256 at = 0;
        for (uint256 i = 0; i < 4; ++i) {
            if (!contains(missed, before[i])) expected[at++] = before[i];
        }
        for (uint256 i = 0; i < length; ++i) {
            bool known = missed[i] != address(uint160(0xbeef));
            for (uint256 j = 0; j < i; ++j) {
                if (missed[j] == missed[i]) known = false;
            }
            if (known) expected[at++] = missed[i];
        }
        eq(order(), expected, "order");
    }

    function test_who_missed_or_led_is_last_in_the_slot_that_opens() public {
        address[] memory set = activeSet();
        makeBlockBy(set[2], none(), only(set[0]));
        eq(credits.entity(set[0]).lastLedSlot, 1, "who missed cools down as if it had led");
        uint64 slot = credits.openSlot();
        vm.prank(SYSTEM);
        credits.onSeal(slot, slot + 1, set[2], 1, set);
        address[] memory entered = new address[](2);
        (entered[0], entered[1]) = (set[0], set[2]);
        eq(order(), coolDown(set, entered), "order");
        (, address[] memory next) = credits.nextOrder();
        eq(next, set, "the one after is as given");
    }

    // -------------------------------------------------------------------------------------------- seals

    function test_a_seal_shifts_the_orders_and_remembers_who_led() public {
        address[] memory set = activeSet();
        address[] memory wish = new address[](4);
        (wish[0], wish[1], wish[2], wish[3]) = (set[3], set[1], set[0], set[2]);
        vm.expectEmit(true, true, true, true, address(credits));
        emit WorkCredits.LeaderSchedule(0, set[0], 0, wish);
        seal(1, wish);
        eq(order(), coolDown(set, only(set[0])), "what was next, its leader last");
        (, address[] memory next) = credits.nextOrder();
        eq(next, wish, "next");
        eq(credits.entity(set[0]).lastLedSlot, 1, "slot 0, plus one");
        seal(2, set);
        eq(order(), coolDown(wish, only(set[1])), "one slot later");
        eq(credits.openSlot(), 2, "open slot");
    }

    function test_an_order_is_completed_and_cleaned() public {
        address[] memory set = activeSet();
        address[] memory wish = new address[](5);
        (wish[0], wish[1], wish[2], wish[3], wish[4]) = (set[2], address(0xdead), set[2], set[0], address(0));
        seal(1, wish);
        address[] memory expected = new address[](4);
        (expected[0], expected[1], expected[2], expected[3]) = (set[2], set[0], set[1], set[3]);
        (, address[] memory next) = credits.nextOrder();
        eq(next, expected, "next");
    }

    function test_the_slot_reward_is_shared_by_work_and_claimed() public {
        address[] memory set = activeSet();
        // set[0] proposes and signs: two validations, one uptime; set[1] signs once: one and one.
        address[] memory both = new address[](2);
        (both[0], both[1]) = (set[0], set[1]);
        makeBlock(both, none());
        makeBlock(only(set[0]), none());
        sealOnly();
        eq(credits.earned(set[0]), uint256(0.1 ether) * 3 / 5, "three fifths");
        eq(credits.earned(set[1]), uint256(0.1 ether) * 2 / 5, "two fifths");
        eq(credits.earned(set[2]), 0, "nothing");
        eq(credits.reserve(), RESERVE - 0.1 ether, "reserve");
        credits.claim(set[0]);
        eq(set[0].balance, 0.06 ether, "paid");
        eq(credits.claimable(set[0]), 0, "nothing left");
        eq(credits.earned(set[0]), 0.06 ether, "still earned");
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NothingToClaim.selector, set[0]));
        credits.claim(set[0]);
    }

    function test_rewards_end_with_the_reserve() public {
        vm.deal(address(credits), 0.15 ether);
        pass(3);
        uint256 sum = 0;
        for (uint256 i = 0; i < 4; ++i) {
            sum += credits.earned(node(i));
            credits.claim(node(i));
        }
        yes(sum <= 0.15 ether && sum > 0.149 ether, "all of it and no more");
        yes(address(credits).balance < 0.001 ether, "paid");
    }

    function test_the_window_slides() public {
        address signer = activeSet()[0];
        makeBlock(only(signer), none());
        seal(1, activeSet());
        // Slot 0 is in hour 0, which leaves when hour 168 begins.
        seal(5_039, activeSet());
        eq(credits.credits(signer)[2], 1, "still there");
        seal(5_040, activeSet());
        eq(credits.credits(signer)[2], 0, "gone");
        makeBlock(only(signer), none());
        seal(5_041, activeSet());
        eq(credits.credits(signer)[2], 1, "the bucket is used again");
        eq(credits.window(signer).validation, 1, "stored");
        seal(100_000, activeSet());
        eq(credits.credits(signer)[2], 0, "after a long halt");
    }

    function test_a_halt_is_nobodys_downtime() public {
        pass(10);
        seal(4_000, activeSet());
        pass(10);
        // One sealed slot of 21 had no block that anybody signed.
        eq(credits.uptimeBps(node(0)), uint256(20) * 10_000 / 21, "uptime");
    }

    // -------------------------------------------------------------------------------------------- nodes

    function test_a_node_registers_with_a_bond() public {
        address who = node(NEW);
        vm.deal(who, 3 ether);
        vm.startPrank(who);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.BondTooSmall.selector, 1 ether - 1, 1 ether));
        credits.register{value: 1 ether - 1}(consensusKey(NEW), vrfKey(NEW));
        vm.expectRevert(WorkCredits.ZeroKey.selector);
        credits.register{value: 1 ether}(0, vrfKey(NEW));
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.KeyTaken.selector, consensusKey(0), node(0)));
        credits.register{value: 1 ether}(consensusKey(0), vrfKey(NEW));
        credits.register{value: 1 ether}(consensusKey(NEW), vrfKey(NEW));
        yes(credits.isNode(who), "node");
        eq(credits.bondOf(who), 1 ether, "bond");
        eq(credits.reserve(), RESERVE, "a bond is no reserve");
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.AlreadyRegistered.selector, who));
        credits.register{value: 1 ether}(consensusKey(NEW), vrfKey(NEW));
        credits.addBond{value: 0.5 ether}();
        eq(credits.bondOf(who), 1.5 ether, "more bond");
        eq(activeSet().length, 4, "not a validator");
    }

    function test_an_admitted_node_is_in_from_the_next_seal() public {
        address who = join(NEW);
        admit(who);
        eq(activeSet().length, 4, "not yet");
        eq(credits.nextValidators().length, 5, "but next");
        vm.expectEmit(true, true, true, true, address(credits));
        emit WorkCredits.ValidatorSetChanged(0);
        sealOnly();
        eq(activeSet().length, 5, "in");
        yes(contains(activeSet(), who), "in");
        eq(order()[3], who, "behind all but who led");
        (, address[] memory next) = credits.nextOrder();
        eq(next[4], who, "last in the next");
        eq(credits.validatorTally().length, 5, "tally of validators");
        vm.prank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.AlreadyValidator.selector, who));
        credits.setValidator(who, true);
    }

    function test_admission_needs_a_registered_bonded_free_node_and_room() public {
        vm.startPrank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NotRegistered.selector, node(NEW)));
        credits.setValidator(node(NEW), true);
        vm.stopPrank();
        address who = join(NEW);
        vm.prank(timelocked);
        params.set("validatorBond", 2 ether);
        vm.prank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.BondTooSmall.selector, 1 ether, 2 ether));
        credits.setValidator(who, true);
        vm.deal(who, 1 ether);
        vm.prank(who);
        credits.addBond{value: 1 ether}();
        vm.prank(timelocked);
        params.set("maxValidators", 4);
        vm.prank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.TooManyValidators.selector, 4));
        credits.setValidator(who, true);
        vm.prank(who);
        credits.leave();
        vm.prank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.IsLeaving.selector, who));
        credits.setValidator(who, true);
        vm.prank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NotValidator.selector, who));
        credits.setValidator(who, false);
    }

    function test_a_removed_validator_is_out_of_set_and_orders_at_the_next_seal_and_still_a_node() public {
        address out = activeSet()[1];
        vm.prank(timelocked);
        credits.setValidator(out, false);
        yes(contains(activeSet(), out), "until then");
        sealOnly();
        yes(!contains(activeSet(), out) && !contains(order(), out), "out");
        (, address[] memory next) = credits.nextOrder();
        yes(!contains(next, out), "out of the next order");
        yes(credits.isNode(out), "a node");
    }

    function test_the_last_validator_stays() public {
        address[] memory set = activeSet();
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(set[i]);
            credits.leave();
        }
        bytes memory reason = abi.encodeWithSelector(WorkCredits.LastValidator.selector, set[3]);
        vm.expectRevert(reason);
        vm.prank(set[3]);
        credits.leave();
        vm.expectRevert(reason);
        vm.prank(timelocked);
        credits.setValidator(set[3], false);
        vm.deal(set[3], 1 ether);
        vm.prank(set[3]);
        credits.addBond{value: 1 ether}();
        vm.prank(SYSTEM);
        credits.onEvidence(set[3], 0, 1);
        eq(credits.bondOf(set[3]), 0, "punished");
        sealOnly();
        eq(activeSet(), only(set[3]), "and still there");
    }

    function test_a_bond_comes_back_after_the_unbonding_time() public {
        address who = join(NEW);
        pass(3);
        vm.startPrank(who);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NotLeaving.selector, who));
        credits.withdrawBond();
        credits.leave();
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.IsLeaving.selector, who));
        credits.leave();
        eq(credits.withdrawableAt(who), 5_043, "until");
        vm.stopPrank();
        seal(5_042, activeSet());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.StillBonded.selector, who, 5_043, 5_042));
        vm.prank(who);
        credits.withdrawBond();
        seal(5_043, activeSet());
        vm.prank(who);
        credits.withdrawBond();
        eq(who.balance, 1 ether, "bond");
        yes(!credits.isNode(who), "no node");
        eq(credits.nodeCount(), 4, "nodes");
        eq(credits.reserve() + 4 * credits.claimable(node(0)), RESERVE, "reserve");
    }

    function test_coming_back_wipes_no_record() public {
        address who = join(NEW);
        uint64 joined = credits.joinedSlot(who);
        vm.prank(who);
        credits.leave();
        seal(5_040, activeSet());
        vm.prank(who);
        credits.withdrawBond();
        vm.prank(who);
        credits.register{value: 1 ether}(consensusKey(NEW), vrfKey(NEW));
        eq(credits.joinedSlot(who), joined, "joined");
        eq(credits.tally()[4].node, who, "in the tally");
    }

    function test_the_list_of_nodes_keeps_its_places() public {
        address a = join(NEW);
        address b = join(NEW + 1);
        address c = join(NEW + 2);
        vm.prank(a);
        credits.leave();
        seal(5_040, activeSet());
        vm.prank(a);
        credits.withdrawBond();
        eq(credits.tally()[4].node, c, "moved");
        vm.prank(c);
        credits.leave();
        seal(10_080, activeSet());
        vm.prank(c);
        credits.withdrawBond();
        eq(credits.tally()[4].node, b, "moved again");
        eq(credits.nodeCount(), 5, "nodes");
    }

    function test_a_call_back_finds_no_second_bond() public {
        join(NEW);
        GreedyNode greedy = new GreedyNode{value: 1 ether}(credits);
        greedy.leave();
        seal(5_040, activeSet());
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.TransferFailed.selector, address(greedy), 1 ether));
        greedy.withdraw();
    }

    // -------------------------------------------------------------------------------------------- evidence

    function test_evidence_burns_bond_and_earnings_and_jails() public {
        address who = join(NEW);
        admit(who);
        sealOnly();
        makeBlock(only(who), none());
        sealOnly();
        uint256 unpaid = credits.claimable(who);
        yes(unpaid > 0, "it earned something");
        uint256 reserve = credits.reserve();
        vm.expectEmit(true, true, true, true, address(credits));
        emit WorkCredits.Slashed(who, 1, 7, 1 ether + unpaid, true);
        vm.prank(SYSTEM);
        credits.onEvidence(who, 1, 7);
        eq(credits.burnt(), 1 ether + unpaid, "burnt");
        eq(credits.reserve(), reserve, "and not back to the reserve");
        yes(credits.entity(who).jailed && !credits.isNode(who), "jailed");
        yes(contains(activeSet(), who), "until the seal");
        makeBlock(only(who), none());
        eq(credits.credits(who)[2], 1, "its signatures are not counted any more");
        sealOnly();
        yes(!contains(activeSet(), who) && !contains(order(), who), "out");
        vm.recordLogs();
        vm.prank(SYSTEM);
        credits.onEvidence(who, 1, 7);
        eq(vm.getRecordedLogs().length, 0, "once");
        vm.prank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.IsJailed.selector, who));
        credits.setValidator(who, true);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NothingToClaim.selector, who));
        credits.claim(who);
    }

    function test_a_jailed_node_leaves_with_nothing_and_does_not_come_back() public {
        address who = join(NEW);
        vm.prank(SYSTEM);
        credits.onEvidence(who, 0, 1);
        vm.prank(who);
        credits.leave();
        seal(5_040, activeSet());
        vm.deal(who, 2 ether);
        vm.startPrank(who);
        credits.withdrawBond();
        eq(who.balance, 2 ether, "nothing came");
        eq(credits.nodeCount(), 4, "its place is free");
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.IsJailed.selector, who));
        credits.register{value: 1 ether}(consensusKey(NEW + 1), vrfKey(NEW));
    }

    function test_evidence_reaches_a_bond_that_is_being_unbonded() public {
        address who = join(NEW);
        vm.prank(who);
        credits.leave();
        vm.prank(SYSTEM);
        credits.onEvidence(who, 0, 1);
        eq(credits.bondOf(who), 0, "bond");
    }

    function test_evidence_against_a_stranger_does_nothing() public {
        vm.prank(SYSTEM);
        credits.onEvidence(address(0xdead), 0, 1);
        eq(credits.burnt(), 0, "burnt");
    }

    // -------------------------------------------------------------------------------------------- proofs

    function test_a_beacon_counts_once_a_slot_however_the_node_was_seen() public {
        send(beacon(0, 0));
        send(beacon(0, 0));
        makeBlock(only(node(0)), none());
        send(beacon(0, 0));
        eq(credits.credits(node(0))[3], 1, "uptime");
        sealOnly();
        // Late for slot 0, which it was seen in; then for slot 1, twice.
        send(beacon(0, 0));
        send(beacon(0, 1));
        send(beacon(0, 1));
        makeBlock(only(node(0)), none());
        eq(credits.credits(node(0))[3], 2, "uptime");
    }

    function test_a_late_beacon_counts_for_the_slot_before() public {
        sealOnly();
        send(beacon(0, 0));
        send(beacon(0, 0));
        send(beacon(0, 1));
        sealOnly();
        eq(credits.credits(node(0))[3], 2, "uptime");
        eq(credits.uptimeBps(node(0)), 10_000, "bps");
    }

    function test_a_beacon_for_another_slot_is_refused() public {
        sealOnly();
        sealOnly();
        refused(beacon(0, 0), abi.encodeWithSelector(WorkCredits.SlotNotOpen.selector, 0, 2));
        refused(beacon(0, 3), abi.encodeWithSelector(WorkCredits.SlotNotOpen.selector, 3, 2));
        seal(9, activeSet());
        refused(beacon(0, 8), abi.encodeWithSelector(WorkCredits.SlotNotOpen.selector, 8, 9));
        send(beacon(0, 9));
    }

    function test_a_beacon_from_before_joining_is_refused() public {
        sealOnly();
        join(NEW);
        refused(beacon(NEW, 0), abi.encodeWithSelector(WorkCredits.SlotNotOpen.selector, 0, 1));
        send(beacon(NEW, 1));
    }

    function test_the_node_itself_needs_no_signature() public {
        vm.startPrank(node(0));
        send(TaskProof(node(0), 0, 3, 1, "", ""));
        eq(credits.credits(node(0))[3], 1, "uptime");
    }

    function test_a_signature_is_of_this_node_this_proof_and_this_chain() public {
        TaskProof memory proof = beacon(0, 0);
        bytes memory bad = abi.encodeWithSelector(WorkCredits.BadSignature.selector, node(0));
        proof.value = 2;
        refused(proof, bad);
        proof = beacon(1, 0);
        proof.node = node(0);
        refused(proof, bad);
        proof = beacon(0, 0);
        vm.chainId(1);
        refused(proof, bad);
        vm.chainId(31337);
        send(proof);
        proof = beacon(NEW, 0);
        refused(proof, abi.encodeWithSelector(WorkCredits.NotRegistered.selector, node(NEW)));
        proof = beacon(1, 0);
        vm.prank(SYSTEM);
        credits.onEvidence(node(1), 0, 1);
        refused(proof, abi.encodeWithSelector(WorkCredits.IsJailed.selector, node(1)));
    }

    function testFuzz_a_flipped_byte_spoils_a_signature(uint8 at, uint8 flip) public {
        vm.assume(flip != 0);
        TaskProof memory proof = beacon(0, 0);
        uint256 index = at % 65;
        proof.signature[index] = bytes1(uint8(proof.signature[index]) ^ flip);
        TaskProof[] memory list = new TaskProof[](1);
        list[0] = proof;
        vm.expectRevert();
        credits.submit(list);
    }

    function test_relay_and_storage_need_a_verifier_and_others_have_none() public {
        vm.prank(timelocked);
        credits.setVerifier(1, address(0));
        vm.startPrank(node(0));
        for (uint8 kind = 0; kind < 7; ++kind) {
            if (kind == 3) continue;
            refused(
                TaskProof(node(0), 0, kind, 1, abi.encode(1), ""),
                abi.encodeWithSelector(WorkCredits.NoVerifier.selector, kind)
            );
        }
        vm.stopPrank();
        vm.startPrank(timelocked);
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NoVerifier.selector, 2));
        credits.setVerifier(2, address(1));
        vm.expectRevert(abi.encodeWithSelector(WorkCredits.NoVerifier.selector, 3));
        credits.setVerifier(3, address(1));
    }

    function test_a_verifier_grants_no_more_than_is_claimed_or_allowed_and_once_a_slot() public {
        address grants = address(new Grants());
        vm.startPrank(timelocked);
        credits.setVerifier(0, grants);
        credits.setVerifier(1, grants);
        vm.stopPrank();
        sealOnly();
        vm.startPrank(node(0));
        refused(
            TaskProof(node(0), 1, 0, 9, abi.encode(0), ""),
            abi.encodeWithSelector(WorkCredits.NotProven.selector, node(0), 0, 1)
        );
        send(TaskProof(node(0), 0, 0, 9, abi.encode(7), ""));
        send(TaskProof(node(0), 1, 0, 9, abi.encode(11), ""));
        send(TaskProof(node(0), 1, 1, type(uint64).max, abi.encode(type(uint64).max), ""));
        eq(credits.credits(node(0))[0], 7 + 9, "relay");
        eq(credits.credits(node(0))[1], 1 << 20, "storage");
        for (uint64 slot = 0; slot < 2; ++slot) {
            refused(
                TaskProof(node(0), slot, 0, 9, abi.encode(7), ""),
                abi.encodeWithSelector(WorkCredits.ProofExists.selector, node(0), 0, slot)
            );
        }
        refused(
            TaskProof(node(0), 1, 0, 9, new bytes(16_385), ""),
            abi.encodeWithSelector(WorkCredits.EvidenceTooLarge.selector, 16_385, 16_384)
        );
        vm.stopPrank();
        vm.prank(timelocked);
        credits.setVerifier(0, address(0));
        eq(credits.verifier(0), address(0), "unset");
        sealOnly();
        eq(credits.window(node(0)).relay, 16, "sealed");
    }

    // -------------------------------------------------------------------------------------------- eligibility

    function test_a_node_may_vote_with_four_fifths_uptime_and_one_coin_earned() public {
        address[] memory set = activeSet();
        vm.prank(timelocked);
        params.set("slotReward", 5 ether);
        for (uint256 i = 0; i < 5; ++i) {
            address[] memory signed = new address[](i == 0 ? 1 : 2);
            signed[0] = set[0];
            if (i > 0) signed[1] = set[1];
            makeBlockBy(set[0], signed, none());
            sealOnly();
        }
        eq(credits.uptimeBps(set[1]), 8_000, "four of five");
        yes(credits.eligible(set[0]) && credits.eligible(set[1]), "both may");
        yes(!credits.eligible(set[2]), "never up");
        eq(credits.eligibleCount(), 2, "counted");
        makeBlockBy(set[0], only(set[0]), none());
        sealOnly();
        yes(!credits.eligible(set[1]), "four of six");
        eq(credits.eligibleCount(), 1, "counted");
        vm.prank(SYSTEM);
        credits.onEvidence(set[0], 0, 1);
        yes(!credits.eligible(set[0]), "jailed");
    }

    function test_uptime_without_earnings_is_not_enough() public {
        vm.prank(timelocked);
        params.set("slotReward", 0);
        pass(3);
        eq(credits.uptimeBps(node(0)), 10_000, "up");
        yes(!credits.eligible(node(0)), "earned nothing");
    }

    function test_nodes_are_bounded() public {
        vm.prank(timelocked);
        params.set("validatorBond", 0.1 ether);
        for (uint256 i = 4; i < 1_024; ++i) {
            address who = address(uint160(0x10000 + i));
            vm.deal(who, 0.1 ether);
            vm.prank(who);
            credits.register{value: 0.1 ether}(consensusKey(i), vrfKey(i));
        }
        vm.deal(address(this), 1 ether);
        vm.expectRevert(WorkCredits.TooManyNodes.selector);
        credits.register{value: 0.1 ether}(consensusKey(2_000), vrfKey(2_000));
        uint256 gas = gasleft();
        pass(1);
        yes(gas - gasleft() < 20_000_000, "a seal with all places taken stays bounded");
    }
}

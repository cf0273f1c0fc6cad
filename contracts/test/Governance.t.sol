// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LucidGovernor} from "../src/LucidGovernor.sol";
import {ParamRegistry} from "../src/ParamRegistry.sol";
import {SignerRegistry} from "../src/SignerRegistry.sol";
import {Timelock} from "../src/Timelock.sol";
import {Base} from "./Base.sol";

contract GovernanceTest is Base {
    function setUp() public {
        deployAll(4);
        vm.startPrank(address(timelock));
        params.set("slotReward", 10 ether);
        params.set("votingPeriod", 5);
        params.set("timelockDelay", 3);
        vm.stopPrank();
        pass(1);
    }

    function proposeAs(address who, uint8 action, bytes memory data) private returns (uint256) {
        vm.prank(who);
        return governor.propose(action, data, "because");
    }

    function voteAs(address who, uint256 id, uint8 support) private {
        vm.prank(who);
        governor.vote(id, support);
    }

    function accept(uint8 action, bytes memory data) private {
        uint256 id = proposeAs(node(0), action, data);
        for (uint256 i = 0; i < 3; ++i) {
            voteAs(node(i), id, 1);
        }
        pass(5);
        governor.queue(id);
        pass(3);
        governor.execute(id);
        stateIs(id, LucidGovernor.State.Executed);
    }

    function stateIs(uint256 id, LucidGovernor.State expected) private view {
        eq(uint256(governor.state(id)), uint256(expected), "state");
    }

    function wrong(uint256 id, LucidGovernor.State is_, LucidGovernor.State needed) private {
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.WrongState.selector, id, is_, needed));
    }

    function paramData() private pure returns (bytes memory) {
        return abi.encode(bytes32("maxChunkSize"), uint256(1 << 20));
    }

    function test_a_vote_changes_a_parameter() public {
        accept(0, paramData());
        eq(params.get("maxChunkSize"), 1 << 20, "maxChunkSize");
    }

    function test_a_vote_rotates_the_signers() public {
        accept(1, abi.encode([address(7), address(8), address(9)]));
        eq(signers.signers()[2], address(9), "third");
        eq(signers.epoch(), 2, "epoch");
    }

    function test_a_vote_admits_and_removes_a_validator() public {
        vm.deal(node(9), 1 ether);
        vm.prank(node(9));
        credits.register{value: 1 ether}(consensusKey(9), vrfKey(9));
        accept(2, abi.encode(node(9), true));
        pass(1);
        yes(contains(activeSet(), node(9)), "in");
        accept(2, abi.encode(node(9), false));
        pass(1);
        yes(!contains(activeSet(), node(9)), "out");
    }

    function test_a_vote_sets_a_verifier() public {
        accept(3, abi.encode(uint8(1), address(0xabc)));
        eq(credits.verifier(1), address(0xabc), "verifier");
    }

    function test_from_proposal_to_effect() public {
        uint256 id = proposeAs(node(0), 0, paramData());
        eq(id, 1, "first id");
        stateIs(id, LucidGovernor.State.Active);
        LucidGovernor.Proposal memory proposal = governor.proposals(id);
        eq(proposal.eligibleAtStart, 4, "electorate");
        eq(proposal.endSlot, 6, "end");
        wrong(id, LucidGovernor.State.Active, LucidGovernor.State.Succeeded);
        governor.queue(id);
        voteAs(node(1), id, 1);
        voteAs(node(2), id, 1);
        pass(5);
        stateIs(id, LucidGovernor.State.Succeeded);
        wrong(id, LucidGovernor.State.Succeeded, LucidGovernor.State.Active);
        voteAs(node(3), id, 1);
        wrong(id, LucidGovernor.State.Succeeded, LucidGovernor.State.Queued);
        governor.execute(id);
        governor.queue(id);
        stateIs(id, LucidGovernor.State.Queued);
        wrong(id, LucidGovernor.State.Queued, LucidGovernor.State.Succeeded);
        governor.queue(id);
        pass(2);
        vm.expectRevert(abi.encodeWithSelector(Timelock.TooEarly.selector, id, 9, 8));
        governor.execute(id);
        pass(1);
        governor.execute(id);
        wrong(id, LucidGovernor.State.Executed, LucidGovernor.State.Queued);
        governor.execute(id);
    }

    function test_a_queued_proposal_expires() public {
        uint256 id = proposeAs(node(0), 0, paramData());
        voteAs(node(1), id, 1);
        voteAs(node(2), id, 1);
        pass(5);
        governor.queue(id);
        seal(9 + 5_040, activeSet());
        stateIs(id, LucidGovernor.State.Queued);
        seal(9 + 5_041, activeSet());
        stateIs(id, LucidGovernor.State.Expired);
        wrong(id, LucidGovernor.State.Expired, LucidGovernor.State.Queued);
        governor.execute(id);
    }

    function test_half_of_the_electorate_has_to_vote_and_more_for_than_against() public {
        uint256 few = proposeAs(node(0), 0, paramData());
        uint256 tie = proposeAs(node(1), 0, paramData());
        uint256 enough = proposeAs(node(2), 0, paramData());
        voteAs(node(0), few, 1);
        voteAs(node(0), tie, 1);
        voteAs(node(1), tie, 0);
        voteAs(node(0), enough, 1);
        voteAs(node(1), enough, 2);
        pass(5);
        stateIs(few, LucidGovernor.State.Defeated);
        stateIs(tie, LucidGovernor.State.Defeated);
        stateIs(enough, LucidGovernor.State.Succeeded);
        eq(governor.voteOf(enough, node(1)), 3, "abstained");
        eq(governor.voteOf(tie, node(1)), 1, "against");
        eq(governor.voteOf(tie, node(3)), 0, "has not voted");
    }

    function test_a_node_has_one_vote() public {
        uint256 id = proposeAs(node(0), 0, paramData());
        voteAs(node(0), id, 0);
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.AlreadyVoted.selector, id, node(0)));
        voteAs(node(0), id, 1);
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.UnknownSupport.selector, 3));
        voteAs(node(1), id, 3);
    }

    function testFuzz_who_is_not_eligible_neither_proposes_nor_votes(address who) public {
        for (uint256 i = 0; i < 4; ++i) {
            vm.assume(who != node(i));
        }
        bytes memory reason = abi.encodeWithSelector(LucidGovernor.NotEligible.selector, who);
        vm.expectRevert(reason);
        proposeAs(who, 0, paramData());
        uint256 id = proposeAs(node(0), 0, paramData());
        vm.expectRevert(reason);
        voteAs(who, id, 1);
    }

    function test_who_joined_after_the_proposal_does_not_vote_on_it() public {
        vm.prank(address(timelock));
        params.set("votingPeriod", 50);
        uint256 id = proposeAs(node(0), 0, paramData());
        pass(1);
        vm.deal(node(9), 1 ether);
        vm.prank(node(9));
        credits.register{value: 1 ether}(consensusKey(9), vrfKey(9));
        vm.prank(address(timelock));
        credits.setValidator(node(9), true);
        pass(6);
        yes(credits.eligible(node(9)), "eligible");
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.JoinedLater.selector, id, node(9)));
        voteAs(node(9), id, 1);
    }

    function test_a_proposer_takes_back_while_the_vote_is_open_and_has_one_open_at_a_time() public {
        uint256 id = proposeAs(node(0), 0, paramData());
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.OpenProposal.selector, id));
        proposeAs(node(0), 0, paramData());
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.NotProposer.selector, id, node(1)));
        vm.prank(node(1));
        governor.cancel(id);
        vm.prank(node(0));
        governor.cancel(id);
        stateIs(id, LucidGovernor.State.Canceled);
        uint256 second = proposeAs(node(0), 0, paramData());
        pass(5);
        wrong(second, LucidGovernor.State.Defeated, LucidGovernor.State.Active);
        vm.prank(node(0));
        governor.cancel(second);
        eq(governor.proposalCount(), 2, "proposals");
    }

    function test_what_could_not_be_executed_is_not_proposed() public {
        vm.startPrank(node(0));
        vm.expectPartialRevert(ParamRegistry.OutOfBounds.selector);
        governor.propose(0, abi.encode(bytes32("maxChunkSize"), uint256(1)), "");
        vm.expectPartialRevert(ParamRegistry.UnknownParameter.selector);
        governor.propose(0, abi.encode(bytes32("owner"), uint256(1)), "");
        vm.expectPartialRevert(SignerRegistry.SameSigner.selector);
        governor.propose(1, abi.encode([address(1), address(1), address(2)]), "");
        vm.expectPartialRevert(LucidGovernor.MalformedAction.selector);
        governor.propose(0, hex"00", "");
        vm.expectRevert();
        governor.propose(2, abi.encode(uint256(1), uint256(2)), "");
        vm.expectRevert();
        governor.propose(3, abi.encode(uint256(256), uint256(0)), "");
        vm.expectPartialRevert(LucidGovernor.DescriptionTooLong.selector);
        governor.propose(0, paramData(), string(new bytes(4_097)));
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.UnknownProposal.selector, 1));
        governor.state(1);
    }

    function testFuzz_only_listed_actions_are_proposed(uint8 action, bytes calldata data) public {
        vm.assume(action > 3);
        vm.expectRevert(abi.encodeWithSelector(LucidGovernor.UnknownAction.selector, action));
        proposeAs(node(0), action, data);
        vm.expectRevert(abi.encodeWithSelector(Timelock.UnknownAction.selector, action));
        vm.prank(address(governor));
        timelock.schedule(1, action, data);
    }

    function testFuzz_only_the_governor_uses_the_timelock(address caller) public {
        vm.assume(caller != address(governor));
        bytes memory reason = abi.encodeWithSelector(Timelock.OnlyGovernor.selector, caller);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        timelock.schedule(1, 0, "");
        vm.expectRevert(reason);
        timelock.execute(1, 0, "");
    }

    function test_the_timelock_does_what_was_scheduled_once() public {
        vm.startPrank(address(governor));
        vm.expectRevert(abi.encodeWithSelector(Timelock.NotScheduled.selector, 1));
        timelock.execute(1, 0, paramData());
        timelock.schedule(1, 0, paramData());
        vm.expectRevert(abi.encodeWithSelector(Timelock.AlreadyScheduled.selector, 1));
        timelock.schedule(1, 0, paramData());
        vm.stopPrank();
        pass(3);
        vm.startPrank(address(governor));
        vm.expectRevert(abi.encodeWithSelector(Timelock.OtherAction.selector, 1));
        timelock.execute(1, 0, abi.encode(bytes32("maxChunkSize"), uint256(2 << 20)));
        vm.expectRevert(abi.encodeWithSelector(Timelock.OtherAction.selector, 1));
        timelock.execute(1, 2, paramData());
        timelock.execute(1, 0, paramData());
        vm.expectRevert(abi.encodeWithSelector(Timelock.AlreadyExecuted.selector, 1));
        timelock.execute(1, 0, paramData());
        (uint64 eta, bool done) = timelock.scheduled(1);
        yes(eta == 4 && done, "done");
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWorkVerifier, TaskProof} from "../src/Interfaces.sol";
import {LucidAnchors} from "../src/LucidAnchors.sol";
import {LucidGovernor} from "../src/LucidGovernor.sol";
import {ParamRegistry} from "../src/ParamRegistry.sol";
import {WorkCredits} from "../src/WorkCredits.sol";
import {Base} from "./Base.sol";

/// @dev Grants all that is claimed.
contract Generous is IWorkVerifier {
    function verify(TaskProof calldata proof) external pure returns (uint64) {
        return proof.value;
    }
}

/// @dev What may happen to nodes and work, in any order. Calls that the rules refuse are made too; what they are refused with is
/// for the other tests.
contract Chain is Base {
    uint256 public constant PEOPLE = 12;
    uint256 public funded;
    uint256 public claimed;
    uint256 public slashed;

    function act(address as_, uint256 value, bytes memory call_) private returns (bool ok) {
        if (value != 0) vm.deal(as_, as_.balance + value);
        vm.prank(as_);
        (ok,) = address(credits).call{value: value}(call_);
    }

    function pick(uint256 seed, uint256 salt) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt)));
    }

    function some(uint256 seed) private view returns (address[] memory list) {
        address[] memory set = activeSet();
        uint256 count = 0;
        for (uint256 i = 0; i < set.length; ++i) {
            if (pick(seed, i) % 4 != 0) set[count++] = set[i];
        }
        list = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = set[i];
        }
    }

    function blocks(uint128 seed, uint8 count) external {
        for (uint256 i = 0; i < count % 4 + 1; ++i) {
            address[] memory list = order();
            // Sometimes more rounds than there are nodes.
            uint256 rounds = pick(seed, 100 + i) % 3 == 0 ? pick(seed, 200 + i) % (list.length + 2) : 0;
            address[] memory missed = new address[](rounds);
            for (uint256 j = 0; j < rounds; ++j) {
                missed[j] = list[j % list.length];
            }
            makeBlockBy(list[rounds % list.length], some(uint256(seed) + i), missed);
        }
    }

    function seals(uint128 seed, uint8 count) external {
        for (uint256 i = 0; i < count % 8 + 1; ++i) {
            uint256 pick_ = pick(seed, i) % 16;
            uint64 jump = pick_ < 10 ? 1 : pick_ < 14 ? uint64(pick(seed, 50 + i) % 90 + 1) : uint64(pick_ * 350);
            uint256 length = pick(seed, 300 + i) % 8;
            address[] memory wish = new address[](length);
            for (uint256 j = 0; j < length; ++j) {
                wish[j] = node(pick(seed, 400 + j) % (PEOPLE + 1));
            }
            seal(credits.openSlot() + jump, wish);
        }
        // C6, C7: what holds right after a seal.
        address[] memory set = activeSet();
        for (uint256 i = 0; i < set.length; ++i) {
            yes(!credits.entity(set[i]).jailed, "no jailed node is a validator");
        }
    }

    /// @dev A day in which everybody works: without it nothing grows old.
    function day(uint128 seed) external {
        for (uint256 i = 0; i < 24; ++i) {
            makeBlock(some(uint256(seed) + i), none());
            seal(credits.openSlot() + 30, activeSet());
        }
    }

    function register(uint256 who, uint96 extra) external {
        who %= PEOPLE;
        act(
            node(who),
            uint256(1 ether) + extra % 1 ether,
            abi.encodeCall(WorkCredits.register, (consensusKey(who), vrfKey(who)))
        );
    }

    function addBond(uint256 who, uint96 value) external {
        act(node(who % PEOPLE), value % 10 ether, abi.encodeCall(WorkCredits.addBond, ()));
    }

    function setValidator(uint256 who, bool active) external {
        act(address(timelock), 0, abi.encodeCall(WorkCredits.setValidator, (node(who % PEOPLE), active)));
    }

    function leave(uint256 who) external {
        act(node(who % PEOPLE), 0, abi.encodeCall(WorkCredits.leave, ()));
    }

    function withdraw(uint256 who) external {
        address of_ = node(who % PEOPLE);
        uint64 until = credits.withdrawableAt(of_);
        if (until > credits.openSlot()) seal(until, activeSet());
        act(of_, 0, abi.encodeCall(WorkCredits.withdrawBond, ()));
    }

    function evidence(uint256 who, uint256 seed) external {
        // Rarely, or soon nobody is left.
        if (seed % 4 != 0) return;
        uint256 before = credits.burnt();
        vm.prank(SYSTEM);
        credits.onEvidence(node(who % PEOPLE), uint8(seed), 1);
        slashed += credits.burnt() - before;
    }

    function proofs(uint256 who, uint256 seed) external {
        TaskProof[] memory list = new TaskProof[](3);
        address of_ = node(who % PEOPLE);
        uint64 slot = credits.openSlot();
        if (seed % 3 == 0 && slot > 0) --slot;
        list[0] = TaskProof(of_, slot, 3, 1, "", "");
        list[1] = TaskProof(of_, slot, 0, uint64(pick(seed, 1) % 3_000_000), "", "");
        list[2] = TaskProof(of_, slot, 1, uint64(pick(seed, 2) % 3_000_000), "", "");
        for (uint256 i = 0; i < 3; ++i) {
            TaskProof[] memory one = new TaskProof[](1);
            one[0] = list[i];
            act(of_, 0, abi.encodeCall(WorkCredits.submit, (one)));
        }
    }

    function claim(uint256 who) external {
        address of_ = node(who % PEOPLE);
        uint256 amount = credits.claimable(of_);
        if (act(address(this), 0, abi.encodeCall(WorkCredits.claim, (of_)))) claimed += amount;
    }

    function fund(uint96 value) external {
        uint256 amount = value % 1 ether;
        if (act(address(this), amount, "")) funded += amount;
    }

    function reward(uint256 value) external {
        vm.prank(address(timelock));
        params.set("slotReward", value % 20 ether);
    }
}

contract WorkCreditsInvariants is Base {
    Chain private chain;

    function setUp() public {
        deployAll(4);
        chain = new Chain();
        address generous = address(new Generous());
        vm.startPrank(address(timelock));
        credits.setVerifier(0, generous);
        credits.setVerifier(1, generous);
        params.set("maxValidators", 6);
        vm.stopPrank();
        vm.deal(address(credits), 50 ether);
    }

    function targetContracts() public view returns (address[] memory) {
        return only(address(chain));
    }

    /// @dev In one campaign: each would be a minute of the same calls.
    function invariant_nodes_work_and_money() public view {
        // One node a time: there are 168 buckets.
        (uint64 height,) = credits.progress();
        a_window_is_the_sum_of_its_buckets(node(height % chain.PEOPLE()));
        no_more_is_paid_than_the_reserve_had();
        the_active_set_is_sorted_bounded_and_never_empty();
        orders_are_permutations_of_the_active_set();
        the_tally_lists_each_node_once();
    }

    /// @dev At the end of each run, of every node. The last is node zero: sealed slots.
    function afterInvariant() public view {
        for (uint256 i = 0; i <= chain.PEOPLE(); ++i) {
            a_window_is_the_sum_of_its_buckets(i == chain.PEOPLE() ? address(0) : node(i));
        }
    }

    function a_window_is_the_sum_of_its_buckets(address of_) private view {
        WorkCredits.Work memory window = credits.window(of_);
        uint256[5] memory sum;
        for (uint256 index = 0; index < 168; ++index) {
            WorkCredits.Work memory bucket = credits.bucket(of_, index);
            // Never written.
            if (bucket.hour == 0 && index != 0) continue;
            if (bucket.hour > window.hour || uint256(bucket.hour) + 168 <= window.hour) continue;
            eq(bucket.hour % 168, index, "place of a bucket");
            sum[0] += bucket.relay;
            sum[1] += bucket.storageWork;
            sum[2] += bucket.validation;
            sum[3] += bucket.uptime;
            sum[4] += bucket.timeouts;
        }
        eq(window.relay, sum[0], "relay");
        eq(window.storageWork, sum[1], "storage");
        eq(window.validation, sum[2], "validation");
        eq(window.uptime, sum[3], "uptime");
        eq(window.timeouts, sum[4], "timeouts");
        yes(credits.uptimeBps(of_) <= 10_000, "no more than all the time");
    }

    function no_more_is_paid_than_the_reserve_had() private view {
        uint256 earned = 0;
        uint256 unpaid = 0;
        uint256 bonds = 0;
        for (uint256 i = 0; i < chain.PEOPLE(); ++i) {
            earned += credits.earned(node(i));
            unpaid += credits.claimable(node(i));
            bonds += credits.bondOf(node(i));
        }
        (uint256 bondsKept, uint256 unpaidKept) = credits.books();
        eq(bondsKept, bonds, "bonds");
        eq(unpaidKept, unpaid, "unpaid");
        eq(credits.burnt(), chain.slashed(), "burnt");
        yes(earned <= 50 ether + chain.funded(), "earned");
        yes(chain.claimed() + unpaid <= earned, "paid");
        eq(credits.reserve(), 50 ether + chain.funded() - earned, "reserve");
        eq(address(credits).balance, credits.reserve() + bonds + unpaid + credits.burnt(), "balance");
    }

    function the_active_set_is_sorted_bounded_and_never_empty() private view {
        address[] memory set = activeSet();
        yes(set.length >= 1 && set.length <= 6, "size");
        for (uint256 i = 1; i < set.length; ++i) {
            yes(set[i - 1] < set[i], "ascending, each once");
        }
        WorkCredits.Validator[] memory next = credits.nextValidators();
        yes(next.length >= 1 && next.length <= 6, "size of the next");
        for (uint256 i = 0; i < next.length; ++i) {
            yes(next[i].node != address(0), "as many as counted");
            yes(credits.isNode(next[i].node), "registered and not jailed");
            eq(credits.nodeOfKey(next[i].consensusKey), next[i].node, "its own key");
        }
    }

    function orders_are_permutations_of_the_active_set() private view {
        address[] memory set = activeSet();
        (, address[] memory next) = credits.nextOrder();
        permutation(order(), set);
        permutation(next, set);
    }

    function the_tally_lists_each_node_once() private view {
        WorkCredits.Entity[] memory entities = credits.tally();
        eq(entities.length, credits.nodeCount(), "length");
        uint256 validators = 0;
        for (uint256 i = 0; i < entities.length; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                yes(entities[i].node != entities[j].node, "once");
            }
            if (entities[i].validator) ++validators;
            yes(!entities[i].validator || !entities[i].jailed, "jailed and validator");
        }
        eq(validators, credits.validatorTally().length, "validators");
    }

    function permutation(address[] memory list, address[] memory set) private pure {
        eq(list.length, set.length, "length");
        for (uint256 i = 0; i < set.length; ++i) {
            yes(contains(list, set[i]), "everybody");
        }
    }
}

/// @dev People who open, checkpoint, close and register the same few sessions.
contract Recorders is Base {
    uint256 public constant IDS = 5;
    mapping(uint256 id => address) public firstOwner;
    mapping(uint256 id => uint64) public lastSize;
    mapping(uint256 id => uint256) public taken;
    mapping(uint256 id => bytes32) public closed;

    function open(uint256 who, uint256 owner, uint256 id) external {
        id %= IDS;
        vm.prank(node(who % 3));
        (bool ok,) = address(anchors).call(abi.encodeCall(anchors.openSession, (key(id), node(owner % 3), 0, 0)));
        if (ok) (firstOwner[id], taken[id]) = (node(owner % 3), taken[id] + 1);
    }

    function register(uint256 who, uint256 owner, uint256 id, uint64 count) external {
        id %= IDS;
        vm.prank(node(who % 3));
        (bool ok,) = address(anchors)
            .call(abi.encodeCall(anchors.registerSession, (key(id), node(owner % 3), 0, 0, bytes32(who), count)));
        if (!ok) return;
        (firstOwner[id], taken[id], lastSize[id]) = (node(owner % 3), taken[id] + 1, count);
        closed[id] = anchors.session(key(id)).log;
    }

    function checkpoint(uint256 who, uint256 id, uint64 size) external {
        id %= IDS;
        // Close to the last one, mostly.
        if (size % 4 != 0 && lastSize[id] < type(uint64).max - 2) size = lastSize[id] + size % 3;
        vm.prank(node(who % 3));
        (bool ok,) = address(anchors).call(abi.encodeCall(anchors.checkpoint, (key(id), size, bytes32(who))));
        if (!ok) return;
        yes(size > lastSize[id], "a checkpoint grows");
        lastSize[id] = size;
    }

    function close(uint256 who, uint256 id, uint64 count) external {
        id %= IDS;
        vm.prank(node(who % 3));
        (bool ok,) = address(anchors).call(abi.encodeCall(anchors.closeSession, (key(id), 0, bytes32(who), count)));
        if (!ok) return;
        yes(count >= lastSize[id] && closed[id] == 0, "closed once, and covers its checkpoints");
        lastSize[id] = count;
        closed[id] = anchors.session(key(id)).log;
    }

    function key(uint256 id) public pure returns (bytes32) {
        return keccak256(abi.encode("session", id));
    }
}

contract AnchorsInvariants is Base {
    Recorders private recorders;

    function setUp() public {
        deployAll(4);
        recorders = new Recorders();
    }

    function targetContracts() public view returns (address[] memory) {
        return only(address(recorders));
    }

    function invariant_an_id_is_taken_once_and_keeps_its_owner() public view {
        for (uint256 id = 0; id < recorders.IDS(); ++id) {
            yes(recorders.taken(id) <= 1, "once");
            eq(anchors.ownerOf(recorders.key(id)), recorders.firstOwner(id), "owner");
        }
    }

    function invariant_sizes_only_grow_and_what_is_closed_stays() public view {
        for (uint256 id = 0; id < recorders.IDS(); ++id) {
            LucidAnchors.Session memory session = anchors.session(recorders.key(id));
            eq(session.size, recorders.lastSize(id), "size");
            bool closed = recorders.closed(id) != 0;
            yes((session.status == LucidAnchors.Status.Closed) == closed, "status");
            if (closed) eq(session.log, recorders.closed(id), "log");
        }
    }
}

/// @dev Nodes and strangers who govern.
contract Voters is Base {
    uint256 public constant PEOPLE = 7;
    mapping(uint256 id => uint256) public voted;

    function act(uint256 who, bytes memory call_) private returns (bool ok) {
        vm.prank(node(who % PEOPLE));
        (ok,) = address(governor).call(call_);
    }

    function propose(uint256 who, uint8 action, uint256 key, uint256 value) external {
        bytes memory data;
        action %= 5;
        (bytes32[] memory keys,, uint256[] memory mins, uint256[] memory maxs) = params.list();
        key %= keys.length;
        // Within the bounds, or just outside.
        if (action == 0) {
            bool outside = value % 3 == 0;
            value = outside ? maxs[key] + 1 + value % 3 : clamp(value, mins[key], maxs[key]);
            data = abi.encode(keys[key], value);
        }
        if (action == 1) data = abi.encode([address(uint160(value)), node(1), node(2)]);
        if (action == 2) data = abi.encode(node(value % PEOPLE), key % 2 == 0);
        if (action >= 3) data = abi.encode(uint8(key % 5), address(uint160(value)));
        bool ok = act(who, abi.encodeCall(governor.propose, (action, data, "")));
        yes(!ok || action < 4, "only listed actions");
    }

    function vote(uint256 who, uint256 id, uint8 support) external {
        uint256 count = governor.proposalCount();
        if (count == 0) return;
        // The newest, mostly: the others are over.
        id = id % 4 == 0 ? 1 + id % count : count;
        bool before = governor.voteOf(id, node(who % PEOPLE)) != 0;
        bool ok = act(who, abi.encodeCall(governor.vote, (id, support % 4)));
        if (!ok) return;
        yes(!before, "one node, one vote");
        yes(credits.eligible(node(who % PEOPLE)), "eligible");
        voted[id] += 1;
    }

    function everyone(uint8 support) external {
        for (uint256 i = 0; i < PEOPLE; ++i) {
            this.vote(i, 3, support % 2 == 0 ? 1 : support);
        }
    }

    /// @dev From a vote to its effect, which chance alone would seldom get to.
    function decide(uint256 who) external {
        this.everyone(1);
        pass(3);
        this.queueAndExecute(who);
        pass(2);
        this.queueAndExecute(who);
    }

    function queueAndExecute(uint256 who) external {
        for (uint256 id = 1; id <= governor.proposalCount(); ++id) {
            LucidGovernor.State state = governor.state(id);
            if (state == LucidGovernor.State.Succeeded) act(who, abi.encodeCall(governor.queue, (id)));
            if (state == LucidGovernor.State.Queued) act(who, abi.encodeCall(governor.execute, (id)));
        }
    }

    function cancel(uint256 who, uint256 id) external {
        if (id % 8 == 0) act(who, abi.encodeCall(governor.cancel, (governor.proposalCount())));
    }

    function time(uint8 slots) external {
        pass(slots % 6);
    }

    function direct(uint256 who, uint256 key, uint256 value) external {
        (bytes32[] memory keys,,,) = params.list();
        vm.prank(node(who % PEOPLE));
        (bool ok,) = address(params).call(abi.encodeCall(params.set, (keys[key % keys.length], value)));
        yes(!ok, "nobody sets past the timelock");
    }
}

contract GovernanceInvariants is Base {
    Voters private voters;

    function setUp() public {
        deployAll(4);
        voters = new Voters();
        vm.startPrank(address(timelock));
        params.set("slotReward", 10 ether);
        params.set("votingPeriod", 3);
        params.set("timelockDelay", 2);
        vm.stopPrank();
        pass(2);
    }

    function targetContracts() public view returns (address[] memory) {
        return only(address(voters));
    }

    function invariant_parameters_are_within_their_bounds() public view {
        (, uint256[] memory values, uint256[] memory mins, uint256[] memory maxs) = params.list();
        for (uint256 i = 0; i < values.length; ++i) {
            yes(values[i] >= mins[i] && values[i] <= maxs[i], "within bounds");
        }
        yes(params.get("blockGasMin") <= params.get("blockGasMax"), "least and largest block");
    }

    function invariant_votes_are_as_many_as_voters() public view {
        for (uint256 id = 1; id <= governor.proposalCount(); ++id) {
            LucidGovernor.Proposal memory proposal = governor.proposals(id);
            uint256 sum = uint256(proposal.votesFor) + proposal.votesAgainst + proposal.votesAbstain;
            uint256 each = 0;
            for (uint256 i = 0; i < voters.PEOPLE(); ++i) {
                if (governor.voteOf(id, node(i)) != 0) ++each;
            }
            eq(sum, voters.voted(id), "counted");
            eq(sum, each, "each once");
            yes(proposal.action < 4, "listed");
            bool accepted =
                sum * 2 >= proposal.eligibleAtStart && proposal.votesFor > proposal.votesAgainst && !proposal.canceled;
            yes(!proposal.executed || accepted, "executed only where accepted");
            yes(proposal.eta == 0 || accepted, "queued only where accepted");
        }
    }

    function invariant_signers_are_three() public view {
        signers.check(signers.signers());
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParamRegistry, ISignerRegistry, ITimelock, IWorkCredits} from "./Interfaces.sol";

/// @title Votes of the nodes (requirement C3)
/// @notice propose → vote → queue → execute. One node, one vote: a node votes that has been up for 80 % of its window and has
/// earned 1 LUCID ({WorkCredits.eligible}). A proposal is one of four listed actions; there is no arbitrary call.
/// @dev OpenZeppelin's Governor calls any target with any bytes, which requirement C9 rules out; hence a small one of our own.
contract LucidGovernor {
    /// @notice Numbered as in OpenZeppelin's governor, so that tools read it; `Pending` does not occur.
    enum State {
        Pending,
        Active,
        Canceled,
        Defeated,
        Succeeded,
        Queued,
        Expired,
        Executed
    }

    struct Proposal {
        address proposer;
        uint64 createdSlot;
        uint8 action;
        bool canceled;
        bool executed;
        // The vote is open while the open slot is below this one.
        uint64 endSlot;
        uint32 eligibleAtStart;
        uint32 votesFor;
        uint32 votesAgainst;
        uint32 votesAbstain;
        // From which slot it may be executed; 0 until it is queued.
        uint64 eta;
        bytes data;
    }

    /// @notice Longest description, bytes. It is in the log only.
    uint256 public constant MAX_DESCRIPTION = 4_096;
    uint8 private constant SET_PARAM = 0;
    uint8 private constant ROTATE_SIGNERS = 1;
    uint8 private constant SET_VALIDATOR = 2;
    uint8 private constant SET_VERIFIER = 3;
    // As Timelock.GRACE_SLOTS.
    uint64 private constant GRACE_SLOTS = 5_040;

    ITimelock public immutable timelock;
    IParamRegistry public immutable params;
    ISignerRegistry public immutable signers;
    IWorkCredits public immutable credits;

    /// @notice How many proposals there have been; their ids are 1 to this.
    uint256 public proposalCount;
    mapping(uint256 id => Proposal) private _proposals;
    // 0: has not voted, else support + 1.
    mapping(uint256 id => mapping(address voter => uint8)) private _votes;
    // INVARIANT: one open vote a proposer, so that no node can bury the others' proposals.
    mapping(address proposer => uint256 id) private _latest;

    event ProposalCreated(
        uint256 indexed id,
        address indexed proposer,
        uint8 action,
        bytes data,
        uint64 endSlot,
        uint32 eligible,
        string description
    );
    event VoteCast(uint256 indexed id, address indexed voter, uint8 support);
    event ProposalQueued(uint256 indexed id, uint64 eta);
    event ProposalExecuted(uint256 indexed id);
    event ProposalCanceled(uint256 indexed id);

    error NotEligible(address node);
    error UnknownAction(uint8 action);
    error MalformedAction(uint8 action, uint256 length);
    error DescriptionTooLong(uint256 length, uint256 max);
    error UnknownProposal(uint256 id);
    error OpenProposal(uint256 id);
    error WrongState(uint256 id, State is_, State needed);
    error AlreadyVoted(uint256 id, address voter);
    error UnknownSupport(uint8 support);
    error NotProposer(uint256 id, address caller);
    /// @notice The node joined after the proposal was made.
    error JoinedLater(uint256 id, address node);
    error ZeroAddress();

    constructor(address timelock_, address params_, address signers_, address credits_) {
        if (timelock_ == address(0) || params_ == address(0) || signers_ == address(0) || credits_ == address(0)) {
            revert ZeroAddress();
        }
        timelock = ITimelock(timelock_);
        params = IParamRegistry(params_);
        signers = ISignerRegistry(signers_);
        credits = IWorkCredits(credits_);
    }

    /// @notice Proposes an action.
    /// @param action 0 SetParam, 1 RotateSigners, 2 SetValidator, 3 SetVerifier.
    /// @param data Its arguments, `abi.encode`d: (bytes32,uint256), (address[3]), (address,bool), (uint8,address).
    /// @param description What it is for; kept in the log.
    function propose(uint8 action, bytes calldata data, string calldata description) external returns (uint256 id) {
        if (!credits.eligible(msg.sender)) revert NotEligible(msg.sender);
        if (bytes(description).length > MAX_DESCRIPTION) {
            revert DescriptionTooLong(bytes(description).length, MAX_DESCRIPTION);
        }
        uint256 latest = _latest[msg.sender];
        if (latest != 0 && state(latest) == State.Active) revert OpenProposal(latest);
        _check(action, data);

        id = ++proposalCount;
        _latest[msg.sender] = id;
        uint64 slot = credits.openSlot();
        // At most WorkCredits.MAX_NODES, and at least the proposer.
        uint32 electorate = uint32(credits.eligibleCount());
        // Bounded by its parameter.
        uint64 endSlot = slot + uint64(params.get("votingPeriod"));
        Proposal storage proposal = _proposals[id];
        proposal.proposer = msg.sender;
        proposal.createdSlot = slot;
        proposal.action = action;
        proposal.endSlot = endSlot;
        proposal.eligibleAtStart = electorate;
        proposal.data = data;
        emit ProposalCreated(id, msg.sender, action, data, endSlot, electorate, description);
    }

    /// @notice Votes, once a node and proposal.
    /// @param support 0 against, 1 for, 2 abstain.
    function vote(uint256 id, uint8 support) external {
        _need(id, State.Active);
        if (support > 2) revert UnknownSupport(support);
        if (_votes[id][msg.sender] != 0) revert AlreadyVoted(id, msg.sender);
        if (!credits.eligible(msg.sender)) revert NotEligible(msg.sender);
        Proposal storage proposal = _proposals[id];
        if (credits.joinedSlot(msg.sender) > proposal.createdSlot) revert JoinedLater(id, msg.sender);
        _votes[id][msg.sender] = support + 1;
        if (support == 0) proposal.votesAgainst += 1;
        else if (support == 1) proposal.votesFor += 1;
        else proposal.votesAbstain += 1;
        emit VoteCast(id, msg.sender, support);
    }

    /// @notice Starts the delay of an accepted proposal. Anyone may.
    function queue(uint256 id) external {
        _need(id, State.Succeeded);
        Proposal storage proposal = _proposals[id];
        // slither-disable-next-line reentrancy-no-eth,reentrancy-events
        uint64 eta = timelock.schedule(id, proposal.action, proposal.data);
        proposal.eta = eta;
        emit ProposalQueued(id, eta);
    }

    /// @notice Does what was accepted, after its delay. Anyone may.
    function execute(uint256 id) external {
        _need(id, State.Queued);
        Proposal storage proposal = _proposals[id];
        proposal.executed = true;
        emit ProposalExecuted(id);
        timelock.execute(id, proposal.action, proposal.data);
    }

    /// @notice Takes a proposal back while the vote is open. Its proposer only.
    function cancel(uint256 id) external {
        _need(id, State.Active);
        Proposal storage proposal = _proposals[id];
        if (msg.sender != proposal.proposer) revert NotProposer(id, msg.sender);
        proposal.canceled = true;
        emit ProposalCanceled(id);
    }

    /// @notice Where a proposal stands.
    function state(uint256 id) public view returns (State) {
        Proposal storage proposal = _proposals[id];
        if (proposal.proposer == address(0)) revert UnknownProposal(id);
        if (proposal.canceled) return State.Canceled;
        if (proposal.executed) return State.Executed;
        uint64 slot = credits.openSlot();
        if (slot < proposal.endSlot) return State.Active;
        if (proposal.eta != 0) return slot > proposal.eta + GRACE_SLOTS ? State.Expired : State.Queued;
        uint256 turnout = uint256(proposal.votesFor) + proposal.votesAgainst + proposal.votesAbstain;
        if (turnout * 2 < proposal.eligibleAtStart || proposal.votesFor <= proposal.votesAgainst) {
            return State.Defeated;
        }
        return State.Succeeded;
    }

    /// @notice A proposal as stored.
    function proposals(uint256 id) external view returns (Proposal memory) {
        if (_proposals[id].proposer == address(0)) revert UnknownProposal(id);
        return _proposals[id];
    }

    /// @notice How a node voted: 0 has not, 1 against, 2 for, 3 abstained.
    function voteOf(uint256 id, address voter) external view returns (uint8) {
        return _votes[id][voter];
    }

    function _need(uint256 id, State needed) private view {
        State is_ = state(id);
        if (is_ != needed) revert WrongState(id, is_, needed);
    }

    // A proposal that could never be executed is refused at once, not after a vote.
    function _check(uint8 action, bytes calldata data) private view {
        if (action > SET_VERIFIER) revert UnknownAction(action);
        if (data.length != (action == ROTATE_SIGNERS ? 96 : 64)) revert MalformedAction(action, data.length);
        if (action == SET_PARAM) {
            (bytes32 key, uint256 value) = abi.decode(data, (bytes32, uint256));
            params.check(key, value);
        } else if (action == ROTATE_SIGNERS) {
            signers.check(abi.decode(data, (address[3])));
        } else if (action == SET_VALIDATOR) {
            abi.decode(data, (address, bool));
        } else {
            abi.decode(data, (uint8, address));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISignerRegistry} from "./Interfaces.sol";

/// @title The payment signers (requirement C5)
/// @notice Three signers of which two sign, rotated by vote. The payment system reads them from a state proof, so the layout is
/// an interface: signer i in storage slot i (0, 1, 2), right-aligned; the epoch in storage slot 3.
contract SignerRegistry is ISignerRegistry {
    // INVARIANT: the first four storage slots, in this order. Proofs name them by number.
    address[3] private _signers;
    /// @notice Number of the current set: 1 at genesis, one more with every rotation. Never zero, so that a proof of an absent
    /// slot is not mistaken for it.
    uint64 public epoch;

    /// @notice The one caller of {rotate}.
    address public immutable timelock;
    /// @notice How many of the three have to sign.
    uint256 public constant threshold = 2;

    /// @notice These are the signers from now on.
    event Rotated(uint64 indexed epoch, address[3] signers);

    error OnlyTimelock(address caller);
    error ZeroAddress();
    /// @notice One signer twice would be one key that signs for two.
    error SameSigner(address signer);

    /// @param timelock_ The one caller of {rotate}.
    /// @param first The signers at genesis.
    constructor(address timelock_, address[3] memory first) {
        if (timelock_ == address(0)) revert ZeroAddress();
        timelock = timelock_;
        check(first);
        _install(first);
    }

    /// @notice The three signers, in storage order.
    function signers() external view returns (address[3] memory) {
        return _signers;
    }

    /// @notice Reverts unless the three can be signers.
    function check(address[3] memory next) public pure {
        for (uint256 i = 0; i < 3; ++i) {
            if (next[i] == address(0)) revert ZeroAddress();
        }
        if (next[0] == next[1] || next[0] == next[2]) revert SameSigner(next[0]);
        if (next[1] == next[2]) revert SameSigner(next[1]);
    }

    /// @notice Replaces the signers. The timelock only.
    function rotate(address[3] calldata next) external {
        if (msg.sender != timelock) revert OnlyTimelock(msg.sender);
        check(next);
        _install(next);
    }

    function _install(address[3] memory next) private {
        _signers = next;
        epoch += 1;
        emit Rotated(epoch, next);
    }
}

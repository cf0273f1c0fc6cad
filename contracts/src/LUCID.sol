// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title LUCID as an ERC-20 (requirement C6)
/// @notice The chain's own coin pays fees and is what work earns. This is the same coin for contracts and wallets that want a
/// token: one token for each coin held here, no more and no fewer. Nobody mints.
contract LUCID is ERC20, ERC20Permit {
    /// @notice Coins became tokens.
    event Deposit(address indexed account, uint256 amount);
    /// @notice Tokens became coins.
    event Withdrawal(address indexed account, uint256 amount);

    error TransferFailed(address to, uint256 amount);

    constructor() ERC20("Lucid", "LUCID") ERC20Permit("Lucid") {}

    /// @notice Sending coins is {deposit}.
    receive() external payable {
        deposit();
    }

    /// @notice Turns the coins sent along into tokens of the sender.
    function deposit() public payable {
        _mint(msg.sender, msg.value);
        emit Deposit(msg.sender, msg.value);
    }

    /// @notice Turns tokens of the sender back into coins.
    function withdraw(uint256 amount) external {
        // The tokens are gone before the coins leave: a call back finds nothing to take twice.
        _burn(msg.sender, amount);
        emit Withdrawal(msg.sender, amount);
        // slither-disable-next-line low-level-calls
        (bool sent,) = msg.sender.call{value: amount}("");
        if (!sent) revert TransferFailed(msg.sender, amount);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LUCID} from "../src/LUCID.sol";
import {Base} from "./Base.sol";

/// @dev Takes coins and asks for more while it is being paid.
contract Greedy {
    LUCID private immutable token;
    uint256 private again;

    constructor(LUCID token_) payable {
        token = token_;
        token.deposit{value: msg.value}();
    }

    function take(uint256 amount) external {
        again = amount;
        token.withdraw(amount);
    }

    receive() external payable {
        if (again != 0) token.withdraw(again);
    }
}

contract LUCIDTest is Base {
    function setUp() public {
        deployAll(4);
    }

    receive() external payable {}

    function testFuzz_tokens_are_coins_and_back(uint96 amount, uint96 back) public {
        vm.deal(address(this), amount);
        lucid.deposit{value: amount}();
        eq(lucid.balanceOf(address(this)), amount, "tokens");
        eq(address(lucid).balance, amount, "coins held");
        uint256 out = clamp(back, 0, amount);
        lucid.withdraw(out);
        eq(lucid.totalSupply(), amount - out, "supply");
        eq(address(lucid).balance, amount - out, "coins left");
        eq(address(this).balance, out, "coins back");
    }

    function test_sending_coins_is_a_deposit() public {
        vm.deal(address(this), 5);
        (bool ok,) = address(lucid).call{value: 5}("");
        yes(ok, "sent");
        eq(lucid.balanceOf(address(this)), 5, "tokens");
    }

    function test_nobody_withdraws_what_is_not_theirs() public {
        vm.deal(address(this), 5);
        lucid.deposit{value: 5}();
        vm.expectRevert();
        vm.prank(node(1));
        lucid.withdraw(1);
    }

    function test_a_call_back_finds_nothing_to_take_twice() public {
        vm.deal(address(this), 10);
        lucid.deposit{value: 5}();
        Greedy greedy = new Greedy{value: 5}(lucid);
        vm.expectRevert(abi.encodeWithSelector(LUCID.TransferFailed.selector, address(greedy), 5));
        greedy.take(5);
        eq(address(lucid).balance, 10, "coins");
    }

    function test_a_permit_is_for_this_chain_and_once() public {
        address owner = node(1);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(
            abi.encodePacked(
                hex"1901",
                lucid.DOMAIN_SEPARATOR(),
                keccak256(abi.encode(typehash, owner, address(this), 7, 0, type(uint256).max))
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(2, hash);
        vm.chainId(999);
        vm.expectRevert();
        lucid.permit(owner, address(this), 7, type(uint256).max, v, r, s);
        vm.chainId(31337);
        lucid.permit(owner, address(this), 7, type(uint256).max, v, r, s);
        eq(lucid.allowance(owner, address(this)), 7, "allowance");
        vm.expectRevert();
        lucid.permit(owner, address(this), 7, type(uint256).max, v, r, s);
    }
}

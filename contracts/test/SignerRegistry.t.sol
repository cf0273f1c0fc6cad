// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SignerRegistry} from "../src/SignerRegistry.sol";
import {Base} from "./Base.sol";

contract SignerRegistryTest is Base {
    function setUp() public {
        deployAll(4);
    }

    function test_two_of_three_sign_and_the_first_epoch_is_one() public view {
        eq(signers.threshold(), 2, "threshold");
        eq(signers.epoch(), 1, "epoch");
        address[3] memory now_ = signers.signers();
        eq(now_[0], address(0x51), "first");
        eq(now_[2], address(0x53), "third");
    }

    function testFuzz_a_state_proof_finds_signers_and_epoch_in_slots_0_to_3(address a, address b, address c) public {
        vm.assume(a != address(0) && b != address(0) && c != address(0) && a != b && b != c && a != c);
        vm.prank(address(timelock));
        signers.rotate([a, b, c]);
        eq(vm.load(address(signers), bytes32(uint256(0))), bytes32(uint256(uint160(a))), "slot 0");
        eq(vm.load(address(signers), bytes32(uint256(1))), bytes32(uint256(uint160(b))), "slot 1");
        eq(vm.load(address(signers), bytes32(uint256(2))), bytes32(uint256(uint160(c))), "slot 2");
        eq(vm.load(address(signers), bytes32(uint256(3))), bytes32(uint256(2)), "slot 3");
        address[3] memory now_ = signers.signers();
        yes(now_[0] == a && now_[1] == b && now_[2] == c, "signers");
    }

    function testFuzz_only_the_timelock_rotates(address caller) public {
        vm.assume(caller != address(timelock));
        vm.expectRevert(abi.encodeWithSelector(SignerRegistry.OnlyTimelock.selector, caller));
        vm.prank(caller);
        signers.rotate([address(1), address(2), address(3)]);
    }

    function testFuzz_no_signer_counts_twice(address a, address b) public {
        vm.assume(a != address(0) && b != address(0) && a != b);
        vm.startPrank(address(timelock));
        vm.expectRevert(abi.encodeWithSelector(SignerRegistry.SameSigner.selector, a));
        signers.rotate([a, a, b]);
        vm.expectRevert(abi.encodeWithSelector(SignerRegistry.SameSigner.selector, a));
        signers.rotate([a, b, a]);
        vm.expectRevert(abi.encodeWithSelector(SignerRegistry.SameSigner.selector, a));
        signers.rotate([b, a, a]);
    }

    function test_nobody_is_no_signer() public {
        vm.startPrank(address(timelock));
        for (uint256 i = 0; i < 3; ++i) {
            address[3] memory next = [address(1), address(2), address(3)];
            next[i] = address(0);
            vm.expectRevert(SignerRegistry.ZeroAddress.selector);
            signers.rotate(next);
        }
    }
}

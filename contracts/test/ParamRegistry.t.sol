// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ParamRegistry} from "../src/ParamRegistry.sol";
import {Base} from "./Base.sol";

contract ParamRegistryTest is Base {
    bytes32[] private keys;
    uint256[] private mins;
    uint256[] private maxs;

    function setUp() public {
        deployAll(4);
        (bytes32[] memory all,, uint256[] memory low, uint256[] memory high) = params.list();
        (keys, mins, maxs) = (all, low, high);
    }

    function test_genesis_has_the_documented_defaults() public view {
        eq(keys.length, 16, "parameters");
        eq(params.get("payoutEpochLength"), 2_592_000, "payoutEpochLength");
        eq(params.get("maxChunkSize"), 8_388_608, "maxChunkSize");
        eq(params.get("policyTimeoutMs"), 300_000, "policyTimeoutMs");
        eq(params.get("blockGasMin"), 5_000_000, "blockGasMin");
        eq(params.get("blockGasMax"), 120_000_000, "blockGasMax");
        eq(params.get("minBaseFee"), 1_000_000, "minBaseFee");
        eq(params.get("validatorBond"), 1e18, "validatorBond");
        eq(params.get("maxValidators"), 32, "maxValidators");
        eq(params.get("votingPeriod"), 720, "votingPeriod");
        eq(params.get("timelockDelay"), 720, "timelockDelay");
        eq(params.get("slotReward"), 1e17, "slotReward");
        eq(params.get("unbondingSlots"), 5_040, "unbondingSlots");
        eq(params.get("chunkReplicas"), 3, "chunkReplicas");
        eq(params.get("chunkFee"), 1_000_000, "chunkFee");
        eq(params.get("chunkQuota"), 1 << 40, "chunkQuota");
        eq(params.get("custodySilence"), 30, "custodySilence");
    }

    function test_bounds_are_the_documented_ones() public view {
        uint256[16] memory low =
            [uint256(86_400), 65_536, 1_000, 1_000_000, 10_000_000, 1, 1e17, 4, 1, 1, 0, 720, 1, 0, 1 << 20, 1];
        uint256[16] memory high = [
            uint256(7_776_000),
            16_777_216,
            86_400_000,
            30_000_000,
            500_000_000,
            1e12,
            1e24,
            100,
            5_040,
            5_040,
            1e20,
            50_400,
            8,
            1e12,
            1 << 60,
            5_040
        ];
        for (uint256 i = 0; i < 16; ++i) {
            eq(mins[i], low[i], "least");
            eq(maxs[i], high[i], "most");
        }
    }

    function test_genesis_overrides_defaults_within_bounds() public {
        bytes32[] memory names = new bytes32[](2);
        uint256[] memory values = new uint256[](2);
        // In an order in which the least passes the largest for a moment.
        (names[0], values[0]) = ("blockGasMax", 10_000_000);
        (names[1], values[1]) = ("blockGasMin", 10_000_000);
        deployParams(names, values);
        eq(params.get("blockGasMax"), 10_000_000, "overridden");
        eq(params.get("votingPeriod"), 720, "left alone");
    }

    function test_genesis_with_a_value_out_of_bounds_is_refused() public {
        bytes32[] memory names = new bytes32[](1);
        uint256[] memory values = new uint256[](1);
        (names[0], values[0]) = ("maxValidators", 101);
        vm.expectRevert(
            abi.encodeWithSelector(ParamRegistry.OutOfBounds.selector, bytes32("maxValidators"), 101, 4, 100)
        );
        new ParamRegistry(address(timelock), names, values);
        (names[0], values[0]) = ("blockGasMin", 30_000_000);
        new ParamRegistry(address(timelock), names, values);
        names[0] = "gasLimit";
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.UnknownParameter.selector, bytes32("gasLimit")));
        new ParamRegistry(address(timelock), names, values);
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.LengthMismatch.selector, 1, 0));
        new ParamRegistry(address(timelock), names, new uint256[](0));
        vm.expectRevert(ParamRegistry.ZeroAddress.selector);
        new ParamRegistry(address(0), new bytes32[](0), new uint256[](0));
    }

    function test_genesis_with_the_least_block_above_the_largest_is_refused() public {
        bytes32[] memory names = new bytes32[](2);
        uint256[] memory values = new uint256[](2);
        (names[0], values[0]) = ("blockGasMin", 20_000_000);
        (names[1], values[1]) = ("blockGasMax", 10_000_000);
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.BlockGasBounds.selector, 20_000_000, 10_000_000));
        new ParamRegistry(address(timelock), names, values);
    }

    function test_the_least_block_never_passes_the_largest() public {
        vm.startPrank(address(timelock));
        params.set("blockGasMin", 30_000_000);
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.BlockGasBounds.selector, 30_000_000, 29_999_999));
        params.set("blockGasMax", 29_999_999);
        params.set("blockGasMax", 30_000_000);
        params.set("blockGasMin", 20_000_000);
        params.set("blockGasMax", 20_000_000);
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.BlockGasBounds.selector, 20_000_001, 20_000_000));
        params.set("blockGasMin", 20_000_001);
    }

    function test_zero_is_a_value_where_bounds_allow_it() public {
        vm.prank(address(timelock));
        params.set("slotReward", 0);
        eq(params.get("slotReward"), 0, "slotReward");
    }

    function testFuzz_an_unlisted_key_is_neither_read_nor_set(bytes32 key, uint256 value) public {
        for (uint256 i = 0; i < keys.length; ++i) {
            vm.assume(key != keys[i]);
        }
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.UnknownParameter.selector, key));
        params.get(key);
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.UnknownParameter.selector, key));
        vm.prank(address(timelock));
        params.set(key, value);
    }

    function testFuzz_only_the_timelock_sets(address caller, uint256 index, uint256 value) public {
        vm.assume(caller != address(timelock));
        bytes32 key = keys[index % keys.length];
        vm.expectRevert(abi.encodeWithSelector(ParamRegistry.OnlyTimelock.selector, caller));
        vm.prank(caller);
        params.set(key, value);
    }

    function testFuzz_a_value_is_set_where_it_is_within_bounds_and_nowhere_else(uint256 index, uint256 value) public {
        index %= keys.length;
        bytes32 key = keys[index];
        // Half of the runs within or close by.
        if (value % 2 == 0) value = value % (maxs[index] + 2);
        uint256 before = params.get(key);
        bool within = value >= mins[index] && value <= maxs[index];
        // The largest block has a least one below it, and the other way round.
        if (key == "blockGasMax" && within) within = value >= params.get("blockGasMin");
        vm.prank(address(timelock));
        (bool ok,) = address(params).call(abi.encodeCall(params.set, (key, value)));
        yes(ok == within, "set where within bounds");
        eq(params.get(key), within ? value : before, "value");
    }
}

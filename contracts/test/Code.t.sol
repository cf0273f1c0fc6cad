// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";

/// @dev Requirement C9, of the code itself: the executor refuses these opcodes too, so one here would be a contract that fails.
contract CodeTest is Base {
    function setUp() public {
        deployAll(4);
    }

    function test_no_contract_creates_delegates_or_destroys() public view {
        for (uint160 i = 1; i <= 8; ++i) {
            address at = address(0x4c0000 + i);
            bytes memory code = at.code;
            yes(code.length > 0 && code.length <= 24_576, "size");
            for (uint256 pc = 0; pc < code.length; ++pc) {
                uint8 op = uint8(code[pc]);
                // Behind the first INVALID there is data only.
                if (op == 0xfe) break;
                // PUSH1 to PUSH32.
                if (op >= 0x60 && op <= 0x7f) pc += op - 0x5f;
                // CREATE, CALLCODE, DELEGATECALL, CREATE2, SELFDESTRUCT.
                yes(op != 0xf0 && op != 0xf2 && op != 0xf4 && op != 0xf5 && op != 0xff, "a forbidden opcode");
            }
        }
    }
}

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use lucid_chain_types::contracts;
use lucid_execution::{Call, CallOutcome, Chain, genesis_changes};
use lucid_state::{Account, MemoryState, StateChanges};

use crate::support::{Setup, User};

const PLACE: Address = Address::with_last_byte(0x99);

/// Genesis, with code at a place where no transaction could put any.
fn with_code(code: Vec<u8>) -> (Chain, MemoryState) {
    let genesis = Setup::default().genesis();
    let mut state = MemoryState::default();
    state.apply(&genesis_changes(&genesis).unwrap()).unwrap();
    let hash = keccak256(&code);
    let account = Account {
        nonce: 1,
        balance: U256::from(1_000),
        code_hash: hash,
    };
    state
        .apply(&StateChanges {
            accounts: BTreeMap::from([(PLACE, Some(account))]),
            code: BTreeMap::from([(hash, code.into())]),
            ..StateChanges::default()
        })
        .unwrap();
    (Chain::new(genesis), state)
}

fn run(code: &[u8]) -> CallOutcome {
    let (chain, state) = with_code(code.to_vec());
    call(&chain, &state, PLACE, Bytes::new())
}

fn call(chain: &Chain, state: &MemoryState, to: Address, data: Bytes) -> CallOutcome {
    let call = Call {
        from: User::new(0).address,
        to,
        data,
        gas: 1_000_000,
        ..Call::default()
    };
    chain.call(state, None, &call).unwrap()
}

/// Requirement C9: even code that got here by some fault could bring in no more.
#[test]
fn opcodes_that_could_bring_in_code_or_take_it_away_are_none() {
    for (name, code) in [
        ("CREATE", hex!("5f5f5ff000").as_slice()),
        ("CREATE2", &hex!("5f5f5f5ff500")),
        ("SELFDESTRUCT", &hex!("5fff")),
        ("CALLCODE", &hex!("5f5f5f5f5f305af200")),
        ("BLOCKHASH", &hex!("5f4000")),
        ("BLOBHASH", &hex!("5f4900")),
        ("BLOBBASEFEE", &hex!("4a00")),
    ] {
        let outcome = run(code);
        assert!(
            matches!(&outcome, CallOutcome::Failed { reason } if reason == "OpcodeNotFound"),
            "{name}: {outcome:?}"
        );
    }
    // The rest is there: PUSH0, TSTORE, MCOPY, DELEGATECALL.
    for code in [
        hex!("5f5f5d00").as_slice(),
        &hex!("5f5f5f5e00"),
        &hex!("5f5f5f5f305af400"),
    ] {
        assert!(matches!(
            run(code),
            CallOutcome::Returned { .. } | CallOutcome::Failed { .. }
        ));
    }
    assert!(matches!(
        run(&hex!("5f5f5d00")),
        CallOutcome::Returned { .. }
    ));
    assert!(matches!(
        run(&hex!("5f5f5f5e00")),
        CallOutcome::Returned { .. }
    ));
}

/// The contracts themselves hold none of them either.
#[test]
fn ecrecover_is_the_one_precompile() {
    let (chain, state) = with_code(vec![0]);
    // The vector of go-ethereum's tests: CallEcrecoverUnrecoverableKey's valid neighbour, `ValidKey`.
    let input = hex!(
        "18c547e4f7b0f325ad1e56f57e26c745b09a3e503d86e00e5255ff7f715d3d1c"
        "000000000000000000000000000000000000000000000000000000000000001c"
        "73b1693892219d736caba55bdb67216e485557ea6b6af75f37096c9aa6a5a75f"
        "eeb940b1d03b21e36b0e47e79769f095fe2ab855bd91e3a38756b7d75a9c4549"
    );
    let CallOutcome::Returned { output, .. } =
        call(&chain, &state, Address::with_last_byte(1), input.into())
    else {
        panic!("ecrecover failed");
    };
    assert_eq!(
        output[..],
        hex!("000000000000000000000000a94f5374fce5edbc8e2a8697c15331677e6ebf0b")
    );
    for other in 2..=0x11 {
        let outcome = call(&chain, &state, Address::with_last_byte(other), input.into());
        let CallOutcome::Returned { output, .. } = outcome else {
            panic!("{other}: {outcome:?}");
        };
        assert!(output.is_empty(), "{other} is an account like any other");
    }
}

#[test]
fn contracts_see_prague_and_the_block() {
    // CHAINID, returned.
    let CallOutcome::Returned { output, .. } = run(&hex!("465f5260205ff3")) else {
        panic!("CHAINID failed");
    };
    assert_eq!(
        U256::from_be_slice(&output),
        U256::from(crate::support::CHAIN_ID)
    );
    // CLZ (0x1e) came with Osaka.
    let outcome = run(&hex!("5f1e00"));
    assert!(matches!(outcome, CallOutcome::Failed { .. }), "{outcome:?}");
}

#[test]
fn nobody_can_call_as_the_chain_itself() {
    use alloy_sol_types::SolCall as _;
    use lucid_execution::interfaces::WorkCredits;
    let (chain, state) = with_code(vec![0]);
    let data = WorkCredits::onEvidenceCall {
        node: Address::ZERO,
        kind: 0,
        height: 1,
    };
    let outcome = call(
        &chain,
        &state,
        contracts::WORK_CREDITS,
        data.abi_encode().into(),
    );
    assert!(
        matches!(outcome, CallOutcome::Reverted { .. }),
        "{outcome:?}"
    );
}

#[test]
fn prev_randao_is_the_checked_output_of_the_leaders_vrf() {
    use lucid_chain_types::vrf_input;
    use lucid_poot::vrf;
    let mut net = Setup::default().net();
    let parent = net.parent_id();
    let slot = net.slot();
    let (block, _) = net.next(vec![User::new(0).pay(0, PLACE, U256::from(1))]);
    let key = net
        .parent
        .signers
        .get(block.header.proposer)
        .unwrap()
        .vrf_key;
    let input = vrf_input(net.chain.genesis_hash(), slot, parent);
    let output = vrf::verify(key, &input, &block.header.vrf_proof).unwrap();
    assert_eq!(lucid_execution::prev_randao(&block.header), output);
    assert_ne!(output, B256::ZERO);
}

//! The state before the first block: accounts, and the genesis contracts as their constructors leave them.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
use lucid_chain_types::Genesis;
use lucid_state::{Account, MemoryState, StateChanges};
use revm::bytecode::Bytecode;

use crate::ExecutionError;
use crate::contracts::{creation_codes, interfaces};
use crate::evm::{Environment, Machine, SystemCall};
use lucid_chain_types::contracts::{
    ALL, LUCID, LUCID_ANCHORS, LUCID_CHUNK_STORE, LUCID_GOVERNOR, PARAM_REGISTRY, SIGNER_REGISTRY,
    SYSTEM, TIMELOCK, WORK_CREDITS,
};

/// Hash of the genesis contracts' creation code: nodes with other contracts have another genesis.
pub fn contracts_hash() -> Result<B256, ExecutionError> {
    let codes = creation_codes()?;
    let hashes: Vec<u8> = codes.iter().flat_map(|(_, code)| keccak256(code)).collect();
    Ok(keccak256(hashes))
}

/// Fills in what follows from the rest: the contracts' hash and the state root.
pub fn complete_genesis(mut genesis: Genesis) -> Result<Genesis, ExecutionError> {
    genesis.contracts_hash = contracts_hash()?;
    let mut state = MemoryState::default();
    state.apply(&genesis_changes(&genesis)?)?;
    genesis.state_root = state.root();
    Ok(genesis)
}

/// What genesis writes into the empty state.
pub fn genesis_changes(genesis: &Genesis) -> Result<StateChanges, ExecutionError> {
    let has = contracts_hash()?;
    if genesis.contracts_hash != has {
        return Err(ExecutionError::OtherContracts {
            said: genesis.contracts_hash,
            has,
        });
    }
    let empty = MemoryState::default();
    let environment = Environment {
        chain_id: genesis.chain_id,
        number: 0,
        time_ms: genesis.time_ms,
        gas_limit: u64::MAX,
        base_fee: 0,
        beneficiary: Address::ZERO,
        randomness: B256::ZERO,
    };
    let mut machine = Machine::new(&empty, &environment);
    for account in &genesis.accounts {
        if account.address == SYSTEM || ALL.contains(&account.address) {
            return Err(ExecutionError::GenesisAccount(account.address));
        }
        // EIP-161: an account without anything is none.
        if account.balance.is_zero() {
            continue;
        }
        let account_now = Account {
            balance: account.balance,
            ..Account::default()
        };
        machine.place(account.address, account_now, None);
    }
    let keys: Vec<B256> = genesis
        .parameters
        .iter()
        .map(|parameter| short_string(&parameter.key))
        .collect();
    let values: Vec<U256> = genesis
        .parameters
        .iter()
        .map(|parameter| parameter.value)
        .collect();
    let validators: Vec<interfaces::Validator> = genesis
        .validators
        .iter()
        .map(|validator| interfaces::Validator {
            node: validator.node.0,
            consensusKey: validator.consensus_key,
            vrfKey: validator.vrf_key,
        })
        .collect();
    // In an order in which each constructor finds what it calls: the parameters first.
    let arguments: [(usize, Address, Vec<u8>); 8] = [
        (
            4,
            PARAM_REGISTRY,
            (TIMELOCK, keys, values).abi_encode_params(),
        ),
        (0, LUCID_ANCHORS, Vec::new()),
        (
            1,
            LUCID_CHUNK_STORE,
            (LUCID_ANCHORS, PARAM_REGISTRY, WORK_CREDITS).abi_encode_params(),
        ),
        (
            2,
            LUCID_GOVERNOR,
            (TIMELOCK, PARAM_REGISTRY, SIGNER_REGISTRY, WORK_CREDITS).abi_encode_params(),
        ),
        (
            3,
            TIMELOCK,
            (
                LUCID_GOVERNOR,
                PARAM_REGISTRY,
                SIGNER_REGISTRY,
                WORK_CREDITS,
            )
                .abi_encode_params(),
        ),
        (
            5,
            SIGNER_REGISTRY,
            (TIMELOCK, genesis.payment_signers).abi_encode_params(),
        ),
        (
            6,
            WORK_CREDITS,
            (PARAM_REGISTRY, TIMELOCK, LUCID_CHUNK_STORE, validators).abi_encode_params(),
        ),
        (7, LUCID, Vec::new()),
    ];
    let codes = creation_codes()?;
    for (index, address, arguments) in arguments {
        let (name, creation) = &codes[index];
        construct(&mut machine, name, address, creation, &arguments)?;
    }
    machine.fund(WORK_CREDITS, genesis.reward_reserve);
    Ok(machine.into_changes())
}

/// Runs creation code where the contract will be, and leaves what it returns as the contract's code. Reading the immutables
/// from the result of a real run is the only way to have them.
fn construct(
    machine: &mut Machine<'_, MemoryState>,
    name: &'static str,
    address: Address,
    creation: &Bytes,
    arguments: &[u8],
) -> Result<(), ExecutionError> {
    let contract = Account {
        nonce: 1,
        ..Account::default()
    };
    let code: Bytes = [creation, arguments].concat().into();
    machine.place(address, contract, Some(code.clone()));
    let SystemCall { output, state, .. } = machine
        .system_raw("a constructor", address, Bytes::new())
        .map_err(|error| match error {
            ExecutionError::System { reason, .. } => ExecutionError::Constructor { name, reason },
            other => other,
        })?;
    machine.keep(state);
    machine.forget_code(Bytecode::new_raw(code).hash_slow());
    machine.place(address, contract, Some(output));
    Ok(())
}

/// A Solidity `bytes32` of a short string: left-aligned, zeros behind.
pub(crate) fn short_string(text: &str) -> B256 {
    let mut word = B256::ZERO;
    for (to, from) in word.iter_mut().zip(text.as_bytes()) {
        *to = *from;
    }
    word
}

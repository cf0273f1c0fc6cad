use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolStruct as _, SolType};
use lucid_chain_types::contracts;
use lucid_chain_types::{GenesisAccount, GenesisParameter};
use lucid_execution::interfaces::{
    Entity, LucidAnchors, LucidGovernor, ParamRegistry, Session, SignerRegistry, Validator,
    WorkCredits,
};
use lucid_execution::{ExecutionError, complete_genesis, contracts_hash, genesis_changes};
use lucid_state::{MemoryState, StateReader as _};

use crate::support::{Net, Setup, coins};

#[test]
fn two_nodes_make_the_same_state_of_one_genesis() {
    let genesis = Setup::default().genesis();
    assert_eq!(genesis, Setup::default().genesis());
    assert_eq!(genesis.contracts_hash, contracts_hash().unwrap());
    assert_eq!(
        genesis_changes(&genesis).unwrap(),
        genesis_changes(&genesis).unwrap()
    );
    // The real state and the plain one agree, too: `Net::new` compares.
    let net = Net::new(genesis.clone());
    assert_eq!(net.state.root(), genesis.state_root);
}

#[test]
fn the_contracts_are_there_with_nonce_one_and_no_constructor_left() {
    let mut state = MemoryState::default();
    state
        .apply(&genesis_changes(&Setup::default().genesis()).unwrap())
        .unwrap();
    for contract in contracts::ALL {
        let account = state.account(contract).unwrap().unwrap();
        assert_eq!(account.nonce, 1, "{contract}");
        let code = state.code(account.code_hash).unwrap();
        assert!(code.len() > 500, "{contract}: {} bytes", code.len());
        let expected = if contract == contracts::WORK_CREDITS {
            coins(1_000_000)
        } else {
            U256::ZERO
        };
        assert_eq!(account.balance, expected, "{contract}");
    }
    let changes = genesis_changes(&Setup::default().genesis()).unwrap();
    assert_eq!(
        changes.code.len(),
        8,
        "the creation code is nobody's and is not stored"
    );
}

#[test]
fn what_the_genesis_file_says_can_be_read_from_the_contracts() {
    let setup = Setup {
        parameters: vec![
            ("maxChunkSize", U256::from(1 << 20)),
            ("blockGasMin", U256::from(2_000_000)),
        ],
        ..Setup::default()
    };
    let net = setup.net();
    let state = net.state.latest().unwrap();
    let mut view = net.chain.view(&state);
    assert_eq!(
        view.validators().unwrap().list(),
        net.chain.genesis().validators
    );
    let parameters = view.parameters().unwrap();
    assert_eq!(parameters.len(), 16);
    let get = |key: &str| {
        parameters
            .iter()
            .find(|parameter| parameter.key == key)
            .unwrap()
            .value
    };
    assert_eq!(get("maxChunkSize"), U256::from(1 << 20));
    assert_eq!(get("blockGasMin"), U256::from(2_000_000));
    assert_eq!(get("blockGasMax"), U256::from(120_000_000));
    let signers = net.ask(contracts::SIGNER_REGISTRY, &SignerRegistry::signersCall {});
    assert_eq!(signers, net.chain.genesis().payment_signers);
    let tally = view.tally().unwrap();
    assert_eq!(tally.len(), 4);
    assert!(
        tally
            .iter()
            .all(|(_, validator, jailed)| *validator && !jailed)
    );
    assert_eq!(
        net.ask(
            contracts::LUCID_ANCHORS,
            &LucidAnchors::sessionCall { id: B256::ZERO }
        )
        .status,
        0
    );
}

#[test]
fn a_genesis_the_contracts_refuse_says_which_and_why() {
    let mut genesis = Setup::default().genesis();
    genesis.parameters = vec![GenesisParameter {
        key: "maxChunkSize".into(),
        value: U256::from(1),
    }];
    let error = complete_genesis(genesis).unwrap_err();
    assert!(
        matches!(
            error,
            ExecutionError::Constructor {
                name: "ParamRegistry",
                ..
            }
        ),
        "{error}"
    );

    let mut genesis = Setup::default().genesis();
    genesis.parameters = vec![GenesisParameter {
        key: "noSuchKey".into(),
        value: U256::from(1),
    }];
    assert!(matches!(
        complete_genesis(genesis),
        Err(ExecutionError::Constructor {
            name: "ParamRegistry",
            ..
        })
    ));
}

#[test]
fn a_genesis_of_other_contracts_is_refused() {
    let mut genesis = Setup::default().genesis();
    genesis.contracts_hash = B256::repeat_byte(1);
    assert!(matches!(
        genesis_changes(&genesis),
        Err(ExecutionError::OtherContracts { .. })
    ));
}

#[test]
fn contracts_and_the_chain_itself_get_no_coins_from_the_genesis_file() {
    for account in [contracts::LUCID, contracts::SYSTEM] {
        let mut genesis = Setup::default().genesis();
        genesis.accounts.push(GenesisAccount {
            address: account,
            balance: coins(1),
        });
        assert!(
            matches!(complete_genesis(genesis), Err(ExecutionError::GenesisAccount(found)) if found == account)
        );
    }
    let mut genesis = Setup::default().genesis();
    let root = genesis.state_root;
    genesis.accounts.insert(
        0,
        GenesisAccount {
            address: Address::with_last_byte(9),
            balance: U256::ZERO,
        },
    );
    assert_eq!(
        complete_genesis(genesis).unwrap().state_root,
        root,
        "an empty account is none (EIP-161)"
    );
}

/// Structs have names in Rust and none in an ABI.
const STRUCTS: [(&str, &str); 3] = [
    ("Validator", "(address,bytes32,bytes32)"),
    (
        "Entity",
        "(address,bool,bool,uint64,uint64,uint64,uint64,uint64,uint64,uint64)",
    ),
    ("Session", "(address,uint64,uint8,bytes32,address)"),
];

/// The interfaces are written by hand: that they are the contracts' is shown here.
#[test]
fn the_interfaces_are_those_of_the_artifacts() {
    for (name, fields) in STRUCTS {
        let root = match name {
            "Validator" => Validator::eip712_root_type(),
            "Entity" => Entity::eip712_root_type(),
            _ => Session::eip712_root_type(),
        };
        let types: Vec<&str> = root
            .split_once('(')
            .unwrap()
            .1
            .split(',')
            .map(|field| field.split(' ').next().unwrap())
            .collect();
        assert_eq!(format!("({})", types.join(",")), fields);
    }
    fn check<C: SolCall>(artifact: &str) {
        let path = format!(
            "{}/../../contracts/artifacts/{artifact}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        fn type_of(value: &serde_json::Value) -> String {
            let name = value["type"].as_str().unwrap();
            let Some(rest) = name.strip_prefix("tuple") else {
                return name.to_owned();
            };
            format!("{}{rest}", types_of(&value["components"]))
        }
        fn types_of(list: &serde_json::Value) -> String {
            let types: Vec<String> = list.as_array().unwrap().iter().map(type_of).collect();
            format!("({})", types.join(","))
        }
        let functions = json["abi"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["type"] == "function");
        let (signature, outputs) = functions
            .map(|entry| {
                let signature = format!(
                    "{}{}",
                    entry["name"].as_str().unwrap(),
                    types_of(&entry["inputs"])
                );
                (signature, types_of(&entry["outputs"]))
            })
            .find(|(signature, _)| signature == C::SIGNATURE)
            .unwrap_or_else(|| panic!("{artifact} has no {}", C::SIGNATURE));
        let ours = STRUCTS.iter().fold(
            <C::ReturnTuple<'_> as SolType>::SOL_NAME.to_owned(),
            |types, (name, fields)| types.replace(name, fields),
        );
        assert_eq!(outputs, ours, "{artifact}.{signature}");
    }
    check::<WorkCredits::onBlockCall>("WorkCredits");
    check::<WorkCredits::onEvidenceCall>("WorkCredits");
    check::<WorkCredits::onSealCall>("WorkCredits");
    check::<WorkCredits::registerCall>("WorkCredits");
    check::<WorkCredits::claimCall>("WorkCredits");
    check::<WorkCredits::validatorsCall>("WorkCredits");
    check::<WorkCredits::nextValidatorsCall>("WorkCredits");
    check::<WorkCredits::tallyCall>("WorkCredits");
    check::<WorkCredits::validatorTallyCall>("WorkCredits");
    check::<WorkCredits::entityCall>("WorkCredits");
    check::<WorkCredits::isNodeCall>("WorkCredits");
    check::<WorkCredits::keysOfCall>("WorkCredits");
    check::<WorkCredits::currentOrderCall>("WorkCredits");
    check::<WorkCredits::nextOrderCall>("WorkCredits");
    check::<WorkCredits::creditsCall>("WorkCredits");
    check::<WorkCredits::uptimeBpsCall>("WorkCredits");
    check::<WorkCredits::earnedCall>("WorkCredits");
    check::<WorkCredits::eligibleCall>("WorkCredits");
    check::<ParamRegistry::getCall>("ParamRegistry");
    check::<ParamRegistry::listCall>("ParamRegistry");
    check::<LucidAnchors::openSessionCall>("LucidAnchors");
    check::<LucidAnchors::checkpointCall>("LucidAnchors");
    check::<LucidAnchors::closeSessionCall>("LucidAnchors");
    check::<LucidAnchors::registerSessionCall>("LucidAnchors");
    check::<LucidAnchors::checkpointBatchCall>("LucidAnchors");
    check::<LucidAnchors::sessionCall>("LucidAnchors");
    check::<LucidAnchors::batchLogCall>("LucidAnchors");
    check::<LucidAnchors::inBatchCall>("LucidAnchors");
    check::<LucidGovernor::proposeCall>("LucidGovernor");
    check::<LucidGovernor::voteCall>("LucidGovernor");
    check::<LucidGovernor::queueCall>("LucidGovernor");
    check::<LucidGovernor::executeCall>("LucidGovernor");
    check::<LucidGovernor::cancelCall>("LucidGovernor");
    check::<LucidGovernor::stateCall>("LucidGovernor");
    check::<SignerRegistry::signersCall>("SignerRegistry");
    check::<SignerRegistry::epochCall>("SignerRegistry");
}

//! The genesis file is checked in full, and its hash covers all of it.

use alloy_primitives::{Address, U256};
use lucid_chain_types::{Genesis, GenesisError, Pace};

use crate::support::genesis;

fn said(change: impl FnOnce(&mut Genesis)) -> String {
    let mut genesis = genesis();
    change(&mut genesis);
    genesis.check().unwrap_err().to_string()
}

#[test]
fn the_file_is_read_as_it_was_written() {
    let written = genesis().to_json().unwrap();
    let read = Genesis::parse(written.as_bytes()).unwrap();
    assert_eq!(read, genesis());
    assert_eq!(read.hash(), genesis().hash());
    assert_eq!(read.validator_set().unwrap().len(), 4);
    for pace in [Pace::DIRECT, Pace::TOR] {
        Genesis { pace, ..genesis() }.check().unwrap();
    }
}

#[test]
fn faults_are_named() {
    assert_eq!(
        said(|g| g.version = 2),
        "the genesis file has version 2, this program knows version 1"
    );
    assert_eq!(
        said(|g| g.validators.clear()),
        "the genesis validators: a validator set needs at least one validator"
    );
    let order = |what: &str| format!("the genesis file lists {what} out of order or twice");
    assert_eq!(said(|g| g.validators.swap(0, 1)), order("validators"));
    assert_eq!(said(|g| g.accounts.swap(0, 1)), order("accounts"));
    assert_eq!(said(|g| g.accounts[1] = g.accounts[0]), order("accounts"));
    assert_eq!(
        said(|g| g.parameters.push(g.parameters[0].clone())),
        order("parameters")
    );
    assert_eq!(
        said(|g| g.pace.block_interval_ms = 99),
        "the genesis pace: blockIntervalMs is 99, it must be from 100 to 60000"
    );
    assert!(said(|g| g.pace.propose_timeout_ms = 0).contains("proposeTimeoutMs is 0"));
    assert!(said(|g| g.pace.vote_timeout_ms = u64::MAX).contains("voteTimeoutMs"));
    let signers = "the three payment signers must be three different accounts, none of them zero";
    assert_eq!(
        said(|g| g.payment_signers[1] = g.payment_signers[0]),
        signers
    );
    assert_eq!(said(|g| g.payment_signers[2] = Address::ZERO), signers);
}

#[test]
fn unknown_fields_and_too_large_files_are_refused() {
    let mut json: serde_json::Value = serde_json::from_str(&genesis().to_json().unwrap()).unwrap();
    json["surprise"] = 1.into();
    let error = Genesis::parse(json.to_string().as_bytes())
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown field `surprise`"), "{error}");
    let large = vec![b' '; Genesis::MAX_BYTES + 1];
    assert!(matches!(
        Genesis::parse(&large),
        Err(GenesisError::Malformed(_))
    ));
    assert!(Genesis::parse(b"").is_err());
}

#[test]
fn the_hash_covers_every_field() {
    let hash = |change: &dyn Fn(&mut Genesis)| {
        let mut genesis = genesis();
        change(&mut genesis);
        genesis.hash()
    };
    let hashes = std::collections::BTreeSet::from([
        genesis().hash(),
        hash(&|g| g.version = 2),
        hash(&|g| g.chain_id += 1),
        hash(&|g| g.time_ms += 1),
        hash(&|g| g.pace.block_interval_ms += 1),
        hash(&|g| g.pace.propose_timeout_ms += 1),
        hash(&|g| g.pace.vote_timeout_ms += 1),
        hash(&|g| g.validators[0].vrf_key[0] ^= 1),
        hash(&|g| g.accounts[0].balance += U256::ONE),
        hash(&|g| g.accounts.truncate(1)),
        hash(&|g| g.reward_reserve += U256::ONE),
        hash(&|g| g.payment_signers[0][0] ^= 1),
        hash(&|g| g.parameters[0].key.push('x')),
        hash(&|g| g.parameters[0].value += U256::ONE),
        hash(&|g| g.contracts_hash[0] ^= 1),
        hash(&|g| g.state_root[0] ^= 1),
    ]);
    assert_eq!(hashes.len(), 16);
}

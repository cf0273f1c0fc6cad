//! A validator set is sorted, has each node and key once, and one hash.

use lucid_chain_types::{MAX_VALIDATORS, Validator, ValidatorSet, ValidatorSetError};
use proptest::prelude::*;

use crate::support::{set, validator};

#[test]
fn sets_are_bounded() {
    assert_eq!(ValidatorSet::new(vec![]), Err(ValidatorSetError::Empty));
    assert_eq!(set(MAX_VALIDATORS).len(), MAX_VALIDATORS);
    let many: Vec<Validator> = (0..=MAX_VALIDATORS).map(validator).collect();
    assert_eq!(
        ValidatorSet::new(many),
        Err(ValidatorSetError::TooMany(MAX_VALIDATORS + 1))
    );
}

#[test]
fn a_node_or_key_there_twice_is_refused() {
    let (a, b) = (validator(0), validator(1));
    assert_eq!(
        ValidatorSet::new(vec![b, a, b]),
        Err(ValidatorSetError::Order(b.node))
    );
    let shared = Validator {
        consensus_key: a.consensus_key,
        ..b
    };
    assert_eq!(
        ValidatorSet::new(vec![a, shared]),
        Err(ValidatorSetError::SharedKey(b.node))
    );
}

#[test]
fn sets_out_of_order_are_not_read() {
    let turned = vec![validator(1), validator(0)];
    assert!(borsh::from_slice::<ValidatorSet>(&borsh::to_vec(&turned).unwrap()).is_err());
    let json = serde_json::to_string(&turned).unwrap();
    let error = serde_json::from_str::<ValidatorSet>(&json)
        .unwrap_err()
        .to_string();
    assert!(error.contains("out of order or there twice"), "{error}");
    assert!(serde_json::from_str::<ValidatorSet>("[]").is_err());
    assert!(borsh::from_slice::<ValidatorSet>(&[0; 4]).is_err());
}

#[test]
fn every_part_of_a_validator_is_in_the_hash() {
    let hash = |change: &dyn Fn(&mut Validator)| {
        let mut list = set(3).list().to_vec();
        change(&mut list[1]);
        ValidatorSet::new(list).unwrap().hash()
    };
    let hashes = std::collections::BTreeSet::from([
        set(3).hash(),
        set(2).hash(),
        hash(&|v| v.node.0[0] ^= 1),
        hash(&|v| v.consensus_key[0] ^= 1),
        hash(&|v| v.vrf_key[31] ^= 1),
    ]);
    assert_eq!(hashes.len(), 5);
}

proptest! {
    #[test]
    fn the_order_given_does_not_matter(mut list in Just((0..20).map(validator).collect::<Vec<_>>()).prop_shuffle()) {
        let made = ValidatorSet::new(list.clone()).unwrap();
        prop_assert_eq!(&made, &set(20));
        prop_assert_eq!(made.hash(), set(20).hash());
        list.sort_by_key(|v| v.node);
        prop_assert_eq!(made.list(), &list[..]);
        for (index, validator) in list.iter().enumerate() {
            prop_assert_eq!(made.index_of(validator.node), Some(index));
            prop_assert_eq!(made.get(validator.node), Some(validator));
        }
        prop_assert_eq!(made.get(validator(21).node), None);
        let bytes = borsh::to_vec(&made).unwrap();
        prop_assert_eq!(&borsh::from_slice::<ValidatorSet>(&bytes).unwrap(), &made);
        let json = serde_json::to_string(&made).unwrap();
        prop_assert_eq!(serde_json::from_str::<ValidatorSet>(&json).unwrap(), made);
    }
}

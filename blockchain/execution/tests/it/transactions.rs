use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, TxKind, U256, hex, keccak256};
use lucid_chain_types::MAX_TRANSACTION_BYTES;
use lucid_execution::{MIN_GAS, Transaction, TransactionError, decode_all};
use proptest::prelude::*;

use crate::support::{CHAIN_ID, User, eip1559, eip2930, legacy};

const TO: Address = Address::with_last_byte(0x77);

fn refused(bytes: &[u8]) -> TransactionError {
    Transaction::decode(bytes, CHAIN_ID).unwrap_err()
}

#[test]
fn the_three_kinds_are_read_and_their_senders_found() {
    let user = User::new(0);
    for bytes in [
        user.sign(legacy(3, TO)),
        user.sign(eip2930(3, TO)),
        user.sign(eip1559(3, TO, vec![1, 0, 2])),
    ] {
        let transaction = Transaction::decode(&bytes, CHAIN_ID).unwrap();
        assert_eq!(transaction.sender, user.address);
        assert_eq!(transaction.hash, keccak256(&bytes));
        assert_eq!(&transaction.bytes[..], bytes);
        assert_eq!(*transaction.envelope.tx_hash(), transaction.hash);
        // From memory this time.
        assert_eq!(
            Transaction::decode(&bytes, CHAIN_ID).unwrap().sender,
            user.address
        );
    }
}

#[test]
fn each_refusal_has_its_reason() {
    use TransactionError as E;
    let user = User::new(0);
    let good = || eip1559(0, TO, vec![]);

    assert!(matches!(refused(&[]), E::Malformed(_)));
    assert!(matches!(refused(&[0xff; 40]), E::Malformed(_)));
    assert!(matches!(
        refused(&vec![2; MAX_TRANSACTION_BYTES + 1]),
        E::TooLarge { .. }
    ));
    assert_eq!(refused(&[3, 0xc0]), E::Type(3));
    assert_eq!(refused(&[4, 0xc0]), E::Type(4));
    assert_eq!(refused(&[0x7f]), E::Type(0x7f));
    let delegation = user.sign(TxEip7702 {
        chain_id: CHAIN_ID,
        gas_limit: 100_000,
        max_fee_per_gas: 1,
        to: TO,
        ..TxEip7702::default()
    });
    assert_eq!(refused(&delegation), E::Type(4));

    let other = TxEip1559 {
        chain_id: 1,
        ..good()
    };
    assert_eq!(
        refused(&user.sign(other)),
        E::ChainId {
            found: 1,
            expected: CHAIN_ID
        }
    );
    let unprotected = TxLegacy {
        chain_id: None,
        ..legacy(0, TO)
    };
    assert_eq!(refused(&user.sign(unprotected)), E::NoChainId);

    for create in [
        user.sign(TxEip1559 {
            to: TxKind::Create,
            ..good()
        }),
        user.sign(TxEip2930 {
            to: TxKind::Create,
            ..eip2930(0, TO)
        }),
        user.sign(TxLegacy {
            to: TxKind::Create,
            ..legacy(0, TO)
        }),
    ] {
        assert_eq!(refused(&create), E::Create);
    }

    let poor = TxEip1559 {
        gas_limit: MIN_GAS - 1,
        ..good()
    };
    assert_eq!(
        refused(&user.sign(poor)),
        E::IntrinsicGas {
            limit: MIN_GAS - 1,
            needed: MIN_GAS
        }
    );
    // EIP-7623: 10 for each token, a byte that is not zero is four of them.
    let data = TxEip1559 {
        gas_limit: MIN_GAS + 10 * 5 - 1,
        ..eip1559(0, TO, vec![0, 1])
    };
    assert!(matches!(
        refused(&user.sign(data)),
        E::IntrinsicGas { needed: 21_050, .. }
    ));
    let listed = TxEip1559 {
        gas_limit: MIN_GAS,
        access_list: AccessList(vec![AccessListItem {
            address: TO,
            storage_keys: vec![B256::ZERO; 2],
        }]),
        ..good()
    };
    assert!(matches!(
        refused(&user.sign(listed)),
        E::IntrinsicGas { needed: 27_200, .. }
    ));

    let tip = TxEip1559 {
        max_fee_per_gas: 5,
        max_priority_fee_per_gas: 6,
        ..good()
    };
    assert_eq!(refused(&user.sign(tip)), E::TipAboveFee);
    let last = TxEip1559 {
        nonce: u64::MAX,
        ..good()
    };
    assert!(matches!(refused(&user.sign(last)), E::Malformed(_)));
}

#[test]
fn a_legacy_transaction_has_no_second_encoding_with_a_type() {
    let bytes = User::new(0).sign(legacy(0, TO));
    let typed = [&[0], bytes.as_slice()].concat();
    assert!(matches!(refused(&typed), TransactionError::Malformed(_)));
}

#[test]
fn a_high_s_is_no_second_signature() {
    // The order of secp256k1's group.
    let order = U256::from_be_bytes(hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let user = User::new(0);
    let bytes = user.sign(eip1559(0, TO, vec![]));
    let signed = Transaction::decode(&bytes, CHAIN_ID).unwrap();
    let signature = *signed.envelope.signature();
    let flipped =
        alloy_primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    let transaction = eip1559(0, TO, vec![]);
    let bytes = {
        use alloy_consensus::{SignableTransaction as _, TxEnvelope};
        use alloy_eips::eip2718::Encodable2718 as _;
        TxEnvelope::from(transaction.into_signed(flipped)).encoded_2718()
    };
    assert_eq!(refused(&bytes), TransactionError::Signature);
}

#[test]
fn many_at_once_are_read_as_one_by_one() {
    let list: Vec<Vec<u8>> = (0..300)
        .map(|seed| match seed % 4 {
            0 => User::new(seed).sign(legacy(seed, TO)),
            1 => User::new(seed).sign(eip2930(seed, TO)),
            2 => vec![0xc0],
            _ => User::new(seed).sign(eip1559(seed, TO, vec![7])),
        })
        .collect();
    let all = decode_all(&list, CHAIN_ID);
    for (seed, (bytes, decoded)) in list.iter().zip(all).enumerate() {
        match (decoded, Transaction::decode(bytes, CHAIN_ID)) {
            (Ok(a), Ok(b)) => {
                assert_eq!((a.hash, a.sender), (b.hash, b.sender));
                assert_eq!(a.sender, User::new(seed as u64).address);
            }
            (Err(a), Err(b)) => assert_eq!(a, b),
            _ => panic!("{seed}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What is accepted has one encoding: the bytes that its hash is of.
    #[test]
    fn accepted_bytes_are_what_they_encode_to(kind in 0..3u8, at in any::<prop::sample::Index>(), bit in 0..8u8) {
        use alloy_eips::eip2718::Encodable2718 as _;
        let user = User::new(1);
        let mut bytes = match kind {
            0 => user.sign(legacy(3, TO)),
            1 => user.sign(eip2930(3, TO)),
            _ => user.sign(eip1559(3, TO, vec![1, 0, 2])),
        };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(transaction) = Transaction::decode(&bytes, CHAIN_ID) {
            prop_assert_eq!(transaction.envelope.encoded_2718(), bytes);
            prop_assert_ne!(transaction.sender, user.address);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Transaction::decode(&bytes, CHAIN_ID);
    }
}

//! Transactions and receipts of a block.

use alloy_primitives::{B256, keccak256};
use lucid_light::{Included, LightError, Place, ReceiptProof, TransactionProof};
use proptest::prelude::*;

use crate::support::{receipts, transactions, verified};

#[test]
fn each_is_proven_at_its_place() {
    let header = verified(|_| {});
    for index in 0..11usize {
        let place = |hash| Included {
            hash,
            index: index as u32,
            count: 11,
        };
        let proof = TransactionProof::of(&transactions(), index).unwrap();
        let read = TransactionProof::decode(&proof.encode()).unwrap();
        assert_eq!(
            header.transaction(&read).unwrap(),
            place(keccak256(&transactions()[index]))
        );
        let proof = ReceiptProof::of(&receipts(), index).unwrap();
        let read = ReceiptProof::decode(&proof.encode()).unwrap();
        assert_eq!(
            header.receipt(&read).unwrap(),
            place(keccak256(&receipts()[index]))
        );
    }
    assert_eq!(TransactionProof::of(&transactions(), 11), None);
    assert_eq!(ReceiptProof::of(&[], 0), None);
}

#[test]
fn every_flipped_bit_is_refused() {
    let header = verified(|_| {});
    for index in 0..11 {
        let transaction = TransactionProof::of(&transactions(), index)
            .unwrap()
            .encode();
        for bit in 0..transaction.len() * 8 {
            let mut flipped = transaction.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let passes =
                TransactionProof::decode(&flipped).and_then(|proof| header.transaction(&proof));
            assert!(passes.is_err(), "bit {bit}");
        }
        let receipt = ReceiptProof::of(&receipts(), index).unwrap().encode();
        for bit in 0..receipt.len() * 8 {
            let mut flipped = receipt.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let passes = ReceiptProof::decode(&flipped).and_then(|proof| header.receipt(&proof));
            assert!(passes.is_err(), "bit {bit}");
        }
    }
}

#[test]
fn what_is_not_there_is_named() {
    let header = verified(|_| {});
    let mut proof = TransactionProof::of(&transactions(), 3).unwrap();
    proof.hash = B256::ZERO;
    assert_eq!(
        header.transaction(&proof).unwrap_err().to_string(),
        format!(
            "transaction {} is not number 3 of 11 in the block of height 5",
            B256::ZERO
        )
    );
    // A receipt is no transaction, a node of the tree is no leaf, and a block without any has none.
    let receipt = ReceiptProof::of(&receipts(), 3).unwrap();
    let as_transaction = TransactionProof {
        hash: keccak256(&receipt.receipt),
        place: receipt.place,
    };
    assert!(matches!(
        header.transaction(&as_transaction),
        Err(LightError::NotIncluded { .. })
    ));
    let empty =
        verified(|header| header.transactions_root = lucid_chain_types::transactions_root(&[]));
    for count in [0, 1] {
        let place = Place {
            index: 0,
            count,
            path: vec![],
        };
        assert!(
            empty
                .transaction(&TransactionProof {
                    hash: B256::ZERO,
                    place
                })
                .is_err()
        );
    }
}

proptest! {
    #[test]
    fn junk_never_panics(hash in any::<[u8; 32]>(), index in any::<u32>(), count in any::<u32>(), length in 0usize..40, junk in proptest::collection::vec(any::<u8>(), 0..200)) {
        let header = verified(|_| {});
        let place = Place { index, count, path: vec![B256::new(hash); length] };
        let proof = TransactionProof { hash: B256::new(hash), place };
        prop_assert!(header.transaction(&proof).is_err());
        let _ = TransactionProof::decode(&[b"LUCIDTXN\x01", &junk[..]].concat());
        let _ = ReceiptProof::decode(&[b"LUCIDRCP\x01", &junk[..]].concat());
        prop_assert!(TransactionProof::decode(&junk).is_err());
    }
}

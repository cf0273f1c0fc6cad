//! Every value has one encoding, decoders take nothing else and panic on nothing.

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{
    Block, Body, Certificate, CertifiedBlock, DecodeError, Evidence, Genesis, Header,
    MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, MAX_EVIDENCE, MAX_TRANSACTION_BYTES, Proposal,
    ValidatorSet, Vote, decode, evidence_hash, transactions_root,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{
    any_block, any_certificate, any_evidence, any_header, any_proposal, any_vote, block,
    certificate, double_vote, set,
};

/// Encodes, decodes, and checks that nothing may be missing or follow.
fn round_trips<T: BorshSerialize + BorshDeserialize + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = borsh::to_vec(value).unwrap();
    assert_eq!(&decode::<T>("a value", &bytes, bytes.len()).unwrap(), value);
    assert!(decode::<T>("a value", &bytes, bytes.len() - 1).is_err());
    assert!(decode::<T>("a value", &bytes[..bytes.len() - 1], 1 << 20).is_err());
    assert!(decode::<T>("a value", &[&bytes[..], &[0]].concat(), 1 << 20).is_err());
}

/// What is decoded encodes to the very bytes it was decoded from.
fn one_encoding<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> bool {
    match decode::<T>("a value", bytes, 1 << 20) {
        Ok(value) => {
            assert_eq!(borsh::to_vec(&value).unwrap(), bytes);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Feeds `bytes` to every decoder.
fn feed(bytes: &[u8]) {
    one_encoding::<Vote>(bytes);
    one_encoding::<Proposal>(bytes);
    one_encoding::<Certificate>(bytes);
    one_encoding::<Evidence>(bytes);
    one_encoding::<ValidatorSet>(bytes);
    one_encoding::<Header>(bytes);
    one_encoding::<Body>(bytes);
    one_encoding::<Block>(bytes);
    one_encoding::<CertifiedBlock>(bytes);
    one_encoding::<Genesis>(bytes);
    let _ = Header::decode(bytes);
    let _ = Block::decode(bytes);
    let _ = CertifiedBlock::decode(bytes);
    let _ = Genesis::parse(bytes);
    if let Ok(certificate) = Certificate::decode(bytes) {
        let _ = certificate.verify(B256::ZERO, &set(4));
    }
    if let Ok(evidence) = decode::<Evidence>("evidence", bytes, 1 << 20) {
        let _ = evidence.verify(B256::ZERO, &set(4));
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        vote in any_vote(), proposal in any_proposal(), certificate in any_certificate(),
        evidence in any_evidence(), header in any_header(),
    ) {
        round_trips(&vote);
        round_trips(&proposal);
        round_trips(&certificate);
        round_trips(&evidence);
        round_trips(&header);
        prop_assert_eq!(header.encode().len(), Header::BYTES);
        prop_assert_eq!(Header::decode(&header.encode()).unwrap(), header);
    }

    #[test]
    fn blocks_are_decoded(block in any_block()) {
        let bytes = block.encode();
        round_trips(&block);
        prop_assert_eq!(Block::decode(&bytes).unwrap(), block);
    }

    #[test]
    fn junk_never_panics(bytes in vec(any::<u8>(), 0..600)) {
        feed(&bytes);
    }

    /// Small numbers pass for lengths and tags.
    #[test]
    fn junk_of_small_numbers_never_panics(bytes in vec(0u8..4, 0..600)) {
        feed(&bytes);
    }

    /// Damage deep inside a valid value gets past the first checks.
    #[test]
    fn damaged_values_never_panic(
        block in any_block(), damage in vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>(),
    ) {
        let mut bytes = block.encode();
        for (place, byte) in damage {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        feed(&bytes);
        feed(&bytes[..cut % bytes.len()]);
        feed(&bytes[Header::BYTES..]);
    }
}

#[test]
fn a_false_length_reserves_nothing() {
    // 4 GiB of everything: borsh must not believe it.
    let bytes = [&block().header.encode()[..], &[0xff; 4]].concat();
    assert!(Block::decode(&bytes).is_err());
    assert!(decode::<Vec<Vec<u8>>>("lists", &[0xff; 8], 1 << 20).is_err());
}

#[test]
fn every_flipped_byte_of_a_header_is_another_block_or_refused() {
    let header = block().header;
    let bytes = header.encode();
    let mut ids = std::collections::BTreeSet::from([header.id()]);
    for place in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[place] ^= mask;
            if let Ok(decoded) = Header::decode(&flipped) {
                assert!(ids.insert(decoded.id()), "byte {place}");
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_block_is_another_block_or_refused() {
    let block = block();
    let bytes = block.encode();
    for place in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[place] ^= mask;
            match Block::decode(&flipped) {
                // Only a header can differ: all else is covered by its hashes.
                Ok(decoded) => assert!(place < Header::BYTES && decoded.id() != block.id()),
                Err(error) => assert!(matches!(error, DecodeError::Malformed { .. })),
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_certificate_is_refused() {
    let id = block().id();
    let valid = certificate(4, &[0, 1, 3], 7, 2, id);
    valid.verify(crate::support::GENESIS, &set(4)).unwrap();
    let bytes = borsh::to_vec(&valid).unwrap();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            let passes = Certificate::decode(&flipped)
                .is_ok_and(|c| c.verify(crate::support::GENESIS, &set(4)).is_ok());
            assert!(!passes, "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn unknown_versions_are_refused_by_name() {
    let mut block = block();
    block.header.version = 2;
    let said = |error: DecodeError| error.to_string();
    let text = "a header is malformed: version 2 is not known here";
    assert_eq!(
        said(Header::decode(&block.header.encode()).unwrap_err()),
        text
    );
    assert_eq!(said(Block::decode(&block.encode()).unwrap_err()), text);
}

#[test]
fn bounds_are_checked_and_named() {
    let refused = |change: &dyn Fn(&mut Block)| {
        let mut block = block();
        change(&mut block);
        block.header.transactions_root = transactions_root(&block.body.transactions);
        block.header.evidence_hash = evidence_hash(&block.body.evidence);
        Block::decode(&block.encode()).map_err(|error| error.to_string())
    };
    let malformed = |reason: &str| Err(format!("a block is malformed: {reason}"));

    assert!(refused(&|b| b.body.transactions = vec![vec![]; MAX_BLOCK_TRANSACTIONS]).is_ok());
    assert_eq!(
        refused(&|b| b.body.transactions = vec![vec![]; MAX_BLOCK_TRANSACTIONS + 1]),
        malformed("too many transactions")
    );
    assert!(refused(&|b| b.body.transactions = vec![vec![0; MAX_TRANSACTION_BYTES]]).is_ok());
    assert_eq!(
        refused(&|b| b.body.transactions = vec![vec![0; MAX_TRANSACTION_BYTES + 1]]),
        malformed("a transaction is too large")
    );
    assert!(refused(&|b| b.body.evidence = vec![double_vote(1); MAX_EVIDENCE]).is_ok());
    assert_eq!(
        refused(&|b| b.body.evidence = vec![double_vote(1); MAX_EVIDENCE + 1]),
        malformed("too much evidence")
    );
    let bytes = vec![0; MAX_BLOCK_BYTES + 1];
    assert_eq!(
        Block::decode(&bytes).unwrap_err().to_string(),
        "a block has 8388609 bytes, at most 8388608 are allowed"
    );
    assert!(matches!(
        Certificate::decode(&vec![0; Certificate::MAX_BYTES + 1]),
        Err(DecodeError::TooLarge { .. })
    ));
}

#[test]
fn a_body_of_another_block_is_refused_and_says_which_part() {
    let said = |change: &dyn Fn(&mut Body)| {
        let mut block = block();
        change(&mut block.body);
        Block::decode(&block.encode()).unwrap_err().to_string()
    };
    assert_eq!(
        said(&|body| body.transactions.swap(0, 1)),
        "a block is malformed: the transactions are not those of the header"
    );
    assert_eq!(
        said(&|body| body.last_commit = None),
        "a block is malformed: the parent's certificate is not that of the header"
    );
    assert_eq!(
        said(&|body| body.evidence.truncate(1)),
        "a block is malformed: the evidence is not that of the header"
    );
}

#[test]
fn a_certified_block_has_the_next_validators_exactly_where_its_header_changes_them() {
    let mut block = block();
    block.header.validators_hash = set(4).hash();
    block.header.next_validators_hash = set(4).hash();
    let certified = |block: &Block, next_validators| {
        let certificate = certificate(4, &[0, 1, 3], 7, 2, block.id());
        let certified = CertifiedBlock {
            block: block.clone(),
            certificate,
            next_validators,
        };
        round_trips(&certified);
        let bytes = certified.encode();
        assert!(CertifiedBlock::decode(&[&bytes[..], &[0]].concat()).is_err());
        CertifiedBlock::decode(&bytes).map(|decoded| assert_eq!(decoded, certified))
    };
    certified(&block, None).unwrap();
    assert!(certified(&block, Some(set(4))).is_err());
    block.header.next_validators_hash = set(3).hash();
    certified(&block, Some(set(3))).unwrap();
    assert!(certified(&block, Some(set(4))).is_err());
    assert!(certified(&block, None).is_err());
    // What is wrong with the block is wrong with it here.
    block.header.transactions_root = B256::ZERO;
    assert!(certified(&block, Some(set(3))).is_err());
}

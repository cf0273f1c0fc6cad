//! What nodes send each other and keep: blocks, headers, certificates, genesis files, the mempool's journal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_chain_types::{Block, Certificate, Genesis, Header};
use lucid_fuzz::seeds;
use lucid_light::FinalityProof;
use lucid_mempool::decode_journal;

fuzz_target!(
    init: seeds(|| {
        let proof = FinalityProof::decode(include_bytes!("../../tests/vectors/chain/finality.proof"));
        let proof = proof.expect("the stored proof");
        vec![
            proof.header.encode(),
            borsh::to_vec(&proof.certificate).expect("writing to memory"),
            include_bytes!("../../tests/vectors/chain/light-genesis.json").to_vec(),
        ]
    }),
    |data: &[u8]| {
        if let Ok(header) = Header::decode(data) {
            assert_eq!(header.encode(), data, "a header has one encoding");
        }
        if let Ok(block) = Block::decode(data) {
            assert_eq!(block.encode(), data, "a block has one encoding");
        }
        if let Ok(certificate) = Certificate::decode(data) {
            let again = borsh::to_vec(&certificate).expect("writing to memory");
            assert_eq!(again, data, "a certificate has one encoding");
        }
        if let Ok(genesis) = Genesis::parse(data) {
            let again = genesis.to_json().expect("what was read can be written");
            let again = Genesis::parse(again.as_bytes()).expect("and read again");
            assert_eq!(again.hash(), genesis.hash());
        }
        if let Ok(entries) = decode_journal(data) {
            assert!(entries.iter().map(|entry| entry.bytes.len()).sum::<usize>() <= data.len());
        }
    }
);

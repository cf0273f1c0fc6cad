//! Golden proof files: these bytes never change without a new version number.
//!
//! `LUCID_BLESS=1 cargo test -p lucid-light vectors` writes them anew.

use std::{fs, path::PathBuf};

use lucid_light::{FinalityProof, ReceiptProof, TransactionProof, TrustedGenesis, verify};

use crate::support::{genesis, proof, receipts, transactions};

fn file_is(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/chain")
        .join(name);
    if std::env::var_os("LUCID_BLESS").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    let stored = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(stored == bytes, "{name} differs");
    stored
}

/// The stored files are what this code makes, and prove what they say to somebody who has the stored genesis file.
#[test]
fn the_stored_proof_files_are_made_and_checked() {
    let json = file_is(
        "light-genesis.json",
        (genesis().to_json().unwrap() + "\n").as_bytes(),
    );
    let finality = file_is("finality.proof", &proof().encode());
    let transaction = TransactionProof::of(&transactions(), 8).unwrap();
    let transaction = file_is("transaction.proof", &transaction.encode());
    let receipt = file_is(
        "receipt.proof",
        &ReceiptProof::of(&receipts(), 8).unwrap().encode(),
    );

    let trusted = TrustedGenesis::parse(&json).unwrap();
    let header = verify(&trusted, &FinalityProof::decode(&finality).unwrap()).unwrap();
    assert_eq!(header.header(), &proof().header);
    let transaction = header
        .transaction(&TransactionProof::decode(&transaction).unwrap())
        .unwrap();
    let receipt = header
        .receipt(&ReceiptProof::decode(&receipt).unwrap())
        .unwrap();
    assert_eq!((transaction.index, receipt.index), (8, 8));
}

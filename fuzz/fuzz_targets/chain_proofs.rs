//! Proof files of any bytes, for somebody who has the stored genesis file.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lucid_fuzz::seeds;
use lucid_light::{
    FinalityProof, ReceiptProof, StateProof, TransactionProof, TrustedGenesis, VerifiedHeader,
    verify,
};

const FINALITY: &[u8] = include_bytes!("../../tests/vectors/chain/finality.proof");
const TRANSACTION: &[u8] = include_bytes!("../../tests/vectors/chain/transaction.proof");
const RECEIPT: &[u8] = include_bytes!("../../tests/vectors/chain/receipt.proof");

static KNOWN: LazyLock<(TrustedGenesis, VerifiedHeader)> = LazyLock::new(|| {
    let genesis = include_bytes!("../../tests/vectors/chain/light-genesis.json");
    let genesis = TrustedGenesis::parse(genesis).expect("the stored genesis file");
    let header = FinalityProof::decode(FINALITY).and_then(|proof| verify(&genesis, &proof));
    let header = header.expect("the stored proof");
    (genesis, header)
});

fuzz_target!(
    init: seeds(|| [FINALITY, TRANSACTION, RECEIPT].map(<[u8]>::to_vec).to_vec()),
    |data: &[u8]| {
        let (genesis, header) = &*KNOWN;
        if let Ok(proof) = FinalityProof::decode(data) {
            assert_eq!(proof.encode(), data, "a proof has one encoding");
            if let Ok(verified) = verify(genesis, &proof) {
                // Nobody here has the validators' keys: what passes was signed for the stored proof.
                assert_eq!(verified.header(), header.header());
            }
        }
        if let Ok(proof) = TransactionProof::decode(data) {
            assert!(header.transaction(&proof).is_err() || data == TRANSACTION);
        }
        if let Ok(proof) = ReceiptProof::decode(data) {
            assert!(header.receipt(&proof).is_err() || data == RECEIPT);
        }
        if let Ok(proof) = StateProof::decode(data) {
            assert!(header.account(&proof).is_err(), "nobody knows a state with the stored root");
        }
    }
);

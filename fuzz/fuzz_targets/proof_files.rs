//! Proof files of any bytes, for somebody who has the stored genesis file: nothing but what was made by the chain is accepted.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lucid_fuzz::seeds;
use lucid_light::TrustedGenesis;
use lucid_proof::Proof;

const CLOSED: &[u8] = include_bytes!("../../tests/vectors/proof/closed.lucidproof");
const OPEN: &[u8] = include_bytes!("../../tests/vectors/proof/open.lucidproof");
const REGISTERED: &[u8] = include_bytes!("../../tests/vectors/proof/registered.lucidproof");
const GOOD: [&[u8]; 3] = [CLOSED, OPEN, REGISTERED];

static GENESIS: LazyLock<TrustedGenesis> = LazyLock::new(|| {
    let genesis = include_bytes!("../../tests/vectors/proof/genesis.json");
    TrustedGenesis::parse(genesis).expect("the stored genesis file")
});

/// What a proof says of its session, whichever validators signed and however many nodes of the state it names.
fn told(proof: &Proof) -> (&[u8], Option<&[u8]>, usize) {
    let checkpoints = proof.checkpoints.len();
    (&proof.head, proof.manifest.as_deref(), checkpoints)
}

fuzz_target!(
    init: seeds(|| GOOD.map(<[u8]>::to_vec).to_vec()),
    |data: &[u8]| {
        let Ok(proof) = Proof::decode(data) else {
            return;
        };
        assert_eq!(proof.encode(), data, "a proof has one encoding");
        if proof.verify(&GENESIS).is_ok() {
            let known = GOOD.iter().filter_map(|good| Proof::decode(good).ok());
            let known: Vec<Proof> = known.collect();
            assert!(known.iter().any(|good| told(good) == told(&proof)));
        }
    }
);

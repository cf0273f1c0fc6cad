//! The signed parts of a recording, each alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::{
    Checkpoint, Disclosed, Index, Parts, PublicKey, SigDomain, Signed, SignedHead, SignedManifest,
    Ticket, merkle,
};
use lucid_fuzz::{SESSION, Script, seeds};

fn section(wanted: &[u8; 4]) -> &'static [u8] {
    SESSION
        .sections
        .iter()
        .find(|(tag, _)| tag == wanted)
        .map_or(&[], |(_, bytes)| bytes)
}

fuzz_target!(
    init: seeds(|| {
        let parts = [section(b"HEAD"), section(b"MANI"), section(b"WRAP"), &SESSION.statement];
        (0..).zip(parts).map(|(part, bytes)| [&[part][..], bytes].concat()).collect()
    }),
    |data: &[u8]| {
        let mut script = Script(data);
        let part = script.byte();
        let data = script.rest();
        let head = SignedHead::decode(section(b"HEAD")).expect("the session has a head");
        let parts =
            Parts { head: section(b"HEAD"), manifest: section(b"MANI"), wraps: None, keys: None, proof: None };
        match part % 8 {
            0 => drop(SignedHead::decode(data)),
            1 => drop(SignedManifest::decode(data, &head)),
            2 => drop(Parts { wraps: Some(data), ..parts }.decode()),
            3 => drop(Disclosed::decode(data)),
            4 => drop(Parts { proof: Some(data), ..parts }.decode()),
            5 => drop(Index::decode(data, 1 << 32)),
            6 => {
                let signed = Signed { body: data.to_vec(), signature: [0; 64] };
                assert!(Ticket::open(&signed).is_err() && Checkpoint::open(&signed, &head).is_err());
                assert!(signed.verify(&PublicKey([7; 32]), SigDomain::Ticket).is_err());
            }
            _ => {
                // Merkle proofs of any shape: sizes that do not fit the proof must not panic or loop.
                let mut script = Script(data);
                let (size, first, count) = (script.u16().into(), script.u16().into(), script.byte());
                let hash = |byte| lucid_format::Hash([byte; 32]);
                let range: Vec<_> = (0..count).map(hash).collect();
                let proof: Vec<_> = script.rest().iter().copied().map(hash).collect();
                let _root = merkle::range_root(size, first, &range, &proof);
                let _roots = merkle::consistency_roots(first, size, &proof);
            }
        }
    }
);

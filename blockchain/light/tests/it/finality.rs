//! From genesis to a final header.

use alloy_primitives::B256;
use lucid_chain_types::{BlockId, CertificateError, Genesis, Header, Height, Validator};
use lucid_light::{FinalityProof, LightError, MAX_CHANGES, SetChange, TrustedGenesis, verify};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{certify, change, genesis, header, proof, proof_of, set, trusted};

const FIRST: [usize; 4] = [0, 1, 2, 3];

fn check(proof: &FinalityProof) -> Result<Height, LightError> {
    verify(&trusted(), proof).map(|verified| verified.height())
}

fn said(proof: &FinalityProof) -> String {
    check(proof).unwrap_err().to_string()
}

#[test]
fn a_header_is_proven_through_changes_of_the_set() {
    let trusted = TrustedGenesis::parse(genesis().to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(
        (trusted.hash(), trusted.chain_id()),
        (genesis().hash(), 7_700)
    );
    let proof = FinalityProof::decode(&proof().encode()).unwrap();
    let verified = verify(&trusted, &proof).unwrap();
    assert_eq!(verified.header(), &proof.header);
    assert_eq!(
        (verified.id(), verified.height()),
        (proof.header.id(), Height(90))
    );
    assert_eq!(verified.validators(), &set(&[4, 5, 6, 7]));

    // Without changes, at the first height, and of a header that itself changes the set.
    check(&proof_of(
        vec![],
        header(1, &set(&FIRST), &set(&FIRST)),
        &[1, 2, 3],
    ))
    .unwrap();
    check(&proof_of(
        vec![],
        header(10, &set(&FIRST), &set(&[7])),
        &[0, 1, 2],
    ))
    .unwrap();
}

#[test]
fn trust_moves_on_change_by_change() {
    let proof = proof();
    let mut trust = trusted().trust();
    assert_eq!(
        (trust.height(), trust.validators()),
        (Height(0), &set(&FIRST))
    );
    for change in &proof.changes {
        assert_eq!(trust.advance(change).unwrap().header(), &change.header);
        assert_eq!(
            (trust.height(), trust.validators()),
            (change.header.height, &change.next_validators)
        );
    }
    trust.verify(&proof.header, &proof.certificate).unwrap();
    // What is refused changes nothing.
    let before = trust.clone();
    assert!(trust.advance(&proof.changes[1]).is_err());
    assert_eq!(trust, before);
}

#[test]
fn every_flipped_bit_of_a_proof_file_is_refused() {
    let bytes = proof().encode();
    let trusted = trusted();
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        let passes = FinalityProof::decode(&flipped).and_then(|proof| verify(&trusted, &proof));
        assert!(passes.is_err(), "byte {place}");
        flipped[place] = !bytes[place];
        let passes = FinalityProof::decode(&flipped).and_then(|proof| verify(&trusted, &proof));
        assert!(passes.is_err(), "byte {place}");
    }
    for cut in 0..bytes.len() {
        assert!(FinalityProof::decode(&bytes[..cut]).is_err());
    }
    assert!(FinalityProof::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_change_is_told_in_one_way_only() {
    let same = proof();
    let bytes = same.encode();
    assert_eq!(FinalityProof::decode(&bytes).unwrap(), same);
    // The second change replaces a validator or more: told as if all of them went and came, it is the same change.
    let [.., before, change] = &same.changes[..] else {
        panic!("two changes");
    };
    let longer = |leave: Vec<u16>, join: &[Validator]| {
        let told = borsh::to_vec(&(leave, join)).unwrap();
        let short = borsh::to_vec(&(&change.header, &change.certificate)).unwrap();
        let at = bytes
            .windows(short.len())
            .position(|it| it == short)
            .unwrap()
            + short.len();
        let rest = borsh::to_vec(&(&same.header, &same.certificate)).unwrap();
        [&bytes[..at], &told, &rest].concat()
    };
    let all = (0..).take(before.next_validators.len()).collect();
    let refused = FinalityProof::decode(&longer(all, change.next_validators.list())).unwrap_err();
    assert!(refused.to_string().contains("shortest"), "{refused}");
    let refused = FinalityProof::decode(&longer(vec![100], &[])).unwrap_err();
    assert!(refused.to_string().contains("shortest"), "{refused}");
}

#[test]
fn another_genesis_is_refused() {
    let other = TrustedGenesis::new(&Genesis {
        reward_reserve: alloy_primitives::U256::ONE,
        ..genesis()
    })
    .unwrap();
    assert!(matches!(
        verify(&other, &proof()),
        Err(LightError::OtherGenesis { .. })
    ));
    // Its hash alone does not help: the votes are for the chain they were made on.
    let claimed = FinalityProof {
        genesis_hash: other.hash(),
        ..proof()
    };
    assert!(matches!(
        verify(&other, &claimed),
        Err(LightError::Certificate(CertificateError::Signature {
            height: Height(10),
            index: 0
        }))
    ));
    assert!(matches!(
        TrustedGenesis::parse(b"{}"),
        Err(LightError::Genesis(_))
    ));
}

#[test]
fn a_change_left_out_turned_or_repeated_is_refused() {
    let valid = proof();
    let with = |changes: Vec<SetChange>| {
        check(&FinalityProof {
            changes,
            ..valid.clone()
        })
    };
    let [a, b] = [&valid.changes[0], &valid.changes[1]].map(Clone::clone);
    for changes in [
        vec![],
        vec![a.clone()],
        vec![b.clone()],
        vec![b.clone(), a.clone()],
    ] {
        assert!(matches!(
            with(changes),
            Err(LightError::OtherValidators { .. })
        ));
    }
    assert!(matches!(
        with(vec![a.clone(), a.clone(), b.clone()]),
        Err(LightError::Order {
            height: Height(10),
            after: Height(10)
        })
    ));
    let none = change(50, &[4, 5, 6, 7], &[4, 5, 6, 7]);
    assert!(matches!(
        with(vec![a, b, none]),
        Err(LightError::NoChange(Height(50)))
    ));
}

#[test]
fn a_set_that_the_header_does_not_name_is_refused() {
    let mut forged = proof();
    forged.changes[1].next_validators = set(&[8, 9, 10, 11]);
    assert!(matches!(
        check(&forged),
        Err(LightError::OtherNextValidators {
            height: Height(40),
            ..
        })
    ));
    // Not even with a header that names it: that one nobody certified.
    let mut forged = proof();
    let made_up = change(40, &[8, 9, 10, 11], &[8, 9, 10, 11]);
    let header = Header {
        validators_hash: forged.changes[1].header.validators_hash,
        ..made_up.header
    };
    forged.changes[1] = SetChange {
        certificate: certify(&header, &set(&[8, 9, 10, 11]), &[8, 9, 10]),
        header,
        next_validators: made_up.next_validators,
    };
    assert!(matches!(
        check(&forged),
        Err(LightError::Certificate(CertificateError::Signature {
            height: Height(40),
            index: 0
        }))
    ));
}

#[test]
fn validators_that_left_do_not_count_any_more() {
    // 1, 2 and 3 were a quorum until height 40.
    let first = proof().changes[0].clone();
    let old = proof_of(
        vec![first],
        header(50, &set(&[1, 2, 3, 4]), &set(&[1, 2, 3, 4])),
        &[1, 2, 3],
    );
    check(&old).unwrap();
    // That header is not the chain's, but only those who know the change at 40 can tell.
    let both = FinalityProof {
        changes: proof().changes,
        ..old
    };
    assert!(matches!(
        check(&both),
        Err(LightError::OtherValidators {
            height: Height(50),
            ..
        })
    ));
}

#[test]
fn a_certificate_is_of_the_header_and_by_a_quorum() {
    let valid = proof();
    let mut forged = valid.clone();
    forged.header.state_root = B256::ZERO;
    assert!(matches!(
        check(&forged),
        Err(LightError::OtherBlock {
            height: Height(90),
            ..
        })
    ));
    forged.certificate.block = forged.header.id();
    assert!(matches!(
        check(&forged),
        Err(LightError::Certificate(CertificateError::Signature {
            index: 0,
            ..
        }))
    ));
    let few = proof_of(valid.changes.clone(), valid.header.clone(), &[4, 7]);
    assert_eq!(
        said(&few),
        "the certificate of height 90 has 2 of the 3 signatures that are needed"
    );
    let mut moved = valid;
    moved.certificate.height = Height(91);
    assert!(matches!(check(&moved), Err(LightError::OtherBlock { .. })));
}

#[test]
fn heights_and_times_go_up() {
    let valid = proof();
    for (height, time_ms) in [
        (40, u64::MAX),
        (39, u64::MAX),
        (90, valid.changes[1].header.time_ms),
    ] {
        let header = Header {
            height: Height(height),
            time_ms,
            ..valid.header.clone()
        };
        let forged = proof_of(valid.changes.clone(), header, &[4, 5, 6]);
        assert!(matches!(
            check(&forged),
            Err(LightError::Order {
                after: Height(40),
                ..
            })
        ));
    }
    let zero = proof_of(vec![], header(0, &set(&FIRST), &set(&FIRST)), &[0, 1, 2]);
    assert!(matches!(check(&zero), Err(LightError::Order { .. })));
}

#[test]
fn headers_of_other_chains_and_versions_are_refused() {
    for (version, chain_id) in [(1, 7_701), (2, 7_700)] {
        let header = Header {
            version,
            chain_id,
            ..header(5, &set(&FIRST), &set(&FIRST))
        };
        let forged = proof_of(vec![], header, &[0, 1, 2]);
        assert_eq!(
            said(&forged),
            format!(
                "the header of height 5 has version {version} and chain id {chain_id}, which are not this chain's"
            )
        );
    }
}

#[test]
fn files_of_other_kinds_and_versions_are_named() {
    let bytes = proof().encode();
    assert_eq!(&bytes[..9], b"LUCIDFIN\x01");
    let refused = |bytes: &[u8]| FinalityProof::decode(bytes).unwrap_err().to_string();
    assert_eq!(refused(b""), "this is not a finality proof");
    assert_eq!(refused(b"LUCIDFIN"), "this is not a finality proof");
    assert_eq!(refused(b"LUCIDSTA\x01"), "this is not a finality proof");
    assert_eq!(
        refused(b"LUCIDFIN\x02"),
        "a finality proof has version 2, this program knows version 1"
    );
    let large = [&bytes[..9], &vec![0; lucid_light::MAX_FINALITY_BYTES + 1]].concat();
    assert!(refused(&large).contains("at most 16777216 are allowed"));
    // A false count of changes.
    let mut claimed = bytes;
    claimed[9 + 32..9 + 36].fill(0xff);
    assert!(FinalityProof::decode(&claimed).is_err());
}

#[test]
fn more_changes_than_the_bound_are_not_even_looked_at() {
    let one = change(10, &[0], &[1]);
    let many = FinalityProof {
        changes: vec![one; MAX_CHANGES + 1],
        ..proof()
    };
    assert!(matches!(
        FinalityProof::decode(&many.encode()),
        Err(LightError::TooMany {
            count: 4_097,
            limit: 4_096,
            ..
        })
    ));
    assert!(matches!(check(&many), Err(LightError::TooMany { .. })));
}

#[test]
fn a_typical_proof_file_is_small() {
    assert_eq!(
        proof_of(vec![], header(9, &set(&FIRST), &set(&FIRST)), &[0, 1, 2])
            .encode()
            .len(),
        708
    );
    assert!(proof().encode().len() < 3 << 10);
    // Thirteen validators, one of them another ten times: what the target is for.
    let of_thirteen = |first: usize| (first..first + 13).collect::<Vec<_>>();
    let mut changes = vec![change(1, &FIRST, &of_thirteen(0))];
    changes.extend((0..10).map(|index| {
        let (now, next) = (of_thirteen(index), of_thirteen(index + 1));
        change(index as u64 + 2, &now, &next)
    }));
    let last = of_thirteen(10);
    let ten = proof_of(changes, header(90, &set(&last), &set(&last)), &last[..9]);
    check(&ten).unwrap();
    assert!(ten.encode().len() < 16 << 10, "{}", ten.encode().len());
    // A hundred validators, and a change a month for a year with four.
    let all: Vec<usize> = (0..100).collect();
    let large = proof_of(
        vec![change(10, &FIRST, &all)],
        header(90, &set(&all), &set(&all)),
        &all[..67],
    );
    check(&large).unwrap();
    assert!(large.encode().len() < 20 << 10, "{}", large.encode().len());
    let year: Vec<SetChange> = (0..12)
        .map(|month| {
            change(
                month as u64 + 1,
                &[month, month + 1, month + 2, month + 3],
                &[month + 1, month + 2, month + 3, month + 4],
            )
        })
        .collect();
    let last = set(&[12, 13, 14, 15]);
    let year = proof_of(year, header(90, &last, &last), &[12, 13, 14]);
    check(&year).unwrap();
    assert!(year.encode().len() < 20 << 10, "{}", year.encode().len());
}

proptest! {
    #[test]
    fn junk_never_panics(junk in vec(any::<u8>(), 0..400), small in vec(0u8..4, 0..400)) {
        for junk in [junk, small] {
            prop_assert!(FinalityProof::decode(&junk).is_err());
            let named = [b"LUCIDFIN\x01", &junk[..]].concat();
            if let Ok(proof) = FinalityProof::decode(&named) {
                prop_assert!(check(&proof).is_err());
            }
        }
    }

    #[test]
    fn damaged_proofs_prove_nothing(damage in vec((any::<usize>(), any::<u8>()), 1..5)) {
        let bytes = proof().encode();
        let mut damaged = bytes.clone();
        for (place, byte) in damage {
            let place = place % damaged.len();
            damaged[place] = byte;
        }
        if damaged != bytes && let Ok(proof) = FinalityProof::decode(&damaged) {
            prop_assert!(check(&proof).is_err());
        }
    }

    #[test]
    fn a_header_nobody_signed_is_never_final(id in any::<[u8; 32]>(), signers in vec(0usize..8, 0..8)) {
        let mut forged = proof();
        forged.header.parent = BlockId(B256::new(id));
        forged.certificate.block = forged.header.id();
        forged.certificate.signers = lucid_chain_types::SignerBitmap::new(4, signers);
        prop_assert!(check(&forged).is_err());
    }
}

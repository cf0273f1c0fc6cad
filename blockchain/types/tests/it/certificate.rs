//! What a certificate proves, and how forgeries fail.

use alloy_primitives::B256;
use lucid_chain_types::{
    BlockId, Certificate, CertificateError, Height, Signature, SignerBitmap, Vote, VoteKind, quorum,
};
use proptest::prelude::*;

use crate::support::{GENESIS, certificate, precommit, set, sign};

const BLOCK: BlockId = BlockId(B256::repeat_byte(0xb1));

fn check(certificate: &Certificate, validators: usize) -> Result<(), CertificateError> {
    certificate.verify(GENESIS, &set(validators))
}

#[test]
fn a_quorum_is_more_than_two_thirds() {
    for (total, needed) in [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 3),
        (5, 4),
        (6, 5),
        (7, 5),
        (10, 7),
        (13, 9),
        (100, 67),
    ] {
        assert_eq!(quorum(total), needed);
    }
    for total in 1..=1000usize {
        let votes = quorum(total);
        assert!(votes * 3 > total * 2 && (votes - 1) * 3 <= total * 2 && votes <= total);
        // Two quorums share more validators than may lie.
        let faulty = (total - 1) / 3;
        assert!(2 * votes - total > faulty);
        assert!(total - faulty >= votes, "those that work decide alone");
    }
}

#[test]
fn any_quorum_is_enough_and_fewer_are_not() {
    for total in [1, 2, 4, 7, 8, 9, 13] {
        let needed = quorum(total);
        let some: Vec<usize> = (0..total).rev().take(needed).rev().collect();
        check(&certificate(total, &some, 7, 0, BLOCK), total).unwrap();
        let all: Vec<usize> = (0..total).collect();
        check(&certificate(total, &all, 7, 0, BLOCK), total).unwrap();
        assert_eq!(
            check(&certificate(total, &all[..needed - 1], 7, 0, BLOCK), total),
            Err(CertificateError::NoQuorum {
                height: Height(7),
                signers: needed - 1,
                quorum: needed
            })
        );
    }
}

#[test]
fn one_validator_cannot_sign_twice() {
    let one = certificate(4, &[0], 7, 0, BLOCK);
    let thrice = Certificate {
        signatures: vec![one.signatures[0]; 3],
        ..one.clone()
    };
    // The bitmap has one bit for it, so its copies belong to nobody …
    assert_eq!(
        check(&thrice, 4),
        Err(CertificateError::Count {
            height: one.height,
            signers: 1,
            signatures: 3
        })
    );
    // … or to others, whose they are not.
    let claimed = Certificate {
        signers: SignerBitmap::new(4, [0, 1, 2]),
        ..thrice
    };
    assert_eq!(
        check(&claimed, 4),
        Err(CertificateError::Signature {
            height: one.height,
            index: 1
        })
    );
}

#[test]
fn bits_beyond_the_set_are_refused() {
    let valid = certificate(4, &[0, 1, 2], 7, 0, BLOCK);
    let bitmap = Err(CertificateError::Bitmap {
        height: valid.height,
        validators: 4,
    });
    for signers in [
        SignerBitmap::new(8, [0, 1, 2, 4]),
        SignerBitmap::new(8, [0, 1, 7]),
        SignerBitmap::new(9, [0, 1, 2]),
        SignerBitmap::new(0, []),
    ] {
        let signatures = vec![valid.signatures[0]; signers.signers().count()];
        let forged = Certificate {
            signers,
            signatures,
            ..valid.clone()
        };
        assert_eq!(check(&forged, 4), bitmap);
    }
}

#[test]
fn what_was_signed_for_something_else_proves_nothing() {
    let valid = certificate(4, &[0, 1, 2], 7, 3, BLOCK);
    check(&valid, 4).unwrap();
    let first = Err(CertificateError::Signature {
        height: valid.height,
        index: 0,
    });
    // Another chain.
    assert_eq!(valid.verify(B256::repeat_byte(1), &set(4)), first);
    // Another round, block or height.
    for forged in [
        Certificate {
            round: 4,
            ..valid.clone()
        },
        Certificate {
            block: BlockId(B256::ZERO),
            ..valid.clone()
        },
    ] {
        assert_eq!(check(&forged, 4), first);
    }
    assert!(
        check(
            &Certificate {
                height: valid.height.next(),
                ..valid.clone()
            },
            4
        )
        .is_err()
    );
    // Another set, even one of the same size.
    let others =
        lucid_chain_types::ValidatorSet::new((4..8).map(crate::support::validator).collect());
    assert_eq!(valid.verify(GENESIS, &others.unwrap()), first);
    // Other signers, or the same in another order.
    let shifted = Certificate {
        signers: SignerBitmap::new(4, [1, 2, 3]),
        ..valid.clone()
    };
    assert_eq!(
        check(&shifted, 4),
        Err(CertificateError::Signature {
            height: valid.height,
            index: 1
        })
    );
    let mut swapped = valid;
    swapped.signatures.swap(0, 1);
    assert_eq!(check(&swapped, 4), first);
}

#[test]
fn votes_that_are_no_precommits_for_the_block_prove_nothing() {
    let valid = certificate(4, &[0, 1, 2], 7, 3, BLOCK);
    for change in [
        |vote| Vote {
            block: None,
            ..vote
        },
        |vote| Vote {
            kind: VoteKind::Prevote,
            ..vote
        },
        |vote| Vote { round: 2, ..vote },
    ] {
        let mut forged = valid.clone();
        forged.signatures[2] = sign(2, GENESIS, &change(precommit(2, 7, 3, BLOCK)));
        assert_eq!(
            check(&forged, 4),
            Err(CertificateError::Signature {
                height: valid.height,
                index: 2
            })
        );
    }
}

/// The same signature with `s + L` in place of `s` satisfies the equation too: strict checking refuses it.
#[test]
fn signatures_cannot_be_altered_into_others_that_pass() {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut forged = certificate(4, &[0, 1, 2], 7, 3, BLOCK);
    let Signature(bytes) = &mut forged.signatures[0];
    let mut carry = 0u16;
    for (byte, add) in bytes[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert!(matches!(
        check(&forged, 4),
        Err(CertificateError::Signature { index: 0, .. })
    ));
    // A key and signature of small order would pass for every message.
    assert!(!lucid_chain_types::verify(
        B256::with_last_byte(0),
        b"any",
        &Signature([0; 64])
    ));
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(!lucid_chain_types::verify(
        B256::new(identity),
        b"any",
        &Signature(signature)
    ));
}

#[test]
fn the_largest_certificate_fits_its_bound() {
    let all: Vec<usize> = (0..lucid_chain_types::MAX_VALIDATORS).collect();
    let largest = certificate(all.len(), &all, u64::MAX, u32::MAX, BLOCK);
    let bytes = borsh::to_vec(&largest).unwrap();
    assert_eq!(bytes.len(), Certificate::MAX_BYTES);
    check(&Certificate::decode(&bytes).unwrap(), all.len()).unwrap();
}

proptest! {
    #[test]
    fn a_bitmap_holds_the_signers_it_was_made_of(
        total in 1usize..=100, picks in proptest::collection::btree_set(0usize..100, 0..100),
    ) {
        let picks: Vec<usize> = picks.into_iter().filter(|pick| *pick < total).collect();
        let bitmap = SignerBitmap::new(total, picks.iter().rev().copied());
        prop_assert_eq!(bitmap.signers().collect::<Vec<_>>(), picks);
    }
}

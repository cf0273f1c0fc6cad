//! The VRF: the vectors of the RFC, and nothing but the one proof passes.

use alloy_primitives::B256;
use data_encoding::HEXLOWER;
use lucid_poot::vrf::{VrfSecret, prove, verify};
use proptest::prelude::*;

/// RFC 9381 appendix B.3, examples 16 to 18: secret key, public key, alpha, pi, beta.
const RFC: [[&str; 5]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
        "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
        "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
        "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
    ],
];

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

#[test]
fn the_rfcs_vectors_are_met() {
    for [secret, public, alpha, pi, beta] in RFC {
        let secret = VrfSecret::from_seed(&bytes(secret).try_into().unwrap());
        assert_eq!(secret.public(), B256::from_slice(&bytes(public)));
        let proof = secret.prove(&bytes(alpha));
        assert_eq!(HEXLOWER.encode(&proof), pi);
        assert_eq!(prove(&secret, &bytes(alpha)), proof);
        let random = verify(secret.public(), &bytes(alpha), &proof);
        assert_eq!(random, Some(B256::from_slice(&bytes(beta)[..32])));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let secret = VrfSecret::from_seed(&[7; 32]);
    let (input, proof) = (b"input".to_vec(), secret.prove(b"input"));
    assert!(verify(secret.public(), &input, &proof).is_some());
    for bit in 0..proof.len() * 8 {
        let mut flipped = proof;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verify(secret.public(), &input, &flipped),
            None,
            "bit {bit} of the proof"
        );
    }
    for bit in 0..256 {
        let mut key = secret.public();
        key[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify(key, &input, &proof), None, "bit {bit} of the key");
    }
    for bit in 0..input.len() * 8 {
        let mut flipped = input.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verify(secret.public(), &flipped, &proof),
            None,
            "bit {bit} of the input"
        );
    }
    assert_eq!(
        verify(VrfSecret::from_seed(&[8; 32]).public(), &input, &proof),
        None
    );
}

/// `s + q` satisfies the same equation (RFC 9381 section 5.4.4 step 8).
#[test]
fn a_proof_has_one_encoding() {
    const Q: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let secret = VrfSecret::from_seed(&[7; 32]);
    let mut proof = secret.prove(b"input");
    let mut carry = 0u16;
    for (byte, add) in proof[48..].iter_mut().zip(Q) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(verify(secret.public(), b"input", &proof), None);
}

#[test]
fn keys_without_a_secret_are_refused() {
    let proof = VrfSecret::from_seed(&[7; 32]).prove(b"input");
    let point = |low: u8, high: u8, sign: u8| {
        let mut key = [if high == 0 { 0 } else { 0xff }; 32];
        (key[0], key[31]) = (low, high | sign);
        B256::new(key)
    };
    for sign in [0, 0x80] {
        // y = 1, 0 and -1: of small order; y = p, p + 1 …: other encodings of small numbers.
        for low in 0..=1 {
            assert_eq!(verify(point(low, 0, sign), b"input", &proof), None);
        }
        for low in 0xec..=0xff {
            assert_eq!(verify(point(low, 0x7f, sign), b"input", &proof), None);
        }
    }
    assert_eq!(verify(B256::ZERO, b"", &[0; 80]), None);
    assert_eq!(
        verify(VrfSecret::from_seed(&[7; 32]).public(), b"", &[0; 80]),
        None
    );
}

#[test]
fn a_secret_is_not_shown() {
    let text = format!("{:?}", VrfSecret::from_seed(&[0xab; 32]));
    assert!(
        !text.contains("171") && !text.contains("abababab"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn who_has_the_key_proves_and_all_others_check(
        seed in any::<[u8; 32]>(), input in proptest::collection::vec(any::<u8>(), 0..100), other in any::<[u8; 32]>(),
    ) {
        let secret = VrfSecret::from_seed(&seed);
        let proof = secret.prove(&input);
        prop_assert_eq!(secret.prove(&input), proof, "one input has one proof");
        let random = verify(secret.public(), &input, &proof);
        prop_assert!(random.is_some());
        let other = VrfSecret::from_seed(&other);
        prop_assert_ne!(verify(other.public(), &input, &other.prove(&input)), random);
    }

    #[test]
    fn junk_is_refused(key in any::<[u8; 32]>(), halves in any::<([u8; 32], [u8; 32], [u8; 16])>()) {
        let proof: Vec<u8> = [&halves.0[..], &halves.1, &halves.2].concat();
        prop_assert_eq!(verify(B256::new(key), b"input", &proof.try_into().unwrap()), None);
    }
}

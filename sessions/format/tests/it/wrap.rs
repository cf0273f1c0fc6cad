//! A wrapped seed opens for its recipients and for nobody else.

use lucid_format::{
    ErrorKind, MAX_RECIPIENTS, PublicKeys, SecretKeys, SessionId, SessionSeed, Wrap, open_wraps,
    wrap_seed,
};

use crate::support::TestRng;

const SESSION: SessionId = SessionId([6; 16]);
const WRAP: usize = 32 + 1120 + 48;

fn keys(name: &str) -> SecretKeys {
    SecretKeys::generate(name, &mut TestRng::new(name)).unwrap()
}

fn seed() -> SessionSeed {
    SessionSeed::from_bytes(&[0x5e; 32])
}

fn wraps(to: &[&SecretKeys]) -> Vec<Wrap> {
    let to: Vec<PublicKeys> = to.iter().map(|k| k.public()).collect();
    wrap_seed(&seed(), SESSION, &to, &mut TestRng::new("wrap")).unwrap()
}

/// The wraps as bytes, changed, and read again.
fn edited(wraps: &[Wrap], edit: impl FnOnce(&mut [u8])) -> Vec<Wrap> {
    let mut bytes = borsh::to_vec(&wraps).unwrap();
    assert_eq!(bytes.len(), 4 + wraps.len() * WRAP);
    edit(&mut bytes[4..]);
    borsh::from_slice(&bytes).unwrap()
}

#[test]
fn each_recipient_opens_and_others_do_not() {
    let (a, b, other) = (keys("a"), keys("b"), keys("other"));
    let wraps = wraps(&[&a, &b]);
    for recipient in [&a, &b] {
        let opened = open_wraps(&wraps, SESSION, recipient).unwrap();
        assert_eq!(*opened.bytes(), *seed().bytes());
    }
    let error = open_wraps(&wraps, SESSION, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKey);
    assert_eq!(
        error.to_string(),
        format!(
            "the recording is not sealed to key {}, but to {}, {}",
            other.public().id(),
            a.public().id(),
            b.public().id()
        )
    );
    let error = open_wraps(&[], SESSION, &a).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("but to nobody: its keys were destroyed"),
        "{error}"
    );
}

#[test]
fn a_wrap_belongs_to_its_recipient_and_its_session() {
    let (a, b) = (keys("a"), keys("b"));
    let good = wraps(&[&a, &b]);
    let refused = |wraps: &[Wrap], session| {
        for recipient in [&a, &b] {
            let error = open_wraps(wraps, session, recipient).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongKey, "{error}");
        }
    };
    refused(&good, SessionId([7; 16]));
    // The secrets swapped under the names.
    refused(
        &edited(&good, |bytes| {
            let (first, second) = bytes.split_at_mut(WRAP);
            first[32..].swap_with_slice(&mut second[32..]);
        }),
        SESSION,
    );
    // Only the sealed seeds swapped.
    refused(
        &edited(&good, |bytes| {
            let (first, second) = bytes.split_at_mut(WRAP);
            first[1152..].swap_with_slice(&mut second[1152..]);
        }),
        SESSION,
    );
}

#[test]
fn a_changed_wrap_is_refused_wherever_it_was_changed() {
    let a = keys("a");
    let good = wraps(&[&a]);
    for byte in [32, 33, 500, 1119, 1120, 1151, 1152, 1183, 1184, 1199] {
        let bad = edited(&good, |bytes| bytes[byte] ^= 1);
        let error = open_wraps(&bad, SESSION, &a).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey, "byte {byte}");
        assert_eq!(
            error.to_string(),
            format!(
                "the wrap for recipient {}: this key does not open it",
                a.public().id()
            )
        );
    }
}

#[test]
fn there_is_at_least_one_recipient_and_at_most_64() {
    let a = keys("a").public();
    for count in [0, MAX_RECIPIENTS + 1] {
        let to = vec![a.clone(); count];
        let error = wrap_seed(&seed(), SESSION, &to, &mut TestRng::new("w")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the list of recipients does not decode: a session has 1 to 64 recipients, not {count}"
            )
        );
    }
}

#[test]
fn what_is_no_key_is_refused_before_it_is_wrapped_to() {
    let mut keys = keys("a").public();
    keys.hpke.truncate(100);
    let error = wrap_seed(&seed(), SESSION, &[keys], &mut TestRng::new("w")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(
        error.to_string().starts_with("a recipient's key"),
        "{error}"
    );
}

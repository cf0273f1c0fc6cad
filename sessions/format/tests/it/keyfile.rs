//! Key files open with their passphrase and say what is wrong when they do not.

use data_encoding::BASE64URL_NOPAD;
use lucid_format::{ErrorKind, KdfCost, PublicKeys, SecretKeys};
use proptest::prelude::*;

use crate::support::TestRng;

const CHEAP: KdfCost = KdfCost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};

fn keys() -> SecretKeys {
    SecretKeys::generate("auditor", &mut TestRng::new("keyfile")).unwrap()
}

fn file() -> String {
    keys()
        .to_text("correct horse", CHEAP, &mut TestRng::new("file"))
        .unwrap()
}

/// The file with other bytes in its third word.
fn with_body(edit: impl FnOnce(&mut Vec<u8>)) -> String {
    let file = file();
    let words: Vec<&str> = file.split_whitespace().collect();
    let mut body = BASE64URL_NOPAD.decode(words[2].as_bytes()).unwrap();
    edit(&mut body);
    format!(
        "{} {} {}\n",
        words[0],
        words[1],
        BASE64URL_NOPAD.encode(&body)
    )
}

#[test]
fn a_secret_key_goes_round_at_the_cost_that_new_files_get() {
    let text = keys()
        .to_text("passphrase", KdfCost::DEFAULT, &mut TestRng::new("cost"))
        .unwrap();
    let opened = SecretKeys::from_text(&text, "passphrase").unwrap();
    assert_eq!(opened.public(), keys().public());
    assert_eq!(*opened.signing().secret(), *keys().signing().secret());
    assert!(text.ends_with('\n') && text.lines().count() == 1);
}

#[test]
fn a_public_key_goes_round() {
    let public = keys().public();
    let text = public.to_text();
    assert!(text.starts_with("lucid-public-key-1 auditor "), "{text}");
    assert_eq!(PublicKeys::from_text(&text).unwrap(), public);
    assert_eq!(PublicKeys::from_text(text.trim()).unwrap(), public);
    let renamed = PublicKeys {
        name: "other".into(),
        ..public.clone()
    };
    assert_eq!(renamed.id(), public.id(), "the name is not part of the id");
}

#[test]
fn a_wrong_passphrase_is_said_to_be_one() {
    for passphrase in ["", "correct hors", "Correct horse", "correct horse "] {
        let error = SecretKeys::from_text(&file(), passphrase).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        assert_eq!(
            error.to_string(),
            "key file 'auditor': wrong passphrase, or the file was changed: this key does not open it"
        );
    }
}

#[test]
fn each_word_of_a_key_file_matters() {
    let open = |text: &str| SecretKeys::from_text(text, "correct horse");
    assert!(open(&file()).is_ok());
    let other_label = file().replace("lucid-secret-key-1", "lucid-secret-key-2");
    assert_eq!(
        open(&other_label).unwrap_err().to_string(),
        "this is not a secret key file: it starts with other bytes"
    );
    let public = keys().public().to_text();
    assert!(
        open(&public)
            .unwrap_err()
            .to_string()
            .contains("is not a secret key file")
    );
    // The name is associated data.
    let renamed = file().replace(" auditor ", " auditor2 ");
    assert_eq!(open(&renamed).unwrap_err().kind(), ErrorKind::WrongKey);
    for name in ["a/b", "", "ä", &"x".repeat(65)] {
        let renamed = file().replace(" auditor ", &format!(" {name} "));
        assert_eq!(open(&renamed).unwrap_err().kind(), ErrorKind::Malformed);
    }
    let length = 12 + 16 + 19 + 48;
    for byte in 0..length {
        let changed = with_body(|body| {
            assert_eq!(body.len(), length);
            body[byte] ^= 1;
        });
        let error = open(&changed).unwrap_err();
        let expected = if byte < 12 {
            matches!(error.kind(), ErrorKind::WrongKey | ErrorKind::Malformed)
        } else {
            error.kind() == ErrorKind::WrongKey
        };
        assert!(expected, "byte {byte}: {error}");
    }
    for text in [
        with_body(|body| body.truncate(length - 1)),
        with_body(|body| body.push(0)),
        file().replace('\n', " more"),
        file().replace('\n', "="),
        "lucid-secret-key-1".into(),
        "lucid-secret-key-1 auditor".into(),
    ] {
        assert_eq!(open(&text).unwrap_err().kind(), ErrorKind::Malformed);
    }
    assert_eq!(
        open("").unwrap_err().to_string(),
        "this is not a secret key file: it starts with other bytes"
    );
}

#[test]
fn a_file_that_asks_for_more_work_than_the_bound_is_refused_unread() {
    let asks = |field: usize, value: u32| {
        let text = with_body(|body| {
            body[4 * field..4 * field + 4].copy_from_slice(&value.to_le_bytes());
        });
        SecretKeys::from_text(&text, "correct horse").unwrap_err()
    };
    assert_eq!(
        asks(0, u32::MAX).to_string(),
        "the key file's work factor claims 4294967295, and the bound is 524288: refused unread"
    );
    assert_eq!(
        asks(1, 17).to_string(),
        "the key file's work factor claims 17, and the bound is 16: refused unread"
    );
    assert_eq!(
        asks(2, 5).to_string(),
        "the key file's work factor claims 5, and the bound is 4: refused unread"
    );
    for field in 0..3 {
        assert_eq!(asks(field, 0).kind(), ErrorKind::Malformed);
    }
    let cost = KdfCost {
        passes: 17,
        ..CHEAP
    };
    assert!(keys().to_text("p", cost, &mut TestRng::new("c")).is_err());
}

#[test]
fn a_long_file_is_refused_unread() {
    let text = "x".repeat((8 << 10) + 1);
    for error in [
        SecretKeys::from_text(&text, "").unwrap_err(),
        PublicKeys::from_text(&text).unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .ends_with("claims 8193, and the bound is 8192: refused unread"),
            "{error}"
        );
    }
}

#[test]
fn names_are_plain_words() {
    for name in ["", "a b", "a\n", "é", "a/b", &"x".repeat(65)] {
        assert!(SecretKeys::generate(name, &mut TestRng::new("n")).is_err());
    }
    for name in ["a", "A-1_b.c", &"x".repeat(64)] {
        assert!(SecretKeys::generate(name, &mut TestRng::new("n")).is_ok());
    }
}

#[test]
fn secret_keys_are_not_printed() {
    assert_eq!(format!("{:?}", keys()), "SecretKeys(auditor, redacted)");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in ".{0,200}") {
        prop_assert!(SecretKeys::from_text(&text, "p").is_err());
        prop_assert!(PublicKeys::from_text(&text).is_err());
    }

    #[test]
    fn any_public_key_is_read_or_refused(seed in any::<u64>(), len in 1240..1256usize) {
        let body = TestRng::new(&seed.to_string()).bytes(len);
        let read = PublicKeys::from_text(&format!("lucid-public-key-1 x {}", BASE64URL_NOPAD.encode(&body)));
        prop_assert!(len == 1248 || read.is_err());
        // Keys that are no keys on their curve may be read, but wrapping to them must not panic.
        if let Ok(keys) = read {
            let seed = lucid_format::SessionSeed::from_bytes(&[0; 32]);
            let _ = lucid_format::wrap_seed(&seed, lucid_format::SessionId([0; 16]), &[keys], &mut TestRng::new("w"));
        }
    }
}

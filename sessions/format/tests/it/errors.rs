//! What users read, and the families that become exit codes.

use lucid_format::{ErrorKind, FormatError, Hash, SessionId};

#[test]
fn each_family_has_its_words_and_its_kind() {
    let cases = [
        (
            FormatError::Truncated {
                what: "a chunk",
                need: 126,
                have: 7,
            },
            ErrorKind::Truncated,
            "a chunk is cut short: 126 bytes needed, 7 there; fetch the file again from where it came",
        ),
        (
            FormatError::NotLucid {
                what: "a Lucid recording",
            },
            ErrorKind::Malformed,
            "this is not a Lucid recording: it starts with other bytes",
        ),
        (
            FormatError::Version {
                what: "the head",
                found: 2,
                known: 1,
            },
            ErrorKind::Version,
            "the head has version 2, and this program reads version 1: use a newer lucid",
        ),
        (
            FormatError::TooLarge {
                what: "the index",
                value: 9,
                bound: 8,
            },
            ErrorKind::Malformed,
            "the index claims 9, and the bound is 8: refused unread",
        ),
        (
            FormatError::Malformed {
                what: "a marker",
                why: "unexpected end".into(),
            },
            ErrorKind::Malformed,
            "a marker does not decode: unexpected end",
        ),
        (
            FormatError::Tampered {
                what: "chunk 3".into(),
                why: "it was sealed after another chunk".into(),
            },
            ErrorKind::Tampered,
            "chunk 3 was changed: it was sealed after another chunk",
        ),
        (
            FormatError::Signature {
                what: "the manifest",
            },
            ErrorKind::Tampered,
            "the signature of the manifest does not verify: it was changed or signed by another key",
        ),
        (
            FormatError::WrongKey {
                what: "chunk 0".into(),
            },
            ErrorKind::WrongKey,
            "chunk 0: this key does not open it",
        ),
        (
            FormatError::NoKey {
                why: "the key does not reach chunk 4".into(),
            },
            ErrorKind::NoKey,
            "the key does not reach chunk 4",
        ),
        (
            FormatError::WriterBound {
                what: "a chunk",
                bound: 5,
            },
            ErrorKind::Malformed,
            "a chunk would exceed its bound of 5",
        ),
        (
            FormatError::Io {
                what: "writing the recording",
                why: "no storage space".into(),
            },
            ErrorKind::Io,
            "writing the recording: no storage space",
        ),
    ];
    for (error, kind, words) in cases {
        assert_eq!(error.to_string(), words);
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn ids_and_hashes_are_read_as_they_are_written() {
    let id = SessionId([0xa5; 16]);
    assert_eq!(id.to_string(), "uws2ljnfuws2ljnfuws2ljnfuu");
    assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
    for text in [
        "",
        "UWS2LJNFUWS2LJNFUWS2LJNFUU",
        "uws2ljnfuws2ljnfuws2ljnfuv",
        "uws2",
        "uws2ljnfuws2ljnfuws2ljnf1u",
    ] {
        assert_eq!(
            text.parse::<SessionId>().unwrap_err().to_string(),
            format!(
                "a session id does not decode: '{text}' is not 26 lower-case base32 characters (a-z, 2-7)"
            )
        );
    }
    let hash = Hash([0xc3; 32]);
    assert_eq!(Hash::from_hex(&hash.to_hex()).unwrap(), hash);
    for text in ["", "c3", &"C3".repeat(32), &"g0".repeat(32)] {
        assert_eq!(
            Hash::from_hex(text).unwrap_err().kind(),
            ErrorKind::Malformed
        );
    }
}

//! A disclosure shows its range, proves where it belongs, and opens nothing else.

use std::io::Cursor;

use lucid_format::{
    ChunkView, Disclosed, ErrorKind, FileKind, FormatError, Hash, InnerKey, Keypair, Recording,
    SessionId, SigDomain, Signed,
};

use crate::support::{
    Owned, Scene, Section, TestRng, assemble, check, check_with, records_of, scene,
};

/// The sections of a disclosure made of any statement, proof and chunks.
fn sections(scene: &Scene, statement: Vec<u8>, proof: &[Hash], chunks: &[Vec<u8>]) -> Vec<Section> {
    let mut sections = vec![
        (*b"HEAD", scene.head.bytes().to_vec()),
        (*b"KEYS", statement),
        (*b"PROF", borsh::to_vec(&proof).unwrap()),
    ];
    sections.extend(chunks.iter().map(|c| (*b"CHNK", c.clone())));
    sections.push((*b"MANI", scene.manifest.bytes().to_vec()));
    sections
}

fn signed(scene: &Scene, statement: &Disclosed) -> Vec<u8> {
    statement.sign(&scene.auditor.signing()).unwrap()
}

#[test]
fn every_range_of_a_session_can_be_disclosed() {
    let scene = scene("ranges", 7);
    for first in 0..7 {
        for last in first..7 {
            let file = scene.disclosure(first, last);
            let mut recording = Recording::open(Cursor::new(&file)).unwrap();
            let disclosed = recording.disclosed.clone().unwrap();
            let proven = check_with(&file, &disclosed.source()).unwrap();
            assert_eq!(proven.chunks, last - first + 1);
            assert_eq!((proven.of, proven.complete), (7, false));
            assert!(recording.wraps.is_none());
            for index in 0..7 {
                let key = disclosed.source().chunk_key(index);
                assert_eq!(key.is_some(), (first..=last).contains(&index));
            }
            let bytes = recording.chunk(0).unwrap();
            let view = ChunkView::parse(&bytes, false).unwrap();
            let plain = view
                .open(&disclosed.source().chunk_key(first).unwrap())
                .unwrap();
            let read: Vec<Owned> = view.records(&plain).map(|r| r.unwrap().into()).collect();
            assert_eq!(read, records_of(first));
        }
    }
}

#[test]
fn the_crates_writer_makes_what_the_specification_says() {
    let scene = scene("layout", 5);
    let sections = sections(
        &scene,
        signed(&scene, &scene.statement(1, 3)),
        &scene.proof(1, 3),
        &scene.chunks[1..=3],
    );
    assert_eq!(
        scene.disclosure(1, 3),
        assemble(FileKind::Disclosure, 1, &sections, |_| ())
    );
}

#[test]
fn disclosed_keys_open_no_other_chunk() {
    let scene = scene("others", 6);
    let source = scene.statement(2, 3).source();
    let error = check_with(&scene.file(), &source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKey);
    // The bytes of the file hold no key but those, and no wrap.
    let file = scene.disclosure(2, 3);
    let seed = scene.seed.bytes();
    assert!(!file.windows(32).any(|w| w == seed.as_slice()));
    for index in [0, 1, 4, 5] {
        let cover = scene.keys().cover(index, index).unwrap();
        assert!(!file.windows(32).any(|w| w == cover[0].key));
    }
}

#[test]
fn another_range_than_the_proof_is_for_is_refused() {
    let s = scene("forged", 8);
    let build = |first: u32, statement: Disclosed, proof: &[Hash], chunks: &[Vec<u8>]| {
        let sections = sections(&s, signed(&s, &statement), proof, chunks);
        check(&assemble(FileKind::Disclosure, first, &sections, |_| ()))
    };
    assert!(build(2, s.statement(2, 4), &s.proof(2, 4), &s.chunks[2..=4]).is_ok());
    for (what, result) in [
        (
            "moved",
            build(3, s.statement(3, 5), &s.proof(2, 4), &s.chunks[2..=4]),
        ),
        (
            "another chunk",
            build(2, s.statement(2, 4), &s.proof(2, 4), &s.chunks[3..=5]),
        ),
        (
            "a chunk less",
            build(2, s.statement(2, 4), &s.proof(2, 4), &s.chunks[2..=3]),
        ),
        (
            "a chunk more",
            build(2, s.statement(2, 4), &s.proof(2, 4), &s.chunks[2..=5]),
        ),
        ("no chunk", build(2, s.statement(2, 4), &s.proof(2, 4), &[])),
        (
            "index says another first",
            build(3, s.statement(2, 4), &s.proof(2, 4), &s.chunks[2..=4]),
        ),
        (
            "shorter proof",
            build(2, s.statement(2, 4), &s.proof(2, 4)[1..], &s.chunks[2..=4]),
        ),
        (
            "no proof",
            build(2, s.statement(2, 4), &[], &s.chunks[2..=4]),
        ),
        (
            "repeated",
            build(
                2,
                s.statement(2, 4),
                &s.proof(2, 4),
                &[
                    s.chunks[2].clone(),
                    s.chunks[2].clone(),
                    s.chunks[4].clone(),
                ],
            ),
        ),
    ] {
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Tampered, "{what}: {error}");
    }
}

#[test]
fn the_last_position_there_could_be_does_not_overflow() {
    let s = scene("edge", 2);
    for first in [u32::MAX, u32::MAX - 1, 2] {
        let statement = s.statement(first, first);
        let sections = sections(&s, signed(&s, &statement), &s.proof(0, 0), &s.chunks[..1]);
        let error = check(&assemble(FileKind::Disclosure, first, &sections, |_| ())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the recording was changed: 1 chunks from position {first} are there and the signed manifest says 2"
            )
        );
    }
}

/// Inside the range every chunk names the one before it; the first names one that is not there, and only chunk 0 names
/// the head.
#[test]
fn chunks_inside_the_range_are_linked() {
    let s = scene("linked", 6);
    let place = crate::support::place(s.id, 3, Hash([1; 32]), 30_000_000);
    let key = s.keys().chunk_key(3).unwrap();
    let unlinked = crate::support::chunk(
        place,
        &key,
        &records_of(3),
        39_000_000,
        true,
        &mut TestRng::new("u"),
    );
    let mut forged = s.clone();
    forged.chunks[3] = unlinked;
    // Whoever holds the session's key signs it; the link still shows that another chunk was sealed before.
    forged.manifest = crate::support::manifest(
        &s.head,
        &forged.chunks,
        lucid_format::Ending::Closed,
        &s.session_key,
    );
    assert!(
        check(&forged.disclosure(3, 3)).is_ok(),
        "chunk 2 is not there to compare with"
    );
    assert_eq!(
        check(&forged.disclosure(2, 3)).unwrap_err().to_string(),
        "chunk 3 was changed: it was sealed after another chunk"
    );
    let mut headless = s.clone();
    let place = crate::support::place(s.id, 0, Hash([1; 32]), 0);
    let key = s.keys().chunk_key(0).unwrap();
    headless.chunks[0] = crate::support::chunk(
        place,
        &key,
        &records_of(0),
        9_000_000,
        true,
        &mut TestRng::new("h"),
    );
    headless.manifest = crate::support::manifest(
        &s.head,
        &headless.chunks,
        lucid_format::Ending::Closed,
        &s.session_key,
    );
    assert!(check(&headless.disclosure(0, 0)).is_err());
}

#[test]
fn a_statement_is_signed_and_its_keys_are_the_cover_of_its_range() {
    let s = scene("statement", 8);
    let stranger = Keypair::from_secret(&[4; 32]);
    let good = s.statement(1, 4);
    assert_eq!(Disclosed::decode(&signed(&s, &good)).unwrap(), good);
    assert_eq!(
        good.sign(&stranger).unwrap_err().to_string(),
        "signing the disclosure: this key does not open it"
    );
    let forged = Signed::new(
        &stranger,
        SigDomain::Disclosure,
        borsh::to_vec(&good).unwrap(),
    );
    assert!(matches!(
        Disclosed::decode(&borsh::to_vec(&forged).unwrap()),
        Err(FormatError::Signature {
            what: "the disclosure"
        })
    ));

    let refused = |edit: &dyn Fn(&mut Disclosed)| {
        let mut statement = good.clone();
        edit(&mut statement);
        Disclosed::decode(&signed(&s, &statement))
            .unwrap_err()
            .to_string()
    };
    let inner = |level, prefix| InnerKey {
        level,
        prefix,
        key: [0; 32],
    };
    for edit in [
        (|d: &mut Disclosed| d.last += 1) as fn(&mut Disclosed),
        |d| d.last = 0,
        |d| d.first = 0,
        |d| drop(d.keys.pop()),
        |d| d.keys.clear(),
        |d| d.keys.reverse(),
        |d| d.keys.push(d.keys[0].clone()),
    ] {
        assert_eq!(
            refused(&edit),
            "the disclosure does not decode: its keys are not the cover of its range"
        );
    }
    // As many leaves as the range has, but the wrong ones; and the right ones, but not the fewest keys.
    let range = |first, last, keys: Vec<InnerKey>| {
        refused(&move |d: &mut Disclosed| {
            (d.first, d.last, d.keys) = (first, last, keys.clone());
        })
    };
    assert!(range(0, 3, vec![inner(31, 0), inner(31, 0)]).ends_with("not the cover of its range"));
    assert!(range(0, 1, vec![inner(32, 0), inner(32, 1)]).ends_with("not the cover of its range"));
    // More than the range, and nodes that are no nodes.
    for key in [
        inner(0, 0),
        inner(33, 0),
        inner(255, 1),
        inner(32, 9),
        inner(3, 8),
        inner(0, 1),
    ] {
        let words = refused(&|d: &mut Disclosed| d.keys.push(key.clone()));
        assert!(words.ends_with("not the cover of its range"), "{words}");
    }
    assert_eq!(
        refused(&|d: &mut Disclosed| d.keys = vec![inner(32, 0); 63]),
        "the number of disclosed keys claims 63, and the bound is 62: refused unread"
    );
    assert_eq!(
        refused(&|d: &mut Disclosed| d.version = 2),
        "the disclosure has version 2, and this program reads version 1: use a newer lucid"
    );
}

#[test]
fn a_statement_about_another_session_is_refused() {
    let s = scene("session", 4);
    let statement = Disclosed {
        session: SessionId([0; 16]),
        ..s.statement(1, 2)
    };
    let sections = sections(&s, signed(&s, &statement), &s.proof(1, 2), &s.chunks[1..=2]);
    assert_eq!(
        check(&assemble(FileKind::Disclosure, 1, &sections, |_| ()))
            .unwrap_err()
            .to_string(),
        "the disclosure was changed: it is of another session"
    );
}

/// The cover is well formed, its keys are lies: verifying without them cannot know, opening tells.
#[test]
fn keys_that_are_not_the_sessions_do_not_open() {
    let (s, other) = (scene("true", 4), scene("false", 4));
    let statement = Disclosed {
        keys: other.statement(1, 2).keys,
        ..s.statement(1, 2)
    };
    let sections = sections(&s, signed(&s, &statement), &s.proof(1, 2), &s.chunks[1..=2]);
    let file = assemble(FileKind::Disclosure, 1, &sections, |_| ());
    assert!(check(&file).is_ok());
    let error = check_with(&file, &statement.source()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
}

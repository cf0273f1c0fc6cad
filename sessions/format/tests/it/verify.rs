//! Nothing of a session can be swapped, dropped, repeated, truncated, extended or spliced in unnoticed.

use lucid_format::{
    Checkpoint, ChunkView, Ending, ErrorKind, FileKind, FormatError, Hash, Head, Keypair, Manifest,
    RecordingWriter, SessionId, SigDomain, Signed, SignedHead, SignedManifest, Ticket, merkle,
    valid_prefix,
};

use crate::support::{
    Scene, TestRng, assemble, check, check_with, chunk, manifest, manifest_body, place, records_of,
    scene,
};

/// The file of `scene` with other chunks under the same manifest.
fn with_chunks(scene: &Scene, chunks: &[&Vec<u8>]) -> Result<lucid_format::Proven, FormatError> {
    let mut scene = scene.clone();
    scene.chunks = chunks.iter().map(|c| (*c).clone()).collect();
    check(&scene.file())
}

/// The same, by somebody who holds the session's key and signs a manifest that fits: what the chunks' own links refuse.
fn resigned(scene: &Scene, chunks: &[&Vec<u8>]) -> Result<lucid_format::Proven, FormatError> {
    let mut scene = scene.clone();
    scene.chunks = chunks.iter().map(|c| (*c).clone()).collect();
    scene.manifest = manifest(
        &scene.head,
        &scene.chunks,
        Ending::Closed,
        &scene.session_key,
    );
    check(&scene.file())
}

fn tampered(result: Result<lucid_format::Proven, FormatError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tampered, "{error}");
    error.to_string()
}

const WRONG_ROOT: &str =
    "the recording was changed: its chunks do not lead to the signed Merkle root";

#[test]
fn a_good_recording_proves_everything() {
    let scene = scene("good", 4);
    let proven = check(&scene.file()).unwrap();
    assert_eq!((proven.chunks, proven.of, proven.records), (4, 4, 0));
    assert!(proven.complete && !proven.opened);
    assert_eq!(
        proven.bytes,
        scene.chunks.iter().map(|c| c.len() as u64).sum::<u64>()
    );
    let proven = check_with(&scene.file(), &scene.keys()).unwrap();
    assert_eq!((proven.records, proven.opened), (16, true));

    let mut seen = Vec::new();
    let mut progress = |done, all, bytes| seen.push((done, all, bytes));
    let mut recording = lucid_format::Recording::open(std::io::Cursor::new(scene.file())).unwrap();
    let options = lucid_format::VerifyOptions {
        keys: None,
        progress: Some(&mut progress),
    };
    lucid_format::verify(&mut recording, options).unwrap();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[3], (4, 4, proven.bytes));
}

#[test]
fn a_session_without_any_chunk_verifies() {
    let proven = check(&scene("nothing", 0).file()).unwrap();
    assert_eq!((proven.chunks, proven.complete), (0, true));
}

#[test]
fn swapping_chunks_is_detected() {
    let s = scene("swap", 4);
    let [a, b, c, d] = &s.chunks[..] else {
        panic!()
    };
    assert_eq!(tampered(with_chunks(&s, &[a, c, b, d])), WRONG_ROOT);
    assert_eq!(
        tampered(resigned(&s, &[a, c, b, d])),
        "chunk 1 was changed: it was chunk 2 when it was sealed"
    );
}

#[test]
fn dropping_chunks_is_detected() {
    let s = scene("drop", 4);
    let [a, b, c, d] = &s.chunks[..] else {
        panic!()
    };
    for chunks in [&[b, c, d][..], &[a, c, d], &[]] {
        let words = tampered(with_chunks(&s, chunks));
        assert!(words.contains("and the signed manifest says 4"), "{words}");
    }
    assert_eq!(
        tampered(resigned(&s, &[a, c, d])),
        "chunk 1 was changed: it was chunk 2 when it was sealed"
    );
}

#[test]
fn truncating_the_session_is_detected() {
    let s = scene("truncate", 4);
    let [a, b, c, _] = &s.chunks[..] else {
        panic!()
    };
    assert_eq!(
        tampered(with_chunks(&s, &[a, b, c])),
        "the recording was changed: 3 chunks are there and the signed manifest says 4"
    );
    // A chunk cut at the border of a segment is whole to look at.
    let cut = {
        let (end, _) = valid_prefix(&s.chunks[3][..s.chunks[3].len() - 1]);
        s.chunks[3][..end].to_vec()
    };
    assert!(with_chunks(&s, &[a, b, c, &cut]).is_err());
    assert_eq!(
        resigned(&s, &[a, b, c, &cut]).unwrap_err().kind(),
        ErrorKind::Truncated,
        "a closed session has no torn chunk"
    );
}

#[test]
fn repeating_a_chunk_is_detected() {
    let s = scene("repeat", 3);
    let [a, b, c] = &s.chunks[..] else { panic!() };
    assert_eq!(
        tampered(with_chunks(&s, &[a, b, b, c])),
        "the recording was changed: 4 chunks from position 0 are there and the signed manifest says 3"
    );
    tampered(with_chunks(&s, &[a, b, b]));
    assert_eq!(
        tampered(resigned(&s, &[a, b, b, c])),
        "chunk 2 was changed: it was chunk 1 when it was sealed"
    );
}

#[test]
fn extending_the_session_is_detected() {
    let s = scene("extend", 3);
    let longer = scene("extend", 4);
    // The fourth chunk is a true one of the same session: only the manifest says that it is not part of this end.
    assert_eq!(s.chunks[2], longer.chunks[2]);
    let all: Vec<&Vec<u8>> = longer.chunks.iter().collect();
    assert_eq!(
        tampered(with_chunks(&s, &all)),
        "the recording was changed: 4 chunks from position 0 are there and the signed manifest says 3"
    );
}

#[test]
fn a_chunk_of_another_session_is_detected_even_under_the_same_keys() {
    let s = scene("splice", 3);
    let [a, b, c] = &s.chunks[..] else { panic!() };
    let key = s.keys().chunk_key(1).unwrap();
    let seal = |session, prev, start| {
        let place = place(session, 1, prev, start);
        chunk(
            place,
            &key,
            &records_of(1),
            start + 9_000_000,
            true,
            &mut TestRng::new("x"),
        )
    };
    let other = SessionId([0; 16]);
    let foreign = seal(other, Hash::of(a), 10_000_000);
    assert!(with_chunks(&s, &[a, &foreign, c]).is_err());
    assert_eq!(
        tampered(resigned(&s, &[a, &foreign, c])),
        format!("chunk 1 was changed: it is of session {other}")
    );
    // Of the same session, sealed again: the next chunk does not follow it, nor it another one before.
    let again = seal(s.id, Hash::of(a), 10_000_000);
    assert_eq!(
        tampered(resigned(&s, &[a, &again, c])),
        "chunk 2 was changed: it was sealed after another chunk"
    );
    let after_b = seal(s.id, Hash::of(b), 10_000_000);
    assert_eq!(
        tampered(resigned(&s, &[a, &after_b, c])),
        "chunk 1 was changed: it was sealed after another chunk"
    );
    // Times that overlap the chunk before.
    let early = seal(s.id, Hash::of(a), 8_999_999);
    assert_eq!(
        tampered(resigned(&s, &[a, &early, c])),
        "chunk 1 was changed: its times overlap another chunk's or lie after the end"
    );
}

#[test]
fn the_first_chunk_follows_the_head_and_no_other() {
    let s = scene("head link", 2);
    let mut other = scene("head link", 2);
    let mut head = s.head.head.clone();
    head.recorder = "another".into();
    other.head = SignedHead::sign(head, &s.session_key).unwrap();
    assert_ne!(other.head.hash, s.head.hash);
    let chunks: Vec<&Vec<u8>> = s.chunks.iter().collect();
    assert_eq!(
        tampered(resigned(&other, &chunks)),
        "chunk 0 was changed: it was sealed after another chunk"
    );
}

#[test]
fn a_rewritten_index_does_not_hide_a_new_order() {
    let s = scene("reorder", 3);
    let file = assemble(FileKind::Recording, 0, &s.sections(), |index| {
        index.chunks.swap(0, 2);
    });
    assert!(check(&file).is_err());
    let mut sections = s.sections();
    sections.swap(2, 4);
    assert_eq!(
        tampered(check(&assemble(FileKind::Recording, 0, &sections, |_| ()))),
        WRONG_ROOT
    );
    // The index claims the true addresses, the bytes are others'.
    let hashes: Vec<Hash> = s.chunks.iter().map(|c| Hash::of(c)).collect();
    let file = assemble(FileKind::Recording, 0, &sections, |index| {
        for (entry, hash) in index.chunks.iter_mut().zip(hashes) {
            entry.hash = hash;
        }
    });
    assert_eq!(
        tampered(check(&file)),
        "chunk 0 was changed: its bytes do not have the hash in the signed Merkle tree"
    );
}

#[test]
fn wraps_of_another_session_are_detected_and_destroyed_wraps_are_not_a_fault() {
    let (s, other) = (scene("wraps", 2), scene("other wraps", 2));
    let mut swapped = s.clone();
    swapped.wraps = other.wraps;
    assert_eq!(
        tampered(check(&swapped.file())),
        "the key wraps was changed: they are not those the head names"
    );
    let mut twice = s.clone();
    twice.wraps.push(s.wraps[0].clone());
    assert!(check(&twice.file()).is_err());

    let mut writer = RecordingWriter::recording(Vec::new(), &s.head, None).unwrap();
    for chunk in &s.chunks {
        writer.chunk(chunk).unwrap();
    }
    assert!(
        check(&writer.finish(&s.manifest).unwrap())
            .unwrap()
            .complete
    );
}

#[test]
fn a_head_names_the_recipients_its_wraps_are_for() {
    let s = scene("recipients", 1);
    let mut lying = s.clone();
    let mut head = s.head.head.clone();
    head.recipients[0].0[0] ^= 1;
    lying.head = SignedHead::sign(head, &s.session_key).unwrap();
    lying.manifest = manifest(&lying.head, &[], Ending::Closed, &s.session_key);
    lying.chunks.clear();
    assert!(tampered(check(&lying.file())).contains("they are not those the head names"));
}

#[test]
fn a_manifest_of_another_session_is_refused() {
    let (s, other) = (scene("mine", 2), scene("theirs", 2));
    let swap = |manifest: &SignedManifest| {
        let mut s = s.clone();
        s.manifest = manifest.clone();
        check(&s.file()).unwrap_err()
    };
    assert_eq!(
        swap(&other.manifest).to_string(),
        "the signature of the manifest does not verify: it was changed or signed by another key"
    );
    // Even one that this session's key signed.
    for edit in [
        (|m: &mut Manifest| m.session = SessionId([0; 16])) as fn(&mut Manifest),
        |m| m.head = Hash::default(),
    ] {
        let mut body = manifest_body(&s.head, &s.chunks, Ending::Closed);
        edit(&mut body);
        assert_eq!(
            SignedManifest::sign(&body, &s.head, &s.session_key)
                .unwrap_err()
                .to_string(),
            "the manifest was changed: it is of another recording"
        );
    }
    // And each number in it counts.
    for edit in [
        (|m: &mut Manifest| m.chunks += 1) as fn(&mut Manifest),
        |m| m.root = Hash::default(),
        |m| m.chunk_bytes += 1,
        |m| m.duration_us = 1,
    ] {
        let mut body = manifest_body(&s.head, &s.chunks, Ending::Closed);
        edit(&mut body);
        let signed = SignedManifest::sign(&body, &s.head, &s.session_key).unwrap();
        assert_eq!(swap(&signed).kind(), ErrorKind::Tampered);
    }
}

#[test]
fn the_ending_says_who_signs() {
    let s = scene("ending", 2);
    let sign = |ending, key: &Keypair| {
        SignedManifest::sign(&manifest_body(&s.head, &s.chunks, ending), &s.head, key)
    };
    assert!(sign(Ending::Closed, &s.session_key).is_ok());
    assert!(sign(Ending::Cut, &s.host).is_ok());
    for result in [
        sign(Ending::Closed, &s.host),
        sign(Ending::Cut, &s.session_key),
    ] {
        assert!(matches!(
            result,
            Err(FormatError::Signature {
                what: "the manifest"
            })
        ));
    }
}

#[test]
fn a_cut_session_may_end_in_a_torn_chunk_and_only_there() {
    let s = scene("power cut", 3);
    let torn = |nth: usize| {
        let bytes = &s.chunks[nth];
        let (end, last) = valid_prefix(&bytes[..bytes.len() - 1]);
        assert!(end > 0 && !last);
        bytes[..end].to_vec()
    };
    let cut = |chunks: Vec<Vec<u8>>| {
        let mut s = s.clone();
        s.manifest = manifest(&s.head, &chunks, Ending::Cut, &s.host);
        s.chunks = chunks;
        s.file()
    };
    let file = cut(vec![s.chunks[0].clone(), s.chunks[1].clone(), torn(2)]);
    let proven = check_with(&file, &s.keys()).unwrap();
    assert_eq!((proven.chunks, proven.complete), (3, false));
    assert_eq!(proven.records, 12, "the last flush was whole");

    let whole = cut(s.chunks.clone());
    assert!(!check(&whole).unwrap().complete);

    let view = torn(1);
    assert!(ChunkView::parse(&view, true).unwrap().trailer.is_none());
    let error = check(&cut(vec![s.chunks[0].clone(), view, s.chunks[2].clone()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

#[test]
fn a_manifest_or_head_of_a_later_version_is_said_to_be_newer() {
    let s = scene("newer", 1);
    let mut body = manifest_body(&s.head, &s.chunks, Ending::Closed);
    body.version = 2;
    assert_eq!(
        SignedManifest::sign(&body, &s.head, &s.session_key)
            .unwrap_err()
            .to_string(),
        "the manifest has version 2, and this program reads version 1: use a newer lucid"
    );
    let mut head = s.head.head.clone();
    head.version = 7;
    assert_eq!(
        SignedHead::sign(head, &s.session_key)
            .unwrap_err()
            .to_string(),
        "the head has version 7, and this program reads version 1: use a newer lucid"
    );
}

#[test]
fn a_head_is_signed_by_the_session_that_the_host_named() {
    let s = scene("heads", 1);
    let (stranger, mut rng) = (Keypair::from_secret(&[1; 32]), TestRng::new("r"));
    let error = SignedHead::sign(s.head.head.clone(), &stranger).unwrap_err();
    assert!(matches!(error, FormatError::Signature { what: "the head" }));
    // A ticket that the stranger signed in the host's name.
    let ticket: Ticket = s.head.ticket.clone();
    let error = ticket.sign(&stranger).unwrap_err();
    assert_eq!(
        error.to_string(),
        "signing the ticket: this key does not open it"
    );
    let forged = Signed::new(
        &stranger,
        SigDomain::Ticket,
        borsh::to_vec(&ticket).unwrap(),
    );
    let head = Head {
        ticket: forged,
        ..s.head.head.clone()
    };
    let error = SignedHead::sign(head, &s.session_key).unwrap_err();
    assert!(matches!(
        error,
        FormatError::Signature { what: "the ticket" }
    ));
    // A signature over one kind of thing is none over another.
    let wrong = Signed::new(
        &s.host,
        SigDomain::Manifest,
        borsh::to_vec(&ticket).unwrap(),
    );
    assert!(Ticket::open(&wrong).is_err());

    let long = Ticket {
        user: "x".repeat(257),
        ..ticket
    };
    assert_eq!(
        long.sign(&s.host).unwrap_err().to_string(),
        "the ticket's user claims 257, and the bound is 256: refused unread"
    );
    let many = Head {
        recipients: vec![lucid_format::RecipientId(rng.array()); 65],
        ..s.head.head.clone()
    };
    assert_eq!(
        SignedHead::sign(many, &s.session_key)
            .unwrap_err()
            .to_string(),
        "the number of recipients claims 65, and the bound is 64: refused unread"
    );
}

#[test]
fn checkpoints_are_of_their_session() {
    let (s, other) = (scene("check", 2), scene("check other", 2));
    let mut log = merkle::Log::default();
    log.push(Hash::of(&s.chunks[0])).unwrap();
    let checkpoint = Checkpoint {
        session: s.id,
        chunks: 1,
        last_chunk: Hash::of(&s.chunks[0]),
        root: merkle::salted(&s.head.head.salt, 1, log.root()),
        end_us: 9_000_000,
        wall_us: 0,
    };
    let signed = checkpoint.sign(&s.session_key).unwrap();
    assert_eq!(Checkpoint::open(&signed, &s.head).unwrap(), checkpoint);
    assert_eq!(
        Checkpoint::open(&signed, &other.head).unwrap_err().kind(),
        ErrorKind::Tampered
    );
    let foreign = Checkpoint {
        session: other.id,
        ..checkpoint
    };
    assert_eq!(
        Checkpoint::open(&foreign.sign(&s.session_key).unwrap(), &s.head)
            .unwrap_err()
            .to_string(),
        "a checkpoint was changed: it is of another session"
    );
}

#[test]
fn keys_that_do_not_fit_are_told_apart_from_tampering() {
    let (s, other) = (scene("locks", 2), scene("other locks", 2));
    assert_eq!(
        check_with(&s.file(), &other.keys())
            .unwrap_err()
            .to_string(),
        "chunk 0: this key does not open it"
    );
    let error = check_with(&s.file(), &s.statement(0, 0).source()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKey);
    assert_eq!(error.to_string(), "the key does not reach chunk 1");
}

#[test]
fn what_a_trailer_says_of_its_records_is_checked_when_the_chunk_is_opened() {
    let s = scene("trailer", 0);
    let key = s.keys().chunk_key(0).unwrap();
    let mut plain = Vec::new();
    for record in records_of(0) {
        record.record().encode(&mut plain).unwrap();
    }
    let build = |records, plain: &[u8]| {
        let pieces = vec![lucid_format::Packed::stored(plain.to_vec())];
        let trailer =
            crate::support::trailer(9_000_000, records, u32::try_from(plain.len()).unwrap());
        let place = place(s.id, 0, s.head.hash, 0);
        let mut s = s.clone();
        s.chunks = vec![crate::support::chunk_of(
            place,
            &key,
            pieces,
            trailer,
            &mut TestRng::new("t"),
        )];
        s.manifest = manifest(&s.head, &s.chunks, Ending::Closed, &s.session_key);
        assert!(
            check(&s.file()).is_ok(),
            "without the key there is nothing to see"
        );
        check_with(&s.file(), &s.keys()).unwrap_err().to_string()
    };
    assert_eq!(
        build(3, &plain),
        "a chunk does not decode: it holds 4 records and states 3"
    );
    assert_eq!(
        build(4, &plain),
        "a chunk does not decode: whether it holds a keyframe is not what it states"
    );
    assert!(build(4, &plain[..plain.len() - 1]).starts_with("a record is cut short"));
}

//! No decoder panics, whatever it is fed.

use std::io::Cursor;

use lucid_format::{
    Checkpoint, ChunkHeader, ChunkKey, ChunkView, Disclosed, FormatError, Index, Marker, Parts,
    Recording, Records, Signed, SignedHead, SignedManifest, Ticket, valid_prefix,
};
use proptest::prelude::*;

use crate::support::{Scene, check_with, scene};

/// Feeds `bytes` to every decoder; says whether any took them.
fn feed(bytes: &[u8], scene: &Scene) -> bool {
    let mut taken = Vec::new();
    fn note<T>(taken: &mut Vec<bool>, result: Result<T, FormatError>) {
        taken.push(result.is_ok());
        if let Some(error) = result.err() {
            assert!(!error.to_string().is_empty());
        }
    }
    note(
        &mut taken,
        Records::new(bytes, 0, u64::MAX).collect::<Result<Vec<_>, _>>(),
    );
    note(&mut taken, Marker::decode(bytes));
    note(&mut taken, ChunkHeader::decode(bytes));
    let (end, _) = valid_prefix(bytes);
    assert!(end <= bytes.len());
    for torn_ok in [false, true] {
        note(
            &mut taken,
            ChunkView::parse(bytes, torn_ok).and_then(|v| v.open(&ChunkKey::from_bytes(&[0; 32]))),
        );
    }
    note(&mut taken, SignedHead::decode(bytes));
    note(&mut taken, SignedManifest::decode(bytes, &scene.head));
    let signed = Signed {
        body: bytes.to_vec(),
        signature: [0; 64],
    };
    note(&mut taken, Ticket::open(&signed));
    note(&mut taken, Checkpoint::open(&signed, &scene.head));
    note(&mut taken, Disclosed::decode(bytes));
    note(&mut taken, Index::check_preamble(bytes));
    note(
        &mut taken,
        Index::locate(bytes.len() as u64, &bytes[bytes.len().saturating_sub(12)..]),
    );
    note(&mut taken, Index::decode(bytes, 1 << 30));
    let parts = Parts {
        head: scene.head.bytes(),
        manifest: scene.manifest.bytes(),
        wraps: Some(bytes),
        keys: None,
        proof: None,
    };
    note(&mut taken, parts.decode());
    note(
        &mut taken,
        Parts {
            wraps: None,
            proof: Some(bytes),
            ..parts
        }
        .decode(),
    );
    note(&mut taken, Recording::open(Cursor::new(bytes)));
    taken.contains(&true)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        feed(&bytes, &SCENE);
    }

    /// Bytes that start as they should get further.
    #[test]
    fn arbitrary_bytes_behind_the_right_magic_never_panic(
        magic in 0..4usize, bytes in prop::collection::vec(any::<u8>(), 0..600)
    ) {
        let magic: &[u8] = [&b"LUCIDREC\x01\0\0\0\0\0\0\0"[..], b"LCHK\x01\0\x01", b"\x01\0", b"LUCIDREC\x01\0\x01\0\0\0\0\0"][magic];
        feed(&[magic, &bytes].concat(), &SCENE);
        feed(&[magic, &bytes, b"\x40\0\0\0LUCIDEND"].concat(), &SCENE);
    }

    /// True parts with some bytes overwritten, cut and repeated.
    #[test]
    fn mutated_parts_never_panic(
        which in 0..6usize, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(), shorten in any::<bool>()
    ) {
        let scene = &*SCENE;
        let mut bytes = match which {
            0 => scene.head.bytes().to_vec(),
            1 => scene.manifest.bytes().to_vec(),
            2 => scene.chunks[1].clone(),
            3 => scene.statement(1, 2).sign(&scene.auditor.signing()).unwrap(),
            4 => scene.file(),
            _ => scene.disclosure(1, 2),
        };
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        feed(&bytes, scene);
        let _ = check_with(&bytes, &scene.keys());
    }
}

static SCENE: std::sync::LazyLock<Scene> = std::sync::LazyLock::new(|| scene("decoders", 4));

#[test]
fn true_bytes_are_taken() {
    let scene = &*SCENE;
    assert!(feed(scene.head.bytes(), scene));
    assert!(feed(&scene.file(), scene));
    assert!(feed(&scene.disclosure(0, 1), scene));
}

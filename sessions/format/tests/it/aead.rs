//! The encryption is XChaCha20-Poly1305 in STREAM, as an independent library computes it.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use lucid_format::{ChunkKey, Hash, SessionId, Stream};

use crate::support::{Owned, TestRng, chunk, place};

/// Key and commitment, as docs/sessions/format.md words it.
fn expand(key: &[u8; 32], header: &[u8]) -> ([u8; 32], [u8; 32]) {
    let mut out = [0; 64];
    blake3::Hasher::new_keyed(key)
        .update(b"lucid chunk key v1\0")
        .update(&header[..94])
        .finalize_xof()
        .fill(&mut out);
    (out[..32].try_into().unwrap(), out[32..].try_into().unwrap())
}

#[test]
fn every_segment_is_what_rustcrypto_opens() {
    let (key, mut rng) = ([7; 32], TestRng::new("aead"));
    let records: Vec<Owned> = (0..5u64)
        .map(|i| Owned::new(i, Stream::PduOut, &rng.bytes(100 * i as usize)))
        .collect();
    let place = place(SessionId([1; 16]), 3, Hash([2; 32]), 0);
    let chunk = chunk(
        place,
        &ChunkKey::from_bytes(&key),
        &records,
        9,
        true,
        &mut rng,
    );

    let header = &chunk[..126];
    let (key, commitment) = expand(&key, header);
    assert_eq!(header[94..], commitment);
    let cipher = XChaCha20Poly1305::new(&key.into());
    let (mut rest, mut zstd, mut counter) = (&chunk[126..], Vec::new(), 0u32);
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let kind = rest[4];
        let last = kind & 0x80 != 0;
        let trailer = if last { &rest[13..30] } else { &[] };
        let from = 13 + trailer.len();
        let mut nonce = [0; 24];
        nonce[..19].copy_from_slice(&header[75..94]);
        nonce[19..23].copy_from_slice(&counter.to_be_bytes());
        nonce[23] = u8::from(last);
        let payload = Payload {
            msg: &rest[from..from + length],
            aad: &[header, &[kind], trailer].concat(),
        };
        let plain = cipher.decrypt(&nonce.into(), payload).unwrap();
        assert_eq!(kind & 0x7f, 1, "all of this chunk is zstd");
        zstd.extend_from_slice(&plain);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&rest[..5]).update(&rest[13..from + length]);
        assert_eq!(rest[5..13], hasher.finalize().as_bytes()[..8]);
        rest = &rest[from + length..];
        counter += 1;
        assert_eq!(last, rest.is_empty());
    }
    assert_eq!(counter, 6, "five flushes and the end");

    let mut plain = Vec::new();
    for record in &records {
        record.record().encode(&mut plain).unwrap();
    }
    assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), plain);
}

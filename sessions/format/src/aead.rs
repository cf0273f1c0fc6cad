//! XChaCha20-Poly1305 in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015), as in `StreamBE32`:
//! nonce = 19-byte prefix ‖ u32 BE counter ‖ last-block flag.
//!
//! The first 16 nonce bytes never change within a chunk, so HChaCha20 runs once and ring's ChaCha20-Poly1305 (RFC 8439)
//! does the rest: the same bytes as an XChaCha20-Poly1305 library gives, at over twice the speed (`tests/it/aead.rs`
//! compares them).

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::FormatError;

pub(crate) const NONCE_PREFIX: usize = 19;
pub(crate) const TAG: usize = 16;

pub(crate) struct StreamCipher {
    key: LessSafeKey,
    /// Prefix bytes 16..19.
    tail: [u8; 3],
    counter: u32,
}

impl StreamCipher {
    pub(crate) fn new(key: &[u8; 32], prefix: &[u8; NONCE_PREFIX]) -> Result<Self, FormatError> {
        let mut input = [0; 16];
        input.copy_from_slice(&prefix[..16]);
        let mut subkey = hchacha::<R20>(&(*key).into(), &input.into());
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &subkey);
        subkey.zeroize();
        let key = LessSafeKey::new(
            unbound.map_err(|_| FormatError::malformed("a chunk key", "wrong length"))?,
        );
        Ok(Self {
            key,
            tail: [prefix[16], prefix[17], prefix[18]],
            counter: 0,
        })
    }

    fn nonce(&mut self, last: bool) -> Result<Nonce, FormatError> {
        let counter = self.counter.to_be_bytes();
        self.counter = self
            .counter
            .checked_add(1)
            .ok_or(FormatError::WriterBound {
                what: "the number of segments",
                bound: u64::from(u32::MAX),
            })?;
        let mut nonce = [0; 12];
        nonce[4..7].copy_from_slice(&self.tail);
        nonce[7..11].copy_from_slice(&counter);
        nonce[11] = u8::from(last);
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Seals `out[from..]` in place and appends the tag.
    pub(crate) fn seal(
        &mut self,
        aad: &[u8],
        out: &mut Vec<u8>,
        from: usize,
        last: bool,
    ) -> Result<(), FormatError> {
        let nonce = self.nonce(last)?;
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[from..])
            .map_err(|_| FormatError::WriterBound {
                what: "a segment",
                bound: u64::from(u32::MAX),
            })?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens the next segment in place and returns its plaintext.
    pub(crate) fn open<'a>(
        &mut self,
        aad: &[u8],
        data: &'a mut [u8],
        last: bool,
    ) -> Result<&'a [u8], FormatError> {
        let nonce = self.nonce(last)?;
        let failed = || FormatError::tampered("a segment", "its authentication tag does not hold");
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(aad), data)
            .map_err(|_| failed())?;
        Ok(plain)
    }
}

//! The player in the browser: opens a `.lucid` file piece by piece, proves each piece, decrypts and decodes it.
//!
//! ```text
//!  page: fetch with Range ─▶ Opener (index, signatures, Merkle root) ─▶ Replay
//!                                                                        │ unlock(seed | key file | disclosure)
//!  page: fetch chunk n ────────────────▶ load(n, bytes): hash, place, AEAD, zstd ─▶ Player ─▶ frame in wasm memory
//! ```
//!
//! Start reading at [`Opener`]. Every byte that is shown passed [`lucid_format::check_chunk`] in here: the server that hands
//! out the file is not believed. Numbers cross to JavaScript as `f64`; all of them are below 2⁵³.

use lucid_format::{
    ChunkView, Ending, ErrorKind, FileKind, FormatError, Hash, Index, KeySource, Marker, Parts,
    SecretKeys, SessionSeed, SignedHead, SignedManifest, Span, Wrap, check_chunk, check_index,
    open_wraps,
};
use lucid_light::{LightError, TrustedGenesis};
use lucid_player::{Change, ChunkSpan, EventKind, Player, PlayerError, Typed};
use lucid_proof::{Proof, ProofError};
use serde::Serialize;
use wasm_bindgen::prelude::wasm_bindgen;

/// Nothing in the player draws randomness: it opens and checks. ring merely insists on being given a source.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod no_randomness {
    #![allow(unsafe_code)]

    fn refuse(_: &mut [u8]) -> Result<(), getrandom02::Error> {
        Err(getrandom02::Error::UNSUPPORTED)
    }

    use getrandom02 as getrandom;
    getrandom::register_custom_getrandom!(refuse);
}

/// Why something did not work, for the page to put into words.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Failure {
    kind: &'static str,
    message: String,
}

#[wasm_bindgen]
impl Failure {
    /// `truncated`, `tampered`, `malformed`, `version`, `no-key`, `wrong-key` or `cannot-show`.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        self.kind.to_owned()
    }

    /// One line.
    #[wasm_bindgen(getter)]
    pub fn message(&self) -> String {
        self.message.clone()
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Truncated => "truncated",
            ErrorKind::Tampered => "tampered",
            ErrorKind::Malformed | ErrorKind::Io => "malformed",
            ErrorKind::Version => "version",
            ErrorKind::NoKey => "no-key",
            ErrorKind::WrongKey => "wrong-key",
        };
        Self {
            kind,
            message: error.to_string(),
        }
    }
}

impl From<PlayerError> for Failure {
    fn from(error: PlayerError) -> Self {
        Self {
            kind: "cannot-show",
            message: error.to_string(),
        }
    }
}

impl From<ProofError> for Failure {
    fn from(error: ProofError) -> Self {
        let kind = match error {
            ProofError::Version { .. } => "version",
            ProofError::NotAProof | ProofError::Decode(_) | ProofError::TooMany { .. } => {
                "malformed"
            }
            _ => "tampered",
        };
        Self {
            kind,
            message: error.to_string(),
        }
    }
}

impl From<LightError> for Failure {
    fn from(error: LightError) -> Self {
        Self {
            kind: "malformed",
            message: error.to_string(),
        }
    }
}

fn no_key(message: &str) -> Failure {
    Failure {
        kind: "no-key",
        message: message.to_owned(),
    }
}

/// A length or offset from JavaScript.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and NaN becomes 0
fn whole(number: f64) -> u64 {
    number as u64
}

/// A length, offset or time to JavaScript.
#[allow(clippy::cast_precision_loss)] // below 2⁵³: file lengths and µs since the session began
fn number(whole: u64) -> f64 {
    whole as f64
}

/// Bytes at the start of the file that [`Opener`] wants.
#[wasm_bindgen]
pub fn preamble_len() -> f64 {
    number(Index::PREAMBLE_LEN)
}

/// Bytes at the end of the file that [`locate`] wants.
#[wasm_bindgen]
pub fn footer_len() -> f64 {
    number(Index::FOOTER_LEN)
}

/// Where the index is: offset and length. `file_len` and the file's first and last bytes go in.
#[wasm_bindgen]
pub fn locate(file_len: f64, preamble: &[u8], footer: &[u8]) -> Result<Vec<f64>, Failure> {
    Index::check_preamble(preamble)?;
    let span = Index::locate(whole(file_len), footer)?;
    Ok(vec![number(span.offset), number(span.len)])
}

/// A file whose index was read.
#[wasm_bindgen]
pub struct Opener {
    index: Index,
}

#[wasm_bindgen]
impl Opener {
    /// Reads the index.
    #[wasm_bindgen(constructor)]
    pub fn new(file_len: f64, index: &[u8]) -> Result<Opener, Failure> {
        Ok(Self {
            index: Index::decode(index, whole(file_len))?,
        })
    }

    /// Offset and length of head, manifest, wraps, keys and proof, in this order; length 0 where there is none.
    pub fn sections(&self) -> Vec<f64> {
        let i = &self.index;
        [Some(i.head), Some(i.manifest), i.wraps, i.keys, i.proof]
            .into_iter()
            .flat_map(|span| {
                let Span { offset, len } = span.unwrap_or(Span { offset: 0, len: 0 });
                [number(offset), number(len)]
            })
            .collect()
    }

    /// Checks signatures, and that the chunks' addresses lead to the signed root.
    pub fn open(
        self,
        head: &[u8],
        manifest: &[u8],
        wraps: &[u8],
        keys: &[u8],
        proof: &[u8],
    ) -> Result<Replay, Failure> {
        let there = |bytes, span: Option<Span>| span.map(|_| bytes);
        let parts = Parts {
            head,
            manifest,
            wraps: there(wraps, self.index.wraps),
            keys: there(keys, self.index.keys),
            proof: there(proof, self.index.proof),
        };
        let (head, manifest, wraps, disclosed, proof) = parts.decode()?;
        check_index(
            &self.index,
            &head,
            &manifest,
            disclosed.as_ref(),
            proof.as_deref(),
        )?;
        let spans = spans(&self.index, &manifest);
        let player = Player::new(spans.clone()).map_err(|e| Failure {
            kind: "tampered",
            message: e.to_string(),
        })?;
        let keys = disclosed.as_ref().map(lucid_format::Disclosed::source);
        Ok(Replay {
            index: self.index,
            spans,
            head,
            manifest,
            wraps,
            keys,
            player,
            change: Change::NOTHING,
        })
    }
}

/// The chunks' times, as the player wants them.
fn spans(index: &Index, manifest: &SignedManifest) -> Vec<ChunkSpan> {
    let mut spans: Vec<ChunkSpan> = index
        .chunks
        .iter()
        .map(|c| ChunkSpan {
            start_us: c.start_us,
            end_us: c.end_us,
            keyframe: c.keyframe,
        })
        .collect();
    // A torn chunk has no trailer to say when it ends and whether it holds a keyframe.
    let whole = u32::try_from(spans.len())
        .is_ok_and(|n| index.first.checked_add(n) == Some(manifest.manifest.chunks));
    if let (Ending::Cut, true, Some(last)) = (manifest.manifest.ending, whole, spans.last_mut()) {
        last.end_us = last.end_us.max(manifest.manifest.duration_us);
        last.keyframe = true;
    }
    spans
}

/// An opened recording.
#[wasm_bindgen]
pub struct Replay {
    index: Index,
    spans: Vec<ChunkSpan>,
    head: SignedHead,
    manifest: SignedManifest,
    wraps: Option<Vec<Wrap>>,
    keys: Option<KeySource>,
    player: Player,
    change: Change,
}

/// What the verification panel says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    session: String,
    user: &'a str,
    target: &'a str,
    client: &'a str,
    recorder: &'a str,
    host_key: String,
    session_key: String,
    root: String,
    reason: &'a str,
    started_us: u64,
    sealed_us: u64,
    duration_us: u64,
    chunk_bytes: u64,
    chunks: u32,
    first: u32,
    held: usize,
    cut: bool,
    disclosure: bool,
    shredded: bool,
    unlocked: bool,
}

/// What the badge of the anchor says. Times are s since the Unix epoch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Anchor {
    /// Block and time of the closing; of a session that was open still, of the block that was looked at.
    height: u64,
    time: u64,
    closed: bool,
    opened_height: u64,
    opened_time: u64,
    owner: String,
    opener: String,
    pieces: Vec<AnchorPiece>,
    /// Chunks at the end that nothing fixes.
    open: usize,
}

/// Chunks that were fixed by one block.
#[derive(Serialize)]
struct AnchorPiece {
    first: u32,
    last: u32,
    height: u64,
    time: u64,
}

/// One thing for the overlay.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    time_us: u64,
    kind: &'static str,
    text: String,
    x: Option<u16>,
    y: Option<u16>,
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[wasm_bindgen]
impl Replay {
    /// What was proven so far, as JSON.
    pub fn info(&self) -> String {
        let (manifest, ticket) = (&self.manifest.manifest, &self.head.ticket);
        let info = Info {
            session: ticket.session.to_string(),
            user: &ticket.user,
            target: &ticket.target,
            client: &self.head.head.client,
            recorder: &self.head.head.recorder,
            host_key: hex(&ticket.host_key.0),
            session_key: hex(&ticket.session_key.0),
            root: hex(&manifest.root.0),
            reason: &manifest.reason,
            started_us: self.head.head.started_us,
            sealed_us: manifest.sealed_us,
            duration_us: manifest.duration_us,
            chunk_bytes: manifest.chunk_bytes,
            chunks: manifest.chunks,
            first: self.index.first,
            held: self.index.chunks.len(),
            cut: manifest.ending == Ending::Cut,
            disclosure: self.index.kind == FileKind::Disclosure,
            shredded: self.index.kind == FileKind::Recording
                && self.wraps.as_ref().is_none_or(Vec::is_empty),
            unlocked: self.keys.is_some(),
        };
        serde_json::to_string(&info).unwrap_or_default()
    }

    /// Checks a proof file with the chain's genesis file and holds this recording against it: when it was anchored, as JSON.
    pub fn anchor(&self, proof: &[u8], genesis: &[u8]) -> Result<String, Failure> {
        let genesis = TrustedGenesis::parse(genesis)?;
        let anchored = Proof::decode(proof)?.verify(&genesis)?;
        let coverage = anchored.covers(&self.head, &self.manifest, &self.index)?;
        let pieces = coverage.pieces.iter().map(|piece| AnchorPiece {
            first: piece.chunks.start,
            last: piece.chunks.end.saturating_sub(1),
            height: piece.at.height.0,
            time: piece.at.time_s,
        });
        let (height, time) = anchored
            .closed
            .map_or((anchored.height.0, anchored.time_ms / 1_000), |at| {
                (at.height.0, at.time_s)
            });
        let anchor = Anchor {
            height,
            time,
            closed: anchored.closed.is_some(),
            opened_height: anchored.opened.height.0,
            opened_time: anchored.opened.time_s,
            owner: anchored.owner.to_string(),
            opener: anchored.opener.to_string(),
            pieces: pieces.collect(),
            open: coverage.open.len(),
        };
        Ok(serde_json::to_string(&anchor).unwrap_or_default())
    }

    /// Offset, length, start in µs, end in µs, and 1 if it holds a keyframe: five numbers a chunk.
    pub fn chunks(&self) -> Vec<f64> {
        self.index
            .chunks
            .iter()
            .zip(&self.spans)
            .flat_map(|(c, span)| {
                let keyframe = if span.keyframe { 1.0 } else { 0.0 };
                [
                    number(c.offset),
                    f64::from(c.len),
                    number(span.start_us),
                    number(span.end_us),
                    keyframe,
                ]
            })
            .collect()
    }

    /// Takes the session's 32-byte seed.
    pub fn unlock_with_seed(&mut self, seed: &[u8]) -> Result<(), Failure> {
        let seed: &[u8; 32] = seed.try_into().map_err(|_| Failure {
            kind: "wrong-key",
            message: format!(
                "the key in the address has {} bytes instead of 32: copy the whole address",
                seed.len()
            ),
        })?;
        self.keys = Some(SessionSeed::from_bytes(seed).keys(self.head.ticket.session));
        Ok(())
    }

    /// Opens a recipient's key file with its passphrase, and with it the recording's seed.
    pub fn unlock_with_key_file(&mut self, text: &str, passphrase: &str) -> Result<(), Failure> {
        let Some(wraps) = &self.wraps else {
            return Err(no_key(
                "the recording's keys were destroyed (shredded): it can be verified, not opened",
            ));
        };
        let keys = SecretKeys::from_text(text, passphrase)?;
        let session = self.head.ticket.session;
        self.keys = Some(open_wraps(wraps, session, &keys)?.keys(session));
        Ok(())
    }

    /// The session's keys are forgotten: for another try.
    pub fn lock(&mut self) {
        self.keys = None;
    }

    /// Checks chunk `nth` of this file against the signed root and, if there is a key, opens it. Returns how much happened
    /// in each of its seconds (nothing without a key). The player does not keep it.
    pub fn check(&self, nth: usize, bytes: &[u8]) -> Result<Vec<u32>, Failure> {
        check_chunk(&self.index, &self.head, &self.manifest, nth, bytes)?;
        if self.keys.is_none() {
            return Ok(Vec::new());
        }
        let plaintext = self.open_chunk(nth, bytes)?;
        let span = self.spans.get(nth).copied();
        Ok(span.map_or(Ok(Vec::new()), |span| {
            lucid_player::activity(&plaintext, span)
        })?)
    }

    /// Checks, opens and loads chunk `nth` of this file.
    pub fn load(&mut self, nth: usize, bytes: &[u8]) -> Result<(), Failure> {
        check_chunk(&self.index, &self.head, &self.manifest, nth, bytes)?;
        let plaintext = self.open_chunk(nth, bytes)?;
        Ok(self.player.load(nth, plaintext)?)
    }

    fn open_chunk(&self, nth: usize, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let position = u32::try_from(nth)
            .ok()
            .and_then(|n| self.index.first.checked_add(n));
        let key = self
            .keys
            .as_ref()
            .zip(position)
            .and_then(|(keys, at)| keys.chunk_key(at));
        let key = key.ok_or_else(|| no_key("there is no key for this part of the recording"))?;
        Ok(ChunkView::parse(bytes, true)?.open(&key)?)
    }

    /// Whether chunk `nth` is loaded.
    pub fn is_loaded(&self, nth: usize) -> bool {
        self.player.is_loaded(nth)
    }

    /// The chunk that is on at `time_us`.
    pub fn chunk_at(&self, time_us: f64) -> usize {
        self.player.chunk_at(whole(time_us))
    }

    /// Shows the instant `time_us`. Returns the chunk that must be loaded first, if one must; then seek again.
    pub fn seek(&mut self, time_us: f64) -> Result<Option<usize>, Failure> {
        match self.player.seek(whole(time_us)) {
            Ok(change) => {
                self.change = change;
                Ok(None)
            }
            Err(PlayerError::NeedsChunk { chunk }) if chunk < self.index.chunks.len() => {
                Ok(Some(chunk))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Plays on to `time_us`. Returns the chunk that must be loaded first, if one must; then advance again.
    pub fn advance(&mut self, time_us: f64) -> Result<Option<usize>, Failure> {
        let progress = self.player.advance(whole(time_us))?;
        self.change = progress.change;
        Ok(progress.needs)
    }

    /// The instant that is shown, µs since the session began.
    pub fn now_us(&self) -> f64 {
        number(self.player.now_us())
    }

    /// The screen's width, in pixels.
    pub fn width(&self) -> u32 {
        self.player.screen().width().into()
    }

    /// The screen's height, in pixels.
    pub fn height(&self) -> u32 {
        self.player.screen().height().into()
    }

    /// Address of the frame in wasm memory: `width * height * 4` bytes RGBA. Valid until the next call of anything here.
    pub fn frame(&self) -> *const u8 {
        self.player.screen().pixels().as_ptr()
    }

    /// What the last seek or advance painted: left, top, width, height; empty when nothing.
    pub fn dirty(&self) -> Vec<u16> {
        self.change
            .painted
            .map_or(Vec::new(), |r| vec![r.x, r.y, r.width, r.height])
    }

    /// BLAKE3 of width, height (u32 LE each) and the frame: what tests compare.
    pub fn frame_hash(&self) -> String {
        let size = [self.width().to_le_bytes(), self.height().to_le_bytes()].concat();
        hex(&Hash::of(&[&size, self.player.screen().pixels()].concat()).0)
    }

    /// The mouse pointer: pixels from the left and from the top; empty when it is not known.
    pub fn pointer(&self) -> Vec<u16> {
        self.player
            .pointer()
            .map_or(Vec::new(), |(x, y)| vec![x, y])
    }

    /// What the overlay is to show since the last call, as JSON.
    pub fn events(&mut self) -> String {
        let shown: Vec<Shown> = self
            .player
            .take_events()
            .into_iter()
            .map(|e| show(e.time_us, e.kind))
            .collect();
        serde_json::to_string(&shown).unwrap_or_default()
    }
}

fn show(time_us: u64, kind: EventKind) -> Shown {
    let (kind, text, at) = match kind {
        EventKind::Typed(Typed::Text(c)) => ("text", c.to_string(), None),
        EventKind::Typed(Typed::Chord(name)) => ("chord", name, None),
        EventKind::Click { button, x, y } => {
            ("click", format!("{button:?}").to_lowercase(), Some((x, y)))
        }
        EventKind::Clipboard {
            to_desktop: true,
            text,
        } => ("clipboard-in", text, None),
        EventKind::Clipboard {
            to_desktop: false,
            text,
        } => ("clipboard-out", text, None),
        EventKind::Marker(marker) => ("marker", describe(&marker), None),
    };
    Shown {
        time_us,
        kind,
        text,
        x: at.map(|a| a.0),
        y: at.map(|a| a.1),
    }
}

fn describe(marker: &Marker) -> String {
    match marker {
        Marker::Started { client, target, .. } => format!("Session began: {client} to {target}"),
        Marker::ChannelDenied {
            permission,
            to_desktop,
            count,
        } => {
            let way = if *to_desktop {
                "to the desktop"
            } else {
                "from the desktop"
            };
            format!("Blocked: {permission}, {way} ({count}×)")
        }
        Marker::Granted {
            permission,
            for_ms,
            by,
        } => {
            format!("{by} allowed {permission} for {} s", for_ms / 1000)
        }
        Marker::GrantEnded { permission } => format!("{permission} is closed again"),
        Marker::Note { text } => text.clone(),
        Marker::Ended { reason, .. } => format!("Session ended: {reason}"),
    }
}

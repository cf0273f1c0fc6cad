//! Makes a recording of a session that never was, for tests of the web player: `synthetic DIR [MINUTES]`.
//!
//! ```text
//! DIR/recording.lucid   two windows, somebody typing, pauses, a resize; the same bytes every time
//! DIR/seed              the session's seed, base64url, as it stands after #k= in the player's address
//! DIR/auditor.key       the recipient's key file; the passphrase is "correct horse"
//! DIR/part.lucid        chunks 60 to 65 of it, disclosed (from 10 minutes on)
//! DIR/frames.json       second → hash of the screen then, from applying all records in order (no seeking)
//! DIR/frame.rgba        the screen at the end: width and height (u32 LE), then the pixels
//! ```
#![allow(clippy::unwrap_used)] // a fault here is a fault of the test

use std::{convert::Infallible, fs, path::Path};

use lucid_format::{
    ChunkPlace, ChunkWriter, Disclosed, Ending, Hash, Head, KdfCost, Keypair, Manifest, Marker,
    Record, RecordingWriter, SecretKeys, SessionId, SessionSeed, SignedHead, SignedManifest,
    Stream, Ticket, hash_wraps, merkle, wrap_seed,
};
use lucid_player::{Decoder, Screen, is_graphics};
use rand_core::{Rng, TryCryptoRng, TryRng};

#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/it/frames.rs"]
mod frames;

const S: u64 = 1_000_000;
const CHUNK_US: u64 = 10 * S;
const WALL_US: u64 = 1_795_000_000 * S;
const PASSPHRASE: &str = "correct horse";

/// Random numbers that are the same in every run.
struct Fixed(blake3::OutputReader);

impl TryRng for Fixed {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

/// A desktop that turns what happens on it into records.
struct Desktop {
    records: Vec<(u64, Stream, Vec<u8>)>,
    now_us: u64,
    width: u16,
    height: u16,
    column: u16,
    row: u16,
    pointer: (u16, u16),
    rng: Fixed,
}

const TERMINAL: (u16, u16, u16, u16) = (70, 60, 760, 520);
const NOTES: (u16, u16, u16, u16) = (620, 180, 340, 380);
const CELL: (u16, u16) = (9, 18);

impl Desktop {
    fn push(&mut self, stream: Stream, payload: Vec<u8>) {
        self.records.push((self.now_us, stream, payload));
    }

    fn below(&mut self, n: u32) -> u32 {
        self.rng.next_u32() % n
    }

    /// Paints a rectangle in tiles, as servers do.
    fn paint(
        &mut self,
        x: u16,
        y: u16,
        width: u16,
        height: u16,
        color: impl Fn(u16, u16) -> [u8; 3],
    ) {
        for top in (0..height).step_by(64) {
            for left in (0..width).step_by(64) {
                let (w, h) = (64.min(width - left), 64.min(height - top));
                let frame = frames::paint(x + left, y + top, w, h, |a, b| color(left + a, top + b));
                self.push(Stream::PduOut, frame);
            }
        }
    }

    fn draw_all(&mut self) {
        let (width, height) = (self.width, self.height);
        self.paint(0, 0, width, height, |_, y| {
            let part = u32::from(y) * 60 / u32::from(height);
            [
                24,
                52 + part.to_le_bytes()[0] / 2,
                88 + part.to_le_bytes()[0],
            ]
        });
        self.window(TERMINAL, [22, 26, 33], [52, 58, 70]);
        self.window(NOTES, [250, 249, 244], [214, 206, 180]);
        for line in 0..14u16 {
            for column in 0..(18 + self.below(16).to_le_bytes()[0] as u16) {
                let letter = self.below(26).to_le_bytes()[0];
                self.glyph(
                    NOTES.0 + 14 + column * CELL.0,
                    NOTES.1 + 44 + line * 22,
                    letter,
                    [70, 64, 52],
                    [250, 249, 244],
                );
            }
        }
        (self.column, self.row) = (0, 0);
    }

    fn window(&mut self, (x, y, width, height): (u16, u16, u16, u16), body: [u8; 3], bar: [u8; 3]) {
        self.paint(
            x,
            y,
            width,
            height,
            move |_, v| if v < 30 { bar } else { body },
        );
    }

    /// Something like a letter.
    fn glyph(&mut self, x: u16, y: u16, letter: u8, ink: [u8; 3], paper: [u8; 3]) {
        let bits = Hash::of(&[letter]).0;
        let on = move |a: u16, b: u16| {
            let (column, row) = ((a / 2).min(3), (b.saturating_sub(3) / 2).min(5));
            let edge = a >= 8 || !(3..15).contains(&b);
            !edge && bits[usize::from(column)] >> row & 1 == 1
        };
        self.paint(
            x,
            y,
            CELL.0,
            CELL.1,
            move |a, b| if on(a, b) { ink } else { paper },
        );
    }

    fn put(&mut self, letter: u8, ink: [u8; 3]) {
        if self.column >= 80 {
            self.newline();
        }
        let (x, y) = (
            TERMINAL.0 + 14 + self.column * CELL.0,
            TERMINAL.1 + 40 + self.row * CELL.1,
        );
        self.glyph(x, y, letter, ink, [22, 26, 33]);
        self.column += 1;
    }

    fn newline(&mut self) {
        (self.column, self.row) = (0, self.row + 1);
        if self.row >= 25 {
            self.row = 0;
            self.paint(
                TERMINAL.0,
                TERMINAL.1 + 30,
                TERMINAL.2,
                TERMINAL.3 - 30,
                |_, _| [22, 26, 33],
            );
        }
    }

    fn key(&mut self, scancode: u8) {
        self.push(
            Stream::Input,
            frames::fast_input(&[&frames::key(scancode, true)]),
        );
        self.push(
            Stream::Input,
            frames::fast_input(&[&frames::key(scancode, false)]),
        );
    }

    /// Moves the mouse there in steps of 50 ms.
    fn move_to(&mut self, x: u16, y: u16) {
        let (fx, fy) = self.pointer;
        let between = |from: u16, to: u16, step: u16| {
            let at = i32::from(from) + (i32::from(to) - i32::from(from)) * i32::from(step) / 8;
            u16::try_from(at).unwrap()
        };
        for step in 1..=8 {
            self.now_us += 50_000;
            let event = frames::mouse(0x0800, between(fx, x, step), between(fy, y, step));
            self.push(Stream::Input, frames::fast_input(&[&event]));
        }
        self.pointer = (x, y);
    }

    fn click(&mut self, x: u16, y: u16) {
        self.move_to(x, y);
        self.push(
            Stream::Input,
            frames::fast_input(&[&frames::mouse(0x9000, x, y)]),
        );
        self.now_us += 80_000;
        self.push(
            Stream::Input,
            frames::fast_input(&[&frames::mouse(0x1000, x, y)]),
        );
    }

    /// Types a line and gets an answer.
    fn command(&mut self, text: &str) {
        for letter in text.bytes() {
            self.now_us += 90_000 + u64::from(self.below(120)) * 1000;
            self.key(scancode(letter));
            self.now_us += 15_000;
            self.put(letter, [220, 226, 236]);
        }
        self.now_us += 200_000;
        self.key(0x1C);
        self.newline();
        for _ in 0..self.below(5) {
            self.now_us += 60_000;
            for _ in 0..20 + self.below(50) {
                let letter = b'a' + self.below(26).to_le_bytes()[0];
                self.put(letter, [130, 200, 160]);
            }
            self.newline();
        }
    }
}

fn scancode(letter: u8) -> u8 {
    let letter = char::from(letter).to_string();
    let matching = |s: &u8| match lucid_player::key_label(*s, false) {
        Some("Space") => letter == " ",
        label => label == Some(letter.as_str()),
    };
    (1..=0x58).find(matching).unwrap_or(0x39)
}

/// The whole session's records.
fn session(minutes: u64) -> Vec<(u64, Stream, Vec<u8>)> {
    let mut desktop = Desktop {
        records: Vec::new(),
        now_us: 0,
        width: 1024,
        height: 680,
        column: 0,
        row: 0,
        pointer: (512, 340),
        rng: Fixed(blake3::Hasher::new().update(b"desktop").finalize_xof()),
    };
    let started = Marker::Started {
        wall_us: WALL_US,
        client: "10.0.0.7 (OPERATOR-PC)".into(),
        target: "desk1".into(),
    };
    desktop.push(Stream::Marker, started.encode().unwrap());
    desktop.push(Stream::Resize, frames::resize(1024, 680));
    desktop.now_us = 400_000;
    desktop.draw_all();
    let commands = [
        "ls -la",
        "cd reports",
        "grep -n total q3.csv",
        "tail app.log",
        "systemctl status web",
        "df",
        "less notes.txt",
    ];
    for minute in 0..minutes {
        let start = minute * 60 * S;
        // Some minutes are busy, some quiet, and twice the user is away.
        if matches!(minute, 9..=12 | 33..=38) {
            continue;
        }
        let busy = 2 + minute * 7 % 5;
        for n in 0..busy {
            desktop.now_us = desktop.now_us.max(start + n * 60 * S / busy);
            if n == 0 {
                let (dx, dy) = (desktop.below(500), desktop.below(380));
                desktop.click(
                    90 + u16::try_from(dx).unwrap(),
                    110 + u16::try_from(dy).unwrap(),
                );
            }
            let command = commands[usize::try_from(desktop.below(7)).unwrap()];
            desktop.command(command);
        }
        desktop.now_us = desktop.now_us.max(start + 50 * S);
        match minute {
            2 => {
                let text: Vec<u8> = "Total for Q3: 48,210.00 €\0"
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect();
                let len = u32::try_from(text.len()).unwrap().to_le_bytes();
                desktop.push(
                    Stream::Clipboard,
                    [&[1, 5, 0, 1, 0][..], &len, &text].concat(),
                );
            }
            4 => {
                let marker = Marker::ChannelDenied {
                    permission: "drives".into(),
                    to_desktop: true,
                    count: 3,
                };
                desktop.push(Stream::Marker, marker.encode().unwrap());
            }
            45 => {
                (desktop.width, desktop.height) = (1152, 720);
                desktop.push(Stream::Resize, frames::resize(1152, 720));
                desktop.now_us += 300_000;
                desktop.draw_all();
            }
            _ => {}
        }
    }
    let end = minutes * 60 * S;
    desktop.records.retain(|r| r.0 < end);
    desktop.now_us = end;
    let ended = Marker::Ended {
        wall_us: WALL_US + end,
        reason: "the user signed out".into(),
    };
    desktop.push(Stream::Marker, ended.encode().unwrap());
    desktop.records
}

/// Width, height, pixels.
fn raw(screen: &Screen) -> Vec<u8> {
    let size = [
        u32::from(screen.width()).to_le_bytes(),
        u32::from(screen.height()).to_le_bytes(),
    ]
    .concat();
    [&size, screen.pixels()].concat()
}

/// The screen's hash at each of `seconds`, from the first record on.
fn reference(
    records: &[(u64, Stream, Vec<u8>)],
    seconds: impl Iterator<Item = u64>,
) -> Vec<(u64, String)> {
    let mut decoder = Decoder::new();
    let mut rest = records.iter().peekable();
    seconds
        .map(|second| {
            while let Some((_, stream, payload)) = rest.next_if(|r| r.0 <= second * S) {
                decoder.apply(*stream, payload).unwrap();
            }
            (second, Hash::of(&raw(decoder.screen())).to_hex())
        })
        .collect()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "target/synthetic".into());
    let dir = Path::new(&dir);
    let minutes: u64 = args.next().map_or(60, |m| m.parse().unwrap());
    fs::create_dir_all(dir).unwrap();

    let mut rng = Fixed(blake3::Hasher::new().update(b"keys").finalize_xof());
    let (host, session_key) = (Keypair::generate(&mut rng), Keypair::generate(&mut rng));
    let auditor = SecretKeys::generate("auditor", &mut rng).unwrap();
    let seed = SessionSeed::generate(&mut rng);
    let id = SessionId([7; 16]);
    let wraps = wrap_seed(&seed, id, &[auditor.public()], &mut rng).unwrap();
    let ticket = Ticket {
        session: id,
        session_key: session_key.public(),
        host_key: host.public(),
        user: "operator1".into(),
        target: "desk1".into(),
        minted_us: WALL_US - 30 * S,
        expires_us: WALL_US + 300 * S,
        policy: Hash::of_policy("deny"),
    };
    let head = Head {
        version: Head::VERSION,
        ticket: ticket.sign(&host).unwrap(),
        started_us: WALL_US,
        salt: [3; 32],
        recipients: vec![auditor.public().id()],
        wraps: hash_wraps(&wraps).unwrap(),
        recorder: "lucid 0.1.0 (synthetic)".into(),
        client: "10.0.0.7 (OPERATOR-PC)".into(),
    };
    let head = SignedHead::sign(head, &session_key).unwrap();

    let records = session(minutes);
    let keys = seed.keys(id);
    let mut file = RecordingWriter::recording(Vec::new(), &head, Some(&wraps)).unwrap();
    let (mut prev, mut chunk_bytes, mut leaves, mut chunks) =
        (head.hash, 0, Vec::new(), Vec::new());
    let mut decoder = Decoder::new();
    let mut rest = records.iter().peekable();
    let count = u32::try_from(minutes * 60 * S / CHUNK_US).unwrap();
    for index in 0..count {
        let start_us = u64::from(index) * CHUNK_US;
        let place = ChunkPlace {
            session: id,
            index,
            prev,
            start_us,
            start_wall_us: WALL_US + start_us,
        };
        let key = keys.chunk_key(index).unwrap();
        let mut writer = ChunkWriter::new(place, &key, &mut rng).unwrap();
        let last = index + 1 == count;
        let mut has_keyframe = false;
        let mut push = |time_us: u64, stream: Stream, payload: &[u8]| {
            writer
                .push(&Record {
                    time_us,
                    stream,
                    payload,
                })
                .unwrap();
        };
        while let Some((time_us, stream, payload)) =
            rest.next_if(|r| r.0 < start_us + CHUNK_US || last)
        {
            if !has_keyframe && is_graphics(*stream, payload) {
                push(*time_us, Stream::Keyframe, &decoder.keyframe().unwrap());
                has_keyframe = true;
            }
            push(*time_us, *stream, payload);
            decoder.apply(*stream, payload).unwrap();
            if *stream == Stream::Resize {
                push(*time_us, Stream::Keyframe, &decoder.keyframe().unwrap());
                has_keyframe = true;
            }
        }
        push(
            start_us + CHUNK_US,
            Stream::Heartbeat,
            &(WALL_US + start_us + CHUNK_US).to_le_bytes(),
        );
        let (bytes, sealed) = writer.finish(start_us + CHUNK_US).unwrap();
        prev = sealed.hash;
        chunk_bytes += u64::from(sealed.len);
        leaves.push(merkle::leaf(index, sealed.hash));
        file.chunk(&bytes).unwrap();
        chunks.push(bytes);
    }
    let manifest = Manifest {
        version: Manifest::VERSION,
        session: id,
        head: head.hash,
        chunks: count,
        root: merkle::salted(&head.head.salt, count, merkle::root(&leaves)),
        duration_us: minutes * 60 * S,
        sealed_us: WALL_US + minutes * 60 * S,
        chunk_bytes,
        ending: Ending::Closed,
        reason: "the user signed out".into(),
    };
    let manifest = SignedManifest::sign(&manifest, &head, &session_key).unwrap();
    fs::write(dir.join("recording.lucid"), file.finish(&manifest).unwrap()).unwrap();
    fs::write(dir.join("frame.rgba"), raw(decoder.screen())).unwrap();

    if let Some(part) = chunks.get(60..=65) {
        let disclosed = Disclosed {
            version: Disclosed::VERSION,
            session: id,
            first: 60,
            last: 65,
            by: host.public(),
            keys: keys.cover(60, 65).unwrap(),
        };
        let proof = merkle::prove_range(&leaves, 60, part.len()).unwrap();
        let statement = disclosed.sign(&host).unwrap();
        let mut file = RecordingWriter::disclosure(Vec::new(), &head, &statement, &proof).unwrap();
        part.iter().for_each(|bytes| file.chunk(bytes).unwrap());
        fs::write(dir.join("part.lucid"), file.finish(&manifest).unwrap()).unwrap();
    }

    let cost = KdfCost {
        memory_kib: 8 << 10,
        passes: 1,
        lanes: 1,
    };
    fs::write(
        dir.join("auditor.key"),
        auditor.to_text(PASSPHRASE, cost, &mut rng).unwrap(),
    )
    .unwrap();
    fs::write(
        dir.join("seed"),
        data_encoding::BASE64URL_NOPAD.encode(seed.bytes().as_ref()),
    )
    .unwrap();
    let frames = reference(&records, (0..=minutes * 60).step_by(97));
    let frames: Vec<String> = frames
        .into_iter()
        .map(|(second, hash)| format!("\"{second}\":\"{hash}\""))
        .collect();
    fs::write(
        dir.join("frames.json"),
        format!("{{{}}}\n", frames.join(",\n")),
    )
    .unwrap();
}

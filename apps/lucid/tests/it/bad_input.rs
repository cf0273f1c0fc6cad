//! Recordings that are cut, changed, foreign or hostile: one line why, an exit code of their own, no panic, and no more
//! memory than a sound one takes (every run here is under a limit on its address space).

use std::fs;

use lucid_format::{
    ChunkPlace, Head, Keypair, Manifest, Packed, PublicKeys, Recording, RecordingWriter, Sealer,
    SecretKeys, SessionId, SessionSeed, SignedHead, SignedManifest, Ticket, Trailer, hash_wraps,
    merkle, wrap_seed,
};
use lucid_recorder::rng;

use crate::support::{PASSPHRASE, Sandbox, VECTORS_PASSPHRASE, vector};

const TRUNCATED: i32 = 10;
const TAMPERED: i32 = 11;
const MALFORMED: i32 = 12;
const VERSION: i32 = 13;
const NO_KEY: i32 = 14;
const WRONG_KEY: i32 = 15;
const CUT: i32 = 16;

fn golden(name: &str) -> Vec<u8> {
    fs::read(vector(name)).unwrap()
}

/// One line why, and nothing on standard output.
fn refused(sandbox: &Sandbox, args: &[&str], code: i32) -> String {
    let ran = sandbox.run(args);
    assert_eq!(ran.code, code, "lucid {args:?}: {} {}", ran.out, ran.err);
    assert_eq!(ran.out, "", "lucid {args:?}");
    assert!(
        ran.err.starts_with("error: "),
        "lucid {args:?}: {}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1, "lucid {args:?}: {}", ran.err);
    ran.err
}

#[test]
fn each_kind_of_bad_recording_has_a_line_and_a_code_of_its_own_in_every_command() {
    let sandbox = Sandbox::new();
    let sound = golden("recording.lucid");
    let len = sound.len();
    let changed = |at: usize, bytes: &[u8]| {
        let mut copy = sound.clone();
        copy[at..at + bytes.len()].copy_from_slice(bytes);
        copy
    };
    let cases: [(&str, Vec<u8>, i32, &str); 13] = [
        ("empty", Vec::new(), TRUNCATED, "16 bytes"),
        ("a-letter", b"L".to_vec(), TRUNCATED, ""),
        ("half", sound[..len / 2].to_vec(), TRUNCATED, ""),
        (
            "last-byte-missing",
            sound[..len - 1].to_vec(),
            TRUNCATED,
            "",
        ),
        ("byte-more", [&sound[..], &[0]].concat(), TRUNCATED, ""),
        (
            "foreign",
            b"\x89PNG\r\n\x1a\n and so on, for a while".to_vec(),
            MALFORMED,
            "Lucid recording",
        ),
        ("zeros", vec![0; 5000], MALFORMED, "Lucid recording"),
        ("newer", changed(8, &[9, 0]), VERSION, "9"),
        ("other-kind", changed(10, &[7]), MALFORMED, "kind"),
        (
            "index-of-4-GiB",
            changed(len - 12, &[0xFF; 4]),
            MALFORMED,
            "index",
        ),
        (
            "index-of-16-MiB",
            changed(len - 12, &(16u32 << 20).to_le_bytes()),
            TRUNCATED,
            "",
        ),
        ("head-of-16-EiB", changed(20, &[0xFF; 8]), TAMPERED, "HEAD"),
        (
            "flipped",
            changed(len / 2, &[!sound[len / 2]]),
            TAMPERED,
            "",
        ),
    ];
    let key = vector("auditor.key");
    let key = key.to_str().unwrap();
    let pass = sandbox.write("pass", VECTORS_PASSPHRASE);
    let out = sandbox.name("out.png");
    for (name, bytes, code, part) in cases {
        let file = sandbox.write(name, bytes);
        let with_key = ["--key", key, "--passphrase-file", &pass];
        let why = refused(&sandbox, &["verify", &file], code);
        assert!(
            why.contains(name) || name == "flipped",
            "the file is named: {why}"
        );
        assert!(why.contains(part), "{name}: {why}");
        refused(
            &sandbox,
            &[&["verify", &file], &with_key[..]].concat(),
            code,
        );
        refused(
            &sandbox,
            &[&["export", &file, "--to", &out], &with_key[..]].concat(),
            code,
        );
        refused(
            &sandbox,
            &[&["disclose", &file, "--to", &out], &with_key[..]].concat(),
            code,
        );
        if name != "flipped" {
            // The player itself checks the chunks; what is wrong before them is said before it opens.
            refused(
                &sandbox,
                &[&["replay", &file, "--no-browser"], &with_key[..]].concat(),
                code,
            );
        }
        let json = sandbox.run(&["verify", &file, "--json"]);
        let told: serde_json::Value = serde_json::from_str(&json.err).unwrap();
        assert_eq!(
            (json.code, told["code"].as_i64()),
            (code, Some(code.into()))
        );
    }
    assert!(
        !sandbox.path("out.png").exists(),
        "nothing is written from what does not check"
    );
}

#[test]
fn a_recording_cut_anywhere_or_with_any_byte_flipped_is_never_accepted() {
    let sandbox = Sandbox::new();
    let sound = golden("recording.lucid");
    let file = sandbox.name("copy");
    for at in (0..sound.len()).step_by(61) {
        fs::write(&file, &sound[..at]).unwrap();
        refused(&sandbox, &["verify", &file], TRUNCATED);
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        fs::write(&file, flipped).unwrap();
        let ran = sandbox.run(&["verify", &file]);
        assert!(
            (TRUNCATED..=VERSION).contains(&ran.code),
            "byte {at}: {} {}",
            ran.code,
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 1, "byte {at}: {}", ran.err);
    }
}

#[test]
fn no_key_a_foreign_key_a_wrong_passphrase_and_destroyed_keys_are_told_apart() {
    let sandbox = Sandbox::new();
    let file = vector("recording.lucid");
    let file = file.to_str().unwrap();
    let shredded = vector("shredded.lucid");
    let shredded = shredded.to_str().unwrap();
    let key = vector("auditor.key");
    let key = key.to_str().unwrap();
    let pass = sandbox.write("pass", VECTORS_PASSPHRASE);
    let bad_pass = sandbox.write("bad", "not the passphrase");
    let good = ["--key", key, "--passphrase-file", &pass];
    let wrong = ["--key", key, "--passphrase-file", &bad_pass];
    let out = sandbox.name("out.png");
    sandbox.keys("stranger");
    let foreign = ["--key", "stranger.key"];

    for command in [
        &["export", file, "--to", &out][..],
        &["disclose", file, "--to", &out],
        &["replay", file, "--no-browser"],
        &["verify", file],
    ] {
        let run = |key: &[&str], code| refused(&sandbox, &[command, key].concat(), code);
        assert!(run(&wrong, WRONG_KEY).contains("auditor.key"));
        assert!(run(&foreign, WRONG_KEY).contains("not sealed to key"));
        if ["export", "disclose"].contains(&command[0]) {
            assert!(run(&[], NO_KEY).contains("--key"));
        }
    }
    sandbox.ok(&["verify", shredded]);
    for command in [
        &["export", shredded, "--to", &out][..],
        &["disclose", shredded, "--to", &out],
        &["replay", shredded, "--no-browser"],
    ] {
        let why = refused(&sandbox, &[command, &good[..]].concat(), NO_KEY);
        assert!(why.contains("destroyed"), "{why}");
    }
    let why = refused(&sandbox, &["replay", shredded, "--no-browser"], NO_KEY);
    assert!(why.contains("destroyed"), "{why}");
    assert!(!sandbox.path("out.png").exists());
    // The key that fits does open it.
    let opened = sandbox.json(&[&["verify", file], &good[..]].concat());
    assert_eq!(
        (&opened["opened"], &opened["complete"]),
        (&true.into(), &true.into())
    );
}

#[test]
fn a_cut_recording_is_sound_and_says_so_with_a_code_of_its_own() {
    let sandbox = Sandbox::new();
    let file = vector("cut.lucid");
    let ran = sandbox.run(&["verify", file.to_str().unwrap()]);
    assert_eq!(ran.code, CUT, "{}", ran.err);
    assert!(ran.out.contains("CUT"), "{}", ran.out);
    let ran = sandbox.run(&["verify", file.to_str().unwrap(), "--json"]);
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &told["ending"], &told["complete"]),
        (CUT, &"cut".into(), &false.into())
    );
}

#[test]
fn the_host_that_recorded_can_be_demanded() {
    let sandbox = Sandbox::new();
    let file = vector("recording.lucid");
    let file = file.to_str().unwrap();
    let host = sandbox.json(&["verify", file])["host_key"]
        .as_str()
        .unwrap()
        .to_owned();
    sandbox.ok(&["verify", file, "--host-key", &host]);
    let why = refused(
        &sandbox,
        &["verify", file, "--host-key", &"00".repeat(32)],
        TAMPERED,
    );
    assert!(why.contains(&host), "{why}");
}

#[test]
fn bad_key_files_are_refused_with_their_name() {
    let sandbox = Sandbox::new();
    let file = vector("recording.lucid");
    let file = file.to_str().unwrap();
    let public = vector("auditor.pub");
    for (name, bytes) in [
        ("empty.key", Vec::new()),
        ("noise.key", vec![0xC3; 300]),
        ("long.key", vec![b'a'; 100 << 10]),
        ("public.key", fs::read(public).unwrap()),
    ] {
        let key = sandbox.write(name, bytes);
        let ran = sandbox.run(&["verify", file, "--key", &key]);
        assert!(
            ran.code != 0 && ran.err.contains(name) && ran.err.lines().count() == 1,
            "{}: {}",
            ran.code,
            ran.err
        );
    }
    let ran = sandbox.run(&["verify", file, "--key", "missing.key"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let ran = sandbox.run(&["verify", "missing.lucid"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    // Nobody can be asked for a passphrase.
    sandbox.keys("auditor");
    let args = ["verify", file, "--key", "auditor.key"];
    let ran = crate::support::ran(
        &args,
        sandbox
            .command(&args)
            .env_remove("LUCID_PASSPHRASE")
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, NO_KEY, "{}", ran.err);
    assert!(!ran.err.contains(PASSPHRASE));
}

/// A recording, properly signed throughout, whose one chunk holds `zstd` as its compressed bytes and claims `plaintext`
/// bytes of records.
fn with_frame(recipient: &PublicKeys, zstd: Vec<u8>, plaintext: u32) -> Vec<u8> {
    let mut rng = rng();
    let (host, key) = (Keypair::generate(&mut rng), Keypair::generate(&mut rng));
    let id = SessionId([5; 16]);
    let seed = SessionSeed::generate(&mut rng);
    let wraps = wrap_seed(&seed, id, std::slice::from_ref(recipient), &mut rng).unwrap();
    let ticket = Ticket {
        session: id,
        session_key: key.public(),
        host_key: host.public(),
        user: "u".into(),
        target: "t".into(),
        minted_us: 1,
        expires_us: 2,
        policy: lucid_format::Hash::of_policy("p"),
    };
    let head = Head {
        version: Head::VERSION,
        ticket: ticket.sign(&host).unwrap(),
        started_us: 1,
        salt: [1; 32],
        recipients: vec![recipient.id()],
        wraps: hash_wraps(&wraps).unwrap(),
        recorder: "r".into(),
        client: "c".into(),
    };
    let head = SignedHead::sign(head, &key).unwrap();
    let place = ChunkPlace {
        session: id,
        index: 0,
        prev: head.hash,
        start_us: 0,
        start_wall_us: 1,
    };
    let chunk_key = seed.keys(id).chunk_key(0).unwrap();
    let sealer = Sealer::new(place, &chunk_key, &mut rng).unwrap();
    let trailer = [
        &1_000_000u64.to_le_bytes()[..],
        &1u32.to_le_bytes(),
        &plaintext.to_le_bytes(),
        &[0],
    ]
    .concat();
    let trailer: Trailer = borsh::from_slice(&trailer).unwrap();
    let (bytes, sealed) = sealer.finish(Packed::zstd(zstd), trailer).unwrap();
    let mut log = merkle::Log::default();
    log.push(sealed.hash).unwrap();
    let manifest = Manifest {
        version: Manifest::VERSION,
        session: id,
        head: head.hash,
        chunks: 1,
        root: merkle::salted(&head.head.salt, 1, log.root()),
        duration_us: 1_000_000,
        sealed_us: 1,
        chunk_bytes: bytes.len() as u64,
        ending: lucid_format::Ending::Closed,
        reason: "over".into(),
    };
    let signed = SignedManifest::sign(&manifest, &head, &key).unwrap();
    let mut writer = RecordingWriter::recording(Vec::new(), &head, Some(&wraps)).unwrap();
    writer.chunk(&bytes).unwrap();
    writer.finish(&signed).unwrap()
}

#[test]
fn hostile_compression_is_refused_in_bounded_memory() {
    let sandbox = Sandbox::new();
    let recipient = sandbox.keys("auditor");
    let bomb = zstd::bulk::compress(&vec![0; 600 << 20], 19).unwrap();
    assert!(bomb.len() < 1 << 20);
    let mut window = zstd::bulk::compress(&[7; 100], 1).unwrap();
    // A frame header (RFC 8878 3.1.1.1) that asks for a window of 1 TiB: no single segment, window descriptor at its most.
    window.splice(4..6, [0, 0xF8]);
    for (name, frame, plaintext) in [
        ("bomb", bomb.clone(), 1 << 20),
        ("bomb-of-the-largest-size", bomb, 16 << 20),
        ("window", window, 100),
        ("noise", vec![0xA5; 5000], 100),
        ("nothing", Vec::new(), 100),
    ] {
        let file = sandbox.write(name, with_frame(&recipient, frame, plaintext));
        let ran = sandbox.run(&["verify", &file, "--key", "auditor.key"]);
        assert!(
            [TRUNCATED, TAMPERED, MALFORMED].contains(&ran.code),
            "{name}: {} {}",
            ran.code,
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 1, "{name}: {}", ran.err);
        let ran = sandbox.run(&["export", &file, "--key", "auditor.key", "--to", "out.png"]);
        assert!(
            [TRUNCATED, TAMPERED, MALFORMED].contains(&ran.code),
            "{name}: {} {}",
            ran.code,
            ran.err
        );
    }
}

#[test]
fn the_helper_that_makes_hostile_recordings_can_make_sound_ones() {
    let secret = SecretKeys::generate("auditor", &mut rng()).unwrap();
    let record = [&5u64.to_le_bytes()[..], &[7], &0u32.to_le_bytes()].concat();
    let small = zstd::bulk::compress(&record, 1).unwrap();
    let file = with_frame(&secret.public(), small, 13);
    let mut recording = Recording::open(std::io::Cursor::new(file)).unwrap();
    lucid_format::verify(&mut recording, lucid_format::VerifyOptions::default()).unwrap();
}

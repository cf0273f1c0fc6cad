//! Runs the program in a home folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lucid_format::{
    Head, Marker, PublicKeys, SessionSeed, SignedHead, Stream, hash_wraps, wrap_seed,
};
use lucid_recorder::{Home, SessionWriter, rng, ticket, wall_clock_us};
use lucid_store::Store;
use serde_json::Value;
use tempfile::TempDir;

/// Passphrase of the keys that tests make.
pub(crate) const PASSPHRASE: &str = "a passphrase for tests";
/// Passphrase of `tests/vectors/format/auditor.key`.
pub(crate) const VECTORS_PASSPHRASE: &str = "correct horse battery staple";
/// Address space the program gets, in bytes: room for its code, a chunk and a key file's Argon2, and for nothing that a
/// length field asks for.
const ADDRESS_SPACE: u64 = 768 << 20;

pub(crate) struct Sandbox {
    dir: TempDir,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As text, for arguments.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.name(name)
    }

    pub(crate) fn home(&self) -> Home {
        Home::open(&self.path("home")).unwrap()
    }

    /// The program with a clean environment, a home folder of its own and bounded memory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--as={ADDRESS_SPACE}"))
            .arg("--")
            .arg(env!("CARGO_BIN_EXE_lucid"))
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("LUCID_HOME", self.path("home"))
            .env("LUCID_PASSPHRASE", PASSPHRASE)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(args, self.command(args).output().unwrap())
    }

    /// Runs what is to succeed, and gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "lucid {args:?}: {}", ran.err);
        ran.out
    }

    /// Runs what is to succeed with `--json`: one line of it.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        assert_eq!(out.lines().count(), 1, "lucid {args:?} --json: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Makes the keys of `name`.
    pub(crate) fn keys(&self, name: &str) -> PublicKeys {
        self.ok(&["keys", "new", name]);
        PublicKeys::from_text(&fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap())
            .unwrap()
    }

    /// A sealed session in the store, with three chunks; returns its id.
    pub(crate) fn session(&self, recipient: &PublicKeys) -> String {
        let mut writer = self.writer(recipient);
        let wall = wall_clock_us();
        let id = writer.0;
        for n in 0..25 {
            let key = [2 << 2, 6, 0, 30, 1, 30];
            writer
                .1
                .record(n * 1_000_000, wall, Stream::Input, &key)
                .unwrap();
        }
        writer
            .1
            .finish(25_000_000, wall, "the test is over")
            .unwrap();
        id
    }

    /// A session that has begun.
    pub(crate) fn writer(&self, recipient: &PublicKeys) -> (String, SessionWriter) {
        let home = self.home();
        let store = Store::open(home.store()).unwrap();
        let request = ticket::MintRequest {
            user: "operator1".into(),
            target: "desk1".into(),
            valid_for_s: 600,
            policy: "every channel closed".into(),
        };
        let wall = wall_clock_us();
        let minted = ticket::mint(&home, &request, wall).unwrap();
        let claimed = ticket::claim(&home, "operator1", &minted.password, wall).unwrap();
        let id = claimed.ticket.session;
        let seed = SessionSeed::generate(&mut rng());
        let wraps = wrap_seed(&seed, id, std::slice::from_ref(recipient), &mut rng()).unwrap();
        let head = Head {
            version: Head::VERSION,
            ticket: claimed.signed,
            started_us: wall,
            salt: [3; 32],
            recipients: vec![recipient.id()],
            wraps: hash_wraps(&wraps).unwrap(),
            recorder: "tests".into(),
            client: "127.0.0.1".into(),
        };
        let head = SignedHead::sign(head, &claimed.session_key).unwrap();
        let open = store.create_session(&head, &wraps).unwrap();
        let mut writer = SessionWriter::new(open, claimed.session_key, &seed, 8 << 20);
        let text = "begun by a test".to_owned();
        writer.marker(0, wall, Marker::Note { text }).unwrap();
        (id.to_string(), writer)
    }
}

pub(crate) fn ran(args: &[&str], output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let ran = Ran {
        code: output
            .status
            .code()
            .unwrap_or_else(|| panic!("lucid {args:?}: {}", output.status)),
        out: text(output.stdout),
        err: text(output.stderr),
    };
    assert!(!ran.err.contains("panicked"), "lucid {args:?}: {}", ran.err);
    ran
}

/// A golden recording.
pub(crate) fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/format")
        .join(name)
}

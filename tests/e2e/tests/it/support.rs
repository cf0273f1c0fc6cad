//! A home folder, the program in it, a gateway, and what is in a recording.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Cursor, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Condvar, Mutex, Once},
    time::{Duration, Instant},
};

use lucid_desktop::{Client, ClientOptions, Desktop, DesktopOptions, Size};
use lucid_format::{ChunkView, Marker, Recording, SecretKeys, Stream, open_wraps};
use lucid_player::Decoder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long what takes a second may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Passphrase of the auditor's key.
const PASSPHRASE: &str = "a passphrase for tests";

/// The program, beside this test's own executable. It must not be older than the sources: a test of yesterday's program
/// proves nothing.
pub(crate) fn program() -> PathBuf {
    static CHECKED: Once = Once::new();
    let me = std::env::current_exe().unwrap();
    let path = me.ancestors().nth(2).unwrap().join("lucid");
    CHECKED.call_once(|| {
        let build = "run 'cargo build -p lucid', or test the whole workspace";
        let built = fs::metadata(&path)
            .and_then(|m| m.modified())
            .unwrap_or_else(|_| panic!("{} is not there: {build}", path.display()));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut folders = vec![root.join("apps/lucid/src"), root.join("service/src")];
        for group in ["sessions", "blockchain"] {
            let crates = fs::read_dir(root.join(group)).unwrap();
            // The bindings are part of the page, which the program's build script looks at.
            let linked =
                crates.filter(|c| c.as_ref().is_ok_and(|c| c.file_name() != "player-wasm"));
            folders.extend(linked.map(|c| c.unwrap().path().join("src")));
        }
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let entry = entry.unwrap();
                let (source, about) = (entry.path(), entry.metadata().unwrap());
                if about.is_dir() {
                    folders.push(source);
                } else if about.modified().unwrap() > built {
                    panic!(
                        "{} is older than {}: {build}",
                        path.display(),
                        source.display()
                    );
                }
            }
        }
    });
    path
}

/// A place among the tests that run desktops or networks at once: two keep a machine with two cores busy.
pub(crate) struct Slot;

static TAKEN: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());

impl Slot {
    pub(crate) fn take() -> Self {
        let taken = TAKEN.0.lock().unwrap();
        *TAKEN.1.wait_while(taken, |taken| *taken >= 2).unwrap() += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap() -= 1;
        TAKEN.1.notify_one();
    }
}

/// Asks `ready` until it gives something.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn ran(args: &[&str], output: Output) -> Ran {
    let ran = Ran {
        code: output
            .status
            .code()
            .unwrap_or_else(|| panic!("lucid {args:?}: {}", output.status)),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ran.err.contains("panicked"), "lucid {args:?}: {}", ran.err);
    ran
}

/// A desktop that the gateway may lead to.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) addr: SocketAddr,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) security: &'a str,
}

/// A folder with everything of one test: a home folder, the auditor's key, logs.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    _slot: Slot,
}

impl Place {
    pub(crate) fn new() -> Self {
        let slot = Slot::take();
        let place = Self {
            dir: tempfile::Builder::new()
                .prefix("lucid-e2e-")
                .tempdir()
                .unwrap(),
            _slot: slot,
        };
        place.ok(&["keys", "new", "auditor"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn desktop(&self, name: &str) -> Desktop {
        Desktop::start(&DesktopOptions::new(self.path(name))).unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        self.environment(command.args(args));
        command
    }

    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("USER", "tester")
            .env("LUCID_HOME", self.path("home"))
            .env("LUCID_PASSPHRASE", PASSPHRASE)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(args, self.command(args).output().unwrap())
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "lucid {args:?}: {}", ran.err);
        ran.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        serde_json::from_str(&ran.out)
            .unwrap_or_else(|e| panic!("lucid {args:?}: {e}: {} {}", ran.out, ran.err))
    }

    /// Writes the targets file; nothing is pinned.
    pub(crate) fn write_targets(&self, targets: &[Target<'_>]) {
        fs::create_dir_all(self.path("home")).unwrap();
        let mut text = String::new();
        for Target {
            name,
            addr,
            user,
            password,
            security,
        } in targets
        {
            // Outside the home folder, which is searched for it.
            let secret = self.path(&format!("{name}.password"));
            fs::write(&secret, password).unwrap();
            text += &format!(
                "[{name}]\naddress = \"{addr}\"\nuser = \"{user}\"\npassword_file = \"{}\"\nsecurity = \"{security}\"\n",
                secret.display()
            );
        }
        fs::write(self.path("home/targets.toml"), text).unwrap();
    }

    /// Writes the targets file and pins what the targets show, as an operator does who compared it.
    pub(crate) fn trust_targets(&self, targets: &[Target<'_>]) {
        self.write_targets(targets);
        for target in targets {
            let other = "00".repeat(32);
            let refused = self.run(&["target", "trust", target.name, "--fingerprint", &other]);
            assert_eq!(refused.code, 11, "{}", refused.err);
            let shown = refused
                .err
                .split("shows ")
                .nth(1)
                .unwrap()
                .split(',')
                .next()
                .unwrap();
            self.ok(&["target", "trust", target.name, "--fingerprint", shown]);
        }
    }

    pub(crate) fn trust_desktop(&self, name: &str, desktop: &Desktop) {
        self.trust_targets(&[Target {
            name,
            addr: desktop.addr(),
            user: desktop.user(),
            password: desktop.password(),
            security: "tls",
        }]);
    }

    /// Mints a session; gives its id and one-time password.
    pub(crate) fn mint(&self, user: &str, target: &str) -> (String, String) {
        let minted = self.json(&["session", "mint", "--user", user, "--target", target]);
        let text = |key: &str| minted[key].as_str().unwrap().to_owned();
        (text("session"), text("password"))
    }

    pub(crate) fn client_options(
        &self,
        name: &str,
        gateway: &Gateway,
        user: &str,
        password: &str,
    ) -> ClientOptions {
        ClientOptions::new(self.path(name), gateway.addr, user, password)
    }

    /// Logs in and waits for the desktop to be drawn.
    pub(crate) fn log_in(&self, options: &ClientOptions) -> Client {
        let mut client = Client::connect(options).unwrap();
        client.wait_for_picture(PATIENCE).unwrap();
        client
    }

    /// A client that is expected to be refused: waits until it has ended and gives what it said.
    pub(crate) fn refused(&self, options: &ClientOptions) -> String {
        let mut client = Client::connect(options).unwrap();
        let status: ExitStatus = client
            .wait_for_exit(PATIENCE)
            .unwrap_or_else(|| panic!("a client that was to be refused goes on"));
        assert!(!status.success());
        client.output().unwrap()
    }

    pub(crate) fn state(&self, id: &str) -> String {
        let shown = self.run(&["session", "show", id, "--json"]);
        if shown.code == 3 {
            return "none".to_owned();
        }
        let shown: Value = serde_json::from_str(&shown.out).unwrap();
        shown["summary"]["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_for_state(&self, id: &str, state: &str) {
        wait_for(&format!("session {id} to be {state}"), || {
            (self.state(id) == state).then_some(())
        });
    }

    /// Waits for an audit entry with this event whose detail holds `part`.
    pub(crate) fn wait_for_audit(&self, event: &str, part: &str) -> Value {
        wait_for(&format!("the audit entry '{event}' with '{part}'"), || {
            let entries = self.json(&["audit"]);
            let wanted = |e: &&Value| {
                e["event"] == event && e["detail"].as_str().unwrap_or_default().contains(part)
            };
            entries.as_array().unwrap().iter().find(wanted).cloned()
        })
    }

    /// Packs a sealed session and reads it.
    pub(crate) fn read(&self, id: &str) -> Told {
        let name = format!("{id}.lucid");
        if !self.path(&name).exists() {
            self.ok(&["pack", id, "--to", &name]);
        }
        self.read_file(&name)
    }

    pub(crate) fn read_file(&self, name: &str) -> Told {
        let bytes = fs::read(self.path(name)).unwrap();
        let mut recording = Recording::open(Cursor::new(bytes)).unwrap();
        let session = recording.head.ticket.session;
        let keys = match &recording.disclosed {
            Some(disclosed) => disclosed.source(),
            None => {
                let key = fs::read_to_string(self.path("auditor.key")).unwrap();
                let secret = SecretKeys::from_text(&key, PASSPHRASE).unwrap();
                open_wraps(recording.wraps.as_deref().unwrap(), session, &secret)
                    .unwrap()
                    .keys(session)
            }
        };
        let mut told = Told {
            started_us: recording.head.head.started_us,
            duration_us: recording.manifest.manifest.duration_us,
            reason: recording.manifest.manifest.reason.clone(),
            chunks: Vec::new(),
            records: Vec::new(),
        };
        for nth in 0..recording.index.chunks.len() {
            let bytes = recording.chunk(nth).unwrap();
            let view = ChunkView::parse(&bytes, true).unwrap();
            let plaintext = view
                .open(&keys.chunk_key(view.header.index).unwrap())
                .unwrap();
            let entry = &recording.index.chunks[nth];
            told.chunks.push((entry.start_us, entry.end_us));
            for record in view.records(&plaintext) {
                let record = record.unwrap();
                told.records
                    .push((record.time_us, record.stream, record.payload.to_vec()));
            }
        }
        told
    }

    /// The files of the home folder, of the logs and of the recordings in which one of `secrets` stands, in UTF-8, UTF-16,
    /// hex or as numbers.
    pub(crate) fn files_with(&self, secrets: &[&str]) -> Vec<String> {
        let needles: Vec<Vec<u8>> = secrets.iter().flat_map(|s| disguises(s)).collect();
        let mut found = Vec::new();
        let mut search = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            if holds(&bytes, &needles) {
                found.push(path.display().to_string());
            }
        };
        walk(&self.path("home"), &mut search);
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "log" || e == "lucid") {
                search(&path);
            }
        }
        found
    }
}

fn walk(dir: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, each);
        } else if path.is_file() {
            each(&path);
        }
    }
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A text as files, protocols and the logs of careless libraries write it.
fn disguises(secret: &str) -> [Vec<u8>; 5] {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let list = |bytes: &[u8]| {
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        numbers.join(", ")
    };
    let wide = wide(secret);
    [
        hex(secret.as_bytes()).into_bytes(),
        list(secret.as_bytes()).into_bytes(),
        list(&wide).into_bytes(),
        secret.as_bytes().to_vec(),
        wide,
    ]
}

fn holds(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles
        .iter()
        .any(|needle| bytes.windows(needle.len()).any(|w| w == needle))
}

/// What a recording tells who can open it.
pub(crate) struct Told {
    pub(crate) started_us: u64,
    pub(crate) duration_us: u64,
    pub(crate) reason: String,
    pub(crate) chunks: Vec<(u64, u64)>,
    pub(crate) records: Vec<(u64, Stream, Vec<u8>)>,
}

impl Told {
    pub(crate) fn markers(&self) -> Vec<Marker> {
        let markers = self.records.iter().filter(|r| r.1 == Stream::Marker);
        markers.map(|r| Marker::decode(&r.2).unwrap()).collect()
    }

    pub(crate) fn count(&self, stream: Stream) -> usize {
        self.records.iter().filter(|r| r.1 == stream).count()
    }

    /// Whether a text stands in any record, in any of the ways a protocol writes it.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        let needles = disguises(text);
        self.records.iter().any(|r| holds(&r.2, &needles))
    }

    /// The last picture: its size and its pixels as red, green, blue.
    pub(crate) fn last_picture(&self) -> (Size, Vec<u8>) {
        let mut decoder = Decoder::new();
        for (_, stream, payload) in &self.records {
            decoder.apply(*stream, payload).unwrap();
        }
        let screen = decoder.screen();
        let size = Size {
            width: screen.width(),
            height: screen.height(),
        };
        let rgb = screen
            .pixels()
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect();
        (size, rgb)
    }
}

/// Pixels that differ between two pictures of one size.
pub(crate) fn differing(one: &[u8], other: &[u8]) -> usize {
    assert_eq!(one.len(), other.len());
    one.chunks_exact(3)
        .zip(other.chunks_exact(3))
        .filter(|(a, b)| a != b)
        .count()
}

/// More colours than a blank or broken screen has.
pub(crate) fn is_a_desktop(pixels: &[u8]) -> bool {
    pixels.chunks_exact(3).collect::<BTreeSet<_>>().len() > 40
}

/// Waits until what the client shows has not changed for a second, and gives it.
pub(crate) fn settled(client: &Client) -> (Size, Vec<u8>) {
    let mut last = client.screenshot_rgb().unwrap();
    let mut since = Instant::now();
    wait_for("the picture to stand still", || {
        let now = client.screenshot_rgb().unwrap();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1)).then(|| last.clone())
    })
}

/// A running gateway. Dropping it ends it.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) log: PathBuf,
}

impl Gateway {
    /// Starts a gateway on a free port, with the targets of the targets file.
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_with(place, |_| {})
    }

    pub(crate) fn start_with(place: &Place, change: impl FnOnce(&mut Command)) -> Self {
        // The kernel ends it if this test's thread ends without dropping it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program());
        command.args([
            "gateway",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--recipient",
            "auditor.pub",
        ]);
        place.environment(&mut command);
        change(&mut command);
        Self::spawn(place, command)
    }

    pub(crate) fn spawn(place: &Place, mut command: Command) -> Self {
        let log = place.path("gateway.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|e| {
            let _ = child.wait();
            panic!(
                "the gateway said '{line}' ({e}): {}",
                fs::read_to_string(&log).unwrap()
            )
        });
        let addr = told["listen"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            told["fingerprint"].as_str().unwrap().replace(':', "").len(),
            64
        );
        Self { child, addr, log }
    }

    /// As `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Ctrl-C does: ends the sessions, seals them, and gives how the program ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.ask_to_stop();
        wait_for("the gateway to stop", || self.child.try_wait().unwrap())
    }

    fn ask_to_stop(&self) {
        // Not waited for yet, so the id is its own still.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    pub(crate) fn said(&self) -> String {
        let mut text = String::new();
        File::open(&self.log)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.ask_to_stop();
            let end = Instant::now() + Duration::from_secs(15);
            while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < end
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

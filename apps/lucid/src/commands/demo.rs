//! `lucid demo`: the whole way of a recording, with a real desktop and a real client, and nothing to configure.
//!
//! Everything lives in a temporary folder and under guards: when it is over, or is broken off, nothing is left running.

use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use lucid_anchor::book::Stage;
use lucid_desktop::{Client, ClientOptions, Desktop, DesktopOptions};
use lucid_format::{KeySource, Recording, SecretKeys, SessionId};
use lucid_node::init::network;
use lucid_recorder::{Home, anchoring::Opening, audit::AuditLog, ticket::Minted};
use lucid_store::{SessionState, Store};
use tokio::runtime::Runtime;

use crate::{
    App, anchoring,
    cli::{DemoArgs, ProveArgs, RangeArgs},
    commands::{
        export, keys, prove,
        replay::{self, Served},
        verify,
    },
    config::ChainSettings,
    exit::{PROGRAM, exit},
    hosted::{Hosted, PATIENCE, own_desktop, runtime},
    processes::{self, Node},
    recording::{self, OpenRecording},
    ui::{Tone, size},
};

const USER: &str = "operator1";
const NAME: &str = "demo";
/// Enough that one may fail.
const VALIDATORS: u16 = 4;
/// Often, so that a short session has some.
const CHECKPOINTS: &str = "5s";
/// Seals the demonstration's key file; printed, because it protects nothing.
const PASSPHRASE: &str = "lucid-demo";

/// Runs the demonstration.
pub fn run(app: &App, args: &DemoArgs) -> Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix("lucid-demo-")
        .tempdir()
        .context("making a temporary folder")?;
    let out = match &args.out {
        Some(dir) => {
            fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
            dir.clone()
        }
        None => scratch.path().to_owned(),
    };
    let files = Files::in_dir(&out);
    files.refuse_to_overwrite()?;

    let secret = SecretKeys::generate("auditor", &mut lucid_recorder::rng())?;
    keys::create(&secret, PASSPHRASE, &out)?;

    let step = Step::begin(app, "starting a desktop (xrdp, xorgxrdp, openbox)");
    let mut options = DesktopOptions::new(scratch.path().join("desktop"));
    options.startup = "xterm -geometry 64x12+380+540 -title activity -e top -d 1 &\n".to_owned();
    let desktop = Desktop::start(&options).map_err(|e| exit(PROGRAM, e.to_string()))?;
    step.done(format!("desktop on {}", desktop.addr()));

    let runtime = runtime()?;
    let step = Step::begin(app, "starting a chain of four validators");
    let chain = Chain::start(app, scratch.path(), &runtime)?;
    step.done(format!(
        "chain of four validators, JSON-RPC {}",
        chain.url()
    ));
    let (anchoring, queue) = anchoring::start(&chain.app)?;
    let target = own_desktop(&runtime, &desktop)?;
    let gateway = Hosted::start(
        &runtime,
        scratch.path(),
        secret.public(),
        target,
        1,
        Some(anchoring.clone()),
    )?;
    Step::begin(app, "").done(format!(
        "gateway on {}, certificate SHA-256 {}",
        gateway.address, gateway.fingerprint
    ));
    let minted = gateway.mint(USER, &app.settings.policy())?;
    let id = minted.ticket.session;
    let opening = anchoring.open(id, minted.ticket.session_key, minted.ticket.policy);
    let Opening::Final { height, .. } = runtime.block_on(opening)? else {
        bail!("the chain did not take the session's id in time");
    };
    Step::begin(app, "").done(format!(
        "session {id} minted and opened in block {height}, one-time password {}",
        minted.password.as_str()
    ));

    work(app, args, scratch.path(), &gateway, &minted, &files)
        .map_err(|error| explain(error, &gateway.home))?;
    let step = Step::begin(app, "sealing");
    wait_for_seal(&gateway.store, id)?;
    let sealed = Instant::now();
    let store = gateway.store.clone();
    recording::write_atomically(&files.recording, |file| {
        Ok(store.pack(id, file, &mut |_, _| {}).map(drop)?)
    })?;
    let bytes = fs::metadata(&files.recording)?.len();
    step.done(format!(
        "sealed {}: {}",
        files.recording.display(),
        size(bytes)
    ));
    let step = Step::begin(app, "proving: waiting for the end to be final");
    chain.wait_until_closed(id)?;
    prove::run(
        &chain.app,
        &ProveArgs {
            recording: id.to_string(),
            out: files.proof.clone(),
            rpc: None,
            genesis: None,
            all: false,
            batched: None,
        },
    )?;
    fs::copy(chain.genesis(), &files.genesis).context("keeping the genesis file")?;
    let took = sealed.elapsed().as_secs_f64();
    step.done(format!("proven {took:.1} s after the seal"));
    gateway.stop(&runtime)?;
    drop((anchoring, desktop));
    let _ended = queue.join();
    drop(chain);
    let text = "gateway, desktop and chain are gone: what follows has the recording, the proof and genesis.json";
    Step::begin(app, "").done(text);

    let mut recording = open(&files.recording)?;
    let proven = verify::check(app, &mut recording, Some(&secret))?;
    app.ui.line("");
    verify::print(
        app,
        &files.recording.display().to_string(),
        &recording,
        &proven,
    );
    let (anchored, coverage) = verify::anchor(&files.proof, &files.genesis, &recording)?;
    verify::print_anchor(app, &recording, &anchored, &coverage);
    app.ui.line("");
    let keys = recording::keys(&recording, Some(&secret))?
        .context("the auditor's key opens the recording")?;
    refuse_flipped_byte(app, &files.recording, scratch.path(), &keys)?;
    refuse_flipped_proof(app, &files, scratch.path(), &recording)?;

    let end = recording.manifest.manifest.duration_us;
    let step = Step::begin(app, "replaying");
    let last = RangeArgs {
        from: Some(end),
        until: None,
    };
    let still = export::export(app, &mut recording, &keys, &files.still, &last, 1)?;
    step.done(format!("still {}: {still}", files.still.display()));
    compare(app, &files)?;
    let step = Step::begin(app, "exporting");
    let all = RangeArgs {
        from: None,
        until: None,
    };
    let video = export::export(app, &mut recording, &keys, &files.video, &all, 10)?;
    step.done(format!("video {}: {video}", files.video.display()));
    if args.out.is_some() {
        app.ui.line(format!(
            "check it, on any machine and without a network: lucid verify {} {} --genesis {}",
            files.recording.display(),
            files.proof.display(),
            files.genesis.display()
        ));
        app.ui.line(format!(
            "watch it: lucid replay {} --key {}   (passphrase {PASSPHRASE})",
            files.recording.display(),
            out.join("auditor.key").display()
        ));
    } else {
        app.ui.note("nothing was kept and nothing is left running; --out DIR keeps recording, key, still and video");
    }
    if args.replay {
        serve(app, &files.recording, &secret, &recording)
    } else {
        Ok(())
    }
}

/// A chain of its own, and the gateway's configuration for it.
struct Chain {
    /// This program, with the demonstration's home folder and this chain.
    app: App,
    _nodes: Vec<Node>,
}

impl Chain {
    fn start(app: &App, scratch: &Path, runtime: &Runtime) -> Result<Self> {
        let net = scratch.join("net");
        let mut settings = app.settings.clone();
        settings.chain = ChainSettings {
            genesis: net.join("genesis.json"),
            key: net.join("funded.key"),
            checkpoint_every: CHECKPOINTS.to_owned(),
            ..ChainSettings::default()
        };
        network(&processes::options(&net, VALIDATORS, 0)?)?;
        let mut nodes = processes::start_all(&net, false)?;
        runtime.block_on(processes::wait_until_ready(&mut nodes))?;
        settings.chain.url = nodes.iter().map(|node| node.url.clone()).collect();
        let app = App {
            ui: app.ui,
            settings,
            home: scratch.join("home"),
        };
        Ok(Self { app, _nodes: nodes })
    }

    fn url(&self) -> &str {
        self.app
            .settings
            .chain
            .url
            .first()
            .map_or("", String::as_str)
    }

    fn genesis(&self) -> &Path {
        &self.app.settings.chain.genesis
    }

    fn wait_until_closed(&self, id: SessionId) -> Result<()> {
        let folder = lucid_anchor::Folder::at(self.app.home()?.anchors());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let closed = folder.session(id)?.and_then(|session| session.closed);
            match closed.map(|closing| closing.stage) {
                Some(Stage::Final(_)) => return Ok(()),
                Some(Stage::Failed { why }) => bail!("the session's end was not anchored: {why}"),
                _ if Instant::now() > deadline => bail!(
                    "the session's end was not final within {} s",
                    PATIENCE.as_secs()
                ),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// What the demonstration writes.
struct Files {
    recording: PathBuf,
    proof: PathBuf,
    genesis: PathBuf,
    still: PathBuf,
    video: PathBuf,
    /// What the client itself saw last.
    seen: PathBuf,
}

impl Files {
    fn in_dir(dir: &Path) -> Self {
        let file = |ending: &str| dir.join(format!("{NAME}{ending}"));
        Self {
            recording: file(".lucid"),
            proof: file(".lucidproof"),
            genesis: dir.join("genesis.json"),
            still: file(".png"),
            video: file(".mp4"),
            seen: file("-client.png"),
        }
    }

    fn refuse_to_overwrite(&self) -> Result<()> {
        for path in [
            &self.recording,
            &self.proof,
            &self.genesis,
            &self.still,
            &self.video,
            &self.seen,
        ] {
            if path.exists() {
                bail!("{} is there already: give another --out", path.display());
            }
        }
        Ok(())
    }
}

/// One line of progress: a spinner while it lasts, a tick when it is done.
struct Step<'a> {
    app: &'a App,
    spinner: ProgressBar,
}

impl<'a> Step<'a> {
    fn begin(app: &'a App, what: &str) -> Self {
        Self {
            app,
            spinner: app.ui.spinner(what),
        }
    }

    fn say(&self, what: String) {
        self.spinner.set_message(what);
    }

    fn done(self, what: impl std::fmt::Display) {
        self.spinner.finish_and_clear();
        self.app
            .ui
            .line(format!("{} {what}", self.app.ui.paint(Tone::Good, "✓")));
    }
}

/// Logs in, types and moves windows, and keeps what the client saw last.
fn work(
    app: &App,
    args: &DemoArgs,
    scratch: &Path,
    gateway: &Hosted,
    minted: &Minted,
    files: &Files,
) -> Result<()> {
    let fault = |e: lucid_desktop::DesktopError| exit(PROGRAM, e.to_string());
    let step = Step::begin(app, "logging in (xfreerdp)");
    let options = ClientOptions::new(
        scratch.join("client"),
        gateway.address,
        USER,
        minted.password.as_str(),
    );
    let mut client = Client::connect(&options).map_err(fault)?;
    client.wait_for_picture(PATIENCE).map_err(fault)?;
    step.done(
        "logged in with the one-time password; the target's own was never seen by the client",
    );

    let step = Step::begin(app, "recording");
    let begin = Instant::now();
    let length = Duration::from_secs(args.seconds);
    client.mouse_click(300, 200).map_err(fault)?;
    let lines = [
        "echo everything on this screen is being recorded\n",
        "ls --color /usr | head -n 12\n",
        "for i in $(seq 40); do echo line $i of a longer listing; done\n",
        "date; id -un\n",
    ];
    let mut round = 0u16;
    while begin.elapsed() < length {
        let at = begin.elapsed().as_secs();
        step.say(format!("recording {at} of {} s: typing", args.seconds));
        client.mouse_click(300, 200).map_err(fault)?;
        client
            .type_text(lines[usize::from(round) % lines.len()])
            .map_err(fault)?;
        step.say(format!(
            "recording {at} of {} s: moving a window",
            args.seconds
        ));
        // The title bar of the second window; each round leaves it elsewhere.
        let (from, to) = if round.is_multiple_of(2) {
            ((560, 550), (400, 560))
        } else {
            ((400, 560), (560, 550))
        };
        client.mouse_drag(from, to).map_err(fault)?;
        std::thread::sleep(Duration::from_millis(700));
        round += 1;
    }
    // The second window shows the time: ended, the last picture stands still.
    client.mouse_click(480, 660).map_err(fault)?;
    client.type_text("q").map_err(fault)?;
    std::thread::sleep(Duration::from_millis(1500));
    client.screenshot(&files.seen).map_err(fault)?;
    client.disconnect().map_err(fault)?;
    step.done(format!(
        "recorded {} s of typing and moving windows",
        begin.elapsed().as_secs()
    ));
    Ok(())
}

/// Adds what the gateway has to say to what the client saw.
fn explain(error: anyhow::Error, home: &Home) -> anyhow::Error {
    let said = AuditLog::at(home.audit())
        .read()
        .ok()
        .and_then(|entries| entries.last().cloned());
    match said {
        Some(entry) => error.context(format!(
            "the gateway says: {}, {}",
            entry.event, entry.detail
        )),
        None => error,
    }
}

fn wait_for_seal(store: &Store, id: SessionId) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(
        store.session(id)?.summary.state,
        SessionState::Closed | SessionState::Cut
    ) {
        if Instant::now() > deadline {
            bail!("the session was not sealed within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn open(path: &Path) -> Result<OpenRecording> {
    Ok(Recording::open(BufReader::new(fs::File::open(path)?))?)
}

/// Flips one bit in the middle of a copy, and shows that verification says so.
fn refuse_flipped_byte(app: &App, original: &Path, scratch: &Path, keys: &KeySource) -> Result<()> {
    let mut bytes = fs::read(original)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let copy = scratch.join("flipped.lucid");
    fs::write(&copy, bytes)?;
    let options = lucid_format::VerifyOptions {
        keys: Some(keys),
        progress: None,
    };
    let verdict = open(&copy).and_then(|mut r| Ok(lucid_format::verify(&mut r, options)?));
    match verdict {
        Err(refusal) => {
            let text =
                format!("a copy with one bit flipped at byte {middle} is refused: {refusal}");
            app.ui
                .line(format!("{} {text}", app.ui.paint(Tone::Good, "✓")));
            Ok(())
        }
        Ok(_) => bail!(
            "a copy with one bit flipped at byte {middle} was accepted: this is a fault of Lucid"
        ),
    }
}

/// Flips one bit in the middle of a copy of the proof, and shows that the recording is no longer proven by it.
fn refuse_flipped_proof(
    app: &App,
    files: &Files,
    scratch: &Path,
    recording: &OpenRecording,
) -> Result<()> {
    let mut bytes = fs::read(&files.proof)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let copy = scratch.join("flipped.lucidproof");
    fs::write(&copy, bytes)?;
    let Err(refusal) = verify::anchor(&copy, &files.genesis, recording) else {
        bail!(
            "a proof with one bit flipped at byte {middle} was accepted: this is a fault of Lucid"
        );
    };
    let text = format!("the proof with one bit flipped at byte {middle}: {refusal}");
    app.ui
        .line(format!("{} {text}", app.ui.paint(Tone::Good, "✓")));
    Ok(())
}

/// Compares the replayed last frame with what the client itself saw: only the pointer may differ, which a client draws by
/// itself and a replay from the recorded input.
fn compare(app: &App, files: &Files) -> Result<()> {
    /// Side of the largest pointer.
    const POINTER: usize = 64;
    let (replayed, seen) = (read_png(&files.still)?, read_png(&files.seen)?);
    let (mut different, mut left, mut right, mut top, mut bottom) =
        (0, usize::MAX, 0, usize::MAX, 0);
    let lines = replayed
        .pixels
        .chunks_exact(replayed.width * 3)
        .zip(seen.pixels.chunks_exact(seen.width * 3));
    for (y, (a, b)) in lines.enumerate() {
        for (x, _) in a
            .chunks_exact(3)
            .zip(b.chunks_exact(3))
            .enumerate()
            .filter(|(_, (a, b))| a != b)
        {
            different += 1;
            (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
        }
    }
    if different > 0 && (right - left >= POINTER || bottom - top >= POINTER) {
        bail!(
            "the replayed last frame and the client's screenshot differ in more than a pointer ({different} pixels)"
        );
    }
    let total = replayed.pixels.len() / 3;
    app.ui.line(format!(
        "{} the replayed last frame is what the client saw: {different} of {total} pixels differ, where the pointer is",
        app.ui.paint(Tone::Good, "✓")
    ));
    Ok(())
}

struct Picture {
    width: usize,
    pixels: Vec<u8>,
}

fn read_png(path: &Path) -> Result<Picture> {
    let mut decoder = png::Decoder::new(BufReader::new(fs::File::open(path)?));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let mut buffer = vec![
        0;
        reader
            .output_buffer_size()
            .context("the picture is too large")?
    ];
    let info = reader.next_frame(&mut buffer)?;
    let channels = info.color_type.samples();
    let rgb = |pixel: &[u8]| match *pixel {
        [grey] | [grey, _] => [grey; 3],
        [r, g, b] | [r, g, b, _] => [r, g, b],
        _ => [0; 3],
    };
    let pixels = buffer[..info.buffer_size()]
        .chunks_exact(channels)
        .flat_map(rgb)
        .collect();
    Ok(Picture {
        width: usize::try_from(info.width)?,
        pixels,
    })
}

fn serve(app: &App, path: &Path, secret: &SecretKeys, recording: &OpenRecording) -> Result<()> {
    let seed = recording::seed(recording, secret)?;
    let file = fs::File::open(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (listener, page) = replay::listen(0).await?;
        let url = replay::with_key(&page, &seed);
        app.ui.line(format!("player at {url} (Ctrl-C ends)"));
        tokio::select! {
            served = replay::serve(listener, Served::new(file)?) => served,
            stopped = tokio::signal::ctrl_c() => stopped.context("waiting for Ctrl-C"),
        }
    })
}

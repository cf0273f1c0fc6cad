//! Sessions on a real chain: opened, checkpointed and closed once each, whatever is away or killed meanwhile.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use alloy_primitives::{B256, U256};
use lucid_anchor::book::{Job, Leaf, Session, Stage};
use lucid_anchor::{Anchors, Folder, Settings, anchor_id, hash_leaf};
use lucid_chain_types::Height;
use lucid_chain_types::anchors::{
    BatchSent, CheckpointSent, Closed, Moment, Opened, batch_root_of_path,
};
use lucid_client::anchors::{Event, Of, Seen};
use lucid_client::{Client, Order, Wallet};
use lucid_format::{Marker, Recording, SessionId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{Gateway, PATIENCE, Place, program, wait_for};

/// A network of one validator in a folder, that can be stopped and started again at the same address.
struct Devnet {
    child: Child,
}

impl Devnet {
    fn start(place: &Place, port: u16) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program());
        command.args(["devnet", "--json", "--validators", "1", "--dir", "net"]);
        command.args(["--rpc-port", &port.to_string()]);
        place.environment(&mut command);
        let log = place.path("devnet.log");
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
        assert!(
            line.contains("funded"),
            "the devnet said '{line}': {}",
            fs::read_to_string(&log).unwrap()
        );
        Self { child }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        wait_for("the devnet to stop", || self.child.try_wait().unwrap());
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        // Its node notices.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// What the chain has of a session is what the queue says of it, each step once, and the contract's log says so too.
async fn agrees(client: &Client, account: &Wallet, id: SessionId, told: &Session, batches: B256) {
    let anchor = anchor_id(id);
    let height = client.height().await.unwrap();
    let events = client
        .anchor_events(Of::Session(anchor), Height(1), height)
        .await
        .unwrap();
    let at = |seen: &Seen| match told.opened {
        Stage::Final(_) => seen.at,
        _ => panic!("{id}: {told:?}"),
    };
    let place = |stage: &Stage, seen: &Seen| match stage {
        Stage::Final(place) => assert_eq!(
            (place.height, place.time, place.transaction),
            (seen.at.height.0, seen.at.time_s, seen.transaction)
        ),
        other => panic!("{id}: {other:?}"),
    };
    let mut events = events.iter();
    let opened = events.next().unwrap();
    let Event::Opened { owner, opener, .. } = opened.event else {
        panic!("{id}: {opened:?}");
    };
    assert_eq!((owner, opener), (told.owner, account.address()));
    place(&told.opened, opened);
    let mut log = Opened {
        id: anchor,
        owner,
        opener,
        session_key: told.session_key,
        policy: told.policy,
        at: at(opened),
    }
    .log();
    for checkpoint in told.checkpoints.iter().filter(|c| c.batch.is_none()) {
        let seen = events.next().unwrap();
        let (size, root) = (checkpoint.size, checkpoint.root);
        assert_eq!(
            seen.event,
            Event::Checkpoint {
                id: anchor,
                size,
                root
            }
        );
        place(&checkpoint.stage, seen);
        log = CheckpointSent {
            size,
            root,
            at: seen.at,
        }
        .after(log);
    }
    for checkpoint in told.checkpoints.iter().filter(|c| c.batch.is_some()) {
        let leaf = Leaf {
            id,
            size: checkpoint.size,
            root: checkpoint.root,
        };
        let root = batch_root_of_path(hash_leaf(&leaf), &checkpoint.path);
        assert_eq!(Some(root), checkpoint.batch);
        let batch = client.batch(root).await.unwrap().unwrap();
        assert_eq!(batch.sender, account.address());
        assert!(checkpoint.stage.is_final());
    }
    let closed = events.next().unwrap();
    let closing = told.closed.as_ref().unwrap();
    let (manifest, root, chunks) = (closing.manifest, closing.root, closing.chunks);
    assert_eq!(
        closed.event,
        Event::Closed {
            id: anchor,
            owner,
            manifest,
            root,
            chunks
        }
    );
    place(&closing.stage, closed);
    assert_eq!(events.next(), None, "{id} is anchored twice");
    let log = Closed {
        manifest,
        root,
        chunks,
        batches,
        at: closed.at,
    }
    .after(log);
    let stored = client.session(anchor).await.unwrap().unwrap();
    assert_eq!(stored.log, log);
}

/// The batches that an account had sent before some block, as the contract chains them.
fn batches_before(folder: &Folder, height: u64) -> B256 {
    let entries = folder.batches().unwrap();
    let before = entries.iter().filter(|entry| entry.place.height < height);
    before.fold(B256::ZERO, |log, entry| {
        BatchSent {
            root: entry.root,
            count: entry.count,
            at: Moment {
                height: Height(entry.place.height),
                time_s: entry.place.time,
            },
        }
        .after(log)
    })
}

/// The whole answer of a gateway's monitor.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn shown(place: &Place, id: &str) -> Value {
    place.json(&["session", "show", id])["anchors"].clone()
}

fn wait_for_end(place: &Place, id: &str) {
    wait_for(&format!("session {id} to be closed on the chain"), || {
        (shown(place, id)["closed"]["stage"] == "final").then_some(())
    });
}

#[test]
fn sessions_are_opened_checkpointed_and_closed_on_the_chain_across_an_outage_and_a_kill() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    let port = free_port();
    let devnet = Devnet::start(&place, port);
    fs::copy(place.path("net/funded.key"), place.path("home/anchor.key")).unwrap();
    fs::copy(
        place.path("net/genesis.json"),
        place.path("home/genesis.json"),
    )
    .unwrap();
    let config = format!(
        "[chain]\nurl = [\"http://127.0.0.1:{}\", \"http://127.0.0.1:{port}\"]\ncheckpoint_every = \"1s\"\nmint_timeout = \"15s\"\n",
        free_port()
    );
    fs::write(place.path("home/lucid.toml"), config).unwrap();

    // Without a gateway the command has the queue itself.
    let minted = place.json(&["session", "mint", "--user", "ada", "--target", "desk1"]);
    assert_eq!(minted["anchor"]["opening"], "final", "{minted}");
    let text = |minted: &Value, key: &str| minted[key].as_str().unwrap().to_owned();
    let (first, password) = (text(&minted, "session"), text(&minted, "password"));
    assert_eq!(shown(&place, &first)["opened"]["stage"], "final");

    let monitor = format!("127.0.0.1:{}", free_port());
    let queueing = |command: &mut Command| {
        command.env("LUCID_CHAIN_OFFLINE", "queue");
        command.env("LUCID_CHAIN_MINT_TIMEOUT", "2s");
        command.env("LUCID_MONITOR_LISTEN", &monitor);
    };
    let gateway = Gateway::start_with(&place, queueing);
    let ada = place.log_in(&place.client_options("ada", &gateway, "ada", &password));
    wait_for("a final checkpoint", || {
        let anchors = shown(&place, &first);
        let checkpoints = anchors["checkpoints"].as_array()?.clone();
        checkpoints
            .iter()
            .any(|c| c["stage"] == "final")
            .then_some(())
    });

    // The chain goes away. The gateway was told to queue.
    devnet.stop();
    let minted = place.json(&["session", "mint", "--user", "bob", "--target", "desk1"]);
    assert_eq!(minted["anchor"]["opening"], "queued", "{minted}");
    let (second, password) = (text(&minted, "session"), text(&minted, "password"));
    wait_for("the gateway to say that it is not well", || {
        let health = get(&monitor, "/health");
        (health.contains(" 503 ") && health.contains("nothing can be anchored")).then_some(())
    });
    let bob = place.log_in(&place.client_options("bob", &gateway, "bob", &password));
    place.ok(&["session", "end", &second]);
    // The desktop belongs to who came last: the first session ends when the second begins.
    for id in [&first, &second] {
        place.wait_for_state(id, "closed");
    }
    drop((ada, bob));
    gateway.kill();
    // And without it, nothing may be minted.
    let mut refused = place.command(&["session", "mint", "--user", "eve", "--target", "desk1"]);
    let refused = refused
        .env("LUCID_CHAIN_MINT_TIMEOUT", "2s")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{error}");
    assert!(error.contains("nothing was minted"), "{error}");
    let listed = place.json(&["session", "list"]);
    assert_eq!(listed["tickets"].as_array().unwrap().len(), 0, "{listed}");

    let devnet = Devnet::start(&place, port);
    let gateway = Gateway::start_with(&place, queueing);
    wait_for_end(&place, &first);
    wait_for_end(&place, &second);
    wait_for("the gateway to be well", || {
        get(&monitor, "/health").contains(" 200 OK").then_some(())
    });
    let metrics = get(&monitor, "/metrics");
    for line in [
        "lucid_anchor_connected 1",
        "lucid_anchor_outcomes_total{outcome=\"final\"}",
        "# HELP lucid_gateway_sessions",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    drop(gateway);

    let told = place.read(&second);
    let noted = told.markers().into_iter().any(|marker| {
        matches!(marker, Marker::Note { text } if text.contains("is queued and not final"))
    });
    assert!(noted, "the recording says that its opening waited");
    let folder = Folder::at(place.path("home/anchors"));
    let account = Wallet::load(&place.path("home/anchor.key")).unwrap();
    let runtime = runtime();
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    for id in [&first, &second] {
        place.read(id);
        let file = File::open(place.path(&format!("{id}.lucid"))).unwrap();
        let recording = Recording::open(BufReader::new(file)).unwrap();
        let id: SessionId = id.parse().unwrap();
        let session = folder.settled(id).unwrap().unwrap();
        let manifest = blake3::derive_key("lucid 2026-11 manifest v1", recording.manifest.bytes());
        let closing = session.closed.as_ref().unwrap();
        assert_eq!(closing.manifest, B256::from(manifest));
        assert_eq!(closing.root.0, recording.manifest.manifest.root.0);
        runtime.block_on(agrees(&client, &account, id, &session, B256::ZERO));
    }
    drop(devnet);
}

/// Kills of the processes that have a queue.
fn kills() -> u32 {
    let wanted = std::env::var("LUCID_KILLS").ok();
    wanted.map_or(20, |text| text.parse().unwrap())
}

/// Sessions that a helper runs at once.
const AT_ONCE: u32 = 10;
const CHECKPOINTS: u64 = 3;

fn session_id(gateway: u8, number: u32) -> SessionId {
    let mut id = [gateway; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    SessionId(id)
}

/// What a gateway does with its sessions, from the start at every start: whatever is done already is taken for done.
async fn run_sessions(anchors: &Anchors, gateway: u8, count: u32) {
    let numbers: Vec<u32> = (0..count).collect();
    for numbers in numbers.chunks(AT_ONCE as usize) {
        let ids: Vec<SessionId> = numbers.iter().map(|n| session_id(gateway, *n)).collect();
        let submit = async |job: &dyn Fn(SessionId) -> Job| {
            let jobs = ids.iter().map(|id| job(*id)).collect();
            for result in anchors.submit(jobs).await.unwrap() {
                result.unwrap();
            }
        };
        submit(&|id| Job::Open {
            id,
            owner: anchors.account(),
            session_key: B256::repeat_byte(1),
            policy: B256::repeat_byte(2),
        })
        .await;
        for size in 1..=CHECKPOINTS {
            submit(&|id| Job::Checkpoint {
                id,
                size,
                root: B256::with_last_byte(u8::try_from(size).unwrap()),
            })
            .await;
            for id in &ids {
                let covered = |s: &Session| {
                    let found = s.checkpoints.iter().find(|c| c.size >= size);
                    let over = s.closed.is_some();
                    (over || found.is_some_and(|c| c.stage.is_final())).then_some(())
                };
                anchors.wait(*id, PATIENCE, covered).await.unwrap();
            }
        }
        submit(&|id| Job::Close {
            id,
            manifest: B256::repeat_byte(7),
            root: B256::repeat_byte(8),
            chunks: CHECKPOINTS,
        })
        .await;
        for id in &ids {
            let closed = |s: &Session| s.closed.as_ref()?.stage.is_final().then_some(());
            anchors.wait(*id, PATIENCE, closed).await.unwrap();
        }
    }
}

/// Where a helper is told what to do.
const HELPER: &str = "LUCID_ANCHOR_HELPER";

fn settings(folder: &Path, urls: Vec<String>) -> Settings {
    Settings {
        folder: folder.join("anchors"),
        urls,
        wallet: Wallet::load(&folder.join("anchor.key")).unwrap(),
        genesis: None,
        batch_from: 4,
        in_flight: 16,
    }
}

#[test]
#[ignore = "no test: the process that the next one kills"]
fn helper() {
    let told = std::env::var(HELPER).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let folder = PathBuf::from(told["folder"].as_str().unwrap());
    let urls = serde_json::from_value(told["urls"].clone()).unwrap();
    let (anchors, thread) = Anchors::start(settings(&folder, urls)).unwrap();
    let gateway = u8::try_from(told["gateway"].as_u64().unwrap()).unwrap();
    let count = u32::try_from(told["count"].as_u64().unwrap()).unwrap();
    runtime().block_on(run_sessions(&anchors, gateway, count));
    drop(anchors);
    thread.join().unwrap();
}

struct Helper {
    command: Command,
    child: Child,
}

impl Helper {
    fn start(folder: &Path, gateway: u8, urls: &[String], count: u32) -> Self {
        let told = serde_json::json!({
            "folder": folder, "gateway": gateway, "urls": urls, "count": count,
        });
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "anchors::helper", "--ignored", "--nocapture"]);
        command.env(HELPER, told.to_string()).stdin(Stdio::null());
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("helper.log"))
            .unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Self { command, child }
    }

    /// Kills it and starts it again; not if it has done everything.
    fn kill(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = self.command.spawn().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_gateways_killed_at_random_points_anchor_every_step_of_every_session_exactly_once() {
    let place = Place::new();
    let port = free_port();
    let _devnet = Devnet::start(&place, port);
    let live = format!("http://127.0.0.1:{port}");
    let dead = format!("http://127.0.0.1:{}", free_port());
    let client = Client::new(&live).unwrap();
    let runtime = runtime();

    // An account each.
    let folders = [place.path("one"), place.path("two")];
    for folder in &folders {
        fs::create_dir(folder).unwrap();
    }
    fs::copy(place.path("net/funded.key"), folders[0].join("anchor.key")).unwrap();
    let other = Wallet::generate().unwrap();
    other.save(&folders[1].join("anchor.key")).unwrap();
    let funded = Wallet::load(&folders[0].join("anchor.key")).unwrap();
    let order = Order {
        to: other.address(),
        value: U256::from(10).pow(U256::from(20)),
        ..Order::default()
    };
    runtime
        .block_on(client.send_and_wait(&funded, order, PATIENCE))
        .unwrap();

    let count = AT_ONCE * (1 + kills() / 20);
    let mut helpers = [
        Helper::start(&folders[0], 1, std::slice::from_ref(&live), count),
        Helper::start(&folders[1], 2, &[dead, live], count),
    ];
    // Pauses that are no multiple of anything, so that the kills hit all points in time.
    for kill in 0..kills() {
        thread::sleep(Duration::from_millis(u64::from(60 + kill * 7919 % 640)));
        helpers[kill as usize % 2].kill();
    }
    for helper in &mut helpers {
        let status = wait_for("the last run of a gateway", || {
            helper.child.try_wait().unwrap()
        });
        assert!(status.success(), "{status}");
    }

    for (folder, (gateway, wallet)) in folders.iter().zip([(1, &funded), (2, &other)]) {
        let folder = Folder::at(folder.join("anchors"));
        for number in 0..count {
            let id = session_id(gateway, number);
            let session = folder.settled(id).unwrap().unwrap();
            let Some(Stage::Final(closed)) = session.closed.as_ref().map(|c| &c.stage) else {
                panic!("{session:?}");
            };
            let batches = batches_before(&folder, closed.height);
            runtime.block_on(agrees(&client, wallet, id, &session, batches));
        }
        let all = batches_before(&folder, u64::MAX);
        let chained = runtime
            .block_on(client.batch_log(wallet.address()))
            .unwrap();
        assert_eq!(all, chained);
        assert_ne!(all, B256::ZERO, "there were batches");
    }
}

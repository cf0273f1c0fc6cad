//! `lucid up`: everything at once, and one session through all of it while parts die.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use lucid_desktop::ClientOptions;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Place, program, wait_for};

struct Up {
    child: Child,
    told: Value,
}

impl Up {
    fn start(place: &Place, listen: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program());
        command.args(["up", "--json", "--page-port", "0", "--listen", listen]);
        place.environment(&mut command);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(place.path("up.log"))
            .unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told = serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ = child.wait();
            let log = fs::read_to_string(place.path("up.log")).unwrap();
            panic!("it said '{line}' ({error}): {log}")
        });
        Self { child, told }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = wait_for("it to stop", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that have all of these words in their command line.
fn running(words: &[&str]) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let pid = entry.file_name().to_str()?.parse().ok()?;
        words
            .iter()
            .all(|word| line.split('\0').any(|part| part.contains(word)))
            .then(|| Pid::from_raw(pid))?
    });
    found.collect()
}

fn kill(words: &[&str]) -> Pid {
    let found = running(words);
    assert_eq!(found.len(), 1, "{words:?}: {found:?}");
    kill_process(found[0], Signal::KILL).unwrap();
    found[0]
}

/// What a page answers, head and all.
fn get(page: &str, path: &str) -> Vec<u8> {
    let host = page.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{path}");
    answer
}

fn height(place: &Place, up: &Up) -> u64 {
    let rpc = up.told["rpc"][0].as_str().unwrap();
    place.json(&["chain", "status", "--rpc", rpc])["height"]
        .as_u64()
        .unwrap()
}

/// Issue 4: recorded and checkpointed, the gateway killed and back, a validator killed and back, closed, proven, everything ended;
/// then recording, proof and genesis file are verified without a network, by both verifiers.
#[test]
fn a_session_is_proven_though_gateway_and_validator_are_killed_on_the_way() {
    let place = Place::new();
    let home = place.path("home").display().to_string();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let up = Up::start(&place, &listen.to_string());
    assert_eq!(up.told["gateway"]["listen"], listen.to_string());

    let minted = place.json(&["session", "mint", "--user", "alice"]);
    let text = |key: &str| minted[key].as_str().unwrap().to_owned();
    let (id, password) = (text("session"), text("password"));
    assert_eq!(minted["anchor"]["opening"], "final", "{minted}");
    let options = ClientOptions::new(place.path("client"), listen, "alice", &password);
    let client = place.log_in(&options);
    client.mouse_click(300, 200).unwrap();
    client.type_text("echo anchored\n").unwrap();
    let checkpoints = || {
        let shown = place.json(&["session", "show", &id]);
        let all = shown["anchors"]["checkpoints"].as_array().cloned();
        let finals = all.unwrap_or_default();
        let finals = finals.iter().filter(|it| it["stage"] == "final").count();
        (finals > 0).then_some(finals)
    };
    wait_for("a checkpoint that is final", checkpoints);

    let validator = kill(&["node", &format!("{home}/net/node1")]);
    let gateway = kill(&["gateway", "--with-parent", &home]);
    drop(client);
    wait_for("the gateway to be back", || {
        let back = running(&["gateway", "--with-parent", &home]);
        back.iter().any(|pid| *pid != gateway).then_some(())
    });
    wait_for("the validator to be back", || {
        let back = running(&["node", &format!("{home}/net/node1")]);
        back.iter().any(|pid| *pid != validator).then_some(())
    });
    // What was recorded is sealed as cut, and its end goes on the chain.
    wait_for("the session's end to be final", || {
        let shown = place.json(&["session", "show", &id]);
        (shown["anchors"]["closed"]["stage"] == "final").then_some(())
    });
    place.ok(&["pack", &id, "--to", "x.lucid"]);
    let proven = place.json(&["prove", &id, "--out", "x.lucidproof"]);
    assert_eq!(proven["verified"], true, "{proven}");
    fs::copy(
        up.told["genesis"].as_str().unwrap(),
        place.path("genesis.json"),
    )
    .unwrap();
    // The page lists it and hands it to the player as it is in the file.
    let page = up.told["page"].as_str().unwrap();
    let listed = String::from_utf8(get(page, "/")).unwrap();
    assert!(listed.contains(&format!("'play/{id}/'")), "{listed}");
    let player = String::from_utf8(get(page, &format!("/play/{id}/"))).unwrap();
    assert!(player.contains("Lucid player"), "{player}");
    let served = get(page, &format!("/play/{id}/recording"));
    assert!(served.ends_with(&fs::read(place.path("x.lucid")).unwrap()));

    let before = height(&place, &up);
    up.stop();
    assert_eq!(running(&[&home]), [], "nothing is left running");

    // It goes on where it was.
    let up = Up::start(&place, &listen.to_string());
    assert!(height(&place, &up) >= before);
    up.stop();

    fs::remove_dir_all(place.path("home")).unwrap();
    let files = ["x.lucid", "x.lucidproof", "--genesis", "genesis.json"];
    let mut alone = Command::new("unshare");
    alone.args(["--net", "--"]).arg(program());
    place.environment(alone.args(["--json", "verify"]).args(files));
    let output = alone.output().unwrap();
    assert_eq!(output.status.code(), Some(16), "sound but cut: {output:?}");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["session"], id);
    assert_eq!(verdict["anchor"]["not_fixed"], 0);
    assert!(verdict["anchor"]["checkpoints"].as_u64().unwrap() > 0);

    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier");
    let python = Command::new(verifier.join("install"))
        .arg("--find")
        .output()
        .unwrap();
    assert!(python.status.success(), "{python:?}");
    let python = String::from_utf8(python.stdout).unwrap();
    let mut second = Command::new(python.trim());
    second.arg(verifier.join("verify.py")).args(files);
    let output = second.current_dir(place.dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

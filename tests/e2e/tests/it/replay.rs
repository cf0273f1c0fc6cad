//! The page that `lucid replay` serves.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{Place, ran};

/// A small recording.
fn golden(place: &Place) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/format/recording.lucid");
    let name = place.path("golden.lucid");
    fs::copy(golden, &name).unwrap();
    name.to_str().unwrap().to_owned()
}

struct Server {
    child: Child,
    host: String,
    url: String,
}

impl Server {
    fn start(place: &Place, file: &str) -> Self {
        Self::start_with(place, &[file])
    }

    fn start_with(place: &Place, args: &[&str]) -> Self {
        let mut child = place
            .command(&[&["replay", "--json", "--no-browser"], args].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let url = told["url"].as_str().unwrap().to_owned();
        let host = url
            .strip_prefix("http://")
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        assert!(host.starts_with("127.0.0.1:"), "{host}");
        Self { child, host, url }
    }

    /// Status, headers and body of the answer.
    fn get(&self, path: &str, host: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec())
            .unwrap()
            .to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_is_served_to_this_machine_alone_with_a_strict_policy_and_the_recording_in_pieces() {
    let place = Place::new();
    let file = golden(&place);
    let bytes = fs::read(&file).unwrap();
    let server = Server::start(&place, &file);
    let (status, head, page) = server.get("/", &server.host, "");
    assert_eq!(status, 200);
    assert!(String::from_utf8(page).unwrap().contains("<script"));
    for part in [
        "content-security-policy: default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.contains(part), "{part} is not in: {head}");
    }
    let (status, head, piece) = server.get("/recording", &server.host, "Range: bytes=10-29\r\n");
    assert_eq!((status, &piece[..]), (206, &bytes[10..30]));
    assert!(
        head.contains(&format!("content-range: bytes 10-29/{}", bytes.len())),
        "{head}"
    );
    assert_eq!(
        server
            .get("/recording", &server.host, "Range: bytes=-12\r\n")
            .2,
        &bytes[bytes.len() - 12..]
    );
    assert_eq!(server.get("/recording", &server.host, "").2, bytes);
    assert_eq!(
        server
            .get("/recording", &server.host, "Range: bytes=999999999-\r\n")
            .0,
        416
    );
    for path in [
        "/nothing",
        "/../Cargo.toml",
        "/..%2f..%2fCargo.toml",
        "/assets/../../main.rs",
    ] {
        assert_eq!(server.get(path, &server.host, "").0, 404, "{path}");
    }
    for host in [
        "evil.example",
        "evil.example:80",
        "127.0.0.1",
        "localhost:1",
        "",
    ] {
        let (status, _, body) = server.get("/recording", host, "");
        assert_eq!(status, 421, "{host}");
        assert!(!body.windows(8).any(|w| w == b"LUCIDREC"));
    }
    let port = server.host.rsplit(':').next().unwrap();
    assert_eq!(server.get("/", &format!("localhost:{port}"), "").0, 200);
    // The port is taken: said, not crashed.
    let args = ["replay", &file, "--no-browser", "--port", port];
    let taken = ran(&args, place.command(&args).output().unwrap());
    assert!(
        taken.code != 0
            && taken
                .err
                .contains(&format!("listening on 127.0.0.1:{port}")),
        "{}",
        taken.err
    );
}

/// Opens the served page and tells what it shows.
const IN_BROWSER: &str = r#"
import { createRequire } from "node:module";
const [web, url, second] = process.argv.slice(2);
const { chromium } = createRequire(web + "/package.json")("playwright-core");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
try {
  const page = await browser.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  await page.goto(url);
  await page.evaluate(() => window.lucid.ready);
  await page.evaluate((s) => window.lucid.seek(s), Number(second));
  const verified = await page.evaluate(() => window.lucid.verified);
  const pixels = await page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let text = "";
    for (let i = 0; i < data.length; i += 4) text += String.fromCharCode(data[i], data[i + 1], data[i + 2]);
    return [canvas.width, canvas.height, btoa(text)];
  });
  console.log(JSON.stringify({ verified, width: pixels[0], height: pixels[1], pixels: pixels[2], complaints, address: page.url() }));
} finally {
  await browser.close();
}
"#;

/// What a browser shows of `file` at `second`: the page's own account, and the canvas as red, green, blue.
pub(crate) fn in_browser(place: &Place, args: &[&str], second: u64) -> (Value, Vec<u8>) {
    let mut child = place
        .command(&[&["replay"], args, &["--json", "--no-browser"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let server = Server {
        child,
        host: String::new(),
        url: told["url"].as_str().unwrap().to_owned(),
    };
    let web = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../sessions/player/web")
        .canonicalize()
        .unwrap();
    assert!(
        web.join("node_modules").exists(),
        "run scripts/setup once: the browser is driven by playwright-core"
    );
    let script = place.path("in-browser.mjs");
    fs::write(&script, IN_BROWSER).unwrap();
    let output = Command::new("node")
        .arg(&script)
        .arg(&web)
        .args([&server.url, &second.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pixels = base64(told["pixels"].as_str().unwrap());
    (told, pixels)
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    };
    let mut out = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | digit(*c));
        let kept = 3 - four.iter().filter(|c| **c == b'=').count();
        out.extend_from_slice(&bits.to_be_bytes()[1..=kept]);
    }
    out
}

#[test]
fn a_proof_and_the_genesis_file_are_served_beside_the_recording_and_the_address_says_so() {
    let place = Place::new();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/proof");
    let file = |name: &str| vectors.join(name).to_str().unwrap().to_owned();
    let (recording, proof, genesis) = (
        file("closed.lucid"),
        file("closed.lucidproof"),
        file("genesis.json"),
    );
    let args = [&recording, "--proof", &proof, "--genesis", &genesis];
    let server = Server::start_with(&place, &args);
    assert!(server.url.ends_with("/?proof"), "{}", server.url);
    for (path, served) in [("/proof", &proof), ("/genesis", &genesis)] {
        let (status, _, body) = server.get(path, &server.host, "");
        assert_eq!((status, body), (200, fs::read(served).unwrap()), "{path}");
    }
    drop(server);
    let server = Server::start(&place, &recording);
    assert!(!server.url.contains("proof"), "{}", server.url);
    assert_eq!(server.get("/proof", &server.host, "").0, 404);
    let args = ["replay", &recording, "--proof", &proof, "--no-browser"];
    let alone = ran(&args, place.command(&args).output().unwrap());
    assert_eq!(alone.code, 2, "a proof needs the genesis file");
}

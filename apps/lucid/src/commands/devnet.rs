//! `lucid devnet`: a whole network on this machine, each node a process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use lucid_chain_types::Pace;
use lucid_client::{Client, Wallet};
use lucid_node::home::Home;
use lucid_node::init::{NetworkOptions, NodePlace, network};
use lucid_node::{Clock as _, SystemClock};

use crate::App;
use crate::cli::DevnetArgs;
use crate::commands::gateway::stop_signal;
use crate::exit::{FAILURE, NOT_FOUND, exit};
use crate::ui::Tone;

/// Chain id of a devnet.
const CHAIN_ID: u64 = 19_450_927;
/// How long a node may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take to stop by itself.
const GRACE: Duration = Duration::from_secs(10);

/// A node's process, stopped on drop: first by closing its standard input, as happens too when this program is killed.
struct Node {
    child: Child,
    log: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = std::time::Instant::now() + GRACE;
        while std::time::Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Runs the network until Ctrl-C.
pub fn run(app: &App, args: &DevnetArgs) -> Result<()> {
    let temporary;
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            temporary = tempfile::tempdir().context("a folder for the network")?;
            temporary.path().join("net")
        }
    };
    if !dir.join("genesis.json").exists() {
        make(args, &dir)?;
    }
    let homes: Vec<Home> = (0..)
        .map(|index| Home::new(dir.join(format!("node{index}"))))
        .take_while(|home| home.genesis_path().exists())
        .collect();
    let mut nodes = Vec::new();
    let mut urls = Vec::new();
    for home in &homes {
        let config = lucid_node::config::NodeConfig::load(&home.config_path())?.value;
        urls.push(format!("http://{}", config.rpc.listen));
        nodes.push(start(home, args.logs)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let ready = wait_until_ready(&urls, &mut nodes);
        tokio::select! {
            ready = ready => ready?,
            () = &mut stop => return Ok(()),
        }
        announce(app, &dir, &urls)?;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                _ = look.tick() => {
                    for node in &mut nodes {
                        if let Some(status) = node.child.try_wait()? {
                            return Err(ended(node, status));
                        }
                    }
                }
            }
        }
    })?;
    app.ui.note("stopping");
    Ok(())
}

fn make(args: &DevnetArgs, dir: &Path) -> Result<()> {
    let count = args.validators;
    let mut places = Vec::new();
    // Kept open until all are chosen, so that no port is given twice.
    let mut reserved = Vec::new();
    let mut free = || -> Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
        let port = listener.local_addr()?.port();
        reserved.push(listener);
        Ok(port)
    };
    for index in 0..count {
        let rpc = match args.rpc_port {
            0 => free()?,
            first => first.saturating_add(index),
        };
        places.push(NodePlace {
            host: Ipv4Addr::LOCALHOST.into(),
            p2p: free()?,
            gossip: free()?,
            rpc,
            monitor: free()?,
        });
    }
    network(&NetworkOptions {
        out: dir.to_owned(),
        validators: count.into(),
        full: 0,
        chain_id: CHAIN_ID,
        pace: Pace::DIRECT,
        time_ms: SystemClock::default().now_ms(),
        places,
        accounts: Vec::new(),
        parameters: Vec::new(),
    })?;
    Ok(())
}

fn start(home: &Home, show: bool) -> Result<Node> {
    let log = home.path().join("node.log");
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command
        .args(["--quiet", "node", "--with-parent", "--node-home"])
        .arg(home.path())
        .stdin(Stdio::piped());
    if show {
        command.stdout(Stdio::null());
    } else {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| log.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
    }
    // Ctrl-C is for this program: it stops its nodes itself, in order.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().context("starting a node")?;
    Ok(Node { child, log })
}

fn ended(node: &Node, status: std::process::ExitStatus) -> anyhow::Error {
    let log = fs::read_to_string(&node.log).unwrap_or_default();
    let last = log.lines().last().unwrap_or("it wrote no log").to_owned();
    exit(FAILURE, format!("a node ended ({status}): {last}"))
}

async fn wait_until_ready(urls: &[String], nodes: &mut [Node]) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for url in urls {
        let client = Client::new(url)?;
        while client.status().await.is_err() {
            for node in nodes.iter_mut() {
                if let Some(status) = node.child.try_wait()? {
                    return Err(ended(node, status));
                }
            }
            if tokio::time::Instant::now() > deadline {
                return Err(exit(
                    NOT_FOUND,
                    format!("the node at {url} does not answer"),
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

fn announce(app: &App, dir: &Path, urls: &[String]) -> Result<()> {
    let key_file = dir.join("funded.key");
    let wallet = Wallet::load(&key_file)?;
    let address = wallet.address();
    // A devnet's coins are worth nothing, and its users paste this key into their tools.
    let private_key = wallet.to_hex();
    let private_key = private_key.as_str();
    if app.ui.json {
        return app.ui.json(&serde_json::json!({
            "chainId": CHAIN_ID,
            "rpc": urls,
            "dir": dir,
            "genesis": dir.join("genesis.json"),
            "funded": { "address": address, "privateKey": private_key },
        }));
    }
    let ui = app.ui;
    ui.line(format!(
        "{} {} validators, chain id {CHAIN_ID}",
        ui.paint(Tone::Good, "devnet is up:"),
        urls.len()
    ));
    for (index, url) in urls.iter().enumerate() {
        ui.line(format!("  node{index}   {url}"));
    }
    ui.line(format!("  account {address}"));
    ui.line(format!("  key     {private_key}"));
    ui.line(format!("  folder  {}", dir.display()));
    ui.note(format!(
        "Try: lucid chain status --rpc {}. Ctrl-C stops all of it.",
        urls.first().map_or("", String::as_str)
    ));
    Ok(())
}

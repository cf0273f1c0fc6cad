//! A network on this machine, each node a process of its own under a guard that stops it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lucid_chain_types::Pace;
use lucid_client::Client;
use lucid_node::config::NodeConfig;
use lucid_node::home::Home;
use lucid_node::init::{NetworkOptions, NodePlace};
use lucid_node::{Clock as _, SystemClock};

use crate::exit::{FAILURE, NOT_FOUND, exit};

/// Chain id of networks on this machine.
pub const CHAIN_ID: u64 = 19_450_927;
/// How long the nodes may take to answer for the first time: a genesis of a million accounts takes them a minute.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a node may take to stop by itself.
const GRACE: Duration = Duration::from_secs(10);

/// glibc gives each two of a node's dozens of threads an arena of their own, and keeps what they free: nearly half of a validator's
/// memory is then held for nothing. A service that runs a node does well to set it too.
const ALLOCATOR: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// A node's process, stopped on drop: first by closing its standard input, as happens too when this program is killed.
pub struct Node {
    /// Its folder.
    pub home: Home,
    /// Where its JSON-RPC is.
    pub url: String,
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(ended(&self.log, status)),
        }
    }

    /// Ends it in the middle of whatever it does, as `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("killing a node")?;
        self.child.wait().context("waiting for a killed node")?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A new network of `validators` in the folder `out`, on free loopback ports, or with JSON-RPC from `rpc_port` on where that is
/// not 0.
pub fn options(out: &Path, validators: u16, rpc_port: u16) -> Result<NetworkOptions> {
    let mut places = Vec::new();
    // Kept open until all are chosen, so that no port is given twice.
    let mut reserved = Vec::new();
    let mut free = || -> Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
        let port = listener.local_addr()?.port();
        reserved.push(listener);
        Ok(port)
    };
    for index in 0..validators {
        let rpc = match rpc_port {
            0 => free()?,
            first => first.saturating_add(index),
        };
        places.push(NodePlace {
            host: Ipv4Addr::LOCALHOST.into(),
            p2p: free()?,
            gossip: free()?,
            rpc,
            monitor: free()?,
            custody: free()?,
        });
    }
    Ok(NetworkOptions {
        out: out.to_owned(),
        validators: validators.into(),
        full: 0,
        chain_id: CHAIN_ID,
        pace: Pace::DIRECT,
        time_ms: SystemClock::default().now_ms(),
        places,
        accounts: Vec::new(),
        parameters: Vec::new(),
        custody: false,
    })
}

/// Starts the nodes of a network's folder; `show` lets their logs through to this program's standard error.
pub fn start_all(dir: &Path, show: bool) -> Result<Vec<Node>> {
    (0..)
        .map(|index| Home::new(dir.join(format!("node{index}"))))
        .take_while(|home| home.genesis_path().exists())
        .map(|home| start(home, show))
        .collect()
}

/// Starts one node.
pub fn start(home: Home, show: bool) -> Result<Node> {
    let config = NodeConfig::load(&home.config_path())?.value;
    let log = home.path().join("node.log");
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command
        .args(["--quiet", "node", "--with-parent", "--node-home"])
        .arg(home.path())
        .env(ALLOCATOR.0, ALLOCATOR.1)
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
    Ok(Node {
        url: format!("http://{}", config.rpc.listen),
        home,
        child,
        log,
    })
}

fn ended(log: &Path, status: ExitStatus) -> anyhow::Error {
    let log = fs::read_to_string(log).unwrap_or_default();
    let last = log.lines().last().unwrap_or("it wrote no log").to_owned();
    exit(FAILURE, format!("a node ended ({status}): {last}"))
}

/// Waits until every node answers.
pub async fn wait_until_ready(nodes: &mut [Node]) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for index in 0..nodes.len() {
        let url = nodes[index].url.clone();
        let client = Client::new(&url)?;
        while client.status().await.is_err() {
            for node in nodes.iter_mut() {
                node.check()?;
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

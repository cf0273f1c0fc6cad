//! This program's other processes: the nodes of a network on this machine, and a gateway. Each is under a guard that stops it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
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
use tokio::sync::oneshot;

use crate::exit::{FAILURE, NOT_FOUND, exit};

/// Chain id of networks on this machine.
pub const CHAIN_ID: u64 = 19_450_927;
/// How long the nodes may take to answer for the first time: a genesis of a million accounts takes them a minute.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a process may take to stop by itself: a gateway has ten seconds to seal what it records.
const GRACE: Duration = Duration::from_secs(15);
/// Most bytes of a line that is waited for.
const MAX_LINE: u64 = 64 << 10;

/// glibc gives each two of a node's dozens of threads an arena of their own, and keeps what they free: nearly half of a validator's
/// memory is then held for nothing. A service that runs a node does well to set it too.
const ALLOCATOR: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// This program once more, as a process that is stopped on drop: first by closing its standard input, as happens too when this
/// one is killed. So what it runs must take `--with-parent`.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with these arguments; what it writes goes to the end of the file `log`, or where `output` says.
    pub fn start(name: &str, arguments: &[&OsStr], log: PathBuf, output: Output) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .stdin(Stdio::piped());
        let open = || {
            let mut options = File::options();
            let file = options.create(true).append(true).open(&log);
            file.with_context(|| log.display().to_string())
        };
        match output {
            Output::File => drop(command.stdout(open()?).stderr(open()?)),
            Output::Heard => drop(command.stdout(Stdio::piped()).stderr(open()?)),
            Output::Shown => drop(command.stdout(Stdio::null())),
        }
        // Ctrl-C is for this program: it stops its processes itself, in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The first line it writes ([`Output::Heard`]). An error with its last words if it ends first.
    pub fn first_line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(output) = self.child.stdout.take() {
            let mut output = BufReader::new(output).take(MAX_LINE);
            output.read_line(&mut line).context(self.name.clone())?;
        }
        if line.is_empty() {
            let status = self.child.wait().context(self.name.clone())?;
            return Err(self.ended(status));
        }
        Ok(line)
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it wrote no log").to_owned();
        exit(FAILURE, format!("{} ended ({status}): {last}", self.name))
    }
}

impl Drop for Process {
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

/// Where a process's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// All of it into its log.
    File,
    /// Its log there, and its results to this program.
    Heard,
    /// Its log to this program's standard error.
    Shown,
}

/// A node's process.
pub struct Node {
    /// Its folder.
    pub home: Home,
    /// Where its JSON-RPC is.
    pub url: String,
    process: Process,
}

impl Node {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Ends it in the middle of whatever it does, as `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        let child = &mut self.process.child;
        child.kill().context("killing a node")?;
        child.wait().context("waiting for a killed node")?;
        Ok(())
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
    let arguments = ["--quiet", "node", "--with-parent", "--node-home"].map(OsStr::new);
    let arguments = [&arguments[..], &[home.path().as_os_str()]].concat();
    let output = if show { Output::Shown } else { Output::File };
    let process = Process::start("a node", &arguments, home.path().join("node.log"), output)?;
    Ok(Node {
        url: format!("http://{}", config.rpc.listen),
        home,
        process,
    })
}

/// Done when standard input ends, which it does when the program at its other end is gone, however it went.
pub async fn parent_gone() {
    let (gone, wait) = oneshot::channel();
    // A thread of its own: a blocked read would hold up the runtime's end.
    std::thread::spawn(move || {
        let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _late = gone.send(());
    });
    let _sender = wait.await;
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

//! A network of node processes, an account with coins, and questions to the nodes.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256, address, keccak256};
use alloy_sol_types::{SolCall, sol};
use lucid_chain_types::NodeId;
use lucid_client::wire::{BlockInfo, Schedule, Status};
use lucid_client::{Client, TransactionReceipt, Wallet};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::partition::Switches;
use crate::support::{Ran, Slot, program, ran, wait_for};

sol! {
    function registerSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external;
}

/// LucidAnchors.
const ANCHORS: Address = address!("00000000000000000000000000000000004c0001");
/// More than what registering a session takes, and little enough for a score of them in the smallest block.
const REGISTER_GAS: u64 = 200_000;
/// Ports of one node on one address, see `chain init`.
const PORTS: u16 = 5;
/// A transaction this often while there is load.
const LOAD_PAUSE: Duration = Duration::from_millis(50);

/// What a network is to be like.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) validators: u16,
    /// Nodes that only follow; they come after the validators.
    pub(super) full: u16,
    /// Each node in a network namespace of its own.
    pub(super) apart: bool,
    /// The nodes keep chunks, and who does not answer for a slot is struck off.
    pub(super) custody: bool,
}

impl Plan {
    pub(super) const FOUR: Self = Self {
        validators: 4,
        full: 0,
        apart: false,
        custody: false,
    };
}

/// Ports that nobody uses and no other test of this process gets. Below those that the system gives to clients.
pub(super) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const RANGE: u16 = 10_000;
    let own = u16::try_from(std::process::id() % 90).unwrap() * 110;
    for _ in 0..1_000 {
        let first = 20_000 + (own + NEXT.fetch_add(count, Ordering::Relaxed)) % RANGE;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + count).all(free) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// The program without anything of the caller's environment.
pub(super) fn clean(command: &mut Command, home: &Path) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LUCID_HOME", home.join("home"))
        .env("TMPDIR", home)
        .current_dir(home)
        .stdin(Stdio::null());
}

/// A folder to run the program in.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    _slot: Slot,
}

impl Bench {
    pub(super) fn new() -> Self {
        let slot = Slot::take();
        Self {
            dir: tempfile::Builder::new()
                .prefix("lucid-chain-")
                .tempdir()
                .unwrap(),
            _slot: slot,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(program());
        clean(command.args(args), self.dir.path());
        ran(args, command.output().unwrap())
    }

    pub(super) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "lucid {args:?}: {}", ran.err);
        ran.out
    }

    /// Makes a network's files in the folder `name`.
    pub(super) fn init(&self, name: &str, plan: Plan) -> Value {
        let (validators, full) = (plan.validators.to_string(), plan.full.to_string());
        let mut args = vec!["--json", "chain", "init", "--out", name];
        args.extend(["--validators", &validators, "--full", &full]);
        if plan.custody {
            args.extend(["--custody", "--param", "custodySilence=1"]);
        }
        let count = plan.validators + plan.full;
        let place = if plan.apart {
            let hosts: Vec<String> = (0..count).map(Switches::host).collect();
            hosts.join(",")
        } else {
            free_ports(count * PORTS).to_string()
        };
        args.extend([if plan.apart { "--hosts" } else { "--base-port" }, &place]);
        serde_json::from_str(&self.ok(&args)).unwrap()
    }
}

/// A running network. Dropping it kills what runs; if the test failed, the ends of the logs are shown.
pub(super) struct Network {
    pub(super) nodes: Vec<Node>,
    pub(super) account: Account,
    pub(super) switches: Option<Switches>,
    // Last, since the nodes' folders are in it.
    pub(super) bench: Bench,
}

impl Network {
    /// Makes a network and starts it.
    pub(super) fn start(plan: Plan) -> Self {
        let mut network = Self::prepare(plan);
        for node in &mut network.nodes {
            node.start();
        }
        let all: Vec<usize> = (0..network.nodes.len()).collect();
        network.wait_until_up(&all);
        network
    }

    /// Makes a network and starts nothing.
    pub(super) fn prepare(plan: Plan) -> Self {
        let bench = Bench::new();
        let made = bench.init("net", plan);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let runtime = Arc::new(runtime);
        let switches = plan
            .apart
            .then(|| Switches::new(plan.validators + plan.full));
        let homes = made["nodes"].as_array().unwrap();
        let nodes = homes.iter().enumerate().map(|(index, home)| {
            let home = bench.path(home.as_str().unwrap());
            let namespace = switches.as_ref().map(|it| it.namespace(index));
            Node::new(home, namespace, Arc::clone(&runtime))
        });
        let nodes = nodes.collect();
        let account = Account::new(
            &bench.path("net/funded.key"),
            made["chainId"].as_u64().unwrap(),
        );
        Self {
            nodes,
            account,
            switches,
            bench,
        }
    }

    /// Waits, and fails at once if a node that should run has ended.
    pub(super) fn wait<T>(&self, what: &str, mut ready: impl FnMut(&Self) -> Option<T>) -> T {
        wait_for(what, || {
            self.check_running();
            ready(self)
        })
    }

    /// No node ended by itself.
    pub(super) fn check_running(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(child) = node.child.borrow_mut().as_mut()
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!("node {index} ended by itself: {status}");
            }
        }
    }

    pub(super) fn wait_until_up(&self, nodes: &[usize]) {
        for &index in nodes {
            self.wait(&format!("node {index} to answer"), |it| {
                it.nodes[index].status().ok()
            });
        }
    }

    /// Waits until a node answers, or gives the exit code it ended with and the last of its log.
    pub(super) fn outcome(&mut self, node: usize) -> Option<(i32, String)> {
        let node = &mut self.nodes[node];
        let ended = wait_for("a node to answer or to end", || {
            if node.status().is_ok() {
                return Some(None);
            }
            let mut child = node.child.borrow_mut();
            child.as_mut().unwrap().try_wait().unwrap().map(Some)
        })?;
        *node.child.get_mut() = None;
        let log = fs::read_to_string(&node.log).unwrap();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        Some((ended.code().unwrap_or(-1), last.join("\n")))
    }

    pub(super) fn height(&self, node: usize) -> u64 {
        self.wait(&format!("the height of node {node}"), |it| {
            it.nodes[node].status().ok()
        })
        .height
        .0
    }

    pub(super) fn wait_for_height(&self, node: usize, height: u64) {
        self.wait(&format!("node {node} at height {height}"), |it| {
            it.nodes[node]
                .status()
                .is_ok_and(|status| status.height.0 >= height)
                .then_some(())
        });
    }

    /// Ends all nodes that run, and starts them again so many slots later.
    pub(super) fn jump(&mut self, slots: i64) {
        let running: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.nodes[node].runs())
            .collect();
        for node in &mut self.nodes {
            if node.runs() {
                node.stop();
            }
            node.skew_ms += slots * i64::try_from(lucid_chain_types::SLOT_MS).unwrap();
        }
        for &node in &running {
            self.nodes[node].start();
        }
        self.wait_until_up(&running);
    }

    /// The running node that is this validator.
    pub(super) fn place_of(&self, wanted: NodeId) -> usize {
        let found = self.nodes.iter().position(|node| {
            node.status()
                .is_ok_and(|status| status.node == Some(wanted))
        });
        found.unwrap_or_else(|| panic!("no running node is {wanted}"))
    }

    /// Lets the account go on where the chain and the node's waiting transactions are.
    pub(super) fn recount(&self, node: usize) {
        let params = vec![json!(self.account.address()), json!("pending")];
        let nonce: U64 = self.nodes[node]
            .ask("eth_getTransactionCount", params)
            .unwrap();
        self.account.nonce.set(nonce.to());
    }

    pub(super) fn schedule(&self, node: usize) -> Schedule {
        self.nodes[node].ask("lucid_schedule", Vec::new()).unwrap()
    }

    /// Sends one transfer through a node.
    pub(super) fn transfer(&self, node: usize) -> B256 {
        self.send(node, &self.account.transfer())
    }

    /// Registers one session through a node.
    pub(super) fn register(&self, node: usize) -> B256 {
        self.send(node, &self.account.register())
    }

    pub(super) fn send(&self, node: usize, transaction: &Bytes) -> B256 {
        let hash: B256 = self.nodes[node]
            .ask("eth_sendRawTransaction", vec![json!(transaction)])
            .unwrap();
        assert_eq!(hash, keccak256(transaction));
        hash
    }

    /// Waits until the transactions are final on all these nodes, succeeded, and are in the same blocks; gives the last height.
    pub(super) fn wait_for_receipts(&self, nodes: &[usize], transactions: &[B256]) -> u64 {
        let mut last = 0;
        for hash in transactions {
            let mut places = nodes.iter().map(|&node| {
                let what = format!("the receipt of {hash} on node {node}");
                let receipt = self.wait(&what, |it| it.nodes[node].receipt(*hash));
                assert!(receipt.status(), "{hash} failed: {receipt:?}");
                (receipt.block_number, receipt.block_hash)
            });
            let first = places.next().unwrap();
            for (place, node) in places.zip(&nodes[1..]) {
                assert_eq!(
                    first, place,
                    "{hash} is elsewhere on node {node} than on node {}",
                    nodes[0]
                );
            }
            last = last.max(first.0.unwrap());
        }
        last
    }

    /// These nodes have the same blocks and states up to `height`, waiting for those that are behind.
    pub(super) fn all_agree(&self, nodes: &[usize], height: u64) {
        self.agree_from(nodes, 1, height);
    }

    /// The same from a height on, for nodes that have no blocks before it.
    pub(super) fn agree_from(&self, nodes: &[usize], first: u64, height: u64) {
        for &node in nodes {
            self.wait_for_height(node, height);
        }
        for height in first..=height {
            let blocks: Vec<BlockInfo> = nodes
                .iter()
                .map(|&node| {
                    let block = self.nodes[node].block(height);
                    block.unwrap_or_else(|| panic!("node {node} has no block {height}"))
                })
                .collect();
            for (block, node) in blocks.iter().zip(nodes) {
                assert_eq!(
                    (block.id, block.state_root),
                    (blocks[0].id, blocks[0].state_root),
                    "nodes {} and {node} differ at height {height}",
                    nodes[0]
                );
            }
        }
    }

    /// Every node agrees on everything that any of these has.
    pub(super) fn converge(&self, nodes: &[usize]) -> u64 {
        let height = nodes.iter().map(|&node| self.height(node)).max().unwrap();
        self.all_agree(nodes, height);
        height
    }

    /// The height does not change for some seconds; gives it.
    pub(super) fn stands_still(&self, node: usize, seconds: u64) -> u64 {
        let height = self.height(node);
        thread::sleep(Duration::from_secs(seconds));
        assert_eq!(self.height(node), height, "node {node} goes on");
        height
    }

    /// Transactions through one node from now on, until it is stopped.
    pub(super) fn load(&self, node: usize) -> Load {
        let url = self.nodes[node].url.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, account) = (Arc::clone(&stop), self.account.hand_over());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let client = Client::new(&url).unwrap();
            let mut sent = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let transaction = if sent.len() % 4 == 3 {
                    account.register()
                } else {
                    account.transfer()
                };
                let hash = runtime.block_on(client.send_raw(&transaction));
                sent.push(hash.unwrap_or_else(|e| panic!("transaction {}: {e}", sent.len())));
                thread::sleep(LOAD_PAUSE);
            }
            (sent, account)
        });
        Load { stop, thread }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        if thread::panicking() {
            for node in &self.nodes {
                let text = fs::read_to_string(&node.log).unwrap_or_default();
                // The engine tells of every attempt to reach those that are meant to be gone.
                let engine =
                    |line: &str| line.contains("arc_malachitebft") || line.starts_with(" - ");
                let lines: Vec<&str> = text.lines().filter(|line| !engine(line)).collect();
                let from = lines.len().saturating_sub(40);
                // Not println: what is written while unwinding is not captured with the rest.
                let mut out = std::io::stderr().lock();
                let _ = writeln!(
                    out,
                    "──── {} ────\n{}",
                    node.log.display(),
                    lines[from..].join("\n")
                );
            }
        }
    }
}

/// Transactions on their way.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<B256>, Account)>,
}

impl Load {
    /// Ends it; gives what the node took. All of it has to become final.
    pub(super) fn end(self, network: &Network) -> Vec<B256> {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, account) = self
            .thread
            .join()
            .unwrap_or_else(|e| std::panic::resume_unwind(e));
        network.account.take_back(&account);
        assert!(!sent.is_empty());
        sent
    }
}

/// The account with coins. It counts its nonces itself.
pub(super) struct Account {
    pub(super) wallet: Wallet,
    chain_id: u64,
    nonce: Cell<u64>,
}

impl Account {
    fn new(key: &Path, chain_id: u64) -> Self {
        Self {
            wallet: Wallet::load(key).unwrap(),
            chain_id,
            nonce: Cell::new(0),
        }
    }

    /// The account for another thread. Until it is taken back, this one may not be used.
    fn hand_over(&self) -> Self {
        Self {
            wallet: self.wallet.clone(),
            chain_id: self.chain_id,
            nonce: Cell::new(self.nonce.replace(u64::MAX)),
        }
    }

    fn take_back(&self, other: &Self) {
        self.nonce.set(other.nonce.get());
    }

    pub(super) fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Its key. What is sent with it by other ways than this type's leaves this type behind.
    pub(super) fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    pub(super) fn transfer(&self) -> Bytes {
        let to = Address::repeat_byte(0x77);
        self.sign(to, U256::from(1), Bytes::new(), 21_000)
    }

    pub(super) fn register(&self) -> Bytes {
        let id = keccak256(self.nonce.get().to_be_bytes());
        let call = registerSessionCall {
            id,
            owner: self.address(),
            sessionKey: B256::repeat_byte(1),
            manifestHash: B256::repeat_byte(2),
            merkleRoot: B256::repeat_byte(3),
            chunkCount: 4,
        };
        self.sign(ANCHORS, U256::ZERO, call.abi_encode().into(), REGISTER_GAS)
    }

    fn sign(&self, to: Address, value: U256, input: Bytes, gas_limit: u64) -> Bytes {
        let nonce = self.nonce.replace(self.nonce.get() + 1);
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: 10_000_000_000,
            max_priority_fee_per_gas: 1_000_000,
            to: TxKind::Call(to),
            value,
            access_list: Default::default(),
            input,
        };
        self.wallet.sign(transaction).unwrap().into()
    }
}

/// One node: its folder, and its process while it runs.
pub(super) struct Node {
    pub(super) home: PathBuf,
    pub(super) url: String,
    /// How far its clock is off, ms.
    pub(super) skew_ms: i64,
    monitor: String,
    pub(super) log: PathBuf,
    /// More of the command line.
    pub(super) args: Vec<&'static str>,
    namespace: Option<String>,
    client: Client,
    runtime: Arc<Runtime>,
    child: RefCell<Option<Child>>,
}

impl Node {
    fn new(home: PathBuf, namespace: Option<String>, runtime: Arc<Runtime>) -> Self {
        // The log is what a failure is understood from.
        let file = home.join("node.toml");
        let config = fs::read_to_string(&file).unwrap();
        let config = config.replace("level = \"info\"", "level = \"info,lucid_node=debug\"");
        fs::write(&file, &config).unwrap();
        let url = format!("http://{}", listen_of(&config, "rpc"));
        Self {
            log: home.with_extension("log"),
            args: Vec::new(),
            client: Client::new(&url).unwrap(),
            home,
            url,
            skew_ms: 0,
            monitor: listen_of(&config, "monitor"),
            namespace,
            runtime,
            child: RefCell::new(None),
        }
    }

    /// Changes the node's configuration, for its next start.
    pub(super) fn configure(&self, from: &str, to: &str) {
        let file = self.home.join("node.toml");
        let config = fs::read_to_string(&file).unwrap();
        assert!(config.contains(from), "{from} is not in {config}");
        fs::write(&file, config.replace(from, to)).unwrap();
    }

    /// What the node has told so far.
    pub(super) fn told(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The command that runs the node.
    pub(super) fn command(&self) -> Command {
        // The kernel ends it if this test's thread ends without dropping it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(namespace) = &self.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command
            .arg(program())
            .args(["--quiet", "node", "--with-parent", "--node-home"])
            .arg(&self.home)
            .args(&self.args);
        clean(&mut command, self.home.parent().unwrap());
        if self.skew_ms != 0 {
            command.env("LUCID_CLOCK_SKEW_MS", self.skew_ms.to_string());
        }
        command
    }

    pub(super) fn runs(&mut self) -> bool {
        self.child.get_mut().is_some()
    }

    pub(super) fn start(&mut self) {
        assert!(self.child.get_mut().is_none());
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.get_mut() = Some(child);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.borrow();
        // Not waited for yet, so the id is its own still.
        kill_process(Pid::from_child(child.as_ref().unwrap()), signal).unwrap();
    }

    /// SIGSTOP: it is there and does nothing.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// As `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.get_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As Ctrl-C and system managers do.
    pub(super) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// By the end of its standard input.
    pub(super) fn abandon(&mut self) -> ExitStatus {
        drop(self.child.get_mut().as_mut().unwrap().stdin.take());
        self.ended()
    }

    /// What `/metrics` says.
    pub(super) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.monitor).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits until it ends.
    pub(super) fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.get_mut().take().unwrap();
        wait_for("a node to stop", || child.try_wait().unwrap())
    }

    /// Removes blocks, state and the engine's log. Keys stay, and so does the signer's memory, without which a validator must
    /// not come back.
    pub(super) fn wipe(&mut self) {
        assert!(self.child.get_mut().is_none());
        fs::remove_dir_all(self.home.join("data")).unwrap();
        fs::remove_dir_all(self.home.join("consensus/wal")).unwrap();
        let left: Vec<_> = fs::read_dir(self.home.join("consensus"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["signed"]);
    }

    /// Asks the node; in a namespace, with curl.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Vec<Value>,
    ) -> Result<T, String> {
        let Some(namespace) = &self.namespace else {
            let asked = self.client.request(method, params);
            return self.runtime.block_on(asked).map_err(|e| e.to_string());
        };
        let question =
            json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let output = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(["curl", "-sS", "--max-time", "10"])
            .args(["-H", "content-type: application/json", "-d", &question])
            .arg(&self.url)
            .output()
            .unwrap();
        let mut answer: Value = serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&output.stderr)))?;
        if let Some(error) = answer.get("error") {
            return Err(error.to_string());
        }
        serde_json::from_value(answer["result"].take()).map_err(|e| e.to_string())
    }

    pub(super) fn status(&self) -> Result<Status, String> {
        self.ask("lucid_status", Vec::new())
    }

    pub(super) fn block(&self, height: u64) -> Option<BlockInfo> {
        self.ask("lucid_block", vec![json!(height)]).unwrap()
    }

    pub(super) fn receipt(&self, transaction: B256) -> Option<TransactionReceipt> {
        self.ask("eth_getTransactionReceipt", vec![json!(transaction)])
            .ok()
            .flatten()
    }
}

/// Value of `listen` in a section of a node's configuration.
pub(super) fn listen_of(config: &str, section: &str) -> String {
    let section = format!("[{section}]\n");
    let (_, rest) = config.split_once(&section).unwrap();
    let line = rest.lines().find_map(|line| line.strip_prefix("listen = "));
    line.unwrap().trim_matches('"').to_owned()
}

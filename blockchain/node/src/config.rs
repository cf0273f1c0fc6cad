//! `node.toml`: typed, checked with all faults at once, and what of it may change while the node runs (requirement L13).

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use lucid_service::config::{self, ConfigFile, Faults, Loaded, Sources};
use lucid_service::{ServiceError, logs};
use serde::{Deserialize, Serialize};

/// Everything that can be configured. `configs/node.toml` documents each value, and a test reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeConfig {
    /// `[node]`
    pub node: NodeSection,
    /// `[p2p]`
    pub p2p: P2pSection,
    /// `[gossip]`
    pub gossip: GossipSection,
    /// `[rpc]`
    pub rpc: RpcSection,
    /// `[monitor]`
    pub monitor: MonitorSection,
    /// `[custody]`
    pub custody: CustodySection,
    /// `[mempool]`
    pub mempool: MempoolSection,
    /// `[state]`
    pub state: StateSection,
    /// `[database]`
    pub database: DatabaseSection,
    /// `[log]`
    pub log: LogSection,
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSection {
    /// A name for people, in logs and status.
    pub moniker: String,
    /// Whether to vote: needs the keys of a validator.
    pub role: Role,
    /// Fewest bytes that stay free on the disk; below it the node stops in order.
    pub min_free: u64,
}

/// What a node does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Follows and checks the chain.
    Full,
    /// Follows, checks, votes and leads.
    #[default]
    Validator,
}

/// `[p2p]`: votes and blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct P2pSection {
    /// Where to listen: a multiaddress.
    pub listen: String,
    /// Peers to keep a connection to: multiaddresses, best with `/p2p/ID` at the end.
    pub peers: Vec<String>,
    /// Find further peers through those connected.
    pub discovery: bool,
    /// Talk to the listed peers only.
    pub closed: bool,
    /// Most connections.
    pub max_peers: usize,
    /// Most connections from one address; behind a sidecar all come from one.
    pub max_per_ip: usize,
}

/// `[gossip]`: transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GossipSection {
    /// Where to listen: a multiaddress.
    pub listen: String,
    /// Peers to keep a connection to.
    pub peers: Vec<String>,
    /// Most connections.
    pub max_peers: usize,
    /// Transactions a second taken from one peer.
    pub transactions_per_second: u32,
}

/// `[rpc]`: JSON-RPC over HTTP and WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcSection {
    /// Whether to answer at all.
    pub enabled: bool,
    /// Where to listen.
    pub listen: String,
    /// Origins that pages may call from; `*` for any.
    pub cors: Vec<String>,
    /// Most connections.
    pub max_connections: u32,
    /// Most bytes of a request.
    pub max_request: u32,
    /// Most bytes of an answer.
    pub max_response: u32,
    /// Most calls in a batch.
    pub max_batch: u32,
    /// Most blocks one `eth_getLogs` looks at.
    pub max_log_blocks: u64,
    /// Most logs one `eth_getLogs` returns.
    pub max_logs: usize,
    /// Calls that execute at once.
    pub max_executions: usize,
    /// Most gas of an `eth_call`.
    pub call_gas: u64,
}

/// `[monitor]`: `/health` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MonitorSection {
    /// Whether to answer at all.
    pub enabled: bool,
    /// Where to listen.
    pub listen: String,
}

/// `[custody]`: encrypted chunks that this node keeps for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustodySection {
    /// Whether to keep any.
    pub enabled: bool,
    /// Where to take and serve them.
    pub listen: String,
    /// How others reach it, as the chain is told; empty for `http://` and `listen`.
    pub url: String,
    /// Most bytes of chunks.
    pub quota: u64,
    /// Seconds from one round to the next.
    pub every_seconds: u64,
    /// Seconds that a missing holder is waited for before the next in the order steps in.
    pub grace_seconds: u64,
    /// Most connections.
    pub max_connections: usize,
    /// Most chunks received at once.
    pub max_uploads: usize,
}

/// `[mempool]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MempoolSection {
    /// Most transactions.
    pub max_count: usize,
    /// Most bytes.
    pub max_bytes: usize,
    /// Most transactions of one sender.
    pub max_per_sender: usize,
    /// Seconds after which a transaction that was not included goes.
    pub ttl_seconds: u64,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateSection {
    /// Heights whose state can still be read and proven.
    pub history: u64,
    /// Bytes of the database's cache.
    pub cache: u64,
    /// Blocks from one snapshot to the next; 0 for none.
    pub snapshot_every: u64,
}

/// `[database]`: the read model.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseSection {
    /// Empty for the embedded database, or a MongoDB connection string. It may have a password in it.
    pub url: String,
}

impl fmt::Debug for DatabaseSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.url.is_empty() {
            "embedded"
        } else {
            "mongodb, [redacted]"
        };
        f.debug_struct("DatabaseSection")
            .field("url", &kind)
            .finish()
    }
}

/// What is said to who wants MongoDB of a program without it.
pub(crate) const NO_MONGODB: &str = "this program was built without MongoDB: build it with --features mongodb, or leave the value empty for the embedded database";

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSection {
    /// `text` or `json`.
    pub format: logs::Format,
    /// `error`, `warn`, `info`, `debug`, or a filter.
    pub level: String,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            moniker: "node".to_owned(),
            role: Role::Validator,
            min_free: 256 << 20,
        }
    }
}

impl Default for P2pSection {
    fn default() -> Self {
        Self {
            listen: "/ip4/127.0.0.1/tcp/26656".to_owned(),
            peers: Vec::new(),
            discovery: true,
            closed: false,
            max_peers: 50,
            max_per_ip: 50,
        }
    }
}

impl Default for GossipSection {
    fn default() -> Self {
        Self {
            listen: "/ip4/127.0.0.1/tcp/26657".to_owned(),
            peers: Vec::new(),
            max_peers: 50,
            transactions_per_second: 2_000,
        }
    }
}

impl Default for RpcSection {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "127.0.0.1:8545".to_owned(),
            cors: Vec::new(),
            max_connections: 200,
            max_request: 1 << 20,
            max_response: 16 << 20,
            max_batch: 100,
            max_log_blocks: 10_000,
            max_logs: 10_000,
            max_executions: 8,
            call_gas: 50_000_000,
        }
    }
}

impl Default for MonitorSection {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "127.0.0.1:9090".to_owned(),
        }
    }
}

impl Default for CustodySection {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: "127.0.0.1:26658".to_owned(),
            url: String::new(),
            quota: 16 << 30,
            every_seconds: 5,
            grace_seconds: 120,
            max_connections: 128,
            max_uploads: 8,
        }
    }
}

impl CustodySection {
    /// How others reach it.
    pub fn door(&self) -> String {
        match self.url.as_str() {
            "" => format!("http://{}", self.listen),
            url => url.to_owned(),
        }
    }
}

impl Default for MempoolSection {
    fn default() -> Self {
        Self {
            max_count: 20_000,
            max_bytes: 64 << 20,
            max_per_sender: 1_000,
            ttl_seconds: 3 * 60 * 60,
        }
    }
}

impl Default for StateSection {
    fn default() -> Self {
        Self {
            history: 256,
            cache: 16 << 20,
            snapshot_every: 5_000,
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            format: logs::Format::Text,
            level: "info".to_owned(),
        }
    }
}

impl NodeConfig {
    fn check(&self, faults: &mut Faults) {
        for (key, listen) in [
            ("rpc.listen", &self.rpc.listen),
            ("monitor.listen", &self.monitor.listen),
            ("custody.listen", &self.custody.listen),
        ] {
            if listen.parse::<SocketAddr>().is_err() {
                faults.add(
                    key,
                    format!("'{listen}' is not ADDRESS:PORT, such as 127.0.0.1:8545"),
                );
            }
        }
        if self.custody.enabled && !self.rpc.enabled {
            faults.add(
                "custody.enabled",
                "it needs rpc.enabled: custody asks the node there",
            );
        }
        if !self.custody.url.is_empty() && !lucid_custody::transfer::is_door(&self.custody.url) {
            faults.add(
                "custody.url",
                format!("'{}' is not http://HOST:PORT", self.custody.url),
            );
        }
        let addresses = [
            ("p2p.listen", std::slice::from_ref(&self.p2p.listen)),
            ("p2p.peers", &self.p2p.peers),
            ("gossip.listen", std::slice::from_ref(&self.gossip.listen)),
            ("gossip.peers", &self.gossip.peers),
        ];
        for (key, list) in addresses {
            for address in list {
                if address.parse::<libp2p::Multiaddr>().is_err() {
                    faults.add(
                        key,
                        format!(
                            "'{address}' is not a multiaddress, such as /ip4/10.0.0.5/tcp/26656"
                        ),
                    );
                }
            }
        }
        if self.p2p.closed && self.p2p.peers.iter().any(|peer| !peer.contains("/p2p/")) {
            faults.add(
                "p2p.peers",
                "with p2p.closed every peer needs its identity: /ip4/…/tcp/…/p2p/ID",
            );
        }
        let url = &self.database.url;
        if !url.is_empty() {
            if !url.starts_with("mongodb://") {
                // Not the value: there may be a password in it.
                faults.add(
                    "database.url",
                    "it is neither empty nor a MongoDB connection string, such as mongodb://127.0.0.1:27017/lucid",
                );
            } else if cfg!(not(feature = "mongodb")) {
                faults.add("database.url", NO_MONGODB);
            }
        }
        let ranges = [
            ("p2p.max_peers", self.p2p.max_peers as u64, 1, 1_000),
            ("p2p.max_per_ip", self.p2p.max_per_ip as u64, 1, 1_000),
            ("gossip.max_peers", self.gossip.max_peers as u64, 1, 1_000),
            (
                "rpc.max_connections",
                u64::from(self.rpc.max_connections),
                1,
                10_000,
            ),
            (
                "rpc.max_request",
                u64::from(self.rpc.max_request),
                1 << 10,
                64 << 20,
            ),
            (
                "rpc.max_response",
                u64::from(self.rpc.max_response),
                1 << 10,
                256 << 20,
            ),
            ("rpc.max_batch", u64::from(self.rpc.max_batch), 1, 1_000),
            ("rpc.max_executions", self.rpc.max_executions as u64, 1, 256),
            (
                "mempool.max_count",
                self.mempool.max_count as u64,
                16,
                1_000_000,
            ),
            (
                "mempool.max_bytes",
                self.mempool.max_bytes as u64,
                1 << 20,
                4 << 30,
            ),
            (
                "mempool.max_per_sender",
                self.mempool.max_per_sender as u64,
                1,
                100_000,
            ),
            ("custody.quota", self.custody.quota, 1 << 20, 1 << 60),
            ("custody.every_seconds", self.custody.every_seconds, 1, 60),
            (
                "custody.grace_seconds",
                self.custody.grace_seconds,
                1,
                86_400,
            ),
            (
                "custody.max_connections",
                self.custody.max_connections as u64,
                1,
                10_000,
            ),
            (
                "custody.max_uploads",
                self.custody.max_uploads as u64,
                1,
                1_000,
            ),
            ("state.history", self.state.history, 16, 1_000_000),
            ("state.cache", self.state.cache, 4 << 20, 64 << 30),
            (
                "state.snapshot_every",
                self.state.snapshot_every,
                0,
                100_000_000,
            ),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                faults.add(key, format!("{value} is not {least} to {most}"));
            }
        }
    }

    /// Reads a node's configuration: file, environment, all faults at once.
    pub fn load(path: &Path) -> Result<Loaded<Self>, ServiceError> {
        let sources = Sources::gather(ConfigFile::Named(path.to_owned()), Vec::new())?;
        config::load(sources, Self::check)
    }

    /// What changed against `new` that a running node can take over, and what it cannot: names of keys or sections.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        let mut note = |changed: bool, key: &'static str, hot: bool| {
            if changed {
                if hot {
                    &mut changes.taken
                } else {
                    &mut changes.refused
                }
                .push(key);
            }
        };
        note(self.p2p.peers != new.p2p.peers, "p2p.peers", true);
        note(self.gossip.peers != new.gossip.peers, "gossip.peers", true);
        note(
            self.gossip.transactions_per_second != new.gossip.transactions_per_second,
            "gossip.transactions_per_second",
            true,
        );
        note(self.mempool != new.mempool, "mempool", true);
        note(self.log.level != new.log.level, "log.level", true);
        note(
            self.node.min_free != new.node.min_free,
            "node.min_free",
            true,
        );
        let limits = |rpc: &RpcSection| RpcSection {
            enabled: true,
            listen: String::new(),
            cors: Vec::new(),
            max_connections: 0,
            max_request: 0,
            max_response: 0,
            max_batch: 0,
            ..rpc.clone()
        };
        note(limits(&self.rpc) != limits(&new.rpc), "rpc limits", true);

        note(
            (&self.node.moniker, self.node.role) != (&new.node.moniker, new.node.role),
            "node",
            false,
        );
        let listen = |p2p: &P2pSection| P2pSection {
            peers: Vec::new(),
            ..p2p.clone()
        };
        note(listen(&self.p2p) != listen(&new.p2p), "p2p", false);
        let fixed = |gossip: &GossipSection| (gossip.listen.clone(), gossip.max_peers);
        note(fixed(&self.gossip) != fixed(&new.gossip), "gossip", false);
        let server = |rpc: &RpcSection| RpcSection {
            max_log_blocks: 0,
            max_logs: 0,
            max_executions: 0,
            call_gas: 0,
            ..rpc.clone()
        };
        note(server(&self.rpc) != server(&new.rpc), "rpc", false);
        note(self.monitor != new.monitor, "monitor", false);
        note(self.custody != new.custody, "custody", false);
        note(
            self.state.snapshot_every != new.state.snapshot_every,
            "state.snapshot_every",
            true,
        );
        let fixed = |state: &StateSection| (state.history, state.cache);
        note(fixed(&self.state) != fixed(&new.state), "state", false);
        note(self.database != new.database, "database", false);
        note(self.log.format != new.log.format, "log.format", false);
        changes
    }
}

/// What a reload does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Taken over at once.
    pub taken: Vec<&'static str>,
    /// Needs a restart, and is not taken over.
    pub refused: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<NodeConfig, String> {
        let sources = Sources {
            file: Some(("node.toml".into(), text.to_owned())),
            ..Sources::default()
        };
        config::load(sources, NodeConfig::check)
            .map(|loaded| loaded.value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_example_is_the_default_configuration() {
        let config = load(include_str!("../../../configs/node.toml")).unwrap();
        assert_eq!(config, NodeConfig::default());
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let faults = load(
            "[rpc]\nlisten = \"nowhere\"\nmax_batch = 0\n[p2p]\npeers = [\"10.0.0.1:26656\"]\ntypo = 1\n",
        )
        .unwrap_err();
        for part in [
            "4 faults",
            "rpc.listen",
            "rpc.max_batch",
            "p2p.peers",
            "typo",
            "node.toml line 2",
        ] {
            assert!(faults.contains(part), "{part} is not in: {faults}");
        }
    }

    #[test]
    fn a_database_that_is_none_is_refused_without_repeating_its_password() {
        let fault = load("[database]\nurl = \"mysql://me:hunter2@db/lucid\"").unwrap_err();
        assert!(fault.contains("database.url"), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
        let url = "mongodb://me:hunter2@db/lucid".to_owned();
        assert!(!format!("{:?}", DatabaseSection { url }).contains("hunter2"));
        let mongo = load("[database]\nurl = \"mongodb://me:hunter2@db/lucid\"");
        match mongo {
            Ok(config) if cfg!(feature = "mongodb") => assert!(!config.database.url.is_empty()),
            Err(fault) if cfg!(not(feature = "mongodb")) => {
                assert!(fault.contains("--features mongodb"), "{fault}");
                assert!(!fault.contains("hunter2"), "{fault}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reload_names_what_it_takes_and_what_it_does_not() {
        let old = NodeConfig::default();
        let mut new = old.clone();
        new.log.level = "debug".into();
        new.p2p.peers = vec!["/ip4/10.0.0.1/tcp/1".into()];
        new.rpc.listen = "127.0.0.1:1".into();
        new.rpc.max_logs = 7;
        new.state.history = 99;
        new.state.snapshot_every = 7;
        new.database.url = "mongodb://127.0.0.1/lucid".into();
        let changes = old.changes(&new);
        assert_eq!(
            changes.taken,
            [
                "p2p.peers",
                "log.level",
                "rpc limits",
                "state.snapshot_every"
            ]
        );
        assert_eq!(changes.refused, ["rpc", "state", "database"]);
        assert_eq!(old.changes(&old), Changes::default());
    }
}

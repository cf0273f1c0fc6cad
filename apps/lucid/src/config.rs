//! The configuration: `lucid.toml`, then `LUCID_SECTION_KEY`, then flags (requirement L13). `configs/lucid.toml` documents
//! every value, and a test reads it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::Address;
use anyhow::Result;
use lucid_client::Client;
use lucid_format::{DEFAULT_CHUNK_PLAINTEXT, MAX_CHUNK_PLAINTEXT};
use lucid_recorder::anchoring::Offline;
use lucid_service::{
    config::{self, ConfigFile, Faults, Loaded, Sources},
    logs,
};
use serde::{Deserialize, Serialize};

use crate::exit::{USAGE, exit};

/// Every value that can be configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `[gateway]`
    pub gateway: GatewaySettings,
    /// `[chunk]`
    pub chunk: ChunkSettings,
    /// `[store]`
    pub store: StoreSettings,
    /// `[chain]`
    pub chain: ChainSettings,
    /// `[monitor]`
    pub monitor: MonitorSettings,
    /// `[log]`
    pub log: LogSettings,
}

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// Address and port to listen on.
    pub listen: String,
    /// Sessions at once.
    pub max_sessions: usize,
    /// Public key files that recordings are sealed to.
    pub recipients: Vec<PathBuf>,
    /// Longest time a channel may be opened for, in ms.
    pub policy_timeout_ms: u64,
}

/// `[chunk]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChunkSettings {
    /// Plaintext bytes at which a chunk closes.
    pub max_bytes: usize,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreSettings {
    /// Most bytes the store may hold; 0 for no limit.
    pub max_bytes: u64,
    /// Bytes of the disk that stay free.
    pub min_free: u64,
    /// Days after which `lucid prune` removes a recording; 0 for never.
    pub max_age_days: u32,
}

/// `[chain]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainSettings {
    /// URLs of nodes, tried in turn; none for no anchoring.
    pub url: Vec<String>,
    /// The account's key file, from the home folder on.
    pub key: PathBuf,
    /// Whose sessions they are, on the chain; empty for the account.
    pub owner: String,
    /// The chain's genesis file, from the home folder on.
    pub genesis: PathBuf,
    /// How often running sessions are checkpointed.
    pub checkpoint_every: String,
    /// From how many checkpoints due at once they share a transaction.
    pub batch_from: usize,
    /// What `lucid session mint` does when the chain is away.
    pub offline: Offline,
    /// How long it waits for the chain.
    pub mint_timeout: String,
}

/// `[monitor]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MonitorSettings {
    /// Address and port of the gateway's `/health` and `/metrics`; empty for none.
    pub listen: String,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSettings {
    /// `text` or `json`.
    pub format: logs::Format,
    /// `error`, `warn`, `info`, `debug`, or a filter such as `lucid_rdp=debug,info`.
    pub level: String,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3389".to_owned(),
            max_sessions: 64,
            recipients: Vec::new(),
            policy_timeout_ms: 300_000,
        }
    }
}

impl Default for ChunkSettings {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_CHUNK_PLAINTEXT,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            max_bytes: 0,
            min_free: 32 << 20,
            max_age_days: 0,
        }
    }
}

impl Default for ChainSettings {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            key: "anchor.key".into(),
            owner: String::new(),
            genesis: "genesis.json".into(),
            checkpoint_every: "30s".to_owned(),
            batch_from: 8,
            offline: Offline::Refuse,
            mint_timeout: "20s".to_owned(),
        }
    }
}

impl ChainSettings {
    /// Whether sessions are anchored.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// How often running sessions are checkpointed.
    pub fn pace(&self) -> Duration {
        // It was checked when it was read.
        humantime::parse_duration(&self.checkpoint_every).unwrap_or(Duration::from_secs(30))
    }

    /// How long minting waits for the chain.
    pub fn patience(&self) -> Duration {
        humantime::parse_duration(&self.mint_timeout).unwrap_or(Duration::from_secs(20))
    }

    fn check(&self, faults: &mut Faults) {
        for url in self.url.iter().filter(|url| Client::new(url).is_err()) {
            let form = "http://HOST:PORT, such as http://127.0.0.1:8545";
            faults.add("chain.url", format!("'{url}' is not {form}"));
        }
        if !self.owner.is_empty() && self.owner.parse::<Address>().is_err() {
            faults.add(
                "chain.owner",
                format!("'{}' is not an account: 0x and 40 hex digits", self.owner),
            );
        }
        let within = |text: &str, least: u64, most: u64| {
            humantime::parse_duration(text).is_ok_and(|d| (least..=most).contains(&d.as_secs()))
        };
        if !within(&self.checkpoint_every, 1, 3_600) {
            faults.add(
                "chain.checkpoint_every",
                format!("'{}' is not 1s to 1h", self.checkpoint_every),
            );
        }
        if !within(&self.mint_timeout, 1, 600) {
            faults.add(
                "chain.mint_timeout",
                format!("'{}' is not 1s to 10m", self.mint_timeout),
            );
        }
        if !(2..=10_000).contains(&self.batch_from) {
            faults.add(
                "chain.batch_from",
                format!("{} is not 2 to 10000", self.batch_from),
            );
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: logs::Format::Text,
            level: "info".to_owned(),
        }
    }
}

impl Settings {
    /// The store's limits.
    pub fn store_options(&self) -> lucid_store::Options {
        let max_bytes = (self.store.max_bytes > 0).then_some(self.store.max_bytes);
        let limits = lucid_store::Limits {
            max_bytes,
            min_free: self.store.min_free,
        };
        lucid_store::Options {
            limits,
            ..lucid_store::Options::default()
        }
    }

    /// Age at which recordings may go.
    pub fn max_age(&self) -> Option<Duration> {
        (self.store.max_age_days > 0)
            .then(|| Duration::from_secs(u64::from(self.store.max_age_days) * 86_400))
    }

    /// The channel policy in words; tickets carry its hash.
    pub fn policy(&self) -> String {
        format!(
            "every channel closed; an operator may open one for at most {} ms",
            self.gateway.policy_timeout_ms
        )
    }

    fn check(&self, faults: &mut Faults) {
        self.chain.check(faults);
        let gateway = &self.gateway;
        let is_address = |text: &str| {
            text.rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        let monitor = &self.monitor.listen;
        if !monitor.is_empty() && !is_address(monitor) {
            faults.add(
                "monitor.listen",
                format!("'{monitor}' is not ADDRESS:PORT, such as 127.0.0.1:9091, or empty"),
            );
        }
        if !is_address(&gateway.listen) {
            faults.add(
                "gateway.listen",
                format!(
                    "'{}' is not ADDRESS:PORT, such as 127.0.0.1:3389",
                    gateway.listen
                ),
            );
        }
        if !(1..=10_000).contains(&gateway.max_sessions) {
            faults.add(
                "gateway.max_sessions",
                format!("{} is not 1 to 10000", gateway.max_sessions),
            );
        }
        for path in gateway.recipients.iter().filter(|p| !p.is_file()) {
            faults.add(
                "gateway.recipients",
                format!(
                    "there is no file {}: 'lucid keys new' makes one",
                    path.display()
                ),
            );
        }
        if !(1_000..=86_400_000).contains(&gateway.policy_timeout_ms) {
            let bounds = "1000 (a second) to 86400000 (a day)";
            faults.add(
                "gateway.policy_timeout_ms",
                format!("{} is not {bounds}", gateway.policy_timeout_ms),
            );
        }
        if !(64 << 10..=MAX_CHUNK_PLAINTEXT).contains(&self.chunk.max_bytes) {
            let bounds = format!("65536 to {MAX_CHUNK_PLAINTEXT}");
            faults.add(
                "chunk.max_bytes",
                format!("{} is not {bounds}", self.chunk.max_bytes),
            );
        }
    }
}

/// Reads file and environment. A file that was named must be there; the one in the home folder need not.
pub fn load(home: &Path, named: Option<&Path>) -> Result<Loaded<Settings>> {
    let file = match named {
        Some(path) => ConfigFile::Named(path.to_owned()),
        None => ConfigFile::IfPresent(home.join("lucid.toml")),
    };
    let sources = Sources::gather(file, Vec::new())?;
    config::load(sources, Settings::check).map_err(|e| exit(USAGE, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_the_default_configuration() {
        let text = include_str!("../../../configs/lucid.toml").to_owned();
        let sources = Sources {
            file: Some(("lucid.toml".into(), text)),
            ..Sources::default()
        };
        let loaded = config::load(sources, Settings::check).unwrap();
        assert_eq!(loaded.value, Settings::default());
    }

    #[test]
    fn faults_of_the_chain_name_what_would_do() {
        let text = "[chain]\nurl = [\"https://node\"]\nowner = \"me\"\ncheckpoint_every = \"0s\"\nmint_timeout = \"soon\"\nbatch_from = 1\n[monitor]\nlisten = \"9091\"\n";
        let sources = Sources {
            file: Some(("lucid.toml".into(), text.to_owned())),
            ..Sources::default()
        };
        let faults = config::load(sources, Settings::check)
            .unwrap_err()
            .to_string();
        for part in [
            "6 faults",
            "chain.url: 'https://node' is not http://HOST:PORT",
            "chain.owner: 'me' is not an account",
            "chain.checkpoint_every: '0s' is not 1s to 1h",
            "chain.mint_timeout: 'soon' is not 1s to 10m",
            "chain.batch_from: 1 is not 2 to 10000",
            "monitor.listen: '9091' is not ADDRESS:PORT",
        ] {
            assert!(faults.contains(part), "{part} is not in: {faults}");
        }
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let text =
            "[gateway]\nlisten = \"nowhere\"\nmax_sessions = 0\ntypo = 1\n[chunk]\nmax_bytes = 1\n"
                .to_owned();
        let sources = Sources {
            file: Some(("lucid.toml".into(), text)),
            ..Sources::default()
        };
        let faults = config::load(sources, Settings::check)
            .unwrap_err()
            .to_string();
        for part in [
            "4 faults",
            "gateway.listen",
            "gateway.max_sessions",
            "typo",
            "chunk.max_bytes",
            "lucid.toml line 2",
        ] {
            assert!(faults.contains(part), "{part} is not in: {faults}");
        }
    }
}

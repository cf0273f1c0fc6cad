//! `lucid node`: one node of the chain, in the foreground.

use anyhow::{Context, Result};
use lucid_node::LedgerError;
use lucid_node::config::NodeConfig;
use lucid_node::home::Home;
use lucid_node::{LOG_FILTER, Listening, NodeError, RunOptions, SyncFrom, SystemClock};
use tokio::sync::{oneshot, watch};

use crate::App;
use crate::cli::{NodeArgs, SyncArg};
use crate::commands::gateway::stop_signal;
use crate::exit::{DAMAGED, NOT_FOUND, USAGE, exit};
use crate::processes;

/// A node's clock is shifted by this many ms: for tests of clock skew.
const SKEW: &str = "LUCID_CLOCK_SKEW_MS";

/// Runs a node until it is told to stop.
pub fn run(app: &App, args: &NodeArgs) -> Result<()> {
    let folder = args.folder.clone().unwrap_or_else(|| app.home.join("node"));
    let home = Home::new(&folder);
    if !home.genesis_path().is_file() {
        return Err(exit(
            NOT_FOUND,
            format!(
                "{} is no node's folder: there is no genesis.json; 'lucid chain init' makes networks",
                folder.display()
            ),
        ));
    }
    let config = NodeConfig::load(&home.config_path())
        .map_err(|error| exit(USAGE, error.to_string()))?
        .value;
    // The engine's filter first: what comes later in a filter wins over it.
    let levels = lucid_service::logs::init(
        config.log.format,
        &format!("{LOG_FILTER},{}", config.log.level),
    )?;
    let skew_ms = match std::env::var(SKEW) {
        Err(_) => 0,
        Ok(text) => text.parse().map_err(|_| {
            exit(
                USAGE,
                format!("{SKEW}: '{text}' is no number of milliseconds"),
            )
        })?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let outcome = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let (ready, listening) = oneshot::channel::<Listening>();
        let signal = stop_signal()?;
        let with_parent = args.with_parent;
        tokio::spawn(async move {
            tokio::select! {
                () = signal => {}
                () = processes::parent_gone(), if with_parent => {}
            }
            stop.send_replace(true);
        });
        let ui = app.ui;
        let json = ui.json;
        tokio::spawn(async move {
            let Ok(listening) = listening.await else {
                return;
            };
            let address = |at: Option<std::net::SocketAddr>| at.map(|at| at.to_string());
            let (rpc, monitor) = (address(listening.rpc), address(listening.monitor));
            if json {
                // Printed for a program that waits for it; a closed pipe is that program's affair.
                let _closed = ui.json(&serde_json::json!({ "rpc": rpc, "monitor": monitor }));
            } else {
                ui.line(format!(
                    "JSON-RPC on {}",
                    rpc.as_deref().unwrap_or("no port")
                ));
                ui.note(format!(
                    "health and metrics on {}",
                    monitor.as_deref().unwrap_or("no port")
                ));
            }
        });
        let options = RunOptions {
            home,
            stop: stopped,
            ready: Some(ready),
            levels: Some(levels),
            clock: SystemClock { skew_ms },
            sync: match args.sync {
                SyncArg::Blocks => SyncFrom::Blocks,
                SyncArg::Snapshot => SyncFrom::Snapshot,
            },
        };
        Ok::<_, anyhow::Error>(lucid_node::run(options).await)
    })?;
    // A lookup or a write that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome.map_err(|error| match error {
        error if error.is_damage() => exit(DAMAGED, error.to_string()),
        error if error.is_machine() => exit(NOT_FOUND, error.to_string()),
        NodeError::Key { .. }
        | NodeError::Genesis { .. }
        | NodeError::OtherKeys { .. }
        | NodeError::Ledger(LedgerError::OtherChain { .. } | LedgerError::GenesisRoot { .. }) => {
            exit(USAGE, error.to_string())
        }
        other => other.into(),
    })
}

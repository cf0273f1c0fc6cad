//! `lucid devnet`: a whole network on this machine, each node a process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lucid_client::Wallet;
use lucid_node::init::network;

use crate::App;
use crate::cli::DevnetArgs;
use crate::commands::gateway::stop_signal;
use crate::processes::{self, CHAIN_ID};
use crate::ui::Tone;

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
        network(&processes::options(&dir, args.validators, args.rpc_port)?)?;
    }
    let mut nodes = processes::start_all(&dir, args.logs)?;
    let urls: Vec<String> = nodes.iter().map(|node| node.url.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let ready = processes::wait_until_ready(&mut nodes);
        tokio::select! {
            ready = ready => ready?,
            () = &mut stop => return Ok::<_, anyhow::Error>(()),
        }
        announce(app, &dir, &urls)?;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                () = &mut stop => return Ok::<_, anyhow::Error>(()),
                _ = look.tick() => {
                    for node in &mut nodes {
                        node.check()?;
                    }
                }
            }
        }
    })?;
    app.ui.note("stopping");
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

//! `lucid chain`: making networks, asking nodes, and proofs of finality.

use std::future::Future;
use std::path::Path;

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result};
use lucid_chain_types::{GenesisAccount, GenesisParameter, Height, NodeId, Pace, Slot};
use lucid_client::Client;
use lucid_light::{FinalityProof, TrustedGenesis, verify};
use lucid_node::init::{NetworkOptions, NodePlace, network};
use lucid_node::{Clock as _, SystemClock};

use crate::App;
use crate::cli::{ChainCommand, InitArgs, PaceArg};
use crate::commands::{archive, index};
use crate::exit::{NOT_FOUND, TAMPERED, USAGE, exit};
use crate::ui::{Tone, table};

/// Most bytes of a proof that is read: a thousand changes of a hundred validators.
const MAX_PROOF: u64 = 64 << 20;

/// Waits for one answer.
pub fn block_on<T, E: Into<anyhow::Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(work).map_err(Into::into)
}

/// Runs the command.
pub fn run(app: &App, command: &ChainCommand) -> Result<()> {
    match command {
        ChainCommand::Init(args) => init(app, args),
        ChainCommand::Status(rpc) => status(app, &rpc.rpc),
        ChainCommand::Block { block, rpc } => {
            let found = block_on(Client::new(&rpc.rpc)?.block(block))?;
            show(app, found, || format!("there is no block {block}"))
        }
        ChainCommand::Tx { hash, rpc } => tx(app, hash, &rpc.rpc),
        ChainCommand::Slot { slot, rpc } => {
            let found = block_on(Client::new(&rpc.rpc)?.slot(slot.map(Slot)))?;
            show(app, Some(found), String::new)
        }
        ChainCommand::Validators(rpc) => validators(app, &rpc.rpc),
        ChainCommand::Params(rpc) => params(app, &rpc.rpc),
        ChainCommand::Work { node, rpc } => {
            let node: NodeId = node.parse().map_err(|_| {
                exit(
                    USAGE,
                    format!("'{node}' is no account: 0x and 40 hex digits are expected"),
                )
            })?;
            let found = block_on(Client::new(&rpc.rpc)?.work(node))?;
            show(app, found, || format!("{node} never registered as a node"))
        }
        ChainCommand::ProveFinality { height, out, rpc } => {
            let proof = block_on(Client::new(&rpc.rpc)?.finality_proof(Height(*height)))?;
            write_proof(app, out.as_deref(), &proof)
        }
        ChainCommand::Backup(args) => archive::backup(app, args),
        ChainCommand::Snapshot(args) => archive::snapshot(app, args),
        ChainCommand::Restore(args) => archive::restore(app, args),
        ChainCommand::Index(command) => index::run(app, command),
        ChainCommand::VerifyFinality { proof, genesis } => verify_finality(app, proof, genesis),
    }
}

fn init(app: &App, args: &InitArgs) -> Result<()> {
    let count = args.validators + args.full;
    let places: Vec<NodePlace> = if args.hosts.is_empty() {
        (0..count)
            .map(|index| NodePlace::shared(args.base_port, index))
            .collect()
    } else if args.hosts.len() == usize::from(count) {
        args.hosts.iter().copied().map(NodePlace::alone).collect()
    } else {
        return Err(exit(
            USAGE,
            format!(
                "--hosts has {} addresses for {count} nodes",
                args.hosts.len()
            ),
        ));
    };
    let made = network(&NetworkOptions {
        out: args.out.clone(),
        validators: args.validators.into(),
        full: args.full.into(),
        chain_id: args.chain_id,
        pace: match args.pace {
            PaceArg::Direct => Pace::DIRECT,
            PaceArg::Tor => Pace::TOR,
        },
        time_ms: SystemClock::default().now_ms(),
        places,
        accounts: args
            .fund
            .iter()
            .map(|text| fund(text))
            .collect::<Result<_>>()?,
        parameters: args
            .param
            .iter()
            .map(|text| parameter(text))
            .collect::<Result<_>>()?,
        custody: args.custody,
    })
    .map_err(|error| exit(USAGE, error.to_string()))?;
    let hash = made.genesis.hash();
    if app.ui.json {
        return app.ui.json(&serde_json::json!({
            "genesis": args.out.join("genesis.json"),
            "genesisHash": hash,
            "chainId": made.genesis.chain_id,
            "nodes": made.nodes.iter().map(|home| home.path()).collect::<Vec<_>>(),
            "fundedKey": made.funded_key,
            "funded": made.funded,
        }));
    }
    let ui = app.ui;
    ui.line(format!(
        "genesis  {}  ({hash})",
        args.out.join("genesis.json").display()
    ));
    for home in &made.nodes {
        ui.line(format!(
            "node     {}  ({})",
            home.path().display(),
            home.node_id()?
        ));
    }
    ui.line(format!(
        "coins    {}  ({})",
        made.funded_key.display(),
        made.funded
    ));
    ui.note("Start each with 'lucid node --node-home FOLDER'. Keys stay with their nodes; genesis.json goes to everyone.");
    Ok(())
}

fn fund(text: &str) -> Result<GenesisAccount> {
    let fault = || {
        exit(
            USAGE,
            format!("--fund '{text}' is not ADDRESS=LUCID, such as 0xAb…=1000"),
        )
    };
    let (address, coins) = text.split_once('=').ok_or_else(fault)?;
    let address: Address = address.parse().map_err(|_| fault())?;
    let coins: u64 = coins.parse().map_err(|_| fault())?;
    Ok(GenesisAccount {
        address,
        balance: U256::from(coins) * U256::from(1_000_000_000_000_000_000_u64),
    })
}

fn parameter(text: &str) -> Result<GenesisParameter> {
    let fault = || {
        exit(
            USAGE,
            format!("--param '{text}' is not KEY=VALUE, such as votingPeriod=60"),
        )
    };
    let (key, value) = text.split_once('=').ok_or_else(fault)?;
    if key.is_empty() || key.len() > 31 {
        return Err(fault());
    }
    Ok(GenesisParameter {
        key: key.to_owned(),
        value: value.parse().map_err(|_| fault())?,
    })
}

/// Prints an answer: as JSON on one line, or as its fields, one a line.
pub fn show<T: serde::Serialize>(
    app: &App,
    found: Option<T>,
    missing: impl Fn() -> String,
) -> Result<()> {
    let Some(found) = found else {
        return Err(exit(NOT_FOUND, missing()));
    };
    if app.ui.json {
        return app.ui.json(&found);
    }
    let value = serde_json::to_value(found)?;
    for (key, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        app.ui.line(format!("{key:<20} {text}"));
    }
    Ok(())
}

fn status(app: &App, url: &str) -> Result<()> {
    let status = block_on(Client::new(url)?.status())?;
    if app.ui.json {
        return app.ui.json(&status);
    }
    let ui = app.ui;
    ui.line(format!("height      {}", status.height));
    ui.line(format!("block       {}", status.block));
    ui.line(format!("slot        {}", status.slot));
    ui.line(format!(
        "chain       {} ({})",
        status.chain_id, status.genesis_hash
    ));
    ui.line(format!("state root  {}", status.state_root));
    ui.line(format!(
        "base fee    {} wei, gas limit {}",
        status.base_fee, status.gas_limit
    ));
    ui.line(format!("validators  {}", status.validators));
    ui.line(format!("peers       {}", status.peers));
    ui.line(format!(
        "waiting     {} transactions, {} queued",
        status.mempool.pending, status.mempool.queued
    ));
    let sync = if status.syncing {
        ui.paint(Tone::Strong, format!("catching up to {}", status.highest))
    } else {
        ui.paint(Tone::Good, "in step")
    };
    ui.line(format!("node        {sync}, {}", status.version));
    Ok(())
}

fn tx(app: &App, hash: &str, url: &str) -> Result<()> {
    let hash: B256 = hash.parse().map_err(|_| {
        exit(
            USAGE,
            format!("'{hash}' is no transaction hash: 0x and 64 hex digits are expected"),
        )
    })?;
    let client = Client::new(url)?;
    let receipt = block_on(client.receipt(hash))?;
    if receipt.is_none() && block_on(client.transaction(hash))?.is_some() {
        if app.ui.json {
            return app
                .ui
                .json(&serde_json::json!({ "transactionHash": hash, "status": "waiting" }));
        }
        app.ui.line("waiting for a block");
        return Ok(());
    }
    show(app, receipt, || format!("there is no transaction {hash}"))
}

fn validators(app: &App, url: &str) -> Result<()> {
    let client = Client::new(url)?;
    let set = block_on(client.validators(None))?;
    let schedule = block_on(client.schedule())?;
    if app.ui.json {
        return app
            .ui
            .json(&serde_json::json!({ "set": set, "schedule": schedule }));
    }
    let place = |order: &[NodeId], node: NodeId| {
        order
            .iter()
            .position(|it| *it == node)
            .map_or_else(|| "-".to_owned(), |at| (at + 1).to_string())
    };
    let rows: Vec<Vec<String>> = set
        .validators
        .iter()
        .map(|validator| {
            vec![
                validator.node.to_string(),
                place(&schedule.order, validator.node),
                place(&schedule.next_order, validator.node),
                validator.consensus_key.to_string(),
            ]
        })
        .collect();
    let (this, next) = (
        format!("leads {}", schedule.slot),
        format!("leads {}", schedule.next_slot),
    );
    table(app.ui, &["node", &this, &next, "consensus key"], &rows);
    Ok(())
}

fn params(app: &App, url: &str) -> Result<()> {
    let list = block_on(Client::new(url)?.params())?;
    if app.ui.json {
        return app.ui.json(&list);
    }
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|it| {
            vec![
                it.key.clone(),
                it.value.to_string(),
                it.min.to_string(),
                it.max.to_string(),
            ]
        })
        .collect();
    table(app.ui, &["parameter", "value", "least", "most"], &rows);
    Ok(())
}

fn write_proof(app: &App, out: Option<&Path>, proof: &[u8]) -> Result<()> {
    use std::io::{IsTerminal as _, Write as _};
    match out {
        Some(path) => {
            std::fs::write(path, proof).with_context(|| path.display().to_string())?;
            app.ui
                .note(format!("{} bytes in {}", proof.len(), path.display()));
        }
        None => {
            let mut stdout = std::io::stdout().lock();
            if stdout.is_terminal() {
                return Err(exit(
                    USAGE,
                    "the proof is binary: give --out FILE, or send it into one with '>'",
                ));
            }
            stdout.write_all(proof)?;
            stdout.flush()?;
        }
    }
    Ok(())
}

fn verify_finality(app: &App, proof: &Path, genesis: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<Vec<u8>> {
        let size = std::fs::metadata(path)
            .with_context(|| path.display().to_string())?
            .len();
        if size > MAX_PROOF {
            return Err(exit(
                USAGE,
                format!("{} has {size} bytes: that is no proof", path.display()),
            ));
        }
        std::fs::read(path).with_context(|| path.display().to_string())
    };
    let genesis =
        TrustedGenesis::parse(&read(genesis)?).map_err(|error| exit(USAGE, error.to_string()))?;
    let refused =
        |error: lucid_light::LightError| exit(TAMPERED, format!("the proof is refused: {error}"));
    let proof = FinalityProof::decode(&read(proof)?).map_err(refused)?;
    let verified = verify(&genesis, &proof).map_err(refused)?;
    let header = verified.header();
    if app.ui.json {
        return app.ui.json(&serde_json::json!({
            "height": header.height,
            "block": verified.id(),
            "timeMs": header.time_ms,
            "stateRoot": header.state_root,
            "validatorSetChanges": proof.changes.len(),
        }));
    }
    let ui = app.ui;
    ui.line(format!(
        "{} block {} is final",
        ui.paint(Tone::Good, "proven:"),
        header.height
    ));
    ui.line(format!("  id          {}", verified.id()));
    ui.line(format!("  time        {} ms since 1970", header.time_ms));
    ui.line(format!("  state root  {}", header.state_root));
    Ok(())
}

//! `lucid chain index`: the read model of a node.

use anyhow::Result;
use lucid_client::Client;
use lucid_client::wire::{ModelCollection, ModelPage, ModelQuery};
use lucid_ledger::LedgerError;
use lucid_node::NodeError;
use lucid_node::config::NodeConfig;
use lucid_node::home::Home;
use lucid_node::readmodel::{Rebuilt, rebuild};
use serde_json::{Value, json};

use crate::App;
use crate::cli::{CollectionArg, IndexCommand, ShowArgs};
use crate::commands::chain::{block_on, show};
use crate::exit::{DAMAGED, NOT_FOUND, USAGE, exit};
use crate::ui::{Tone, table};

/// Runs the command.
pub fn run(app: &App, command: &IndexCommand) -> Result<()> {
    match command {
        IndexCommand::Status(rpc) => status(app, &rpc.rpc),
        IndexCommand::Show(args) => list(app, args),
        IndexCommand::Rebuild { node_home } => {
            let folder = node_home.clone();
            anew(
                app,
                &Home::new(folder.unwrap_or_else(|| app.home.join("node"))),
            )
        }
    }
}

fn status(app: &App, url: &str) -> Result<()> {
    let status = block_on(Client::new(url)?.read_model())?;
    if app.ui.json {
        return app.ui.json(&status);
    }
    let ui = app.ui;
    let store = status.store.as_deref().unwrap_or("not there yet");
    ui.line(format!("database    {store}"));
    match (status.from, status.height) {
        (Some(from), Some(height)) => {
            ui.line(format!("blocks      {from} to {height}"));
            let behind = status.head.0.saturating_sub(height.0);
            let place = if behind == 0 {
                ui.paint(Tone::Good, "in step")
            } else {
                ui.paint(Tone::Strong, format!("{behind} blocks behind"))
            };
            ui.line(format!("chain       {}, {place}", status.head));
            if status.earliest < from {
                ui.note(format!(
                    "blocks {} to {} are here and not in it: stop the node and run 'lucid chain index rebuild'",
                    status.earliest, from.0 - 1
                ));
            } else if !status.complete {
                ui.note(format!(
                    "this node's chain began with the snapshot of block {from}: what happened before is not in it"
                ));
            }
        }
        _ => ui.line(format!("blocks      none yet of {}", status.head)),
    }
    if let Some(trouble) = status.trouble {
        ui.line(format!("trouble     {}", ui.paint(Tone::Bad, trouble)));
    }
    Ok(())
}

fn list(app: &App, args: &ShowArgs) -> Result<()> {
    let client = Client::new(&args.rpc.rpc)?;
    if let (CollectionArg::Sessions, Some(id)) = (args.collection, &args.key) {
        let found = block_on(client.session_document(id))?;
        return show(app, found, || format!("the read model has no session {id}"));
    }
    let (collection, columns): (_, &[&str]) = match args.collection {
        CollectionArg::Sessions => (
            ModelCollection::Sessions,
            &[
                "_id",
                "status",
                "owner",
                "openedHeight",
                "closedHeight",
                "chunkCount",
            ],
        ),
        CollectionArg::Chunks => (
            ModelCollection::Chunks,
            &["session_id", "idx", "size", "hash", "holders"],
        ),
        CollectionArg::TaskProofs => (
            ModelCollection::TaskProofs,
            &["slot", "nodeId", "type", "value", "height"],
        ),
        CollectionArg::WorkTally => (
            ModelCollection::WorkTally,
            &["epoch", "entityId", "rank", "liveScore", "timeouts"],
        ),
        CollectionArg::LeaderSchedule => (
            ModelCollection::LeaderSchedule,
            &[
                "slot",
                "primary",
                "result.winner",
                "result.reason",
                "height",
            ],
        ),
    };
    let query = ModelQuery {
        key: args.key.clone(),
        after: args.after.clone(),
        limit: Some(args.limit.into()),
        newest_first: args.newest_first,
    };
    let page: ModelPage = block_on(client.collection(collection, &query))?;
    if app.ui.json {
        return app.ui.json(&page);
    }
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|item| columns.iter().map(|column| cell(item, column)).collect())
        .collect();
    table(app.ui, columns, &rows);
    if let Some(next) = page.next {
        app.ui.note(format!("there are more: --after {next}"));
    }
    Ok(())
}

/// A field as people read it; of a list, how long it is.
fn cell(item: &Value, column: &str) -> String {
    let value = column
        .split('.')
        .try_fold(item, |within, name| within.get(name));
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.len().to_string(),
        Some(other) => other.to_string(),
    }
}

fn anew(app: &App, home: &Home) -> Result<()> {
    if !home.data().is_dir() {
        return Err(exit(
            NOT_FOUND,
            format!("{} has no chain", home.path().display()),
        ));
    }
    // A folder that a chain was restored into may have none yet: then it is the embedded one.
    let database = if home.config_path().is_file() {
        NodeConfig::load(&home.config_path())?.value.database
    } else {
        NodeConfig::default().database
    };
    let bar = app.ui.steps_bar("reading blocks", 0);
    let made = rebuild(home, &database, |height, head| {
        bar.set_length(head.0);
        bar.set_position(height.0);
    });
    bar.finish_and_clear();
    let Rebuilt { blocks, store } = made.map_err(|error| match error {
        NodeError::Ledger(LedgerError::InUse { .. }) => {
            exit(NOT_FOUND, format!("{error}: stop the node first"))
        }
        NodeError::Genesis { .. } => exit(USAGE, error.to_string()),
        error if error.is_damage() => exit(DAMAGED, error.to_string()),
        error if error.is_machine() => exit(NOT_FOUND, error.to_string()),
        error => error.into(),
    })?;
    let (from, height) = blocks.unzip();
    if app.ui.json {
        return app
            .ui
            .json(&json!({ "store": store, "from": from, "height": height }));
    }
    match blocks {
        None => app.ui.line("the chain has no blocks yet"),
        Some((from, height)) => app.ui.line(format!("made from blocks {from} to {height}")),
    }
    Ok(())
}

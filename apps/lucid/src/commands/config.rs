//! `lucid config`: what is in force.

use anyhow::Result;
use lucid_service::config::Loaded;

use crate::{cli::ConfigCommand, config::Settings, ui::Ui};

/// Runs a subcommand. Faults were reported when the configuration was read.
pub fn run(ui: Ui, command: &ConfigCommand, loaded: &Loaded<Settings>) -> Result<()> {
    match command {
        ConfigCommand::Check if ui.json => ui.json(&serde_json::json!({ "sound": true }))?,
        ConfigCommand::Check => ui.line("the configuration is sound"),
        ConfigCommand::Show if ui.json => ui.json(&loaded.value)?,
        ConfigCommand::Show => ui.line(loaded.explain().trim_end()),
    }
    Ok(())
}

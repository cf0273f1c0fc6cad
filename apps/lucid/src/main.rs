//! The `lucid` command line: reads what a person asks for, calls the library that does it, says how it went.
//!
//! Start reading at [`cli`] (what can be asked) and [`run`] (who answers).

#![expect(
    unreachable_pub,
    reason = "a binary has no reader outside: pub means the other modules"
)]

mod cli;
mod commands;
mod config;
mod exit;
mod hosted;
mod keyring;
mod processes;
mod recording;
mod ui;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use lucid_recorder::Home;
use lucid_store::Store;

use crate::{
    cli::{Cli, Command},
    config::Settings,
    ui::{Tone, Ui},
};

/// What every command has at hand.
pub struct App {
    /// Output.
    pub ui: Ui,
    /// The configuration in force.
    pub settings: Settings,
    home: PathBuf,
}

impl App {
    /// The home folder, made when it is not there.
    pub fn home(&self) -> Result<Home> {
        Ok(Home::open(&self.home)?)
    }

    /// The chunk store, with the configured limits.
    pub fn store(&self) -> Result<Store> {
        Ok(Store::open_with(
            self.home()?.store(),
            self.settings.store_options(),
        )?)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.json, cli.quiet);
    match run(cli, ui) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(ui, &error);
            ExitCode::from(exit::code(&error))
        }
    }
}

/// Says what went wrong on one line; as JSON where JSON was asked for.
#[expect(
    clippy::print_stderr,
    reason = "this is where the program says what went wrong"
)]
fn report(ui: Ui, error: &anyhow::Error) {
    let text = format!("{error:#}");
    if ui.json {
        eprintln!(
            "{}",
            serde_json::json!({ "error": text, "code": exit::code(error) })
        );
    } else {
        eprintln!("{} {text}", ui.paint(Tone::Bad, "error:"));
    }
}

fn run(cli: Cli, ui: Ui) -> Result<u8> {
    let home = match cli.home {
        Some(home) => home,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set: give --home")?)
            .join(".lucid"),
    };
    match &cli.command {
        Command::Completions { shell } => return commands::shell::completions(*shell).map(|()| 0),
        Command::Man { dir } => return commands::shell::man_pages(ui, dir).map(|()| 0),
        _ => {}
    }
    let loaded = config::load(&home, cli.config.as_deref())?;
    if let Command::Config(command) = &cli.command {
        return commands::config::run(ui, command, &loaded).map(|()| 0);
    }
    let app = App {
        ui,
        settings: loaded.value,
        home,
    };
    match cli.command {
        Command::Demo(args) => commands::demo::run(&app, &args).map(|()| 0),
        Command::Keys(command) => commands::keys::run(&app, &command).map(|()| 0),
        Command::Gateway(args) => commands::gateway::run(&app, &args).map(|()| 0),
        Command::Session(command) => commands::session::run(&app, command).map(|()| 0),
        Command::Target(command) => commands::target::run(&app, &command).map(|()| 0),
        Command::Prove(args) => commands::prove::run(&app, &args).map(|()| 0),
        Command::Verify(args) => commands::verify::run(&app, &args),
        Command::Replay(args) => commands::replay::run(&app, &args).map(|()| 0),
        Command::Export(args) => commands::export::run(&app, &args).map(|()| 0),
        Command::Disclose(args) => commands::disclose::run(&app, &args).map(|()| 0),
        Command::Pack(args) => commands::store::pack(&app, &args).map(|()| 0),
        Command::Fsck => commands::store::fsck(&app),
        Command::Prune(args) => commands::store::prune(&app, &args).map(|()| 0),
        Command::Chunk(args) => commands::stages::chunk(&app, &args).map(|()| 0),
        Command::Encrypt(args) => commands::stages::encrypt(&app, &args).map(|()| 0),
        Command::Merkle(command) => commands::stages::merkle(&app, &command).map(|()| 0),
        Command::Audit => commands::audit::run(&app).map(|()| 0),
        Command::Node(args) => commands::node::run(&app, &args).map(|()| 0),
        Command::Devnet(args) => commands::devnet::run(&app, &args).map(|()| 0),
        Command::Chain(command) => commands::chain::run(&app, &command).map(|()| 0),
        Command::Gov(command) => commands::gov::run(&app, &command).map(|()| 0),
        Command::Bench(args) => commands::bench::run(&app, &args).map(|()| 0),
        Command::Config(_) | Command::Completions { .. } | Command::Man { .. } => Ok(0),
    }
}

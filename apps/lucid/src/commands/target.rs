//! `lucid target`: the certificates of desktops.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use lucid_rdp::{Fingerprint, Target, Trust};
use lucid_recorder::target;

use crate::{
    App,
    cli::TargetCommand,
    exit::{NOT_FOUND, TAMPERED, USAGE, exit},
    ui::table,
};

/// Runs a subcommand.
pub fn run(app: &App, command: &TargetCommand) -> Result<()> {
    let home = app.home()?;
    let targets = target::load(&home)?;
    match command {
        TargetCommand::List => {
            let rows: Vec<Vec<String>> = targets
                .iter()
                .map(|(name, t)| {
                    vec![
                        name.clone(),
                        t.address(),
                        t.credentials.username.clone(),
                        trust(t),
                    ]
                })
                .collect();
            if app.ui.json {
                let list: Vec<_> = rows.iter().map(|r| serde_json::json!({"name": r[0], "address": r[1], "user": r[2], "trust": r[3]})).collect();
                return app.ui.json(&list);
            }
            table(app.ui, &["NAME", "ADDRESS", "USER", "CERTIFICATE"], &rows);
            Ok(())
        }
        TargetCommand::Trust { name, fingerprint } => {
            let missing = || {
                exit(
                    NOT_FOUND,
                    format!("{} has no target [{name}]", home.targets().display()),
                )
            };
            let found = targets.get(name).ok_or_else(missing)?;
            let shown = show(found)?;
            match fingerprint
                .as_deref()
                .map(str::parse::<Fingerprint>)
                .transpose()?
            {
                Some(expected) if expected != shown => {
                    return Err(exit(
                        TAMPERED,
                        format!(
                            "target '{name}' shows {shown}, not {expected}: nothing was pinned"
                        ),
                    ));
                }
                Some(_) => {}
                None => confirm(name, found, shown)?,
            }
            target::set_pin(&home, name, &shown.to_string())?;
            if app.ui.json {
                let pin = shown.to_string();
                return app
                    .ui
                    .json(&serde_json::json!({ "name": name, "pin": pin }));
            }
            app.ui.line(format!("target '{name}' is pinned to {shown}"));
            Ok(())
        }
    }
}

fn trust(target: &Target) -> String {
    match target.trust {
        Trust::Pin(pin) => format!("pinned {pin}"),
        Trust::Authorities => "by certificate authority".to_owned(),
        Trust::AskFirstUse => "not pinned yet".to_owned(),
    }
}

/// The certificate that a target shows now.
pub fn show(target: &Target) -> Result<Fingerprint> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    Ok(runtime.block_on(target.show_certificate())?)
}

/// Asks a person whether a certificate is the right one; refuses when there is nobody to ask.
pub fn confirm(name: &str, target: &Target, shown: Fingerprint) -> Result<()> {
    let question = format!(
        "Target '{name}' ({}) shows the certificate\n  SHA-256 {shown}",
        target.address()
    );
    if !std::io::stdin().is_terminal() {
        let way_out = format!(
            "compare it on the target, then run 'lucid target trust {name} --fingerprint …', or give --target-pin"
        );
        return Err(exit(
            USAGE,
            format!("{question}\nwhich is not pinned, and nobody can be asked: {way_out}"),
        ));
    }
    let mut terminal = std::io::stderr();
    write!(
        terminal,
        "{question}\nCompare it with what the target itself says. Is it the same? [y/N] "
    )?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(exit(USAGE, "not trusted: nothing was changed"))
}

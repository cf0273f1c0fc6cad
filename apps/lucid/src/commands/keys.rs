//! `lucid keys`: recipients' key pairs.

use std::path::Path;

use anyhow::{Context, Result};
use lucid_format::{KdfCost, PublicKeys, SecretKeys};
use lucid_recorder::write_new;

use crate::{
    App,
    cli::KeysCommand,
    exit::{USAGE, exit},
    keyring,
};

/// Runs a subcommand.
pub fn run(app: &App, command: &KeysCommand) -> Result<()> {
    match command {
        KeysCommand::New {
            name,
            dir,
            passphrase,
        } => {
            let passphrase = keyring::passphrase(
                passphrase,
                &format!("New passphrase for {name}.key: "),
                true,
            )?;
            let keys = SecretKeys::generate(name, &mut lucid_recorder::rng())?;
            let public = create(&keys, &passphrase, dir)?;
            if app.ui.json {
                return app.ui.json(&describe(&public));
            }
            let (dir, id) = (dir.display(), public.id());
            app.ui.line(format!(
                "wrote {dir}/{name}.key (secret, sealed) and {dir}/{name}.pub (give it to gateways)"
            ));
            app.ui
                .line(format!("recipient {id}, identity {}", public.sign));
            app.ui.note("Lose the key file or its passphrase and no recording sealed to it can ever be opened.");
            Ok(())
        }
        KeysCommand::Show { file } => {
            let text = keyring::read_text(file)?;
            if text.starts_with("lucid-secret-key") {
                let name = text
                    .split_whitespace()
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                if app.ui.json {
                    return app
                        .ui
                        .json(&serde_json::json!({ "name": name, "secret": true }));
                }
                app.ui.line(format!(
                    "{}: the secret key '{name}', sealed with a passphrase",
                    file.display()
                ));
                return Ok(());
            }
            let public =
                PublicKeys::from_text(&text).with_context(|| file.display().to_string())?;
            if app.ui.json {
                return app.ui.json(&describe(&public));
            }
            app.ui.line(format!(
                "{}: recipient {} '{}', identity {}",
                file.display(),
                public.id(),
                public.name,
                public.sign
            ));
            Ok(())
        }
    }
}

/// Writes NAME.key and NAME.pub, neither over another.
pub fn create(keys: &SecretKeys, passphrase: &str, dir: &Path) -> Result<PublicKeys> {
    let public = keys.public();
    let sealed = keys.to_text(passphrase, KdfCost::DEFAULT, &mut lucid_recorder::rng())?;
    for (ending, text, mode) in [("key", &sealed, 0o600), ("pub", &public.to_text(), 0o644)] {
        let path = dir.join(format!("{}.{ending}", public.name));
        if !write_new(&path, text.as_bytes(), mode)? {
            return Err(exit(
                USAGE,
                format!(
                    "{} is there already: keys are never overwritten",
                    path.display()
                ),
            ));
        }
    }
    Ok(public)
}

fn describe(public: &PublicKeys) -> serde_json::Value {
    serde_json::json!({
        "name": public.name,
        "recipient": data_encoding::HEXLOWER.encode(&public.id().0),
        "identity": public.sign.to_string(),
    })
}

//! Key files and passphrases.

use std::{fs, io::IsTerminal, path::Path};

use anyhow::{Context, Result};
use lucid_format::{PublicKeys, SecretKeys};
use zeroize::Zeroizing;

use crate::{
    cli::{KeyArgs, PassphraseArgs},
    exit::{NO_KEY, USAGE, exit},
};

/// Largest key or passphrase file that is read.
const MAX_FILE: u64 = 64 << 10;

/// Reads a small text file.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let context = || format!("reading {}", path.display());
    let len = fs::metadata(path).with_context(context)?.len();
    if len > MAX_FILE {
        return Err(exit(
            USAGE,
            format!(
                "{} has {len} bytes: that is no key or passphrase file",
                path.display()
            ),
        ));
    }
    Ok(Zeroizing::new(
        fs::read_to_string(path).with_context(context)?,
    ))
}

/// Reads a `.pub` file.
pub fn public(path: &Path) -> Result<PublicKeys> {
    PublicKeys::from_text(&read_text(path)?).with_context(|| format!("{}", path.display()))
}

/// Opens the `.key` file of `args`, if one was named.
pub fn secret(args: &KeyArgs) -> Result<Option<SecretKeys>> {
    let Some(path) = &args.key else {
        return Ok(None);
    };
    let text = read_text(path)?;
    let passphrase = passphrase(
        &args.passphrase,
        &format!("Passphrase of {}: ", path.display()),
        false,
    )?;
    Ok(Some(
        SecretKeys::from_text(&text, &passphrase).with_context(|| format!("{}", path.display()))?,
    ))
}

/// Opens the `.key` file of `args`, which this command cannot do without.
pub fn secret_required(args: &KeyArgs, what: &str) -> Result<SecretKeys> {
    secret(args)?.ok_or_else(|| {
        exit(
            NO_KEY,
            format!("{what} needs a recipient's secret key: add --key NAME.key"),
        )
    })
}

/// A passphrase from a file, the environment or the terminal; a new one is asked for twice.
pub fn passphrase(args: &PassphraseArgs, prompt: &str, new: bool) -> Result<Zeroizing<String>> {
    let found = if let Some(path) = &args.passphrase_file {
        let text = read_text(path)?;
        Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
    } else if let Ok(text) = std::env::var("LUCID_PASSPHRASE") {
        Zeroizing::new(text)
    } else if std::io::stdin().is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password(prompt)?);
        if new && *first != *Zeroizing::new(rpassword::prompt_password("Once more: ")?) {
            return Err(exit(
                USAGE,
                "the two passphrases differ: nothing was written",
            ));
        }
        first
    } else {
        let way_out = "set LUCID_PASSPHRASE, give --passphrase-file, or run this in a terminal";
        return Err(exit(
            NO_KEY,
            format!("a passphrase is needed and nobody can be asked: {way_out}"),
        ));
    };
    if new && found.chars().count() < 8 {
        return Err(exit(
            USAGE,
            "the passphrase is shorter than 8 characters: it alone protects the key file",
        ));
    }
    Ok(found)
}

//! `lucid completions` and `lucid man`: what shells and `man` need, made from the same definition as `--help`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::{cli::Cli, ui::Ui};

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lucid", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).context("printing the script")
}

/// Writes a man page for each command.
pub fn man_pages(ui: Ui, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("writing into {}", dir.display()))?;
    ui.note(format!(
        "wrote man pages into {}: read them with 'man -l {}/lucid.1'",
        dir.display(),
        dir.display()
    ));
    Ok(())
}

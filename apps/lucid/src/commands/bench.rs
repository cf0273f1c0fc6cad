//! x
use crate::{App, cli::*};
use anyhow::Result;
/// x
pub fn run(_: &App, _: &BenchArgs) -> Result<()> {
    Ok(())
}

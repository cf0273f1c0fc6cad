//! x
use anyhow::Result; use crate::{App,cli::*};
/// x
pub fn run(_: &App, _: &BenchArgs) -> Result<()> { Ok(()) }

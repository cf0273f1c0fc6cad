//! What a process uses, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a process has used so far, and has now.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads, in hundredths of a second.
    pub cpu: Duration,
    /// Memory in use (`VmRSS`).
    pub resident_mib: f64,
}

/// Asks the kernel.
pub fn usage(pid: u32) -> Result<Usage> {
    let file = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&file).context(file)?;
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).context(file)?;
    Ok(Usage {
        cpu: cpu(&stat).context("the kernel counts no time")?,
        resident_mib: resident(&status).context("the kernel does not say the memory in use")?,
    })
}

/// The second field is the program's name and may hold spaces; the times are fields 14 and 15.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

fn resident(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().split(' ').next()?.parse().ok()?;
    Some(f64::from(kib) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu("7 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_mib > 0.0);
    }
}

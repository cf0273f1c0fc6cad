//! Figures and how they are shown: each beside the peer or the limit it is to be read against.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::ui::{Tone, Ui, table};

/// One measured thing. Nothing is asserted: a missed target is printed as missed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Median of the runs; absent when it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit of `value`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub unit: &'static str,
    /// Least and greatest of the runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// What the value means beside another: `1.52× zstd -1 | age`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ratio: String,
    /// What it is to be.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// What else a reader should know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Row {
    /// The median of `runs` and their spread.
    pub fn new(what: impl Into<String>, unit: &'static str, runs: &[f64]) -> Self {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let range = match sorted.as_slice() {
            [first, .., last] => Some([*first, *last]),
            _ => None,
        };
        Self {
            what: what.into(),
            value: median(runs),
            unit,
            range,
            ..Self::default()
        }
    }

    /// Something that was not measured, and why.
    pub fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            note: format!("NOT RUN: {}", why.into()),
            ..Self::default()
        }
    }

    /// Sets a target that `value` is to reach.
    pub fn at_least(mut self, bound: f64) -> Self {
        self.target = format!("≥ {}", number(bound));
        self.met = self.value.map(|v| v >= bound);
        self
    }

    /// Sets a target that `value` is to stay under.
    pub fn at_most(mut self, bound: f64) -> Self {
        self.target = format!("≤ {}", number(bound));
        self.met = self.value.map(|v| v <= bound);
        self
    }

    /// Adds a remark.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Says how it compares.
    pub fn ratio(mut self, ratio: impl Into<String>) -> Self {
        self.ratio = ratio.into();
        self
    }
}

/// Rows under one heading.
#[derive(Debug, Serialize)]
pub struct Section {
    /// What they are about.
    pub title: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// Load average of the last minute when it began and when it ended: figures of a busy machine are worth less.
    pub load: [f64; 2],
}

/// What the figures were taken on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub processor: String,
    /// How many.
    pub cores: usize,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Kind of the file system that everything was written to.
    pub file_system: String,
}

impl Machine {
    /// Asks the kernel.
    pub fn here(dir: &std::path::Path) -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|l| l.strip_prefix(name))?;
            Some(line.trim_start_matches(['\t', ' ', ':']).trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|m| m.split(' ').next()?.parse::<u64>().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.unwrap_or_default() / 1024,
            file_system: file_system(dir).unwrap_or_default(),
        }
    }
}

/// Kind of the file system under `dir`: that of the longest mount point that is a prefix of it.
fn file_system(dir: &std::path::Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let parsed = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = parsed.filter(|(point, _)| dir.starts_with(point));
    holding
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind.to_owned())
}

/// Load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default()
}

/// User and system time so far, in hundredths of a second: of this process, and of its children that have ended.
pub fn cpu() -> Result<(Duration, Duration)> {
    let stat =
        fs::read_to_string("/proc/self/stat").context("asking for the time this process used")?;
    // The second field is the program's name and may hold spaces; the times are fields 14 to 17.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(12)
        .take(4);
    let ticks = fields
        .map(|f| f.parse().context("the time this process used"))
        .collect::<Result<Vec<u64>>>()?;
    let [user, system, childrens_user, childrens_system] = ticks[..] else {
        bail!("the kernel counts no time")
    };
    Ok((
        Duration::from_millis((user + system) * 10),
        Duration::from_millis((childrens_user + childrens_system) * 10),
    ))
}

/// The middle one, or the mean of the two in the middle.
pub fn median(runs: &[f64]) -> Option<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(sorted[low], sorted[high]))
}

/// The value below which `percent` of the sorted `values` lie.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// MB (10^6 bytes) a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a benchmark are far below 2^52"
)]
pub fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

/// Three significant digits, more before the point.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints a section as a table.
pub fn print(ui: Ui, section: &Section) {
    ui.line("");
    ui.line(ui.paint(Tone::Strong, &section.title));
    let rows: Vec<Vec<String>> = section.rows.iter().map(|row| cells(ui, row)).collect();
    table(
        ui,
        &["what", "median", "range", "compared", "target", ""],
        &rows,
    );
    let [before, after] = section.load;
    ui.line(ui.paint(
        Tone::Faint,
        format!("load average {before:.1} at its beginning, {after:.1} at its end"),
    ));
}

fn cells(ui: Ui, row: &Row) -> Vec<String> {
    let value = row
        .value
        .map(|v| format!("{} {}", number(v), row.unit))
        .unwrap_or_default();
    let range = row
        .range
        .map(|[low, high]| format!("{} to {}", number(low), number(high)))
        .unwrap_or_default();
    // Colour would throw the columns out, so only the last column has any.
    let verdict = match row.met {
        Some(true) => ui.paint(Tone::Good, "met"),
        Some(false) => ui.paint(Tone::Bad, "MISSED"),
        None => String::new(),
    };
    let last = [verdict, row.note.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    vec![
        row.what.clone(),
        value,
        range,
        row.ratio.clone(),
        row.target.clone(),
        last,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_target_that_is_missed_says_so() {
        assert_eq!(
            Row::new("x", "MB/s", &[499.0]).at_least(500.0).met,
            Some(false)
        );
        assert_eq!(Row::new("x", "ms", &[1.0]).at_most(2.0).met, Some(true));
        assert_eq!(Row::missing("x", "no such program").at_most(2.0).met, None);
    }
}

//! What people see: lines, progress bars, JSON.

use std::{
    fmt,
    io::{self, IsTerminal, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How the output looks, from `--json`, `--quiet`, `NO_COLOR` and whether a person is watching.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// Machine-readable output.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    colour: bool,
}

/// What a word means, for its colour.
#[derive(Debug, Clone, Copy)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Look here.
    Strong,
    /// Less important.
    Faint,
}

impl Ui {
    /// Looks at the terminal and the environment.
    pub fn new(json: bool, quiet: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            json,
            quiet,
            colour: std::io::stdout().is_terminal() && !no_color && !json,
        }
    }

    /// Prints a line of the result. Where nobody reads on (`lucid … | head`) the work goes on and its exit code stays what it is.
    pub fn line(self, text: impl fmt::Display) {
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// Prints something about the work, not its result.
    #[expect(clippy::print_stderr, reason = "this is where the program prints")]
    pub fn note(self, text: impl fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Prints `value` as JSON, one line.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn json(self, value: &impl Serialize) -> anyhow::Result<()> {
        self.line(serde_json::to_string(value)?);
        Ok(())
    }

    /// `text` in the colour of `tone`, if there are colours.
    pub fn paint(self, tone: Tone, text: impl fmt::Display) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// A bar for `total` bytes of work, on standard error; nothing when nobody watches.
    pub fn bytes_bar(self, what: &str, total: u64) -> ProgressBar {
        self.bar(
            what,
            total,
            "{msg:>10} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
    }

    /// A bar for `total` steps.
    pub fn steps_bar(self, what: &str, total: u64) -> ProgressBar {
        self.bar(what, total, "{msg:>10} [{bar:32}] {pos}/{len} {eta}")
    }

    /// A spinner with the time it has run.
    pub fn spinner(self, what: &str) -> ProgressBar {
        let bar = self.bar(what, 0, "{spinner} {msg} {elapsed}");
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn bar(self, what: &str, total: u64, template: &str) -> ProgressBar {
        let hidden = self.quiet || self.json || !std::io::stderr().is_terminal();
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar
    }
}

/// Prints rows under headings, columns as wide as they need to be.
pub fn table(ui: Ui, headings: &[&str], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([headings[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    ui.line(ui.paint(Tone::Faint, line(headings.to_vec())));
    for row in rows {
        ui.line(line(row.iter().map(String::as_str).collect()));
    }
}

/// `h:mm:ss` of a time in µs.
pub fn clock(us: u64) -> String {
    let seconds = us / 1_000_000;
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A wall clock time in µs since the Unix epoch, as RFC 3339 in UTC, to the second.
pub fn date(us: u64) -> String {
    let seconds = i64::try_from(us / 1_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{us} µs"), |t| t.to_string())
}

/// Bytes in a unit that reads well.
pub fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Reads `h:mm:ss`, `mm:ss` or seconds (with a fraction) as µs.
///
/// # Errors
/// What is not a time.
pub fn parse_clock(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "'{text}' is not a time: write SECONDS, MM:SS or HH:MM:SS, with a fraction if needed"
        )
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (last, before) = parts.split_last().ok_or_else(bad)?;
    if before.len() > 2 {
        return Err(bad());
    }
    let (whole, fraction) = last.split_once('.').unwrap_or((last, ""));
    let digits = |s: &str| !s.is_empty() && s.len() <= 9 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole)
        || !(fraction.is_empty() && !last.contains('.') || digits(fraction))
        || !before.iter().all(|p| digits(p))
    {
        return Err(bad());
    }
    let number = |s: &str| s.parse::<u64>().map_err(|_| bad());
    let mut seconds = 0;
    for part in before {
        seconds = seconds * 60 + number(part)?;
    }
    seconds = seconds * 60 + number(whole)?;
    let micros = number(
        &format!("{fraction:0<6}")
            .chars()
            .take(6)
            .collect::<String>(),
    )?;
    Ok(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_clock("7"), Ok(7_000_000));
        assert_eq!(parse_clock("0.25"), Ok(250_000));
        assert_eq!(parse_clock("03:10"), Ok(190_000_000));
        assert_eq!(parse_clock("1:02:03.5"), Ok(3_723_500_000));
        for bad in [
            "",
            ":",
            "1:2:3:4",
            "-1",
            "1.",
            "a",
            "1:.5",
            "99999999999999999999",
        ] {
            assert!(parse_clock(bad).is_err(), "{bad}");
        }
    }
}

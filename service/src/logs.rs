//! Logs on standard error: lines for people, or JSON for machines.

use std::env;
use std::io::{self, IsTerminal as _};

use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::FilterFn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Changes the filter of this process's logs while it runs.
pub struct Levels(Box<dyn Fn(EnvFilter) -> bool + Send + Sync>);

impl Levels {
    /// Takes a new filter: `LUCID_LOG`, else `RUST_LOG`, else `level`, as [`init`] does.
    pub fn set(&self, level: &str) -> Result<(), ServiceError> {
        (self.0)(filter(level)?)
            .then_some(())
            .ok_or(ServiceError::LogsGone)
    }
}

impl std::fmt::Debug for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Levels")
    }
}

fn filter(level: &str) -> Result<EnvFilter, ServiceError> {
    let (filter, origin) = choose(|name| env::var(name).ok(), level);
    EnvFilter::try_new(&filter).map_err(|error| ServiceError::LogFilter {
        filter,
        origin,
        reason: error.to_string(),
    })
}

use crate::ServiceError;

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line of text; in colour on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Libraries that write passwords and keys into their debug logs: CredSSP hands the target's password over in the clear.
/// Whatever the filter says, only their warnings and errors are logged.
const INDISCREET: [&str; 2] = ["sspi", "ironrdp_connector"];

/// Sends this process's logs to standard error. The filter is `LUCID_LOG`, else `RUST_LOG`, else `level`; what would show
/// secrets stays out in any case.
pub fn init(format: Format, level: &str) -> Result<Levels, ServiceError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(io::stderr);
    match format {
        Format::Text => {
            // https://no-color.org: set and not empty means none.
            let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let builder = builder
                .with_ansi(io::stderr().is_terminal() && !plain)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let levels = Levels(Box::new(move |filter| handle.reload(filter).is_ok()));
            let logs = builder.finish().with(FilterFn::new(discreet));
            logs.try_init().map(|()| levels)
        }
        Format::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            let levels = Levels(Box::new(move |filter| handle.reload(filter).is_ok()));
            let logs = builder.finish().with(FilterFn::new(discreet));
            logs.try_init().map(|()| levels)
        }
    }
    .map_err(|_| ServiceError::LogsTwice)
}

/// Whether a log line or span may be written at all.
fn discreet(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || !INDISCREET.contains(&library)
}

/// The filter and where it comes from. A variable set to nothing counts as not set.
fn choose(variable: impl Fn(&str) -> Option<String>, level: &str) -> (String, &'static str) {
    for name in ["LUCID_LOG", "RUST_LOG"] {
        if let Some(filter) = variable(name).filter(|value| !value.is_empty()) {
            return (filter, name);
        }
    }
    (level.to_owned(), "the configuration")
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn our_own_variable_wins_over_rusts_and_over_the_configuration() {
        let with = |set: &'static [(&str, &str)]| {
            choose(
                |name| {
                    set.iter()
                        .find(|(key, _)| *key == name)
                        .map(|(_, value)| (*value).to_owned())
                },
                "warn",
            )
            .0
        };
        assert_eq!(with(&[]), "warn");
        assert_eq!(with(&[("RUST_LOG", "debug")]), "debug");
        assert_eq!(
            with(&[("RUST_LOG", "debug"), ("LUCID_LOG", "trace")]),
            "trace"
        );
        assert_eq!(with(&[("RUST_LOG", "debug"), ("LUCID_LOG", "")]), "debug");
    }
}

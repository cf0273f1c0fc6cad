//! `/health` and `/metrics` of a daemon, on a listener of their own: whoever may ask the one need not reach the other.
//!
//! A daemon lists its metrics in a table of [`Metric`]s, records through them, and [`install`]s the table once.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse as _;
use axum::routing::get;
use metrics::{Label, SharedString, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::ServiceError;

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, in [`SECONDS`].
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name on the wire: `lucid_COMPONENT_WHAT_UNIT`.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// For people.
    pub help: &'static str,
}

/// Upper bounds of the histograms' buckets, s.
pub const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];

/// A metric that only grows.
pub const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit,
        help,
    }
}

/// A metric that goes up and down.
pub const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit,
        help,
    }
}

/// A metric of durations.
pub const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help,
    }
}

impl Metric {
    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        metrics::gauge!(self.name).set(value);
    }

    /// Sets a gauge to a whole number. Those beyond 2⁵³ lose their last digits, as all numbers of Prometheus do.
    pub fn set_count(&self, value: u64) {
        self.set(as_f64(value));
    }

    /// Moves a gauge.
    pub fn change(&self, by: f64) {
        metrics::gauge!(self.name).increment(by);
    }

    /// Adds to a counter.
    pub fn add(&self, by: u64) {
        metrics::counter!(self.name).increment(by);
    }

    /// Raises a counter to what something else has counted.
    pub fn raise(&self, total: u64) {
        metrics::counter!(self.name).absolute(total);
    }

    /// Adds to a counter with labels.
    pub fn add_labelled(&self, by: u64, labels: &[(&'static str, SharedString)]) {
        metrics::counter!(self.name, to_labels(labels)).increment(by);
    }

    /// Sets a gauge with labels.
    pub fn set_labelled(&self, value: f64, labels: &[(&'static str, SharedString)]) {
        metrics::gauge!(self.name, to_labels(labels)).set(value);
    }

    /// Notes a duration in a histogram, s.
    pub fn observe(&self, seconds: f64) {
        metrics::histogram!(self.name).record(seconds);
    }

    /// Notes a duration in a histogram with labels, s.
    pub fn observe_labelled(&self, seconds: f64, labels: &[(&'static str, SharedString)]) {
        metrics::histogram!(self.name, to_labels(labels)).record(seconds);
    }
}

fn to_labels(labels: &[(&'static str, SharedString)]) -> Vec<Label> {
    labels
        .iter()
        .map(|(name, value)| Label::new(*name, value.clone()))
        .collect()
}

fn as_f64(value: u64) -> f64 {
    // Two halves that fit exactly: there is no lossless conversion from u64.
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// Installs the process's recorder, with the histograms' buckets and the descriptions of these tables. Once a process.
pub fn install(tables: &[&[Metric]]) -> Result<PrometheusHandle, ServiceError> {
    let fault = |error: BuildError| ServiceError::Metrics(error.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(fault)?
        .install_recorder()
        .map_err(fault)?;
    for metric in tables.iter().copied().flatten() {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
    Ok(handle)
}

/// What `/health` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all is well: 200, else 503.
    pub well: bool,
    /// The JSON that says more.
    pub json: String,
}

/// The routes `GET /health` (200 or 503, JSON) and `GET /metrics` (Prometheus text).
pub fn router(
    metrics: PrometheusHandle,
    health: impl Fn() -> Verdict + Send + Sync + 'static,
) -> Router {
    let health = Arc::new(health);
    Router::new()
        .route(
            "/health",
            get(move || {
                let health = Arc::clone(&health);
                async move {
                    let verdict = health();
                    let status = if verdict.well {
                        StatusCode::OK
                    } else {
                        StatusCode::SERVICE_UNAVAILABLE
                    };
                    let headers = [
                        (CONTENT_TYPE, "application/json"),
                        (CACHE_CONTROL, "no-store"),
                    ];
                    (status, headers, verdict.json).into_response()
                }
            }),
        )
        .route(
            "/metrics",
            get(move || {
                let metrics = metrics.clone();
                async move {
                    // Histograms gather until somebody folds them; the reader does.
                    metrics.run_upkeep();
                    (
                        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
                        metrics.render(),
                    )
                }
            }),
        )
}

/// Answers until the listener fails.
///
/// # Errors
/// The listener's.
pub async fn serve(listener: tokio::net::TcpListener, router: Router) -> io::Result<()> {
    axum::serve(listener, router).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_become_floats_without_loss_where_they_can() {
        for value in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 53) - 1] {
            assert_eq!(format!("{:.0}", as_f64(value)), value.to_string());
        }
    }
}

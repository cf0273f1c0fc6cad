//! Every metric of the gateway itself; [`lucid_anchor::metrics`] has those of the anchor queue.

use lucid_service::monitor::{Metric, counter, gauge};
use metrics::Unit;

/// Sessions that run.
pub const SESSIONS: Metric = gauge(
    "lucid_gateway_sessions",
    Unit::Count,
    "Sessions that are being recorded.",
);
/// Sessions that began.
pub const STARTED: Metric = counter(
    "lucid_gateway_started_total",
    Unit::Count,
    "Sessions that began since the gateway started.",
);
/// Clients that were not let in.
pub const REFUSED: Metric = counter(
    "lucid_gateway_refused_total",
    Unit::Count,
    "Clients that were not let in since the gateway started.",
);
/// Sessions that did not come to their proper end.
pub const FAILED: Metric = counter(
    "lucid_gateway_failed_total",
    Unit::Count,
    "Sessions whose recording failed since the gateway started.",
);

/// All of them.
pub const ALL: &[Metric] = &[SESSIONS, STARTED, REFUSED, FAILED];

/// Counts what the audit log is told.
pub(crate) fn event(event: &str) {
    match event {
        "session-started" => STARTED.add(1),
        "client-refused" => REFUSED.add(1),
        "session-failed" => FAILED.add(1),
        _ => {}
    }
}

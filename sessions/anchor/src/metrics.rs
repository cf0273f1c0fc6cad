//! Every metric of the queue.

use lucid_service::monitor::{Metric, counter, gauge};
use metrics::Unit;

/// Jobs that were taken, by `kind`: `open`, `checkpoint`, `close`.
pub const JOBS: Metric = counter(
    "lucid_anchor_jobs_total",
    Unit::Count,
    "Jobs that were handed in, by kind.",
);
/// Nonces that are used up, by `outcome`: `final`, `taken`, `again`, `failed`.
pub const OUTCOMES: Metric = counter(
    "lucid_anchor_outcomes_total",
    Unit::Count,
    "Transactions that are settled, by outcome: final, taken (another one had the nonce), again (failed for no visible reason), failed.",
);
/// Transactions that nodes were sent.
pub const SENT: Metric = counter(
    "lucid_anchor_sent_total",
    Unit::Count,
    "Transactions that nodes were sent, repetitions counted.",
);
/// Rounds that a node did not let end.
pub const AWAY: Metric = counter(
    "lucid_anchor_away_total",
    Unit::Count,
    "Attempts that ended because a node was away, behind, busy or refused.",
);
/// Whether the last round could be ended.
pub const CONNECTED: Metric = gauge(
    "lucid_anchor_connected",
    Unit::Count,
    "1 if the last attempt to talk to the chain went well.",
);
/// Sessions that are not settled.
pub const SESSIONS: Metric = gauge(
    "lucid_anchor_sessions",
    Unit::Count,
    "Sessions that are not settled on the chain.",
);
/// Transactions on their way.
pub const IN_FLIGHT: Metric = gauge(
    "lucid_anchor_in_flight",
    Unit::Count,
    "Transactions that were signed and are not settled.",
);
/// How long the oldest thing waits, s.
pub const OLDEST: Metric = gauge(
    "lucid_anchor_oldest_age_seconds",
    Unit::Seconds,
    "How long the oldest opening, checkpoint or end waits to be final; 0 if nothing does.",
);

/// All of them.
pub const ALL: &[Metric] = &[
    JOBS, OUTCOMES, SENT, AWAY, CONNECTED, SESSIONS, IN_FLIGHT, OLDEST,
];

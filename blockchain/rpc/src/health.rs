//! What `/health` says of a node.

use std::time::Duration;

use axum::Router;
use lucid_chain_types::{Height, SLOT_MS};
use lucid_service::monitor::{self, Verdict};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

/// What health is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthFacts {
    /// Height of the last final block.
    pub height: Height,
    /// Since that block's time; since the genesis time before the first block. `None` before the genesis time.
    pub since_last_block: Option<Duration>,
    /// Connected peers.
    pub peers: usize,
    /// Fewest peers with which the chain can go on, as far as this node can tell: 0 for a chain of one validator.
    pub peers_needed: usize,
    /// Whether the node is catching up.
    pub syncing: bool,
}

/// The answer of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok` or `unhealthy`.
    pub status: &'static str,
    /// Height of the last final block.
    pub height: Height,
    /// Seconds since the last block's time; null before the chain begins.
    pub seconds_since_last_block: Option<u64>,
    /// Connected peers.
    pub peers: usize,
    /// Whether the node is catching up.
    pub syncing: bool,
    /// What is wrong, for people.
    pub problems: Vec<String>,
}

/// An idle chain still makes a block a slot, its seal; after two and a half slots without one something is wrong.
pub const STALE_AFTER: Duration = Duration::from_millis(SLOT_MS * 5 / 2);

impl Health {
    /// Judges.
    pub fn of(facts: &HealthFacts) -> Self {
        let mut problems = Vec::new();
        if facts.syncing {
            problems.push("the node is catching up".to_owned());
        }
        if let Some(age) = facts.since_last_block
            && age > STALE_AFTER
        {
            problems.push(format!(
                "no block for {} s, a slot's seal is due every {} s",
                age.as_secs(),
                SLOT_MS / 1_000
            ));
        }
        if facts.peers < facts.peers_needed {
            problems.push(format!(
                "{} peers, {} are needed for a quorum",
                facts.peers, facts.peers_needed
            ));
        }
        Self {
            status: if problems.is_empty() {
                "ok"
            } else {
                "unhealthy"
            },
            height: facts.height,
            seconds_since_last_block: facts.since_last_block.map(|age| age.as_secs()),
            peers: facts.peers,
            syncing: facts.syncing,
            problems,
        }
    }

    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// The routes `GET /health` (200 or 503, JSON) and `GET /metrics` (Prometheus text).
pub fn monitor_router(
    metrics: PrometheusHandle,
    facts: impl Fn() -> HealthFacts + Send + Sync + 'static,
) -> Router {
    monitor::router(metrics, move || {
        let health = Health::of(&facts());
        match serde_json::to_string(&health) {
            Ok(json) => Verdict {
                well: health.is_ok(),
                json,
            },
            Err(error) => Verdict {
                well: false,
                json: format!("\"{error}\""),
            },
        }
    })
}

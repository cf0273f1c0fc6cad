//! A network of validators in one thread, under virtual time, drawn from a seed: the engine's core, its log on a disk that crashes,
//! the signer's guard, and a chain small enough to check after every step (issue 3, "Simulation"; after FoundationDB and TigerBeetle).
//!
//! ```text
//!  seed ─▶ plan (faults, weather, liars) ─▶ world (time, network) ─▶ node (engine, log, guard) ─▶ host, app
//!                                              └──▶ checker ◀── signatures, decisions, evidence ──┘
//! ```
//! Everything that is random comes from the seed, in the order in which it is asked for: the same seed is the same run, to the last
//! message. `cargo run --release -p lucid-consensus --example simulate -- --seed N --trace` shows one.

mod app;
mod byzantine;
mod checker;
mod disk;
mod host;
mod node;
mod plan;
mod rng;
#[cfg(test)]
mod tests;
mod verifier;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use checker::Rule;
pub(crate) use plan::{Break, Plan};
pub(crate) use world::Report;

use rng::Rng;
use world::World;

/// Runs a seed. A panic is a violation like any other.
pub(crate) fn run(seed: u64, broken: Break, print: bool) -> Report {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng, broken);
    if print {
        println!("{plan:#?}");
    }
    run_plan(plan, rng, print)
}

/// Runs a plan.
pub(crate) fn run_plan(plan: Plan, rng: Rng, print: bool) -> Report {
    let result = catch_unwind(AssertUnwindSafe(|| World::new(plan, rng, print).run()));
    result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Report {
            violation: Some((Rule::Engine, format!("panic: {}", text.unwrap_or("?")))),
            ..Report::default()
        }
    })
}

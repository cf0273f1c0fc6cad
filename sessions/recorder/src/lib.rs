//! The life of a session: ticket, gateway, recording, end, and what comes after a crash.
//!
//! ```text
//! mint ─▶ ticket ─▶ client logs in ─▶ claim ─▶ gateway (lucid-rdp) ══▶ desktop
//!                                                 │ tap
//!                                                 ▼
//!                                     SessionWriter ─▶ chunks ─▶ lucid-store ─▶ manifest
//! ```
//!
//! Start reading at [`Gateway`] (who comes in and what happens to them) and [`SessionWriter`] (how what happens becomes
//! chunks). [`ticket`] mints and claims, [`anchoring`] says what goes on the chain, [`control`] is how `lucid session …` speaks with a running gateway, [`audit`] keeps
//! the log.

pub mod anchoring;
pub mod audit;
pub mod bulk;
pub mod control;
mod error;
mod gateway;
mod home;
pub mod metrics;
mod recording;
pub mod target;
pub mod ticket;
mod writer;

use std::time::{SystemTime, UNIX_EPOCH};

pub use error::RecorderError;
pub use gateway::{Gateway, Health, Settings};
pub use home::{Home, replace, write_new};
pub use recording::recover;
pub use writer::{Progress, SessionWriter};

/// Wall clock, µs since the Unix epoch.
pub fn wall_clock_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The operating system's random numbers. There is no going on without them: it panics when they fail.
pub fn rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// A name no other process uses, for temporary files.
fn random_name() -> String {
    let mut random = [0; 8];
    rand_core::Rng::fill_bytes(&mut rng(), &mut random);
    data_encoding::HEXLOWER.encode(&random)
}

//! Who may be inside at once, and how often one address may knock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A counter of those inside. The limit comes with each entry, so that it can change while the gate is in use.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    left: Notify,
}

/// Being inside; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    pub(crate) fn try_enter(self: &Arc<Self>, limit: usize) -> Option<Pass> {
        self.inside
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |inside| {
                (inside < limit).then_some(inside + 1)
            })
            .ok()
            .map(|_| Pass(Arc::clone(self)))
    }

    /// Waits for a place, `patience` at most.
    pub(crate) async fn enter(self: &Arc<Self>, limit: usize, patience: Duration) -> Option<Pass> {
        if let Some(pass) = self.try_enter(limit) {
            return Some(pass);
        }
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the second look: one who leaves in between is not missed.
            left.as_mut().enable();
            if let Some(pass) = self.try_enter(limit) {
                return Some(pass);
            }
            tokio::time::timeout_at(deadline, left).await.ok()?;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_one();
    }
}

/// A token bucket for each address, a second's worth deep.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Addresses remembered at once. When there are more, those that have been quiet for a second are forgotten; should all be busy,
/// all are forgotten, which lets each of them in once more.
const MAX_ADDRESSES: usize = 8_192;

impl Buckets {
    /// Takes a token of `ip`'s; false if it has none left.
    pub(crate) fn take(&self, ip: IpAddr, per_second: u32, now: Instant) -> bool {
        let rate = f64::from(per_second);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&ip) {
            buckets.retain(|_, bucket| {
                now.saturating_duration_since(bucket.at) < Duration::from_secs(1)
            });
            if buckets.len() >= MAX_ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(ip).or_insert(Bucket {
            tokens: rate,
            at: now,
        });
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + grown).min(rate);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_gets_the_place_of_who_leaves() {
        let gate = Arc::new(Gate::default());
        let first = gate.try_enter(1).unwrap();
        assert!(gate.try_enter(1).is_none());
        assert!(gate.enter(1, Duration::from_millis(5)).await.is_none());
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(1, Duration::from_secs(60)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        assert_eq!(gate.inside.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_bucket_refills_with_time_and_not_beyond_a_second() {
        let buckets = Buckets::default();
        let ip = IpAddr::from([127, 0, 0, 1]);
        let start = Instant::now();
        assert!((0..3).all(|_| buckets.take(ip, 3, start)));
        assert!(!buckets.take(ip, 3, start));
        assert!(buckets.take(IpAddr::from([127, 0, 0, 2]), 3, start));
        let later = start + Duration::from_secs(3600);
        assert!((0..3).all(|_| buckets.take(ip, 3, later)));
        assert!(!buckets.take(ip, 3, later));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for number in 0..20_000_u32 {
            assert!(buckets.take(IpAddr::from(number.to_be_bytes()), 1, now));
        }
        assert!(buckets.0.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}

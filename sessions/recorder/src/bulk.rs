//! Many chunks at once, from content that is there already: `lucid encrypt` and the benchmark, not a live session.
//!
//! Packing needs no key and no neighbour, so chunks are packed side by side. Sealing needs the hash of the chunk before, so
//! it goes in order, and so does keeping; but one chunk can be kept while the next is sealed.
//!
//! ```text
//! pack 0 ─▶ seal 0 ─▶ keep 0
//! pack 1 ────┐ └─▶ seal 1 ─▶ keep 1
//! pack 2 ────┴──────── └─▶ seal 2 …        any free thread takes the job that is furthest along
//! ```

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use lucid_format::{FormatError, Packed, SealedChunk, Sealer, Trailer};

/// What a packer made of a chunk's records.
pub type PackedChunk = (Vec<Packed>, Trailer);

/// Seals a packed chunk: its bytes, in pieces to be written one after the other, and what it is.
///
/// # Errors
/// When the chunk grows past its bound.
pub fn seal(
    mut sealer: Sealer,
    (mut segments, trailer): PackedChunk,
) -> Result<(Vec<Vec<u8>>, SealedChunk), FormatError> {
    let last = segments.pop().unwrap_or_else(|| Packed::stored(Vec::new()));
    let mut pieces = Vec::with_capacity(segments.len() + 1);
    for segment in segments {
        pieces.push(sealer.segment(segment)?);
    }
    let (piece, sealed) = sealer.finish(last, trailer)?;
    pieces.push(piece);
    Ok((pieces, sealed))
}

/// A stage that takes jobs one at a time and in order.
struct Stage<T, F> {
    waiting: BTreeMap<u32, T>,
    next: u32,
    /// Away while a thread runs it.
    run: Option<F>,
}

impl<T, F> Stage<T, F> {
    fn new(run: F) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
            run: Some(run),
        }
    }

    /// The next job and what runs it, if both are here.
    fn begin(&mut self) -> Option<(T, F)> {
        if !self.waiting.contains_key(&self.next) {
            return None;
        }
        let run = self.run.take()?;
        self.waiting.remove(&self.next).map(|job| (job, run))
    }

    fn end(&mut self, run: F) {
        self.run = Some(run);
        self.next += 1;
    }
}

struct State<A, B, E, S, K> {
    /// Jobs that a thread has begun to pack.
    begun: u32,
    seal: Stage<A, S>,
    keep: Stage<B, K>,
    failed: Option<E>,
    /// A stage panicked: the others must not wait for it.
    broken: bool,
}

struct Shared<A, B, E, S, K> {
    state: Mutex<State<A, B, E, S, K>>,
    changed: Condvar,
}

impl<A, B, E, S, K> Shared<A, B, E, S, K> {
    fn lock(&self) -> MutexGuard<'_, State<A, B, E, S, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes everybody when its thread panics.
struct Alarm<'a, A, B, E, S, K>(&'a Shared<A, B, E, S, K>);

impl<A, B, E, S, K> Drop for Alarm<'_, A, B, E, S, K> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().broken = true;
            self.0.changed.notify_all();
        }
    }
}

/// Takes the jobs 0 to `count` through three stages on `threads` threads: `pack` in any order and side by side, `seal` and
/// `keep` each one at a time and in order. At most `threads` + 2 jobs are under way, which bounds memory.
///
/// # Errors
/// The first fault of any stage; jobs after it are not kept.
pub fn in_order<A, B, E>(
    threads: NonZeroUsize,
    count: u32,
    pack: impl Fn(u32) -> Result<A, E> + Sync,
    seal: impl FnMut(A) -> Result<B, E> + Send,
    keep: impl FnMut(B) -> Result<(), E> + Send,
) -> Result<(), E>
where
    A: Send,
    B: Send,
    E: Send,
{
    let state = State {
        begun: 0,
        seal: Stage::new(seal),
        keep: Stage::new(keep),
        failed: None,
        broken: false,
    };
    let shared = Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
    };
    let ahead = u32::try_from(threads.get())
        .unwrap_or(u32::MAX)
        .saturating_add(2);
    let work = || {
        let _alarm = Alarm(&shared);
        let mut state = shared.lock();
        while state.failed.is_none() && !state.broken && state.keep.next < count {
            if let Some((job, mut keep)) = state.keep.begin() {
                drop(state);
                let kept = keep(job);
                state = shared.lock();
                state.keep.end(keep);
                note(&mut state.failed, kept);
            } else if let Some((job, mut seal)) = state.seal.begin() {
                let at = state.seal.next;
                drop(state);
                let sealed = seal(job);
                state = shared.lock();
                state.seal.end(seal);
                if let Some(sealed) = note(&mut state.failed, sealed) {
                    state.keep.waiting.insert(at, sealed);
                }
            } else if state.begun < count && state.begun < state.keep.next.saturating_add(ahead) {
                let at = state.begun;
                state.begun += 1;
                drop(state);
                let packed = pack(at);
                state = shared.lock();
                if let Some(packed) = note(&mut state.failed, packed) {
                    state.seal.waiting.insert(at, packed);
                }
            } else {
                state = shared
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            shared.changed.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            scope.spawn(work);
        }
        work();
    });
    let state = shared
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    state.failed.map_or(Ok(()), Err)
}

fn note<T, E>(failed: &mut Option<E>, result: Result<T, E>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(error) => {
            failed.get_or_insert(error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn threads(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn the_last_two_stages_see_every_job_in_order() {
        for n in 1..5 {
            let (mut sealed, mut kept) = (Vec::new(), Vec::new());
            let pack = |at: u32| {
                thread::sleep(std::time::Duration::from_micros(
                    u64::from(at * 37 % 11) * 100,
                ));
                Ok::<_, ()>(at)
            };
            let seal = |at| {
                sealed.push(at);
                Ok(at * 2)
            };
            let keep = |twice| {
                kept.push(twice);
                Ok(())
            };
            in_order(threads(n), 50, pack, seal, keep).unwrap();
            assert_eq!(sealed, (0..50).collect::<Vec<_>>());
            assert_eq!(kept, (0..50).map(|at| at * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_jobs_are_under_way_than_promised() {
        let under_way = AtomicU32::new(0);
        let most = AtomicU32::new(0);
        let pack = |_| {
            most.fetch_max(
                under_way.fetch_add(1, Ordering::SeqCst) + 1,
                Ordering::SeqCst,
            );
            Ok::<_, ()>(())
        };
        let keep = |()| {
            thread::sleep(std::time::Duration::from_millis(1));
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        in_order(threads(2), 40, pack, Ok, keep).unwrap();
        assert!(most.into_inner() <= 4);
    }

    #[test]
    fn a_fault_of_any_stage_ends_it_all_and_is_the_one_reported() {
        let fail_at = |stage: u32| {
            move |which: u32, at: u32| {
                if which == stage && at == 7 {
                    Err(stage)
                } else {
                    Ok(at)
                }
            }
        };
        for stage in 0..3 {
            let (step, mut kept) = (fail_at(stage), 0);
            let keep = |at| step(2, at).map(|_| kept += 1);
            assert_eq!(
                in_order(threads(2), 50, |at| step(0, at), |at| step(1, at), keep),
                Err(stage)
            );
            assert!(kept <= 7, "{kept}");
        }
    }

    #[test]
    fn a_panic_in_one_thread_does_not_leave_the_others_waiting() {
        let pack = |at: u32| {
            assert_ne!(at, 3, "on purpose");
            Ok::<_, ()>(at)
        };
        let run = || in_order(threads(2), 50, pack, Ok, |_| Ok(()));
        assert!(std::panic::catch_unwind(run).is_err());
    }
}

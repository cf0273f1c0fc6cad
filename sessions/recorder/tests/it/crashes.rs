//! A recorder that dies at any instant, and what is left.

use lucid_format::{Ending, Keypair, Stream};
use lucid_recorder::{RecorderError, rng};
use lucid_store::{SessionState, StoreError};
use proptest::prelude::*;

use crate::{
    frames::{key, paint, resize},
    support::{SECOND, Session, all},
};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Happens {
    Key,
    Picture,
    Clipboard(usize),
    Nothing,
}

fn events() -> impl Strategy<Value = Vec<(u64, Happens)>> {
    let gap = prop_oneof![
        4 => 0..50_000u64,
        3 => 50_000..2_000_000u64,
        1 => 2_000_000..25_000_000u64,
    ];
    let what = prop_oneof![
        5 => Just(Happens::Key),
        5 => Just(Happens::Picture),
        1 => (1..300_000usize).prop_map(Happens::Clipboard),
        1 => Just(Happens::Nothing),
    ];
    proptest::collection::vec((gap, what), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Requirement S2: kill -9 or a power cut at any instant costs at most the last two seconds.
    #[test]
    fn a_recorder_that_dies_at_any_instant_loses_two_seconds_at_most(
        events in events(),
        last_gap in 0..12_000_000u64,
        power in any::<bool>(),
    ) {
        let mut session = Session::new(256 << 10);
        session.record(0, Stream::Resize, &resize(64, 64)).unwrap();
        let mut expected = vec![(0, Stream::Resize)];
        let mut at = 0;
        for (nth, (gap, what)) in (0u64..).zip(&events) {
            at += gap;
            let (stream, payload) = match what {
                Happens::Key => (Stream::Input, key(30)),
                Happens::Picture => (Stream::PduOut, paint(2, 2, 40, nth)),
                Happens::Clipboard(len) => (Stream::Clipboard, vec![0; *len]),
                Happens::Nothing => {
                    session.wait_until(at).unwrap();
                    continue;
                }
            };
            session.record(at, stream, &payload).unwrap();
            expected.push((at, stream));
        }
        let died_us = at + last_gap;
        session.wait_until(died_us).unwrap();
        if power { session.cut_power() } else { session.kill() }

        let manifest = session.recover().unwrap();
        prop_assert_eq!(manifest.ending, Ending::Cut);
        let chunks = session.read();
        let kept: Vec<(u64, Stream)> = all(&chunks)
            .filter(|r| !matches!(r.1, Stream::Heartbeat | Stream::Keyframe))
            .map(|r| (r.0, r.1))
            .collect();
        prop_assert!(expected.starts_with(&kept), "what is kept is what happened, in order");
        if let Some((lost, _)) = expected.get(kept.len()) {
            prop_assert!(died_us - lost <= 2 * SECOND, "died at {died_us} µs and lost what happened at {lost} µs");
        }
        // The recorder was there: its last sign of life is no older than a heartbeat and a sync.
        let last = all(&chunks).last().map_or(0, |r| r.0);
        prop_assert!(died_us - last <= 12 * SECOND, "died at {died_us} µs, last sign at {last} µs");
        let sound = session.store.fsck(&mut |_, _| {}).unwrap().is_sound();
        prop_assert!(sound);
    }
}

#[test]
fn a_recovered_session_is_signed_by_the_host_as_cut_and_stays_so() {
    let mut session = Session::new(1 << 20);
    session.record(0, Stream::Input, &key(1)).unwrap();
    session.wait_until(3 * SECOND).unwrap();
    session.kill();
    let summary = |s: &Session| s.store.session(s.id).unwrap().summary;
    assert_eq!(summary(&session).state, SessionState::Unsealed);

    let stranger = Keypair::generate(&mut rng());
    let error = lucid_recorder::recover(&session.store, &stranger, session.id, "?").unwrap_err();
    assert!(
        matches!(error, RecorderError::Format(_)),
        "another host's key signs nothing: {error}"
    );
    assert_eq!(summary(&session).state, SessionState::Unsealed);

    let manifest = session.recover().unwrap();
    assert_eq!(
        (manifest.ending, manifest.reason.as_str()),
        (Ending::Cut, "the recorder died")
    );
    assert_eq!(summary(&session).state, SessionState::Cut);
    let again = session.recover().unwrap_err();
    assert!(
        matches!(again, RecorderError::Store(StoreError::Sealed { .. })),
        "{again}"
    );
}

#[test]
fn a_session_that_is_being_written_cannot_be_recovered() {
    let mut session = Session::new(1 << 20);
    session.record(0, Stream::Input, &key(1)).unwrap();
    let error = session.recover().unwrap_err();
    assert!(
        matches!(error, RecorderError::Store(StoreError::Live { .. })),
        "{error}"
    );
    session.finish("over").unwrap();
    session.read();
}

#[test]
fn a_session_killed_before_its_first_record_is_an_empty_recording() {
    let mut session = Session::new(1 << 20);
    session.kill();
    let manifest = session.recover().unwrap();
    assert_eq!((manifest.chunks, manifest.ending), (0, Ending::Cut));
    assert!(session.read().is_empty());
}

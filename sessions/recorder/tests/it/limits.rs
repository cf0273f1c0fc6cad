//! No room: the session ends in order.

use lucid_format::{Ending, Marker, Stream};
use lucid_recorder::RecorderError;
use lucid_store::SessionState;

use crate::{
    frames::{paint, resize},
    support::{SECOND, Session, all},
};

#[test]
fn a_quota_reached_in_mid_session_ends_it_properly_and_everything_verifies() {
    let mut session = Session::with_quota(1 << 20, Some(600 << 10));
    session
        .record(0, Stream::Resize, &resize(200, 200))
        .unwrap();
    let mut painted = 0;
    let error = loop {
        let at = painted * 100_000;
        match session.record(at, Stream::PduOut, &paint(3, 3, 90, painted)) {
            Ok(()) => painted += 1,
            Err(error) => break error,
        }
        assert!(painted < 1000, "the quota was never reached");
    };
    let RecorderError::Store(full) = &error else {
        panic!("{error}")
    };
    assert!(full.is_full());
    let text = error.to_string();
    for part in [
        "no room",
        "its quota of 614400",
        "lucid prune",
        "stays valid",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let manifest = session.finish(&text).unwrap();
    assert_eq!(manifest.ending, Ending::Closed);
    assert!(manifest.reason.contains("no room"), "{}", manifest.reason);

    let chunks = session.read();
    let pictures = all(&chunks).filter(|r| r.1 == Stream::PduOut).count() as u64;
    assert!(
        pictures >= painted,
        "{pictures} of {painted} pictures are there"
    );
    let last = all(&chunks).last().unwrap();
    assert!(
        matches!(Marker::decode(&last.2).unwrap(), Marker::Ended { reason, .. } if reason.contains("no room"))
    );
    assert_eq!(
        session.store.session(session.id).unwrap().summary.state,
        SessionState::Closed
    );
    assert!(session.store.fsck(&mut |_, _| {}).unwrap().is_sound());
    assert!(
        session.store.bytes().unwrap() < 3 << 20,
        "the end takes no more than a chunk"
    );
}

#[test]
fn a_quota_reached_by_silence_ends_it_too() {
    let mut session = Session::with_quota(1 << 20, Some(70 << 10));
    session.record(0, Stream::Resize, &resize(20, 20)).unwrap();
    let error = session.wait_until(36_000 * SECOND).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    session.finish(&error.to_string()).unwrap();
    assert!(session.read().len() > 3);
}

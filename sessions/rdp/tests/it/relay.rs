//! The relay between two in-memory streams, with recorders that misbehave.

use std::time::{Duration, Instant};

use lucid_rdp::filter::{Filter, Ids};
use lucid_rdp::session::{SessionEnd, relay};
use lucid_rdp::tap::{self, TAP_BYTES, TapReceiver, What};
use lucid_rdp::{EndReason, Unreplayable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

fn start() -> (
    DuplexStream,
    DuplexStream,
    TapReceiver,
    JoinHandle<SessionEnd>,
) {
    let ids = || Ids {
        user: 1002,
        io: 1003,
        message: None,
        channels: Vec::new(),
    };
    let ((client, gateway_in), (gateway_out, desktop)) = (duplex(64 * 1024), duplex(64 * 1024));
    let (sender, receiver) = tap::channel();
    let filter = Filter::new(ids(), ids(), &[]);
    let session = tokio::spawn(relay(
        gateway_in,
        gateway_out,
        filter,
        sender,
        Instant::now(),
    ));
    (client, desktop, receiver, session)
}

/// A fast-path frame with one update.
fn update(code: u8, len: u16) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&((len + 6) | 0x8000).to_be_bytes());
    frame.push(code);
    frame.extend_from_slice(&len.to_le_bytes());
    frame.resize(usize::from(len) + 6, 7);
    frame
}

/// Writes bitmaps until nobody takes them any more; bytes taken.
async fn flood(desktop: &mut DuplexStream) -> usize {
    let frame = update(1, 8000);
    let mut taken = 0;
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(300), desktop.write_all(&frame)).await
    {
        taken += frame.len();
    }
    taken
}

#[tokio::test]
async fn a_recorder_that_stalls_stalls_the_desktop_and_memory_stays_bounded() {
    let (mut client, mut desktop, receiver, session) = start();
    tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
    let taken = flood(&mut desktop).await;
    assert!(
        taken < 2 * TAP_BYTES as usize,
        "{taken} bytes were taken with nobody recording"
    );
    drop(receiver);
    assert_eq!(session.await.unwrap().reason, EndReason::RecorderFailed);
}

#[tokio::test]
async fn a_client_that_stalls_stalls_the_desktop() {
    let (_client, mut desktop, mut receiver, _session) = start();
    tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    let taken = flood(&mut desktop).await;
    assert!(
        taken < 2 << 20,
        "{taken} bytes were taken with nobody reading"
    );
}

#[tokio::test]
async fn nothing_reaches_the_client_that_the_recorder_was_not_given() {
    let (mut client, mut desktop, receiver, session) = start();
    drop(receiver);
    desktop.write_all(&update(1, 100)).await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(
        got,
        lucid_rdp::wire::disconnect_frame(1),
        "the goodbye and nothing else"
    );
    assert_eq!(session.await.unwrap().reason, EndReason::RecorderFailed);
}

#[tokio::test]
async fn what_came_before_a_forbidden_update_is_shown_and_recorded_and_the_reason_is_the_last_event()
 {
    let (mut client, mut desktop, mut receiver, session) = start();
    let picture = update(1, 100);
    desktop
        .write_all(&[picture.clone(), update(4, 10)].concat())
        .await
        .unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert!(got.starts_with(&picture));
    let reason = EndReason::NotReplayable(Unreplayable::SurfaceCommands);
    assert_eq!(session.await.unwrap().reason, reason);
    let mut events = Vec::new();
    while let Some(batch) = receiver.recv().await {
        events.extend(batch);
    }
    assert!(matches!(&events[0].what, What::Record { payload, .. } if payload[..] == picture[..]));
    assert_eq!(events.last().unwrap().what, What::Ended { reason });
}

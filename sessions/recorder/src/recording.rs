//! From the gateway's tap to the writer, on a thread of its own; and recovery.

use std::time::{Duration, Instant};

use lucid_format::{Keypair, Manifest, Marker, SessionId, SignedManifest};
use lucid_rdp::{
    EndReason,
    tap::{TapEvent, TapReceiver, What},
    wire::Direction,
};
use lucid_store::Store;
use tokio::sync::{broadcast, watch};

use crate::{
    Progress, RecorderError, SessionWriter, anchoring::Covered, control::SessionEvent,
    wall_clock_us,
};

/// Where a recording tells how it goes.
pub(crate) struct Reports {
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) events: broadcast::Sender<SessionEvent>,
    /// The closed chunks, for checkpoints on the chain.
    pub(crate) covered: watch::Sender<Option<Covered>>,
}

impl Reports {
    fn event(&self, event: SessionEvent) {
        // Nobody may be watching, and that is fine.
        let _ = self.events.send(event);
    }
}

/// Records until the tap ends or something fails; then seals. Blocks: runs on a thread of its own.
///
/// When the writer fails the receiver is dropped, which ends the session: nothing passes unrecorded.
pub(crate) fn record(
    mut writer: SessionWriter,
    mut tap: TapReceiver,
    start: Instant,
    first: Vec<Marker>,
    reports: &Reports,
    runtime: &tokio::runtime::Handle,
) -> Result<Manifest, RecorderError> {
    let mut ended = None;
    let begun = first
        .into_iter()
        .try_for_each(|marker| writer.marker(0, wall_clock_us(), marker));
    let recorded = begun.and_then(|()| {
        runtime.block_on(async {
            loop {
                let due = start + Duration::from_micros(writer.next_tick_us());
                match tokio::time::timeout_at(due.into(), tap.recv()).await {
                    Ok(Some(events)) => {
                        for event in &events {
                            apply(&mut writer, event, reports, &mut ended)?;
                        }
                    }
                    Ok(None) => return Ok(()),
                    Err(_) => {}
                }
                let chunks = writer.progress().chunks;
                writer.tick(since(start), wall_clock_us())?;
                reports.progress.send_replace(writer.progress());
                if writer.progress().chunks != chunks {
                    reports.covered.send_replace(writer.covered());
                    reports.event(SessionEvent::Chunks {
                        progress: writer.progress(),
                    });
                }
            }
        })
    });
    drop(tap);
    let reason = match (&recorded, ended) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Some(reason)) => reason.to_string(),
        (Ok(()), None) => "the gateway stopped".to_owned(),
    };
    reports.event(SessionEvent::Ended {
        reason: reason.clone(),
    });
    let manifest = writer.finish(since(start), wall_clock_us(), &reason);
    recorded.and(manifest)
}

fn since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn apply(
    writer: &mut SessionWriter,
    event: &TapEvent,
    reports: &Reports,
    ended: &mut Option<EndReason>,
) -> Result<(), RecorderError> {
    let (marker, told) = match &event.what {
        What::Record { stream, payload } => {
            return writer.record(event.time_us, wall_clock_us(), *stream, payload);
        }
        What::ChannelDenied {
            channel,
            permission,
            direction,
            count,
        } => {
            let permission = permission.map_or_else(|| channel.clone(), |p| p.to_string());
            let to_desktop = *direction == Direction::In;
            let told = SessionEvent::Denied {
                channel: permission.clone(),
                to_desktop,
                count: *count,
            };
            (
                Marker::ChannelDenied {
                    permission,
                    to_desktop,
                    count: *count,
                },
                told,
            )
        }
        What::Granted {
            permission,
            for_us,
            by,
        } => {
            let (channel, for_ms) = (permission.to_string(), for_us / 1000);
            (
                Marker::Granted {
                    permission: channel.clone(),
                    for_ms,
                    by: by.clone(),
                },
                SessionEvent::Granted { channel, for_ms },
            )
        }
        What::GrantUsed { permission } => {
            let text = format!("the grant of {permission} was used");
            (
                Marker::Note { text: text.clone() },
                SessionEvent::Note { text },
            )
        }
        What::GrantEnded { permission } => {
            let channel = permission.to_string();
            (
                Marker::GrantEnded {
                    permission: channel.clone(),
                },
                SessionEvent::GrantEnded { channel },
            )
        }
        What::Ended { reason } => {
            *ended = Some(reason.clone());
            return Ok(());
        }
    };
    reports.event(told);
    writer.marker(event.time_us, wall_clock_us(), marker)
}

/// Seals a session whose recorder died: what is whole is kept, and the host signs that it was cut.
///
/// # Errors
/// When the session is live, sealed, unknown or of another host, or the disk fails.
pub fn recover(
    store: &Store,
    host: &Keypair,
    id: SessionId,
    why: &str,
) -> Result<Manifest, RecorderError> {
    let recoverable = store.recover(id)?;
    let manifest = recoverable.manifest(wall_clock_us(), &crate::writer::cut(why));
    let signed = SignedManifest::sign(&manifest, &recoverable.head, host)?;
    recoverable.seal(&signed)?;
    Ok(manifest)
}

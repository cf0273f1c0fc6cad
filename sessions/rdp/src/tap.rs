//! What the relay tells the recorder, and the bounded queue it goes through.

use std::sync::Arc;

use bytes::Bytes;
use lucid_format::Stream;
use tokio::sync::{Semaphore, mpsc};

use crate::error::EndReason;
use crate::policy::Permission;
use crate::wire::Direction;

/// Something that happened in a session. Events come in order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapEvent {
    /// Microseconds since the session began.
    pub time_us: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A record, with the payload that [`Stream`] asks for. Only `PduIn`, `PduOut`, `Input`, `Clipboard` and `Resize`.
    Record {
        /// Its stream.
        stream: Stream,
        /// Its payload.
        payload: Bytes,
    },
    /// A peer used a channel that is closed.
    ChannelDenied {
        /// Name of the channel, static or dynamic.
        channel: String,
        /// What would have opened it, if anything does.
        permission: Option<Permission>,
        /// Which way the PDUs went.
        direction: Direction,
        /// PDUs dropped since the last such event.
        count: u32,
    },
    /// A permission was opened.
    Granted {
        /// Which.
        permission: Permission,
        /// How long, in µs from now.
        for_us: u64,
        /// Who opened it.
        by: String,
    },
    /// The first PDU passed that needed this grant.
    GrantUsed {
        /// Which.
        permission: Permission,
    },
    /// A grant ran out or was taken back.
    GrantEnded {
        /// Which.
        permission: Permission,
    },
    /// The session ended. Nothing follows.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

impl TapEvent {
    fn cost(&self) -> u32 {
        let payload = match &self.what {
            What::Record { payload, .. } => payload.len(),
            _ => 0,
        };
        u32::try_from(payload + std::mem::size_of::<Self>()).unwrap_or(u32::MAX)
    }
}

/// Bytes that may wait for the recorder, unless a single event is larger.
pub const TAP_BYTES: u32 = 8 << 20;
const TAP_BATCHES: usize = 1024;

/// A queue to the recorder that holds at most [`TAP_BYTES`] of events: who sends waits, and with it the network.
pub fn channel() -> (TapSender, TapReceiver) {
    let (sender, receiver) = mpsc::channel(TAP_BATCHES);
    let room = Arc::new(Semaphore::new(TAP_BYTES as usize));
    (
        TapSender {
            sender,
            room: room.clone(),
        },
        TapReceiver { receiver, room },
    )
}

struct Batch {
    events: Vec<TapEvent>,
    cost: u32,
}

/// The relay's end of the tap.
pub struct TapSender {
    sender: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
}

/// The recorder is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the recorder no longer takes events")]
pub struct TapClosed;

impl TapSender {
    /// Waits until the recorder is gone. Cancel-safe.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Hands the events over in order, waiting for room; `events` is empty afterwards.
    pub async fn send(&self, events: &mut Vec<TapEvent>) -> Result<(), TapClosed> {
        if events.is_empty() {
            return Ok(());
        }
        let cost = events
            .iter()
            .fold(0u32, |sum, event| sum.saturating_add(event.cost()))
            .min(TAP_BYTES);
        let permit = self.room.acquire_many(cost).await.map_err(|_| TapClosed)?;
        let slot = self.sender.reserve().await.map_err(|_| TapClosed)?;
        permit.forget();
        slot.send(Batch {
            events: std::mem::take(events),
            cost,
        });
        Ok(())
    }
}

/// The recorder's end of the tap. Dropping it ends the session.
pub struct TapReceiver {
    receiver: mpsc::Receiver<Batch>,
    room: Arc<Semaphore>,
}

impl TapReceiver {
    /// The next events, in order; `None` once the session is over and everything was read. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Vec<TapEvent>> {
        let batch = self.receiver.recv().await?;
        self.room.add_permits(batch.cost as usize);
        Some(batch.events)
    }
}

impl Drop for TapReceiver {
    fn drop(&mut self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(len: usize) -> TapEvent {
        let payload = Bytes::from(vec![0; len]);
        TapEvent {
            time_us: 0,
            what: What::Record {
                stream: Stream::PduOut,
                payload,
            },
        }
    }

    #[tokio::test]
    async fn a_full_tap_makes_the_sender_wait_and_an_event_of_any_size_gets_through() {
        let (sender, mut receiver) = channel();
        sender.send(&mut vec![event(20 << 20)]).await.unwrap();
        let mut more = vec![event(1)];
        let waits =
            tokio::time::timeout(std::time::Duration::from_millis(20), sender.send(&mut more))
                .await;
        assert!(waits.is_err());
        assert_eq!(more.len(), 1, "a send that was given up loses nothing");
        assert_eq!(receiver.recv().await.unwrap().len(), 1);
        sender.send(&mut more).await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_receiver_wakes_a_waiting_sender() {
        let (sender, receiver) = channel();
        sender.send(&mut vec![event(20 << 20)]).await.unwrap();
        drop(receiver);
        assert_eq!(sender.send(&mut vec![event(1)]).await, Err(TapClosed));
    }
}

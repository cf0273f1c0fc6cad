//! The relay: two TLS streams, one filter, one tap, one task.
//!
//! One task owns everything, so events come in order and nothing is locked. Reading from one side stops while the other
//! side, or the recorder, does not keep up: that is the back-pressure, and the bound on memory.
//!
//! INVARIANT: bytes are written to a peer only after their record was handed to the tap.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use lucid_format::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::accept::PendingClient;
use crate::error::{EndReason, RdpError};
use crate::filter::{Filter, Output};
use crate::link::READ;
use crate::policy::Permission;
use crate::tap::{TapEvent, TapSender, What};
use crate::target::{ConnectedTarget, Target};
use crate::wire;

/// Bytes that may wait for a peer before the other one is read no further.
const HIGH_WATER: usize = 256 * 1024;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the recorder may take for the last events.
const LAST_EVENTS: Duration = Duration::from_secs(10);

enum Command {
    Grant {
        permission: Permission,
        lasts: Duration,
        by: String,
    },
    Revoke {
        permission: Permission,
    },
    End {
        reason: String,
    },
}

/// Steers a running session. Cheap to clone; does nothing once the session is over.
#[derive(Clone)]
pub struct SessionHandle {
    commands: mpsc::Sender<Command>,
}

/// The session is over, so it cannot be steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct SessionOver;

impl SessionHandle {
    /// Opens a permission from now, for `lasts`. `by` says who did it, for the recording.
    pub async fn grant(
        &self,
        permission: Permission,
        lasts: Duration,
        by: &str,
    ) -> Result<(), SessionOver> {
        self.send(Command::Grant {
            permission,
            lasts,
            by: by.to_owned(),
        })
        .await
    }

    /// Takes a permission back.
    pub async fn revoke(&self, permission: Permission) -> Result<(), SessionOver> {
        self.send(Command::Revoke { permission }).await
    }

    /// Ends the session; both peers are told.
    pub async fn end(&self, reason: &str) -> Result<(), SessionOver> {
        self.send(Command::End {
            reason: reason.to_owned(),
        })
        .await
    }

    async fn send(&self, command: Command) -> Result<(), SessionOver> {
        self.commands.send(command).await.map_err(|_| SessionOver)
    }
}

/// How a session ended, and how much it carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why.
    pub reason: EndReason,
    /// Decrypted bytes read from the client.
    pub bytes_in: u64,
    /// Decrypted bytes read from the target.
    pub bytes_out: u64,
    /// How long it lasted.
    pub lasted: Duration,
}

/// A client and a target, ready to be relayed.
pub struct Session {
    client: PendingClient,
    target: ConnectedTarget,
    commands: mpsc::Receiver<Command>,
}

impl Session {
    /// Connects to `target` for a client whose password was checked. On failure the client comes back, to be rejected.
    pub async fn connect(
        client: PendingClient,
        target: &Target,
    ) -> Result<(Self, SessionHandle), (RdpError, Box<PendingClient>)> {
        match target.connect(&client).await {
            Ok(target) => {
                let (sender, commands) = mpsc::channel(16);
                Ok((
                    Self {
                        client,
                        target,
                        commands,
                    },
                    SessionHandle { commands: sender },
                ))
            }
            Err(error) => Err((error, Box::new(client))),
        }
    }

    /// Relays until an end. `start` is the instant that event times count from.
    ///
    /// The last event is always [`What::Ended`], unless the recorder is gone.
    pub async fn run(self, tap: TapSender, start: Instant) -> SessionEnd {
        let Self {
            client,
            target,
            commands,
        } = self;
        let filter = Filter::new(client.ids.clone(), target.ids.clone(), client.requests());
        let mut output = Output::default();
        // What the target was told first; its secrets were zeroed before it came here.
        output.record(
            Stream::PduIn,
            target.client_info_record.into(),
            since(start),
        );
        let PendingClient { link: client, .. } = client;
        let client = Side::new(client.stream, client.buffer);
        let server = Side::new(target.link.stream, target.link.buffer);
        Relay {
            filter,
            output,
            start,
            client,
            server,
            tap,
            commands,
        }
        .run()
        .await
    }
}

/// Relays between two streams whose handshakes are over: what [`Session::run`] does, without the handshakes.
pub async fn relay<C, S>(
    client: C,
    server: S,
    filter: Filter,
    tap: TapSender,
    start: Instant,
) -> SessionEnd
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (_, commands) = mpsc::channel(1);
    let (client, server) = (
        Side::new(client, BytesMut::new()),
        Side::new(server, BytesMut::new()),
    );
    Relay {
        filter,
        output: Output::default(),
        start,
        client,
        server,
        tap,
        commands,
    }
    .run()
    .await
}

fn since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// One peer: its stream, what was read and what is to be written.
struct Side<S> {
    reader: tokio::io::ReadHalf<S>,
    writer: tokio::io::WriteHalf<S>,
    read: BytesMut,
    write: BytesMut,
    /// Written to TLS, perhaps not yet to the socket.
    unflushed: bool,
    bytes_read: u64,
}

impl<S: AsyncRead + AsyncWrite> Side<S> {
    fn new(stream: S, read: BytesMut) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            read,
            write: BytesMut::new(),
            unflushed: false,
            bytes_read: 0,
        }
    }

    /// Reads once. Cancel-safe.
    async fn fill(reader: &mut tokio::io::ReadHalf<S>, buffer: &mut BytesMut) -> io::Result<usize> {
        buffer.reserve(READ);
        reader.read_buf(buffer).await
    }

    /// Writes once, or flushes. Cancel-safe: what was taken by the stream is gone from the buffer.
    async fn drain(
        writer: &mut tokio::io::WriteHalf<S>,
        buffer: &mut BytesMut,
        unflushed: &mut bool,
    ) -> io::Result<()> {
        if buffer.is_empty() {
            writer.flush().await?;
            *unflushed = false;
        } else {
            let written = writer.write(buffer).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            buffer.advance(written);
            *unflushed = true;
        }
        Ok(())
    }

    fn has_output(&self) -> bool {
        !self.write.is_empty() || self.unflushed
    }
}

struct Relay<C, S> {
    filter: Filter,
    output: Output,
    start: Instant,
    client: Side<C>,
    server: Side<S>,
    tap: TapSender,
    commands: mpsc::Receiver<Command>,
}

impl<C, S> Relay<C, S>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    async fn run(mut self) -> SessionEnd {
        let reason = self.relay().await;
        self.end(reason).await
    }

    async fn relay(&mut self) -> EndReason {
        let mut steered = true;
        // The handshake may have left whole frames behind.
        if let Err(reason) = self.check_client().and_then(|()| self.check_server()) {
            return reason;
        }
        loop {
            if let Err(reason) = self.hand_over(&mut steered).await {
                return reason;
            }
            let tick = self
                .filter
                .next_tick()
                .map(|at| self.start + Duration::from_micros(at));
            let (client, server) = (&mut self.client, &mut self.server);
            let (to_client, to_server) = (client.has_output(), server.has_output());
            let (read_client, read_server) = (
                server.write.len() < HIGH_WATER,
                client.write.len() < HIGH_WATER,
            );
            tokio::select! {
                done = Side::drain(&mut client.writer, &mut client.write, &mut client.unflushed), if to_client => {
                    if done.is_err() { return EndReason::ClientClosed; }
                }
                done = Side::drain(&mut server.writer, &mut server.write, &mut server.unflushed), if to_server => {
                    if done.is_err() { return EndReason::TargetClosed; }
                }
                read = Side::fill(&mut client.reader, &mut client.read), if read_client => match read {
                    Ok(len @ 1..) => {
                        client.bytes_read += len as u64;
                        if let Err(reason) = self.check_client() { return reason; }
                    }
                    Ok(0) | Err(_) => return EndReason::ClientClosed,
                },
                read = Side::fill(&mut server.reader, &mut server.read), if read_server => match read {
                    Ok(len @ 1..) => {
                        server.bytes_read += len as u64;
                        if let Err(reason) = self.check_server() { return reason; }
                    }
                    Ok(0) | Err(_) => return EndReason::TargetClosed,
                },
                command = self.commands.recv(), if steered => match command {
                    Some(command) => if let Err(reason) = self.obey(command) { return reason; },
                    None => steered = false,
                },
                // Without a recorder there is no session, not even a quiet one.
                () = self.tap.closed() => return EndReason::RecorderFailed,
                () = sleep_until(tick), if tick.is_some() => {
                    let now_us = since(self.start);
                    if let Err(reason) = self.filter.tick(now_us, &mut self.output) { return reason; }
                }
            }
        }
    }

    /// Hands the events to the recorder, then moves what they describe to where it is written from.
    async fn hand_over(&mut self, steered: &mut bool) -> Result<(), EndReason> {
        while !self.output.events.is_empty() {
            tokio::select! {
                sent = self.tap.send(&mut self.output.events) => sent.map_err(|_| EndReason::RecorderFailed)?,
                // A recorder that hangs must not keep an operator from ending the session.
                command = self.commands.recv(), if *steered => match command {
                    Some(command) => self.obey(command)?,
                    None => *steered = false,
                },
            }
        }
        self.client.write.extend_from_slice(&self.output.to_client);
        self.output.to_client.clear();
        self.server.write.extend_from_slice(&self.output.to_server);
        self.output.to_server.clear();
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<(), EndReason> {
        let now_us = since(self.start);
        match command {
            Command::Grant {
                permission,
                lasts,
                by,
            } => {
                let until =
                    now_us.saturating_add(u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX));
                self.filter
                    .grant(permission, until, &by, now_us, &mut self.output)
            }
            Command::Revoke { permission } => {
                self.filter.revoke(permission, now_us, &mut self.output)
            }
            Command::End { reason } => Err(EndReason::Ordered(reason)),
        }
    }

    fn check_client(&mut self) -> Result<(), EndReason> {
        let now_us = since(self.start);
        let (filter, output) = (&mut self.filter, &mut self.output);
        each_frame(&mut self.client.read, wire::Direction::In, |frame| {
            filter.client_frame(now_us, frame, output)
        })
    }

    fn check_server(&mut self) -> Result<(), EndReason> {
        let now_us = since(self.start);
        let (filter, output) = (&mut self.filter, &mut self.output);
        each_frame(&mut self.server.read, wire::Direction::Out, |frame| {
            filter.server_frame(now_us, frame, output)
        })
    }

    /// Records the end, tells the peers what they are to know, and closes.
    async fn end(mut self, reason: EndReason) -> SessionEnd {
        let now_us = since(self.start);
        self.filter.finish(now_us, &mut self.output);
        let code = match &reason {
            EndReason::ClientClosed | EndReason::TargetClosed => None,
            EndReason::Ordered(_) => Some(0x0000_0001), // ERRINFO_RPC_INITIATED_DISCONNECT: by an administrator
            _ => Some(0x0000_0007),                     // ERRINFO_SERVER_DENIED_CONNECTION
        };
        if reason != EndReason::ClientClosed {
            self.filter.farewell(code, now_us, &mut self.output);
        }
        self.output.events.push(TapEvent {
            time_us: now_us,
            what: What::Ended {
                reason: reason.clone(),
            },
        });
        let recorded = reason != EndReason::RecorderFailed
            && matches!(
                tokio::time::timeout(LAST_EVENTS, self.tap.send(&mut self.output.events)).await,
                Ok(Ok(()))
            );
        if !recorded {
            tracing::warn!("the recorder did not take the end of the session");
            // Nothing is shown that is not recorded; only the goodbye is.
            self.output.to_client.clear();
            self.filter.farewell(code, now_us, &mut self.output);
        }
        let Self {
            client,
            server,
            output,
            start,
            ..
        } = self;
        let (bytes_in, bytes_out) = (client.bytes_read, server.bytes_read);
        let last_words = wire::disconnect_frame(3);
        let tell_client = client.close(&output.to_client);
        let tell_server = server.close(&last_words);
        let (told_client, told_server) = tokio::join!(tell_client, tell_server);
        tracing::debug!(%reason, told_client, told_server, "session over");
        SessionEnd {
            reason,
            bytes_in,
            bytes_out,
            lasted: start.elapsed(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Side<S> {
    /// Writes what is left and `last`, and closes. Whether the peer took it in time.
    async fn close(mut self, last: &[u8]) -> bool {
        let close = async {
            self.writer.write_all(&self.write).await?;
            self.writer.write_all(last).await?;
            self.writer.shutdown().await
        };
        matches!(tokio::time::timeout(FAREWELL, close).await, Ok(Ok(())))
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Calls `check` for every whole frame in the buffer and takes them out of it.
fn each_frame(
    buffer: &mut BytesMut,
    direction: wire::Direction,
    mut check: impl FnMut(&mut [u8]) -> Result<(), EndReason>,
) -> Result<(), EndReason> {
    let mut used = 0;
    loop {
        match wire::frame_len(&buffer[used..])
            .map_err(|what| EndReason::Malformed { direction, what })?
        {
            Some(len) if used + len <= buffer.len() => {
                check(&mut buffer[used..used + len])?;
                used += len;
            }
            _ => break,
        }
    }
    buffer.advance(used);
    Ok(())
}

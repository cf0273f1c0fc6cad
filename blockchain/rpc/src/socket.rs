//! A connection that does not let its peer pile up work.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A TCP connection with two rules: while the peer leaves what was written unread, nothing more is read from it, and after
/// `stall` of that the connection fails.
///
/// Without the first, a WebSocket peer that sends calls and reads no answers would fill the memory: the library starts a task
/// for every message. Without the second it would keep its place for ever.
pub(crate) struct Socket {
    stream: TcpStream,
    stall: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The peer left it unread for too long.
    failed: bool,
    reader: Option<Waker>,
}

fn does_not_read() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, stall: Duration) -> Self {
        Self {
            stream,
            stall,
            stalled: None,
            failed: false,
            reader: None,
        }
    }

    /// Passes on how a write went.
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.stalled.take().is_some()
                && let Some(reader) = self.reader.take()
            {
                reader.wake();
            }
            return outcome;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        if stalled.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.failed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(does_not_read()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.failed {
            return Poll::Ready(Err(does_not_read()));
        }
        if self.stalled.is_some() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.failed {
            return Poll::Ready(Err(does_not_read()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.failed {
            return Poll::Ready(Err(does_not_read()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.after_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_not_read_and_then_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) =
            tokio::io::split(Socket::new(stream, Duration::from_millis(300)));
        peer.write_all(b"one").await.unwrap();
        let mut three = [0; 3];
        reader.read_exact(&mut three).await.unwrap();

        let writing = tokio::spawn(async move {
            let chunk = vec![0; 1 << 20];
            loop {
                if let Err(error) = writer.write_all(&chunk).await {
                    return error;
                }
            }
        });
        let error = writing.await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        peer.write_all(b"two").await.unwrap();
        assert_eq!(
            reader.read_exact(&mut three).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}

//! A connection that is read at a bounded rate. What is more waits at the sender: TCP tells it to.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::futures::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::rate::TokenBucket;

/// Not woken for less than this, or it would be woken for every byte.
const LEAST_READ: u64 = 4 << 10;

/// Reads from `inner` at a bounded rate and writes to it freely.
pub(crate) struct Throttled<S> {
    inner: S,
    bucket: TokenBucket,
    start: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Throttled<S> {
    /// At most `per_second` bytes, and a second's worth at once.
    pub(crate) fn new(inner: S, per_second: u32) -> Self {
        let rate = u64::from(per_second);
        Self {
            inner,
            bucket: TokenBucket::new(rate, rate.max(LEAST_READ), 0),
            start: Instant::now(),
            pause: None,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let now = self.now_ms();
        let wanted = LEAST_READ.min(buffer.len() as u64);
        let wait = self.bucket.wait_ms(wanted, now).unwrap_or(0);
        if wait > 0 {
            let mut pause = Box::pin(tokio::time::sleep(Duration::from_millis(wait)));
            if pause.as_mut().poll(context).is_pending() {
                self.pause = Some(pause);
                return Poll::Pending;
            }
        }
        let allowed = usize::try_from(self.bucket.available(now)).unwrap_or(usize::MAX);
        let most = buffer.len().min(allowed.max(1));
        let polled = Pin::new(&mut self.inner).poll_read(context, &mut buffer[..most]);
        if let Poll::Ready(Ok(count)) = &polled {
            self.bucket.take(*count as u64, now);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::futures::AsyncReadExt;
    use libp2p::futures::io::Cursor;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reading_keeps_to_its_rate() {
        let sent = vec![7; 100_000];
        let mut stream = Throttled::new(Cursor::new(sent.clone()), 10_000);
        let start = Instant::now();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, sent);
        // One second's worth was there at once; paused time moves only where it is waited for.
        let taken = start.elapsed().as_secs_f64();
        assert!((8.0..10.5).contains(&taken), "{taken} s");
    }
}

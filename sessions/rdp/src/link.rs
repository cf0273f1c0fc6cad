//! One side of the gateway: a stream and what was read from it and not yet used.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wire;

/// Room made for each read.
pub(crate) const READ: usize = 64 * 1024;

/// Sets a connection up for keys and pictures: no delay, and a peer that vanished without a word is noticed in about two
/// minutes, because its session would otherwise be recorded for ever.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(tcp, 4)?;
    Ok(())
}

pub(crate) struct Link<S> {
    pub(crate) stream: S,
    pub(crate) buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next whole frame.
    pub(crate) async fn frame(&mut self) -> io::Result<BytesMut> {
        self.read_by(
            |bytes| {
                wire::frame_len(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
            },
            wire::MAX_FRAME,
        )
        .await
    }

    /// The next message whose length `len` finds from its first bytes; at most `max` bytes.
    pub(crate) async fn read_by(
        &mut self,
        len: impl Fn(&[u8]) -> io::Result<Option<usize>>,
        max: usize,
    ) -> io::Result<BytesMut> {
        loop {
            if let Some(len) = len(&self.buffer)? {
                if len > max {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a message of {len} bytes"),
                    ));
                }
                if self.buffer.len() >= len {
                    return Ok(self.buffer.split_to(len));
                }
            } else if self.buffer.len() > max {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a message without an end",
                ));
            }
            self.buffer.reserve(4096);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "connection closed",
                ));
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

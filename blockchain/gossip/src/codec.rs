//! Requests and answers on a stream: a length, then borsh.

use std::io;

use async_trait::async_trait;
use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::Codec;

use crate::error::WireError;
use crate::wire::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Request, Response};

/// A request, or why it is none. The engine tells nobody of a request it could not read, so this has to pass as one.
pub(crate) type Asked = Result<Request, WireError>;

/// Reads and writes requests and answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SyncCodec;

#[async_trait]
impl Codec for SyncCodec {
    type Protocol = StreamProtocol;
    type Request = Asked;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Asked>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, "a request", MAX_REQUEST_BYTES).await?;
        Ok(bytes.and_then(|bytes| Request::decode(&bytes)))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, "an answer", MAX_ANSWER_BYTES).await??;
        Ok(Response::decode(&bytes)?)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Asked,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, "a request", MAX_REQUEST_BYTES, &request?.encode()).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, "an answer", MAX_ANSWER_BYTES, &response.encode()).await
    }
}

async fn read<T>(
    io: &mut T,
    what: &'static str,
    limit: usize,
) -> io::Result<Result<Vec<u8>, WireError>>
where
    T: AsyncRead + Unpin + Send,
{
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length);
    if usize::try_from(length).map_or(true, |length| length > limit) {
        return Ok(Err(WireError::TooLarge { what, limit }));
    }
    // It grows with what really comes, not with what was announced.
    let mut bytes = Vec::new();
    io.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Ok(bytes))
}

async fn write<T>(io: &mut T, what: &'static str, limit: usize, bytes: &[u8]) -> io::Result<()>
where
    T: AsyncWrite + Unpin + Send,
{
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= limit)
        .ok_or(WireError::TooLarge { what, limit })?;
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(bytes).await?;
    io.close().await
}

//! A connection's stream: it tells the HTTP version, marks what happens, and has writes wait for their turn.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::pulse::Pulse;
use crate::turn::Turn;

/// HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's stream that marks its [`Pulse`].
#[derive(Debug)]
pub(crate) struct Marked<S> {
    stream: S,
    pulse: Arc<Pulse>,
    version: Version,
    /// First bytes, read to tell the version.
    first: [u8; PREFACE.len()],
    /// The part of `first` that is still to be handed on.
    unread: std::ops::Range<usize>,
    turn: Turn,
    before_write: BeforeWrite,
}

/// Runs before anything is written to a client; see [`crate::BoundListener::before_writes`].
#[derive(Clone, Default)]
pub(crate) struct BeforeWrite(pub(crate) Option<Arc<dyn Fn() + Send + Sync>>);

impl std::fmt::Debug for BeforeWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeWrite")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Marked<S> {
    /// Reads just enough to tell the HTTP version. `None` when the peer hangs up before it has said anything.
    pub(crate) async fn open(mut stream: S, pulse: Arc<Pulse>, before_write: BeforeWrite) -> io::Result<Option<Self>> {
        let mut first = [0; PREFACE.len()];
        let mut length = 0;
        let version = loop {
            let Some(rest) = first.get_mut(length..).filter(|rest| !rest.is_empty()) else {
                break Version::Http2;
            };
            match stream.read(rest).await? {
                0 if length == 0 => return Ok(None),
                0 => break Version::Http1,
                read => length += read,
            }
            if first.get(..length) != PREFACE.get(..length) {
                break Version::Http1;
            }
        };
        if version == Version::Http2 {
            // From here on, frames of all kinds come at any time; what counts is requests.
            pulse.idle_from_now();
        }
        Ok(Some(Self {
            stream,
            pulse,
            version,
            first,
            unread: 0..length,
            turn: Turn::default(),
            before_write,
        }))
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            pulse,
            turn,
            before_write,
            ..
        } = self;
        turn.write(cx, |cx| {
            if let Some(run) = &before_write.0 {
                run();
            }
            let result = write(Pin::new(stream), cx);
            match result {
                Poll::Ready(_) => pulse.has_written(),
                Poll::Pending => pulse.cannot_write(),
            }
            result
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Marked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buffer.remaining());
            let from = self.unread.start;
            if let Some(bytes) = self.first.get(from..from + count) {
                buffer.put_slice(bytes);
            }
            self.unread.start += count;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if self.version == Version::Http1 && buffer.filled().len() > before {
            self.pulse.has_read();
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Marked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        if result.is_pending() {
            self.pulse.cannot_write();
        }
        result
    }
}

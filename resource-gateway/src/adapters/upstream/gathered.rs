//! Connections to vendors whose writes leave together with others'.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use pin_project_lite::pin_project;
use service_kit::Turn;
use tower::Service;

/// Makes the connections of a connector [`Gathered`].
#[derive(Debug, Clone)]
pub(super) struct Gathering<C>(pub(super) C);

impl<C: Service<Uri>> Service<Uri> for Gathering<C> {
    type Response = Gathered<C::Response>;
    type Error = C::Error;
    type Future = Connecting<C::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Connecting {
            connecting: self.0.call(target),
        }
    }
}

pin_project! {
    #[derive(Debug)]
    pub(super) struct Connecting<F> {
        #[pin]
        connecting: F,
    }
}

impl<S, E, F: Future<Output = Result<S, E>>> Future for Connecting<F> {
    type Output = Result<Gathered<S>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let connected = ready!(self.project().connecting.poll(cx));
        Poll::Ready(connected.map(|stream| Gathered {
            stream,
            turn: Turn::default(),
        }))
    }
}

/// A connection whose writes wait for their [`Turn`].
#[derive(Debug)]
pub(super) struct Gathered<S> {
    stream: S,
    turn: Turn,
}

impl<S: Read + Unpin> Read for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Write + Unpin> Write for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, turn } = &mut *self;
        turn.write(cx, |cx| Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, turn } = &mut *self;
        turn.write(cx, |cx| Pin::new(stream).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for Gathered<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

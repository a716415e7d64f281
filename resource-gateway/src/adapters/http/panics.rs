//! One panic must not end more than its own request, and its caller gets an error object like any other.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::response::{IntoResponse as _, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::error::panicked;

/// Answers 500 when a handler panics. Unlike tower-http's layer it leaves the reply's body as it is, unboxed.
#[derive(Debug, Clone, Copy)]
pub(super) struct CatchPanics;

impl<S> Layer<S> for CatchPanics {
    type Service = Catching<S>;

    fn layer(&self, inner: S) -> Catching<S> {
        Catching { inner }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Catching<S> {
    inner: S,
}

impl<S, R> Service<R> for Catching<S>
where
    S: Service<R, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = CatchingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        CatchingFuture {
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    #[derive(Debug)]
    pub(super) struct CatchingFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F> Future for CatchingFuture<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let inner = self.project().inner;
        // The future is never polled again after a panic, so nobody sees what it left half done.
        catch_unwind(AssertUnwindSafe(|| inner.poll(cx))).unwrap_or_else(|_| {
            tracing::error!("a request handler panicked");
            Poll::Ready(Ok(panicked().into_response()))
        })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt as _;

    async fn fall_over(fall: bool) -> Result<Response, Infallible> {
        assert!(!fall, "a secret that stood in memory");
        Ok(Response::default())
    }

    #[tokio::test]
    async fn a_panic_is_answered_with_an_error_object_that_says_nothing() {
        let service = CatchPanics.layer(tower::service_fn(fall_over));
        assert_eq!(service.clone().oneshot(false).await.unwrap().status(), 200);
        let answer = service.oneshot(true).await.unwrap();
        assert_eq!(answer.status(), 500);
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("internal_error") && !body.contains("secret"), "{body}");
    }
}

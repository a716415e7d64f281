//! Cross-origin access: where applications in browsers call, and nowhere else (RFC 9700 §4.11; never the authorization endpoint).

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures_util::future::{Either, FutureExt as _, Map};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tower::{Layer, Service};

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, dpop, mcp-protocol-version");
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("www-authenticate, x-request-id, retry-after, dpop-nonce");
const A_DAY: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Answers preflights and lets any origin read the reply. No cookie counts on these endpoints, so any origin is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct AllowAnyOrigin;

impl<S> Layer<S> for AllowAnyOrigin {
    type Service = AllowAnyOriginService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AllowAnyOriginService { inner }
    }
}

/// See [`AllowAnyOrigin`].
#[derive(Debug, Clone)]
pub(super) struct AllowAnyOriginService<S> {
    inner: S,
}

type Opened<E> = fn(Result<Response, E>) -> Result<Response, E>;

impl<S: Service<Request, Response = Response>> Service<Request> for AllowAnyOriginService<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, Map<S::Future, Opened<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let headers = request.headers();
        if request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return Either::Left(ready(Ok(preflight())));
        }
        let cross_origin = headers.contains_key(header::ORIGIN);
        let opened: Opened<S::Error> = if cross_origin {
            |answered| answered.map(open)
        } else {
            |answered| answered
        };
        Either::Right(self.inner.call(request).map(opened))
    }
}

fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, A_DAY);
    open(response)
}

fn open(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    response
}

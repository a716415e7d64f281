//! Cross-origin access: where applications in browsers call, and nowhere else (RFC 9700 §4.11; never the authorization endpoint).

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, mcp-protocol-version");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("www-authenticate, x-request-id, retry-after");
const A_DAY: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Answers preflights and lets any origin read the reply. No cookie counts on these endpoints, so any origin is right.
pub(super) async fn allow_any_origin(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, A_DAY);
        open(headers);
        return response;
    }
    let cross_origin = request.headers().contains_key(header::ORIGIN);
    let mut response = next.run(request).await;
    if cross_origin {
        open(response.headers_mut());
    }
    response
}

fn open(headers: &mut HeaderMap) {
    const ALLOW_ORIGIN: HeaderName = header::ACCESS_CONTROL_ALLOW_ORIGIN;
    headers.insert(ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
}

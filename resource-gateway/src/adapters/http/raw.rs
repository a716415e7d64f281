//! `/v1/raw/{interface}/{path…}`: calls that are passed on as they are, to what their interface lists.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts},
    response::{IntoResponse as _, Response},
};

use super::{
    AppState, ai,
    error::{self, GatewayError},
    request_body,
};
use crate::{
    application::invoke::{Audience, CallerHeaders, Invocation},
    domain::{
        call::Voice,
        fault::PublicError,
        interface::Capability,
        raw::{RawRoute, RawTarget},
    },
};

/// All paths behind it, in whatever spelling: which of them lead anywhere is judged on the text, not on what the router makes of it.
pub(super) const DOOR: &str = "/v1/raw/{interface}/{*path}";
const BEFORE: &str = "/v1/raw/";

const NO_SNIFFING: (HeaderName, HeaderValue) = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

pub(super) async fn call(State(app): State<AppState>, request: Request) -> Response {
    let mut response = match run(&app, request).await {
        Ok(reply) => reply,
        Err(refused) => *refused,
    };
    // The bytes are the vendor's, and the origin is ours.
    let (name, value) = NO_SNIFFING;
    response.headers_mut().insert(name, value);
    response
}

async fn run(app: &AppState, request: Request) -> Result<Response, Box<Response>> {
    let (began, arrived) = (Instant::now(), app.clock.now());
    let refuse = |error: GatewayError| Box::new(error.into_response());
    let (mut head, body) = request.into_parts();
    check_line(&head)?;
    let authenticated = ai::let_in(app, &head, Capability::Raw).await?;
    let below = head.uri.path().strip_prefix(BEFORE).unwrap_or_default();
    let target = RawTarget::read(&head.method, below, head.uri.query()).map_err(|error| refuse(error.into()))?;
    let body = request_body::read(body, app.max_body_bytes).await.map_err(refuse)?;
    let caller = authenticated.with_body(app, &body).await;
    let caller = caller.map_err(|away| Box::new(away.into_response()))?;
    let (request_id, traceparent) = ai::context(&mut head);
    let invocation = Invocation {
        caller,
        capability: Capability::Raw,
        raw: Some(Box::new(target)),
        body,
        headers: CallerHeaders(head.headers),
        boundary: None,
        request_id,
        traceparent,
        arrived,
        began,
        voice: Voice::default(),
        verbatim: None,
        error_event: error::event,
        audience: Audience::Connection,
    };
    ai::answer(app, invocation, HeaderMap::new()).await
}

/// Refuses methods that no interface can list, and request lines that name a host.
fn check_line(head: &Parts) -> Result<(), Box<Response>> {
    if !RawRoute::METHODS.contains(&head.method) {
        let mut response = error::wrong_method(head.method.as_str(), head.uri.path()).into_response();
        // RFC 9110 §15.5.6.
        let allowed = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
        response.headers_mut().insert(header::ALLOW, allowed);
        return Err(Box::new(response));
    }
    // RFC 9112 §3.2.2: the absolute form is for proxies, and this is none. HTTP/2 names the host beside the path.
    if head.version < Version::HTTP_2 && head.uri.authority().is_some() {
        let message = "The request line must name a path, and no host.";
        let error = PublicError::invalid(None, "absolute_target", message);
        return Err(Box::new(GatewayError(error).into_response()));
    }
    Ok(())
}

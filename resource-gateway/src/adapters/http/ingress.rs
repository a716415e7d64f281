//! Calls in other formats than OpenAI's chat completions: translated before any rule sees them, with the caller's own words beside.

use std::time::Instant;

use axum::{
    body::Body,
    http::request::Parts,
    response::{IntoResponse as _, Response},
};

use super::{App, ai, error::GatewayError, request_body};
use crate::{
    application::invoke::{Audience, CallerHeaders, ErrorEvent, Invocation},
    domain::{
        call::{Shape, Voice},
        fault::PublicError,
        interface::Capability,
    },
};

/// A format of callers.
pub(super) struct Ingress {
    pub(super) voice: Voice,
    /// A body in OpenAI's words.
    pub(super) translate: fn(&[u8]) -> Result<String, PublicError>,
    pub(super) error_event: ErrorEvent,
}

/// The call of a request, whoever makes it having been asked for its credential first.
pub(super) async fn read(
    app: &std::sync::Arc<App>,
    mut head: Parts,
    body: Body,
    format: &Ingress,
) -> Result<Invocation, Box<Response>> {
    let (began, arrived) = (Instant::now(), app.clock.now());
    let refuse = |error: GatewayError| Box::new(error.into_response());
    let authenticated = ai::let_in(app, &head, Capability::Chat).await?;
    request_body::check_json(&head.headers).map_err(refuse)?;
    let most = Shape::of(Capability::Chat).map_or(app.max_body_bytes, |shape| shape.max_body_bytes);
    let said = request_body::read(body, app.max_body_bytes.min(most))
        .await
        .map_err(refuse)?;
    let caller = authenticated
        .with_body(app, &said)
        .await
        .map_err(|away| Box::new(away.into_response()))?;
    let translated = (format.translate)(&said).map_err(|error| refuse(error.into()))?;
    let (request_id, traceparent) = ai::context(&mut head);
    Ok(Invocation {
        caller,
        capability: Capability::Chat,
        raw: None,
        body: translated.into(),
        headers: CallerHeaders(head.headers),
        boundary: None,
        request_id,
        traceparent,
        arrived,
        began,
        voice: format.voice,
        verbatim: Some(said),
        error_event: format.error_event,
        audience: Audience::Connection,
    })
}

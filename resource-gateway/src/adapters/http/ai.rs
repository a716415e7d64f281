//! AI calls: OpenAI's routes, and every capability under one name scheme.

use std::time::Instant;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, post},
};
use service_kit::RequestContext;

use super::{
    AppState,
    caller::{self, Authenticated},
    error::{self, GatewayError},
    jobs, request_body,
};
use crate::{
    application::{
        invoke::{Audience, CallerHeaders, Invocation, InvokeError, Reply},
        replay::RecordedStream,
    },
    domain::{
        call::{Shape, Voice},
        fault::{ErrorKind, PublicError},
        ids::RequestId,
        interface::Capability,
    },
};

/// Where calls of each capability with a form of its own come in. Each has a second door, `/ai/invoke/{capability}`; raw calls have
/// one of another kind.
pub const DOORS: [(Capability, &str); 10] = [
    (Capability::Chat, "/v1/chat/completions"),
    (Capability::Embeddings, "/v1/embeddings"),
    (Capability::Transcription, "/v1/audio/transcriptions"),
    (Capability::Speech, "/v1/audio/speech"),
    (Capability::Image, "/v1/images/generations"),
    (Capability::Ocr, "/v1/ocr"),
    (Capability::Labels, "/v1/images/labels"),
    (Capability::Faces, "/v1/faces/detect"),
    (Capability::Moderation, "/v1/moderations"),
    (Capability::Rerank, "/v1/rerank"),
];

/// The route of a capability.
pub(super) fn post_to(capability: Capability) -> MethodRouter<AppState> {
    post(async move |State(app): State<AppState>, request: Request| invoke(&app, capability, request).await)
}

/// `/ai/invoke/{capability}`: the same calls by another name.
pub(super) async fn by_capability(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Response {
    let known = Capability::by_invoke_name(&name).filter(|capability| has_form(&app, *capability));
    match known {
        Some(capability) => invoke(&app, capability, request).await,
        None => GatewayError(unknown_capability(&app)).into_response(),
    }
}

/// Raw calls have no body that could name their interface, and no path but their own.
fn has_form(app: &AppState, capability: Capability) -> bool {
    app.capabilities.contains(&capability) && Shape::of(capability).is_some()
}

fn unknown_capability(app: &AppState) -> PublicError {
    let names: Vec<_> = app
        .capabilities
        .iter()
        .filter(|capability| has_form(app, **capability))
        .map(|capability| capability.invoke_name())
        .collect();
    let message = format!("There is no such capability; there are {}.", names.join(", "));
    PublicError::new(404, ErrorKind::InvalidRequest, "unknown_capability", message)
}

async fn invoke(app: &AppState, capability: Capability, request: Request) -> Response {
    match run(app, capability, request).await {
        Ok(reply) => reply,
        Err(refused) => *refused,
    }
}

async fn run(app: &AppState, capability: Capability, request: Request) -> Result<Response, Box<Response>> {
    let (began, arrived) = (Instant::now(), app.clock.now());
    let refuse = |error: GatewayError| Box::new(error.into_response());
    let (mut head, body) = request.into_parts();
    let authenticated = let_in(app, &head, capability).await?;
    let shape = Shape::of(capability).ok_or_else(|| refuse(unknown_capability(app).into()))?;
    let boundary = request_body::check_media_type(shape, &head.headers).map_err(refuse)?;
    let limit = app.max_body_bytes.min(shape.max_body_bytes);
    let body = request_body::read(body, limit).await.map_err(refuse)?;
    let caller = authenticated
        .with_body(app, &body)
        .await
        .map_err(|away| Box::new(away.into_response()))?;
    let (request_id, traceparent) = context(&mut head);
    let invocation = Invocation {
        caller,
        capability,
        raw: None,
        body,
        headers: CallerHeaders(head.headers),
        boundary,
        request_id,
        traceparent,
        arrived,
        began,
        voice: Voice::default(),
        verbatim: None,
        error_event: error::event,
        audience: Audience::Connection,
    };
    answer_in_time(app, invocation).await
}

/// Runs a call now, or accepts it as a job where its caller prefers that and its interface offers it.
pub(super) async fn answer_in_time(app: &AppState, invocation: Invocation) -> Result<Response, Box<Response>> {
    let mut headers = HeaderMap::new();
    if jobs::is_asked_for(&invocation.headers.0)
        && let Some(answer) = jobs::submit(app, &invocation, &mut headers).await
    {
        return answer.map(|reply| with(headers, reply)).map_err(Box::new);
    }
    answer(app, invocation, headers).await
}

/// The caller, if any interface of the capability may be theirs. Authenticated before the body is read: strangers do not get to fill
/// memory.
pub(super) async fn let_in(
    app: &AppState,
    head: &Parts,
    capability: Capability,
) -> Result<Authenticated, Box<Response>> {
    let authenticated = caller::begin(app, head)
        .await
        .map_err(|away| Box::new(away.into_response()))?;
    authenticated
        .before_body()
        .check_capability(capability)
        .map_err(|denied| Box::new(caller::deny(app, &denied).into_response()))?;
    Ok(authenticated)
}

/// What the request is called, and the trace that it belongs to.
pub(super) fn context(head: &mut Parts) -> (RequestId, Option<HeaderValue>) {
    let context: Option<RequestContext> = head.extensions.remove();
    let id = context
        .as_ref()
        .map_or_else(|| "".into(), |context| context.request_id.clone());
    let trace = context.and_then(|context| HeaderValue::try_from(context.trace.to_header()).ok());
    (RequestId::new(id), trace)
}

/// Runs a call. `headers` go beside its answer, whatever it is.
pub(super) async fn answer(
    app: &AppState,
    invocation: Invocation,
    mut headers: HeaderMap,
) -> Result<Response, Box<Response>> {
    match app.invoke.run(invocation, &mut headers).await {
        Ok(reply) => Ok(with(headers, respond(reply))),
        Err(InvokeError::Denied(denied)) => Err(Box::new(caller::deny(app, &denied).into_response())),
        Err(InvokeError::Error(error) | InvokeError::PutOff(error)) => {
            Err(Box::new(with(headers, GatewayError(error).into_response())))
        }
    }
}

/// What is told beside the answer, whatever it is.
fn with(headers: HeaderMap, mut response: Response) -> Response {
    if !headers.is_empty() {
        response.headers_mut().extend(headers);
    }
    response
}

fn respond(reply: Reply) -> Response {
    const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
    let (status, body, content_type, more) = match reply {
        Reply::Whole(whole) => (whole.status, Body::from(whole.body), whole.content_type, whole.headers),
        Reply::Recorded(answer) => {
            let (content_type, more) = (answer.content_type.clone(), answer.headers.clone());
            (
                answer.status,
                Body::new(RecordedStream::new(answer)),
                content_type,
                more,
            )
        }
        Reply::Stream(mut stream) => match stream.take_head() {
            None => {
                let notices = stream.take_notices();
                (StatusCode::OK, Body::new(*stream), EVENTS, notices)
            }
            Some(head) => (head.status, Body::new(*stream), head.content_type, head.headers),
        },
        Reply::Kept(stream) => (StatusCode::OK, Body::new(*stream), EVENTS, HeaderMap::new()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // RFC 9110 §15.3.5, §15.4.5: these have no content.
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    // Answers are for one caller, and nobody on the way keeps them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with(more, response)
}

//! AI calls: OpenAI's routes, and every capability under one name scheme.

use std::time::Instant;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, post},
};
use service_kit::RequestContext;

use super::{
    AppState, caller,
    error::{self, GatewayError},
    jobs, request_body,
};
use crate::{
    application::{
        invoke::{CallerHeaders, Invocation, InvokeError, Reply},
        replay::RecordedStream,
    },
    domain::{
        call::Shape,
        fault::{ErrorKind, PublicError},
        ids::RequestId,
        interface::Capability,
    },
};

/// The route of a capability.
pub(super) fn post_to(capability: Capability) -> MethodRouter<AppState> {
    post(async move |State(app): State<AppState>, request: Request| invoke(&app, capability, request).await)
}

/// `/ai/invoke/{capability}`: the same calls by another name.
pub(super) async fn by_capability(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Response {
    let known = Capability::by_invoke_name(&name).filter(|capability| app.capabilities.contains(capability));
    match known {
        Some(capability) => invoke(&app, capability, request).await,
        None => GatewayError(unknown_capability(&app)).into_response(),
    }
}

fn unknown_capability(app: &AppState) -> PublicError {
    let names: Vec<_> = app
        .capabilities
        .iter()
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
    // Authenticated before the body is read: strangers do not get to fill memory.
    let turn_away = |away: Box<caller::TurnedAway>| Box::new(away.into_response());
    let authenticated = caller::begin(app, &head).await.map_err(turn_away)?;
    authenticated
        .before_body()
        .check_capability(capability)
        .map_err(|denied| {
            app.meters.refused(crate::application::meters::Refusal::Scope);
            Box::new(caller::deny(app, &denied).into_response())
        })?;
    let shape = Shape::of(capability).ok_or_else(|| refuse(unknown_capability(app).into()))?;
    let boundary = request_body::check_media_type(shape, &head.headers).map_err(refuse)?;
    let limit = app.max_body_bytes.min(shape.max_body_bytes);
    let body = request_body::read(body, limit).await.map_err(refuse)?;
    let caller = authenticated.with_body(app, &body).await.map_err(turn_away)?;
    let context: Option<RequestContext> = head.extensions.remove();
    let invocation = Invocation {
        caller,
        capability,
        body,
        headers: CallerHeaders(head.headers),
        boundary,
        request_id: RequestId::new(
            context
                .as_ref()
                .map_or_else(|| "".into(), |context| context.request_id.clone()),
        ),
        traceparent: context.and_then(|context| HeaderValue::try_from(context.trace.to_header()).ok()),
        arrived,
        began,
        error_event: error::event,
        comes_again: false,
    };
    let mut headers = HeaderMap::new();
    if jobs::is_asked_for(&invocation.headers.0)
        && let Some(answer) = jobs::submit(app, &invocation, &mut headers).await
    {
        return answer.map(|reply| with(headers, reply)).map_err(Box::new);
    }
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
    let (body, content_type, more) = match reply {
        Reply::Whole(whole) => (Body::from(whole.body), whole.content_type, whole.headers),
        Reply::Recorded(answer) => {
            let (content_type, more) = (answer.content_type.clone(), answer.headers.clone());
            (Body::new(RecordedStream::new(answer)), content_type, more)
        }
        Reply::Stream(stream) => {
            let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
            (Body::new(*stream), content_type, HeaderMap::new())
        }
        Reply::Kept(stream) => {
            let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
            (Body::new(*stream), content_type, HeaderMap::new())
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    // Answers are for one caller, and nobody on the way keeps them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with(more, response)
}

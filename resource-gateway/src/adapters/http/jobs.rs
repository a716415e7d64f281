//! `/v1/jobs`, and requests that are to be answered later (RFC 7240 §4.1).

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{AppState, caller, error::GatewayError, messages, pages};
use crate::{
    application::{
        invoke::{Invocation, InvokeError},
        jobs::{Accepted, NotAccepted},
        replay::REPLAYED,
    },
    domain::{
        call::Voice,
        caller::Caller,
        fault::{ErrorKind, PublicError},
        job::{Job, JobError, Owner},
    },
    ports::jobs::JobResult,
};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const WEBHOOK: HeaderName = HeaderName::from_static("x-hexgate-webhook");

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/jobs", get(list))
        .route("/v1/jobs/webhook-secret", get(webhook_secret))
        .route("/v1/jobs/{id}", get(load).delete(cancel))
        .route("/v1/jobs/{id}/result", get(result))
        .route("/v1/jobs/{id}/cancel", post(cancel))
}

/// Whether a request prefers to be answered later.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter();
    values.filter_map(|value| value.to_str().ok()).any(prefers_async)
}

/// RFC 7240 §2: a list of preferences with values and parameters; both may be quoted, and names are read in any case.
fn prefers_async(value: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let mut preferences = value.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == ',' && !quoted
    });
    preferences.any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}

/// Accepts a call as a job; `None`: its interface does not offer that, and a preference may be ignored (RFC 7240 §2).
pub(super) async fn submit(
    app: &AppState,
    invocation: &Invocation,
    headers: &mut HeaderMap,
) -> Option<Result<Response, Response>> {
    let interface = match app.invoke.defer(invocation, headers) {
        Ok(interface) => interface?,
        Err(InvokeError::Denied(denied)) => return Some(Err(caller::deny(app, &denied).into_response())),
        Err(InvokeError::Error(error) | InvokeError::PutOff(error)) => return Some(Err(refuse(error))),
    };
    let submitted = match webhook(&invocation.headers.0) {
        Ok(webhook) => app.jobs.submit(invocation, &interface, webhook).await,
        Err(error) => Err(NotAccepted::Refused(error)),
    };
    Some(submitted.map(accepted).map_err(|why| match why {
        NotAccepted::Refused(error) => {
            app.invoke.turn_down(invocation, &interface);
            refuse(error)
        }
        NotAccepted::Unknown(error) => refuse(error),
    }))
}

/// The URL that wants to hear of the end.
fn webhook(headers: &HeaderMap) -> Result<Option<&str>, PublicError> {
    let invalid = |message: &str| PublicError::invalid(Some("x-hexgate-webhook"), "invalid_webhook", message);
    let mut values = headers.get_all(WEBHOOK).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("There is more than one x-hexgate-webhook header."));
    }
    let url = value
        .to_str()
        .map_err(|_| invalid("The header x-hexgate-webhook is not a URL."))?;
    Ok(Some(url))
}

fn refuse(error: PublicError) -> Response {
    GatewayError(error).into_response()
}

fn accepted(accepted: Accepted) -> Response {
    let (job, repeated) = match &accepted {
        Accepted::New(job) => (job, false),
        Accepted::Again(job) => (job, true),
    };
    let mut response = show(job);
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    if repeated {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
    headers.insert(header::VARY, HeaderValue::from_static("prefer"));
    if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{}", job.id)) {
        headers.insert(header::LOCATION, location);
    }
    response
}

fn show(job: &Job) -> Response {
    let mut response = Json(form(job)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !job.status.has_ended() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn form(job: &Job) -> Value {
    let result = job.result.as_ref().map(|(content_type, bytes)| {
        json!({"url": format!("/v1/jobs/{}/result", job.id), "content_type": content_type, "bytes": bytes})
    });
    let webhook = job
        .webhook
        .map(|webhook| json!({"state": webhook.state.as_str(), "attempts": webhook.attempts}));
    let seconds = service_kit::Timestamp::as_seconds;
    json!({"id": job.id, "object": "job", "status": job.status.as_str(), "model": job.interface,
        "capability": job.capability, "request_id": job.request_id, "created_at": job.created_at.as_seconds(),
        "started_at": job.started_at.map(seconds), "finished_at": job.finished_at.map(seconds),
        "expires_at": job.expires_at.as_seconds(), "runs": job.runs, "error": job.error.as_ref().map(error_object),
        "result": result, "webhook": webhook})
}

fn error_object(error: &JobError) -> Value {
    json!({"message": error.message, "type": error.kind, "param": error.param, "code": error.code})
}

async fn load(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    match of_caller(&app, request, async |caller| app.jobs.load(caller, &id).await).await {
        Ok(job) => show(&job),
        Err(refused) => *refused,
    }
}

async fn cancel(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    match of_caller(&app, request, async |caller| app.jobs.cancel(caller, &id).await).await {
        Ok(job) => show(&job),
        Err(refused) => *refused,
    }
}

async fn result(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    match of_caller(&app, request, async |caller| app.jobs.result(caller, &id).await).await {
        Ok((_, Some(result))) => respond(result),
        // The answer that the caller would have got.
        Ok((job, None)) => failure(&job),
        Err(refused) => *refused,
    }
}

fn respond(result: JobResult) -> Response {
    let mut response = Response::new(Body::from(result.body));
    let headers = response.headers_mut();
    headers.extend(result.headers);
    let content_type = HeaderValue::try_from(result.content_type);
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// In the format in which the call was made.
fn failure(job: &Job) -> Response {
    let internal = || PublicError::new(500, ErrorKind::Server, "internal_error", "The job failed.");
    let refused = refuse(job.error.as_ref().map_or_else(internal, JobError::to_public));
    match job.voice {
        Voice::Anthropic => messages::in_words(refused, job.request_id.as_str()),
        Voice::OpenAi | Voice::Responses => refused,
    }
}

async fn list(State(app): State<AppState>, request: Request) -> Response {
    let uri = request.uri().clone();
    let page = of_caller(&app, request, async |caller| {
        let (limit, after) = pages::read(&uri)?;
        app.jobs.list(caller, after.as_deref(), limit).await
    });
    match page.await {
        Ok(page) => {
            let items: Vec<_> = page.items.iter().map(form).collect();
            let next = page.next.map(|id| pages::token(id.as_str()));
            let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (no_store, Json(json!({"items": items, "next_page_token": next}))).into_response()
        }
        Err(refused) => *refused,
    }
}

/// The secret by which the caller verifies news of its jobs.
async fn webhook_secret(State(app): State<AppState>, request: Request) -> Response {
    let shown = of_caller(&app, request, async |caller| {
        let secret = app.jobs.secrets.show(&Owner::of(caller));
        secret.ok_or_else(|| PublicError::new(500, ErrorKind::Server, "internal_error", "The gateway failed."))
    });
    match shown.await {
        Ok(secret) => {
            let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (no_store, Json(json!({"secret": secret.expose_secret()}))).into_response()
        }
        Err(refused) => *refused,
    }
}

async fn of_caller<T>(
    app: &AppState,
    request: Request,
    ask: impl AsyncFnOnce(&Caller) -> Result<T, PublicError>,
) -> Result<T, Box<Response>> {
    let head = request.into_parts().0;
    let caller = caller::authenticate(app, &head).await;
    let caller = caller.map_err(|away| Box::new(away.into_response()))?;
    ask(&caller).await.map_err(|error| Box::new(refuse(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_found_wherever_it_stands() {
        for (value, wanted) in [
            ("respond-async", true),
            ("Respond-Async", true),
            ("wait=10, respond-async", true),
            ("respond-async; foo=bar, wait=10", true),
            ("handling=lenient,\trespond-async ", true),
            ("respond-asynchronously", false),
            ("return=\"a, respond-async\"", false),
            ("return=\"a\\\", respond-async\"", false),
            ("return=minimal; respond-async", false),
            ("", false),
        ] {
            assert_eq!(prefers_async(value), wanted, "{value}");
        }
    }
}

//! `/v1/messages`: chat for callers who speak Anthropic's format. What they say is translated before any rule sees it; their own words
//! go along for vendors of the same format.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::{Value, json};
use service_kit::RequestContext;

use super::{
    AppState, ai,
    error::{self, GatewayError},
    ingress,
};
use crate::{
    application::invoke::{Counter, Invocation, InvokeError},
    domain::{
        call::Voice,
        chat::messages_to_openai,
        fault::{ErrorKind, PublicError},
    },
};

const PATH: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

const INGRESS: ingress::Ingress = ingress::Ingress {
    voice: Voice::Anthropic,
    translate: messages_to_openai,
    error_event: event,
};

/// Where Anthropic's SDKs look for the request's name.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Where they put the credential.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Who counted.
const COUNTED_BY: HeaderName = HeaderName::from_static("x-hexgate-counted-by");

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route(PATH, post(create).fallback(wrong_method))
        .route(COUNT, post(count).fallback(wrong_method))
}

/// Whether errors there are told in this format.
pub(super) fn is_here(path: &str) -> bool {
    path.strip_prefix(PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn wrong_method(method: Method, uri: Uri, request: Request) -> Response {
    let id = request_id(&request.into_parts().0);
    in_words(error::wrong_method(method.as_str(), uri.path()).into_response(), &id)
}

pub(super) fn not_found(path: &str, head: &Parts) -> Response {
    in_words(error::not_found(path).into_response(), &request_id(head))
}

async fn create(State(app): State<AppState>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let id = request_id(&head);
    let answered = async {
        let invocation = read(&app, head, body).await?;
        ai::answer_in_time(&app, invocation).await
    };
    in_words(answered.await.unwrap_or_else(|refused| *refused), &id)
}

/// How many tokens a request comes to. No answer is asked for, and nothing is billed.
async fn count(State(app): State<AppState>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let id = request_id(&head);
    let counted = async {
        let invocation = read(&app, head, body).await?;
        let mut headers = http::HeaderMap::new();
        let counted = Box::pin(app.invoke.count_tokens(&invocation, &mut headers)).await;
        let counted = counted.map_err(|error| {
            let mut refused = match error {
                InvokeError::Denied(denied) => super::caller::deny(&app, &denied).into_response(),
                InvokeError::Error(error) | InvokeError::PutOff(error) => GatewayError(error).into_response(),
            };
            refused.headers_mut().extend(headers.clone());
            Box::new(refused)
        })?;
        let mut response = axum::Json(json!({"input_tokens": counted.tokens})).into_response();
        response.headers_mut().extend(headers);
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        response.headers_mut().insert(
            COUNTED_BY,
            HeaderValue::from_static(match counted.by {
                Counter::Vendor => "vendor",
                Counter::Gateway => "gateway",
            }),
        );
        Ok(response)
    };
    in_words(counted.await.unwrap_or_else(|refused: Box<Response>| *refused), &id)
}

/// The call, in OpenAI's words and in the caller's own.
async fn read(app: &AppState, mut head: Parts, body: Body) -> Result<Invocation, Box<Response>> {
    take_key(&mut head);
    ingress::read(app, head, body, &INGRESS).await
}

/// Anthropic's SDKs send their key in a header of its own. A credential of the usual kind goes first. Nothing that comes after knows
/// that this header holds one too, so it ends here: what is kept of a request, or passed on, has no credential in it.
fn take_key(head: &mut Parts) {
    let keys: Vec<HeaderValue> = head.headers.get_all(X_API_KEY).iter().cloned().collect();
    head.headers.remove(X_API_KEY);
    let ([key], false) = (keys.as_slice(), head.headers.contains_key(header::AUTHORIZATION)) else {
        return;
    };
    let Ok(mut bearer) = HeaderValue::from_bytes(&[b"Bearer ", key.as_bytes()].concat()) else {
        return;
    };
    bearer.set_sensitive(true);
    head.headers.insert(header::AUTHORIZATION, bearer);
}

fn request_id(head: &Parts) -> String {
    let context = head.extensions.get::<RequestContext>();
    context.map_or_else(String::new, |context| context.request_id.to_string())
}

/// The answer with the names that this format has for things: errors are written anew.
pub(super) fn in_words(mut response: Response, id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<PublicError>() {
        let (status, _) = kind(&error);
        let mut body = object(&error);
        if let Some(members) = body.as_object_mut() {
            members.insert("request_id".to_owned(), id.into());
        }
        *response.body_mut() = Body::from(body.to_string());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The status and the type by which SDKs tell errors apart.
fn kind(error: &PublicError) -> (u16, &'static str) {
    let kind = match (error.status, error.kind) {
        (401, _) | (_, ErrorKind::Authentication) => "authentication_error",
        (403, _) | (_, ErrorKind::Permission) => "permission_error",
        (404, _) => "not_found_error",
        (413, _) => "request_too_large",
        (429, _) => "rate_limit_error",
        (408 | 504, _) => "timeout_error",
        (529, _) => "overloaded_error",
        // A status of this vendor's own, on which its SDKs wait and ask again.
        (503, _) if error.code.as_deref() == Some("upstream_overloaded") => return (529, "overloaded_error"),
        (500.., _) => "api_error",
        _ => "invalid_request_error",
    };
    (error.status, kind)
}

fn object(error: &PublicError) -> Value {
    json!({"type": "error", "error": {"type": kind(error).1, "message": error.message}})
}

/// The error as an event in the middle of a stream.
fn event(error: &PublicError) -> Bytes {
    format!("event: error\ndata: {}\n\n", object(error)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_as_a_token_and_nothing_behind_sees_its_header() {
        for (headers, taken) in [
            (&[("x-api-key", "t1")][..], Some("Bearer t1")),
            (
                &[("x-api-key", "t1"), ("authorization", "Bearer t2")],
                Some("Bearer t2"),
            ),
            (&[("x-api-key", "t1"), ("x-api-key", "t2")], None),
            (&[], None),
        ] {
            let mut request = axum::http::Request::new(());
            for (name, value) in headers {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            let (mut head, ()) = request.into_parts();
            take_key(&mut head);
            let found = head
                .headers
                .get(header::AUTHORIZATION)
                .map(|value| value.to_str().unwrap());
            assert_eq!(found, taken, "{headers:?}");
            assert!(!head.headers.contains_key(X_API_KEY));
        }
    }

    #[test]
    fn errors_have_the_types_by_which_sdks_tell_them_apart() {
        for (status, error_kind, code, wanted) in [
            (
                400,
                ErrorKind::InvalidRequest,
                "invalid_value",
                (400, "invalid_request_error"),
            ),
            (
                401,
                ErrorKind::Authentication,
                "missing_token",
                (401, "authentication_error"),
            ),
            (
                403,
                ErrorKind::Permission,
                "insufficient_scope",
                (403, "permission_error"),
            ),
            (
                404,
                ErrorKind::InvalidRequest,
                "model_not_found",
                (404, "not_found_error"),
            ),
            (
                405,
                ErrorKind::InvalidRequest,
                "method_not_allowed",
                (405, "invalid_request_error"),
            ),
            (
                413,
                ErrorKind::InvalidRequest,
                "request_too_large",
                (413, "request_too_large"),
            ),
            (
                415,
                ErrorKind::InvalidRequest,
                "unsupported_media_type",
                (415, "invalid_request_error"),
            ),
            (429, ErrorKind::Quota, "insufficient_quota", (429, "rate_limit_error")),
            (500, ErrorKind::Server, "internal_error", (500, "api_error")),
            (502, ErrorKind::Upstream, "upstream_error", (502, "api_error")),
            (
                503,
                ErrorKind::Upstream,
                "upstream_overloaded",
                (529, "overloaded_error"),
            ),
            (503, ErrorKind::Server, "usage_unavailable", (503, "api_error")),
            (504, ErrorKind::Upstream, "upstream_timeout", (504, "timeout_error")),
        ] {
            let error = PublicError::new(status, error_kind, code, "m");
            assert_eq!(kind(&error), wanted, "{code}");
        }
        let error = PublicError::new(503, ErrorKind::Upstream, "upstream_overloaded", "m");
        let text = event(&error);
        let data = text
            .strip_prefix(b"event: error\ndata: ")
            .and_then(|rest| rest.strip_suffix(b"\n\n"));
        let data: Value = serde_json::from_slice(data.unwrap()).unwrap();
        assert_eq!(
            data,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}})
        );
    }

    #[test]
    fn the_door_is_told_from_its_neighbours() {
        assert!(is_here("/v1/messages") && is_here("/v1/messages/count_tokens") && is_here("/v1/messages/x"));
        assert!(!is_here("/v1/messagesx") && !is_here("/v1/models"));
    }
}

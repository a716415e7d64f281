//! Registration of clients (RFC 7591, OpenID Connect Registration) and its management (RFC 7592).

use axum::{
    Extension,
    body::Bytes,
    extract::{FromRequest as _, Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use oauth_wire::{BearerChallenge, BearerErrorCode, OAuthErrorCode};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use service_kit::listener::PeerAddress;
use token_keys::strict_json;

use super::OAuthError;
use crate::{
    adapters::http::{
        App,
        wire::{self, no_store_bytes, no_store_json},
    },
    application::{
        register::{RegisterError, Registered},
        token_error::TokenError,
    },
    domain::{ids::ClientId, throttle::address_block},
};

/// Registers a client (RFC 7591 §3.1).
pub(crate) async fn post(
    State(app): State<App>,
    peer: Option<Extension<PeerAddress>>,
    request: Request,
) -> Result<Response, Response> {
    let address = peer.map(|Extension(PeerAddress(peer))| address_block(peer.ip()));
    let token = token(request.headers());
    let metadata = metadata(request).await?;
    let registered = app
        .register
        .register(&address.unwrap_or_default(), token.as_deref(), &metadata)
        .await
        .map_err(|error| refuse(&app, error))?;
    Ok(answer(&app, StatusCode::CREATED, registered))
}

/// Tells a client what is registered (RFC 7592 §2.1).
pub(crate) async fn get(
    State(app): State<App>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let id = ClientId::new(client_id);
    let read = app.register.read_registration(&id, token(&headers).as_deref()).await;
    let registered = read.map_err(|error| refuse(&app, error))?;
    Ok(answer(&app, StatusCode::OK, registered))
}

/// Replaces what is registered (RFC 7592 §2.2).
pub(crate) async fn put(
    State(app): State<App>,
    Path(client_id): Path<String>,
    request: Request,
) -> Result<Response, Response> {
    let id = ClientId::new(client_id);
    let token = token(request.headers());
    let metadata = metadata(request).await?;
    let updated = app.register.update_registration(&id, token.as_deref(), &metadata).await;
    let registered = updated.map_err(|error| refuse(&app, error))?;
    Ok(answer(&app, StatusCode::OK, registered))
}

/// Removes a client (RFC 7592 §2.3).
pub(crate) async fn delete(
    State(app): State<App>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let id = ClientId::new(client_id);
    let deleted = app.register.delete_registration(&id, token(&headers).as_deref()).await;
    deleted.map_err(|error| refuse(&app, error))?;
    let mut response = no_store_bytes(StatusCode::NO_CONTENT, Vec::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    Ok(response)
}

fn token(headers: &HeaderMap) -> Option<String> {
    wire::bearer(headers).map(str::to_owned)
}

/// The request's JSON object.
async fn metadata(request: Request) -> Result<Map<String, Value>, Response> {
    if !wire::is_of_type(request.headers(), "application/json") {
        return Err(invalid("the body must be application/json"));
    }
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => OAuthError::too_large().into_response(),
            _ => invalid("the body cannot be read"),
        })?;
    // What two readers would read differently is not read at all.
    strict_json::object(&body).map_err(|_| invalid("the body is not a JSON object, or holds a name twice"))
}

fn invalid(description: &str) -> Response {
    OAuthError::bad_request(OAuthErrorCode::InvalidClientMetadata, description).into_response()
}

/// RFC 7591 §3.2.1, RFC 7592 §3.
fn answer(app: &App, status: StatusCode, registered: Registered) -> Response {
    let mut body = registered.metadata;
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("client_id_issued_at", json!(registered.registered_at.as_seconds()));
    if let Some(secret) = &registered.secret {
        set("client_secret", json!(secret.expose_secret()));
        // It does not expire.
        set("client_secret_expires_at", json!(0));
    }
    set(
        "registration_access_token",
        json!(registered.access_token.expose_secret()),
    );
    let uri = format!("{}/connect/register/{}", app.policy.issuer, registered.client_id);
    set("registration_client_uri", json!(uri));
    no_store_json(status, &body)
}

fn refuse(app: &App, error: RegisterError) -> Response {
    use OAuthErrorCode as Code;
    match error {
        RegisterError::Off => {
            let body = json!({"error": "not_found", "error_description": "There is nothing at this address."});
            no_store_json(StatusCode::NOT_FOUND, &body)
        }
        RegisterError::TokenMissing => challenge(None),
        RegisterError::TokenInvalid => challenge(Some("the token is invalid, used up, expired or revoked")),
        RegisterError::Invalid(ref faults) => {
            let is_redirect = faults.iter().any(|fault| fault.member.starts_with("redirect_uris"));
            let code = match is_redirect {
                true => Code::InvalidRedirectUri,
                false => Code::InvalidClientMetadata,
            };
            OAuthError::bad_request(code, error.to_string()).into_response()
        }
        RegisterError::SoftwareStatement => {
            let text = "software statements are not accepted here";
            OAuthError::bad_request(Code::UnapprovedSoftwareStatement, text).into_response()
        }
        RegisterError::Throttled { until } => {
            OAuthError::at(TokenError::Throttled { until }, app.clock.now()).into_response()
        }
        RegisterError::Full => OAuthError::unavailable("no more clients can be registered now").into_response(),
        RegisterError::Store(error) => OAuthError::from(error).into_response(),
        RegisterError::Token(error) => OAuthError::from(error).into_response(),
    }
}

/// RFC 6750 §3: without a token a challenge alone, otherwise what is wrong with it.
fn challenge(wrong: Option<&str>) -> Response {
    let error = wrong.map(|text| (BearerErrorCode::InvalidToken, text));
    let challenge = BearerChallenge {
        realm: Some("hexgate"),
        error,
        ..BearerChallenge::default()
    };
    let mut response = match error {
        Some((code, text)) => {
            let body = json!({"error": code.as_str(), "error_description": text});
            no_store_json(StatusCode::UNAUTHORIZED, &body)
        }
        None => no_store_bytes(StatusCode::UNAUTHORIZED, "{}"),
    };
    // Built from constants, so it is always a legal header value.
    if let Ok(value) = HeaderValue::from_str(&challenge.to_header()) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

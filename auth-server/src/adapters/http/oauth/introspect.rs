//! Token introspection (RFC 7662).

use axum::{extract::State, response::Response};
use http::StatusCode;
use oauth_wire::IntrospectionReply;

use super::{OAuthError, client_request::ClientRequest};
use crate::{
    adapters::http::{App, wire::no_store_json},
    application::token_error::TokenError,
};

/// Tells an authenticated caller what a token is.
pub(crate) async fn post(State(app): State<App>, request: ClientRequest) -> Result<Response, OAuthError> {
    let ClientRequest { client, mut form } = request;
    // §2.1: the caller must be authenticated, and a public client is not.
    if client.is_public() {
        return Err(TokenError::InvalidClient.into());
    }
    let token = form
        .take("token")
        .ok_or_else(|| TokenError::InvalidRequest("token is missing".into()))?;
    let reply = match app.introspect.introspect(&client, &token).await? {
        Some(claims) => IntrospectionReply { active: true, claims },
        None => IntrospectionReply::inactive(),
    };
    Ok(no_store_json(StatusCode::OK, &reply))
}

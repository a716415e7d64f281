//! Token revocation (RFC 7009).

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{OAuthError, client_request::ClientRequest};
use crate::{
    adapters::http::{App, wire::no_store_bytes},
    application::token_error::TokenError,
};

/// Revokes a token of the client. An unknown `token_type_hint` is ignored (§2.1): the token itself tells what it is.
pub(crate) async fn post(State(app): State<App>, request: ClientRequest) -> Result<Response, OAuthError> {
    let ClientRequest { client, mut form } = request;
    let token = form
        .take("token")
        .ok_or_else(|| TokenError::InvalidRequest("token is missing".into()))?;
    app.revoke_token.revoke(&client, &token).await?;
    Ok(no_store_bytes(StatusCode::OK, "{}"))
}

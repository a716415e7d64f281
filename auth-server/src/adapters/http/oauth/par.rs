//! Pushed authorization requests (RFC 9126).

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde_json::json;

use super::{OAuthError, client_request::ClientRequest};
use crate::{
    adapters::http::{App, wire::no_store_json},
    application::{sender_constraint::Place, token_error::TokenError},
};

/// Keeps a request and answers with a reference to it (§2.2).
pub(crate) async fn post(State(app): State<App>, request: ClientRequest) -> Result<Response, OAuthError> {
    let ClientRequest {
        client,
        form,
        possession,
    } = request;
    let place = Place {
        method: "POST",
        path: "/oauth2/par",
    };
    let confirmation = app
        .sender_constraint
        .of_pushed_request(possession.shown(), place)
        .await
        .map_err(TokenError::from)?;
    let pushed = app.authorize.push(&client, confirmation.as_ref(), form).await?;
    let body = json!({
        "request_uri": pushed.request_uri,
        "expires_in": pushed.expires_in.as_secs(),
    });
    Ok(no_store_json(StatusCode::CREATED, &body))
}

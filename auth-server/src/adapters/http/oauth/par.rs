//! Pushed authorization requests (RFC 9126).

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde_json::json;

use super::{
    OAuthError,
    bound_request::{BoundRequest, PushEndpoint},
};
use crate::{
    adapters::http::{App, wire::no_store_json},
    application::token_error::TokenError,
};

/// Keeps a request and answers with a reference to it (§2.2).
pub(crate) async fn post(State(app): State<App>, request: BoundRequest<PushEndpoint>) -> Result<Response, OAuthError> {
    let BoundRequest {
        client,
        form,
        confirmation,
        unspent,
        ..
    } = request;
    let pushed = app.authorize.push(&client, confirmation.as_ref(), &unspent, form).await;
    // A request that is refused has used up what it showed all the same.
    unspent.spend().await.map_err(TokenError::from)?;
    let pushed = pushed?;
    let body = json!({
        "request_uri": pushed.request_uri,
        "expires_in": pushed.expires_in.as_secs(),
    });
    Ok(no_store_json(StatusCode::CREATED, &body))
}

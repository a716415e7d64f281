//! Backchannel authentication endpoint (CIBA §7).

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde_json::json;

use super::{OAuthError, client_request::ClientRequest, token::call};
use crate::{
    adapters::http::{App, wire::no_store_json},
    application::request_ciba::CibaOrder,
};

/// Takes a request to a person in.
pub(crate) async fn post(State(app): State<App>, request: ClientRequest) -> Result<Response, OAuthError> {
    let ClientRequest { client, mut form, .. } = request;
    let call = call(&app, client, &mut form)?;
    let order = CibaOrder::read(&mut form, &app.policy)?;
    let taken = app.request_ciba.request(&call, order).await;
    let taken = taken.map_err(|error| OAuthError::at(error, app.clock.now()))?;
    app.client_use.note(&call.client.client_id).await;
    // §7.3
    let body = json!({
        "auth_req_id": taken.auth_req_id,
        "expires_in": taken.expires_in.as_secs(),
        "interval": taken.interval.as_secs(),
    });
    Ok(no_store_json(StatusCode::OK, &body))
}

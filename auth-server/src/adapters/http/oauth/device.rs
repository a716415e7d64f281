//! Device authorization endpoint (RFC 8628 §3.1).

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use serde_json::json;
use service_kit::listener::PeerAddress;

use super::{
    OAuthError,
    client_request::ClientRequest,
    token::{call, scope},
};
use crate::{
    adapters::http::{App, wire::no_store_json},
    application::request_device::DeviceOrder,
};

/// Gives a device its codes.
pub(crate) async fn post(
    State(app): State<App>,
    peer: Option<Extension<PeerAddress>>,
    request: ClientRequest,
) -> Result<Response, OAuthError> {
    let ClientRequest { client, mut form, .. } = request;
    let call = call(&app, client, &mut form)?;
    let order = DeviceOrder {
        scope: scope(&mut form)?,
        address: peer.map(|Extension(PeerAddress(peer))| peer.ip()),
    };
    let given = app.request_device.request(&call, order).await;
    let given = given.map_err(|error| OAuthError::at(error, app.clock.now()))?;
    // §3.2
    let body = json!({
        "device_code": given.device_code,
        "user_code": given.user_code.to_string(),
        "verification_uri": given.verification_uri,
        "verification_uri_complete": given.verification_uri_complete,
        "expires_in": given.expires_in.as_secs(),
        "interval": given.interval.as_secs(),
    });
    Ok(no_store_json(StatusCode::OK, &body))
}

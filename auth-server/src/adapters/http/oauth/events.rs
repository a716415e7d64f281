//! Security events for resource servers (RFC 8936 poll delivery).

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::Response,
};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_kit::PeerAddress;
use subtle::ConstantTimeEq as _;

use super::{OAuthError, client_request::basic};
use crate::{
    adapters::http::{App, wire},
    application::{
        authenticate_client::{Presented, Proof},
        poll_events::{MAX_EVENTS, Poll},
        token_error::TokenError,
    },
    domain::{client::PERMISSION_POLL_EVENTS, ids::ClientId},
};

/// RFC 8936 §2.2. Names are the RFC's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PollRequest {
    max_events: Option<usize>,
    #[serde(default)]
    return_immediately: bool,
    #[serde(default)]
    ack: Vec<String>,
    /// Errors that the receiver reports (§2.6); an event with an error counts as acknowledged.
    #[serde(default)]
    set_errs: Map<String, Value>,
}

/// Which stream of a receiver polls: several nodes share one credential.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamName {
    #[serde(default)]
    stream: String,
}

/// Answers what the receiver has not acknowledged.
pub(crate) async fn post(
    State(app): State<App>,
    query: Result<Query<StreamName>, QueryRejection>,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Result<Json<PollRequest>, JsonRejection>,
) -> Result<Response, OAuthError> {
    let address = peer.map(|Extension(PeerAddress(peer))| peer.ip());
    let receiver = receiver(&app, &headers, address).await?;
    let Query(StreamName { stream }) = query.map_err(|error| TokenError::InvalidRequest(error.body_text()))?;
    let Json(request) = body.map_err(|error| TokenError::InvalidRequest(error.body_text()))?;
    for (jti, error) in &request.set_errs {
        tracing::warn!(set.jti = %jti, %error, "a receiver could not use a security event");
    }
    if stream.len() > 128 {
        return Err(TokenError::InvalidRequest("stream is too long".into()).into());
    }
    let poll = Poll {
        stream: format!("{receiver}/{stream}"),
        max_events: request.max_events.unwrap_or(MAX_EVENTS),
        return_immediately: request.return_immediately,
        acknowledged: request
            .ack
            .into_iter()
            .chain(request.set_errs.into_iter().map(|(jti, _)| jti))
            .collect(),
    };
    let events = app.poll_events.poll(&poll).await.map_err(TokenError::from)?;
    let body = json!({"sets": events.sets, "moreAvailable": events.more_available});
    Ok(wire::no_store_json(StatusCode::OK, &body))
}

/// The installation's own gateways by their shared credential, others as clients that hold the permission.
async fn receiver(app: &App, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Arc<str>, OAuthError> {
    if let Some(token) = wire::bearer(headers) {
        let wanted = app.events_credential.expose_secret().as_bytes();
        let same: bool = token.as_bytes().ct_eq(wanted).into();
        return if same {
            Ok("installation".into())
        } else {
            Err(TokenError::InvalidClient.into())
        };
    }
    let credentials = basic(headers)?.ok_or(TokenError::InvalidClient)?;
    let presented = Presented {
        client_id: Some(ClientId::new(credentials.client_id)),
        proof: Proof::Secret(SecretString::from(credentials.client_secret)),
        certificate: None,
        address,
    };
    let client = app.authenticate_client.authenticate(presented).await?.client;
    if !client.holds(PERMISSION_POLL_EVENTS) {
        return Err(OAuthError::forbidden("the client may not read security events"));
    }
    Ok(client.client_id.as_str().into())
}

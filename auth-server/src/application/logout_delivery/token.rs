//! Logout tokens (OpenID Connect Back-Channel Logout §2.4).

use std::time::Duration;

use serde::Serialize;

use super::LogoutDeliveries;
use crate::{
    application::token_error::TokenError,
    domain::{client::Client, ids::SessionId, logout::LogoutDelivery},
};

/// `typ` of logout tokens: whoever checks it cannot be given an ID token in their place, nor one of them for an ID token.
pub const LOGOUT_TOKEN_TYP: &str = "logout+jwt";
/// §2.4 recommends at most two minutes. A token is made when it is sent.
pub const LOGOUT_TOKEN_LIFETIME: Duration = Duration::from_secs(120);

#[derive(Serialize)]
struct LogoutClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sid: &'a SessionId,
    events: Events,
}

/// §2.4: the one member that says what has happened, with an empty object.
#[derive(Serialize, Default)]
struct Events {
    #[serde(rename = "http://schemas.openid.net/event/backchannel-logout")]
    logout: Empty,
}

#[derive(Serialize, Default)]
struct Empty {}

impl LogoutDeliveries {
    /// Made for each attempt anew, since it is good for two minutes. Signed as the client's ID tokens are, and never with a `nonce`.
    pub(super) fn token(&self, delivery: &LogoutDelivery, client: &Client) -> Result<String, TokenError> {
        let now = self.clock.now();
        let claims = LogoutClaims {
            iss: &self.policy.issuer,
            // As the client's ID tokens name the person.
            sub: &self.subjects.shown_to(client, &delivery.user)?.sub,
            aud: client.client_id.as_str(),
            iat: now.as_seconds(),
            exp: (now + LOGOUT_TOKEN_LIFETIME).as_seconds(),
            jti: self.entropy.id(),
            sid: &delivery.sid,
            events: Events::default(),
        };
        let bytes = serde_json::to_vec(&claims).map_err(TokenError::internal)?;
        Ok(self
            .keyring
            .sign(client.id_token_signed_response_alg, LOGOUT_TOKEN_TYP, &bytes)?)
    }
}

//! Token introspection (RFC 7662).

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};
use oauth_wire::IntrospectionReply;

use super::{OAuthError, client_request::ClientRequest};
use crate::{
    adapters::http::{
        App,
        wire::{no_store_json, no_store_jwt},
    },
    application::token_error::TokenError,
    domain::client::Client,
};

/// RFC 9701 §4.
const JWT: &str = "application/token-introspection+jwt";

/// Tells an authenticated caller what a token is.
pub(crate) async fn post(
    State(app): State<App>,
    headers: HeaderMap,
    request: ClientRequest,
) -> Result<Response, OAuthError> {
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
    match wants_jwt(&headers, &client) {
        true => Ok(no_store_jwt(JWT, app.introspect.seal(&client, &reply).await?)),
        false => Ok(no_store_json(StatusCode::OK, &reply)),
    }
}

/// RFC 9701 §4: the caller asks for a token by `Accept`. One that registered how its answers are to be signed or encrypted gets no other, unless
/// it asks for JSON by name.
fn wants_jwt(headers: &HeaderMap, caller: &Client) -> bool {
    let protocol = &caller.protocol;
    let is_registered =
        protocol.introspection_signed_response_alg.is_some() || protocol.introspection_encrypted_response_alg.is_some();
    accepts(headers, JWT) || (is_registered && !accepts(headers, "application/json"))
}

/// Whether a media type is accepted by its own name, and not with a weight of zero (RFC 9110 §12.5.1).
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let lines = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        is_wanted && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_media_type_is_accepted_by_its_name_and_weight() {
        for (accept, wanted) in [
            ("application/token-introspection+jwt", true),
            ("Application/Token-Introspection+JWT", true),
            ("application/json, application/token-introspection+jwt;q=0.5", true),
            ("application/token-introspection+jwt; charset=utf-8; q=1", true),
            ("application/token-introspection+jwt;q=0", false),
            ("application/token-introspection+jwt;q=x", false),
            ("application/json", false),
            ("application/*", false),
            ("*/*", false),
            ("application/jwt", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts(&headers, JWT), wanted, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new(), JWT));
    }
}

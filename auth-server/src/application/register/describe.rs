//! A client in the words of RFC 7591: what the answer to a registration says.

use oauth_wire::RedirectUri;
use serde_json::{Map, Value, json};

use crate::domain::client::Client;

/// The client's metadata, defaults that apply included. Nothing in it is secret.
pub(super) fn describe(client: &Client) -> Map<String, Value> {
    let uris = |uris: &[RedirectUri]| json!(uris.iter().map(RedirectUri::as_str).collect::<Vec<_>>());
    // A struct of texts, numbers and lists always is an object.
    let protocol = serde_json::to_value(&client.protocol).unwrap_or_default();
    let mut metadata = match protocol {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    metadata.remove("localized");
    let localized = client.protocol.localized.iter();
    metadata.extend(localized.map(|(name, text)| (name.clone(), Value::from(text.as_str()))));
    let mut set = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
    set("client_id", json!(client.client_id));
    set("client_name", json!(client.client_name));
    set("redirect_uris", uris(&client.redirect_uris));
    if !client.post_logout_redirect_uris.is_empty() {
        set("post_logout_redirect_uris", uris(&client.post_logout_redirect_uris));
    }
    set("grant_types", json!(client.grant_types));
    set("response_types", json!(client.response_types));
    set("scope", json!(client.scope));
    set("token_endpoint_auth_method", json!(client.token_endpoint_auth_method));
    set(
        "id_token_signed_response_alg",
        json!(client.id_token_signed_response_alg),
    );
    set("access_token_signing_alg", json!(client.access_token_signing_alg));
    set("application_type", json!(client.protocol.application_type));
    set("subject_type", json!(client.protocol.subject_type));
    for (name, link) in [
        ("client_uri", &client.links.client_uri),
        ("logo_uri", &client.links.logo_uri),
        ("policy_uri", &client.links.policy_uri),
        ("tos_uri", &client.links.tos_uri),
    ] {
        if let Some(link) = link {
            set(name, json!(link));
        }
    }
    metadata
}

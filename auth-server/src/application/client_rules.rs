//! Rules between the members of a client's registration: the same wherever the registration comes from.
//!
//! Each member has been read by then; here it is judged beside the others. Whoever stores a client asks first.

use oauth_wire::{AI_SCOPE, AuthorizationDetails, GrantType, JweAlg, JweEnc, RedirectUri, ResponseType, SigningAlg};
use serde_json::{Map, Value};
use url::{Origin, Url};

use crate::{
    application::{client_keyring::registration_faults, policy::Policy},
    domain::{
        ciba::DeliveryMode,
        client::Client,
        client_auth::ClientFault,
        client_protocol::{AccessTokenFormat, ApplicationType, ClientProtocol, SubjectType},
    },
};

/// Every rule that the client breaks.
pub fn faults(client: &Client, policy: &Policy) -> Vec<ClientFault> {
    let mut faults = Faults(Vec::new());
    grants(client, &mut faults);
    redirects(client, &mut faults);
    signatures(client, policy, &mut faults);
    faults.0.extend(registration_faults(client));
    encryption(&client.protocol, &mut faults);
    request_objects(&client.protocol, &mut faults);
    access_tokens(client, &mut faults);
    subjects(client, &mut faults);
    details_types(client, &mut faults);
    backchannel(client, &mut faults);
    faults.0
}

/// The same for clients that describe themselves, and what they would count on although it is not advertised: the operator may describe
/// clients of a listener that is yet to come, strangers read the metadata.
pub fn faults_of_stranger(client: &Client, policy: &Policy) -> Vec<ClientFault> {
    let mut all = Faults(Vec::new());
    let method = client.token_endpoint_auth_method;
    if !policy.client_auth.methods().contains(&method) {
        let reason = format!(
            "{} does not work here: no such certificates are asked for",
            method.as_str()
        );
        all.add("token_endpoint_auth_method", reason);
    }
    if client.protocol.tls_client_certificate_bound_access_tokens && !policy.takes_certificates {
        let reason = "does not work here: no client certificates are asked for";
        all.add("tls_client_certificate_bound_access_tokens", reason);
    }
    all.0.extend(faults(client, policy));
    all.0
}

struct Faults(Vec<ClientFault>);

impl Faults {
    fn add(&mut self, member: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.push(ClientFault { member, reason });
    }
}

/// Grants in which nothing but the client's own authentication stands between a stranger and a token.
const CONFIDENTIAL_ONLY: [GrantType; 4] = [
    GrantType::ClientCredentials,
    GrantType::TokenExchange,
    GrantType::JwtBearer,
    GrantType::Ciba,
];

fn grants(client: &Client, faults: &mut Faults) {
    if client.may_use(GrantType::AuthorizationCode) && client.redirect_uris.is_empty() {
        faults.add("redirect_uris", "authorization_code needs at least one");
    }
    if client.response_types.contains(&ResponseType::Code) != client.may_use(GrantType::AuthorizationCode) {
        // RFC 7591 §2.1: the two belong together.
        faults.add(
            "response_types",
            "\"code\" and the grant authorization_code belong together",
        );
    }
    if client.may_use(GrantType::Password) && !client.first_party {
        faults.add("grant_types", "the password grant is for first_party clients only");
    }
    for grant in CONFIDENTIAL_ONLY {
        if client.is_public() && client.may_use(grant) {
            faults.add("grant_types", format!("a public client cannot use {}", grant.as_str()));
        }
    }
    if client.is_public() && !client.require_pkce {
        faults.add("require_pkce", "a public client cannot do without PKCE");
    }
}

fn redirects(client: &Client, faults: &mut Faults) {
    let is_web = |uri: &RedirectUri| uri.as_str().starts_with("https:");
    // OpenID Connect Registration §2: who says to be on the web gets no redirects to somebody's device.
    if client.protocol.application_type == ApplicationType::Web && !client.redirect_uris.iter().all(is_web) {
        faults.add("redirect_uris", "must be https for application_type web");
    }
    // OpenID Connect Front-Channel Logout §2.
    if let Some(logout) = &client.protocol.frontchannel_logout_uri {
        let origin = |uri: &str| Url::parse(uri).ok().map(|url| url.origin()).filter(Origin::is_tuple);
        let wanted = origin(logout);
        if !client.redirect_uris.iter().any(|uri| origin(uri.as_str()) == wanted) {
            faults.add("frontchannel_logout_uri", "must have the origin of a redirect URI");
        }
        if logout.contains('#') {
            faults.add("frontchannel_logout_uri", "must not have a fragment");
        }
    }
}

/// What we sign for the client must be signed by an algorithm that we have a key for.
fn signatures(client: &Client, policy: &Policy, faults: &mut Faults) {
    let protocol = &client.protocol;
    for (member, alg) in [
        (
            "id_token_signed_response_alg",
            Some(client.id_token_signed_response_alg),
        ),
        ("access_token_signing_alg", Some(client.access_token_signing_alg)),
        ("userinfo_signed_response_alg", protocol.userinfo_signed_response_alg),
        (
            "introspection_signed_response_alg",
            protocol.introspection_signed_response_alg,
        ),
        (
            "authorization_signed_response_alg",
            protocol.authorization_signed_response_alg,
        ),
    ] {
        if alg.is_some_and(|alg| !policy.signing_algs.contains(&alg)) {
            let offered = SigningAlg::listed(&policy.signing_algs);
            faults.add(member, format!("must be {offered}"));
        }
    }
}

/// A client that must sign its requests (RFC 9101 §10.5) needs something to verify them with.
fn request_objects(protocol: &ClientProtocol, faults: &mut Faults) {
    if protocol.require_signed_request_object && protocol.jwks.is_none() && protocol.jwks_uri.is_none() {
        faults.add("require_signed_request_object", "needs jwks or jwks_uri");
    }
}

/// What we encrypt for the client needs an algorithm, and a key of the client that fits it.
fn encryption(protocol: &ClientProtocol, faults: &mut Faults) {
    for (alg_member, enc_member, (alg, enc)) in [
        (
            "id_token_encrypted_response_alg",
            "id_token_encrypted_response_enc",
            (
                protocol.id_token_encrypted_response_alg,
                protocol.id_token_encrypted_response_enc,
            ),
        ),
        (
            "userinfo_encrypted_response_alg",
            "userinfo_encrypted_response_enc",
            (
                protocol.userinfo_encrypted_response_alg,
                protocol.userinfo_encrypted_response_enc,
            ),
        ),
        (
            "introspection_encrypted_response_alg",
            "introspection_encrypted_response_enc",
            (
                protocol.introspection_encrypted_response_alg,
                protocol.introspection_encrypted_response_enc,
            ),
        ),
        (
            "authorization_encrypted_response_alg",
            "authorization_encrypted_response_enc",
            (
                protocol.authorization_encrypted_response_alg,
                protocol.authorization_encrypted_response_enc,
            ),
        ),
    ] {
        encrypted((alg_member, alg), (enc_member, enc), protocol, faults);
    }
}

fn encrypted(
    (alg_member, alg): (&'static str, Option<JweAlg>),
    (enc_member, enc): (&'static str, Option<JweEnc>),
    protocol: &ClientProtocol,
    faults: &mut Faults,
) {
    let Some(alg) = alg else {
        // OpenID Connect Registration §2, RFC 9701 §6.
        if enc.is_some() {
            faults.add(enc_member, format!("needs {alg_member}"));
        }
        return;
    };
    // Keys at a jwks_uri change; what is there is looked at when there is something to encrypt.
    if protocol.jwks_uri.is_some() {
        return;
    }
    let keys = protocol.jwks.as_ref().and_then(|jwks| jwks.get("keys")?.as_array());
    let mut keys = keys.into_iter().flatten().filter_map(Value::as_object);
    if !keys.any(|key| can_encrypt(key, alg)) {
        let reason = format!(
            "{} needs a key in jwks that can be encrypted to by it, or jwks_uri",
            alg.as_str()
        );
        faults.add(alg_member, reason);
    }
}

fn can_encrypt(key: &Map<String, Value>, alg: JweAlg) -> bool {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let is_open = |name: &str, wanted: &str| text(name).is_none_or(|own| own == wanted);
    text("kty").is_some_and(|kty| alg.fits(kty, text("crv"))) && is_open("use", "enc") && is_open("alg", alg.as_str())
}

fn access_tokens(client: &Client, faults: &mut Faults) {
    let is_opaque = client.protocol.access_token_format == AccessTokenFormat::Opaque;
    if is_opaque && client.scope.iter().any(|token| token.starts_with(AI_SCOPE)) {
        faults.add(
            "access_token_format",
            "must be \"jwt\" for a client with ai: scopes: the gateway reads JWTs only",
        );
    }
}

fn subjects(client: &Client, faults: &mut Faults) {
    let is_pairwise = client.protocol.subject_type == SubjectType::Pairwise;
    if !is_pairwise && client.protocol.sector_identifier_uri.is_none() {
        return;
    }
    if let Err(fault) = client.sector() {
        faults.add("sector_identifier_uri", fault.to_string());
    }
}

/// RFC 9396 §10.
fn details_types(client: &Client, faults: &mut Faults) {
    let known = AuthorizationDetails::TYPES;
    let mut types = client.protocol.authorization_details_types.iter();
    if types.any(|name| !known.contains(&name.as_str())) {
        let reason = format!("holds a type that is not supported; there is {}", known.join(", "));
        faults.add("authorization_details_types", reason);
    }
}

/// CIBA §4.
fn backchannel(client: &Client, faults: &mut Faults) {
    let protocol = &client.protocol;
    let mode = protocol.backchannel_token_delivery_mode.as_deref();
    let known = DeliveryMode::ALL.iter().map(|mode| mode.as_str()).collect::<Vec<_>>();
    let is_used = client.may_use(GrantType::Ciba);
    match (mode, is_used) {
        (None, true) => faults.add(
            "backchannel_token_delivery_mode",
            format!("is needed for {}: {}", GrantType::Ciba.as_str(), known.join(" or ")),
        ),
        (Some(mode), _) if DeliveryMode::from_wire(mode).is_none() => faults.add(
            "backchannel_token_delivery_mode",
            format!("is not supported; there is {}", known.join(" and ")),
        ),
        (Some(_), false) => faults.add(
            "backchannel_token_delivery_mode",
            format!("needs the grant {}", GrantType::Ciba.as_str()),
        ),
        (None, false) | (Some(_), true) => {}
    }
    for (member, asked) in [
        (
            "backchannel_authentication_request_signing_alg",
            protocol.backchannel_authentication_request_signing_alg.is_some(),
        ),
        (
            "backchannel_user_code_parameter",
            protocol.backchannel_user_code_parameter,
        ),
    ] {
        if asked {
            // What a client would count on and this version does not do is refused, never passed over.
            faults.add(member, "is not supported by this version");
        }
    }
    let endpoint = protocol.backchannel_client_notification_endpoint.as_deref();
    match (client.delivery_mode() == Some(DeliveryMode::Ping), endpoint) {
        (true, None) => faults.add(
            "backchannel_client_notification_endpoint",
            "is needed for backchannel_token_delivery_mode ping",
        ),
        (false, Some(_)) => faults.add(
            "backchannel_client_notification_endpoint",
            "needs backchannel_token_delivery_mode ping",
        ),
        (true, Some(_)) | (false, None) => {}
    }
}

#[cfg(test)]
mod tests;

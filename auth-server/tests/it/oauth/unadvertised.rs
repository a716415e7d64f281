//! The mirror of [`super::metadata`]: what is not advertised does not work. The values come from the registries of IANA and of OpenID
//! Connect, so that one that somebody adds to a table, and not to the metadata, is found here.

use std::collections::BTreeSet;

use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use test_kit::TestKey;

use super::{bad_input::Table, register};
use crate::app::{ALICE, ISSUER, OWN, RESOURCE_SERVER, Reply, SERVICE, SPA, TestApp, WEB, fields};

/// Lists of the metadata by which clients choose what to register, and the members of a registration that take one of their values.
struct Choice {
    list: &'static str,
    registry: &'static [&'static str],
    member: &'static str,
    /// The member is a list itself.
    is_list: bool,
    /// What else such a registration needs to be a good one.
    beside: fn(&str) -> Value,
}

/// IANA "JSON Web Signature and Encryption Algorithms", for signatures, and words that libraries have for others.
const SIGNATURES: &[&str] = &[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "ES256K",
    "EdDSA",
    "Ed25519",
    "Ed448",
    "ML-DSA-44",
    "ML-DSA-65",
    "ML-DSA-87",
    "ESB256",
    "none",
    "None",
    "RS1",
    "MD5",
];
/// The same for keys.
const KEY_MANAGEMENT: &[&str] = &[
    "RSA1_5",
    "RSA-OAEP",
    "RSA-OAEP-256",
    "RSA-OAEP-384",
    "RSA-OAEP-512",
    "A128KW",
    "A192KW",
    "A256KW",
    "dir",
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A192KW",
    "ECDH-ES+A256KW",
    "A128GCMKW",
    "A192GCMKW",
    "A256GCMKW",
    "PBES2-HS256+A128KW",
    "PBES2-HS384+A192KW",
    "PBES2-HS512+A256KW",
    "HPKE-0",
    "none",
];
/// The same for contents.
const CONTENTS: &[&str] = &[
    "A128CBC-HS256",
    "A192CBC-HS384",
    "A256CBC-HS512",
    "A128GCM",
    "A192GCM",
    "A256GCM",
    "A128CBC",
    "XC20P",
    "none",
];
/// IANA "OAuth Authorization Endpoint Response Types".
const RESPONSE_TYPES: &[&str] = &[
    "code",
    "token",
    "id_token",
    "none",
    "code token",
    "code id_token",
    "id_token token",
    "code id_token token",
    "vp_token",
];
/// IANA "OAuth Token Endpoint Authentication Methods", and drafts.
const METHODS: &[&str] = &[
    "none",
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "attest_jwt_client_auth",
    "client_secret_digest",
    "client_x509",
    "spiffe_jwt",
];
const GRANTS: &[&str] = &[
    "authorization_code",
    "implicit",
    "password",
    "client_credentials",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:uma-ticket",
    "urn:ietf:params:oauth:grant-type:pre-authorized_code",
    "urn:openid:params:grant-type:ciba",
];
const DETAILS: &[&str] = &[
    "ai_call",
    "payment_initiation",
    "account_information",
    "openid_credential",
    "sign_document",
];

/// A registration of a client that can be encrypted to, whatever the algorithm.
fn readable(_: &str) -> Value {
    let (rsa, ec) = (TestKey::new(SigningAlg::Rs256), TestKey::new(SigningAlg::Es256));
    let keys = [
        rsa.public_with(json!({"use": "enc"})),
        ec.public_with(json!({"use": "enc"})),
    ];
    json!({"jwks": {"keys": keys}})
}

fn encrypted(member: &'static str) -> impl Fn(&str) -> Value {
    move |_| {
        let mut beside = readable("");
        beside[member] = "RSA-OAEP".into();
        beside
    }
}

fn alone(_: &str) -> Value {
    json!({})
}

const fn choice(list: &'static str, registry: &'static [&'static str], member: &'static str) -> Choice {
    Choice {
        list,
        registry,
        member,
        is_list: false,
        beside: alone,
    }
}

const fn keyed(
    list: &'static str,
    registry: &'static [&'static str],
    member: &'static str,
    beside: fn(&str) -> Value,
) -> Choice {
    Choice {
        list,
        registry,
        member,
        is_list: false,
        beside,
    }
}

const fn several(list: &'static str, registry: &'static [&'static str], member: &'static str) -> Choice {
    Choice {
        is_list: true,
        ..choice(list, registry, member)
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn choices() -> Vec<Choice> {
    vec![
        several("response_types_supported", RESPONSE_TYPES, "response_types"),
        several("grant_types_supported", GRANTS, "grant_types"),
        choice(
            "token_endpoint_auth_methods_supported",
            METHODS,
            "token_endpoint_auth_method",
        ),
        choice(
            "subject_types_supported",
            &["public", "pairwise", "ephemeral", "transient"],
            "subject_type",
        ),
        choice(
            "id_token_signing_alg_values_supported",
            SIGNATURES,
            "id_token_signed_response_alg",
        ),
        choice(
            "userinfo_signing_alg_values_supported",
            SIGNATURES,
            "userinfo_signed_response_alg",
        ),
        choice(
            "introspection_signing_alg_values_supported",
            SIGNATURES,
            "introspection_signed_response_alg",
        ),
        choice(
            "authorization_signing_alg_values_supported",
            SIGNATURES,
            "authorization_signed_response_alg",
        ),
        choice(
            "request_object_signing_alg_values_supported",
            SIGNATURES,
            "request_object_signing_alg",
        ),
        choice(
            "token_endpoint_auth_signing_alg_values_supported",
            SIGNATURES,
            "token_endpoint_auth_signing_alg",
        ),
        choice(
            "backchannel_authentication_request_signing_alg_values_supported",
            SIGNATURES,
            "backchannel_authentication_request_signing_alg",
        ),
        keyed(
            "id_token_encryption_alg_values_supported",
            KEY_MANAGEMENT,
            "id_token_encrypted_response_alg",
            readable,
        ),
        keyed(
            "userinfo_encryption_alg_values_supported",
            KEY_MANAGEMENT,
            "userinfo_encrypted_response_alg",
            readable,
        ),
        keyed(
            "introspection_encryption_alg_values_supported",
            KEY_MANAGEMENT,
            "introspection_encrypted_response_alg",
            readable,
        ),
        keyed(
            "authorization_encryption_alg_values_supported",
            KEY_MANAGEMENT,
            "authorization_encrypted_response_alg",
            readable,
        ),
        keyed(
            "id_token_encryption_enc_values_supported",
            CONTENTS,
            "id_token_encrypted_response_enc",
            |_| encrypted("id_token_encrypted_response_alg")(""),
        ),
        keyed(
            "userinfo_encryption_enc_values_supported",
            CONTENTS,
            "userinfo_encrypted_response_enc",
            |_| encrypted("userinfo_encrypted_response_alg")(""),
        ),
        keyed(
            "introspection_encryption_enc_values_supported",
            CONTENTS,
            "introspection_encrypted_response_enc",
            |_| encrypted("introspection_encrypted_response_alg")(""),
        ),
        keyed(
            "authorization_encryption_enc_values_supported",
            CONTENTS,
            "authorization_encrypted_response_enc",
            |_| encrypted("authorization_encrypted_response_alg")(""),
        ),
        several(
            "authorization_details_types_supported",
            DETAILS,
            "authorization_details_types",
        ),
        choice(
            "backchannel_token_delivery_modes_supported",
            &["poll", "ping", "push"],
            "backchannel_token_delivery_mode",
        ),
    ]
}

/// What the metadata lists under that name; nothing under a name that it lacks.
fn advertised(metadata: &Value, list: &str) -> BTreeSet<String> {
    serde_json::from_value(metadata[list].clone()).unwrap_or_default()
}

/// Of a registry, what is not advertised.
fn rest<'a>(metadata: &Value, list: &str, registry: &'a [&'a str]) -> Vec<&'a str> {
    let known = advertised(metadata, list);
    let rest: Vec<&str> = registry.iter().copied().filter(|one| !known.contains(*one)).collect();
    assert!(
        !rest.is_empty() || list == "backchannel_token_delivery_modes_supported",
        "{list} holds all that there is"
    );
    rest
}

/// A registration is refused, and for that member's sake.
fn refused_for(reply: &Reply, member: &str) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let told = body["error_description"].as_str().unwrap_or_default();
    match reply.status == 400 && body["error"] == "invalid_client_metadata" && told.contains(member) {
        true => Ok(()),
        false => Err(format!("{} {body}", reply.status)),
    }
}

#[tokio::test]
async fn nobody_registers_what_is_not_advertised() {
    let app = register::open().start().await;
    let metadata = app.metadata().await;
    let mut table = Table::open();
    for choice in choices() {
        for value in rest(&metadata, choice.list, choice.registry) {
            let mut body = (choice.beside)(value);
            body["redirect_uris"] = json!(["https://app.example/cb"]);
            body[choice.member] = match choice.is_list {
                true => json!([value]),
                false => json!(value),
            };
            let reply = register::register(&app, &body).await;
            table.note("register", choice.member, value, refused_for(&reply, choice.member));
        }
    }
    // What needs a certificate that nobody asks for here.
    if metadata["tls_client_certificate_bound_access_tokens"] != true {
        let member = "tls_client_certificate_bound_access_tokens";
        let reply = register::register(&app, &register::with(member, json!(true))).await;
        table.note("register", member, "true", refused_for(&reply, member));
    }
    table.expect_none();
}

/// Parameters of the authorization endpoint that take a value of a list.
const ASKED: &[(&str, &str, &[&str], &str)] = &[
    (
        "response_types_supported",
        "response_type",
        RESPONSE_TYPES,
        "unsupported_response_type",
    ),
    (
        "response_modes_supported",
        "response_mode",
        &[
            "query",
            "fragment",
            "form_post",
            "jwt",
            "query.jwt",
            "fragment.jwt",
            "form_post.jwt",
            "web_message",
            "direct_post",
            "dc_api",
        ],
        "invalid_request",
    ),
    (
        "code_challenge_methods_supported",
        "code_challenge_method",
        &["plain", "S256", "S384", "S512", "s256", "SHA-256", "none"],
        "invalid_request",
    ),
    (
        "prompt_values_supported",
        "prompt",
        &["none", "login", "consent", "select_account", "create", "enrol", "Login"],
        "invalid_request",
    ),
    (
        "display_values_supported",
        "display",
        &["page", "popup", "touch", "wap", "fullscreen", "Page"],
        "invalid_request",
    ),
    (
        "scopes_supported",
        "scope",
        &[
            "openid",
            "online_access",
            "uma_protection",
            "groups",
            "device_sso",
            "*",
            "user",
            "read:user",
            "AI:CHAT",
        ],
        "invalid_scope",
    ),
];

#[tokio::test]
async fn no_request_gets_what_is_not_advertised() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let mut table = Table::open();
    let mut browser = app.signed_in(ALICE).await;
    for (list, parameter, registry, error) in ASKED {
        let rest: Vec<&str> = match *list {
            "display_values_supported" | "prompt_values_supported" => {
                let known = advertised(&metadata, list);
                registry.iter().copied().filter(|one| !known.contains(*one)).collect()
            }
            _ => rest(&metadata, list, registry),
        };
        for value in rest {
            let reply = browser.get(&OWN.ask().with(parameter, value).path()).await;
            let location = reply.header("location").unwrap_or_default().to_owned();
            let is_refused = location.starts_with(OWN.redirect_uri) && location.contains(&format!("error={error}&"));
            table.note(
                "authorize",
                parameter,
                value,
                match is_refused {
                    true => Ok(()),
                    false => Err(format!("{} {location}", reply.status)),
                },
            );
        }
    }
    for kind in rest(&metadata, "authorization_details_types_supported", DETAILS) {
        let details = json!([{"type": kind, "interfaces": ["chat"]}]).to_string();
        let reply = browser
            .get(&OWN.ask().with("authorization_details", &details).path())
            .await;
        reply.expect_error_answer("invalid_authorization_details");
    }
    let classes = [
        "0",
        "2",
        "phr",
        "phrh",
        "urn:mace:incommon:iap:silver",
        "urn:openbanking:psd2:sca",
    ];
    for class in rest(&metadata, "acr_values_supported", &classes) {
        let claims = json!({"id_token": {"acr": {"essential": true, "value": class}}}).to_string();
        let reply = browser.get(&OWN.ask().with("claims", &claims).path()).await;
        reply.expect_error_answer("unmet_authentication_requirements");
    }
    table.expect_none();
}

#[tokio::test]
async fn no_grant_is_served_and_no_client_believed_by_what_is_not_advertised() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    for grant in rest(&metadata, "grant_types_supported", GRANTS) {
        let form = fields([
            ("grant_type", grant),
            ("assertion", "x"),
            ("ticket", "x"),
            ("scope", "ai:chat"),
        ]);
        app.token(SERVICE, &form)
            .await
            .expect_oauth_error(400, "unsupported_grant_type");
    }
    // Whatever a client calls its assertion.
    for kind in [
        "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        "urn:ietf:params:oauth:client-assertion-type:jwt-client-attestation",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        "jwt-bearer",
    ] {
        let form = fields([
            ("token", "x"),
            ("client_assertion_type", kind),
            ("client_assertion", "x.y.z"),
        ]);
        for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par"] {
            let reply = app.call(Method::POST, path).form(&form).send().await;
            reply.expect_oauth_error(401, "invalid_client");
        }
    }
    // RFC 7662 §2.1: `none` is not among the methods of introspection, and where no certificates are asked for those are no proof.
    assert!(!advertised(&metadata, "introspection_endpoint_auth_methods_supported").contains("none"));
    let form = fields([("client_id", SPA.id), ("token", "x")]);
    let reply = app.call(Method::POST, "/oauth2/introspect").form(&form).send().await;
    reply.expect_oauth_error(401, "invalid_client");
}

/// Really signed by a key of that algorithm, so that nothing but the list stands against it.
#[tokio::test]
async fn no_proof_is_taken_by_an_algorithm_that_is_not_advertised() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let known = advertised(&metadata, "dpop_signing_alg_values_supported");
    let mut tried = 0;
    for alg in SigningAlg::ALL.iter().filter(|alg| !known.contains(alg.as_str())) {
        let claims =
            json!({"jti": alg.as_str(), "htm": "POST", "htu": format!("{ISSUER}/oauth2/token"), "iat": app.now()});
        let proof = TestKey::new(*alg).proof(&claims);
        let call = app
            .call(Method::POST, "/oauth2/token")
            .basic(SERVICE.id, SERVICE.secret.unwrap());
        let form = fields([("grant_type", "client_credentials")]);
        let reply = call.header("dpop", &proof).form(&form).send().await;
        reply.expect_oauth_error(400, "invalid_dpop_proof");
        tried += 1;
    }
    assert!(tried > 0);
}

/// Claims of IANA's "JSON Web Token Claims" that are about people, and what else tokens could let slip.
const CLAIMS: &[&str] = &[
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "updated_at",
    "roles",
    "groups",
    "entitlements",
    "place_of_birth",
    "nationalities",
    "birth_family_name",
    "salutation",
    "title",
    "msisdn",
    "also_known_as",
    "verified_claims",
    "password",
    "password_hash",
    "username",
    "tenant",
    "org",
    "status",
    "_claim_names",
    "_claim_sources",
    "sub_jwk",
    "cnf",
    "act",
    "may_act",
];

#[tokio::test]
async fn no_claim_is_told_that_is_not_advertised_however_it_is_asked_for() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let known = advertised(&metadata, "claims_supported");
    let asked: serde_json::Map<String, Value> = CLAIMS
        .iter()
        .map(|name| ((*name).to_owned(), json!({"essential": true})))
        .collect();
    let claims = json!({"userinfo": asked, "id_token": asked}).to_string();
    let ask = WEB
        .ask()
        .with("scope", "openid profile email phone address")
        .with("claims", &claims);
    let tokens = app.tokens_for(ALICE, &ask).await;
    let in_token: BTreeSet<String> = app.claims(&tokens.id_token).await.keys().cloned().collect();
    let told = app.userinfo(&tokens).await.expect_json(200);
    let at_userinfo: BTreeSet<String> = told.as_object().unwrap().keys().cloned().collect();
    assert!(
        in_token.contains("name") && at_userinfo.contains("name"),
        "it was asked for"
    );
    let slipped: Vec<&String> = in_token
        .union(&at_userinfo)
        .filter(|name| !known.contains(*name))
        .collect();
    assert!(slipped.is_empty(), "{slipped:?}");
}

/// RFC 7009 §2.1, RFC 7662 §2.1: a hint is a hint, whichever; what no endpoint takes stays what it is.
#[tokio::test]
async fn a_hint_makes_no_token_of_what_is_none() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for hint in [
        "id_token",
        "pct",
        "device_code",
        "authorization_code",
        "request_uri",
        "access_token",
        "refresh_token",
    ] {
        let form = fields([("token", &tokens.id_token), ("token_type_hint", hint)]);
        app.as_client(WEB, "/oauth2/revoke", &form).await.expect_status(200);
        let told = app.as_client(RESOURCE_SERVER, "/oauth2/introspect", &form).await;
        assert_eq!(told.expect_json(200), json!({"active": false}), "{hint}");
    }
    app.userinfo(&tokens).await.expect_status(200);
}

/// Addresses that are in no metadata, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("/.well-known/", "leads to the metadata itself"),
    (
        "/connect/register/{client_id}",
        "each client is told its own (RFC 7592 §3)",
    ),
    (
        "/events/poll",
        "between this provider and its gateways (docs/events.md)",
    ),
    ("/client-logo/{client_id}", "a picture on the pages"),
    ("/assets/", "style of the pages"),
];
/// Pages are found by being sent there.
const PAGES: &str = include_str!("../../../src/adapters/http/pages/mod.rs");
const ROUTER: &str = include_str!("../../../src/adapters/http/router.rs");

/// What stands in quotes as the first argument of `.route(`, and constants that stand for an address.
fn routes(source: &str) -> Vec<String> {
    let arguments = source.split(".route(").skip(1).map(str::trim_start);
    let named = arguments.filter_map(|argument| match argument.strip_prefix('"') {
        Some(text) => text.split('"').next().map(str::to_owned),
        None if argument.starts_with("TOKEN_PATH") => Some("/oauth2/token".to_owned()),
        None if argument.starts_with("BACKCHANNEL_PATH") => Some(crate::app::BACKCHANNEL.to_owned()),
        // Of an issuer with a path: the forms of its metadata's address.
        None if argument.starts_with("&format!(\"/.well-known/") => None,
        None => Some(format!(
            "a route that this test cannot read: {}",
            argument.split('\n').next().unwrap_or_default()
        )),
    });
    named.collect()
}

#[tokio::test]
async fn every_address_of_the_protocol_is_in_the_metadata_or_has_a_reason_not_to_be() {
    let app = register::open().start().await;
    let metadata = app.metadata().await;
    let told: BTreeSet<&str> = metadata
        .as_object()
        .unwrap()
        .values()
        .filter_map(|value| value.as_str()?.strip_prefix(ISSUER))
        .collect();
    let found = routes(ROUTER);
    assert!(found.len() > 12, "{found:?}");
    for route in &found {
        let has_reason = ELSEWHERE.iter().any(|(start, _)| route.starts_with(start));
        assert!(
            told.contains(route.as_str()) || has_reason,
            "{route} is neither advertised nor excused"
        );
    }
    // Nothing of the protocol hides among the pages.
    let pages = routes(PAGES);
    assert!(pages.len() > 10, "{pages:?}");
    for page in &pages {
        let is_protocol = ["/oauth2", "/connect", "/.well-known", "/userinfo"]
            .iter()
            .any(|start| page.starts_with(start));
        assert!(!is_protocol || told.contains(page.as_str()), "{page}");
    }
    for (start, _) in ELSEWHERE.iter().filter(|(start, _)| *start != "/assets/") {
        assert!(
            found.iter().any(|route| route.starts_with(start)),
            "{start} is excused and does not exist"
        );
    }
}

/// The other lists, which no registration chooses from: what is in them is proven by [`super::metadata`], what is not by one of the tests above.
#[tokio::test]
async fn every_list_of_the_metadata_has_its_mirror_here() {
    let app = register::open().start().await;
    let metadata = app.metadata().await;
    let mut mirrored: BTreeSet<&str> = choices().iter().map(|choice| choice.list).collect();
    mirrored.extend(ASKED.iter().map(|(list, ..)| *list));
    mirrored.extend([
        "acr_values_supported",
        "claims_supported",
        "dpop_signing_alg_values_supported",
        "introspection_endpoint_auth_methods_supported",
    ]);
    // The same as at the token endpoint (RFC 8414 §2), or free of choice.
    mirrored.extend([
        "revocation_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_signing_alg_values_supported",
        "introspection_endpoint_auth_signing_alg_values_supported",
        "claim_types_supported",
        "ui_locales_supported",
    ]);
    for (name, value) in metadata.as_object().unwrap() {
        assert!(
            !value.is_array() || mirrored.contains(name.as_str()),
            "{name} has no mirror"
        );
    }
}

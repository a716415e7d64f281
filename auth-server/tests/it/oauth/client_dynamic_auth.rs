//! How clients authenticate that have registered themselves: as OpenID Connect Core §9 tells them, which is not always as FAPI does.

use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use test_kit::{TestKey, with};

use super::register::{open, registered, test_client};
use crate::app::{ALICE, By, Reply, Signatory, TestApp, fields, proof, refresh_form, under_mac};

const URI: &str = "https://app.example/cb";
const JWKS: &str = "https://app.example/jwks.json";

fn metadata(more: Value) -> Value {
    let usual = json!({
        "redirect_uris": [URI], "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "private_key_jwt", "scope": "openid profile offline_access",
    });
    with(&usual, more)
}

fn key_set(key: &TestKey, kid: Option<&str>) -> Value {
    json!({"keys": [key.public_with(json!({ "kid": kid }))]})
}

/// A revocation of nothing: it is told nothing but whether the client has authenticated.
async fn try_proof(app: &TestApp, assertion: &str) -> Reply {
    let form = fields([("token", "x")]).plus(&proof(assertion));
    app.call(http::Method::POST, "/oauth2/revoke").form(&form).send().await
}

fn leaked(value: &Value) -> &'static str {
    Box::leak(value.as_str().unwrap().to_owned().into_boxed_str())
}

/// The module `oidcc-refresh-token-rp-key-rotation` of the conformance suite: a key by `jwks_uri`, changed between code and refresh; the
/// audience is the token endpoint, as that suite has it.
#[tokio::test]
async fn a_registered_application_rotates_its_key_between_code_and_refresh() {
    let app = open().start().await;
    let (first, second) = (TestKey::new(SigningAlg::Rs256), TestKey::new(SigningAlg::Rs256));
    app.hosts.put_json(JWKS, &key_set(&first, Some("one")));
    let client = registered(&app, &metadata(json!({"jwks_uri": JWKS}))).await;
    assert_eq!(client.get("client_secret"), None);
    let test_client = test_client(&client);
    let ask = test_client
        .ask()
        .with("scope", "openid profile offline_access")
        .with("prompt", "consent");
    let code = app.browser().consented_code(ALICE, &ask).await;
    let endpoint = format!("{}/oauth2/token", app.issuer);
    let signed = |key: &TestKey, kid: &str, jti: &str| {
        let now = app.now();
        let claims = json!({
            "iss": test_client.id, "sub": test_client.id, "aud": endpoint, "jti": jti,
            "iat": now, "nbf": now, "exp": now + 60,
        });
        proof(&key.sign(json!({"kid": kid}), &claims))
    };
    let call = app.call(http::Method::POST, "/oauth2/token");
    let form = code.form().plus(&signed(&first, "one", "a"));
    let tokens = call.form(&form).send().await.expect_tokens();
    app.hosts.put_json(JWKS, &key_set(&second, Some("two")));
    app.advance(60);
    let call = app.call(http::Method::POST, "/oauth2/token");
    let form = refresh_form(&tokens.refresh_token).plus(&signed(&second, "two", "b"));
    call.form(&form).send().await.expect_tokens();
    assert_eq!(app.hosts.times(JWKS), 2);
}

#[tokio::test]
async fn keys_without_kid_in_the_registration_are_found_by_trying() {
    let app = open().start().await;
    let key = TestKey::new(SigningAlg::Rs256);
    let client = registered(&app, &metadata(json!({"jwks": key_set(&key, None)}))).await;
    let id = leaked(&client["client_id"]);
    let signatory = Signatory { id, by: By::Key(key) };
    let claims = signatory.claims(&app).to_string();
    let assertion = signatory.sign(&json!({"alg": "RS256"}).to_string(), &claims);
    try_proof(&app, &assertion).await.expect_status(200);
}

#[tokio::test]
async fn the_token_endpoint_is_an_audience_for_strangers_unless_they_keep_fapis_rules() {
    // With somebody who hands over certificates.
    let app = open()
        .config(|config| {
            config.mtls.proxy_header = Some("client-cert".into());
            config.mtls.trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
        })
        .start()
        .await;
    for (more, is_lenient) in [
        (json!({}), true),
        (json!({"client_assertion_audience": "issuer"}), false),
        (json!({"dpop_bound_access_tokens": true}), false),
        (json!({"tls_client_certificate_bound_access_tokens": true}), false),
        (json!({"security_profile": "fapi2"}), false),
        (
            json!({"dpop_bound_access_tokens": true, "client_assertion_audience": "token_endpoint"}),
            false,
        ),
    ] {
        let key = TestKey::new(SigningAlg::Es256);
        let keys = json!({"jwks": key_set(&key, Some("k1"))});
        let client = registered(&app, &metadata(with(&keys, more.clone()))).await;
        let id = leaked(&client["client_id"]);
        let signatory = Signatory { id, by: By::Key(key) };
        let endpoint = json!({"aud": format!("{}/oauth2/token", app.issuer)});
        try_proof(&app, &signatory.assertion(&app)).await.expect_status(200);
        let reply = try_proof(&app, &signatory.assertion_with(&app, endpoint)).await;
        assert_eq!(
            reply.status,
            if is_lenient { 200 } else { 401 },
            "{more}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn a_fapi_registration_is_told_what_the_profile_implies() {
    let app = open().start().await;
    let key = TestKey::new(SigningAlg::Ps256);
    let keys = json!({"jwks": key_set(&key, Some("k1")), "security_profile": "fapi2"});
    let client = registered(&app, &metadata(keys.clone())).await;
    assert_eq!(client["require_pushed_authorization_requests"], true);
    assert_eq!(client["dpop_bound_access_tokens"], true);
    assert_eq!(client["id_token_signed_response_alg"], "PS256");
    for against in [
        json!({"token_endpoint_auth_method": "client_secret_basic", "jwks": null}),
        json!({"id_token_signed_response_alg": "RS256"}),
        json!({"client_assertion_audience": "token_endpoint"}),
        json!({"security_profile": "fapi3"}),
    ] {
        let reply = super::register::register(&app, &metadata(with(&keys, against.clone()))).await;
        let refused = reply.expect_json(400);
        assert_eq!(refused["error"], "invalid_client_metadata", "{against}");
    }
}

#[tokio::test]
async fn a_secret_of_ours_serves_as_a_key_for_every_mac_and_changes_with_the_method() {
    let app = open().start().await;
    let client = registered(
        &app,
        &metadata(json!({"token_endpoint_auth_method": "client_secret_jwt"})),
    )
    .await;
    let secret = client["client_secret"].as_str().unwrap().to_owned();
    assert!(secret.len() >= 64, "{}", secret.len());
    let id = leaked(&client["client_id"]);
    let by_mac = |secret: &str| {
        let signatory = Signatory {
            id,
            by: By::Secret("-"),
        };
        let claims = signatory.claims(&app).to_string();
        under_mac(secret.as_bytes(), &json!({"alg": "HS256"}).to_string(), &claims)
    };
    try_proof(&app, &by_mac(&secret)).await.expect_status(200);
    // RFC 7592 §2.2: from a method that sends the secret to one that keys with it, the secret is another, since ours was only a hash.
    let (uri, token) = (&client["registration_client_uri"], &client["registration_access_token"]);
    let path = uri.as_str().unwrap().strip_prefix(&app.issuer).unwrap();
    let mut token = token.as_str().unwrap().to_owned();
    for (method, changes) in [
        ("client_secret_jwt", false),
        ("client_secret_basic", true),
        ("client_secret_post", false),
        ("client_secret_jwt", true),
    ] {
        let renewed = metadata(json!({"token_endpoint_auth_method": method, "client_id": id}));
        let call = app.call(http::Method::PUT, path).bearer(&token);
        let answer = call.json(&renewed).send().await.expect_json(200);
        assert_eq!(answer.get("client_secret").is_some(), changes, "{method}");
        if let Some(fresh) = answer.get("registration_access_token").and_then(Value::as_str) {
            fresh.clone_into(&mut token);
        }
        app.sync().await;
        if method == "client_secret_jwt" && changes {
            let fresh = answer["client_secret"].as_str().unwrap();
            try_proof(&app, &by_mac(fresh)).await.expect_status(200);
            let old = try_proof(&app, &by_mac(&secret)).await;
            old.expect_oauth_error(401, "invalid_client");
        }
    }
}

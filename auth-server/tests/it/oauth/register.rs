//! Registration of clients (RFC 7591, OpenID Connect Registration).

use std::time::Duration;

use auth_server::{
    application::register::operate::InitialTokens, config::RegistrationModeSetting as Mode, domain::ids::TenantId,
};
use futures_util::future::join_all;
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::app::{ALICE, Builder, ISSUER, Reply, TestApp, TestClient};

const URI: &str = "https://app.example/cb";

/// A provider where anybody may register.
pub(super) fn open() -> Builder {
    TestApp::builder().config(|config| config.registration.mode = Mode::Open)
}

pub(super) async fn register(app: &TestApp, metadata: &Value) -> Reply {
    app.call(Method::POST, "/connect/register").json(metadata).send().await
}

/// A successful registration: 201, kept by nobody (RFC 7591 §3.2.1).
pub(super) async fn registered(app: &TestApp, metadata: &Value) -> Value {
    let reply = register(app, metadata).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{}", reply.text());
    reply.expect_json(201)
}

/// The usual metadata with one member replaced.
pub(super) fn with(name: &str, value: Value) -> Value {
    let mut metadata = json!({"redirect_uris": [URI]});
    metadata[name] = value;
    metadata
}

/// The client as the other helpers of these tests know clients.
pub(super) fn test_client(registered: &Value) -> TestClient {
    let leak = |value: &Value| -> &'static str { Box::leak(value.as_str().unwrap().to_owned().into_boxed_str()) };
    TestClient {
        id: leak(&registered["client_id"]),
        secret: registered.get("client_secret").map(leak),
        redirect_uri: leak(&registered["redirect_uris"][0]),
        scope: "openid profile",
    }
}

fn tokens(app: &TestApp) -> InitialTokens {
    app.foundation().initial_tokens().unwrap()
}

async fn initial_token(app: &TestApp, tenant: &str, uses: u32, seconds: u64) -> String {
    let ttl = Duration::from_secs(seconds);
    let (_, secret) = tokens(app).create(&TenantId::new(tenant), uses, ttl).await.unwrap();
    secret.expose_secret().to_owned()
}

async fn register_by(app: &TestApp, token: &str) -> Reply {
    let call = app.call(Method::POST, "/connect/register").bearer(token);
    call.json(&json!({"redirect_uris": [URI]})).send().await
}

#[tokio::test]
async fn a_client_that_names_its_redirect_uri_alone_gets_everything_it_needs() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    assert_eq!(client["client_id_issued_at"], app.now());
    assert_eq!(client["client_secret_expires_at"], 0);
    assert_eq!(client["redirect_uris"], json!([URI]));
    assert_eq!(client["client_name"], "app.example");
    // RFC 7591 §2, OpenID Connect Registration §2: the defaults that apply are told.
    for (name, value) in [
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("grant_types", json!(["authorization_code"])),
        ("response_types", json!(["code"])),
        ("application_type", json!("web")),
        ("subject_type", json!("public")),
        ("id_token_signed_response_alg", json!("RS256")),
    ] {
        assert_eq!(client[name], value, "{name}");
    }
    // The default scope is the operator's, not the client's: it gets it, and has not registered it.
    assert_eq!(client["scope"], Value::Null);
    // Raw and form-encoded Basic credentials coincide.
    for name in ["client_id", "client_secret", "registration_access_token"] {
        let text = client[name].as_str().unwrap();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        assert!(!text.is_empty() && text.chars().all(plain), "{name}: {text}");
    }
    let id = client["client_id"].as_str().unwrap();
    assert_eq!(
        client["registration_client_uri"],
        format!("{ISSUER}/connect/register/{id}")
    );
}

#[tokio::test]
async fn a_registered_client_signs_people_in_with_their_consent() {
    let app = open().start().await;
    let metadata = json!({"redirect_uris": [URI], "grant_types": ["authorization_code", "refresh_token"]});
    let client = test_client(&registered(&app, &metadata).await);
    // `consented_code` agrees on a consent page and fails where there is none.
    let tokens = app.tokens(ALICE, client).await;
    app.userinfo(&tokens).await.expect_status(200);
    app.refresh(client, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn a_public_client_gets_no_secret_and_needs_pkce_whatever_the_setting() {
    let app = open()
        .config(|config| config.registration.require_pkce = false)
        .start()
        .await;
    let metadata = with("token_endpoint_auth_method", json!("none"));
    let client = registered(&app, &metadata).await;
    for name in ["client_secret", "client_secret_expires_at"] {
        assert!(client.get(name).is_none(), "{name}");
    }
    let client = test_client(&client);
    let ask = client.ask().without("code_challenge").without("code_challenge_method");
    app.get(&ask.path()).await.expect_error_answer("invalid_request");
    app.tokens(ALICE, client).await;
}

#[tokio::test]
async fn pkce_is_asked_of_confidential_clients_unless_the_operator_says_otherwise() {
    for required in [true, false] {
        let app = open()
            .config(|config| config.registration.require_pkce = required)
            .start()
            .await;
        let client = test_client(&registered(&app, &json!({"redirect_uris": [URI]})).await);
        let ask = client.ask().without("code_challenge").without("code_challenge_method");
        let reply = app.get(&ask.path()).await;
        match required {
            true => drop(reply.expect_error_answer("invalid_request")),
            false => reply.expect_redirect_to("/login"),
        }
    }
}

/// Something in every member that needs nothing else.
fn full() -> Value {
    json!({
        "redirect_uris": [URI, "https://app.example/second?tenant=1"],
        "post_logout_redirect_uris": ["https://app.example/bye"],
        "client_name": "Application",
        "client_name#de": "Anwendung",
        "client_name#zh-Hans": "应用",
        "tos_uri#de": "https://app.example/agb",
        "client_uri": "https://app.example/",
        "logo_uri": "https://app.example/logo.png",
        "policy_uri": "https://app.example/policy",
        "tos_uri": "https://app.example/tos",
        "initiate_login_uri": "https://app.example/start",
        "contacts": ["ops@app.example"],
        "default_max_age": 60,
        "require_auth_time": true,
        "software_id": "4NRB1-0XZABZI9E6-5SM3R",
        "software_version": "2.1",
        "jwks_uri": "https://app.example/jwks",
        "backchannel_logout_uri": "https://app.example/out",
        "backchannel_logout_session_required": true,
        "frontchannel_logout_uri": "https://app.example/front",
        "id_token_signed_response_alg": "ES256",
        "application_type": "web",
    })
}

#[tokio::test]
async fn everything_that_is_registered_is_told_back() {
    let app = open().start().await;
    let metadata = full();
    let client = registered(&app, &metadata).await;
    for (name, value) in metadata.as_object().unwrap() {
        assert_eq!(&client[name], value, "{name}");
    }
}

#[tokio::test]
async fn members_that_are_unknown_empty_or_the_operators_own_are_passed_over() {
    let app = open().start().await;
    let metadata = json!({
        "redirect_uris": [URI],
        "example_extension_parameter": "example_value",
        "client_name": "",
        "logo_uri": null,
        "client_id": "chosen",
        "client_secret": "chosen",
        "registration_access_token": "chosen",
        "tenant": "other",
        "first_party": true,
        "auto_approve": true,
        "require_pkce": false,
        "permissions": ["token:introspect"],
        "ai_interfaces": [],
        "enabled": false,
        "access_token_ttl": 1,
        "localized": {"client_name#de": "x"},
        "client_name#": "x",
    });
    let client = registered(&app, &metadata).await;
    for name in ["client_id", "client_secret", "registration_access_token"] {
        assert_ne!(client[name], "chosen", "{name}");
    }
    for name in [
        "example_extension_parameter",
        "logo_uri",
        "tenant",
        "first_party",
        "auto_approve",
        "permissions",
        "localized",
        "client_name#",
    ] {
        assert!(client.get(name).is_none(), "{name}");
    }
    let client = test_client(&client);
    app.introspect(client, "x").await.expect_json(200);
    let tokens = app.tokens(ALICE, client).await;
    assert_eq!(app.claims(&tokens.access_token).await["tenant"], "default");
}

#[tokio::test]
async fn what_may_not_be_a_redirect_uri_is_an_invalid_redirect_uri() {
    let app = open().start().await;
    for uri in [
        "https://app.example/cb#fragment",
        "http://app.example/cb",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "blob:https://app.example/x",
        "myapp:/cb",
        "https://user@app.example/cb",
        "https://app.example@@evil.example/cb",
        "https://app.example/a/..;/b",
        "https://*.example/cb",
        "/cb",
        "",
    ] {
        for uris in [json!([uri]), json!([URI, uri])] {
            let reply = register(&app, &json!({"redirect_uris": uris})).await;
            reply.expect_oauth_error(400, "invalid_redirect_uri");
        }
    }
    for uris in [json!([]), json!(null), json!(URI), json!([1]), json!({"0": URI})] {
        let reply = register(&app, &json!({"redirect_uris": uris})).await;
        reply.expect_oauth_error(400, "invalid_redirect_uri");
    }
}

#[tokio::test]
async fn addresses_on_a_device_are_for_native_applications() {
    let app = open().start().await;
    for uri in ["http://127.0.0.1/cb", "http://localhost:3000/cb", "com.example.app:/cb"] {
        let metadata = |kind: Value| json!({"redirect_uris": [uri], "application_type": kind, "token_endpoint_auth_method": "none"});
        // Who says nothing of it is what the addresses tell: many clients do not know the member.
        let client = registered(&app, &metadata(Value::Null)).await;
        assert_eq!(client["application_type"], "native", "{uri}");
        registered(&app, &metadata(json!("native"))).await;
        let reply = register(&app, &metadata(json!("web"))).await;
        reply.expect_oauth_error(400, "invalid_redirect_uri");
    }
}

#[tokio::test]
async fn every_other_fault_is_invalid_client_metadata_and_named() {
    let app = open().start().await;
    let long = "x".repeat(2049);
    let key = json!({"kty": "EC", "crv": "P-256", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"});
    for (name, value) in [
        ("post_logout_redirect_uris", json!(["javascript:alert(1)"])),
        ("grant_types", json!(["authorization_code", "implicit"])),
        ("grant_types", json!(["authorization_code", "password"])),
        ("grant_types", json!(["authorization_code", "client_credentials"])),
        ("grant_types", json!("authorization_code")),
        ("response_types", json!(["token"])),
        ("response_types", json!([])),
        ("scope", json!("open\"id")),
        ("scope", json!("admin")),
        ("scope", json!(["openid"])),
        ("token_endpoint_auth_method", json!("password")),
        ("id_token_signed_response_alg", json!("none")),
        ("id_token_signed_response_alg", json!("HS256")),
        ("userinfo_signed_response_alg", json!("none")),
        ("userinfo_signed_response_alg", json!("PS512")),
        ("request_object_signing_alg", json!("none")),
        ("id_token_encrypted_response_alg", json!("RSA1_5")),
        ("id_token_encrypted_response_enc", json!("A256GCM")),
        ("subject_type", json!("both")),
        ("application_type", json!("desktop")),
        ("client_name", json!(["x"])),
        ("client_name", json!("x".repeat(201))),
        ("client_name", json!("a\nb")),
        ("client_name#de", json!("x".repeat(201))),
        ("client_name#de", json!(7)),
        ("tos_uri#de", json!("javascript:alert(1)")),
        ("logo_uri", json!("javascript:alert(1)")),
        ("logo_uri", json!("http://app.example/logo.png")),
        ("logo_uri", json!("https://127.0.0.1/logo.png")),
        ("client_uri", json!("http://app.example/")),
        ("policy_uri", json!("data:text/html,x")),
        ("tos_uri", json!(format!("https://app.example/{long}"))),
        ("initiate_login_uri", json!("http://app.example/start")),
        ("initiate_login_uri", json!("com.example.app:/start")),
        ("jwks_uri", json!("http://app.example/jwks")),
        ("jwks_uri", json!("https://169.254.169.254/jwks")),
        ("jwks_uri", json!("https://[::ffff:127.0.0.1]/jwks")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("jwks", json!({"keys": "x"})),
        ("jwks", json!([])),
        ("jwks", json!({"keys": [key]})),
        ("sector_identifier_uri", json!("http://app.example/sector")),
        ("request_uris", json!(["http://app.example/request"])),
        ("backchannel_logout_uri", json!("http://app.example/out")),
        ("frontchannel_logout_uri", json!("https://other.example/out")),
        ("contacts", json!(vec!["x"; 51])),
        ("contacts", json!([long])),
        ("default_max_age", json!(-1)),
        ("require_auth_time", json!("true")),
    ] {
        let told = register(&app, &with(name, value.clone())).await;
        let told = told.expect_oauth_error(400, "invalid_client_metadata");
        assert!(told.contains(name), "{name}={value}: {told}");
    }
    let mut both = with("jwks_uri", json!("https://app.example/jwks"));
    both["jwks"] = json!({"keys": []});
    register(&app, &both)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
    let two_hosts = json!({"redirect_uris": [URI, "https://other.example/cb"], "subject_type": "pairwise"});
    let told = register(&app, &two_hosts).await;
    let told = told.expect_oauth_error(400, "invalid_client_metadata");
    assert!(told.contains("sector_identifier_uri"), "{told}");
}

/// OpenID Connect Registration §5.
#[tokio::test]
async fn a_sector_names_every_redirect_uri_or_the_client_is_not_of_it() {
    const SECTOR: &str = "https://sector.example/uris.json";
    let app = open().start().await;
    let other = "https://other.example/cb";
    let metadata =
        |uris: Value| json!({"redirect_uris": uris, "sector_identifier_uri": SECTOR, "subject_type": "pairwise"});
    let told = register(&app, &metadata(json!([URI]))).await;
    let told = told.expect_oauth_error(400, "invalid_client_metadata");
    assert!(
        told.contains("sector_identifier_uri") && told.contains("cannot be reached"),
        "{told}"
    );
    for (document, uris, good) in [
        (json!([URI, other]), json!([URI, other]), true),
        (json!([other, URI, "https://third.example/cb"]), json!([URI]), true),
        (json!([URI]), json!([URI, other]), false),
        (json!(["https://app.example/CB"]), json!([URI]), false),
        (json!([]), json!([URI]), false),
        (json!({"uris": [URI]}), json!([URI]), false),
        (json!([URI, 7]), json!([URI]), false),
    ] {
        app.hosts.put_json(SECTOR, &document);
        let reply = register(&app, &metadata(uris)).await;
        match good {
            true => drop(reply.expect_json(201)),
            false => drop(reply.expect_oauth_error(400, "invalid_client_metadata")),
        }
    }
    // An update is held to the same.
    app.hosts.put_json(SECTOR, &json!([URI]));
    let client = registered(&app, &metadata(json!([URI]))).await;
    let mut update = metadata(json!([URI, other]));
    update["client_id"] = client["client_id"].clone();
    super::register_manage::update(&app, &client, &update)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
}

#[tokio::test]
async fn every_fault_is_told_at_once() {
    let app = open().start().await;
    let metadata = json!({"redirect_uris": [URI], "logo_uri": "x", "policy_uri": "x", "contacts": 7});
    let told = register(&app, &metadata).await;
    let told = told.expect_oauth_error(400, "invalid_client_metadata");
    for name in ["logo_uri", "policy_uri", "contacts"] {
        assert!(told.contains(name), "{told}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let app = open().start().await;
    let deep = "[".repeat(5000);
    for body in [
        "",
        "{",
        "[]",
        "\"x\"",
        "null",
        "{\"redirect_uris\": }",
        deep.as_str(),
        "\u{feff}{}",
    ] {
        let call = app
            .call(Method::POST, "/connect/register")
            .raw("application/json", body);
        call.send().await.expect_oauth_error(400, "invalid_client_metadata");
    }
    let body = json!({"redirect_uris": [URI]}).to_string();
    for kind in ["application/x-www-form-urlencoded", "text/plain", ""] {
        let call = app.call(Method::POST, "/connect/register").raw(kind, body.clone());
        call.send().await.expect_oauth_error(400, "invalid_client_metadata");
    }
    let call = app
        .call(Method::POST, "/connect/register")
        .raw("Application/JSON; charset=utf-8", body);
    call.send().await.expect_json(201);
    let huge = with("software_version", json!("x".repeat(70_000)));
    register(&app, &huge).await.expect_oauth_error(413, "invalid_request");
}

#[tokio::test]
async fn a_software_statement_is_not_ignored() {
    let app = open().start().await;
    register(&app, &with("software_statement", json!("eyJ.eyJ.x")))
        .await
        .expect_oauth_error(400, "unapproved_software_statement");
}

#[tokio::test]
async fn scopes_beyond_the_operators_are_left_out_and_the_answer_tells() {
    let app = open()
        .config(|config| {
            config.registration.scopes = ["openid", "ai:chat", "email"].map(str::to_owned).into();
            config.registration.default_scopes = vec!["openid".into()];
        })
        .start()
        .await;
    let client = registered(&app, &with("scope", json!("openid ai:chat admin"))).await;
    assert_eq!(client["scope"], "ai:chat openid");
    // What is the operator's default is not registered, but it is granted.
    let client = test_client(&registered(&app, &json!({"redirect_uris": [URI]})).await);
    let tokens = app.tokens_for(ALICE, &client.ask().without("scope")).await;
    assert_eq!(tokens.scope.as_deref(), Some("openid"));
}

#[tokio::test]
async fn redirect_uris_lead_to_allowed_hosts_only() {
    let app = open()
        .config(|config| {
            config.registration.allowed_hosts = ["app.example", "*.corp.example"].map(str::to_owned).into();
        })
        .start()
        .await;
    for (uri, allowed) in [
        ("https://app.example/cb", true),
        ("https://a.corp.example:8443/cb", true),
        ("https://corp.example/cb", false),
        ("https://badcorp.example/cb", false),
        ("https://app.example.evil.example/cb", false),
        ("https://APP.example.evil/cb", false),
        ("http://127.0.0.1/cb", false),
        ("com.example.app:/cb", false),
    ] {
        let reply = register(&app, &json!({"redirect_uris": [uri]})).await;
        match allowed {
            true => drop(reply.expect_json(201)),
            false => drop(reply.expect_oauth_error(400, "invalid_redirect_uri")),
        }
    }
}

#[tokio::test]
async fn where_the_operator_wants_it_only_who_has_a_token_may_register() {
    let app = TestApp::builder()
        .config(|config| config.registration.mode = Mode::InitialAccessToken)
        .start()
        .await;
    let reply = register(&app, &json!({"redirect_uris": [URI]})).await;
    // RFC 6750 §3.1: a challenge without an error.
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"hexgate\""));
    reply.expect_json(401);
    let token = initial_token(&app, "default", 2, 60).await;
    for wrong in ["x", "hgit_", &token[..token.len() - 1], &format!("{token}x")] {
        register_by(&app, wrong).await.expect_bearer_error(401, "invalid_token");
    }
    for _ in 0..2 {
        register_by(&app, &token).await.expect_json(201);
    }
    register_by(&app, &token)
        .await
        .expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn where_anybody_may_register_a_wrong_token_is_wrong_all_the_same() {
    let app = open().start().await;
    register_by(&app, "x").await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_token_that_has_expired_or_was_revoked_lets_nobody_in() {
    let app = TestApp::start().await;
    let token = initial_token(&app, "default", 9, 60).await;
    app.advance(59);
    register_by(&app, &token).await.expect_json(201);
    app.advance(1);
    register_by(&app, &token)
        .await
        .expect_bearer_error(401, "invalid_token");
    let token = initial_token(&app, "default", 9, 60).await;
    let listed = tokens(&app).list().await.unwrap();
    assert_eq!(listed.iter().map(|one| one.uses_left).collect::<Vec<_>>(), [8, 9]);
    assert!(tokens(&app).revoke(&listed.last().unwrap().id).await.unwrap());
    register_by(&app, &token)
        .await
        .expect_bearer_error(401, "invalid_token");
    assert!(!tokens(&app).revoke("iat_unknown").await.unwrap());
}

#[tokio::test]
async fn a_refused_registration_takes_no_use_of_the_token() {
    let app = TestApp::start().await;
    let token = initial_token(&app, "default", 1, 60).await;
    let call = app.call(Method::POST, "/connect/register").bearer(&token);
    let reply = call.json(&json!({"redirect_uris": ["x"]})).send().await;
    reply.expect_oauth_error(400, "invalid_redirect_uri");
    register_by(&app, &token).await.expect_json(201);
}

#[tokio::test]
async fn of_parallel_uses_of_a_token_with_one_left_one_wins() {
    let app = TestApp::start().await;
    let token = initial_token(&app, "default", 1, 60).await;
    let replies = join_all((0..40).map(|_| register_by(&app, &token))).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| matches!(status, 201 | 401)),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn clients_belong_to_the_tenant_of_the_token() {
    let app = TestApp::start().await;
    let token = initial_token(&app, "other", 2, 600).await;
    let client = test_client(&register_by(&app, &token).await.expect_json(201));
    let tokens = app.tokens(crate::app::OTHER_ALICE, client).await;
    assert_eq!(app.claims(&tokens.access_token).await["tenant"], "other");
    app.apply("[[tenant]]\nid = \"other\"\nname = \"Other\"\nenabled = false\n")
        .await;
    register_by(&app, &token)
        .await
        .expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn an_address_can_register_so_often_and_no_more_in_a_window() {
    let app = open()
        .config(|config| {
            config.registration.max_attempts = 2;
            config.registration.window_s = 100;
        })
        .start()
        .await;
    let from = async |address: &str, metadata: &Value| {
        let call = app.call(Method::POST, "/connect/register").from(address);
        call.json(metadata).send().await
    };
    let metadata = json!({"redirect_uris": [URI]});
    from("192.0.2.1", &metadata).await.expect_json(201);
    // Refused requests are work, too.
    from("192.0.2.1", &json!({}))
        .await
        .expect_oauth_error(400, "invalid_redirect_uri");
    let reply = from("192.0.2.1", &metadata).await;
    assert_eq!(reply.header("retry-after"), Some("101"));
    reply.expect_oauth_error(429, "slow_down");
    from("192.0.2.2", &metadata).await.expect_json(201);
    app.advance(100);
    from("192.0.2.1", &metadata).await.expect_json(201);
}

#[tokio::test]
async fn there_are_no_more_clients_than_the_operator_allows() {
    let app = open()
        .config(|config| config.registration.max_clients = 2)
        .start()
        .await;
    let metadata = json!({"redirect_uris": [URI]});
    let first = registered(&app, &metadata).await;
    registered(&app, &metadata).await;
    register(&app, &metadata)
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
    super::register_manage::delete(&app, &first).await.expect_status(204);
    registered(&app, &metadata).await;
}

#[tokio::test]
async fn where_registration_is_off_there_is_no_such_address() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    assert_eq!(
        app.metadata().await["registration_endpoint"],
        format!("{ISSUER}/connect/register")
    );
    let off = TestApp::builder()
        .config(|config| config.registration.mode = Mode::Off)
        .start()
        .await;
    assert!(off.metadata().await.get("registration_endpoint").is_none());
    register(&off, &json!({"redirect_uris": [URI]})).await.expect_json(404);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let path = format!("/connect/register/{}", client["client_id"].as_str().unwrap());
        let call = off.call(method, &path).bearer("x");
        call.json(&json!({})).send().await.expect_json(404);
    }
}

#[tokio::test]
async fn applications_in_browsers_may_register() {
    let app = open().start().await;
    let preflight = app
        .call(Method::OPTIONS, "/connect/register")
        .header("origin", "https://inspector.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type, mcp-protocol-version")
        .send()
        .await
        .expect_status(204);
    let allowed = preflight.header("access-control-allow-headers").unwrap();
    assert!(
        allowed.contains("mcp-protocol-version") && allowed.contains("authorization"),
        "{allowed}"
    );
    let call = app
        .call(Method::POST, "/connect/register")
        .header("origin", "https://inspector.example");
    let reply = call.json(&json!({"redirect_uris": [URI]})).send().await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    reply.expect_json(201);
}

#[tokio::test]
async fn a_client_that_nobody_uses_is_removed_and_one_that_is_used_stays() {
    const DAY: u64 = 24 * 60 * 60;
    let app = open()
        .config(|config| config.registration.unused_ttl_s = 3 * DAY)
        .start()
        .await;
    let metadata = json!({"redirect_uris": [URI]});
    let idle = test_client(&registered(&app, &metadata).await);
    let used = test_client(&registered(&app, &metadata).await);
    let register = app.foundation().register().unwrap();
    app.advance(3 * DAY);
    app.tokens(ALICE, used).await;
    assert_eq!(register.expire_unused().await.unwrap(), 0);
    app.advance(1);
    assert_eq!(register.expire_unused().await.unwrap(), 1);
    app.sync().await;
    app.get(&idle.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    app.tokens(ALICE, used).await;
    // Noted by the day: this use comes too soon after the last to be noted.
    app.advance(3 * DAY - 1);
    assert_eq!(register.expire_unused().await.unwrap(), 0);
    app.advance(1);
    assert_eq!(register.expire_unused().await.unwrap(), 1);
}

#[tokio::test]
async fn two_redirect_uris_mean_that_a_request_must_name_one_and_queries_must_match() {
    let app = open().start().await;
    let uri = "https://app.example/cb?tenant=1";
    let client = test_client(&registered(&app, &json!({"redirect_uris": [uri, URI]})).await);
    app.get(&client.ask().path()).await.expect_redirect_to("/login");
    for ask in [
        client.ask().without("redirect_uri"),
        client.ask().with("redirect_uri", "https://app.example/cb?tenant=2"),
        client
            .ask()
            .with("redirect_uri", "https://app.example/cb?tenant=1&more=1"),
    ] {
        app.get(&ask.path()).await.expect_error_page(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_registered_client_cannot_use_grants_that_it_was_not_given() {
    let app = open().start().await;
    let client = test_client(&registered(&app, &json!({"redirect_uris": [URI]})).await);
    app.client_credentials(client)
        .await
        .expect_oauth_error(400, "unauthorized_client");
    app.password(client, ALICE.name, ALICE.password)
        .await
        .expect_oauth_error(400, "unauthorized_client");
}

/// Every member with every kind of nonsense: refused or registered, and nothing else.
#[tokio::test]
async fn no_value_of_any_member_is_more_than_refused() {
    let app = open()
        .config(|config| config.registration.max_attempts = 1_000_000)
        .start()
        .await;
    let full = registered(&app, &full()).await;
    let nonsense = [
        json!(true),
        json!(-1),
        json!(1e308),
        json!("x"),
        json!("\u{0}"),
        json!("\u{202e}gnp.exe"),
        json!("x".repeat(3000)),
        json!([]),
        json!([null]),
        json!([[["x"]]]),
        json!(["\u{0}", "x"]),
        json!(vec!["x"; 1000]),
        json!({}),
        json!({"keys": [{}, null, "x"]}),
        json!({"a": {"b": {"c": []}}}),
    ];
    for name in full.as_object().unwrap().keys() {
        for value in &nonsense {
            let reply = register(&app, &with(name, value.clone())).await;
            match reply.status {
                201 => drop(reply.expect_json(201)),
                _ if name == "redirect_uris" => drop(reply.expect_oauth_error(400, "invalid_redirect_uri")),
                _ => drop(reply.expect_oauth_error(400, "invalid_client_metadata")),
            }
        }
    }
}

#[tokio::test]
async fn a_name_that_stands_twice_is_refused() {
    let app = open().start().await;
    for body in [
        r#"{"redirect_uris": ["https://app.example/cb"], "redirect_uris": ["https://other.example/cb"]}"#,
        r#"{"redirect_uris": ["https://app.example/cb"], "jwks": {"keys": [], "keys": []}}"#,
    ] {
        let call = app
            .call(Method::POST, "/connect/register")
            .raw("application/json", body);
        call.send().await.expect_oauth_error(400, "invalid_client_metadata");
    }
}

//! Metadata and JWKS (OpenID Connect Discovery, RFC 8414, RFC 7517), key rotation.

use std::{collections::BTreeSet, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::app::{
    ADMIN, ALICE, BANK, CONSOLE, ISSUER, OWN, RESOURCE_SERVER, SERVICE, SPA, Signatory, TV, TestApp, WEB, asking,
    clients, fields, proof, refresh_form,
};

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect()
}

fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn both_documents_are_the_same_and_may_be_kept_for_a_while() {
    let app = TestApp::start().await;
    let openid = app.get("/.well-known/openid-configuration").await;
    let oauth = app.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(openid.body, oauth.body);
    assert_eq!(openid.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(openid.header("content-type"), Some("application/json"));
    assert_eq!(app.metadata().await["issuer"], ISSUER);
}

#[tokio::test]
async fn the_document_says_what_clients_rely_on() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    assert_eq!(texts(&metadata["response_types_supported"]), ["code"]);
    assert_eq!(texts(&metadata["code_challenge_methods_supported"]), ["S256"]);
    assert_eq!(texts(&metadata["subject_types_supported"]), ["public", "pairwise"]);
    assert!(texts(&metadata["id_token_signing_alg_values_supported"]).contains(&"RS256"));
    assert!(texts(&metadata["scopes_supported"]).contains(&"openid"));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert_eq!(metadata["claims_parameter_supported"], true);
    for name in [
        "request_parameter_supported",
        "request_uri_parameter_supported",
        "require_request_uri_registration",
    ] {
        assert_eq!(metadata[name], true, "{name}");
    }
    assert_eq!(metadata["require_pushed_authorization_requests"], false);
    for (name, value) in metadata.as_object().unwrap() {
        assert!(!value.is_null(), "{name}");
        assert!(
            value.as_array().is_none_or(|list| !list.is_empty()),
            "{name}: RFC 8414 §3.2 forbids empty arrays"
        );
    }
}

#[tokio::test]
async fn every_advertised_address_exists_under_the_issuer() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let mut seen = BTreeSet::new();
    for (name, value) in metadata.as_object().unwrap() {
        if !name.ends_with("_endpoint") && name != "jwks_uri" {
            continue;
        }
        let path = value.as_str().unwrap().strip_prefix(ISSUER).unwrap();
        assert_ne!(app.get(path).await.status, 404, "{name}");
        seen.insert(name.as_str());
    }
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "device_authorization_endpoint",
        "jwks_uri",
    ] {
        assert!(seen.contains(name), "{name}");
    }
}

#[tokio::test]
async fn every_advertised_response_mode_prompt_display_and_locale_works() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let mut browser = app.signed_in(ALICE).await;
    app.advance(1);
    for (list, parameter) in [
        ("response_modes_supported", "response_mode"),
        ("display_values_supported", "display"),
        ("ui_locales_supported", "ui_locales"),
        ("acr_values_supported", "acr_values"),
        ("response_types_supported", "response_type"),
        ("code_challenge_methods_supported", "code_challenge_method"),
    ] {
        for value in texts(&metadata[list]) {
            let reply = browser.get(&OWN.ask().with(parameter, value).path()).await;
            let answer = reply.header("location").map_or_else(|| reply.text(), str::to_owned);
            let got_code = ["code=", "response=", "name=\"code\"", "name=\"response\""];
            let got_code = got_code.iter().any(|mark| answer.contains(mark)) && !answer.contains("error");
            assert!(got_code, "{parameter}={value}");
        }
    }
    for prompt in texts(&metadata["prompt_values_supported"]) {
        let reply = browser.get(&OWN.ask().with("prompt", prompt).path()).await;
        assert!(!reply.header("location").unwrap().contains("error="), "prompt={prompt}");
    }
}

#[tokio::test]
async fn every_advertised_scope_is_one_that_a_client_may_be_given() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let scope = texts(&metadata["scopes_supported"]).join(" ");
    let document = format!(
        "[[client]]\nclient_id = \"all\"\nredirect_uris = [\"https://all.example/cb\"]\nauto_approve = true\n\
         token_endpoint_auth_method = \"none\"\nscope = \"{scope}\"\n"
    );
    app.apply(&document).await;
    let all = crate::app::TestClient {
        id: "all",
        secret: None,
        redirect_uri: "https://all.example/cb",
        scope: "openid",
    };
    let tokens = app.tokens_for(ALICE, &all.ask().with("scope", &scope)).await;
    let granted = app.claims(&tokens.access_token).await["scope"]
        .as_str()
        .unwrap()
        .to_owned();
    let sorted = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&granted), sorted(&scope));
}

#[test]
fn the_demo_may_call_everything_that_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/demo/auth.toml");
    let document: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let service = document["client"].as_array().unwrap().iter();
    let service = service
        .clone()
        .find(|client| client["client_id"].as_str() == Some("service"));
    let scope: Vec<String> = oauth_wire::ai_scopes().collect();
    assert_eq!(service.unwrap()["scope"].as_str(), Some(scope.join(" ").as_str()));
}

#[tokio::test]
async fn every_advertised_grant_type_is_served() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    for grant in texts(&metadata["grant_types_supported"]) {
        match grant {
            "authorization_code" => drop(app.tokens(ALICE, WEB).await),
            "client_credentials" => drop(app.client_credentials(SERVICE).await.expect_tokens()),
            "password" => drop(app.password(CONSOLE, ADMIN.name, ADMIN.password).await.expect_tokens()),
            "refresh_token" => {
                let token = app.tokens(ALICE, WEB).await.refresh_token;
                app.token(WEB, &refresh_form(&token)).await.expect_tokens();
            }
            "urn:ietf:params:oauth:grant-type:device_code" => {
                let codes = app.device(TV).await;
                app.allow_device(ALICE, &codes).await;
                app.poll(TV, &codes).await.expect_tokens();
            }
            "urn:ietf:params:oauth:grant-type:token-exchange" => super::exchange::works().await,
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => super::jwt_bearer::works().await,
            "urn:openid:params:grant-type:ciba" => {
                let id = app.asked(BANK, &asking(BANK, ALICE)).await;
                app.answer_request(ALICE, "approve-allow").await;
                app.ask_after(BANK, &id).await.expect_tokens();
            }
            other => panic!("{other} is advertised and not tested"),
        }
    }
}

#[tokio::test]
async fn every_advertised_client_authentication_works_where_it_is_advertised() {
    let (keyed, mac) = (
        Signatory::with_key("keyed", SigningAlg::Es256),
        Signatory::with_secret("mac"),
    );
    let registrations = [keyed.registration(json!({})), mac.registration(json!({}))];
    let app = TestApp::builder().document(&clients(&registrations)).start().await;
    let metadata = app.metadata().await;
    for (list, path) in [
        ("token_endpoint_auth_methods_supported", "/oauth2/token"),
        ("introspection_endpoint_auth_methods_supported", "/oauth2/introspect"),
        ("revocation_endpoint_auth_methods_supported", "/oauth2/revoke"),
    ] {
        for method in texts(&metadata[list]) {
            let form = fields([("token", "x"), ("grant_type", "refresh_token"), ("refresh_token", "x")]);
            let call = app.call(Method::POST, path);
            let secret = WEB.secret.unwrap();
            let reply = match method {
                "client_secret_basic" => call.basic(WEB.id, secret).form(&form).send().await,
                "client_secret_post" => {
                    call.form(&form.with("client_id", WEB.id).with("client_secret", secret))
                        .send()
                        .await
                }
                "private_key_jwt" => call.form(&form.plus(&proof(&keyed.assertion(&app)))).send().await,
                "client_secret_jwt" => call.form(&form.plus(&proof(&mac.assertion(&app)))).send().await,
                "none" => call.form(&form.with("client_id", SPA.id)).send().await,
                other => panic!("{other} is advertised and not tested"),
            };
            assert_ne!(reply.status, 401, "{method} at {path}");
        }
    }
}

#[tokio::test]
async fn every_advertised_algorithm_signs_an_assertion_where_it_is_advertised() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let lists = ["token", "introspection", "revocation"].map(|endpoint| {
        let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        texts(&metadata[name.as_str()])
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    });
    assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
    for alg in &lists[0] {
        let Some(known) = SigningAlg::from_wire(alg) else {
            // Their own test is `a_secret_is_at_least_as_long_as_the_hash`, and HS256 has the matrix of client_assertion.rs.
            assert!(["HS256", "HS384", "HS512"].contains(&alg.as_str()), "{alg}");
            continue;
        };
        let signatory = Signatory::with_key("keyed", known);
        app.apply(&clients(&[signatory.registration(json!({}))])).await;
        let form = fields([("token", "x")]).plus(&proof(&signatory.assertion(&app)));
        let reply = app.call(Method::POST, "/oauth2/revoke").form(&form).send().await;
        assert_eq!(reply.status, 200, "{alg}: {}", reply.text());
    }
}

#[tokio::test]
async fn every_advertised_claim_is_one_that_tokens_or_userinfo_carry() {
    let app = TestApp::start().await;
    let tokens = app
        .tokens_for(ALICE, &WEB.ask().with("scope", "openid profile email phone address"))
        .await;
    let mut told: BTreeSet<String> = app.claims(&tokens.id_token).await.keys().cloned().collect();
    told.extend(
        app.userinfo(&tokens)
            .await
            .expect_json(200)
            .as_object()
            .unwrap()
            .keys()
            .cloned(),
    );
    for name in texts(&app.metadata().await["claims_supported"]) {
        assert!(told.contains(name), "{name}");
    }
}

#[tokio::test]
async fn every_advertised_id_token_algorithm_signs() {
    let app = TestApp::start().await;
    for alg in texts(&app.metadata().await["id_token_signing_alg_values_supported"]) {
        app.apply(&format!(
            "[[client]]\nclient_id = \"alg\"\nredirect_uris = [\"https://alg.example/cb\"]\nauto_approve = true\n\
             token_endpoint_auth_method = \"none\"\nscope = \"openid\"\nid_token_signed_response_alg = \"{alg}\"\n"
        ))
        .await;
        let client = crate::app::TestClient {
            id: "alg",
            secret: None,
            redirect_uri: "https://alg.example/cb",
            scope: "openid",
        };
        let tokens = app.tokens(ALICE, client).await;
        assert_eq!(app.verified(&tokens.id_token).await.alg.as_str(), alg);
    }
}

#[tokio::test]
async fn an_issuer_with_a_path_is_found_by_every_form_of_its_metadata_address() {
    let app = TestApp::builder().issuer("https://op.example/tenant").start().await;
    for path in [
        "//.well-known/oauth-authorization-server/tenant",
        "//.well-known/openid-configuration/tenant",
        "//tenant/.well-known/openid-configuration",
        "//tenant/.well-known/oauth-authorization-server",
    ] {
        // One slash of the two says that the path is not under the issuer's.
        let metadata = app.get(path).await.expect_json(200);
        assert_eq!(metadata["issuer"], "https://op.example/tenant");
        assert_eq!(metadata["token_endpoint"], "https://op.example/tenant/oauth2/token");
    }
    app.get("//.well-known/openid-configuration").await.expect_status(404);
    app.get("//oauth2/jwks").await.expect_status(404);
    let tokens = app.tokens(ALICE, WEB).await;
    assert_eq!(app.claims(&tokens.id_token).await["iss"], "https://op.example/tenant");
}

/// RFC 8705 §5.
#[tokio::test]
async fn clients_with_certificates_are_told_their_addresses_when_they_have_any() {
    let app = TestApp::start().await;
    assert!(app.metadata().await.get("mtls_endpoint_aliases").is_none());
    let base = "https://mtls.op.example:8443";
    let app = TestApp::builder()
        .config(|config| config.mtls.base_url = Some(base.into()))
        .start()
        .await;
    let metadata = app.metadata().await;
    let aliases = metadata["mtls_endpoint_aliases"].as_object().unwrap();
    // All that clients call themselves, and nothing that a browser opens.
    let in_browsers = [
        "authorization_endpoint",
        "end_session_endpoint",
        "registration_endpoint",
    ];
    let called = metadata.as_object().unwrap().keys();
    let called = called.filter(|name| name.ends_with("_endpoint") && !in_browsers.contains(&name.as_str()));
    assert!(called.eq(aliases.keys()), "{aliases:?}");
    for (name, alias) in aliases {
        // The same endpoint under another host.
        let path = alias.as_str().unwrap().strip_prefix(base).unwrap();
        assert_eq!(metadata[name], format!("{ISSUER}{path}"), "{name}");
    }
}

/// SECURITY.md: links come from the configured issuer, whatever a proxy or a client says about host and scheme.
#[tokio::test]
async fn no_header_changes_what_the_provider_calls_itself() {
    let app = TestApp::start().await;
    let plain = app.metadata().await;
    for (name, value) in [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-original-host", "evil.example"),
        ("forwarded", "for=192.0.2.1;host=evil.example;proto=https"),
    ] {
        let path = "/.well-known/openid-configuration";
        let told = app.call(Method::GET, path).header(name, value).send().await;
        assert_eq!(told.expect_json(200), plain, "{name}");
        let authorize = "/oauth2/authorize?client_id=nobody";
        let page = app.call(Method::GET, authorize).header(name, value).send().await;
        assert!(!page.text().contains("evil.example"), "{name}");
    }
}

#[tokio::test]
async fn unknown_well_known_names_are_404_and_never_5xx() {
    let app = TestApp::start().await;
    for path in [
        "/.well-known/webfinger",
        "/.well-known/oauth-authorization-server/x",
        "/.well-known/",
        "/nothing",
    ] {
        let body = app.get(path).await.expect_json(404);
        assert_eq!(body["error"], "not_found");
        let page = app.call(Method::GET, path).header("accept", "text/html").send().await;
        page.expect_error_page(404, "not_found");
    }
}

#[tokio::test]
async fn preflights_are_answered_where_browser_applications_call() {
    let app = TestApp::start().await;
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/oauth2/jwks",
        "/oauth2/token",
        "/oauth2/revoke",
        "/userinfo",
    ] {
        let call = app.call(Method::OPTIONS, path).header("origin", "https://spa.example");
        let reply = call
            .header("access-control-request-method", "POST")
            .send()
            .await
            .expect_status(204);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
        let allowed = reply.header("access-control-allow-headers").unwrap();
        assert!(
            ["authorization", "content-type", "mcp-protocol-version"]
                .iter()
                .all(|name| allowed.contains(name))
        );
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn everywhere_else_no_other_origin_may_read() {
    let app = TestApp::start().await;
    for path in [
        "/oauth2/authorize",
        "/oauth2/introspect",
        "/oauth2/backchannel_authentication",
        "/events/poll",
        "/login",
        "/consent",
        "/logout",
        "/account",
        "/",
        "/connect/logout",
    ] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            let call = app.call(method, path).header("origin", "https://evil.example");
            let reply = call.header("access-control-request-method", "POST").send().await;
            assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
        }
    }
}

// Keys.

#[tokio::test]
async fn the_jwks_holds_public_signing_keys_with_thumbprints_as_kids() {
    let app = TestApp::start().await;
    let keys = app.jwks().await;
    assert_eq!(keys.len(), 8, "current and next of four algorithms");
    let kids: BTreeSet<&str> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids.len(), keys.len());
    for key in &keys {
        let names: BTreeSet<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(key["use"], "sig");
        // RFC 7638 §3.2: the required members in lexical order.
        let (wanted, canonical) = match key["kty"].as_str().unwrap() {
            "EC" => {
                assert_eq!((&key["alg"], &key["crv"]), (&json!("ES256"), &json!("P-256")));
                let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, key["x"], key["y"]);
                (BTreeSet::from(["kty", "crv", "x", "y", "kid", "alg", "use"]), canonical)
            }
            "RSA" => {
                assert!(key["alg"] == "RS256" || key["alg"] == "PS256", "{}", key["alg"]);
                let bits = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap().len() * 8;
                assert!(bits >= 2048, "{bits}");
                let canonical = format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, key["e"], key["n"]);
                (BTreeSet::from(["kty", "n", "e", "kid", "alg", "use"]), canonical)
            }
            "OKP" => {
                assert_eq!((&key["alg"], &key["crv"]), (&json!("EdDSA"), &json!("Ed25519")));
                let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":{}}}"#, key["x"]);
                (BTreeSet::from(["kty", "crv", "x", "kid", "alg", "use"]), canonical)
            }
            other => panic!("{other}"),
        };
        assert_eq!(names, wanted);
        assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)));
    }
}

#[tokio::test]
async fn after_a_rotation_the_next_key_signs_which_was_published_before() {
    let app = TestApp::start().await;
    let old = app.tokens(ALICE, WEB).await;
    let published: BTreeSet<String> = app
        .jwks()
        .await
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect();
    app.rotate_keys().await;
    let new = app.tokens(ALICE, WEB).await;
    for (before, after) in [(&old.access_token, &new.access_token), (&old.id_token, &new.id_token)] {
        assert_ne!(kid(before), kid(after));
        assert!(published.contains(&kid(after)), "a resource server knew it already");
    }
    assert_eq!(
        app.jwks().await.len(),
        12,
        "retiring, current and next of four algorithms"
    );
}

#[tokio::test]
async fn tokens_from_before_a_rotation_go_on_until_they_expire() {
    let app = TestApp::start().await;
    let old = app.tokens(ALICE, WEB).await;
    app.rotate_keys().await;
    app.claims(&old.access_token).await;
    app.claims(&old.id_token).await;
    app.userinfo(&old).await.expect_status(200);
    assert!(
        app.introspect(RESOURCE_SERVER, &old.access_token)
            .await
            .expect_json(200)["active"]
            == true
    );
    let ask = WEB.ask().with("prompt", "none").with("id_token_hint", &old.id_token);
    app.signed_in(ALICE).await.get(&ask.path()).await.expect_code();
    app.refresh(WEB, &old.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn a_retired_key_leaves_the_jwks_when_its_time_has_passed() {
    let app = TestApp::start().await;
    let old = app.tokens(ALICE, WEB).await;
    app.rotate_keys().await;
    app.advance(86_400 - 1);
    app.sync().await;
    assert!(app.jwks().await.iter().any(|key| key["kid"] == kid(&old.access_token)));
    app.advance(1);
    app.sync().await;
    assert!(!app.jwks().await.iter().any(|key| key["kid"] == kid(&old.access_token)));
}

#[tokio::test]
async fn two_rotations_in_a_row_keep_every_published_key_that_signed() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    app.rotate_keys().await;
    let second = app.tokens(ALICE, WEB).await;
    app.rotate_keys().await;
    let third = app.tokens(ALICE, WEB).await;
    for tokens in [&first, &second, &third] {
        app.claims(&tokens.access_token).await;
    }
    let kids: BTreeSet<String> = [&first, &second, &third].map(|tokens| kid(&tokens.access_token)).into();
    assert_eq!(kids.len(), 3);
}

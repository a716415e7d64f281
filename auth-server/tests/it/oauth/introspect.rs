//! `/oauth2/introspect` (RFC 7662).

use auth_server::domain::{client::ClientStatus, user::UserStatus};
use serde_json::json;

use crate::app::{ALICE, GATEWAY, ISSUER, LEGACY, NOBODY, OWN, RESOURCE_SERVER, SERVICE, SPA, TestApp, WEB, fields};

#[tokio::test]
async fn an_api_with_the_permission_learns_what_a_token_says() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let reply = app.introspect(RESOURCE_SERVER, &tokens.access_token).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = reply.expect_json(200);
    let claims = app.claims(&tokens.access_token).await;
    for name in ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "sid"] {
        assert_eq!(told[name], claims[name], "{name}");
    }
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("Bearer")));
}

#[tokio::test]
async fn a_client_may_ask_about_its_own_tokens() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    assert_eq!(
        app.introspect(WEB, &tokens.access_token).await.expect_json(200)["active"],
        true
    );
    let told = app.introspect(WEB, &tokens.refresh_token).await.expect_json(200);
    assert_eq!(told["active"], true);
    assert_eq!(
        (&told["client_id"], &told["sub"], &told["iss"]),
        (&json!("web"), &json!(ALICE.sub), &json!(ISSUER))
    );
    // Its session's end, since it was not given for offline use.
    assert_eq!(told["exp"], app.now() + 12 * 60 * 60);
}

#[tokio::test]
async fn a_stranger_is_told_nothing_as_if_the_token_were_dead() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for client in [NOBODY, LEGACY, SERVICE] {
        for token in [&tokens.access_token, &tokens.refresh_token] {
            assert_eq!(
                app.introspect(client, token).await.expect_json(200),
                json!({"active": false})
            );
        }
    }
}

#[tokio::test]
async fn an_api_in_the_audience_may_ask() {
    let document = "[[client]]\nclient_id = \"gateway\"\nclient_secret = \"gateway-secret\"\ngrant_types = []\nresponse_types = []\n";
    let gateway = crate::app::TestClient {
        id: "gateway",
        secret: Some("gateway-secret"),
        redirect_uri: "",
        scope: "",
    };
    // An API is named by its client_id in `aud` when the installation calls its gateway so.
    let builder = TestApp::builder().document(document);
    let app = builder
        .config(|config| config.tokens.gateway_audience = "gateway".into())
        .start()
        .await;
    let token = app.client_credentials(SERVICE).await.expect_tokens().access_token;
    assert_eq!(app.introspect(gateway, &token).await.expect_json(200)["active"], true);
    assert_eq!(
        app.introspect(NOBODY, &token).await.expect_json(200),
        json!({"active": false})
    );
}

#[tokio::test]
async fn a_public_client_may_not_ask() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    app.introspect(SPA, &tokens.access_token)
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn whatever_is_not_a_live_token_is_inactive_and_says_no_more() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let none = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
        let payload = tokens.access_token.split('.').nth(1).unwrap();
        format!("{}.{payload}.", B64.encode(r#"{"alg":"none","typ":"at+jwt"}"#))
    };
    let mut other_signature = tokens.access_token.clone();
    other_signature.replace_range(other_signature.len() - 6..other_signature.len() - 2, "AAAA");
    let long = "x".repeat(40_000);
    let code = app.consented_code(ALICE, WEB).await.value;
    for token in [
        tokens.id_token.as_str(),
        &none,
        &other_signature,
        "x",
        "a.b.c",
        "日本語",
        &long,
        &code,
        "hgr_x.1.AA",
    ] {
        let told = app.introspect(RESOURCE_SERVER, token).await.expect_json(200);
        assert_eq!(told, json!({"active": false}), "{}", &token[..token.len().min(40)]);
    }
}

#[tokio::test]
async fn an_access_token_is_active_until_the_second_it_expires() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.advance(599);
    assert!(app.is_active(&tokens.access_token).await);
    app.userinfo(&tokens).await.expect_status(200);
    app.advance(1);
    assert!(!app.is_active(&tokens.access_token).await);
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_rotated_refresh_token_is_inactive_and_the_next_one_active() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    assert!(!app.is_active(&first.refresh_token).await);
    assert!(app.is_active(&second.refresh_token).await);
    // Asking changed nothing (no writes on this path): the lost reply may still be asked for.
    app.refresh(WEB, &first.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn tokens_of_a_locked_person_or_a_disabled_client_are_inactive() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.set_client_status(WEB, ClientStatus::Disabled).await;
    assert!(!app.is_active(&tokens.access_token).await);
    let tokens = app.tokens(ALICE, SPA).await;
    app.set_user_status(ALICE, UserStatus::Locked).await;
    assert!(!app.is_active(&tokens.access_token).await);
    assert!(!app.is_active(&tokens.refresh_token).await);
}

#[tokio::test]
async fn a_hint_changes_nothing() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for hint in ["access_token", "refresh_token", "nonsense"] {
        for token in [&tokens.access_token, &tokens.refresh_token] {
            let form = fields([("token", token.as_str()), ("token_type_hint", hint)]);
            let told = app
                .as_client(RESOURCE_SERVER, "/oauth2/introspect", &form)
                .await
                .expect_json(200);
            assert_eq!(told["active"], true, "{hint}");
        }
    }
}

#[tokio::test]
async fn a_machines_token_names_the_machine() {
    let app = TestApp::start().await;
    let token = app.client_credentials(SERVICE).await.expect_tokens().access_token;
    let told = app.introspect(RESOURCE_SERVER, &token).await.expect_json(200);
    assert_eq!(
        (&told["sub"], &told["client_id"], &told["aud"]),
        (&json!("service"), &json!("service"), &json!(GATEWAY))
    );
}

#[tokio::test]
async fn a_bearer_token_is_no_credential_for_introspection() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let call = app
        .call(http::Method::POST, "/oauth2/introspect")
        .bearer(&tokens.access_token);
    call.form(&fields([("token", &tokens.access_token)]))
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
}

/// It would not be answered by a refresh, and nobody has revoked it.
#[tokio::test]
async fn a_refresh_token_is_active_no_longer_than_the_session_that_it_lives_by() {
    let app = TestApp::builder()
        .config(|config| config.tokens.session_ttl_s = 100)
        .start()
        .await;
    let bound = app.tokens(ALICE, WEB).await.refresh_token;
    let ask = WEB.ask().with("scope", "openid offline_access");
    let offline = app.tokens_for(ALICE, &ask).await.refresh_token;
    let told = app.introspect(RESOURCE_SERVER, &bound).await.expect_json(200);
    assert_eq!(told["exp"], app.now() + 100);
    app.advance(100);
    assert!(!app.is_active(&bound).await);
    app.refresh(WEB, &bound).await.expect_oauth_error(400, "invalid_grant");
    assert!(app.is_active(&offline).await);
    app.refresh(WEB, &offline).await.expect_tokens();
}

#[tokio::test]
async fn a_refresh_token_is_told_with_the_scope_that_a_refresh_would_bring() {
    let app = TestApp::start().await;
    let token = app.tokens(ALICE, OWN).await.refresh_token;
    let document = |scope: &str| {
        format!(
            "[[client]]\nclient_id = \"own\"\nclient_secret = \"own-secret-77a1\"\nredirect_uris = [\"https://own.example/cb\"]\n\
             grant_types = [\"authorization_code\", \"refresh_token\"]\nscope = \"{scope}\"\n\
             token_endpoint_auth_method = \"client_secret_post\"\nauto_approve = true\n"
        )
    };
    app.apply(&document("openid profile")).await;
    let told = app.introspect(RESOURCE_SERVER, &token).await.expect_json(200);
    assert_eq!(told["scope"], "openid profile");
    app.apply(&document("admin")).await;
    assert!(!app.is_active(&token).await);
    app.refresh(OWN, &token).await.expect_oauth_error(400, "invalid_grant");
}

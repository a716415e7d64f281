//! `/oauth2/token`: what all grants share, and the grants without a code.

use auth_server::domain::{client::ClientStatus, user::UserStatus};
use http::Method;

use crate::app::{
    ADMIN, ALICE, BOB, CONSOLE, Fields, GATEWAY, ISSUER, OWN, RESOURCE_SERVER, SERVICE, SPA, TestApp, WEB, fields,
};

fn machine() -> Fields {
    fields([("grant_type", "client_credentials")])
}

#[tokio::test]
async fn an_unknown_or_missing_grant_type_is_refused() {
    let app = TestApp::start().await;
    for grant in [
        "implicit",
        "Authorization_Code",
        "device_code",
        "urn:ietf:params:oauth:grant-type:Device_Code",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:ietf:params:oauth:grant-type:token_exchange",
        "日本語",
    ] {
        let reply = app.token(WEB, &fields([("grant_type", grant)])).await;
        reply.expect_oauth_error(400, "unsupported_grant_type");
    }
    let missing = app
        .token(WEB, &fields([("scope", "openid")]))
        .await
        .expect_oauth_error(400, "invalid_request");
    assert!(missing.contains("grant_type"), "{missing}");
    app.token(WEB, &fields([("grant_type", "")]))
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn only_post_is_taken() {
    let app = TestApp::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
        let path = format!("/oauth2/token?{}", machine().encode());
        let reply = app
            .call(method.clone(), &path)
            .basic(SERVICE.id, SERVICE.secret.unwrap())
            .send()
            .await;
        let allowed = reply.header("allow").unwrap_or_default().to_owned();
        assert!(
            allowed.contains("POST"),
            "{method}: RFC 9110 §15.5.6 wants an Allow header, saw {allowed:?}"
        );
        if method == Method::HEAD {
            reply.expect_status(405);
        } else {
            reply.expect_oauth_error(405, "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_whichever_it_is() {
    let app = TestApp::start().await;
    for name in ["grant_type", "scope", "client_id", "unknown"] {
        let form = machine().with(name, "ai:chat").and(name, "ai:chat");
        let description = app
            .token(SERVICE, &form)
            .await
            .expect_oauth_error(400, "invalid_request");
        assert!(description.contains(name), "{description}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_form_is_refused() {
    let app = TestApp::start().await;
    let post = || {
        app.call(Method::POST, "/oauth2/token")
            .basic(SERVICE.id, SERVICE.secret.unwrap())
    };
    let json = r#"{"grant_type":"client_credentials"}"#;
    post()
        .raw("application/json", json)
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    post()
        .raw("multipart/form-data; boundary=x", "--x--")
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    post().send().await.expect_oauth_error(400, "invalid_request");
    let form = "application/x-www-form-urlencoded";
    post()
        .raw(form, "grant_type=%ff")
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    post()
        .raw(form, "")
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn the_form_type_is_read_whatever_its_case_and_parameters() {
    let app = TestApp::start().await;
    for media_type in [
        "application/x-www-form-urlencoded; charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded ;a=b",
    ] {
        let call = app
            .call(Method::POST, "/oauth2/token")
            .basic(SERVICE.id, SERVICE.secret.unwrap());
        call.raw(media_type, "grant_type=client_credentials")
            .send()
            .await
            .expect_tokens();
    }
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_one_byte_more_is_not() {
    let app = TestApp::start().await;
    let body = |length: usize| {
        let start = "grant_type=client_credentials&padding=";
        format!("{start}{}", "x".repeat(length - start.len()))
    };
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        let post = |body: String| {
            let call = app.call(Method::POST, path).basic(SERVICE.id, SERVICE.secret.unwrap());
            call.raw("application/x-www-form-urlencoded", body).send()
        };
        assert_ne!(post(body(64 * 1024)).await.status, 413, "{path}");
        post(body(64 * 1024 + 1))
            .await
            .expect_oauth_error(413, "invalid_request");
    }
}

#[tokio::test]
async fn too_many_parameters_are_refused() {
    let app = TestApp::start().await;
    let mut form = machine();
    for n in 0..200 {
        form = form.and(&format!("p{n}"), "1");
    }
    app.token(SERVICE, &form)
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn a_hostile_parameter_name_stays_inside_the_legal_characters() {
    let app = TestApp::start().await;
    for name in [
        "\"quoted\\\"",
        "line\r\nbreak",
        "日本語\u{202e}",
        "<script>",
        &"n".repeat(5000),
    ] {
        let form = machine().and(name, "1").and(name, "2");
        let description = app
            .token(SERVICE, &form)
            .await
            .expect_oauth_error(400, "invalid_request");
        assert!(description.len() < 200, "{}", description.len());
    }
}

#[tokio::test]
async fn any_origin_may_read_the_answer_and_no_cookie_is_involved() {
    let app = TestApp::start().await;
    let call = app
        .call(Method::POST, "/oauth2/token")
        .header("origin", "https://spa.example");
    let reply = call.form(&fields([("grant_type", "refresh_token")])).send().await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert!(reply.cookies().is_empty());
}

// client_credentials.

#[tokio::test]
async fn a_machine_gets_an_access_token_for_itself_and_nothing_else() {
    let app = TestApp::start().await;
    let tokens = app.client_credentials(SERVICE).await.expect_tokens();
    assert_eq!((tokens.refresh_token.as_str(), tokens.id_token.as_str()), ("", ""));
    assert_eq!(
        tokens.scope.as_deref(),
        Some("ai:chat ai:embeddings"),
        "not asked for, so it is told"
    );
    assert_eq!(tokens.expires_in, 120);
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(claims["sub"], "service");
    assert_eq!(claims["client_id"], "service");
    assert_eq!(claims["aud"], GATEWAY);
    assert_eq!(claims["ai_interfaces"], serde_json::json!(["support"]));
    assert!(!claims["jti"].as_str().unwrap().contains('.'), "it belongs to no grant");
    for name in ["sid", "auth_time", "acr", "amr", "roles", "permissions", "nonce"] {
        assert!(!claims.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_machine_may_ask_for_less_and_not_for_more() {
    let app = TestApp::start().await;
    let tokens = app
        .token(SERVICE, &machine().with("scope", "ai:chat"))
        .await
        .expect_tokens();
    assert_eq!(tokens.scope, None);
    assert_eq!(app.claims(&tokens.access_token).await["scope"], "ai:chat");
    for scope in [
        "admin",
        "ai:chat openid",
        "openid",
        "offline_access",
        "ai:chat:support",
        "open\"id",
        "日本語",
    ] {
        app.token(SERVICE, &machine().with("scope", scope))
            .await
            .expect_oauth_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_client_without_the_grant_gets_no_token_for_itself() {
    let app = TestApp::start().await;
    for client in [WEB, SPA, OWN, CONSOLE, RESOURCE_SERVER] {
        app.client_credentials(client)
            .await
            .expect_oauth_error(400, "unauthorized_client");
    }
}

#[tokio::test]
async fn a_disabled_machine_gets_nothing_and_its_tokens_die() {
    let app = TestApp::start().await;
    let tokens = app.client_credentials(SERVICE).await.expect_tokens();
    assert!(app.is_active(&tokens.access_token).await);
    app.set_client_status(SERVICE, ClientStatus::Disabled).await;
    app.client_credentials(SERVICE)
        .await
        .expect_oauth_error(401, "invalid_client");
    assert!(!app.is_active(&tokens.access_token).await);
    app.advance(2);
    app.set_client_status(SERVICE, ClientStatus::Active).await;
    assert!(
        !app.is_active(&tokens.access_token).await,
        "what was revoked stays revoked"
    );
    let fresh = app.client_credentials(SERVICE).await.expect_tokens();
    assert!(app.is_active(&fresh.access_token).await);
}

// password.

#[tokio::test]
async fn the_first_party_console_gets_tokens_for_a_password() {
    let app = TestApp::start().await;
    let tokens = app.password(CONSOLE, ADMIN.name, ADMIN.password).await.expect_tokens();
    assert_eq!(tokens.scope.as_deref(), Some("admin offline_access openid profile"));
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(claims["sub"], ADMIN.sub);
    assert_eq!(claims["aud"], ISSUER);
    assert_eq!(claims["roles"], serde_json::json!(["administrator"]));
    assert_eq!(
        claims["permissions"],
        serde_json::json!(["clients:write", "users:write"])
    );
    assert_eq!(app.claims(&tokens.id_token).await["aud"], "console");
    app.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn the_password_grant_is_refused_to_everybody_else() {
    let app = TestApp::start().await;
    for client in [WEB, SPA, OWN, SERVICE] {
        app.password(client, ALICE.name, ALICE.password)
            .await
            .expect_oauth_error(400, "unauthorized_client");
    }
}

#[tokio::test]
async fn a_wrong_password_an_unknown_user_and_a_locked_one_sound_alike() {
    let app = TestApp::start().await;
    app.set_user_status(BOB, UserStatus::Locked).await;
    let long = "p".repeat(1025);
    let mut descriptions = Vec::new();
    for (name, password) in [
        (ALICE.name, "wrong"),
        (ALICE.name, &long),
        ("nobody-of-that-name", ALICE.password),
        (BOB.name, BOB.password),
        ("\u{1}", "x"),
        (&"u".repeat(200), "x"),
    ] {
        let reply = app.password(CONSOLE, name, password).await;
        descriptions.push(reply.expect_oauth_error(400, "invalid_grant"));
    }
    descriptions.dedup();
    assert_eq!(descriptions.len(), 1, "{descriptions:?}");
}

#[tokio::test]
async fn a_missing_name_or_password_is_an_invalid_request() {
    let app = TestApp::start().await;
    for form in [
        fields([("grant_type", "password"), ("username", "alice")]),
        fields([("grant_type", "password"), ("password", "x")]),
        fields([("grant_type", "password"), ("username", "alice"), ("password", "")]),
    ] {
        app.token(CONSOLE, &form)
            .await
            .expect_oauth_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_password_grant_gives_no_more_than_the_client_may_have() {
    let app = TestApp::start().await;
    let form = fields([
        ("grant_type", "password"),
        ("username", ALICE.name),
        ("password", ALICE.password),
        ("scope", "openid ai:chat"),
    ]);
    app.token(CONSOLE, &form).await.expect_oauth_error(400, "invalid_scope");
    let tokens = app.token(CONSOLE, &form.with("scope", "openid")).await.expect_tokens();
    assert_eq!(tokens.scope, None);
}

#[tokio::test]
async fn a_person_of_another_tenant_cannot_sign_in_to_the_console() {
    let app = TestApp::start().await;
    let other = crate::app::OTHER_ALICE;
    app.password(CONSOLE, other.name, other.password)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

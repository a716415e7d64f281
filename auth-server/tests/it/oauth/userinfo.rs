//! `/userinfo` (OpenID Connect Core §5.3, RFC 6750).

use auth_server::{domain::user::UserStatus, ports::store::Codes as _};
use http::Method;
use serde_json::{Value, json};

use crate::app::{ALICE, BOB, GATEWAY, ISSUER, NONCE, SERVICE, TestApp, WEB, fields};

async fn claims(app: &TestApp, scope: &str) -> Value {
    let tokens = app.tokens_for(ALICE, &WEB.ask().with("scope", scope)).await;
    app.userinfo(&tokens).await.expect_json(200)
}

fn names(claims: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn openid_alone_opens_nothing_but_sub() {
    let app = TestApp::start().await;
    assert_eq!(claims(&app, "openid").await, json!({"sub": ALICE.sub}));
}

#[tokio::test]
async fn profile_opens_every_claim_about_the_person() {
    let app = TestApp::start().await;
    let told = claims(&app, "openid profile").await;
    let wanted = [
        "birthdate",
        "family_name",
        "gender",
        "given_name",
        "locale",
        "middle_name",
        "name",
        "nickname",
        "picture",
        "preferred_username",
        "profile",
        "sub",
        "updated_at",
        "website",
        "zoneinfo",
    ];
    assert_eq!(names(&told), wanted);
    assert_eq!(told["preferred_username"], "alice.l");
    assert!(told["updated_at"].is_number());
}

#[tokio::test]
async fn email_phone_and_address_open_theirs_with_booleans_and_an_object() {
    let app = TestApp::start().await;
    let told = claims(&app, "openid email phone address").await;
    assert_eq!(
        names(&told),
        [
            "address",
            "email",
            "email_verified",
            "phone_number",
            "phone_number_verified",
            "sub"
        ]
    );
    assert_eq!(
        (&told["email_verified"], &told["phone_number_verified"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(told["address"]["locality"], "Oxford");
}

#[tokio::test]
async fn claims_that_a_person_does_not_have_are_left_out() {
    let app = TestApp::start().await;
    let tokens = app
        .tokens_for(BOB, &WEB.ask().with("scope", "openid profile email phone address"))
        .await;
    let told = app.userinfo(&tokens).await.expect_json(200);
    assert_eq!(names(&told), ["preferred_username", "sub", "updated_at"]);
    assert_eq!(told["preferred_username"], "bob");
}

#[tokio::test]
async fn get_post_and_a_form_field_are_all_taken() {
    let app = TestApp::start().await;
    let token = app.tokens(ALICE, WEB).await.access_token;
    let get = app
        .call(Method::GET, "/userinfo")
        .bearer(&token)
        .send()
        .await
        .expect_json(200);
    let post = app
        .call(Method::POST, "/userinfo")
        .bearer(&token)
        .send()
        .await
        .expect_json(200);
    let form = fields([("access_token", token.as_str())]);
    let body = app
        .call(Method::POST, "/userinfo")
        .form(&form)
        .send()
        .await
        .expect_json(200);
    assert_eq!((&get, &get), (&post, &body));
    let form = fields([("unrelated", NONCE)]);
    app.call(Method::POST, "/userinfo")
        .bearer(&token)
        .form(&form)
        .send()
        .await
        .expect_status(200);
    app.call(Method::GET, "/userinfo")
        .header("authorization", &format!("bEARER {token}"))
        .send()
        .await
        .expect_status(200);
}

#[tokio::test]
async fn a_token_that_is_sent_twice_is_an_invalid_request() {
    let app = TestApp::start().await;
    let token = app.tokens(ALICE, WEB).await.access_token;
    let form = fields([("access_token", token.as_str())]);
    let reply = app
        .call(Method::POST, "/userinfo")
        .bearer(&token)
        .form(&form)
        .send()
        .await;
    reply.expect_bearer_error(400, "invalid_request");
}

#[tokio::test]
async fn without_a_token_the_challenge_names_no_error() {
    let app = TestApp::start().await;
    let reply = app.get("/userinfo").await.expect_status(401);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"hexgate\""));
    let reply = app
        .call(Method::GET, "/userinfo")
        .basic("web", "x")
        .send()
        .await
        .expect_status(401);
    assert!(!reply.header("www-authenticate").unwrap().contains("error"));
}

#[tokio::test]
async fn a_token_in_the_query_is_ignored() {
    let app = TestApp::start().await;
    let token = app.tokens(ALICE, WEB).await.access_token;
    app.get(&format!("/userinfo?access_token={token}"))
        .await
        .expect_status(401);
}

#[tokio::test]
async fn what_is_no_access_token_is_an_invalid_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let long = "x".repeat(20_000);
    for token in [&tokens.id_token, &tokens.refresh_token, "x", "a.b.c", &long, ""] {
        let reply = app.call(Method::GET, "/userinfo").bearer(token).send().await;
        reply.expect_bearer_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_token_without_openid_has_an_insufficient_scope() {
    let app = TestApp::start().await;
    let tokens = app.tokens_for(ALICE, &WEB.ask().with("scope", "profile ai:chat")).await;
    let challenge = app
        .userinfo(&tokens)
        .await
        .expect_bearer_error(403, "insufficient_scope");
    assert!(challenge.contains("scope=\"openid\""), "{challenge}");
    let machine = app.client_credentials(SERVICE).await.expect_tokens();
    app.userinfo(&machine)
        .await
        .expect_bearer_error(403, "insufficient_scope");
}

#[tokio::test]
async fn a_person_who_is_locked_or_deleted_has_no_claims() {
    let app = TestApp::start().await;
    for status in [UserStatus::Locked, UserStatus::Deleted] {
        let tokens = app.tokens(ALICE, WEB).await;
        app.set_user_status(ALICE, status).await;
        app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
        if status == UserStatus::Locked {
            app.advance(2);
            app.set_user_status(ALICE, UserStatus::Active).await;
        }
    }
}

#[tokio::test]
async fn claims_are_current_and_kept_by_nobody() {
    let app = TestApp::start().await;
    let tokens = app.tokens(BOB, WEB).await;
    app.advance(5);
    app.apply("[[user]]\nusername = \"bob\"\nname = \"Robert \u{202e}<b>\"\n")
        .await;
    let reply = app.userinfo(&tokens).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = reply.expect_json(200);
    assert_eq!(told["name"], "Robert \u{202e}<b>");
    assert_eq!(told["updated_at"], app.now());
}

#[tokio::test]
async fn browsers_of_any_origin_may_read_it() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let call = app
        .call(Method::GET, "/userinfo")
        .bearer(&tokens.access_token)
        .header("origin", "https://spa.example");
    let reply = call.send().await.expect_status(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    app.call(Method::PUT, "/userinfo")
        .send()
        .await
        .expect_oauth_error(405, "invalid_request");
}

#[tokio::test]
async fn a_token_for_another_resource_is_no_token_here() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let mut claims = app.claims(&tokens.access_token).await;
    for (audience, status) in [
        (json!([GATEWAY, ISSUER]), 200),
        (json!(ISSUER), 200),
        (json!(GATEWAY), 401),
        (json!([GATEWAY]), 401),
        (json!([]), 401),
        (json!({ISSUER: true}), 401),
        (json!(format!("{ISSUER}/")), 401),
        (Value::Null, 401),
    ] {
        claims.insert("aud".into(), audience.clone());
        let token = app.sign_as_provider("at+jwt", &Value::Object(claims.clone())).await;
        let reply = app.call(Method::GET, "/userinfo").bearer(&token).send().await;
        match status {
            200 => drop(reply.expect_status(200)),
            _ => drop(reply.expect_bearer_error(401, "invalid_token")),
        }
    }
}

#[tokio::test]
async fn a_token_of_another_type_issuer_or_without_what_it_needs_is_none() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let claims = Value::Object(app.claims(&tokens.access_token).await);
    let genuine = app.sign_as_provider("at+jwt", &claims).await;
    app.call(Method::GET, "/userinfo")
        .bearer(&genuine)
        .send()
        .await
        .expect_status(200);
    let mut bad = vec![("typ", app.sign_as_provider("JWT", &claims).await)];
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("iss", json!(format!("{ISSUER}/"))),
        ("exp", json!(app.now())),
        ("exp", json!("never")),
        ("exp", json!(1e300)),
        ("iat", json!(null)),
        ("jti", json!(null)),
        ("jti", json!(7)),
        ("sub", json!(null)),
        ("sub", json!([ALICE.sub])),
        ("client_id", json!("nobody-at-all")),
        ("client_id", json!(null)),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        bad.push((name, app.sign_as_provider("at+jwt", &claims).await));
    }
    for (name, token) in bad {
        let reply = app.call(Method::GET, "/userinfo").bearer(&token).send().await;
        assert_eq!(reply.status, 401, "{name}");
        assert!(!app.is_active(&token).await, "{name}");
    }
}

#[tokio::test]
async fn claims_that_a_request_named_are_answered_where_it_wanted_them() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    // As the request's `claims` parameter would have it.
    let asked = json!({"userinfo": {"email": {"essential": true}, "nickname": null, "role": null}, "id_token": {"birthdate": null, "sub": null}});
    let store = &app.foundation().store;
    let digest = auth_server::application::authorize::digest(&code.value);
    let mut grant = store.find_code(&digest).await.unwrap().unwrap();
    let code = crate::app::Code {
        value: "hgc_another".into(),
        ..code
    };
    grant.digest = auth_server::application::authorize::digest(&code.value);
    grant.grant.scope = "openid phone".parse().unwrap();
    grant.grant.details.claims = asked.as_object().cloned();
    store.insert_code(&grant).await.unwrap();
    let tokens = app.exchange(&code).await.expect_tokens();
    let told = app.userinfo(&tokens).await.expect_json(200);
    assert_eq!(
        names(&told),
        ["email", "nickname", "phone_number", "phone_number_verified", "sub"]
    );
    let id_token = app.claims(&tokens.id_token).await;
    assert_eq!(
        (&id_token["birthdate"], &id_token["sub"]),
        (&json!("1990-05-04"), &json!(ALICE.sub))
    );
    assert!(!id_token.contains_key("email") && !id_token.contains_key("nickname"));
    // A refreshed token opens the same.
    let again = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    assert_eq!(app.userinfo(&again).await.expect_json(200), told);
}

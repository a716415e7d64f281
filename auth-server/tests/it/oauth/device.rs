//! The device grant (RFC 8628).

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::app::{ALICE, DeviceCodes, GATEWAY, ISSUER, KIOSK, OTHER_ALICE, TV, TestApp, WEB, fields};

#[tokio::test]
async fn a_device_gets_both_codes_and_what_it_needs_to_show() {
    let app = TestApp::start().await;
    let reply = app.ask_for_device(TV, "openid ai:chat").await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let given = reply.expect_json(200);
    let user_code = given["user_code"].as_str().unwrap();
    assert_eq!((user_code.len(), user_code.find('-')), (9, Some(4)), "{user_code}");
    assert!(given["device_code"].as_str().unwrap().starts_with("hgd_"));
    assert_eq!(given["verification_uri"], format!("{ISSUER}/device"));
    assert_eq!(
        given["verification_uri_complete"],
        format!("{ISSUER}/device?user_code={user_code}")
    );
    assert_eq!((&given["expires_in"], &given["interval"]), (&600.into(), &5.into()));
    let metadata = app.metadata().await;
    assert_eq!(
        metadata["device_authorization_endpoint"],
        format!("{ISSUER}/oauth2/device_authorization")
    );
}

#[tokio::test]
async fn what_a_device_asks_for_is_checked() {
    let app = TestApp::start().await;
    let path = "/oauth2/device_authorization";
    for (form, code) in [
        (fields([("scope", "openid admin")]), "invalid_scope"),
        (fields([("scope", "openid\u{1}")]), "invalid_scope"),
        (
            fields([("scope", "openid"), ("resource", "https://other.example")]),
            "invalid_target",
        ),
    ] {
        app.as_client(TV, path, &form).await.expect_oauth_error(400, code);
    }
    let doubled = fields([("scope", "openid")]).and("scope", "profile");
    app.as_client(TV, path, &doubled)
        .await
        .expect_oauth_error(400, "invalid_request");
    app.ask_for_device(WEB, "openid")
        .await
        .expect_oauth_error(400, "unauthorized_client");
    let forged = crate::app::TestClient {
        secret: Some("wrong"),
        ..KIOSK
    };
    app.ask_for_device(forged, "openid")
        .await
        .expect_oauth_error(401, "invalid_client");
    app.get(path).await.expect_status(405);
}

#[tokio::test]
async fn a_device_that_was_allowed_gets_tokens_for_the_person() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    app.poll(TV, &codes)
        .await
        .expect_oauth_error(400, "authorization_pending");
    app.allow_device(ALICE, &codes).await;
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&ALICE.sub.into(), &TV.id.into())
    );
    assert_eq!(claims["scope"], "ai:chat openid profile");
    assert_eq!(claims.get("sid"), None, "the device is not the browser");
    let id_token = app.claims(&tokens.id_token).await;
    assert_eq!((&id_token["aud"], &id_token["sub"]), (&TV.id.into(), &ALICE.sub.into()));
    app.refresh(TV, &tokens.refresh_token).await.expect_tokens();
    app.userinfo(&tokens).await.expect_json(200);
}

#[tokio::test]
async fn a_device_that_names_no_scope_gets_the_clients_own_and_is_told() {
    let app = TestApp::start().await;
    let given = app
        .as_client(TV, "/oauth2/device_authorization", &fields([]))
        .await
        .expect_json(200);
    let codes = DeviceCodes::read(&given);
    app.allow_device(ALICE, &codes).await;
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    assert_eq!(tokens.scope.as_deref(), Some("ai:chat openid profile"));
}

#[tokio::test]
async fn tokens_are_for_the_resource_that_was_asked_for() {
    let app = TestApp::start().await;
    let form = fields([("scope", "openid ai:chat"), ("resource", GATEWAY)]);
    let given = app.as_client(TV, "/oauth2/device_authorization", &form).await;
    let codes = DeviceCodes::read(&given.expect_json(200));
    app.allow_device(ALICE, &codes).await;
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    let audience = &app.claims(&tokens.access_token).await["aud"];
    assert_eq!(*audience, json!([GATEWAY, ISSUER]));
}

#[tokio::test]
async fn a_confidential_device_without_refresh_tokens_gets_none() {
    let app = TestApp::start().await;
    let codes = app.device(KIOSK).await;
    app.allow_device(ALICE, &codes).await;
    let tokens = app.poll(KIOSK, &codes).await.expect_tokens();
    assert_eq!(tokens.refresh_token, "");
    app.poll(KIOSK, &codes).await.expect_oauth_error(400, "invalid_grant");
    app.userinfo(&tokens).await.expect_json(200);
}

#[tokio::test]
async fn who_polls_too_early_is_told_to_slow_down_and_has_to() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let poll = async |expected: &str| {
        app.poll(TV, &codes).await.expect_oauth_error(400, expected);
    };
    poll("authorization_pending").await;
    app.advance(4);
    poll("slow_down").await;
    // RFC 8628 §3.5: five seconds more for this and all that follow.
    app.advance(9);
    poll("slow_down").await;
    app.advance(15);
    poll("authorization_pending").await;
    app.advance(14);
    poll("slow_down").await;
    // Nobody waits for an answer that is there.
    app.allow_device(ALICE, &codes).await;
    app.poll(TV, &codes).await.expect_tokens();
}

#[tokio::test]
async fn a_device_that_was_denied_is_told_so_as_often_as_it_asks() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.browser();
    let page = browser.bring(ALICE, &codes).await;
    browser
        .press(&page, "device-deny")
        .await
        .expect_page("id=\"device-done\"");
    for _ in 0..3 {
        app.poll(TV, &codes).await.expect_oauth_error(400, "access_denied");
    }
}

#[tokio::test]
async fn codes_expire_allowed_or_not() {
    let app = TestApp::start().await;
    let (allowed, other) = (app.device(TV).await, app.device(TV).await);
    app.allow_device(ALICE, &allowed).await;
    app.advance(600);
    for codes in [&allowed, &other] {
        app.poll(TV, codes).await.expect_oauth_error(400, "expired_token");
    }
    let mut browser = app.signed_in(ALICE).await;
    browser
        .type_code(&other.user_code)
        .await
        .expect_html(400)
        .form("device-submit");
}

#[tokio::test]
async fn a_device_code_is_its_clients_alone() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    app.allow_device(ALICE, &codes).await;
    app.poll(KIOSK, &codes).await.expect_oauth_error(400, "invalid_grant");
    app.poll(WEB, &codes)
        .await
        .expect_oauth_error(400, "unauthorized_client");
    let unknown = DeviceCodes {
        device_code: codes.user_code.clone(),
        ..codes.clone()
    };
    app.poll(TV, &unknown).await.expect_oauth_error(400, "invalid_grant");
    let form = fields([("grant_type", "urn:ietf:params:oauth:grant-type:device_code")]);
    app.token(TV, &form).await.expect_oauth_error(400, "invalid_request");
    app.poll(TV, &codes).await.expect_tokens();
}

#[tokio::test]
async fn of_many_polls_at_once_one_gets_tokens_and_they_live() {
    let app = TestApp::start().await;
    for client in [TV, KIOSK] {
        let codes = app.device(client).await;
        app.allow_device(ALICE, &codes).await;
        let replies = join_all((0..20).map(|_| app.poll(client, &codes))).await;
        let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!(won.len(), 1, "{}", client.id);
        for reply in lost {
            reply.expect_oauth_error(400, "invalid_grant");
        }
        for reply in won {
            let tokens = reply.expect_tokens();
            assert!(app.is_active(&tokens.access_token).await);
        }
    }
}

#[tokio::test]
async fn a_public_client_name_does_not_let_one_address_fill_the_table() {
    let app = TestApp::builder()
        .config(|config| config.device.max_requests = 3)
        .start()
        .await;
    for _ in 0..3 {
        app.device(TV).await;
    }
    let reply = app.ask_for_device(TV, TV.scope).await;
    assert_eq!(reply.header("retry-after"), Some("601"));
    reply.expect_oauth_error(429, "slow_down");
    // Who has a secret is known, and can be disabled.
    app.device(KIOSK).await;
}

#[tokio::test]
async fn signing_out_of_the_browser_leaves_the_device_alone_and_removing_it_does_not() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.browser();
    let page = browser.bring(ALICE, &codes).await;
    browser.press(&page, "device-allow").await.expect_html(200);
    let logout = browser.open("/logout").await.expect_html(200);
    browser.press(&logout, "logout-confirm").await.expect_html(200);
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    assert!(app.is_active(&tokens.access_token).await);
    let mut browser = app.signed_in(ALICE).await;
    let account = browser.open("/account").await.expect_html(200);
    assert!(account.has("Living-room TV"));
    browser.press(&account, "remove-app").await.expect_html(200);
    assert!(!app.is_active(&tokens.access_token).await);
    app.refresh(TV, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_device_that_was_allowed_and_removed_before_it_asked_gets_nothing() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    app.allow_device(ALICE, &codes).await;
    let mut browser = app.signed_in(ALICE).await;
    let account = browser.open("/account").await.expect_html(200);
    browser.press(&account, "remove-app").await.expect_html(200);
    app.poll(TV, &codes).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn only_people_of_the_clients_tenant_can_allow() {
    let app = TestApp::builder()
        .document(
            "[[client]]\nclient_id = \"tv2\"\ntenant = \"other\"\ntoken_endpoint_auth_method = \"none\"\n\
             grant_types = [\"urn:ietf:params:oauth:grant-type:device_code\"]\nresponse_types = []\nscope = \"openid\"\n",
        )
        .start()
        .await;
    let client = crate::app::TestClient {
        id: "tv2",
        scope: "openid",
        ..TV
    };
    let codes = app.device(client).await;
    let mut browser = app.signed_in(ALICE).await;
    let login = browser.type_code(&codes.user_code).await;
    assert!(login.clone().expect_html(200).has("id=\"login-submit\""));
    // The names of the other tenant count there.
    let page = browser
        .sign_in(&login, OTHER_ALICE)
        .await
        .expect_page("id=\"device-allow\"");
    browser.press(&page, "device-allow").await.expect_html(200);
    let tokens = app.poll(client, &codes).await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["sub"], OTHER_ALICE.sub);
}

#[tokio::test]
async fn applications_in_browsers_may_ask_too() {
    let app = TestApp::start().await;
    let reply = app
        .call(Method::POST, "/oauth2/device_authorization")
        .header("origin", "https://tv.example")
        .form(&fields([("client_id", TV.id), ("scope", "openid")]))
        .send()
        .await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let _: Value = reply.expect_json(200);
}

const DETAILS: &str =
    r#"[{"type": "ai_call", "interfaces": ["drafts", "support"], "max_cost": {"amount": "5.00", "currency": "EUR"}}]"#;

#[tokio::test]
async fn a_person_leaves_a_device_less_than_it_asked_for() {
    let app = TestApp::start().await;
    let form = fields([("scope", "openid ai:chat"), ("authorization_details", DETAILS)]);
    let given = app.as_client(TV, "/oauth2/device_authorization", &form).await;
    let codes = DeviceCodes::read(&given.expect_json(200));
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.bring(ALICE, &codes).await;
    // More than was asked for is asked about again.
    let page = browser
        .press_with(&page, "device-allow", |fields| fields.with("rar-0-amount", "6.00"))
        .await
        .expect_html(200);
    assert!(page.has("id=\"rar-problem\""));
    let less = |fields: crate::app::Fields| fields.with("rar-0-amount", "2.00").without("rar-0-interface-0");
    browser
        .press_with(&page, "device-allow", less)
        .await
        .expect_page("id=\"device-done\"");
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(
        claims["authorization_details"],
        json!([{"type": "ai_call", "interfaces": ["support"], "max_cost": {"amount": "2.00", "currency": "EUR"}}])
    );
}

#[tokio::test]
async fn details_of_a_device_are_checked_when_it_asks() {
    let app = TestApp::start().await;
    for (scope, details, code) in [
        (
            "openid ai:chat",
            "[{\"type\": \"payment\"}]",
            "invalid_authorization_details",
        ),
        ("openid ai:chat", "nonsense", "invalid_authorization_details"),
        ("openid", DETAILS, "invalid_scope"),
    ] {
        let form = fields([("scope", scope), ("authorization_details", details)]);
        app.as_client(TV, "/oauth2/device_authorization", &form)
            .await
            .expect_oauth_error(400, code);
    }
}

#[tokio::test]
async fn a_scope_that_the_client_lost_while_the_person_decided_is_not_in_its_tokens() {
    let app = TestApp::start().await;
    let reply = app.ask_for_device(KIOSK, "openid ai:chat").await;
    let codes = DeviceCodes::read(&reply.expect_json(200));
    app.allow_device(ALICE, &codes).await;
    app.apply(
        r#"
[[client]]
client_id = "kiosk"
client_secret = "kiosk-secret-2a2a"
grant_types = ["urn:ietf:params:oauth:grant-type:device_code"]
response_types = []
scope = "openid"
"#,
    )
    .await;
    app.sync().await;
    let tokens = app.poll(KIOSK, &codes).await.expect_json(200);
    assert_eq!(tokens["scope"], "openid");
    let claims = app.claims(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(claims["scope"], "openid");
}

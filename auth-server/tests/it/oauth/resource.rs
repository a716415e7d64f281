//! `resource` (RFC 8707) at the authorization endpoint and at the token endpoint.

use serde_json::{Value, json};

use crate::app::{ALICE, CONSOLE, Fields, GATEWAY, ISSUER, OWN, SERVICE, TestApp, WEB, fields, refresh_form};

const API: &str = "https://api.example/v1";

async fn world() -> TestApp {
    let listed = [API, "https://tools.example/*"];
    TestApp::builder()
        .config(|config| config.tokens.resources = listed.map(str::to_owned).to_vec())
        .start()
        .await
}

async fn audience(app: &TestApp, access_token: &str) -> Value {
    app.claims(access_token).await["aud"].clone()
}

fn machine() -> Fields {
    fields([("grant_type", "client_credentials")])
}

#[tokio::test]
async fn a_resource_that_was_asked_for_is_the_audience() {
    let app = world().await;
    for (asked, audience_of_it) in [
        (API, API),
        ("https://api.example/v1/", API),
        ("https://tools.example/calendar", "https://tools.example/calendar"),
        (GATEWAY, GATEWAY),
        ("http://127.0.0.1:9100/", GATEWAY),
    ] {
        let ask = WEB.ask().with("scope", "ai:chat").with("resource", asked);
        let tokens = app.tokens_for(ALICE, &ask).await;
        assert_eq!(audience(&app, &tokens.access_token).await, audience_of_it, "{asked}");
    }
}

#[tokio::test]
async fn several_are_all_meant_and_openid_always_opens_userinfo() {
    let app = world().await;
    let ask = WEB
        .ask()
        .and("resource", API)
        .and("resource", "https://tools.example/mail")
        .and("resource", API);
    let tokens = app.tokens_for(ALICE, &ask).await;
    let wanted = json!([API, "https://tools.example/mail", ISSUER]);
    assert_eq!(audience(&app, &tokens.access_token).await, wanted);
    app.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn one_that_is_not_known_is_an_invalid_target_at_every_endpoint() {
    let app = world().await;
    let long = format!("https://tools.example/{}", "a".repeat(2100));
    let code = app.consented_code(ALICE, WEB).await;
    for resource in [
        "https://elsewhere.example",
        "https://api.example/v2",
        "https://api.example/v1#fragment",
        "https://api.example/V1",
        "https://tools.example",
        "https://tools.example/../admin",
        "https://tools.example/a?x=1",
        "http://tools.example/a",
        "tools",
        "*",
        "https://tools.example/*",
        "https://tools.example/日本",
        &long,
    ] {
        app.get(&WEB.ask().with("resource", resource).path())
            .await
            .expect_error_answer("invalid_target");
        for (client, form) in [(SERVICE, machine()), (WEB, code.form())] {
            app.token(client, &form.with("resource", resource))
                .await
                .expect_oauth_error(400, "invalid_target");
        }
    }
    let mut many = WEB.ask();
    for n in 0..17 {
        many = many.and("resource", &format!("https://tools.example/{n}"));
    }
    app.get(&many.path()).await.expect_error_answer("invalid_target");
    // None of that has spent the code.
    app.exchange(&code).await.expect_tokens();
}

#[tokio::test]
async fn a_token_may_be_narrowed_to_one_of_the_resources_and_not_to_another() {
    let app = world().await;
    let ask = WEB
        .ask()
        .with("scope", "ai:chat offline_access")
        .and("resource", API)
        .and("resource", GATEWAY);
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &ask).await;
    app.token(WEB, &code.form().with("resource", "https://tools.example/x"))
        .await
        .expect_oauth_error(400, "invalid_target");
    let tokens = app.token(WEB, &code.form().with("resource", API)).await.expect_tokens();
    assert_eq!(audience(&app, &tokens.access_token).await, API);
    // What was granted stays granted: a refresh may ask for the other one, or for both.
    let refreshed = app
        .token(WEB, &refresh_form(&tokens.refresh_token).with("resource", GATEWAY))
        .await
        .expect_tokens();
    assert_eq!(audience(&app, &refreshed.access_token).await, GATEWAY);
    let refreshed = app.refresh(WEB, &refreshed.refresh_token).await.expect_tokens();
    assert_eq!(audience(&app, &refreshed.access_token).await, json!([API, GATEWAY]));
    app.token(
        WEB,
        &refresh_form(&refreshed.refresh_token).with("resource", "https://tools.example/x"),
    )
    .await
    .expect_oauth_error(400, "invalid_target");
}

#[tokio::test]
async fn a_machine_and_the_console_name_their_resource_at_the_token_endpoint() {
    let app = world().await;
    let tokens = app
        .token(SERVICE, &machine().with("resource", API))
        .await
        .expect_tokens();
    assert_eq!(audience(&app, &tokens.access_token).await, API);
    let tokens = app.client_credentials(SERVICE).await.expect_tokens();
    assert_eq!(audience(&app, &tokens.access_token).await, GATEWAY);
    let form = fields([
        ("grant_type", "password"),
        ("username", ALICE.name),
        ("password", ALICE.password),
        ("scope", "profile"),
        ("resource", API),
    ]);
    let tokens = app.token(CONSOLE, &form).await.expect_tokens();
    assert_eq!(audience(&app, &tokens.access_token).await, API);
}

#[tokio::test]
async fn a_pushed_request_carries_its_resources() {
    let app = world().await;
    let form = OWN
        .ask()
        .with("scope", "profile")
        .and("resource", API)
        .fields
        .without("client_id");
    let body = app.as_client(OWN, "/oauth2/par", &form).await.expect_json(201);
    let path = format!(
        "/oauth2/authorize?{}",
        fields([
            ("client_id", OWN.id),
            ("request_uri", body["request_uri"].as_str().unwrap())
        ])
        .encode()
    );
    let value = app.signed_in(ALICE).await.get(&path).await.expect_code();
    let code = crate::app::Code {
        value,
        client: OWN,
        redirect_uri: OWN.redirect_uri.into(),
        has_challenge: true,
    };
    let tokens = app.exchange(&code).await.expect_tokens();
    assert_eq!(audience(&app, &tokens.access_token).await, API);
}

//! `/oauth2/par` (RFC 9126), and what its references do at the authorization endpoint.

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;

use crate::app::{
    ALICE, Ask, BOB, CHALLENGE, Code, LEGACY, OWN, RESOURCE_SERVER, Reply, SERVICE, SPA, STATE, TestApp, TestClient,
    WEB,
};

/// A client that must push.
const STRICT: TestClient = TestClient {
    id: "strict",
    secret: Some("strict-secret-2c2c"),
    redirect_uri: "https://strict.example/cb",
    scope: "openid",
};
const STRICT_DOCUMENT: &str = r#"
[[client]]
client_id = "strict"
client_secret = "strict-secret-2c2c"
redirect_uris = ["https://strict.example/cb"]
scope = "openid"
auto_approve = true
require_pushed_authorization_requests = true
"#;
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

async fn push(app: &TestApp, ask: &Ask) -> Reply {
    app.as_client(ask.client, "/oauth2/par", &ask.fields.clone().without("client_id"))
        .await
}

async fn reference(app: &TestApp, ask: &Ask) -> String {
    let reply = push(app, ask).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let body = reply.expect_json(201);
    body["request_uri"].as_str().unwrap().to_owned()
}

/// `client_id` and `request_uri` and nothing else.
fn by_reference(client: TestClient, request_uri: &str) -> Ask {
    let mut ask = client.ask().with("request_uri", request_uri);
    for name in ask.fields.names() {
        if name != "client_id" && name != "request_uri" {
            ask = ask.without(&name);
        }
    }
    ask
}

async fn pushed(app: &TestApp, ask: &Ask) -> Ask {
    by_reference(ask.client, &reference(app, ask).await)
}

fn code(client: TestClient, value: &str) -> Code {
    Code {
        value: value.to_owned(),
        client,
        redirect_uri: client.redirect_uri.into(),
        has_challenge: true,
    }
}

#[tokio::test]
async fn a_pushed_request_is_answered_with_a_reference_that_lives_a_minute() {
    let app = TestApp::start().await;
    let body = push(&app, &WEB.ask()).await.expect_json(201);
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["request_uri", "expires_in"]);
    assert_eq!(body["expires_in"], 60);
    let (prefix, secret) = body["request_uri"].as_str().unwrap().rsplit_once(':').unwrap();
    assert_eq!(prefix, "urn:ietf:params:oauth:request_uri");
    assert_eq!(secret.len(), 43, "256 bits in base64url");
    let other = push(&app, &WEB.ask()).await.expect_json(201);
    assert_ne!(other["request_uri"], body["request_uri"]);
}

#[tokio::test]
async fn client_id_and_request_uri_alone_lead_to_a_code_that_works() {
    let app = TestApp::start().await;
    for client in [WEB, SPA] {
        let ask = pushed(&app, &client.ask()).await;
        let answer = app.browser().answer(ALICE, &ask).await;
        assert_eq!(answer.uri, client.redirect_uri);
        assert_eq!(answer.params["state"], STATE);
        let tokens = app
            .exchange(&code(client, &answer.params["code"]))
            .await
            .expect_tokens();
        assert_eq!(app.claims(&tokens.id_token).await["nonce"], crate::app::NONCE);
    }
}

#[tokio::test]
async fn what_stands_beside_a_reference_is_not_looked_at() {
    let app = TestApp::start().await;
    let reference = reference(&app, &WEB.ask().with("scope", "openid")).await;
    let ask = WEB
        .ask()
        .with("request_uri", &reference)
        .with("state", "another")
        .with("nonce", "another")
        .with("scope", "openid profile email")
        .with("redirect_uri", "https://evil.example/")
        .with("response_type", "token")
        .with("response_mode", "form_post")
        .with("prompt", "none")
        .with("request", "x.y.z");
    let answer = app.browser().answer(ALICE, &ask).await;
    assert_eq!(
        (answer.uri.as_str(), answer.params["state"].as_str()),
        (WEB.redirect_uri, STATE)
    );
    let tokens = app.exchange(&code(WEB, &answer.params["code"])).await.expect_tokens();
    let claims = app.claims(&tokens.id_token).await;
    assert_eq!(claims["nonce"], crate::app::NONCE);
    assert_eq!(app.claims(&tokens.access_token).await["scope"], "openid");
}

#[tokio::test]
async fn a_reference_lives_59_seconds_and_not_60() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let ask = pushed(&app, &WEB.ask()).await;
    app.advance(59);
    browser.authorize(&ask).await.expect_page("id=\"login-submit\"");
    app.advance(1);
    let sentence = app.get(&ask.path()).await.expect_error_page(400, "invalid_request_uri");
    assert!(sentence.contains("request_uri"), "{sentence}");
}

#[tokio::test]
async fn the_lifetime_is_the_operators_to_set() {
    let app = TestApp::builder()
        .config(|config| config.tokens.par_ttl_s = 90)
        .start()
        .await;
    let body = push(&app, &WEB.ask()).await.expect_json(201);
    assert_eq!(body["expires_in"], 90);
    let ask = by_reference(WEB, body["request_uri"].as_str().unwrap());
    app.advance(89);
    app.get(&ask.path()).await.expect_redirect_to("/login");
    app.advance(1);
    app.get(&ask.path()).await.expect_error_page(400, "invalid_request_uri");
}

#[tokio::test]
async fn who_followed_in_time_may_take_longer_to_sign_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&pushed(&app, &WEB.ask()).await).await;
    app.advance(25 * 60);
    browser.complete(login, ALICE).await.expect_code();
}

#[tokio::test]
async fn reloading_before_the_answer_works_and_following_after_it_does_not() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let ask = pushed(&app, &WEB.ask()).await;
    for _ in 0..3 {
        browser.authorize(&ask).await.expect_page("id=\"login-submit\"");
    }
    browser.answer(ALICE, &ask).await.params.get("code").unwrap();
    let sentence = browser
        .get(&ask.path())
        .await
        .expect_error_page(400, "invalid_request_uri");
    assert!(sentence.contains("request_uri"), "{sentence}");
}

#[tokio::test]
async fn an_error_answers_a_request_as_well() {
    let app = TestApp::start().await;
    let silent = pushed(&app, &WEB.ask().with("prompt", "none")).await;
    app.get(&silent.path()).await.expect_error_answer("login_required");
    app.get(&silent.path())
        .await
        .expect_error_page(400, "invalid_request_uri");

    let mut browser = app.signed_in(ALICE).await;
    let denied = pushed(&app, &WEB.ask()).await;
    let page = browser.authorize(&denied).await.expect_page("id=\"consent-deny\"");
    browser
        .press(&page, "consent-deny")
        .await
        .expect_error_answer("access_denied");
    browser
        .get(&denied.path())
        .await
        .expect_error_page(400, "invalid_request_uri");

    let mut stranger = app.browser();
    let cancelled = pushed(&app, &WEB.ask()).await;
    let page = stranger.authorize(&cancelled).await.expect_page("id=\"login-cancel\"");
    stranger
        .press(&page, "login-cancel")
        .await
        .expect_error_answer("access_denied");
    stranger
        .get(&cancelled.path())
        .await
        .expect_error_page(400, "invalid_request_uri");
}

#[tokio::test]
async fn of_two_tabs_the_first_to_finish_gets_the_answer() {
    let app = TestApp::start().await;
    let ask = pushed(&app, &WEB.ask()).await;
    let (mut one, mut other) = (app.signed_in(ALICE).await, app.signed_in(ALICE).await);
    let first = one.authorize(&ask).await.expect_page("id=\"consent-allow\"");
    let second = other.authorize(&ask).await.expect_page("id=\"consent-allow\"");
    one.press(&first, "consent-allow").await.expect_code();
    other
        .press(&second, "consent-allow")
        .await
        .expect_error_page(400, "invalid_request_uri");
    let mut third = app.signed_in(BOB).await;
    third
        .get(&ask.path())
        .await
        .expect_error_page(400, "invalid_request_uri");
}

#[tokio::test]
async fn of_many_parallel_answers_one_is_sent() {
    let app = TestApp::start().await;
    let browser = app.signed_in(ALICE).await;
    let ask = pushed(&app, &OWN.ask()).await;
    let racers = (0..30).map(|_| {
        let (mut racer, path) = (browser.clone(), ask.path());
        async move { racer.get(&path).await }
    });
    let replies = join_all(racers).await;
    let answered = replies.iter().filter(|reply| reply.status == 303).count();
    assert_eq!(answered, 1);
    for reply in replies.into_iter().filter(|reply| reply.status != 303) {
        reply.expect_error_page(400, "invalid_request_uri");
    }
}

#[tokio::test]
async fn another_clients_reference_is_refused_and_stays_good_for_its_own() {
    let app = TestApp::start().await;
    let reference = reference(&app, &WEB.ask()).await;
    for client in [SPA, OWN] {
        let sentence = app
            .get(&by_reference(client, &reference).path())
            .await
            .expect_error_page(400, "invalid_request_uri");
        assert!(sentence.contains("request_uri"), "{sentence}");
    }
    app.browser()
        .answer(ALICE, &by_reference(WEB, &reference))
        .await
        .params
        .get("code")
        .unwrap();
}

#[tokio::test]
async fn a_reference_that_nobody_was_given_is_refused() {
    let app = TestApp::start().await;
    let real = reference(&app, &WEB.ask()).await;
    let long = format!("urn:ietf:params:oauth:request_uri:{}", "x".repeat(4000));
    for wrong in [
        "urn:ietf:params:oauth:request_uri:",
        "urn:ietf:params:oauth:request_uri:日本語",
        "urn:ietf:params:oauth:request_uri:' OR 1=1 --",
        &long,
        &format!("{real}x"),
        &format!("{real} "),
        real.get(..real.len() - 1).unwrap(),
    ] {
        let sentence = app
            .get(&by_reference(WEB, wrong).path())
            .await
            .expect_error_page(400, "invalid_request_uri");
        assert!(sentence.contains("request_uri"), "{sentence}");
    }
    app.get(&by_reference(WEB, &real).without("client_id").path())
        .await
        .expect_error_page(400, "invalid_request");
    app.get(&by_reference(WEB, &real).and("request_uri", &real).path())
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn prompt_login_counts_from_when_the_person_came_and_not_from_the_push() {
    let app = TestApp::start().await;
    let ask = pushed(&app, &OWN.ask().with("prompt", "login")).await;
    app.advance(5);
    let mut browser = app.signed_in(ALICE).await;
    app.advance(5);
    let login = browser.authorize(&ask).await;
    login.clone().expect_page("id=\"login-submit\"");
    browser.sign_in(&login, ALICE).await.expect_code();
}

#[tokio::test]
async fn a_client_that_was_disabled_or_lost_its_redirect_uri_meanwhile_gets_nothing() {
    let app = TestApp::builder().document(STRICT_DOCUMENT).start().await;
    let ask = pushed(&app, &STRICT.ask()).await;
    app.apply(&STRICT_DOCUMENT.replace("strict.example/cb", "strict.example/new"))
        .await;
    app.get(&ask.path()).await.expect_error_page(400, "invalid_request_uri");
    let ask = pushed(&app, &WEB.ask()).await;
    app.set_client_status(WEB, auth_server::domain::client::ClientStatus::Disabled)
        .await;
    app.get(&ask.path()).await.expect_error_page(400, "invalid_client");
}

#[tokio::test]
async fn what_the_authorization_endpoint_refuses_is_refused_at_the_push() {
    let app = TestApp::start().await;
    let long = "n".repeat(4097);
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "code id_token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("response_mode", "fragment", "invalid_request"),
        ("redirect_uri", "", "invalid_request"),
        ("redirect_uri", "https://evil.example/", "invalid_request"),
        ("redirect_uri", "https://web.example/callback/", "invalid_request"),
        ("scope", "openid admin", "invalid_scope"),
        ("scope", "open\"id", "invalid_scope"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("prompt", "none login", "invalid_request"),
        ("max_age", "-1", "invalid_request"),
        ("display", "hologram", "invalid_request"),
        ("state", &long, "invalid_request"),
        ("nonce", &long, "invalid_request"),
        ("login_hint", &long, "invalid_request"),
        ("id_token_hint", "not.a.token", "invalid_request"),
        ("resource", "https://elsewhere.example/", "invalid_target"),
        ("registration", "{}", "registration_not_supported"),
        ("dpop_jkt", "short", "invalid_request"),
        ("request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"),
        ("request_uri", "https://web.example/request.jwt", "invalid_request"),
    ] {
        let reply = push(&app, &WEB.ask().with(name, value)).await;
        let description = reply.expect_oauth_error(400, error);
        assert!(description.contains(name), "{name}={value}: {description}");
    }
    let doubled = push(&app, &WEB.ask().and("state", "b")).await;
    doubled.expect_oauth_error(400, "invalid_request");
    let broken = app
        .call(Method::POST, "/oauth2/par")
        .basic(WEB.id, WEB.secret.unwrap())
        .raw("application/x-www-form-urlencoded", "state=%ff%fe");
    broken.send().await.expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn a_client_without_the_code_grant_may_not_push() {
    let app = TestApp::start().await;
    for client in [SERVICE, RESOURCE_SERVER] {
        let ask = WEB.ask();
        let reply = app
            .as_client(client, "/oauth2/par", &ask.fields.without("client_id"))
            .await;
        reply.expect_oauth_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_client_authenticates_as_at_the_token_endpoint() {
    let app = TestApp::start().await;
    let form = WEB.ask().fields.without("client_id");
    let post = || app.call(Method::POST, "/oauth2/par");
    for reply in [
        post().form(&form).send().await,
        post().form(&WEB.ask().fields).send().await,
        post().basic(WEB.id, "wrong").form(&form).send().await,
        post().basic("unknown", "x").form(&form).send().await,
        post()
            .form(&form.clone().with("client_id", SPA.id).with("client_secret", "x"))
            .send()
            .await,
    ] {
        reply.expect_oauth_error(401, "invalid_client");
    }
    let in_body = form
        .clone()
        .with("client_id", WEB.id)
        .with("client_secret", WEB.secret.unwrap());
    post().form(&in_body).send().await.expect_json(201);
    // RFC 6749 §2.3: one method per request.
    post()
        .basic(WEB.id, WEB.secret.unwrap())
        .form(&in_body)
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn only_a_posted_form_of_a_sane_size_is_read() {
    let app = TestApp::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        app.call(method, "/oauth2/par")
            .basic(WEB.id, WEB.secret.unwrap())
            .form(&WEB.ask().fields)
            .send()
            .await
            .expect_oauth_error(405, "invalid_request");
    }
    app.call(Method::POST, "/oauth2/par")
        .basic(WEB.id, WEB.secret.unwrap())
        .json(&Value::Object(serde_json::Map::new()))
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    let huge = WEB.ask().with("extra", &"x".repeat(70_000));
    push(&app, &huge).await.expect_oauth_error(413, "invalid_request");
}

#[tokio::test]
async fn a_client_that_must_push_gets_nothing_without() {
    let app = TestApp::builder().document(STRICT_DOCUMENT).start().await;
    let answer = app
        .get(&STRICT.ask().path())
        .await
        .expect_error_answer("invalid_request");
    assert!(answer.params["error_description"].contains("request_uri"), "{answer:?}");
    let ask = pushed(&app, &STRICT.ask()).await;
    app.signed_in(ALICE).await.get(&ask.path()).await.expect_code();
    // Others may go on as before.
    app.get(&OWN.ask().path()).await.expect_redirect_to("/login");
}

#[tokio::test]
async fn the_operator_may_make_every_client_push() {
    let app = TestApp::builder()
        .config(|config| config.require_pushed_authorization_requests = true)
        .start()
        .await;
    let metadata = app.metadata().await;
    assert_eq!(metadata["require_pushed_authorization_requests"], true);
    app.get(&OWN.ask().path()).await.expect_error_answer("invalid_request");
    let ask = pushed(&app, &OWN.ask()).await;
    app.signed_in(ALICE).await.get(&ask.path()).await.expect_code();
}

#[tokio::test]
async fn state_and_nonce_of_384_characters_come_back_whole() {
    let app = TestApp::start().await;
    let (state, nonce) = ("s".repeat(384), "n".repeat(384));
    let ask = pushed(&app, &WEB.ask().with("state", &state).with("nonce", &nonce)).await;
    let answer = app.browser().answer(ALICE, &ask).await;
    assert_eq!(answer.params["state"], state);
    let tokens = app.exchange(&code(WEB, &answer.params["code"])).await.expect_tokens();
    assert_eq!(app.claims(&tokens.id_token).await["nonce"], nonce.as_str());
}

#[tokio::test]
async fn hostile_text_is_pushed_and_echoed_to_the_byte() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for state in [
        "line\r\n日本語 🦀 \u{202e}\"'<>&;%00",
        "\u{feff}\u{1}\u{7f}",
        "a+b c%20",
    ] {
        let ask = pushed(&app, &OWN.ask().with("state", state)).await;
        let answer = browser.get(&ask.path()).await.expect_answer();
        assert_eq!(answer.params["state"], state);
    }
}

#[tokio::test]
async fn neither_state_nor_nonce_is_needed() {
    let app = TestApp::start().await;
    let ask = pushed(&app, &WEB.ask().without("state").without("nonce")).await;
    let answer = app.browser().answer(ALICE, &ask).await;
    let names: Vec<&str> = answer.params.keys().map(String::as_str).collect();
    assert_eq!(names, ["code", "iss"]);
}

#[tokio::test]
async fn a_client_that_was_let_off_pkce_may_push_without() {
    let app = TestApp::start().await;
    let bare = LEGACY.ask().without("code_challenge").without("code_challenge_method");
    let ask = pushed(&app, &bare).await;
    app.signed_in(ALICE).await.get(&ask.path()).await.expect_code();
}

#[tokio::test]
async fn a_code_that_dpop_jkt_binds_is_nobodys_without_the_key() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let direct = OWN.ask().with("dpop_jkt", THUMBPRINT);
    let by_push = pushed(&app, &direct).await;
    for ask in [direct, by_push] {
        let value = browser.get(&ask.path()).await.expect_code();
        app.exchange(&code(OWN, &value))
            .await
            .expect_oauth_error(400, "invalid_grant");
    }
    for wrong in ["", "short", &format!("{THUMBPRINT}A"), &CHALLENGE.replace('E', "=")] {
        let reply = browser.get(&OWN.ask().with("dpop_jkt", wrong).path()).await;
        match wrong {
            "" => drop(reply.expect_code()),
            _ => drop(reply.expect_error_answer("invalid_request")),
        }
    }
}

#[tokio::test]
async fn a_browser_of_another_origin_may_push_for_a_public_client() {
    let app = TestApp::start().await;
    let reply = app
        .call(Method::POST, "/oauth2/par")
        .header("origin", "https://spa.example")
        .form(&SPA.ask().fields)
        .send()
        .await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    reply.expect_json(201);
}

#[tokio::test]
async fn nothing_is_answered_with_success_when_storage_is_away() {
    let app = TestApp::start().await;
    let ask = pushed(&app, &WEB.ask()).await;
    app.foundation().store.close().await;
    push(&app, &WEB.ask())
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
    app.get(&ask.path())
        .await
        .expect_error_page(503, "temporarily_unavailable");
}

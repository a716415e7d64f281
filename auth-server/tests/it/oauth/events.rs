//! `/events/poll`: security events for resource servers (RFC 8936, RFC 8417).

use std::{collections::BTreeMap, time::Duration};

use auth_server::domain::client::ClientStatus;
use http::Method;
use serde_json::{Map, Value, json};

use crate::app::{ALICE, Call, GATEWAY, ISSUER, NOBODY, RECEIVER, Reply, SERVICE, SPA, TestApp, Tokens, WEB};

fn call<'a>(app: &'a TestApp, stream: &str) -> Call<'a> {
    app.call(Method::POST, &format!("/events/poll?stream={stream}"))
        .bearer(&TestApp::events_credential())
}

async fn poll(app: &TestApp, stream: &str, body: Value) -> (BTreeMap<String, String>, bool) {
    let mut request = json!({"returnImmediately": true});
    request
        .as_object_mut()
        .unwrap()
        .extend(body.as_object().unwrap().clone());
    let told = call(app, stream).json(&request).send().await.expect_json(200);
    (
        serde_json::from_value(told["sets"].clone()).unwrap(),
        told["moreAvailable"].as_bool().unwrap(),
    )
}

/// The claims of every event, verified as a receiver does.
pub(super) async fn events(app: &TestApp, stream: &str) -> Vec<Map<String, Value>> {
    let mut events = Vec::new();
    for (id, set) in poll(app, stream, json!({})).await.0 {
        let verified = app.verified(&set).await;
        assert!(verified.is_typ("secevent+jwt"));
        assert_eq!(verified.claims["iss"], ISSUER);
        assert_eq!(verified.claims["aud"], GATEWAY);
        assert_eq!(verified.claims["jti"], id.as_str());
        assert!(verified.claims["iat"].is_number());
        assert!(
            !verified.claims.contains_key("exp") && !verified.claims.contains_key("sub"),
            "RFC 8417 §2.2.4"
        );
        events.push(verified.claims);
    }
    events
}

async fn revoke_one(app: &TestApp) -> Tokens {
    let tokens = app.tokens(ALICE, SPA).await;
    app.revoke(SPA, &tokens.access_token).await.expect_status(200);
    tokens
}

#[tokio::test]
async fn a_quiet_feed_is_an_empty_object() {
    let app = TestApp::start().await;
    let reply = call(&app, "a").json(&json!({"returnImmediately": true})).send().await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.expect_json(200), json!({"sets": {}, "moreAvailable": false}));
}

#[tokio::test]
async fn each_kind_of_revocation_is_an_event_of_its_own() {
    let app = TestApp::start().await;
    let hint = app.now() + 3600 + 60;
    let tokens = revoke_one(&app).await;
    let claims = app.claims(&tokens.access_token).await;
    let [event] = <[_; 1]>::try_from(events(&app, "a").await).unwrap();
    assert_eq!(
        event["sub_id"],
        json!({"format": "jwt_id", "iss": ISSUER, "jti": claims["jti"]})
    );
    assert_eq!(
        event["events"],
        json!({"https://schemas.hexgate.dev/events/token-revoked": {"exp_hint": hint}})
    );

    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    let claims = app.claims(&tokens.access_token).await;
    app.revoke(SPA, &tokens.refresh_token).await.expect_status(200);
    let [event] = <[_; 1]>::try_from(events(&app, "a").await).unwrap();
    let grant = claims["jti"].as_str().unwrap().split('.').next().unwrap();
    assert_eq!(event["sub_id"], json!({"format": "opaque", "id": grant}));
    assert_eq!(
        event["events"],
        json!({"https://schemas.hexgate.dev/events/grant-revoked": {"exp_hint": hint}})
    );

    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &SPA.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    browser.press(&page, "logout-confirm").await;
    let [event] = <[_; 1]>::try_from(events(&app, "a").await).unwrap();
    assert_eq!(
        event["sub_id"],
        json!({"format": "opaque", "id": app.claims(&tokens.access_token).await["sid"]})
    );
    let uri = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    assert_eq!(event["events"], json!({uri: {"exp_hint": hint}}));

    let app = TestApp::start().await;
    app.set_password(ALICE, "new one").await;
    let [event] = <[_; 1]>::try_from(events(&app, "a").await).unwrap();
    assert_eq!(
        event["sub_id"],
        json!({"format": "iss_sub", "iss": ISSUER, "sub": ALICE.sub})
    );
    let uri = "https://schemas.hexgate.dev/events/subject-revoked";
    assert_eq!(
        event["events"],
        json!({uri: {"exp_hint": hint, "before": app.now() + 1}})
    );

    let app = TestApp::start().await;
    app.set_client_status(SERVICE, ClientStatus::Disabled).await;
    let [event] = <[_; 1]>::try_from(events(&app, "a").await).unwrap();
    assert_eq!(event["sub_id"], json!({"format": "opaque", "id": "service"}));
    let uri = "https://schemas.hexgate.dev/events/client-revoked";
    assert_eq!(
        event["events"],
        json!({uri: {"exp_hint": hint, "before": app.now() + 1}})
    );
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_and_what_is_does_not() {
    let app = TestApp::start().await;
    revoke_one(&app).await;
    let (first, _) = poll(&app, "a", json!({})).await;
    let (again, _) = poll(&app, "a", json!({})).await;
    assert_eq!(first.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    let ids: Vec<&String> = first.keys().collect();
    assert!(poll(&app, "a", json!({"ack": ids})).await.0.is_empty());
    assert!(poll(&app, "a", json!({})).await.0.is_empty());
    revoke_one(&app).await;
    assert_eq!(poll(&app, "a", json!({})).await.0.len(), 1);
}

#[tokio::test]
async fn an_error_that_a_receiver_reports_counts_as_acknowledged() {
    let app = TestApp::start().await;
    revoke_one(&app).await;
    let (first, _) = poll(&app, "a", json!({})).await;
    let id = first.keys().next().unwrap();
    let errors = json!({"setErrs": {id.as_str(): {"err": "invalid_key", "description": "unknown kid"}}});
    assert!(poll(&app, "a", errors).await.0.is_empty());
}

#[tokio::test]
async fn streams_are_independent_and_a_new_one_gets_everything() {
    let app = TestApp::start().await;
    revoke_one(&app).await;
    let (first, _) = poll(&app, "a", json!({})).await;
    poll(&app, "a", json!({"ack": first.keys().collect::<Vec<_>>()})).await;
    assert_eq!(poll(&app, "b", json!({})).await.0.len(), 1);
    // The same stream name of another receiver is another stream.
    let reply = app
        .call(Method::POST, "/events/poll?stream=a")
        .basic(RECEIVER.id, RECEIVER.secret.unwrap());
    let told = reply
        .json(&json!({"returnImmediately": true}))
        .send()
        .await
        .expect_json(200);
    assert_eq!(told["sets"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn max_events_limits_the_answer_and_says_that_more_is_there() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        revoke_one(&app).await;
    }
    let (two, more) = poll(&app, "a", json!({"maxEvents": 2})).await;
    assert_eq!((two.len(), more), (2, true));
    let (rest, more) = poll(
        &app,
        "a",
        json!({"maxEvents": 2, "ack": two.keys().collect::<Vec<_>>()}),
    )
    .await;
    assert_eq!((rest.len(), more), (1, false));
    let (none, more) = poll(&app, "b", json!({"maxEvents": 0})).await;
    assert_eq!((none.len(), more), (0, true), "RFC 8936 §2.2: 0 acknowledges only");
}

#[tokio::test]
async fn an_event_is_forgotten_when_every_token_it_ends_has_expired() {
    let app = TestApp::start().await;
    revoke_one(&app).await;
    app.advance(3600 + 59);
    app.sync().await;
    assert_eq!(poll(&app, "a", json!({})).await.0.len(), 1);
    app.advance(1);
    app.sync().await;
    assert!(poll(&app, "a", json!({})).await.0.is_empty());
}

#[tokio::test]
async fn a_long_poll_is_answered_as_soon_as_there_is_news() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    let waiting = call(&app, "a").json(&json!({})).send();
    let revoking = async {
        tokio::task::yield_now().await;
        app.revoke(SPA, &tokens.access_token).await.expect_status(200);
    };
    let both = async { tokio::join!(waiting, revoking).0 };
    let reply: Reply = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    assert_eq!(reply.expect_json(200)["sets"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_long_poll_with_something_to_tell_does_not_wait() {
    let app = TestApp::start().await;
    revoke_one(&app).await;
    let reply = call(&app, "a").json(&json!({"maxEvents": 5})).send();
    let reply = tokio::time::timeout(Duration::from_secs(5), reply).await.unwrap();
    assert_eq!(reply.expect_json(200)["sets"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn only_who_may_is_told() {
    let app = TestApp::start().await;
    let body = json!({"returnImmediately": true});
    let post = || app.call(Method::POST, "/events/poll");
    post()
        .json(&body)
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    post()
        .bearer("guess")
        .json(&body)
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    let token = app.tokens(ALICE, WEB).await.access_token;
    post()
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    let reply = post().basic(RECEIVER.id, "wrong").json(&body).send().await;
    reply.expect_oauth_error(401, "invalid_client");
    let reply = post().basic(SPA.id, "").json(&body).send().await;
    reply.expect_oauth_error(401, "invalid_client");
    let reply = post().basic(NOBODY.id, NOBODY.secret.unwrap()).json(&body).send().await;
    reply.expect_oauth_error(403, "unauthorized_client");
    post()
        .basic(RECEIVER.id, RECEIVER.secret.unwrap())
        .json(&body)
        .send()
        .await
        .expect_json(200);
    app.set_client_status(RECEIVER, ClientStatus::Disabled).await;
    let reply = post()
        .basic(RECEIVER.id, RECEIVER.secret.unwrap())
        .json(&body)
        .send()
        .await;
    reply.expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn a_request_that_is_no_poll_is_an_invalid_request() {
    let app = TestApp::start().await;
    call(&app, "a")
        .raw("application/json", "{")
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    call(&app, "a")
        .raw("application/json", r#"{"ack":"x"}"#)
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    call(&app, "a")
        .raw("text/plain", "{}")
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    let long = "s".repeat(129);
    call(&app, &long)
        .json(&json!({}))
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    call(&app, "a&stream=b")
        .json(&json!({}))
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
    app.get("/events/poll").await.expect_oauth_error(405, "invalid_request");
}

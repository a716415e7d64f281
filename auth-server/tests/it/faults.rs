//! When storage is away: 503 and never success (SECURITY.md section 2, "storage errors read as success").

use http::Method;

use crate::app::{ALICE, CONSOLE, RESOURCE_SERVER, SERVICE, SPA, TestApp, WEB};

#[tokio::test]
async fn no_grant_is_answered_with_success_when_storage_is_away() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let tokens = app.tokens(ALICE, SPA).await;
    app.foundation().store.close().await;
    let unavailable = "temporarily_unavailable";
    let reply = app.exchange(&code).await;
    assert!(reply.header("retry-after").is_some());
    reply.expect_oauth_error(503, unavailable);
    app.refresh(SPA, &tokens.refresh_token)
        .await
        .expect_oauth_error(503, unavailable);
    app.password(CONSOLE, ALICE.name, ALICE.password)
        .await
        .expect_oauth_error(503, unavailable);
    // A client that is in no cache cannot be authenticated.
    app.client_credentials(SERVICE)
        .await
        .expect_oauth_error(503, unavailable);
}

#[tokio::test]
async fn a_revocation_that_was_not_recorded_is_not_confirmed() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.foundation().store.close().await;
    app.revoke(WEB, &tokens.access_token)
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
    app.revoke(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn a_replay_that_could_not_be_recorded_is_not_told_as_one() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    app.exchange(&code).await.expect_tokens();
    app.foundation().store.close().await;
    app.exchange(&code)
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn userinfo_and_introspection_say_that_they_cannot_tell() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.foundation().store.close().await;
    let reply = app.userinfo(&tokens).await;
    reply.expect_status(503);
    let reply = app.introspect(RESOURCE_SERVER, &tokens.refresh_token).await;
    reply.expect_oauth_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn pages_say_that_the_service_is_away() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let mut stranger = app.browser();
    let login = stranger.get("/login").await.expect_html(200);
    app.foundation().store.close().await;
    for path in ["/account", "/logout", "/login", &WEB.ask().path()] {
        browser
            .get(path)
            .await
            .expect_error_page(503, "temporarily_unavailable");
    }
    let form = login.form("login-submit");
    let filled = form
        .fields
        .with("username", ALICE.name)
        .with("password", ALICE.password);
    let reply = stranger.post("/login", &filled).await;
    reply.expect_error_page(503, "temporarily_unavailable");
    let reply = app
        .call(Method::GET, "/login")
        .header("accept", "text/html")
        .send()
        .await;
    reply.expect_error_page(503, "temporarily_unavailable");
}

#[tokio::test]
async fn what_needs_no_storage_goes_on() {
    let app = TestApp::start().await;
    app.foundation().store.close().await;
    for path in [
        "/.well-known/openid-configuration",
        "/oauth2/jwks",
        "/logged-out",
        "/error",
        "/assets/app.css",
    ] {
        assert!(app.get(path).await.status < 500, "{path}");
    }
}

#[tokio::test]
async fn a_document_is_not_said_to_be_applied() {
    let app = TestApp::start().await;
    app.foundation().store.close().await;
    let document = "[[user]]\nusername = \"late\"\n";
    app.foundation().apply().apply(document).await.unwrap_err();
}

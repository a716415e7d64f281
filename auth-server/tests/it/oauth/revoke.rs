//! `/oauth2/revoke` (RFC 7009).

use crate::app::{ALICE, LEGACY, SERVICE, SPA, TestApp, WEB, fields};

#[tokio::test]
async fn a_revoked_access_token_dies_alone() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.revoke(WEB, &tokens.access_token).await.expect_status(200);
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    assert!(!app.is_active(&tokens.access_token).await);
    let next = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    app.userinfo(&next).await.expect_status(200);
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_access_tokens_with_it() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    app.revoke(WEB, &second.refresh_token).await.expect_status(200);
    app.refresh(WEB, &second.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    for tokens in [first, second] {
        app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn an_older_refresh_token_ends_its_family_as_well() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    app.revoke(WEB, &first.refresh_token).await.expect_status(200);
    app.refresh(WEB, &second.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_public_client_revokes_by_its_name() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    app.revoke(SPA, &tokens.refresh_token).await.expect_status(200);
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn another_clients_token_is_refused_and_lives_on() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for client in [SPA, LEGACY, SERVICE] {
        for token in [&tokens.access_token, &tokens.refresh_token] {
            app.revoke(client, token).await.expect_oauth_error(400, "invalid_grant");
        }
    }
    app.userinfo(&tokens).await.expect_status(200);
    app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn what_is_unknown_expired_or_revoked_already_is_no_error() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for token in ["x", "hgr_x.1.AA", "a.b.c", "日本語", &tokens.id_token] {
        app.revoke(WEB, token).await.expect_status(200);
    }
    app.revoke(WEB, &tokens.refresh_token).await.expect_status(200);
    app.revoke(WEB, &tokens.refresh_token).await.expect_status(200);
    let tokens = app.tokens(ALICE, WEB).await;
    app.advance(601);
    app.revoke(WEB, &tokens.access_token).await.expect_status(200);
}

#[tokio::test]
async fn a_wrong_hint_does_not_hide_the_token() {
    let app = TestApp::start().await;
    for hint in ["access_token", "nonsense"] {
        let tokens = app.tokens(ALICE, WEB).await;
        let form = fields([("token", tokens.refresh_token.as_str()), ("token_type_hint", hint)]);
        app.as_client(WEB, "/oauth2/revoke", &form).await.expect_status(200);
        app.refresh(WEB, &tokens.refresh_token)
            .await
            .expect_oauth_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_machine_revokes_its_own_token() {
    let app = TestApp::start().await;
    let token = app.client_credentials(SERVICE).await.expect_tokens().access_token;
    let other = app.client_credentials(SERVICE).await.expect_tokens().access_token;
    app.revoke(SERVICE, &token).await.expect_status(200);
    assert!(!app.is_active(&token).await);
    assert!(app.is_active(&other).await);
}

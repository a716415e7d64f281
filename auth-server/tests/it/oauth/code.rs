//! `grant_type=authorization_code` (RFC 6749 §4.1.3).

use auth_server::domain::{client::ClientStatus, user::UserStatus};
use futures_util::future::join_all;
use sql_test_kit::TestDatabase;

use crate::app::{ALICE, LEGACY, OWN, SPA, TestApp, WEB, fields};

#[tokio::test]
async fn a_code_brings_access_refresh_and_id_tokens() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    assert_eq!(tokens.expires_in, 600);
    assert_eq!(tokens.scope, None, "RFC 6749 §5.1: only when it differs");
    assert!(tokens.refresh_token.starts_with("hgr_") && !tokens.id_token.is_empty());
}

#[tokio::test]
async fn without_openid_there_is_no_id_token_and_without_the_grant_no_refresh_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens_for(ALICE, &WEB.ask().with("scope", "ai:chat")).await;
    assert_eq!(tokens.id_token, "");
    assert_eq!(app.tokens(ALICE, LEGACY).await.refresh_token, "");
}

#[tokio::test]
async fn a_code_lives_59_seconds_and_not_60() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(59);
    app.exchange(&code).await.expect_tokens();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(60);
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_replayed_code_is_refused_and_its_tokens_die() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    app.userinfo(&tokens).await.expect_status(200);
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    assert!(!app.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn a_replay_after_the_code_has_expired_ends_what_came_from_it_all_the_same() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let refreshed = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    app.advance(90);
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
    app.userinfo(&refreshed).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &refreshed.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_replay_by_another_client_is_refused_and_ends_nothing() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    app.token(SPA, &code.form())
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn a_replay_leaves_the_persons_other_grants_alone() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let first = browser.consented_code(ALICE, &WEB.ask()).await;
    let second = browser.consented_code(ALICE, &WEB.ask()).await;
    app.exchange(&first).await.expect_tokens();
    let kept = app.exchange(&second).await.expect_tokens();
    app.exchange(&first).await.expect_oauth_error(400, "invalid_grant");
    app.userinfo(&kept).await.expect_status(200);
    app.refresh(WEB, &kept.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn another_clients_code_is_refused_and_stays_good_for_its_own() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    for client in [SPA, OWN, LEGACY] {
        app.token(client, &code.form())
            .await
            .expect_oauth_error(400, "invalid_grant");
    }
    app.exchange(&code).await.expect_tokens();
}

#[tokio::test]
async fn a_code_that_nobody_issued_is_refused() {
    let app = TestApp::start().await;
    let real = app.consented_code(ALICE, WEB).await;
    let long = "x".repeat(10_000);
    for code in [
        "hgc_",
        "x",
        "日本語",
        "' OR 1=1 --",
        &long,
        &real.value.to_uppercase(),
        &format!("{} ", real.value),
    ] {
        let form = real.form().with("code", code);
        app.token(WEB, &form).await.expect_oauth_error(400, "invalid_grant");
    }
    app.token(WEB, &real.form().without("code"))
        .await
        .expect_oauth_error(400, "invalid_request");
    app.token(WEB, &real.form().with("code", ""))
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn redirect_uri_may_be_left_out_as_oauth_2_1_has_it() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    app.token(WEB, &code.form().without("redirect_uri"))
        .await
        .expect_tokens();
}

#[tokio::test]
async fn a_client_without_the_grant_may_not_exchange_codes() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    app.token(crate::app::SERVICE, &code.form())
        .await
        .expect_oauth_error(400, "unauthorized_client");
}

async fn expect_one_redemption(app: &TestApp) {
    let code = app.consented_code(ALICE, WEB).await;
    let replies = join_all((0..200).map(|_| app.exchange(&code))).await;
    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 199));
    for reply in lost {
        reply.expect_oauth_error(400, "invalid_grant");
    }
    // The others were replays, so even the winner's tokens are dead.
    for reply in won {
        app.userinfo(&reply.expect_tokens())
            .await
            .expect_bearer_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn of_200_parallel_redemptions_one_wins_on_sqlite() {
    expect_one_redemption(&TestApp::start().await).await;
}

#[tokio::test]
async fn of_200_parallel_redemptions_one_wins_on_postgres() {
    let database = TestDatabase::postgres().await;
    expect_one_redemption(&TestApp::builder().database(&database.url).start().await).await;
}

#[tokio::test]
async fn who_has_signed_out_takes_the_codes_with_them() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    browser
        .press(&page, "logout-confirm")
        .await
        .expect_page("id=\"logged-out\"");
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_locked_persons_code_is_refused_and_unlocking_does_not_revive_it() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    app.set_user_status(ALICE, UserStatus::Locked).await;
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
    app.set_user_status(ALICE, UserStatus::Active).await;
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_disabled_clients_code_is_refused() {
    let app = TestApp::start().await;
    for client in [WEB, SPA] {
        let code = app.consented_code(ALICE, client).await;
        app.set_client_status(client, ClientStatus::Disabled).await;
        app.exchange(&code).await.expect_oauth_error(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_disabled_client_cannot_begin_and_a_request_under_way_ends() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&WEB.ask()).await;
    app.set_client_status(WEB, ClientStatus::Disabled).await;
    browser
        .sign_in(&login, ALICE)
        .await
        .expect_error_page(400, "invalid_client");
    browser
        .get(&WEB.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    app.set_client_status(WEB, ClientStatus::Active).await;
    browser.authorize(&WEB.ask()).await.expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn the_scope_of_an_exchange_cannot_be_widened() {
    let app = TestApp::start().await;
    let code = app
        .browser()
        .consented_code(ALICE, &WEB.ask().with("scope", "openid"))
        .await;
    let tokens = app
        .token(WEB, &code.form().with("scope", "openid profile ai:chat"))
        .await
        .expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["scope"], "openid");
}

#[tokio::test]
async fn a_code_in_the_query_is_not_seen() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let path = format!("/oauth2/token?{}", code.form().encode());
    let reply = app
        .as_client(WEB, &path, &fields([("grant_type", "authorization_code")]))
        .await;
    reply.expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn a_scope_that_the_client_lost_before_it_came_for_its_tokens_is_not_in_them() {
    let document = |scope: &str| {
        format!(
            r#"
[[client]]
client_id = "own"
client_secret = "own-secret-77a1"
redirect_uris = ["https://own.example/cb"]
grant_types = ["authorization_code", "refresh_token"]
scope = "{scope}"
auto_approve = true
"#
        )
    };
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, OWN).await;
    app.apply(&document("openid")).await;
    app.sync().await;
    let reply = app.exchange(&code).await;
    assert_eq!(reply.clone().expect_json(200)["scope"], "openid", "it is told");
    let tokens = reply.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["scope"], "openid");

    app.apply(&document("openid profile email admin")).await;
    app.sync().await;
    let code = app.consented_code(ALICE, OWN).await;
    app.apply(&document("phone")).await;
    app.sync().await;
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

//! `grant_type=refresh_token` (RFC 6749 §6, RFC 9700 §4.14.2).

use auth_server::domain::{client::ClientStatus, user::UserStatus};
use futures_util::future::join_all;
use sql_test_kit::TestDatabase;

use crate::app::{ADMIN, ALICE, CONSOLE, LEGACY, OWN, SERVICE, SPA, TestApp, Tokens, WEB, refresh_form};

const DAY: u64 = 24 * 60 * 60;

/// A grant that outlives its browser session, so that lifetimes of days can be seen.
async fn offline(app: &TestApp) -> Tokens {
    app.tokens_for(ALICE, &WEB.ask().with("scope", "openid profile offline_access ai:chat"))
        .await
}

#[tokio::test]
async fn a_refresh_brings_new_tokens_of_the_same_grant() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    app.advance(20);
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    assert_ne!(first.refresh_token, second.refresh_token);
    assert_ne!(first.access_token, second.access_token);
    let (before, after) = (app.claims(&first.id_token).await, app.claims(&second.id_token).await);
    // OpenID Connect Core §12.2.
    for name in ["iss", "sub", "aud", "auth_time", "sid"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert_eq!(after["iat"], app.now());
    assert!(!after.contains_key("nonce"));
    let (before, after) = (
        app.claims(&first.access_token).await,
        app.claims(&second.access_token).await,
    );
    let grant = |jti: &serde_json::Value| jti.as_str().unwrap().split('.').next().unwrap().to_owned();
    assert_eq!(grant(&before["jti"]), grant(&after["jti"]));
    assert_ne!(before["jti"], after["jti"]);
}

#[tokio::test]
async fn a_reused_refresh_token_ends_the_family_and_its_access_tokens() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    let third = app.refresh(WEB, &second.refresh_token).await.expect_tokens();
    app.refresh(WEB, &first.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.refresh(WEB, &third.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    for tokens in [first, second, third] {
        app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_lost_reply_is_answered_again_within_its_window() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, SPA).await;
    let lost = app.refresh(SPA, &first.refresh_token).await.expect_tokens();
    app.advance(9);
    let again = app.refresh(SPA, &first.refresh_token).await.expect_tokens();
    assert_eq!(
        lost.refresh_token, again.refresh_token,
        "never more than one live token"
    );
    app.userinfo(&again).await.expect_status(200);
    app.refresh(SPA, &again.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn a_lost_reply_asked_for_at_the_end_of_the_window_is_a_reuse() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    app.advance(10);
    app.refresh(WEB, &first.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.refresh(WEB, &second.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_reply_that_was_used_was_not_lost() {
    let app = TestApp::start().await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    app.refresh(WEB, &second.refresh_token).await.expect_tokens();
    app.advance(1);
    app.refresh(WEB, &first.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    assert!(!app.is_active(&second.access_token).await);
}

#[tokio::test]
async fn without_a_window_every_second_use_is_a_reuse() {
    let app = TestApp::builder()
        .config(|config| config.tokens.lost_reply_window_s = 0)
        .start()
        .await;
    let first = app.tokens(ALICE, WEB).await;
    let second = app.refresh(WEB, &first.refresh_token).await.expect_tokens();
    app.refresh(WEB, &first.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.refresh(WEB, &second.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

async fn expect_one_use(app: &TestApp) {
    let tokens = app.tokens(ALICE, WEB).await;
    let replies = join_all((0..200).map(|_| app.refresh(WEB, &tokens.refresh_token))).await;
    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 199));
    for reply in lost {
        reply.expect_oauth_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn of_200_parallel_uses_one_wins_on_sqlite() {
    expect_one_use(
        &TestApp::builder()
            .config(|config| config.tokens.lost_reply_window_s = 0)
            .start()
            .await,
    )
    .await;
}

#[tokio::test]
async fn of_200_parallel_uses_one_wins_on_postgres() {
    let database = TestDatabase::postgres().await;
    let builder = TestApp::builder().database(&database.url);
    expect_one_use(
        &builder
            .config(|config| config.tokens.lost_reply_window_s = 0)
            .start()
            .await,
    )
    .await;
}

#[tokio::test]
async fn parallel_uses_within_the_window_all_get_the_one_next_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let replies = join_all((0..50).map(|_| app.refresh(WEB, &tokens.refresh_token))).await;
    let mut next: Vec<String> = replies
        .into_iter()
        .map(|reply| reply.expect_tokens().refresh_token)
        .collect();
    next.dedup();
    assert_eq!(next.len(), 1);
}

#[tokio::test]
async fn a_family_that_is_not_used_ends_at_its_idle_lifetime() {
    let app = TestApp::start().await;
    let tokens = offline(&app).await;
    app.advance(30 * DAY - 1);
    let tokens = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    app.advance(30 * DAY);
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_family_ends_at_its_absolute_lifetime_however_often_it_is_used() {
    let app = TestApp::start().await;
    let mut tokens = offline(&app).await;
    for _ in 0..3 {
        app.advance(30 * DAY - 1);
        tokens = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    }
    app.advance(2);
    tokens = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    app.advance(1);
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_client_may_have_a_shorter_idle_lifetime() {
    let document = r#"
        [[client]]
        client_id = "short"
        redirect_uris = ["https://short.example/cb"]
        grant_types = ["authorization_code", "refresh_token"]
        scope = "openid offline_access"
        token_endpoint_auth_method = "none"
        refresh_token_ttl = 100
        access_token_ttl = 30
        auto_approve = true
    "#;
    let short = crate::app::TestClient {
        id: "short",
        secret: None,
        redirect_uri: "https://short.example/cb",
        scope: "openid offline_access",
    };
    let app = TestApp::builder().document(document).start().await;
    let tokens = app.tokens(ALICE, short).await;
    assert_eq!(tokens.expires_in, 30);
    app.advance(99);
    let tokens = app.refresh(short, &tokens.refresh_token).await.expect_tokens();
    app.advance(100);
    app.refresh(short, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn without_offline_access_a_family_lives_by_its_session() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.advance(12 * 60 * 60 - 1);
    let tokens = app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
    app.advance(1);
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn sign_out_ends_online_families_and_leaves_offline_ones() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let online = app.exchange(&code).await.expect_tokens();
    let ask = WEB.ask().with("scope", "openid profile offline_access");
    let code = browser.consented_code(ALICE, &ask).await;
    let offline = app.exchange(&code).await.expect_tokens();
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    browser.press(&page, "logout-confirm").await;
    app.refresh(WEB, &online.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.userinfo(&online).await.expect_bearer_error(401, "invalid_token");
    app.userinfo(&offline).await.expect_bearer_error(401, "invalid_token");
    let offline = app.refresh(WEB, &offline.refresh_token).await.expect_tokens();
    assert!(
        !app.claims(&offline.access_token).await.contains_key("sid"),
        "no session, so no sid that ended"
    );
    app.userinfo(&offline).await.expect_status(200);
}

#[tokio::test]
async fn another_clients_refresh_token_is_refused_and_ends_nothing() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for client in [SPA, OWN] {
        app.refresh(client, &tokens.refresh_token)
            .await
            .expect_oauth_error(400, "invalid_grant");
    }
    app.refresh(SERVICE, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "unauthorized_client");
    app.refresh(LEGACY, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "unauthorized_client");
    app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn a_scope_may_be_narrowed_and_the_grant_stays_as_it_was() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let narrow = refresh_form(&tokens.refresh_token).with("scope", "openid");
    let narrowed = app.token(WEB, &narrow).await.expect_tokens();
    assert_eq!(app.claims(&narrowed.access_token).await["scope"], "openid");
    let whole = app.refresh(WEB, &narrowed.refresh_token).await.expect_tokens();
    assert_eq!(app.claims(&whole.access_token).await["scope"], "ai:chat openid profile");
}

#[tokio::test]
async fn narrowing_openid_away_leaves_no_id_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let narrow = refresh_form(&tokens.refresh_token).with("scope", "ai:chat");
    let narrowed = app.token(WEB, &narrow).await.expect_tokens();
    assert_eq!(narrowed.id_token, "");
    assert_eq!(app.claims(&narrowed.access_token).await["aud"], crate::app::GATEWAY);
}

#[tokio::test]
async fn a_scope_is_never_widened_and_the_attempt_spends_nothing() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    // Registered for the client, but not granted by the person.
    let wide = refresh_form(&tokens.refresh_token).with("scope", "openid profile ai:chat email");
    app.token(WEB, &wide).await.expect_oauth_error(400, "invalid_scope");
    let illegal = refresh_form(&tokens.refresh_token).with("scope", "open\"id");
    app.token(WEB, &illegal).await.expect_oauth_error(400, "invalid_scope");
    app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn a_token_that_nobody_issued_is_refused() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let next = tokens.refresh_token.replacen(".1.", ".2.", 1);
    let long = format!("hgr_{}", "a".repeat(9_000));
    for token in [
        "hgr_",
        "hgr_a.1.AAAA",
        "x",
        "日本語",
        &next,
        &long,
        &tokens.access_token,
        &tokens.id_token,
    ] {
        app.refresh(WEB, token).await.expect_oauth_error(400, "invalid_grant");
    }
    let form = refresh_form("").without("refresh_token");
    app.token(WEB, &form).await.expect_oauth_error(400, "invalid_request");
    app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn a_locked_person_has_no_refresh_and_unlocking_does_not_revive_the_family() {
    let app = TestApp::start().await;
    let tokens = offline(&app).await;
    app.set_user_status(ALICE, UserStatus::Locked).await;
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.set_user_status(ALICE, UserStatus::Active).await;
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_disabled_client_has_no_refresh_and_enabling_does_not_revive_the_family() {
    let app = TestApp::start().await;
    let tokens = offline(&app).await;
    app.set_client_status(WEB, ClientStatus::Disabled).await;
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.set_client_status(WEB, ClientStatus::Active).await;
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_family_of_the_password_grant_rotates_as_well() {
    let app = TestApp::start().await;
    let first = app.password(CONSOLE, ADMIN.name, ADMIN.password).await.expect_tokens();
    let second = app.refresh(CONSOLE, &first.refresh_token).await.expect_tokens();
    app.advance(11);
    app.refresh(CONSOLE, &first.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.refresh(CONSOLE, &second.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_scope_that_was_taken_from_the_client_is_not_refreshed() {
    let document = |scope: &str| {
        format!(
            "[[client]]\nclient_id = \"changing\"\nredirect_uris = [\"https://c.example/cb\"]\ntoken_endpoint_auth_method = \"none\"\n\
             grant_types = [\"authorization_code\", \"refresh_token\"]\nauto_approve = true\nscope = \"{scope}\"\n"
        )
    };
    let client = crate::app::TestClient {
        id: "changing",
        secret: None,
        redirect_uri: "https://c.example/cb",
        scope: "openid ai:chat",
    };
    let app = TestApp::builder().document(&document("openid ai:chat")).start().await;
    let tokens = app.tokens(ALICE, client).await;
    app.apply(&document("openid")).await;
    let refreshed = app.refresh(client, &tokens.refresh_token).await;
    if refreshed.status == 200 {
        let tokens = refreshed.expect_tokens();
        assert_eq!(app.claims(&tokens.access_token).await["scope"], "openid");
    } else {
        refreshed.expect_oauth_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn codes_refresh_tokens_and_access_tokens_cannot_stand_in_for_each_other() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.refresh(WEB, &code.value)
        .await
        .expect_oauth_error(400, "invalid_grant");
    for token in [&tokens.refresh_token, &tokens.access_token, &tokens.id_token] {
        let form = code.form().with("code", token);
        app.token(WEB, &form).await.expect_oauth_error(400, "invalid_grant");
    }
    for token in [&tokens.refresh_token, &code.value] {
        let reply = app.call(http::Method::GET, "/userinfo").bearer(token).send().await;
        reply.expect_bearer_error(401, "invalid_token");
    }
    app.exchange(&code).await.expect_tokens();
    app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
}

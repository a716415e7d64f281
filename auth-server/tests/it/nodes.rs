//! Several nodes on one database, and restarts: what one has done, the others know.

use auth_server::domain::client::ClientStatus;

use crate::app::{ALICE, CONSOLE, RESOURCE_SERVER, SERVICE, TestApp, WEB};

#[tokio::test]
async fn a_code_is_used_once_over_all_nodes() {
    let here = TestApp::start().await;
    let there = here.another_node().await;
    let code = here.consented_code(ALICE, WEB).await;
    let tokens = there.exchange(&code).await.expect_tokens();
    here.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
    there.sync().await;
    there.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_refresh_token_that_was_rotated_before_a_restart_is_still_a_reuse() {
    let before = TestApp::start().await;
    let first = before.tokens(ALICE, WEB).await;
    let second = before.refresh(WEB, &first.refresh_token).await.expect_tokens();
    let after = before.another_node().await;
    after.advance(11);
    after
        .refresh(WEB, &first.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    after
        .refresh(WEB, &second.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    after.userinfo(&second).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_revocation_is_known_after_a_restart_and_on_the_other_node_once_it_has_looked() {
    let here = TestApp::start().await;
    let there = here.another_node().await;
    let tokens = here.tokens(ALICE, WEB).await;
    there.userinfo(&tokens).await.expect_status(200);
    here.revoke(WEB, &tokens.access_token).await.expect_status(200);
    there.sync().await;
    there.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    let restarted = here.another_node().await;
    restarted
        .userinfo(&tokens)
        .await
        .expect_bearer_error(401, "invalid_token");
    let told = restarted
        .introspect(RESOURCE_SERVER, &tokens.access_token)
        .await
        .expect_json(200);
    assert_eq!(told["active"], false);
}

#[tokio::test]
async fn a_browser_may_talk_to_any_node() {
    let here = TestApp::start().await;
    let there = here.another_node().await;
    let mut browser = here.browser();
    let login = browser.authorize(&WEB.ask()).await;
    browser.visit(&there);
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    browser.visit(&here);
    browser.press(&page, "consent-allow").await.expect_code();
}

#[tokio::test]
async fn guesses_count_over_all_nodes() {
    let here = TestApp::start().await;
    let there = here.another_node().await;
    for _ in 0..5 {
        here.password(CONSOLE, ALICE.name, "wrong")
            .await
            .expect_oauth_error(400, "invalid_grant");
        there
            .password(CONSOLE, ALICE.name, "wrong")
            .await
            .expect_oauth_error(400, "invalid_grant");
    }
    here.password(CONSOLE, ALICE.name, "wrong")
        .await
        .expect_oauth_error(429, "slow_down");
}

#[tokio::test]
async fn another_nodes_rotation_and_changes_are_seen_at_the_next_look() {
    let here = TestApp::start().await;
    let there = here.another_node().await;
    here.client_credentials(SERVICE).await.expect_tokens();
    there.rotate_keys().await;
    let token = there.client_credentials(SERVICE).await.expect_tokens().access_token;
    here.sync().await;
    assert!(here.is_active(&token).await, "the key was published before it signed");
    there.set_client_status(SERVICE, ClientStatus::Disabled).await;
    here.sync().await;
    here.client_credentials(SERVICE)
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn a_token_of_the_next_key_verifies_on_a_node_that_has_not_looked_yet() {
    let here = TestApp::start().await;
    let there = here.another_node().await;
    there.rotate_keys().await;
    let token = there.client_credentials(SERVICE).await.expect_tokens().access_token;
    assert!(here.is_active(&token).await);
}

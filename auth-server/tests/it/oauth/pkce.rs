//! PKCE (RFC 7636, RFC 9700 §2.1.1).

use crate::app::{ALICE, CHALLENGE, LEGACY, SPA, TestApp, VERIFIER, WEB};

#[tokio::test]
async fn every_client_has_to_send_a_challenge_by_default() {
    let app = TestApp::start().await;
    for client in [WEB, SPA] {
        let ask = client.ask().without("code_challenge").without("code_challenge_method");
        let answer = app.get(&ask.path()).await.expect_error_answer("invalid_request");
        assert!(answer.params["error_description"].contains("code_challenge"));
    }
}

#[tokio::test]
async fn plain_and_a_missing_method_are_refused() {
    let app = TestApp::start().await;
    for ask in [
        WEB.ask()
            .with("code_challenge_method", "plain")
            .with("code_challenge", VERIFIER),
        WEB.ask().without("code_challenge_method"),
        WEB.ask().with("code_challenge_method", "s256"),
        WEB.ask().with("code_challenge_method", "S512"),
        LEGACY.ask().with("code_challenge_method", "plain"),
    ] {
        app.get(&ask.path()).await.expect_error_answer("invalid_request");
    }
}

#[tokio::test]
async fn a_challenge_that_is_no_digest_is_refused() {
    let app = TestApp::start().await;
    let padded = format!("{CHALLENGE}=");
    for challenge in [
        "x",
        &CHALLENGE[..42],
        &padded,
        &CHALLENGE.replace('-', "+"),
        &"A".repeat(128),
    ] {
        app.get(&WEB.ask().with("code_challenge", challenge).path())
            .await
            .expect_error_answer("invalid_request");
    }
}

#[tokio::test]
async fn the_verifier_of_the_challenge_is_accepted_and_no_other() {
    let app = TestApp::start().await;
    for client in [WEB, SPA] {
        let code = app.consented_code(ALICE, client).await;
        let long = "a".repeat(128);
        for wrong in [
            "a".repeat(43).as_str(),
            &long,
            CHALLENGE,
            &VERIFIER[..42],
            &VERIFIER.to_lowercase(),
            "ü",
            "x",
        ] {
            let form = code.form().with("code_verifier", wrong);
            app.token(client, &form).await.expect_oauth_error(400, "invalid_grant");
        }
        let form = code.form().without("code_verifier");
        app.token(client, &form).await.expect_oauth_error(400, "invalid_grant");
        // A wrong guess does not spend the code: the client that made a mistake may still use it, an attacker gained nothing.
        app.exchange(&code).await.expect_tokens();
    }
}

#[tokio::test]
async fn a_confidential_client_may_be_relaxed_and_then_a_verifier_is_a_downgrade() {
    let app = TestApp::start().await;
    let ask = LEGACY.ask().without("code_challenge").without("code_challenge_method");
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &ask).await;
    let form = code.form().with("code_verifier", VERIFIER);
    app.token(LEGACY, &form).await.expect_oauth_error(400, "invalid_grant");
    let code = browser.consented_code(ALICE, &ask).await;
    app.exchange(&code).await.expect_tokens();
}

#[tokio::test]
async fn a_relaxed_client_that_sends_a_challenge_is_held_to_it() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, LEGACY).await;
    let form = code.form().without("code_verifier");
    app.token(LEGACY, &form).await.expect_oauth_error(400, "invalid_grant");
    app.exchange(&code).await.expect_tokens();
}

#[tokio::test]
async fn a_public_client_cannot_be_registered_without_pkce() {
    let app = TestApp::start().await;
    let document = r#"
        [[client]]
        client_id = "loose"
        redirect_uris = ["https://loose.example/cb"]
        token_endpoint_auth_method = "none"
        require_pkce = false
        scope = "openid"
    "#;
    let error = app.try_apply(document).await.unwrap_err().to_string();
    assert!(error.starts_with("client[0].require_pkce: "), "{error}");
}

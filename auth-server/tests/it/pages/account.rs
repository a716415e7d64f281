//! `/account`: my sessions, my connected applications.

use crate::app::{ALICE, BOB, Browser, Fields, SPA, TestApp, Tokens, WEB, fields};

async fn with_tokens(app: &TestApp) -> (Browser<'_>, Tokens) {
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    (browser, tokens)
}

async fn csrf(browser: &mut Browser<'_>) -> String {
    let page = browser.get("/logout").await.expect_html(200);
    page.form("logout-confirm").fields.get("csrf").unwrap().to_owned()
}

async fn act(browser: &mut Browser<'_>, form: Fields) -> String {
    let token = csrf(browser).await;
    browser
        .post("/account", &form.with("csrf", &token))
        .await
        .expect_redirect()
}

#[tokio::test]
async fn the_page_is_for_who_is_signed_in() {
    let app = TestApp::start().await;
    app.get("/account").await.expect_redirect_to("/login");
    let reply = app
        .browser()
        .post("/account", &fields([("action", "end-others")]))
        .await;
    reply.expect_redirect_to("/login");
}

#[tokio::test]
async fn it_shows_the_profile_the_sessions_and_the_applications() {
    let app = TestApp::start().await;
    let (mut browser, _) = with_tokens(&app).await;
    app.signed_in(ALICE).await;
    let page = browser.get("/account").await.expect_html(200);
    for text in [
        "Alice Liddell",
        "alice@example.org",
        "Web application",
        "end-others",
        "remove-app",
    ] {
        assert!(page.has(text), "{text}");
    }
    assert_eq!(page.text.matches("name=\"session\"").count(), 2);
    assert!(page.has("/client-logo/web") && !page.has("https://cdn.web.example"));
    browser.get("/account/").await.expect_html(200);
}

#[tokio::test]
async fn it_shows_nothing_of_anybody_else() {
    let app = TestApp::start().await;
    with_tokens(&app).await;
    let page = app.signed_in(BOB).await.get("/account").await.expect_html(200);
    assert!(!page.has("Alice") && !page.has("Web application"));
    assert_eq!(page.text.matches("name=\"session\"").count(), 1);
}

#[tokio::test]
async fn ending_another_session_of_mine_ends_its_tokens() {
    let app = TestApp::start().await;
    let (_, tokens) = with_tokens(&app).await;
    let sid = app.claims(&tokens.access_token).await["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut browser = app.signed_in(ALICE).await;
    let done = act(&mut browser, fields([("action", "end-session"), ("session", &sid)])).await;
    assert_eq!(done, "/account?done=session-ended");
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    browser.get("/account").await.expect_page("account");
}

#[tokio::test]
async fn ending_this_session_signs_out() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = with_tokens(&app).await;
    let sid = app.claims(&tokens.access_token).await["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let done = act(&mut browser, fields([("action", "end-session"), ("session", &sid)])).await;
    assert_eq!(done, "/logged-out");
    browser.get("/account").await.expect_redirect_to("/login");
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn somebody_elses_session_cannot_be_ended() {
    let app = TestApp::start().await;
    let (mut alices, tokens) = with_tokens(&app).await;
    let sid = app.claims(&tokens.access_token).await["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut browser = app.signed_in(BOB).await;
    act(&mut browser, fields([("action", "end-session"), ("session", &sid)])).await;
    act(&mut browser, fields([("action", "end-others")])).await;
    act(&mut browser, fields([("action", "remove-app"), ("client_id", "web")])).await;
    app.userinfo(&tokens).await.expect_status(200);
    alices.get(&WEB.ask().with("prompt", "none").path()).await.expect_code();
}

#[tokio::test]
async fn ending_all_others_keeps_this_one() {
    let app = TestApp::start().await;
    let (mut first, tokens) = with_tokens(&app).await;
    let (mut second, _) = with_tokens(&app).await;
    let (mut here, own) = with_tokens(&app).await;
    assert_eq!(
        act(&mut here, fields([("action", "end-others")])).await,
        "/account?done=others-ended"
    );
    first.get("/account").await.expect_redirect_to("/login");
    second.get("/account").await.expect_redirect_to("/login");
    here.get("/account").await.expect_page("account");
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.userinfo(&own).await.expect_status(200);
}

#[tokio::test]
async fn removing_an_application_takes_back_consent_tokens_and_codes() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = with_tokens(&app).await;
    let pending = browser.consented_code(ALICE, &WEB.ask()).await;
    let code = browser.consented_code(ALICE, &SPA.ask()).await;
    let kept = app.exchange(&code).await.expect_tokens();
    let done = act(&mut browser, fields([("action", "remove-app"), ("client_id", "web")])).await;
    assert_eq!(done, "/account?done=app-removed");
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.exchange(&pending).await.expect_oauth_error(400, "invalid_grant");
    browser
        .get(&WEB.ask().with("prompt", "none").path())
        .await
        .expect_error_answer("consent_required");
    app.userinfo(&kept).await.expect_status(200);
    browser
        .get(&SPA.ask().with("prompt", "none").path())
        .await
        .expect_code();
}

#[tokio::test]
async fn a_form_without_the_browsers_token_changes_nothing() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = with_tokens(&app).await;
    let foreign = csrf(&mut app.signed_in(BOB).await).await;
    for form in [
        fields([("action", "remove-app"), ("client_id", "web")]),
        fields([("action", "remove-app"), ("client_id", "web"), ("csrf", "x")]),
        fields([("action", "remove-app"), ("client_id", "web"), ("csrf", &foreign)]),
    ] {
        assert_eq!(
            browser.post("/account", &form).await.expect_redirect(),
            "/account?done=expired"
        );
    }
    app.userinfo(&tokens).await.expect_status(200);
    let own = csrf(&mut browser).await;
    let mut forged = browser.clone().sending("sec-fetch-site", "cross-site");
    let form = fields([("action", "end-others"), ("csrf", &own)]);
    assert_eq!(
        forged.post("/account", &form).await.expect_redirect(),
        "/account?done=expired"
    );
    let unknown = fields([("action", "become-admin"), ("csrf", &own)]);
    browser
        .post("/account", &unknown)
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn the_word_about_what_was_done_is_ours_and_not_the_addresss() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser
        .get("/account?done=%3Cscript%3Ealert(1)%3C/script%3E")
        .await
        .expect_html(200);
    assert!(!page.has("alert(1)"));
    let with = browser.get("/account?done=session-ended").await.expect_html(200);
    let without = browser.get("/account").await.expect_html(200);
    assert_ne!(with.text, without.text);
}

#[tokio::test]
async fn a_session_is_shown_with_the_browser_it_is_in_whatever_that_says() {
    let app = TestApp::start().await;
    let agent = format!("Mozilla/5.0 <script>alert(1)</script>{}", "x".repeat(5000));
    let mut browser = app.browser().sending("user-agent", &agent);
    let login = browser.get("/login").await;
    browser.sign_in(&login, ALICE).await;
    let page = browser.get("/account").await.expect_html(200);
    assert!(!page.has("<script"));
}

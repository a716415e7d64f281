//! `/consent`.

use http::Method;

use crate::app::{ALICE, BOB, Browser, Page, TestApp, WEB};

async fn asked(app: &TestApp) -> (Browser<'_>, Page) {
    let mut browser = app.browser();
    let login = browser.authorize(&WEB.ask()).await;
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    (browser, page)
}

#[tokio::test]
async fn the_page_says_who_asks_whom_for_what_and_where_it_leads() {
    let app = TestApp::start().await;
    let (_, page) = asked(&app).await;
    for text in [
        "Web application",
        "Alice Liddell",
        "web.example",
        "https://web.example/policy",
    ] {
        assert!(page.has(text), "{text}");
    }
    for id in ["consent-allow", "consent-deny"] {
        assert_eq!(page.text.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    assert!(!page.has("id=\"login-submit\"") && !page.has("<script"));
}

#[tokio::test]
async fn a_hostile_client_name_cannot_break_out_of_the_page() {
    let document = r#"
        [[client]]
        client_id = "hostile"
        client_name = "</strong><script>alert(1)</script>\u202e"
        redirect_uris = ["https://hostile.example/cb"]
        token_endpoint_auth_method = "none"
        scope = "openid"
    "#;
    let hostile = crate::app::TestClient {
        id: "hostile",
        secret: None,
        redirect_uri: "https://hostile.example/cb",
        scope: "openid",
    };
    let app = TestApp::builder().document(document).start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&hostile.ask()).await;
    assert!(!login.clone().expect_html(200).has("<script"));
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    assert!(!page.has("<script"));
}

#[tokio::test]
async fn denying_tells_the_application_and_is_not_remembered() {
    let app = TestApp::start().await;
    let (mut browser, page) = asked(&app).await;
    browser
        .press(&page, "consent-deny")
        .await
        .expect_error_answer("access_denied");
    browser.authorize(&WEB.ask()).await.expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn an_answer_that_is_given_twice_counts_once() {
    let app = TestApp::start().await;
    let (mut browser, page) = asked(&app).await;
    browser.press(&page, "consent-allow").await.expect_code();
    browser
        .press(&page, "consent-allow")
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn another_browser_cannot_answer() {
    let app = TestApp::start().await;
    let (_, page) = asked(&app).await;
    let form = page.form("consent-allow");
    // Somebody else, the same person elsewhere, and nobody at all.
    for mut other in [app.signed_in(BOB).await, app.signed_in(ALICE).await, app.browser()] {
        other
            .post("/consent", &form.fields)
            .await
            .expect_error_page(400, "invalid_request");
    }
    app.signed_in(ALICE)
        .await
        .authorize(&WEB.ask())
        .await
        .expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn a_form_without_the_browsers_token_approves_nothing() {
    let app = TestApp::start().await;
    let (mut browser, page) = asked(&app).await;
    let form = page.form("consent-allow").fields;
    let other = app
        .signed_in(BOB)
        .await
        .get("/logout")
        .await
        .expect_html(200)
        .form("logout-confirm")
        .fields;
    for forged in [
        form.clone().without("csrf"),
        form.clone().with("csrf", "x"),
        form.clone().with("csrf", other.get("csrf").unwrap()),
    ] {
        browser
            .post("/consent", &forged)
            .await
            .expect_error_page(400, "invalid_request");
    }
    browser
        .authorize(&WEB.ask().with("prompt", "none"))
        .await
        .expect_error_answer("consent_required");
}

#[tokio::test]
async fn a_form_without_an_action_or_with_another_does_nothing() {
    let app = TestApp::start().await;
    let (mut browser, page) = asked(&app).await;
    let form = page.form("consent-allow").fields;
    for odd in [form.clone().without("action"), form.clone().with("action", "maybe")] {
        browser
            .post("/consent", &odd)
            .await
            .expect_error_page(400, "invalid_request");
    }
    browser.post("/consent", &form).await.expect_code();
}

#[tokio::test]
async fn the_page_of_nobody_leads_to_sign_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.get(&WEB.ask().path()).await.expect_redirect();
    browser
        .get(&login.replace("/login", "/consent"))
        .await
        .expect_redirect_to("/login");
    browser.get("/consent").await.expect_error_page(400, "invalid_request");
    browser
        .get("/consent?request=made-up")
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn switching_accounts_signs_out_and_asks_who_it_is_for_the_same_request() {
    let app = TestApp::start().await;
    let (mut browser, page) = asked(&app).await;
    let login = browser.press(&page, "switch").await;
    let shown = login.clone().expect_page("id=\"login-submit\"");
    assert!(shown.has("Web application"), "for the same application");
    let before = browser.session_cookie();
    let page = browser.sign_in(&login, BOB).await.expect_page("id=\"consent-allow\"");
    assert_ne!(browser.session_cookie(), before);
    assert!(page.has("bob") && !page.has("Alice"));
    let code = browser.press(&page, "consent-allow").await.expect_code();
    let code = crate::app::Code {
        value: code,
        client: WEB,
        redirect_uri: WEB.redirect_uri.into(),
        has_challenge: true,
    };
    let tokens = app.exchange(&code).await.expect_tokens();
    assert_eq!(app.claims(&tokens.id_token).await["sub"], BOB.sub);
}

#[tokio::test]
async fn who_signed_out_meanwhile_is_asked_to_sign_in_first() {
    let app = TestApp::start().await;
    let (mut browser, page) = asked(&app).await;
    app.set_password(ALICE, ALICE.password).await;
    let login = browser.press(&page, "consent-allow").await;
    login.clone().expect_page("id=\"login-submit\"");
    browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn what_was_agreed_to_in_another_tab_is_not_asked_again() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let first = browser.get(&WEB.ask().path()).await.expect_redirect();
    let second = browser.authorize(&WEB.ask()).await.expect_page("id=\"consent-allow\"");
    browser.press(&second, "consent-allow").await.expect_code();
    browser.get(&first).await.expect_code();
}

#[tokio::test]
async fn the_page_marks_what_is_new() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser
        .consented_code(ALICE, &WEB.ask().with("scope", "openid profile"))
        .await;
    let page = browser
        .authorize(&WEB.ask().with("scope", "openid profile email"))
        .await
        .expect_html(200);
    let fresh = app.signed_in(BOB).await.authorize(&WEB.ask()).await.expect_html(200);
    assert_ne!(page.text.matches("badge").count(), fresh.text.matches("badge").count());
}

#[tokio::test]
async fn the_form_may_lead_to_the_application_and_nothing_is_loaded_from_there() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let reply = browser.authorize(&WEB.ask()).await;
    let csp = reply.header("content-security-policy").unwrap();
    assert!(
        csp.contains("img-src 'self';") && csp.contains("https://web.example"),
        "{csp}"
    );
    assert!(!csp.contains("cdn.web.example"), "{csp}");
    assert!(!reply.text().contains("cdn.web.example"), "{}", reply.text());
}

#[tokio::test]
async fn a_consent_page_is_not_framed_read_or_posted_by_others() {
    let app = TestApp::start().await;
    let (browser, page) = asked(&app).await;
    let form = page.form("consent-allow").fields;
    let mut forged = browser.sending("sec-fetch-site", "cross-site");
    forged
        .post("/consent", &form)
        .await
        .expect_error_page(400, "invalid_request");
    app.call(Method::POST, "/consent")
        .form(&form)
        .send()
        .await
        .expect_error_page(400, "invalid_request");
}

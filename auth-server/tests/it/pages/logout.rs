//! Signing out (OpenID Connect RP-Initiated Logout).

use http::Method;

use crate::app::{ALICE, BOB, Browser, Reply, SPA, STATE, TestApp, Tokens, WEB, fields};

const BACK: &str = "https://web.example/";

async fn signed_in(app: &TestApp) -> (Browser<'_>, Tokens) {
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    (browser, tokens)
}

fn path(pairs: &[(&str, &str)]) -> String {
    let query = pairs
        .iter()
        .fold(fields([]), |fields, (name, value)| fields.with(name, value));
    format!("/connect/logout?{}", query.encode())
}

/// An ID token of the same person and application, of a session in another browser: it says where from, and does not prove this session.
async fn hint_from_elsewhere(app: &TestApp) -> String {
    app.tokens(ALICE, WEB).await.id_token
}

async fn confirm(browser: &mut Browser<'_>, pairs: &[(&str, &str)]) -> Reply {
    let page = browser.open(&path(pairs)).await.expect_page("id=\"logout-confirm\"");
    browser.press(&page, "logout-confirm").await
}

async fn expect_signed_out(browser: &mut Browser<'_>) {
    browser
        .get(&WEB.ask().with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
}

async fn expect_signed_in(browser: &mut Browser<'_>) {
    browser
        .get(&WEB.ask().with("prompt", "none").path())
        .await
        .expect_code();
}

#[tokio::test]
async fn a_relying_party_that_proves_the_session_gets_the_person_back_at_once_with_its_state() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let asked = [
        ("id_token_hint", tokens.id_token.as_str()),
        ("post_logout_redirect_uri", BACK),
        ("state", STATE),
    ];
    let location = browser.get(&path(&asked)).await.expect_redirect();
    assert_eq!(location, format!("{BACK}?state={STATE}"));
    expect_signed_out(&mut browser).await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_hint_of_another_session_has_the_person_asked_and_then_sent_back() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let hint = hint_from_elsewhere(&app).await;
    let bobs = app.tokens(BOB, WEB).await.id_token;
    for hint in [&hint, &bobs] {
        let asked = [
            ("id_token_hint", hint.as_str()),
            ("post_logout_redirect_uri", BACK),
            ("state", STATE),
        ];
        let page = browser.open(&path(&asked)).await.expect_page("id=\"logout-confirm\"");
        assert!(page.has("id=\"logout-cancel\"") && page.has("Web application"));
        app.userinfo(&tokens).await.expect_status(200);
    }
    let asked = [
        ("id_token_hint", hint.as_str()),
        ("post_logout_redirect_uri", BACK),
        ("state", STATE),
    ];
    let location = confirm(&mut browser, &asked).await.expect_redirect();
    assert_eq!(location, format!("{BACK}?state={STATE}"));
    expect_signed_out(&mut browser).await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn without_state_none_is_sent_and_a_registered_query_stays() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let asked = [
        ("id_token_hint", tokens.id_token.as_str()),
        ("post_logout_redirect_uri", BACK),
    ];
    assert_eq!(browser.get(&path(&asked)).await.expect_redirect(), BACK);
    let (mut browser, tokens) = signed_in(&app).await;
    let uri = "https://web.example/bye?from=op";
    let asked = [
        ("id_token_hint", tokens.id_token.as_str()),
        ("post_logout_redirect_uri", uri),
        ("state", "a&b=\r\n"),
    ];
    let location = browser.get(&path(&asked)).await.expect_redirect();
    assert_eq!(location, format!("{uri}&state=a%26b%3D%0D%0A"));
}

#[tokio::test]
async fn without_a_redirect_uri_the_person_sees_that_they_are_out() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let asked = [("state", STATE), ("id_token_hint", &tokens.id_token)];
    let page = browser.open(&path(&asked)).await.expect_page("id=\"logged-out\"");
    assert!(!page.has(STATE));
    expect_signed_out(&mut browser).await;
    for asked in [&[("state", STATE)][..], &[]] {
        let (mut browser, _) = signed_in(&app).await;
        confirm(&mut browser, asked).await.expect_page("id=\"logged-out\"");
        expect_signed_out(&mut browser).await;
    }
}

#[tokio::test]
async fn the_pages_speak_the_language_that_the_relying_party_asks_for() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let hint = hint_from_elsewhere(&app).await;
    let asked = |hint| path(&[("id_token_hint", hint), ("ui_locales", "xx zh en")]);
    for (hint, id) in [
        (&hint, "id=\"logout-confirm\""),
        (&tokens.id_token, "id=\"logged-out\""),
    ] {
        let page = browser.open(&asked(hint)).await.expect_page(id);
        assert!(page.has("<html lang=\"zh"), "{id}");
    }
}

#[tokio::test]
async fn what_is_too_long_to_keep_is_refused() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    for name in ["state", "ui_locales"] {
        let long = "a".repeat(4097);
        let asked = path(&[("id_token_hint", &tokens.id_token), (name, &long)]);
        let sentence = browser.get(&asked).await.expect_error_page(400, "invalid_request");
        assert!(sentence.contains(name), "{sentence}");
    }
    // A post that comes without the cookie is sent again as a GET, as far as an address can carry it.
    let form = fields([("id_token_hint", tokens.id_token.as_str())]).with("more", &"a".repeat(9000));
    let reply = app.call(Method::POST, "/connect/logout").form(&form).send().await;
    reply.expect_error_page(400, "invalid_request");
    expect_signed_in(&mut browser).await;
}

#[tokio::test]
async fn what_cannot_be_trusted_is_an_error_page_and_signs_nobody_out() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let spas = app.tokens(ALICE, SPA).await;
    let hint = tokens.id_token.as_str();
    let mut foreign = hint.to_owned();
    foreign.replace_range(hint.len() - 8..hint.len() - 4, "AAAA");
    let unsigned = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
            hint.split('.').nth(1).unwrap()
        )
    };
    for (asked, names) in [
        (
            vec![
                ("id_token_hint", hint),
                ("post_logout_redirect_uri", "https://evil.example/"),
            ],
            "post_logout_redirect_uri",
        ),
        (
            vec![
                ("id_token_hint", hint),
                ("post_logout_redirect_uri", "https://web.example/?x=1"),
            ],
            "post_logout_redirect_uri",
        ),
        (
            vec![
                ("id_token_hint", hint),
                ("post_logout_redirect_uri", "https://web.example"),
            ],
            "post_logout_redirect_uri",
        ),
        (
            vec![
                ("id_token_hint", hint),
                ("post_logout_redirect_uri", "https://spa.example/"),
            ],
            "post_logout_redirect_uri",
        ),
        (
            vec![
                ("id_token_hint", hint),
                ("post_logout_redirect_uri", "javascript:alert(1)"),
            ],
            "post_logout_redirect_uri",
        ),
        (
            vec![("id_token_hint", &spas.id_token), ("post_logout_redirect_uri", BACK)],
            "post_logout_redirect_uri",
        ),
        (vec![("post_logout_redirect_uri", BACK)], "id_token_hint"),
        (
            vec![("client_id", "web"), ("post_logout_redirect_uri", BACK)],
            "id_token_hint",
        ),
        (
            vec![("id_token_hint", &foreign), ("post_logout_redirect_uri", BACK)],
            "id_token_hint",
        ),
        (
            vec![("id_token_hint", &unsigned), ("post_logout_redirect_uri", BACK)],
            "id_token_hint",
        ),
        (vec![("id_token_hint", "x")], "id_token_hint"),
        (vec![("id_token_hint", tokens.access_token.as_str())], "id_token_hint"),
        (vec![("id_token_hint", hint), ("client_id", "spa")], "client_id"),
    ] {
        let sentence = browser
            .get(&path(&asked))
            .await
            .expect_error_page(400, "invalid_request");
        assert!(sentence.contains(names), "{asked:?}: {sentence}");
    }
    let twice = format!("/connect/logout?id_token_hint={hint}&id_token_hint={hint}");
    browser.get(&twice).await.expect_error_page(400, "invalid_request");
    expect_signed_in(&mut browser).await;
}

#[tokio::test]
async fn an_expired_hint_and_one_that_names_the_client_still_count() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    app.advance(3600);
    let asked = [
        ("id_token_hint", tokens.id_token.as_str()),
        ("client_id", "web"),
        ("post_logout_redirect_uri", BACK),
    ];
    assert_eq!(browser.get(&path(&asked)).await.expect_redirect(), BACK);
}

#[tokio::test]
async fn nobody_is_signed_out_unasked_by_who_cannot_prove_the_session() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let elsewhere = hint_from_elsewhere(&app).await;
    for asked in [
        &[][..],
        &[("client_id", "web")],
        &[("logout_hint", "alice")],
        &[("id_token_hint", &elsewhere)],
    ] {
        browser.open(&path(asked)).await.expect_page("id=\"logout-confirm\"");
    }
    // The proof counts in the browser of that session alone.
    app.signed_in(ALICE)
        .await
        .open(&path(&[("id_token_hint", &tokens.id_token)]))
        .await
        .expect_page("id=\"logout-confirm\"");
    expect_signed_in(&mut browser).await;
    // A forged post has no token of this browser.
    browser
        .post("/logout", &fields([("action", "logout")]))
        .await
        .expect_error_page(400, "invalid_request");
    let others = app
        .signed_in(BOB)
        .await
        .get("/logout")
        .await
        .expect_html(200)
        .form("logout-confirm")
        .fields;
    browser
        .post("/logout", &others)
        .await
        .expect_error_page(400, "invalid_request");
    expect_signed_in(&mut browser).await;
}

#[tokio::test]
async fn cancel_keeps_the_session_and_forgets_the_relying_party() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    let hint = hint_from_elsewhere(&app).await;
    let asked = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BACK)];
    let page = browser.open(&path(&asked)).await.expect_page("id=\"logout-confirm\"");
    assert!(page.has("Web application"));
    browser.press(&page, "logout-cancel").await.expect_status(200);
    expect_signed_in(&mut browser).await;
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    assert!(!page.has("Web application"));
    browser
        .press(&page, "logout-confirm")
        .await
        .expect_page("id=\"logged-out\"");
}

#[tokio::test]
async fn a_later_request_replaces_an_earlier_one() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    let hint = hint_from_elsewhere(&app).await;
    let asked = [
        ("id_token_hint", hint.as_str()),
        ("post_logout_redirect_uri", BACK),
        ("state", "old"),
    ];
    browser.open(&path(&asked)).await.expect_page("id=\"logout-confirm\"");
    confirm(&mut browser, &[("state", "new")])
        .await
        .expect_page("id=\"logged-out\"");
}

#[tokio::test]
async fn who_is_not_signed_in_goes_straight_on() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let mut browser = app.browser();
    let asked = [
        ("id_token_hint", tokens.id_token.as_str()),
        ("post_logout_redirect_uri", BACK),
        ("state", STATE),
    ];
    assert_eq!(
        browser.get(&path(&asked)).await.expect_redirect(),
        format!("{BACK}?state={STATE}")
    );
    browser.open("/connect/logout").await.expect_page("id=\"logged-out\"");
    browser.open("/logout").await.expect_page("id=\"logged-out\"");
    browser
        .post("/logout", &fields([("action", "logout")]))
        .await
        .expect_redirect_to("/logged-out");
}

#[tokio::test]
async fn a_posted_request_works_with_and_without_the_cookie() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let form = fields([
        ("id_token_hint", tokens.id_token.as_str()),
        ("post_logout_redirect_uri", BACK),
        ("state", STATE),
    ]);
    let reply = app.call(Method::POST, "/connect/logout").form(&form).send().await;
    let location = reply.expect_redirect();
    assert!(location.starts_with("/connect/logout?"), "{location}");
    let (mut other, others) = signed_in(&app).await;
    let sent_back = format!("{BACK}?state={STATE}");
    assert_eq!(browser.get(&location).await.expect_redirect(), sent_back);
    let form = form.with("id_token_hint", &others.id_token);
    let reply = other.post("/connect/logout", &form).await;
    assert_eq!(reply.expect_redirect(), sent_back);
    expect_signed_out(&mut browser).await;
    expect_signed_out(&mut other).await;
}

#[tokio::test]
async fn signing_out_here_leaves_other_browsers_signed_in() {
    let app = TestApp::start().await;
    let (mut here, _) = signed_in(&app).await;
    let (mut there, tokens) = signed_in(&app).await;
    confirm(&mut here, &[]).await.expect_page("id=\"logged-out\"");
    expect_signed_in(&mut there).await;
    app.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn the_cookie_of_an_ended_session_opens_nothing() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    let mut stolen = browser.clone();
    confirm(&mut browser, &[]).await.expect_page("id=\"logged-out\"");
    stolen.get("/account").await.expect_redirect_to("/login");
    expect_signed_out(&mut stolen).await;
}

#[tokio::test]
async fn who_leaves_gets_another_cookie_value_or_none() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    confirm(&mut browser, &[]).await.expect_page("id=\"logged-out\"");
    assert_eq!(browser.session_cookie(), "");
    // Switching the account keeps the authorization request, but not under the name of the session that has ended.
    let mut browser = app.signed_in(ALICE).await;
    let before = browser.session_cookie();
    let page = browser.authorize(&SPA.ask().with("prompt", "consent")).await;
    let page = page.expect_page("id=\"consent-allow\"");
    let login = browser.press(&page, "switch").await;
    login.clone().expect_page("id=\"login-submit\"");
    let between = browser.session_cookie();
    assert!(!between.is_empty() && between != before);
    let mut stolen = app.browser();
    stolen.cookies.insert("hexgate_session".into(), before);
    stolen.get("/account").await.expect_redirect_to("/login");
    browser.complete(login, BOB).await.expect_code();
    assert_ne!(browser.session_cookie(), between);
}

#[tokio::test]
async fn an_address_that_was_taken_back_while_the_person_was_asked_is_not_gone_to() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    let hint = hint_from_elsewhere(&app).await;
    let asked = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BACK)];
    let page = browser.open(&path(&asked)).await.expect_page("id=\"logout-confirm\"");
    app.set_client_status(WEB, auth_server::domain::client::ClientStatus::Disabled)
        .await;
    browser
        .press(&page, "logout-confirm")
        .await
        .expect_page("id=\"logged-out\"");
}

#[tokio::test]
async fn a_post_of_nothing_asks_the_person() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    let nothing = app.call(Method::POST, "/connect/logout").send().await;
    assert_eq!(nothing.expect_redirect(), "/connect/logout?");
    let asked = browser.get("/connect/logout?").await;
    assert!(asked.expect_redirect().starts_with("/logout?request="));
}

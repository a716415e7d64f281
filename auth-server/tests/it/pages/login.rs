//! `/login`.

use auth_server::domain::user::UserStatus;
use http::Method;

use crate::app::{ALICE, BOB, OTHER_ALICE, TestApp, WEB};

#[tokio::test]
async fn who_signs_in_without_an_application_comes_to_the_account_page() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.get("/login").await;
    let page = login.clone().expect_page("id=\"login-submit\"");
    let form = page.form("login-submit");
    let filled = form
        .fields
        .with("username", ALICE.name)
        .with("password", ALICE.password);
    browser.post(&form.action, &filled).await.expect_redirect_to("/account");
    browser.get("/account").await.expect_page("Alice Liddell");
}

#[tokio::test]
async fn the_page_has_the_ids_and_words_that_scripts_look_for() {
    let app = TestApp::start().await;
    let page = app.browser().authorize(&WEB.ask()).await.expect_html(200);
    for id in ["username", "password", "login-submit", "login-cancel"] {
        assert_eq!(page.text.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    assert!(page.has("Sign in"));
    for link in [
        "/client-logo/web",
        "https://web.example/policy",
        "https://web.example/terms",
    ] {
        assert!(page.has(link), "{link}");
    }
    assert!(!page.has("<script"), "works without scripts");
    assert!(page.form("login-submit").fields.get("csrf").is_some());
}

/// OpenID Connect Registration §2.1.
#[tokio::test]
async fn an_application_is_called_as_it_calls_itself_in_the_readers_language() {
    let named = format!(
        "{CLIENT_OF_TWO_LANGUAGES}\"client_name#zh-Hans\" = \"应用\"\n\"tos_uri#zh\" = \"https://two.example/zh\"\n"
    );
    let app = TestApp::builder().document(&named).start().await;
    let two = crate::app::TestClient {
        id: "two",
        secret: None,
        redirect_uri: "https://two.example/cb",
        scope: "openid",
    };
    for (locales, shown, hidden) in [
        (
            "en",
            ["Application", "https://two.example/en"],
            ["应用", "https://two.example/zh"],
        ),
        (
            "zh",
            ["应用", "https://two.example/zh"],
            ["Application", "https://two.example/en"],
        ),
    ] {
        let ask = two.ask().with("ui_locales", locales);
        let page = app.browser().authorize(&ask).await.expect_html(200);
        assert!(shown.iter().all(|text| page.has(text)), "{}", page.text);
        assert!(!hidden.iter().any(|text| page.has(text)), "{}", page.text);
    }
}

const CLIENT_OF_TWO_LANGUAGES: &str = r#"
[[client]]
client_id = "two"
token_endpoint_auth_method = "none"
redirect_uris = ["https://two.example/cb"]
scope = "openid"
client_name = "Application"
tos_uri = "https://two.example/en"
"#;

#[tokio::test]
async fn a_wrong_password_an_unknown_name_and_a_locked_account_look_alike() {
    let app = TestApp::start().await;
    app.set_user_status(BOB, UserStatus::Locked).await;
    let long = "p".repeat(1025);
    let mut problems = Vec::new();
    for (name, password) in [
        (ALICE.name, "wrong"),
        (ALICE.name, &long),
        (ALICE.name, ""),
        ("nobody-of-that-name", ALICE.password),
        (BOB.name, BOB.password),
        ("", ""),
        (&"u".repeat(300), "x"),
    ] {
        let mut browser = app.browser();
        let login = browser.get("/login").await;
        let page = browser.sign_in_as(&login, name, password).await.expect_html(400);
        problems.push(page.between("id=\"login-problem\"", "</p>"));
        browser.get("/account").await.expect_redirect_to("/login");
    }
    problems.dedup();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[tokio::test]
async fn the_password_is_never_shown_again_and_the_name_is() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.get("/login").await;
    let name = "al\"><script>alert(1)</script>";
    let page = browser
        .sign_in_as(&login, name, "my secret pass phrase")
        .await
        .expect_html(400);
    assert!(!page.has("my secret") && !page.has("<script>alert"));
    assert_eq!(page.form("login-submit").fields.get("username"), Some(name));
}

#[tokio::test]
async fn names_that_people_take_for_one_are_one() {
    let app = TestApp::start().await;
    for name in ["ALICE", " alice ", "Alice"] {
        let mut browser = app.browser();
        let login = browser.get("/login").await;
        browser
            .sign_in_as(&login, name, ALICE.password)
            .await
            .expect_page("Alice Liddell");
    }
}

#[tokio::test]
async fn the_session_id_is_a_new_one_after_sign_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.get("/login").await;
    let planted = browser.clone();
    browser.sign_in(&login, ALICE).await.expect_page("account");
    assert_ne!(browser.session_cookie(), planted.session_cookie());
    // Whoever planted the cookie has nothing.
    let mut attacker = planted;
    attacker.get("/account").await.expect_redirect_to("/login");
}

#[tokio::test]
async fn the_csrf_token_is_a_new_one_after_sign_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.get("/login").await;
    let before = login
        .clone()
        .expect_html(200)
        .form("login-submit")
        .fields
        .get("csrf")
        .unwrap()
        .to_owned();
    browser.sign_in(&login, ALICE).await;
    let page = browser.get("/logout").await.expect_html(200);
    assert_ne!(page.form("logout-confirm").fields.get("csrf").unwrap(), before);
}

#[tokio::test]
async fn a_form_without_the_browsers_token_signs_nobody_in() {
    let app = TestApp::start().await;
    let mut other = app.browser();
    let others = other.get("/login").await.expect_html(200).form("login-submit").fields;
    let mut browser = app.browser();
    let own = browser.get("/login").await.expect_html(200).form("login-submit").fields;
    let fill = |fields: crate::app::Fields| fields.with("username", ALICE.name).with("password", ALICE.password);
    for forged in [
        fill(others.clone()),
        fill(own.clone()).without("csrf"),
        fill(own.clone()).with("csrf", "x"),
    ] {
        browser.post("/login", &forged).await.expect_html(400);
        browser.get("/account").await.expect_redirect_to("/login");
    }
    // Without any cookie, as a cross-site post comes under SameSite=Lax.
    let reply = app.call(Method::POST, "/login").form(&fill(own)).send().await;
    reply.expect_html(400);
}

#[tokio::test]
async fn a_cross_site_post_is_refused_even_with_a_leaked_token() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let mut browser = browser.sending("sec-fetch-site", "cross-site");
    let login = browser.get("/login").await;
    browser.sign_in(&login, ALICE).await.expect_html(400);
}

#[tokio::test]
async fn cancel_tells_the_application_and_keeps_nobody_signed_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let page = browser.authorize(&WEB.ask()).await.expect_html(200);
    let answer = browser
        .press(&page, "login-cancel")
        .await
        .expect_error_answer("access_denied");
    assert_eq!(answer.uri, WEB.redirect_uri);
    // The request is over: its page leads nowhere any more.
    browser.press(&page, "login-cancel").await.expect_html(400);
}

#[tokio::test]
async fn cancel_without_an_application_leads_home() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let page = browser.get("/login").await.expect_html(200);
    let form = page.form("login-cancel");
    browser.post(&form.action, &form.fields).await.expect_redirect_to("/");
    browser.get("/").await.expect_html(200);
}

#[tokio::test]
async fn a_request_that_nobody_kept_is_said_to_have_expired() {
    let app = TestApp::start().await;
    let page = app.browser().get("/login?request=made-up").await.expect_html(400);
    assert!(page.has("id=\"login-problem\""));
}

#[tokio::test]
async fn another_browsers_request_is_not_found() {
    let app = TestApp::start().await;
    let mut victim = app.browser();
    let location = victim.get(&WEB.ask().path()).await.expect_redirect();
    let mut attacker = app.signed_in(BOB).await;
    let page = attacker.get(&location).await.expect_html(400);
    assert!(page.has("id=\"login-problem\"") && !page.has("Web application"));
}

#[tokio::test]
async fn somebody_elses_session_in_this_browser_ends_with_a_new_sign_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let alices = app.exchange(&code).await.expect_tokens();
    let login = browser.get("/login").await;
    browser.sign_in(&login, BOB).await.expect_page("bob");
    app.userinfo(&alices).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &alices.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn the_same_persons_session_goes_on_with_a_new_sign_in() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let login = browser.get("/login").await;
    browser.sign_in(&login, ALICE).await.expect_page("account");
    app.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn a_session_ends_at_its_lifetime_and_a_new_sign_in_extends_it() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    app.advance(12 * 60 * 60 - 1);
    browser.get("/account").await.expect_page("account");
    let mut renewed = browser.clone();
    app.advance(1);
    browser.get("/account").await.expect_redirect_to("/login");
    let login = renewed.get("/login").await;
    renewed.sign_in(&login, ALICE).await.expect_page("account");
    app.advance(12 * 60 * 60 - 1);
    renewed.get("/account").await.expect_page("account");
}

#[tokio::test]
async fn people_without_an_application_sign_in_to_the_default_tenant() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.get("/login").await;
    browser.sign_in(&login, OTHER_ALICE).await.expect_html(400);
}

#[tokio::test]
async fn locking_a_person_ends_every_session_of_theirs() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    app.set_user_status(ALICE, UserStatus::Locked).await;
    browser.get("/account").await.expect_redirect_to("/login");
    app.set_user_status(ALICE, UserStatus::Active).await;
    browser.get("/account").await.expect_redirect_to("/login");
}

#[tokio::test]
async fn a_deleted_persons_name_is_free_and_their_password_is_not() {
    let app = TestApp::start().await;
    app.set_user_status(BOB, UserStatus::Deleted).await;
    let mut browser = app.browser();
    let login = browser.get("/login").await;
    browser.sign_in(&login, BOB).await.expect_html(400);
    app.apply("[[user]]\nusername = \"bob\"\npassword = \"a new bob\"\n")
        .await;
    let login = browser.get("/login").await;
    browser.sign_in_as(&login, "bob", "a new bob").await.expect_page("bob");
}

#[tokio::test]
async fn the_host_header_and_forwarded_headers_change_nothing() {
    let app = TestApp::start().await;
    for (name, value) in [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=https"),
    ] {
        let call = app.call(Method::GET, &WEB.ask().path()).header(name, value);
        let location = call.send().await.expect_redirect();
        assert!(location.starts_with("/login?"), "{location}");
        let page = app
            .call(Method::GET, "/login")
            .header(name, value)
            .send()
            .await
            .expect_html(200);
        assert!(!page.has("evil.example"));
        let metadata = app
            .call(Method::GET, "/.well-known/openid-configuration")
            .header(name, value)
            .send()
            .await;
        assert!(!metadata.text().contains("evil.example"));
    }
}

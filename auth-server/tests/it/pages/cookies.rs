//! Cookies.

use crate::app::{ALICE, TestApp, WEB};

#[tokio::test]
async fn on_https_cookies_are_pinned_to_the_host_and_secure() {
    let app = TestApp::builder().issuer("https://op.example").start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&WEB.ask()).await;
    let form = login.clone().expect_html(200).form("login-submit");
    let filled = form
        .fields
        .with("username", ALICE.name)
        .with("password", ALICE.password);
    let reply = browser.post(&form.action, &filled).await;
    let names: Vec<&String> = browser.cookies.keys().collect();
    assert_eq!(names, ["__Host-hexgate_device", "__Host-hexgate_session"]);
    for cookie in reply.cookies() {
        let attributes = cookie.to_ascii_lowercase();
        for wanted in ["; httponly", "; secure", "; samesite=lax", "; path=/"] {
            assert!(attributes.contains(wanted), "{cookie}");
        }
        assert!(!attributes.contains("domain="), "{cookie}");
    }
    let reply = browser.get("/login").await;
    assert!(reply.header("strict-transport-security").unwrap().contains("max-age="));
}

#[tokio::test]
async fn on_plain_loopback_they_do_without_the_prefix() {
    let app = TestApp::start().await;
    let browser = app.signed_in(ALICE).await;
    let names: Vec<&String> = browser.cookies.keys().collect();
    assert_eq!(names, ["hexgate_device", "hexgate_session"]);
}

#[tokio::test]
async fn an_issuer_with_a_path_keeps_its_forms_and_redirects_under_it() {
    let app = TestApp::builder().issuer("http://localhost:9000/op").start().await;
    let mut browser = app.browser();
    let location = browser.get(&WEB.ask().path()).await.expect_redirect();
    assert!(location.starts_with("/op/login?"), "{location}");
    let login = browser.get(&location).await;
    assert!(
        login
            .cookies()
            .iter()
            .all(|cookie| cookie.to_ascii_lowercase().contains("path=/op")),
        "{:?}",
        login.cookies()
    );
    let page = login.clone().expect_html(200);
    assert_eq!(page.form("login-submit").action, "/op/login");
    assert!(page.has("href=\"/op/assets/"));
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    assert_eq!(page.form("consent-allow").action, "/op/consent");
    browser.press(&page, "consent-allow").await.expect_code();
}

#[tokio::test]
async fn a_cookie_that_nobody_issued_is_no_error() {
    let app = TestApp::start().await;
    for value in [
        "x",
        "",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "%00%ff",
        "\u{22}quoted\u{22}",
        &"x".repeat(4000),
    ] {
        let mut browser = app.browser();
        browser.cookies.insert("hexgate_session".into(), value.into());
        browser.cookies.insert("hexgate_device".into(), value.into());
        let login = browser.get("/login").await;
        browser.sign_in(&login, ALICE).await.expect_page("account");
    }
}

#[tokio::test]
async fn nothing_is_written_for_who_needs_no_page() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/logged-out",
        "/error",
        "/.well-known/openid-configuration",
        "/oauth2/jwks",
    ] {
        assert!(app.get(path).await.cookies().is_empty(), "{path}");
    }
    let reply = app.get(&WEB.ask().with("prompt", "none").path()).await;
    assert!(reply.cookies().is_empty());
}

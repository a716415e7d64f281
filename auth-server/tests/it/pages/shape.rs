//! What all pages share: headers, error pages, assets.

use http::Method;

use crate::app::{ALICE, TestApp, WEB};

#[tokio::test]
async fn every_page_has_every_security_header_and_no_inline_script_or_style() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&WEB.ask()).await;
    let mut pages = vec![login.clone()];
    pages.push(browser.sign_in(&login, ALICE).await);
    for path in ["/", "/account", "/logout", "/logged-out", "/login"] {
        pages.push(browser.get(path).await);
    }
    for page in pages {
        let page = page.expect_html(200);
        for forbidden in [
            "<script",
            "<style",
            " style=\"",
            " onclick",
            "javascript:",
            "http-equiv",
        ] {
            assert!(!page.has(forbidden), "{forbidden}: {}", page.text);
        }
    }
    browser.get("/error").await.expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn an_error_page_carries_a_request_id_and_stays_in_english_for_scripts() {
    let app = TestApp::start().await;
    let mut browser = app.browser().sending("accept-language", "zh");
    let reply = browser.get("/oauth2/authorize").await;
    let id = reply.header("x-request-id").unwrap().to_owned();
    let page = reply.clone().expect_html(400);
    assert!(page.has(&id) && page.has("<html lang=\"zh-Hans\""));
    let sentence = reply.expect_error_page(400, "invalid_request");
    assert!(sentence.contains("The parameter client_id is missing"), "{sentence}");
}

#[tokio::test]
async fn hostile_text_in_an_address_is_never_markup() {
    let app = TestApp::start().await;
    let hostile = "%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE";
    for path in [
        format!("/oauth2/authorize?client_id={hostile}"),
        format!("/oauth2/authorize?client_id=web&redirect_uri={hostile}"),
        format!("/oauth2/authorize?{hostile}=1&{hostile}=2"),
        format!("/login?request={hostile}"),
        format!("/consent?request={hostile}"),
        format!("/connect/logout?post_logout_redirect_uri={hostile}&id_token_hint={hostile}"),
        format!("/error?error={hostile}&error_description={hostile}"),
        format!("/{hostile}"),
    ] {
        let text = app.browser().get(&path).await.text();
        assert!(
            !text.contains("<script>alert") && !text.contains('\u{202e}'),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn addresses_with_a_query_that_cannot_be_read_are_error_pages() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for path in [
        "/login?request=a&request=b",
        "/consent?request=a&request=b",
        "/account?done=a&done=b",
        "/login?request=%ff",
    ] {
        let reply = browser.get(path).await;
        assert!(matches!(reply.status, 200 | 400), "{path}: {}", reply.status);
        let status = reply.status;
        reply.expect_html(status);
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_read_is_an_error_page() {
    let app = TestApp::start().await;
    for path in ["/login", "/consent", "/logout", "/account", "/connect/logout"] {
        for (kind, body) in [
            ("application/json", "{}".to_owned()),
            ("application/x-www-form-urlencoded", "a=1&a=2".to_owned()),
            ("application/x-www-form-urlencoded", "x=%ff".to_owned()),
            ("application/x-www-form-urlencoded", format!("x={}", "y".repeat(70_000))),
        ] {
            let reply = app
                .call(Method::POST, path)
                .header("accept", "text/html")
                .raw(kind, body)
                .send()
                .await;
            assert!([400, 413].contains(&reply.status), "{path}: {}", reply.status);
            let status = reply.status;
            reply.expect_error_page(status, "invalid_request");
        }
    }
}

#[tokio::test]
async fn methods_that_a_page_does_not_take_are_refused() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/login",
        "/consent",
        "/logout",
        "/account",
        "/logged-out",
        "/connect/logout",
    ] {
        for method in [Method::PUT, Method::DELETE] {
            let reply = app.call(method, path).header("accept", "text/html").send().await;
            assert!(reply.header("allow").is_some(), "{path}");
            reply.expect_error_page(405, "invalid_request");
        }
    }
}

#[tokio::test]
async fn the_style_sheet_is_served_under_the_address_that_pages_name() {
    let app = TestApp::start().await;
    let page = app.get("/login").await.expect_html(200);
    let href = page.between("<link rel=\"stylesheet\" href=\"", "\"");
    let reply = app.get(&href).await.expect_status(200);
    assert_eq!(reply.header("content-type"), Some("text/css; charset=utf-8"));
    assert!(reply.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let etag = reply.header("etag").unwrap();
    app.call(Method::GET, &href)
        .header("if-none-match", etag)
        .send()
        .await
        .expect_status(304);
    app.get("/assets/nothing.css").await.expect_status(404);
    app.get("/assets/..%2f..%2fCargo.toml").await.expect_status(404);
}

#[tokio::test]
async fn every_reply_has_a_request_id() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/login",
        "/oauth2/token",
        "/oauth2/jwks",
        "/nothing",
        "/userinfo",
        "/assets/app.css",
    ] {
        assert!(
            app.get(path)
                .await
                .header("x-request-id")
                .is_some_and(|id| !id.is_empty()),
            "{path}"
        );
    }
}

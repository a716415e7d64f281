//! Logos of applications: from the provider itself, whatever their hosts send.

use auth_server::{domain::client::ClientStatus, ports::outbound::Purpose};
use http::Method;

use crate::app::{Reply, TestApp, WEB, reply};

const LOGO: &str = "https://cdn.web.example/logo.png";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nthe rest";

async fn logo(app: &TestApp) -> Reply {
    app.get("/client-logo/web").await
}

/// Whatever is served, it neither runs nor is taken for something else.
#[track_caller]
fn expect_tame(reply: &Reply) {
    let csp = reply.header("content-security-policy").unwrap();
    assert!(csp.contains("default-src 'none'") && csp.contains("sandbox"), "{csp}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
    assert!(reply.cookies().is_empty());
}

#[tokio::test]
async fn a_logo_is_fetched_once_and_served_from_here() {
    let app = TestApp::start().await;
    app.hosts.put(LOGO, reply(200, "image/png", PNG));
    for _ in 0..2 {
        let shown = logo(&app).await.expect_status(200);
        assert_eq!(
            (shown.header("content-type"), &shown.body[..]),
            (Some("image/png"), PNG)
        );
        assert_eq!(shown.header("cache-control"), Some("public, max-age=3600"));
        expect_tame(&shown);
    }
    let asked = app.hosts.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked.first().unwrap().purpose, Purpose::Logo);
}

#[tokio::test]
async fn what_a_host_calls_its_bytes_does_not_matter() {
    let hostile = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    for (content_type, body, served) in [
        ("text/html", PNG, "image/png"),
        ("image/svg+xml", hostile.as_bytes(), "image/svg+xml"),
        ("text/html", hostile.as_bytes(), "image/svg+xml"),
    ] {
        let app = TestApp::start().await;
        app.hosts.put(LOGO, reply(200, content_type, body));
        let shown = logo(&app).await.expect_status(200);
        assert_eq!((shown.header("content-type"), &shown.body[..]), (Some(served), body));
        expect_tame(&shown);
    }
}

#[tokio::test]
async fn without_a_picture_the_first_letter_stands_there() {
    for answer in [
        None,
        Some(reply(404, "image/png", PNG)),
        Some(reply(200, "image/png", "<html><script>alert(1)</script></html>")),
        Some(reply(200, "image/png", "")),
    ] {
        let app = TestApp::start().await;
        if let Some(answer) = answer {
            app.hosts.put(LOGO, answer);
        }
        let shown = logo(&app).await.expect_status(200);
        assert_eq!(shown.header("content-type"), Some("image/svg+xml"));
        assert!(shown.text().contains(">W</text>"), "{}", shown.text());
        expect_tame(&shown);
    }
}

#[tokio::test]
async fn there_is_no_logo_of_nobody() {
    let app = TestApp::start().await;
    app.get("/client-logo/unknown").await.expect_status(404);
    app.set_client_status(WEB, ClientStatus::Disabled).await;
    logo(&app).await.expect_status(404);
    app.call(Method::POST, "/client-logo/web")
        .send()
        .await
        .expect_status(405);
    assert!(app.hosts.asked().is_empty());
}

#[tokio::test]
async fn a_client_that_is_a_url_has_a_logo_too() {
    const ID: &str = "https://app.example/client.json";
    let app = TestApp::start().await;
    let document = serde_json::json!({
        "client_id": ID,
        "redirect_uris": ["http://127.0.0.1/cb"],
        "logo_uri": "https://app.example/logo",
    });
    app.hosts.put_json(ID, &document);
    app.hosts.put("https://app.example/logo", reply(200, "image/png", PNG));
    let shown = app.get("/client-logo/https%3A%2F%2Fapp.example%2Fclient.json").await;
    assert_eq!(shown.expect_status(200).header("content-type"), Some("image/png"));
    let client = crate::app::TestClient {
        id: ID,
        secret: None,
        redirect_uri: "http://127.0.0.1:5000/cb",
        scope: "openid",
    };
    let page = app.browser().authorize(&client.ask()).await.expect_html(200);
    assert!(
        page.has("/client-logo/https%3A%2F%2Fapp.example%2Fclient.json"),
        "{}",
        page.text
    );
}

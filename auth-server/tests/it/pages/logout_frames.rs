//! Applications that end their sessions in frames of the last page (OpenID Connect Front-Channel Logout 1.0).

use std::collections::BTreeSet;

use crate::app::{ALICE, Browser, Page, Reply, STATE, TestApp, TestClient, Tokens, fields};

const fn application(id: &'static str, redirect_uri: &'static str) -> TestClient {
    TestClient {
        id,
        secret: Some("application-secret-1234"),
        redirect_uri,
        scope: "openid",
    }
}

const MAIL: TestClient = application("mail", "https://mail.example/cb");
const PHOTOS: TestClient = application("photos", "https://photos.example:8443/cb");
const NOTES: TestClient = application("notes", "https://notes.example/cb");

const APPLICATIONS: &str = r#"
[[client]]
client_id = "mail"
client_name = "Mail"
client_secret = "application-secret-1234"
redirect_uris = ["https://mail.example/cb"]
post_logout_redirect_uris = ["https://mail.example/bye?a=1"]
scope = "openid"
auto_approve = true
frontchannel_logout_uri = "https://mail.example/out?tenant=1"

[[client]]
client_id = "photos"
client_secret = "application-secret-1234"
redirect_uris = ["https://photos.example:8443/cb"]
scope = "openid"
auto_approve = true
frontchannel_logout_uri = "https://photos.example:8443/out"

[[client]]
client_id = "notes"
client_secret = "application-secret-1234"
redirect_uris = ["https://notes.example/cb"]
post_logout_redirect_uris = ["https://notes.example/bye"]
scope = "openid"
auto_approve = true
"#;

const BYE: &str = "https://mail.example/bye?a=1";

async fn start() -> TestApp {
    TestApp::builder().document(APPLICATIONS).start().await
}

async fn visit(app: &TestApp, browser: &mut Browser<'_>, client: TestClient) -> Tokens {
    let code = browser.consented_code(ALICE, &client.ask()).await;
    app.exchange(&code).await.expect_tokens()
}

fn asked(hint: &str, more: &[(&str, &str)]) -> String {
    let query = more
        .iter()
        .fold(fields([("id_token_hint", hint)]), |query, (name, value)| {
            query.with(name, value)
        });
    format!("/connect/logout?{}", query.encode())
}

fn attribute(page: &Page, tag: &str, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for rest in page.text.split(&format!("<{tag}")).skip(1) {
        let tag = rest.split('>').next().unwrap_or_default();
        let value = tag.split(&format!(" {name}=\"")).nth(1);
        values.extend(
            value
                .and_then(|rest| rest.split('"').next())
                .map(|value| value.replace("&#38;", "&")),
        );
    }
    values
}

fn directive(reply: &Reply, name: &str) -> BTreeSet<String> {
    let policy = reply.header("content-security-policy").unwrap();
    let found = policy.split("; ").find_map(|one| one.strip_prefix(name));
    found
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_application_of_the_session_gets_a_frame_and_the_person_goes_on_from_there() {
    let app = start().await;
    let mut browser = app.browser();
    let tokens = visit(&app, &mut browser, MAIL).await;
    for client in [PHOTOS, NOTES] {
        visit(&app, &mut browser, client).await;
    }
    let sid = app.claims(&tokens.id_token).await["sid"].as_str().unwrap().to_owned();
    let path = asked(&tokens.id_token, &[("post_logout_redirect_uri", BYE), ("state", STATE)]);
    let location = browser.get(&path).await.expect_redirect();
    assert!(location.starts_with("/logged-out?request="), "{location}");
    let reply = browser.get(&location).await;
    let page = reply.clone().expect_page("id=\"logged-out\"");
    let iss = app.issuer.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(
        attribute(&page, "iframe", "src"),
        [
            format!("https://mail.example/out?tenant=1&iss={iss}&sid={sid}"),
            format!("https://photos.example:8443/out?iss={iss}&sid={sid}"),
        ]
    );
    assert_eq!(
        directive(&reply, "frame-src"),
        ["https://mail.example", "https://photos.example:8443"]
            .map(str::to_owned)
            .into()
    );
    for sandbox in attribute(&page, "iframe", "sandbox") {
        assert_eq!(
            sandbox, "allow-scripts allow-same-origin",
            "a frame cannot lead the page away"
        );
    }
    // The one script goes where the link goes, and stands under a nonce of its own.
    assert!(page.has(&format!("id=\"logout-continue\" href=\"{BYE}&#38;state={STATE}\"")));
    assert!(page.has("Continue to <bdi>Mail</bdi>"));
    let nonces = attribute(&page, "script", "nonce");
    assert_eq!(nonces.len(), 1);
    assert_eq!(
        directive(&reply, "script-src"),
        [format!("'nonce-{}'", nonces.first().unwrap())].into()
    );
    let again = browser.get(&location).await.expect_page("id=\"logged-out\"");
    assert_ne!(attribute(&again, "script", "nonce"), nonces);
    browser.get("/account").await.expect_redirect_to("/login");
}

#[tokio::test]
async fn without_a_way_onwards_the_page_stays() {
    let app = start().await;
    let mut browser = app.browser();
    visit(&app, &mut browser, MAIL).await;
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    let reply = browser.press(&page, "logout-confirm").await;
    let page = reply.clone().expect_page("id=\"logged-out\"");
    assert_eq!(attribute(&page, "iframe", "src").len(), 1);
    assert!(!page.has("<script") && !page.has("logout-continue"));
    assert!(directive(&reply, "script-src").is_empty());
}

#[tokio::test]
async fn a_session_without_such_applications_has_no_detour() {
    let app = start().await;
    let mut browser = app.browser();
    let tokens = visit(&app, &mut browser, NOTES).await;
    let path = asked(
        &tokens.id_token,
        &[("post_logout_redirect_uri", "https://notes.example/bye")],
    );
    browser.get(&path).await.expect_redirect_to("https://notes.example/bye");
}

#[tokio::test]
async fn ending_the_own_session_on_the_account_page_shows_the_frames_too() {
    let app = start().await;
    for action in ["end-session", "end-all"] {
        let mut browser = app.browser();
        let tokens = visit(&app, &mut browser, MAIL).await;
        let sid = app.claims(&tokens.id_token).await["sid"].as_str().unwrap().to_owned();
        let page = browser.get("/logout").await.expect_html(200);
        let csrf = page.form("logout-confirm").fields.get("csrf").unwrap().to_owned();
        let form = fields([("action", action), ("session", &sid), ("csrf", &csrf)]);
        let reply = browser.post("/account", &form).await;
        let page = browser.follow(reply).await.expect_page("id=\"logged-out\"");
        assert_eq!(attribute(&page, "iframe", "src").len(), 1, "{action}");
    }
}

#[tokio::test]
async fn frames_are_shown_to_the_browser_that_logged_out_and_to_no_other() {
    let app = start().await;
    let mut browser = app.browser();
    let tokens = visit(&app, &mut browser, MAIL).await;
    let location = browser.get(&asked(&tokens.id_token, &[])).await.expect_redirect();
    for mut other in [app.browser(), app.signed_in(ALICE).await] {
        let page = other.get(&location).await.expect_page("id=\"logged-out\"");
        assert!(!page.has("<iframe"));
    }
    let page = browser.get("/logged-out?request=other").await.expect_html(200);
    assert!(!page.has("<iframe"));
}

#[tokio::test]
async fn a_client_that_was_disabled_is_framed_no_more() {
    let app = start().await;
    let mut browser = app.browser();
    visit(&app, &mut browser, MAIL).await;
    let tokens = visit(&app, &mut browser, NOTES).await;
    app.set_client_status(MAIL, auth_server::domain::client::ClientStatus::Disabled)
        .await;
    let path = asked(
        &tokens.id_token,
        &[("post_logout_redirect_uri", "https://notes.example/bye")],
    );
    browser.get(&path).await.expect_redirect_to("https://notes.example/bye");
}

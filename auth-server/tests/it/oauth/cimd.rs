//! Clients whose id is the URL of their description (draft-ietf-oauth-client-id-metadata-document).

use auth_server::{
    domain::{client::ClientStatus, ids::ClientId},
    ports::{
        outbound::{OutboundError, OutboundReply, Purpose},
        store::Transactions as _,
    },
};
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};

use crate::app::{ALICE, Builder, Fields, Signatory, TestApp, TestClient, fields, proof, reply};

const ID: &str = "https://app.example/client.json";

/// An application that a person has on their own device.
const APP: TestClient = TestClient {
    id: ID,
    secret: None,
    redirect_uri: "http://127.0.0.1:51234/cb",
    scope: "openid profile",
};
/// The same on the web.
const WEB_APP: TestClient = TestClient {
    redirect_uri: "https://app.example/cb",
    ..APP
};

fn document() -> Value {
    json!({
        "client_id": ID,
        "client_name": "Editor",
        "client_uri": "https://app.example/",
        "redirect_uris": ["http://127.0.0.1/cb", "http://localhost/cb", "https://app.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut document = document();
    document[name] = value;
    document
}

async fn start(builder: Builder) -> TestApp {
    let app = builder.start().await;
    app.hosts.put_json(ID, &document());
    app
}

async fn set_status(app: &TestApp, status: ClientStatus) {
    let id = ClientId::new(ID);
    app.foundation().operate().set_client_status(&id, status).await.unwrap();
    app.sync().await;
}

/// What nodes remember of clients for a minute is forgotten, as if that minute were over.
async fn forget_clients(app: &TestApp) {
    let mut tx = app.foundation().store.begin().await.unwrap();
    tx.bump_revision().await.unwrap();
    tx.commit().await.unwrap();
    app.sync().await;
}

/// The sentence of the page that a person sees instead of a redirect.
async fn refused(app: &TestApp, client: TestClient) -> String {
    app.get(&client.ask().path())
        .await
        .expect_error_page(400, "invalid_client")
}

#[tokio::test]
async fn a_client_that_nobody_registered_signs_people_in() {
    let app = start(TestApp::builder()).await;
    assert_eq!(app.metadata().await["client_id_metadata_document_supported"], true);
    let tokens = app.tokens(ALICE, APP).await;
    app.userinfo(&tokens).await.expect_status(200);
    assert!(app.is_active(&tokens.access_token).await);
    assert_eq!(app.claims(&tokens.access_token).await["client_id"], ID);
    assert_eq!(app.claims(&tokens.id_token).await["aud"], ID);
    app.refresh(APP, &tokens.refresh_token).await.expect_tokens();
    let asked = app.hosts.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked.first().unwrap().purpose, Purpose::ClientMetadata);
}

#[tokio::test]
async fn the_consent_page_tells_what_the_client_is_identified_by() {
    let app = start(TestApp::builder()).await;
    let mut browser = app.signed_in(ALICE).await;
    for (client, on_device) in [(APP, true), (WEB_APP, false)] {
        let page = browser.open(&client.ask().path()).await.expect_page("consent-allow");
        assert!(page.text.contains("Editor"), "{}", page.text);
        assert!(page.between("consent-identified", "</p>").contains(ID));
        assert_eq!(page.has("consent-device"), on_device, "{}", page.text);
    }
    let registered = browser
        .open(&crate::app::WEB.ask().path())
        .await
        .expect_page("consent-allow");
    assert!(!registered.has("consent-identified") && !registered.has("consent-device"));
}

#[tokio::test]
async fn a_document_without_a_name_is_called_by_its_host() {
    let app = start(TestApp::builder()).await;
    app.hosts.put_json(ID, &with("client_name", json!("")));
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.open(&APP.ask().path()).await.expect_page("consent-allow");
    assert!(
        page.text.contains("<strong><bdi>app.example</bdi></strong>"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_document_that_is_not_the_clients_own_is_refused_with_the_reason() {
    for (document, reason) in [
        (with("client_id", json!("https://app.example/other.json")), "client_id"),
        (
            with("client_id", json!("https://app.example/client.json#x")),
            "client_id",
        ),
        (with("client_id", json!(null)), "client_id"),
        (with("client_id", json!(7)), "client_id"),
        (with("client_secret", json!("x")), "client_secret"),
        (with("client_secret_expires_at", json!(0)), "client_secret_expires_at"),
        (
            with("token_endpoint_auth_method", json!("client_secret_basic")),
            "token_endpoint_auth_method",
        ),
        (
            with("token_endpoint_auth_method", json!("client_secret_post")),
            "token_endpoint_auth_method",
        ),
        (
            with("token_endpoint_auth_method", json!("client_secret_jwt")),
            "token_endpoint_auth_method",
        ),
        (with("redirect_uris", json!([])), "redirect_uris"),
        (
            with("redirect_uris", json!(["https://other.example/cb"])),
            "redirect_uris",
        ),
        (
            with("redirect_uris", json!(["https://app.example:8443/cb"])),
            "redirect_uris",
        ),
        (with("redirect_uris", json!(["com.example.app:/cb"])), "redirect_uris"),
        (with("redirect_uris", json!(["javascript:alert(1)"])), "redirect_uris"),
        (with("grant_types", json!(["client_credentials"])), "grant_types"),
        (with("logo_uri", json!("javascript:alert(1)")), "logo_uri"),
        (with("client_name", json!(7)), "client_name"),
    ] {
        let app = start(TestApp::builder()).await;
        app.hosts.put_json(ID, &document);
        let sentence = refused(&app, APP).await;
        assert!(sentence.contains(reason), "{document}: {sentence}");
    }
}

#[tokio::test]
async fn what_a_document_says_to_other_providers_is_passed_over() {
    let app = start(TestApp::builder()).await;
    let mut document = document();
    document["redirect_uris"] = json!(["cursor://callback", "https://other.example/cb", "http://127.0.0.1/cb"]);
    document["grant_types"] = json!(["authorization_code", "urn:ietf:params:oauth:grant-type:x", "password"]);
    document["response_types"] = json!(["code", "code token"]);
    document["first_party"] = json!(true);
    document["auto_approve"] = json!(true);
    document["permissions"] = json!(["token:introspect"]);
    app.hosts.put_json(ID, &document);
    // `consented_code` agrees on a consent page and fails where there is none.
    app.tokens(ALICE, APP).await;
    app.password(APP, ALICE.name, ALICE.password)
        .await
        .expect_oauth_error(400, "unauthorized_client");
    for uri in ["https://other.example/cb", "cursor://callback"] {
        app.get(&APP.ask().with("redirect_uri", uri).path())
            .await
            .expect_error_page(400, "invalid_request");
    }
}

#[tokio::test]
async fn scopes_are_the_operators_to_give() {
    let app = start(
        TestApp::builder().config(|config| config.registration.cimd_scopes = vec!["openid".into(), "ai:chat".into()]),
    )
    .await;
    app.hosts.put_json(ID, &with("scope", json!("openid admin ai:chat")));
    app.get(&APP.ask().with("scope", "openid admin").path())
        .await
        .expect_error_answer("invalid_scope");
    app.tokens_for(ALICE, &APP.ask().with("scope", "openid ai:chat")).await;
}

#[tokio::test]
async fn pkce_is_not_for_a_document_to_waive() {
    let app = start(TestApp::builder().config(|config| config.registration.require_pkce = false)).await;
    app.hosts.put_json(ID, &with("require_pkce", json!(false)));
    let ask = APP.ask().without("code_challenge").without("code_challenge_method");
    app.get(&ask.path()).await.expect_error_answer("invalid_request");
}

#[tokio::test]
async fn urls_that_are_not_plain_are_not_asked() {
    let app = TestApp::start().await;
    for id in [
        "http://app.example/client.json",
        "https://app.example",
        "https://app.example/",
        "https://app.example/client.json#x",
        "https://user@app.example/client.json",
        "https://app.example/../client.json",
        "https://app.example:443/client.json",
        "https://APP.example/client.json",
        "https://2130706433/client.json",
    ] {
        app.hosts.put_json(id, &with("client_id", json!(id)));
        let client = TestClient { id, ..APP };
        let sentence = refused(&app, client).await;
        assert!(!sentence.contains("URL"), "{id}: {sentence}");
    }
    assert!(app.hosts.asked().is_empty());
}

#[tokio::test]
async fn a_document_that_cannot_be_had_is_told_and_not_asked_for_at_once_again() {
    let app = TestApp::start().await;
    for (outcome, reason) in [
        (reply(404, "application/json", "{}"), "404"),
        (reply(302, "application/json", "{}"), "302"),
        (reply(200, "text/html", document().to_string()), "JSON"),
        (reply(200, "application/json", "[]"), "JSON object"),
        (reply(200, "application/json", "{"), "JSON object"),
        (
            reply(200, "application/json", r#"{"client_id": "a", "client_id": "b"}"#),
            "each name once",
        ),
    ] {
        app.hosts.put(ID, outcome);
        let before = app.hosts.times(ID);
        for _ in 0..3 {
            let sentence = refused(&app, APP).await;
            assert!(sentence.contains(reason), "{sentence}");
        }
        assert_eq!(app.hosts.times(ID), before + 1, "{reason}");
        app.advance(31);
    }
    app.hosts.fail(ID, OutboundError::TooLarge);
    let sentence = refused(&app, APP).await;
    assert!(sentence.contains("too large"), "{sentence}");
}

#[tokio::test]
async fn a_document_is_kept_for_a_minute_at_least_and_a_day_at_most() {
    for (told, kept) in [(0, 60), (3600, 3600), (999_999, 86_400)] {
        let app = TestApp::start().await;
        app.hosts.put_json_for(ID, &document(), told);
        app.tokens(ALICE, APP).await;
        app.hosts
            .put_json(ID, &with("redirect_uris", json!(["https://app.example/cb"])));
        app.advance(kept - 1);
        app.sync().await;
        app.get(&APP.ask().path()).await.expect_redirect_to("/login");
        app.advance(1);
        forget_clients(&app).await;
        app.get(&APP.ask().path())
            .await
            .expect_error_page(400, "invalid_request");
    }
}

#[tokio::test]
async fn an_operator_keeps_a_client_out_and_lets_it_in_again() {
    let app = start(TestApp::builder()).await;
    let tokens = app.tokens(ALICE, APP).await;
    set_status(&app, ClientStatus::Disabled).await;
    app.get(&APP.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(APP, &tokens.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    // The row that keeps it out does not speak for it once it is let in.
    set_status(&app, ClientStatus::Active).await;
    app.advance(2);
    app.tokens(ALICE, APP).await;
    // One that was never seen can be kept out, too.
    let stranger = ClientId::new("https://evil.example/client.json");
    let operate = app.foundation().operate();
    operate
        .set_client_status(&stranger, ClientStatus::Disabled)
        .await
        .unwrap();
    app.hosts
        .put_json(stranger.as_str(), &with("client_id", json!(stranger.as_str())));
    app.sync().await;
    let client = TestClient {
        id: "https://evil.example/client.json",
        ..APP
    };
    app.get(&client.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    assert_eq!(app.hosts.times(stranger.as_str()), 0);
}

#[tokio::test]
async fn the_operator_decides_about_hosts_and_whether_at_all() {
    let app =
        start(TestApp::builder().config(|config| config.registration.cimd_hosts = vec!["*.corp.example".into()])).await;
    let sentence = refused(&app, APP).await;
    assert!(sentence.contains("not allowed here"), "{sentence}");
    assert!(app.hosts.asked().is_empty());
    let app = start(TestApp::builder().config(|config| config.registration.client_id_metadata_documents = false)).await;
    assert_eq!(app.metadata().await["client_id_metadata_document_supported"], false);
    refused(&app, APP).await;
    assert!(app.hosts.asked().is_empty());
}

#[tokio::test]
async fn the_account_page_names_the_client_without_asking_its_host() {
    let app = start(TestApp::builder()).await;
    app.tokens(ALICE, APP).await;
    let other = app.another_node().await;
    let mut browser = other.signed_in(ALICE).await;
    let page = browser.open("/account").await.expect_page("account");
    assert!(page.text.contains("app.example"), "{}", page.text);
    assert_eq!(app.hosts.times(ID), 1);
}

#[tokio::test]
async fn a_client_may_prove_itself_by_a_key_that_its_document_names() {
    let app = TestApp::start().await;
    let signatory = Signatory::with_key(ID, SigningAlg::Es256);
    let registration = signatory.registration(json!({}));
    let mut document = with("token_endpoint_auth_method", json!("private_key_jwt"));
    document["jwks"] = registration["jwks"].clone();
    document["scope"] = json!("openid profile");
    // A wish that is not granted: the same client signs for other providers, too.
    document["client_assertion_audience"] = json!("token_endpoint");
    app.hosts.put_json(ID, &document);
    let code = app.consented_code(ALICE, WEB_APP).await;
    let by = |proof: &Fields| code.form().plus(proof);
    // A client_id alone proves nothing any more.
    let bare = app.call(Method::POST, "/oauth2/token");
    bare.form(&by(&fields([("client_id", ID)])))
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    let endpoint = json!({"aud": format!("{}/oauth2/token", app.issuer)});
    let misdirected = app.call(Method::POST, "/oauth2/token");
    misdirected
        .form(&by(&proof(&signatory.assertion_with(&app, endpoint))))
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    let proven = app.call(Method::POST, "/oauth2/token");
    proven
        .form(&by(&proof(&signatory.assertion(&app))))
        .send()
        .await
        .expect_tokens();
    let mut bare = document.clone();
    bare["jwks"] = Value::Null;
    let other = TestApp::start().await;
    other.hosts.put_json(ID, &bare);
    assert!(refused(&other, WEB_APP).await.contains("jwks"));
}

#[tokio::test]
async fn a_client_whose_host_is_down_is_told_to_try_again_and_one_that_is_gone_is_gone() {
    let app = start(TestApp::builder()).await;
    let tokens = app.tokens(ALICE, APP).await;
    app.hosts.fail(ID, OutboundError::Unreachable);
    app.advance(16 * 60);
    forget_clients(&app).await;
    let reply = app.refresh(APP, &tokens.refresh_token).await;
    assert_eq!(reply.header("retry-after"), Some("1"));
    reply.expect_oauth_error(503, "temporarily_unavailable");
    app.advance(31);
    app.hosts.put(ID, reply_of(404));
    app.refresh(APP, &tokens.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.advance(31);
    app.hosts.put_json(ID, &document());
    app.refresh(APP, &tokens.refresh_token).await.expect_tokens();
}

fn reply_of(status: u16) -> OutboundReply {
    reply(status, "application/json", "{}")
}

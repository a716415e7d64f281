//! Clients and their own registrations (RFC 7592).

use auth_server::domain::{client::ClientStatus, ids::ClientId};
use http::Method;
use serde_json::{Value, json};

use super::register::{open, registered, test_client, with};
use crate::app::{ALICE, ISSUER, Reply, TestApp};

const URI: &str = "https://app.example/cb";

fn path(client: &Value) -> String {
    let uri = client["registration_client_uri"].as_str().unwrap();
    uri.strip_prefix(ISSUER).unwrap().to_owned()
}

fn token(client: &Value) -> &str {
    client["registration_access_token"].as_str().unwrap()
}

pub(super) async fn read(app: &TestApp, client: &Value) -> Reply {
    app.call(Method::GET, &path(client)).bearer(token(client)).send().await
}

pub(super) async fn update(app: &TestApp, client: &Value, metadata: &Value) -> Reply {
    let call = app.call(Method::PUT, &path(client)).bearer(token(client));
    call.json(metadata).send().await
}

pub(super) async fn delete(app: &TestApp, client: &Value) -> Reply {
    app.call(Method::DELETE, &path(client))
        .bearer(token(client))
        .send()
        .await
}

/// The usual metadata of this client with one member replaced.
fn changed(client: &Value, name: &str, value: Value) -> Value {
    let mut metadata = with(name, value);
    metadata["client_id"] = client["client_id"].clone();
    metadata
}

async fn set_status(app: &TestApp, client: &Value, status: ClientStatus) {
    let id = ClientId::new(client["client_id"].as_str().unwrap());
    app.foundation().operate().set_client_status(&id, status).await.unwrap();
    app.sync().await;
}

#[tokio::test]
async fn a_client_reads_what_is_registered() {
    let app = open().start().await;
    let client = registered(&app, &with("initiate_login_uri", json!("https://app.example/start"))).await;
    app.advance(100);
    let reply = read(&app, &client).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = reply.expect_json(200);
    let mut expected = client.clone();
    // The default that applies now; the client has registered none.
    expected["scope"] = told["scope"].clone();
    // Kept as a hash, so nobody can tell it again.
    for name in ["client_secret", "client_secret_expires_at"] {
        expected.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(told, expected);
    assert_eq!(told["initiate_login_uri"], "https://app.example/start");
}

#[tokio::test]
async fn an_update_replaces_everything_that_the_client_said() {
    let app = open().start().await;
    let mut metadata = with("client_name", json!("Before"));
    metadata["contacts"] = json!(["a@app.example"]);
    let client = registered(&app, &metadata).await;
    let after = changed(&client, "redirect_uris", json!(["https://app.example/new"]));
    let told = update(&app, &client, &after).await.expect_json(200);
    assert_eq!(told["redirect_uris"], json!(["https://app.example/new"]));
    assert_eq!(told["client_name"], "app.example");
    assert!(told.get("contacts").is_none());
    assert!(told.get("client_secret").is_none(), "the secret stays as it is");
    assert_eq!(told["registration_access_token"], client["registration_access_token"]);
    assert_eq!(read(&app, &client).await.expect_json(200), told);
    app.sync().await;
    let old = test_client(&client);
    app.get(&old.ask().path())
        .await
        .expect_error_page(400, "invalid_request");
    let new = crate::app::TestClient {
        redirect_uri: "https://app.example/new",
        ..old
    };
    app.tokens(ALICE, new).await;
}

#[tokio::test]
async fn what_an_update_sends_back_of_its_registration_is_no_obstacle() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    update(&app, &client, &client).await.expect_json(200);
}

#[tokio::test]
async fn an_update_must_be_about_the_client_itself() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    for (name, value) in [
        ("client_id", json!(null)),
        ("client_id", json!("web")),
        ("client_id", json!(7)),
        ("client_secret", json!("another")),
        ("client_secret", json!("")),
        ("client_secret", json!(7)),
        ("logo_uri", json!("x")),
    ] {
        let mut metadata = changed(&client, "client_name", json!("x"));
        metadata[name] = value.clone();
        let reply = update(&app, &client, &metadata).await;
        let told = reply.expect_oauth_error(400, "invalid_client_metadata");
        assert!(told.contains(name), "{name}={value}: {told}");
    }
    let metadata = changed(&client, "redirect_uris", json!(["http://evil.example/"]));
    update(&app, &client, &metadata)
        .await
        .expect_oauth_error(400, "invalid_redirect_uri");
    let mut unchanged = client.clone();
    for name in ["client_secret", "client_secret_expires_at"] {
        unchanged.as_object_mut().unwrap().remove(name);
    }
    let told = read(&app, &client).await.expect_json(200);
    unchanged["scope"] = told["scope"].clone();
    assert_eq!(told, unchanged);
}

#[tokio::test]
async fn a_client_that_starts_to_need_a_secret_gets_one_and_loses_it_again() {
    let app = open().start().await;
    let client = registered(&app, &with("token_endpoint_auth_method", json!("none"))).await;
    let post = changed(&client, "token_endpoint_auth_method", json!("client_secret_post"));
    let told = update(&app, &client, &post).await.expect_json(200);
    assert_eq!(told["client_secret_expires_at"], 0);
    app.sync().await;
    let confidential = test_client(&told);
    app.introspect(confidential, "x").await.expect_json(200);
    let none = changed(&client, "token_endpoint_auth_method", json!("none"));
    update(&app, &client, &none).await.expect_json(200);
    app.sync().await;
    app.introspect(confidential, "x")
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn tokens_rotate_with_an_update_where_the_operator_wants_it() {
    let app = open()
        .config(|config| config.registration.rotate_access_token = true)
        .start()
        .await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    let metadata = changed(&client, "client_name", json!("x"));
    let told = update(&app, &client, &metadata).await.expect_json(200);
    assert_ne!(told["registration_access_token"], client["registration_access_token"]);
    read(&app, &client).await.expect_bearer_error(401, "invalid_token");
    read(&app, &told).await.expect_json(200);
}

#[tokio::test]
async fn a_deleted_client_loses_everything_at_once() {
    let app = open().start().await;
    let metadata = with("grant_types", json!(["authorization_code", "refresh_token"]));
    let client = registered(&app, &metadata).await;
    let known = test_client(&client);
    let tokens = app.tokens(ALICE, known).await;
    let code = app.consented_code(ALICE, known).await;
    let reply = delete(&app, &client).await.expect_status(204);
    assert!(reply.body.is_empty());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.sync().await;
    assert!(!app.is_active(&tokens.access_token).await);
    app.refresh(known, &tokens.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.exchange(&code).await.expect_oauth_error(401, "invalid_client");
    app.get(&known.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    for reply in [
        read(&app, &client).await,
        update(&app, &client, &metadata).await,
        delete(&app, &client).await,
    ] {
        reply.expect_bearer_error(401, "invalid_token");
    }
    // Nor is there anything for whoever comes by its name.
    app.apply(&format!(
        "[[client]]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nredirect_uris = [\"{URI}\"]\nscope = \"openid profile\"\n",
        known.id,
        known.secret.unwrap()
    ))
    .await;
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_wrong_token_and_an_unknown_client_are_told_alike() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    let other = registered(&app, &json!({"redirect_uris": [URI]})).await;
    let mut answers = Vec::new();
    for (id, token) in [
        (client["client_id"].as_str().unwrap(), token(&other)),
        (client["client_id"].as_str().unwrap(), "x"),
        (
            client["client_id"].as_str().unwrap(),
            client["client_secret"].as_str().unwrap(),
        ),
        ("unknown", token(&client)),
        // A client of the operator's has no registration.
        ("web", token(&client)),
        ("%00", token(&client)),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let call = app.call(method, &format!("/connect/register/{id}")).bearer(token);
            let reply = call
                .json(&json!({"client_id": id, "redirect_uris": [URI]}))
                .send()
                .await;
            let challenge = reply.header("www-authenticate").unwrap().to_owned();
            answers.push((reply.status, challenge, reply.body.clone()));
            reply.expect_bearer_error(401, "invalid_token");
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let bare = app.call(Method::GET, &path(&client)).send().await.expect_status(401);
    assert_eq!(bare.header("www-authenticate"), Some("Bearer realm=\"hexgate\""));
    read(&app, &client).await.expect_json(200);
}

/// SECURITY.md section 2, registration-token takeover: every operation in every state of the client, and none leads out of one.
#[tokio::test]
async fn a_disabled_client_can_do_nothing_about_it() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    let metadata = changed(&client, "client_name", json!("x"));
    set_status(&app, &client, ClientStatus::Disabled).await;
    for reply in [
        read(&app, &client).await,
        update(&app, &client, &metadata).await,
        delete(&app, &client).await,
    ] {
        reply.expect_bearer_error(401, "invalid_token");
    }
    let known = test_client(&client);
    app.get(&known.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    app.introspect(known, "x")
        .await
        .expect_oauth_error(401, "invalid_client");
    // It is the operator who lets it in again.
    set_status(&app, &client, ClientStatus::Active).await;
    read(&app, &client).await.expect_json(200);
    update(&app, &client, &metadata).await.expect_json(200);
    // A tenant's end is its clients' end.
    app.apply("[[tenant]]\nid = \"default\"\nname = \"Default\"\nenabled = false\n")
        .await;
    update(&app, &client, &metadata)
        .await
        .expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_client_that_its_operator_takes_over_is_managed_by_nobody_else() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    let id = client["client_id"].as_str().unwrap();
    app.apply(&format!(
        "[[client]]\nclient_id = \"{id}\"\nredirect_uris = [\"{URI}\"]\nscope = \"openid\"\nauto_approve = true\n"
    ))
    .await;
    let metadata = changed(&client, "redirect_uris", json!(["https://evil.example/cb"]));
    update(&app, &client, &metadata)
        .await
        .expect_bearer_error(401, "invalid_token");
    read(&app, &client).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn what_the_operator_has_decided_survives_an_update() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    let mut metadata = changed(&client, "client_name", json!("x"));
    for name in ["first_party", "auto_approve"] {
        metadata[name] = json!(true);
    }
    metadata["grant_types"] = json!(["authorization_code", "password"]);
    update(&app, &client, &metadata)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
    metadata["grant_types"] = json!(["authorization_code"]);
    update(&app, &client, &metadata).await.expect_json(200);
    app.sync().await;
    let mut browser = app.signed_in(ALICE).await;
    let reply = browser.get(&test_client(&client).ask().path()).await;
    reply.expect_redirect_to("/consent");
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let app = open().start().await;
    let client = registered(&app, &json!({"redirect_uris": [URI]})).await;
    for (method, at) in [
        (Method::GET, "/connect/register".to_owned()),
        (Method::PUT, "/connect/register".to_owned()),
        (Method::POST, path(&client)),
        (Method::PATCH, path(&client)),
    ] {
        app.call(method, &at).json(&json!({})).send().await.expect_status(405);
    }
}

//! Pairwise subjects (OpenID Connect Core §8): two clients cannot find out that they know the same person.

use auth_server::domain::user::UserStatus;
use http::Method;
use serde_json::{Value, json};

use crate::app::{ALICE, BOB, RESOURCE_SERVER, TestApp, TestClient, TestUser, Tokens, WEB, fields};

const fn client(id: &'static str, redirect_uri: &'static str) -> TestClient {
    TestClient {
        id,
        secret: Some("pairwise-secret-2a2a"),
        redirect_uri,
        scope: "openid profile",
    }
}

/// Two applications of one sector, by the host of their redirect URIs.
const NORTH: TestClient = client("north", "https://north.example/cb");
const NORTH_TOO: TestClient = client("north-too", "https://north.example:8443/other");
/// One of another sector.
const SOUTH: TestClient = client("south", "https://south.example/cb");
/// One with hosts of its own, that says by URI that it belongs to the first.
const BRANCH: TestClient = client("branch", "https://branch-1.example/cb");
/// One whose access tokens are opaque.
const SEALED: TestClient = client("sealed", "https://sealed.example/cb");

fn document() -> String {
    let client = |client: TestClient, more: &str| {
        format!(
            "[[client]]\nclient_id = \"{}\"\nclient_secret = \"pairwise-secret-2a2a\"\nsubject_type = \"pairwise\"\n\
             grant_types = [\"authorization_code\", \"refresh_token\"]\nauto_approve = true\n\
             scope = \"openid profile email ai:chat offline_access\"\nredirect_uris = [\"{}\"]\n{more}\n",
            client.id, client.redirect_uri
        )
    };
    let branch = client(
        BRANCH,
        "sector_identifier_uri = \"https://north.example/redirects.json\"",
    )
    .replace("/cb\"]", "/cb\", \"https://branch-2.example/cb\"]");
    let sealed = client(SEALED, "access_token_format = \"opaque\"").replace("ai:chat ", "");
    let plain = [NORTH, NORTH_TOO, SOUTH].map(|one| client(one, "")).concat();
    format!("{plain}{branch}{sealed}")
}

async fn start() -> TestApp {
    TestApp::builder().document(&document()).start().await
}

async fn sub(app: &TestApp, tokens: &Tokens) -> String {
    app.claims(&tokens.id_token).await["sub"].as_str().unwrap().to_owned()
}

async fn sub_of(app: &TestApp, user: TestUser, client: TestClient) -> String {
    sub(app, &app.tokens(user, client).await).await
}

#[tokio::test]
async fn a_client_sees_one_subject_everywhere_and_it_is_not_the_accounts() {
    let app = start().await;
    for client in [NORTH, SEALED] {
        let tokens = app.tokens(ALICE, client).await;
        let shown = sub(&app, &tokens).await;
        assert_ne!(shown, ALICE.sub);
        assert!(shown.is_ascii() && shown.len() <= 255);
        assert_eq!(app.userinfo(&tokens).await.expect_json(200)["sub"], shown);
        for caller in [client, RESOURCE_SERVER] {
            for token in [&tokens.access_token, &tokens.refresh_token] {
                let told = app.introspect(caller, token).await.expect_json(200);
                assert_eq!((&told["active"], &told["sub"]), (&json!(true), &json!(shown)));
                assert!(!told.to_string().contains(ALICE.sub), "{told}");
            }
        }
        let again = app.refresh(client, &tokens.refresh_token).await.expect_tokens();
        assert_eq!(sub(&app, &again).await, shown);
    }
    let tokens = app.tokens(ALICE, NORTH).await;
    let claims = Value::Object(app.claims(&tokens.access_token).await);
    assert_eq!(claims["sub"], sub(&app, &tokens).await);
    assert!(!claims.to_string().contains(ALICE.sub), "{claims}");
}

#[tokio::test]
async fn a_sector_shares_a_subject_and_others_have_another() {
    let app = start().await;
    let north = sub_of(&app, ALICE, NORTH).await;
    assert_eq!(sub_of(&app, ALICE, NORTH).await, north, "the same each time");
    assert_eq!(sub_of(&app, ALICE, NORTH_TOO).await, north);
    assert_eq!(sub_of(&app, ALICE, BRANCH).await, north);
    let south = sub_of(&app, ALICE, SOUTH).await;
    assert_ne!(south, north);
    assert_eq!(south.len(), north.len());
    assert_ne!(sub_of(&app, BOB, NORTH).await, north);
    assert_eq!(sub_of(&app, ALICE, WEB).await, ALICE.sub, "public is the default");
    let restarted = app.another_node().await;
    assert_eq!(sub_of(&restarted, ALICE, NORTH).await, north);
}

#[tokio::test]
async fn a_hint_works_within_its_sector_alone() {
    let app = start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &NORTH.ask()).await;
    let north = app.exchange(&code).await.expect_tokens();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let web = app.exchange(&code).await.expect_tokens();
    let ask = |client: TestClient, hint: &str| {
        let ask = client.ask().with("prompt", "none").with("scope", "openid");
        ask.with("id_token_hint", hint).path()
    };
    for client in [NORTH, NORTH_TOO, BRANCH] {
        browser.get(&ask(client, &north.id_token)).await.expect_code();
    }
    // If these went through, two clients would learn that they know the same person.
    browser
        .get(&ask(SOUTH, &north.id_token))
        .await
        .expect_error_answer("invalid_request");
    browser
        .get(&ask(NORTH, &web.id_token))
        .await
        .expect_error_answer("invalid_request");
    browser
        .get(&ask(WEB, &north.id_token))
        .await
        .expect_error_answer("login_required");
    // A hint at somebody else of the sector is no fault of the request.
    let bobs = app.tokens(BOB, NORTH).await;
    browser
        .get(&ask(NORTH, &bobs.id_token))
        .await
        .expect_error_answer("login_required");
}

#[tokio::test]
async fn a_hint_signs_out_whoever_it_names() {
    let app = start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &NORTH.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let path = fields([("id_token_hint", tokens.id_token.as_str()), ("client_id", SOUTH.id)]);
    browser
        .get(&format!("/connect/logout?{}", path.encode()))
        .await
        .expect_error_page(400, "invalid_request");
}

async fn revoked_subjects(app: &TestApp, stream: &str) -> Vec<String> {
    let call = app
        .call(Method::POST, &format!("/events/poll?stream={stream}"))
        .bearer(&TestApp::events_credential());
    let told = call.json(&json!({"returnImmediately": true})).send().await;
    let mut subjects = Vec::new();
    for set in told.expect_json(200)["sets"].as_object().unwrap().values() {
        let claims = app.claims(set.as_str().unwrap()).await;
        subjects.extend(claims["sub_id"]["sub"].as_str().map(str::to_owned));
    }
    subjects.sort();
    subjects
}

#[tokio::test]
async fn resource_servers_hear_that_a_person_lost_access_under_every_name_that_they_know() {
    let app = start().await;
    let (north, sealed, web) = (
        app.tokens(ALICE, NORTH).await,
        app.tokens(ALICE, SEALED).await,
        app.tokens(ALICE, WEB).await,
    );
    let bobs = app.tokens(BOB, SOUTH).await;
    let mut names = vec![ALICE.sub.to_owned(), sub(&app, &north).await, sub(&app, &sealed).await];
    names.sort();
    app.set_user_status(ALICE, UserStatus::Locked).await;
    assert_eq!(revoked_subjects(&app, "a").await, names);
    for tokens in [&north, &sealed, &web] {
        assert!(!app.is_active(&tokens.access_token).await);
        app.userinfo(tokens).await.expect_bearer_error(401, "invalid_token");
    }
    assert!(app.is_active(&bobs.access_token).await);
    // Another node, which has told nobody a name, knows them all the same.
    let other = app.another_node().await;
    let password = format!("[[user]]\nusername = \"bob\"\npassword = \"{}x\"\n", BOB.password);
    let name = sub(&app, &bobs).await;
    other.apply(&password).await;
    app.sync().await;
    let told = revoked_subjects(&app, "b").await;
    assert!(told.contains(&name) && told.contains(&BOB.sub.to_owned()), "{told:?}");
    assert!(!app.is_active(&bobs.access_token).await);
}

#[tokio::test]
async fn a_token_outlives_a_change_of_its_clients_registration() {
    let app = start().await;
    let tokens = app.tokens(ALICE, NORTH).await;
    let shown = sub(&app, &tokens).await;
    let moved = document().replace("https://north.example/cb", "https://elsewhere.example/cb");
    app.apply(&moved).await;
    assert_eq!(app.userinfo(&tokens).await.expect_json(200)["sub"], shown);
    app.apply(&moved.replace("pairwise\"", "public\"")).await;
    assert_eq!(app.userinfo(&tokens).await.expect_json(200)["sub"], shown);
    app.set_user_status(ALICE, UserStatus::Locked).await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_token_that_names_another_sector_than_its_subject_is_none() {
    let app = start().await;
    let tokens = app.tokens(ALICE, NORTH).await;
    let mut claims = app.claims(&tokens.access_token).await;
    let resigned = app.sign_as_provider("at+jwt", &Value::Object(claims.clone())).await;
    assert!(app.is_active(&resigned).await, "as it is");
    for (name, value) in [
        ("sector", json!("south.example")),
        ("sub", json!(ALICE.sub)),
        ("sub", json!("")),
    ] {
        let before = claims.insert(name.into(), value).unwrap();
        let forged = app.sign_as_provider("at+jwt", &Value::Object(claims.clone())).await;
        assert!(!app.is_active(&forged).await, "{name}");
        claims.insert(name.into(), before);
    }
}

#[tokio::test]
async fn a_client_without_a_sector_of_its_own_is_refused() {
    let app = start().await;
    for (uris, reason) in [
        (r#"["https://a.example/cb", "https://b.example/cb"]"#, "share one host"),
        (r#"["com.example.app:/cb"]"#, "host of its own"),
        (r#"["http://127.0.0.1/cb"]"#, "host of its own"),
    ] {
        let document = format!(
            "[[client]]\nclient_id = \"astray\"\ntoken_endpoint_auth_method = \"none\"\nsubject_type = \"pairwise\"\nredirect_uris = {uris}\n"
        );
        let error = app.try_apply(&document).await.unwrap_err().to_string();
        assert!(
            error.starts_with("client[0].sector_identifier_uri: ") && error.contains(reason),
            "{error}"
        );
    }
}

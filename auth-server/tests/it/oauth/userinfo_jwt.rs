//! Userinfo as a signed or encrypted token (OpenID Connect Core §5.3.2).

use http::Method;
use oauth_wire::{JweAlg, SigningAlg};
use serde_json::{Map, Value, json};
use test_kit::TestReader;

use crate::app::{ALICE, ISSUER, Reply, TestApp, TestClient, WEB, fields};

const SIGNED: TestClient = TestClient {
    id: "signed",
    secret: None,
    redirect_uri: "https://signed.example/cb",
    scope: "openid email",
};

fn document(more: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"signed\"\ntoken_endpoint_auth_method = \"none\"\nauto_approve = true\n\
         redirect_uris = [\"https://signed.example/cb\"]\nscope = \"openid email\"\n{more}\n"
    )
}

/// A key set as TOML, with one key.
fn jwks(reader: &TestReader) -> String {
    let key = reader.public("e1");
    let members: Vec<String> = key
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    format!("jwks = {{ keys = [{{ {} }}] }}\n", members.join(", "))
}

#[track_caller]
fn token(reply: Reply) -> String {
    let reply = reply.expect_status(200);
    assert_eq!(reply.header("content-type"), Some("application/jwt"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.text()
}

fn expect_claims(claims: &Map<String, Value>) {
    let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "email", "email_verified", "iss", "sub"]);
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["sub"]),
        (&json!(ISSUER), &json!("signed"), &json!(ALICE.sub))
    );
    assert_eq!(claims["email"], "alice@example.org");
}

#[tokio::test]
async fn every_advertised_algorithm_signs_the_answer() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let advertised = metadata["userinfo_signing_alg_values_supported"].as_array().unwrap();
    assert_eq!(advertised.len(), SigningAlg::ISSUED.len());
    for alg in SigningAlg::ISSUED {
        assert!(advertised.contains(&alg.as_str().into()));
        app.apply(&document(&format!(
            "userinfo_signed_response_alg = \"{}\"",
            alg.as_str()
        )))
        .await;
        let tokens = app.tokens(ALICE, SIGNED).await;
        let answer = app.verified(&token(app.userinfo(&tokens).await)).await;
        assert_eq!(answer.alg, alg);
        expect_claims(&answer.claims);
        // By POST, and to an application in a browser as well.
        let call = app
            .call(Method::POST, "/userinfo")
            .bearer(&tokens.access_token)
            .header("origin", "https://signed.example");
        let reply = call.send().await;
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        token(reply);
    }
    // The others' is plain.
    let tokens = app.tokens(ALICE, WEB).await;
    app.userinfo(&tokens).await.expect_json(200);
}

#[tokio::test]
async fn the_answer_is_encrypted_for_a_client_that_registered_it_signed_or_not() {
    let app = TestApp::start().await;
    for alg in JweAlg::ALL {
        let reader = TestReader::new(*alg);
        let encrypted = format!(
            "{}userinfo_encrypted_response_alg = \"{}\"\n",
            jwks(&reader),
            alg.as_str()
        );
        app.apply(&document(&format!(
            "{encrypted}userinfo_signed_response_alg = \"PS256\""
        )))
        .await;
        let tokens = app.tokens(ALICE, SIGNED).await;
        let (inside, header) = reader.read(&token(app.userinfo(&tokens).await)).unwrap();
        assert_eq!(
            (&header["cty"], &header["enc"]),
            (&json!("JWT"), &json!("A128CBC-HS256"))
        );
        let answer = app.verified(std::str::from_utf8(&inside).unwrap()).await;
        assert_eq!(answer.alg, SigningAlg::Ps256);
        expect_claims(&answer.claims);

        app.apply(&document(&format!(
            "{encrypted}userinfo_encrypted_response_enc = \"A256GCM\""
        )))
        .await;
        let (inside, header) = reader.read(&token(app.userinfo(&tokens).await)).unwrap();
        assert_eq!((header.get("cty"), &header["enc"]), (None, &json!("A256GCM")));
        expect_claims(&serde_json::from_slice(&inside).unwrap());
    }
}

#[tokio::test]
async fn the_answer_is_neither_an_id_token_nor_an_access_token() {
    let app = TestApp::start().await;
    app.apply(&document("userinfo_signed_response_alg = \"RS256\"")).await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &SIGNED.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let answer = token(app.userinfo(&tokens).await);
    assert_eq!(app.verified(&answer).await.typ, None);
    let ask = SIGNED.ask().with("prompt", "none").with("id_token_hint", &answer);
    browser.get(&ask.path()).await.expect_error_answer("invalid_request");
    let path = fields([("id_token_hint", answer.as_str())]);
    browser
        .get(&format!("/connect/logout?{}", path.encode()))
        .await
        .expect_error_page(400, "invalid_request");
    let reply = app.call(Method::GET, "/userinfo").bearer(&answer).send().await;
    reply.expect_bearer_error(401, "invalid_token");
    assert!(!app.is_active(&answer).await);
}

#[tokio::test]
async fn errors_stay_as_they_are() {
    let app = TestApp::start().await;
    app.apply(&document("userinfo_signed_response_alg = \"RS256\"")).await;
    let tokens = app.tokens_for(ALICE, &SIGNED.ask().with("scope", "email")).await;
    let reply = app.userinfo(&tokens).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.expect_bearer_error(403, "insufficient_scope");
    let tokens = app.tokens(ALICE, SIGNED).await;
    app.advance(3600);
    let reply = app.userinfo(&tokens).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn a_client_whose_keys_cannot_be_had_is_told_so_and_nothing_goes_out_in_the_open() {
    let app = TestApp::start().await;
    let uri = "https://signed.example/jwks.json";
    let registration = format!("jwks_uri = \"{uri}\"\nuserinfo_encrypted_response_alg = \"RSA-OAEP\"\n");
    app.apply(&document(&registration)).await;
    let tokens = app.tokens(ALICE, SIGNED).await;
    let refused = app.userinfo(&tokens).await;
    assert!(!refused.text().contains("alice"));
    refused.expect_oauth_error(503, "temporarily_unavailable");
    app.advance(15);
    app.hosts.put_json(uri, &json!({"keys": []}));
    let refused = app.userinfo(&tokens).await;
    assert!(!refused.text().contains("alice"));
    refused.expect_oauth_error(400, "invalid_request");
}

//! Introspection answers as tokens (RFC 9701).

use http::Method;
use oauth_wire::{JweAlg, SigningAlg};
use serde_json::{Map, Value, json};
use test_kit::TestReader;

use crate::app::{ALICE, ISSUER, NOBODY, RESOURCE_SERVER, Reply, TestApp, TestClient, WEB, fields};

const JWT: &str = "application/token-introspection+jwt";

/// An API that registered how its answers are to look.
const API: TestClient = TestClient {
    id: "api",
    secret: Some("api-secret-7c7c"),
    redirect_uri: "",
    scope: "",
};

fn document(more: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"api\"\nclient_secret = \"api-secret-7c7c\"\ngrant_types = []\nresponse_types = []\n\
         permissions = [\"token:introspect\"]\n{more}\n"
    )
}

async fn ask(app: &TestApp, caller: TestClient, accept: Option<&str>, token: &str) -> Reply {
    let call = app
        .call(Method::POST, "/oauth2/introspect")
        .basic(caller.id, caller.secret.unwrap());
    let call = match accept {
        Some(accept) => call.header("accept", accept),
        None => call,
    };
    call.form(&fields([("token", token)])).send().await
}

#[track_caller]
fn token(reply: Reply) -> String {
    let reply = reply.expect_status(200);
    assert_eq!(reply.header("content-type"), Some(JWT));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.text()
}

fn expect_frame(claims: &Map<String, Value>, caller: TestClient, now: i64) {
    // RFC 9701 §5, §8.1: neither `sub` nor `exp`, so that it is no access token.
    let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "iat", "iss", "token_introspection"]);
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["iat"]),
        (&json!(ISSUER), &json!(caller.id), &json!(now))
    );
}

#[tokio::test]
async fn a_caller_that_accepts_a_token_gets_one_that_says_what_json_would() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for subject in [&tokens.access_token, &tokens.refresh_token] {
        let plain = app.introspect(RESOURCE_SERVER, subject).await.expect_json(200);
        let answer = app
            .verified(&token(ask(&app, RESOURCE_SERVER, Some(JWT), subject).await))
            .await;
        assert_eq!(answer.alg, SigningAlg::Rs256, "the default (§6)");
        assert_eq!(answer.typ.as_deref(), Some("token-introspection+jwt"));
        expect_frame(&answer.claims, RESOURCE_SERVER, app.now());
        assert_eq!(answer.claims["token_introspection"], plain);
    }
}

#[tokio::test]
async fn of_a_dead_or_foreign_token_it_says_that_it_is_inactive_and_no_more() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for (caller, subject) in [
        (NOBODY, tokens.access_token.as_str()),
        (NOBODY, &tokens.refresh_token),
        (RESOURCE_SERVER, "no-token"),
    ] {
        let answer = app.claims(&token(ask(&app, caller, Some(JWT), subject).await)).await;
        expect_frame(&answer, caller, app.now());
        assert_eq!(answer["token_introspection"], json!({"active": false}));
    }
}

#[tokio::test]
async fn every_advertised_algorithm_signs_for_a_caller_that_registered_it() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let metadata = app.metadata().await;
    let advertised = metadata["introspection_signing_alg_values_supported"]
        .as_array()
        .unwrap();
    assert_eq!(advertised.len(), SigningAlg::ISSUED.len());
    for alg in SigningAlg::ISSUED {
        assert!(advertised.contains(&alg.as_str().into()));
        app.apply(&document(&format!(
            "introspection_signed_response_alg = \"{}\"",
            alg.as_str()
        )))
        .await;
        // It has registered that it wants tokens, so it need not ask each time; JSON it gets when it asks for that by name.
        for accept in [Some(JWT), None, Some("*/*")] {
            let answer = app
                .verified(&token(ask(&app, API, accept, &tokens.access_token).await))
                .await;
            assert_eq!(answer.alg, alg);
            assert_eq!(answer.claims["token_introspection"]["active"], true);
        }
        let plain = ask(&app, API, Some("application/json"), &tokens.access_token).await;
        assert_eq!(plain.expect_json(200)["active"], true);
    }
}

#[tokio::test]
async fn the_answer_is_encrypted_for_a_caller_that_registered_it() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    for alg in JweAlg::ALL {
        let reader = TestReader::new(*alg);
        let key = reader.public("e1");
        let members: Vec<String> = key
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        app.apply(&document(&format!(
            "jwks = {{ keys = [{{ {} }}] }}\nintrospection_encrypted_response_alg = \"{}\"\nintrospection_encrypted_response_enc = \"A128GCM\"",
            members.join(", "),
            alg.as_str()
        )))
        .await;
        let (inside, header) = reader
            .read(&token(ask(&app, API, Some(JWT), &tokens.access_token).await))
            .unwrap();
        assert_eq!((&header["cty"], &header["enc"]), (&json!("JWT"), &json!("A128GCM")));
        let answer = app.verified(std::str::from_utf8(&inside).unwrap()).await;
        expect_frame(&answer.claims, API, app.now());
        assert_eq!(answer.claims["token_introspection"]["sub"], ALICE.sub);
    }
}

#[tokio::test]
async fn the_answer_stands_in_for_no_other_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let answer = token(ask(&app, WEB, Some(JWT), &tokens.access_token).await);
    let reply = app.call(Method::GET, "/userinfo").bearer(&answer).send().await;
    reply.expect_bearer_error(401, "invalid_token");
    assert!(!app.is_active(&answer).await);
    let ask = WEB.ask().with("prompt", "none").with("id_token_hint", &answer);
    app.get(&ask.path()).await.expect_error_answer("invalid_request");
}

#[tokio::test]
async fn errors_stay_json() {
    let app = TestApp::start().await;
    let call = app
        .call(Method::POST, "/oauth2/introspect")
        .basic(WEB.id, "wrong")
        .header("accept", JWT);
    call.form(&fields([("token", "x")]))
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    let call = app
        .call(Method::POST, "/oauth2/introspect")
        .basic(WEB.id, WEB.secret.unwrap())
        .header("accept", JWT);
    call.form(&fields([("other", "x")]))
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
}

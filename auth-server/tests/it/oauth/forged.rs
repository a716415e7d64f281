//! Tokens that somebody else made (SECURITY.md section 2, "JWT algorithm confusion"): at every place that reads one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use sha2::Sha256;
use token_keys::SigningKeyPair;

use crate::app::{ALICE, RESOURCE_SERVER, TestApp, Tokens, WEB};

fn parts(token: &str) -> (Value, String) {
    let mut parts = token.split('.');
    let header = serde_json::from_slice(&B64.decode(parts.next().unwrap()).unwrap()).unwrap();
    (header, parts.next().unwrap().to_owned())
}

fn with(header: &Value, changes: Value) -> Value {
    let mut header = header.clone();
    for (name, value) in changes.as_object().unwrap() {
        header[name] = value.clone();
    }
    header
}

/// The token's payload under another header, signed by `sign`.
fn forge(header: &Value, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{payload}", B64.encode(header.to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", B64.encode(signature))
}

fn hs256(key: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    move |signed| {
        mac.update(signed);
        mac.finalize().into_bytes().to_vec()
    }
}

/// A signature by a key of the forger's own.
fn foreign(pair: &SigningKeyPair, header: &Value, payload: &str) -> String {
    let claims = B64.decode(payload).unwrap();
    // The pair writes its own header, so its signature is over that; put ours before it and it cannot hold either way.
    let token = pair.sign(header["typ"].as_str().unwrap(), &claims).unwrap();
    let signature = token.rsplit('.').next().unwrap();
    format!("{}.{payload}.{signature}", B64.encode(header.to_string()))
}

#[expect(clippy::too_many_lines, reason = "a corpus")]
async fn forgeries(app: &TestApp, token: &str) -> Vec<(&'static str, String)> {
    let (header, payload) = parts(token);
    let keys = app.jwks().await;
    let own = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap().clone();
    let other = keys.iter().find(|key| key["kty"] != own["kty"]).unwrap().clone();
    let secret = own["n"].as_str().or(own["x"].as_str()).unwrap();
    let pair = SigningKeyPair::generate(SigningAlg::Es256).unwrap();
    let signature = token.rsplit('.').next().unwrap();
    let resigned = |header: &Value| format!("{}.{payload}.{signature}", B64.encode(header.to_string()));
    let mut forged = vec![
        (
            "no signature",
            format!("{}.{payload}.", token.split('.').next().unwrap()),
        ),
        (
            "alg none",
            forge(&with(&header, json!({"alg": "none"})), &payload, |_| Vec::new()),
        ),
        (
            "alg None",
            forge(&with(&header, json!({"alg": "None"})), &payload, |_| Vec::new()),
        ),
        (
            "HS256, public key as text",
            forge(
                &with(&header, json!({"alg": "HS256"})),
                &payload,
                hs256(own.to_string().as_bytes()),
            ),
        ),
        (
            "HS256, public number",
            forge(
                &with(&header, json!({"alg": "HS256"})),
                &payload,
                hs256(&B64.decode(secret).unwrap()),
            ),
        ),
        (
            "HS256, empty key",
            forge(&with(&header, json!({"alg": "HS256"})), &payload, hs256(b"\0")),
        ),
        (
            "another key's kid",
            resigned(&with(&header, json!({"kid": other["kid"]}))),
        ),
        (
            "another key's kid and alg",
            resigned(&with(&header, json!({"kid": other["kid"], "alg": other["alg"]}))),
        ),
        (
            "no such kid",
            resigned(&with(&header, json!({"kid": "../../dev/null"}))),
        ),
        ("crit", resigned(&with(&header, json!({"crit": ["exp"], "exp": 1})))),
        (
            "foreign key under our kid",
            foreign(&pair, &with(&header, json!({"alg": "ES256"})), &payload),
        ),
        (
            "key in the header",
            foreign(
                &pair,
                &with(
                    &header,
                    json!({"alg": "ES256", "kid": pair.kid(), "jwk": pair.public_jwk()}),
                ),
                &payload,
            ),
        ),
        (
            "key by address",
            foreign(
                &pair,
                &with(
                    &header,
                    json!({"alg": "ES256", "kid": pair.kid(), "jku": "https://evil.example/jwks"}),
                ),
                &payload,
            ),
        ),
        (
            "foreign key, its own header",
            pair.sign(header["typ"].as_str().unwrap(), &B64.decode(&payload).unwrap())
                .unwrap(),
        ),
        (
            "encrypted",
            format!(
                "{}.e30.e30.e30.e30",
                B64.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)
            ),
        ),
        ("detached", format!("{}..{signature}", token.split('.').next().unwrap())),
    ];
    let mut claims: Value = serde_json::from_slice(&B64.decode(&payload).unwrap()).unwrap();
    claims["sub"] = json!("user-root");
    let head = token.split('.').next().unwrap();
    forged.push((
        "other claims",
        format!("{head}.{}.{signature}", B64.encode(claims.to_string())),
    ));
    forged.push(("padding", format!("{token}=")));
    forged.push(("spaces", token.replace('.', " .")));
    forged
}

async fn expect_refused(app: &TestApp, tokens: &Tokens) {
    for (how, forged) in forgeries(app, &tokens.access_token).await {
        let reply = app.call(Method::GET, "/userinfo").bearer(&forged).send().await;
        assert_eq!(reply.status, 401, "{how} at userinfo");
        let told = app.introspect(RESOURCE_SERVER, &forged).await.expect_json(200);
        assert_eq!(told, json!({"active": false}), "{how} at introspection");
        // Revoking what is not a token of ours is no error and no effect.
        app.revoke(WEB, &forged).await.expect_status(200);
    }
    app.userinfo(tokens).await.expect_status(200);
}

#[tokio::test]
async fn a_forged_access_token_opens_nothing() {
    let app = TestApp::start().await;
    expect_refused(&app, &app.tokens(ALICE, WEB).await).await;
}

#[tokio::test]
async fn a_forged_rs256_access_token_opens_nothing() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, crate::app::LEGACY).await;
    for (how, forged) in forgeries(&app, &tokens.access_token).await {
        let reply = app.call(Method::GET, "/userinfo").bearer(&forged).send().await;
        assert_eq!(reply.status, 401, "{how}");
    }
}

#[tokio::test]
async fn a_forged_id_token_hints_at_nobody() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    for (how, forged) in forgeries(&app, &tokens.id_token).await {
        let ask = WEB.ask().with("id_token_hint", &forged).with("prompt", "none");
        let answer = browser.get(&ask.path()).await.expect_error_answer("invalid_request");
        assert!(!answer.params.contains_key("code"), "{how}");
        let path = crate::app::fields([
            ("id_token_hint", &forged),
            ("post_logout_redirect_uri", "https://web.example/"),
        ]);
        let path = format!("/connect/logout?{}", path.encode());
        browser.get(&path).await.expect_error_page(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_security_event_or_an_id_token_is_no_access_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.revoke(WEB, &tokens.access_token).await.expect_status(200);
    let call = app
        .call(Method::POST, "/events/poll?stream=a")
        .bearer(&TestApp::events_credential());
    let told = call
        .json(&json!({"returnImmediately": true}))
        .send()
        .await
        .expect_json(200);
    let event = told["sets"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    for token in [event.as_str(), &tokens.id_token] {
        let reply = app.call(Method::GET, "/userinfo").bearer(token).send().await;
        reply.expect_bearer_error(401, "invalid_token");
        assert!(!app.is_active(token).await);
    }
    let ask = WEB.ask().with("id_token_hint", &event);
    app.get(&ask.path()).await.expect_error_answer("invalid_request");
}

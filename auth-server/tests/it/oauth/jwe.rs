//! Encryption to clients (OpenID Connect Core §16.14): ID tokens, and authorization responses (JARM §2.2).

use auth_server::ports::outbound::OutboundError;
use oauth_wire::{JweAlg, JweEnc};
use serde_json::{Value, json};
use test_kit::TestReader;

use crate::app::{ALICE, Reply, TestApp, TestClient, Tokens, fields, refresh_form};

const SECRETIVE: TestClient = TestClient {
    id: "secretive",
    secret: Some("secretive-secret-9b9b"),
    redirect_uri: "https://secretive.example/cb",
    scope: "openid profile",
};

const JWKS_URI: &str = "https://secretive.example/jwks.json";

fn document(more: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"secretive\"\nclient_secret = \"secretive-secret-9b9b\"\nauto_approve = true\n\
         redirect_uris = [\"https://secretive.example/cb\"]\nscope = \"openid profile offline_access\"\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\n{more}\n"
    )
}

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

/// A key set as TOML.
fn jwks(keys: &[Value]) -> String {
    let member = |(name, value): (&String, &Value)| format!("{name} = {value}");
    let key = |key: &Value| {
        let members: Vec<String> = key.as_object().unwrap().iter().map(member).collect();
        format!("{{ {} }}", members.join(", "))
    };
    let keys: Vec<String> = keys.iter().map(key).collect();
    format!("jwks = {{ keys = [{}] }}\n", keys.join(", "))
}

fn id_token_by(alg: JweAlg, enc: Option<JweEnc>) -> String {
    let enc = enc.map(|enc| format!("id_token_encrypted_response_enc = \"{}\"\n", enc.as_str()));
    format!(
        "id_token_encrypted_response_alg = \"{}\"\n{}",
        alg.as_str(),
        enc.unwrap_or_default()
    )
}

/// The signed token inside an encrypted one.
fn inside(reader: &TestReader, token: &str, enc: JweEnc) -> String {
    assert_eq!(token.split('.').count(), 5, "{token}");
    let (payload, header) = reader.read(token).unwrap();
    // RFC 7519 §5.2: whoever reads it knows that there is another token inside.
    for (name, value) in [
        ("alg", reader.alg().as_str()),
        ("enc", enc.as_str()),
        ("cty", "JWT"),
        ("kid", "e1"),
    ] {
        assert_eq!(header[name], value);
    }
    String::from_utf8(payload).unwrap()
}

async fn expect_id_token(app: &TestApp, reader: &TestReader, tokens: &Tokens, enc: JweEnc) -> String {
    let signed = inside(reader, &tokens.id_token, enc);
    let claims = app.claims(&signed).await;
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!(ALICE.sub), &json!("secretive"))
    );
    signed
}

#[tokio::test]
async fn an_id_token_is_signed_and_then_encrypted_by_every_advertised_algorithm() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    assert_eq!(
        metadata["id_token_encryption_alg_values_supported"],
        json!(JweAlg::ALL.iter().map(|alg| alg.as_str()).collect::<Vec<_>>())
    );
    for alg in JweAlg::ALL {
        let reader = TestReader::new(*alg);
        let keys = jwks(&[reader.public("e1")]);
        app.apply(&document(&format!("{keys}{}", id_token_by(*alg, None))))
            .await;
        let tokens = app.tokens(ALICE, SECRETIVE).await;
        // OpenID Connect Registration §2: the default.
        expect_id_token(&app, &reader, &tokens, JweEnc::A128CbcHs256).await;
        let again = app.refresh(SECRETIVE, &tokens.refresh_token).await.expect_tokens();
        expect_id_token(&app, &reader, &again, JweEnc::A128CbcHs256).await;
        assert!(TestReader::new(*alg).read(&tokens.id_token).is_none(), "somebody else");
    }
}

#[tokio::test]
async fn every_advertised_content_encryption_works() {
    let app = TestApp::start().await;
    let metadata = app.metadata().await;
    let reader = TestReader::new(JweAlg::EcdhEs);
    let keys = jwks(&[reader.public("e1")]);
    let advertised = metadata["id_token_encryption_enc_values_supported"].as_array().unwrap();
    assert_eq!(advertised.len(), JweEnc::ALL.len());
    for enc in JweEnc::ALL {
        assert!(advertised.contains(&enc.as_str().into()));
        let registration = id_token_by(JweAlg::EcdhEs, Some(*enc));
        app.apply(&document(&format!("{keys}{registration}"))).await;
        expect_id_token(&app, &reader, &app.tokens(ALICE, SECRETIVE).await, *enc).await;
    }
}

#[tokio::test]
async fn a_hint_is_the_token_inside() {
    let app = TestApp::start().await;
    let reader = TestReader::new(JweAlg::EcdhEsA256Kw);
    let keys = jwks(&[reader.public("e1")]);
    app.apply(&document(&format!("{keys}{}", id_token_by(JweAlg::EcdhEsA256Kw, None))))
        .await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &SECRETIVE.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let signed = expect_id_token(&app, &reader, &tokens, JweEnc::A128CbcHs256).await;
    let ask = |hint: &str| {
        SECRETIVE
            .ask()
            .with("prompt", "none")
            .with("id_token_hint", hint)
            .path()
    };
    browser.get(&ask(&signed)).await.expect_code();
    // It is the client that has to decrypt it (OpenID Connect Core §3.1.2.1): we have no key for it.
    browser
        .get(&ask(&tokens.id_token))
        .await
        .expect_error_answer("invalid_request");
    let path = fields([("id_token_hint", tokens.id_token.as_str())]);
    browser
        .get(&format!("/connect/logout?{}", path.encode()))
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn the_clients_keys_are_fetched_and_a_code_waits_for_them() {
    let app = TestApp::start().await;
    let registration = format!("jwks_uri = \"{JWKS_URI}\"\n{}", id_token_by(JweAlg::EcdhEs, None));
    app.apply(&document(&registration)).await;
    let reader = TestReader::new(JweAlg::EcdhEs);
    let code = app.consented_code(ALICE, SECRETIVE).await;

    // Its host is away: that costs the client time, and nothing else.
    app.hosts.fail(JWKS_URI, OutboundError::Unreachable);
    app.exchange(&code)
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
    // It publishes no key that would do.
    app.advance(15);
    app.hosts
        .put_json(JWKS_URI, &set(&[TestReader::new(JweAlg::RsaOaep).public("r1")]));
    app.exchange(&code).await.expect_oauth_error(400, "invalid_request");
    app.advance(15);
    app.hosts.put_json(JWKS_URI, &set(&[reader.public("e1")]));
    let tokens = app.exchange(&code).await.expect_tokens();
    expect_id_token(&app, &reader, &tokens, JweEnc::A128CbcHs256).await;

    // The same for a refresh token: it is not spent either, and its family lives on.
    app.advance(3600);
    app.hosts.put_json(JWKS_URI, &set(&[]));
    let refresh = refresh_form(&tokens.refresh_token);
    app.token(SECRETIVE, &refresh)
        .await
        .expect_oauth_error(400, "invalid_request");
    app.advance(3600);
    app.hosts.put_json(JWKS_URI, &set(&[reader.public("e1")]));
    let again = app.token(SECRETIVE, &refresh).await.expect_tokens();
    expect_id_token(&app, &reader, &again, JweEnc::A128CbcHs256).await;
    // Without `openid` there is nothing to encrypt, and nothing is asked for.
    app.hosts.put_json(JWKS_URI, &set(&[]));
    app.advance(3600);
    let narrow = refresh_form(&again.refresh_token).with("scope", "profile");
    app.token(SECRETIVE, &narrow).await.expect_tokens();
}

fn response(reply: Reply) -> String {
    let location = reply.expect_redirect();
    let url = url::Url::parse(&location).unwrap();
    let (name, value) = url.query_pairs().next().unwrap();
    assert_eq!(name, "response");
    value.into_owned()
}

#[tokio::test]
async fn an_authorization_response_is_encrypted_for_a_client_that_registered_it() {
    let app = TestApp::start().await;
    let reader = TestReader::new(JweAlg::RsaOaep256);
    let metadata = app.metadata().await;
    let algs = &metadata["authorization_encryption_alg_values_supported"];
    assert!(algs.as_array().unwrap().contains(&"RSA-OAEP-256".into()));
    let registration = "authorization_signed_response_alg = \"ES256\"\nauthorization_encrypted_response_alg = \"RSA-OAEP-256\"\n\
                        authorization_encrypted_response_enc = \"A256GCM\"\n";
    app.apply(&document(&format!("{}{registration}", jwks(&[reader.public("e1")]))))
        .await;
    let mut browser = app.signed_in(ALICE).await;
    let ask = SECRETIVE.ask().with("response_mode", "jwt");
    let signed = inside(&reader, &response(browser.get(&ask.path()).await), JweEnc::A256Gcm);
    let claims = app.claims(&signed).await;
    assert!(claims["code"].is_string());
    assert_eq!(
        (&claims["aud"], &claims["state"]),
        (&json!("secretive"), &json!(crate::app::STATE))
    );
    // Errors as well.
    let ask = ask.with("scope", "unheard-of");
    let signed = inside(&reader, &response(browser.get(&ask.path()).await), JweEnc::A256Gcm);
    assert_eq!(app.claims(&signed).await["error"], "invalid_scope");
}

#[tokio::test]
async fn an_authorization_response_is_no_hint() {
    let app = TestApp::start().await;
    app.apply(&document("")).await;
    let mut browser = app.signed_in(ALICE).await;
    let jarm = response(browser.get(&SECRETIVE.ask().with("response_mode", "jwt").path()).await);
    let path = fields([("id_token_hint", jarm.as_str())]);
    browser
        .get(&format!("/connect/logout?{}", path.encode()))
        .await
        .expect_error_page(400, "invalid_request");
    browser
        .get(&SECRETIVE.ask().with("id_token_hint", &jarm).path())
        .await
        .expect_error_answer("invalid_request");
}

#[tokio::test]
async fn encryption_that_cannot_work_is_refused_at_registration() {
    let app = TestApp::start().await;
    let rsa = jwks(&[TestReader::new(JweAlg::RsaOaep).public("r1")]);
    for (registration, blamed) in [
        (id_token_by(JweAlg::RsaOaep, None), "id_token_encrypted_response_alg"),
        (
            format!("{rsa}{}", id_token_by(JweAlg::EcdhEs, None)),
            "id_token_encrypted_response_alg",
        ),
        (
            format!("{rsa}id_token_encrypted_response_enc = \"A128GCM\""),
            "id_token_encrypted_response_enc",
        ),
        (
            format!("{rsa}userinfo_encrypted_response_alg = \"RSA1_5\""),
            "userinfo_encrypted_response_alg",
        ),
        (
            format!("{rsa}introspection_encrypted_response_alg = \"dir\""),
            "introspection_encrypted_response_alg",
        ),
        (
            format!(
                "{rsa}authorization_encrypted_response_alg = \"RSA-OAEP\"\nauthorization_encrypted_response_enc = \"A192GCM\""
            ),
            "authorization_encrypted_response_enc",
        ),
    ] {
        let error = app.try_apply(&document(&registration)).await.unwrap_err().to_string();
        assert!(error.contains(blamed), "{blamed}: {error}");
    }
}

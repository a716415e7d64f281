//! Opaque access tokens (`access_token_format = "opaque"`).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use http::Method;
use serde_json::json;

use crate::app::{ALICE, ISSUER, RESOURCE_SERVER, TestApp, TestClient, Tokens, WEB};

/// An application whose access tokens are opaque.
const VAULT: TestClient = TestClient {
    id: "vault",
    secret: Some("vault-secret-4b4b"),
    redirect_uri: "https://vault.example/cb",
    scope: "openid profile",
};

const DOCUMENT: &str = r#"
[[client]]
client_id = "vault"
client_secret = "vault-secret-4b4b"
redirect_uris = ["https://vault.example/cb"]
grant_types = ["authorization_code", "refresh_token", "client_credentials"]
scope = "openid profile email reports:read"
auto_approve = true
access_token_format = "opaque"
"#;

async fn start() -> (TestApp, Tokens) {
    let app = TestApp::builder().document(DOCUMENT).start().await;
    let tokens = app.tokens(ALICE, VAULT).await;
    (app, tokens)
}

#[tokio::test]
async fn the_token_can_be_read_by_nobody_but_the_provider() {
    let (app, tokens) = start().await;
    let sealed = tokens.access_token.strip_prefix("hga_").unwrap();
    let bytes = B64.decode(sealed).unwrap();
    for word in ["alice", "vault", "openid", ISSUER] {
        let holds = bytes.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!holds, "{word}");
    }
    let again = app.refresh(VAULT, &tokens.refresh_token).await.expect_tokens();
    assert_ne!(again.access_token, tokens.access_token);
    assert!(again.access_token.starts_with("hga_"));
    // The ID token is a JWT all the same, and binds the access token by its text (OpenID Connect Core §3.1.3.6).
    let claims = app.claims(&tokens.id_token).await;
    let hash = token_keys::left_half_hash(oauth_wire::SigningAlg::Rs256, &tokens.access_token);
    assert_eq!(claims["at_hash"], hash);
}

#[tokio::test]
async fn introspection_and_userinfo_read_it() {
    let (app, tokens) = start().await;
    let told = app
        .introspect(RESOURCE_SERVER, &tokens.access_token)
        .await
        .expect_json(200);
    assert_eq!(
        (&told["active"], &told["sub"], &told["client_id"], &told["iss"]),
        (&json!(true), &json!(ALICE.sub), &json!("vault"), &json!(ISSUER))
    );
    assert_eq!(told["aud"], ISSUER);
    assert_eq!(told["exp"], app.now() + 600);
    assert_eq!(app.userinfo(&tokens).await.expect_json(200)["name"], "Alice Liddell");
    let machine = app.client_credentials(VAULT).await;
    let token = machine.expect_tokens().access_token;
    let told = app.introspect(VAULT, &token).await.expect_json(200);
    assert_eq!(
        (&told["sub"], &told["scope"]),
        (&json!("vault"), &json!("email profile reports:read"))
    );
    // Nobody else's business.
    let told = app.introspect(WEB, &tokens.access_token).await.expect_json(200);
    assert_eq!(told, json!({"active": false}));
}

#[tokio::test]
async fn it_ends_when_it_is_revoked_when_its_grant_ends_and_when_it_expires() {
    let (app, tokens) = start().await;
    app.revoke(WEB, &tokens.access_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.revoke(VAULT, &tokens.access_token).await.expect_status(200);
    assert!(!app.is_active(&tokens.access_token).await);

    let tokens = app.tokens(ALICE, VAULT).await;
    app.revoke(VAULT, &tokens.refresh_token).await.expect_status(200);
    assert!(!app.is_active(&tokens.access_token).await);

    let tokens = app.tokens(ALICE, VAULT).await;
    app.advance(599);
    app.userinfo(&tokens).await.expect_status(200);
    app.advance(1);
    assert!(!app.is_active(&tokens.access_token).await);
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn it_ends_with_the_persons_password_and_with_the_client() {
    let (app, tokens) = start().await;
    app.set_password(ALICE, ALICE.password).await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.advance(2);
    let tokens = app.tokens(ALICE, VAULT).await;
    app.set_client_status(VAULT, auth_server::domain::client::ClientStatus::Disabled)
        .await;
    assert!(!app.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn every_node_reads_it() {
    let (app, tokens) = start().await;
    let other = app.another_node().await;
    other.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn a_token_that_is_altered_at_any_byte_is_none() {
    let (app, tokens) = start().await;
    let token = tokens.access_token;
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut altered = token.clone();
        altered.replace_range(at..=at, other);
        let told = app.introspect(RESOURCE_SERVER, &altered).await.expect_json(200);
        assert_eq!(told, json!({"active": false}), "byte {at}");
        if at % 16 == 0 {
            let reply = app.call(Method::GET, "/userinfo").bearer(&altered).send().await;
            reply.expect_bearer_error(401, "invalid_token");
            let told = app
                .introspect(RESOURCE_SERVER, &token[..at])
                .await
                .expect_status(if at == 0 { 400 } else { 200 });
            assert!(!told.text().contains("true"), "cut at {at}");
        }
    }
    for other in [
        format!("{token}="),
        format!("{token}A"),
        token.replace("hga_", "hgr_"),
        token.replace("hga_", ""),
    ] {
        let told = app.introspect(RESOURCE_SERVER, &other).await.expect_json(200);
        assert_eq!(told, json!({"active": false}), "{other}");
    }
}

#[tokio::test]
async fn a_token_of_another_installation_or_issuer_is_none() {
    let (app, tokens) = start().await;
    // Same master key, another issuer: two providers that were set up from one copy.
    let sibling = TestApp::builder()
        .issuer("http://127.0.0.1:9000/sibling")
        .document(DOCUMENT)
        .start()
        .await;
    assert!(!sibling.is_active(&tokens.access_token).await);
    // Same issuer and claims, another master key.
    let foreign = token_keys::MasterKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
    let told = app
        .introspect(RESOURCE_SERVER, &tokens.access_token)
        .await
        .expect_json(200);
    let sealed = foreign
        .sealing("opaque-access-token")
        .unwrap()
        .seal(ISSUER.as_bytes(), told.to_string().as_bytes())
        .unwrap();
    assert!(!app.is_active(&format!("hga_{}", B64.encode(sealed))).await);
    assert!(app.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn a_client_of_the_gateway_cannot_have_opaque_tokens() {
    let app = TestApp::start().await;
    let error = app
        .try_apply(&DOCUMENT.replace("reports:read", "ai:chat"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("client[0].access_token_format: ") && error.contains("the gateway reads JWTs only"),
        "{error}"
    );
}

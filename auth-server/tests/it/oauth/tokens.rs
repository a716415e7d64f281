//! What stands in access tokens (RFC 9068) and ID tokens (OpenID Connect Core §2).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::app::{ADMIN, ALICE, CONSOLE, GATEWAY, ISSUER, LEGACY, OWN, TestApp, WEB};

fn header(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn an_access_token_is_an_es256_at_jwt_with_the_claims_of_rfc_9068() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let head = header(&tokens.access_token);
    assert_eq!((&head["alg"], &head["typ"]), (&json!("ES256"), &json!("at+jwt")));
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["sub"], ALICE.sub);
    assert_eq!(claims["aud"], json!([GATEWAY, ISSUER]));
    assert_eq!(claims["client_id"], "web");
    assert_eq!(claims["scope"], "ai:chat openid profile");
    assert_eq!(claims["iat"], app.now());
    assert_eq!(claims["exp"], app.now() + 600);
    assert_eq!(claims["auth_time"], app.now());
    assert_eq!(claims["acr"], "1");
    assert_eq!(claims["amr"], json!(["pwd"]));
    assert_eq!(claims["tenant"], "default");
    assert!(claims["jti"].as_str().unwrap().contains('.') && claims["sid"].is_string());
    for name in ["roles", "permissions", "ai_interfaces", "nonce", "email", "name"] {
        assert!(!claims.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn an_id_token_is_rs256_by_default_with_at_hash_sid_acr_and_amr() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    assert_eq!(header(&tokens.id_token)["alg"], "RS256");
    let claims = app.claims(&tokens.id_token).await;
    let mut names: Vec<&String> = claims.keys().collect();
    names.sort();
    let wanted = [
        "acr",
        "amr",
        "at_hash",
        "aud",
        "auth_time",
        "exp",
        "iat",
        "iss",
        "nonce",
        "sid",
        "sub",
    ];
    assert_eq!(
        names, wanted,
        "and no claim about the person, who has userinfo for that"
    );
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["sub"]),
        (&json!(ISSUER), &json!("web"), &json!(ALICE.sub))
    );
    assert_eq!(claims["exp"], app.now() + 600);
    let digest = Sha256::digest(tokens.access_token.as_bytes());
    assert_eq!(claims["at_hash"], URL_SAFE_NO_PAD.encode(&digest[..16]));
    assert_eq!(claims["sid"], app.claims(&tokens.access_token).await["sid"]);
    assert!(claims["sub"].as_str().unwrap().is_ascii());
}

#[tokio::test]
async fn a_client_may_choose_the_algorithms() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, LEGACY).await;
    assert_eq!(header(&tokens.id_token)["alg"], "ES256");
    assert_eq!(header(&tokens.access_token)["alg"], "RS256");
    app.claims(&tokens.id_token).await;
    app.claims(&tokens.access_token).await;
    app.userinfo(&tokens).await.expect_status(200);
}

#[tokio::test]
async fn every_advertised_algorithm_signs_with_its_own_key_and_its_own_at_hash() {
    let app = TestApp::start().await;
    let mut kids = std::collections::BTreeSet::new();
    for alg in ["RS256", "PS256", "ES256", "EdDSA"] {
        app.apply(&format!(
            r#"
[[client]]
client_id = "legacy"
redirect_uris = ["https://legacy.example/cb?tenant=1"]
scope = "openid"
require_pkce = false
auto_approve = true
id_token_signed_response_alg = "{alg}"
access_token_signing_alg = "{alg}"
"#
        ))
        .await;
        let tokens = app.tokens(ALICE, LEGACY).await;
        for token in [&tokens.id_token, &tokens.access_token] {
            assert_eq!(header(token)["alg"], alg);
            kids.insert(header(token)["kid"].to_string());
        }
        let left: Vec<u8> = match alg {
            // Ed25519 has SHA-512 inside.
            "EdDSA" => Sha512::digest(&tokens.access_token)[..32].to_vec(),
            _ => Sha256::digest(&tokens.access_token)[..16].to_vec(),
        };
        assert_eq!(
            app.claims(&tokens.id_token).await["at_hash"],
            URL_SAFE_NO_PAD.encode(left),
            "{alg}"
        );
        app.userinfo(&tokens).await.expect_status(200);
    }
    assert_eq!(kids.len(), 4, "RS256 and PS256 share no key");
}

#[tokio::test]
async fn the_audience_is_the_gateway_only_for_what_opens_it() {
    let app = TestApp::start().await;
    for (scope, audience) in [
        ("openid profile", json!(ISSUER)),
        ("ai:chat", json!(GATEWAY)),
        ("openid ai:embeddings", json!([GATEWAY, ISSUER])),
        ("profile", json!(ISSUER)),
    ] {
        let tokens = app.tokens_for(ALICE, &WEB.ask().with("scope", scope)).await;
        assert_eq!(app.claims(&tokens.access_token).await["aud"], audience, "{scope}");
    }
}

#[tokio::test]
async fn roles_and_permissions_go_out_with_the_scope_admin_alone() {
    let app = TestApp::start().await;
    let plain = app.tokens(ADMIN, OWN).await;
    assert!(!app.claims(&plain.access_token).await.contains_key("roles"));
    let admin = app.tokens_for(ADMIN, &OWN.ask().with("scope", "openid admin")).await;
    let claims = app.claims(&admin.access_token).await;
    assert_eq!(claims["roles"], json!(["administrator"]));
    assert_eq!(claims["permissions"], json!(["clients:write", "users:write"]));
    let alices = app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
    assert_eq!(app.claims(&alices.access_token).await["permissions"], json!([]));
}

#[tokio::test]
async fn tokens_ids_and_codes_never_repeat() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let code = browser.consented_code(ALICE, &WEB.ask()).await;
        let tokens = app.exchange(&code).await.expect_tokens();
        let jti = app.claims(&tokens.access_token).await["jti"]
            .as_str()
            .unwrap()
            .to_owned();
        // RFC 6749 §10.10: 160 bits of chance at least; 256 are 43 characters of base64url.
        assert!(code.value.strip_prefix("hgc_").unwrap().len() >= 43, "{}", code.value);
        for text in [code.value, tokens.refresh_token, jti] {
            assert!(seen.insert(text));
        }
    }
}

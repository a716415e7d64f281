//! DPoP (RFC 9449) and certificate-bound tokens (RFC 8705 §3) at the token endpoint and at userinfo.

use auth_server::domain::client::ClientStatus;
use futures_util::future::join_all;
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use sql_test_kit::TestDatabase;
use test_kit::{TestKey, token_hash, with};

use crate::app::{
    ALICE, Fields, ISSUER, RESOURCE_SERVER, Reply, SERVICE, SPA, TestApp, TestClient, WEB, fields, refresh_form,
};

fn key() -> TestKey {
    TestKey::new(SigningAlg::Es256)
}

/// Different for every proof of a test.
fn jti() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The claims of a good proof for the token endpoint.
fn claims(app: &TestApp) -> Value {
    json!({"jti": jti(), "htm": "POST", "htu": format!("{ISSUER}/oauth2/token"), "iat": app.now()})
}

async fn token(app: &TestApp, client: TestClient, form: &Fields, proof: &str) -> Reply {
    let call = app.call(Method::POST, "/oauth2/token").header("dpop", proof);
    match client.secret {
        Some(secret) => call.basic(client.id, secret).form(form).send().await,
        None => call.form(&form.clone().with("client_id", client.id)).send().await,
    }
}

fn machine() -> Fields {
    fields([("grant_type", "client_credentials")])
}

/// Tokens of a machine, bound to the key.
async fn bound(app: &TestApp, key: &TestKey) -> String {
    let reply = token(app, SERVICE, &machine(), &key.proof(&claims(app))).await;
    reply.expect_json(200)["access_token"].as_str().unwrap().to_owned()
}

async fn userinfo(app: &TestApp, scheme: &str, token: &str, proof: Option<&str>) -> Reply {
    let call = app
        .call(Method::GET, "/userinfo")
        .header("authorization", &format!("{scheme} {token}"));
    match proof {
        Some(proof) => call.header("dpop", proof).send().await,
        None => call.send().await,
    }
}

fn userinfo_claims(app: &TestApp, token: &str) -> Value {
    json!({"jti": jti(), "htm": "GET", "htu": format!("{ISSUER}/userinfo"), "iat": app.now(), "ath": token_hash(token)})
}

/// A code that was consented to, exchanged with a proof.
async fn persons_tokens(app: &TestApp, client: TestClient, key: &TestKey) -> Value {
    let code = app.consented_code(ALICE, client).await;
    token(app, client, &code.form(), &key.proof(&claims(app)))
        .await
        .expect_json(200)
}

#[tokio::test]
async fn a_proof_binds_the_token_to_its_key_with_every_algorithm_that_is_advertised() {
    let app = TestApp::start().await;
    let advertised = app.metadata().await["dpop_signing_alg_values_supported"].clone();
    let advertised: Vec<SigningAlg> = serde_json::from_value(advertised).unwrap();
    assert!(!advertised.contains(&SigningAlg::Rs256));
    for alg in advertised {
        let key = TestKey::new(alg);
        let reply = token(&app, SERVICE, &machine(), &key.proof(&claims(&app)))
            .await
            .expect_json(200);
        assert_eq!(reply["token_type"], "DPoP");
        let access_token = reply["access_token"].as_str().unwrap();
        assert_eq!(app.claims(access_token).await["cnf"], json!({"jkt": key.thumbprint()}));
        let told = app.introspect(RESOURCE_SERVER, access_token).await.expect_json(200);
        assert_eq!(
            (&told["token_type"], &told["cnf"]["jkt"]),
            (&json!("DPoP"), &json!(key.thumbprint()))
        );
    }
}

#[tokio::test]
async fn every_fault_of_a_proof_is_invalid_dpop_proof() {
    let app = TestApp::start().await;
    let (key, rsa) = (key(), TestKey::new(SigningAlg::Ps256));
    let sign = |change: Value| key.proof(&with(&claims(&app), change));
    let head = |change: Value| {
        let header = with(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public()}), change);
        key.sign_text(&header.to_string(), &claims(&app).to_string())
    };
    let good = sign(json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    for (what, proof) in [
        ("garbage", "garbage".to_owned()),
        ("empty", ".".to_owned()),
        ("no jti", sign(json!({"jti": null}))),
        ("no htm", sign(json!({"htm": null}))),
        ("no htu", sign(json!({"htu": null}))),
        ("no iat", sign(json!({"iat": null}))),
        ("jti of another type", sign(json!({"jti": 1}))),
        ("iat of another type", sign(json!({"iat": "now"}))),
        ("an empty jti", sign(json!({"jti": ""}))),
        ("a jti of 257", sign(json!({"jti": "x".repeat(257)}))),
        ("another method", sign(json!({"htm": "GET"}))),
        ("another endpoint", sign(json!({"htu": format!("{ISSUER}/userinfo")}))),
        (
            "another host",
            sign(json!({"htu": "https://evil.example/oauth2/token"})),
        ),
        ("made 61 s ago", sign(json!({"iat": app.now() - 61}))),
        ("made in 61 s", sign(json!({"iat": app.now() + 61}))),
        ("no typ", head(json!({"typ": null}))),
        ("another typ", head(json!({"typ": "JWT"}))),
        ("no key", head(json!({"jwk": null}))),
        ("a private key", head(json!({"jwk": key.private()}))),
        ("another key", head(json!({"jwk": self::key().public()}))),
        ("alg none", head(json!({"alg": "none"}))),
        ("alg HS256", head(json!({"alg": "HS256"}))),
        ("alg RS256", rsa.by(SigningAlg::Rs256).proof(&claims(&app))),
        ("no signature", format!("{signed}.")),
        ("a crit header", head(json!({"crit": ["x"], "x": 1}))),
    ] {
        let description = token(&app, SERVICE, &machine(), &proof)
            .await
            .expect_oauth_error(400, "invalid_dpop_proof");
        assert!(description.contains("DPoP"), "{what}: {description}");
    }
    let call = app
        .call(Method::POST, "/oauth2/token")
        .header("dpop", &good)
        .header("dpop", &good);
    let twice = call
        .basic(SERVICE.id, SERVICE.secret.unwrap())
        .form(&machine())
        .send()
        .await;
    twice.expect_oauth_error(400, "invalid_dpop_proof");
}

#[tokio::test]
async fn what_does_not_matter_about_a_proof_is_passed_over() {
    let app = TestApp::start().await;
    for change in [
        json!({"iat": app.now() - 60}),
        json!({"iat": app.now() + 60}),
        json!({"htu": format!("{ISSUER}/oauth2/token?x=1#y")}),
        json!({"htu": "HTTP://127.0.0.1:9000/oauth2/token"}),
        json!({"htu": "http://127.0.0.1:9000/oauth2/%74oken"}),
        json!({"jti": "x".repeat(256)}),
        json!({"more": {"claims": true}}),
        json!({"nonce": "of another server"}),
    ] {
        let proof = key().proof(&with(&claims(&app), change.clone()));
        let reply = token(&app, SERVICE, &machine(), &proof).await;
        assert_eq!(reply.status, 200, "{change}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_proof_works_once_and_of_50_that_use_it_at_the_same_time_one_wins() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let app = TestApp::builder().database(&database.url).start().await;
        let key = key();
        let (form, proof) = (machine(), key.proof(&claims(&app)));
        let all = join_all((0..50).map(|_| token(&app, SERVICE, &form, &proof))).await;
        let won = all.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(won, 1);
        // The same jti with another key is another proof (RFC 9449 §11.1).
        let same_jti = json!({"jti": "same"});
        let proof = |key: &TestKey| key.proof(&with(&claims(&app), same_jti.clone()));
        token(&app, SERVICE, &machine(), &proof(&key)).await.expect_json(200);
        token(&app, SERVICE, &machine(), &proof(&self::key()))
            .await
            .expect_json(200);
        let description = token(&app, SERVICE, &machine(), &proof(&key))
            .await
            .expect_oauth_error(400, "invalid_dpop_proof");
        assert!(description.contains("used before"), "{description}");
    }
}

#[tokio::test]
async fn a_client_that_must_bind_its_tokens_gets_none_without_a_proof() {
    let app = TestApp::builder()
        .document(
            r#"
[[client]]
client_id = "strict"
client_secret = "strict-secret-4b4b"
grant_types = ["client_credentials"]
response_types = []
scope = "ai:chat"
dpop_bound_access_tokens = true

[[client]]
client_id = "certified"
client_secret = "certified-secret-4b4b"
grant_types = ["client_credentials"]
response_types = []
scope = "ai:chat"
tls_client_certificate_bound_access_tokens = true
"#,
        )
        .start()
        .await;
    let client = |id, secret| TestClient {
        id,
        secret: Some(secret),
        redirect_uri: "",
        scope: "",
    };
    let strict = client("strict", "strict-secret-4b4b");
    app.token(strict, &machine())
        .await
        .expect_oauth_error(400, "invalid_dpop_proof");
    token(&app, strict, &machine(), &key().proof(&claims(&app)))
        .await
        .expect_json(200);
    // A header says nothing about certificates when no proxy is trusted.
    let certified = client("certified", "certified-secret-4b4b");
    app.token(certified, &machine())
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn a_public_clients_refresh_token_is_bound_to_the_key_of_its_code_exchange() {
    let app = TestApp::start().await;
    let key = key();
    let first = persons_tokens(&app, SPA, &key).await;
    assert_eq!(first["token_type"], "DPoP");
    let form = refresh_form(first["refresh_token"].as_str().unwrap());
    for thief in [
        app.token(SPA, &form).await,
        token(&app, SPA, &form, &self::key().proof(&claims(&app))).await,
    ] {
        thief.expect_oauth_error(400, "invalid_grant");
    }
    // The thief's attempts have not ended the family.
    let second = token(&app, SPA, &form, &key.proof(&claims(&app)))
        .await
        .expect_json(200);
    let cnf = &app.claims(second["access_token"].as_str().unwrap()).await["cnf"];
    assert_eq!(*cnf, json!({"jkt": key.thumbprint()}));
}

#[tokio::test]
async fn a_confidential_client_may_change_its_key_when_it_refreshes() {
    let app = TestApp::start().await;
    let first = persons_tokens(&app, WEB, &key()).await;
    let form = refresh_form(first["refresh_token"].as_str().unwrap());
    let other = key();
    let second = token(&app, WEB, &form, &other.proof(&claims(&app)))
        .await
        .expect_json(200);
    let cnf = &app.claims(second["access_token"].as_str().unwrap()).await["cnf"];
    assert_eq!(*cnf, json!({"jkt": other.thumbprint()}));
}

#[tokio::test]
async fn a_failed_proof_does_not_spend_the_code() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let late = key().proof(&with(&claims(&app), json!({"iat": 0})));
    token(&app, WEB, &code.form(), &late)
        .await
        .expect_oauth_error(400, "invalid_dpop_proof");
    app.exchange(&code).await.expect_tokens();
}

#[tokio::test]
async fn a_bound_token_opens_userinfo_with_a_proof_of_its_own_key_alone() {
    let app = TestApp::start().await;
    let key = key();
    let tokens = persons_tokens(&app, WEB, &key).await;
    let access_token = tokens["access_token"].as_str().unwrap();
    let good = || key.proof(&userinfo_claims(&app, access_token));
    for scheme in ["DPoP", "dpop", "DPOP"] {
        let told = userinfo(&app, scheme, access_token, Some(&good()))
            .await
            .expect_json(200);
        assert_eq!(told["sub"], ALICE.sub);
    }
    let change = |change: Value| key.proof(&with(&userinfo_claims(&app, access_token), change));
    let replayed = good();
    userinfo(&app, "DPoP", access_token, Some(&replayed))
        .await
        .expect_json(200);
    for (what, scheme, proof, code) in [
        ("no proof", "DPoP", None, "invalid_dpop_proof"),
        ("a bearer token with a proof", "Bearer", Some(good()), "invalid_token"),
        ("a bearer token without", "Bearer", None, "invalid_token"),
        (
            "another key",
            "DPoP",
            Some(self::key().proof(&userinfo_claims(&app, access_token))),
            "invalid_token",
        ),
        (
            "no ath",
            "DPoP",
            Some(change(json!({"ath": null}))),
            "invalid_dpop_proof",
        ),
        (
            "another ath",
            "DPoP",
            Some(change(json!({"ath": token_hash("x")}))),
            "invalid_token",
        ),
        (
            "another method",
            "DPoP",
            Some(change(json!({"htm": "POST"}))),
            "invalid_dpop_proof",
        ),
        (
            "an hour ago",
            "DPoP",
            Some(change(json!({"iat": app.now() - 3600}))),
            "invalid_dpop_proof",
        ),
        (
            "in an hour",
            "DPoP",
            Some(change(json!({"iat": app.now() + 3600}))),
            "invalid_dpop_proof",
        ),
        ("replayed", "DPoP", Some(replayed), "invalid_dpop_proof"),
    ] {
        let reply = userinfo(&app, scheme, access_token, proof.as_deref())
            .await
            .expect_status(401);
        let challenges: Vec<&str> = reply
            .headers
            .get_all("www-authenticate")
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        let [first, second] = challenges.as_slice() else {
            panic!("{what}: {challenges:?}")
        };
        assert!(
            first.starts_with("DPoP ") && second.starts_with("Bearer "),
            "{what}: {challenges:?}"
        );
        assert!(first.contains(&format!("error=\"{code}\"")), "{what}: {first}");
        assert!(
            first.contains("algs=\"") && !second.contains("error="),
            "{what}: {challenges:?}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_no_dpop_token() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let proof = key().proof(&userinfo_claims(&app, &tokens.access_token));
    let reply = userinfo(&app, "DPoP", &tokens.access_token, Some(&proof)).await;
    reply.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn nonces_when_they_are_required_are_told_by_a_challenge_and_last_two_slots() {
    let app = TestApp::builder()
        .config(|config| {
            config.dpop.require_nonce = true;
            config.dpop.nonce_s = 100;
        })
        .start()
        .await;
    let key = key();
    let ask = async |nonce: Option<&str>| {
        let proof = key.proof(&with(&claims(&app), json!({"nonce": nonce})));
        token(&app, SERVICE, &machine(), &proof).await
    };
    let challenged = ask(None).await;
    let nonce = challenged.header("dpop-nonce").unwrap().to_owned();
    challenged.expect_oauth_error(400, "use_dpop_nonce");
    ask(Some(&nonce)).await.expect_json(200);
    ask(Some("made up")).await.expect_oauth_error(400, "use_dpop_nonce");
    app.advance(199);
    ask(Some(&nonce)).await.expect_json(200);
    app.advance(1);
    ask(Some(&nonce)).await.expect_oauth_error(400, "use_dpop_nonce");

    // Userinfo asks for one in its own way (RFC 9449 §9).
    let fresh = ask(None).await.header("dpop-nonce").unwrap().to_owned();
    let code = app.consented_code(ALICE, WEB).await;
    let proof = key.proof(&with(&claims(&app), json!({"nonce": fresh})));
    let tokens = token(&app, WEB, &code.form(), &proof).await.expect_json(200);
    let access_token = tokens["access_token"].as_str().unwrap();
    let without = key.proof(&userinfo_claims(&app, access_token));
    let challenged = userinfo(&app, "DPoP", access_token, Some(&without)).await;
    let nonce = challenged.header("dpop-nonce").unwrap().to_owned();
    let challenge = challenged.expect_status(401);
    assert!(
        challenge
            .header("www-authenticate")
            .unwrap()
            .contains("error=\"use_dpop_nonce\"")
    );
    let with_nonce = key.proof(&with(&userinfo_claims(&app, access_token), json!({"nonce": nonce})));
    userinfo(&app, "DPoP", access_token, Some(&with_nonce))
        .await
        .expect_json(200);
}

#[tokio::test]
async fn a_bound_token_of_a_disabled_client_is_dead_whatever_is_proved() {
    let app = TestApp::start().await;
    let key = key();
    let access_token = bound(&app, &key).await;
    assert!(app.is_active(&access_token).await);
    app.set_client_status(SERVICE, ClientStatus::Disabled).await;
    assert!(!app.is_active(&access_token).await);
}

/// FAPI 2.0 §5.3.2.1: no rotation for who authenticates and binds its tokens anyway.
#[tokio::test]
async fn a_confidential_client_whose_tokens_are_bound_keeps_its_refresh_token() {
    const BANK: TestClient = TestClient {
        id: "bank",
        secret: Some("bank-secret-2f2f2f"),
        redirect_uri: "https://bank.example/cb",
        scope: "openid offline_access",
    };
    let app = TestApp::builder()
        .document(
            r#"
[[client]]
client_id = "bank"
client_secret = "bank-secret-2f2f2f"
redirect_uris = ["https://bank.example/cb"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid offline_access"
dpop_bound_access_tokens = true
"#,
        )
        .start()
        .await;
    let first = persons_tokens(&app, BANK, &key()).await;
    let refresh_token = first["refresh_token"].as_str().unwrap();
    let form = refresh_form(refresh_token);
    for _ in 0..3 {
        app.advance(40);
        let proof = key().proof(&claims(&app));
        let again = token(&app, BANK, &form, &proof).await.expect_json(200);
        assert_eq!(again["refresh_token"], refresh_token);
        assert_ne!(again["access_token"], first["access_token"]);
        token(&app, BANK, &form, &proof)
            .await
            .expect_oauth_error(400, "invalid_dpop_proof");
    }
    // Its time is renewed by each use, and ends when nobody uses it.
    let month = 30 * 24 * 3600;
    app.advance(month - 1);
    token(&app, BANK, &form, &key().proof(&claims(&app)))
        .await
        .expect_json(200);
    app.advance(month - 1);
    token(&app, BANK, &form, &key().proof(&claims(&app)))
        .await
        .expect_json(200);
    app.advance(month);
    token(&app, BANK, &form, &key().proof(&claims(&app)))
        .await
        .expect_oauth_error(400, "invalid_grant");
}

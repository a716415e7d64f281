//! Callers whom the gateway must turn away, and how it says so.

use serde_json::{Value, json};

use crate::{
    gateway::{Caller, chat},
    oauth::{App, claims, header, unsigned},
    world::{Engine, World, eventually, unix_now},
};

/// 401 with the challenge of RFC 6750 §3 and the pointer of RFC 9728 §5.1.
async fn is_refused(world: &World, token: &str) {
    let reply = Caller::with(world, token).chat("t-echo").await;
    let error = reply.openai_error(401);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.contains(token)),
        "the token is not echoed"
    );
    reply.bearer_error(401, "invalid_token");
    assert!(
        reply.header("www-authenticate").contains("resource_metadata=\""),
        "{}",
        reply.header("www-authenticate")
    );
}

fn key_of(jwks: &Value, algorithm: &str) -> Value {
    jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["alg"] == algorithm)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn without_a_token_the_challenge_says_where_to_get_one() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let url = format!("{}/v1/chat/completions", world.gateway);
    let reply = crate::oauth::Reply::read(
        http.request(reqwest::Method::POST, &url)
            .json(&chat("t-echo"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    reply.openai_error(401);
    let challenge = reply.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer") && !challenge.contains("error="),
        "RFC 6750 §3.1: {challenge}"
    );
    let metadata = challenge
        .split_once("resource_metadata=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    let document = http.get(metadata).await.ok();
    assert_eq!(document["resource"], world.gateway);
    assert_eq!(document["authorization_servers"], json!([world.issuer]));
    assert_eq!(document["bearer_methods_supported"], json!(["header"]));
    assert!(
        document["scopes_supported"]
            .as_array()
            .unwrap()
            .iter()
            .any(|scope| scope == "ai:chat")
    );
    // Other schemes are no token, and a token in the URL is not taken.
    let request = http
        .request(reqwest::Method::POST, &url)
        .header("authorization", "Basic c2VydmljZTp4");
    assert_eq!(request.json(&chat("t-echo")).send().await.unwrap().status(), 401);
    let token = http.client_credentials("service", "ai:chat").await.access;
    let request = http.request(reqwest::Method::POST, &format!("{url}?access_token={token}"));
    assert_eq!(request.json(&chat("t-echo")).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn garbage_and_broken_tokens_are_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let good = world.http().client_credentials("service", "ai:chat").await.access;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = signature.to_owned();
    let last = flipped.remove(0);
    flipped.insert(0, if last == 'A' { 'B' } else { 'A' });
    let other = unsigned(
        &header(&good),
        &{
            let mut body = claims(&good);
            body["scope"] = "ai:chat ai:embeddings admin".into();
            body
        },
        b"x",
    );
    let mixed = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    for token in [
        "garbage",
        "a.b.c",
        "..",
        "e30.e30.e30",
        &format!("{signed}."),
        &format!("{signed}.{flipped}"),
        &mixed,
        &format!("{good}.x"),
        &format!("{good}x"),
    ] {
        is_refused(world, token).await;
    }
    is_refused(world, &"a".repeat(20_000)).await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let token = world.http().client_credentials("short", "ai:chat").await;
    assert_eq!(token.json["expires_in"], 1);
    let caller = Caller::with(world, token.access.clone());
    // Used before, so that a cache that forgets the expiry shows.
    let _ = caller.chat("t-echo").await;
    eventually("the token expires", std::time::Duration::from_secs(70), async || {
        (caller.chat("t-echo").await.status == 401).then_some(())
    })
    .await;
    assert!(unix_now() > token.access_claims()["exp"].as_i64().unwrap());
    is_refused(world, &token.access).await;
}

#[tokio::test]
async fn tokens_of_another_issuer_and_for_another_audience_are_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let foreign = World::shared(Engine::Postgres).await;
    let token = foreign.http().client_credentials("service", "ai:chat").await.access;
    assert_eq!(Caller::with(foreign, token.clone()).chat("t-echo").await.status, 200);
    is_refused(world, &token).await;
    // Issued here, but for the provider itself.
    let own = crate::oauth::console_tokens(world, "admin").await;
    is_refused(world, &own.access).await;
}

#[tokio::test]
async fn only_the_algorithm_of_the_key_is_accepted() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let good = http.client_credentials("service", "ai:chat").await.access;
    let jwks = http.get("/oauth2/jwks").await.json();
    let mut body = claims(&good);
    body["exp"] = (unix_now() + 300).into();
    let head = |changes: Value| {
        let mut head = header(&good);
        for (name, value) in changes.as_object().unwrap() {
            head[name] = value.clone();
        }
        head
    };
    for algorithm in ["none", "None", "NONE"] {
        is_refused(world, &unsigned(&head(json!({"alg": algorithm})), &body, b"")).await;
    }
    // HMAC keyed with every form of a public key that an attacker can have.
    for (algorithm, kid) in [
        ("ES256", header(&good)["kid"].clone()),
        ("RS256", key_of(&jwks, "RS256")["kid"].clone()),
    ] {
        let jwk = key_of(&jwks, algorithm);
        let parsed = josekit::jwk::Jwk::from_bytes(jwk.to_string()).unwrap();
        let pem = if algorithm == "ES256" {
            josekit::jwk::alg::ec::EcKeyPair::from_jwk(&parsed)
                .map(|pair| pair.to_pem_public_key())
                .unwrap_or_default()
        } else {
            josekit::jwk::alg::rsa::RsaKeyPair::from_jwk(&parsed)
                .map(|pair| pair.to_pem_public_key())
                .unwrap_or_default()
        };
        for key in [
            jwk.to_string().into_bytes(),
            pem,
            jwk["x"].as_str().or(jwk["n"].as_str()).unwrap().as_bytes().to_vec(),
        ] {
            if key.len() < 32 {
                continue;
            }
            let signer = josekit::jws::HS256.signer_from_bytes(&key).unwrap();
            let mut head = josekit::jws::JwsHeader::new();
            head.set_token_type("at+jwt");
            head.set_key_id(kid.as_str().unwrap());
            let token = josekit::jws::serialize_compact(body.to_string().as_bytes(), &head, &signer).unwrap();
            is_refused(world, &token).await;
        }
    }
    // A key that the attacker brings along, or one under a known name.
    let pair = josekit::jws::ES256.generate_key_pair().unwrap();
    let signer = josekit::jws::ES256.signer_from_jwk(&pair.to_jwk_private_key()).unwrap();
    for name in ["own", header(&good)["kid"].as_str().unwrap()] {
        let mut head = josekit::jws::JwsHeader::new();
        head.set_token_type("at+jwt");
        head.set_key_id(name);
        head.set_jwk(pair.to_jwk_public_key());
        head.set_jwk_set_url("https://evil.example/jwks");
        let token = josekit::jws::serialize_compact(body.to_string().as_bytes(), &head, &signer).unwrap();
        is_refused(world, &token).await;
    }
    // RS256 said of an ES256 key.
    is_refused(world, &unsigned(&head(json!({"alg": "RS256"})), &body, &[1; 256])).await;
    is_refused(world, &unsigned(&head(json!({"alg": "PS256"})), &body, &[1; 256])).await;
    is_refused(
        world,
        &unsigned(&head(json!({"crit": ["b64"], "b64": false})), &body, &[1; 64]),
    )
    .await;
}

#[tokio::test]
async fn an_id_token_or_a_refresh_token_is_no_access_token() {
    let world = World::shared(Engine::Sqlite).await;
    let tokens = world.web().tokens_of(world, "carol").await;
    is_refused(world, tokens.id.as_ref().unwrap()).await;
    is_refused(world, tokens.refresh()).await;
    assert_eq!(Caller::with(world, tokens.access).chat("t-echo").await.status, 200);
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let check = async |token: String, path: &str, body: Value, scope: &str| {
        let reply = Caller::with(world, token).post(path, &body).await;
        reply.openai_error(403);
        reply.bearer_error(403, "insufficient_scope");
        assert!(
            reply.header("www-authenticate").contains(&format!("scope=\"{scope}")),
            "{}",
            reply.header("www-authenticate")
        );
    };
    let embeddings = http.client_credentials("embedder", "ai:embeddings").await.access;
    check(embeddings, "/v1/chat/completions", chat("t-echo"), "ai:chat").await;
    let chat_only = http.client_credentials("service", "ai:chat").await.access;
    check(
        chat_only,
        "/v1/embeddings",
        json!({"model": "t-embed", "input": "x"}),
        "ai:embeddings",
    )
    .await;
    let narrow = http.client_credentials("narrow", "ai:chat:t-echo").await.access;
    assert_eq!(Caller::with(world, narrow.clone()).chat("t-echo").await.status, 200);
    check(narrow, "/v1/chat/completions", chat("chat"), "ai:chat").await;
}

#[tokio::test]
async fn an_interface_that_the_client_was_not_granted_is_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let limited = world.http().client_credentials("limited", "ai:chat").await.access;
    let caller = Caller::with(world, limited);
    assert_eq!(caller.chat("t-echo").await.status, 200);
    caller.chat("chat").await.openai_error(403);
}

#[tokio::test]
async fn requests_of_a_wrong_form_are_answered_as_an_openai_sdk_expects() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let unknown = caller.chat("no-such-model").await.openai_error(404);
    assert_eq!(unknown["code"], "model_not_found");
    caller.chat("t-off").await.openai_error(404);
    let raw = async |path: &str, body: String| {
        let url = format!("{}{path}", world.gateway);
        let request = world
            .http()
            .request(reqwest::Method::POST, &url)
            .bearer_auth(&caller.token)
            .header("content-type", "application/json");
        crate::oauth::Reply::read(request.body(body).send().await.unwrap()).await
    };
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "{\"model\":7,\"messages\":[]}",
        "{\"messages\":[]}",
        "{\"model\":\"t-echo\"",
        "{\"model\":\"t-echo\",\"messages\":\"x\"}",
    ] {
        raw("/v1/chat/completions", body.to_owned()).await.openai_error(400);
    }
    let deep = format!(
        "{{\"model\":\"t-echo\",\"messages\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    raw("/v1/chat/completions", deep).await.openai_error(400);
    // An interface of another capability is not that capability's.
    let wrong = caller
        .post("/v1/embeddings", &json!({"model": "t-echo", "input": "x"}))
        .await;
    assert!(matches!(wrong.status, 400 | 404), "{}", wrong.body);
    assert_eq!(
        world
            .http()
            .get(&format!("{}/v1/chat/completions", world.gateway))
            .await
            .status,
        405
    );
    assert_eq!(raw("/v1/nothing", "{}".into()).await.status, 404);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413_however_it_is_sent() {
    let settings = crate::world::Settings {
        gateway: "limits.max_body_bytes = 65536".into(),
        ..Default::default()
    };
    let world = World::start_with(Engine::Sqlite, settings).await;
    let caller = Caller::service(&world).await;
    let sized = |size: usize| {
        let mut body = chat("t-echo");
        body["messages"][0]["content"] = "a".repeat(size - body.to_string().len() + "Hello, world".len()).into();
        assert_eq!(body.to_string().len(), size);
        body
    };
    assert_eq!(
        caller.post("/v1/chat/completions", &sized(65536)).await.status,
        200,
        "the limit itself is allowed"
    );
    caller
        .post("/v1/chat/completions", &sized(65537))
        .await
        .openai_error(413);
    // Without a length, in chunks.
    let text = sized(70_000).to_string();
    let parts = text
        .into_bytes()
        .chunks(1000)
        .map(|part| Ok::<_, std::io::Error>(part.to_vec()))
        .collect::<Vec<_>>();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
    let url = format!("{}/v1/chat/completions", world.gateway);
    let request = world
        .http()
        .request(reqwest::Method::POST, &url)
        .bearer_auth(&caller.token)
        .header("content-type", "application/json");
    crate::oauth::Reply::read(request.body(body).send().await.unwrap())
        .await
        .openai_error(413);
    assert_eq!(caller.chat("t-echo").await.status, 200);
}

#[tokio::test]
async fn a_third_party_app_calls_ai_in_the_name_of_a_person() {
    let world = World::shared(Engine::Sqlite).await;
    let app: App = world.spa();
    let tokens = app.tokens_of(world, "carol").await;
    let reply = Caller::with(world, tokens.access).chat("chat").await;
    assert_eq!(reply.ok()["object"], "chat.completion");
    let plain = world.spa().scope("openid profile").tokens_of(world, "carol").await;
    is_refused(world, &plain.access).await;
}

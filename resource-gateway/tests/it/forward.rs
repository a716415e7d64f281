//! `/auth/forward`: what a proxy is told about the requests that it holds back.

use oauth_wire::SigningAlg;
use serde_json::json;
use test_kit::{TestKey, token_hash};

use crate::{
    running::{Answer, Running},
    signed_calls::{Draft, settings},
    stub_issuer::{StubIssuer, now},
};

const APP: &str = "https://app.test";

async fn behind_a_proxy() -> Running {
    let issuer = StubIssuer::start().await;
    Running::start_with(issuer, |config| {
        config.proxy.trusted = vec!["127.0.0.1".parse().unwrap()];
    })
    .await
}

fn ask(world: &Running, query: &str) -> reqwest::RequestBuilder {
    world.http.get(format!("{}/auth/forward{query}", world.url))
}

/// As a proxy asks about a request to `APP`.
fn forwarded(request: reqwest::RequestBuilder, method: &str, uri: &str) -> reqwest::RequestBuilder {
    request
        .header("x-forwarded-method", method)
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "app.test")
        .header("x-forwarded-uri", uri)
        .header("x-forwarded-for", "192.0.2.9")
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_good_token_is_answered_with_who_it_is_in_headers() {
    let world = Running::start().await;
    let token = world
        .issuer
        .token(&json!({"sub": "日本, \"x\"", "scope": "openid ai:chat"}));
    for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PATCH"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = world.http.request(method, format!("{}/auth/forward", world.url));
        let reply = answer(
            request
                .bearer_auth(&token)
                .header("x-hexgate-sub", "root")
                .header("x-hexgate-access-key", "root"),
        )
        .await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""));
        assert_eq!(reply.header("x-hexgate-sub"), "%E6%97%A5%E6%9C%AC%2C%20%22x%22");
        assert_eq!(reply.header("x-hexgate-client-id"), "app");
        assert_eq!(reply.header("x-hexgate-tenant"), "t1");
        assert_eq!(reply.header("x-hexgate-scope"), "ai:chat openid");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert!(!reply.headers.contains_key("x-hexgate-access-key"));
    }
    // What the token does not say is not there, whatever the client sends.
    let bare = world.issuer.token(&json!({"tenant": null}));
    let reply = answer(ask(&world, "").bearer_auth(bare).header("x-hexgate-tenant", "root")).await;
    assert!(reply.status == 200 && !reply.headers.contains_key("x-hexgate-tenant"));
}

#[tokio::test]
async fn who_has_no_good_credential_gets_a_challenge_and_a_401() {
    let world = Running::start().await;
    for request in [
        ask(&world, ""),
        ask(&world, "").bearer_auth("garbage"),
        ask(&world, "").header("authorization", "HEXGATE-HMAC-SHA256 x"),
        ask(&world, "").bearer_auth(world.token()).bearer_auth(world.token()),
        ask(&world, "?scope=ai:chat").bearer_auth(world.issuer.token(&json!({"exp": now() - 60}))),
    ] {
        let reply = answer(request).await;
        reply.error(401);
        assert!(!reply.header("www-authenticate").is_empty());
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_scope_or_an_interface_may_be_asked_for() {
    let world = Running::start().await;
    let token = world
        .issuer
        .token(&json!({"scope": "openid ai:chat", "ai_interfaces": ["echo"]}));
    for (query, status) in [
        ("", 200),
        ("?scope=ai:chat", 200),
        ("?scope=ai%3Achat+openid", 200),
        ("?scope=ai:chat:echo", 200),
        ("?scope=ai:embeddings", 403),
        ("?scope=ai", 403),
        ("?scope=ai:chat+admin", 403),
        ("?interface=echo", 200),
        ("?interface=sandbox", 403),
        ("?interface=nothing", 403),
        ("?interface=off", 403),
        ("?scope=ai:chat&interface=echo", 200),
        ("?scopes=ai:chat", 400),
        ("?scope=", 400),
        ("?scope=a&scope=b", 400),
    ] {
        let reply = answer(ask(&world, query).bearer_auth(&token)).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.body);
        assert_eq!(reply.headers.contains_key("x-hexgate-sub"), status == 200, "{query}");
        if status == 403 {
            assert!(
                reply.header("www-authenticate").contains("insufficient_scope"),
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn a_proof_is_for_the_address_that_the_proxy_tells_of() {
    let world = behind_a_proxy().await;
    let key = TestKey::new(SigningAlg::Es256);
    let token = world.issuer.token(&json!({"cnf": {"jkt": key.thumbprint()}}));
    let proof = |jti: &str, method: &str, url: &str| {
        key.proof(&json!({"jti": jti, "htm": method, "htu": url, "iat": now(), "ath": token_hash(&token)}))
    };
    let send = async |proof: String, method: &str, uri: &str| {
        let request = ask(&world, "")
            .header("authorization", format!("DPoP {token}"))
            .header("dpop", proof);
        answer(forwarded(request, method, uri)).await.status
    };
    let good = proof("1", "POST", &format!("{APP}/things"));
    assert_eq!(send(good.clone(), "POST", "/things?x=1").await, 200);
    assert_eq!(send(good, "POST", "/things?x=1").await, 401);
    assert_eq!(
        send(proof("2", "POST", &format!("{APP}/things")), "GET", "/things").await,
        401
    );
    assert_eq!(
        send(proof("3", "POST", &format!("{APP}/things")), "POST", "/others").await,
        401
    );
    let own = "https://gateway.test/auth/forward";
    assert_eq!(send(proof("4", "GET", own), "POST", "/things").await, 401);
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_tells_of_other_addresses() {
    let world = Running::start().await;
    let key = TestKey::new(SigningAlg::Es256);
    let token = world.issuer.token(&json!({"cnf": {"jkt": key.thumbprint()}}));
    let send = async |htm: &str, htu: &str, jti: &str| {
        let claims = json!({"jti": jti, "htm": htm, "htu": htu, "iat": now(), "ath": token_hash(&token)});
        let request = ask(&world, "")
            .header("authorization", format!("DPoP {token}"))
            .header("dpop", key.proof(&claims));
        answer(forwarded(request, "POST", "/things")).await.status
    };
    assert_eq!(send("POST", "https://app.test/things", "1").await, 401);
    // It is judged as what it is.
    assert_eq!(send("GET", "https://gateway.test/auth/forward", "2").await, 200);
}

#[tokio::test]
async fn half_a_word_of_the_proxys_is_none() {
    let world = behind_a_proxy().await;
    let token = world.token();
    let all = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.test"),
        ("x-forwarded-uri", "/things"),
    ];
    let with = |headers: &[(&str, &str)]| {
        let request = ask(&world, "").bearer_auth(&token);
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
    };
    assert_eq!(answer(with(&all)).await.status, 200);
    for left_out in 0..all.len() {
        let mut some = all.to_vec();
        some.remove(left_out);
        assert_eq!(answer(with(&some)).await.error(400)["code"], "incomplete_forwarding");
    }
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-uri", "/other"),
    ] {
        // The client's invention before the proxy's word.
        let mut both = all.to_vec();
        both.push((name, value));
        assert_eq!(answer(with(&both)).await.status, 400, "{name}");
    }
    for (at, value) in [
        (1, "ftp"),
        (1, "https, http"),
        (2, "a.test, b.test"),
        (3, "things"),
        (0, ""),
    ] {
        let mut odd = all.to_vec();
        odd[at].1 = value;
        assert_eq!(answer(with(&odd)).await.status, 400, "{value}");
    }
}

#[tokio::test]
async fn a_signature_is_for_the_request_that_the_proxy_holds_back() {
    let world = behind_a_proxy().await;
    let holder = world.issue(settings()).await;
    let send = async |draft: &Draft, method: &str, uri: &str| {
        let headers = draft.headers(&holder);
        let mut request = ask(&world, "?scope=ai:chat");
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        answer(forwarded(request, method, uri)).await
    };
    let draft = || Draft::new("PUT", format!("{APP}/things?b=1&a=2"), b"a body".to_vec());
    let reply = send(&draft(), "PUT", "/things?b=1&a=2").await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("x-hexgate-access-key"), holder.id);
    assert_eq!(reply.header("x-hexgate-client-id"), "machine");
    assert_eq!(reply.header("x-hexgate-sub"), "machine");
    // The body is not here; who has it compares.
    let digest = &draft().headers(&holder)["x-hexgate-content-sha256"];
    assert_eq!(reply.header("x-hexgate-signed-content-sha256"), digest);
    for (method, uri) in [
        ("POST", "/things?b=1&a=2"),
        ("PUT", "/things"),
        ("PUT", "/others?b=1&a=2"),
    ] {
        assert_eq!(send(&draft(), method, uri).await.status, 401, "{method} {uri}");
    }
    let spent = draft();
    assert_eq!(send(&spent, "PUT", "/things?b=1&a=2").await.status, 200);
    assert_eq!(send(&spent, "PUT", "/things?b=1&a=2").await.status, 401);
}

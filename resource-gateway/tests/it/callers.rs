//! Who may call, and how others are turned away.

use std::time::Duration;

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::Revoked;
use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
use serde_json::{Value, json};

use crate::{
    running::{Answer, Running, chat},
    stub_issuer::{AUDIENCE, StubIssuer, es256, now},
};

const METADATA: &str = "resource_metadata=\"https://gateway.test/.well-known/oauth-protected-resource\"";

#[track_caller]
fn is_challenged(answer: &Answer, status: u16, code: &str) {
    answer.error(status);
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains(METADATA),
        "{challenge}"
    );
    assert!(challenge.contains(&format!("error=\"{code}\"")), "{challenge}");
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

#[tokio::test]
async fn without_a_token_the_challenge_names_no_error_and_leads_to_the_metadata() {
    let world = Running::start().await;
    let url = format!("{}/v1/chat/completions", world.url);
    for request in [
        world.http.post(&url),
        world.http.post(&url).header("authorization", "Basic YTpi"),
        world.http.post(&url).header("authorization", "Bearer "),
        world.http.post(format!("{url}?access_token={}", world.token())),
    ] {
        let answer = Answer::read(request.json(&chat("echo")).send().await.unwrap()).await;
        answer.error(401);
        assert_eq!(answer.header("www-authenticate"), format!("Bearer {METADATA}"));
    }
    let twice = world
        .http
        .post(&url)
        .bearer_auth(world.token())
        .bearer_auth(world.token())
        .json(&chat("echo"));
    is_challenged(&Answer::read(twice.send().await.unwrap()).await, 400, "invalid_request");
    let document = world.get("/.well-known/oauth-protected-resource", "").await.ok();
    assert_eq!(document["resource"], AUDIENCE);
    assert_eq!(document["authorization_servers"], json!([world.issuer.url]));
    let scopes: Vec<String> = oauth_wire::ai_scopes().collect();
    assert_eq!(document["scopes_supported"], json!(scopes));
}

#[tokio::test]
async fn tokens_that_are_no_good_are_refused() {
    let world = Running::start().await;
    let issuer = &world.issuer;
    assert_eq!(world.chat("echo").await.status, 200);
    let kid = issuer.key().kid().to_owned();
    let good = world.token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let hs256 = {
        let text = unsigned(&json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}), &issuer.claims());
        let public = serde_json::to_vec(&issuer.key().public_jwk()).unwrap();
        let key = PKey::hmac(&public).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        signer.update(text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signer.sign_to_vec().unwrap()))
    };
    let none = unsigned(&json!({"alg": "none", "typ": "at+jwt", "kid": kid}), &issuer.claims());
    let foreign = StubIssuer::start().await;
    let tokens = [
        ("garbage", "garbage".to_owned()),
        ("three dots", "a.b.c".to_owned()),
        ("expired", issuer.token(&json!({"exp": now() - 60, "iat": now() - 600}))),
        ("not yet", issuer.token(&json!({"nbf": now() + 60}))),
        ("foreign issuer", foreign.token(&json!({"iss": issuer.url}))),
        ("another issuer's name", issuer.token(&json!({"iss": foreign.url}))),
        ("wrong audience", issuer.token(&json!({"aud": ["https://other.test"]}))),
        ("no audience", issuer.token(&json!({"aud": null}))),
        ("ID token", issuer.sign("JWT", &issuer.claims())),
        ("event token", issuer.sign("secevent+jwt", &issuer.claims())),
        ("alg none", format!("{none}.")),
        ("alg none with a signature", format!("{none}.{signature}")),
        ("HS256 with the public key", hs256),
        ("no signature", format!("{signed}.")),
        (
            "other claims",
            format!(
                "{}.{signature}",
                unsigned(
                    &json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}),
                    &issuer.token(&json!({"sub": "eve"})).into()
                )
            ),
        ),
        (
            "a forger's key",
            es256().sign("at+jwt", issuer.claims().to_string().as_bytes()).unwrap(),
        ),
        ("huge", "a".repeat(20_000)),
    ];
    for (name, token) in tokens {
        // Twice: what is remembered of the first time must not change the second.
        for _ in 0..2 {
            let answer = world.chat_as(&token, "echo").await;
            assert_eq!(answer.status, 401, "{name}: {}", answer.body);
            is_challenged(&answer, 401, "invalid_token");
            assert!(!answer.body.contains(&token), "{name}");
        }
    }
    assert!(world.gateway.journal.finish(Duration::from_secs(3)).await);
}

#[tokio::test]
async fn a_token_dies_when_it_expires_although_it_is_remembered() {
    let world = Running::start_with(StubIssuer::start().await, |config| config.auth.leeway_s = 0).await;
    let token = world.issuer.token(&json!({"exp": now() + 2}));
    assert_eq!(world.chat_as(&token, "echo").await.status, 200);
    world
        .until("it has expired", async || {
            world.chat_as(&token, "echo").await.status == 401
        })
        .await;
    assert!(now() >= 2);
}

#[tokio::test]
async fn scopes_and_granted_interfaces_are_enforced() {
    let world = Running::start().await;
    for (claims, path, model, scope) in [
        (json!({"scope": "openid"}), "/v1/chat/completions", "echo", "ai:chat"),
        (
            json!({"scope": "ai:embeddings"}),
            "/v1/chat/completions",
            "echo",
            "ai:chat",
        ),
        (json!({"scope": "ai:chat"}), "/v1/embeddings", "embed", "ai:embeddings"),
        (
            json!({"scope": "ai:chat:echo"}),
            "/v1/chat/completions",
            "ruled",
            "ai:chat:ruled",
        ),
        (json!({"scope": null}), "/ai/invoke/chat_completion", "echo", "ai:chat"),
    ] {
        let mut body = chat(model);
        body["input"] = "x".into();
        let answer = world.post(path, &world.issuer.token(&claims), &body).await;
        is_challenged(&answer, 403, "insufficient_scope");
        assert!(
            answer
                .header("www-authenticate")
                .contains(&format!("scope=\"{scope}\"")),
            "{claims}"
        );
    }
    assert_eq!(
        world
            .chat_as(&world.issuer.token(&json!({"scope": "ai:chat:echo"})), "echo")
            .await
            .status,
        200
    );
    let limited = world.issuer.token(&json!({"ai_interfaces": ["echo"]}));
    assert_eq!(world.chat_as(&limited, "echo").await.status, 200);
    let refused = world.chat_as(&limited, "ruled").await;
    assert_eq!(refused.error(403)["code"], "interface_not_granted");
    assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
    let silent = world.chat_as(&limited, "silent").await;
    silent.error(403);
    assert!(
        world.usage_rows(silent.request_id()).await.is_empty(),
        "the interface keeps no rows of refused calls"
    );
    // Nobody without a scope learns which models there are.
    let stranger = world.issuer.token(&json!({"scope": "openid"}));
    assert_eq!(world.chat_as(&stranger, "no-such").await.status, 403);
}

fn ai_call(interfaces: &[&str], end: Option<i64>) -> Value {
    let mut call = json!({"type": "ai_call", "interfaces": interfaces});
    if let Some(end) = end {
        call["expires_at"] = end.into();
    }
    call
}

#[tokio::test]
async fn authorization_details_narrow_a_token_to_the_interfaces_that_they_name() {
    let world = Running::start().await;
    let token = |details: Value| world.issuer.token(&json!({"authorization_details": details}));
    let cost = json!({"type": "ai_call", "interfaces": ["echo"], "max_cost": {"amount": "5.00", "currency": "EUR"}});
    let payment = json!({"type": "payment", "amount": 5});
    for details in [
        json!([ai_call(&["echo"], None)]),
        json!([ai_call(&["other"], None), ai_call(&["echo"], Some(now() + 60))]),
        json!([cost]),
        json!([payment, cost]),
    ] {
        let token = token(details.clone());
        assert_eq!(world.chat_as(&token, "echo").await.status, 200, "{details}");
        let refused = world.chat_as(&token, "ruled").await;
        assert_eq!(refused.error(403)["code"], "authorization_details_denied", "{details}");
        is_challenged(&refused, 403, "insufficient_scope");
        assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
    }
    for details in [
        json!([]),
        json!([payment]),
        json!([ai_call(&[], None)]),
        json!([ai_call(&["echo"], Some(now() - 1))]),
    ] {
        let refused = world.chat_as(&token(details.clone()), "echo").await;
        assert_eq!(refused.error(403)["code"], "authorization_details_denied", "{details}");
    }
    for malformed in [
        json!({}),
        json!("all"),
        json!(["ai_call"]),
        json!([{"type": "ai_call"}]),
        json!([{"type": "ai_call", "interfaces": "echo"}]),
        json!([{"type": "ai_call", "interfaces": ["echo"], "unless": "Sunday"}]),
    ] {
        let answer = world.chat_as(&token(malformed.clone()), "echo").await;
        assert_eq!(answer.status, 401, "{malformed}");
        is_challenged(&answer, 401, "invalid_token");
    }
    // Scopes go on to be needed.
    let scopeless = json!({"scope": "openid", "authorization_details": [ai_call(&["echo"], None)]});
    let refused = world.chat_as(&world.issuer.token(&scopeless), "echo").await;
    assert_eq!(refused.error(403)["code"], "insufficient_scope");
}

#[tokio::test]
async fn details_end_on_time_although_the_token_is_remembered() {
    let world = Running::start().await;
    let details = json!([ai_call(&["echo"], Some(now() + 2)), ai_call(&["ruled"], None)]);
    let token = world.issuer.token(&json!({"authorization_details": details}));
    assert_eq!(world.chat_as(&token, "echo").await.status, 200);
    world
        .until("its details have ended", async || {
            let answer = world.chat_as(&token, "echo").await;
            answer.status == 403 && answer.body.contains("authorization_details_denied")
        })
        .await;
    let list = world.get("/v1/models", &token).await.ok();
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(names, ["ruled"], "the rest of the token lives on");
    assert_eq!(
        world.get("/v1/models/echo", &token).await.error(404)["code"],
        "model_not_found"
    );
}

#[tokio::test]
async fn models_are_those_that_the_caller_may_use() {
    let world = Running::start().await;
    let names = async |claims: Value| {
        let list = world.get("/v1/models", &world.issuer.token(&claims)).await.ok();
        assert_eq!(list["object"], "list");
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(names(json!({})).await.len() > 20);
    assert!(!names(json!({})).await.contains(&"off".to_owned()));
    assert_eq!(
        names(json!({"scope": "ai:embeddings"})).await,
        ["embed", "sandbox-embed"]
    );
    assert_eq!(names(json!({"ai_interfaces": ["echo", "off"]})).await, ["echo"]);
    assert_eq!(names(json!({"scope": "openid"})).await, [""; 0]);
    assert_eq!(world.get("/v1/models/echo", &world.token()).await.ok()["id"], "echo");
    for hidden in ["off", "no-such", "a/b"] {
        assert_eq!(
            world
                .get(&format!("/v1/models/{hidden}"), &world.token())
                .await
                .error(404)["code"],
            "model_not_found"
        );
    }
    assert_eq!(world.get("/v1/models", "garbage").await.status, 401);
}

#[tokio::test]
async fn every_kind_of_revocation_ends_a_remembered_token_while_the_poll_waits() {
    let world = Running::start().await;
    let cases = [
        (Revoked::Token { jti: "g1.a".into() }, json!({"jti": "g1.a"})),
        (Revoked::Grant { grant: "g2".into() }, json!({"jti": "g2.a"})),
        (Revoked::Session { sid: "s3".into() }, json!({"sid": "s3"})),
        (
            Revoked::Subject {
                sub: "u4".into(),
                before: now() + 1,
            },
            json!({"sub": "u4"}),
        ),
        (
            Revoked::Client {
                client_id: "c5".into(),
                before: now() + 1,
            },
            json!({"client_id": "c5"}),
        ),
        // Of a client whose token this one was made of (RFC 8693).
        (
            Revoked::Client {
                client_id: "c6".into(),
                before: now() + 1,
            },
            json!({"client_id": "c7", "via": ["c6"], "act": {"sub": "c7", "client_id": "c7"}}),
        ),
        // Of a person who acts for another, and of one who did before a service took over.
        (
            Revoked::Subject {
                sub: "u8".into(),
                before: now() + 1,
            },
            json!({"act": {"sub": "u8", "client_id": "c8"}}),
        ),
        (
            Revoked::Subject {
                sub: "u9".into(),
                before: now() + 1,
            },
            json!({"act": {"sub": "c9", "client_id": "c9", "act": {"sub": "u9", "client_id": "c8"}}}),
        ),
    ];
    for (revoked, claims) in cases {
        let token = world.issuer.token(&claims);
        assert_eq!(world.chat_as(&token, "echo").await.status, 200, "{revoked:?}");
        world.issuer.revoke(revoked.clone());
        world
            .until("it is refused", async || {
                world.chat_as(&token, "echo").await.status == 401
            })
            .await;
        is_challenged(&world.chat_as(&token, "echo").await, 401, "invalid_token");
    }
    assert_eq!(world.chat("echo").await.status, 200, "others live");
    world
        .until("all is acknowledged", async || world.issuer.unacknowledged() == 0)
        .await;
}

#[tokio::test]
async fn events_that_the_provider_did_not_sign_revoke_nothing() {
    let world = Running::start().await;
    let token = world.token();
    let claims = json!({"iss": world.issuer.url, "jti": "e", "events": {"https://schemas.hexgate.dev/events/token-revoked": {"exp_hint": now() + 600}},
        "sub_id": {"format": "jwt_id", "iss": world.issuer.url, "jti": "grant-1.token-1"}});
    // The right claims under a type that is not an event's.
    world.issuer.publish_raw("e", world.issuer.sign("at+jwt", &claims));
    world
        .until("it is acknowledged", async || world.issuer.unacknowledged() == 0)
        .await;
    assert_eq!(world.chat_as(&token, "echo").await.status, 200);
    // A forger's signature revokes nothing either, and does not keep the events after it away.
    let forged = es256().sign("secevent+jwt", claims.to_string().as_bytes()).unwrap();
    world.issuer.publish_raw("a-forged-one", forged);
    assert_eq!(world.chat_as(&token, "echo").await.status, 200);
    world.issuer.revoke(Revoked::Session {
        sid: "session-1".into(),
    });
    world
        .until("the event behind it arrives", async || {
            world.chat_as(&token, "echo").await.status == 401
        })
        .await;
    world
        .until("the forged one is passed over", async || {
            world.issuer.unacknowledged() == 0
        })
        .await;
    // All events were looked at, and a token that only those two were about is good.
    let elsewhere = world.issuer.token(&json!({"sid": "session-2"}));
    assert_eq!(world.chat_as(&elsewhere, "echo").await.status, 200);
}

#[tokio::test]
async fn nobody_is_served_before_all_revocations_have_come() {
    let issuer = StubIssuer::start().await;
    for jti in ["g1.a", "g2.a"] {
        issuer.revoke(Revoked::Token { jti: jti.into() });
    }
    issuer.hold_feed();
    let world = Running::start_unready(issuer, |_| {}).await;
    let waits = async || {
        world
            .gateway
            .ready()
            .is_err_and(|reason| reason.contains("revocations"))
    };
    world.until("the keys are there", waits).await;
    let revoked = world.issuer.token(&json!({"jti": "g2.a"}));
    let early = world.chat_as(&revoked, "echo").await;
    assert_eq!(early.error(503)["code"], "not_ready");
    assert_eq!(early.header("retry-after"), "1");
    // The first answer brings one of two events, and says that there is more.
    let asked = async |polls| {
        world
            .until("it asks", async || world.issuer.polls_seen() == polls)
            .await;
    };
    asked(1).await;
    world.issuer.answer_polls(1);
    asked(2).await;
    assert!(waits().await);
    world.chat_as(&revoked, "echo").await.error(503);
    world.issuer.answer_polls(1000);
    world
        .until("it is refused", async || {
            let status = world.chat_as(&revoked, "echo").await.status;
            assert_ne!(status, 200);
            status == 401
        })
        .await;
    assert_eq!(world.chat("echo").await.status, 200);
}

#[tokio::test]
async fn a_feed_that_refuses_us_stops_nothing() {
    let issuer = StubIssuer::start().await;
    issuer.refuse_feed(StatusCode::UNAUTHORIZED);
    let world = Running::start_with(issuer, |_| {}).await;
    assert_eq!(world.chat("echo").await.status, 200);
    world.issuer.revoke(Revoked::Token {
        jti: "grant-1.token-1".into(),
    });
    world.issuer.refuse_feed(StatusCode::OK);
    world
        .until("the feed recovers", async || world.chat("echo").await.status == 401)
        .await;
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_a_flood_of_unknown_ones_asks_once() {
    let world = Running::start().await;
    assert_eq!(world.chat("echo").await.status, 200);
    // The cooldown since the first load must have passed.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let before = world.issuer.jwks_fetches();
    world.issuer.rotate();
    let token = world.token();
    let answers = futures_util::future::join_all((0..20).map(|_| world.chat_as(&token, "echo"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.issuer.jwks_fetches(), before + 1);
    let flood = (0..20).map(|_| {
        es256()
            .sign("at+jwt", world.issuer.claims().to_string().as_bytes())
            .unwrap()
    });
    let tokens: Vec<_> = flood.collect();
    let answers = futures_util::future::join_all(tokens.iter().map(|token| world.chat_as(token, "echo"))).await;
    assert!(answers.iter().all(|answer| answer.status == 401));
    assert!(world.issuer.jwks_fetches() <= before + 2);
}

#[tokio::test]
async fn a_withdrawn_key_ends_tokens_that_are_remembered() {
    let world = Running::start_with(StubIssuer::start().await, |config| config.auth.jwks_refresh_s = 1).await;
    let token = world.token();
    assert_eq!(world.chat_as(&token, "echo").await.status, 200);
    world.issuer.rotate();
    world.issuer.withdraw_oldest();
    world
        .until("the token is refused", async || {
            world.chat_as(&token, "echo").await.status == 401
        })
        .await;
    assert_eq!(world.chat("echo").await.status, 200);
}

#[tokio::test]
async fn the_gateway_starts_before_its_provider() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let issuer = StubIssuer::start().await.renamed(&format!("http://{address}"));
    let world = Running::start_unready(issuer, |_| {}).await;
    assert!(world.gateway.ready().unwrap_err().contains("keys"));
    let early = world.chat("echo").await;
    assert_eq!(early.error(503)["code"], "not_ready");
    assert_eq!(early.header("retry-after"), "1");
    let late = StubIssuer::start_on(tokio::net::TcpListener::bind(address).await.unwrap());
    world.until("it is ready", async || world.gateway.ready().is_ok()).await;
    assert_eq!(world.chat_as(&late.token(&json!({})), "echo").await.status, 200);
    world.stop().await;
}

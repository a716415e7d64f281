//! Answers that are given again: from an interface's cache, and to a caller that repeats its own request.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock};
use test_kit::FixedClock;

use crate::{
    admin::{get, put},
    running::{Answer, Running, chat},
    signed_calls::{CHAT, settings},
    stub_issuer::StubIssuer,
};

async fn cached(more: &[(&str, Value)]) -> Running {
    let world = Running::start().await;
    configure(&world, "cached", "echo", more).await;
    world
}

/// The same, with a clock that stands still.
async fn still_cached(more: &[(&str, Value)]) -> (Arc<FixedClock>, Running) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), "", |_| {}).await;
    configure(&world, "cached", "echo", more).await;
    (clock, world)
}

/// Makes an interface that is cached for a minute.
async fn configure(world: &Running, name: &str, model: &str, more: &[(&str, Value)]) {
    let mut form = json!({"capability": "chat", "routes": [{"vendor": "stub", "model": model}], "cache_ttl_s": 60});
    for (member, value) in more {
        form[*member] = value.clone();
    }
    let answer = put(world, &format!("/v1/interfaces/{name}"), &form).await;
    assert!(answer.status < 300, "{}", answer.body);
}

fn streamed(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = true.into();
    body
}

async fn ask(world: &Running, token: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let request = world.request(CHAT, token, body);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    Answer::read(request.send().await.unwrap()).await
}

/// Asks and says what the cache did.
async fn told(world: &Running, body: &Value, headers: &[(&str, &str)]) -> String {
    let answer = ask(world, &world.token(), body, headers).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-hexgate-cache").to_owned()
}

#[tokio::test]
async fn the_same_question_has_the_same_answer_and_costs_nothing() {
    let world = cached(&[]).await;
    for body in [chat("cached"), streamed("cached")] {
        let first = ask(&world, &world.token(), &body, &[]).await;
        assert_eq!((first.status, first.header("x-hexgate-cache")), (200, "miss"));
        assert!(!first.headers.contains_key("age"));
        let again = ask(&world, &world.token(), &body, &[]).await;
        assert_eq!((again.status, again.header("x-hexgate-cache")), (200, "hit"));
        assert_eq!(again.header("age"), "0");
        assert_eq!(again.body, first.body);
        for header in ["content-type", "cache-control"] {
            assert_eq!(again.header(header), first.header(header));
        }
        // Each request has a row of its own; the second asked nobody.
        let (paid, free) = (
            world.usage(first.request_id()).await,
            world.usage(again.request_id()).await,
        );
        assert_eq!((paid.attempts, paid.input, paid.output), (1, 11, 22));
        assert_eq!((free.attempts, free.input, free.output), (0, 0, 0));
        assert_eq!((free.state.as_str(), free.estimated), ("completed", false));
        assert_eq!(free.stream, paid.stream);
    }
}

#[tokio::test]
async fn another_question_is_another() {
    let world = cached(&[]).await;
    let plain = chat("cached");
    assert_eq!(told(&world, &plain, &[]).await, "miss");
    // A plain answer is no stream.
    assert_eq!(told(&world, &streamed("cached"), &[]).await, "miss");
    let mut with_usage = streamed("cached");
    with_usage["stream_options"] = json!({"include_usage": true});
    assert_eq!(told(&world, &with_usage, &[]).await, "miss");
    let mut warmer = chat("cached");
    warmer["temperature"] = 0.5.into();
    assert_eq!(told(&world, &warmer, &[]).await, "miss");
    for body in [plain, streamed("cached"), with_usage, warmer] {
        assert_eq!(told(&world, &body, &[]).await, "hit");
    }
    // An interface without a cache says nothing of one.
    assert_eq!(told(&world, &chat("echo"), &[]).await, "");
    assert_eq!(told(&world, &chat("echo"), &[]).await, "");
}

#[tokio::test]
async fn a_usage_chunk_is_for_those_who_asked_for_it() {
    let force = json!([{"name": "/stream_options/include_usage", "value": true, "allow_override": false}]);
    let world = cached(&[("fields", force)]).await;
    let mut asking = streamed("cached");
    asking["stream_options"] = json!({"include_usage": true});
    let with = ask(&world, &world.token(), &asking, &[]).await;
    let without = ask(&world, &world.token(), &streamed("cached"), &[]).await;
    assert_eq!(without.header("x-hexgate-cache"), "miss");
    assert!(
        with.body.contains("\"usage\"") && !without.body.contains("\"total_tokens\""),
        "{}",
        without.body
    );
}

#[tokio::test]
async fn an_answer_is_for_one_tenant() {
    let world = cached(&[]).await;
    let body = chat("cached");
    let of = async |claims: Value| {
        let answer = ask(&world, &world.issuer.token(&claims), &body, &[]).await;
        answer.header("x-hexgate-cache").to_owned()
    };
    assert_eq!(of(json!({"tenant": "t1"})).await, "miss");
    assert_eq!(of(json!({"tenant": "t2"})).await, "miss");
    assert_eq!(of(json!({"tenant": null})).await, "miss");
    assert_eq!(of(json!({"tenant": ""})).await, "miss");
    assert_eq!(
        of(json!({"tenant": "t1", "sub": "bob", "client_id": "other"})).await,
        "hit"
    );
    // Who may not use the interface does not get its answers either.
    let stranger = world.issuer.token(&json!({"tenant": "t1", "ai_interfaces": ["echo"]}));
    ask(&world, &stranger, &body, &[]).await.error(403);
}

#[tokio::test]
async fn a_caller_may_want_no_kept_answer() {
    let (clock, world) = still_cached(&[]).await;
    let body = chat("cached");
    let only = ask(&world, &world.token(), &body, &[("cache-control", "only-if-cached")]).await;
    assert_eq!(only.error(504)["code"], "not_cached");
    assert_eq!(told(&world, &body, &[("cache-control", "no-store")]).await, "bypass");
    assert_eq!(told(&world, &body, &[]).await, "miss", "no-store keeps nothing");
    for (wish, wanted) in [
        ("no-store", "bypass"),
        ("no-cache", "bypass"),
        ("max-age=60", "hit"),
        ("only-if-cached", "hit"),
        ("min-fresh=61", "miss"),
        ("min-fresh=1, max-stale", "hit"),
    ] {
        assert_eq!(told(&world, &body, &[("cache-control", wish)]).await, wanted, "{wish}");
    }
    assert_eq!(told(&world, &body, &[("pragma", "no-cache")]).await, "bypass");
    clock.advance(Duration::from_secs(1));
    assert_eq!(told(&world, &body, &[("cache-control", "max-age=0")]).await, "miss");
    // The answer to whoever wanted a fresh one is the one that is kept now.
    let answer = ask(&world, &world.token(), &body, &[]).await;
    assert_eq!((answer.header("x-hexgate-cache"), answer.header("age")), ("hit", "0"));
}

#[tokio::test]
async fn a_change_of_the_row_or_of_its_vendor_forgets_the_answers_and_no_other_change_does() {
    let world = cached(&[]).await;
    let vendor = json!({"strategy": "openai", "base_url": world.vendor.url});
    assert_eq!(put(&world, "/v1/vendors/second", &vendor).await.status, 201);
    let routes = json!([{"vendor": "second", "model": "echo"}]);
    configure(&world, "cached", "echo", &[("routes", routes.clone())]).await;
    let body = chat("cached");
    assert_eq!(told(&world, &body, &[]).await, "miss");
    configure(&world, "another", "echo", &[]).await;
    assert_eq!(told(&world, &body, &[]).await, "hit");
    configure(
        &world,
        "cached",
        "echo",
        &[("routes", routes), ("max_attempts", json!(2))],
    )
    .await;
    assert_eq!(told(&world, &body, &[]).await, "miss");
    assert_eq!(told(&world, &body, &[]).await, "hit");
    let moved = json!({"strategy": "openai", "base_url": world.vendor.url, "secret_key": "another-key-0123456789"});
    put(&world, "/v1/vendors/second", &moved).await.ok();
    assert_eq!(told(&world, &body, &[]).await, "miss");
    let read = get(&world, "/v1/interfaces/cached").await.ok();
    assert_eq!(read["cache_ttl_s"], 60);
}

#[tokio::test]
async fn an_answer_grows_old() {
    let (clock, world) = still_cached(&[("cache_ttl_s", json!(7))]).await;
    assert_eq!(told(&world, &chat("cached"), &[]).await, "miss");
    for age in ["0", "3", "6"] {
        let kept = ask(&world, &world.token(), &chat("cached"), &[]).await;
        assert_eq!((kept.header("x-hexgate-cache"), kept.header("age")), ("hit", age));
        clock.advance(Duration::from_secs(3));
    }
    assert_eq!(told(&world, &chat("cached"), &[]).await, "miss");
    clock.advance(Duration::from_millis(6999));
    assert_eq!(told(&world, &chat("cached"), &[]).await, "hit");
    clock.advance(Duration::from_millis(1));
    assert_eq!(told(&world, &chat("cached"), &[]).await, "miss");
}

#[tokio::test]
async fn what_is_no_complete_answer_is_not_kept() {
    let world = Running::start().await;
    for model in ["status-500", "cut", "truncated", "in-band", "malformed", "html-200"] {
        configure(&world, "cached", model, &[("max_attempts", json!(1))]).await;
        for body in [chat("cached"), streamed("cached")] {
            for _ in 0..2 {
                let answer = ask(&world, &world.token(), &body, &[]).await;
                if answer.status == 200 && body["stream"].is_null() {
                    // A plain answer of these models that is whole may be kept.
                    break;
                }
                assert_eq!(answer.header("x-hexgate-cache"), "miss", "{model} {body}");
            }
        }
    }
    // Nor is an answer whose caller left before its end.
    configure(&world, "cached", "slow", &[]).await;
    let reply = world
        .request(CHAT, &world.token(), &streamed("cached"))
        .send()
        .await
        .unwrap();
    drop(reply);
    assert_eq!(told(&world, &chat("cached"), &[]).await, "miss");
    let again = world
        .request(CHAT, &world.token(), &streamed("cached"))
        .send()
        .await
        .unwrap();
    assert_eq!(again.headers()["x-hexgate-cache"], "miss");
}

#[tokio::test]
async fn limits_count_kept_answers_too() {
    let world = cached(&[("limits", json!({"requests_per_minute": 2}))]).await;
    assert_eq!(told(&world, &chat("cached"), &[]).await, "miss");
    assert_eq!(told(&world, &chat("cached"), &[]).await, "hit");
    let third = ask(&world, &world.token(), &chat("cached"), &[]).await;
    assert_eq!(third.error(429)["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_long_answer_is_not_kept() {
    let issuer = StubIssuer::start().await;
    let world = Running::start_with(issuer, |config| config.cache.max_bytes = 1024 * 1024).await;
    // 500 chunks are more than an eighth of that; the first few of them are not.
    configure(&world, "cached", "slow", &[]).await;
    let body = streamed("cached");
    for _ in 0..2 {
        let mut reply = world.request(CHAT, &world.token(), &body).send().await.unwrap();
        assert_eq!(reply.headers()["x-hexgate-cache"], "miss");
        assert!(reply.chunk().await.unwrap().is_some());
    }
}

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_is_counted_once() {
    let world = Running::start().await;
    for (key, body) in [("plain", chat("echo")), ("stream", streamed("echo"))] {
        let first = ask(&world, &world.token(), &body, &[(KEY, key)]).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
        let quoted = format!("\"{key}\"");
        for key in [key, &quoted] {
            let again = ask(&world, &world.token(), &body, &[(KEY, key)]).await;
            assert_eq!(
                (again.status, again.header("idempotent-replayed")),
                (200, "true"),
                "{}",
                again.body
            );
            assert_eq!(again.body, first.body);
            assert_eq!(again.header("content-type"), first.header("content-type"));
            assert_eq!(again.header("idempotent-request-id"), first.request_id());
            assert_ne!(again.request_id(), first.request_id());
            assert!(world.usage_rows(again.request_id()).await.is_empty());
        }
        assert_eq!(world.usage(first.request_id()).await.attempts, 1);
    }
    assert_eq!(world.usage_rows("").await.len(), 2);
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_caller() {
    let world = Running::start().await;
    ask(&world, &world.token(), &chat("echo"), &[(KEY, "k")]).await.ok();
    let mut other = chat("echo");
    other["temperature"] = 1.into();
    for body in [&other, &streamed("echo")] {
        let answer = ask(&world, &world.token(), body, &[(KEY, "k")]).await;
        assert_eq!(answer.error(422)["code"], "idempotency_key_reused");
    }
    for claims in [
        json!({"sub": "bob"}),
        json!({"client_id": "other"}),
        json!({"tenant": "t2"}),
    ] {
        let token = world.issuer.token(&claims);
        let answer = ask(&world, &token, &chat("echo"), &[(KEY, "k")]).await;
        assert_eq!(
            (answer.status, answer.header("idempotent-replayed")),
            (200, ""),
            "{claims}"
        );
    }
    // The same by another name is the same.
    let url = format!("{}/ai/invoke/chat_completion", world.url);
    let request = world.http.post(url).bearer_auth(world.token()).header(KEY, "k");
    let answer = Answer::read(request.json(&chat("echo")).send().await.unwrap()).await;
    assert_eq!(answer.header("idempotent-replayed"), "true");
    // Who lost the right to the interface does not get the answer either.
    let narrowed = world.issuer.token(&json!({"ai_interfaces": ["sandbox"]}));
    ask(&world, &narrowed, &chat("echo"), &[(KEY, "k")]).await.error(403);
}

#[tokio::test]
async fn while_a_request_is_under_way_its_double_is_told_to_wait() {
    let world = Running::start().await;
    configure(&world, "held", "held", &[("cache_ttl_s", json!(0))]).await;
    let token = world.token();
    let body = chat("held");
    let first = ask(&world, &token, &body, &[(KEY, "k")]);
    let second = async {
        world
            .until("the first is under way", async || world.vendor.calls_seen() > 0)
            .await;
        let double = ask(&world, &token, &body, &[(KEY, "k")]).await;
        let another = ask(&world, &token, &chat("echo"), &[(KEY, "k")]).await;
        world.vendor.release();
        (double, another)
    };
    let (first, (double, another)) = tokio::join!(first, second);
    assert_eq!(double.error(409)["code"], "idempotency_key_in_use");
    assert_eq!(double.header("retry-after"), "1");
    assert_eq!(another.error(422)["code"], "idempotency_key_reused");
    first.ok();
    let again = ask(&world, &token, &body, &[(KEY, "k")]).await;
    assert_eq!(
        (again.body.as_str(), again.header("idempotent-replayed")),
        (first.body.as_str(), "true")
    );
}

#[tokio::test]
async fn a_request_without_a_complete_answer_gives_its_key_back() {
    let world = Running::start().await;
    for model in ["status-500", "closed", "cut", "nothing"] {
        for _ in 0..2 {
            let answer = ask(&world, &world.token(), &chat(model), &[(KEY, model)]).await;
            assert!(answer.status >= 400 && answer.status != 409, "{model}: {}", answer.body);
            assert_eq!(answer.header("idempotent-replayed"), "", "{model}");
        }
        // So it may be tried with something that works.
        let mended = ask(&world, &world.token(), &chat("echo"), &[(KEY, model)]).await;
        assert_eq!(
            (mended.status, mended.header("idempotent-replayed")),
            (200, ""),
            "{model}"
        );
    }
    // A caller that leaves may come back.
    let stream = world
        .request(CHAT, &world.token(), &streamed("slow"))
        .header(KEY, "left");
    drop(stream.send().await.unwrap());
    world
        .until("the key is free", async || {
            let reply = world
                .request(CHAT, &world.token(), &streamed("slow"))
                .header(KEY, "left");
            reply.send().await.unwrap().status() == 200
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused() {
    let world = Running::start().await;
    let long = "k".repeat(256);
    for key in ["", "a b", "\"\"", &long] {
        let answer = ask(&world, &world.token(), &chat("echo"), &[(KEY, key)]).await;
        assert_eq!(answer.error(400)["code"], "invalid_idempotency_key", "{key}");
    }
    let twice = ask(&world, &world.token(), &chat("echo"), &[(KEY, "a"), (KEY, "a")]).await;
    assert_eq!(twice.error(400)["code"], "invalid_idempotency_key");
}

#[tokio::test]
async fn a_kept_answer_is_what_its_key_stands_for() {
    let world = cached(&[]).await;
    let body = chat("cached");
    assert_eq!(told(&world, &body, &[]).await, "miss");
    let hit = ask(&world, &world.token(), &body, &[(KEY, "k")]).await;
    assert_eq!(hit.header("x-hexgate-cache"), "hit");
    let again = ask(
        &world,
        &world.token(),
        &body,
        &[(KEY, "k"), ("cache-control", "no-store")],
    )
    .await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("idempotent-request-id"), hit.request_id());
}

#[tokio::test]
async fn a_signed_request_is_repeated_under_a_new_signature() {
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    let send = async || {
        let draft = world.draft("echo");
        let mut headers = draft.headers(&holder);
        headers.insert(KEY.to_owned(), "k".to_owned());
        world.send(&draft, &headers).await
    };
    let (first, again) = (send().await, send().await);
    first.ok();
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(world.usage(first.request_id()).await.state, "completed");
}

//! Limits, as callers meet them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use service_kit::{Clock as _, SystemClock};
use test_kit::{FixedClock, redis::RedisServer};

use crate::running::{Answer, Running, chat};

/// An interface for each pair of a name and its limits.
pub(crate) fn interfaces(entries: &[(&str, &str, &str)]) -> String {
    let entry = |(name, model, limits): &(&str, &str, &str)| {
        format!(
            "[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"stub\", model = \"{model}\" }}]\n\
             limits = {{ {limits} }}\n"
        )
    };
    entries.iter().map(entry).collect()
}

async fn still_world(entries: &[(&str, &str, &str)]) -> (Arc<FixedClock>, Running) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), &interfaces(entries), |_| {}).await;
    (clock, world)
}

/// The headers that tell of requests or of tokens.
fn told(answer: &Answer, kind: &str) -> (String, String, String) {
    let of = |what: &str| answer.header(&format!("x-ratelimit-{what}-{kind}")).to_owned();
    (of("limit"), of("remaining"), of("reset"))
}

fn three(limit: &str, remaining: &str, reset: &str) -> (String, String, String) {
    (limit.into(), remaining.into(), reset.into())
}

#[tokio::test]
async fn as_many_pass_as_the_limit_says_and_the_next_is_told_exactly_how_long_to_wait() {
    let (clock, world) = still_world(&[("ten", "echo", "requests_per_minute = 10")]).await;
    for used in 1..=10 {
        let answer = world.chat("ten").await;
        answer.ok();
        let (left, reset) = (10 - used, used * 6);
        let reset = if reset < 60 { format!("{reset}s") } else { "1m0s".into() };
        assert_eq!(told(&answer, "requests"), three("10", &left.to_string(), &reset));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), "");
    }
    let refused = world.chat("ten").await;
    let error = refused.error(429);
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("rate_limit_exceeded"), &json!("rate_limit_error"))
    );
    assert_eq!(
        (refused.header("retry-after"), refused.header("retry-after-ms")),
        ("6", "6000")
    );
    assert_eq!(told(&refused, "requests"), three("10", "0", "1m0s"));
    assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
    clock.advance(Duration::from_micros(5_999_990));
    let early = world.chat("ten").await;
    early.error(429);
    assert_eq!(
        (early.header("retry-after"), early.header("retry-after-ms")),
        ("1", "1")
    );
    clock.advance(Duration::from_micros(10));
    world.chat("ten").await.ok();
    world.chat("ten").await.error(429);
    clock.advance(Duration::from_secs(60));
    for _ in 0..10 {
        world.chat("ten").await.ok();
    }
    world.chat("ten").await.error(429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_at_once_get_exactly_the_limit_through() {
    let entries = [
        ("seventeen", "echo", "requests_per_second = 17"),
        ("both", "echo", "requests_per_second = 50, requests_per_minute = 23"),
    ];
    let (clock, world) = still_world(&entries).await;
    for (name, limit) in [("seventeen", 17), ("both", 23)] {
        for _window in 0..2 {
            let answers = join_all((0..64).map(|_| world.chat(name))).await;
            let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
            for answer in &answers {
                *counts.entry(answer.status).or_default() += 1;
            }
            assert_eq!(counts, BTreeMap::from([(200, limit), (429, 64 - limit)]), "{name}");
            clock.advance(Duration::from_secs(60));
        }
    }
}

#[tokio::test]
async fn tokens_are_reserved_by_estimate_and_settled_by_what_the_vendor_says() {
    let (_clock, world) = still_world(&[("tokens", "echo", "tokens_per_minute = 100")]).await;
    let estimate = world.chat("echo").await;
    assert_eq!(estimate.header("x-ratelimit-limit-tokens"), "");
    let mut body = chat("tokens");
    body["max_tokens"] = 40.into();
    let first = world.post("/v1/chat/completions", &world.token(), &body).await;
    first.ok();
    let (limit, remaining, _) = told(&first, "tokens");
    // Of the input there are some; of the output what was asked for.
    let reserved = 100 - remaining.parse::<u64>().unwrap();
    assert!(limit == "100" && (41..60).contains(&reserved), "{remaining}");
    // The vendor says 11 and 22, so that is what was used: 67 are left, and the next reserves as much as the first.
    let second = world.post("/v1/chat/completions", &world.token(), &body).await;
    second.ok();
    assert_eq!(told(&second, "tokens").1, (67 - reserved).to_string());
    // 34 are left: fewer than a reservation.
    let third = world.post("/v1/chat/completions", &world.token(), &body).await;
    let error = third.error(429);
    assert!(
        error["message"].as_str().unwrap().contains("100 tokens per minute"),
        "{error}"
    );
    assert_eq!(told(&third, "tokens").1, "34");
    let missing = u128::from(reserved - 34);
    assert_eq!(third.header("retry-after-ms"), (missing * 600).to_string());
    // What asks for less still fits, and a stream is settled like any other.
    assert_eq!(world.stream("tokens").await.status, 200);
    assert_eq!(told(&world.chat("tokens").await, "tokens").1, "1");
}

#[tokio::test]
async fn a_request_that_wants_more_tokens_than_the_limit_passes_when_nobody_else_does() {
    let (_clock, world) = still_world(&[("tokens", "echo", "tokens_per_minute = 100")]).await;
    let mut body = chat("tokens");
    body["max_completion_tokens"] = 100_000.into();
    body["n"] = 3.into();
    let answer = world.post("/v1/chat/completions", &world.token(), &body).await;
    answer.ok();
    assert_eq!(told(&answer, "tokens").1, "0");
    world
        .post("/v1/chat/completions", &world.token(), &body)
        .await
        .error(429);
}

#[tokio::test]
async fn tokens_of_calls_that_failed_come_back_and_their_requests_do_not() {
    let entry = (
        "failing",
        "status-500",
        "tokens_per_minute = 1000, requests_per_minute = 5",
    );
    let (_clock, world) = still_world(&[entry]).await;
    for left in [4, 3] {
        let answer = world.chat("failing").await;
        answer.error(502);
        assert_eq!(told(&answer, "requests").1, left.to_string());
        let reserved = 1000 - told(&answer, "tokens").1.parse::<u64>().unwrap();
        assert!(
            (1..20).contains(&reserved),
            "nothing is left of the one before: {reserved}"
        );
    }
}

#[tokio::test]
async fn a_refused_request_takes_nothing_from_its_other_limits() {
    let entry = ("two", "echo", "requests_per_second = 1, requests_per_minute = 3");
    let (clock, world) = still_world(&[entry]).await;
    world.chat("two").await.ok();
    for _ in 0..20 {
        world.chat("two").await.error(429);
    }
    for _ in 0..2 {
        clock.advance(Duration::from_secs(1));
        world.chat("two").await.ok();
    }
    clock.advance(Duration::from_secs(1));
    let refused = world.chat("two").await;
    assert!(
        refused.error(429)["message"]
            .as_str()
            .unwrap()
            .contains("3 requests per minute")
    );
}

#[tokio::test]
async fn a_slot_is_held_until_the_end_of_the_answer_however_it_ends() {
    let (_clock, world) = still_world(&[
        ("one", "hang", "concurrency = 1"),
        ("one-stream", "slow", "concurrency = 1"),
        ("one-echo", "echo", "concurrency = 1"),
        ("one-failing", "status-500", "concurrency = 1"),
    ])
    .await;
    for model in ["one", "one-stream"] {
        let mut body = chat(model);
        body["stream"] = (model == "one-stream").into();
        let first = world.request("/v1/chat/completions", &world.token(), &body);
        #[expect(clippy::disallowed_methods, reason = "the request is aborted below")]
        let first = tokio::spawn(async move {
            let response = first.send().await.unwrap();
            response.bytes().await
        });
        // The first holds the slot once another is refused.
        let mut refused = None;
        for _ in 0..200 {
            let probe = world.request("/v1/chat/completions", &world.token(), &body);
            match probe.timeout(Duration::from_millis(100)).send().await {
                Ok(response) if response.status() == 429 => {
                    refused = Some(Answer::read(response).await);
                    break;
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        let refused = refused.unwrap();
        assert!(
            refused.error(429)["message"]
                .as_str()
                .unwrap()
                .contains("1 requests at once")
        );
        assert_eq!(refused.header("retry-after"), "1");
        first.abort();
        world
            .until("the slot is free", async || {
                let probe = world.request("/v1/chat/completions", &world.token(), &body);
                // It hangs at the vendor instead of being refused.
                match probe.timeout(Duration::from_millis(100)).send().await {
                    Ok(response) => response.status() == 200,
                    Err(error) => error.is_timeout(),
                }
            })
            .await;
    }
    for _ in 0..3 {
        world.chat("one-echo").await.ok();
        assert_eq!(world.stream("one-echo").await.status, 200);
        world.chat("one-failing").await.error(502);
    }
}

#[tokio::test]
async fn limits_are_told_beside_every_answer_and_nowhere_else() {
    let limits = "requests_per_minute = 1000, tokens_per_minute = 100000, requests_per_second = 50";
    let (_clock, world) = still_world(&[
        ("told", "echo", limits),
        ("told-failing", "status-500", limits),
        ("told-cut", "cut", limits),
    ])
    .await;
    let stream = world.stream("told").await;
    assert_eq!(stream.status, 200);
    let failed = world.chat("told-failing").await;
    failed.error(502);
    for answer in [world.chat("told").await, stream, failed, world.stream("told-cut").await] {
        // The tightest of the two limits of requests.
        assert_eq!(told(&answer, "requests").0, "50", "{}", answer.status);
        assert_eq!(told(&answer, "tokens").0, "100000");
        assert!(told(&answer, "tokens").2.ends_with("ms"));
    }
    let silent = world.chat("echo").await;
    assert!(
        !silent
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-ratelimit"))
    );
}

#[tokio::test]
async fn in_shadow_mode_nothing_is_refused_and_what_would_be_is_told() {
    let entry = (
        "shadow",
        "echo",
        "requests_per_minute = 2, concurrency = 5, shadow = true",
    );
    let (clock, world) = still_world(&[entry]).await;
    for over in [false, false, true, true] {
        let answer = world.chat("shadow").await;
        answer.ok();
        let wanted = if over { "requests_per_minute" } else { "" };
        assert_eq!(answer.header("x-ratelimit-shadow"), wanted);
        assert_eq!(told(&answer, "requests"), three("", "", ""), "nobody is limited");
    }
    // What would have been refused would not have counted.
    clock.advance(Duration::from_secs(30));
    assert_eq!(world.chat("shadow").await.header("x-ratelimit-shadow"), "");
}

#[tokio::test]
async fn a_changed_limit_holds_for_the_next_request_and_forgets_nothing() {
    let (_clock, world) = still_world(&[("changing", "echo", "requests_per_minute = 2")]).await;
    let apply = async |limits: &str| {
        world.apply(&interfaces(&[("changing", "echo", limits)])).await;
    };
    for _ in 0..2 {
        world.chat("changing").await.ok();
    }
    world.chat("changing").await.error(429);
    apply("requests_per_minute = 5").await;
    for _ in 0..3 {
        world.chat("changing").await.ok();
    }
    world.chat("changing").await.error(429);
    apply("").await;
    for _ in 0..10 {
        world.chat("changing").await.ok();
    }
}

/// Two gateways that count together in a Redis of their own.
async fn together(redis: &RedisServer, limits: &str, local_share: f64) -> [Running; 2] {
    let start = async || {
        let document = interfaces(&[("shared", "echo", limits), ("patient-shared", "hang", limits)]);
        let world = Running::start_at(Arc::new(SystemClock), &document, |config| {
            config.redis.url = Some(redis.url());
            config.redis.timeout_ms = 1000;
            config.limits.local_share = local_share;
        })
        .await;
        world
            .until("Redis is there", async || {
                world.gateway.status()["limits"]["counted"] == "together"
            })
            .await;
        world
    };
    [start().await, start().await]
}

async fn statuses(worlds: &[Running], model: &str, count: usize) -> BTreeMap<u16, usize> {
    let calls = (0..count).map(|at| worlds[at % worlds.len()].chat(model));
    let mut counts = BTreeMap::new();
    for answer in join_all(calls).await {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_count_together_in_redis_and_alone_by_their_share_without_it() {
    let mut redis = RedisServer::start();
    let worlds = together(&redis, "requests_per_minute = 6", 0.5).await;
    let counts = statuses(&worlds, "shared", 64).await;
    assert_eq!(counts, BTreeMap::from([(200, 6), (429, 58)]));
    let refused = worlds[1].chat("shared").await;
    refused.error(429);
    assert_eq!(told(&refused, "requests").0, "6");
    redis.kill();
    // Half the limit each, and the first that finds Redis gone waits no longer than the bound.
    let counts = statuses(&worlds[..1], "shared", 32).await;
    assert_eq!(counts, BTreeMap::from([(200, 3), (429, 29)]));
    let counts = statuses(&worlds[1..], "shared", 32).await;
    assert_eq!(counts, BTreeMap::from([(200, 3), (429, 29)]));
    assert_eq!(told(&worlds[0].chat("shared").await, "requests").0, "3");
    for world in &worlds {
        let status = &world.gateway.status()["limits"];
        assert_eq!(
            (&status["counted"], &status["shared"]["local_share"]),
            (&json!("alone"), &json!(0.5))
        );
        assert!(status["shared"]["error"].is_string(), "{status}");
    }
    redis.restart();
    for world in &worlds {
        world
            .until("Redis is back", async || {
                world.gateway.status()["limits"]["counted"] == "together"
            })
            .await;
    }
    let counts = statuses(&worlds, "shared", 64).await;
    assert_eq!(counts, BTreeMap::from([(200, 6), (429, 58)]), "it came up empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_and_tokens_are_given_back_on_every_gateway() {
    let redis = RedisServer::start();
    let worlds = together(&redis, "concurrency = 1, tokens_per_minute = 1000", 1.0).await;
    for round in 0..4 {
        let world = &worlds[round % 2];
        world
            .until("the slot of the call before is free", async || match round {
                0 | 1 => world.chat("shared").await.status == 200,
                _ => world.stream("shared").await.status == 200,
            })
            .await;
    }
    // Four calls of 33 tokens; next to none came back in the meantime.
    let left = async || {
        let answer = worlds[0].chat("shared").await;
        (answer.status == 200).then(|| told(&answer, "tokens").1.parse::<u64>().unwrap())
    };
    worlds[0]
        .until("the vendor's counts are taken", async || {
            left().await.is_some_and(|left| (500..1000 - 4 * 33).contains(&left))
        })
        .await;
    let body = chat("patient-shared");
    let leaver = worlds[0].request("/v1/chat/completions", &worlds[0].token(), &body);
    assert!(leaver.timeout(Duration::from_millis(300)).send().await.is_err());
    worlds[1]
        .until("the slot of who left is free", async || {
            let probe = worlds[1].request("/v1/chat/completions", &worlds[1].token(), &body);
            match probe.timeout(Duration::from_millis(100)).send().await {
                Ok(response) => response.status() == 200,
                Err(error) => error.is_timeout(),
            }
        })
        .await;
    // That probe left as well, and its gateway notices when it gets to it. The lease would be there for longer than is
    // waited for here, so it was given back and did not run out.
    let slots = "ZCARD hexgate:limit:interface/patient-shared:concurrency";
    worlds[1]
        .until("no lease is left", async || redis.ask(slots).as_deref() == Some(":0"))
        .await;
    for world in &worlds {
        world.stop().await;
    }
}

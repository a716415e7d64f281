//! Vendors that fail, each in its way, plain and streamed: what the caller is told, and what is accounted for.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    running::{Answer, Running},
    stub_vendor::CHUNK,
};

#[track_caller]
fn keeps_secrets(answer: &Answer) {
    for secret in ["secret-host-7", "vendor-secret", "127.0.0.1", "<html"] {
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
}

#[tokio::test]
async fn each_failure_before_the_first_byte_has_its_status() {
    let world = Running::start().await;
    for (model, status, code) in [
        ("status-400", 400, "some_code"),
        ("status-404", 404, "some_code"),
        ("status-422", 422, "some_code"),
        ("status-401", 502, "upstream_refused"),
        ("status-429", 429, "rate_limit_exceeded"),
        ("status-500", 502, "upstream_error"),
        ("status-503", 503, "upstream_overloaded"),
        ("status-504", 504, "upstream_timeout"),
        ("html-200", 502, "upstream_invalid_reply"),
        ("html-500", 502, "upstream_error"),
        ("closed", 502, "upstream_unreachable"),
        ("hang", 504, "upstream_timeout"),
    ] {
        for (kind, answer) in [
            ("plain", world.chat(model).await),
            ("stream", world.stream(model).await),
        ] {
            let error = answer.error(status);
            assert_eq!(error["code"], code, "{kind} {model}");
            assert!(!answer.headers.contains_key("www-authenticate"), "{kind} {model}");
            if status < 500 && status != 429 {
                // What the caller did wrong, the vendor says best.
                assert_eq!(error["param"], "temperature");
            } else {
                keeps_secrets(&answer);
            }
            if model.starts_with("status-") {
                assert_eq!(
                    (answer.header("retry-after"), answer.header("retry-after-ms")),
                    ("7", "7100"),
                    "{model}"
                );
            }
            let usage = world.usage(answer.request_id()).await;
            assert_eq!(
                (usage.state.as_str(), usage.input, usage.output),
                ("upstream_error", 0, 0),
                "{kind} {model}"
            );
        }
    }
    assert_eq!(world.chat("status-401").await.header("x-should-retry"), "false");
}

#[tokio::test]
async fn a_plain_answer_that_breaks_or_holds_an_error_is_a_bad_gateway() {
    let world = Running::start().await;
    for (model, code) in [("cut", "upstream_unreachable"), ("in-band", "upstream_error")] {
        let answer = world.chat(model).await;
        assert_eq!(answer.error(502)["code"], code);
        keeps_secrets(&answer);
        assert_eq!(world.usage(answer.request_id()).await.state, "upstream_error");
    }
}

#[tokio::test]
async fn a_stream_that_fails_after_it_began_ends_in_an_error_event() {
    let world = Running::start().await;
    for (model, code) in [
        ("cut", "upstream_unreachable"),
        ("truncated", "upstream_unreachable"),
        ("malformed", "upstream_invalid_reply"),
        ("in-band", "upstream_error"),
        ("stall", "upstream_timeout"),
        ("slow", "upstream_timeout"),
    ] {
        let began = Instant::now();
        let answer = world.stream(model).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.body);
        assert!(
            answer.body.starts_with(CHUNK) && !answer.body.contains("[DONE]"),
            "{model}: {}",
            answer.body
        );
        let last = answer.body.trim_end().rsplit("data: ").next().unwrap();
        let event: Value = serde_json::from_str(last).unwrap();
        assert_eq!(event["error"]["code"], code, "{model}");
        keeps_secrets(&answer);
        assert!(began.elapsed() < Duration::from_secs(15), "{model}");
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.estimated), ("incomplete", true), "{model}");
        assert!(usage.output > 0, "what was delivered counts: {model}");
    }
    let early = world.stream("in-band-first").await;
    assert_eq!(
        early.error(503)["code"],
        "upstream_overloaded",
        "an error before any content still has a status"
    );
}

#[tokio::test]
async fn an_error_object_in_place_of_a_stream_keeps_its_meaning() {
    let world = Running::start().await;
    let answer = world.stream("json-error").await;
    assert_eq!(answer.error(429)["code"], "insufficient_quota");
    keeps_secrets(&answer);
    assert_eq!(world.usage(answer.request_id()).await.state, "upstream_error");
}

#[tokio::test]
async fn another_route_is_tried_before_the_first_byte() {
    let world = Running::start().await;
    for answer in [world.chat("fallback").await, world.stream("fallback").await] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), ("completed", 2));
    }
}

#[tokio::test]
async fn each_attempt_has_its_own_time_for_the_first_byte() {
    let world = Running::start().await;
    for answer in [world.chat("hang-then-late").await, world.stream("hang-then-late").await] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), ("completed", 2));
    }
}

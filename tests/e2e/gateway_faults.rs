//! Vendors that fail, each in its way, and what the caller is told; plain and streamed.

use crate::{
    gateway::{Caller, Stream},
    oauth::Reply,
    world::{Engine, World},
};

/// Nothing of the vendor's inside reaches the caller.
#[track_caller]
fn keeps_secrets(body: &str) {
    for secret in [
        "secret-host-7",
        "internal-host",
        "10.1.2.3",
        "upstream-secret-key",
        "127.0.0.1",
    ] {
        assert!(!body.contains(secret), "{body}");
    }
}

async fn state_of(world: &World, reply: &Reply) -> String {
    world.settled_usage(reply.header("x-request-id")).await.0
}

/// A stream that broke after it had begun: an error event, no `[DONE]`.
#[track_caller]
fn ends_in_error(stream: &Stream) {
    assert_eq!(stream.reply.status, 200);
    assert!(!stream.is_done(), "{}", stream.reply.body);
    let last = stream.chunks().pop().unwrap();
    assert!(
        last["error"]["message"].is_string() && last["error"]["type"].is_string(),
        "{}",
        stream.reply.body
    );
    keeps_secrets(&stream.reply.body);
}

#[tokio::test]
async fn what_the_caller_got_wrong_comes_back_as_the_vendor_said_it() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let reply = caller.chat("t-status-400").await;
    let error = reply.openai_error(400);
    assert_eq!(
        (error["param"].as_str(), error["code"].as_str()),
        (Some("temperature"), Some("some_code"))
    );
    assert_eq!(state_of(world, &reply).await, "upstream_error");
}

#[tokio::test]
async fn a_vendor_that_refuses_our_key_is_not_the_callers_fault() {
    let world = World::shared(Engine::Sqlite).await;
    let reply = Caller::service(world).await.chat("t-status-401").await;
    // A 401 would make the caller's SDK doubt its own token.
    reply.openai_error(502);
    assert!(!reply.headers.contains_key("www-authenticate"));
    keeps_secrets(&reply.body);
    assert_eq!(state_of(world, &reply).await, "upstream_error");
}

#[tokio::test]
async fn a_vendors_rate_limit_is_passed_on_with_its_retry_after() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let reply = caller.chat("t-status-429").await;
    reply.openai_error(429);
    assert_eq!(reply.header("retry-after"), "7");
    assert_eq!(state_of(world, &reply).await, "upstream_error");
    let stream = caller.stream("t-status-429").await;
    stream.reply.openai_error(429);
    assert_eq!(stream.reply.header("retry-after"), "7");
}

#[tokio::test]
async fn a_vendors_failure_is_a_bad_gateway_without_its_details() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    for model in ["t-status-500", "t-html-500", "t-html-200", "t-closed", "t-cut"] {
        let reply = caller.chat(model).await;
        assert!(
            matches!(reply.status, 502 | 503),
            "{model}: {} {}",
            reply.status,
            reply.body
        );
        reply.openai_error(reply.status);
        keeps_secrets(&reply.body);
        assert_eq!(state_of(world, &reply).await, "upstream_error", "{model}");
    }
    for model in ["t-status-500", "t-html-500", "t-html-200", "t-closed"] {
        // Before the first byte a streamed request fails as a plain one does.
        let stream = caller.stream(model).await;
        assert!(
            matches!(stream.reply.status, 502 | 503),
            "{model}: {} {}",
            stream.reply.status,
            stream.reply.body
        );
        stream.reply.openai_error(stream.reply.status);
        assert_eq!(state_of(world, &stream.reply).await, "upstream_error", "{model}");
    }
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_is_a_gateway_timeout() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let started = std::time::Instant::now();
    let plain = caller.chat("t-hang").await;
    plain.openai_error(504);
    let stream = caller.stream("t-hang").await;
    stream.reply.openai_error(504);
    assert!(started.elapsed().as_secs() < 20, "the interface's own first-byte limit");
    for reply in [&plain, &stream.reply] {
        assert_eq!(state_of(world, reply).await, "upstream_error");
    }
}

#[tokio::test]
async fn a_stream_that_stalls_or_takes_too_long_or_breaks_ends_in_an_error_event() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    for model in ["t-stall", "t-total", "t-cut", "t-malformed", "t-in-band-error"] {
        let stream = caller.stream(model).await;
        ends_in_error(&stream);
        let state = state_of(world, &stream.reply).await;
        assert!(
            matches!(state.as_str(), "upstream_error" | "incomplete"),
            "{model}: {state}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_an_end_is_not_passed_off_as_complete() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let stream = caller.stream("t-truncated").await;
    assert!(!stream.is_done(), "{}", stream.reply.body);
    let state = state_of(world, &stream.reply).await;
    assert!(matches!(state.as_str(), "upstream_error" | "incomplete"), "{state}");
}

#[tokio::test]
async fn streams_survive_any_split_and_carriage_returns() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    for model in ["t-split", "t-crlf"] {
        let stream = caller.stream(model).await;
        assert_eq!(stream.text(), "One two thréé", "{model}");
        assert!(stream.is_done(), "{model}");
        assert_eq!(
            world.settled_usage(stream.reply.header("x-request-id")).await,
            ("completed".into(), 11, 22),
            "{model}"
        );
    }
}

#[tokio::test]
async fn usage_that_the_vendor_leaves_out_is_estimated() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let reply = caller.chat("t-no-usage").await;
    reply.ok();
    let (state, input, output) = world.settled_usage(reply.header("x-request-id")).await;
    assert_eq!(state, "completed");
    assert!(input > 0 && output > 0, "{input} {output}");
    // A stream that was not asked for usage is accounted for all the same.
    let mut body = crate::gateway::chat("t-echo");
    body["stream"] = true.into();
    let reply = caller.post("/v1/chat/completions", &body).await;
    let (state, input, output) = world.settled_usage(reply.header("x-request-id")).await;
    assert_eq!(state, "completed");
    assert!(input > 0 && output > 0, "{input} {output}");
    assert!(
        !reply.body.contains("\"choices\":[]"),
        "a usage chunk that nobody asked for: {}",
        reply.body
    );
}

//! `/v1/messages`: Anthropic's format for callers, whatever their vendor speaks.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use service_kit::SystemClock;

use crate::{
    running::{Answer, Running},
    speaking_vendor::{Heard, answered, data, events, serve, streamed, told},
};

const PATH: &str = "/v1/messages";

fn ask(model: &str, marker: &str) -> Value {
    json!({"model": model, "max_tokens": 50, "system": "Be brief.", "metadata": {"user_id": marker},
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello, world", "cache_control": {"type": "ephemeral"}}]}]})
}

/// An error object in this format, which has all that SDKs look for and nothing of the vendor's inside.
#[track_caller]
fn error(answer: &Answer, status: u16, kind: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
    assert_eq!(body["request_id"], answer.request_id());
    assert_eq!(answer.header("request-id"), answer.request_id());
    // What the caller did wrong comes in the vendor's words, and nothing else.
    assert!(status < 429 || !answer.body.contains("secret-host"), "{}", answer.body);
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_vendor_of_another_format_is_asked_and_answers_in_its_callers() {
    let world = Running::start().await;
    let mut body = ask("echo", "m1");
    body["stop_sequences"] = json!(["x"]);
    let request = world.http.post(format!("{}{PATH}", world.url)).json(&body);
    let request = request
        .header("x-api-key", world.token())
        .header("anthropic-version", "2023-06-01");
    let answer = Answer::read(request.send().await.unwrap()).await;
    let message = answer.ok();
    assert_eq!(
        message,
        json!({"id": "x", "type": "message", "role": "assistant", "model": "echo", "content": [{"type": "text", "text": "four"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 11, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 22}})
    );
    assert_eq!(answer.header("request-id"), answer.request_id());
    let call = world.vendor.find_call("m1").unwrap();
    assert_eq!(
        call.body(),
        json!({"model": "echo", "max_tokens": 50, "stop": ["x"], "user": "m1",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello, world"}]})
    );
    assert!(call.headers.get("x-api-key").is_none() && call.headers.get("anthropic-version").is_none());
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.state.as_str(), usage.input, usage.output), ("completed", 11, 22));
    world.stop().await;
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_format_and_an_error_in_it_as_well() {
    let world = Running::start().await;
    let stream = async |model: &str| world.post(PATH, &world.token(), &streamed(ask(model, model))).await;
    let names = |answer: &Answer| events(answer).join(" ");
    let answer = stream("echo").await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(
        names(&answer),
        "message_start content_block_start content_block_delta content_block_delta content_block_stop message_delta message_stop"
    );
    let said = data(&answer);
    let delta = &said[said.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "end_turn");
    assert_eq!(
        delta["usage"],
        json!({"input_tokens": 8, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3, "output_tokens": 22})
    );
    for model in ["in-band", "cut", "truncated", "malformed"] {
        let answer = stream(model).await;
        assert_eq!(
            names(&answer),
            "message_start content_block_start content_block_delta content_block_delta error",
            "{model}"
        );
        assert!(
            answer.body.contains(r#""type":"api_error""#) && !answer.body.contains("secret-host"),
            "{model}"
        );
        assert_eq!(world.usage(answer.request_id()).await.state, "incomplete", "{model}");
    }
    world.stop().await;
}

#[tokio::test]
async fn errors_are_told_in_the_words_on_which_sdks_of_the_format_branch() {
    let world = Running::start().await;
    let token = world.token();
    for (model, status, kind) in [
        ("status-400", 400, "invalid_request_error"),
        ("status-401", 502, "api_error"),
        ("status-404", 404, "not_found_error"),
        ("status-422", 422, "invalid_request_error"),
        ("status-429", 429, "rate_limit_error"),
        ("status-500", 502, "api_error"),
        ("status-503", 529, "overloaded_error"),
        ("status-504", 504, "timeout_error"),
        ("nothing-of-that-name", 404, "not_found_error"),
    ] {
        let answer = world.post(PATH, &token, &ask(model, model)).await;
        error(&answer, status, kind);
        let hint = if model.starts_with("status-") { "7" } else { "" };
        assert_eq!(answer.header("retry-after"), hint, "{model}");
    }
    let stranger = world.post(PATH, "nobody", &ask("echo", "x")).await;
    error(&stranger, 401, "authentication_error");
    assert!(
        stranger.header("www-authenticate").starts_with("Bearer"),
        "{:?}",
        stranger.headers
    );
    let poor = world.issuer.token(&json!({"scope": "ai:embeddings"}));
    error(
        &world.post(PATH, &poor, &ask("echo", "x")).await,
        403,
        "permission_error",
    );
    let send =
        async |request: reqwest::RequestBuilder| Answer::read(request.bearer_auth(&token).send().await.unwrap()).await;
    let url = format!("{}{PATH}", world.url);
    error(&send(world.http.get(&url)).await, 405, "invalid_request_error");
    error(
        &send(world.http.get(format!("{url}/batches"))).await,
        404,
        "not_found_error",
    );
    error(
        &send(world.http.post(&url).body("x")).await,
        400,
        "invalid_request_error",
    );
    let text = world.http.post(&url).header("content-type", "text/plain").body("x");
    error(&send(text).await, 415, "invalid_request_error");
    let large = " ".repeat(world.config.limits.max_body_bytes + 1);
    error(&send(world.http.post(&url).body(large)).await, 413, "request_too_large");
    let mut unknown = ask("echo", "x");
    unknown["messages"][0]["content"][0]["type"] = "search_result".into();
    let told = error(&world.post(PATH, &token, &unknown).await, 400, "invalid_request_error");
    assert!(told.contains("messages[0].content[0].type"), "{told}");
    world.stop().await;
}

#[tokio::test]
async fn rules_hold_for_what_is_said_in_another_format() {
    let world = Running::start().await;
    let answer = world.post(PATH, &world.token(), &ask("ruled", "r1")).await;
    answer.ok();
    let sent = world.vendor.find_call("r1").unwrap().body();
    assert_eq!(
        (&sent["temperature"], &sent["metadata"]),
        (&json!(0.5), &json!({"team": "x"}))
    );
    let mut forbidden = ask("ruled", "r2");
    forbidden["logit_bias"] = json!({"1": 1});
    error(
        &world.post(PATH, &world.token(), &forbidden).await,
        400,
        "invalid_request_error",
    );
    assert!(world.vendor.find_call("r2").is_none());
    world.stop().await;
}

#[tokio::test]
async fn tokens_are_counted_without_a_vendor_and_without_a_bill() {
    let world = Running::start().await;
    let count = async |model: &str, text: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
        world.post("/v1/messages/count_tokens", &world.token(), &body).await
    };
    let short = count("echo", "Hello").await;
    assert_eq!(short.header("x-hexgate-counted-by"), "gateway");
    let (short, long) = (short.ok(), count("echo", "Hello there, how are you today?").await.ok());
    assert!(short["input_tokens"].as_u64().unwrap() > 3);
    assert!(long["input_tokens"].as_u64() > short["input_tokens"].as_u64());
    error(&count("nothing-of-that-name", "x").await, 404, "not_found_error");
    assert_eq!(world.vendor.calls_seen(), 0);
    world.gateway.journal.finish(std::time::Duration::from_secs(5)).await;
    let rows = world.usage_rows("").await;
    assert!(rows.iter().all(|row| row.state == "rejected"), "{rows:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_picture_of_ten_megabytes_arrives_whole_in_either_format() {
    let claude = Claude::default();
    let url = claude.start().await;
    let documents = format!(
        "[[vendor]]\nname = \"claude\"\nstrategy = \"anthropic\"\nbase_url = \"{url}\"\nsecret_key = \"sk-ant-0123456789\"\n\
         [[interface]]\nname = \"seen\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"claude\", model = \"claude-x\" }}]\n"
    );
    let world = Running::start_at(Arc::new(SystemClock), &documents, |_| {}).await;
    let data: String = ('A'..='Z').cycle().take(10 << 20).collect();
    let source = json!({"type": "base64", "media_type": "image/png", "data": data});
    let mut native = ask("seen", "u");
    native["messages"][0]["content"] = json!([{"type": "image", "source": source}]);
    world.post(PATH, &world.token(), &native).await.ok();
    let (_, passed) = claude.heard.last();
    assert_eq!(passed, native.to_string().replace("seen", "claude-x"));

    let url = format!("data:image/png;base64,{data}");
    let part = json!({"type": "image_url", "image_url": {"url": url}});
    let foreign = json!({"model": "seen", "messages": [{"role": "user", "content": [part]}]});
    world.post("/v1/chat/completions", &world.token(), &foreign).await.ok();
    let written = claude.heard.last_body();
    assert_eq!(written["messages"][0]["content"][0]["source"], source);
    world.stop().await;
}

#[tokio::test]
async fn a_vendor_that_counts_itself_is_asked_and_one_that_fails_is_not_missed() {
    let claude = Claude::default();
    let url = claude.start().await;
    let documents = format!(
        "[[vendor]]\nname = \"claude\"\nstrategy = \"anthropic\"\nbase_url = \"{url}\"\nsecret_key = \"sk-ant-0123456789\"\n\
         [[interface]]\nname = \"counted\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"claude\", model = \"claude-x\" }}]\n"
    );
    let world = Running::start_at(Arc::new(SystemClock), &documents, |_| {}).await;
    let count = async |text: &str| {
        let body = json!({"model": "counted", "max_tokens": 5, "temperature": 0.5, "stream": true, "system": "s",
            "tools": [{"name": "f", "input_schema": {"type": "object"}}], "messages": [{"role": "user", "content": text}]});
        world.post("/v1/messages/count_tokens", &world.token(), &body).await
    };
    let counted = count("hi").await;
    assert_eq!(counted.header("x-hexgate-counted-by"), "vendor");
    assert_eq!(counted.ok(), json!({"input_tokens": 1234}));
    let (headers, _) = claude.heard.last();
    assert_eq!(headers["x-api-key"], "sk-ant-0123456789");
    assert_eq!(
        claude.heard.last_body(),
        json!({"model": "claude-x", "system": "s", "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "hi"}]}),
        "how it would be answered is not counted"
    );
    let counted = count("I am tired").await;
    assert_eq!(counted.header("x-hexgate-counted-by"), "gateway");
    assert!(counted.ok()["input_tokens"].as_u64().unwrap() > 3);
    world.stop().await;
}

#[tokio::test]
async fn a_count_that_fails_says_nothing_of_how_the_vendor_answers() {
    let claude = Claude::default();
    let url = claude.start().await;
    let documents = format!(
        "[[vendor]]\nname = \"claude\"\nstrategy = \"anthropic\"\nbase_url = \"{url}\"\nsecret_key = \"sk-ant-0123456789\"\n\
         [[interface]]\nname = \"counted\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"claude\", model = \"claude-x\" }}]\n"
    );
    let world = Running::start_at(Arc::new(SystemClock), &documents, |_| {}).await;
    let ask = async |path: &str, text: &str| {
        let body = json!({"model": "counted", "max_tokens": 5, "messages": [{"role": "user", "content": text}]});
        world.post(path, &world.token(), &body).await
    };
    // The model would rest after the first, and the breaker open after the others.
    for text in [&["too fast"][..], &["I am tired"; 21]].concat() {
        let counted = ask("/v1/messages/count_tokens", text).await;
        assert_eq!(counted.header("x-hexgate-counted-by"), "gateway");
    }
    let answer = ask(PATH, "hi").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, WHOLE));
    let counted = ask("/v1/messages/count_tokens", "hi").await;
    assert_eq!(counted.header("x-hexgate-counted-by"), "vendor");
    world.stop().await;
}

/// A vendor that speaks the format itself, and shows what it was sent.
#[derive(Clone, Default)]
struct Claude {
    heard: Heard,
}

const WHOLE: &str = r#"{ "id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":4},"brand_new":[1.50] }"#;
const EVENTS: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"content\":[],\"usage\":{\"input_tokens\":2,\"output_tokens\":1}}}\n\n\
event: ping\ndata: {\"type\": \"ping\"}\n\n\
event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";
const REST: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\n\
event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const FAULT: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"at secret-host-7\"}}\n\n";

impl Claude {
    async fn start(&self) -> String {
        let router = Router::new()
            .route(PATH, post(Self::answer))
            .route("/v1/messages/count_tokens", post(Self::count));
        serve(router.layer(DefaultBodyLimit::disable()).with_state(self.clone())).await
    }

    #[expect(clippy::unused_async, reason = "a handler is a future")]
    async fn answer(State(vendor): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let body = vendor.heard.keep(headers, &body);
        match (body["stream"] == true, body["model"] == "breaks") {
            (false, _) => answered(StatusCode::OK, WHOLE),
            (true, false) => told(format!("{EVENTS}{REST}")),
            (true, true) => told(format!("{EVENTS}{FAULT}")),
        }
    }

    #[expect(clippy::unused_async, reason = "a handler is a future")]
    async fn count(State(vendor): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let body = vendor.heard.keep(headers, &body);
        let says = |text: &str| body.to_string().contains(text);
        match (says("tired"), says("too fast")) {
            (false, false) => answered(StatusCode::OK, r#"{"input_tokens":1234}"#),
            (true, _) => answered(StatusCode::SERVICE_UNAVAILABLE, "{}"),
            (false, true) => {
                let mut refused = answered(StatusCode::TOO_MANY_REQUESTS, "{}");
                refused.headers_mut().insert("retry-after", 60.into());
                refused
            }
        }
    }
}

#[tokio::test]
async fn bytes_pass_where_caller_and_vendor_speak_alike() {
    let claude = Claude::default();
    let url = claude.start().await;
    let interface = |name: &str, model: &str, more: &str| {
        format!(
            "[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"claude\", model = \"{model}\" }}]\n{more}\n"
        )
    };
    let documents = format!(
        "[[vendor]]\nname = \"claude\"\nstrategy = \"anthropic\"\nbase_url = \"{url}\"\nsecret_key = \"sk-ant-0123456789\"\n\
         options = {{ betas = \"good-2026\" }}\n{}{}{}",
        interface("alike", "claude-x", ""),
        interface("breaking", "breaks", ""),
        interface("forced", "claude-x", "fields = [{ name = \"/max_tokens\", value = 7 }]"),
    );
    let world = Running::start_at(Arc::new(SystemClock), &documents, |_| {}).await;
    let sent = "{ \"messages\":[{\"role\":\"user\",\"content\":\"thr\\u00e9\"}],\"model\":\"alike\", \"max_tokens\" : 5, \"x\":{\"y\":[1.0]} }";
    let request = world
        .http
        .post(format!("{}{PATH}", world.url))
        .bearer_auth(world.token());
    let request = request
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "good-2026,bad-2026");
    let answer = Answer::read(request.body(sent).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, WHOLE));
    assert_eq!(answer.header("x-hexgate-dropped-fields"), "anthropic-beta");
    let (headers, text) = claude.heard.last();
    assert_eq!(text, sent.replace("alike", "claude-x"));
    assert_eq!(
        (
            &headers["x-api-key"],
            &headers["anthropic-version"],
            &headers["anthropic-beta"]
        ),
        (
            &"sk-ant-0123456789".parse().unwrap(),
            &"2023-06-01".parse().unwrap(),
            &"good-2026".parse().unwrap()
        )
    );
    assert!(headers.get("authorization").is_none());
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.input, usage.output), (5, 4));

    let mut body = streamed(ask("alike", "u"));
    let answer = world.post(PATH, &world.token(), &body).await;
    assert_eq!(answer.body, format!("{EVENTS}{REST}"));
    body["model"] = "breaking".into();
    let answer = world.post(PATH, &world.token(), &body).await;
    let told = answer.body.strip_prefix(EVENTS).unwrap();
    assert!(
        told.starts_with("event: error\n") && told.contains("overloaded_error") && !told.contains("secret-host"),
        "{told}"
    );

    // What a rule has changed is written anew, in the vendor's words.
    let answer = world.post(PATH, &world.token(), &ask("forced", "u2")).await;
    assert_eq!(answer.ok()["content"], json!([{"type": "text", "text": "hi"}]));
    let sent = claude.heard.last_body();
    assert_eq!(
        (&sent["max_tokens"], &sent["system"], &sent["metadata"]["user_id"]),
        (&json!(7), &json!("Be brief."), &json!("u2"))
    );
    assert_eq!(sent["messages"], ask("forced", "u2")["messages"]);
    // The vendor refuses proven thoughts at another place than where it thought them.
    let mut interleaved = ask("forced", "u2");
    interleaved["messages"] = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "one", "signature": "s1"},
            {"type": "text", "text": "a"},
            {"type": "redacted_thinking", "data": "two"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}},
            {"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "done"}]}]);
    world.post(PATH, &world.token(), &interleaved).await.ok();
    assert_eq!(claude.heard.last_body()["messages"], interleaved["messages"]);
    // And callers of OpenAI's format get the same vendor's answers in theirs.
    let answer = world.chat("alike").await.ok();
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    world.stop().await;
}

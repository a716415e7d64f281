//! Calls that go well, requests that are malformed, and what is accounted for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    running::{Answer, Running, Usage, chat},
    stub_vendor::{CHUNK, DONE, FINISH, USAGE},
};

fn completed(input: i64, output: i64, stream: bool) -> Usage {
    Usage {
        state: "completed".into(),
        input,
        output,
        estimated: false,
        attempts: 1,
        stream,
    }
}

#[tokio::test]
async fn a_plain_call_changes_only_the_models_name() {
    let world = Running::start().await;
    let sent = "{ \"x_new\" : [1.0,{\"a\":null}],\n \"model\":\"echo\", \"user\":\"m1\",\"messages\":[{\"role\":\"user\",\"content\":\"thr\\u00e9\"}] }";
    let request = world
        .http
        .post(format!("{}/v1/chat/completions", world.url))
        .bearer_auth(world.token())
        .header("content-type", "application/json; charset=utf-8")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("openai-organization", "org-1")
        .body(sent);
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(
        answer.ok()["x_vendor"],
        json!({"kept": 1}),
        "fields that nobody knows come back"
    );
    let seen = world.vendor.find_call("m1").unwrap();
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.text, sent);
    assert_eq!(seen.headers["authorization"], "Bearer vendor-secret-0123456789");
    assert!(
        seen.headers["traceparent"]
            .to_str()
            .unwrap()
            .starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    );
    assert!(
        !seen.headers.contains_key("openai-organization"),
        "the caller's headers stay here"
    );
    assert_eq!(world.usage(answer.request_id()).await, completed(11, 22, false));
}

#[tokio::test]
async fn a_stream_passes_as_it_came_and_its_usage_is_shown_only_to_who_asks() {
    let world = Running::start().await;
    let quiet = world.stream("echo").await;
    assert_eq!(quiet.body, [CHUNK, CHUNK, FINISH, DONE].concat());
    assert!(quiet.header("content-type").starts_with("text/event-stream"));
    assert_eq!(world.usage(quiet.request_id()).await, completed(11, 22, true));
    let mut body = chat("echo");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let asked = world.post("/v1/chat/completions", &world.token(), &body).await;
    assert_eq!(asked.body, [CHUNK, CHUNK, FINISH, USAGE, DONE].concat());
    assert_eq!(world.usage(asked.request_id()).await, completed(11, 22, true));
    let ended = world.stream("no-done").await;
    assert_eq!(
        ended.body,
        [CHUNK, CHUNK, FINISH, DONE].concat(),
        "callers get one kind of end"
    );
    assert_eq!(world.usage(ended.request_id()).await, completed(11, 22, true));
}

#[tokio::test]
async fn usage_that_a_vendor_leaves_out_is_estimated_and_says_so() {
    let world = Running::start().await;
    for answer in [world.chat("no-usage").await, world.stream("no-usage").await] {
        assert_eq!(answer.status, 200);
        let usage = world.usage(answer.request_id()).await;
        assert_eq!(usage.state, "completed");
        assert!(usage.estimated && usage.input > 0 && usage.output > 0, "{usage:?}");
    }
}

#[tokio::test]
async fn embeddings_and_the_capability_routes_work_alike() {
    let world = Running::start().await;
    let body = json!({"model": "embed", "input": ["a", "b"], "user": "m2"});
    for path in ["/v1/embeddings", "/ai/invoke/embeddings"] {
        let answer = world.post(path, &world.token(), &body).await;
        assert_eq!(answer.ok()["data"][0]["embedding"], json!([0.25]));
        assert_eq!(world.usage(answer.request_id()).await, completed(5, 0, false));
    }
    assert_eq!(world.vendor.find_call("m2").unwrap().path, "/v1/embeddings");
    assert_eq!(
        world
            .post("/ai/invoke/chat_completion", &world.token(), &chat("echo"))
            .await
            .status,
        200
    );
    for unknown in ["telepathy", "chat", "raw"] {
        let answer = world
            .post(&format!("/ai/invoke/{unknown}"), &world.token(), &chat("echo"))
            .await;
        assert_eq!(answer.error(404)["code"], "unknown_capability");
    }
}

#[tokio::test]
async fn the_sandbox_takes_the_same_way_as_any_vendor() {
    let world = Running::start().await;
    let plain = world.chat("sandbox").await;
    assert_eq!(plain.ok()["sandbox"], true);
    let usage = plain.json()["usage"].clone();
    assert_eq!(
        world.usage(plain.request_id()).await,
        completed(
            usage["prompt_tokens"].as_i64().unwrap(),
            usage["completion_tokens"].as_i64().unwrap(),
            false
        )
    );
    let stream = world.stream("sandbox").await;
    assert!(stream.body.ends_with(DONE) && !stream.body.contains("prompt_tokens"));
    assert_eq!(
        world.usage(stream.request_id()).await.output,
        usage["completion_tokens"].as_i64().unwrap()
    );
    let body = json!({"model": "sandbox-embed", "input": "x", "dimensions": 3, "encoding_format": "base64"});
    let vectors = world.post("/v1/embeddings", &world.token(), &body).await.ok();
    assert_eq!(vectors["data"][0]["embedding"].as_str().unwrap().len(), 16);
    let mut bad = chat("sandbox");
    bad["n"] = 0.into();
    assert_eq!(
        world
            .post("/v1/chat/completions", &world.token(), &bad)
            .await
            .error(400)["param"],
        "n"
    );
}

#[tokio::test]
async fn field_rules_shape_the_request() {
    let world = Running::start().await;
    let mut body = chat("ruled");
    body["user"] = "m3".into();
    body["metadata"] = json!({"team": "mine", "other": 1});
    assert_eq!(
        world.post("/v1/chat/completions", &world.token(), &body).await.status,
        200
    );
    let seen = world.vendor.find_call("m3").unwrap().body();
    assert_eq!(seen["temperature"], 0.5);
    assert_eq!(seen["metadata"], json!({"team": "x", "other": 1}));
    body["logit_bias"] = json!({});
    let refused = world.post("/v1/chat/completions", &world.token(), &body).await;
    assert_eq!(refused.error(400)["param"], "logit_bias");
    assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
}

#[tokio::test]
async fn requests_of_a_wrong_form_are_refused_in_openais_words() {
    let world = Running::start().await;
    let token = world.token();
    let send = async |path: &str, content_type: Option<&str>, body: String| {
        let mut request = world
            .http
            .post(format!("{}{path}", world.url))
            .bearer_auth(&token)
            .body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        Answer::read(request.send().await.unwrap()).await
    };
    let json = Some("application/json");
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"model\":\"echo\"",
        "{\"messages\":[]}",
        "{\"model\":1,\"messages\":[]}",
        "\u{feff}{}",
    ] {
        send("/v1/chat/completions", json, body.to_owned()).await.error(400);
    }
    let duplicate = r#"{"model":"echo","messages":[],"model":"off"}"#;
    assert_eq!(
        send("/v1/chat/completions", json, duplicate.into()).await.error(400)["param"],
        "model"
    );
    for unknown in ["no-such", "off", "embed"] {
        let answer = send("/v1/chat/completions", json, chat(unknown).to_string()).await;
        assert_eq!(answer.error(404)["code"], "model_not_found");
    }
    let streamed = json!({"model": "embed", "input": "x", "stream": true}).to_string();
    assert_eq!(
        send("/v1/embeddings", json, streamed).await.error(400)["param"],
        "stream"
    );
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        send("/v1/chat/completions", Some(wrong), chat("echo").to_string())
            .await
            .error(415);
    }
    assert_eq!(
        send("/v1/chat/completions", None, chat("echo").to_string())
            .await
            .status,
        200
    );
    send("/v1/nothing", json, "{}".into()).await.error(404);
    let wrong_method = world.get("/v1/chat/completions", &token).await;
    wrong_method.error(405);
    assert_eq!(wrong_method.header("allow"), "POST");
}

#[tokio::test]
async fn the_body_limit_is_exact_however_the_body_comes() {
    const LIMIT: usize = 50_000;
    let world = Running::start_with(crate::stub_issuer::StubIssuer::start().await, |config| {
        config.limits.max_body_bytes = LIMIT;
    })
    .await;
    let sized = |size: usize| {
        let mut body = chat("echo");
        body["messages"][0]["content"] = "a"
            .repeat(size - chat("echo").to_string().len() + "Hello, world".len())
            .into();
        assert_eq!(body.to_string().len(), size);
        body.to_string()
    };
    for (size, status) in [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT * 20, 413)] {
        let body = sized(size);
        let chunks: Vec<_> = body
            .as_bytes()
            .chunks(4096)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect();
        for body in [
            reqwest::Body::from(body),
            reqwest::Body::wrap_stream(futures_util::stream::iter(chunks)),
        ] {
            let request = world
                .http
                .post(format!("{}/v1/chat/completions", world.url))
                .bearer_auth(world.token());
            let request = request.header("content-type", "application/json").body(body);
            let answer = Answer::read(request.send().await.unwrap()).await;
            assert_eq!(answer.status, status, "{size}");
            if status == 413 {
                assert_eq!(answer.error(413)["code"], "request_too_large");
            }
        }
    }
}

#[tokio::test]
async fn an_applied_change_shows_in_the_next_request() {
    let world = Running::start().await;
    assert_eq!(world.chat("added").await.status, 404);
    let document =
        "[[interface]]\nname = \"added\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"echo\" }]\n";
    world
        .gateway
        .foundation
        .apply()
        .unwrap()
        .apply(document, std::path::Path::new("."))
        .await
        .unwrap();
    world
        .until("it is there", async || world.chat("added").await.status == 200)
        .await;
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_call_at_the_vendor() {
    for (model, stream, state) in [
        ("patient", false, "client_gone_before_first_byte"),
        ("patient", true, "client_gone_before_first_byte"),
        ("endless", true, "client_gone_after_first_byte"),
    ] {
        let world = Running::start().await;
        let mut body = chat(model);
        body["stream"] = stream.into();
        body["user"] = "leaver".into();
        let request = world.request("/v1/chat/completions", &world.token(), &body);
        if model == "endless" {
            let mut response = request.send().await.unwrap();
            response.chunk().await.unwrap().unwrap();
        } else {
            assert!(request.timeout(Duration::from_secs(1)).send().await.is_err());
        }
        let cancelled = async || world.vendor.find_call("leaver").is_some_and(|call| call.cancelled);
        world.until("the vendor's call is cancelled", cancelled).await;
        let usage = world.only_usage().await;
        assert_eq!(usage.state, state, "{model}");
        assert!(usage.estimated && usage.input > 0, "{usage:?}");
        assert_eq!(usage.output > 0, model == "endless", "{usage:?}");
    }
}

#[tokio::test]
async fn values_in_replies_stay_what_they_were() {
    let world = Running::start().await;
    let answer = world.chat("echo").await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let value: Value = answer.ok();
    assert_eq!(value["choices"][0]["message"]["content"], "four");
}

//! A vendor with the option `api = "responses"`: callers of every format reach it, and those who speak its own get its bytes.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use service_kit::SystemClock;

use crate::{
    running::{Answer, Running, chat},
    speaking_vendor::{Heard, answered, serve, streamed, told},
};

const PATH: &str = "/v1/responses";

/// Shows what it was sent. The model's name says how it fails.
#[derive(Clone, Default)]
struct Responder {
    heard: Heard,
}

const WHOLE: &str = r#"{ "id":"resp_1","object":"response","created_at":1760000030,"status":"completed","error":null,"model":"gpt-x","output":[{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":3},"output_tokens":4,"total_tokens":9},"brand_new":[1.50] }"#;
const FAILED: &str =
    r#"{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"at secret-host-7"},"output":[]}"#;
const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-x\",\"status\":\"in_progress\",\"output\":[]}}\n\n";
const TEXT: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"hi\"}\n\n";
const FAULT: &str = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"resp_1\",\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"at secret-host-7\"},\"output\":[]}}\n\n";

fn completed() -> String {
    format!("event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{WHOLE}}}\n\n")
}

impl Responder {
    async fn start(&self) -> String {
        let router = Router::new().route(PATH, post(Self::answer)).with_state(self.clone());
        format!("{}/v1", serve(router).await)
    }

    #[expect(clippy::unused_async, reason = "a handler is a future")]
    async fn answer(State(vendor): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let body = vendor.heard.keep(headers, &body);
        match (body["stream"] == true, body["model"].as_str().unwrap()) {
            (_, "refuses") => {
                let error = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "input",
                    "code": "context_length_exceeded"}});
                answered(StatusCode::BAD_REQUEST, error.to_string())
            }
            (false, "fails") => answered(StatusCode::OK, FAILED),
            (false, _) => answered(StatusCode::OK, WHOLE),
            (true, "fails") => told(format!("{CREATED}{FAULT}")),
            (true, "breaks") => told(format!("{CREATED}{TEXT}{FAULT}")),
            (true, "stops") => told(format!("{CREATED}{TEXT}")),
            (true, _) => told([CREATED, TEXT, &completed()].concat()),
        }
    }
}

async fn start() -> (Running, Responder) {
    let vendor = Responder::default();
    let url = vendor.start().await;
    let interface = |name: &str, models: &[&str], more: &str| {
        let routes = models
            .iter()
            .zip(1..)
            .map(|(model, at)| format!("{{ vendor = \"newer\", model = \"{model}\", priority = {at} }}"));
        let routes = routes.collect::<Vec<_>>().join(", ");
        format!("[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{routes}]\n{more}\n")
    };
    let documents = [
        format!(
            "[[vendor]]\nname = \"newer\"\nstrategy = \"openai\"\nbase_url = \"{url}\"\nsecret_key = \"sk-0123456789abcdef\"\n\
             options = {{ api = \"responses\" }}\n"
        ),
        interface("newer", &["gpt-x"], ""),
        interface("breaking", &["breaks"], ""),
        interface("stopping", &["stops"], ""),
        interface("refusing", &["refuses"], ""),
        interface("mended", &["fails", "gpt-x"], ""),
        interface(
            "forced",
            &["gpt-x"],
            "fields = [{ name = \"/max_tokens\", value = 17 }]",
        ),
        interface("lenient", &["gpt-x"], "when_unsupported = \"drop\""),
    ];
    let world = Running::start_at(Arc::new(SystemClock), &documents.concat(), |_| {}).await;
    (world, vendor)
}

fn ask(model: &str) -> Value {
    json!({"model": model, "instructions": "Be brief.", "input": "Hello, world", "max_output_tokens": 50})
}

#[tokio::test]
async fn bytes_pass_where_caller_and_vendor_speak_alike() {
    let (world, vendor) = start().await;
    let sent = "{ \"input\":\"thr\\u00e9\",\"model\":\"newer\", \"store\":false, \"max_output_tokens\" : 50, \"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"}, \"x\":{\"y\":[1.0]} }";
    let request = world.http.post(format!("{}{PATH}", world.url));
    let request = request.bearer_auth(world.token()).body(sent);
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, WHOLE));
    let (headers, text) = vendor.heard.last();
    assert_eq!(text, sent.replace("newer", "gpt-x"));
    assert_eq!(headers["authorization"], "Bearer sk-0123456789abcdef");
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.state.as_str(), usage.input, usage.output), ("completed", 5, 4));

    let answer = world.post(PATH, &world.token(), &streamed(ask("newer"))).await;
    assert_eq!(answer.body, [CREATED, TEXT, &completed()].concat());
    let usage = world.usage(answer.request_id()).await;
    assert_eq!((usage.state.as_str(), usage.input, usage.output), ("completed", 5, 4));
    let mut wanted = streamed(ask("gpt-x"));
    // Nobody's answers are kept with our key.
    wanted["store"] = false.into();
    assert_eq!(vendor.heard.last_body(), wanted);

    // What a rule has changed is written anew, in the vendor's words.
    let answer = world.post(PATH, &world.token(), &ask("forced")).await;
    assert_eq!(answer.ok()["output"][0]["content"][0]["text"], "hi");
    assert_eq!(
        vendor.heard.last_body(),
        json!({"model": "gpt-x", "instructions": "Be brief.", "input": "Hello, world", "max_output_tokens": 17, "store": false})
    );
    world.stop().await;
}

#[tokio::test]
async fn callers_of_other_formats_reach_it_and_are_answered_in_theirs() {
    let (world, vendor) = start().await;
    let answer = world.chat("newer").await.ok();
    assert_eq!(
        vendor.heard.last_body(),
        json!({"model": "gpt-x", "input": "Hello, world", "store": false})
    );
    assert_eq!(
        (
            &answer["object"],
            &answer["choices"][0]["message"]["content"],
            &answer["choices"][0]["finish_reason"]
        ),
        (&json!("chat.completion"), &json!("hi"), &json!("stop"))
    );
    assert_eq!(
        (
            &answer["usage"]["total_tokens"],
            &answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        ),
        (&json!(9), &json!(3))
    );
    let answer = world.stream("newer").await;
    assert!(
        answer.body.contains("\"content\":\"hi\"") && answer.body.contains("\"finish_reason\":\"stop\""),
        "{}",
        answer.body
    );
    assert!(answer.body.ends_with("data: [DONE]\n\n"), "{}", answer.body);
    assert_eq!(world.usage(answer.request_id()).await.output, 4);

    let message = json!({"model": "newer", "max_tokens": 50, "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello, world"}]});
    let answer = world.post("/v1/messages", &world.token(), &message).await.ok();
    assert_eq!(
        (&answer["type"], &answer["content"], &answer["stop_reason"]),
        (
            &json!("message"),
            &json!([{"type": "text", "text": "hi"}]),
            &json!("end_turn")
        )
    );
    assert_eq!(
        vendor.heard.last_body(),
        json!({"model": "gpt-x", "instructions": "Be brief.", "input": "Hello, world", "max_output_tokens": 50, "store": false})
    );
    let answer = world.post("/v1/messages", &world.token(), &streamed(message)).await;
    assert!(
        answer.body.contains("\"text_delta\"") && answer.body.contains("event: message_stop"),
        "{}",
        answer.body
    );
    world.stop().await;
}

#[tokio::test]
async fn its_failures_are_told_in_the_callers_format_and_mended_where_they_can_be() {
    let (world, _) = start().await;
    // Plain or streamed: nothing had been said, so the next route is asked.
    for (path, body) in [(PATH, ask("mended")), ("/v1/chat/completions", chat("mended"))] {
        let answer = world.post(path, &world.token(), &body).await;
        answer.ok();
        assert_eq!(world.usage(answer.request_id()).await.attempts, 2);
        let answer = world.post(path, &world.token(), &streamed(body)).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.body.contains("rate_limit"), "{}", answer.body);
        let usage = world.usage(answer.request_id()).await;
        assert_eq!((usage.state.as_str(), usage.attempts), ("completed", 2), "{path}");
    }
    for name in ["breaking", "stopping"] {
        let answer = world.post(PATH, &world.token(), &streamed(ask(name))).await;
        let told = answer.body.strip_prefix(&format!("{CREATED}{TEXT}")).unwrap();
        assert!(
            told.starts_with("event: error\n") && !told.contains("secret-host"),
            "{told}"
        );
        assert_eq!(world.usage(answer.request_id()).await.state, "incomplete");
        let answer = world.stream(name).await;
        assert!(
            answer.body.contains("\"content\":\"hi\"") && answer.body.contains("\"error\""),
            "{}",
            answer.body
        );
        assert!(!answer.body.contains("secret-host"), "{}", answer.body);
    }
    let error = world.post(PATH, &world.token(), &ask("refusing")).await.error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    world.stop().await;
}

#[tokio::test]
async fn what_it_has_no_words_for_follows_the_interfaces_rule() {
    let (world, vendor) = start().await;
    let mut body = chat("newer");
    body["seed"] = json!(1);
    let error = world
        .post("/v1/chat/completions", &world.token(), &body)
        .await
        .error(400);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("unsupported_by_provider"), &json!("seed"))
    );
    body["model"] = "lenient".into();
    let answer = world.post("/v1/chat/completions", &world.token(), &body).await;
    answer.ok();
    assert_eq!(answer.header("x-hexgate-dropped-fields"), "seed");
    // What other calls may have left there is out of reach under any rule.
    for name in ["previous_response_id", "conversation", "background", "prompt"] {
        let mut body = chat("lenient");
        body[name] = json!("x");
        let before = vendor.heard.calls();
        let error = world
            .post("/v1/chat/completions", &world.token(), &body)
            .await
            .error(400);
        assert_eq!(error["param"], name);
        assert_eq!(vendor.heard.calls(), before);
    }
    world.stop().await;
}

//! A vendor that speaks OpenAI's wire format and misbehaves on demand: the model's name says how.
//!
//! One for all worlds, on a thread of its own, so that it outlives the runtime of any single test.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

/// A call as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// The gateway went away before the answer was complete.
    pub(crate) cancelled: bool,
}

type Calls = Arc<Mutex<BTreeMap<String, Call>>>;

struct Upstream {
    address: String,
    calls: Calls,
}

static UPSTREAM: LazyLock<Upstream> = LazyLock::new(|| {
    let calls = Calls::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = Arc::clone(&calls);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let chat = Arc::clone(&served);
            let router = Router::new()
                .route(
                    "/v1/chat/completions",
                    post(move |headers, body| answer_chat(chat, headers, body)),
                )
                .route(
                    "/v1/embeddings",
                    post(move |headers, body| async move { answer_embeddings(&served, headers, &body) }),
                );
            axum::serve(listener, router).await.unwrap();
        });
    });
    Upstream { address, calls }
});

/// `127.0.0.1:port`.
pub(crate) fn address() -> &'static str {
    &UPSTREAM.address
}

/// The call whose `user` field is `marker`.
pub(crate) fn call_of(marker: &str) -> Option<Call> {
    UPSTREAM.calls.lock().unwrap().get(marker).cloned()
}

/// Marks its call cancelled when it is dropped before [`Watch::complete`].
struct Watch {
    calls: Calls,
    marker: String,
    complete: bool,
}

impl Watch {
    fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.complete
            && let Some(call) = self.calls.lock().unwrap().get_mut(&self.marker)
        {
            call.cancelled = true;
        }
    }
}

fn note(calls: &Calls, headers: HeaderMap, body: &Value) -> Watch {
    let marker = body["user"].as_str().unwrap_or_default().to_owned();
    calls.lock().unwrap().insert(
        marker.clone(),
        Call {
            headers,
            body: body.clone(),
            cancelled: false,
        },
    );
    Watch {
        calls: Arc::clone(calls),
        marker,
        complete: false,
    }
}

fn json_reply(status: u16, body: &Value) -> Response {
    (
        StatusCode::from_u16(status).unwrap(),
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

const HTML: &str = "<html><body>proxy error at 10.1.2.3 <b>internal-host</b></body></html>";

async fn answer_chat(calls: Calls, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return json_reply(
            400,
            &json!({"error": {"message": "not JSON", "type": "invalid_request_error"}}),
        );
    };
    let watch = note(&calls, headers, &body);
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    if let Some(status) = model.strip_prefix("status-") {
        watch.complete();
        let status = status.parse().unwrap();
        let error = json!({"error": {"message": "asked to fail at secret-host-7", "type": "some_error", "param": "temperature", "code": "some_code"}});
        let mut reply = json_reply(status, &error);
        if status == 429 {
            reply.headers_mut().insert(header::RETRY_AFTER, "7".parse().unwrap());
        }
        return reply;
    }
    match model.as_str() {
        "html-200" | "html-500" => {
            watch.complete();
            let status = if model == "html-200" {
                StatusCode::OK
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            return (status, [(header::CONTENT_TYPE, "text/html")], HTML).into_response();
        }
        "hang" => {
            let held = watch;
            tokio::time::sleep(Duration::from_mins(1)).await;
            held.complete();
            return StatusCode::NO_CONTENT.into_response();
        }
        _ => {}
    }
    if body["stream"] == true {
        streamed(&model, &body, watch)
    } else {
        plain(&model, &body, watch)
    }
}

fn plain(model: &str, body: &Value, watch: Watch) -> Response {
    let last = body["messages"]
        .as_array()
        .and_then(|all| all.last())
        .map_or(Value::Null, |last| last["content"].clone());
    let mut reply = json!({
        "id": "chatcmpl-upstream", "object": "chat.completion", "created": 1_760_000_000, "model": "upstream-model-7",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null, "message": {"role": "assistant", "content": last, "x_unknown": [1, 2]}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33, "x_detail": {"cached": 3}},
        "x_vendor_extra": {"kept": true},
    });
    if model == "no-usage" {
        reply.as_object_mut().unwrap().remove("usage");
    }
    if model == "cut" {
        // Promises more than it sends.
        let text = reply.to_string();
        let (half, _) = text.split_at(text.len() / 2);
        let parts = [Ok(Bytes::from(half.to_owned())), Err(std::io::Error::other("cut"))];
        return Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from_stream(stream::iter(parts)))
            .unwrap();
    }
    watch.complete();
    json_reply(200, &reply)
}

fn chunk(text: &str) -> String {
    let chunk = json!({
        "id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "upstream-model-7",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}], "x_vendor_extra": 1,
    });
    format!("data: {chunk}\n\n")
}

fn streamed(model: &str, body: &Value, watch: Watch) -> Response {
    let finish = json!({"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "upstream-model-7",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "upstream-model-7",
        "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}});
    let mut parts: Vec<String> = ["One", " two", " thr\u{e9}\u{e9}"].map(chunk).into();
    let complete = |parts: &mut Vec<String>| {
        parts.push(format!("data: {finish}\n\n"));
        if body["stream_options"]["include_usage"] == true {
            parts.push(format!("data: {usage}\n\n"));
        }
        parts.push("data: [DONE]\n\n".to_owned());
    };
    let mut pause = Duration::ZERO;
    let mut end: Option<Result<Bytes, std::io::Error>> = None;
    match model {
        "cut" => end = Some(Err(std::io::Error::other("cut"))),
        "truncated" => {}
        "in-band-error" => parts.push(
            "data: {\"error\":{\"message\":\"overloaded at secret-host-7\",\"type\":\"server_error\"}}\n\n".into(),
        ),
        "malformed" => parts.push("data: {\"id\":\n\n".into()),
        "stall" => pause = Duration::from_mins(1),
        "slow" => {
            pause = Duration::from_millis(20);
            parts = (0..500).map(|i| chunk(&format!(" {i}"))).collect();
        }
        "paced" => {
            pause = Duration::from_millis(20);
            parts = (0..150).map(|i| chunk(&format!(" {i}"))).collect();
            complete(&mut parts);
        }
        _ => complete(&mut parts),
    }
    if model == "crlf" {
        parts = parts.iter().map(|part| part.replace('\n', "\r\n")).collect();
    }
    let mut bytes: Vec<Result<Bytes, std::io::Error>> = if model == "split" {
        // Any byte may be the last of a TCP segment, in the middle of a character or of a line.
        parts
            .concat()
            .into_bytes()
            .chunks(3)
            .map(|part| Ok(Bytes::copy_from_slice(part)))
            .collect()
    } else {
        parts.into_iter().map(|part| Ok(Bytes::from(part))).collect()
    };
    bytes.extend(end);
    let stalls = model == "stall";
    let body = stream::iter(bytes.into_iter().enumerate()).then(move |(at, part)| async move {
        if !pause.is_zero() && at > 0 {
            tokio::time::sleep(pause).await;
        } else if stalls || at > 0 {
            tokio::task::yield_now().await;
        }
        part
    });
    let mut watch = Some(watch);
    let done = stream::once(async move {
        watch.take().into_iter().for_each(Watch::complete);
        Ok(Bytes::new())
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")
        .body(Body::from_stream(body.chain(done)))
        .unwrap_or_else(|_| unreachable!())
}

fn answer_embeddings(calls: &Calls, headers: HeaderMap, body: &Bytes) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    note(calls, headers, &body).complete();
    json_reply(
        200,
        &json!({"object": "list", "model": "upstream-model-7", "x_vendor_extra": 1,
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
    )
}

//! A vendor that speaks OpenAI's format and fails on demand: the model's name says how.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

#[derive(Clone)]
pub(crate) struct StubVendor {
    pub(crate) url: String,
    calls: Arc<Mutex<BTreeMap<String, SeenCall>>>,
    /// Whether calls to the model `held` are answered.
    released: Arc<watch::Sender<bool>>,
}

/// A call as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct SeenCall {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The gateway left before the answer was complete.
    pub(crate) cancelled: bool,
}

impl SeenCall {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// Marks its call as cancelled when it is dropped too early.
struct Watch {
    vendor: StubVendor,
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
            && let Some(call) = self.vendor.calls.lock().unwrap().get_mut(&self.marker)
        {
            call.cancelled = true;
        }
    }
}

pub(crate) const CHUNK: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"four\"},\"finish_reason\":null}],\"x_vendor\":1}\n\n";
pub(crate) const FINISH: &str =
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";
const HTML: &str = "<html><body>proxy error at secret-host-7</body></html>";

impl StubVendor {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let vendor = Self {
            url,
            calls: Arc::default(),
            released: Arc::default(),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/v1/embeddings", post(answer))
            .with_state(vendor.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        vendor
    }

    /// The call whose `user` is `marker`.
    pub(crate) fn find_call(&self, marker: &str) -> Option<SeenCall> {
        self.calls.lock().unwrap().get(marker).cloned()
    }
}

impl StubVendor {
    /// How many markers have been seen.
    pub(crate) fn calls_seen(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// Answers the calls to `held`, those to come included.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }
}

fn json_reply(status: u16, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), headers, body.to_string()).into_response()
}

async fn answer(State(vendor): State<StubVendor>, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Response {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let marker = body["user"].as_str().unwrap_or_default().to_owned();
    let call = SeenCall {
        path: uri.path().to_owned(),
        headers,
        text,
        cancelled: false,
    };
    vendor.calls.lock().unwrap().insert(marker.clone(), call);
    let watch = Watch {
        vendor,
        marker,
        complete: false,
    };
    let model = body["model"].as_str().unwrap().to_owned();
    if let Some(status) = model.strip_prefix("status-") {
        watch.complete();
        let error = json!({"error": {"message": "no at secret-host-7", "type": "t", "param": "temperature", "code": "some_code"}});
        let mut reply = json_reply(status.parse().unwrap(), &error);
        reply.headers_mut().insert("retry-after", "7".parse().unwrap());
        reply.headers_mut().insert("retry-after-ms", "7100".parse().unwrap());
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
        "held" => {
            let mut released = watch.vendor.released.subscribe();
            released.wait_for(|released| *released).await.unwrap();
        }
        "hang" => tokio::time::sleep(Duration::from_mins(1)).await,
        _ => {}
    }
    if uri.path().ends_with("/embeddings") {
        watch.complete();
        return json_reply(
            200,
            &json!({"object": "list", "data": [{"index": 0, "embedding": [0.25]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
        );
    }
    if body["stream"] == true {
        streamed(&model, &body, watch)
    } else {
        plain(&model, watch)
    }
}

fn plain(model: &str, watch: Watch) -> Response {
    let mut reply = json!({"id": "x", "model": model, "choices": [{"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}, "x_vendor": {"kept": 1}});
    match model {
        "no-usage" => drop(reply.as_object_mut().unwrap().remove("usage")),
        "in-band" => reply = json!({"error": {"message": "no at secret-host-7", "type": "server_error"}}),
        "cut" => {
            let text = reply.to_string();
            let parts = [
                Ok(Bytes::from(text[..20].to_owned())),
                Err(std::io::Error::other("cut")),
            ];
            return Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from_stream(stream::iter(parts)))
                .unwrap();
        }
        _ => {}
    }
    watch.complete();
    json_reply(200, &reply)
}

fn streamed(model: &str, body: &Value, watch: Watch) -> Response {
    if model == "json-error" {
        watch.complete();
        let error = json!({"error": {"message": "no at secret-host-7", "code": "insufficient_quota"}});
        return json_reply(200, &error);
    }
    let usage = if body["stream_options"]["include_usage"] == true {
        USAGE
    } else {
        ""
    };
    let (mut lead, mut pause) = (Duration::ZERO, Duration::ZERO);
    let mut broken = false;
    let mut parts: Vec<String> = vec![CHUNK.into(), CHUNK.into()];
    match model {
        "cut" => broken = true,
        "truncated" => {}
        "no-done" => parts.extend([FINISH.into(), usage.into()]),
        "malformed" => parts.push("data: {\"id\":\n\n".into()),
        "in-band" => {
            parts.push("data: {\"error\":{\"message\":\"no at secret-host-7\",\"type\":\"server_error\"}}\n\n".into());
        }
        "in-band-first" => {
            parts = vec!["data: {\"error\":{\"message\":\"no at secret-host-7\",\"code\":503}}\n\n".into()];
        }
        "stall" => pause = Duration::from_mins(1),
        "late" => {
            lead = Duration::from_millis(100);
            parts.extend([FINISH.into(), usage.into(), DONE.into()]);
        }
        "slow" => {
            pause = Duration::from_millis(20);
            parts = vec![CHUNK.into(); 500];
        }
        "no-usage" => parts.extend([FINISH.into(), DONE.into()]),
        _ => parts.extend([FINISH.into(), usage.into(), DONE.into()]),
    }
    let parts = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| Ok(Bytes::from(part)));
    let mut parts: Vec<Result<Bytes, std::io::Error>> = parts.collect();
    if broken {
        parts.push(Err(std::io::Error::other("cut")));
    }
    let body = stream::iter(parts.into_iter().enumerate()).then(move |(at, part)| async move {
        if at > 0 {
            tokio::time::sleep(pause).await;
            tokio::task::yield_now().await;
        } else if !lead.is_zero() {
            tokio::time::sleep(lead).await;
        }
        part
    });
    let mut watch = Some(watch);
    let done = stream::once(async move {
        watch.take().into_iter().for_each(Watch::complete);
        Ok(Bytes::new())
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(Body::from_stream(body.chain(done)))
        .unwrap()
}

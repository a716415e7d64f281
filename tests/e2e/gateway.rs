//! What the gateway does for a caller whose token is good.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    oauth::{Auth, Reply, random_text},
    upstream,
    world::{Engine, World, eventually, on_both_engines},
};

/// A caller of the gateway.
pub(crate) struct Caller<'w> {
    pub(crate) world: &'w World,
    pub(crate) token: String,
}

impl<'w> Caller<'w> {
    /// The demo's machine, with both scopes.
    pub(crate) async fn service(world: &'w World) -> Self {
        let token = world
            .http()
            .client_credentials("service", "ai:chat ai:embeddings")
            .await
            .access;
        Self { world, token }
    }

    pub(crate) fn with(world: &'w World, token: impl Into<String>) -> Self {
        Self {
            world,
            token: token.into(),
        }
    }

    pub(crate) fn request(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.world.gateway);
        self.world
            .http()
            .request(Method::POST, &url)
            .bearer_auth(&self.token)
            .json(body)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::read(self.request(path, body).send().await.unwrap()).await
    }

    /// A plain chat completion of `model`.
    pub(crate) async fn chat(&self, model: &str) -> Reply {
        self.post("/v1/chat/completions", &chat(model)).await
    }

    /// A streamed one, read to its end or break.
    pub(crate) async fn stream(&self, model: &str) -> Stream {
        let mut body = chat(model);
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let response = self.request("/v1/chat/completions", &body).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut bytes = Vec::new();
        let mut parts = response.bytes_stream();
        let mut broken = false;
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => bytes.extend_from_slice(&part),
                Err(_) => broken = true,
            }
        }
        let reply = Reply {
            status,
            headers,
            body: String::from_utf8(bytes).unwrap(),
        };
        Stream { reply, broken }
    }
}

pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello, world"}]})
}

/// A stream of server-sent events, read whole.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) reply: Reply,
    /// The connection ended before the body did.
    pub(crate) broken: bool,
}

impl Stream {
    /// The data of each event.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.reply
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .collect()
    }

    pub(crate) fn chunks(&self) -> Vec<Value> {
        self.events()
            .into_iter()
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    pub(crate) fn text(&self) -> String {
        self.chunks()
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.events().last() == Some(&"[DONE]")
    }
}

impl Reply {
    /// An error object as OpenAI's SDKs read it.
    #[track_caller]
    pub(crate) fn openai_error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/json", "{}", self.body);
        assert!(!self.header("x-request-id").is_empty());
        let error = self.json()["error"].clone();
        assert!(
            error["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{}",
            self.body
        );
        assert!(
            error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some(),
            "{}",
            self.body
        );
        error
    }
}

on_both_engines! {
    async fn a_plain_completion_passes_through_and_leaves_one_usage_row(world: &World) {
        let caller = Caller::service(world).await;
        let marker = random_text(12);
        let mut body = chat("t-echo");
        body["user"] = marker.clone().into();
        body["x_caller_extra"] = json!({"kept": [1, 2]});
        let reply = caller.post("/v1/chat/completions", &body).await;
        let answer = reply.ok();
        assert_eq!(answer["choices"][0]["message"]["content"], "Hello, world");
        assert_eq!(answer["x_vendor_extra"]["kept"], true, "fields that the gateway does not know survive");
        assert_eq!(answer["choices"][0]["message"]["x_unknown"], json!([1, 2]));
        let call = upstream::call_of(&marker).unwrap();
        assert_eq!(call.body["x_caller_extra"], json!({"kept": [1, 2]}));
        assert_eq!(call.body["model"], "echo", "the route's model, not the interface's name");
        assert_eq!(call.headers["authorization"], "Bearer upstream-secret-key-0123456789");
        assert!(!format!("{:?}", call.headers).contains(&caller.token), "the caller's token stays here");
        let row = world.settled_usage(reply.header("x-request-id")).await;
        assert_eq!(row, ("completed".to_owned(), 11, 22));
    }

    async fn a_stream_passes_through_with_the_same_usage_as_a_plain_answer(world: &World) {
        let caller = Caller::service(world).await;
        let stream = caller.stream("t-echo").await;
        assert_eq!(stream.reply.status, 200);
        assert!(stream.reply.header("content-type").starts_with("text/event-stream"));
        assert_eq!(stream.text(), "One two thréé");
        assert!(stream.is_done() && !stream.broken);
        assert_eq!(stream.chunks().last().unwrap()["usage"]["total_tokens"], 33);
        assert_eq!(stream.chunks()[0]["x_vendor_extra"], 1);
        let row = world.settled_usage(stream.reply.header("x-request-id")).await;
        assert_eq!(row, ("completed".to_owned(), 11, 22));
    }

    async fn a_stream_whose_caller_leaves_is_cancelled_upstream_and_accounted_for(world: &World) {
        let caller = Caller::service(world).await;
        let marker = random_text(12);
        let mut body = chat("t-slow");
        body["stream"] = true.into();
        body["user"] = marker.clone().into();
        let response = caller.request("/v1/chat/completions", &body).send().await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let mut parts = response.bytes_stream();
        parts.next().await.unwrap().unwrap();
        drop(parts);
        eventually("the upstream call is cancelled", Duration::from_secs(20), async || {
            upstream::call_of(&marker).is_some_and(|call| call.cancelled).then_some(())
        })
        .await;
        assert_eq!(world.settled_usage(&id).await.0, "client_gone_after_first_byte");
    }

    async fn a_plain_call_whose_caller_leaves_is_cancelled_upstream_and_accounted_for(world: &World) {
        let caller = Caller::service(world).await;
        let marker = random_text(12);
        let mut body = chat("t-patient");
        body["user"] = marker.clone().into();
        let before = world.usage_of_interface("t-patient").await.len();
        let request = caller.request("/v1/chat/completions", &body).timeout(Duration::from_secs(2));
        assert!(request.send().await.is_err());
        eventually("the upstream call is cancelled", Duration::from_secs(20), async || {
            upstream::call_of(&marker).is_some_and(|call| call.cancelled).then_some(())
        })
        .await;
        let states = eventually("a usage row", Duration::from_secs(20), async || {
            Some(world.usage_of_interface("t-patient").await).filter(|states| states.len() > before)
        })
        .await;
        assert_eq!(states.len(), before + 1);
        assert!(states.iter().all(|state| state == "client_gone_before_first_byte"), "{states:?}");
    }

    async fn applying_a_document_changes_interfaces_while_requests_run(world: &World) {
        let caller = Caller::service(world).await;
        let name = format!("t-added-{}", random_text(6).to_lowercase().replace('_', "x"));
        caller.chat(&name).await.openai_error(404);
        let document = |model: &str, enabled: bool| {
            format!(
                "[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nenabled = {enabled}\n\
                 routes = [{{ vendor = \"scripted\", model = \"{model}\" }}]\n"
            )
        };
        let apply = |text: String| {
            let file = format!("{name}.toml");
            world.write(&file, &text);
            world.gateway_cli(&["apply", &file]);
        };
        let until = async |status: u16| {
            eventually(&format!("{name} answers {status}"), Duration::from_secs(10), async || {
                (caller.chat(&name).await.status == status).then_some(())
            })
            .await;
        };
        apply(document("echo", true));
        until(200).await;
        apply(document("status-400", true));
        until(400).await;
        apply(document("echo", false));
        until(404).await;
        // A document that does not hold together is refused, and what runs stays.
        world.write("bad-gateway.toml", &format!("[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"no-such-vendor\", model = \"x\" }}]\n"));
        let output = world.gateway_cli_fails(&["apply", "bad-gateway.toml"]);
        assert!(output.contains("no-such-vendor"), "{output}");
        world.write("bad-gateway.toml", &format!("[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutez = []\n"));
        assert!(world.gateway_cli_fails(&["apply", "bad-gateway.toml"]).contains("routez"));
        assert_eq!(caller.chat("t-echo").await.status, 200);
    }
}

#[tokio::test]
async fn the_sandbox_answers_chat_streams_and_embeddings_with_real_token_counts() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let plain = caller.chat("chat").await;
    let answer = plain.ok();
    assert_eq!(answer["sandbox"], true, "a simulation says so");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let usage = &answer["usage"];
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 0 && usage["completion_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        caller.chat("chat").await.ok()["choices"],
        answer["choices"],
        "deterministic"
    );
    let stream = caller.stream("chat").await;
    assert_eq!(Value::from(stream.text()), answer["choices"][0]["message"]["content"]);
    assert_eq!(stream.chunks().last().unwrap()["usage"], *usage);
    let row = |reply: &Reply| reply.header("x-request-id").to_owned();
    let (one, other) = (
        world.settled_usage(&row(&plain)).await,
        world.settled_usage(&row(&stream.reply)).await,
    );
    assert_eq!(one, other);
    assert_eq!(one.1, usage["prompt_tokens"].as_i64().unwrap());

    let embeddings = caller
        .post(
            "/v1/embeddings",
            &json!({"model": "embeddings", "input": ["one", "two"]}),
        )
        .await
        .ok();
    assert_eq!(embeddings["data"].as_array().unwrap().len(), 2);
    assert!(embeddings["data"][1]["embedding"].as_array().unwrap().len() > 1);
    let passed = caller
        .post("/v1/embeddings", &json!({"model": "t-embed", "input": "one"}))
        .await;
    assert_eq!(passed.ok()["data"][0]["embedding"], json!([0.25, -0.5]));
    assert_eq!(
        world.settled_usage(passed.header("x-request-id")).await,
        ("completed".into(), 5, 0)
    );
}

#[tokio::test]
async fn models_lists_what_the_caller_may_use() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let names = async |client: &str, scope: &str| {
        let token = http.client_credentials(client, scope).await.access;
        let list = http
            .bearer_get(&format!("{}/v1/models", world.gateway), &token)
            .await
            .ok();
        assert_eq!(list["object"], "list");
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = names("service", "ai:chat ai:embeddings").await;
    for name in ["chat", "embeddings", "t-echo"] {
        assert!(all.contains(&name.to_owned()), "{name} in {all:?}");
    }
    assert!(!all.contains(&"t-off".to_owned()));
    assert_eq!(names("limited", "ai:chat").await, ["t-echo"]);
    assert_eq!(names("narrow", "ai:chat:t-echo").await, ["t-echo"]);
    assert!(
        names("embedder", "ai:embeddings")
            .await
            .iter()
            .all(|name| name.contains("embed"))
    );
}

#[tokio::test]
async fn the_capability_route_is_the_same_call_by_another_name() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let reply = caller.post("/ai/invoke/chat_completion", &chat("t-echo")).await;
    assert_eq!(reply.ok()["choices"][0]["message"]["content"], "Hello, world");
    assert_eq!(world.settled_usage(reply.header("x-request-id")).await.0, "completed");
    assert_eq!(caller.post("/ai/invoke/telepathy", &chat("t-echo")).await.status, 404);
}

#[tokio::test]
async fn every_reply_has_a_request_id_and_trace_context_is_passed_on() {
    let world = World::shared(Engine::Sqlite).await;
    let caller = Caller::service(world).await;
    let marker = random_text(12);
    let mut body = chat("t-echo");
    body["user"] = marker.clone().into();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = caller
        .request("/v1/chat/completions", &body)
        .header("traceparent", trace);
    let reply = Reply::read(request.send().await.unwrap()).await;
    let id = reply.header("x-request-id");
    assert!((16..100).contains(&id.len()), "{id}");
    let passed = upstream::call_of(&marker).unwrap().headers;
    assert!(
        passed["traceparent"]
            .to_str()
            .unwrap()
            .contains("4bf92f3577b34da6a3ce929d0e0e4736")
    );
    // The id is ours: it names the usage row, and a caller's choice could name somebody else's.
    let request = caller
        .request("/v1/chat/completions", &chat("t-echo"))
        .header("x-request-id", id);
    assert_ne!(request.send().await.unwrap().headers()["x-request-id"], id);
    for url in ["/oauth2/jwks", "/account", "/nowhere"] {
        assert!(!world.http().get(url).await.header("x-request-id").is_empty(), "{url}");
    }
}

#[tokio::test]
async fn the_management_listeners_tell_health_readiness_metrics_and_status() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    for base in [&world.auth_status, &world.gateway_status] {
        for path in ["/healthz", "/readyz", "/status"] {
            assert_eq!(http.get(&format!("{base}{path}")).await.status, 200, "{base}{path}");
        }
        let metrics = http.get(&format!("{base}/metrics")).await;
        assert!(metrics.header("content-type").starts_with("text/plain"));
        assert!(metrics.body.contains("# TYPE"), "{}", metrics.body);
    }
    // What happened is counted.
    http.client_credentials("service", "ai:chat").await;
    http.post("/oauth2/token", Auth::Nothing, &[("grant_type", "unheard-of")])
        .await;
    http.password("alice", "wrong").await;
    let metrics = http.get(&format!("{}/metrics", world.auth_status)).await.body;
    for counted in [
        "tokens_issued_total{grant_type=\"client_credentials\"}",
        "oauth_errors_total{error=\"invalid_client\"}",
        "sign_ins_total{outcome=\"wrong_credentials\"}",
        "database_requests_total{kind=\"write\"}",
        "http_requests_total{method=\"POST\",status_class=\"4xx\"}",
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(counted));
        let count = line.map(|count| count.trim().parse::<u64>().unwrap());
        assert!(count.is_some_and(|count| count > 0), "{counted}: {metrics}");
    }
    // They are not served where the public is.
    for base in [&world.issuer, &world.gateway] {
        assert_ne!(http.get(&format!("{base}/metrics")).await.status, 200);
    }
}

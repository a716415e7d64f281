//! The ends of jobs, as callers' servers are told of them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
use resource_gateway::config::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    jobs::{still_world, world},
    running::chat,
};

/// A caller's server: answers what it was told to, one after the other, then 204.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Hooks {
    pub(crate) async fn start(answers: &[u16]) -> (Self, String) {
        Self::start_at(0, answers).await
    }

    pub(crate) async fn start_at(port: u16, answers: &[u16]) -> (Self, String) {
        let hooks = Self::default();
        hooks.answers.lock().unwrap().extend(answers);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(hook)).with_state(hooks.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (hooks, url)
    }

    pub(crate) fn seen(&self) -> Vec<(HeaderMap, String)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn hook(
    State(hooks): State<Hooks>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    let body = String::from_utf8(body.to_vec()).unwrap();
    hooks.seen.lock().unwrap().push((headers, body));
    let mut answers = hooks.answers.lock().unwrap();
    let status = if answers.is_empty() { 204 } else { answers.remove(0) };
    (StatusCode::from_u16(status).unwrap(), [("location", "/hook")])
}

pub(crate) fn tell_loopback(config: &mut Config) {
    config.jobs.webhook_hosts = vec!["127.0.0.1".into()];
    config.jobs.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
}

/// As the specification says it, by another implementation of HMAC than the gateway's.
pub(crate) fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = PKey::hmac(&key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signed = format!("{id}.{timestamp}.{body}");
    format!(
        "v1,{}",
        STANDARD.encode(signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap())
    )
}

#[tokio::test]
async fn the_end_of_a_job_is_told_and_signed_until_it_is_taken() {
    let (clock, world) = still_world(tell_loopback).await;
    let token = world.token();
    // A redirect is no answer, and is not followed.
    let (hooks, url) = Hooks::start(&[500, 307]).await;
    let accepted = world.ask(&token, &chat("quick"), &[("x-hexgate-webhook", &url)]).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    assert_eq!(accepted.json()["webhook"], json!({"state": "waiting", "attempts": 0}));
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    world
        .until("the first attempt is made", async || hooks.seen().len() == 1)
        .await;
    world.until_job(&id, "succeeded").await;
    let after = async |attempts: usize| {
        let state = json!({"state": if attempts < 3 { "pending" } else { "delivered" }, "attempts": attempts});
        world
            .until("the attempt is noted", async || {
                world.job(&id).await["webhook"] == state
            })
            .await;
    };
    after(1).await;
    clock.advance(Duration::from_secs(4));
    // Of all news that are due the oldest are told first. So when later ones are told, the older were looked at and not due.
    let (others, other_url) = Hooks::start(&[]).await;
    let other = world
        .ask(&token, &chat("quick"), &[("x-hexgate-webhook", &other_url)])
        .await;
    assert_eq!(other.status, 202, "{}", other.body);
    world
        .until("the other's news are told", async || others.seen().len() == 1)
        .await;
    after(1).await;
    assert_eq!(hooks.seen().len(), 1);
    clock.advance(Duration::from_secs(1));
    world
        .until("the second attempt is made", async || hooks.seen().len() == 2)
        .await;
    after(2).await;
    clock.advance(Duration::from_secs(30));
    world
        .until("the third attempt is made", async || hooks.seen().len() == 3)
        .await;
    after(3).await;
    let secret = world.get("/v1/jobs/webhook-secret", &token).await.ok();
    let secret = secret["secret"].as_str().unwrap();
    for (headers, body) in hooks.seen() {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("webhook-id"), id);
        assert_eq!(header("content-type"), "application/json");
        let wanted = signature(secret, &id, &header("webhook-timestamp"), &body);
        assert_eq!(header("webhook-signature"), wanted);
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&told["id"], &told["status"]), (&json!(id), &json!("succeeded")));
        assert!(told["finished_at"].is_i64());
        assert_eq!(
            told["result_url"],
            format!("{}/v1/jobs/{id}/result", crate::stub_issuer::AUDIENCE)
        );
    }
    // Each owner has a secret of its own.
    let bob = world.issuer.token(&json!({"sub": "bob"}));
    assert_ne!(world.get("/v1/jobs/webhook-secret", &bob).await.ok()["secret"], secret);
}

#[tokio::test]
async fn a_server_that_is_gone_for_good_is_not_asked_again_and_the_job_says_so() {
    let world = world(tell_loopback).await;
    let (hooks, url) = Hooks::start(&[410]).await;
    let accepted = world
        .ask(&world.token(), &chat("broken"), &[("x-hexgate-webhook", &url)])
        .await;
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    let dead = json!({"state": "dead", "attempts": 1});
    world
        .until("the news are dead", async || world.job(&id).await["webhook"] == dead)
        .await;
    let told: Value = serde_json::from_str(&hooks.seen()[0].1).unwrap();
    assert_eq!((&told["status"], &told["result_url"]), (&json!("failed"), &Value::Null));
}

#[tokio::test]
async fn only_hosts_and_addresses_that_the_operator_allows_are_told() {
    let world = world(tell_loopback).await;
    for url in [
        "http://127.0.0.2/",
        "https://example.com/",
        "http://localhost/",
        "http://127.0.0.1:1/#fragment",
        "http://me@127.0.0.1/",
        "nonsense",
    ] {
        let refused = world
            .ask(&world.token(), &chat("quick"), &[("x-hexgate-webhook", url)])
            .await;
        assert_eq!(refused.error(400)["code"], "invalid_webhook", "{url}");
    }
}

#[tokio::test]
async fn a_slow_server_holds_up_the_news_of_its_own_client_alone() {
    let world = world(tell_loopback).await;
    // It takes connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = (format!("http://{}/hook", silent.local_addr().unwrap()), silent);
    let slow = world.issuer.token(&json!({"client_id": "slow"}));
    for _ in 0..6 {
        let accepted = world
            .ask(&slow, &chat("many"), &[("x-hexgate-webhook", &silent.0)])
            .await;
        let path = format!("/v1/jobs/{}", accepted.json()["id"].as_str().unwrap());
        world
            .until("its news are due", async || {
                world.get(&path, &slow).await.ok()["status"] == "succeeded"
            })
            .await;
    }
    let (hooks, url) = Hooks::start(&[]).await;
    let other = world
        .ask(&world.token(), &chat("many"), &[("x-hexgate-webhook", &url)])
        .await;
    assert_eq!(other.status, 202, "{}", other.body);
    world
        .until("the other's news are told", async || hooks.seen().len() == 1)
        .await;
}
